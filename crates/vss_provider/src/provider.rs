// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider's methods, in the shape of the COM interfaces but on owned values.

mod creation;
mod luns;
mod resync;
mod space;
mod support;

pub use luns::{
    DO_MASK_LUNS, NOTIFY_LUN_POST_RECOVERY, NOTIFY_LUN_PRE_RECOVERY, NOTIFY_READ_WRITE,
};
pub use resync::ResyncOperation;

use crate::budget::{self, Budget, Clock};
use crate::identity::LunOf;
use crate::state::{Release, SnapshotSets, State};
use crate::{Event, EventKind, EventSink, Hresult, Journal, Method, Window};
use array_api::{Array, ArrayError, ArrayErrorKind, LunId, LunIdentity, LunInfo, SetId};
use space::SpaceWatch;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;
use support::Call;

/// Sets that wait to be discarded. The array discards them by itself with the host's next set, so the oldest may go.
const LEFTOVERS_MAX: usize = 64;

/// What a site may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// EndPrepareSnapshots gives up after this; VSS sets no limit (OQ-36).
    pub end_prepare_max: Duration,
    /// A set that nobody calls for is released after this (SEQ-7).
    pub idle_set_max: Duration,
    /// AreLunsSupported answers VETO instead of FALSE when the array cannot be asked, so that Windows does not fall back
    /// silently to another provider (OQ-34).
    pub veto_when_unreachable: bool,
    /// How a LUN of the array is known by its page 83h.
    pub lun_of: LunOf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            end_prepare_max: Duration::from_secs(30 * 60),
            idle_set_max: Duration::from_secs(30 * 60),
            veto_when_unreachable: false,
            lun_of: LunIdentity::lun_id,
        }
    }
}

/// The provider. One object serves all interfaces; every method takes `&self` and may be called from any thread.
pub struct Provider {
    array: Arc<dyn Array>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Shared with the resyncs under way, which may outlive this object (ASY-5).
    journal: Arc<Journal>,
    /// Held for single transitions only, never over array I/O (GEN-10).
    sets: Mutex<SnapshotSets>,
    leftovers: Mutex<Vec<Leftover>>,
    /// Each call, and each resync that is watched, has one more.
    under_way: Arc<()>,
    /// Held while leftovers are discarded, so that an old discard cannot hit a set that is begun again.
    settling: Mutex<()>,
    refusal_told_at: Mutex<Option<Duration>>,
    /// Since when the array was not asked about the prepared set that waits.
    ready_at: Mutex<Option<Duration>>,
    space: Mutex<SpaceWatch>,
}

#[derive(Clone, Copy)]
struct Leftover {
    release: Release,
    /// The event of SEQ-40 was written.
    told: bool,
}

impl Provider {
    /// A provider without a set in progress. Does no I/O.
    pub fn new(
        array: Arc<dyn Array>,
        clock: Arc<dyn Clock>,
        events: Arc<dyn EventSink>,
        settings: Settings,
    ) -> Self {
        Self {
            array,
            clock,
            settings,
            journal: Arc::new(Journal::new(events)),
            sets: Mutex::default(),
            leftovers: Mutex::default(),
            under_way: Arc::default(),
            settling: Mutex::default(),
            refusal_told_at: Mutex::default(),
            ready_at: Mutex::default(),
            space: Mutex::default(),
        }
    }

    /// Has the commit window's memory served by `window`.
    pub fn with_window(self, window: Arc<dyn Window>) -> Self {
        self.journal.set_window(window);
        self
    }

    /// OnLoad: success without array I/O, so that an unreachable array does not hang VSS (LOAD-4, LOAD-11).
    pub fn on_load(&self) -> Result<(), Hresult> {
        Ok(())
    }

    /// OnUnload: unforced S_FALSE while a set is pending; forced always S_OK, after giving up what VSS was not told of
    /// (LOAD-5..LOAD-8).
    pub fn on_unload(&self, force: bool) -> Hresult {
        if !force {
            return if self.sets().state().is_pending() {
                Hresult::S_FALSE
            } else {
                Hresult::S_OK
            };
        }
        let _under_way = Arc::clone(&self.under_way);
        let release = self.sets().unload();
        // Before anything is written: a log that panics must not make the set forgotten.
        self.leave(release);
        self.journal.thaw();
        let budget = Budget::new(&*self.clock, budget::ON_UNLOAD);
        if let Some(release) = release {
            self.settle(&budget, Some(release.set));
        }
        self.settle(&budget, None);
        self.tell_leftovers(Method::OnUnload);
        lock(&self.leftovers).clear();
        Hresult::S_OK
    }

