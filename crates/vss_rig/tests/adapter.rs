// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-rig run`: a provider and an array that the rig knows only through an adapter, the example's, on Linux and on a Windows
//! (Wine). Needs the Windows programs (`cargo xtask build`) and the workspace's own (`cargo build --workspace`).

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use vss_rig::interrupt::Interrupt;

const RIG: &str = env!("CARGO_BIN_EXE_shadowlun-rig");
const CLSID: &str = "{8d0b2a53-94b6-4a2c-8f0e-61c5a3d97e14}";
const ADAPTER: &str = include_str!("../../../examples/vendor_provider/rig.toml");
const INSTALL: &str =
    "'C:\\Program Files\\Anvil\\anvil-provider.exe', 'install', '--hosting', 'local-server'";
const UNINSTALL: &str = "'C:\\Program Files\\Anvil\\anvil-provider.exe', 'uninstall'";
const WORKER: &str = "'../../target/debug/anvil-array'";
const LIMIT: Duration = Duration::from_secs(90);

/// The folders of the programs for Linux and for Windows.
fn programs() -> (PathBuf, PathBuf) {
    let linux = Path::new(RIG).parent().unwrap();
    let windows = linux.parent().unwrap().join("windows");
    (linux.to_owned(), windows)
}

/// The example's adapter, changed for a test.
struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new(replaced: &[(&str, &str)]) -> Self {
        let (linux, windows) = programs();
        let mut text = ADAPTER.to_owned();
        for (old, new) in replaced {
            assert!(text.contains(old), "{old}");
            text = text.replace(old, new);
        }
        let text = text
            .replace("../../target/debug", linux.to_str().unwrap())
            .replace("../../target/windows", windows.to_str().unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("anvil.toml"), text).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, class: &str, more: &[&str]) -> Output {
        Command::new(RIG)
            .args(["run", "--clsid", class, "--adapter"])
            .arg(self.file("anvil.toml"))
            .args(more)
            .output()
            .unwrap()
    }
}

#[test]
fn another_vendors_provider_is_judged_through_com() {
    let f = Fixture::new(&[]);
    let (junit, html) = (f.file("r.xml"), f.file("r.html"));
    let cases = ["T-030", "T-123", "T-141", "T-190", "T-103", "T-260"];
    let cases = cases.iter().flat_map(|case| ["--case", case]);
    let more = ["--json", "--junit", &junit, "--html", &html];

    let output = f.run(CLSID, &cases.chain(more).collect::<Vec<_>>());

    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = |id: &str| {
        let cases = report["cases"].as_array().unwrap();
        cases.iter().find(|case| case["id"] == id).unwrap()["verdict"].clone()
    };
    for id in ["T-030", "T-123", "T-141", "T-190"] {
        assert_eq!(verdict(id), "pass", "{report:#}");
    }
    // The adapter has no means to make the array hang; only Windows has the other.
    assert_eq!(
        (verdict("T-103"), verdict("T-260")),
        ("not run".into(), "not run".into())
    );
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(
        xml.contains("<skipped message=\"Windows only: docs/windows-acceptance/T-260.ps1\"/>"),
        "{xml}"
    );
    let page = std::fs::read_to_string(html).unwrap();
    assert!(
        page.contains("id=\"T-141\"") && page.contains("(backuphost) LocateLuns"),
        "{page}"
    );
}

/// The same program built for Windows, with the array's program on Windows too.
#[test]
fn run_on_windows_judges_on_its_only_host_and_leaves_nothing() {
    let (_, windows) = programs();
    let worker = format!("'Z:{}'", windows.join("anvil-array.exe").display());
    let f = Fixture::new(&[
        (WORKER, &worker),
        ("../../target/windows", &format!("Z:{}", windows.display())),
    ]);
    let on_z = |path: String| format!("Z:{path}");
    let rig = on_z(windows.join("shadowlun-rig.exe").display().to_string());
    let script = f.file("it.bat");
    let run = [
        &rig,
        "run",
        "--clsid",
        CLSID,
        "--adapter",
        &on_z(f.file("anvil.toml")),
        "--junit",
        &on_z(f.file("r.xml")),
        "--case",
        "T-030",
        "--case",
        "T-123",
        "--case",
        "T-141",
    ];
    // What is left of the provider afterwards, as Windows sees it.
    let lines = [
        "@echo off".to_owned(),
        run.join(" "),
        "echo the rig ended with %ERRORLEVEL%".to_owned(),
        r#"if exist "C:\Program Files\Anvil" echo files are left"#.to_owned(),
        format!(r"reg query HKLM\Software\Classes\CLSID\{CLSID} >nul 2>nul"),
        "if not errorlevel 1 echo the class is left".to_owned(),
    ];
    std::fs::write(&script, lines.join("\r\n") + "\r\n").unwrap();

    let output = Command::new(RIG)
        .args(["wine", "--", "cmd", "/c", &on_z(script)])
        .output()
        .unwrap();

    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("the rig ended with 0"), "{text}");
    assert!(text.contains("2 passed, 0 failed, 1 not run"), "{text}");
    assert!(!text.contains("left"), "{text}");
    let xml = std::fs::read_to_string(f.file("r.xml")).unwrap();
    assert!(
        xml.contains("<skipped message=\"there is no second Windows host"),
        "{xml}"
    );
}

#[test]
fn list_tells_each_case_with_its_requirements_and_runs_nothing() {
    let output = Command::new(RIG).args(["run", "--list"]).output().unwrap();

    let text = String::from_utf8(output.stdout).unwrap();
    let line = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(line("T-030 ").ends_with("[ALS-6]"), "{text}");
    assert!(
        line("T-001 ").ends_with(
            "[REG-15, REG-23]  not run: Windows only: docs/windows-acceptance/T-001.ps1"
        ),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(0));
}

