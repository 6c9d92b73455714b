// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUN numbers of one host: 1-254, the number freed longest ago first.
//!
//! Windows remembers a disk by its address for a while after it is gone; a number that comes back at once can hand it the
//! new disk under the old one's name. After a restart of the daemon the order of the past is unknown, and numbers above
//! the highest one in use come first.

use std::collections::{BTreeSet, VecDeque};

/// Lowest number of a disk; 0 is the array itself.
const FIRST: u8 = 1;
/// Highest number: 255 and up would need another form of address (SAM-5 4.7.7).
const LAST: u8 = 254;

/// The free numbers of one host, in the order in which they will be given out.
#[derive(Clone, Debug)]
pub struct Numbers {
    free: VecDeque<u8>,
}

impl Numbers {
    /// All numbers except those in use.
    pub fn new(used: impl IntoIterator<Item = u8>) -> Self {
        let used: BTreeSet<u8> = used.into_iter().collect();
        let highest = used.last().copied().unwrap_or(0);
        let free = (FIRST..=LAST).filter(|number| !used.contains(number));
        let (after, before): (Vec<u8>, Vec<u8>) = free.partition(|number| *number > highest);
        Self {
            free: after.into_iter().chain(before).collect(),
        }
    }

    /// How many numbers are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The next `count` numbers, without taking them; `None` when there are fewer.
    pub fn peek(&self, count: usize) -> Option<Vec<u8>> {
        (count <= self.free.len()).then(|| self.free.iter().copied().take(count).collect())
    }

    /// Takes a number that is free.
    pub fn take(&mut self, number: u8) {
        self.free.retain(|free| *free != number);
    }

    /// Gives a number back: it is used again last.
    pub fn give_back(&mut self, number: u8) {
        debug_assert!(!self.free.contains(&number));
        self.free.push_back(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_freed_one_comes_back_last() {
        let mut numbers = Numbers::new([]);
        numbers.take(1);
        numbers.give_back(1);
        let all = numbers.peek(254).unwrap();
        assert_eq!((all[0], all[253]), (2, 1));
        assert_eq!(numbers.peek(255), None);
    }

    #[test]
    fn numbers_after_a_restart_begin_above_the_highest_used() {
        let numbers = Numbers::new([1, 7, 253]);
        assert_eq!(numbers.peek(3).unwrap(), [254, 2, 3]);
        assert_eq!(numbers.free(), 251);
    }
}
