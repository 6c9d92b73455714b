// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures of the store's own files: poison, do not limp.
use super::{KIB, MIB, all, disk, fill, pair, snapshot, store};
use crate::{Store, StoreError};
use block::ErrorKind;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

const SIZE: u64 = 64 * MIB;

fn fail_next_write(store: &Store, kind: io::ErrorKind) {
    *store.inner().data.faults.next_write.lock().unwrap() = Some(kind);
}

fn fail_next_sync(store: &Store) {
    *store.inner().data.faults.next_sync.lock().unwrap() = Some(io::ErrorKind::Other);
}

/// A store with a LUN that has flushed and unflushed data.
fn prepared() -> (tempfile::TempDir, Store) {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"mine").unwrap();
    store.create_lun(2, SIZE, b"reserved").unwrap();
    fill(&disk(&store, 1), 0, MIB, 1);
    disk(&store, 1).flush().unwrap();
    fill(&disk(&store, 1), 0, 4 * KIB, 2);
    fill(&disk(&store, 1), 32 * MIB, 4 * KIB, 3);
    (dir, store)
}

fn assert_poisoned_but_readable(store: &Store) {
    let lun = disk(store, 1);
    assert!(store.poisoned().is_some());
    let kinds = [
        lun.write(0, &[9; 512]).unwrap_err().kind(),
        lun.unmap(0, MIB).unwrap_err().kind(),
        lun.flush().unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Poisoned; 3]);
    let refused = [
        store.capture(&[pair(1, 2)]),
        store.create_lun(7, SIZE, b""),
        store.delete_lun(1),
        store.set_owner(&[(1, vec![])]),
        store.write_back(&[1], Duration::from_secs(60)).map(|_| ()),
        store.wait_reclaimed(),
    ];
    for result in refused {
        assert!(matches!(result, Err(StoreError::Poisoned(_))), "{result:?}");
    }
    assert!(
        all(&lun, 0, 4 * KIB, 2),
        "what was acknowledged is readable"
    );
    assert!(all(&lun, 4 * KIB, MIB - 4 * KIB, 1));
    assert!(all(&lun, 32 * MIB, 4 * KIB, 3), "also what no row tells of");
}

#[test]
fn failed_sync_in_flush_poisons_until_reopened() {
    let (dir, store) = prepared();
    fail_next_sync(&store);
    let error = disk(&store, 1).flush().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert_poisoned_but_readable(&store);
    assert!(store.close().is_err(), "close says that it could not flush");
    let store = Store::open(dir.path()).unwrap();
    fill(&disk(&store, 1), 0, 4 * KIB, 4);
    disk(&store, 1).flush().unwrap();
    assert!(all(&disk(&store, 1), 4 * KIB, MIB - 4 * KIB, 1));
}

#[test]
fn failed_sync_in_capture_captures_nothing_and_poisons() {
    let (dir, store) = prepared();
    fail_next_sync(&store);
    assert!(store.capture(&[pair(1, 2)]).is_err());
    assert_poisoned_but_readable(&store);
    assert_eq!(store.lun(2).unwrap().owner, b"reserved");
    assert!(all(&disk(&store, 2), 0, MIB, 0));
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.lun(2).unwrap().owner, b"reserved");
    store.capture(&[pair(1, 2)]).unwrap();
}

#[test]
fn failed_write_poisons() {
    let (_dir, store) = prepared();
    fail_next_write(&store, io::ErrorKind::Other);
    let error = disk(&store, 1).write(16 * MIB, &[9; 4096]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(
        all(&disk(&store, 1), 16 * MIB, 4096, 0),
        "the write left no trace"
    );
    assert_poisoned_but_readable(&store);
}

#[test]
fn full_file_system_refuses_the_write_and_nothing_else() {
    let (_dir, store) = prepared();
    let before = store.usage().free_bytes;
    let lun = disk(&store, 1);
    // The write is tried again after getting space back; by then there is some.
    fail_next_write(&store, io::ErrorKind::StorageFull);
    fill(&lun, 16 * MIB, 4 * KIB, 5);
    assert!(all(&lun, 16 * MIB, 4 * KIB, 5));
    assert_eq!(store.poisoned(), None);
    assert_eq!(store.usage().free_bytes, before - 64 * KIB);
    snapshot(&store, 1, 3);
    assert!(all(&disk(&store, 3), 16 * MIB, 4 * KIB, 5));
}

#[test]
fn writers_waiting_for_room_are_released_by_poison() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let lun = disk(&store, 1);
    fail_next_sync(&store);
    // More than may be unflushed: the writer has to meet the failed background flush.
    let result = (0..48_u64).try_for_each(|mib| lun.write(mib * MIB, &vec![1; MIB as usize]));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Poisoned);
}

/// A chunk is given back only once the transaction is durable in which its last reference ends: until then a crash
/// brings back the row that names it.
#[test]
fn failed_commit_keeps_what_the_last_durable_rows_name() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let lun = disk(&store, 1);
    fill(&lun, 0, 4 * 64 * KIB, 1);
    lun.flush().unwrap();
    // A copy that comes and goes leaves the LUN at a new version that still reads the old one's row.
    snapshot(&store, 1, 2);
    store.delete_lun(2).unwrap();
    store.wait_reclaimed().unwrap();
    let before = store.usage().free_bytes;
    // Whole chunks: the new row does without any of the old ones.
    fill(&lun, 0, 2 * 64 * KIB, 2);
    let meta = store.inner().meta().unwrap();
    meta.fail_next_commit.store(true, Ordering::Relaxed);
    drop(meta);
    assert_eq!(lun.flush().unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(all(&lun, 0, 2 * 64 * KIB, 2), "acknowledged, so readable");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(all(&disk(&store, 1), 0, 4 * 64 * KIB, 1), "old, not zeros");
    store.wait_reclaimed().unwrap();
    assert_eq!(store.usage().free_bytes, before);
}

#[test]
fn flush_after_overwrite_in_place_syncs_the_data_without_a_transaction() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let lun = disk(&store, 1);
    fill(&lun, 0, 64 * KIB, 1);
    lun.flush().unwrap();
    let before = store.counters();
    fill(&lun, 0, 4 * KIB, 2);
    lun.flush().unwrap();
    let after = store.counters();
    assert_eq!(after.data_syncs, before.data_syncs + 1);
    assert_eq!(after.meta_commits, before.meta_commits);
    lun.flush().unwrap();
    assert_eq!(store.counters(), after, "nothing is left to make durable");
}

#[test]
fn write_on_full_file_system_fails_alone_and_leaves_metadata_its_room() {
    let (_dir, store) = prepared();
    let free_bytes = &store.inner().data.faults.free_bytes;
    *free_bytes.lock().unwrap() = Some(MIB);
    let lun = disk(&store, 1);

    let refused = lun.write(48 * MIB, &[9; 4096]).unwrap_err();

    assert_eq!(refused.kind(), ErrorKind::NoSpace);
    assert!(all(&lun, 48 * MIB, 4 * KIB, 0), "nothing was changed");
    fill(&lun, 0, 4 * KIB, 5);
    lun.flush().unwrap();
    store.delete_lun(2).unwrap();
    assert_eq!(store.poisoned(), None);

    *free_bytes.lock().unwrap() = None;
    fill(&lun, 48 * MIB, 4 * KIB, 9);
}
