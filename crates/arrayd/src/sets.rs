// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a shadow copy set on the array, as one table without I/O. [`crate::service`] carries the actions out and
//! reports what became of them.
//!
//! The states of the single copies (RESERVED, CAPTURED, REPORTED, MAPPED) are in their records in the store; a set's
//! own state lives in RAM. When the daemon dies, unreported sets die with it: their copies are discarded at the next
//! start, because the deadline that would have protected them is gone too. Reported ones are rebuilt from the tags.

use array_api::{ArrayError, ArrayErrorKind, CommitReport, CopyNeeds, LunId, SetId, SnapshotId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Where a set stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Targets are reserved; more snapshots may be added.
    Preparing,
    /// May be captured until the deadline.
    Armed,
    /// Being captured by one call; others wait for it.
    Committing,
    /// Holds the instant.
    Captured,
}

impl Phase {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Armed => "armed",
            Self::Committing => "committing",
            Self::Captured => "captured",
        }
    }
}

/// What happens to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A snapshot that is not in the set yet.
    Prepare,
    /// The question whether it may be armed.
    Ready,
    /// PreCommit.
    Arm,
    /// Commit before the deadline.
    Commit,
    /// Commit after the deadline.
    CommitLate,
    /// The capture is durable.
    CommitDone,
    /// Nothing was captured.
    CommitFailed,
    /// The question for the copies.
    Report,
    /// Given up: by its host, by the host's next set, or because nobody called for it any more.
    Abort,
}

/// What to do about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reserve one target per new source.
    Reserve,
    /// Say yes.
    SayReady,
    /// Check space, write back, start the deadline.
    WriteBackAndArm,
    /// Tell the deadline that runs already.
    SayDeadline,
    /// Fence and capture.
    Capture,
    /// Wait until the capture under way has ended, then ask again.
    Wait,
    /// Tell the report of the commit again.
    SayCommitted,
    /// Keep the commit's report.
    KeepReport,
    /// Mark copies REPORTED and tell them.
    Tell,
    /// Delete what was not reported.
    Discard,
    /// Nothing.
    Nothing,
}

/// The table: what an event does to a set in a phase.
pub fn step(phase: Phase, event: Event) -> Result<(Phase, Action), ArrayErrorKind> {
    use Action::*;
    use ArrayErrorKind::{DeadlinePassed, WrongState};
    use Phase::*;
    match (phase, event) {
        (Preparing, Event::Prepare) => Ok((Preparing, Reserve)),
        (Preparing, Event::Ready) => Ok((Preparing, SayReady)),
        (Preparing, Event::Arm) => Ok((Armed, WriteBackAndArm)),
        (Preparing, Event::Abort) => Ok((Preparing, Discard)),

        (Armed, Event::Ready) => Ok((Armed, SayReady)),
        (Armed, Event::Arm) => Ok((Armed, SayDeadline)),
        (Armed, Event::Commit) => Ok((Committing, Capture)),
        (Armed, Event::CommitLate) => Err(DeadlinePassed),
        (Armed, Event::Abort) => Ok((Armed, Discard)),

        (Committing, Event::CommitDone) => Ok((Captured, KeepReport)),
        (Committing, Event::CommitFailed) => Ok((Armed, Nothing)),
        (Committing, Event::Commit | Event::CommitLate | Event::Abort) => Ok((Committing, Wait)),

        (Captured, Event::Ready) => Ok((Captured, SayReady)),
        (Captured, Event::Commit | Event::CommitLate) => Ok((Captured, SayCommitted)),
        (Captured, Event::Report) => Ok((Captured, Tell)),
        (Captured, Event::Abort) => Ok((Captured, Discard)),

        _ => Err(WrongState),
    }
}

/// A set that the array remembers.
#[derive(Clone, Debug)]
pub struct SnapshotSet {
    /// The host that prepared it.
    pub host: String,
    /// The source LUNs of each shadow copy.
    pub snapshots: BTreeMap<SnapshotId, Vec<LunId>>,
    /// What its copies have to be; `None` after a restart.
    pub needs: Option<CopyNeeds>,
    /// The copy of each source.
    pub targets: BTreeMap<LunId, LunId>,
    /// Where it stands.
    pub phase: Phase,
    /// End of the time in which it may be captured, once armed.
    pub deadline: Option<Instant>,
    /// What the commit said; `None` before it and after a restart.
    pub report: Option<CommitReport>,
    /// Last call for it.
    pub touched: Instant,
    /// Somebody waits to give it up: the capture under way stops before its transaction, if it still can.
    pub cancelled: Arc<AtomicBool>,
    /// Nobody waits any more: the capture under way has to clean up itself.
    pub abandoned: bool,
}

