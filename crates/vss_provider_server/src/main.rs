// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-provider.exe`: what COM and the service control manager start, and the administrator's command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vss_provider_server::vendor::run(&vss_provider_server::vendor::OURS)
}
