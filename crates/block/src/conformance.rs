// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every device must do, as tests that every device runs: [`conformance_suite!`](crate::conformance_suite).
//!
//! Add a behaviour here, and to the macro's list, and all devices are tested for it. Not part of any program: it is
//! public so that the crates of other devices can use it in their tests.
use crate::{BlockDevice, Disk, ErrorKind};
use std::any::Any;
use std::sync::Arc;

/// The device to test, and whatever must live as long as it.
pub struct Subject {
    disk: Disk,
    _keep: Box<dyn Any>,
}

impl Subject {
    /// A device that needs nothing else.
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        Self::with(device, ())
    }

    /// A device that works only while `keep` lives.
    pub fn with(device: Arc<dyn BlockDevice>, keep: impl Any) -> Self {
        Self {
            disk: Disk::new(device),
            _keep: Box::new(keep),
        }
    }
}

/// Makes one `#[test]` per behaviour. The argument is a function from a size in bytes to a [`Subject`] that reads as
/// zeros everywhere.
#[macro_export]
macro_rules! conformance_suite {
    ($make:expr) => {
        $crate::conformance_suite!(@tests $make,
            unwritten_reads_as_zeros,
            write_at_odd_places_reads_back,
            write_across_borders_reads_back,
            write_of_last_block_reads_back,
            overlapping_writes_last_one_wins,
            unmap_whole_reads_as_zeros,
            unmap_partial_leaves_the_rest,
            unmap_then_write_shows_no_old_data,
            flush_keeps_contents,
            concurrent_disjoint_writers_all_land,
            outside_range_is_refused,
            misaligned_is_refused,
            empty_range_is_nothing_to_do,
            random_operations_match_a_model,
        );
    };
    (@tests $make:expr, $($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            $crate::conformance::$name(&$make);
        })*
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Large enough for the borders of all layers: 4 KiB parts, 64 KiB chunks, 8 MiB leaves.
const SIZE: u64 = 24 * MIB;
/// Borders that layers below may have.
const BORDERS: [u64; 4] = [4 * KIB, 64 * KIB, 8 * MIB, 16 * MIB];

/// Bytes that differ from place to place and from one `seed` to the next.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length.div_ceil(8))
        .flat_map(|_| (random.next() | 1).to_le_bytes())
        .take(length)
        .collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere, so that a failing seed fails again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn read(disk: &Disk, offset: u64, length: u64) -> Vec<u8> {
    let mut buf = vec![0xee; length as usize];
    disk.read(offset, &mut buf).expect("read");
    buf
}

fn write(disk: &Disk, offset: u64, data: &[u8]) {
    disk.write(offset, data).expect("write");
}

fn block_bytes(disk: &Disk) -> u64 {
    u64::from(disk.geometry().logical_block_bytes)
}

fn assert_zeros(bytes: &[u8], what: &str) {
    let other = bytes.iter().position(|&byte| byte != 0);
    assert_eq!(other, None, "{what}: a byte that is not zero");
}

/// Never `assert_eq!` on megabytes: its message would be them.
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let other = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(other, None, "{what}: first byte that differs");
}

/// Unwritten ranges read as zeros.
pub fn unwritten_reads_as_zeros(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    assert_zeros(&read(disk, 0, MIB), "start");
    assert_zeros(&read(disk, SIZE - MIB, MIB), "end");
    assert_zeros(&read(disk, 8 * MIB - 512 * 8, 8 * KIB), "border");
}

/// A write of single blocks at places that are no multiples of anything larger is read back, and nothing beside it.
pub fn write_at_odd_places_reads_back(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    let block = block_bytes(disk);
    for (seed, place) in [1, 7, 9, 127, 129, 2047, 2049].into_iter().enumerate() {
        let offset = place * block;
        let data = pattern(seed as u64, block as usize);
        write(disk, offset, &data);
        assert_same(&read(disk, offset, block), &data, "the block");
        assert_zeros(&read(disk, offset - block, block), "the block before");
        assert_zeros(&read(disk, offset + block, block), "the block after");
    }
}

/// Writes across the borders of lower layers are read back whole.
pub fn write_across_borders_reads_back(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    let block = block_bytes(disk);
    for border in BORDERS {
        for blocks in [1, 3, 200] {
            let start = border.saturating_sub(blocks * block);
            let data = pattern(border + blocks, (border - start + blocks * block) as usize);
            write(disk, start, &data);
            assert_same(&read(disk, start, data.len() as u64), &data, "across");
        }
    }
    let large = pattern(5, 9 * MIB as usize);
    write(disk, 7 * MIB + block, &large);
    assert_same(&read(disk, 7 * MIB + block, 9 * MIB), &large, "9 MiB");
}

