// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: set-up, checks, tests and the demo, each in one command.
//!
//! **Is not** a build system: it calls cargo and the project's own binaries, and says what it calls. Depends on
//! nothing but `serde_json`, so that a newcomer waits seconds for it and not minutes.
//!
//! **Exit codes.** 0 done; 1 a check, test or demo failed; 2 wrong usage, or something is missing that this cannot install.

mod arrows;
mod check;
mod fuzz;
mod mutants;
mod package;
mod permits;
mod requirements;
mod run;
mod setup;
mod suite;
mod tidy;
mod windows;

use std::process::ExitCode;

const HELP: &str = "\
Set-up, checks, tests and the demo of Shadowlun.

Usage: cargo xtask <COMMAND> [ARGUMENTS]

Commands:
  demo [OPTIONS]  make and verify one real shadow copy set (OPTIONS: see `cargo xtask demo --help`)
  test            everything: set-up, check, all tests, all scenarios, the demo and its sabotages
  bench provider [OPTIONS]
                  how long each method of the provider takes, with release builds (`--sets N` for a quick look)
  check           the gate: format, clippy, docs, licences, dependency arrows, unsafe permits, tidy
  requirements    which requirement of docs/requirements.md is shown by which test (--json for machines)
  fuzz            throw inputs at the provider (--minutes N, else 10), guided by coverage where nightly is there
  mutants [OPTIONS]
                  break the provider's core in small ways; each has to fail a test (options of cargo-mutants; an hour and more)
  build           the programs for both systems; those for Windows go to target/windows
  setup           install what is missing, and nothing else
  package         release builds of everything that is installed somewhere, with checksums, in dist/

Examples:
  cargo xtask demo
  cargo xtask demo --keep
  cargo xtask demo --sabotage=late
  cargo xtask test
  cargo xtask bench provider --sets 50
";

/// Why a command ended early. The text has been made for people; the variant gives the exit code.
pub(crate) enum Failure {
    /// A check, a test or the demo said no.
    Failed(String),
    /// Something is missing that cannot be installed here, or the command line is wrong.
    Unusable(String),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let result = match command.as_deref() {
        Some("demo") => suite::demo(&rest),
        Some("bench") => suite::bench(&rest),
        Some("test") => no_more(&rest).and_then(|()| suite::test()),
        Some("check") => no_more(&rest)
            .and_then(|()| setup::ensure_all())
            .and_then(|()| check::all()),
        Some("fuzz") => fuzz::run(&rest),
        Some("mutants") => mutants::run(&rest),
        Some("requirements") => requirements::print(&rest),
        Some("package") => no_more(&rest).and_then(|()| package::package()),
        Some("build") => no_more(&rest)
            .and_then(|()| setup::ensure_all())
            .and_then(|()| suite::build().map(|_| ())),
        Some("setup") => no_more(&rest)
            .and_then(|()| setup::ensure_all())
            .and_then(|()| windows::ensure_toolchain().map(|_| ())),
        Some("--help" | "-h" | "help") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => Err(Failure::Unusable(format!(
            "unknown command {other:?}\n\n{HELP}"
        ))),
        None => Err(Failure::Unusable(HELP.to_owned())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::from(1)
        }
        Err(Failure::Unusable(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::from(2)
        }
    }
}

fn no_more(rest: &[String]) -> Result<(), Failure> {
    match rest.first() {
        None => Ok(()),
        Some(argument) => Err(Failure::Unusable(format!(
            "unexpected argument {argument:?}\n\n{HELP}"
        ))),
    }
}
