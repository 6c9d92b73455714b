// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bad input: one clear line with cause and remedy, exit code 2 or a documented HTTP status, nothing changed.

mod support;

use array_api::http1::{Request, exchange};
use array_api::{Array, ArrayErrorKind, Enrolment, HttpsArray, KeyPin, LunId, Token};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use support::{Daemon, MIB, WITHIN, config_text, prepare, shadowlund, write_config};

/// Starts a daemon that must not start: exit code 2, one line with these words, nothing on standard output.
fn assert_refused(config: &Path, words: &[&str]) {
    let output = shadowlund(config).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.starts_with("shadowlund: ") && error.contains(['(', ';', ':']),
        "{error}"
    );
    for word in words {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
    assert!(output.stdout.is_empty());
}

/// The format version stands behind the 16 bytes of magic of the data file (docs/store-format.md).
fn replace_store_version(data: &Path, version: u32) -> u32 {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(data)
        .unwrap();
    let mut before = [0; 4];
    file.read_exact_at(&mut before, 16).unwrap();
    file.write_all_at(&version.to_le_bytes(), 16).unwrap();
    u32::from_le_bytes(before)
}

#[test]
fn config_missing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_refused(
        &dir.path().join("none.toml"),
        &["none.toml", "--print-config"],
    );
}

#[test]
fn config_malformed_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "state_dir = \"/nowhere\"\nname = 5\n");
    assert_refused(&config, &["line 2", "--print-config"]);
}

#[test]
fn config_log_filter_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = config_text(&dir.path().join("state"), "").replace("\"info\"", "\"info=\\\\\"");
    assert_refused(&write_config(dir.path(), &text), &["log"]);
    assert!(!dir.path().join("state").exists());
}

#[test]
fn port_of_hosts_in_use_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let text = config_text(&dir.path().join("state"), "").replace(
        "[api]\nlisten = \"127.0.0.1:0\"",
        &format!("[api]\nlisten = \"{address}\""),
    );
    assert_refused(&write_config(dir.path(), &text), &[&address, "api.listen"]);
    assert!(!dir.path().join("state").exists());
}

#[test]
fn port_of_iscsi_in_use_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let text = config_text(&dir.path().join("state"), "").replace(
        "listen = [\"127.0.0.1:0\"]",
        &format!("listen = [\"{address}\"]"),
    );
    assert_refused(
        &write_config(dir.path(), &text),
        &[&address, "iscsi.listen"],
    );
    assert!(!dir.path().join("state").exists());
}

#[test]
fn iscsi_beyond_loopback_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        config_text(&dir.path().join("state"), "").replace("[\"127.0.0.1:0\"]", "[\"0.0.0.0:0\"]");
    assert_refused(&write_config(dir.path(), &text), &["iscsi.listen", "CHAP"]);
    assert!(!dir.path().join("state").exists());
}

#[test]
fn store_of_another_version_is_refused_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    daemon.create_lun("data", MIB, &[]);
    assert_eq!(daemon.terminate(), Some(0));
    let data = dir.path().join("state/store/data");
    let version = replace_store_version(&data, 9);
    let before = std::fs::read(&data).unwrap();

    let config = dir.path().join("shadowlund.toml");
    assert_refused(&config, &["version 9", "version that wrote it"]);

    assert!(before == std::fs::read(&data).unwrap());
    replace_store_version(&data, version);
    assert_eq!(Daemon::start(dir.path()).lun_count(), 1);
}

#[test]
fn second_daemon_on_one_store_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    assert_refused(&dir.path().join("shadowlund.toml"), &["in use"]);
    assert_eq!(daemon.lun_count(), 0);
}

#[test]
fn state_directory_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state"), b"no directory").unwrap();
    let config = write_config(dir.path(), &config_text(&dir.path().join("state"), ""));
    assert_refused(&config, &["state_dir"]);
}