/// The last block can be written and read.
pub fn write_of_last_block_reads_back(make: &dyn Fn(u64) -> Subject) {
    // Not a multiple of anything but blocks.
    for size in [SIZE, 8 * MIB + 4096 * 5, 4096] {
        let subject = make(size);
        let disk = &subject.disk;
        let block = block_bytes(disk);
        let data = pattern(size, block as usize);
        write(disk, size - block, &data);
        assert_same(&read(disk, size - block, block), &data, "last block");
        disk.unmap(size - block, block).expect("unmap");
        assert_zeros(&read(disk, size - block, block), "last block, unmapped");
    }
}

/// Of overlapping writes, one after the other, the last one is read.
pub fn overlapping_writes_last_one_wins(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    let block = block_bytes(disk);
    let first = pattern(1, 256 * KIB as usize);
    let second = pattern(2, (64 * KIB + 2 * block) as usize);
    write(disk, 0, &first);
    let at = 60 * KIB + block;
    let at = at - at % block;
    write(disk, at, &second);
    let mut expected = first;
    expected[at as usize..at as usize + second.len()].copy_from_slice(&second);
    assert_same(&read(disk, 0, 256 * KIB), &expected, "overlap");
}

/// Unmapped ranges read as zeros, small and large ones.
pub fn unmap_whole_reads_as_zeros(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    write(disk, 0, &pattern(1, 10 * MIB as usize));
    disk.unmap(0, 10 * MIB).expect("unmap");
    assert_zeros(&read(disk, 0, 10 * MIB), "unmapped");
    disk.unmap(0, SIZE).expect("unmap of what is not there");
}

/// An unmap leaves the blocks around it alone, wherever it starts and ends.
pub fn unmap_partial_leaves_the_rest(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    let block = block_bytes(disk);
    let area = 10 * MIB;
    let mut expected = pattern(3, area as usize);
    write(disk, 0, &expected);
    for (start, length) in [
        (block, block),
        (4 * KIB, 4 * KIB),
        (60 * KIB + block, 8 * KIB),
        (8 * MIB - 3 * block, 6 * block),
        (MIB + block, 3 * MIB),
    ] {
        let (start, length) = (start - start % block, length.next_multiple_of(block));
        disk.unmap(start, length).expect("unmap");
        expected[start as usize..(start + length) as usize].fill(0);
        assert_same(&read(disk, 0, area), &expected, "after unmap");
    }
}

/// A small write into an unmapped range does not bring old neighbours back.
pub fn unmap_then_write_shows_no_old_data(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    let block = block_bytes(disk);
    write(disk, 0, &pattern(4, 256 * KIB as usize));
    disk.flush().expect("flush");
    disk.unmap(0, 256 * KIB).expect("unmap");
    let data = pattern(5, block as usize);
    write(disk, 64 * KIB + 8 * KIB, &data);
    let mut expected = vec![0; 256 * KIB as usize];
    let at = (72 * KIB) as usize;
    expected[at..at + data.len()].copy_from_slice(&data);
    assert_same(&read(disk, 0, 256 * KIB), &expected, "after the write");
}

/// A flush succeeds, with and without anything to do, and changes nothing that can be read.
pub fn flush_keeps_contents(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    disk.flush().expect("flush of nothing");
    let data = pattern(6, MIB as usize);
    write(disk, 8 * MIB - 512 * KIB, &data);
    disk.flush().expect("flush");
    disk.flush().expect("flush again");
    assert_same(&read(disk, 8 * MIB - 512 * KIB, MIB), &data, "flushed");
}

/// Writers of different blocks do not disturb each other, also within the same 4 KiB and 64 KiB.
pub fn concurrent_disjoint_writers_all_land(make: &dyn Fn(u64) -> Subject) {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 48;
    let subject = make(SIZE);
    let disk = &subject.disk;
    let block = block_bytes(disk);
    // Blocks dealt out one by one, across the leaf border.
    let start = 8 * MIB - WRITERS * ROUNDS / 2 * block;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let disk = disk.clone();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let number = round * WRITERS + writer;
                    let data = pattern(number, block as usize);
                    write(&disk, start + number * block, &data);
                    if round == ROUNDS / 2 {
                        disk.flush().expect("flush");
                    }
                }
            });
        }
    });
    for number in 0..WRITERS * ROUNDS {
        let found = read(disk, start + number * block, block);
        assert_same(&found, &pattern(number, block as usize), "a writer's block");
    }
}

