// SPDX-License-Identifier: MIT OR Apache-2.0
//! Vital product data pages (SPC-4 7.8, SBC-3 6.6): the parts behind the four bytes of header.

use crate::identity::Identity;
use crate::unit::TRANSFER_BYTES_MAX;
use block::Geometry;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Space is given back in pieces of this size and alignment, in bytes; smaller UNMAPs only zero.
pub(crate) const UNMAP_GRANULARITY_BYTES: u32 = 64 << 10;
/// Most bytes of one UNMAP command.
pub(crate) const UNMAP_BYTES_MAX: u64 = 512 << 20;
/// Most ranges of one UNMAP command.
pub(crate) const UNMAP_RANGES_MAX: u32 = 256;
/// Most bytes of one WRITE SAME: bounds how long it holds a worker.
pub(crate) const WRITE_SAME_BYTES_MAX: u64 = 16 << 20;
/// Best size of a transfer, in bytes.
const TRANSFER_BYTES_OPTIMAL: u32 = 1 << 20;

/// Protocol identifier iSCSI in the upper half of a designator's first byte (SPC-4 7.6.1).
const PROTOCOL_ISCSI: u8 = 0x50;
const CODE_SET_BINARY: u8 = 1;
/// PIV with association 1 (target port) in a designator's second byte.
const PORT: u8 = 0x80 | 0x10;
const TYPE_RELATIVE_PORT: u8 = 4;
const TYPE_PORT_GROUP: u8 = 5;

/// Page 83h: the unit's own designators first and in order, then what names the port. Ports show types 4 and 5 only:
/// a type 1, 2, 3 or 8 of another association would make Windows compare the wrong thing (design, "Identity").
pub(crate) fn device_identification(
    identity: &Identity,
    relative_port: u16,
    port_group: u16,
) -> Vec<u8> {
    let mut data = Vec::new();
    for designator in &identity.designators {
        let length = designator.bytes.len() as u8;
        data.extend([designator.code_set, designator.kind, 0, length]);
        data.extend(&designator.bytes);
    }
    for (kind, value) in [
        (TYPE_RELATIVE_PORT, relative_port),
        (TYPE_PORT_GROUP, port_group),
    ] {
        data.extend([PROTOCOL_ISCSI | CODE_SET_BINARY, PORT | kind, 0, 4, 0, 0]);
        data.extend(value.to_be_bytes());
    }
    data
}

/// Page B0h behind its header (SBC-3 6.6.3).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BlockLimits {
    /// Bit 0 WSNZ: WRITE SAME of 0 blocks is refused.
    flags: u8,
    compare_and_write_max: u8,
    transfer_granularity: U16,
    transfer_max: U32,
    transfer_optimal: U32,
    prefetch_max: U32,
    unmap_blocks_max: U32,
    unmap_ranges_max: U32,
    unmap_granularity: U32,
    /// Bit 31 UGAVALID, the rest is the alignment.
    unmap_alignment: U32,
    write_same_max: U64,
    reserved: [u8; 20],
}
const _: () = assert!(size_of::<BlockLimits>() == 0x3c);

pub(crate) fn block_limits(geometry: Geometry) -> Vec<u8> {
    let block = geometry.logical_block_bytes;
    let blocks = |bytes: u64| U32::new((bytes / u64::from(block)) as u32);
    BlockLimits {
        flags: 0x01,
        compare_and_write_max: 0,
        transfer_granularity: U16::new((geometry.physical_block_bytes / block) as u16),
        transfer_max: blocks(TRANSFER_BYTES_MAX),
        transfer_optimal: blocks(TRANSFER_BYTES_OPTIMAL.into()),
        prefetch_max: U32::ZERO,
        unmap_blocks_max: blocks(UNMAP_BYTES_MAX),
        unmap_ranges_max: U32::new(UNMAP_RANGES_MAX),
        unmap_granularity: blocks(UNMAP_GRANULARITY_BYTES.into()),
        unmap_alignment: U32::new(1 << 31),
        write_same_max: U64::new(WRITE_SAME_BYTES_MAX / u64::from(block)),
        reserved: [0; 20],
    }
    .as_bytes()
    .to_vec()
}

/// Page B1h behind its header (SBC-3 6.6.2): a medium that does not rotate.
pub(crate) fn block_characteristics() -> Vec<u8> {
    let mut data = vec![0; 0x3c];
    data[1] = 0x01;
    data
}

/// Page B2h behind its header (SBC-3 6.6.4): thin, unmapped by UNMAP and both WRITE SAME, unmapped blocks read as 0.
pub(crate) fn logical_block_provisioning() -> Vec<u8> {
    const LBPU_LBPWS_LBPWS10: u8 = 0xe0;
    const LBPRZ: u8 = 0x04;
    const THIN: u8 = 2;
    vec![0, LBPU_LBPWS_LBPWS10 | LBPRZ, THIN, 0]
}
