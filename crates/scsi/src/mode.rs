// SPDX-License-Identifier: MIT OR Apache-2.0
//! MODE SENSE: caching, control and power condition pages, none of them changeable (SPC-4 6.11, 7.5; SBC-3 6.4).

use crate::cdb::ModeSense;
use crate::sense::Sense;
use block::Geometry;

const PAGE_CACHING: u8 = 0x08;
const PAGE_CONTROL: u8 = 0x0a;
const PAGE_POWER: u8 = 0x1a;
const PAGE_ALL: u8 = 0x3f;
const SUBPAGE_ALL: u8 = 0xff;

/// Device-specific parameter: DPOFUA, and not write protected.
const DPOFUA: u8 = 0x10;

/// The whole answer, cut to the allocation length.
pub(crate) fn sense(request: &ModeSense, geometry: Geometry) -> Result<Vec<u8>, Sense> {
    let changeable = match request.control {
        0 | 2 => false,
        1 => true,
        _ => return Err(Sense::NO_SAVED_PAGES),
    };
    let pages: &[u8] = match (request.page, request.subpage) {
        (PAGE_ALL, 0 | SUBPAGE_ALL) => &[PAGE_CACHING, PAGE_CONTROL, PAGE_POWER],
        (PAGE_CACHING, 0) => &[PAGE_CACHING],
        (PAGE_CONTROL, 0) => &[PAGE_CONTROL],
        (PAGE_POWER, 0) => &[PAGE_POWER],
        (PAGE_ALL | PAGE_CACHING | PAGE_CONTROL | PAGE_POWER, _) => {
            return Err(Sense::invalid_cdb_field(3, Some(7)));
        }
        _ => return Err(Sense::invalid_cdb_field(2, Some(5))),
    };
    let descriptor = match (request.no_descriptor, request.long_lba) {
        (true, _) => Vec::new(),
        (false, false) => short_descriptor(geometry),
        (false, true) => long_descriptor(geometry),
    };
    let mut body = descriptor.clone();
    for &number in pages {
        body.extend(page(number, changeable));
    }
    let mut data = header(request, descriptor.len() as u8, body.len());
    data.extend(body);
    data.truncate(request.allocation);
    Ok(data)
}

/// Mode parameter header (SPC-4 7.5.5); its length field does not count itself.
fn header(request: &ModeSense, descriptor_bytes: u8, body_bytes: usize) -> Vec<u8> {
    if request.ten {
        let length = (body_bytes + 6) as u16;
        let long_lba = u8::from(request.long_lba && descriptor_bytes > 0);
        let mut data = length.to_be_bytes().to_vec();
        data.extend([0, DPOFUA, long_lba, 0, 0, descriptor_bytes]);
        data
    } else {
        vec![(body_bytes + 3) as u8, 0, DPOFUA, descriptor_bytes]
    }
}

/// Short LBA mode parameter block descriptor (SBC-3 6.4.2.2).
fn short_descriptor(geometry: Geometry) -> Vec<u8> {
    let blocks = u32::try_from(geometry.block_count()).unwrap_or(u32::MAX);
    let mut data = blocks.to_be_bytes().to_vec();
    // The length field has 24 bits behind a reserved byte, which block sizes leave 0.
    data.extend(geometry.logical_block_bytes.to_be_bytes());
    data
}

/// Long LBA mode parameter block descriptor (SBC-3 6.4.2.3).
fn long_descriptor(geometry: Geometry) -> Vec<u8> {
    let mut data = geometry.block_count().to_be_bytes().to_vec();
    data.extend([0; 4]);
    data.extend(geometry.logical_block_bytes.to_be_bytes());
    data
}

fn page(number: u8, changeable: bool) -> Vec<u8> {
    let mut page = match number {
        PAGE_CACHING => vec![0; 20],
        PAGE_CONTROL => vec![0; 12],
        PAGE_POWER => vec![0; 40],
        _ => unreachable!("the caller names pages of this file"),
    };
    page[0] = number;
    page[1] = (page.len() - 2) as u8;
    if changeable {
        return page;
    }
    match number {
        // WCE: a write is durable after a flush, not before. Windows then sends FUA and SYNCHRONIZE CACHE.
        PAGE_CACHING => page[2] = 0x04,
        // QUEUE ALGORITHM MODIFIER 1: simple tasks may be reordered. D_SENSE, TST, TAS and SWP are 0.
        PAGE_CONTROL => page[3] = 0x10,
        _ => {}
    }
    page
}
