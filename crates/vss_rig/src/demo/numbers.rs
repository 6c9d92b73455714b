// SPDX-License-Identifier: MIT OR Apache-2.0
//! The writer that is never held: numbered records, alternately to two LUNs.
//!
//! Record n goes to LUN n mod 2, and is issued only after record n-1 was acknowledged. So at each instant the records on
//! both LUNs together are a prefix 1..N of the sequence (record N may be on its way). Two copies taken at one instant show
//! exactly such a prefix; copies taken at two instants cannot, as soon as one record was acknowledged in between.

use crate::initiator::{Initiator, InitiatorError, Portal};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Size of a record.
pub(crate) const RECORD_BYTES: usize = 4096;
/// Records that each LUN's range holds before the oldest is overwritten.
pub(crate) const SLOT_COUNT: u64 = 512;
/// Bytes of a range.
pub(crate) const RANGE_BYTES: usize = RECORD_BYTES * SLOT_COUNT as usize;
const MAGIC: &[u8; 8] = b"NUMBERED";
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the records of one LUN go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// LUN number in the session.
    pub(crate) lun: u8,
    /// First byte of the range.
    pub(crate) offset: u64,
}

/// The two ranges; odd numbers go to the second.
pub(crate) type Ranges = [Range; 2];

/// What a slot of a range holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Zeros: never written.
    Empty,
    /// A whole record with this number.
    Record(u64),
    /// Anything else.
    Corrupt,
}

/// The running writer.
pub(crate) struct NumberWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    issued: AtomicU64,
    acknowledged: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl NumberWriter {
    /// Logs in twice and starts to write. `run` marks the records of this run.
    pub(crate) fn start(portal: &Portal, ranges: Ranges, run: u64) -> Result<Self, InitiatorError> {
        let sessions = [
            Initiator::connect(portal, COMMAND_TIMEOUT)?,
            Initiator::connect(portal, COMMAND_TIMEOUT)?,
        ];
        let shared = Arc::<Shared>::default();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                if let Err(error) = write_all(&shared, sessions, ranges, run) {
                    *shared.failure.lock().expect("nothing panics under it") =
                        Some(error.to_string());
                }
            }
        });
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The last number that was acknowledged; 0 for none.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// The last number that was issued.
    pub(crate) fn issued(&self) -> u64 {
        self.shared.issued.load(Ordering::SeqCst)
    }

    /// Why the writer ended by itself, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared
            .failure
            .lock()
            .expect("nothing panics under it")
            .clone()
    }

    /// Ends the writer after the record under way.
    pub(crate) fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for NumberWriter {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write_all(
    shared: &Shared,
    mut sessions: [Initiator; 2],
    ranges: Ranges,
    run: u64,
) -> Result<(), InitiatorError> {
    let mut number = 1u64;
    while !shared.stop.load(Ordering::SeqCst) {
        let side = usize::from(!number.is_multiple_of(2));
        let range = ranges[side];
        shared.issued.store(number, Ordering::SeqCst);
        sessions[side].write(range.lun, offset_of(range, number), &record(number, run))?;
        shared.acknowledged.store(number, Ordering::SeqCst);
        number += 1;
    }
    Ok(())
}

fn slot_of(number: u64) -> u64 {
    (number / 2) % SLOT_COUNT
}

fn offset_of(range: Range, number: u64) -> u64 {
    range.offset + slot_of(number) * RECORD_BYTES as u64
}

/// A record: magic, number, run, filler drawn from both, CRC32C of all before.
fn record(number: u64, run: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&run.to_le_bytes());
    let mut filler = number ^ run.rotate_left(32);
    while bytes.len() < RECORD_BYTES - 4 {
        filler = filler.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) + 1;
        let room = (RECORD_BYTES - 4 - bytes.len()).min(8);
        bytes.extend_from_slice(&filler.to_le_bytes()[..room]);
    }
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Rewrites `range`, whose records are those with `number % 2 == side`, as it is after the records 1..=`last`: what a capture
/// at that moment would show.
pub(crate) fn write_slots_as_after(
    initiator: &mut Initiator,
    range: Range,
    side: u64,
    last: u64,
    run: u64,
) -> Result<(), InitiatorError> {
    let bytes = bytes_after_prefix(last, side, run);
    initiator.write(range.lun, range.offset, &bytes)
}

fn bytes_after_prefix(last: u64, side: u64, run: u64) -> Vec<u8> {
    (0..SLOT_COUNT)
        .flat_map(|slot| match after_prefix(last, side, slot) {
            Slot::Record(number) => record(number, run),
            _ => vec![0; RECORD_BYTES],
        })
        .collect()
}

fn parse(bytes: &[u8], run: u64) -> Slot {
    if bytes.iter().all(|&byte| byte == 0) {
        return Slot::Empty;
    }
    let number = bytes.get(8..16).and_then(|number| number.try_into().ok());
    match number.map(u64::from_le_bytes) {
        // The whole record is drawn from its number, so each byte is compared, not only the checksum.
        Some(number) if bytes == record(number, run) => Slot::Record(number),
        _ => Slot::Corrupt,
    }
}

/// Reads a whole range.
pub(crate) fn read_slots(
    initiator: &mut Initiator,
    range: Range,
    run: u64,
) -> Result<Vec<Slot>, InitiatorError> {
    let bytes = initiator.read(range.lun, range.offset, RANGE_BYTES)?;
    Ok(slots(&bytes, run))
}

