// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one place where the store's errors become the contract's.

use array_api::{ArrayError, ArrayErrorKind};
use block::ErrorKind;
use lun_store::StoreError;

/// Shorthand for an error with its cause and remedy.
pub(super) fn refuse<T>(
    kind: ArrayErrorKind,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<T, ArrayError> {
    Err(ArrayError::new(kind, message, remedy))
}

pub(super) fn store_error(error: StoreError) -> ArrayError {
    let (kind, remedy) = match &error {
        StoreError::UnknownLun(_) => (ArrayErrorKind::UnknownLun, "look at `shadowlun lun list`"),
        StoreError::LunExists(_) => (ArrayErrorKind::AlreadyExists, "choose another one"),
        StoreError::BadSize(_) => (
            ArrayErrorKind::InvalidRequest,
            "choose a positive multiple of 512 bytes of at most 64 TiB",
        ),
        StoreError::OwnerTooLarge(_) => (
            ArrayErrorKind::LimitReached,
            "use fewer shadow copies of one LUN",
        ),
        StoreError::SizeMismatch { .. } => {
            (ArrayErrorKind::NotSupported, "use a LUN of the same size")
        }
        StoreError::Block(block) if block.kind() == ErrorKind::NoSpace => (
            ArrayErrorKind::NoSpace,
            "delete copies, or give the store more space",
        ),
        StoreError::Poisoned(_) => (
            ArrayErrorKind::Internal,
            "look at the disks of the array, then restart shadowlund",
        ),
        _ => (ArrayErrorKind::Internal, "look at the array's log"),
    };
    if kind == ArrayErrorKind::Internal {
        tracing::error!(%error, "the store failed");
    }
    ArrayError::new(kind, error.to_string(), remedy)
}
