// SPDX-License-Identifier: MIT OR Apache-2.0
//! What VSS itself writes to disks (specification LUN-14, LUN-15; reference sequence 4.1, steps 6, 11 and 16).
//!
//! On an MBR disk Windows keeps the volume flags hidden, read-only, no-drive-letter and shadow-copy in the hidden sectors
//! before the partition. It sets them on the *sources* before PreCommit, so that the copies carry them, and clears them on
//! the sources after Commit. After import it rewrites the disk id of each copy in its MBR. How Windows encodes the flags
//! is not documented; a marker sector of our own stands for it, since only *where* and *when* matters to an array.

use crate::initiator::{BLOCK_BYTES, Initiator, InitiatorError};
use uuid::Uuid;

/// Byte offset of the first partition: 1 MiB, as Windows aligns it.
pub const PARTITION_OFFSET: u64 = 1024 * 1024;
/// The hidden sector that holds the flags; any of 1..=62 is outside MBR and partition.
const FLAGS_LBA: u64 = 6;
const FLAGS_MAGIC: &[u8; 16] = b"VSS-VOLUME-FLAGS";
/// Offset of the disk id in the MBR.
const DISK_ID_AT: usize = 440;
const PARTITION_TABLE_AT: usize = 446;
/// Partition type of NTFS (and other installable file systems).
const TYPE_IFS: u8 = 0x07;

/// The flags of step 6: hidden, read-only, no drive letter, shadow copy.
pub const FLAGS_OF_A_COPY: u32 = 0b1111;

/// Writes an MBR with `disk_id` and one NTFS partition from [`PARTITION_OFFSET`], `partition_bytes` long.
///
/// # Panics
/// If the partition does not fit an MBR (2 TiB): the caller chooses the sizes.
pub fn write_mbr(
    initiator: &mut Initiator,
    lun: u8,
    disk_id: u32,
    partition_bytes: u64,
) -> Result<(), InitiatorError> {
    let first = u32::try_from(PARTITION_OFFSET / BLOCK_BYTES).expect("1 MiB has few sectors");
    let count =
        u32::try_from(partition_bytes / BLOCK_BYTES).expect("an MBR partition ends below 2 TiB");
    let mut sector = [0; BLOCK_BYTES as usize];
    sector[DISK_ID_AT..DISK_ID_AT + 4].copy_from_slice(&disk_id.to_le_bytes());
    let entry = &mut sector[PARTITION_TABLE_AT..PARTITION_TABLE_AT + 16];
    // Cylinder, head and sector are out of range for disks of this size; 0xFE 0xFF 0xFF says so.
    entry[1..4].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
    entry[4] = TYPE_IFS;
    entry[5..8].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..16].copy_from_slice(&count.to_le_bytes());
    sector[510..512].copy_from_slice(&[0x55, 0xAA]);
    initiator.write(lun, 0, &sector)
}

/// The disk id in the MBR; 0 when there is no MBR.
pub fn read_disk_id(initiator: &mut Initiator, lun: u8) -> Result<u32, InitiatorError> {
    let sector = initiator.read(lun, 0, BLOCK_BYTES as usize)?;
    let id = [DISK_ID_AT, DISK_ID_AT + 1, DISK_ID_AT + 2, DISK_ID_AT + 3].map(|at| sector[at]);
    match sector[510..512] {
        [0x55, 0xAA] => Ok(u32::from_le_bytes(id)),
        _ => Ok(0),
    }
}

/// Rewrites the disk id in the MBR and leaves the rest of the sector as it is.
pub fn write_disk_id(
    initiator: &mut Initiator,
    lun: u8,
    disk_id: u32,
) -> Result<(), InitiatorError> {
    let mut sector = initiator.read(lun, 0, BLOCK_BYTES as usize)?;
    sector[DISK_ID_AT..DISK_ID_AT + 4].copy_from_slice(&disk_id.to_le_bytes());
    initiator.write(lun, 0, &sector)
}

/// The volume flags as they are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeFlags {
    /// The bits, [`FLAGS_OF_A_COPY`] or 0.
    pub bits: u32,
    /// The set for which they were written.
    pub set: Uuid,
}

/// Sets or clears the volume flags of a disk.
pub fn write_flags(
    initiator: &mut Initiator,
    lun: u8,
    flags: VolumeFlags,
) -> Result<(), InitiatorError> {
    let mut sector = [0; BLOCK_BYTES as usize];
    sector[..16].copy_from_slice(FLAGS_MAGIC);
    sector[16..32].copy_from_slice(flags.set.as_bytes());
    sector[32..36].copy_from_slice(&flags.bits.to_le_bytes());
    initiator.write(lun, FLAGS_LBA * BLOCK_BYTES, &sector)
}

/// The volume flags of a disk; `None` when none were ever written.
pub fn read_flags(
    initiator: &mut Initiator,
    lun: u8,
) -> Result<Option<VolumeFlags>, InitiatorError> {
    let sector = initiator.read(lun, FLAGS_LBA * BLOCK_BYTES, BLOCK_BYTES as usize)?;
    let set = sector[16..32].try_into().map(Uuid::from_bytes);
    let bits = [sector[32], sector[33], sector[34], sector[35]];
    Ok(set
        .ok()
        .filter(|_| sector.starts_with(FLAGS_MAGIC))
        .map(|set| VolumeFlags {
            bits: u32::from_le_bytes(bits),
            set,
        }))
}
