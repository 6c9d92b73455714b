// SPDX-License-Identifier: MIT OR Apache-2.0
//! kill -9 at each point of a set's life: the array comes back in a state from which it goes on (T-250, life-cycle of
//! specification 4.2).

mod support;

use array_api::{
    Array, ArrayErrorKind, DeleteOutcome, HttpsArray, LunId, LunRole, LunState, SetId,
};
use std::path::Path;
use support::{Daemon, MIB, WITHIN, armed, captured, config_text, copies, prepare};

struct Bench {
    dir: tempfile::TempDir,
    daemon: Daemon,
    array: HttpsArray,
    luns: Vec<LunId>,
}

/// Ports stay over the restarts, so that one enrolment serves all of them.
fn config(dir: &Path, api: &str) -> String {
    config_text(&dir.join("state"), "").replace(
        "[api]\nlisten = \"127.0.0.1:0\"",
        &format!("[api]\nlisten = \"{api}\""),
    )
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path());
        let array = daemon.add_host("a", &[]);
        let luns = ["one", "two"]
            .map(|name| daemon.create_lun(name, 4 * MIB, &["a"]))
            .to_vec();
        daemon.fill("a", luns[0], 0x11);
        Self {
            dir,
            daemon,
            array,
            luns,
        }
    }

    fn crash(self) -> Self {
        let config = config(self.dir.path(), &self.daemon.api);
        self.daemon.kill();
        Self {
            daemon: Daemon::start_with(self.dir.path(), &config),
            ..self
        }
    }

    fn state(&self, copy: LunId) -> Option<LunState> {
        let info = self.array.query(WITHIN, &[copy]).unwrap().remove(0)?;
        match info.role {
            LunRole::Original => None,
            LunRole::Copy(tag) => Some(tag.state),
        }
    }

    /// The set is forgotten, its copies are gone, and the next set works from beginning to end.
    fn assert_discarded(&self, set: SetId) {
        assert_eq!(self.daemon.lun_count(), 2);
        assert!(self.array.orphans(WITHIN).unwrap().is_empty());
        let error = self.array.report(WITHIN, set, &self.luns).unwrap_err();
        assert_eq!(error.kind, ArrayErrorKind::UnknownSet);
        let copies = copies(&self.array, &self.luns);
        self.array.map(WITHIN, &copies).unwrap();
        assert!(self.daemon.holds("a", copies[0], 0x11));
        for copy in copies {
            assert_eq!(self.array.delete(WITHIN, copy), Ok(DeleteOutcome::Deleted));
        }
        assert_eq!(self.daemon.lun_count(), 2);
    }
}

/// T-240, T-241, T-242, SEQ-40: the array dies instead of the provider.
#[test]
fn crash_after_prepare_discards_the_set() {
    let bench = Bench::new();
    let set = prepare(&bench.array, &bench.luns);
    bench.crash().assert_discarded(set);
}

/// T-243, SEQ-40.
#[test]
fn crash_after_arm_discards_the_set() {
    let bench = Bench::new();
    let set = armed(&bench.array, &bench.luns);
    bench.crash().assert_discarded(set);
}

/// T-245, T-246, SEQ-40.
#[test]
fn crash_after_commit_discards_the_unreported_set() {
    let bench = Bench::new();
    let set = captured(&bench.array, &bench.luns);
    bench.crash().assert_discarded(set);
}

/// T-247, SEQ-40, GTL-12.
#[test]
fn crash_after_report_keeps_the_copies_and_repeats_the_report() {
    let bench = Bench::new();
    let set = captured(&bench.array, &bench.luns);
    let before = bench.array.report(WITHIN, set, &bench.luns).unwrap();

    let bench = bench.crash();

    assert_eq!(
        bench.array.report(WITHIN, set, &bench.luns),
        Ok(before.clone())
    );
    assert_eq!(bench.array.orphans(WITHIN).unwrap().len(), 2);
    let copies: Vec<LunId> = before.iter().map(|report| report.copy).collect();
    bench.array.map(WITHIN, &copies).unwrap();
    assert!(bench.daemon.holds("a", copies[0], 0x11));
}

#[test]
fn crash_after_report_of_one_source_discards_only_the_other() {
    let bench = Bench::new();
    let set = captured(&bench.array, &bench.luns);
    let told = bench.array.report(WITHIN, set, &bench.luns[..1]).unwrap();

    let bench = bench.crash();

    assert_eq!(bench.daemon.lun_count(), 3);
    assert_eq!(bench.state(told[0].copy), Some(LunState::Reported));
    let error = bench
        .array
        .report(WITHIN, set, &bench.luns[1..])
        .unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::UnknownLun);
}

