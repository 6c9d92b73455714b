// SPDX-License-Identifier: MIT OR Apache-2.0
//! `kill -9` of a process that writes, flushes, captures and deletes. The test binary starts itself as that process.
//!
//! This shows that the order of writes and the recovery are right as far as a process can lose them; the page cache
//! survives. Losing that too needs a block device that forgets, and is for the deep crash tests.
use super::{KIB, MIB, disk, read, sound};
use crate::{Capture, CreateOptions, Store, StoreError};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const DIR_VARIABLE: &str = "LUN_STORE_KILL_TEST_DIR";
const BLOCKS: u64 = 64;
/// Far apart, so that several leaves and transactions are involved.
const STRIDE: u64 = 5 * MIB + 4 * KIB;
const SIZE: u64 = 512 * MIB;

fn block_of(number: u64) -> Vec<u8> {
    let mut block = number.to_le_bytes().repeat(512);
    block.truncate(4096);
    block
}

fn number_of(block: &[u8]) -> u64 {
    let number = u64::from_le_bytes(block[..8].try_into().unwrap());
    assert_eq!(block, block_of(number), "a block of mixed content");
    number
}

/// The process that gets killed: rounds of writes, each told when it is flushed or captured.
#[test]
fn killed_process() {
    let Ok(dir) = std::env::var(DIR_VARIABLE) else {
        return;
    };
    let store = Store::open(Path::new(&dir)).unwrap();
    let lun = disk(&store, 1);
    let mut tell = std::io::stderr().lock();
    for round in 1..u64::MAX {
        for block in 0..BLOCKS {
            lun.write(block * STRIDE, &block_of(round)).unwrap();
        }
        lun.flush().unwrap();
        writeln!(tell, "flushed {round}").unwrap();
        let target = u128::from(100 + round);
        store.create_lun(target, SIZE, b"reserved").unwrap();
        // Not flushed: only the capture makes this last.
        lun.write(0, &block_of(round + 1_000_000)).unwrap();
        let owner = round.to_le_bytes().to_vec();
        let source = 1;
        let capture = Capture {
            source,
            target,
            owner,
        };
        store.capture(&[capture]).unwrap();
        writeln!(tell, "captured {round}").unwrap();
        if round > 3 {
            store.delete_lun(target - 3).unwrap();
        }
    }
}

/// Runs the process until it has told `lines` lines, kills it, and returns (flushed, captured).
fn run_and_kill(dir: &Path, lines: usize) -> (u64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["tests::kill::killed_process", "--exact", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut flushed, mut captured) = (0, 0);
    let mut take = |line: String| {
        let mut words = line.split(' ');
        match (words.next(), words.next().and_then(|n| n.parse().ok())) {
            (Some("flushed"), Some(round)) => flushed = round,
            (Some("captured"), Some(round)) => captured = round,
            other => panic!("the process said {other:?}: {line}"),
        }
    };
    for _ in 0..lines {
        take(told.next().expect("the process lives").unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    told.for_each(|line| take(line.unwrap()));
    (flushed, captured)
}

#[test]
fn kill_loses_nothing_flushed_and_mixes_nothing() {
    for lines in [1, 2, 7, 12] {
        let dir = tempfile::tempdir().unwrap();
        let options = CreateOptions {
            capacity_bytes: 64 * MIB,
            data_device: None,
        };
        let store = Store::create(dir.path(), &options).unwrap();
        store.create_lun(1, SIZE, b"").unwrap();
        store.close().unwrap();
        let (flushed, captured) = run_and_kill(dir.path(), lines);

        match crate::check(dir.path()) {
            Ok(report) => assert!(report.problems.is_empty(), "{:?}", report.problems),
            Err(error) => assert!(matches!(error, StoreError::NeedsRecovery(_)), "{error}"),
        }
        let store = Store::open(dir.path()).unwrap();
        let lun = disk(&store, 1);
        for block in 0..BLOCKS {
            let number = number_of(&read(&lun, block * STRIDE, 4096)) % 1_000_000;
            let range = flushed..=flushed + 1;
            assert!(
                range.contains(&number),
                "block {block}: {number}, {range:?}"
            );
        }
        check_copies(&store, captured);
        store.wait_reclaimed().unwrap();
        store.close().unwrap();
        sound(dir.path());
    }
}

/// Every copy is whole: its owner record and all its blocks are of one round.
fn check_copies(store: &Store, captured: u64) {
    let mut newest = 0;
    for copy in store.luns().iter().filter(|lun| lun.id > 100) {
        let round = (copy.id - 100) as u64;
        if copy.owner == b"reserved" {
            assert!(round > captured, "a capture that was reported is gone");
            continue;
        }
        assert_eq!(copy.owner, round.to_le_bytes());
        newest = newest.max(round);
        let device = disk(store, copy.id);
        assert_eq!(number_of(&read(&device, 0, 4096)), round + 1_000_000);
        for block in 1..BLOCKS {
            assert_eq!(number_of(&read(&device, block * STRIDE, 4096)), round);
        }
    }
    assert!(newest >= captured);
}
