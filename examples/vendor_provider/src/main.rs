// SPDX-License-Identifier: MIT OR Apache-2.0
//! `anvil-provider.exe`: the whole program of a vendor.

use std::process::ExitCode;

fn main() -> ExitCode {
    vss_provider_server::vendor::run(&vendor_provider::ANVIL)
}
