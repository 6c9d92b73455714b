// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command descriptor blocks as bytes, and as operations: parsed once, here.

use crate::sense::Sense;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The longest CDB that this target accepts, in bytes. Shorter ones are padded with zeros.
pub const CDB_BYTES: usize = 16;

/// READ(6), WRITE(6) (SBC-3 5.7).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Transfer6 {
    opcode: u8,
    /// 21 bits.
    lba: [u8; 3],
    /// 0 means 256.
    blocks: u8,
    control: u8,
}
const _: () = assert!(size_of::<Transfer6>() == 6);

/// READ(10), WRITE(10), VERIFY(10), WRITE SAME(10), SYNCHRONIZE CACHE(10) (SBC-3 5.8).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Transfer10 {
    opcode: u8,
    flags: u8,
    lba: U32,
    group: u8,
    blocks: U16,
    control: u8,
}
const _: () = assert!(size_of::<Transfer10>() == 10);

/// READ(12), WRITE(12), VERIFY(12) (SBC-3 5.9).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Transfer12 {
    opcode: u8,
    flags: u8,
    lba: U32,
    blocks: U32,
    group: u8,
    control: u8,
}
const _: () = assert!(size_of::<Transfer12>() == 12);

/// READ(16), WRITE(16), VERIFY(16), WRITE SAME(16), SYNCHRONIZE CACHE(16) (SBC-3 5.10).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Transfer16 {
    opcode: u8,
    flags: u8,
    lba: U64,
    blocks: U32,
    group: u8,
    control: u8,
}
const _: () = assert!(size_of::<Transfer16>() == 16);

/// Forced unit access, in the flags of 10, 12 and 16 byte transfers.
const FLAG_FUA: u8 = 0x08;
/// UNMAP, in the flags of WRITE SAME.
const FLAG_UNMAP: u8 = 0x08;
/// NDOB, in the flags of WRITE SAME(16).
const FLAG_NO_DATA_OUT: u8 = 0x01;

/// A run of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) lba: u64,
    pub(crate) blocks: u64,
}

/// What a CDB asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    TestUnitReady,
    RequestSense {
        allocation: usize,
    },
    Inquiry {
        page: Option<u8>,
        allocation: usize,
    },
    ReportLuns {
        select: u8,
        allocation: usize,
    },
    ReportOpcodes {
        query: OpcodeQuery,
        timeouts: bool,
        allocation: usize,
    },
    ModeSense(ModeSense),
    StartStop {
        /// The unit is being stopped and its cache is to be written first.
        flush: bool,
    },
    ReadCapacity10,
    ReadCapacity16 {
        allocation: usize,
    },
    GetLbaStatus {
        lba: u64,
        allocation: usize,
    },
    Read(Extent),
    Write {
        extent: Extent,
        /// Durable before the status: FUA, or WRITE AND VERIFY.
        durable: bool,
        /// Data sent is compared with what was stored (WRITE AND VERIFY with BYTCHK).
        verify: bool,
    },
    Verify {
        extent: Extent,
        /// Compare with the data sent (BYTCHK 01b) rather than only read.
        compare: bool,
    },
    SynchronizeCache(Extent),
    Unmap {
        list_bytes: usize,
    },
    WriteSame {
        extent: Extent,
        unmap: bool,
        /// No block of data is sent; zeros are meant (NDOB).
        zeros: bool,
    },
}

/// REPORT SUPPORTED OPERATION CODES: which ones (SPC-4 6.35).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpcodeQuery {
    All,
    /// By operation code alone; an error for one with service actions.
    Opcode(u8),
    /// By both; an error for an operation code without service actions.
    WithAction(u8, u16),
    /// By both; 0 for an operation code without service actions.
    Either(u8, u16),
}

/// MODE SENSE(6) and (10) (SPC-4 6.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModeSense {
    pub(crate) ten: bool,
    pub(crate) long_lba: bool,
    pub(crate) no_descriptor: bool,
    /// 0 current, 1 changeable, 2 default, 3 saved.
    pub(crate) control: u8,
    pub(crate) page: u8,
    pub(crate) subpage: u8,
    pub(crate) allocation: usize,
}

/// A CDB, padded with zeros to 16 bytes.
pub(crate) type Cdb = [u8; CDB_BYTES];

fn typed<T: FromBytes + KnownLayout + Immutable + Unaligned>(cdb: &Cdb) -> &T {
    // Every CDB type above is at most 16 bytes and unaligned.
    T::ref_from_prefix(cdb)
        .expect("a CDB type is not longer than a CDB")
        .0
}