/// Ranges outside the device are refused, however large the numbers.
pub fn outside_range_is_refused(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    let block = block_bytes(disk);
    let mut buf = vec![0; 2 * block as usize];
    let top = u64::MAX - u64::MAX % block;
    for offset in [SIZE - block, SIZE, top - block, top, 1 << 62] {
        let kinds = [
            disk.read(offset, &mut buf).map_err(|error| error.kind()),
            disk.write(offset, &buf).map_err(|error| error.kind()),
            disk.unmap(offset, 2 * block).map_err(|error| error.kind()),
        ];
        assert_eq!(kinds, [Err(ErrorKind::OutOfRange); 3], "offset {offset}");
    }
    let whole = disk.unmap(block, top).map_err(|error| error.kind());
    assert_eq!(whole, Err(ErrorKind::OutOfRange));
}

/// Offsets and lengths that are not whole blocks are refused.
pub fn misaligned_is_refused(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    let block = block_bytes(disk);
    let mut buf = vec![0; block as usize];
    let at_one = disk.read(1, &mut buf).map_err(|error| error.kind());
    assert_eq!(at_one, Err(ErrorKind::Misaligned));
    let short = disk.write(0, &buf[1..]).map_err(|error| error.kind());
    assert_eq!(short, Err(ErrorKind::Misaligned));
    let odd = disk.unmap(block, block + 1).map_err(|error| error.kind());
    assert_eq!(odd, Err(ErrorKind::Misaligned));
}

/// Empty ranges succeed, also at the very end.
pub fn empty_range_is_nothing_to_do(make: &dyn Fn(u64) -> Subject) {
    let subject = make(SIZE);
    let disk = &subject.disk;
    disk.read(SIZE, &mut []).expect("read");
    disk.write(SIZE, &[]).expect("write");
    disk.unmap(0, 0).expect("unmap");
}

/// Random writes, unmaps and flushes read as a plain array of bytes would.
pub fn random_operations_match_a_model(make: &dyn Fn(u64) -> Subject) {
    const AREA: u64 = 512 * KIB;
    for seed in 1..=3 {
        let subject = make(SIZE);
        let disk = &subject.disk;
        let block = block_bytes(disk);
        // Around a leaf border, where most layers meet.
        let start = 8 * MIB - AREA / 2;
        let mut model = vec![0; AREA as usize];
        let mut random = Random(seed);
        for step in 0..300 {
            let blocks = AREA / block;
            let first = random.below(blocks);
            let longest = if random.below(4) == 0 { 300 } else { 12 };
            let count = 1 + random.below(longest.min(blocks - first));
            let range = (first * block) as usize..((first + count) * block) as usize;
            match random.below(8) {
                0..4 => {
                    let data = pattern(random.next(), range.len());
                    write(disk, start + first * block, &data);
                    model[range].copy_from_slice(&data);
                }
                4..6 => {
                    disk.unmap(start + first * block, count * block)
                        .expect("unmap");
                    model[range].fill(0);
                }
                6 => disk.flush().expect("flush"),
                _ => {
                    let found = read(disk, start + first * block, count * block);
                    let what = format!("seed {seed}, step {step}");
                    assert_same(&found, &model[range], &what);
                }
            }
        }
        assert_same(&read(disk, start, AREA), &model, &format!("seed {seed}"));
    }
}

#[cfg(test)]
mod ram_512 {
    use super::Subject;
    use crate::ram::RamDisk;
    crate::conformance_suite!(|size| Subject::new(RamDisk::new(size)));
}

#[cfg(test)]
mod ram_4096 {
    use super::Subject;
    use crate::ram::RamDisk;
    crate::conformance_suite!(|size| Subject::new(RamDisk::with_block_bytes(size, 4096)));
}

#[cfg(test)]
mod fault_without_rules {
    use super::Subject;
    use crate::fault::FaultDisk;
    use crate::ram::RamDisk;
    crate::conformance_suite!(|size| Subject::new(FaultDisk::new(RamDisk::new(size))));
}