    /// Housekeeping, to be called by the edge about once a second (or less often): releases a set that was forgotten
    /// (SEQ-7), keeps a prepared one ready, repeats discards that failed (SEQ-40), ends a freeze that nobody ended, writes what
    /// waited for a thaw, and tells when the array's space runs out (ERR-5). Blocks at most [`budget::TICK`].
    pub fn tick(&self) {
        let now = self.clock.now();
        if let Some(since) = self.journal.frozen_since() {
            if now.saturating_sub(since) < budget::FREEZE_MAX {
                return;
            }
            self.journal.end_freeze();
        }
        self.journal.flush();
        let expired = self.sets().expire(now, self.settings.idle_set_max);
        if let Some(release) = expired {
            let minutes = self.settings.idle_set_max.as_secs() / 60;
            self.journal.post(Event {
                cause: format!("no call came for it in {minutes} minutes"),
                ..plain(EventKind::SetForgotten, Method::OnUnload, Some(release.set))
            });
        }
        self.leave(expired);
        let budget = Budget::new(&*self.clock, budget::TICK);
        self.keep_ready(now, &budget);
        self.repeat_discards(&budget);
        self.watch_space(&budget);
    }

    /// VSS may take long between EndPrepareSnapshots and PreCommitSnapshots, which must not connect (COM-8): so the array is
    /// asked again meanwhile, and keeps what it needs for the set.
    fn keep_ready(&self, now: Duration, budget: &Budget<'_>) {
        let (State::Prepared, Some(set)) = self.state() else {
            *lock(&self.ready_at) = None;
            return;
        };
        {
            let mut ready_at = lock(&self.ready_at);
            let since = *ready_at.get_or_insert(now);
            if now.saturating_sub(since) < budget::KEEP_READY_EVERY {
                return;
            }
            *ready_at = Some(now);
        }
        // Whether it still can is PreCommitSnapshots' question; a failure now may be over by then.
        let _ = budget
            .left()
            .and_then(|within| self.array.ready(within, set));
    }

    fn repeat_discards(&self, budget: &Budget<'_>) {
        if lock(&self.leftovers).is_empty() {
            return;
        }
        // Another thread that is at it does this call's work, and may take longer than this call.
        let settling = match self.settling.try_lock() {
            Ok(settling) => settling,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.settle_under(settling, budget, None);
        self.tell_leftovers(Method::AbortSnapshots);
    }

    /// Writes an event of the shell around this provider: now, or after the thaw.
    pub fn post(&self, event: Event) {
        self.journal.post(event);
    }

    /// Does `work` if nothing of this provider counts on what the array knows of earlier calls: no set is in progress, no call or
    /// resync is under way, nothing is to be discarded. A set that begins meanwhile waits for it. `work` must be short, and must not
    /// call this provider.
    pub fn at_rest<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let _settling = match self.settling.try_lock() {
            Ok(settling) => settling,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let sets = self.sets();
        let leftovers = lock(&self.leftovers);
        let alone = Arc::strong_count(&self.under_way) == 1;
        let rests = alone && leftovers.is_empty() && !sets.state().is_pending();
        rests.then(work)
    }

    /// Whether volumes are frozen for its set: the whole process opens no file, logs nothing and does not connect (COM-8).
    pub fn is_frozen(&self) -> bool {
        self.journal.frozen_since().is_some()
    }

    /// State and id of the set in progress, for diagnosis.
    pub fn state(&self) -> (State, Option<SetId>) {
        let sets = self.sets();
        (sets.state(), sets.id())
    }

    /// Sets that wait to be discarded on the array, for diagnosis.
    pub fn leftover_sets(&self) -> Vec<SetId> {
        lock(&self.leftovers)
            .iter()
            .map(|l| l.release.set)
            .collect()
    }

    /// GetProviderCapabilities: reserved (CAP-2). The shell stores 0.
    pub fn get_provider_capabilities(&self) -> Result<u64, Hresult> {
        Err(Hresult::E_NOTIMPL)
    }

    /// OnReuseLuns: reserved (REU-2).
    pub fn on_reuse_luns(&self) -> Result<(), Hresult> {
        Err(Hresult::E_NOTIMPL)
    }

    fn sets(&self) -> MutexGuard<'_, SnapshotSets> {
        lock(&self.sets)
    }

    /// Notes a set to discard.
    fn leave(&self, release: Option<Release>) {
        let Some(release) = release else {
            return;
        };
        let mut leftovers = lock(&self.leftovers);
        leftovers.retain(|l| l.release != release);
        if leftovers.len() == LEFTOVERS_MAX {
            leftovers.remove(0);
        }
        leftovers.push(Leftover {
            release,
            told: false,
        });
    }

    /// Discards what was noted, or of it `only` one set, as far as the time goes. The rest stays noted and is returned.
    fn settle(&self, budget: &Budget<'_>, only: Option<SetId>) -> Vec<SetId> {
        self.settle_under(lock(&self.settling), budget, only)
    }

