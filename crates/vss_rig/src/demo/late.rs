// SPDX-License-Identifier: MIT OR Apache-2.0
//! `--sabotage=late`: an array that captures the second volume of a set some time after the first, as one without a common
//! instant would. The captures are real; only the grouping is spoilt.

use array_api::{
    AbortOutcome, Armed, Array, ArrayError, ArrayErrorKind, ArrayInfo, CheckAnswer, CheckRequest,
    CommitReport, CopyReport, DeleteOutcome, LunId, LunInfo, Orphan, PrepareOutcome,
    PrepareRequest, Readiness, ResyncPair, ResyncStatus, SetId,
};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use uuid::Uuid;

/// Time for each call that the spoilt commit makes on top.
const WITHIN: Duration = Duration::from_secs(5);

/// Passes everything on, but prepares and commits all volumes but the first in a set of their own, later.
pub(super) struct LateArray {
    inner: Arc<dyn Array>,
    /// Called between the two captures.
    between: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    first: Vec<LunId>,
    kept_back: Vec<PrepareRequest>,
    late_set: SetId,
}

impl LateArray {
    pub(super) fn new(
        inner: Arc<dyn Array>,
        between: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            between: Box::new(between),
            state: Mutex::new(State {
                late_set: Uuid::new_v4(),
                ..State::default()
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    fn capture_late(&self) -> Result<CommitReport, ArrayError> {
        let (set, requests) = {
            let state = self.state();
            (state.late_set, state.kept_back.clone())
        };
        for request in &requests {
            self.inner.prepare(WITHIN, set, request)?;
        }
        while self.inner.ready(WITHIN, set)? == Readiness::Preparing {}
        self.inner.arm(WITHIN, set)?;
        self.inner.commit(WITHIN, set)
    }
}

impl Array for LateArray {
    fn info(&self, within: Duration) -> Result<ArrayInfo, ArrayError> {
        self.inner.info(within)
    }

    fn query(&self, within: Duration, luns: &[LunId]) -> Result<Vec<Option<LunInfo>>, ArrayError> {
        self.inner.query(within, luns)
    }

    fn check(&self, within: Duration, request: &CheckRequest) -> Result<CheckAnswer, ArrayError> {
        self.inner.check(within, request)
    }

    fn prepare(
        &self,
        within: Duration,
        set: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        let mut state = self.state();
        if !state.first.is_empty() && state.first != request.luns {
            state.kept_back.push(request.clone());
            return Ok(PrepareOutcome::Added);
        }
        state.first.clone_from(&request.luns);
        drop(state);
        self.inner.prepare(within, set, request)
    }

    fn ready(&self, within: Duration, set: SetId) -> Result<Readiness, ArrayError> {
        self.inner.ready(within, set)
    }

    fn arm(&self, within: Duration, set: SetId) -> Result<Armed, ArrayError> {
        self.inner.arm(within, set)
    }

    fn commit(&self, within: Duration, set: SetId) -> Result<CommitReport, ArrayError> {
        let report = self.inner.commit(within, set)?;
        // Reported copies survive the host's next set, which the late capture is.
        let first = self.state().first.clone();
        self.inner.report(WITHIN, set, &first)?;
        (self.between)();
        let late = self.capture_late()?;
        Ok(CommitReport {
            luns: report.luns + late.luns,
            ..report
        })
    }

    fn report(
        &self,
        within: Duration,
        set: SetId,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        let (first, late_set) = {
            let state = self.state();
            (state.first.clone(), state.late_set)
        };
        let mut reports = Vec::new();
        for source in sources {
            let set = if first.contains(source) {
                set
            } else {
                late_set
            };
            reports.extend(self.inner.report(within, set, &[*source])?);
        }
        Ok(reports)
    }

    fn abort(
        &self,
        within: Duration,
        set: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError> {
        let late_set = self.state().late_set;
        match self.inner.abort(within, late_set, reported_too) {
            Err(error) if error.kind != ArrayErrorKind::UnknownSet => return Err(error),
            _ => {}
        }
        self.inner.abort(within, set, reported_too)
    }

    fn map(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.inner.map(within, copies)
    }

    fn unmap(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.inner.unmap(within, copies)
    }

    fn delete(&self, within: Duration, copy: LunId) -> Result<DeleteOutcome, ArrayError> {
        self.inner.delete(within, copy)
    }

    fn break_copies(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.inner.break_copies(within, copies)
    }

    fn resync(&self, within: Duration, pairs: &[ResyncPair]) -> Result<ResyncStatus, ArrayError> {
        self.inner.resync(within, pairs)
    }

    fn orphans(&self, within: Duration) -> Result<Vec<Orphan>, ArrayError> {
        self.inner.orphans(within)
    }
}