/// T-247, LOC-8.
#[test]
fn crash_after_map_keeps_number_identity_and_contents() {
    let bench = Bench::new();
    let copies = copies(&bench.array, &bench.luns);
    bench.array.map(WITHIN, &copies).unwrap();
    let number = bench.daemon.number(copies[0], "a");
    let before = bench.array.query(WITHIN, &copies).unwrap();

    let bench = bench.crash();

    assert_eq!(bench.daemon.number(copies[0], "a"), number);
    assert_eq!(bench.array.query(WITHIN, &copies).unwrap(), before);
    assert!(bench.daemon.holds("a", copies[0], 0x11));
    bench.daemon.fill("a", copies[0], 0x22);
    assert!(bench.daemon.holds("a", bench.luns[0], 0x11));
}

#[test]
fn crash_after_break_keeps_the_lun_an_original() {
    let bench = Bench::new();
    let copies = copies(&bench.array, &bench.luns);
    bench.array.break_copies(WITHIN, &copies, false).unwrap();

    let bench = bench.crash();

    let error = bench.array.delete(WITHIN, copies[0]).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::NotACopy);
    assert_eq!(bench.array.break_copies(WITHIN, &copies, false), Ok(()));
}

#[test]
fn crash_after_delete_leaves_nothing() {
    let bench = Bench::new();
    let copies = copies(&bench.array, &bench.luns);
    for copy in &copies {
        bench.array.delete(WITHIN, *copy).unwrap();
    }

    let bench = bench.crash();

    assert_eq!(bench.daemon.lun_count(), 2);
    assert_eq!(
        bench.array.delete(WITHIN, copies[0]),
        Ok(DeleteOutcome::AlreadyGone)
    );
}

/// T-197, OLE-5: a copy with much of its own is gone when its deletion returns; the space comes back later, also when the
/// array dies in between.
#[test]
fn t197_deletion_of_a_large_copy_goes_on_after_a_crash() {
    const LARGE: u64 = 64 * MIB;
    let bench = Bench::new();
    let lun = bench.daemon.create_lun("large", LARGE, &["a"]);
    let number = bench.daemon.number(lun, "a");
    let fill = |byte: u8| {
        let write = format!("write -q -P {byte} 0 64M");
        let output = bench.daemon.qemu_io("a", number, &[&write, "flush"]);
        assert!(output.status.success(), "{output:?}");
    };
    let free = |daemon: &Daemon| daemon.admin(&["status"])["free_bytes"].as_u64().unwrap();
    fill(1);
    let copy = copies(&bench.array, &[lun])[0];
    let before = free(&bench.daemon);
    fill(2);
    assert!(
        before - free(&bench.daemon) >= LARGE,
        "both have their own data"
    );
    assert_eq!(bench.array.delete(WITHIN, copy), Ok(DeleteOutcome::Deleted));

    let bench = bench.crash();

    assert_eq!(bench.daemon.lun_count(), 3);
    let start = std::time::Instant::now();
    while free(&bench.daemon) < before {
        assert!(start.elapsed() < WITHIN, "the space did not come back");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(bench.daemon.holds("a", lun, 2));
}

#[test]
fn crash_after_changes_of_hosts_and_groups_keeps_them() {
    let bench = Bench::new();
    bench.daemon.add_host("b", &["--allow-resync"]);
    bench.daemon.admin(&["host", "group", "create", "g"]);
    bench.daemon.admin(&["host", "group", "add", "g", "b"]);
    let lists = |daemon: &Daemon| {
        [&["host", "list"][..], &["host", "group", "list"]].map(|list| daemon.admin(list))
    };
    let before = lists(&bench.daemon);

    let bench = bench.crash();

    assert_eq!(lists(&bench.daemon), before);
}

/// T-244, SEQ-38, SEQ-40.
#[test]
fn crash_during_commits_leaves_each_set_whole_or_gone() {
    let mut bench = Bench::new();
    for delay_ms in [0, 1, 2, 4, 8] {
        let set = armed(&bench.array, &bench.luns);
        // The kill is to fall at some moment of the commit; which one does not matter, any must do.
        std::thread::scope(|scope| {
            let commit = scope.spawn(|| bench.array.commit(WITHIN, set));
            std::thread::sleep(std::time::Duration::from_millis(delay_ms));
            let pid =
                u32::try_from(bench.daemon.admin(&["status"])["pid"].as_u64().unwrap()).unwrap();
            support::kill_9(pid);
            let _ = commit.join().unwrap();
        });
        bench = bench.crash();
        bench.assert_discarded(set);
    }
}

#[test]
fn terminate_is_a_clean_end_and_keeps_reported_copies() {
    let bench = Bench::new();
    let copies = copies(&bench.array, &bench.luns);
    let config = config(bench.dir.path(), &bench.daemon.api);
    assert_eq!(bench.daemon.terminate(), Some(0));
    assert!(!bench.dir.path().join("state/admin.sock").exists());

    let daemon = Daemon::start_with(bench.dir.path(), &config);

    assert_eq!(daemon.lun_count(), 4);
    bench.array.map(WITHIN, &copies).unwrap();
    assert!(daemon.holds("a", copies[0], 0x11));
}
