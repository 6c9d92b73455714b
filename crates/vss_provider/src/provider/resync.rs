// SPDX-License-Identifier: MIT OR Apache-2.0
use super::support::{Call, Failure};
use super::{Provider, garbled, lock, plain};
use crate::budget::{self, Clock};
use crate::errors::outcome_unknown;
use crate::{Event, EventKind, Hresult, Journal, LunDescription, Method};
use array_api::{
    Array, ArrayError, ArrayErrorKind, ErrorBody, LunId, ResyncId, ResyncPair, ResyncStatus,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A resync under way, with the semantics of IVssAsync (3.10). It asks the array, may be used from any thread (ASY-6), and
/// may outlive the provider: the array goes on with the resync whoever watches it (ASY-5).
pub struct ResyncOperation {
    array: Arc<dyn Array>,
    clock: Arc<dyn Clock>,
    journal: Arc<Journal>,
    /// See [`Provider::at_rest`].
    _under_way: Arc<()>,
    id: ResyncId,
    targets: Vec<LunId>,
    /// Never held over array I/O: a Cancel has to pass a Wait.
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// How it ended, once that is known; final.
    ended: Option<End>,
    /// The event that the array cannot be asked was written for a QueryStatus.
    silence_told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    Cancelled,
    Failed,
}

impl End {
    fn code(self) -> Hresult {
        match self {
            Self::Finished => Hresult::VSS_S_ASYNC_FINISHED,
            Self::Cancelled => Hresult::VSS_S_ASYNC_CANCELLED,
            Self::Failed => Hresult::VSS_E_PROVIDER_VETO,
        }
    }
}

impl ResyncOperation {
    /// IVssAsync::QueryStatus's *pHrResult (ASY-2): PENDING, FINISHED, CANCELLED, or the failure's code. As long as the array
    /// cannot be asked, nothing speaks for an end: PENDING, with one event.
    pub fn query_status(&self) -> Hresult {
        match self.ask(Duration::ZERO) {
            Ok(end) => end.map_or(Hresult::VSS_S_ASYNC_PENDING, End::code),
            Err(error) => {
                let told = std::mem::replace(&mut lock(&self.progress).silence_told, true);
                if !told {
                    self.tell(&error, Hresult::VSS_S_ASYNC_PENDING);
                }
                Hresult::VSS_S_ASYNC_PENDING
            }
        }
    }

    /// IVssAsync::Wait: until the end, at most `timeout` (ASY-3). S_OK when it finished, was cancelled, or the time is over.
    /// VSS_E_PROVIDER_VETO with an event: it failed, or the array cannot be asked; [`Self::query_status`] tells which.
    pub fn wait(&self, timeout: Duration) -> Hresult {
        let started = self.clock.now();
        let until = started.saturating_add(timeout);
        let mut heard_at = started;
        loop {
            let now = self.clock.now();
            let left = until.saturating_sub(now);
            match self.ask(left.min(budget::RESYNC_SLICE)) {
                Ok(Some(End::Failed)) => return End::Failed.code(),
                Ok(Some(_)) => return Hresult::S_OK,
                Ok(None) => heard_at = self.clock.now(),
                Err(error) => {
                    let silence = self.clock.now().saturating_sub(heard_at);
                    let slow = error.kind == ArrayErrorKind::TimedOut;
                    if !slow || silence >= budget::RESYNC_SILENCE {
                        return self.tell(&error, Hresult::VSS_E_PROVIDER_VETO);
                    }
                }
            }
            if left.is_zero() {
                return Hresult::S_OK;
            }
        }
    }

    /// IVssAsync::Cancel: stops the array's copying (ASY-4). S_OK when that ended it; else how it had ended before; or
    /// VSS_E_PROVIDER_VETO with an event when the array did not stop it.
    pub fn cancel(&self) -> Hresult {
        if let Some(end) = lock(&self.progress).ended {
            return end.code();
        }
        let status = self.array.cancel_resync(budget::RESYNC_CANCEL, self.id);
        match self.noted(status) {
            Ok((Some(End::Cancelled), true)) => Hresult::S_OK,
            Ok((Some(end), _)) => end.code(),
            Ok((None, _)) => self.tell(&garbled(), Hresult::VSS_E_PROVIDER_VETO),
            Err(error) => self.tell(&error, Hresult::VSS_E_PROVIDER_VETO),
        }
    }

    /// How it ended, if it has.
    fn ask(&self, wait: Duration) -> Result<Option<End>, ArrayError> {
        if let Some(end) = lock(&self.progress).ended {
            return Ok(Some(end));
        }
        let within = wait + budget::RESYNC_ASK;
        let status = self.array.resync_status(within, self.id, wait);
        self.noted(status).map(|(end, _)| end)
    }

    /// Takes an answer in: the first one that tells of an end counts, and writes that end's event. With the end goes whether
    /// this answer was the first.
    fn noted(
        &self,
        status: Result<ResyncStatus, ArrayError>,
    ) -> Result<(Option<End>, bool), ArrayError> {
        let (end, error) = match status {
            Ok(ResyncStatus::Running) => return Ok((lock(&self.progress).ended, false)),
            Ok(ResyncStatus::Finished) => (End::Finished, None),
            Ok(ResyncStatus::Cancelled) => (End::Cancelled, None),
            Ok(ResyncStatus::Failed(error)) => (End::Failed, Some(error)),
            // The array was restarted meanwhile: nobody knows how far it came.
            Err(error) if error.kind == ArrayErrorKind::UnknownResync => {
                (End::Failed, Some(ErrorBody::from(error)))
            }
            Err(error) => return Err(error),
        };
        {
            let ended = &mut lock(&self.progress).ended;
            if let Some(end) = *ended {
                return Ok((Some(end), false));
            }
            *ended = Some(end);
        }
        let (kind, cause, advice) = match (end, error) {
            (End::Finished, _) => return Ok((Some(end), true)),
            (_, Some(error)) => (EventKind::ResyncFailed, error.message, Some(error.remedy)),
            (_, None) => {
                let cause = "it was stopped on request".to_owned();
                (EventKind::ResyncCancelled, cause, None)
            }
        };
        self.journal.post(Event {
            luns: self.targets.clone(),
            cause,
            advice,
            code: end.code(),
            ..plain(kind, Method::ResyncLuns, None)
        });
        Ok((Some(end), true))
    }

    fn tell(&self, error: &ArrayError, code: Hresult) -> Hresult {
        self.journal.post(Event {
            luns: self.targets.clone(),
            cause: error.message.clone(),
            advice: Some(error.remedy.clone()),
            code,
            ..plain(EventKind::of(error.kind), Method::ResyncLuns, None)
        });
        code
    }
}

impl Provider {
    /// ResyncLuns: has the array overwrite each target with its copy's contents (RSY-1..RSY-17).
    ///
    /// # Errors
    /// E_INVALIDARG (lists of different length), VSS_E_INSUFFICIENT_STORAGE, E_NOTIMPL (the array cannot),
    /// VSS_E_PROVIDER_VETO; nothing was started, unless the event says that this is not known.
    pub fn resync_luns(
        &self,
        copies: &[LunDescription],
        targets: &[LunDescription],
    ) -> Result<ResyncOperation, Hresult> {
        let mut call = self.call(Method::ResyncLuns, None, budget::RESYNC);
        let result = self.resync(&mut call, copies, targets);
        call.conclude(result)
    }

    fn resync(
        &self,
        call: &mut Call<'_>,
        copies: &[LunDescription],
        targets: &[LunDescription],
    ) -> Result<ResyncOperation, Failure> {
        if copies.len() != targets.len() {
            return Err(Failure::quiet(Hresult::E_INVALIDARG));
        }
        let (copies, targets) = (self.known(copies)?, self.known(targets)?);
        call.luns.clone_from(&targets);
        if copies.iter().zip(&targets).any(|(c, t)| c == t) {
            let cause = "a target is its own source";
            return Err(Failure::veto(EventKind::ResyncRefused, cause));
        }
        let pairs: Vec<ResyncPair> = copies
            .into_iter()
            .zip(&targets)
            .map(|(copy, target)| ResyncPair {
                copy,
                target: *target,
            })
            .collect();
        let id = ResyncId::new_v4();
        let status = if pairs.is_empty() {
            ResyncStatus::Finished
        } else {
            self.start_resync(call, id, &pairs)?
        };
        let operation = ResyncOperation {
            array: Arc::clone(&self.array),
            clock: Arc::clone(&self.clock),
            journal: Arc::clone(&self.journal),
            _under_way: Arc::clone(&self.under_way),
            id,
            targets,
            progress: Mutex::default(),
        };
        operation.noted(Ok(status)).map_err(|e| call.failed(&e))?;
        Ok(operation)
    }

    /// Starts it; an answer that was lost is asked for again. Where it stays unknown whether the array started, it is stopped.
    fn start_resync(
        &self,
        call: &Call<'_>,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, Failure> {
        let attempt = || {
            let within = call.budget.left()?.min(budget::RESYNC_ATTEMPT);
            self.array.resync(within, id, pairs)
        };
        let lost = |result: &Result<_, ArrayError>| {
            use ArrayErrorKind::{TimedOut, Unreachable};
            matches!(result, Err(e) if matches!(e.kind, TimedOut | Unreachable))
        };
        let mut result = attempt();
        for _ in 0..2 {
            if lost(&result) {
                result = attempt();
            }
        }
        let error = match result {
            Err(error) if outcome_unknown(error.kind) => error,
            result => return result.map_err(|e| call.failed(&e)),
        };
        let stopped = call
            .budget
            .left()
            .and_then(|within| self.array.cancel_resync(within, id));
        if stopped.is_err_and(|e| e.kind == ArrayErrorKind::UnknownResync) {
            // It was never started.
            return Err(call.failed(&error));
        }
        let cause = format!("it may have been started: {}", error.message);
        Err(Failure::veto(EventKind::ResyncFailed, cause))
    }
}
