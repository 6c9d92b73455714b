// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUN numbers of one host: 1-254, the number freed longest ago first.
//!
//! Windows remembers a disk by its address for a while after it is gone; a number that comes back at once can hand it the
//! new disk under the old one's name. So a freed number rests behind all others; when a host has nothing but numbers that
//! were freed lately, it gets the one that has rested longest, and the log says so: a copy that cannot be shown would
//! be the greater harm. After a restart of the daemon the order of the past is unknown, and numbers above the highest one
//! in use come first.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Lowest number of a disk; 0 is the array itself.
const FIRST: u8 = 1;
/// Highest number: 255 and up would need another form of address (SAM-5 4.7.7).
const LAST: u8 = 254;

/// The free numbers of one host, in the order in which they will be given out, with the time when they were freed.
#[derive(Clone, Debug)]
pub struct Numbers {
    free: VecDeque<(u8, Option<Instant>)>,
}

impl Numbers {
    /// All numbers except those in use.
    pub fn new(used: impl IntoIterator<Item = u8>) -> Self {
        let used: BTreeSet<u8> = used.into_iter().collect();
        let highest = used.last().copied().unwrap_or(0);
        let free = (FIRST..=LAST).filter(|number| !used.contains(number));
        let (after, before): (Vec<u8>, Vec<u8>) = free.partition(|number| *number > highest);
        let free = after.into_iter().chain(before);
        Self {
            free: free.map(|number| (number, None)).collect(),
        }
    }

    /// How many numbers are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The next `count` numbers, without taking them; `None` when there are fewer.
    pub fn peek(&self, count: usize) -> Option<Vec<u8>> {
        let next = self.free.iter().map(|(number, _)| *number).take(count);
        (count <= self.free.len()).then(|| next.collect())
    }

    /// Takes a number that is free, and says how long it has rested; `None` if it was never freed.
    pub fn take(&mut self, number: u8, now: Instant) -> Option<Duration> {
        let place = self.free.iter().position(|(free, _)| *free == number)?;
        let (_, freed) = self.free.remove(place)?;
        freed.map(|freed| now.saturating_duration_since(freed))
    }

    /// Gives a number back: it is used again last.
    pub fn give_back(&mut self, number: u8, now: Instant) {
        debug_assert!(self.free.iter().all(|(free, _)| *free != number));
        self.free.push_back((number, Some(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-314, OLE-9: a freed number rests behind all others, and when it is taken at last it is known how long it did.
    #[test]
    fn t314_freed_number_comes_back_last() {
        let start = Instant::now();
        let mut numbers = Numbers::new([]);
        assert_eq!(numbers.take(1, start), None);
        numbers.give_back(1, start);
        let all = numbers.peek(254).unwrap();
        assert_eq!((all[0], all[253]), (2, 1));
        assert_eq!(numbers.peek(255), None);
        let minute = Duration::from_secs(60);
        assert_eq!(numbers.take(1, start + minute), Some(minute));
    }

    #[test]
    fn numbers_after_a_restart_begin_above_the_highest_used() {
        let numbers = Numbers::new([1, 7, 253]);
        assert_eq!(numbers.peek(3).unwrap(), [254, 2, 3]);
        assert_eq!(numbers.free(), 251);
    }
}
