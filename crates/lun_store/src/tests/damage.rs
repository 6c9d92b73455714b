// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged metadata is an error, never wrong data and never a panic.
use super::{MIB, disk, fill, snapshot, store};
use crate::format::TableId;
use crate::meta::{Batch, Meta};
use crate::{Store, StoreError};
use block::ErrorKind;
use std::path::Path;
use tempfile::TempDir;

const SIZE: u64 = 64 * MIB;

/// A closed store: LUN 1 with data in three leaves, captured to LUN 2, the second leaf rewritten since.
fn prepared() -> TempDir {
    let (dir, store) = store(64);
    store.create_lun(1, SIZE, b"one").unwrap();
    for leaf in 0..3 {
        fill(&disk(&store, 1), leaf * 8 * MIB, 4096, 1 + leaf as u8);
    }
    snapshot(&store, 1, 2);
    fill(&disk(&store, 1), 8 * MIB, 4096, 9);
    store.close().unwrap();
    dir
}

fn rows(dir: &Path, table: TableId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let meta = Meta::open(&dir.join("meta.redb"), false).unwrap();
    meta.rows_after(table, None, 1000).unwrap()
}

fn change(dir: &Path, change: impl FnOnce(&mut Batch)) {
    let meta = Meta::open(&dir.join("meta.redb"), false).unwrap();
    let mut batch = Batch::default();
    change(&mut batch);
    meta.commit(batch).unwrap();
}

/// What LUN 1 and LUN 2 hold in their first three leaves.
const EXPECTED: [(u128, [u8; 3]); 2] = [(1, [1, 9, 3]), (2, [1, 2, 3])];

/// Opens the store and reads everything: each block is as expected or a medium error. Returns the errors' number.
fn read_all(dir: &Path) -> Result<usize, StoreError> {
    let store = Store::open(dir)?;
    let mut errors = 0;
    for (id, values) in EXPECTED {
        let lun = disk(&store, id);
        for (leaf, value) in values.into_iter().enumerate() {
            let mut buf = [0xee; 4096];
            match lun.read(leaf as u64 * 8 * MIB, &mut buf) {
                Ok(()) => assert_eq!(buf, [value; 4096], "LUN {id}, leaf {leaf}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Medium, "{error}");
                    errors += 1;
                }
            }
        }
    }
    Ok(errors)
}

#[test]
fn undamaged_store_reads_as_expected() {
    assert_eq!(read_all(prepared().path()).unwrap(), 0);
}

#[test]
fn flipped_bit_of_leaf_row_is_a_medium_error() {
    let leaves = rows(prepared().path(), TableId::Leaves);
    assert_eq!(leaves.len(), 4);
    for number in 0..leaves.len() {
        let dir = prepared();
        let (key, mut value) = rows(dir.path(), TableId::Leaves).swap_remove(number);
        let bit = 13 * (number + 1) % (value.len() * 8);
        value[bit / 8] ^= 1 << (bit % 8);
        change(dir.path(), |batch| batch.put(TableId::Leaves, key, value));
        assert!(!crate::check(dir.path()).unwrap().problems.is_empty());
        let errors = read_all(dir.path()).unwrap();
        assert!((1..=2).contains(&errors), "row {number}: {errors} errors");
    }
}

#[test]
fn vanished_leaf_row_is_a_medium_error_not_zeros_nor_an_older_version() {
    for number in 0..4 {
        let dir = prepared();
        let (key, _) = rows(dir.path(), TableId::Leaves).swap_remove(number);
        change(dir.path(), |batch| batch.remove(TableId::Leaves, key));
        assert!(!crate::check(dir.path()).unwrap().problems.is_empty());
        let errors = read_all(dir.path()).unwrap();
        assert!((1..=2).contains(&errors), "row {number}: {errors} errors");
    }
}

#[test]
fn leaf_row_under_another_key_is_a_medium_error() {
    let dir = prepared();
    let leaves = rows(dir.path(), TableId::Leaves);
    let (key, other) = (leaves[0].0.clone(), leaves[3].1.clone());
    change(dir.path(), |batch| batch.put(TableId::Leaves, key, other));
    assert!(read_all(dir.path()).unwrap() >= 1);
}

#[test]
fn damaged_or_vanished_presence_page_is_a_medium_error() {
    let count = rows(prepared().path(), TableId::Presence).len();
    for (number, vanish) in (0..count).flat_map(|n| [(n, false), (n, true)]) {
        let dir = prepared();
        let (key, mut value) = rows(dir.path(), TableId::Presence).swap_remove(number);
        value[0] ^= 0x10;
        change(dir.path(), |batch| match vanish {
            true => batch.remove(TableId::Presence, key),
            false => batch.put(TableId::Presence, key, value),
        });
        assert!(!crate::check(dir.path()).unwrap().problems.is_empty());
        assert!(read_all(dir.path()).unwrap() >= 1);
    }
}

#[test]
fn damaged_or_vanished_catalogue_row_refuses_to_open() {
    for table in [TableId::Luns, TableId::Lineages, TableId::Header] {
        let count = rows(prepared().path(), table).len();
        for (number, vanish) in (0..count).flat_map(|n| [(n, false), (n, true)]) {
            let dir = prepared();
            let (key, mut value) = rows(dir.path(), table).swap_remove(number);
            let last = value.len() - 1;
            value[last] ^= 1;
            change(dir.path(), |batch| match vanish {
                true => batch.remove(table, key),
                false => batch.put(table, key, value),
            });
            let error = read_all(dir.path()).unwrap_err();
            assert!(
                matches!(error, StoreError::Damaged(_) | StoreError::NotAStore { .. }),
                "{error:?}"
            );
        }
    }
}

#[test]
fn flipped_bytes_of_the_database_file_never_give_wrong_data() {
    let original = prepared();
    let bytes = std::fs::read(original.path().join("meta.redb")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(original.path().join("data"), dir.path().join("data")).unwrap();
    // Every place with content, thinned out: pages that redb left empty tell nothing.
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
    for at in places.iter().step_by(places.len().div_ceil(150)) {
        let mut damaged = bytes.clone();
        damaged[*at] ^= 0x40;
        std::fs::write(dir.path().join("meta.redb"), &damaged).unwrap();
        // An error at open, errors at reads, or all as expected: `read_all` checks the contents.
        let _ = read_all(dir.path());
    }
}
