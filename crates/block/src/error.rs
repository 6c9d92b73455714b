// SPDX-License-Identifier: MIT OR Apache-2.0
use std::fmt;

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The range does not lie inside the device.
    OutOfRange,
    /// Offset or length is not a multiple of the logical block size.
    Misaligned,
    /// No space is left for new data. Nothing was changed; writes to data already there still work.
    NoSpace,
    /// The data of this range is damaged: a checksum does not fit, or the medium failed.
    Medium,
    /// The device refuses writes after an earlier failure of its own files, until it is opened anew.
    Poisoned,
    /// The device was deleted or closed.
    Gone,
    /// The system refused the operation for another reason.
    Io,
}

/// A failed operation on a device: a kind for machines, a sentence for people.
#[derive(Debug, thiserror::Error)]
pub struct BlockError {
    kind: ErrorKind,
    context: String,
    #[source]
    source: Option<std::io::Error>,
}

impl BlockError {
    /// An error of `kind`; `context` says what was tried.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
        }
    }

    /// An error that the system reported; `kind` is the caller's translation of it.
    pub fn from_io(kind: ErrorKind, context: impl Into<String>, source: std::io::Error) -> Self {
        Self {
            kind,
            context: context.into(),
            source: Some(source),
        }
    }

    /// What a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.context)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}
