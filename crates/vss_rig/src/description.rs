// SPDX-License-Identifier: MIT OR Apache-2.0
//! VDS_LUN_INFORMATION as Windows builds it from what a disk answers: standard INQUIRY, VPD page 80h and page 83h.
//!
//! The parser is the rig's own, so that an error in the project's SCSI code cannot hide itself.

use crate::initiator::{Initiator, InitiatorError};
use crate::vss_writes;
use uuid::Uuid;
use vss_provider::{LunDescription, StorageIdentifier};

/// VER_VDS_LUN_INFORMATION.
const VERSION: u32 = 1;
/// VDSBusTypeiScsi.
const BUS_TYPE_ISCSI: u32 = 9;
const PAGE_SERIAL: u8 = 0x80;
const PAGE_IDENTIFICATION: u8 = 0x83;
const DEVICE_TYPE_DISK: u8 = 0;
/// Standard INQUIRY data up to and with the revision (SPC-4 table 175).
const INQUIRY_BYTES_MIN: usize = 36;

/// A page that is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {page}: {reason}")]
pub struct MalformedPage {
    /// Which data.
    pub page: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a disk could not be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// A command failed.
    #[error(transparent)]
    Initiator(#[from] InitiatorError),
    /// An answer makes no sense.
    #[error(transparent)]
    Malformed(#[from] MalformedPage),
}

/// A disk as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDisk {
    /// LUN number in the session.
    pub lun: u8,
    /// What Windows would tell a provider about it.
    pub description: LunDescription,
}

/// Builds the description from raw answers. `disk_signature` is what Windows read from the disk itself: an MBR's disk
/// id in the first 32 bits, or nil.
pub fn describe(
    inquiry: &[u8],
    page_80: &[u8],
    page_83: &[u8],
    disk_signature: Uuid,
) -> Result<LunDescription, MalformedPage> {
    if inquiry.len() < INQUIRY_BYTES_MIN {
        return Err(MalformedPage {
            page: "standard INQUIRY data",
            reason: format!("{} bytes", inquiry.len()),
        });
    }
    Ok(LunDescription {
        version: VERSION,
        device_type: inquiry[0] & 0x1F,
        device_type_modifier: 0,
        command_queueing: inquiry[7] & 0x02 != 0,
        bus_type: BUS_TYPE_ISCSI,
        vendor: Some(inquiry[8..16].to_vec()),
        product: Some(inquiry[16..32].to_vec()),
        revision: Some(inquiry[32..36].to_vec()),
        serial: Some(page_body("page 80h", PAGE_SERIAL, page_80)?.to_vec()),
        disk_signature,
        device_id_version: 1,
        identifiers: logical_unit_identifiers(page_83)?,
        interconnects: Vec::new(),
    })
}

/// The association-0 designators of a page 83h, in their order (SPC-4 7.8.6; LUN-3).
fn logical_unit_identifiers(page: &[u8]) -> Result<Vec<StorageIdentifier>, MalformedPage> {
    let mut rest = page_body("page 83h", PAGE_IDENTIFICATION, page)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let cut = || MalformedPage {
            page: "page 83h",
            reason: format!("a designator is cut short, {} bytes are left", rest.len()),
        };
        let (head, tail) = rest.split_at_checked(4).ok_or_else(cut)?;
        let (bytes, tail) = tail
            .split_at_checked(usize::from(head[3]))
            .ok_or_else(cut)?;
        let association = (head[1] >> 4) & 0x03;
        if association == 0 {
            found.push(StorageIdentifier {
                code_set: u32::from(head[0] & 0x0F),
                kind: u32::from(head[1] & 0x0F),
                bytes: bytes.to_vec(),
            });
        }
        rest = tail;
    }
    Ok(found)
}

fn page_body<'a>(name: &'static str, code: u8, page: &'a [u8]) -> Result<&'a [u8], MalformedPage> {
    let malformed = |reason| MalformedPage { page: name, reason };
    let Some((head, body)) = page.split_at_checked(4) else {
        return Err(malformed(format!("{} bytes", page.len())));
    };
    if head[1] != code {
        return Err(malformed(format!("it says it is page {:02X}h", head[1])));
    }
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    body.get(..length)
        .ok_or_else(|| malformed(format!("{} of {length} bytes", body.len())))
}

