// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::description::disks;
use crate::initiator::{Initiator, Portal};
use anyhow::anyhow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Writers; each has an iSCSI session and one write in flight.
pub(super) const WRITERS: usize = 4;
/// Size of each write.
pub(super) const WRITE_BYTES: usize = 4096;
/// Writes of one writer in a second, at most: the machine's own limit would measure the machine.
pub(super) const WRITES_PER_SECOND: u64 = 250;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Writers on the LUNs of a set, until they are stopped.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    writers: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Load {
    /// Writes to the first `count` disks of the portal at places that are spread over their `lun_bytes`.
    pub(super) fn start(portal: &Portal, count: usize, lun_bytes: u64) -> anyhow::Result<Self> {
        let mut load = Self {
            stop: Arc::default(),
            writes: Arc::default(),
            writers: Vec::new(),
        };
        for number in 0..WRITERS {
            let mut session = Initiator::connect(portal, TIMEOUT)?;
            let mut luns: Vec<u8> = disks(&mut session)?.iter().map(|disk| disk.lun).collect();
            luns.truncate(count);
            let (stop, writes) = (Arc::clone(&load.stop), Arc::clone(&load.writes));
            load.writers.push(std::thread::spawn(move || {
                let data = vec![0xA5; WRITE_BYTES];
                let places = lun_bytes / WRITE_BYTES as u64;
                let mut at = number as u64;
                while !stop.load(Ordering::Relaxed) {
                    // A step that has no factor in common with the number of places visits them all.
                    at = at.wrapping_add(7_919);
                    let lun = luns[usize::try_from(at).unwrap_or_default() % luns.len()];
                    session.write(lun, at % places * WRITE_BYTES as u64, &data)?;
                    writes.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(1_000_000 / WRITES_PER_SECOND));
                }
                Ok(())
            }));
        }
        Ok(load)
    }

    /// Writes that were acknowledged so far.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Ends the writers; an error of theirs is the bench's.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in std::mem::take(&mut self.writers) {
            writer.join().map_err(|_| anyhow!("a writer panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
