// SPDX-License-Identifier: MIT OR Apache-2.0
//! SCSI logical units: T10 commands (SPC-4, SBC-3) executed on block devices.
//!
//! **Is** the device server of a disk and of the array controller at LUN 0: a CDB is parsed once, by one table, and
//! executed on a [`block::Disk`]. **Is not** a transport: LUN numbers, task sets, data transfer and who may see which
//! unit belong to the `iscsi` crate.
//!
//! **Use.** [`LogicalUnit::accept`] checks a CDB before any data moves and says how many bytes the initiator has to
//! send; the caller fetches them, passes the unit's write fence where [`Accepted::passes_fence`] says so, and calls
//! [`LogicalUnit::execute`]. A [`Nexus`] per session keeps the unit attentions.
//!
//! **I/O model.** `execute` blocks for as long as the device does and may be called from many threads at once;
//! everything else returns at once.
//!
//! **Error model.** What goes wrong is [`Sense`] data, made from a device's error in exactly one place,
//! [`Sense::from_block_error`]. Nothing that an initiator sends makes this crate panic.

mod cdb;
mod identity;
mod mode;
mod nexus;
mod opcode;
mod sbc;
mod sense;
mod spc;
mod unit;
mod vpd;

pub use cdb::CDB_BYTES;
pub use identity::{Designator, Identity};
pub use nexus::{Nexus, UnitAttention};
pub use sense::{FIXED_SENSE_BYTES, Sense};
pub use unit::{Accepted, Context, LogicalUnit, Reply, TRANSFER_BYTES_MAX};
