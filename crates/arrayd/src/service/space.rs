// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much space there is, what that means to hosts, and the log's lines about it.

use super::Service;
use super::refusal::refuse;
use array_api::{ArrayError, ArrayErrorKind, SpaceLevel};

/// The array's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Space of the store in bytes.
    pub capacity_bytes: u64,
    /// Free for new data, in the store and in the file system under it, in bytes.
    pub free_bytes: u64,
    /// What that means to hosts.
    pub level: SpaceLevel,
}

impl Service {
    /// The space as it is now. A change of its level goes to the log.
    ///
    /// # Errors
    /// `Internal`: the system does not tell.
    pub fn space(&self) -> Result<Space, ArrayError> {
        // The data file is sparse: the file system under it may be full long before the store is.
        let below = rustix::fs::statvfs(&self.config.state_dir).or_else(|error| {
            refuse(
                ArrayErrorKind::Internal,
                format!("the space of the array's file system is not known: {error}"),
                "look at the disks of the array",
            )
        })?;
        let usage = self.store.usage();
        let free_bytes = usage
            .free_bytes
            .min(below.f_bavail.saturating_mul(below.f_frsize));
        let level = if usage.refuses_new_data {
            SpaceLevel::Exhausted
        } else if free_bytes < self.warn_free_bytes {
            SpaceLevel::Low
        } else {
            SpaceLevel::Ample
        };
        self.tell_space(level, free_bytes);
        Ok(Space {
            capacity_bytes: usage.capacity_bytes,
            free_bytes,
            level,
        })
    }

    /// A store that refuses writes, or is nearly full, makes no copies.
    pub(super) fn check_space(&self) -> Result<(), ArrayError> {
        if let Some(reason) = self.store.poisoned() {
            return refuse(
                ArrayErrorKind::Internal,
                format!("the store refuses writes: {reason}"),
                "look at the disks of the array, then restart shadowlund",
            );
        }
        let free = self.space()?.free_bytes;
        let floor = self.free_floor_bytes;
        if free < floor {
            return refuse(
                ArrayErrorKind::NoSpace,
                format!("{free} bytes are free, and below {floor} no copy is made"),
                "delete copies, or give the store or the file system under it more space",
            );
        }
        Ok(())
    }

    fn tell_space(&self, level: SpaceLevel, free_bytes: u64) {
        let mut told = self.space_told.lock().expect("no panic under this lock");
        if std::mem::replace(&mut *told, level) == level {
            return;
        }
        let below = self.warn_free_bytes;
        match level {
            SpaceLevel::Ample => tracing::info!(free_bytes, "there is enough space again"),
            SpaceLevel::Low => tracing::warn!(
                free_bytes,
                below,
                "space is low: delete copies, or give the store or the file system under it more space"
            ),
            SpaceLevel::Exhausted => tracing::error!(
                free_bytes,
                "no space: new data is refused; delete copies, or give the store or the file system under it more space"
            ),
        }
    }
}
