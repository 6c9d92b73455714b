// SPDX-License-Identifier: MIT OR Apache-2.0
use super::Provider;
use crate::budget::Budget;
use crate::errors::{permitted, translate};
use crate::state::{Finish, State};
use crate::{Event, EventKind, Hresult, Method, Severity};
use array_api::{ArrayError, ArrayErrorKind, LunId, SetId, SnapshotId};
use std::sync::Arc;
use std::time::Duration;

/// The calls of the commit window write no events, whatever waits (T-099).
const IN_WINDOW: [Method; 3] = [
    Method::PreCommitSnapshots,
    Method::CommitSnapshots,
    Method::PostCommitSnapshots,
];

/// Why a method fails: the code, and what to tell people.
pub(super) struct Failure {
    pub(super) code: Hresult,
    note: Option<Note>,
}

struct Note {
    kind: EventKind,
    cause: String,
    advice: Option<String>,
}

impl Failure {
    /// Without an event: the caller's malformed input, or an unknown set.
    pub(super) fn quiet(code: Hresult) -> Self {
        Self { code, note: None }
    }

    pub(super) fn new(code: Hresult, kind: EventKind, cause: impl Into<String>) -> Self {
        let note = Note {
            kind,
            cause: cause.into(),
            advice: None,
        };
        Self {
            code,
            note: Some(note),
        }
    }

    pub(super) fn veto(kind: EventKind, cause: impl Into<String>) -> Self {
        Self::new(Hresult::VSS_E_PROVIDER_VETO, kind, cause)
    }

    /// VETO in a state in which the call is impossible (SEQ-9).
    pub(super) fn wrong_order(state: State) -> Self {
        Self::veto(
            EventKind::WrongOrder,
            format!("the set is in the state {state:?}"),
        )
    }

    /// VETO because the set was given up while the call ran (EPS-6).
    pub(super) fn interrupted() -> Self {
        Self::veto(
            EventKind::Interrupted,
            "the set was given up while the call ran",
        )
    }

    /// E_NOTIMPL is an answer, not a failure: it goes without an event.
    pub(super) fn array(method: Method, error: &ArrayError) -> Self {
        let code = translate(method, error.kind);
        if code == Hresult::E_NOTIMPL {
            return Self::quiet(code);
        }
        Self {
            code,
            note: Some(Note {
                kind: EventKind::of(error.kind),
                cause: error.message.clone(),
                advice: Some(error.remedy.clone()),
            }),
        }
    }
}

/// One call of a method: what its event will say, and its time.
pub(super) struct Call<'a> {
    provider: &'a Provider,
    _under_way: Arc<()>,
    pub(super) method: Method,
    pub(super) set: Option<SetId>,
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) luns: Vec<LunId>,
    pub(super) started: Duration,
    pub(super) budget: Budget<'a>,
}

impl<'a> Call<'a> {
    pub(super) fn failed(&self, error: &ArrayError) -> Failure {
        Failure::array(self.method, error)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.provider.clock.now().saturating_sub(self.started)
    }

    /// Ends the call: one event for a failure that has one, and a code that the method may return.
    pub(super) fn conclude<T>(self, result: Result<T, Failure>) -> Result<T, Hresult> {
        result.map_err(|failure| {
            let code = failure.code;
            assert!(
                permitted(self.method).contains(&code),
                "{} must not return {code:?}",
                self.method
            );
            if let Some(note) = failure.note {
                assert!(
                    note.kind.severity() == Severity::Error,
                    "{:?} does not tell of a failure (LOG-5)",
                    note.kind
                );
                self.provider.journal.post(Event {
                    kind: note.kind,
                    method: self.method,
                    set: self.set,
                    snapshot: self.snapshot,
                    luns: self.luns,
                    cause: note.cause,
                    advice: note.advice,
                    code,
                });
            }
            code
        })
    }
}

impl Provider {
    pub(super) fn call(&self, method: Method, set: Option<SetId>, within: Duration) -> Call<'_> {
        if !IN_WINDOW.contains(&method) {
            self.journal.flush();
        }
        Call {
            provider: self,
            _under_way: Arc::clone(&self.under_way),
            method,
            set,
            snapshot: None,
            luns: Vec::new(),
            started: self.clock.now(),
            budget: Budget::new(&*self.clock, within),
        }
    }

    /// What the state machine made of a result: notes what is to be discarded, and fails a call that was overtaken.
    pub(super) fn taken(&self, call: &Call<'_>, finish: Finish) -> Result<(), Failure> {
        match finish {
            Finish::Taken(release) => {
                self.leave(release);
                Ok(())
            }
            Finish::Stale(release) => {
                // The array may have carried the call out after it had carried out the abort.
                self.leave(Some(release));
                self.settle_unless_frozen(call);
                Err(Failure::interrupted())
            }
            Finish::Overtaken => Err(Failure::veto(
                EventKind::WrongOrder,
                "the same call was made twice at once",
            )),
        }
    }

    /// Whether an event about refused volumes is due (LOG-5).
    pub(super) fn refusal_event_due(&self) -> bool {
        let now = self.clock.now();
        let mut told_at = super::lock(&self.refusal_told_at);
        let due =
            told_at.is_none_or(|at| now.saturating_sub(at) >= crate::budget::REFUSAL_EVENT_EVERY);
        if due {
            *told_at = Some(now);
        }
        due
    }
}

/// Whether the array could not be asked at all.
pub(super) fn out_of_reach(kind: ArrayErrorKind) -> bool {
    matches!(
        kind,
        ArrayErrorKind::Unreachable | ArrayErrorKind::TimedOut | ArrayErrorKind::Protocol
    )
}
