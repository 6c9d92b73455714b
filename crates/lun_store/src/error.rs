// SPDX-License-Identifier: MIT OR Apache-2.0
use block::{BlockError, ErrorKind};
use std::path::PathBuf;

/// Why the store could not do what it was asked. Nothing was changed unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `create` met a store, or another file under a name that it needs.
    #[error("{0} exists already; open it, or choose an empty directory")]
    AlreadyExists(PathBuf),
    /// The files are not those of a store.
    #[error("{path} is not a LUN store: {reason}")]
    NotAStore {
        /// The file or directory looked at.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Another process, or another handle of this one, has the store open.
    #[error("the store in {0} is in use by another process; stop that one first")]
    InUse(PathBuf),
    /// The store was written by another version of the format.
    #[error("the store has format version {found}, this program knows version {supported}")]
    Version {
        /// Version in the file.
        found: u32,
        /// Version that this program reads and writes.
        supported: u32,
    },
    /// The data file is shorter than the capacity that the store was created with.
    #[error("the data file {path} has {found_bytes} bytes of {expected_bytes}: it was truncated")]
    Truncated {
        /// The data file.
        path: PathBuf,
        /// Its size in bytes.
        found_bytes: u64,
        /// The size it was created with, in bytes.
        expected_bytes: u64,
    },
    /// A stored record is damaged or missing.
    #[error("the store's metadata is damaged: {0}")]
    Damaged(String),
    /// The store was not shut down cleanly; opening it once recovers it. Only [`crate::check()`] says this, because it
    /// writes nothing.
    #[error("the store was not closed; open it once before checking it: {0}")]
    NeedsRecovery(String),
    /// There is no LUN with this id.
    #[error("there is no LUN {0:032x} in the store")]
    UnknownLun(u128),
    /// There is a LUN with this id already, or it is named twice in one request.
    #[error("LUN {0:032x} exists already, or is named twice")]
    LunExists(u128),
    /// A LUN's size must be a positive multiple of 512 bytes, at most [`crate::LUN_BYTES_MAX`].
    #[error("{0} bytes is not a size that a LUN can have")]
    BadSize(u64),
    /// Source and target differ in size.
    #[error("LUN {source_id:032x} and LUN {target_id:032x} differ in size")]
    SizeMismatch {
        /// The LUN to read.
        source_id: u128,
        /// The LUN to overwrite.
        target_id: u128,
    },
    /// The target of a capture holds data or was captured into before.
    #[error("LUN {0:032x} is not an empty reserved LUN")]
    NotEmpty(u128),
    /// An owner record may have at most [`crate::OWNER_BYTES_MAX`] bytes.
    #[error("an owner record of {0} bytes is too large")]
    OwnerTooLarge(usize),
    /// A capacity must be at least two chunks and at most what chunk numbers can address.
    #[error("{0} bytes is not a capacity that a store can have")]
    BadCapacity(u64),
    /// The store refuses writes after an earlier failure of its own files, until it is opened anew.
    #[error("the store refuses writes until it is opened anew: {0}")]
    Poisoned(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A LUN's own data could not be handled.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The system refused an operation on a file.
    #[error("{context}: {source}")]
    Io {
        /// What was tried.
        context: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The metadata database refused an operation.
    #[error("metadata database: {0}")]
    Meta(String),
}

impl StoreError {
    pub(crate) fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io {
            context: context.into(),
            source,
        }
    }

    /// What a front end makes of it when it happens under a device's read, write, unmap or flush.
    pub(crate) fn into_block(self) -> BlockError {
        let kind = match &self {
            Self::Block(_) => {
                let Self::Block(error) = self else {
                    unreachable!("matched above")
                };
                return error;
            }
            Self::UnknownLun(_) | Self::Closed => ErrorKind::Gone,
            Self::Poisoned(_) => ErrorKind::Poisoned,
            Self::Damaged(_) | Self::Truncated { .. } => ErrorKind::Medium,
            _ => ErrorKind::Io,
        };
        BlockError::new(kind, self.to_string())
    }
}
