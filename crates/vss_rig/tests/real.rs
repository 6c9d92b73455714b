// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scenarios and the initiator against the real daemon. Needs the workspace's programs: `cargo build --workspace --bins`.

use std::path::{Path, PathBuf};
use std::time::Duration;
use vss_provider::{DO_MASK_LUNS, Hresult, LunDescription, NOTIFY_READ_WRITE};
use vss_rig::array::{
    ArrayUnderTest as _, Binaries, CREATOR, Daemon, HostKind, IMPORTER, RealArray, lun_id,
};
use vss_rig::description::disks;
use vss_rig::host::ProviderHost;
use vss_rig::initiator::{ASC_LUN_NOT_SUPPORTED, BLOCK_BYTES, Initiator, InitiatorError};
use vss_rig::interrupt::Interrupt;
use vss_rig::scenarios::run_all;
use vss_rig::sequence::{Point, ShadowSet};
use vss_rig::vss_writes::{
    FLAGS_OF_A_COPY, VolumeFlags, read_disk_id, read_flags, write_disk_id, write_flags, write_mbr,
};

const TIMEOUT: Duration = Duration::from_secs(30);
/// VSS_VOLSNAP_ATTR_TRANSPORTABLE.
const TRANSPORTABLE: i32 = 0x20;
/// CAPACITY DATA HAS CHANGED (SPC-4 annex F).
const ASC_CAPACITY_CHANGED: u16 = 0x2A09;

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

/// Two hosts, and what VSS keeps between them: a file.
struct TwoHosts {
    array: RealArray,
    folder: tempfile::TempDir,
}

