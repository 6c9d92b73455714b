// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disk is inside the array: the [`BlockDevice`] contract, the [`Disk`] handle that callers hold, and the
//! [`WriteFence`] that stops writes for the instant of a capture.
//!
//! **Is not** a cache, a partition reader or anything that knows SCSI. Devices with an implementation of their own
//! (the LUN store) live in their own crates and run the [`conformance`] suite of this one.
//!
//! **I/O model.** Calls are synchronous and may come from many threads at once. Offsets and lengths are bytes and
//! multiples of the logical block size; [`Disk`] checks that once, so a device may rely on it. A write that has
//! returned is seen by every later read; it is durable only after a later [`BlockDevice::flush`].
//!
//! **Error model.** [`BlockError`] says in [`ErrorKind`] what a caller can act on, and keeps the cause as text for
//! people. A device never panics for any offset, length or content.

mod disk;
mod error;
mod fence;

pub mod conformance;
pub mod fault;
pub mod ram;

pub use disk::{BlockDevice, Disk, Geometry};
pub use error::{BlockError, ErrorKind};
pub use fence::{Hold, HoldError, WriteFence, WritePermit, hold_all};
