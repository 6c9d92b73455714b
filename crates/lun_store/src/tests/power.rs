// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power loss: what was written to `data` since its last sync is there or not, page by page, at random. What was
//! flushed must be there, what was not must be old or new, and nothing of another LUN may show.
//!
//! The metadata is the real file as of the crash: redb's own crash tests cover its transactions. What these tests show
//! is the order between data, rows and the reuse of chunks.
use super::{MIB, create, disk, pair, read};
use crate::{Resync, Store};
use std::collections::BTreeMap;
use std::path::Path;

const SIZE: u64 = 16 * MIB;
/// Small, so that chunks are soon used again.
const CAPACITY: u64 = 4 * MIB;
/// Watched blocks: around the leaf border.
const BLOCKS: u64 = 512;
const START: u64 = 8 * MIB - BLOCKS / 2 * 512;

/// Per block: what it may hold after a crash. The last one is what it holds without.
type History = Vec<Vec<u64>>;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A block that tells who wrote it when; 0 is zeros.
fn block_of(tag: u64) -> Vec<u8> {
    tag.to_le_bytes().repeat(64)
}

struct Run {
    store: Store,
    luns: BTreeMap<u128, History>,
    random: Random,
    next_tag: u64,
    next_lun: u128,
}

impl Run {
    fn pick(&mut self) -> u128 {
        let place = self.random.below(self.luns.len() as u64) as usize;
        *self.luns.keys().nth(place).expect("within the length")
    }

    fn range(&mut self) -> std::ops::Range<u64> {
        let first = self.random.below(BLOCKS);
        let longest = if self.random.below(3) == 0 { 200 } else { 9 };
        first..(first + 1 + self.random.below(longest)).min(BLOCKS)
    }

    fn settle(&mut self, id: u128) {
        for block in self.luns.get_mut(&id).expect("known") {
            block.drain(..block.len() - 1);
        }
    }

    fn step(&mut self) {
        let id = self.pick();
        let lun = disk(&self.store, id);
        match self.random.below(20) {
            0..11 => {
                let range = self.range();
                let tag = self.next_tag;
                self.next_tag += 1;
                let data = block_of(tag).repeat((range.end - range.start) as usize);
                lun.write(START + range.start * 512, &data).unwrap();
                self.note(id, range, tag);
            }
            11..14 => {
                let range = self.range();
                let length = (range.end - range.start) * 512;
                lun.unmap(START + range.start * 512, length).unwrap();
                self.note(id, range, 0);
            }
            14..16 => {
                lun.flush().unwrap();
                self.settle(id);
            }
            16 | 17 if self.luns.len() < 5 => {
                let target = self.next_lun;
                self.next_lun += 1;
                self.store.create_lun(target, SIZE, b"").unwrap();
                self.store.capture(&[pair(id, target)]).unwrap();
                self.settle(id);
                self.luns.insert(target, self.luns[&id].clone());
            }
            18 if self.luns.len() > 2 => {
                self.store.delete_lun(id).unwrap();
                self.luns.remove(&id);
            }
            19 => {
                let target = self.pick();
                if target != id {
                    let pairs = [Resync { copy: id, target }];
                    self.store.resync(&pairs, &[]).unwrap();
                    self.settle(id);
                    self.luns.insert(target, self.luns[&id].clone());
                }
            }
            _ => self.store.wait_reclaimed().unwrap(),
        }
    }

    fn note(&mut self, id: u128, range: std::ops::Range<u64>, tag: u64) {
        let history = self.luns.get_mut(&id).expect("known");
        for block in &mut history[range.start as usize..range.end as usize] {
            block.push(tag);
        }
    }

    /// Puts a directory together as a power loss now would leave it.
    fn crash(&mut self, dir: &Path, crashed: &Path) {
        // The committer has nothing to do from here on, so that the copy is of one moment.
        self.store.wait_reclaimed().unwrap();
        let durable = self.store.inner().data.faults.durable.lock().unwrap();
        let durable = durable.as_ref().expect("images are kept");
        let mut image = std::fs::read(dir.join("data")).unwrap();
        for (page, old) in image.chunks_mut(4096).zip(durable.chunks(4096)) {
            if self.random.below(2) == 0 {
                page.copy_from_slice(old);
            }
        }
        std::fs::write(crashed.join("data"), image).unwrap();
        std::fs::copy(dir.join("meta.redb"), crashed.join("meta.redb")).unwrap();
    }
}

fn check(seed: u64, crashed: &Path, luns: &BTreeMap<u128, History>) {
    let store = Store::open(crashed).unwrap();
    for (id, history) in luns {
        let found = read(&disk(&store, *id), START, BLOCKS * 512);
        for (number, (block, allowed)) in found.chunks(512).zip(history).enumerate() {
            let tag = u64::from_le_bytes(block[..8].try_into().unwrap());
            assert_eq!(block, block_of(tag), "seed {seed}: a torn block");
            assert!(
                allowed.contains(&tag),
                "seed {seed}, LUN {id}, block {number}: {tag} is none of {allowed:?}"
            );
        }
    }
}

#[test]
fn power_loss_keeps_the_flushed_and_shows_nothing_foreign() {
    for seed in 1..=12 {
        let dir = tempfile::tempdir().unwrap();
        let store = create(dir.path(), CAPACITY);
        *store.inner().data.faults.durable.lock().unwrap() = Some(Vec::new());
        let mut luns = BTreeMap::new();
        for id in 1..=2 {
            store.create_lun(id, SIZE, b"").unwrap();
            disk(&store, id).write(0, &[1; 512]).unwrap();
            disk(&store, id).flush().unwrap();
            luns.insert(id, vec![vec![0]; BLOCKS as usize]);
        }
        let mut run = Run {
            store,
            luns,
            random: Random(seed << 32 | 0x7f4a_7c15),
            next_tag: 1,
            next_lun: 3,
        };
        for step in 1..=160 {
            run.step();
            if step % 20 == 0 {
                let crashed = tempfile::tempdir().unwrap();
                run.crash(dir.path(), crashed.path());
                check(seed, crashed.path(), &run.luns);
                super::sound(crashed.path());
            }
        }
    }
}
