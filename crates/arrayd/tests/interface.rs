// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interface as it is written down: the OpenAPI document, the contract header, the client's time limits, the words
//! of the daemon's start.

mod support;

use array_api::wire::{self, ContractRange};
use array_api::{Array, ArrayErrorKind, Enrolment, HttpsArray, KeyPin, Readiness, Token};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{Daemon, MIB, WITHIN, armed, config_text, prepare, shadowlund, write_config};

#[test]
fn openapi_document_is_the_one_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == arrayd::api::openapi_json(),
        "docs/openapi.json is not what the code says; make it anew with:\n\
         cargo run -q -p arrayd --bin shadowlund -- --print-openapi > docs/openapi.json"
    );
}

#[test]
fn openapi_document_names_every_path_of_the_wire() {
    let document: serde_json::Value = serde_json::from_str(&arrayd::api::openapi_json()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let known = [
        wire::INFO,
        wire::ORPHANS,
        wire::QUERY,
        wire::CHECK,
        wire::MAP,
        wire::UNMAP,
        wire::BREAK,
        wire::DELETE,
        wire::RESYNC,
        wire::RESYNC_STATUS,
        wire::CANCEL_RESYNC,
    ];
    assert!(known.iter().all(|path| paths.contains_key(*path)));
    assert_eq!(
        paths.len(),
        known.len() + 6,
        "six steps of a set, and nothing else"
    );
}

#[test]
fn status_tells_the_real_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let status = daemon.admin(&["status"]);
    assert_eq!(status["api_address"], daemon.api.as_str());
    assert_eq!(status["iscsi_addresses"][0], daemon.portal.as_str());
    assert_eq!(status["target_iqn"], daemon.target.as_str());
}

#[test]
fn service_manager_is_told_when_the_daemon_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    let config = write_config(dir.path(), &config_text(&dir.path().join("state"), ""));
    let mut child = shadowlund(&config)
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut buf = [0; 64];
    socket.set_read_timeout(Some(WITHIN)).unwrap();
    let count = socket.recv(&mut buf);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(&buf[..count.unwrap()], b"READY=1");
}

#[test]
fn enrolment_address_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let line: Enrolment = daemon
        .enrol("a", &["--address", "array.example.net:8443"])
        .parse()
        .unwrap();
    assert_eq!(line.address(), "array.example.net:8443");
}

#[test]
fn client_keeps_two_connections_over_arm_and_commit() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    let lun = daemon.create_lun("data", MIB, &["a"]);
    let set = prepare(&array, &[lun]);
    assert_eq!(array.ready(WITHIN, set), Ok(Readiness::Ready));
    assert_eq!(array.warm_connections(), 2);
    array.arm(WITHIN, set).unwrap();
    array.commit(WITHIN, set).unwrap();
    assert_eq!(array.warm_connections(), 2);
}

#[test]
fn client_outlives_a_restart_of_the_array_without_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    array.info(WITHIN).unwrap();
    let config = config_text(&dir.path().join("state"), "").replace(
        "[api]\nlisten = \"127.0.0.1:0\"",
        &format!("[api]\nlisten = \"{}\"", daemon.api),
    );
    daemon.terminate();
    let _daemon = Daemon::start_with(dir.path(), &config);
    array.info(WITHIN).unwrap();
}

fn enrolment_at(address: &str) -> Enrolment {
    Enrolment::new(address, KeyPin([1; 32]), Token::random().unwrap()).unwrap()
}

#[test]
fn client_of_an_array_that_is_down_says_unreachable() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = HttpsArray::new(&enrolment_at(&address.to_string()))
        .info(WITHIN)
        .unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::Unreachable);
}

#[test]
fn client_of_a_silent_peer_says_timed_out_within_its_time() {
    // Takes the connection (the system does) and never says a word.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let started = Instant::now();
    let error = HttpsArray::new(&enrolment_at(&address))
        .info(Duration::from_millis(200))
        .unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::TimedOut);
    assert!(started.elapsed() < WITHIN);
}

#[test]
fn client_of_a_peer_without_tls_says_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let peer = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut buf = [0; 512];
        let _ = stream.read(&mut buf);
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        let _ = stream.read(&mut buf);
    });
    let error = HttpsArray::new(&enrolment_at(&address))
        .info(WITHIN)
        .unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::Protocol);
    peer.join().unwrap();
}

