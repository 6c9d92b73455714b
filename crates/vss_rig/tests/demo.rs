// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo as a person starts it. Needs the workspace's programs and the Windows programs: `cargo build --workspace --bins`
//! and `cargo xtask build`.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::time::Duration;

/// The first run of all makes the template of the Windows hosts.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs the demo; fails when its output does not end in time.
fn demo(arguments: &[&str]) -> Output {
    let (sender, ended) = channel();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadowlun-rig"));
    command.arg("demo").args(arguments);
    std::thread::spawn(move || sender.send(command.output()));
    // What it leaves running must not hold the pipe: the reader would wait for it.
    ended.recv_timeout(LIMIT).unwrap().unwrap()
}

/// The demo's JSON and what it said on the way.
fn report(arguments: &[&str]) -> (Value, String) {
    let output = demo(&[&["--json"], arguments].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    let json = serde_json::from_slice(&output.stdout).expect(&said);
    (json, said)
}

/// Each call's method and its parts in microseconds: total, array.
fn calls(report: &Value) -> Vec<(&str, u64, u64)> {
    let calls = report["calls"].as_array().unwrap();
    let part = |call: &Value, name: &str| call[name].as_u64().expect(name);
    calls
        .iter()
        .map(|call| {
            let method = call["method"].as_str().unwrap();
            (method, part(call, "us"), part(call, "array_us"))
        })
        .collect()
}

#[test]
fn demo_through_com_passes_and_shows_both_parts_of_each_call() {
    let (report, said) = report(&[]);

    assert_eq!(report["passed"], true, "{report:#}");
    assert!(said.contains("\n9/9 verdict"), "{said}");
    let calls = calls(&report);
    assert_eq!(calls[0].0, "OnLoad");
    assert_eq!(calls.last().unwrap().0, "OnUnload");
    let commit = calls.iter().find(|call| call.0 == "CommitSnapshots");
    let &(_, total, array) = commit.unwrap();
    assert!(0 < array && array < total, "{array} of {total}");
}

#[test]
fn demo_in_process_passes_and_shows_both_parts_of_each_call() {
    let (report, said) = report(&["--in-process"]);

    assert_eq!(report["passed"], true, "{report:#}");
    assert!(said.contains("\n7/7 verdict"), "{said}");
    let calls = calls(&report);
    let commit = calls.iter().find(|call| call.0 == "CommitSnapshots");
    let &(_, total, array) = commit.unwrap();
    assert!(0 < array && array < total, "{array} of {total}");
}

#[test]
fn demo_keep_ends_its_output_and_its_script_leaves_nothing() {
    let output = demo(&["--keep", "--in-process"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let script = text.lines().find_map(|line| line.strip_prefix("  sh "));
    let script = Path::new(script.expect("it says how to stop"));

    let stopped = Command::new("sh").arg(script).output().unwrap();

    assert!(output.status.success(), "{text}");
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(!script.parent().unwrap().exists());
}

#[test]
fn demo_sabotage_of_what_is_not_there_is_refused() {
    let output = demo(&["--in-process", "--sabotage=registry"]);

    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("nothing is installed"), "{words}");
}
