// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fuzz`: coverage-guided where a nightly compiler is there, at random where not, and under Wine for what only Windows has. It
//! says which.

use crate::run::{cargo, output, root, step, target_dir};
use crate::{Failure, setup, suite, windows};
use std::process::Command;

const BODIES: &[&str] = &["calls"];
/// Those of the COM server.
const WINDOWS_BODIES: &[&str] = &["raw"];
const MINUTES: u64 = 10;
/// How long a program under Wine may run, less what it takes to start.
const ROUND_SECONDS: u64 = 300;

/// Runs every body for some minutes (`--minutes N`). What it finds stays in `fuzz/artifacts`, and what is worth keeping in
/// `fuzz/corpus`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let minutes = match arguments {
        [] => MINUTES,
        [flag, number] if flag == "--minutes" => number
            .parse()
            .map_err(|_| Failure::Unusable(format!("{number:?} is no number of minutes")))?,
        _ => {
            return Err(Failure::Unusable(
                "usage: cargo xtask fuzz [--minutes N]".to_owned(),
            ));
        }
    };
    let seconds = minutes * 60;
    // Not with the cargo that runs us: a toolchain is chosen by rustup's.
    let nightly = output(Command::new("cargo").args(["+nightly", "--version"]));
    for body in BODIES {
        let corpus = root().join("fuzz/corpus").join(body);
        let mut command = match nightly {
            Some(_) => guided(body, seconds)?,
            None => {
                println!("xtask: no nightly compiler, hence inputs at random, without coverage");
                let mut command = cargo(["run", "--quiet", "--release", "-p", "fuzzing"]);
                command.args(["--bin", "throw", "--", body, &seconds.to_string()]);
                command.arg(&corpus);
                command
            }
        };
        step(&format!("fuzz {body}, {minutes} minutes"), &mut command)?;
    }
    suite::build()?;
    let thrower = windows::build_thrower()?;
    for body in WINDOWS_BODIES {
        let mut left = seconds;
        while left > 0 {
            let round = left.min(ROUND_SECONDS);
            left -= round;
            let mut command = suite::rig(&["wine", "--"]);
            command.arg(&thrower).args([*body, &round.to_string()]);
            command.arg(root().join("fuzz/corpus").join(body));
            step(&format!("fuzz {body} under Wine, {round} s"), &mut command)?;
        }
    }
    Ok(())
}

fn guided(body: &str, seconds: u64) -> Result<Command, Failure> {
    let cargo_fuzz = setup::ensure_cargo_fuzz()?;
    let mut command = Command::new(cargo_fuzz);
    command
        .args(["fuzz", "run", body, "--fuzz-dir", "fuzz", "--target-dir"])
        .arg(target_dir().join("fuzz"))
        .args(["--", "-max_len=4096", "-timeout=30", "-rss_limit_mb=2048"])
        .arg(format!("-max_total_time={seconds}"))
        .env("RUSTUP_TOOLCHAIN", "nightly")
        .env_remove("CARGO")
        .current_dir(root());
    Ok(command)
}
