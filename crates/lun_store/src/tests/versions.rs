// SPDX-License-Identifier: MIT OR Apache-2.0
//! Captures, copies and resync: who sees what.
use super::{KIB, MIB, all, disk, fill, pair, read, reopen, resync, snapshot, store};
use crate::{Resync, StoreError};
use block::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

const SIZE: u64 = 64 * MIB;

#[test]
fn capture_later_writes_on_either_side_stay_there() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let source = disk(&store, 1);
    fill(&source, 0, MIB, 1);
    snapshot(&store, 1, 2);
    let copy = disk(&store, 2);
    fill(&source, 0, 64 * KIB, 2);
    fill(&copy, 512 * KIB, 64 * KIB, 3);
    source.unmap(768 * KIB, 64 * KIB).unwrap();

    let check = |source: &block::Disk, copy: &block::Disk| {
        assert!(all(source, 0, 64 * KIB, 2));
        assert!(all(source, 64 * KIB, 704 * KIB, 1));
        assert!(all(source, 768 * KIB, 64 * KIB, 0));
        assert!(all(copy, 0, 512 * KIB, 1));
        assert!(all(copy, 512 * KIB, 64 * KIB, 3));
        assert!(all(copy, 576 * KIB, 448 * KIB, 1));
    };
    check(&source, &copy);
    let store = reopen(dir.path(), store);
    check(&disk(&store, 1), &disk(&store, 2));
}

#[test]
fn capture_holds_unflushed_writes_durably() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 12 * KIB, 4 * KIB, 9);
    snapshot(&store, 1, 2);
    let before = store.counters();
    disk(&store, 1).flush().unwrap();
    let after = store.counters();
    assert_eq!(
        (before.data_syncs, before.meta_commits),
        (after.data_syncs, after.meta_commits),
        "nothing was left to flush"
    );
    let store = reopen(dir.path(), store);
    assert!(all(&disk(&store, 2), 12 * KIB, 4 * KIB, 9));
}

#[test]
fn capture_of_set_is_one_transaction_with_owners() {
    let (_dir, store) = store(64);
    for id in 1..=3 {
        store.create_lun(id, SIZE, b"").unwrap();
        store.create_lun(id + 10, SIZE, b"reserved").unwrap();
        fill(&disk(&store, id), 0, MIB, id as u8);
    }
    let before = store.counters().meta_commits;
    store
        .capture(&[pair(1, 11), pair(2, 12), pair(3, 13)])
        .unwrap();
    assert_eq!(store.counters().meta_commits, before + 1);
    for id in 1..=3 {
        assert!(all(&disk(&store, id + 10), 0, MIB, id as u8));
        let owner = store.lun(id + 10).unwrap().owner;
        assert_eq!(owner, format!("copy of {id}").into_bytes());
    }
}

#[test]
fn capture_of_one_source_into_two_targets_gives_both_the_same() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, MIB, 1);
    store.create_lun(2, SIZE, b"").unwrap();
    store.create_lun(3, SIZE, b"").unwrap();
    store.capture(&[pair(1, 2), pair(1, 3)]).unwrap();
    fill(&disk(&store, 2), 0, MIB, 2);
    assert!(all(&disk(&store, 1), 0, MIB, 1));
    assert!(all(&disk(&store, 2), 0, MIB, 2));
    assert!(all(&disk(&store, 3), 0, MIB, 1));
}

#[test]
fn capture_into_target_that_was_read_before_shows_the_copy() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, 4096, 1);
    store.create_lun(2, SIZE, b"").unwrap();
    let target = disk(&store, 2);
    assert!(all(&target, 0, 4096, 0));
    target.unmap(0, 4096).unwrap();
    store.capture(&[pair(1, 2)]).unwrap();
    assert!(all(&target, 0, 4096, 1));
}

