// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands of all device types (SPC-4): INQUIRY, REPORT LUNS, REPORT SUPPORTED OPERATION CODES.

use crate::cdb::OpcodeQuery;
use crate::identity::Identity;
use crate::opcode::{OPCODES, Opcode};
use crate::sense::Sense;
use crate::unit::Context;
use crate::vpd;
use block::Geometry;
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Peripheral device type of a direct access block device.
pub(crate) const TYPE_DISK: u8 = 0x00;
/// Peripheral device type of a storage array controller device.
pub(crate) const TYPE_CONTROLLER: u8 = 0x0c;
/// Peripheral qualifier 3 (no device can be here) with type 1Fh (unknown).
const NO_DEVICE: u8 = 0x7f;

/// Standard INQUIRY data (SPC-4 6.6.2) up to the version descriptors and the reserved bytes behind them.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct InquiryData {
    peripheral: u8,
    removable: u8,
    version: u8,
    /// Bit 4 HISUP, bits 0-3 response data format.
    format: u8,
    additional_length: u8,
    /// No ACC, TPGS, 3PC or protection.
    flags_5: u8,
    flags_6: u8,
    /// Bit 1 CMDQUE.
    flags_7: u8,
    vendor: [u8; 8],
    product: [u8; 16],
    revision: [u8; 4],
    vendor_specific: [u8; 20],
    reserved_56: [u8; 2],
    version_descriptors: [U16; 8],
    reserved_74: [u8; 22],
}
const _: () = assert!(size_of::<InquiryData>() == 96);

/// SPC-4.
const VERSION_SPC_4: u8 = 0x06;
/// Version descriptors (SPC-4 table 139): SAM-5, SPC-4, iSCSI, SBC-3, each without a version claimed.
const DESCRIPTORS: [u16; 4] = [0x00a0, 0x0460, 0x0960, 0x04c0];

pub(crate) fn inquiry(device_type: u8, identity: &Identity) -> Vec<u8> {
    let mut data = blank_inquiry(device_type);
    data.format |= 0x10;
    data.flags_7 = 0x02;
    data.vendor = identity.vendor;
    data.product = identity.product;
    data.revision = identity.revision;
    // A controller is no block device: the last descriptor is SBC's.
    let claimed = if device_type == TYPE_DISK { 4 } else { 3 };
    for (slot, version) in data
        .version_descriptors
        .iter_mut()
        .zip(&DESCRIPTORS[..claimed])
    {
        *slot = U16::new(*version);
    }
    data.as_bytes().to_vec()
}

pub(crate) fn inquiry_absent() -> Vec<u8> {
    blank_inquiry(NO_DEVICE).as_bytes().to_vec()
}

fn blank_inquiry(peripheral: u8) -> InquiryData {
    InquiryData {
        peripheral,
        removable: 0,
        version: VERSION_SPC_4,
        format: 0x02,
        additional_length: (size_of::<InquiryData>() - 5) as u8,
        flags_5: 0,
        flags_6: 0,
        flags_7: 0,
        vendor: [b' '; 8],
        product: [b' '; 16],
        revision: [b' '; 4],
        vendor_specific: [0; 20],
        reserved_56: [0; 2],
        version_descriptors: [U16::ZERO; 8],
        reserved_74: [0; 22],
    }
}

/// The pages of a disk and, up to 83h, of the controller. Page 00h lists them.
const DISK_PAGES: [u8; 6] = [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2];
const CONTROLLER_PAGES: usize = 3;

