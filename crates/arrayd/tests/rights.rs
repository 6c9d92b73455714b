// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what (design, "Who may do what").

mod support;

use array_api::{
    Array, ArrayError, ArrayErrorKind, CheckRequest, CopyNeeds, DeleteOutcome, Enrolment,
    HttpsArray, LunId, PrepareRequest, ResyncId, ResyncPair, ResyncStatus, SetId, SnapshotId,
    Token, http1, wire,
};
use support::{Daemon, MIB, WITHIN, copies, prepare};

/// Host `a` with a LUN, `friend` in a group with it, `stranger` in none.
struct Bench {
    daemon: Daemon,
    a: HttpsArray,
    friend: HttpsArray,
    stranger: HttpsArray,
    lun: LunId,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path());
        let a = daemon.add_host("a", &["--allow-resync"]);
        let friend = daemon.add_host("friend", &[]);
        let stranger = daemon.add_host("stranger", &["--allow-resync"]);
        daemon.admin(&["host", "group", "create", "pair"]);
        for host in ["a", "friend"] {
            daemon.admin(&["host", "group", "add", "pair", host]);
        }
        Self {
            lun: daemon.create_lun("data", 4 * MIB, &["a"]),
            daemon,
            a,
            friend,
            stranger,
            _dir: dir,
        }
    }

    fn copy(&self) -> LunId {
        copies(&self.a, &[self.lun])[0]
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, array_api::ArrayError>) -> ArrayErrorKind {
    result.unwrap_err().kind
}

#[test]
fn prepare_of_a_lun_mapped_to_another_host_is_forbidden() {
    let bench = Bench::new();
    let request = PrepareRequest {
        snapshot: SnapshotId::new_v4(),
        luns: vec![bench.lun],
        needs: CopyNeeds::default(),
    };
    for host in [&bench.friend, &bench.stranger] {
        let result = host.prepare(WITHIN, SetId::new_v4(), &request);
        assert_eq!(kind(result), ArrayErrorKind::Forbidden);
        let check = CheckRequest {
            luns: vec![bench.lun],
            needs: CopyNeeds::default(),
        };
        assert!(!host.check(WITHIN, &check).unwrap().supported);
    }
    assert_eq!(bench.daemon.lun_count(), 1);
}

#[test]
fn group_member_may_map_unmap_and_delete_a_copy() {
    let bench = Bench::new();
    let copy = bench.copy();
    bench.friend.map(WITHIN, &[copy]).unwrap();
    bench.friend.unmap(WITHIN, &[copy]).unwrap();
    assert_eq!(
        bench.friend.delete(WITHIN, copy),
        Ok(DeleteOutcome::Deleted)
    );
}

#[test]
fn stranger_may_not_map_unmap_break_or_delete_a_copy() {
    let bench = Bench::new();
    let copy = bench.copy();
    assert_eq!(
        kind(bench.stranger.map(WITHIN, &[copy])),
        ArrayErrorKind::Forbidden
    );
    assert_eq!(
        kind(bench.stranger.unmap(WITHIN, &[copy])),
        ArrayErrorKind::Forbidden
    );
    assert_eq!(
        kind(bench.stranger.break_copies(WITHIN, &[copy], false)),
        ArrayErrorKind::Forbidden
    );
    assert_eq!(
        kind(bench.stranger.delete(WITHIN, copy)),
        ArrayErrorKind::Forbidden
    );
    assert_eq!(bench.daemon.lun_count(), 2);
}

#[test]
fn member_that_leaves_the_group_loses_its_rights() {
    let bench = Bench::new();
    let copy = bench.copy();
    bench
        .daemon
        .admin(&["host", "group", "remove", "pair", "friend"]);
    assert_eq!(
        kind(bench.friend.map(WITHIN, &[copy])),
        ArrayErrorKind::Forbidden
    );
}

