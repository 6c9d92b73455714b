// SPDX-License-Identifier: MIT OR Apache-2.0
//! The public face: one handle on an open store.
use crate::device::LunDevice;
use crate::format::{CHUNK_BYTES, LEAF_BYTES};
use crate::inner::Inner;
use crate::sync::{MutexExt, RwLockExt};
use crate::{StoreError, committer, open};
use block::BlockDevice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

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

/// A LUN to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLun {
    /// The LUN.
    pub id: u128,
    /// Capacity in bytes.
    pub size_bytes: u64,
    /// Its owner record.
    pub owner: Vec<u8>,
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
    /// The LUN to overwrite. It gets the copy's size.
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
    /// An upper bound, in bytes, of what the LUN holds beside what it shares with the LUN that it is a copy of: 8 MiB
    /// for each stretch of 8 MiB that was written, once per version that copies still need.
    pub own_bytes_max: u64,
}

/// The store's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Space for data in bytes.
    pub capacity_bytes: u64,
    /// Space free for new data in bytes.
    pub free_bytes: u64,
    /// A write that needs new space fails now, for want of it in the store or in the file system under it.
    pub refuses_new_data: bool,
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
///
/// Dropping it closes it; [`Store::close`] also says whether that went well.
pub struct Store {
    inner: Arc<Inner>,
    committer: Option<JoinHandle<()>>,
}