/// "It could not be tried": exit code 2, and each of the words (with ` | ` between them) in what the rig tells.
fn expect_refusal(f: &Fixture, class: &str, case: &str, words: &str) {
    let output = f.run(class, &["--case", case]);

    let told = String::from_utf8(output.stderr).unwrap();
    for word in words.split(" | ") {
        let is_there = told.to_lowercase().contains(&word.to_lowercase());
        assert!(is_there, "no {word:?} in: {told}");
    }
    assert_eq!(output.status.code(), Some(2), "{told}");
}

#[test]
fn adapter_or_array_program_that_is_no_good_is_told_and_is_exit_code_2() {
    let dies = "'/bin/sh', '-c', 'read question; exit 3'";
    let babbles = "'/bin/sh', '-c', 'read question; echo hello; read question'";
    // Answers start, two times host, and disks, and ends before the case's first question.
    let dies_late = format!("'/bin/sh', '-c', 'sed -u 4q | \"$0\" \"$1\"', {WORKER}");
    // What is replaced in the adapter, by what, and what is told.
    let rows = [
        ("install = [", "instal = [", "anvil.toml | instal"),
        ("[array]\n", "", "anvil.toml | command"),
        ("event_file", "# ", "missing field `event_file`"),
        (INSTALL, "", "provider.install | is empty"),
        (WORKER, "'./no-such-program'", "no-such-program"),
        (WORKER, dies, "no answer | \"start\" | exit status: 3"),
        (WORKER, babbles, "it wrote \"hello"),
        (WORKER, &dies_late, "no answer | \"count\" | it has ended"),
    ];
    for (old, new, words) in rows {
        expect_refusal(&Fixture::new(&[(old, new)]), CLSID, "T-030", words);
    }
}

#[test]
fn installation_that_is_no_good_is_told_and_is_exit_code_2() {
    let nothing = "'C:\\windows\\system32\\cmd.exe', '/c', 'exit 0'";
    let refuses = "'C:\\windows\\system32\\cmd.exe', '/c', 'echo no licence& exit 7'";
    let rows = [
        (
            INSTALL,
            refuses,
            "host winhost | provider.install | ended with 7 | no licence",
        ),
        (
            INSTALL,
            nothing,
            "provider.install | no provider registered | no class {8d0b2a53",
        ),
        (UNINSTALL, refuses, "provider.uninstall | ended with 7"),
    ];
    for (old, new, words) in rows {
        expect_refusal(&Fixture::new(&[(old, new)]), CLSID, "T-030", words);
    }
}

/// A rig in a process group of its own, as a terminal's foreground; temporary files go to `scratch`.
fn in_foreground(f: &Fixture, scratch: &Path) -> Child {
    Command::new(RIG)
        .args(["run", "--clsid", CLSID, "--adapter"])
        .arg(f.file("anvil.toml"))
        .env("TMPDIR", scratch)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// Ctrl-C goes to every process of the foreground; the rig has to end in order.
fn press_ctrl_c(rig: &mut Child) {
    kill_process_group(Pid::from_child(rig), Signal::INT).unwrap();
    let ended = Interrupt::default().wait_until(LIMIT, || !matches!(rig.try_wait(), Ok(None)));
    if !ended.unwrap() {
        rig.kill().unwrap();
    }
    assert_eq!(rig.wait().unwrap().code(), Some(2));
}

#[test]
fn ctrl_c_lets_the_arrays_program_remove_what_it_made() {
    let (f, scratch) = (Fixture::new(&[]), tempfile::tempdir().unwrap());
    let made = || {
        let mut folders = std::fs::read_dir(scratch.path()).unwrap().flatten();
        folders.find(|folder| folder.path().join("state.json").exists())
    };
    let mut rig = in_foreground(&f, scratch.path());
    let started = Interrupt::default().wait_until(LIMIT, || made().is_some());
    assert!(started.unwrap(), "no array was made");

    press_ctrl_c(&mut rig);

    assert!(made().is_none(), "the array is left");
}

#[test]
fn ctrl_c_ends_a_rig_whose_arrays_program_is_silent() {
    let f = Fixture::new(&[(
        WORKER,
        "'/bin/sh', '-c', 'read question; : >asked; exec sleep 1000', '-'",
    )]);
    let scratch = tempfile::tempdir().unwrap();
    let mut rig = in_foreground(&f, scratch.path());
    let asked = f.folder.path().join("asked");
    let started = Interrupt::default().wait_until(LIMIT, || asked.exists());
    assert!(started.unwrap(), "the program was not asked");

    press_ctrl_c(&mut rig);
}

#[test]
fn arguments_that_are_no_good_are_told_and_are_exit_code_2() {
    let other = "{00000000-1111-2222-3333-444444444444}";
    let rows = [
        (
            other,
            "T-030",
            "no class {00000000-1111 | has registered | Anvil | {8d0b2a53",
        ),
        (CLSID, "T-999", "T-999 | --list"),
        (CLSID, "T-260", "none of these cases"),
        ("8d0b2a53", "T-030", "--clsid"),
    ];
    for (class, case, words) in rows {
        expect_refusal(&Fixture::new(&[]), class, case, words);
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    for arguments in [&["--help"][..], &["run", "--help"]] {
        let output = Command::new(RIG).args(arguments).output().unwrap();

        let text = String::from_utf8(output.stdout).unwrap();
        for part in ["Examples:", "shadowlun-rig run --list", "Exit codes: 0"] {
            assert!(text.contains(part), "{arguments:?}: {text}");
        }
    }
}
