// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data file (or block device): chunks by number, the header in front, the lock.
use crate::StoreError;
use crate::format::{CHUNK_BYTES, DATA_HEADER_BYTES, Header};
use rustix::fs::{FallocateFlags, FlockOperation};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The file that holds the chunks.
pub(crate) struct DataFile {
    file: File,
    path: PathBuf,
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    /// Said once: a file system that cannot punch holes never can.
    punch_failed: AtomicBool,
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

/// Takes an exclusive lock on a file or directory, as long as it stays open.
pub(crate) fn lock(file: &File, path: &Path) -> Result<(), StoreError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(path.to_path_buf())),
        Err(error) => Err(StoreError::io(
            format!("locking {}", path.display()),
            error.into(),
        )),
    }
}

impl DataFile {
    /// Opens and locks the file; `writable` is false for the offline check.
    pub(crate) fn open(path: &Path, writable: bool) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(writable)
            .open(path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => StoreError::NotAStore {
                    path: path.to_path_buf(),
                    reason: "its data file is missing".into(),
                },
                _ => StoreError::io(format!("opening {}", path.display()), error),
            })?;
        lock(&file, path)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            punch_failed: AtomicBool::new(false),
            #[cfg(test)]
            faults: faults::Faults::default(),
        })
    }

    /// Lets others open the file although devices may still hold it.
    pub(crate) fn unlock(&self) {
        // It ends with the file at the latest.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes, of a block device too.
    pub(crate) fn size_bytes(&self) -> Result<u64, StoreError> {
        (&self.file)
            .seek(SeekFrom::End(0))
            .map_err(|error| self.failed("measuring", error))
    }

    pub(crate) fn set_size(&self, size_bytes: u64) -> Result<(), StoreError> {
        self.file
            .set_len(size_bytes)
            .map_err(|error| self.failed("growing", error))
    }

    /// `None`: this is not a store's data file.
    pub(crate) fn read_header(&self) -> Result<Option<Header>, StoreError> {
        let mut block = [0; DATA_HEADER_BYTES];
        match self.file.read_exact_at(&mut block, 0) {
            Ok(()) => Header::from_data_block(&block),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(self.failed("reading", error)),
        }
    }

    pub(crate) fn write_header(&self, header: Header) -> Result<(), StoreError> {
        self.file
            .write_all_at(&header.to_data_block(), 0)
            .map_err(|error| self.failed("writing", error))
    }

    /// Makes the file durable with its size, after creation.
    pub(crate) fn sync_all(&self) -> Result<(), StoreError> {
        self.file
            .sync_all()
            .map_err(|error| self.failed("syncing", error))
    }

    fn failed(&self, doing: &str, error: io::Error) -> StoreError {
        StoreError::io(format!("{doing} {}", self.path.display()), error)
    }

    /// Fills `buf` from byte `start` of a chunk.
    pub(crate) fn read(&self, chunk: u32, start: u64, buf: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file
            .read_exact_at(buf, u64::from(chunk) * CHUNK_BYTES + start)
    }

    /// Stores `data` at byte `start` of a chunk.
    pub(crate) fn write(&self, chunk: u32, start: u64, data: &[u8]) -> io::Result<()> {
        assert!(
            chunk != 0 && start + data.len() as u64 <= CHUNK_BYTES,
            "a write outside chunk {chunk}"
        );
        self.writes.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        self.faults.before_write()?;
        self.file
            .write_all_at(data, u64::from(chunk) * CHUNK_BYTES + start)
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        self.faults
            .before_sync()
            .map_err(|error| self.failed("syncing", error))?;
        rustix::fs::fdatasync(&self.file).map_err(|error| self.failed("syncing", error.into()))?;
        #[cfg(test)]
        self.faults.after_sync(&self.file);
        Ok(())
    }

    /// Gives the space of these chunks back to the file system. A failure costs space, not data: what is left in the
    /// chunk is never shown, because part masks say what a LUN wrote.
    pub(crate) fn punch(&self, mut chunks: Vec<u32>) {
        chunks.sort_unstable();
        for run in chunks.chunk_by(|a, b| a + 1 == *b) {
            let punched = rustix::fs::fallocate(
                &self.file,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                u64::from(run[0]) * CHUNK_BYTES,
                run.len() as u64 * CHUNK_BYTES,
            );
            if let Err(error) = punched
                && !self.punch_failed.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(path = %self.path.display(), %error, "freed space stays allocated");
            }
        }
    }
}

/// Failures on demand, for the unit tests of what follows them.
#[cfg(test)]
pub(crate) mod faults {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;
    use std::sync::Mutex;

    #[derive(Default)]
    pub(crate) struct Faults {
        pub(crate) next_write: Mutex<Option<io::ErrorKind>>,
        pub(crate) next_sync: Mutex<Option<io::ErrorKind>>,
        /// What the file system below is taken to have left.
        pub(crate) free_bytes: Mutex<Option<u64>>,
        /// The file as of the last sync, once a test has put something here.
        pub(crate) durable: Mutex<Option<Vec<u8>>>,
    }

    impl Faults {
        pub(super) fn before_write(&self) -> io::Result<()> {
            take(&self.next_write)
        }
        pub(super) fn before_sync(&self) -> io::Result<()> {
            take(&self.next_sync)
        }
    }

    impl Faults {
        pub(super) fn after_sync(&self, file: &File) {
            if let Some(image) = self.durable.lock().expect("test lock").as_mut() {
                let length = file.metadata().expect("metadata").len();
                image.resize(length as usize, 0);
                file.read_exact_at(image, 0).expect("reading the image");
            }
        }
    }

    fn take(fault: &Mutex<Option<io::ErrorKind>>) -> io::Result<()> {
        match fault.lock().expect("test lock").take() {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}