fn be16(cdb: &Cdb, at: usize) -> usize {
    usize::from(u16::from_be_bytes([cdb[at], cdb[at + 1]]))
}

fn be32(cdb: &Cdb, at: usize) -> usize {
    u32::from_be_bytes([cdb[at], cdb[at + 1], cdb[at + 2], cdb[at + 3]]) as usize
}

fn extent6(cdb: &Cdb) -> Extent {
    let t: &Transfer6 = typed(cdb);
    let [high, mid, low] = t.lba;
    Extent {
        lba: u64::from(u32::from_be_bytes([0, high & 0x1f, mid, low])),
        blocks: if t.blocks == 0 { 256 } else { t.blocks.into() },
    }
}

fn extent10(cdb: &Cdb) -> Extent {
    let t: &Transfer10 = typed(cdb);
    Extent {
        lba: t.lba.get().into(),
        blocks: t.blocks.get().into(),
    }
}

fn extent12(cdb: &Cdb) -> Extent {
    let t: &Transfer12 = typed(cdb);
    Extent {
        lba: t.lba.get().into(),
        blocks: t.blocks.get().into(),
    }
}

fn extent16(cdb: &Cdb) -> Extent {
    let t: &Transfer16 = typed(cdb);
    Extent {
        lba: t.lba.get(),
        blocks: t.blocks.get().into(),
    }
}

/// A parser of the opcode table: the CDB has been checked against its usage mask.
pub(crate) type Parse = fn(&Cdb) -> Result<Operation, Sense>;

pub(crate) fn test_unit_ready(_: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::TestUnitReady)
}

pub(crate) fn request_sense(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::RequestSense {
        allocation: cdb[4].into(),
    })
}

pub(crate) fn inquiry(cdb: &Cdb) -> Result<Operation, Sense> {
    let vital = cdb[1] & 1 != 0;
    if !vital && cdb[2] != 0 {
        return Err(Sense::invalid_cdb_field(2, Some(7)));
    }
    Ok(Operation::Inquiry {
        page: vital.then_some(cdb[2]),
        allocation: be16(cdb, 3),
    })
}

pub(crate) fn report_luns(cdb: &Cdb) -> Result<Operation, Sense> {
    let allocation = be32(cdb, 6);
    if cdb[2] > 2 {
        return Err(Sense::invalid_cdb_field(2, Some(7)));
    }
    // SPC-4 6.33: room for one LUN at least.
    if allocation < 16 {
        return Err(Sense::invalid_cdb_field(6, Some(7)));
    }
    Ok(Operation::ReportLuns {
        select: cdb[2],
        allocation,
    })
}

pub(crate) fn report_opcodes(cdb: &Cdb) -> Result<Operation, Sense> {
    let action = be16(cdb, 4) as u16;
    let query = match cdb[2] & 7 {
        0 => OpcodeQuery::All,
        1 => OpcodeQuery::Opcode(cdb[3]),
        2 => OpcodeQuery::WithAction(cdb[3], action),
        3 => OpcodeQuery::Either(cdb[3], action),
        _ => return Err(Sense::invalid_cdb_field(2, Some(2))),
    };
    Ok(Operation::ReportOpcodes {
        query,
        timeouts: cdb[2] & 0x80 != 0,
        allocation: be32(cdb, 6),
    })
}

pub(crate) fn mode_sense_6(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(mode_sense(cdb, false, cdb[4].into()))
}

pub(crate) fn mode_sense_10(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(mode_sense(cdb, true, be16(cdb, 7)))
}

fn mode_sense(cdb: &Cdb, ten: bool, allocation: usize) -> Operation {
    Operation::ModeSense(ModeSense {
        ten,
        long_lba: ten && cdb[1] & 0x10 != 0,
        no_descriptor: cdb[1] & 0x08 != 0,
        control: cdb[2] >> 6,
        page: cdb[2] & 0x3f,
        subpage: cdb[3],
        allocation,
    })
}

pub(crate) fn start_stop(cdb: &Cdb) -> Result<Operation, Sense> {
    // Power conditions active, idle and standby (SBC-3 5.25) are accepted and change nothing: the unit is always on.
    let condition = cdb[4] >> 4;
    if !matches!(condition, 0..=3) {
        return Err(Sense::invalid_cdb_field(4, Some(7)));
    }
    let start = cdb[4] & 0x01 != 0;
    let no_flush = cdb[4] & 0x04 != 0;
    Ok(Operation::StartStop {
        flush: !no_flush && (condition != 0 || !start),
    })
}