impl Store {
    /// Makes a new store in `dir` (created if missing) and opens it.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`], [`StoreError::BadCapacity`], [`StoreError::InUse`], [`StoreError::Io`].
    pub fn create(dir: &Path, options: &CreateOptions) -> Result<Self, StoreError> {
        Self::start(open::create(dir, options)?)
    }
    /// Opens the store in `dir`: reads all rows once, in slices, to count who refers to each chunk.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::Version`], [`StoreError::InUse`], [`StoreError::Truncated`],
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::start(open::open(dir)?)
    }
    /// Flushes every LUN and closes the files. Devices that are still held answer [`block::ErrorKind::Gone`].
    pub fn close(mut self) -> Result<(), StoreError> {
        self.shut()
    }
    /// Creates a LUN that reads as zeros. Takes no space, whatever its size.
    ///
    /// # Errors
    /// [`StoreError::LunExists`], [`StoreError::BadSize`], [`StoreError::OwnerTooLarge`].
    pub fn create_lun(&self, id: u128, size_bytes: u64, owner: &[u8]) -> Result<(), StoreError> {
        let owner = owner.to_vec();
        let new = NewLun {
            id,
            size_bytes,
            owner,
        };
        self.create_luns(vec![new], Vec::new())
    }
    /// Creates LUNs and replaces the owner records of others, all or none, in one transaction.
    ///
    /// # Errors
    /// As [`Store::create_lun`] and [`Store::set_owner`].
    pub fn create_luns(
        &self,
        new: Vec<NewLun>,
        owners: Vec<(u128, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.inner
            .queue
            .run(move |inner| inner.create_luns(new, owners))
    }
    /// Deletes a LUN: gone when this returns, its space comes back in the background, also after the store was closed and
    /// opened again.
    pub fn delete_lun(&self, id: u128) -> Result<(), StoreError> {
        self.delete_luns(&[id])
    }
    /// Deletes LUNs, all or none, in one transaction.
    pub fn delete_luns(&self, ids: &[u128]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.inner.queue.run(move |inner| inner.delete_luns(ids))
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
        let captures = captures.to_vec();
        self.inner.queue.run(move |inner| inner.capture(captures))
    }
    /// Replaces the owner records of several LUNs in one transaction.
    pub fn set_owner(&self, owners: &[(u128, Vec<u8>)]) -> Result<(), StoreError> {
        let owners = owners.to_vec();
        self.inner.queue.run(move |inner| inner.set_owner(owners))
    }
    /// Makes what was written to these LUNs so far durable, so that a capture right after finds little left to do. Waits
    /// no longer than `within`; false when that was not enough, then it goes on in the background.
    pub fn write_back(&self, luns: &[u128], within: Duration) -> Result<bool, StoreError> {
        let luns: Result<Vec<_>, _> = luns.iter().map(|id| self.inner.lun(*id)).collect();
        self.inner.flush_within(luns?, within)
    }
    /// Overwrites each target with its copy, size included, all in one transaction, at once; `owners` are stored with it.
    /// Copies stay as they are.
    pub fn resync(&self, pairs: &[Resync], owners: &[(u128, Vec<u8>)]) -> Result<(), StoreError> {
        let (pairs, owners) = (pairs.to_vec(), owners.to_vec());
        self.inner
            .queue
            .run(move |inner| inner.resync(pairs, owners))
    }
    /// All LUNs, by id.
    pub fn luns(&self) -> Vec<LunRecord> {
        let catalog = self.inner.catalog.shared();
        let ids: Vec<u128> = catalog.luns.keys().copied().collect();
        drop(catalog);
        // A LUN deleted in between is left out.
        ids.into_iter().filter_map(|id| self.lun(id).ok()).collect()
    }
    /// One LUN's record.
    pub fn lun(&self, id: u128) -> Result<LunRecord, StoreError> {
        let catalog = self.inner.catalog.shared();
        let row = catalog.luns.get(&id).ok_or(StoreError::UnknownLun(id))?;
        let line = catalog.lineages.get(&row.lineage);
        let rows = line.map_or(0, |line| line.row_count() as u64);
        Ok(LunRecord {
            id,
            size_bytes: row.size_bytes,
            owner: row.owner.clone(),
            own_bytes_max: (rows * LEAF_BYTES).min(row.size_bytes),
        })
    }
    /// The LUN as a device; a live object that answers [`block::ErrorKind::Gone`] after the LUN was deleted or the store
    /// closed. All devices of one LUN are the same LUN. One from before a [`Store::resync`] that changed the LUN's size keeps
    /// that size, reads what is still there and takes no writes: take a new one.
    pub fn device(&self, id: u128) -> Result<Arc<dyn BlockDevice>, StoreError> {
        let lun = self.inner.lun(id)?;
        let device = LunDevice::new(Arc::clone(&self.inner), lun);
        Ok(Arc::new(device.map_err(StoreError::Block)?))
    }
    /// The store's space.
    pub fn usage(&self) -> Usage {
        let luns = self.inner.catalog.shared().luns.len();
        let has_headroom = self.inner.has_headroom();
        let allocator = self.inner.allocator.locked();
        Usage {
            refuses_new_data: allocator.free_count() == 0 || !has_headroom,
            // The first chunk holds the header.
            capacity_bytes: u64::from(allocator.chunk_count() - 1) * CHUNK_BYTES,
            free_bytes: u64::from(allocator.free_count()) * CHUNK_BYTES,
            luns,
        }
    }
    /// What the store has done since it was opened.
    pub fn counters(&self) -> Counters {
        let data = &self.inner.data;
        let commits = self
            .inner
            .meta()
            .map(|meta| meta.commits.load(Ordering::Relaxed));
        Counters {
            data_reads: data.reads.load(Ordering::Relaxed),
            data_writes: data.writes.load(Ordering::Relaxed),
            data_syncs: data.syncs.load(Ordering::Relaxed),
            meta_commits: commits.unwrap_or(0),
        }
    }
    /// Waits until the space of everything deleted or overwritten so far has come back.
    pub fn wait_reclaimed(&self) -> Result<(), StoreError> {
        self.inner.queue.wait_reclaimed()?;
        self.inner.check_writable()
    }
    /// Why the store refuses writes, if it does.
    pub fn poisoned(&self) -> Option<String> {
        self.inner
            .check_writable()
            .err()
            .map(|error| error.to_string())
    }

    fn start(inner: Arc<Inner>) -> Result<Self, StoreError> {
        let worker = Arc::clone(&inner);
        let committer = std::thread::Builder::new()
            .name("store-committer".into())
            .spawn(move || committer::run(&worker))
            .map_err(|error| StoreError::io("starting the committer thread", error))?;
        Ok(Self {
            inner,
            committer: Some(committer),
        })
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    fn shut(&mut self) -> Result<(), StoreError> {
        let Some(committer) = self.committer.take() else {
            return Ok(());
        };
        let luns: Vec<_> = self.inner.luns.shared().values().cloned().collect();
        let mut flushed = self.inner.flush(luns.clone());
        for lun in &luns {
            lun.end();
        }
        if flushed.is_ok() {
            // What was written between the flush and the end.
            flushed = self.inner.flush(luns);
        }
        self.inner.queue.stop();
        let joined = committer.join();
        assert!(joined.is_ok(), "the committer catches its panics");
        *self.inner.meta.exclusive() = None;
        self.inner.data.unlock();
        *self.inner.directory.locked() = None;
        flushed
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::error!(%error, "closing the store");
        }
    }
}
