// SPDX-License-Identifier: MIT OR Apache-2.0
//! A LUN as a block device: where reads and writes meet chunks.
use crate::StoreError;
use crate::format::{CHUNK_BYTES, Entry, LEAF_BYTES, PART_BYTES};
use crate::inner::Inner;
use crate::leaf::{Leaf, LeafMap};
use crate::lun::{Head, LunState};
use crate::sync::{MutexExt, RwLockExt};
use block::{BlockDevice, BlockError, ErrorKind, Geometry};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Larger writes are carried out in pieces of this size: half of what a LUN may have unflushed.
const WRITE_BYTES_MAX: u64 = 8 << 20;
const PARTS_ALL: u16 = u16::MAX;

/// A LUN as a block device.
pub(crate) struct LunDevice {
    pub(crate) inner: Arc<Inner>,
    pub(crate) lun: Arc<LunState>,
    /// As it was when this was made.
    size_bytes: u64,
}

/// A stretch of a request inside one unit (leaf, chunk).
struct Span {
    unit: u64,
    /// Where it starts in the unit, in bytes.
    start: u64,
    /// Where it lies in the request.
    range: Range<usize>,
}

/// Cuts `length_bytes` from `offset` on at the borders of units.
fn spans(offset: u64, length_bytes: u64, unit_bytes: u64) -> impl Iterator<Item = Span> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length_bytes {
            return None;
        }
        let start = (offset + done) % unit_bytes;
        let length = (unit_bytes - start).min(length_bytes - done);
        let span = Span {
            unit: (offset + done) / unit_bytes,
            start,
            range: done as usize..(done + length) as usize,
        };
        done += length;
        Some(span)
    })
}

/// Bits of the parts that bytes `start..end` of a chunk touch.
fn touched_parts(start: u64, end: u64) -> u16 {
    parts(start / PART_BYTES, end.div_ceil(PART_BYTES))
}

/// Bits of parts `first..end`.
fn parts(first: u64, end: u64) -> u16 {
    match first < end {
        true => (PARTS_ALL << first) & (PARTS_ALL >> (16 - end)),
        false => 0,
    }
}

/// Stretches of equal bits in `mask`, as ranges of parts.
pub(crate) fn runs(mask: u16) -> impl Iterator<Item = Range<u64>> {
    let bit = move |part: u64| part < 16 && mask & (1 << part) != 0;
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = (at..16).find(|&part| bit(part))?;
        at = (first..=16).find(|&part| !bit(part))?;
        Some(first..at)
    })
}

fn gone(lun: &LunState) -> BlockError {
    BlockError::new(
        ErrorKind::Gone,
        format!("LUN {:032x} was deleted or its store closed", lun.id),
    )
}

fn resized(lun: &LunState) -> BlockError {
    BlockError::new(
        ErrorKind::OutOfRange,
        format!("LUN {:032x} has another size now", lun.id),
    )
}

fn read_failed(error: io::Error) -> BlockError {
    let kind = match error.kind() {
        io::ErrorKind::UnexpectedEof => ErrorKind::Medium,
        _ => ErrorKind::Io,
    };
    BlockError::from_io(kind, "reading the store's data file", error)
}

/// Chunks set aside for one write, handed out from the end.
struct Reserve<'a> {
    inner: &'a Inner,
    chunks: Vec<u32>,
}

impl Drop for Reserve<'_> {
    fn drop(&mut self) {
        self.inner.release(&self.chunks);
    }
}

/// A span of a write with its leaf.
struct Target {
    number: u32,
    leaf: Arc<Leaf>,
    span: Span,
}

