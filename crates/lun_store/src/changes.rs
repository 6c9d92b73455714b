// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes of what exists: create, delete, capture, resync, owner records. All run on the committer thread, so that
//! between looking and changing nothing else changes; each is one durable transaction, and memory follows only after
//! it.
use crate::catalog::Catalog;
use crate::format::{Census, LineageRow, LunRow, TableId};
use crate::inner::{Inner, Taken};
use crate::lun::{FlushGoal, Head, LunState};
use crate::meta::Batch;
use crate::store::{Capture, NewLun, Resync};
use crate::sync::RwLockExt;
use crate::{LUN_BYTES_MAX, OWNER_BYTES_MAX, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLockWriteGuard};

fn check_owner(owner: &[u8]) -> Result<(), StoreError> {
    match owner.len() <= OWNER_BYTES_MAX {
        true => Ok(()),
        false => Err(StoreError::OwnerTooLarge(owner.len())),
    }
}

fn put_lun(batch: &mut Batch, id: u128, row: &LunRow) {
    batch.put(TableId::Luns, LunRow::key(id), row.to_row(id));
}

fn put_lineage(batch: &mut Batch, lineage: u64, row: LineageRow) {
    batch.put(
        TableId::Lineages,
        LineageRow::key(lineage),
        row.to_row(lineage),
    );
}

pub(crate) fn put_census(batch: &mut Batch, census: Census) {
    batch.put(TableId::Header, Census::KEY.to_vec(), census.to_row());
}

/// LUNs whose writers are kept out, with their unwritten rows taken.
struct Frozen<'a> {
    gates: Vec<RwLockWriteGuard<'a, ()>>,
    luns: Vec<(&'a Arc<LunState>, FlushGoal)>,
    taken: Vec<Taken>,
}

/// Shuts the gates of `luns`. Only the committer thread does this, so that two of them cannot wait for each other.
fn freeze<'a>(inner: &Inner, luns: &'a BTreeMap<u128, Arc<LunState>>) -> Frozen<'a> {
    let gates = luns.values().map(|lun| lun.gate.exclusive()).collect();
    let mut frozen = Frozen {
        gates,
        luns: Vec::new(),
        taken: Vec::new(),
    };
    for lun in luns.values() {
        frozen.luns.push((lun, lun.flush_goal()));
        while let Some(dirty) = lun.pop_dirty(None) {
            frozen.taken.push(inner.take(lun, dirty));
        }
    }
    frozen
}

impl Frozen<'_> {
    /// Commits the frozen LUNs' rows with `batch`, after their data. The gates stay shut until the result is dropped.
    fn commit(self, inner: &Inner, batch: Batch) -> Result<Self, StoreError> {
        if let Err(error) = inner.sync_data() {
            inner.restore(self.taken);
            return Err(error);
        }
        inner.commit(self.taken, batch)?;
        for (lun, goal) in &self.luns {
            lun.reached(*goal);
        }
        Ok(Frozen {
            gates: self.gates,
            luns: self.luns,
            taken: Vec::new(),
        })
    }
}

impl Inner {
    fn luns_of(
        &self,
        ids: impl IntoIterator<Item = u128>,
    ) -> Result<BTreeMap<u128, Arc<LunState>>, StoreError> {
        ids.into_iter().map(|id| Ok((id, self.lun(id)?))).collect()
    }

    fn check_new(&self, new: &[NewLun]) -> Result<(), StoreError> {
        let catalog = self.catalog.shared();
        let mut ids = BTreeSet::new();
        for lun in new {
            check_owner(&lun.owner)?;
            let size_bytes = lun.size_bytes;
            if size_bytes == 0 || !size_bytes.is_multiple_of(512) || size_bytes > LUN_BYTES_MAX {
                return Err(StoreError::BadSize(size_bytes));
            }
            if catalog.luns.contains_key(&lun.id) || !ids.insert(lun.id) {
                return Err(StoreError::LunExists(lun.id));
            }
        }
        Ok(())
    }

