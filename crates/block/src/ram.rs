// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sparse device in memory: the reference that others are compared with, and the disk of unit tests.
use crate::{BlockDevice, BlockError, Geometry};
use std::collections::HashMap;
use std::sync::{Arc, RwLock};

const PAGE_BYTES: u64 = 4096;

type Pages = HashMap<u64, Box<[u8; PAGE_BYTES as usize]>>;

/// A sparse device in memory. Takes memory only for pages of 4 KiB that hold data; `flush` has nothing to do.
pub struct RamDisk {
    geometry: Geometry,
    pages: RwLock<Pages>,
}

impl RamDisk {
    /// A device of `size_bytes` with logical blocks of 512 and physical blocks of 4096 bytes, all zeros.
    pub fn new(size_bytes: u64) -> Arc<Self> {
        Self::with_block_bytes(size_bytes, 512)
    }

    /// A device whose logical blocks have `logical_block_bytes` bytes (512 or 4096).
    pub fn with_block_bytes(size_bytes: u64, logical_block_bytes: u32) -> Arc<Self> {
        Arc::new(Self {
            geometry: Geometry {
                size_bytes,
                logical_block_bytes,
                physical_block_bytes: 4096,
            },
            pages: RwLock::default(),
        })
    }

    /// Memory that holds data, in bytes.
    pub fn allocated_bytes(&self) -> u64 {
        self.pages.read().expect("no panic under this lock").len() as u64 * PAGE_BYTES
    }
}

/// The pieces of `offset..offset + length`, none crossing a page: (page number, start in page, range in the buffer).
fn pieces(
    offset: u64,
    length_bytes: u64,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<u64>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length_bytes {
            return None;
        }
        let at = offset + done;
        let start = at % PAGE_BYTES;
        let length = (PAGE_BYTES - start).min(length_bytes - done);
        done += length;
        Some((at / PAGE_BYTES, start as usize, done - length..done))
    })
}

impl BlockDevice for RamDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        let pages = self.pages.read().expect("no panic under this lock");
        for (page, start, range) in pieces(offset, buf.len() as u64) {
            let part = &mut buf[range.start as usize..range.end as usize];
            match pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[start..start + part.len()]),
                None => part.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        let mut pages = self.pages.write().expect("no panic under this lock");
        for (page, start, range) in pieces(offset, data.len() as u64) {
            let part = &data[range.start as usize..range.end as usize];
            pages
                .entry(page)
                .or_insert_with(|| Box::new([0; PAGE_BYTES as usize]))[start..start + part.len()]
                .copy_from_slice(part);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn unmap(&self, offset: u64, length_bytes: u64) -> Result<(), BlockError> {
        let mut pages = self.pages.write().expect("no panic under this lock");
        let end = offset + length_bytes;
        let whole = offset.div_ceil(PAGE_BYTES)..end / PAGE_BYTES;
        // By what is there rather than by address: an unmap of terabytes costs no more than the data in them.
        pages.retain(|page, _| !whole.contains(page));
        for page in [offset / PAGE_BYTES, end / PAGE_BYTES] {
            let Some(bytes) = pages.get_mut(&page) else {
                continue;
            };
            let first = offset.max(page * PAGE_BYTES) - page * PAGE_BYTES;
            let last = end.min((page + 1) * PAGE_BYTES) - page * PAGE_BYTES;
            bytes[first as usize..last as usize].fill(0);
        }
        Ok(())
    }
}