impl SnapshotSet {
    /// A set without members.
    pub fn new(host: &str, needs: Option<CopyNeeds>, now: Instant) -> Self {
        Self {
            host: host.to_owned(),
            snapshots: BTreeMap::new(),
            needs,
            targets: BTreeMap::new(),
            phase: Phase::Preparing,
            deadline: None,
            report: None,
            touched: now,
            cancelled: Arc::default(),
            abandoned: false,
        }
    }

    /// The LUNs to be captured, as the store names them.
    pub fn sources(&self) -> Vec<u128> {
        self.targets.keys().map(|source| source.0).collect()
    }

    /// What `event` asks for now, without doing it.
    ///
    /// # Errors
    /// `WrongState` or `DeadlinePassed`, with words.
    pub fn action(&self, id: SetId, event: Event) -> Result<Action, ArrayError> {
        match step(self.phase, event) {
            Ok((_, action)) => Ok(action),
            Err(kind) => Err(self.refusal(id, event, kind)),
        }
    }

    /// Takes the step that `event` leads to.
    pub fn advance(&mut self, event: Event) {
        let (next, _) = step(self.phase, event).expect("the action was asked for before the step");
        self.phase = next;
    }

    /// Asks a capture under way to stop before its transaction.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// The commit event of this moment.
    pub fn commit_event(&self, now: Instant) -> Event {
        match self.deadline {
            Some(deadline) if now > deadline => Event::CommitLate,
            _ => Event::Commit,
        }
    }

    fn refusal(&self, id: SetId, event: Event, kind: ArrayErrorKind) -> ArrayError {
        match kind {
            ArrayErrorKind::DeadlinePassed => ArrayError::new(
                kind,
                format!("set {id} was armed too long ago; nothing was captured"),
                "give the set up and start a new one",
            ),
            _ => {
                let call = format!("{event:?}").to_lowercase();
                ArrayError::new(
                    kind,
                    format!(
                        "set {id} is {}, where {call} is not possible",
                        self.phase.name()
                    ),
                    "follow the order prepare, ready, arm, commit, report; or abort",
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 4] = [
        Phase::Preparing,
        Phase::Armed,
        Phase::Committing,
        Phase::Captured,
    ];
    const EVENTS: [Event; 9] = [
        Event::Prepare,
        Event::Ready,
        Event::Arm,
        Event::Commit,
        Event::CommitLate,
        Event::CommitDone,
        Event::CommitFailed,
        Event::Report,
        Event::Abort,
    ];

    /// Written by hand from the contract, not from the code: one row per event, one column per phase.
    const EXPECTED: &str = "
        Prepare      Preparing:Reserve         -                  -                    -
        Ready        Preparing:SayReady        Armed:SayReady     -                    Captured:SayReady
        Arm          Armed:WriteBackAndArm     Armed:SayDeadline  -                    -
        Commit       -                         Committing:Capture Committing:Wait      Captured:SayCommitted
        CommitLate   -                         late               Committing:Wait      Captured:SayCommitted
        CommitDone   -                         -                  Captured:KeepReport  -
        CommitFailed -                         -                  Armed:Nothing        -
        Report       -                         -                  -                    Captured:Tell
        Abort        Preparing:Discard         Armed:Discard      Committing:Wait      Captured:Discard
    ";

    #[test]
    fn step_every_pair_is_as_the_contract_says() {
        let rows: Vec<&str> = EXPECTED.trim().lines().collect();
        assert_eq!(rows.len(), EVENTS.len());
        for (event, row) in EVENTS.into_iter().zip(rows) {
            let cells: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(cells[0], format!("{event:?}"));
            for (phase, expected) in PHASES.into_iter().zip(&cells[1..]) {
                let found = match step(phase, event) {
                    Ok((next, action)) => format!("{next:?}:{action:?}"),
                    Err(ArrayErrorKind::DeadlinePassed) => "late".to_owned(),
                    Err(_) => "-".to_owned(),
                };
                assert_eq!(found, **expected, "{event:?} in {phase:?}");
            }
        }
    }
}
