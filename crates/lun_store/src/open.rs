// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a store's files, and opening them.
use crate::data::{self, DataFile};
use crate::format::{CHUNK_BYTES, Census, FORMAT_VERSION, Header, TableId};
use crate::inner::Inner;
use crate::leaf::LeafCache;
use crate::load::{load, read_header};
use crate::lun::{Head, LunState};
use crate::meta::{Batch, Meta};
use crate::store::CreateOptions;
use crate::{StoreError, changes};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};

/// Chunk numbers are 32 bits wide; the last ones stay unused, so that sums with them cannot overflow.
const CHUNKS_MAX: u64 = (u32::MAX - 0xffff) as u64;

fn meta_path(dir: &Path) -> PathBuf {
    dir.join("meta.redb")
}

/// The database's name while a store is being made: while it exists, everything else in the directory is rubbish.
fn new_meta_path(dir: &Path) -> PathBuf {
    dir.join("meta.redb.new")
}

fn data_path(dir: &Path) -> PathBuf {
    dir.join("data")
}

fn io_at(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let context = format!("{doing} {}", path.display());
    move |error| StoreError::io(context, error)
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_at("removing", path)(error))
        }
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path, file: &File) -> Result<(), StoreError> {
    file.sync_all().map_err(io_at("syncing", dir))
}

/// Opens and locks the directory.
fn lock_dir(dir: &Path) -> Result<File, StoreError> {
    let file = File::open(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotAStore {
            path: dir.to_path_buf(),
            reason: "there is no such directory".into(),
        },
        _ => io_at("opening", dir)(error),
    })?;
    data::lock(&file, dir)?;
    Ok(file)
}

/// Makes the files and opens them.
///
/// Order: the database under its temporary name; the data file with its header, durable; the database's rows; the
/// rename; the directory. A crash before the rename leaves the temporary name, by which the next `create` knows that
/// it may start over; after it the store is complete.
pub(crate) fn create(dir: &Path, options: &CreateOptions) -> Result<Arc<Inner>, StoreError> {
    // Other users have no business in here: it is the LUNs' data.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_at("creating", dir))?;
    let directory = lock_dir(dir)?;
    let (meta_new, data_file) = (new_meta_path(dir), data_path(dir));
    for path in [meta_path(dir), data_file.clone()] {
        let leftover = path == data_file && exists(&meta_new);
        if exists(&path) && !leftover {
            return Err(StoreError::AlreadyExists(path));
        }
    }
    remove(&meta_new)?;
    let meta = Meta::open(&meta_new, true)?;
    sync_dir(dir, &directory)?;
    remove(&data_file)?;
    let header = match create_data(&data_file, options) {
        Ok(header) => header,
        Err(error) => {
            // Nothing changed, then; what cannot be removed is rubbish by its name.
            let _ = (remove(&data_file), remove(&meta_new));
            return Err(error);
        }
    };
    let mut batch = Batch::default();
    batch.put(TableId::Header, Header::KEY.to_vec(), header.to_row());
    changes::put_census(
        &mut batch,
        Census {
            luns: 0,
            lineages: 0,
            next_lineage: 1,
        },
    );
    meta.commit(batch)?;
    drop(meta);
    fs::rename(&meta_new, meta_path(dir)).map_err(io_at("renaming", &meta_new))?;
    sync_dir(dir, &directory)?;
    open_locked(dir, directory)
}

fn create_data(path: &Path, options: &CreateOptions) -> Result<Header, StoreError> {
    match &options.data_device {
        Some(device) => {
            let device = fs::canonicalize(device).map_err(io_at("finding", device))?;
            std::os::unix::fs::symlink(&device, path).map_err(io_at("linking", path))?;
        }
        None => {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(io_at("creating", path))?;
        }
    }
    let data = DataFile::open(path, true)?;
    let chunk_count = match options.data_device {
        Some(_) if options.capacity_bytes == 0 => data.size_bytes()? / CHUNK_BYTES,
        Some(_) if options.capacity_bytes > data.size_bytes()? => 0,
        _ => options.capacity_bytes / CHUNK_BYTES,
    };
    if !(2..=CHUNKS_MAX).contains(&chunk_count) {
        return Err(StoreError::BadCapacity(options.capacity_bytes));
    }
    let mut store_id = [0; 16];
    getrandom::fill(&mut store_id).map_err(|error| {
        StoreError::io(
            "drawing a random store id",
            io::Error::other(error.to_string()),
        )
    })?;
    let header = Header {
        version: FORMAT_VERSION,
        store_id: u128::from_le_bytes(store_id),
        capacity_bytes: chunk_count * CHUNK_BYTES,
    };
    if options.data_device.is_none() {
        data.set_size(header.capacity_bytes)?;
    }
    data.write_header(header)?;
    data.sync_all()?;
    Ok(header)
}

