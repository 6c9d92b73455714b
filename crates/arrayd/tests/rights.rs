// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may do what (design, "Who may do what").

mod support;

use array_api::{
    Array, ArrayErrorKind, CheckRequest, CopyNeeds, DeleteOutcome, HttpsArray, LunId,
    PrepareRequest, ResyncId, ResyncPair, ResyncStatus, SetId, SnapshotId,
};
use support::{Daemon, MIB, WITHIN, copies};

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
        kind(bench.stranger.break_copies(WITHIN, &[copy])),
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
