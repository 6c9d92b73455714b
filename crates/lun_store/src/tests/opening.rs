// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a store says to being opened twice, wrongly, or after others had their hands on it.
use super::{KIB, MIB, create, disk, fill, store};
use crate::data::DataFile;
use crate::format::Header;
use crate::{CreateOptions, Store, StoreError};
use block::ErrorKind;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

fn open_error(dir: &std::path::Path) -> StoreError {
    match Store::open(dir) {
        Ok(_) => panic!("the store opened"),
        Err(error) => error,
    }
}

#[test]
fn open_twice_is_in_use_until_closed() {
    let (dir, store) = store(8);
    assert!(matches!(open_error(dir.path()), StoreError::InUse(_)));
    assert!(matches!(
        crate::check(dir.path()),
        Err(StoreError::InUse(_))
    ));
    store.create_lun(1, MIB, b"").unwrap();
    let held = disk(&store, 1);
    store.close().unwrap();
    // A device that outlives its store keeps nobody out, and does nothing any more.
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(
        held.write(0, &[1; 512]).unwrap_err().kind(),
        ErrorKind::Gone
    );
    assert_eq!(again.luns().len(), 1);
}

#[test]
fn same_data_file_through_another_directory_is_in_use() {
    let (first, _store) = store(8);
    let second = tempfile::tempdir().unwrap();
    let options = CreateOptions {
        capacity_bytes: 0,
        data_device: Some(first.path().join("data")),
    };
    let error = Store::create(second.path(), &options).err().unwrap();
    assert!(matches!(error, StoreError::InUse(_)));
}

#[test]
fn create_over_a_store_is_refused_and_keeps_it() {
    let (dir, store) = store(8);
    store.create_lun(1, MIB, b"mine").unwrap();
    store.close().unwrap();
    let options = CreateOptions {
        capacity_bytes: 8 * MIB,
        data_device: None,
    };
    let error = Store::create(dir.path(), &options).err().unwrap();
    assert!(matches!(error, StoreError::AlreadyExists(_)));
    assert_eq!(Store::open(dir.path()).unwrap().luns()[0].owner, b"mine");
}

#[test]
fn create_interrupted_before_rename_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("meta.redb.new"), b"half").unwrap();
    std::fs::write(dir.path().join("data"), b"half").unwrap();
    create(dir.path(), 8 * MIB).create_lun(1, MIB, b"").unwrap();
    assert!(!dir.path().join("meta.redb.new").exists());
}

#[test]
fn create_beside_a_foreign_data_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data"), b"somebody's").unwrap();
    let options = CreateOptions {
        capacity_bytes: 8 * MIB,
        data_device: None,
    };
    let error = Store::create(dir.path(), &options).err().unwrap();
    assert!(matches!(error, StoreError::AlreadyExists(_)));
    let kept = std::fs::read(dir.path().join("data")).unwrap();
    assert_eq!(kept, b"somebody's");
}

#[test]
fn create_with_impossible_capacity_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for capacity_bytes in [0, 64 * KIB, 1 << 60] {
        let options = CreateOptions {
            capacity_bytes,
            data_device: None,
        };
        let error = Store::create(dir.path(), &options).err().unwrap();
        assert!(matches!(error, StoreError::BadCapacity(_)));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn open_of_something_else_is_not_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(matches!(open_error(&missing), StoreError::NotAStore { .. }));
    assert!(matches!(
        open_error(dir.path()),
        StoreError::NotAStore { .. }
    ));
    let (dir, store) = store(8);
    store.close().unwrap();
    for content in [b"".as_slice(), b"hello", &[0xa5; 100_000]] {
        std::fs::write(dir.path().join("meta.redb"), content).unwrap();
        let error = open_error(dir.path());
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
    }
}

#[test]
fn open_of_foreign_redb_file_is_not_a_store() {
    let (dir, store) = store(8);
    store.close().unwrap();
    std::fs::remove_file(dir.path().join("meta.redb")).unwrap();
    drop(redb::Database::create(dir.path().join("meta.redb")).unwrap());
    let error = open_error(dir.path());
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
}

#[test]
fn open_of_other_version_names_both_and_changes_nothing() {
    let (dir, store) = store(8);
    store.close().unwrap();
    let path = dir.path().join("data");
    let data = DataFile::open(&path, true).unwrap();
    let header = data.read_header().unwrap().unwrap();
    let newer = Header {
        version: 2,
        ..header
    };
    data.write_header(newer).unwrap();
    drop(data);
    let files = || ["data", "meta.redb"].map(|name| std::fs::read(dir.path().join(name)).unwrap());
    let before = files();
    let expected = "the store has format version 2, this program knows version 1";
    assert_eq!(open_error(dir.path()).to_string(), expected);
    assert!(files() == before, "a refused store was changed");
    assert!(matches!(
        crate::check(dir.path()),
        Err(StoreError::Version {
            found: 2,
            supported: 1
        })
    ));
}

#[test]
fn open_with_another_stores_data_file_is_refused() {
    let (first, one) = store(8);
    let (second, two) = store(8);
    one.close().unwrap();
    two.close().unwrap();
    std::fs::copy(second.path().join("data"), first.path().join("data")).unwrap();
    let error = open_error(first.path());
    assert!(error.to_string().contains("another store"), "{error}");
}

#[test]
fn open_with_truncated_data_file_is_refused() {
    let (dir, store) = store(8);
    store.close().unwrap();
    let data = OpenOptions::new()
        .write(true)
        .open(dir.path().join("data"))
        .unwrap();
    data.set_len(MIB).unwrap();
    let error = open_error(dir.path());
    assert!(matches!(
        error,
        StoreError::Truncated {
            found_bytes: MIB,
            ..
        }
    ));
}

#[test]
fn open_with_damaged_data_header_is_refused() {
    let (dir, store) = store(8);
    store.close().unwrap();
    let path = dir.path().join("data");
    let data = OpenOptions::new().write(true).open(path).unwrap();
    data.write_all_at(&[0xff], 100).unwrap();
    assert!(matches!(open_error(dir.path()), StoreError::Damaged(_)));
}

#[test]
fn data_truncated_while_open_is_a_medium_error() {
    let (dir, store) = store(8);
    store.create_lun(1, MIB, b"").unwrap();
    fill(&disk(&store, 1), 0, MIB, 1);
    let path = dir.path().join("data");
    let data = OpenOptions::new().write(true).open(path).unwrap();
    data.set_len(64 * KIB).unwrap();
    let error = disk(&store, 1).read(0, &mut [0; 4096]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Medium);
}

#[test]
fn data_on_a_device_is_linked_and_works() {
    // A file stands in for the block device: the path through `data_device` is the same.
    let device = tempfile::NamedTempFile::new().unwrap();
    device.as_file().set_len(16 * MIB).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = CreateOptions {
        capacity_bytes: 0,
        data_device: Some(device.path().to_path_buf()),
    };
    let store = Store::create(dir.path(), &options).unwrap();
    assert_eq!(store.usage().capacity_bytes, 16 * MIB - 64 * KIB);
    store.create_lun(1, MIB, b"").unwrap();
    fill(&disk(&store, 1), 0, MIB, 1);
    let store = super::reopen(dir.path(), store);
    assert!(super::all(&disk(&store, 1), 0, MIB, 1));
}