    pub(crate) fn create_luns(
        &self,
        new: Vec<NewLun>,
        owners: Vec<(u128, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.check_new(&new)?;
        let mut batch = Batch::default();
        let changed = self.owner_rows(owners, &mut batch)?;
        let mut census = self.catalog.shared().census();
        let mut rows = Vec::with_capacity(new.len());
        for lun in new {
            let row = LunRow {
                lineage: census.next_lineage,
                size_bytes: lun.size_bytes,
                owner: lun.owner,
            };
            census.luns += 1;
            census.lineages += 1;
            census.next_lineage += 1;
            put_lun(&mut batch, lun.id, &row);
            let line = LineageRow {
                parent: None,
                epoch: 0,
            };
            put_lineage(&mut batch, row.lineage, line);
            rows.push((lun.id, row));
        }
        put_census(&mut batch, census);
        self.commit(Vec::new(), batch)?;
        let mut catalog = self.catalog.exclusive();
        let mut luns = self.luns.exclusive();
        catalog.next_lineage = census.next_lineage;
        catalog.luns.extend(changed);
        for (id, row) in rows {
            let head = Head {
                lineage: row.lineage,
                epoch: 0,
                size_bytes: row.size_bytes,
            };
            catalog.lineages.entry(row.lineage).or_default().lun = Some(id);
            luns.insert(id, LunState::new(id, head));
            catalog.luns.insert(id, row);
        }
        Ok(())
    }

    pub(crate) fn delete_luns(&self, ids: Vec<u128>) -> Result<(), StoreError> {
        let luns = self.luns_of(ids)?;
        // Their rows are written although nobody will read them: reference counts then have one truth, the rows.
        let frozen = freeze(self, &luns);
        let mut batch = Batch::default();
        let mut census = self.catalog.shared().census();
        for id in luns.keys() {
            batch.remove(TableId::Luns, LunRow::key(*id));
            census.luns -= 1;
        }
        put_census(&mut batch, census);
        let frozen = frozen.commit(self, batch)?;

        for (id, lun) in &luns {
            self.luns.exclusive().remove(id);
            lun.end();
        }
        let mut lineages = Vec::new();
        {
            let mut catalog = self.catalog.exclusive();
            for id in luns.keys() {
                let Some(row) = catalog.luns.remove(id) else {
                    continue;
                };
                if let Some(line) = catalog.lineages.get_mut(&row.lineage) {
                    line.lun = None;
                }
                lineages.push(row.lineage);
            }
        }
        drop(frozen);
        self.cache.forget(&lineages);
        for lineage in lineages {
            self.queue.reclaim(lineage);
        }
        Ok(())
    }

    pub(crate) fn set_owner(&self, owners: Vec<(u128, Vec<u8>)>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let rows = self.owner_rows(owners, &mut batch)?;
        self.commit(Vec::new(), batch)?;
        self.catalog.exclusive().luns.extend(rows);
        Ok(())
    }

    /// The LUN rows with new owner records, added to `batch` too.
    fn owner_rows(
        &self,
        owners: Vec<(u128, Vec<u8>)>,
        batch: &mut Batch,
    ) -> Result<BTreeMap<u128, LunRow>, StoreError> {
        let catalog = self.catalog.shared();
        let mut rows = BTreeMap::new();
        for (id, owner) in owners {
            check_owner(&owner)?;
            let mut row = catalog
                .luns
                .get(&id)
                .ok_or(StoreError::UnknownLun(id))?
                .clone();
            row.owner = owner;
            rows.insert(id, row);
        }
        for (id, row) in &rows {
            put_lun(batch, *id, row);
        }
        Ok(rows)
    }

    /// The lineages' numbers of sources and targets, once the captures make sense.
    fn check_captures(&self, captures: &[Capture]) -> Result<(), StoreError> {
        let catalog = self.catalog.shared();
        let sources: BTreeSet<u128> = captures.iter().map(|capture| capture.source).collect();
        let mut targets = BTreeSet::new();
        for capture in captures {
            let lun = |id| catalog.luns.get(&id).ok_or(StoreError::UnknownLun(id));
            let (source, target) = (lun(capture.source)?, lun(capture.target)?);
            if sources.contains(&capture.target) || !targets.insert(capture.target) {
                return Err(StoreError::LunExists(capture.target));
            }
            if source.size_bytes != target.size_bytes {
                return Err(StoreError::SizeMismatch {
                    source_id: capture.source,
                    target_id: capture.target,
                });
            }
            let empty = catalog.lineages.get(&target.lineage).is_some_and(|line| {
                line.parent.is_none() && line.row_count() == 0 && line.epoch == 0
            });
            if !empty {
                return Err(StoreError::NotEmpty(capture.target));
            }
        }
        Ok(())
    }

    pub(crate) fn capture(&self, captures: Vec<Capture>) -> Result<(), StoreError> {
        self.check_captures(&captures)?;
        let luns = self.luns_of(captures.iter().flat_map(|pair| [pair.source, pair.target]))?;
        let mut batch = Batch::default();
        let owners = captures
            .iter()
            .map(|pair| (pair.target, pair.owner.clone()));
        let rows = self.owner_rows(owners.collect(), &mut batch)?;
        let frozen = freeze(self, &luns);
        if let Some(written) = captures
            .iter()
            .find(|pair| frozen.taken.iter().any(|one| one.is_of(pair.target)))
        {
            let error = StoreError::NotEmpty(written.target);
            self.restore(frozen.taken);
            return Err(error);
        }
        let forks = {
            let catalog = self.catalog.shared();
            let forks: Vec<Fork> = captures
                .iter()
                .map(|pair| Fork {
                    parent: catalog.luns[&pair.source].lineage,
                    child: catalog.luns[&pair.target].lineage,
                })
                .collect();
            put_forks(&catalog, &forks, &mut batch);
            forks
        };
        let frozen = frozen.commit(self, batch)?;
        let mut heads: Vec<_> = luns.values().map(|lun| lun.head.exclusive()).collect();
        {
            let mut catalog = self.catalog.exclusive();
            apply_forks(&mut catalog, &forks);
            catalog.luns.extend(rows);
            for head in heads.iter_mut().filter_map(|head| head.as_mut()) {
                head.epoch = catalog.lineages[&head.lineage].epoch;
            }
        }
        // A target that was looked at has empty leaves in memory.
        let targets: Vec<u64> = forks.iter().map(|fork| fork.child).collect();
        self.cache.forget(&targets);
        drop(heads);
        drop(frozen);
        Ok(())
    }

    fn check_resync(&self, pairs: &[Resync]) -> Result<(), StoreError> {
        let catalog = self.catalog.shared();
        let copies: BTreeSet<u128> = pairs.iter().map(|pair| pair.copy).collect();
        let mut targets = BTreeSet::new();
        for pair in pairs {
            let lun = |id| catalog.luns.get(&id).ok_or(StoreError::UnknownLun(id));
            lun(pair.copy)?;
            lun(pair.target)?;
            if copies.contains(&pair.target) || !targets.insert(pair.target) {
                return Err(StoreError::LunExists(pair.target));
            }
        }
        Ok(())
    }

    pub(crate) fn resync(
        &self,
        pairs: Vec<Resync>,
        owners: Vec<(u128, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.check_resync(&pairs)?;
        let luns = self.luns_of(pairs.iter().flat_map(|pair| [pair.copy, pair.target]))?;
        let mut batch = Batch::default();
        let mut rows = self.owner_rows(owners, &mut Batch::default())?;
        let frozen = freeze(self, &luns);
        let mut forks = Vec::new();
        let mut abandoned = Vec::new();
        let census = {
            let catalog = self.catalog.shared();
            let mut census = catalog.census();
            for pair in &pairs {
                let mut row = rows
                    .remove(&pair.target)
                    .unwrap_or_else(|| catalog.luns[&pair.target].clone());
                abandoned.push(row.lineage);
                row.lineage = census.next_lineage;
                row.size_bytes = catalog.luns[&pair.copy].size_bytes;
                forks.push(Fork {
                    parent: catalog.luns[&pair.copy].lineage,
                    child: row.lineage,
                });
                rows.insert(pair.target, row);
                census.next_lineage += 1;
                census.lineages += 1;
            }
            put_forks(&catalog, &forks, &mut batch);
            census
        };
        for (id, row) in &rows {
            put_lun(&mut batch, *id, row);
        }
        put_census(&mut batch, census);
        let frozen = frozen.commit(self, batch)?;
        self.apply_resync(&luns, &forks, rows, census);
        drop(frozen);
        self.cache.forget(&abandoned);
        for lineage in abandoned {
            self.queue.reclaim(lineage);
        }
        Ok(())
    }

    fn apply_resync(
        &self,
        luns: &BTreeMap<u128, Arc<LunState>>,
        forks: &[Fork],
        rows: BTreeMap<u128, LunRow>,
        census: Census,
    ) {
        let mut heads: Vec<_> = luns
            .iter()
            .map(|(id, lun)| (*id, lun.head.exclusive()))
            .collect();
        let mut catalog = self.catalog.exclusive();
        catalog.next_lineage = census.next_lineage;
        apply_forks(&mut catalog, forks);
        for (id, row) in rows {
            let before = catalog.luns.insert(id, row);
            let now = catalog.luns[&id].lineage;
            if let Some(before) = before.filter(|before| before.lineage != now)
                && let Some(line) = catalog.lineages.get_mut(&before.lineage)
            {
                line.lun = None;
            }
            catalog.lineages.entry(now).or_default().lun = Some(id);
        }
        for (id, head) in &mut heads {
            if let Some(head) = head.as_mut() {
                head.lineage = catalog.luns[id].lineage;
                head.size_bytes = catalog.luns[id].size_bytes;
                head.epoch = catalog.lineages[&head.lineage].epoch;
            }
        }
    }
}

/// `child` forks off `parent` at the parent's present epoch, which ends with that.
struct Fork {
    parent: u64,
    child: u64,
}

fn put_forks(catalog: &Catalog, forks: &[Fork], batch: &mut Batch) {
    for fork in forks {
        let parent = catalog.lineages[&fork.parent].row();
        put_lineage(
            batch,
            fork.child,
            LineageRow {
                parent: Some((fork.parent, parent.epoch)),
                epoch: 0,
            },
        );
        // Once for several children too: they fork off the same epoch.
        put_lineage(
            batch,
            fork.parent,
            LineageRow {
                epoch: parent.epoch + 1,
                ..parent
            },
        );
    }
}

fn apply_forks(catalog: &mut Catalog, forks: &[Fork]) {
    let parents: BTreeSet<u64> = forks.iter().map(|fork| fork.parent).collect();
    for fork in forks {
        let epoch = catalog.lineages[&fork.parent].epoch;
        catalog.fork(fork.child, fork.parent, epoch);
    }
    for parent in parents {
        if let Some(line) = catalog.lineages.get_mut(&parent) {
            line.epoch += 1;
        }
    }
}
