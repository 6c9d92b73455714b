// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wine hosts: several at once, and nothing of them left however they end. Needs the Windows programs: `cargo xtask build`.

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vss_rig::interrupt::Interrupt;
use vss_rig::wine::{WindowsParts, WineHost, run_once};

const LIMIT: Duration = Duration::from_secs(60);

fn host() -> WineHost {
    let parts = WindowsParts::find(None).unwrap();
    WineHost::start(&parts, &Interrupt::default()).unwrap()
}

/// WINEPREFIX of a process, when it has one.
fn prefix_of(pid: &str) -> Option<PathBuf> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|byte| *byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(b"WINEPREFIX="))?;
    Some(String::from_utf8(value.to_vec()).unwrap().into())
}

fn parent_of(pid: &str) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

fn all_pids() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.bytes().all(|c| c.is_ascii_digit()))
        .collect()
}

fn is_used(prefix: &Path) -> bool {
    let prefix = Some(prefix.to_owned());
    all_pids().iter().any(|pid| prefix_of(pid) == prefix)
}

fn runs(prefix: &Path, program: &str) -> bool {
    let prefix = Some(prefix.to_owned());
    all_pids().iter().any(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        prefix_of(pid) == prefix && String::from_utf8_lossy(&line).contains(program)
    })
}

fn assert_gone(prefix: &Path) {
    let folder = prefix.parent().unwrap();
    let gone = Interrupt::default().wait_until(LIMIT, || !is_used(prefix) && !folder.exists());
    assert!(gone.unwrap(), "something of {} is left", folder.display());
}

#[test]
fn host_ended_leaves_no_process_and_no_file() {
    let host = host();
    let prefix = host.prefix();
    assert!(!host.registry().unwrap().is_empty());
    assert!(is_used(&prefix));

    host.end().unwrap();

    assert_gone(&prefix);
}

#[test]
fn host_dropped_leaves_no_process_and_no_file() {
    let host = host();
    let prefix = host.prefix();

    drop(host);

    assert_gone(&prefix);
}

#[test]
fn hosts_at_once_do_not_meet() {
    let (first, second) = (host(), host());
    assert_ne!(first.prefix(), second.prefix());
    let marker = first.prefix().join("drive_c/marker.txt");
    std::fs::write(&marker, "first").unwrap();

    first.end().unwrap();

    assert!(!second.prefix().join("drive_c/marker.txt").exists());
    assert!(!second.registry().unwrap().is_empty());
    second.end().unwrap();
}

#[test]
fn host_template_is_not_changed_by_its_copies() {
    let host = host();
    let store = host.prefix();
    let store = store.parent().unwrap().parent().unwrap();
    let template = std::fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("drive_c").is_dir())
        .unwrap();
    let registry = std::fs::read(template.join("system.reg")).unwrap();
    let marker = "drive_c/windows/marker.txt";
    std::fs::write(host.prefix().join(marker), "changed").unwrap();

    host.end().unwrap();

    assert_eq!(
        std::fs::read(template.join("system.reg")).unwrap(),
        registry
    );
    assert!(!template.join(marker).exists());
}

#[test]
fn host_started_removes_what_a_rig_left_that_was_killed_before_it_had_its_lock() {
    let first = host();
    let prefix = first.prefix();
    let left = prefix.parent().unwrap().with_file_name("run-left");
    std::fs::create_dir(&left).unwrap();

    let second = host();

    assert!(!left.exists());
    assert!(prefix.exists());
    second.end().unwrap();
    first.end().unwrap();
}

#[test]
fn run_once_passes_output_and_code_on() {
    let parts = WindowsParts::find(None).unwrap();
    let program = ["cmd", "/c", "echo out & echo err 1>&2 & exit 7"].map(str::to_owned);

    let output = run_once(&parts, &Interrupt::default(), &program).unwrap();

    assert_eq!(output.code, 7);
    assert!(output.text.contains("out"), "{}", output.text);
    assert!(output.text.contains("err"), "{}", output.text);
}

/// A rig that runs something long in a prefix, and that prefix.
fn long_running_rig() -> (Child, PathBuf) {
    let mut rig = Command::new(env!("CARGO_BIN_EXE_shadowlun-rig"))
        .args(["wine", "--", "cmd", "/c", "ping -n 1000 127.0.0.1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut prefix = None;
    let up = Interrupt::default()
        .wait_until(LIMIT, || {
            let pids = all_pids();
            let mut children = pids.iter().filter(|pid| parent_of(pid) == Some(rig.id()));
            prefix = children.find_map(|pid| prefix_of(pid));
            prefix
                .as_ref()
                .is_some_and(|prefix| runs(prefix, r"system32\cmd.exe"))
        })
        .unwrap();
    if !up {
        rig.kill().unwrap();
        panic!("no Windows program came up");
    }
    (rig, prefix.unwrap())
}

fn signal(rig: &Child, signal: Signal) {
    kill_process(Pid::from_child(rig), signal).unwrap();
}

#[test]
fn rig_killed_leaves_nothing_of_wine() {
    let (mut rig, prefix) = long_running_rig();

    signal(&rig, Signal::KILL);

    rig.wait().unwrap();
    assert_gone(&prefix);
}

#[test]
fn rig_interrupted_leaves_nothing_of_wine() {
    let (mut rig, prefix) = long_running_rig();

    signal(&rig, Signal::INT);

    assert_eq!(rig.wait().unwrap().code(), Some(2));
    assert_gone(&prefix);
}