impl TwoHosts {
    fn start() -> Self {
        let binaries = Binaries::find(None).unwrap();
        let array =
            RealArray::start(&binaries, &HostKind::InProcess, &Interrupt::default()).unwrap();
        Self {
            array,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A provider without memory, as in a new process.
    fn provider(&self, host: &str) -> Box<dyn ProviderHost> {
        self.array.provider(host).unwrap()
    }

    /// Host A makes a transportable set of these originals, each a volume; its file, and what the originals held then. The
    /// originals hold something else since.
    fn made_on_a(&self, originals: &[usize]) -> (PathBuf, Vec<Vec<u8>>) {
        let luns: Vec<_> = originals
            .iter()
            .map(|o| &self.array.originals()[*o])
            .collect();
        let write = || {
            for lun in &luns {
                self.array.write_and_read_back(CREATOR, lun).unwrap();
            }
        };
        write();
        let held = luns
            .iter()
            .map(|lun| self.array.contents(CREATOR, lun).unwrap());
        let held = held.collect();
        let volumes: Vec<_> = luns.iter().map(|lun| std::slice::from_ref(*lun)).collect();
        let mut set = ShadowSet::new(TRANSPORTABLE, &volumes);
        let provider = self.provider(CREATOR);
        set.drive(&*provider, Point::Reported).unwrap();
        // No LocateLuns on the creating host.
        set.step(&*provider, Point::Prefinal).unwrap();
        set.step(&*provider, Point::Created).unwrap();
        write();
        let file = self.folder.path().join(format!("{}.json", set.id));
        std::fs::write(&file, serde_json::to_vec(&set.targets()).unwrap()).unwrap();
        (file, held)
    }

    fn sees(&self, host: &str, lun: &LunDescription) -> bool {
        let disks = self.array.disks(host).unwrap();
        disks.iter().any(|disk| disk.identifiers == lun.identifiers)
    }

    fn import(&self, host: &str, luns: &[LunDescription]) -> Hresult {
        self.provider(host).locate_luns(luns)
    }

    fn delete(&self, host: &str, lun: &LunDescription) -> Hresult {
        let provider = self.provider(host);
        let mut lun = lun.clone();
        assert_eq!(provider.fill_in_lun_info(&mut lun), (Hresult::S_OK, true));
        provider.on_lun_empty(&lun)
    }

    fn change(&self, host: &str, luns: &[LunDescription], flags: u32) -> Hresult {
        self.provider(host).on_lun_state_change(luns, None, flags)
    }

    fn lun_count(&self) -> usize {
        self.array.lun_count().unwrap()
    }
}

fn load(file: &Path) -> Vec<LunDescription> {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// T-141, T-192, T-268, T-269, LOC-8, OLE-8, IMP-1, IMP-7: a transportable set of host A is imported on host B from a file,
/// holds what the originals held, is imported a second time without harm, and is deleted on B. Nothing of it
/// comes up on A.
#[test]
fn t141_set_of_one_host_is_imported_twice_and_deleted_on_another() {
    let hosts = TwoHosts::start();
    let before = hosts.lun_count();
    let (file, held) = hosts.made_on_a(&[0, 1]);
    let copies = load(&file);

    for time in ["first", "second"] {
        assert_eq!(hosts.import(IMPORTER, &copies), Hresult::S_OK, "{time}");
        assert_eq!(hosts.array.disks(IMPORTER).unwrap().len(), 2, "{time}");
        for (copy, held) in copies.iter().zip(&held) {
            assert!(!hosts.sees(CREATOR, copy), "{time}");
            let found = hosts.array.contents(IMPORTER, copy).unwrap();
            assert_eq!(found, *held, "{time}");
        }
    }
    for copy in &copies {
        assert_eq!(hosts.delete(IMPORTER, copy), Hresult::S_OK);
        // Again, and from where it was made: gone already is a success (OLE-4).
        let again = hosts.provider(CREATOR).on_lun_empty(copy);
        assert_eq!(again, Hresult::S_OK);
    }
    assert_eq!(hosts.lun_count(), before);
}

/// T-271, LOC-9: of a set that lost a LUN nothing is mapped, and what is left can be imported alone.
#[test]
fn t271_import_with_one_lun_deleted_maps_nothing() {
    let hosts = TwoHosts::start();
    let (file, held) = hosts.made_on_a(&[0, 1]);
    let copies = load(&file);
    hosts.array.remove_lun(&copies[0]).unwrap();

    let code = hosts.import(IMPORTER, &copies);

    assert_eq!(code, Hresult::VSS_E_PROVIDER_VETO);
    assert!(hosts.array.disks(IMPORTER).unwrap().is_empty());
    assert_eq!(hosts.import(IMPORTER, &copies[1..]), Hresult::S_OK);
    assert_eq!(hosts.array.contents(IMPORTER, &copies[1]).unwrap(), held[1]);
}

/// T-201, T-202, T-205, T-274, OLS-1, OLS-5, OLS-7: masking takes a copy from the host that asks and from no other, keeps its
/// data, and may be repeated; then the copy can be imported again.
#[test]
fn t201_masked_copy_stays_on_the_other_host_and_is_imported_again() {
    let hosts = TwoHosts::start();
    let (file, held) = hosts.made_on_a(&[0]);
    let copies = load(&file);
    for host in [CREATOR, IMPORTER] {
        assert_eq!(hosts.import(host, &copies), Hresult::S_OK);
    }

    for _ in 0..2 {
        let code = hosts.change(CREATOR, &copies, DO_MASK_LUNS);
        assert_eq!(code, Hresult::S_OK);
        assert!(!hosts.sees(CREATOR, &copies[0]));
        assert!(hosts.sees(IMPORTER, &copies[0]));
    }
    assert_eq!(hosts.import(CREATOR, &copies), Hresult::S_OK);
    assert_eq!(hosts.array.contents(CREATOR, &copies[0]).unwrap(), held[0]);
}

/// T-196, OLE-7: a copy that both hosts have goes with the second deletion only.
#[test]
fn t196_deletion_leaves_a_copy_that_another_host_has() {
    let hosts = TwoHosts::start();
    let before = hosts.lun_count();
    let (file, held) = hosts.made_on_a(&[0]);
    let copies = load(&file);
    for host in [CREATOR, IMPORTER] {
        assert_eq!(hosts.import(host, &copies), Hresult::S_OK);
    }

    assert_eq!(hosts.delete(CREATOR, &copies[0]), Hresult::S_OK);

    assert!(!hosts.sees(CREATOR, &copies[0]));
    assert_eq!(hosts.array.contents(IMPORTER, &copies[0]).unwrap(), held[0]);
    assert_eq!(hosts.delete(IMPORTER, &copies[0]), Hresult::S_OK);
    assert_eq!(hosts.lun_count(), before);
}

/// T-194, T-146, OLE-6, BRK-6, LOC-11: once broken, a LUN is nobody's to map, mask or delete, on no host, and keeps its map
/// and its data.
#[test]
fn t194_broken_lun_is_protected_from_both_hosts() {
    let hosts = TwoHosts::start();
    let (file, held) = hosts.made_on_a(&[0]);
    let copies = load(&file);
    assert_eq!(hosts.import(IMPORTER, &copies), Hresult::S_OK);
    let code = hosts.change(IMPORTER, &copies, NOTIFY_READ_WRITE);
    assert_eq!(code, Hresult::S_OK);
    let count = hosts.lun_count();

    for host in [CREATOR, IMPORTER] {
        let veto = Hresult::VSS_E_PROVIDER_VETO;
        assert_eq!(
            hosts.provider(host).on_lun_empty(&copies[0]),
            veto,
            "{host}"
        );
        assert_eq!(hosts.import(host, &copies), veto, "{host}");
    }

    assert_eq!(hosts.lun_count(), count);
    assert!(!hosts.sees(CREATOR, &copies[0]));
    assert_eq!(hosts.array.contents(IMPORTER, &copies[0]).unwrap(), held[0]);
}

/// T-210, T-213, T-276, RSY-2, RSY-3, RSY-13: changed originals become what they were, all in one call, and the copies stay.
#[test]
fn t210_resync_brings_changed_originals_back() {
    let hosts = TwoHosts::start();
    let (file, held) = hosts.made_on_a(&[0, 1]);
    let copies = load(&file);
    let originals = &hosts.array.originals()[..2];
    let provider = hosts.provider(CREATOR);

    let (code, operation) = provider.resync_luns(&copies, originals);

    assert_eq!(code, Hresult::S_OK);
    let operation = operation.unwrap();
    assert_eq!(operation.wait(TIMEOUT), Hresult::S_OK);
    let status = operation.query_status();
    assert_eq!(status, (Hresult::S_OK, Hresult::VSS_S_ASYNC_FINISHED));
    assert_eq!(hosts.import(IMPORTER, &copies), Hresult::S_OK);
    for ((original, copy), held) in originals.iter().zip(&copies).zip(&held) {
        assert_eq!(hosts.array.contents(CREATOR, original).unwrap(), *held);
        assert_eq!(hosts.array.contents(IMPORTER, copy).unwrap(), *held);
    }
}

/// T-211, RSY-4: a larger destination gets the size of the copy, and the session that has it is told.
#[test]
fn t211_resync_shrinks_a_larger_lun_and_tells_its_sessions() {
    let hosts = TwoHosts::start();
    let (file, _) = hosts.made_on_a(&[0]);
    let daemon = hosts.array.daemon();
    let host = daemon
        .add_resync_host("third", "iqn.2026-01.test:third")
        .unwrap();
    daemon
        .cli(&["host", "group", "add", "test", "third"])
        .unwrap();
    daemon.create_lun("larger", "2GiB", "third").unwrap();
    let mut session = Initiator::connect(&daemon.portal(&host).unwrap(), TIMEOUT).unwrap();
    let larger = disks(&mut session).unwrap().remove(0);
    let bytes = |session: &mut Initiator| {
        let capacity = session.capacity(larger.lun).unwrap();
        capacity.blocks * u64::from(capacity.block_bytes)
    };
    assert_eq!(bytes(&mut session), 2 << 30);
    session.take_attentions();
    let array = array_api::HttpsArray::new(&host.enrolment);
    let pair = array_api::ResyncPair {
        copy: lun_id(&load(&file)[0]).unwrap(),
        target: lun_id(&larger.description).unwrap(),
    };

    array_api::Array::resync(&array, TIMEOUT, uuid::Uuid::new_v4(), &[pair]).unwrap();

    assert_eq!(bytes(&mut session), 1 << 30);
    let told = session.take_attentions();
    let told: Vec<u16> = told.iter().map(|attention| attention.asc_ascq).collect();
    assert_eq!(told, [ASC_CAPACITY_CHANGED]);
}
