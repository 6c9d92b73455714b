// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::data_folder::MemoryFolder;
use crate::enrolment::tests::{Machine, of_line};
use crate::registration::tests::FakeSystem;
use array_api::ArrayErrorKind;
use array_api::simulated::{SimulatedArray, VirtualClock};
use std::time::Duration;

const TOKEN: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

fn enrolled() -> MemoryFolder {
    let folder = MemoryFolder::default();
    let line = format!("shadowlun://array:8443/1/{}/{TOKEN}", "ab".repeat(32));
    enrolment::add(&folder, &Machine(1), &of_line("store1", &line)).unwrap();
    folder
}

fn installed(hosting: Hosting) -> FakeSystem {
    let system = FakeSystem::default();
    registration::install(&system, hosting).unwrap();
    system
}

fn answers(_: &Enrolment) -> Result<ArrayInfo, ArrayError> {
    SimulatedArray::new(VirtualClock::new())
        .host("winhost")
        .info(Duration::from_secs(1))
}

/// [`super::look`] for a host that is enrolled, or not.
fn look(
    system: &dyn System,
    folder: &dyn DataFolder,
    secrets: &dyn SecretBox,
    ask: &dyn Fn(&Enrolment) -> Result<ArrayInfo, ArrayError>,
) -> Status {
    super::look(system, folder, secrets, Arrays::Enrolled, ask)
}

fn bad_lines(status: &Status) -> Vec<&'static str> {
    assert!(
        status
            .lines
            .iter()
            .all(|l| l.in_order == l.remedy.is_none())
    );
    assert_eq!(status.in_order, status.lines.iter().all(|l| l.in_order));
    let bad = status.lines.iter().filter(|line| !line.in_order);
    bad.map(|line| line.what).collect()
}

#[test]
fn everything_is_in_order_after_install_and_enroll_in_both_hostings() {
    for hosting in [Hosting::Service, Hosting::LocalServer] {
        let status = look(&installed(hosting), &enrolled(), &Machine(1), &answers);

        assert_eq!(bad_lines(&status), [""; 0], "{}", status.table());
        assert!(status.table().contains("winhost"));
    }
}

#[test]
fn every_array_is_listed_and_asked() {
    let folder = enrolled();
    let line = format!("shadowlun://other:8443/1/{}/{TOKEN}", "01".repeat(32));
    enrolment::add(&folder, &Machine(1), &of_line("store2", &line)).unwrap();

    let status = look(&installed(Hosting::Service), &folder, &Machine(1), &answers);

    let table = status.table();
    assert!(
        table.contains("array:8443") && table.contains("other:8443"),
        "{table}"
    );
    let asked = status.lines.iter().filter(|line| line.what == "array");
    assert_eq!(asked.count(), 2);
}

/// T-304, SEC-10.
#[test]
fn t304_token_is_in_no_output() {
    let status = look(
        &installed(Hosting::Service),
        &enrolled(),
        &Machine(1),
        &answers,
    );

    let json = serde_json::to_string(&status).unwrap();
    assert!(json.contains("abababab"), "the key pin is shown");
    assert!(!json.contains("cdcdcdcd") && !status.table().contains("cdcdcdcd"));
}

#[test]
fn each_bad_line_has_a_remedy_before_anything_is_installed() {
    let folder = MemoryFolder::default();

    let status = look(&FakeSystem::default(), &folder, &Machine(1), &answers);

    assert_eq!(
        bad_lines(&status),
        [
            "COM class",
            "service",
            "event source",
            "registered in VSS",
            "enrolment",
            "array"
        ]
    );
    assert!(
        status
            .table()
            .contains("-> run 'shadowlun-provider install'")
    );
}

#[test]
fn keys_of_both_hostings_are_not_in_order() {
    let system = installed(Hosting::Service);
    let value = registration::Value::Text("x".to_owned());
    system
        .set_value(&registration::local_server_key(), "", &value)
        .unwrap();

    let status = look(&system, &enrolled(), &Machine(1), &answers);

    assert_eq!(bad_lines(&status), ["COM class"]);
}

/// The program's own path is as it was typed.
#[test]
fn paths_in_another_case_are_the_same() {
    for hosting in [Hosting::Service, Hosting::LocalServer] {
        let mut system = installed(hosting);
        system.in_lower_case = true;

        let status = look(&system, &enrolled(), &Machine(1), &answers);

        assert_eq!(bad_lines(&status), [""; 0], "{}", status.table());
    }
}

#[test]
fn moved_executable_is_noticed() {
    let system = installed(Hosting::LocalServer);
    let value = registration::Value::Text(r#""C:\Old\shadowlun-provider.exe""#.to_owned());
    system
        .set_value(&registration::local_server_key(), "", &value)
        .unwrap();

    let status = look(&system, &enrolled(), &Machine(1), &answers);

    assert_eq!(bad_lines(&status), ["COM class", "service"]);
    assert!(status.table().contains(r"C:\Old"), "{}", status.table());
}

#[test]
fn unreachable_array_and_broken_settings_are_named() {
    let folder = enrolled();
    folder.put(settings::FILE, b"no = 1");
    let unreachable = |_: &Enrolment| {
        Err(ArrayError::new(
            ArrayErrorKind::Unreachable,
            "no connection",
            "check the network",
        ))
    };

    let status = look(
        &installed(Hosting::Service),
        &folder,
        &Machine(1),
        &unreachable,
    );

    assert_eq!(bad_lines(&status), ["settings", "array"]);
    assert!(status.table().contains("check the network"));
}

#[test]
fn vendors_own_array_is_asked_and_no_enrolment_is_missed() {
    let own = |open| Arrays::Own {
        open,
        how: "plug it in",
    };
    let look = |arrays| {
        let (system, folder) = (installed(Hosting::Service), MemoryFolder::default());
        super::look(&system, &folder, &Machine(1), arrays, &answers)
    };

    let there = look(own(|_| {
        Ok(SimulatedArray::new(VirtualClock::new()).host("winhost"))
    }));
    let away = look(own(|_| {
        Err(ArrayError::new(
            ArrayErrorKind::Unreachable,
            "no cable",
            "plug it in",
        ))
    }));

    assert_eq!(bad_lines(&there), [""; 0], "{}", there.table());
    assert!(there.table().contains("this host is winhost there"));
    assert_eq!(bad_lines(&away), ["array"]);
    assert!(away.table().contains("-> plug it in"), "{}", away.table());
}