/// Opens a store.
pub(crate) fn open(dir: &Path) -> Result<Arc<Inner>, StoreError> {
    let directory = lock_dir(dir)?;
    open_locked(dir, directory)
}

/// Both files of a store, once they fit together.
pub(crate) struct Files {
    pub(crate) meta: Meta,
    pub(crate) data: DataFile,
    pub(crate) header: Header,
    /// The lock on the directory.
    pub(crate) directory: File,
}

/// Opens the files without writing to them, for the offline check.
pub(crate) fn open_for_check(dir: &Path) -> Result<Files, StoreError> {
    let directory = lock_dir(dir)?;
    open_files(dir, directory, false)
}

/// The data file comes first: redb writes to its file by being opened, and a store of another version, or none of
/// ours, has to stay as it is.
fn open_files(dir: &Path, directory: File, writable: bool) -> Result<Files, StoreError> {
    let path = meta_path(dir);
    if !exists(&path) {
        return Err(StoreError::NotAStore {
            path,
            reason: "there is no such file".into(),
        });
    }
    let data = DataFile::open(&data_path(dir), writable)?;
    let not_a_store = |reason: &str| StoreError::NotAStore {
        path: data.path().to_path_buf(),
        reason: reason.into(),
    };
    let found_bytes = data.size_bytes()?;
    let data_header = data
        .read_header()?
        .ok_or_else(|| not_a_store("it has no data header"))?;
    let meta = match writable {
        true => Meta::open(&path, false)?,
        false => Meta::open_read_only(&path)?,
    };
    let header = read_header(&meta, &path)?;
    if data_header.store_id != header.store_id {
        return Err(not_a_store("it belongs to another store"));
    }
    if data_header.capacity_bytes != header.capacity_bytes {
        return Err(StoreError::Damaged(
            "the two files name different capacities".into(),
        ));
    }
    if found_bytes < header.capacity_bytes {
        return Err(StoreError::Truncated {
            path: data.path().to_path_buf(),
            found_bytes,
            expected_bytes: header.capacity_bytes,
        });
    }
    Ok(Files {
        meta,
        data,
        header,
        directory,
    })
}

impl Header {
    /// Number of chunks, the first one included.
    pub(crate) fn chunk_count(&self) -> Result<u32, StoreError> {
        let count = self.capacity_bytes / CHUNK_BYTES;
        match (2..=CHUNKS_MAX).contains(&count) {
            true => Ok(count as u32),
            false => Err(StoreError::Damaged("an impossible capacity".into())),
        }
    }
}

fn open_locked(dir: &Path, directory: File) -> Result<Arc<Inner>, StoreError> {
    let files = open_files(dir, directory, true)?;
    let loaded = load(&files.meta, files.header.chunk_count()?)?;
    for problem in &loaded.problems {
        tracing::error!(store = %dir.display(), problem, "damaged metadata");
    }
    let catalog = loaded.catalog;
    let luns = catalog.luns.iter().map(|(&id, row)| {
        let head = Head {
            lineage: row.lineage,
            epoch: catalog.lineages[&row.lineage].epoch,
            size_bytes: row.size_bytes,
        };
        (id, LunState::new(id, head))
    });
    let luns = luns.collect();
    let lineages: Vec<u64> = catalog.lineages.keys().copied().collect();
    let inner = Arc::new(Inner {
        data: files.data,
        meta: RwLock::new(Some(Arc::new(files.meta))),
        directory: Mutex::new(Some(files.directory)),
        catalog: RwLock::new(catalog),
        allocator: Mutex::new(loaded.allocator),
        cache: LeafCache::default(),
        luns: RwLock::new(luns),
        queue: Default::default(),
        poisoned: AtomicBool::new(false),
        poison_reason: Mutex::new(None),
    });
    // What was being reclaimed before is not noted anywhere: look through everything.
    for lineage in lineages {
        inner.queue.reclaim(lineage);
    }
    Ok(inner)
}
