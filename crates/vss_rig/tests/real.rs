// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scenarios and the initiator against the real daemon. Needs the workspace's programs: `cargo build --workspace --bins`.

use std::time::Duration;
use vss_rig::array::{Binaries, CREATOR, Daemon, HostKind, RealArray};
use vss_rig::description::disks;
use vss_rig::initiator::{ASC_LUN_NOT_SUPPORTED, BLOCK_BYTES, Initiator, InitiatorError};
use vss_rig::interrupt::Interrupt;
use vss_rig::scenarios::run_all;
use vss_rig::vss_writes::{
    FLAGS_OF_A_COPY, VolumeFlags, read_disk_id, read_flags, write_disk_id, write_flags, write_mbr,
};

const TIMEOUT: Duration = Duration::from_secs(30);

struct Fixture {
    session: Initiator,
    daemon: Daemon,
    lun: u8,
    _folder: tempfile::TempDir,
}

/// A daemon with one LUN of 1 GiB, and a session to it.
fn fixture() -> Fixture {
    let binaries = Binaries::find(None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&binaries, folder.path(), "4GiB", &Interrupt::default()).unwrap();
    let host = daemon.add_host(CREATOR, "iqn.2026-01.test:host").unwrap();
    daemon.create_lun("one", "1GiB", CREATOR).unwrap();
    let mut session = Initiator::connect(&daemon.portal(&host).unwrap(), TIMEOUT).unwrap();
    let lun = disks(&mut session).unwrap()[0].lun;
    Fixture {
        session,
        daemon,
        lun,
        _folder: folder,
    }
}

#[test]
fn scenarios_against_the_real_array_all_hold() {
    let binaries = Binaries::find(None).unwrap();
    let interrupt = Interrupt::default();
    let array = RealArray::start(&binaries, &HostKind::InProcess, &interrupt).unwrap();

    let outcomes = run_all(&array, &[], &interrupt, |_| ()).unwrap();

    let failed: Vec<_> = outcomes
        .iter()
        .filter_map(|o| Some((o.id, o.failure.as_ref()?)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(!outcomes.is_empty());
}

#[test]
fn initiator_write_over_several_transfers_reads_back() {
    let mut f = fixture();
    let bytes: Vec<u8> = (0..3_000_000 / 512 * 512).map(|i| (i / 7) as u8).collect();

    f.session.write(f.lun, 4096, &bytes).unwrap();
    f.session.synchronize_cache(f.lun).unwrap();

    assert_eq!(f.session.read(f.lun, 4096, bytes.len()).unwrap(), bytes);
}

#[test]
fn initiator_unmapped_lun_gives_sense() {
    let mut f = fixture();

    let error = f.session.read(200, 0, BLOCK_BYTES as usize).unwrap_err();

    assert_eq!(error.sense().unwrap().asc_ascq, ASC_LUN_NOT_SUPPORTED);
}

#[test]
fn initiator_unknown_name_is_refused_at_login() {
    let f = fixture();
    let host = f.daemon.add_host("gone", "iqn.2026-01.test:gone").unwrap();
    f.daemon.cli(&["host", "remove", "gone"]).unwrap();

    let Err(error) = Initiator::connect(&f.daemon.portal(&host).unwrap(), TIMEOUT) else {
        panic!("a removed host logged in");
    };

    assert!(matches!(error, InitiatorError::Login { .. }), "{error}");
}

#[test]
fn vss_writes_flags_and_disk_id_are_read_back() {
    let mut f = fixture();
    let flags = VolumeFlags {
        bits: FLAGS_OF_A_COPY,
        set: uuid::Uuid::from_u128(7),
    };
    assert_eq!(read_disk_id(&mut f.session, f.lun).unwrap(), 0);
    assert_eq!(read_flags(&mut f.session, f.lun).unwrap(), None);

    write_mbr(&mut f.session, f.lun, 0x1234, 500 << 20).unwrap();
    write_flags(&mut f.session, f.lun, flags).unwrap();
    write_disk_id(&mut f.session, f.lun, 0x5678).unwrap();

    assert_eq!(read_disk_id(&mut f.session, f.lun).unwrap(), 0x5678);
    assert_eq!(read_flags(&mut f.session, f.lun).unwrap(), Some(flags));
}
