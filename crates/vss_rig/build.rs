// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the outside initiator, which the rig has on Linux only. Debian: package libiscsi-dev.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo:rustc-link-lib=iscsi");
    }
}