    fn settle_under(
        &self,
        _one_at_a_time: MutexGuard<'_, ()>,
        budget: &Budget<'_>,
        only: Option<SetId>,
    ) -> Vec<SetId> {
        let chosen = |leftover: &mut Leftover| only.is_none_or(|set| leftover.release.set == set);
        let waiting: Vec<_> = lock(&self.leftovers).extract_if(.., chosen).collect();
        let (mut untried, mut failed) = (Vec::new(), Vec::new());
        for leftover in waiting {
            let Ok(within) = budget.left() else {
                untried.push(leftover);
                continue;
            };
            let Release { set, reported_too } = leftover.release;
            match self.array.abort(within, set, reported_too) {
                Ok(outcome) if reported_too && !outcome.kept.is_empty() => {
                    self.journal.post(Event {
                        luns: outcome.kept,
                        cause: "the array keeps what others may use".to_owned(),
                        ..plain(EventKind::CopiesKept, Method::AbortSnapshots, Some(set))
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind == ArrayErrorKind::UnknownSet => {}
                Err(_) => failed.push(leftover),
            }
        }
        let left = untried.iter().chain(&failed).map(|l| l.release.set);
        let left = left.collect();
        // One that takes all the time, on an array that is silent, has its next turn after the others.
        let mut leftovers = lock(&self.leftovers);
        leftovers.splice(0..0, untried);
        leftovers.extend(failed);
        left
    }

    /// As [`Self::settle`] for a failed call's own set within what is left of its time, but not while writes are frozen: nothing
    /// may take time then, and the set's failure is told already. What stays is [`Self::tick`]'s matter.
    fn settle_unless_frozen(&self, call: &Call<'_>) {
        if self.journal.frozen_since().is_some() {
            return;
        }
        match (call.method, call.budget.left()) {
            // There is no limit to it (TIME-7), and the wait may have used up the time that it gives itself.
            (Method::EndPrepareSnapshots, _) => {
                self.settle(&Budget::new(&*self.clock, budget::ABORT), call.set);
            }
            (_, Ok(_)) => {
                self.settle(&call.budget, call.set);
            }
            (_, Err(_)) => {}
        }
    }

    fn has_leftover(&self, set: SetId) -> bool {
        lock(&self.leftovers).iter().any(|l| l.release.set == set)
    }

    /// The caller tells of this leftover itself: one event is enough (LOG-4).
    fn leftover_is_told(&self, set: SetId) {
        for leftover in lock(&self.leftovers).iter_mut() {
            leftover.told |= leftover.release.set == set;
        }
    }

    fn tell_leftovers(&self, method: Method) {
        let mut untold = Vec::new();
        for leftover in lock(&self.leftovers).iter_mut() {
            if !std::mem::replace(&mut leftover.told, true) {
                untold.push(leftover.release.set);
            }
        }
        for set in untold {
            self.journal.post(Event {
                cause: "the array did not carry the discard out".to_owned(),
                ..plain(EventKind::LeftoverPending, method, Some(set))
            });
        }
    }

    /// What the array knows of these LUNs, checked to be an answer to this question.
    fn query(
        &self,
        budget: &Budget<'_>,
        luns: &[LunId],
    ) -> Result<Vec<Option<LunInfo>>, ArrayError> {
        let infos = self.array.query(budget.left()?, luns)?;
        if answers(&infos, luns) {
            Ok(infos)
        } else {
            Err(garbled())
        }
    }
}

/// Whether this is an answer to a question about these LUNs.
fn answers(infos: &[Option<LunInfo>], luns: &[LunId]) -> bool {
    infos.len() == luns.len()
        && infos
            .iter()
            .zip(luns)
            .all(|(info, lun)| info.as_ref().is_none_or(|info| info.id == *lun))
}

impl Drop for Provider {
    /// The last Release without OnUnload (VSS died, RPC run-down) is a forced unload (LOAD-10).
    fn drop(&mut self) {
        self.on_unload(true);
    }
}

/// An answer that the contract does not allow.
fn garbled() -> ArrayError {
    ArrayError::new(
        ArrayErrorKind::Protocol,
        "the array's answer does not fit the question",
        "update array and provider to matching versions",
    )
}

fn plain(kind: EventKind, method: Method, set: Option<SetId>) -> Event {
    Event {
        kind,
        method,
        set,
        snapshot: None,
        luns: Vec::new(),
        cause: String::new(),
        advice: None,
        code: Hresult::S_OK,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The shell catches a panic at the COM border; the provider has to answer the abort that follows.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::answers;
    use array_api::simulated::{SimulatedArray, VirtualClock};
    use std::time::Duration;

    #[test]
    fn answers_only_what_was_asked_in_its_order() {
        let array = SimulatedArray::new(VirtualClock::new());
        let luns = [(); 2].map(|()| array.create_lun(1 << 30, &["winhost"]));
        let infos = array.host("winhost").query(Duration::from_secs(1), &luns);
        let mut infos = infos.expect("the array is well");
        assert!(answers(&infos, &luns));
        assert!(!answers(&infos[..1], &luns));
        assert!(!answers(&infos, &luns[..1]));
        assert!(answers(&[None, infos[1].clone()], &luns));
        infos.swap(0, 1);
        assert!(!answers(&infos, &luns));
    }
}