fn slots(bytes: &[u8], run: u64) -> Vec<Slot> {
    bytes
        .chunks_exact(RECORD_BYTES)
        .map(|bytes| parse(bytes, run))
        .collect()
}

/// The largest number in a range; 0 for none.
pub(crate) fn newest(slots: &[Slot]) -> u64 {
    slots
        .iter()
        .map(|slot| match slot {
            Slot::Record(number) => *number,
            _ => 0,
        })
        .max()
        .unwrap_or(0)
}

/// The one N for which both ranges hold exactly what the records 1..=N leave behind.
///
/// # Errors
/// The first slot that contradicts it: then the two ranges do not show one instant.
pub(crate) fn one_instant(sides: [&[Slot]; 2]) -> Result<u64, String> {
    let last = newest(sides[0]).max(newest(sides[1]));
    for (side, slots) in sides.iter().enumerate() {
        if slots.len() as u64 != SLOT_COUNT {
            return Err(format!("LUN {} of 2 has {} slots", side + 1, slots.len()));
        }
        for (slot, found) in slots.iter().enumerate() {
            let expected = after_prefix(last, side as u64, slot as u64);
            if *found != expected {
                return Err(format!(
                    "with record {last} present, slot {slot} of LUN {} of 2 must hold {expected:?} but holds {found:?}",
                    side + 1
                ));
            }
        }
    }
    Ok(last)
}

/// What a slot holds after the records 1..=`last`: the newest record of its LUN and slot.
fn after_prefix(last: u64, side: u64, slot: u64) -> Slot {
    // The numbers of a side are 2k + side; the slot is k mod SLOT_COUNT.
    let Some(k_last) = last.checked_sub(side).map(|rest| rest / 2) else {
        return Slot::Empty;
    };
    let back = (k_last + SLOT_COUNT - slot) % SLOT_COUNT;
    match k_last.checked_sub(back).map(|k| 2 * k + side) {
        // Number 0 is never written: the sequence starts at 1.
        Some(number) if number > 0 => Slot::Record(number),
        _ => Slot::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 77;

    /// The two ranges after `counts[0]` records of the sequence reached the first LUN's copy and `counts[1]` the second's.
    fn copies(lasts: [u64; 2]) -> [Vec<Slot>; 2] {
        let mut sides = [
            vec![Slot::Empty; SLOT_COUNT as usize],
            vec![Slot::Empty; SLOT_COUNT as usize],
        ];
        for number in 1..=lasts[0].max(lasts[1]) {
            let side = (number % 2) as usize;
            if number <= lasts[side] {
                sides[side][slot_of(number) as usize] = Slot::Record(number);
            }
        }
        sides
    }

    fn judge(sides: &[Vec<Slot>; 2]) -> Result<u64, String> {
        one_instant([&sides[0], &sides[1]])
    }

    #[test]
    fn one_instant_prefix_of_any_length_holds() {
        for last in [0, 1, 2, 3, 511, 1023, 1024, 1025, 2049, 5000] {
            assert_eq!(judge(&copies([last, last])), Ok(last));
        }
    }

    #[test]
    fn one_instant_second_copy_later_is_caught() {
        // One record acknowledged on the second LUN is not enough to tell (it may have been under way); two more are.
        for late in [3, 4, 40, 5000] {
            assert!(judge(&copies([1000, 1000 + late])).is_err(), "{late}");
            assert!(judge(&copies([1000 + late, 1000])).is_err(), "{late}");
        }
    }

    #[test]
    fn one_instant_range_rewritten_as_it_is_later_is_caught_as_two_instants() {
        let [first, _] = copies([2000, 2000]);
        let as_after = |last| slots(&bytes_after_prefix(last, 1, RUN), RUN);

        assert_eq!(judge(&[first.clone(), as_after(2000)]), Ok(2000));
        assert!(judge(&[first, as_after(2300)]).is_err());
    }

    #[test]
    fn bytes_after_a_short_prefix_leave_the_rest_empty() {
        let [first, second] = copies([5, 5]);

        assert_eq!(slots(&bytes_after_prefix(5, 0, RUN), RUN), first);
        assert_eq!(slots(&bytes_after_prefix(5, 1, RUN), RUN), second);
    }

    #[test]
    fn one_instant_lost_record_is_caught() {
        let mut sides = copies([1000, 1000]);
        sides[0][20] = Slot::Empty;

        assert!(judge(&sides).is_err());
    }

    #[test]
    fn one_instant_corrupt_record_is_caught() {
        let mut sides = copies([3000, 3000]);
        sides[1][20] = Slot::Corrupt;

        assert!(judge(&sides).is_err());
    }

    #[test]
    fn parse_record_with_one_flipped_byte_is_corrupt() {
        let good = record(9, RUN);
        assert_eq!(parse(&good, RUN), Slot::Record(9));
        for at in [0, 8, 20, 300, RECORD_BYTES - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(parse(&bad, RUN), Slot::Corrupt, "{at}");
        }
    }

    #[test]
    fn parse_record_of_another_run_is_corrupt() {
        assert_eq!(parse(&record(9, RUN), RUN + 1), Slot::Corrupt);
    }
}
