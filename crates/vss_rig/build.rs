// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the outside initiator. Debian: package libiscsi-dev.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-lib=iscsi");
}