#[test]
fn resync_needs_its_own_right_and_a_mapped_target() {
    let bench = Bench::new();
    let copy = bench.copy();
    let pair = [ResyncPair {
        copy,
        target: bench.lun,
    }];
    bench.daemon.admin(&["lun", "map", "data", "friend"]);
    assert_eq!(
        kind(bench.friend.resync(WITHIN, ResyncId::new_v4(), &pair)),
        ArrayErrorKind::Forbidden
    );
    assert_eq!(
        kind(bench.stranger.resync(WITHIN, ResyncId::new_v4(), &pair)),
        ArrayErrorKind::Forbidden
    );
    assert_eq!(
        bench.a.resync(WITHIN, ResyncId::new_v4(), &pair),
        Ok(ResyncStatus::Finished)
    );
    bench.daemon.admin(&["lun", "unmap", "data", "a"]);
    assert_eq!(
        kind(bench.a.resync(WITHIN, ResyncId::new_v4(), &pair)),
        ArrayErrorKind::Forbidden
    );
}

#[test]
fn initiator_sees_only_what_its_host_has_mapped() {
    let bench = Bench::new();
    let copy = bench.copy();
    bench.friend.map(WITHIN, &[copy]).unwrap();
    bench.daemon.fill("a", bench.lun, 0x33);
    let output = bench.daemon.qemu_io("stranger", 1, &["read 0 512"]);
    assert!(!output.status.success(), "{output:?}");
    let output = bench.daemon.qemu_io("friend", 1, &["read -P 0 0 512"]);
    assert!(
        output.status.success(),
        "the copy is from before the write: {output:?}"
    );
    let output = bench.daemon.qemu_io("nobody", 1, &["read 0 512"]);
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn admin_socket_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.daemon.socket), 0o600);
    assert_eq!(mode(&bench.daemon.state_dir), 0o700);
    assert_eq!(mode(&bench.daemon.state_dir.join("tls-key.pem")), 0o600);
    assert_eq!(mode(&bench.daemon.state_dir.join("catalogue.json")), 0o600);
}

