// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedded redirect-on-write LUN store: thin LUNs in one sparse file or block device, captured together at one
//! instant, in one durable transaction whose cost depends neither on their size nor on what they hold.
//!
//! **Is not** a RAID, a volume manager or a cache: one store is one data file plus one metadata database, and what the
//! file system below loses is lost. It knows nothing of SCSI, hosts or shadow copy sets; the owner record of a LUN
//! is bytes to it. LUN data carries no checksums, metadata does.
//!
//! **I/O model.** Calls block. [`Store::device`] gives a LUN as a [`block::BlockDevice`], usable from many threads;
//! data goes through the page cache, and unflushed data is bounded to 16 MiB a LUN, so that a capture never has much
//! to wait for. One thread of the store's own writes all metadata. Files, rows and the order of writes with its
//! reasons: `docs/store-format.md`.
//!
//! **Error model.** [`StoreError`] for the store, [`block::BlockError`] for devices. Damaged rows, short files and a
//! full disk are errors, never panics and never wrong data. After a failed write or sync of its own files the store
//! refuses writes until it is opened anew; reads go on.
//!
//! Key types: [`Store`], [`Capture`], [`Resync`], [`StoreError`], [`CheckReport`].

mod alloc;
mod catalog;
mod changes;
mod check;
mod committer;
mod data;
mod device;
mod error;
mod fold;
mod format;
mod inner;
mod leaf;
mod load;
mod lun;
mod meta;
mod open;
mod reclaim;
mod store;
mod sync;
#[cfg(test)]
mod tests;

pub use check::{CheckReport, check};
pub use error::StoreError;
pub use store::{Capture, Counters, CreateOptions, LunRecord, NewLun, Resync, Store, Usage};

/// Largest size of a LUN in bytes: 64 TiB.
pub const LUN_BYTES_MAX: u64 = 64 << 40;
/// Largest owner record in bytes.
pub const OWNER_BYTES_MAX: usize = 64 << 10;
