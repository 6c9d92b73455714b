// SPDX-License-Identifier: MIT OR Apache-2.0
mod concurrent;
mod conformance;
mod damage;
mod faults;
mod kill;
mod model;
mod opening;
mod power;
mod space;
mod versions;

use crate::{Capture, CreateOptions, Resync, Store};
use block::Disk;
use std::path::Path;
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const KIB: u64 = 1 << 10;

/// A new store that takes `capacity_mib` of data, beside its header.
pub(crate) fn store(capacity_mib: u64) -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let store = create(dir.path(), capacity_mib * MIB + 64 * KIB);
    (dir, store)
}

pub(crate) fn create(dir: &Path, capacity_bytes: u64) -> Store {
    let options = CreateOptions {
        capacity_bytes,
        data_device: None,
    };
    Store::create(dir, &options).expect("create")
}

pub(crate) fn disk(store: &Store, id: u128) -> Disk {
    Disk::new(store.device(id).expect("device"))
}

pub(crate) fn read(disk: &Disk, offset: u64, length: u64) -> Vec<u8> {
    let mut buf = vec![0xee; length as usize];
    disk.read(offset, &mut buf).expect("read");
    buf
}

/// Whether all of a range has this one value.
pub(crate) fn all(disk: &Disk, offset: u64, length: u64, value: u8) -> bool {
    read(disk, offset, length).iter().all(|&byte| byte == value)
}

pub(crate) fn fill(disk: &Disk, offset: u64, length: u64, value: u8) {
    let data = vec![value; length as usize];
    disk.write(offset, &data).expect("write");
}

pub(crate) fn pair(source: u128, target: u128) -> Capture {
    Capture {
        source,
        target,
        owner: format!("copy of {source}").into_bytes(),
    }
}

/// Creates `target` with the size of `source` and captures into it.
pub(crate) fn snapshot(store: &Store, source: u128, target: u128) {
    let size_bytes = store.lun(source).expect("source").size_bytes;
    store
        .create_lun(target, size_bytes, b"reserved")
        .expect("create");
    store.capture(&[pair(source, target)]).expect("capture");
}

pub(crate) fn resync(store: &Store, copy: u128, target: u128) {
    store
        .resync(&[Resync { copy, target }], &[])
        .expect("resync");
}

/// Closes the store, checks it offline, and opens it again.
pub(crate) fn reopen(dir: &Path, store: Store) -> Store {
    store.close().expect("close");
    sound(dir);
    Store::open(dir).expect("open")
}

/// The offline check finds no fault.
pub(crate) fn sound(dir: &Path) {
    let report = crate::check(dir).expect("check");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}