/// Asks one disk.
pub fn describe_disk(initiator: &mut Initiator, lun: u8) -> Result<LunDescription, DescribeError> {
    let inquiry = initiator.inquiry(lun, None)?;
    let page_80 = initiator.inquiry(lun, Some(PAGE_SERIAL))?;
    let page_83 = initiator.inquiry(lun, Some(PAGE_IDENTIFICATION))?;
    let disk_id = vss_writes::read_disk_id(initiator, lun)?;
    let signature = Uuid::from_fields(disk_id, 0, 0, &[0; 8]);
    Ok(describe(&inquiry, &page_80, &page_83, signature)?)
}

/// All disks that the session shows, in LUN order; other device types (the array itself at LUN 0) are left out.
pub fn disks(initiator: &mut Initiator) -> Result<Vec<SeenDisk>, DescribeError> {
    let mut seen = Vec::new();
    for lun in initiator.report_luns()? {
        let inquiry = initiator.inquiry(lun, None)?;
        if inquiry.first().map(|first| first & 0x1F) == Some(DEVICE_TYPE_DISK) {
            seen.push(SeenDisk {
                lun,
                description: describe_disk(initiator, lun)?,
            });
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inquiry() -> Vec<u8> {
        let mut bytes = vec![0, 0, 6, 0x12, 31, 0, 0, 2];
        bytes.extend(b"SHADOWLNSHADOWLUN-VOLUME0001");
        bytes
    }

    fn page(code: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, code, 0, body.len() as u8];
        bytes.extend(body);
        bytes
    }

    #[test]
    fn describe_good_pages_keeps_every_byte() {
        let page_83 = page(0x83, &[2, 1, 0, 3, b'a', b'b', b'c']);

        let lun = describe(&inquiry(), &page(0x80, b" 12"), &page_83, Uuid::nil()).unwrap();

        assert_eq!(lun.vendor.as_deref(), Some(&b"SHADOWLN"[..]));
        assert_eq!(lun.product.as_deref(), Some(&b"SHADOWLUN-VOLUME"[..]));
        assert_eq!(lun.revision.as_deref(), Some(&b"0001"[..]));
        assert_eq!(lun.serial.as_deref(), Some(&b" 12"[..]));
        assert!(lun.command_queueing);
        let expected = StorageIdentifier {
            code_set: 2,
            kind: 1,
            bytes: b"abc".to_vec(),
        };
        assert_eq!(lun.identifiers, [expected]);
    }

    #[test]
    fn describe_port_designators_are_left_out() {
        // LUN-3: association 1 (port) and 2 (target device) stay out.
        let page_83 = page(0x83, &[1, 0x94, 0, 1, 7, 1, 0xA3, 0, 1, 8, 1, 3, 0, 1, 9]);

        let lun = describe(&inquiry(), &page(0x80, b"1"), &page_83, Uuid::nil()).unwrap();

        assert_eq!(lun.identifiers.len(), 1);
        assert_eq!(lun.identifiers[0].bytes, [9]);
    }

    #[test]
    fn describe_designator_cut_short_is_malformed() {
        let page_83 = page(0x83, &[1, 3, 0, 9, 1, 2]);

        let error = describe(&inquiry(), &page(0x80, b"1"), &page_83, Uuid::nil()).unwrap_err();

        assert_eq!(error.page, "page 83h");
    }

    #[test]
    fn describe_other_page_is_malformed() {
        let error =
            describe(&inquiry(), &page(0x83, b""), &page(0x83, b""), Uuid::nil()).unwrap_err();

        assert_eq!(error.page, "page 80h");
    }

    #[test]
    fn describe_short_inquiry_is_malformed() {
        let error = describe(&[0; 35], &page(0x80, b""), &page(0x83, b""), Uuid::nil());

        assert_eq!(error.unwrap_err().page, "standard INQUIRY data");
    }
}