pub(crate) fn read_capacity_10(_: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::ReadCapacity10)
}

pub(crate) fn read_capacity_16(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::ReadCapacity16 {
        allocation: be32(cdb, 10),
    })
}

pub(crate) fn get_lba_status(cdb: &Cdb) -> Result<Operation, Sense> {
    let transfer: &Transfer16 = typed(cdb);
    Ok(Operation::GetLbaStatus {
        lba: transfer.lba.get(),
        // The allocation length stands where transfers have their blocks.
        allocation: transfer.blocks.get() as usize,
    })
}

pub(crate) fn read_6(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::Read(extent6(cdb)))
}

pub(crate) fn read_10(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::Read(extent10(cdb)))
}

pub(crate) fn read_12(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::Read(extent12(cdb)))
}

pub(crate) fn read_16(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::Read(extent16(cdb)))
}

fn write(cdb: &Cdb, extent: Extent, flags: u8) -> Result<Operation, Sense> {
    debug_assert!(cdb[0] & 0x0f == 0x0a);
    Ok(Operation::Write {
        extent,
        durable: flags & FLAG_FUA != 0,
        verify: false,
    })
}

pub(crate) fn write_6(cdb: &Cdb) -> Result<Operation, Sense> {
    write(cdb, extent6(cdb), 0)
}

pub(crate) fn write_10(cdb: &Cdb) -> Result<Operation, Sense> {
    write(cdb, extent10(cdb), cdb[1])
}

pub(crate) fn write_12(cdb: &Cdb) -> Result<Operation, Sense> {
    write(cdb, extent12(cdb), cdb[1])
}

pub(crate) fn write_16(cdb: &Cdb) -> Result<Operation, Sense> {
    write(cdb, extent16(cdb), cdb[1])
}

/// BYTCHK of VERIFY and WRITE AND VERIFY: 00b reads, 01b compares; the others are for what this unit does not offer.
fn byte_check(cdb: &Cdb) -> Result<bool, Sense> {
    match (cdb[1] >> 1) & 3 {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Sense::invalid_cdb_field(1, Some(2))),
    }
}

fn write_verify(cdb: &Cdb, extent: Extent) -> Result<Operation, Sense> {
    Ok(Operation::Write {
        extent,
        durable: true,
        verify: byte_check(cdb)?,
    })
}

pub(crate) fn write_verify_10(cdb: &Cdb) -> Result<Operation, Sense> {
    write_verify(cdb, extent10(cdb))
}

pub(crate) fn write_verify_12(cdb: &Cdb) -> Result<Operation, Sense> {
    write_verify(cdb, extent12(cdb))
}

pub(crate) fn write_verify_16(cdb: &Cdb) -> Result<Operation, Sense> {
    write_verify(cdb, extent16(cdb))
}

fn verify(cdb: &Cdb, extent: Extent) -> Result<Operation, Sense> {
    Ok(Operation::Verify {
        extent,
        compare: byte_check(cdb)?,
    })
}

pub(crate) fn verify_10(cdb: &Cdb) -> Result<Operation, Sense> {
    verify(cdb, extent10(cdb))
}

pub(crate) fn verify_12(cdb: &Cdb) -> Result<Operation, Sense> {
    verify(cdb, extent12(cdb))
}

pub(crate) fn verify_16(cdb: &Cdb) -> Result<Operation, Sense> {
    verify(cdb, extent16(cdb))
}

pub(crate) fn synchronize_cache_10(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::SynchronizeCache(extent10(cdb)))
}

pub(crate) fn synchronize_cache_16(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::SynchronizeCache(extent16(cdb)))
}

pub(crate) fn unmap(cdb: &Cdb) -> Result<Operation, Sense> {
    Ok(Operation::Unmap {
        list_bytes: be16(cdb, 7),
    })
}

fn write_same(cdb: &Cdb, extent: Extent) -> Result<Operation, Sense> {
    Ok(Operation::WriteSame {
        extent,
        unmap: cdb[1] & FLAG_UNMAP != 0,
        // The 10-byte form has no such bit; its usage mask keeps it 0.
        zeros: cdb[1] & FLAG_NO_DATA_OUT != 0,
    })
}

pub(crate) fn write_same_10(cdb: &Cdb) -> Result<Operation, Sense> {
    write_same(cdb, extent10(cdb))
}

pub(crate) fn write_same_16(cdb: &Cdb) -> Result<Operation, Sense> {
    write_same(cdb, extent16(cdb))
}
