// SPDX-License-Identifier: MIT OR Apache-2.0
//! Getting space back: removes rows that nobody can see any more, in small transactions on the committer thread.
//!
//! Nothing says on disk that this is under way. Which rows are needed follows from the LUN and lineage records, so
//! after a crash each lineage is simply looked through again.
use crate::catalog::RowChanges;
use crate::changes::put_census;
use crate::committer::ROWS_PER_COMMIT_MAX;
use crate::format::{LineageRow, RowId, TableId};
use crate::inner::Inner;
use crate::meta::Batch;
use crate::sync::RwLockExt;

/// Most rows looked at in one go, so that a capture never waits for a long walk.
const ROWS_PER_LOOK_MAX: usize = 4096;

impl Inner {
    /// Goes through a lineage from `from` on. Returns where to go on, or `None` at its end.
    pub(crate) fn reclaim_slice(&self, lineage: u64, from: (u32, u64)) -> Option<(u32, u64)> {
        let mut next = None;
        let mut unseen = Vec::new();
        {
            let catalog = self.catalog.shared();
            let line = catalog.lineages.get(&lineage)?;
            for (looked, (leaf, epoch)) in line.rows_from(from).enumerate() {
                if looked == ROWS_PER_LOOK_MAX || unseen.len() == ROWS_PER_COMMIT_MAX {
                    next = Some((leaf, epoch));
                    break;
                }
                let row = RowId {
                    lineage,
                    leaf,
                    epoch,
                };
                if !catalog.is_needed(row) {
                    unseen.push(row);
                }
            }
        }
        if !unseen.is_empty() {
            let mut changes = RowChanges::default();
            let mut batch = Batch::default();
            {
                let mut catalog = self.catalog.exclusive();
                for row in unseen {
                    catalog.remove_row(row, &mut changes);
                }
                catalog.write_rows(&changes, &mut batch);
            }
            // A failure has poisoned the store; the rest is found again at the next open.
            self.commit_rows(Vec::new(), changes, batch).ok()?;
        }
        if next.is_none() {
            self.bury(lineage);
        }
        next
    }

    /// Removes the record of a lineage that has neither LUN, nor copies, nor rows.
    fn bury(&self, lineage: u64) {
        let mut census = {
            let catalog = self.catalog.shared();
            let Some(line) = catalog.lineages.get(&lineage) else {
                return;
            };
            if line.lun.is_some() || !line.forks.is_empty() || line.row_count() != 0 {
                return;
            }
            catalog.census()
        };
        census.lineages -= 1;
        let mut batch = Batch::default();
        batch.remove(TableId::Lineages, LineageRow::key(lineage));
        put_census(&mut batch, census);
        if self.commit(Vec::new(), batch).is_err() {
            return;
        }
        let parent = self.catalog.exclusive().remove_lineage(lineage);
        // One view of the parent less: rows that only the buried one could see are free to go.
        if let Some(parent) = parent {
            self.queue.reclaim(parent);
        }
    }
}
