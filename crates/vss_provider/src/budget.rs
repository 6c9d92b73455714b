// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time: the clock that the edge supplies, and what each method may take (TIME-9).

use array_api::{ArrayError, ArrayErrorKind};
use std::time::Duration;

/// AreLunsSupported.
pub const ARE_LUNS_SUPPORTED: Duration = Duration::from_secs(5);
/// FillInLunInfo for a LUN of ours; a foreign one needs no array.
pub const FILL_IN_LUN_INFO: Duration = Duration::from_secs(2);
/// BeginPrepareSnapshot.
pub const BEGIN_PREPARE: Duration = Duration::from_secs(5);
/// What of it goes into discarding earlier sets: one may be on an array that is silent, and the new one on another.
pub const BEGIN_DISCARD: Duration = Duration::from_secs(2);
/// PreCommitSnapshots.
pub const PRE_COMMIT: Duration = Duration::from_secs(2);
/// CommitSnapshots' hard stop (COM-9).
pub const COMMIT_STOP: Duration = Duration::from_secs(8);
/// Windows holds writes no longer; a commit that took more is void, whatever the array says (COM-9, TIME-10).
pub const COMMIT_VOID: Duration = Duration::from_secs(10);
/// GetTargetLuns.
pub const GET_TARGET_LUNS: Duration = Duration::from_secs(10);
/// LocateLuns.
pub const LOCATE_LUNS: Duration = Duration::from_secs(60);
/// OnLunEmpty.
pub const ON_LUN_EMPTY: Duration = Duration::from_secs(30);
/// OnLunStateChange.
pub const ON_LUN_STATE_CHANGE: Duration = Duration::from_secs(30);
/// ResyncLuns until it returns. Not in TIME-9; as LocateLuns.
pub const RESYNC: Duration = Duration::from_secs(60);
/// One attempt to start a resync; a lost answer is asked for again with the same id.
pub const RESYNC_ATTEMPT: Duration = Duration::from_secs(15);
/// How long a question about a running resync may take, beside the wait that the caller wants.
pub const RESYNC_ASK: Duration = Duration::from_secs(2);
/// IVssAsync::Wait asks the array in slices of this.
pub const RESYNC_SLICE: Duration = Duration::from_secs(5);
/// IVssAsync::Wait gives up when the array was silent for so long.
pub const RESYNC_SILENCE: Duration = Duration::from_secs(30);
/// IVssAsync::Cancel.
pub const RESYNC_CANCEL: Duration = Duration::from_secs(10);
/// The array is asked for its space so often.
pub const SPACE_EVERY: Duration = Duration::from_secs(60);
/// How long a call waits for what the array says of its space, where only an event depends on it.
pub const SPACE_ASK: Duration = Duration::from_secs(2);
/// AbortSnapshots, then [`crate::Provider::tick`] goes on.
pub const ABORT: Duration = Duration::from_secs(10);
/// OnUnload.
pub const ON_UNLOAD: Duration = Duration::from_secs(10);
/// One attempt of [`crate::Provider::tick`].
pub const TICK: Duration = Duration::from_secs(2);
/// A prepared set that waits for PreCommitSnapshots is made ready again so often. Arrays close connections that are idle for
/// longer, this project's after ten times as long.
pub const KEEP_READY_EVERY: Duration = Duration::from_secs(60);
/// EndPrepareSnapshots asks the array in slices of this, and looks between them whether it was aborted (EPS-8).
pub const END_PREPARE_SLICE: Duration = Duration::from_millis(500);
/// EndPrepareSnapshots gives up when the array was silent for so long.
pub const END_PREPARE_SILENCE: Duration = Duration::from_secs(10);
/// A freeze that nobody ended is over (TIME-4): waiting events are written then.
pub const FREEZE_MAX: Duration = Duration::from_secs(60);
/// One event about refused volumes in so long: AreLunsSupported is asked for every volume of the host (LOG-5).
pub const REFUSAL_EVENT_EVERY: Duration = Duration::from_secs(600);

/// A monotonic clock. Between two calls of `now` time never goes back; its zero is arbitrary.
///
/// CommitSnapshots calls it while writes are held: it must not block, allocate or do I/O.
pub trait Clock: Send + Sync {
    /// Time since the clock's zero.
    fn now(&self) -> Duration;
}

impl<F: Fn() -> Duration + Send + Sync> Clock for F {
    fn now(&self) -> Duration {
        self()
    }
}

/// What is left of a method's time.
pub(crate) struct Budget<'a> {
    clock: &'a dyn Clock,
    until: Duration,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(clock: &'a dyn Clock, within: Duration) -> Self {
        Self {
            clock,
            until: clock.now() + within,
        }
    }

    /// The time left for the next array call; none left is a call that timed out, without having been made.
    pub(crate) fn left(&self) -> Result<Duration, ArrayError> {
        let left = self.until.saturating_sub(self.clock.now());
        if left.is_zero() {
            return Err(ArrayError::new(
                ArrayErrorKind::TimedOut,
                "the time of this operation is used up",
                "check the array's load and log",
            ));
        }
        Ok(left)
    }
}
