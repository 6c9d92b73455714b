// SPDX-License-Identifier: MIT OR Apache-2.0
//! `test` and `demo`.

use crate::run::{bin_dir, cargo, step, target_dir, timed};
use crate::windows::{self, Toolchain};
use crate::{Failure, check, setup};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What `--sabotage` spoils; each has to be caught.
const SABOTAGES: &[&str] = &["flip", "late", "identity", "leak", "registry"];

/// Everything: the gate, all tests, all scenarios in every host and on every array, the demo and its sabotages.
pub(crate) fn test() -> Result<(), Failure> {
    setup::ensure_all()?;
    check::all()?;
    let toolchain = build()?;
    step(
        "tests",
        &mut cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]),
    )?;
    windows::test(toolchain, &rig_program())?;
    let reports = target_dir().join("reports");
    std::fs::create_dir_all(&reports)
        .map_err(|error| Failure::Failed(format!("cannot make {}: {error}", reports.display())))?;
    let mut scenarios = rig(&["scenarios", "--report", "junit", "--out"]);
    step(
        "scenarios in every host, on every array",
        scenarios.arg(reports.join("scenarios.xml")),
    )?;
    step("demo", &mut rig(&["demo"]))?;
    step("demo without COM", &mut rig(&["demo", "--in-process"]))?;
    for sabotage in SABOTAGES {
        caught(sabotage)?;
    }
    println!("== all passed");
    Ok(())
}

/// Builds what the demo runs, and runs it.
pub(crate) fn demo(arguments: &[String]) -> Result<(), Failure> {
    setup::ensure_all()?;
    match arguments.iter().any(|argument| argument == "--in-process") {
        true => build_for_linux()?,
        false => build().map(|_| ())?,
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let status = rig(&["demo"])
        .args(arguments)
        .status()
        .map_err(|error| Failure::Failed(format!("cannot start the rig: {error}")))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(2) => Err(Failure::Unusable(
            "the demo could not run; see above".to_owned(),
        )),
        _ => Err(Failure::Failed("the demo's verdict is: failed".to_owned())),
    }
}

/// Measures with release builds of everything. `bench provider` and the options of `shadowlun-rig bench provider`.
pub(crate) fn bench(arguments: &[String]) -> Result<(), Failure> {
    setup::ensure_all()?;
    let windows = windows::build_release(windows::ensure_toolchain()?)?;
    step(
        "release build",
        &mut cargo(["build", "--quiet", "--release", "--workspace", "--bins"]),
    )?;
    let program = target_dir().join("release").join("shadowlun-rig");
    let status = Command::new(program)
        .arg("bench")
        .args(arguments)
        .arg("--windows-dir")
        .arg(windows)
        .status()
        .map_err(|error| Failure::Failed(format!("cannot start the rig: {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Failed(
            "nothing was measured; see above".to_owned(),
        )),
    }
}

/// Builds the programs for both systems; what built for Windows.
pub(crate) fn build() -> Result<Toolchain, Failure> {
    let toolchain = windows::ensure_toolchain()?;
    build_for_linux()?;
    windows::build(toolchain)?;
    Ok(toolchain)
}

fn build_for_linux() -> Result<(), Failure> {
    step(
        "build",
        &mut cargo(["build", "--quiet", "--workspace", "--bins"]),
    )
}

fn rig_program() -> PathBuf {
    bin_dir().join("shadowlun-rig")
}

pub(crate) fn rig(arguments: &[&str]) -> Command {
    let mut command = Command::new(rig_program());
    command.args(arguments);
    command
}

/// A spoilt run has to end with 1, "the verdict is failed", and not with another code, "it did not come so far".
fn caught(sabotage: &str) -> Result<(), Failure> {
    timed(&format!("demo, spoilt: {sabotage}"), || {
        let output = rig(&["demo", &format!("--sabotage={sabotage}")])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::Failed(format!("cannot start the rig: {error}")))?;
        match output.status.code() {
            Some(1) => Ok(()),
            code => Err(Failure::Failed(format!(
                "sabotage {sabotage} gave exit code {code:?} in place of 1:\n{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ))),
        }
    })
}
