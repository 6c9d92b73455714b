// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several writers, captures, deletes, resyncs and flushes at the same time, against a recorded model; closed and
//! opened in between.
//!
//! Each writer owns its blocks of every source LUN and writes rising numbers into them, one after the other, so that
//! what a copy may hold is known from two clocks: a write acknowledged before the capture was asked for has to be in
//! the copy, one issued after it returned must not be, and within a writer the copy holds a prefix of what it wrote.
use super::{KIB, MIB, create, disk, fill, pair, read, sound, store};
use crate::{Resync, Store};
use block::Disk;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SIZE: u64 = 24 * MIB;
const SOURCES: [u128; 2] = [1, 2];
const WRITERS: u64 = 4;
/// Blocks per writer and LUN; neighbours in a part belong to different writers.
const BLOCKS: u64 = 96;
/// Around the border of two leaves.
const START: u64 = 8 * MIB - 96 * KIB;

/// xorshift64: the order of things differs from run to run anyway, the choices need not.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn offset_of(writer: u64, block: u64) -> u64 {
    START + (block * WRITERS + writer) * 512
}

/// What writer `writer` has issued and got acknowledged; both only grow.
#[derive(Default)]
struct Clock {
    issued: AtomicU64,
    acknowledged: AtomicU64,
}

/// Everything one writer did, by number: (LUN, block, what it holds now, 0 for unmapped).
type Journal = Vec<(u128, u64, u64)>;

fn block_of(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(64)
}

/// Writes numbers until told to stop; number `n` is at place `n - 1` of the journal.
fn writer(store: &Store, me: u64, clock: &Clock, stop: &AtomicBool, journal: &mut Journal) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (me + 1) << 20 ^ journal.len() as u64);
    let luns: BTreeMap<u128, Disk> = SOURCES.map(|id| (id, disk(store, id))).into();
    while !stop.load(Ordering::Relaxed) {
        let number = journal.len() as u64 + 1;
        let id = SOURCES[random.below(2) as usize];
        let block = random.below(BLOCKS);
        let unmap = random.below(8) == 0;
        journal.push((id, block, if unmap { 0 } else { number }));
        clock.issued.store(number, Ordering::SeqCst);
        let offset = offset_of(me, block);
        match unmap {
            true => luns[&id].unmap(offset, 512).unwrap(),
            false => luns[&id].write(offset, &block_of(number)).unwrap(),
        }
        clock.acknowledged.store(number, Ordering::SeqCst);
        if random.below(16) == 0 {
            luns[&id].flush().unwrap();
        }
    }
}

/// What a writer's blocks of `id` hold after its first `count` writes.
fn state(journal: &Journal, id: u128, count: u64) -> Vec<u64> {
    let mut blocks = vec![0; BLOCKS as usize];
    for (lun, block, value) in &journal[..count as usize] {
        if *lun == id {
            blocks[*block as usize] = *value;
        }
    }
    blocks
}

fn blocks(disk: &Disk, writer: u64) -> Vec<u64> {
    let all = read(disk, START, BLOCKS * WRITERS * 512);
    let mine = all.chunks(512).skip(writer as usize);
    mine.step_by(WRITERS as usize)
        .map(|block| {
            let number = u64::from_le_bytes(block[..8].try_into().unwrap());
            assert_eq!(block, block_of(number), "a torn block");
            number
        })
        .collect()
}

/// A set of copies and the clocks around its capture.
struct Copies {
    /// Copy of each of [`SOURCES`].
    ids: [u128; 2],
    at_least: Vec<u64>,
    at_most: Vec<u64>,
}

impl Copies {
    /// One instant for each writer across both LUNs, within its clocks.
    fn verify(&self, store: &Store, journals: &[Journal]) {
        let disks = self.ids.map(|id| disk(store, id));
        for (writer, journal) in journals.iter().enumerate() {
            let found = [0, 1].map(|which| blocks(&disks[which], writer as u64));
            let range = self.at_least[writer]..=self.at_most[writer];
            let fits = |count: &u64| {
                (0..2).all(|which| state(journal, SOURCES[which], *count) == found[which])
            };
            assert!(
                range.clone().any(|count| fits(&count)),
                "writer {writer}, copies {:?}: no instant of {range:?} fits",
                self.ids
            );
        }
    }
}

fn clocks(clocks: &[Clock], which: impl Fn(&Clock) -> &AtomicU64) -> Vec<u64> {
    clocks
        .iter()
        .map(|clock| which(clock).load(Ordering::SeqCst))
        .collect()
}

