// SPDX-License-Identifier: MIT OR Apache-2.0
//! What exists, in memory: LUNs, lineages, which leaves have rows, and who can still see a row.
//!
//! A *lineage* is the line of versions behind one LUN. Its *epoch* grows by one with each capture; rows written
//! before stay as they are. A copy's lineage starts at (parent lineage, epoch): what it has no row for, it reads
//! there. A *view* of a lineage is an epoch somebody can look at: the newest, if a LUN stands on it, and each epoch
//! at which another lineage forked off.
use crate::StoreError;
use crate::format::{
    Census, LineageRow, LunRow, PAGE_BYTES, PAGE_LEAVES, Page, RowId, TableId, page_key,
    page_to_row,
};
use crate::meta::Batch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// One line of versions.
#[derive(Default)]
pub(crate) struct Lineage {
    /// Where it forked off.
    pub(crate) parent: Option<(u64, u64)>,
    /// Epoch of new rows.
    pub(crate) epoch: u64,
    /// The LUN that writes to it; `None` once that was deleted or resynced.
    pub(crate) lun: Option<u128>,
    /// Lineages that forked off, by epoch.
    pub(crate) forks: BTreeMap<u64, BTreeSet<u64>>,
    /// Every durable row, as (leaf, epoch).
    rows: BTreeSet<(u32, u64)>,
    /// The same as the presence pages say it, by (epoch, page).
    pages: BTreeMap<(u64, u32), Box<Page>>,
    /// Why the rows are not to be trusted.
    pub(crate) damaged: Option<String>,
}

impl Lineage {
    pub(crate) fn row(&self) -> LineageRow {
        LineageRow {
            parent: self.parent,
            epoch: self.epoch,
        }
    }

    /// Epoch of the newest row of `leaf` that is not newer than `epoch`.
    fn newest(&self, leaf: u32, epoch: u64) -> Option<u64> {
        let found = self.rows.range((leaf, 0)..=(leaf, epoch)).next_back();
        found.map(|&(_, epoch)| epoch)
    }

    /// Epoch of the oldest row of `leaf` that is newer than `epoch`; `u64::MAX` if there is none.
    fn next_newer(&self, leaf: u32, epoch: u64) -> u64 {
        let found = self.rows.range((leaf, epoch + 1)..=(leaf, u64::MAX)).next();
        found.map_or(u64::MAX, |&(_, epoch)| epoch)
    }

    /// Epoch of the oldest row of `leaf`; `u64::MAX` if there is none.
    fn oldest(&self, leaf: u32) -> u64 {
        let found = self.rows.range((leaf, 0)..=(leaf, u64::MAX)).next();
        found.map_or(u64::MAX, |&(_, epoch)| epoch)
    }

    pub(crate) fn has_row(&self, leaf: u32, epoch: u64) -> bool {
        self.rows.contains(&(leaf, epoch))
    }

    pub(crate) fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Rows from (leaf, epoch) on.
    pub(crate) fn rows_from(&self, from: (u32, u64)) -> impl Iterator<Item = (u32, u64)> {
        self.rows.range(from..).copied()
    }

    pub(crate) fn add_page(&mut self, epoch: u64, page_number: u32, page: &Page) {
        for bit in 0..PAGE_LEAVES {
            if page[bit as usize / 8] & (1 << (bit % 8)) != 0
                && let Some(leaf) = page_number
                    .checked_mul(PAGE_LEAVES)
                    .and_then(|first| first.checked_add(bit))
            {
                self.rows.insert((leaf, epoch));
            }
        }
        self.pages.insert((epoch, page_number), Box::new(*page));
    }

    fn set_row(&mut self, leaf: u32, epoch: u64, present: bool) {
        let page_name = (epoch, leaf / PAGE_LEAVES);
        let page = self
            .pages
            .entry(page_name)
            .or_insert_with(|| Box::new([0; PAGE_BYTES]));
        let bit = leaf % PAGE_LEAVES;
        let mask = 1 << (bit % 8);
        if present {
            self.rows.insert((leaf, epoch));
            page[bit as usize / 8] |= mask;
        } else {
            self.rows.remove(&(leaf, epoch));
            page[bit as usize / 8] &= !mask;
            if page.iter().all(|&byte| byte == 0) {
                self.pages.remove(&page_name);
            }
        }
    }
}

/// Everything that exists.
#[derive(Default)]
pub(crate) struct Catalog {
    pub(crate) luns: BTreeMap<u128, LunRow>,
    pub(crate) lineages: HashMap<u64, Lineage>,
    pub(crate) next_lineage: u64,
}

/// Rows that a transaction adds and removes, kept for undoing them in memory when it fails.
#[derive(Default)]
pub(crate) struct RowChanges {
    pub(crate) added: Vec<RowId>,
    pub(crate) removed: Vec<RowId>,
}

impl Catalog {
    pub(crate) fn census(&self) -> Census {
        Census {
            luns: self.luns.len() as u64,
            lineages: self.lineages.len() as u64,
            next_lineage: self.next_lineage,
        }
    }

