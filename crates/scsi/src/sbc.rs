// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands of block devices (SBC-3): checked against the medium first, executed on it later.

use crate::cdb::{Extent, Operation};
use crate::mode;
use crate::sense::Sense;
use crate::unit::TRANSFER_BYTES_MAX;
use crate::vpd;
use block::{BlockError, Disk, Geometry};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most bytes of one VERIFY that only reads: bounds how long it holds a worker.
const VERIFY_BYTES_MAX: u64 = 1 << 30;
/// Memory that long operations work through the medium with, in bytes.
const STEP_BYTES: u64 = 1 << 20;

/// Checks `operation` against the medium; says how many bytes the initiator has to send.
/// `length_byte` is where the CDB has its transfer length, for the field pointer.
pub(crate) fn check(
    operation: &Operation,
    geometry: Geometry,
    length_byte: u16,
) -> Result<u64, Sense> {
    let block = u64::from(geometry.logical_block_bytes);
    let limited = |extent: &Extent, bytes_max: u64| {
        check_extent(extent, geometry)?;
        if extent.blocks > bytes_max / block {
            return Err(Sense::invalid_cdb_field(length_byte, None));
        }
        Ok(extent.blocks * block)
    };
    match operation {
        Operation::Read(extent) => limited(extent, TRANSFER_BYTES_MAX).map(|_| 0),
        Operation::Write { extent, .. } => limited(extent, TRANSFER_BYTES_MAX),
        Operation::Verify {
            extent,
            compare: true,
        } => limited(extent, TRANSFER_BYTES_MAX),
        Operation::Verify {
            extent,
            compare: false,
        } => limited(extent, VERIFY_BYTES_MAX).map(|_| 0),
        Operation::SynchronizeCache(extent) => check_extent(extent, geometry).map(|()| 0),
        Operation::WriteSame { extent, zeros, .. } => {
            limited(extent, vpd::WRITE_SAME_BYTES_MAX)?;
            // WSNZ in page B0h.
            if extent.blocks == 0 {
                return Err(Sense::invalid_cdb_field(length_byte, None));
            }
            Ok(if *zeros { 0 } else { block })
        }
        Operation::Unmap { list_bytes } => Ok(*list_bytes as u64),
        Operation::GetLbaStatus { lba, .. } if *lba >= geometry.block_count() => {
            Err(Sense::LBA_OUT_OF_RANGE)
        }
        _ => Ok(0),
    }
}

/// An extent inside the medium. Nothing at its very end is nothing, nothing beyond it is an error.
fn check_extent(extent: &Extent, geometry: Geometry) -> Result<(), Sense> {
    match extent.lba.checked_add(extent.blocks) {
        Some(end) if end <= geometry.block_count() => Ok(()),
        _ => Err(Sense::LBA_OUT_OF_RANGE),
    }
}

/// Executes what [`check`] has let through.
pub(crate) fn execute(
    operation: &Operation,
    disk: &Disk,
    data_out: &[u8],
) -> Result<Vec<u8>, Sense> {
    let geometry = disk.geometry();
    let block = geometry.logical_block_bytes;
    match *operation {
        Operation::ModeSense(ref request) => mode::sense(request, geometry),
        Operation::StartStop { flush: false } => Ok(Vec::new()),
        Operation::StartStop { flush: true } | Operation::SynchronizeCache(_) => done(flush(disk)),
        Operation::ReadCapacity10 => Ok(capacity_10(geometry)),
        Operation::ReadCapacity16 { allocation } => {
            let mut data = capacity_16(geometry);
            data.truncate(allocation);
            Ok(data)
        }
        Operation::GetLbaStatus { lba, allocation } => {
            let mut data = lba_status(geometry, lba);
            data.truncate(allocation);
            Ok(data)
        }
        Operation::Read(extent) => read(disk, extent.bytes(block)),
        Operation::Write {
            extent,
            durable,
            verify,
        } => done(write(disk, extent, data_out, durable, verify)),
        Operation::Verify {
            extent,
            compare: true,
        } => done(compare(disk, extent, data_out)),
        Operation::Verify {
            extent,
            compare: false,
        } => done(read_through(disk, extent.bytes(block))),
        Operation::Unmap { list_bytes } => done(unmap(disk, list_bytes, data_out)),
        Operation::WriteSame {
            extent,
            unmap,
            zeros,
        } => {
            let zero_block = vec![0; block as usize];
            let pattern = if zeros { &zero_block } else { data_out };
            done(write_same(disk, extent, pattern, unmap))
        }
        _ => Err(Sense::INVALID_OPCODE),
    }
}