#[test]
fn file_system_without_space_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // A device that is always full stands in for the disk: the catalogue cannot be written beside it.
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::os::unix::fs::symlink("/dev/full", state.join("catalogue.json.new")).unwrap();
    let config = write_config(dir.path(), &config_text(&state, ""));
    assert_refused(&config, &["catalogue.json", "space"]);
}

#[test]
fn certificate_of_another_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Daemon::start(dir.path()).terminate();
    std::fs::write(dir.path().join("state/tls-cert.pem"), "not a certificate").unwrap();
    assert_refused(
        &dir.path().join("shadowlund.toml"),
        &["tls-cert.pem", "backup"],
    );
}

#[test]
fn catalogue_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Daemon::start(dir.path()).terminate();
    std::fs::write(dir.path().join("state/catalogue.json"), r#"{"format": 7}"#).unwrap();
    assert_refused(&dir.path().join("shadowlund.toml"), &["format 7"]);
}

/// Runs `shadowlun` and expects a refusal with this exit code and these words.
fn assert_cli_refused(daemon: &Daemon, arguments: &[&str], code: i32, words: &[&str]) {
    let before = daemon.admin(&["lun", "list"]);
    let output = daemon.cli(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
    assert!(output.stdout.is_empty());
    assert_eq!(daemon.admin(&["lun", "list"]), before);
}

#[test]
fn lun_name_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    daemon.create_lun("data", MIB, &[]);
    let again = ["lun", "create", "data", "1MiB"];
    assert_cli_refused(&daemon, &again, 2, &["data", "already", "another name"]);
}

#[test]
fn lun_malformed_name_size_or_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let cases: [(&[&str], &str); 5] = [
        (&["lun", "create", "a/b", "1MiB"], "letters"),
        (&["lun", "create", "a", "100"], "512"),
        (&["lun", "create", "a", "65TiB"], "64 TiB"),
        (&["lun", "create", "a", "0"], "512"),
        (
            &["lun", "create", "a", "1MiB", "--host", "nobody"],
            "host list",
        ),
    ];
    for (arguments, word) in cases {
        assert_cli_refused(&daemon, arguments, 2, &[word]);
    }
}

#[test]
fn lun_unknown_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    for verb in ["show", "delete"] {
        assert_cli_refused(
            &daemon,
            &["lun", verb, "nothing"],
            2,
            &["nothing", "lun list"],
        );
    }
}

#[test]
fn lun_mapped_cannot_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    daemon.add_host("a", &[]);
    daemon.create_lun("data", MIB, &["a"]);
    assert_cli_refused(
        &daemon,
        &["lun", "delete", "data"],
        1,
        &["mapped to a", "unmap"],
    );
}

#[test]
fn host_twice_malformed_or_with_a_taken_initiator_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    daemon.add_host("a", &[]);
    let taken = support::iqn("a").to_uppercase().replace("IQN.", "iqn.");
    let cases: [(&[&str], &str); 4] = [
        (&["host", "add", "a", "--iqn", "iqn.2026-01.x:b"], "already"),
        (&["host", "add", "b", "--iqn", &taken], "already"),
        (&["host", "add", "b", "--iqn", "b"], "RFC 7143"),
        (
            &[
                "host",
                "add",
                "b",
                "--iqn",
                "iqn.2026-01.x:b",
                "--address",
                "here",
            ],
            "HOST:PORT",
        ),
    ];
    for (arguments, word) in cases {
        assert_cli_refused(&daemon, arguments, 2, &[word]);
    }
    assert_eq!(daemon.admin(&["host", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn daemon_that_is_not_there_is_told_with_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_shadowlun"))
        .args(["--socket", "none.sock", "status"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("start shadowlund"), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn token_unknown_is_unauthenticated() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let line: Enrolment = daemon.enrol("a", &[]).parse().unwrap();
    let forged = Enrolment::new(line.address(), line.key_pin(), Token::random().unwrap()).unwrap();
    let error = HttpsArray::new(&forged).info(WITHIN).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::Unauthenticated);
    assert!(error.remedy.contains("host add"));
}

#[test]
fn token_of_a_removed_host_is_unauthenticated() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    array.info(WITHIN).unwrap();
    daemon.admin(&["host", "remove", "a"]);
    let error = array.info(WITHIN).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::Unauthenticated);
}

#[test]
fn key_other_than_the_pinned_one_is_no_array_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let line: Enrolment = daemon.enrol("a", &[]).parse().unwrap();
    let other = Enrolment::new(line.address(), KeyPin([7; 32]), line.token().clone()).unwrap();
    let error = HttpsArray::new(&other).info(WITHIN).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::Protocol, "{error}");
    assert!(error.message.contains("another key"), "{error}");
}