    /// The row that answers for `leaf` when looking at `lineage` as of `epoch`; `None` where nothing was ever
    /// written. Costs a look-up in memory per generation of copies, however many captures there were.
    pub(crate) fn resolve(
        &self,
        mut lineage: u64,
        mut epoch: u64,
        leaf: u32,
    ) -> Result<Option<RowId>, StoreError> {
        loop {
            let line = self
                .lineages
                .get(&lineage)
                .ok_or_else(|| StoreError::Damaged(format!("lineage {lineage} has no record")))?;
            if let Some(reason) = &line.damaged {
                return Err(StoreError::Damaged(reason.clone()));
            }
            if let Some(epoch) = line.newest(leaf, epoch) {
                return Ok(Some(RowId {
                    lineage,
                    leaf,
                    epoch,
                }));
            }
            match line.parent {
                Some((parent, fork)) => (lineage, epoch) = (parent, fork),
                None => return Ok(None),
            }
        }
    }

    /// Whether anybody can still see a row: a view of its own lineage at or after its epoch and before the next
    /// newer row, or a descendant that has no row of its own in the way.
    pub(crate) fn is_needed(&self, row: RowId) -> bool {
        let Some(line) = self.lineages.get(&row.lineage) else {
            return true;
        };
        let seen = row.epoch..line.next_newer(row.leaf, row.epoch);
        self.is_seen(row.lineage, row.leaf, seen)
    }

    fn is_seen(&self, lineage: u64, leaf: u32, epochs: Range<u64>) -> bool {
        // A stack of our own: generations of copies are not bounded, the thread's stack is.
        let mut open = vec![(lineage, epochs)];
        while let Some((lineage, epochs)) = open.pop() {
            let Some(line) = self.lineages.get(&lineage) else {
                return true;
            };
            if line.lun.is_some() && epochs.contains(&line.epoch) {
                return true;
            }
            for children in line.forks.range(epochs).map(|(_, children)| children) {
                for &child in children {
                    let oldest = self
                        .lineages
                        .get(&child)
                        .map_or(u64::MAX, |c| c.oldest(leaf));
                    open.push((child, 0..oldest));
                }
            }
        }
        false
    }

    /// Notes that `row` is about to be written, and drops from memory what nobody can see once it is: the row that
    /// it replaces in its own lineage, or in the nearest ancestor that has one.
    pub(crate) fn add_row(&mut self, row: RowId, changes: &mut RowChanges) {
        let Some(line) = self.lineages.get_mut(&row.lineage) else {
            return;
        };
        if line.has_row(row.leaf, row.epoch) {
            return;
        }
        let parent = line.parent;
        let older = row
            .epoch
            .checked_sub(1)
            .and_then(|before| line.newest(row.leaf, before))
            .map(|epoch| RowId { epoch, ..row });
        line.set_row(row.leaf, row.epoch, true);
        changes.added.push(row);
        let replaced = match (older, parent) {
            (Some(older), _) => Some(older),
            (None, Some((parent, fork))) => self.resolve(parent, fork, row.leaf).ok().flatten(),
            (None, None) => None,
        };
        if let Some(replaced) = replaced.filter(|replaced| !self.is_needed(*replaced)) {
            self.remove_row(replaced, changes);
        }
    }

    pub(crate) fn remove_row(&mut self, row: RowId, changes: &mut RowChanges) {
        if let Some(line) = self.lineages.get_mut(&row.lineage) {
            line.set_row(row.leaf, row.epoch, false);
            changes.removed.push(row);
        }
    }

    /// Takes row changes back after their transaction failed.
    pub(crate) fn undo(&mut self, changes: &RowChanges) {
        for (rows, present) in [(&changes.removed, true), (&changes.added, false)] {
            for row in rows {
                if let Some(line) = self.lineages.get_mut(&row.lineage) {
                    line.set_row(row.leaf, row.epoch, present);
                }
            }
        }
    }

    /// Adds the removals and the presence pages of `changes` to a transaction.
    pub(crate) fn write_rows(&self, changes: &RowChanges, batch: &mut Batch) {
        for row in &changes.removed {
            batch.remove(TableId::Leaves, row.key());
        }
        let mut pages: BTreeSet<(u64, u64, u32)> = BTreeSet::new();
        for row in changes.added.iter().chain(&changes.removed) {
            pages.insert((row.lineage, row.epoch, row.leaf / PAGE_LEAVES));
        }
        for (lineage, epoch, page) in pages {
            let key = page_key(lineage, epoch, page);
            let bits = self
                .lineages
                .get(&lineage)
                .and_then(|line| line.pages.get(&(epoch, page)));
            match bits {
                Some(bits) => {
                    let value = page_to_row(&key, bits);
                    batch.put(TableId::Presence, key, value);
                }
                None => batch.remove(TableId::Presence, key),
            }
        }
    }

    /// Makes `child` read from `parent` what it has no rows for.
    pub(crate) fn fork(&mut self, child: u64, parent: u64, epoch: u64) {
        self.lineages.entry(child).or_default().parent = Some((parent, epoch));
        if let Some(line) = self.lineages.get_mut(&parent) {
            line.forks.entry(epoch).or_default().insert(child);
        }
    }

    /// Forgets a lineage without rows, views or LUN; returns its parent, which may now have rows that nobody sees.
    pub(crate) fn remove_lineage(&mut self, lineage: u64) -> Option<u64> {
        let (parent, epoch) = self.lineages.remove(&lineage)?.parent?;
        let line = self.lineages.get_mut(&parent)?;
        if let Some(children) = line.forks.get_mut(&epoch) {
            children.remove(&lineage);
            if children.is_empty() {
                line.forks.remove(&epoch);
            }
        }
        Some(parent)
    }
}
