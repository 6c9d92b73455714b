// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random operations on a store and on a model of plain arrays.
use super::{KIB, MIB, create, disk, pair, read, sound};
use crate::{Resync, Store};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// LUNs are large; the model watches two windows, at a leaf border and at the very end.
const SIZE: u64 = 40 * MIB + 3 * 512;
const WINDOW: u64 = 256 * KIB;
const WINDOWS: [u64; 2] = [8 * MIB - WINDOW / 2, SIZE - WINDOW];

#[derive(Clone, Debug)]
enum Op {
    Write {
        lun: usize,
        at: u64,
        blocks: u64,
        value: u8,
    },
    Unmap {
        lun: usize,
        at: u64,
        blocks: u64,
    },
    Flush {
        lun: usize,
    },
    Capture {
        sources: Vec<usize>,
    },
    Resync {
        copy: usize,
        target: usize,
    },
    Delete {
        lun: usize,
    },
    Settle,
    Reopen,
}

fn operation() -> impl Strategy<Value = Op> {
    let at = 0..2 * WINDOW / 512;
    let blocks = prop_oneof![3 => 1..20_u64, 1 => 1..400_u64];
    prop_oneof![
        12 => (0..8_usize, at.clone(), blocks.clone(), 1..=255_u8)
            .prop_map(|(lun, at, blocks, value)| Op::Write { lun, at, blocks, value }),
        4 => (0..8_usize, at, blocks).prop_map(|(lun, at, blocks)| Op::Unmap { lun, at, blocks }),
        2 => (0..8_usize).prop_map(|lun| Op::Flush { lun }),
        4 => prop::collection::vec(0..8_usize, 1..3).prop_map(|sources| Op::Capture { sources }),
        1 => (0..8_usize, 0..8_usize).prop_map(|(copy, target)| Op::Resync { copy, target }),
        3 => (0..8_usize).prop_map(|lun| Op::Delete { lun }),
        1 => Just(Op::Settle),
        1 => Just(Op::Reopen),
    ]
}

type Model = BTreeMap<u128, Vec<u8>>;

/// The LUN that an operation means: there are always some, and their number varies.
fn pick(model: &Model, index: usize) -> u128 {
    let place = index % model.len();
    *model.keys().nth(place).expect("within the length")
}

/// Where a block of the windows lies on the LUN, and how many fit before the window ends.
fn place(at: u64, blocks: u64) -> (u64, std::ops::Range<usize>) {
    let byte = at * 512;
    let (window, within) = (byte / WINDOW, byte % WINDOW);
    let length = (blocks * 512).min(WINDOW - within);
    let offset = WINDOWS[window as usize] + within;
    (offset, byte as usize..(byte + length) as usize)
}

struct Run {
    dir: tempfile::TempDir,
    store: Option<Store>,
    model: Model,
    next: u128,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = create(dir.path(), 64 * MIB);
        let mut model = Model::new();
        for id in 1..=2 {
            store.create_lun(id, SIZE, b"").unwrap();
            model.insert(id, vec![0; 2 * WINDOW as usize]);
        }
        Self {
            dir,
            store: Some(store),
            model,
            next: 3,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open between operations")
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Write {
                lun,
                at,
                blocks,
                value,
            } => {
                let id = pick(&self.model, lun);
                let (offset, range) = place(at, blocks);
                let data = vec![value; range.len()];
                disk(self.store(), id).write(offset, &data).unwrap();
                self.model.get_mut(&id).unwrap()[range].fill(value);
            }
            Op::Unmap { lun, at, blocks } => {
                let id = pick(&self.model, lun);
                let (offset, range) = place(at, blocks);
                let length = range.len() as u64;
                disk(self.store(), id).unmap(offset, length).unwrap();
                self.model.get_mut(&id).unwrap()[range].fill(0);
            }
            Op::Flush { lun } => {
                let id = pick(&self.model, lun);
                disk(self.store(), id).flush().unwrap();
            }
            Op::Capture { sources } => self.capture(&sources),
            Op::Resync { copy, target } => {
                let (copy, target) = (pick(&self.model, copy), pick(&self.model, target));
                if copy != target {
                    let pairs = [Resync { copy, target }];
                    self.store().resync(&pairs, &[]).unwrap();
                    let contents = self.model[&copy].clone();
                    self.model.insert(target, contents);
                }
            }
            Op::Delete { lun } => {
                if self.model.len() > 1 {
                    let id = pick(&self.model, lun);
                    self.store().delete_lun(id).unwrap();
                    self.model.remove(&id);
                }
            }
            Op::Settle => self.store().wait_reclaimed().unwrap(),
            Op::Reopen => {
                self.store.take().expect("open").close().unwrap();
                sound(self.dir.path());
                self.store = Some(Store::open(self.dir.path()).unwrap());
            }
        }
    }

    fn capture(&mut self, sources: &[usize]) {
        if self.model.len() >= 8 {
            return;
        }
        let mut captures = Vec::new();
        let mut contents = Vec::new();
        for &source in sources {
            let source = pick(&self.model, source);
            self.store().create_lun(self.next, SIZE, b"").unwrap();
            captures.push(pair(source, self.next));
            contents.push((self.next, self.model[&source].clone()));
            self.next += 1;
        }
        self.store().capture(&captures).unwrap();
        self.model.extend(contents);
    }

    fn check(&self) {
        for (id, expected) in &self.model {
            let lun = disk(self.store(), *id);
            let mut found = read(&lun, WINDOWS[0], WINDOW);
            found.extend(read(&lun, WINDOWS[1], WINDOW));
            let other = found.iter().zip(expected).position(|(a, b)| a != b);
            assert_eq!(other, None, "LUN {id}: first byte that differs");
        }
    }

    /// After deleting everything nothing is left: no chunk was forgotten or freed twice.
    fn finish(mut self) {
        self.check();
        self.apply(Op::Reopen);
        self.check();
        for id in self.model.keys() {
            self.store().delete_lun(*id).unwrap();
        }
        self.store().wait_reclaimed().unwrap();
        let usage = self.store().usage();
        assert_eq!(usage.free_bytes, usage.capacity_bytes);
        self.store.take().expect("open").close().unwrap();
        let report = crate::check(self.dir.path()).unwrap();
        assert_eq!(report, crate::CheckReport::default(), "rows are left");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_operations_match_the_model(
        operations in prop::collection::vec(operation(), 1..60)
    ) {
        let mut run = Run::new();
        for (step, operation) in operations.into_iter().enumerate() {
            run.apply(operation);
            if step % 8 == 7 {
                run.check();
            }
        }
        run.finish();
    }
}