#[test]
fn lun_unknown_over_https_is_unknown_lun() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    let error = array.map(WITHIN, &[LunId(1)]).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::UnknownLun);
    assert!(error.remedy.contains("lun list"));
}

#[test]
fn space_below_the_floor_refuses_check_and_prepare() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_text(&dir.path().join("state"), "").replace("8MiB", "255MiB");
    let daemon = Daemon::start_with(dir.path(), &config);
    let array = daemon.add_host("a", &[]);
    let lun = daemon.create_lun("data", 4 * MIB, &["a"]);
    let set = prepare(&array, &[lun]);
    array.abort(WITHIN, set, false).unwrap();
    let number = daemon.number(lun, "a");
    let output = daemon.qemu_io("a", number, &["write -q -P 1 0 4M", "flush"]);
    assert!(output.status.success());

    let request = array_api::PrepareRequest {
        snapshot: array_api::SnapshotId::new_v4(),
        luns: vec![lun],
        needs: array_api::CopyNeeds::default(),
    };
    let refused = array
        .prepare(WITHIN, array_api::SetId::new_v4(), &request)
        .unwrap_err();
    assert_eq!(refused.kind, ArrayErrorKind::NoSpace);
    let check = array_api::CheckRequest {
        luns: vec![lun],
        needs: array_api::CopyNeeds::default(),
    };
    let answer = array.check(WITHIN, &check).unwrap();
    assert!(!answer.supported && answer.reason.is_some());
    assert_eq!(daemon.lun_count(), 1);
}

#[test]
fn file_system_below_the_floor_refuses_prepare_although_the_store_has_space() {
    let dir = tempfile::tempdir().unwrap();
    let below = rustix::fs::statvfs(dir.path()).unwrap();
    let floor_mib = below.f_bavail * below.f_frsize / MIB + 1024;
    let config = config_text(&dir.path().join("state"), "")
        .replace("\"256MiB\"", &format!("\"{}MiB\"", floor_mib + 1024))
        .replace("\"8MiB\"", &format!("\"{floor_mib}MiB\""));
    let daemon = Daemon::start_with(dir.path(), &config);
    let array = daemon.add_host("a", &[]);
    let lun = daemon.create_lun("data", MIB, &["a"]);
    let request = array_api::PrepareRequest {
        snapshot: array_api::SnapshotId::new_v4(),
        luns: vec![lun],
        needs: array_api::CopyNeeds::default(),
    };
    let refused = array
        .prepare(WITHIN, array_api::SetId::new_v4(), &request)
        .unwrap_err();
    assert_eq!(refused.kind, ArrayErrorKind::NoSpace);
    assert_eq!(daemon.lun_count(), 1);
}

#[test]
fn http_spoken_to_the_https_port_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let mut stream = TcpStream::connect(&daemon.api).unwrap();
    let request = Request {
        method: "GET",
        path: "/v1/info",
        host: "x",
        headers: &[],
        json: None,
    };
    assert!(exchange(&mut stream, &request, 1000).is_err());
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(daemon.lun_count(), 0);
}

#[test]
fn admin_request_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let request = Request {
        method: "POST",
        path: arrayd::admin::PATH,
        host: "localhost",
        headers: &[],
        json: Some(br#"{"lun_explode":{}}"#),
    };
    let response = exchange(&mut stream, &request, 1 << 16).unwrap();
    assert_eq!(response.status, 400);
}
