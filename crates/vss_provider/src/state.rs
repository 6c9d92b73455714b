// SPDX-License-Identifier: MIT OR Apache-2.0
//! The set in progress: states and transitions of specification 4.2 and 4.3.
//!
//! Pure: an event goes in, a [`Decision`] comes out (what to answer, which array call to make, what to release), and the
//! result of that call goes in as the next event. No I/O, no lock, no clock. While an array call is under way other events
//! may change everything; a [`Ticket`] tells then that the call's result comes too late.

mod sets;
mod table;

pub use sets::{Captured, SnapshotSets, VolumeCheck, VolumeRefusal};
pub use table::{Cell, Disposal, Event, State, cell};

use array_api::SetId;

/// What to do about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How the call goes on.
    pub step: Step,
    /// What the array has to give up; may wait until writes flow again.
    pub release: Option<Release>,
}

/// How a call goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Do the call's work on the array, then hand the ticket back.
    Run(Ticket),
    /// LocateLuns for LUNs that are not of the set in progress: no state is involved.
    Import,
    /// S_OK, nothing to do but the release. `cancelled`: another thread's call was cut short and will answer VETO.
    Done {
        /// Whether a blocked EndPrepareSnapshots or CommitSnapshots was cut short.
        cancelled: bool,
        /// Whether the set had been given up before.
        repeated: bool,
    },
    /// The set is unknown.
    NotFound,
    /// VETO. `killed`: the set is ABORTED by it.
    Veto {
        /// The state in which the call was refused.
        state: State,
        /// Whether the set is ABORTED now.
        killed: bool,
    },
}

/// Tells a result that is still wanted from one that was overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) set: SetId,
    pub(crate) event: Event,
    pub(crate) generation: u64,
    /// The state while the call runs.
    pub(crate) during: State,
    /// The state after its success.
    pub(crate) then: State,
}

/// What became of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Taken; the array has to give this up, if anything.
    Taken(Option<Release>),
    /// The set was given up meanwhile: answer VETO, and the array has to give up what the call may have made.
    Stale(Release),
    /// Another call of the same kind was quicker: answer VETO, leave the set alone.
    Overtaken,
}

/// A set that the array should give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The set.
    pub set: SetId,
    /// Also copies that the array holds for reported: right when VSS was told of none, or gave the set up itself.
    pub reported_too: bool,
}
