// SPDX-License-Identifier: MIT OR Apache-2.0
//! Initiators of others: libiscsi's tools and examiner, and QEMU. `cargo xtask test` installs them.

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{IQN, MIB, Rig};

/// No tool takes longer, or it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a tool to its end and gives what it printed.
fn run(program: &str, args: &[&str]) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program} cannot be run ({error}): install libiscsi-bin, qemu-utils and qemu-block-extra")
        });
    let deadline = Instant::now() + PATIENCE;
    let id = child.id();
    let (send, finished) = std::sync::mpsc::channel::<()>();
    // The output is collected here; a watcher ends the child, and only that, if it hangs.
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let left = deadline.saturating_duration_since(Instant::now());
            if finished.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
            }
        });
        let mut stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let reader = scope.spawn(move || {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut stderr, &mut text).map(|_| text)
        });
        let mut out = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut out).expect("a pipe");
        let err = reader.join().expect("no panic").expect("a pipe");
        // Not yet waited for: the id still names this child while the watcher may use it.
        drop(send);
        watcher.join().expect("no panic");
        Output {
            status: child.wait().expect("a child"),
            stdout: out,
            stderr: err,
        }
    })
}

fn succeed(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    let text = text(&output);
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn iscsi_ls_finds_target_controller_and_disks() {
    let rig = Rig::open_to_all();
    let listed = succeed("iscsi-ls", &["-s", &format!("iscsi://{}", rig.address)]);
    assert!(
        listed.contains(&format!("Target:{IQN} Portal:{},1", rig.address)),
        "{listed}"
    );
    assert!(
        listed.contains("Lun:0    Type:STORAGE_ARRAY_CONTROLLER"),
        "{listed}"
    );
    assert!(listed.contains("Lun:2    Type:DIRECT_ACCESS"), "{listed}");
}

#[test]
fn iscsi_inq_decodes_identity_pages() {
    let rig = Rig::open_to_all();
    let standard = succeed("iscsi-inq", &[&rig.url(1)]);
    assert!(standard.contains("Product:SHADOWLUN-VOLUME"), "{standard}");
    let serial = succeed("iscsi-inq", &["-e", "1", "-c", "128", &rig.url(1)]);
    assert!(serial.contains("Unit Serial Number:[one]"), "{serial}");
    let identification = succeed("iscsi-inq", &["-e", "1", "-c", "131", &rig.url(1)]);
    assert!(identification.contains("SHADOWLNone"), "{identification}");
}

#[test]
fn qemu_img_copies_in_and_out_unchanged() {
    let rig = Rig::open_to_all();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.raw");
    let mut file = std::fs::File::create(&image).unwrap();
    for at in 0..16 * MIB / 4096 {
        // Data in every other 64 KiB, so that zeros are seen too.
        let byte = if at / 16 % 2 == 0 {
            (at % 255) as u8 + 1
        } else {
            0
        };
        file.write_all(&[byte; 4096]).unwrap();
    }
    file.set_len(64 * MIB).unwrap();
    drop(file);
    let image = image.to_str().unwrap();
    let url = &rig.url(1);
    succeed(
        "qemu-img",
        &["convert", "-n", "-f", "raw", "-O", "raw", image, url],
    );
    succeed(
        "qemu-img",
        &["compare", "-f", "raw", "-F", "raw", image, url],
    );
    let back = folder.path().join("back.raw");
    let back = back.to_str().unwrap();
    succeed(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "raw", url, back],
    );
    assert!(std::fs::read(image).unwrap() == std::fs::read(back).unwrap());
}

#[test]
fn qemu_img_bench_runs_deep_queues() {
    let rig = Rig::open_to_all();
    let url = &rig.url(1);
    let common = ["bench", "-f", "raw", "-c", "2000", "-d", "32", "-s", "4096"];
    succeed("qemu-img", &[&common[..], &["-w", url]].concat());
    succeed("qemu-img", &[&common[..], &[url]].concat());
}

/// What became of one test of the examiner.
fn examine(test: &str, url: &str) -> (&'static str, String) {
    let output = run("iscsi-test-cu", &["-d", "-S", "-v", "-t", test, url]);
    let text = text(&output);
    let failed = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("tests")).then(|| words.nth(3).map(str::to_owned))
    });
    let verdict = match failed.flatten().as_deref() {
        None => "crash",
        Some("0") => {
            // Its preamble asks for two things that few targets have, and says so in every test.
            let skipped = text.lines().any(|line| {
                line.contains("[SKIPPED]")
                    && !line.contains("REPORT_SUPPORTED_OPCODES")
                    && !line.contains("PERSISTENT RESERVE IN is not implemented")
            });
            if skipped { "skip" } else { "pass" }
        }
        Some(_) => "known-fail",
    };
    (verdict, text)
}

#[test]
fn iscsi_test_cu_agrees_with_the_expected_list() {
    let rig = Rig::open_to_all();
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/iscsi_test_cu.expected");
    let list = std::fs::read_to_string(list).unwrap();
    let expected: Vec<(&str, &str)> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let (test, verdict) = (words.next().unwrap(), words.next().unwrap());
            let reason = words.next().is_some_and(|reason| !reason.is_empty());
            assert_eq!(
                reason,
                verdict != "pass",
                "a reason, and only where one is due: {line}"
            );
            (test, verdict)
        })
        .collect();
    assert!(expected.len() > 200, "the list is whole");
    let url = rig.url(1);
    let wrong: Vec<String> = expected
        .iter()
        .filter_map(|(test, expected)| {
            let (verdict, text) = examine(test, &url);
            (verdict != *expected).then(|| format!("{test}: {verdict}, not {expected}\n{text}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