fn done(result: Result<(), Sense>) -> Result<Vec<u8>, Sense> {
    result.map(|()| Vec::new())
}

fn reading(error: BlockError) -> Sense {
    Sense::from_block_error(&error, false)
}

fn writing(error: BlockError) -> Sense {
    Sense::from_block_error(&error, true)
}

fn flush(disk: &Disk) -> Result<(), Sense> {
    disk.flush().map_err(writing)
}

fn read(disk: &Disk, (offset, length): (u64, u64)) -> Result<Vec<u8>, Sense> {
    let mut data = vec![0; length as usize];
    disk.read(offset, &mut data).map_err(reading)?;
    Ok(data)
}

/// The whole blocks that were sent, at most `extent`. An initiator that expected to transfer less than its CDB says
/// gets that much written (RFC 7143 11.4.5.1, residual overflow).
fn sent<'a>(disk: &Disk, extent: Extent, data_out: &'a [u8]) -> (u64, &'a [u8]) {
    let block = disk.geometry().logical_block_bytes;
    let (offset, length) = extent.bytes(block);
    let sent = data_out.len().min(length as usize);
    (offset, &data_out[..sent - sent % block as usize])
}

fn write(
    disk: &Disk,
    extent: Extent,
    data_out: &[u8],
    durable: bool,
    verify: bool,
) -> Result<(), Sense> {
    let (offset, data) = sent(disk, extent, data_out);
    disk.write(offset, data).map_err(writing)?;
    if durable {
        flush(disk)?;
    }
    if verify {
        compare(disk, extent, data)?;
    }
    Ok(())
}

fn compare(disk: &Disk, extent: Extent, data_out: &[u8]) -> Result<(), Sense> {
    let (offset, data) = sent(disk, extent, data_out);
    let stored = read(disk, (offset, data.len() as u64))?;
    match stored.iter().zip(data).position(|(a, b)| a != b) {
        Some(at) => Err(Sense::miscompare(at as u64)),
        None => Ok(()),
    }
}

fn read_through(disk: &Disk, (mut offset, mut length): (u64, u64)) -> Result<(), Sense> {
    let mut step = vec![0; length.min(STEP_BYTES) as usize];
    while length > 0 {
        let part = length.min(STEP_BYTES);
        disk.read(offset, &mut step[..part as usize])
            .map_err(reading)?;
        offset += part;
        length -= part;
    }
    Ok(())
}

fn write_same(disk: &Disk, extent: Extent, data_out: &[u8], unmap: bool) -> Result<(), Sense> {
    let block = disk.geometry().logical_block_bytes as usize;
    let (mut offset, mut length) = extent.bytes(block as u32);
    // Exactly one block, or the transfer was cut short and there is nothing to repeat.
    let Some(pattern) = data_out.get(..block) else {
        return Err(Sense::INVALID_INFORMATION_UNIT);
    };
    // Unmapped blocks read as zeros (LBPRZ), so only a block of zeros may be unmapped in its place (SBC-3 5.44).
    if unmap && pattern.iter().all(|&byte| byte == 0) {
        return disk.unmap(offset, length).map_err(writing);
    }
    let step = pattern.repeat((length.min(STEP_BYTES) as usize / block).max(1));
    while length > 0 {
        let part = length.min(step.len() as u64);
        disk.write(offset, &step[..part as usize])
            .map_err(writing)?;
        offset += part;
        length -= part;
    }
    Ok(())
}

/// Head of the UNMAP parameter list (SBC-3 5.28.2).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct UnmapHead {
    data_length: U16,
    ranges_bytes: U16,
    reserved: U32,
}
const _: () = assert!(size_of::<UnmapHead>() == 8);

