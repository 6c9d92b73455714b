// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

type Parked = Box<dyn FnOnce(WritePermit) + Send>;

/// The gate in front of one LUN's writes (WRITE, UNMAP, WRITE SAME, COMPARE AND WRITE, ...).
///
/// A write passes with [`WriteFence::enter`] and holds the permit until it has been carried out. [`hold_all`] closes
/// the gates of all members of a snapshot set and waits for the permits to come back: then no write is under way on
/// any of them, and none that is acknowledged later was carried out before. This is the common instant of ROLE-11.
///
/// Nobody blocks in `enter`: a write that meets a closed gate is parked as a closure, so that reads, task management
/// and other LUNs of the same session go on. Parked writes start in their order when the gate opens.
#[derive(Default)]
pub struct WriteFence {
    state: Mutex<State>,
    drained: Condvar,
}

#[derive(Default)]
struct State {
    held: bool,
    writes_in_flight: usize,
    parked: VecDeque<Parked>,
}

impl WriteFence {
    /// An open gate.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Passes a write: `start` runs at once in this thread when the gate is open, else later in the thread that
    /// opens it. `start` should only hand the write to its worker: whoever opens the gate waits for it.
    pub fn enter(self: &Arc<Self>, start: impl FnOnce(WritePermit) + Send + 'static) {
        let mut state = self.lock();
        if state.held {
            state.parked.push_back(Box::new(start));
            return;
        }
        state.writes_in_flight += 1;
        drop(state);
        start(WritePermit {
            fence: Arc::clone(self),
        });
    }

    /// Number of writes that wait for the gate to open.
    pub fn parked(&self) -> usize {
        self.lock().parked.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so a poisoned lock is a broken invariant of this file.
        self.state
            .lock()
            .expect("the write fence's lock is never held across a panic")
    }

    fn wait_until(
        &self,
        deadline: Instant,
        ready: impl Fn(&State) -> bool,
    ) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock();
        while !ready(&state) {
            let left = deadline
                .checked_duration_since(Instant::now())
                .unwrap_or(Duration::ZERO);
            if left.is_zero() {
                return None;
            }
            state = self.drained.wait_timeout(state, left).expect("see lock").0;
        }
        Some(state)
    }

    fn open(self: &Arc<Self>) {
        let mut state = self.lock();
        state.held = false;
        let parked = std::mem::take(&mut state.parked);
        state.writes_in_flight += parked.len();
        self.drained.notify_all();
        drop(state);
        for start in parked {
            let permit = WritePermit {
                fence: Arc::clone(self),
            };
            // A write that panics here must not take those behind it along: they would stay in flight for ever, and
            // no hold would ever succeed again. Its permit comes back as it unwinds; the panic hook has told of it.
            let _ = catch_unwind(AssertUnwindSafe(|| start(permit)));
        }
    }
}

/// One write under way. Dropping it says that the write has been carried out, or will never be.
pub struct WritePermit {
    fence: Arc<WriteFence>,
}

impl Drop for WritePermit {
    fn drop(&mut self) {
        let mut state = self.fence.lock();
        state.writes_in_flight -= 1;
        if state.writes_in_flight == 0 {
            self.fence.drained.notify_all();
        }
    }
}

/// Why the gates could not be closed. Every gate is open again.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The deadline passed while writes were still under way or another hold was in place.
    #[error("writes on {0} of the LUNs did not come to rest in time")]
    NotDrained(usize),
}

/// All members' gates, closed. Dropping it opens them and starts the parked writes.
pub struct Hold {
    fences: Vec<Arc<WriteFence>>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        for fence in &self.fences {
            fence.open();
        }
    }
}

/// Closes the gates of all members and waits until no write is under way on any, at most until `deadline`.
///
/// A fence named twice is held once. Gates are closed in one global order (by address), so that two holds with
/// common members cannot wait for each other.
pub fn hold_all(fences: &[Arc<WriteFence>], deadline: Instant) -> Result<Hold, HoldError> {
    let mut ordered: Vec<_> = fences.to_vec();
    ordered.sort_by_key(|fence| Arc::as_ptr(fence).addr());
    ordered.dedup_by(|a, b| Arc::ptr_eq(a, b));

    let mut hold = Hold {
        fences: Vec::with_capacity(ordered.len()),
    };
    for (index, fence) in ordered.iter().enumerate() {
        let Some(mut state) = fence.wait_until(deadline, |state| !state.held) else {
            return Err(HoldError::NotDrained(ordered.len() - index));
        };
        state.held = true;
        drop(state);
        hold.fences.push(Arc::clone(fence));
    }
    let late = ordered
        .iter()
        .filter(|fence| {
            fence
                .wait_until(deadline, |state| state.writes_in_flight == 0)
                .is_none()
        })
        .count();
    match late {
        0 => Ok(hold),
        late => Err(HoldError::NotDrained(late)),
    }
}

#[cfg(test)]
#[path = "fence_tests.rs"]
mod tests;
