// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lets mingw link `tracelogging`, which asks for Microsoft's import library OneCore_apiset: mingw has none, and the five
//! functions that are wanted are in its advapi32. GNU ld takes a script in a library's place.

use std::env::var;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| var(variable).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "windows") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        let folder = var("OUT_DIR").expect("cargo sets it");
        let script = Path::new(&folder).join("libOneCore_apiset.a");
        std::fs::write(script, "INPUT(-ladvapi32)\n").expect("the folder can be written");
        println!("cargo::rustc-link-search=native={folder}");
    }
}
