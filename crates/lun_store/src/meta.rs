// SPDX-License-Identifier: MIT OR Apache-2.0
//! The only file that knows redb. Rows are bytes here; `format` gives them meaning.
//!
//! redb trusts its file once it is open and may panic on pages altered behind its back. A panic is turned into
//! [`StoreError::Damaged`], so that one bad page costs the LUNs on it and not the daemon.
use crate::StoreError;
use crate::format::TableId;
use redb::{
    Database, DatabaseError, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    StorageError, TableDefinition,
};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that redb may use for pages, in bytes. Decoded leaves have a cache of their own.
const CACHE_BYTES: usize = 64 << 20;

fn definition(table: TableId) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// Key and value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// What one transaction changes. A key put twice holds the last value.
#[derive(Default)]
pub(crate) struct Batch {
    puts: Vec<(TableId, Vec<u8>, Vec<u8>)>,
    removes: Vec<(TableId, Vec<u8>)>,
}

impl Batch {
    pub(crate) fn put(&mut self, table: TableId, key: Vec<u8>, value: Vec<u8>) {
        self.puts.push((table, key, value));
    }
    pub(crate) fn remove(&mut self, table: TableId, key: Vec<u8>) {
        self.removes.push((table, key));
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.removes.is_empty()
    }
}

enum Db {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

/// The metadata database.
pub(crate) struct Meta {
    db: Db,
    pub(crate) commits: AtomicU64,
    /// The next transaction does not happen.
    #[cfg(test)]
    pub(crate) fail_next_commit: std::sync::atomic::AtomicBool,
}

fn meta_error(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(what) => StoreError::Damaged(what),
        redb::Error::Io(source) => StoreError::io("metadata database", source),
        other => StoreError::Meta(other.to_string()),
    }
}

fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // Unwind safety: redb marks a transaction that panicked as poisoned, and nothing else is shared.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(StoreError::Damaged(
            "the metadata database met a page that it could not read".into(),
        ))
    })
}

impl Meta {
    /// Creates or opens `path` for writing.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        let db = guarded(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES);
            let db = match create {
                true => builder.create(path),
                false => builder.open(path),
            };
            db.map_err(|error| open_error(path, error))
        })?;
        Ok(Self {
            db: Db::Writable(db),
            commits: AtomicU64::new(0),
            #[cfg(test)]
            fail_next_commit: Default::default(),
        })
    }

    /// Opens `path` without writing to it.
    pub(crate) fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let db = guarded(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES);
            builder
                .open_read_only(path)
                .map_err(|error| open_error(path, error))
        })?;
        Ok(Self {
            db: Db::ReadOnly(db),
            commits: AtomicU64::new(0),
            #[cfg(test)]
            fail_next_commit: Default::default(),
        })
    }

    fn read(&self) -> Result<ReadTransaction, StoreError> {
        match &self.db {
            Db::Writable(db) => db.begin_read(),
            Db::ReadOnly(db) => db.begin_read(),
        }
        .map_err(meta_error)
    }

    /// One row.
    pub(crate) fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(|| {
            let read = self.read()?;
            let rows = match read.open_table(definition(table)) {
                Ok(rows) => rows,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(meta_error(error)),
            };
            let value = rows.get(key).map_err(meta_error)?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    /// Up to `limit` rows after `after` in key order. Each call is a transaction of its own: a long one would make
    /// the file grow, because redb keeps every page that it might still look at.
    pub(crate) fn rows_after(
        &self,
        table: TableId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        guarded(|| {
            let read = self.read()?;
            let rows = match read.open_table(definition(table)) {
                Ok(rows) => rows,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(meta_error(error)),
            };
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            rows.range::<&[u8]>((from, Bound::Unbounded))
                .map_err(meta_error)?
                .take(limit)
                .map(|row| {
                    let (key, value) = row.map_err(meta_error)?;
                    Ok((key.value().to_vec(), value.value().to_vec()))
                })
                .collect()
        })
    }

    /// Calls `visit` for every row of a table, in slices.
    pub(crate) fn for_each(
        &self,
        table: TableId,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        const SLICE_ROWS: usize = 1024;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.rows_after(table, after.as_deref(), SLICE_ROWS)?;
            for (key, value) in &rows {
                visit(key, value)?;
            }
            match rows.into_iter().next_back() {
                // Damaged pages may hand out keys in a wrong order; without this the walk would never end.
                Some((key, _)) if after.as_ref().is_some_and(|before| *before >= key) => {
                    return Err(StoreError::Damaged(format!(
                        "table {} is out of order",
                        table.name()
                    )));
                }
                Some((key, _)) => after = Some(key),
                None => return Ok(()),
            }
        }
    }

    /// Carries `batch` out in one durable transaction. Only the committer thread calls this.
    ///
    /// Quick-repair is on: without it the next open after a crash reads and checks the whole file.
    pub(crate) fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let Db::Writable(db) = &self.db else {
            unreachable!("nothing commits to a database opened for reading");
        };
        #[cfg(test)]
        if self.fail_next_commit.swap(false, Ordering::Relaxed) {
            let error = std::io::Error::other("a test's fault");
            return Err(StoreError::io("metadata database", error));
        }
        guarded(|| {
            let mut write = db.begin_write().map_err(meta_error)?;
            write
                .set_durability(Durability::Immediate)
                .map_err(meta_error)?;
            write.set_quick_repair(true);
            for table in TableId::ALL {
                let used = batch.puts.iter().any(|put| put.0 == table)
                    || batch.removes.iter().any(|remove| remove.0 == table);
                if !used {
                    continue;
                }
                let mut rows = write.open_table(definition(table)).map_err(meta_error)?;
                for (_, key) in batch.removes.iter().filter(|remove| remove.0 == table) {
                    rows.remove(key.as_slice()).map_err(meta_error)?;
                }
                for (_, key, value) in batch.puts.iter().filter(|put| put.0 == table) {
                    rows.insert(key.as_slice(), value.as_slice())
                        .map_err(meta_error)?;
                }
            }
            write.commit().map_err(meta_error)
        })?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    let not_a_store = |reason: String| StoreError::NotAStore {
        path: path.to_path_buf(),
        reason,
    };
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.to_path_buf()),
        DatabaseError::RepairAborted => StoreError::NeedsRecovery(path.display().to_string()),
        DatabaseError::UpgradeRequired(version) => {
            not_a_store(format!("its database has file format {version}"))
        }
        DatabaseError::Storage(StorageError::Io(source))
            if matches!(
                source.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            not_a_store(source.to_string())
        }
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            not_a_store("there is no such file".into())
        }
        other => meta_error(other),
    }
}