/// Captures, scribbles on copies of copies, deletes, until `until`.
fn manage(
    store: &Store,
    writers: &[Clock],
    kept: &mut Vec<Copies>,
    next: &mut u128,
    until: Instant,
) {
    let mut random = Random(*next as u64 + 77);
    while Instant::now() < until {
        let ids = [*next, *next + 1];
        *next += 2;
        for id in ids {
            store.create_lun(id, SIZE, b"").unwrap();
        }
        let at_least = clocks(writers, |clock| &clock.acknowledged);
        store.capture(&[pair(1, ids[0]), pair(2, ids[1])]).unwrap();
        let at_most = clocks(writers, |clock| &clock.issued);
        kept.push(Copies {
            ids,
            at_least,
            at_most,
        });
        if random.below(2) == 0 {
            scribble(store, kept, next, &mut random);
        }
        while kept.len() > 3 {
            let gone = kept.remove(random.below(kept.len() as u64) as usize);
            for id in gone.ids {
                store.delete_lun(id).unwrap();
            }
        }
    }
}

/// A copy of a copy is written all over, overwritten with its origin again or not, and deleted: nobody else may see.
fn scribble(store: &Store, kept: &[Copies], next: &mut u128, random: &mut Random) {
    let copy = kept[random.below(kept.len() as u64) as usize].ids[random.below(2) as usize];
    let target = *next;
    *next += 1;
    super::snapshot(store, copy, target);
    let lun = disk(store, target);
    super::fill(&lun, START, BLOCKS * WRITERS * 512, 0xdb);
    if random.below(2) == 0 {
        lun.flush().unwrap();
    }
    if random.below(2) == 0 {
        store.resync(&[Resync { copy, target }], &[]).unwrap();
        let length = BLOCKS * WRITERS * 512;
        assert!(read(&lun, START, length) == read(&disk(store, copy), START, length));
    }
    store.delete_lun(target).unwrap();
}

fn run_for(rounds: u32, round: Duration) {
    let dir = tempfile::tempdir().unwrap();
    // Small, so that chunks are soon used again; enough for the sources and four sets of copies.
    let mut store = create(dir.path(), 8 * MIB);
    for id in SOURCES {
        store.create_lun(id, SIZE, b"").unwrap();
    }
    let mut journals: Vec<Journal> = vec![Vec::new(); WRITERS as usize];
    let writers: Vec<Clock> = (0..WRITERS).map(|_| Clock::default()).collect();
    let mut kept = Vec::new();
    let mut next = 10;
    for _ in 0..rounds {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (me, journal) in journals.iter_mut().enumerate() {
                let (store, stop, clock) = (&store, &stop, &writers[me]);
                scope.spawn(move || writer(store, me as u64, clock, stop, journal));
            }
            // Also when an assertion in here fails: the scope waits for the writers.
            let managed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                manage(
                    &store,
                    &writers,
                    &mut kept,
                    &mut next,
                    Instant::now() + round,
                );
            }));
            stop.store(true, Ordering::Relaxed);
            managed.unwrap();
        });
        for reopened in [false, true] {
            if reopened {
                store.close().unwrap();
                sound(dir.path());
                store = Store::open(dir.path()).unwrap();
            }
            for copies in &kept {
                copies.verify(&store, &journals);
            }
            for (me, journal) in journals.iter().enumerate() {
                for id in SOURCES {
                    let expected = state(journal, id, journal.len() as u64);
                    assert_eq!(blocks(&disk(&store, id), me as u64), expected, "LUN {id}");
                }
            }
        }
    }
    for id in kept.iter().flat_map(|copies| copies.ids).chain(SOURCES) {
        store.delete_lun(id).unwrap();
    }
    store.wait_reclaimed().unwrap();
    let usage = store.usage();
    assert_eq!(
        usage.free_bytes, usage.capacity_bytes,
        "nothing is left over"
    );
}

#[test]
fn concurrent_writers_captures_and_deletes_match_the_record() {
    run_for(3, Duration::from_millis(700));
}

/// The same for minutes: `cargo test --release -p lun_store -- --ignored concurrent`.
#[test]
#[ignore = "takes two minutes"]
fn concurrent_writers_captures_and_deletes_match_the_record_for_long() {
    run_for(60, Duration::from_secs(2));
}

#[test]
fn write_back_of_a_busy_store_ends_in_its_time_and_goes_on() {
    let (_dir, store) = store(64);
    store.create_lun(1, 64 * MIB, b"").unwrap();
    fill(&disk(&store, 1), 0, MIB, 1);
    let (enter, entered) = std::sync::mpsc::channel();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            store.inner().queue.run(move |_| {
                enter.send(()).unwrap();
                // Ends when the other side goes, a failed test's too.
                let _ = gate.recv();
                Ok(())
            })
        });
        entered.recv().unwrap();
        let soon = Duration::from_millis(10);
        assert!(!store.write_back(&[1], soon).unwrap());
        drop(open);
        busy.join().unwrap().unwrap();
    });
    // The one that nobody waited for and this one are one flush, or the first has done it all.
    let long = Duration::from_secs(60);
    assert!(store.write_back(&[1], long).unwrap());
    assert!(store.inner().lun(1).unwrap().is_flushed());
}
