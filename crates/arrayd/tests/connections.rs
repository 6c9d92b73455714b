// SPDX-License-Identifier: MIT OR Apache-2.0
//! Peers that are slow, silent or many, and a daemon that is asked to end meanwhile.

mod support;

use array_api::{Array, ArrayErrorKind, Enrolment, ErrorBody, http1, wire};
use std::io::{Read, Write};
use std::net::TcpStream;
use support::{Daemon, WITHIN, tls_stream};

/// More than one address may have.
const MANY: usize = 70;

#[test]
fn terminate_answers_the_request_under_way_first() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let line = daemon.enrol("a", &[]);
    let token = line.parse::<Enrolment>().unwrap().token().expose();
    let body = br#"{"luns":[]}"#;
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{}: {}\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        wire::QUERY,
        wire::CONTRACT_HEADER,
        wire::ContractRange::OURS,
        body.len()
    );
    let mut stream = tls_stream(&daemon);
    stream.write_all(head.as_bytes()).unwrap();
    // The daemon asks for the body: the request is under way.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    daemon.ask_to_end();
    // Its listener is closed before connections are waited for.
    while TcpStream::connect(&daemon.api).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(body).unwrap();

    let mut answer = Vec::new();
    // Where TLS was not closed in order the answer counts all the same.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn connections_of_one_address_are_bounded_and_do_not_keep_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    let mut silent: Vec<TcpStream> = (0..MANY)
        .map(|_| TcpStream::connect(&daemon.api).unwrap())
        .collect();
    // The last one is closed by the daemon at once, not after the time of a handshake.
    let last = silent.last_mut().unwrap();
    last.set_read_timeout(Some(WITHIN / 4)).unwrap();
    let closed = last.read(&mut [0]);
    assert!(!matches!(&closed, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));

    silent.truncate(8);
    // Whether the daemon has seen the ends yet is a matter of a moment.
    while array.info(WITHIN).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(daemon.terminate(), Some(0));
}

#[test]
fn set_id_that_is_no_text_is_refused_in_the_contracts_form() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let line = daemon.enrol("a", &[]);
    let token = line.parse::<Enrolment>().unwrap().token().expose();
    let mut stream = tls_stream(&daemon);
    let authorization = format!("Bearer {token}");
    let versions = wire::ContractRange::OURS.to_string();
    let request = http1::Request {
        method: "POST",
        path: "/v1/sets/%ff/arm",
        host: "a",
        headers: &[
            ("Authorization", &authorization),
            (wire::CONTRACT_HEADER, &versions),
        ],
        json: Some(b"{}"),
    };
    let answer = http1::exchange(&mut stream, &request, 1 << 20).unwrap();
    assert_eq!(answer.status, 400);
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body.error, ArrayErrorKind::InvalidRequest);
}
