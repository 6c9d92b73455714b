// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all parts of an open store share.
use crate::StoreError;
use crate::alloc::Allocator;
use crate::catalog::{Catalog, RowChanges};
use crate::committer::Queue;
use crate::data::DataFile;
use crate::format::{RowId, TableId, leaf_from_row, leaf_to_row};
use crate::leaf::{Leaf, LeafCache, LeafMap};
use crate::lun::{Dirty, Head, LunState};
use crate::meta::{Batch, Meta};
use crate::sync::{MutexExt, RwLockExt};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

/// An open store.
pub(crate) struct Inner {
    pub(crate) data: DataFile,
    /// `None` once closed: devices may outlive the store, the lock on its files may not.
    pub(crate) meta: RwLock<Option<Arc<Meta>>>,
    pub(crate) directory: Mutex<Option<File>>,
    pub(crate) catalog: RwLock<Catalog>,
    pub(crate) allocator: Mutex<Allocator>,
    pub(crate) cache: LeafCache,
    pub(crate) luns: RwLock<BTreeMap<u128, Arc<LunState>>>,
    pub(crate) queue: Queue,
    pub(crate) poisoned: AtomicBool,
    pub(crate) poison_reason: Mutex<Option<String>>,
}

/// Space that new data leaves free on the store's file system. Metadata has to be able to grow: a metadata write that
/// fails stops the whole store, a data write that fails only itself.
const HEADROOM_BYTES: u64 = 64 << 20;

/// A leaf's row, encoded for a transaction.
pub(crate) struct Taken {
    lun: Arc<LunState>,
    number: u32,
    leaf: Arc<Leaf>,
    row: RowId,
    value: Vec<u8>,
    dropped: Vec<u32>,
}

impl Taken {
    pub(crate) fn is_of(&self, id: u128) -> bool {
        self.lun.id == id
    }
}

impl Inner {
    pub(crate) fn meta(&self) -> Result<Arc<Meta>, StoreError> {
        self.meta.shared().clone().ok_or(StoreError::Closed)
    }

    pub(crate) fn lun(&self, id: u128) -> Result<Arc<LunState>, StoreError> {
        let luns = self.luns.shared();
        luns.get(&id).cloned().ok_or(StoreError::UnknownLun(id))
    }

