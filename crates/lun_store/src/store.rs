// SPDX-License-Identifier: MIT OR Apache-2.0
//! The public face: one handle on an open store.
use crate::StoreError;
use block::BlockDevice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a new store is laid out. Fixed for its life.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Space for data in bytes, rounded down to whole chunks of 64 KiB. The data file is sparse: it takes room on
    /// its file system only as LUNs are written.
    pub capacity_bytes: u64,
    /// A block device to hold the data instead of a file in the store's directory; `data` becomes a symbolic link to
    /// it. Its first 64 KiB are overwritten.
    pub data_device: Option<PathBuf>,
}

/// One pair of a capture: `target` becomes what `source` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The LUN to copy.
    pub source: u128,
    /// A LUN of the same size, created before, that was never written and never captured into.
    pub target: u128,
    /// The target's new owner record (the tag of SEQ-39), stored in the same transaction as the copy.
    pub owner: Vec<u8>,
}

/// One pair of a resync: `target` is overwritten with what `copy` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resync {
    /// The LUN to read.
    pub copy: u128,
    /// The LUN to overwrite, of the same size.
    pub target: u128,
}

/// What the store knows of a LUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunRecord {
    /// The LUN.
    pub id: u128,
    /// Capacity in bytes.
    pub size_bytes: u64,
    /// The opaque owner record.
    pub owner: Vec<u8>,
    /// Address space touched since the LUN was created, captured into or resynced, in bytes (multiples of 8 MiB):
    /// an upper bound of what the LUN holds apart from what it shares with its source.
    pub own_bytes_max: u64,
}

/// The store's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Space for data in bytes.
    pub capacity_bytes: u64,
    /// Space free for new data in bytes.
    pub free_bytes: u64,
    /// Number of LUNs.
    pub luns: usize,
}

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads of the data file.
    pub data_reads: u64,
    /// Writes to the data file.
    pub data_writes: u64,
    /// Times the data file was made durable.
    pub data_syncs: u64,
    /// Metadata transactions.
    pub meta_commits: u64,
}

/// An open store. All methods may be called from many threads; those that change the store return when the change is
/// durable.
pub struct Store {}

impl Store {
    /// Makes a new store in `dir` (created if missing) and opens it.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::BadCapacity`], [`StoreError::InUse`], [`StoreError::Io`].
    pub fn create(dir: &Path, options: &CreateOptions) -> Result<Self, StoreError> {
        Err(StoreError::Closed)
    }
    /// Opens the store in `dir`: reads all rows once, in slices, to count who refers to each chunk.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::Version`], [`StoreError::InUse`], [`StoreError::Truncated`],
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Err(StoreError::Closed)
    }
    /// Flushes every LUN and closes the files. Devices that are still held answer [`block::ErrorKind::Gone`].
    pub fn close(self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// Creates a LUN that reads as zeros. Takes no space, whatever its size.
    ///
    /// # Errors
    /// [`StoreError::LunExists`], [`StoreError::BadSize`], [`StoreError::OwnerTooLarge`].
    pub fn create_lun(&self, id: u128, size_bytes: u64, owner: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// Deletes a LUN: gone when this returns, its space comes back in the background.
    pub fn delete_lun(&self, id: u128) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// Copies all sources at one instant, in one durable transaction. The cost depends neither on the LUNs' sizes nor
    /// on what they hold; [`Store::write_back`] just before keeps it short.
    ///
    /// Every write that was acknowledged before the call is in the copies, flushed or not. The caller holds the
    /// sources' write fences; a write that comes in spite of them waits until the capture is over.
    ///
    /// # Errors
    /// [`StoreError::UnknownLun`], [`StoreError::SizeMismatch`], [`StoreError::NotEmpty`], [`StoreError::LunExists`]
    /// (a target named twice, or also a source), [`StoreError::Poisoned`]: no target was changed.
    pub fn capture(&self, captures: &[Capture]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// Replaces the owner records of several LUNs in one transaction.
    pub fn set_owner(&self, owners: &[(u128, Vec<u8>)]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// Makes what was written to these LUNs so far durable, so that a capture right after finds little left to do.
    pub fn write_back(&self, luns: &[u128]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// Overwrites each target with its copy, all in one transaction, at once; `owners` are stored with it. Copies
    /// stay as they are.
    pub fn resync(&self, pairs: &[Resync], owners: &[(u128, Vec<u8>)]) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// All LUNs, by id.
    pub fn luns(&self) -> Vec<LunRecord> {
        Vec::new()
    }
    /// One LUN's record.
    pub fn lun(&self, id: u128) -> Result<LunRecord, StoreError> {
        Err(StoreError::Closed)
    }
    /// The LUN as a device; a live object that answers [`block::ErrorKind::Gone`] after the LUN was deleted. The
    /// same object at each call.
    pub fn device(&self, id: u128) -> Result<Arc<dyn BlockDevice>, StoreError> {
        Err(StoreError::Closed)
    }
    /// The store's space.
    pub fn usage(&self) -> Usage {
        Usage {
            capacity_bytes: 0,
            free_bytes: 0,
            luns: 0,
        }
    }
    /// What the store has done since it was opened.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
    /// Waits until the space of everything deleted or overwritten so far has come back.
    pub fn wait_reclaimed(&self) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
    /// Why the store refuses writes, if it does.
    pub fn poisoned(&self) -> Option<String> {
        None
    }
}
