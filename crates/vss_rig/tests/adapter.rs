// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-rig run`: a provider and an array that the rig knows only through an adapter, the example's. Needs the Windows programs
//! (`cargo xtask build`) and the workspace's own (`cargo build --workspace`).

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const RIG: &str = env!("CARGO_BIN_EXE_shadowlun-rig");
const CLSID: &str = "{8d0b2a53-94b6-4a2c-8f0e-61c5a3d97e14}";

/// Runs cases against the example's provider.
fn run(cases: &[&str], more: &[&str]) -> Output {
    let programs = Path::new(RIG).parent().unwrap();
    let windows = programs.parent().unwrap().join("windows");
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("anvil.toml");
    let example = include_str!("../../../examples/vendor_provider/rig.toml")
        .replace("../../target/debug", programs.to_str().unwrap())
        .replace("../../target/windows", windows.to_str().unwrap());
    std::fs::write(&adapter, example).unwrap();
    let cases = cases.iter().flat_map(|case| ["--case", case]);
    Command::new(RIG)
        .args(["run", "--clsid", CLSID, "--adapter"])
        .arg(&adapter)
        .args(cases)
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn another_vendors_provider_is_judged_through_com() {
    let folder = tempfile::tempdir().unwrap();
    let (junit, html) = (folder.path().join("r.xml"), folder.path().join("r.html"));

    let output = run(
        &["T-030", "T-123", "T-141", "T-190", "T-103"],
        &[
            "--json",
            "--junit",
            junit.to_str().unwrap(),
            "--html",
            html.to_str().unwrap(),
        ],
    );

    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdicts = report["cases"].as_array().unwrap().iter();
    let verdicts: Vec<_> = verdicts
        .map(|case| case["verdict"].as_str().unwrap())
        .collect();
    assert!(
        verdicts.contains(&"pass") && !verdicts.contains(&"fail"),
        "{report:#}"
    );
    assert!(std::fs::read_to_string(junit).unwrap().contains("T-141"));
    assert!(
        std::fs::read_to_string(html)
            .unwrap()
            .contains("id=\"T-141\"")
    );
}

#[test]
fn list_tells_each_case_with_its_requirements_and_runs_nothing() {
    let output = Command::new(RIG).args(["run", "--list"]).output().unwrap();

    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines()
            .any(|line| line.starts_with("T-030 ") && line.ends_with("[ALS-6]")),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn adapter_that_does_not_fit_is_told_and_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("wrong.toml");
    std::fs::write(&adapter, "[provider]\ninstal = []\n").unwrap();

    let output = Command::new(RIG)
        .args(["run", "--clsid", CLSID, "--adapter"])
        .arg(&adapter)
        .output()
        .unwrap();

    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("wrong.toml") && told.contains("instal"),
        "{told}"
    );
    assert_eq!(output.status.code(), Some(2));
}