/// What a refused caller gets: with a token of no host, of a host in no group with the maker, of a host in its group that
/// may not resync. `None`: the call is allowed, and answers of itself only.
type Row = (&'static str, [Option<ArrayErrorKind>; 3]);

const ROWS: [Row; 17] = {
    use ArrayErrorKind::*;
    const fn all(kind: ArrayErrorKind) -> [Option<ArrayErrorKind>; 3] {
        [Some(Unauthenticated), Some(kind), Some(kind)]
    }
    [
        ("info", [Some(Unauthenticated), None, None]),
        ("query", [Some(Unauthenticated), None, None]),
        ("check", [Some(Unauthenticated), None, None]),
        ("orphans", [Some(Unauthenticated), None, None]),
        ("prepare", all(Forbidden)),
        ("prepare into the set", all(Forbidden)),
        ("ready", all(UnknownSet)),
        ("arm", all(UnknownSet)),
        ("commit", all(UnknownSet)),
        ("report", all(UnknownSet)),
        ("abort", all(UnknownSet)),
        ("map", [Some(Unauthenticated), Some(Forbidden), None]),
        ("unmap", [Some(Unauthenticated), Some(Forbidden), None]),
        ("break", [Some(Unauthenticated), Some(Forbidden), None]),
        ("delete", [Some(Unauthenticated), Some(Forbidden), None]),
        ("resync", all(Forbidden)),
        ("resync status", all(UnknownResync)),
    ]
};

/// What the calls are about: host `a`'s.
struct Subject {
    lun: LunId,
    copy: LunId,
    set: SetId,
    resync: ResyncId,
}

impl Subject {
    fn call(&self, array: &HttpsArray, name: &str) -> Result<(), ArrayError> {
        let request = PrepareRequest {
            snapshot: SnapshotId::new_v4(),
            luns: vec![self.lun],
            needs: CopyNeeds::default(),
        };
        let check = CheckRequest {
            luns: vec![self.lun],
            needs: CopyNeeds::default(),
        };
        let pair = [ResyncPair {
            copy: self.copy,
            target: self.lun,
        }];
        let other = SetId::new_v4();
        match name {
            "info" => array.info(WITHIN).map(drop),
            "query" => array.query(WITHIN, &[self.lun]).map(drop),
            "check" => array
                .check(WITHIN, &check)
                .map(|answer| assert!(!answer.supported)),
            "orphans" => array.orphans(WITHIN).map(|list| assert!(list.is_empty())),
            "prepare" => array.prepare(WITHIN, other, &request).map(drop),
            "prepare into the set" => array.prepare(WITHIN, self.set, &request).map(drop),
            "ready" => array.ready(WITHIN, self.set).map(drop),
            "arm" => array.arm(WITHIN, self.set).map(drop),
            "commit" => array.commit(WITHIN, self.set).map(drop),
            "report" => array.report(WITHIN, self.set, &[self.lun]).map(drop),
            "abort" => array.abort(WITHIN, self.set, true).map(drop),
            "map" => array.map(WITHIN, &[self.copy]),
            "unmap" => array.unmap(WITHIN, &[self.copy]),
            "break" => array.break_copies(WITHIN, &[self.copy], false),
            "delete" => array.delete(WITHIN, self.copy).map(drop),
            "resync" => array.resync(WITHIN, other, &pair).map(drop),
            "resync status" => {
                let status = array
                    .resync_status(WITHIN, self.resync, std::time::Duration::ZERO)
                    .map(drop);
                let cancel = array.cancel_resync(WITHIN, self.resync).map(drop);
                assert_eq!(status, cancel);
                status
            }
            _ => unreachable!("{name} is in the table"),
        }
    }
}

/// Each call with each token that lacks the right to it: refused by kind, and nothing is changed.
#[test]
fn calls_without_the_right_are_refused_and_change_nothing() {
    let bench = Bench::new();
    let copy = bench.copy();
    let resync = ResyncId::new_v4();
    let pair = [ResyncPair {
        copy,
        target: bench.lun,
    }];
    bench.a.resync(WITHIN, resync, &pair).unwrap();
    let set = prepare(&bench.a, &[bench.lun]);
    let subject = Subject {
        lun: bench.lun,
        copy,
        set,
        resync,
    };
    let line: Enrolment = bench.daemon.enrol("removed", &[]).parse().unwrap();
    bench.daemon.admin(&["host", "remove", "removed"]);
    let token: Token = "0".repeat(64).parse().unwrap();
    let wrong = Enrolment::new(line.address(), line.key_pin(), token).unwrap();
    let (removed, wrong) = (HttpsArray::new(&line), HttpsArray::new(&wrong));
    let callers = [
        ("a removed host", &removed, 0),
        ("a wrong token", &wrong, 0),
        ("a stranger", &bench.stranger, 1),
        ("a friend", &bench.friend, 2),
    ];
    let lists = || [["lun", "list"], ["set", "list"]].map(|list| bench.daemon.admin(&list));
    let before = lists();
    for (call, kinds) in ROWS {
        for (caller, array, column) in callers {
            let Some(expected) = kinds[column] else {
                continue;
            };
            let error = subject.call(array, call).unwrap_err();
            assert_eq!(error.kind, expected, "{call} by {caller}: {error}");
            assert_eq!(lists(), before, "{call} by {caller}");
        }
    }
    for call in ["info", "query", "check", "orphans"] {
        for array in [&bench.friend, &bench.stranger] {
            subject.call(array, call).unwrap();
        }
    }
    assert_eq!(lists(), before);
}

/// Without any token there is no call at all, and an answer that says so.
#[test]
fn calls_without_a_token_are_unauthenticated() {
    let bench = Bench::new();
    let set = SetId::new_v4();
    let steps = ["prepare", "ready", "arm", "commit", "report", "abort"];
    let steps = steps.map(|step| ("POST", format!("/v1/sets/{set}/{step}")));
    let posts = [
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
    let posts = posts.map(|path| ("POST", path.to_owned()));
    let gets = [wire::INFO, wire::ORPHANS].map(|path| ("GET", path.to_owned()));
    let mut stream = support::tls_stream(&bench.daemon);
    let contract = wire::ContractRange::OURS.to_string();
    for (method, path) in steps.iter().chain(&posts).chain(&gets) {
        let request = http1::Request {
            method,
            path,
            host: &bench.daemon.api,
            headers: &[(wire::CONTRACT_HEADER, &contract)],
            json: (*method == "POST").then_some(b"{}".as_slice()),
        };
        let answer = http1::exchange(&mut stream, &request, 1 << 20).unwrap();
        assert_eq!(answer.status, 401, "{method} {path}");
    }
}
