// SPDX-License-Identifier: MIT OR Apache-2.0
//! The offline check: reads all rows of a store that nobody has open, and writes nothing.
use crate::StoreError;
use crate::format::RowId;
use crate::load::{Loaded, load};
use crate::open::open_for_check;
use std::path::Path;

/// What an offline check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Number of LUNs.
    pub luns: u64,
    /// Number of leaf rows.
    pub rows: u64,
    /// Leaf rows that nobody can see: a running store gives their space back by itself.
    pub unseen_rows: u64,
    /// Number of chunks that rows refer to.
    pub chunks: u64,
    /// One sentence per fault; empty for a sound store.
    pub problems: Vec<String>,
}

/// Verifies the metadata of the store in `dir`: every row's checksum and form, that LUNs, lineages, presence pages
/// and leaves agree, and that both files belong together. LUN data has no checksums and is not read.
///
/// # Errors
/// When the files cannot be looked at: [`StoreError::NotAStore`], [`StoreError::Version`], [`StoreError::InUse`],
/// [`StoreError::NeedsRecovery`], [`StoreError::Truncated`], [`StoreError::Io`]. Damage is no error but a line of the
/// report.
pub fn check(dir: &Path) -> Result<CheckReport, StoreError> {
    let files = open_for_check(dir)?;
    let loaded = match load(&files.meta, files.header.chunk_count()?) {
        Ok(loaded) => loaded,
        Err(StoreError::Damaged(problem)) => {
            return Ok(CheckReport {
                problems: vec![problem],
                ..CheckReport::default()
            });
        }
        Err(error) => return Err(error),
    };
    let unseen_rows = count_unseen(&loaded);
    Ok(CheckReport {
        luns: loaded.catalog.luns.len() as u64,
        rows: loaded.leaf_rows,
        unseen_rows,
        // Chunk 0 is the data file's header.
        chunks: u64::from(loaded.allocator.used_count()) - 1,
        problems: loaded.problems,
    })
}

fn count_unseen(loaded: &Loaded) -> u64 {
    let mut unseen = 0;
    for (&lineage, line) in &loaded.catalog.lineages {
        for (leaf, epoch) in line.rows_from((0, 0)) {
            let row = RowId {
                lineage,
                leaf,
                epoch,
            };
            unseen += u64::from(!loaded.catalog.is_needed(row));
        }
    }
    unseen
}