impl BlockDevice for LunDevice {
    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.size_bytes,
            logical_block_bytes: 512,
            physical_block_bytes: PART_BYTES as u32,
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        let head = self.lun.head.shared();
        let head = head.as_ref().ok_or_else(|| gone(&self.lun))?;
        if offset + buf.len() as u64 > head.size_bytes {
            return Err(resized(&self.lun));
        }
        for span in spans(offset, buf.len() as u64, LEAF_BYTES) {
            let out = &mut buf[span.range];
            let leaf = self
                .inner
                .leaf(head, span.unit as u32, false)
                .map_err(StoreError::into_block)?;
            let Some(leaf) = leaf else {
                out.fill(0);
                continue;
            };
            // Held until the data is read: see `Leaf`.
            let map = leaf.map.shared();
            let map = map.as_ref().expect("the leaf was loaded");
            for span in spans(span.start, out.len() as u64, CHUNK_BYTES) {
                let entry = &map.entries[span.unit as usize];
                self.read_chunk(entry, span.start, &mut out[span.range])?;
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        for piece in spans(0, data.len() as u64, WRITE_BYTES_MAX) {
            let at = offset + piece.range.start as u64;
            self.admitted(piece.range.len() as u64, |head| {
                self.write_piece(head, at, &data[piece.range.clone()])
            })?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        if self.lun.head.shared().is_none() {
            return Err(gone(&self.lun));
        }
        let lun = Arc::clone(&self.lun);
        self.inner.flush(vec![lun]).map_err(StoreError::into_block)
    }

    fn unmap(&self, offset: u64, length_bytes: u64) -> Result<(), BlockError> {
        let end = offset + length_bytes;
        let first = offset.next_multiple_of(PART_BYTES);
        // What lies behind the LUN's end in its last part is nobody's, so that part counts as whole.
        let last = match end == self.size_bytes {
            true => end.next_multiple_of(PART_BYTES),
            false => end / PART_BYTES * PART_BYTES,
        };
        self.zero(offset, first.min(end))?;
        if last > first {
            for span in spans(first, last - first, LEAF_BYTES) {
                self.unmap_parts(&span)?;
            }
        }
        if last >= first {
            self.zero(last, end)?;
        }
        Ok(())
    }
}

impl LunDevice {
    /// The LUN as it is now.
    pub(crate) fn new(inner: Arc<Inner>, lun: Arc<LunState>) -> Result<Self, BlockError> {
        let head = *lun.head.shared();
        let size_bytes = head.ok_or_else(|| gone(&lun))?.size_bytes;
        Ok(Self {
            inner,
            lun,
            size_bytes,
        })
    }

    /// Runs one write or unmap: waits for room, passes the gate, and tries once more after getting space back when
    /// there is none.
    fn admitted(
        &self,
        bytes: u64,
        work: impl Fn(&Head) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        self.lun.admit(
            bytes,
            || self.inner.check_writable().is_err() || self.lun.is_gone(),
            || self.inner.queue.ask_flush(&self.lun),
        );
        let once = || {
            let _gate = self.lun.gate.shared();
            let head = self.lun.head.shared();
            let head = head.as_ref().ok_or_else(|| gone(&self.lun))?;
            // What lies behind the LUN's end has to stay empty, and a range that was checked against the old size may.
            if head.size_bytes != self.size_bytes {
                return Err(resized(&self.lun));
            }
            self.inner
                .check_writable()
                .map_err(StoreError::into_block)?;
            work(head)
        };
        let mut result = once();
        if matches!(&result, Err(error) if error.kind() == ErrorKind::NoSpace)
            && self.inner.settle().is_ok()
        {
            result = once();
        }
        self.lun.done(bytes);
        result
    }

    /// Fills `out` from byte `start` of a chunk, with one read per stretch of parts that lie together.
    pub(crate) fn read_chunk(
        &self,
        entry: &Entry,
        start: u64,
        out: &mut [u8],
    ) -> Result<(), BlockError> {
        let source = |part: u64| {
            let bit = 1 << part;
            match (entry.own_parts & bit != 0, entry.base_parts & bit != 0) {
                (true, _) => entry.own,
                (false, true) => entry.base,
                (false, false) => 0,
            }
        };
        let end = start + out.len() as u64;
        let mut at = start;
        while at < end {
            let chunk = source(at / PART_BYTES);
            let same = |part: &u64| *part < 16 && source(*part) == chunk;
            let last = (at / PART_BYTES..end.div_ceil(PART_BYTES))
                .take_while(same)
                .last();
            let until = end.min((last.expect("the first one is the same") + 1) * PART_BYTES);
            let part = &mut out[(at - start) as usize..(until - start) as usize];
            match chunk {
                0 => part.fill(0),
                chunk => self.inner.data.read(chunk, at, part).map_err(read_failed)?,
            }
            at = until;
        }
        Ok(())
    }

    /// Writes to the data file; only a lack of space leaves the store usable.
    pub(crate) fn write_data(&self, chunk: u32, start: u64, data: &[u8]) -> Result<(), BlockError> {
        self.inner.data.write(chunk, start, data).map_err(|error| {
            let context = "writing the store's data file";
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    BlockError::from_io(ErrorKind::NoSpace, context, error)
                }
                _ => {
                    self.inner.poison(&format!("{context}: {error}"));
                    BlockError::from_io(ErrorKind::Io, context, error)
                }
            }
        })
    }

