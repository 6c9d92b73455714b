// SPDX-License-Identifier: MIT OR Apache-2.0
//! Space: what is used, what comes back, and what happens when there is none.
use super::{KIB, MIB, all, disk, fill, reopen, resync, snapshot, store};
use crate::Store;
use block::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const SIZE: u64 = 64 * MIB;

fn used(store: &Store) -> u64 {
    let usage = store.usage();
    usage.capacity_bytes - usage.free_bytes
}

/// What the data file takes on its file system, in bytes.
fn allocated(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("data")).unwrap().blocks() * 512
}

#[test]
fn delete_gives_space_back_to_store_and_file_system() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, 16 * MIB, 1);
    disk(&store, 1).flush().unwrap();
    assert_eq!(used(&store), 16 * MIB);
    assert!(allocated(dir.path()) >= 16 * MIB);
    store.delete_lun(1).unwrap();
    store.wait_reclaimed().unwrap();
    assert_eq!(used(&store), 0);
    assert!(allocated(dir.path()) <= 64 * KIB, "only the header is left");
}

#[test]
fn delete_of_copy_gives_back_what_only_it_held() {
    let (dir, store) = store(128);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, 16 * MIB, 1);
    snapshot(&store, 1, 2);
    fill(&disk(&store, 1), 0, 16 * MIB, 2);
    fill(&disk(&store, 2), 32 * MIB, 8 * MIB, 3);
    disk(&store, 1).flush().unwrap();
    assert_eq!(used(&store), 40 * MIB);
    store.delete_lun(2).unwrap();
    store.wait_reclaimed().unwrap();
    assert_eq!(used(&store), 16 * MIB);
    assert!(all(&disk(&store, 1), 0, 16 * MIB, 2));
    let store = reopen(dir.path(), store);
    assert_eq!(used(&store), 16 * MIB);
}

#[test]
fn delete_of_source_keeps_what_copies_need_and_no_more() {
    let (dir, store) = store(128);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, 16 * MIB, 1);
    snapshot(&store, 1, 2);
    fill(&disk(&store, 1), 8 * MIB, 16 * MIB, 2);
    store.delete_lun(1).unwrap();
    store.wait_reclaimed().unwrap();
    assert_eq!(used(&store), 16 * MIB);
    // The copy goes its own way: what it no longer reads of its dead source comes back too.
    fill(&disk(&store, 2), 0, 8 * MIB, 3);
    disk(&store, 2).flush().unwrap();
    assert_eq!(used(&store), 16 * MIB);
    disk(&store, 2).unmap(0, SIZE).unwrap();
    disk(&store, 2).flush().unwrap();
    assert_eq!(used(&store), 0);
    let store = reopen(dir.path(), store);
    assert_eq!(used(&store), 0);
}

#[test]
fn middle_of_three_captures_deleted_gives_back_its_own_version() {
    let (_dir, store) = store(128);
    store.create_lun(1, SIZE, b"").unwrap();
    for copy in 2..=4 {
        fill(&disk(&store, 1), 0, 8 * MIB, copy as u8);
        snapshot(&store, 1, copy);
    }
    fill(&disk(&store, 1), 0, 8 * MIB, 9);
    disk(&store, 1).flush().unwrap();
    assert_eq!(used(&store), 32 * MIB);
    store.delete_lun(3).unwrap();
    store.wait_reclaimed().unwrap();
    assert_eq!(used(&store), 24 * MIB);
    for (id, value) in [(1, 9), (2, 2), (4, 4)] {
        assert!(all(&disk(&store, id), 0, 8 * MIB, value));
    }
}

#[test]
fn capture_and_delete_without_writes_leave_the_usage_as_it_was() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, 8 * MIB, 1);
    let before = store.usage();
    snapshot(&store, 1, 2);
    store.delete_lun(2).unwrap();
    store.wait_reclaimed().unwrap();
    assert_eq!(store.usage(), before);
}