#[test]
fn capture_that_makes_no_sense_is_refused_and_changes_nothing() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    store.create_lun(2, SIZE, b"mine").unwrap();
    store.create_lun(3, 2 * SIZE, b"").unwrap();
    store.create_lun(4, SIZE, b"").unwrap();
    fill(&disk(&store, 4), 0, 4096, 4);
    let errors = [
        store.capture(&[pair(1, 99)]),
        store.capture(&[pair(99, 2)]),
        store.capture(&[pair(1, 3)]),
        store.capture(&[pair(1, 2), pair(4, 2)]),
        store.capture(&[pair(1, 2), pair(2, 1)]),
        store.capture(&[pair(1, 4)]),
    ]
    .map(|result| result.unwrap_err());
    assert!(matches!(errors[0], StoreError::UnknownLun(99)));
    assert!(matches!(errors[1], StoreError::UnknownLun(99)));
    assert!(matches!(errors[2], StoreError::SizeMismatch { .. }));
    assert!(matches!(errors[3], StoreError::LunExists(2)));
    assert!(matches!(errors[4], StoreError::LunExists(_)));
    assert!(matches!(errors[5], StoreError::NotEmpty(4)));
    assert_eq!(store.lun(2).unwrap().owner, b"mine");
    assert!(all(&disk(&store, 4), 0, 4096, 4));
    store.capture(&[pair(1, 2)]).unwrap();
    store.create_lun(5, SIZE, b"").unwrap();
    let again = store.capture(&[pair(1, 2)]).unwrap_err();
    assert!(matches!(again, StoreError::NotEmpty(2)));
}

#[test]
fn capture_beside_unfenced_writers_sees_one_prefix_of_their_writes() {
    let (_dir, store) = store(128);
    store.create_lun(1, SIZE, b"").unwrap();
    store.create_lun(2, SIZE, b"").unwrap();
    let luns = [disk(&store, 1), disk(&store, 2)];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Numbered blocks, alternating between two LUNs, each after the other's acknowledgement.
        scope.spawn(|| {
            for number in 1..u64::MAX {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let mut block = [0; 512];
                block[..8].copy_from_slice(&number.to_le_bytes());
                luns[(number % 2) as usize].write(0, &block).unwrap();
            }
        });
        for round in 0..10_u128 {
            let targets = [100 + round * 2, 101 + round * 2];
            for target in targets {
                store.create_lun(target, SIZE, b"").unwrap();
            }
            store
                .capture(&[pair(1, targets[0]), pair(2, targets[1])])
                .unwrap();
            let [one, two] = targets.map(|target| {
                let block = read(&disk(&store, target), 0, 512);
                u64::from_le_bytes(block[..8].try_into().unwrap())
            });
            assert!(one.abs_diff(two) <= 1, "two instants: {one} and {two}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn small_first_write_after_capture_copies_nothing() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let source = disk(&store, 1);
    fill(&source, 0, 64 * KIB, 1);
    snapshot(&store, 1, 2);
    let before = store.counters();
    fill(&source, 8 * KIB, 4 * KIB, 2);
    let after = store.counters();
    assert_eq!(after.data_reads, before.data_reads);
    assert_eq!(after.data_writes, before.data_writes + 1);
    assert!(all(&source, 0, 8 * KIB, 1) && all(&source, 12 * KIB, 52 * KIB, 1));
    assert!(all(&source, 8 * KIB, 4 * KIB, 2));
    assert!(all(&disk(&store, 2), 0, 64 * KIB, 1));
}

#[test]
fn sub_part_write_after_capture_keeps_the_rest_of_the_part() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let source = disk(&store, 1);
    fill(&source, 0, 64 * KIB, 1);
    snapshot(&store, 1, 2);
    fill(&source, 9 * KIB, 512, 2);
    assert!(all(&source, 0, 9 * KIB, 1));
    assert!(all(&source, 9 * KIB, 512, 2));
    assert!(all(&source, 9 * KIB + 512, 55 * KIB - 512, 1));
}

#[test]
fn reads_after_200_captures_cost_what_they_cost_after_one() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let source = disk(&store, 1);
    fill(&source, 0, 64 * KIB, 0);
    let reads_of_chunk = |disk: &block::Disk| {
        let before = store.counters().data_reads;
        read(disk, 0, 64 * KIB);
        store.counters().data_reads - before
    };
    snapshot(&store, 1, 1000);
    fill(&source, 0, 4 * KIB, 1);
    let after_one = reads_of_chunk(&source);
    for round in 1..=200_u64 {
        fill(&source, round % 16 * 4 * KIB, 4 * KIB, round as u8);
        snapshot(&store, 1, 1000 + u128::from(round));
    }
    fill(&source, 0, 4 * KIB, 250);
    assert_eq!(after_one, 2);
    assert_eq!(
        reads_of_chunk(&source),
        2,
        "one stretch of each of two chunks"
    );
    for copy in [1000, 1007, 1100, 1200] {
        assert!(reads_of_chunk(&disk(&store, copy)) <= 16);
    }
    assert!(all(&disk(&store, 1000), 0, 64 * KIB, 0));
    assert!(all(&disk(&store, 1007), 28 * KIB, 4 * KIB, 7));
}