    /// Whether a chunk may be written in place: the newest version's own row is the only one that refers to it.
    fn is_own(&self, map: &LeafMap, head: &Head, number: u32, entry: &Entry) -> bool {
        map.row == Some(head.row(number))
            && entry.own != 0
            && self.inner.allocator.locked().count(entry.own) == 1
    }

    /// The leaves of a write, loaded.
    fn targets(
        &self,
        head: &Head,
        offset: u64,
        length_bytes: u64,
    ) -> Result<Vec<Target>, BlockError> {
        spans(offset, length_bytes, LEAF_BYTES)
            .map(|span| {
                let number = span.unit as u32;
                let leaf = self
                    .inner
                    .leaf(head, number, true)
                    .map_err(StoreError::into_block)?
                    .expect("asked for one in any case");
                Ok(Target { number, leaf, span })
            })
            .collect()
    }

    /// How many new chunks a write to a leaf takes.
    fn chunks_needed(&self, head: &Head, target: &Target, map: &LeafMap) -> usize {
        let length_bytes = target.span.range.len() as u64;
        spans(target.span.start, length_bytes, CHUNK_BYTES)
            .filter(|span| {
                let entry = &map.entries[span.unit as usize];
                !self.is_own(map, head, target.number, entry)
            })
            .count()
    }

    fn write_piece(&self, head: &Head, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        let targets = self.targets(head, offset, data.len() as u64)?;
        if let [target] = targets.as_slice()
            && self.overwrite(head, target, data)?
        {
            return Ok(());
        }
        // In ascending order, as every writer does.
        let mut maps: Vec<_> = targets
            .iter()
            .map(|target| target.leaf.map.exclusive())
            .collect();
        let need: usize = targets
            .iter()
            .zip(&maps)
            .map(|(target, map)| {
                let map = map.as_ref().expect("the leaf was loaded");
                self.chunks_needed(head, target, map)
            })
            .sum();
        if need > 0 && !self.inner.has_headroom() {
            return Err(BlockError::new(
                ErrorKind::NoSpace,
                "the store's file system is full but for what its metadata may need",
            ));
        }
        let Some(chunks) = self.inner.allocator.locked().reserve(need) else {
            // A row of an older version that nobody else sees any more keeps chunks from being written in place.
            // Owning the leaves replaces such rows at the next flush, after which this write is tried again.
            for (target, map) in targets.iter().zip(&mut maps) {
                let map = map.as_mut().expect("the leaf was loaded");
                self.own_leaf(head, target.number, &target.leaf, map);
            }
            return Err(BlockError::new(
                ErrorKind::NoSpace,
                "the store has no space for new data",
            ));
        };
        let mut reserve = Reserve {
            inner: &self.inner,
            chunks,
        };
        for (target, map) in targets.iter().zip(&mut maps) {
            let map = map.as_mut().expect("the leaf was loaded");
            let own: Vec<_> = spans(
                target.span.start,
                target.span.range.len() as u64,
                CHUNK_BYTES,
            )
            .map(|span| {
                let entry = &map.entries[span.unit as usize];
                (self.is_own(map, head, target.number, entry), span)
            })
            .collect();
            let data = &data[target.span.range.clone()];
            self.own_leaf(head, target.number, &target.leaf, map);
            for (own, span) in own {
                let index = span.unit as usize;
                let data = &data[span.range];
                match own {
                    true => self.write_own(map, index, span.start, data)?,
                    false => self.write_new(map, index, span.start, data, &mut reserve)?,
                }
            }
        }
        Ok(())
    }

