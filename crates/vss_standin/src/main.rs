// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vss_standin`: the rig's side of the COM border.

fn main() -> std::process::ExitCode {
    eprintln!("vss_standin runs on Windows or under Wine, started by the rig");
    std::process::ExitCode::from(2)
}
