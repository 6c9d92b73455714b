// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress for the person who watches.

use std::cell::Cell;

/// Says what is going on, a numbered step at a time.
pub(super) struct Steps<'a> {
    say: &'a dyn Fn(&str),
    count: usize,
    begun: Cell<usize>,
}

impl<'a> Steps<'a> {
    /// `say` gets the lines of `count` steps.
    pub(super) fn new(say: &'a dyn Fn(&str), count: usize) -> Self {
        Self {
            say,
            count,
            begun: Cell::new(0),
        }
    }

    /// The next step begins.
    pub(super) fn next(&self, what: &str) {
        let number = self.begun.get() + 1;
        assert!(number <= self.count, "more steps than were announced");
        self.begun.set(number);
        (self.say)(&format!("{number}/{} {what}", self.count));
    }

    /// Something about the step under way.
    pub(super) fn detail(&self, what: &str) {
        (self.say)(&format!("    {what}"));
    }

    /// Whether every announced step was begun.
    pub(super) fn all_begun(&self) -> bool {
        self.begun.get() == self.count
    }
}
