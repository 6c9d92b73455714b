// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decoded leaves: where each chunk of 8 MiB of a LUN lies, and the cache that holds them.
use crate::format::{Entries, Entry, LEAF_CHUNKS, RowId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock};

/// Most leaves kept decoded (about 1.6 KiB each): the map of 256 GiB of address space.
const CACHE_LEAVES_MAX: usize = 32 << 10;

/// One leaf in memory. Its lock is the order of all reads and writes of its 8 MiB: a reader holds it shared until
/// the data is read, so that no chunk can be freed and given to another LUN under its hands.
#[derive(Default)]
pub(crate) struct Leaf {
    pub(crate) map: RwLock<Option<LeafMap>>,
}

/// The state of a leaf.
pub(crate) struct LeafMap {
    /// The row that these entries are from, or will go to; `None` where nothing was ever written.
    pub(crate) row: Option<RowId>,
    pub(crate) entries: Box<Entries>,
    /// References that this leaf gave up since its row was last taken for writing; they end when the next one is
    /// durable.
    pub(crate) dropped: Vec<u32>,
    /// Waits to be written: it is in its LUN's queue.
    pub(crate) dirty: bool,
}

impl LeafMap {
    /// A leaf where nothing was ever written.
    pub(crate) fn empty() -> Self {
        Self::clean(None, Box::new([Entry::default(); LEAF_CHUNKS]))
    }

    /// A leaf as its row says.
    pub(crate) fn clean(row: Option<RowId>, entries: Box<Entries>) -> Self {
        Self {
            row,
            entries,
            dropped: Vec::new(),
            dirty: false,
        }
    }

    /// The entry of chunk `index` loses its base when no part of it is used any more, and its own chunk likewise.
    pub(crate) fn settle(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        if entry.base != 0 && entry.base_parts == 0 {
            self.dropped.push(entry.base);
            entry.base = 0;
        }
        if entry.own != 0 && entry.own_parts == 0 {
            self.dropped.push(entry.own);
            *entry = Entry {
                own: entry.base,
                own_parts: entry.base_parts,
                base: 0,
                base_parts: 0,
            };
        }
    }

    /// Gives up these parts of a chunk: they read as zeros.
    pub(crate) fn clear_parts(&mut self, index: usize, parts: u16) {
        self.entries[index].own_parts &= !parts;
        self.entries[index].base_parts &= !parts;
        self.settle(index);
    }
}

#[derive(Default)]
struct Cached {
    leaves: HashMap<(u64, u32), Arc<Leaf>>,
    order: VecDeque<(u64, u32)>,
}

/// The decoded leaves of all LUNs by (head lineage, leaf number), bounded. A leaf that is in use or waits to be
/// written is held by somebody else too, and stays.
#[derive(Default)]
pub(crate) struct LeafCache {
    cached: Mutex<Cached>,
}

impl LeafCache {
    fn lock(&self) -> std::sync::MutexGuard<'_, Cached> {
        self.cached
            .lock()
            .expect("the leaf cache's lock is never held across a panic")
    }

    /// The leaf, if it is in memory.
    pub(crate) fn find(&self, lineage: u64, leaf: u32) -> Option<Arc<Leaf>> {
        self.lock().leaves.get(&(lineage, leaf)).cloned()
    }

    /// The leaf; new ones are not loaded yet.
    pub(crate) fn get(&self, lineage: u64, leaf: u32) -> Arc<Leaf> {
        let mut cached = self.lock();
        if let Some(found) = cached.leaves.get(&(lineage, leaf)) {
            return Arc::clone(found);
        }
        // A few tries only: when everything is in use, the bound gives way rather than the caller waiting.
        for _ in 0..8 {
            if cached.leaves.len() < CACHE_LEAVES_MAX {
                break;
            }
            let Some(oldest) = cached.order.pop_front() else {
                break;
            };
            let in_use = cached
                .leaves
                .get(&oldest)
                .is_some_and(|leaf| Arc::strong_count(leaf) > 1);
            match in_use {
                true => cached.order.push_back(oldest),
                false => drop(cached.leaves.remove(&oldest)),
            }
        }
        let new = Arc::<Leaf>::default();
        cached.leaves.insert((lineage, leaf), Arc::clone(&new));
        cached.order.push_back((lineage, leaf));
        new
    }

    /// Forgets all leaves of these lineages.
    pub(crate) fn forget(&self, lineages: &[u64]) {
        let mut cached = self.lock();
        cached.leaves.retain(|key, _| !lineages.contains(&key.0));
        cached.order.retain(|key| !lineages.contains(&key.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_beyond_bound_evicts_unused_and_keeps_used() {
        let cache = LeafCache::default();
        let held = cache.get(1, 0);
        for leaf in 1..=(CACHE_LEAVES_MAX as u32 + 50) {
            cache.get(1, leaf);
        }
        assert!(cache.lock().leaves.len() <= CACHE_LEAVES_MAX);
        assert!(Arc::ptr_eq(&held, &cache.find(1, 0).expect("held leaf")));
    }

    #[test]
    fn clear_parts_of_own_promotes_base_and_drops_own() {
        let mut map = LeafMap::empty();
        map.entries[3] = Entry {
            own: 7,
            own_parts: 0x000f,
            base: 9,
            base_parts: 0x00f0,
        };
        map.clear_parts(3, 0x000f);
        assert_eq!(map.dropped, [7]);
        assert_eq!((map.entries[3].own, map.entries[3].own_parts), (9, 0x00f0));
        map.clear_parts(3, 0xffff);
        assert_eq!(map.dropped, [7, 9]);
        assert_eq!(map.entries[3], Entry::default());
    }
}
