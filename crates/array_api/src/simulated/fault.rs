// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::ArrayErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Time that passes only when somebody says so. Shared by the simulated array and the provider under test, so that a
/// ten-minute hang costs no time.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// A clock that shows zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Time since the clock was made.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).expect("a test advances by less than 584 years");
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

/// The calls of [`crate::Array`], as keys for faults and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the trait's method of the same name")]
pub enum Op {
    Info,
    Query,
    Check,
    Prepare,
    Ready,
    Arm,
    Commit,
    Report,
    Abort,
    Map,
    Unmap,
    Delete,
    BreakCopies,
    Resync,
    ResyncStatus,
    CancelResync,
    Orphans,
}

impl Op {
    /// Every operation, for tests that try each.
    pub const ALL: [Self; 17] = [
        Self::Info,
        Self::Query,
        Self::Check,
        Self::Prepare,
        Self::Ready,
        Self::Arm,
        Self::Commit,
        Self::Report,
        Self::Abort,
        Self::Map,
        Self::Unmap,
        Self::Delete,
        Self::BreakCopies,
        Self::Resync,
        Self::ResyncStatus,
        Self::CancelResync,
        Self::Orphans,
    ];
}

/// What goes wrong with an operation (specification 10.0).
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    Ok,
    /// ERR: a definite refusal; nothing was done.
    Err(ArrayErrorKind),
    /// DOWN: no connection; nothing was done.
    Down,
    /// HANG: no answer. Advances the clock by the caller's `within`; nothing was done.
    Hang,
    /// LOST: carried out, but the answer is lost. Advances the clock by the caller's `within`.
    Lost,
    /// PART: a broken array that did it for the first `n` LUNs and then failed (prepare, commit, map).
    Part(usize),
    /// SLOW(t): carried out after `t`; nothing is done if the caller waits less.
    Slow(Duration),
    /// Carried out at once, answered after `t`, by a client whose own stop does not work (T-101).
    Overrun(Duration),
    /// This fault for the next `n` calls, then none.
    Times(usize, Box<Self>),
    /// Blocks in real time before the operation is carried out, until the test opens the gate.
    Gate(Gate),
    /// Blocks in real time after the operation has been carried out.
    GateAfter(Gate),
}

/// Far longer than a call takes to its gate or a test to open it: a test fails then, which would hang otherwise.
const GATE_MAX: Duration = Duration::from_secs(60);

/// Holds calls of the array in real time, for tests in which another thread has to overtake them.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    entered: usize,
    passed: usize,
    open: bool,
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self::default()
    }

    /// Waits until a call stands at the gate (or passed it).
    ///
    /// # Panics
    /// No call came for a minute: it failed on its way, or waits for something else.
    pub fn wait_entered(&self) {
        let came = self.wait_until(|state| state.entered > 0);
        assert!(came, "no call came to the gate");
    }

    /// Whether calls stand at the gate, and none has left it.
    pub fn holds_calls(&self) -> bool {
        let state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.entered > 0 && state.passed == 0
    }

    /// Lets every call pass, those that come later too.
    pub fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        changed.notify_all();
    }

    pub(super) fn pass(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap_or_else(PoisonError::into_inner).entered += 1;
        changed.notify_all();
        let opened = self.wait_until(|state| state.open);
        state.lock().unwrap_or_else(PoisonError::into_inner).passed += 1;
        assert!(opened, "nobody opened the gate");
    }

    /// False when it does not become so in [`GATE_MAX`].
    fn wait_until(&self, is_so: impl Fn(&GateState) -> bool) -> bool {
        let (state, changed) = &*self.0;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = changed
            .wait_timeout_while(state, GATE_MAX, |state| !is_so(state))
            .unwrap_or_else(PoisonError::into_inner);
        is_so(&state)
    }
}