#[test]
fn copy_of_copy_sees_its_source_as_of_then() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    fill(&disk(&store, 1), 0, 64 * KIB, 1);
    snapshot(&store, 1, 2);
    fill(&disk(&store, 2), 4 * KIB, 4 * KIB, 2);
    snapshot(&store, 2, 3);
    fill(&disk(&store, 2), 4 * KIB, 4 * KIB, 9);
    fill(&disk(&store, 3), 8 * KIB, 4 * KIB, 3);
    store.delete_lun(1).unwrap();
    store.delete_lun(2).unwrap();
    store.wait_reclaimed().unwrap();
    let store = reopen(dir.path(), store);
    let last = disk(&store, 3);
    assert!(all(&last, 0, 4 * KIB, 1));
    assert!(all(&last, 4 * KIB, 4 * KIB, 2));
    assert!(all(&last, 8 * KIB, 4 * KIB, 3));
    assert!(all(&last, 12 * KIB, 52 * KIB, 1));
}

#[test]
fn resync_gives_target_the_copy_and_keeps_the_copy() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let target = disk(&store, 1);
    fill(&target, 0, MIB, 1);
    snapshot(&store, 1, 2);
    fill(&target, 0, 2 * MIB, 7);
    resync(&store, 2, 1);
    assert!(all(&target, 0, MIB, 1), "the live device follows");
    assert!(all(&target, MIB, MIB, 0));
    fill(&target, 0, 4 * KIB, 3);
    let store = reopen(dir.path(), store);
    assert!(all(&disk(&store, 1), 0, 4 * KIB, 3));
    assert!(all(&disk(&store, 2), 0, MIB, 1));
}

/// T-211, T-212, RSY-4: larger and smaller targets get the size of the copy, in one transaction.
#[test]
fn t211_resync_gives_targets_the_size_of_the_copy() {
    let (dir, store) = store(64);
    for (id, size) in [(1, SIZE), (3, 2 * SIZE), (4, SIZE / 2)] {
        store.create_lun(id, size, b"").unwrap();
        fill(&disk(&store, id), size - MIB, MIB, id as u8);
    }
    snapshot(&store, 1, 2);
    let (larger, smaller) = (disk(&store, 3), disk(&store, 4));
    let pairs = [3, 4].map(|target| Resync { copy: 2, target });

    store.resync(&pairs, &[]).unwrap();

    let refused = [
        larger.read(SIZE, &mut [0; 512]).unwrap_err(),
        larger.write(SIZE, &[9; 512]).unwrap_err(),
        larger.write(0, &[9; 512]).unwrap_err(),
        smaller.write(0, &[9; 512]).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
    }
    assert!(all(&larger, SIZE - MIB, MIB, 1), "what is left can be read");
    let store = reopen(dir.path(), store);
    for target in [3, 4] {
        assert_eq!(store.lun(target).unwrap().size_bytes, SIZE);
        let target = disk(&store, target);
        assert!(all(&target, SIZE - MIB, MIB, 1));
        fill(&target, SIZE - MIB, MIB, 8);
    }
    assert!(all(&disk(&store, 2), SIZE - MIB, MIB, 1), "the copy stays");
}

