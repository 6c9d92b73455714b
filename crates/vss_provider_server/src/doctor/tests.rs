// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::data_folder::MemoryFolder;
use crate::enrolment::tests::{Machine as Seal, of_line};
use crate::exposure::Exposed;
use crate::log_reader::Entry;
use crate::log_reader::tests::FakeLog;
use crate::registration::tests::FakeSystem;
use crate::registration::{self, Hosting};
use array_api::simulated::{Fault, Op, SimulatedArray, VirtualClock};
use vss_provider::StorageIdentifier;

/// A server as it should be, with these disks.
struct Server {
    disks: Vec<(&'static str, Option<Vec<StorageIdentifier>>)>,
    san_policy: Option<u32>,
    services: Vec<(&'static str, bool)>,
}

impl Machine for Server {
    fn disks(&self) -> io::Result<Vec<Disk>> {
        let disk = |(name, identifiers): &(&str, Option<Vec<StorageIdentifier>>)| Disk {
            name: (*name).to_owned(),
            product: "VENDOR DISK".to_owned(),
            identifiers: identifiers.clone().ok_or_else(|| "no answer".to_owned()),
        };
        Ok(self.disks.iter().map(disk).collect())
    }

    fn san_policy(&self) -> io::Result<Option<u32>> {
        Ok(self.san_policy)
    }

    fn service_state(&self, name: &str) -> io::Result<Option<bool>> {
        let found = self.services.iter().find(|(service, _)| *service == name);
        Ok(found.map(|(_, runs)| *runs))
    }
}

fn server() -> Server {
    Server {
        disks: Vec::new(),
        san_policy: Some(1),
        // As with the feature installed and no cluster joined.
        services: vec![("VSS", false), ("MSiSCSI", true), ("ClusSvc", false)],
    }
}

fn enrolled() -> MemoryFolder {
    let folder = MemoryFolder::default();
    let line = format!("shadowlun://a:1/1/{:064}/{}", 0, "cd".repeat(32));
    enrolment::add(&folder, &Seal(1), &of_line("store1", &line)).unwrap();
    folder
}

/// An array whose clock is right.
fn array() -> SimulatedArray {
    let clock = VirtualClock::new();
    clock.advance(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    SimulatedArray::new(clock)
}

fn examine(server: &Server, folder: &MemoryFolder, array: &SimulatedArray) -> Report {
    let system = FakeSystem::default();
    registration::install(&system, Hosting::Service).unwrap();
    examine_on(&system, server, folder, array)
}

fn examine_on(
    system: &FakeSystem,
    server: &Server,
    folder: &MemoryFolder,
    array: &SimulatedArray,
) -> Report {
    let captured = Entry {
        time: "2026-01-02T03:04:05.000Z".to_owned(),
        id: EventKind::SetCaptured.id(),
        severity: "information".to_owned(),
        text: "commit took 12 ms".to_owned(),
        remedy: String::new(),
    };
    look(&Patient {
        system,
        machine: server,
        folder,
        secrets: &Seal(1),
        log: &FakeLog(Some(vec![captured])),
        arrays: Arrays::Enrolled,
        connect: &|_| array.host("here"),
    })
}

/// What is not in order, with its level.
fn found(report: &Report) -> Vec<(&str, Level)> {
    for check in &report.checks {
        assert_eq!(
            check.remedy.is_none(),
            check.level == Level::Ok,
            "{check:?}"
        );
    }
    let bad = report
        .checks
        .iter()
        .filter(|check| check.level != Level::Ok);
    bad.map(|check| (check.what.as_str(), check.level))
        .collect()
}

#[test]
fn server_in_order_has_no_findings_and_tells_the_last_sets_time() {
    let report = examine(&server(), &enrolled(), &array());

    assert_eq!(found(&report), [], "{}", report.table());
    assert_eq!(report.exit_code(), 0);
    assert!(
        report.table().contains("commit took 12 ms"),
        "{}",
        report.table()
    );
}

#[test]
fn each_setting_of_windows_that_disturbs_is_named() {
    let server = Server {
        disks: Vec::new(),
        san_policy: Some(2),
        services: vec![("MSiSCSI", false), ("ClusSvc", true)],
    };

    let report = examine(&server, &enrolled(), &array());

    let expected = [
        ("SAN policy", Level::Warning),
        ("failover cluster", Level::Warning),
        ("service VSS", Level::Failed),
        ("service MSiSCSI", Level::Failed),
    ];
    assert_eq!(found(&report), expected);
    assert_eq!(report.exit_code(), 2);
}

#[test]
fn way_key_and_token_are_told_apart() {
    let step = |kind| {
        let array = array();
        array.fault(Op::Info, Fault::Err(kind));
        let report = examine(&server(), &enrolled(), &array);
        let bad = found(&report);
        assert_eq!(bad.len(), 1, "{bad:?}");
        assert_eq!(bad[0].1, Level::Failed);
        bad[0].0.to_owned()
    };

    assert_eq!(step(ArrayErrorKind::Unreachable), "array store1: reached");
    assert_eq!(step(ArrayErrorKind::TimedOut), "array store1: reached");
    assert_eq!(step(ArrayErrorKind::Protocol), "array store1: answer");
    assert_eq!(step(ArrayErrorKind::Internal), "array store1: answer");
    assert_eq!(step(ArrayErrorKind::Unauthenticated), "array store1: token");
}

#[test]
fn only_a_wrong_key_is_a_finding_about_the_certificate() {
    for (message, finding) in [
        (
            "the peer at a:1 is not the enrolled array: it has another key than the enrolled one",
            "certificate",
        ),
        (
            "the peer at a:1 is not the enrolled array: invalid peer certificate: BadSignature",
            "certificate",
        ),
        (
            "the array at a:1 speaks contract versions 9-9, this side 1-2",
            "answer",
        ),
    ] {
        let error = ArrayError::new(ArrayErrorKind::Protocol, message, "the remedy");

        let checks = array_checks("x", Err(error), SystemTime::now());

        let levels: Vec<_> = checks.iter().map(|c| (c.what.clone(), c.level)).collect();
        let reached = ("array x: reached".to_owned(), Level::Ok);
        assert_eq!(
            levels,
            [reached, (format!("array x: {finding}"), Level::Failed)]
        );
    }
}

/// A silent array is waited for once, and one that answers is asked once, however many disks there are.
#[test]
fn array_is_asked_once_about_all_disks() {
    for (silent, queries) in [(false, 1), (true, 0)] {
        let array = array();
        let disk = || {
            let lun = array.create_lun(1 << 30, &["here"]);
            let info = array.host("here").query(ASK_MAX, &[lun]).unwrap().remove(0);
            Some(identity::describe(&info.unwrap().identity).identifiers)
        };
        let two_paths = disk();
        let server = Server {
            disks: vec![("1", two_paths.clone()), ("2", two_paths), ("3", disk())],
            ..server()
        };
        if silent {
            array.fault(Op::Info, Fault::Err(ArrayErrorKind::TimedOut));
        }
        array.forget_calls();

        let report = examine(&server, &enrolled(), &array);

        assert_eq!(array.count(Op::Query), queries);
        let disks = report.checks.iter().filter(|c| c.what.starts_with("disk "));
        let levels: Vec<_> = disks.map(|check| check.level).collect();
        let level = if silent { Level::Warning } else { Level::Ok };
        assert_eq!(levels, [level; 3]);
    }
}

#[test]
fn clock_that_differs_is_a_warning() {
    let clock = VirtualClock::new();
    let report = examine(&server(), &enrolled(), &SimulatedArray::new(clock));

    assert_eq!(found(&report), [("array store1: clock", Level::Warning)]);
    assert_eq!(report.exit_code(), 1);
}

/// FIL-8, LUN-1: each disk is ours or not, and why.
#[test]
fn disks_are_told_apart() {
    let array = array();
    let here = array.host("here");
    let described = |hosts: &[&str]| {
        let lun = array.create_lun(1 << 30, hosts);
        let info = here.query(ASK_MAX, &[lun]).unwrap().remove(0).unwrap();
        identity::describe(&info.identity).identifiers
    };
    let foreign = StorageIdentifier {
        code_set: 1,
        kind: 3,
        bytes: vec![0x60; 16],
    };
    // Of an array that this host does not know.
    let mut stray = None;
    let other = self::array();
    for _ in 0..10 {
        let lun = other.create_lun(1 << 30, &["here"]);
        let info = other.host("here").query(ASK_MAX, &[lun]).unwrap().remove(0);
        stray = info.map(|info| identity::describe(&info.identity).identifiers);
    }
    let server = Server {
        disks: vec![
            ("0", Some(vec![foreign])),
            ("1", Some(described(&["here"]))),
            ("2", Some(described(&["there"]))),
            ("3", stray),
            ("4", None),
        ],
        ..server()
    };

    let report = examine(&server, &enrolled(), &array);

    let of = |disk: &str| {
        let what = format!("disk {disk}");
        let check = report.checks.iter().find(|check| check.what == what);
        let check = check.expect("each disk has a line");
        (check.level, check.found.as_str())
    };
    assert!(
        of("0").0 == Level::Ok && of("0").1.contains("not ours"),
        "{:?}",
        of("0")
    );
    assert!(
        of("1").0 == Level::Ok && of("1").1.contains("on store1"),
        "{:?}",
        of("1")
    );
    assert!(of("2").0 == Level::Warning && of("2").1.contains("does not show it"));
    assert!(of("3").0 == Level::Warning && of("3").1.contains("no enrolled array"));
    assert!(of("4").0 == Level::Warning && of("4").1.contains("no answer"));
}

/// SEC-7.
#[test]
fn program_that_others_may_change_is_a_finding() {
    let mut system = FakeSystem::default();
    registration::install(&system, Hosting::Service).unwrap();
    for (is_ordinary, level) in [(true, Level::Failed), (false, Level::Warning)] {
        system.exposed = vec![Exposed {
            path: "x".to_owned(),
            sid: "S-1-5-11".to_owned(),
            is_ordinary,
        }];

        let report = examine_on(&system, &server(), &enrolled(), &array());

        assert_eq!(found(&report), [("rights to the files", level)]);
    }
}

/// SEC-10, T-304: no report tells the token.
#[test]
fn t304_token_is_in_no_report() {
    for array in [array(), SimulatedArray::new(VirtualClock::new())] {
        array.fault(Op::Query, Fault::Down);
        let report = examine(&server(), &enrolled(), &array);
        let json = serde_json::to_string(&report).unwrap();
        assert!(!json.contains("cdcdcd") && !report.table().contains("cdcdcd"));
    }
}
