// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a store's rows into memory: at open, and for the offline check.
use crate::StoreError;
use crate::alloc::Allocator;
use crate::catalog::Catalog;
use crate::format::{
    Census, Header, LineageRow, LunRow, RowId, TableId, leaf_from_row, page_from_key, page_from_row,
};
use crate::meta::Meta;
use std::collections::HashMap;

/// A store's rows in memory.
pub(crate) struct Loaded {
    pub(crate) catalog: Catalog,
    pub(crate) allocator: Allocator,
    pub(crate) leaf_rows: u64,
    /// Damage that concerns single leaves or lineages: the rest of the store works.
    pub(crate) problems: Vec<String>,
}

/// The header row.
pub(crate) fn read_header(meta: &Meta, path: &std::path::Path) -> Result<Header, StoreError> {
    let not_a_store = || StoreError::NotAStore {
        path: path.to_path_buf(),
        reason: "it has no store header".into(),
    };
    // A database with other kinds of tables answers with an error of its own; it is not ours either.
    let row = match meta.get(TableId::Header, Header::KEY) {
        Ok(row) => row,
        Err(StoreError::Meta(reason)) => {
            return Err(StoreError::NotAStore {
                path: path.to_path_buf(),
                reason,
            });
        }
        Err(error) => return Err(error),
    };
    Header::from_row(&row.ok_or_else(not_a_store)?)?.ok_or_else(not_a_store)
}

/// Reads everything.
///
/// # Errors
/// [`StoreError::Damaged`] when a row of the catalogue itself (LUNs, lineages, census) is damaged or missing: then it
/// is not known what exists. A damaged leaf or presence page is only noted, and fails the reads that need it.
pub(crate) fn load(meta: &Meta, chunk_count: u32) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded {
        catalog: load_catalog(meta)?,
        allocator: Allocator::new(chunk_count),
        leaf_rows: 0,
        problems: Vec::new(),
    };
    load_presence(meta, &mut loaded)?;
    load_leaves(meta, &mut loaded)?;
    Ok(loaded)
}

fn load_catalog(meta: &Meta) -> Result<Catalog, StoreError> {
    let mut catalog = Catalog::default();
    meta.for_each(TableId::Lineages, |key, value| {
        let (lineage, row) = LineageRow::from_row(key, value)?;
        let line = catalog.lineages.entry(lineage).or_default();
        line.epoch = row.epoch;
        line.parent = row.parent;
        Ok(())
    })?;
    let mut lun_count = 0;
    meta.for_each(TableId::Luns, |key, value| {
        let (id, row) = LunRow::from_row(key, value)?;
        let line = catalog.lineages.get_mut(&row.lineage).ok_or_else(|| {
            StoreError::Damaged(format!("LUN {id:032x} names a lineage without a record"))
        })?;
        line.lun = Some(id);
        catalog.luns.insert(id, row);
        lun_count += 1;
        Ok(())
    })?;
    let census = meta
        .get(TableId::Header, Census::KEY)?
        .ok_or_else(|| StoreError::Damaged("the census row is missing".into()))?;
    let census = Census::from_row(&census)?;
    catalog.next_lineage = census.next_lineage;
    let found = catalog.census();
    if found != census || lun_count != census.luns {
        return Err(StoreError::Damaged(format!(
            "catalogue rows vanished: {} of {} LUNs and {} of {} lineages are there",
            found.luns, census.luns, found.lineages, census.lineages
        )));
    }
    let forks: Vec<_> = catalog
        .lineages
        .iter()
        .filter_map(|(&child, line)| line.parent.map(|(parent, epoch)| (child, parent, epoch)))
        .collect();
    for (child, parent, epoch) in forks {
        if !catalog.lineages.contains_key(&parent) {
            return Err(StoreError::Damaged(format!(
                "lineage {child} forked off lineage {parent}, which has no record"
            )));
        }
        catalog.fork(child, parent, epoch);
    }
    Ok(catalog)
}

fn load_presence(meta: &Meta, loaded: &mut Loaded) -> Result<(), StoreError> {
    meta.for_each(TableId::Presence, |key, value| {
        let (lineage, epoch, page_number) = page_from_key(key)?;
        let Some(line) = loaded.catalog.lineages.get_mut(&lineage) else {
            let problem = format!("a presence page belongs to no lineage ({lineage})");
            loaded.problems.push(problem);
            return Ok(());
        };
        match page_from_row(key, value) {
            Ok(page) => line.add_page(epoch, page_number, &page),
            Err(error) => {
                loaded.problems.push(error.to_string());
                line.damaged = Some(error.to_string());
            }
        }
        Ok(())
    })
}

fn load_leaves(meta: &Meta, loaded: &mut Loaded) -> Result<(), StoreError> {
    let chunk_count = loaded.allocator.chunk_count();
    let mut sound_rows: HashMap<u64, usize> = HashMap::new();
    meta.for_each(TableId::Leaves, |key, value| {
        let row = RowId::from_key(key)?;
        loaded.leaf_rows += 1;
        match leaf_from_row(key, value, chunk_count) {
            Ok(entries) => {
                for chunk in entries.iter().flat_map(|entry| entry.chunks()) {
                    loaded.allocator.add(chunk);
                }
            }
            Err(error) => loaded.problems.push(error.to_string()),
        }
        match loaded.catalog.lineages.get_mut(&row.lineage) {
            Some(line) if line.has_row(row.leaf, row.epoch) => {
                *sound_rows.entry(row.lineage).or_default() += 1;
            }
            Some(line) => {
                let problem = format!("{row:?} is not in its presence page");
                line.damaged = Some(problem.clone());
                loaded.problems.push(problem);
            }
            None => loaded
                .problems
                .push(format!("{row:?} belongs to no lineage")),
        }
        Ok(())
    })?;
    for (lineage, line) in &loaded.catalog.lineages {
        let there = sound_rows.get(lineage).copied().unwrap_or(0);
        if there != line.row_count() {
            loaded.problems.push(format!(
                "lineage {lineage}: {} leaf rows vanished",
                line.row_count() - there
            ));
        }
    }
    Ok(())
}