#[test]
fn resync_of_several_with_owner_is_one_transaction() {
    let (_dir, store) = store(64);
    for id in [1, 2] {
        store.create_lun(id, SIZE, b"").unwrap();
        fill(&disk(&store, id), 0, 4096, id as u8);
        snapshot(&store, id, id + 10);
        fill(&disk(&store, id), 0, 4096, 99);
    }
    let before = store.counters().meta_commits;
    let pairs = [
        Resync {
            copy: 11,
            target: 1,
        },
        Resync {
            copy: 12,
            target: 2,
        },
    ];
    store
        .resync(&pairs, &[(1, b"rolled back".to_vec())])
        .unwrap();
    store.wait_reclaimed().unwrap();
    assert!(store.counters().meta_commits > before);
    assert!(all(&disk(&store, 1), 0, 4096, 1) && all(&disk(&store, 2), 0, 4096, 2));
    assert_eq!(store.lun(1).unwrap().owner, b"rolled back");
    let both_ways = [
        Resync {
            copy: 11,
            target: 1,
        },
        Resync {
            copy: 1,
            target: 11,
        },
    ];
    assert!(store.resync(&both_ways, &[]).is_err());
}

#[test]
fn delete_makes_held_devices_gone() {
    let (_dir, store) = store(64);
    store.create_lun(1, SIZE, b"").unwrap();
    let held = disk(&store, 1);
    fill(&held, 0, 4096, 1);
    store.delete_lun(1).unwrap();
    let mut buf = [0; 512];
    let kinds = [
        held.read(0, &mut buf).unwrap_err().kind(),
        held.write(0, &buf).unwrap_err().kind(),
        held.unmap(0, 512)
            .err()
            .map_or(ErrorKind::Gone, |e| e.kind()),
        held.flush().unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Gone; 4]);
    assert!(matches!(
        store.delete_lun(1),
        Err(StoreError::UnknownLun(1))
    ));
    store.create_lun(1, SIZE, b"").unwrap();
    assert!(all(&disk(&store, 1), 0, 4096, 0), "nothing of the old LUN");
}

#[test]
fn lun_of_64_tib_costs_nothing_until_written() {
    let (dir, store) = store(64);
    let size = crate::LUN_BYTES_MAX;
    store.create_lun(1, size, b"").unwrap();
    snapshot(&store, 1, 2);
    let lun = disk(&store, 1);
    fill(&lun, size - 4096, 4096, 1);
    fill(&lun, size / 2, 4096, 2);
    assert!(all(&disk(&store, 2), size - 4096, 4096, 0));
    let used = store.usage().capacity_bytes - store.usage().free_bytes;
    assert_eq!(used, 128 * KIB);
    let store = reopen(dir.path(), store);
    assert!(all(&disk(&store, 1), size - 4096, 4096, 1));
    let too_large = store.create_lun(3, size + 512, b"");
    assert!(matches!(too_large, Err(StoreError::BadSize(_))));
}

#[test]
fn owners_of_several_change_in_one_transaction() {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"a").unwrap();
    store.create_lun(2, SIZE, b"b").unwrap();
    store
        .set_owner(&[(1, b"c".to_vec()), (2, b"d".to_vec())])
        .unwrap();
    let half = store.set_owner(&[(1, b"e".to_vec()), (3, b"f".to_vec())]);
    assert!(matches!(half, Err(StoreError::UnknownLun(3))));
    let large = store.set_owner(&[(1, vec![0; crate::OWNER_BYTES_MAX + 1])]);
    assert!(matches!(large, Err(StoreError::OwnerTooLarge(_))));
    let store = reopen(dir.path(), store);
    let owners: Vec<_> = store.luns().into_iter().map(|lun| lun.owner).collect();
    assert_eq!(owners, [b"c", b"d"]);
}