    /// The quick way: all parts are in chunks that may be written in place, so that the map stays as it is and other
    /// writes to the leaf may go on beside this one. False: this is not such a write, and nothing was done.
    fn overwrite(&self, head: &Head, target: &Target, data: &[u8]) -> Result<bool, BlockError> {
        let map = target.leaf.map.shared();
        let map = map.as_ref().expect("the leaf was loaded");
        let pieces: Vec<_> = spans(target.span.start, data.len() as u64, CHUNK_BYTES).collect();
        let in_place = pieces.iter().all(|span| {
            let entry = &map.entries[span.unit as usize];
            let parts = touched_parts(span.start, span.start + span.range.len() as u64);
            parts & !entry.own_parts == 0 && self.is_own(map, head, target.number, entry)
        });
        if in_place {
            for span in pieces {
                let chunk = map.entries[span.unit as usize].own;
                self.write_data(chunk, span.start, &data[span.range])?;
            }
        }
        Ok(in_place)
    }

    /// Makes the leaf the newest version's own: from here on its row refers to all its chunks too.
    pub(crate) fn own_leaf(&self, head: &Head, number: u32, leaf: &Arc<Leaf>, map: &mut LeafMap) {
        let row = head.row(number);
        if map.row != Some(row) {
            let mut allocator = self.inner.allocator.locked();
            for chunk in map.entries.iter().flat_map(Entry::chunks) {
                allocator.add(chunk);
            }
            map.row = Some(row);
        }
        if !map.dirty {
            map.dirty = true;
            self.lun.push_dirty(number, leaf);
        }
    }

    /// Writes to a chunk that may be written in place. Parts that hold nothing yet are written whole.
    fn write_own(
        &self,
        map: &mut LeafMap,
        index: usize,
        start: u64,
        data: &[u8],
    ) -> Result<(), BlockError> {
        let entry = map.entries[index];
        let end = start + data.len() as u64;
        let (first, bytes) = self.whole_parts(&entry, entry.own_parts, start, data)?;
        self.write_data(entry.own, first, bytes.as_deref().unwrap_or(data))?;
        let touched = touched_parts(start, end);
        map.entries[index].own_parts |= touched;
        map.entries[index].base_parts &= !touched;
        map.settle(index);
        Ok(())
    }

    /// The bytes to write so that every touched part outside `valid` is written whole, and where they start; `None`
    /// when `data` is that already.
    fn whole_parts(
        &self,
        entry: &Entry,
        valid: u16,
        start: u64,
        data: &[u8],
    ) -> Result<(u64, Option<Vec<u8>>), BlockError> {
        let end = start + data.len() as u64;
        let is_valid = |at: u64| valid & (1 << (at / PART_BYTES)) != 0;
        let first = match is_valid(start) {
            true => start,
            false => start / PART_BYTES * PART_BYTES,
        };
        let last = match is_valid(end - 1) {
            true => end,
            false => end.next_multiple_of(PART_BYTES),
        };
        if (first, last) == (start, end) {
            return Ok((start, None));
        }
        let mut bytes = vec![0; (last - first) as usize];
        let (before, after) = ((start - first) as usize, (end - first) as usize);
        self.read_chunk(entry, first, &mut bytes[..before])?;
        self.read_chunk(entry, end, &mut bytes[after..])?;
        bytes[before..after].copy_from_slice(data);
        Ok((first, Some(bytes)))
    }

