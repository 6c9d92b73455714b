// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-rig`: judges a provider from the command line; on Linux also the demo, the project's own scenarios and the bench.

#[cfg(target_os = "linux")]
mod linux_commands;
mod run_command;

use clap::{Parser, Subcommand};
use run_command::RunArguments;
use std::process::ExitCode;

#[cfg(target_os = "linux")]
use linux_commands::{EXAMPLES, LinuxCommand};
#[cfg(not(target_os = "linux"))]
use run_command::EXAMPLES;

/// Plays the VSS service and judges a hardware provider.
#[derive(Parser)]
#[command(name = "shadowlun-rig", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judges any provider that an adapter file describes, through COM: on Linux under Wine, on Windows on this machine.
    #[command(after_help = run_command::EXAMPLES)]
    Run(RunArguments),
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    Linux(LinuxCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run(arguments) => run_command::run(&arguments).map(verdict),
        #[cfg(target_os = "linux")]
        Command::Linux(command) => linux_commands::run(command),
    };
    result.unwrap_or_else(|error| {
        eprintln!("shadowlun-rig: {error:#}");
        ExitCode::from(2)
    })
}

fn verdict(passed: bool) -> ExitCode {
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}
