// SPDX-License-Identifier: MIT OR Apache-2.0
//! The array's daemon. Exit codes: 0 stopped in order, 1 ended badly, 2 did not start.

use arrayd::daemon::{self, RunError};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// The array of Shadowlun: keeps LUNs, makes shadow copies of them, and shows them over iSCSI.
///
/// Prints one line that begins with "ready" when it serves, and ends on SIGTERM.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  shadowlund --print-config > /etc/shadowlund.toml
  shadowlund --config /etc/shadowlund.toml
  shadowlund --print-openapi > docs/openapi.json"
)]
struct Arguments {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/shadowlund.toml")]
    config: PathBuf,
    /// Prints an example of the configuration, with all defaults, and ends.
    #[arg(long)]
    print_config: bool,
    /// Prints the OpenAPI document of the interface for hosts, and ends.
    #[arg(long)]
    print_openapi: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.print_config {
        print!("{}", arrayd::config::EXAMPLE);
        return ExitCode::SUCCESS;
    }
    if arguments.print_openapi {
        print!("{}", arrayd::api::openapi_json());
        return ExitCode::SUCCESS;
    }
    match daemon::run(&arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shadowlund: {error}");
            match error {
                RunError::Start(_) => ExitCode::from(2),
                RunError::Close(_) | RunError::Busy => ExitCode::from(1),
            }
        }
    }
}