#[test]
fn abort_is_answered_while_other_calls_are_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    let lun = daemon.create_lun("data", MIB, &["a"]);
    let set = armed(&array, &[lun]);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| array.info(WITHIN))).collect();
        array.abort(WITHIN, set, false).unwrap();
        for call in calls {
            call.join().unwrap().unwrap();
        }
    });
    assert_eq!(daemon.lun_count(), 1);
}

#[test]
fn contract_of_another_version_is_a_clear_error() {
    let ours = ContractRange::OURS;
    let newer = ContractRange {
        oldest: ours.newest + 1,
        newest: ours.newest + 1,
    };
    for (stated, status, word) in [
        (newer.to_string(), 422, "update the older side"),
        ("nonsense".to_owned(), 400, "contract"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path());
        let line: Enrolment = daemon.enrol("a", &[]).parse().unwrap();
        let answer = support::raw_request(&daemon, &line.token().expose(), wire::INFO, &stated);
        assert_eq!(answer.status, status);
        assert!(String::from_utf8(answer.body).unwrap().contains(word));
    }
}

#[test]
fn openapi_document_is_served_without_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let answer = support::raw_request(&daemon, "", wire::OPENAPI, "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, arrayd::api::openapi_json().into_bytes());
}

#[test]
fn body_too_large_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    let many = vec![array_api::LunId(1); wire::REQUEST_BYTES_MAX / 32];
    let error = array.query(WITHIN, &many).unwrap_err();
    assert!(
        matches!(
            error.kind,
            ArrayErrorKind::InvalidRequest | ArrayErrorKind::Unreachable
        ),
        "{error}"
    );
}

#[test]
fn write_under_a_number_that_was_freed_reaches_no_other_lun() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    daemon.add_host("a", &[]);
    let one = daemon.create_lun("one", MIB, &["a"]);
    let number = daemon.number(one, "a");
    daemon.admin(&["lun", "unmap", "one", "a"]);
    let two = daemon.create_lun("two", MIB, &["a"]);
    assert_ne!(
        daemon.number(two, "a"),
        number,
        "a freed number comes back last"
    );
    let output = daemon.qemu_io("a", number, &["write 0 512"]);
    assert!(!output.status.success());
    assert!(daemon.holds("a", two, 0));
}

#[test]
fn daemon_reads_its_own_printed_configuration() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_shadowlund"))
        .arg("--print-config")
        .output()
        .unwrap();
    assert_eq!(output.stdout, arrayd::config::EXAMPLE.as_bytes());
}

#[test]
fn tables_show_what_json_says() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    let lun = daemon.create_lun("data", MIB, &["a"]);
    let set = prepare(&array, &[lun]);
    let shown = |arguments: &[&str]| {
        let output = daemon.cli(arguments);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let luns = shown(&["lun", "list"]);
    assert!(
        luns.contains("NAME") && luns.contains("data") && luns.contains("a:1"),
        "{luns}"
    );
    assert!(luns.contains("copy, reserved"), "{luns}");
    assert!(shown(&["set", "list"]).contains(&set.to_string()));
    assert!(shown(&["set", "show", &set.to_string()]).contains("preparing"));
    assert!(shown(&["orphans"]).contains("reserved"));
    assert!(shown(&["status"]).contains(&daemon.portal));
    assert!(shown(&["host", "list"]).contains(&support::iqn("a")));
}

/// LOC-13: a host sees its LUNs under the same numbers on every portal.
#[test]
fn lun_numbers_are_the_same_on_every_portal() {
    let dir = tempfile::tempdir().unwrap();
    let text = config_text(&dir.path().join("state"), "").replace(
        "[iscsi]\nlisten = [\"127.0.0.1:0\"]",
        "[iscsi]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]",
    );
    let mut daemon = Daemon::start_with(dir.path(), &text);
    daemon.add_host("a", &[]);
    let luns = ["one", "two"].map(|name| daemon.create_lun(name, MIB, &["a"]));
    let portals = daemon.portal.clone();
    let portals: Vec<&str> = portals.split(',').collect();
    assert_eq!(portals.len(), 2);
    for (byte, lun) in [1, 2].into_iter().zip(luns) {
        daemon.portal = portals[0].to_owned();
        daemon.fill("a", lun, byte);
        daemon.portal = portals[1].to_owned();
        assert!(daemon.holds("a", lun, byte));
    }
}

/// The enrolment line can be piped into `shadowlun-provider enroll -`; with `--json` it is a field.
#[test]
fn host_add_prints_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let output = daemon.cli(&["host", "add", "a", "--iqn", &support::iqn("a")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().parse::<Enrolment>().unwrap();
    daemon.enrol("b", &[]).parse::<Enrolment>().unwrap();
}
