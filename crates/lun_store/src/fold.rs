// SPDX-License-Identifier: MIT OR Apache-2.0
//! Putting a chunk's two halves together once nobody shares them any more.
//!
//! A small write after a capture leaves the shared chunk as base and takes a second one. When the copy is deleted,
//! both belong to the source alone, and one of them is a chunk of space too many. Runs on the committer thread, after
//! the rows that shared the base are gone.
use crate::committer::ROWS_PER_COMMIT_MAX;
use crate::device::LunDevice;
use crate::format::{CHUNK_BYTES, Entry, PART_BYTES, RowId};
use crate::inner::Inner;
use crate::leaf::LeafMap;
use crate::meta::Batch;
use crate::sync::{MutexExt, RwLockExt};
use block::BlockError;
use std::sync::Arc;

/// More copies than this forked off one lineage are not looked at; their chunks stay apart until they are written.
const CHILDREN_MAX: usize = 16;

/// Leaves to fold in one go.
pub(crate) const LEAVES_PER_FOLD_MAX: usize = ROWS_PER_COMMIT_MAX;

impl Inner {
    /// Rows are gone: whoever shared chunks with them may have them alone now.
    pub(crate) fn ask_folds(&self, removed: &[RowId]) {
        let catalog = self.catalog.shared();
        let mut folds = Vec::new();
        for row in removed {
            let Some(line) = catalog.lineages.get(&row.lineage) else {
                continue;
            };
            let children = line.forks.values().flatten().take(CHILDREN_MAX);
            let children = children.filter_map(|child| catalog.lineages.get(child)?.lun);
            folds.extend(
                line.lun
                    .into_iter()
                    .chain(children)
                    .map(|id| (id, row.leaf)),
            );
        }
        drop(catalog);
        if !folds.is_empty() {
            self.queue.fold(folds);
        }
    }

    /// Folds leaves and commits them. A failure to read leaves a chunk as it is; a failure to write poisons the store.
    pub(crate) fn fold_slice(self: &Arc<Self>, leaves: Vec<(u128, u32)>) {
        let mut taken = Vec::new();
        for (id, number) in leaves {
            let Ok(lun) = self.lun(id) else {
                continue;
            };
            let Ok(device) = LunDevice::new(Arc::clone(self), lun) else {
                continue;
            };
            if let Err(error) = device.fold_leaf(number) {
                tracing::warn!(lun = %format!("{id:032x}"), %error, "two chunks stay apart");
            }
            if let Some(dirty) = device.lun.take_dirty(number) {
                taken.push(self.take(&device.lun, dirty));
            }
        }
        if taken.is_empty() {
            return;
        }
        match self.sync_data() {
            // A failure has poisoned the store; there is nobody to tell here.
            Ok(()) => drop(self.commit(taken, Batch::default())),
            Err(_) => self.restore(taken),
        }
    }
}

impl LunDevice {
    fn fold_leaf(&self, number: u32) -> Result<(), BlockError> {
        let _gate = self.lun.gate.shared();
        let head = self.lun.head.shared();
        let Some(head) = head.as_ref() else {
            return Ok(());
        };
        let leaf = self.inner.leaf(head, number, false);
        let Some(leaf) = leaf.map_err(crate::StoreError::into_block)? else {
            return Ok(());
        };
        let mut map = leaf.map.exclusive();
        let map = map.as_mut().expect("the leaf was loaded");
        if map.row != Some(head.row(number)) {
            return Ok(());
        }
        for index in 0..map.entries.len() {
            let entry = map.entries[index];
            let alone = entry.base != 0 && {
                let allocator = self.inner.allocator.locked();
                allocator.count(entry.own) == 1 && allocator.count(entry.base) == 1
            };
            if alone {
                self.own_leaf(head, number, &leaf, map);
                self.fold_chunk(map, index)?;
            }
        }
        Ok(())
    }

    /// Copies the smaller half to the other one. Only parts are overwritten that the entry does not read there; to a
    /// row on disk that still does, it is a write of newer data in place.
    fn fold_chunk(&self, map: &mut LeafMap, index: usize) -> Result<(), BlockError> {
        let entry = map.entries[index];
        let base_is_smaller = entry.base_parts.count_ones() <= entry.own_parts.count_ones();
        let (from, to, parts) = match base_is_smaller {
            true => (entry.base, entry.own, entry.base_parts),
            false => (entry.own, entry.base, entry.own_parts),
        };
        let mut bytes = vec![0; CHUNK_BYTES as usize];
        self.read_chunk(&entry, 0, &mut bytes)?;
        for run in crate::device::runs(parts) {
            let run = run.start * PART_BYTES..run.end * PART_BYTES;
            self.write_data(to, run.start, &bytes[run.start as usize..run.end as usize])?;
        }
        map.entries[index] = Entry {
            own: to,
            own_parts: entry.own_parts | entry.base_parts,
            base: 0,
            base_parts: 0,
        };
        map.dropped.push(from);
        Ok(())
    }
}