/// One range of the UNMAP parameter list.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct UnmapRange {
    lba: U64,
    blocks: U32,
    reserved: U32,
}
const _: () = assert!(size_of::<UnmapRange>() == 16);

fn unmap(disk: &Disk, list_bytes: usize, data_out: &[u8]) -> Result<(), Sense> {
    if list_bytes == 0 {
        return Ok(());
    }
    let list = &data_out[..data_out.len().min(list_bytes)];
    let Ok((head, rest)) = UnmapHead::ref_from_prefix(list) else {
        return Err(Sense::PARAMETER_LIST_LENGTH);
    };
    // The ranges end where the shortest of the three statements about their length says (SBC-3 5.28.2).
    let ranges_bytes = usize::from(head.ranges_bytes.get()).min(rest.len());
    let count = ranges_bytes / size_of::<UnmapRange>();
    if count > vpd::UNMAP_RANGES_MAX as usize {
        return Err(Sense::invalid_parameter_field(2));
    }
    let (ranges, _) = <[UnmapRange]>::ref_from_prefix_with_elems(rest, count)
        .map_err(|_| Sense::PARAMETER_LIST_LENGTH)?;
    // All ranges are checked before the first is unmapped: a refused command changes nothing.
    let geometry = disk.geometry();
    let block = geometry.logical_block_bytes;
    let mut total: u64 = 0;
    for range in ranges {
        check_extent(&range.extent(), geometry)?;
        total += u64::from(range.blocks.get());
    }
    if total > vpd::UNMAP_BYTES_MAX / u64::from(block) {
        return Err(Sense::invalid_parameter_field(8));
    }
    for range in ranges {
        let (offset, length) = range.extent().bytes(block);
        disk.unmap(offset, length).map_err(writing)?;
    }
    Ok(())
}

impl UnmapRange {
    fn extent(&self) -> Extent {
        Extent {
            lba: self.lba.get(),
            blocks: self.blocks.get().into(),
        }
    }
}

/// READ CAPACITY(10) (SBC-3 5.12): all ones says "use the 16-byte form".
fn capacity_10(geometry: Geometry) -> Vec<u8> {
    let last = u32::try_from(geometry.block_count() - 1).unwrap_or(u32::MAX);
    let mut data = last.to_be_bytes().to_vec();
    data.extend(geometry.logical_block_bytes.to_be_bytes());
    data
}

/// READ CAPACITY(16) (SBC-3 5.13.2).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Capacity16 {
    last_lba: U64,
    block_bytes: U32,
    protection: u8,
    /// Bits 0-3: logical blocks per physical block, as a power of two.
    exponents: u8,
    /// Bit 15 LBPME, bit 14 LBPRZ, the rest is the lowest aligned LBA.
    thin_and_alignment: U16,
    reserved: [u8; 16],
}
const _: () = assert!(size_of::<Capacity16>() == 32);

fn capacity_16(geometry: Geometry) -> Vec<u8> {
    let ratio = geometry.physical_block_bytes / geometry.logical_block_bytes;
    Capacity16 {
        last_lba: U64::new(geometry.block_count() - 1),
        block_bytes: U32::new(geometry.logical_block_bytes),
        protection: 0,
        exponents: (ratio.ilog2() & 0xf) as u8,
        thin_and_alignment: U16::new(0xc000),
        reserved: [0; 16],
    }
    .as_bytes()
    .to_vec()
}

/// GET LBA STATUS (SBC-3 5.6): one run up to the end with status 0, "mapped or unknown". A device does not tell what it
/// has mapped; saying so in one answer keeps initiators that ask before each read (QEMU) from asking again.
fn lba_status(geometry: Geometry, lba: u64) -> Vec<u8> {
    const DATA_BYTES: u32 = 20;
    let blocks = u32::try_from(geometry.block_count() - lba).unwrap_or(u32::MAX);
    let mut data = DATA_BYTES.to_be_bytes().to_vec();
    data.extend([0; 4]);
    data.extend(lba.to_be_bytes());
    data.extend(blocks.to_be_bytes());
    data.extend([0; 4]);
    data
}