#[test]
fn small_writes_beside_a_copy_give_their_extra_chunks_back_when_it_goes() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let source = disk(&store, 1);
    fill(&source, 0, 8 * MIB, 1);
    source.flush().unwrap();
    let before = store.usage();
    snapshot(&store, 1, 2);
    for chunk in 0..128 {
        let parts = if chunk % 2 == 0 { 1 } else { 13 };
        fill(&source, chunk * 64 * KIB + 4 * KIB, parts * 4 * KIB, 2);
    }
    source.flush().unwrap();
    assert_eq!(used(&store), 16 * MIB);
    store.delete_lun(2).unwrap();
    store.wait_reclaimed().unwrap();
    source.flush().unwrap();
    assert_eq!(
        store.usage().free_bytes,
        before.free_bytes,
        "no chunk is held twice"
    );
    let store = reopen(dir.path(), store);
    let source = disk(&store, 1);
    for chunk in 0..128 {
        let end = if chunk % 2 == 0 { 8 } else { 56 } * KIB;
        let at = chunk * 64 * KIB;
        assert!(all(&source, at, 4 * KIB, 1));
        assert!(all(&source, at + 4 * KIB, end - 4 * KIB, 2));
        assert!(all(&source, at + end, 64 * KIB - end, 1));
    }
}

#[test]
fn unmap_gives_space_back_once_flushed() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let lun = disk(&store, 1);
    fill(&lun, 0, 16 * MIB, 1);
    lun.flush().unwrap();
    lun.unmap(4 * MIB, 12 * MIB).unwrap();
    lun.flush().unwrap();
    assert_eq!(used(&store), 4 * MIB);
    assert!(allocated(dir.path()) <= 4 * MIB + 64 * KIB);
}

#[test]
fn resync_gives_back_what_it_overwrote() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, 8 * MIB, 1);
    snapshot(&store, 1, 2);
    fill(&disk(&store, 1), 0, 16 * MIB, 2);
    resync(&store, 2, 1);
    store.wait_reclaimed().unwrap();
    assert_eq!(used(&store), 8 * MIB);
    for _ in 0..20 {
        fill(&disk(&store, 1), 0, 8 * MIB, 3);
        resync(&store, 2, 1);
    }
    store.wait_reclaimed().unwrap();
    assert_eq!(used(&store), 8 * MIB);
    store.delete_lun(2).unwrap();
    store.delete_lun(1).unwrap();
    store.wait_reclaimed().unwrap();
    assert_eq!(used(&store), 0);
}

#[test]
fn full_store_refuses_new_data_and_keeps_the_old() {
    let (dir, store) = store(8);
    store.create_lun(1, SIZE, b"").unwrap();
    let lun = disk(&store, 1);
    fill(&lun, 0, 8 * MIB, 1);
    let refused = lun.write(8 * MIB - 4096, &[9; 8192]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoSpace);
    assert!(all(&lun, 0, 8 * MIB, 1), "nothing was changed");
    assert!(all(&lun, 8 * MIB, 4096, 0));
    fill(&lun, 0, 4096, 2);
    // A capture takes no data space; the copy has the data, and writes to either side now need space.
    snapshot(&store, 1, 2);
    let refused = lun.write(0, &[9; 4096]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoSpace);
    store.delete_lun(2).unwrap();
    store.wait_reclaimed().unwrap();
    fill(&lun, 0, 4096, 3);
    let store = reopen(dir.path(), store);
    assert!(all(&disk(&store, 1), 0, 4096, 3));
    assert!(all(&disk(&store, 1), 4096, 8 * MIB - 4096, 1));
}

#[test]
fn full_store_after_unmap_or_delete_finds_the_space_by_itself() {
    let (_dir, store) = store(8);
    store.create_lun(1, SIZE, b"").unwrap();
    store.create_lun(2, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, 4 * MIB, 1);
    fill(&disk(&store, 2), 0, 4 * MIB, 2);
    disk(&store, 1).unmap(0, 4 * MIB).unwrap();
    // Not flushed yet, so not given back yet: the write waits for that instead of failing.
    fill(&disk(&store, 2), 4 * MIB, 4 * MIB, 3);
    store.delete_lun(2).unwrap();
    fill(&disk(&store, 1), 0, 8 * MIB, 4);
    assert!(all(&disk(&store, 1), 0, 8 * MIB, 4));
}