/// One vital product data page; `geometry` is `None` for the controller.
pub(crate) fn vital_page(
    device_type: u8,
    page: u8,
    identity: &Identity,
    geometry: Option<Geometry>,
    context: &Context<'_>,
) -> Result<Vec<u8>, Sense> {
    let body = match (page, geometry) {
        (0x00, Some(_)) => DISK_PAGES.to_vec(),
        (0x00, None) => DISK_PAGES[..CONTROLLER_PAGES].to_vec(),
        (0x80, _) => identity.serial.as_bytes().to_vec(),
        (0x83, _) => {
            vpd::device_identification(identity, context.relative_port, context.port_group)
        }
        (0xb0, Some(geometry)) => vpd::block_limits(geometry),
        (0xb1, Some(_)) => vpd::block_characteristics(),
        (0xb2, Some(_)) => vpd::logical_block_provisioning(),
        _ => return Err(Sense::invalid_cdb_field(2, Some(7))),
    };
    let length = u16::try_from(body.len()).expect("identities fit their pages, see assert_fits");
    let mut data = vec![device_type, page];
    data.extend(length.to_be_bytes());
    data.extend(body);
    Ok(data)
}

/// LUNs in the single-level format with peripheral device addressing (SAM-5 4.6.6): the only one that Windows reads
/// right. `select` 1 asks for well-known units, of which there are none.
pub(crate) fn report_luns(select: u8, inventory: &[u8]) -> Vec<u8> {
    let inventory = if select == 1 { &[] } else { inventory };
    let mut data = Vec::with_capacity(8 + 8 * inventory.len());
    data.extend((8 * inventory.len() as u32).to_be_bytes());
    data.extend([0; 4]);
    for &lun in inventory {
        data.extend([0, lun, 0, 0, 0, 0, 0, 0]);
    }
    data
}

/// The opcode table as the initiator may read it (SPC-4 6.35).
pub(crate) fn report_opcodes(
    query: OpcodeQuery,
    timeouts: bool,
    here: impl Fn(&Opcode) -> bool,
) -> Result<Vec<u8>, Sense> {
    let of = |opcode: u8| OPCODES.iter().filter(move |e| e.opcode == opcode);
    let found = match query {
        OpcodeQuery::All => return Ok(all_opcodes(timeouts, here)),
        OpcodeQuery::Opcode(opcode) => {
            if of(opcode).any(|e| e.action.is_some()) {
                return Err(Sense::invalid_cdb_field(2, Some(2)));
            }
            of(opcode).next()
        }
        OpcodeQuery::WithAction(opcode, action) => {
            if of(opcode).any(|e| e.action.is_none()) {
                return Err(Sense::invalid_cdb_field(2, Some(2)));
            }
            of(opcode).find(|e| e.action.map(u16::from) == Some(action))
        }
        OpcodeQuery::Either(opcode, action) => {
            of(opcode).find(|e| e.action.map_or(0, u16::from) == action)
        }
    };
    Ok(one_opcode(found.filter(|entry| here(entry)), timeouts))
}

/// A command timeouts descriptor without a statement (SPC-4 6.35.4).
const NO_TIMEOUTS: [u8; 12] = [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn all_opcodes(timeouts: bool, here: impl Fn(&Opcode) -> bool) -> Vec<u8> {
    let mut data = vec![0; 4];
    for entry in OPCODES.iter().filter(|entry| here(entry)) {
        let flags = if timeouts { 0x02 } else { 0 } | u8::from(entry.action.is_some());
        let action = entry.action.unwrap_or(0);
        let length = entry.cdb_bytes() as u8;
        data.extend([entry.opcode, 0, 0, action, 0, flags, 0, length]);
        if timeouts {
            data.extend(NO_TIMEOUTS);
        }
    }
    let length = (data.len() - 4) as u32;
    data[..4].copy_from_slice(&length.to_be_bytes());
    data
}

fn one_opcode(entry: Option<&Opcode>, timeouts: bool) -> Vec<u8> {
    /// SUPPORT: not supported, and supported as the standard says.
    const NOT_SUPPORTED: u8 = 1;
    const STANDARD: u8 = 3;
    let Some(entry) = entry else {
        return vec![0, NOT_SUPPORTED, 0, 0];
    };
    let with_timeouts = if timeouts { 0x80 } else { 0 };
    let mut data = vec![0, STANDARD | with_timeouts, 0, entry.cdb_bytes() as u8];
    data.push(entry.opcode);
    data.extend(entry.usage);
    if let Some(action) = entry.action {
        data[5] |= action;
    }
    if timeouts {
        data.extend(NO_TIMEOUTS);
    }
    data
}