    /// An error once the store refuses writes.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        match self.poisoned.load(Ordering::Acquire) {
            true => Err(StoreError::Poisoned(self.poison_reason())),
            false => Ok(()),
        }
    }

    fn poison_reason(&self) -> String {
        let reason = self.poison_reason.locked().clone();
        reason.unwrap_or_else(|| "an earlier failure".into())
    }

    /// Refuses writes from now on. What is in memory may no longer match the files, and after a failed fsync the
    /// kernel may have dropped what it could not write: only reading the files again can tell.
    pub(crate) fn poison(&self, reason: &str) {
        {
            let mut first = self.poison_reason.locked();
            if first.is_none() {
                tracing::error!(reason, "the store refuses writes until it is opened anew");
                *first = Some(reason.to_string());
            }
        }
        self.poisoned.store(true, Ordering::Release);
        for lun in self.luns.shared().values() {
            lun.wake();
        }
        self.queue.wake();
    }

    /// The leaf as `head` sees it, loaded. `None` where nothing was ever written and `create` is false: reads of
    /// empty space leave nothing behind in memory.
    pub(crate) fn leaf(
        &self,
        head: &Head,
        number: u32,
        create: bool,
    ) -> Result<Option<Arc<Leaf>>, StoreError> {
        let leaf = match self.cache.find(head.lineage, number) {
            Some(leaf) => leaf,
            None => {
                let row = self
                    .catalog
                    .shared()
                    .resolve(head.lineage, head.epoch, number)?;
                if row.is_none() && !create {
                    return Ok(None);
                }
                self.cache.get(head.lineage, number)
            }
        };
        self.load(head, number, &leaf)?;
        Ok(Some(leaf))
    }

    fn load(&self, head: &Head, number: u32, leaf: &Leaf) -> Result<(), StoreError> {
        if leaf.map.shared().is_some() {
            return Ok(());
        }
        let mut map = leaf.map.exclusive();
        if map.is_some() {
            return Ok(());
        }
        let row = self
            .catalog
            .shared()
            .resolve(head.lineage, head.epoch, number)?;
        *map = Some(match row {
            None => LeafMap::empty(),
            Some(row) => LeafMap::clean(Some(row), self.read_row(row)?),
        });
        Ok(())
    }

    fn read_row(&self, row: RowId) -> Result<Box<crate::format::Entries>, StoreError> {
        let key = row.key();
        let value = self.meta()?.get(TableId::Leaves, &key)?.ok_or_else(|| {
            StoreError::Damaged(format!("{row:?} vanished; its presence page has it"))
        })?;
        let chunk_count = self.allocator.locked().chunk_count();
        leaf_from_row(&key, &value, chunk_count)
    }

    /// Encodes a leaf that waits to be written. What was written to it so far has reached the data file, so a data
    /// sync between this and the transaction keeps rows from ever naming data that is not there.
    pub(crate) fn take(&self, lun: &Arc<LunState>, dirty: Dirty) -> Taken {
        let mut guard = dirty.leaf.map.exclusive();
        let map = guard.as_mut().expect("a dirty leaf is loaded");
        let row = map.row.expect("a dirty leaf has a row");
        map.dirty = false;
        let value = leaf_to_row(row, &map.entries);
        let dropped = std::mem::take(&mut map.dropped);
        drop(guard);
        Taken {
            lun: Arc::clone(lun),
            number: dirty.number,
            leaf: dirty.leaf,
            row,
            value,
            dropped,
        }
    }

    /// Commits leaves together with other changes. On failure the store is poisoned and memory is as before.
    pub(crate) fn commit(&self, taken: Vec<Taken>, mut batch: Batch) -> Result<(), StoreError> {
        let mut changes = RowChanges::default();
        {
            let mut catalog = self.catalog.exclusive();
            for one in &taken {
                catalog.add_row(one.row, &mut changes);
            }
            catalog.write_rows(&changes, &mut batch);
        }
        self.commit_rows(taken, changes, batch)
    }

    /// The same with row changes that were made in the catalogue before.
    pub(crate) fn commit_rows(
        &self,
        taken: Vec<Taken>,
        changes: RowChanges,
        mut batch: Batch,
    ) -> Result<(), StoreError> {
        let mut ended: Vec<u32> = Vec::new();
        for row in &changes.removed {
            // A row that cannot be read takes its references along; the next open counts afresh.
            if let Ok(entries) = self.read_row(*row) {
                ended.extend(entries.iter().flat_map(|entry| entry.chunks()));
            }
        }
        for one in &taken {
            ended.extend(&one.dropped);
            batch.put(TableId::Leaves, one.row.key(), one.value.clone());
        }
        if batch.is_empty() {
            return Ok(());
        }
        match self.meta().and_then(|meta| meta.commit(batch)) {
            Ok(()) => {
                self.release(&ended);
                self.ask_folds(&changes.removed);
                Ok(())
            }
            Err(error) => {
                self.catalog.exclusive().undo(&changes);
                self.restore(taken);
                self.poison(&error.to_string());
                Err(error)
            }
        }
    }

    /// Makes leaves dirty again whose transaction did not happen: the data that only they know of stays readable.
    pub(crate) fn restore(&self, taken: Vec<Taken>) {
        for one in taken {
            if let Some(map) = one.leaf.map.exclusive().as_mut() {
                map.dropped.extend(one.dropped);
                map.dirty = true;
            }
            one.lun.put_back(one.number, one.leaf);
        }
    }

    /// References ended, durably: chunks that nobody refers to any more become free.
    pub(crate) fn release(&self, ended: &[u32]) {
        let unused = self.allocator.locked().drop_references(ended);
        if unused.is_empty() {
            return;
        }
        self.data.punch(unused.clone());
        // Only now: a chunk given out before its hole was punched would lose what its new owner wrote.
        self.allocator.locked().freed(&unused);
    }

    /// Whether new data leaves the metadata room to grow.
    pub(crate) fn has_headroom(&self) -> bool {
        #[cfg(test)]
        if let Some(free_bytes) = *self.data.faults.free_bytes.locked() {
            return free_bytes >= HEADROOM_BYTES;
        }
        let directory = self.directory.locked();
        let below = directory.as_ref().map(rustix::fs::fstatvfs);
        match below {
            Some(Ok(below)) => below.f_bavail.saturating_mul(below.f_frsize) >= HEADROOM_BYTES,
            // A file system that does not tell: then only the write itself will.
            Some(Err(_)) | None => true,
        }
    }

    /// Syncs the data file; a failure poisons the store.
    pub(crate) fn sync_data(&self) -> Result<(), StoreError> {
        self.data.sync().inspect_err(|error| {
            self.poison(&error.to_string());
        })
    }

    /// Makes what has returned on these LUNs durable.
    pub(crate) fn flush(&self, luns: Vec<Arc<LunState>>) -> Result<(), StoreError> {
        self.flush_by(luns, |queue, unflushed| {
            queue.flush(unflushed).map(|()| true)
        })
        .map(|_| ())
    }

    /// The same, but waits no longer than `within`; whether that was enough.
    pub(crate) fn flush_within(
        &self,
        luns: Vec<Arc<LunState>>,
        within: Duration,
    ) -> Result<bool, StoreError> {
        self.flush_by(luns, |queue, unflushed| {
            queue.flush_within(unflushed, within)
        })
    }

    fn flush_by(
        &self,
        luns: Vec<Arc<LunState>>,
        flush: impl FnOnce(&Queue, Vec<Arc<LunState>>) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        self.check_writable()?;
        let unflushed: Vec<_> = luns.into_iter().filter(|lun| !lun.is_flushed()).collect();
        if unflushed.is_empty() {
            return Ok(true);
        }
        flush(&self.queue, unflushed).map_err(|error| match error {
            StoreError::Closed => self.check_writable().err().unwrap_or(StoreError::Closed),
            other => other,
        })
    }

    /// Gets back what space there is to get back: ends references that wait for a transaction, and reclaims.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        self.check_writable()?;
        let all: Vec<_> = self.luns.shared().values().cloned().collect();
        // Whether or not they have unflushed data: rows may wait that no data came with.
        self.queue.flush(all)?;
        self.queue.wait_reclaimed()?;
        self.check_writable()
    }
}
