// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::{BlockError, ErrorKind};
use std::sync::Arc;

/// Size and block sizes of a device. Fixed for the life of a [`Disk`] handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Capacity in bytes; a multiple of the logical block size.
    pub size_bytes: u64,
    /// Logical block size in bytes (512 or 4096): the unit of addresses.
    pub logical_block_bytes: u32,
    /// Physical block size in bytes: writes of this size and alignment are not read back first.
    pub physical_block_bytes: u32,
}

impl Geometry {
    /// Number of logical blocks.
    pub fn block_count(&self) -> u64 {
        self.size_bytes / u64::from(self.logical_block_bytes)
    }
}

/// What implementers write. Callers hold a [`Disk`].
///
/// **Duties.** Never panic for any offset, length or content. A write that returned `Ok` is seen by each later read;
/// a failed write leaves each logical block old or new. Unwritten and unmapped ranges read as zeros.
/// After `flush` returned `Ok`, everything whose write or unmap had returned before `flush` was called survives a
/// power loss; what was not flushed is, block by block, old or new, never another LUN's data.
///
/// **May rely on.** Offset and length are multiples of the logical block size, the range lies inside the device, and
/// the length is not 0: [`Disk`] has checked. Calls come from many threads; overlapping writes may land in any order.
pub trait BlockDevice: Send + Sync {
    /// Size and block sizes; the same at each call.
    fn geometry(&self) -> Geometry;
    /// Fills `buf` from `offset` (bytes).
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError>;
    /// Stores `data` at `offset` (bytes).
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), BlockError>;
    /// Makes everything acknowledged so far durable.
    fn flush(&self) -> Result<(), BlockError>;
    /// Gives the range back; it reads as zeros afterwards.
    fn unmap(&self, offset: u64, length_bytes: u64) -> Result<(), BlockError>;
}

/// The checked handle on a [`BlockDevice`]: rejects what the device was promised never to see.
#[derive(Clone)]
pub struct Disk {
    device: Arc<dyn BlockDevice>,
    geometry: Geometry,
}

impl Disk {
    /// Wraps `device`.
    ///
    /// # Panics
    /// If the device states an impossible geometry: a broken invariant of our own.
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        let geometry = device.geometry();
        assert!(
            matches!(geometry.logical_block_bytes, 512 | 4096)
                && geometry.physical_block_bytes >= geometry.logical_block_bytes
                && geometry.size_bytes > 0
                && geometry
                    .size_bytes
                    .is_multiple_of(u64::from(geometry.logical_block_bytes)),
            "device states an impossible geometry: {geometry:?}"
        );
        Self { device, geometry }
    }

    /// Size and block sizes.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Fills `buf` from `offset` (bytes).
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        match self.check(offset, buf.len() as u64)? {
            true => self.device.read(offset, buf),
            false => Ok(()),
        }
    }

    /// Stores `data` at `offset` (bytes).
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        match self.check(offset, data.len() as u64)? {
            true => self.device.write(offset, data),
            false => Ok(()),
        }
    }

    /// Makes everything acknowledged so far durable.
    pub fn flush(&self) -> Result<(), BlockError> {
        self.device.flush()
    }

    /// Gives the range back; it reads as zeros afterwards.
    pub fn unmap(&self, offset: u64, length_bytes: u64) -> Result<(), BlockError> {
        match self.check(offset, length_bytes)? {
            true => self.device.unmap(offset, length_bytes),
            false => Ok(()),
        }
    }

    /// `Ok(false)` for an empty range, which is nothing to do (SBC-4 4.2.3: a transfer length of 0 is no error).
    fn check(&self, offset: u64, length_bytes: u64) -> Result<bool, BlockError> {
        let block = u64::from(self.geometry.logical_block_bytes);
        if !offset.is_multiple_of(block) || !length_bytes.is_multiple_of(block) {
            return Err(BlockError::new(
                ErrorKind::Misaligned,
                format!("{length_bytes} bytes at {offset} are not whole blocks of {block} bytes"),
            ));
        }
        match offset.checked_add(length_bytes) {
            Some(end) if end <= self.geometry.size_bytes => Ok(length_bytes > 0),
            _ => Err(BlockError::new(
                ErrorKind::OutOfRange,
                format!(
                    "{length_bytes} bytes at {offset} lie outside the device of {} bytes",
                    self.geometry.size_bytes
                ),
            )),
        }
    }
}
