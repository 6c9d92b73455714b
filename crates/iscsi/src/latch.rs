// SPDX-License-Identifier: MIT OR Apache-2.0
//! "When all of these have ended": what a task management function waits for.

use std::sync::Mutex;

/// Runs its closure when the last holder lets go. Holders are tasks that were being executed when they were aborted, in
/// whatever session, and the one who aborts. Let go outside of session locks: the closure takes one.
pub(crate) struct Latch(Mutex<Option<Then>>);

type Then = Box<dyn FnOnce() + Send>;

impl Latch {
    pub(crate) fn new(then: impl FnOnce() + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(then))))
    }

    /// Nobody waits any more: the closure will not run.
    pub(crate) fn disarm(&self) {
        self.take();
    }

    fn take(&self) -> Option<Then> {
        self.0.lock().expect("nothing runs under this lock").take()
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        if let Some(then) = self.take() {
            then();
        }
    }
}