    /// Writes to a chunk that is not there or is shared, through a new one. What is shared becomes the base and is
    /// not copied, unless there is a base already: then all is copied, so that never more than two chunks answer.
    fn write_new(
        &self,
        map: &mut LeafMap,
        index: usize,
        start: u64,
        data: &[u8],
        reserve: &mut Reserve<'_>,
    ) -> Result<(), BlockError> {
        let entry = map.entries[index];
        let chunk = *reserve.chunks.last().expect("enough were reserved");
        let mut new = Entry {
            own: chunk,
            own_parts: touched_parts(start, start + data.len() as u64),
            ..Entry::default()
        };
        if entry.base == 0 {
            let (first, bytes) = self.whole_parts(&entry, 0, start, data)?;
            self.write_data(chunk, first, bytes.as_deref().unwrap_or(data))?;
            new.base = entry.own;
            new.base_parts = entry.own_parts & !new.own_parts;
        } else {
            let mut bytes = vec![0; CHUNK_BYTES as usize];
            self.read_chunk(&entry, 0, &mut bytes)?;
            bytes[start as usize..start as usize + data.len()].copy_from_slice(data);
            new.own_parts |= entry.own_parts | entry.base_parts;
            for run in runs(new.own_parts) {
                let run = run.start * PART_BYTES..run.end * PART_BYTES;
                self.write_data(
                    chunk,
                    run.start,
                    &bytes[run.start as usize..run.end as usize],
                )?;
            }
            map.dropped.extend(entry.chunks());
        }
        reserve.chunks.pop();
        map.entries[index] = new;
        map.settle(index);
        Ok(())
    }

    /// Writes zeros to `start..end`, which lies in one part, if there is anything.
    fn zero(&self, start: u64, end: u64) -> Result<(), BlockError> {
        if start >= end {
            return Ok(());
        }
        let mapped = {
            let head = self.lun.head.shared();
            let head = head.as_ref().ok_or_else(|| gone(&self.lun))?;
            let leaf = self
                .inner
                .leaf(head, (start / LEAF_BYTES) as u32, false)
                .map_err(StoreError::into_block)?;
            leaf.is_some_and(|leaf| {
                let map = leaf.map.shared();
                let index = (start % LEAF_BYTES / CHUNK_BYTES) as usize;
                let at = start % CHUNK_BYTES;
                map.as_ref().is_some_and(|map| {
                    let entry = &map.entries[index];
                    (entry.own_parts | entry.base_parts) & touched_parts(at, at + 1) != 0
                })
            })
        };
        match mapped {
            true => self.write(start, &vec![0; (end - start) as usize]),
            false => Ok(()),
        }
    }

    /// Gives up whole parts within one leaf.
    fn unmap_parts(&self, span: &Span) -> Result<(), BlockError> {
        let number = span.unit as u32;
        {
            // An unmap of terabytes goes quickly over what was never written.
            let head = self.lun.head.shared();
            let head = head.as_ref().ok_or_else(|| gone(&self.lun))?;
            let leaf = self.inner.leaf(head, number, false);
            if leaf.map_err(StoreError::into_block)?.is_none() {
                return Ok(());
            }
        }
        self.admitted(0, |head| {
            let leaf = self.inner.leaf(head, number, true);
            let leaf = leaf
                .map_err(StoreError::into_block)?
                .expect("asked for one in any case");
            let mut map = leaf.map.exclusive();
            let map = map.as_mut().expect("the leaf was loaded");
            let pieces: Vec<_> = spans(span.start, span.range.len() as u64, CHUNK_BYTES)
                .map(|piece| {
                    let parts = touched_parts(piece.start, piece.start + piece.range.len() as u64);
                    (piece.unit as usize, parts)
                })
                .filter(|&(index, parts)| {
                    let entry = &map.entries[index];
                    (entry.own_parts | entry.base_parts) & parts != 0
                })
                .collect();
            if !pieces.is_empty() {
                self.own_leaf(head, number, &leaf, map);
                for (index, parts) in pieces {
                    map.clear_parts(index, parts);
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_ranges_have_their_bits() {
        assert_eq!(parts(0, 16), 0xffff);
        assert_eq!(parts(15, 16), 0x8000);
        assert_eq!(parts(3, 3), 0);
        assert_eq!(touched_parts(4095, 4097), 0b11);
        assert_eq!(touched_parts(4096, 8192), 0b10);
    }

    #[test]
    fn runs_of_mask_cover_its_bits() {
        let found: Vec<_> = runs(0b1000_0000_0011_1001).collect();
        assert_eq!(found, [0..1, 3..6, 15..16]);
        assert_eq!(runs(0).count(), 0);
        assert!(runs(0xffff).eq(std::iter::once(0..16)));
    }
}
