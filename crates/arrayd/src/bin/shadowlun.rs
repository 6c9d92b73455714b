// SPDX-License-Identifier: MIT OR Apache-2.0
//! The administrator's command line. Exit codes: 0 done, 1 the array could not, 2 the command was wrong or the daemon is
//! not there.

use std::process::ExitCode;

fn main() -> ExitCode {
    arrayd::cli::main()
}
