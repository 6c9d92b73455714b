// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the provider tells people: one event per failure, with cause and remedy (ERR-3, LOG-4).
//!
//! Between PreCommitSnapshots and thaw nothing is written (ERR-6, TIME-20): the [`Journal`] queues, bounded, and counts what
//! did not fit.

mod journal;

pub use journal::{Journal, QUEUE_MAX};

use crate::{Hresult, Method};
use array_api::{ArrayErrorKind, LunId, SetId, SnapshotId};
use std::fmt;

/// Severity in the Windows event log (LOG-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Information,
    /// Something is left over or was kept.
    Warning,
    /// A call failed.
    Error,
}

macro_rules! catalogue {
    ($(#[doc = $when:literal] $name:ident = $id:literal, $severity:ident, $title:literal, $remedy:literal;)*) => {
        /// The event catalogue. Ids are stable: scripts and the message file know them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum EventKind {
            $(#[doc = $when] $name = $id,)*
        }

        impl EventKind {
            /// Every kind, in order of ids.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Id in the message file.
            pub fn id(self) -> u32 {
                self as u32
            }

            /// Severity.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// What happened, one sentence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What to do, one sentence.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }

            /// When it is written, and the requirement behind it.
            pub fn when(self) -> &'static str {
                match self { $(Self::$name => $when.trim_ascii(),)* }
            }
        }
    };
}

catalogue! {
    /// After each captured set, once writes flow again; the cause tells the commit's milliseconds.
    SetCaptured = 100, Information, "A shadow copy set was captured.", "Nothing is to be done.";
    /// AbortSnapshots gave a set in progress up (ABT-1).
    SetAborted = 101, Information, "VSS gave a shadow copy set up.", "See the VSS and application events of the same time for the reason.";
    /// No call came for a set for the time of `idle_set_max_s` (SEQ-7).
    SetForgotten = 102, Information, "A shadow copy set that nobody continued was released.", "Look for a backup program that ended before it created its shadow copies.";
    /// AreLunsSupported said FALSE for a reason that a person can change; not for every call (ALS-10, LOG-5).
    VolumeRefused = 103, Information, "A volume on this array cannot be shadow-copied at the moment; Windows may use another provider.", "Remove the cause and repeat the backup.";
    /// The array did not carry a discard out, and no call had to fail by it; it is repeated (SEQ-40).
    LeftoverPending = 200, Warning, "A given-up shadow copy set could not be discarded on the array yet.", "Nothing, if the array is back soon: the next set discards it; else look at 'shadowlun orphans' on the array.";
    /// OnLunEmpty for a copy that another host maps (OLE-7).
    KeptMappedElsewhere = 201, Warning, "A deleted shadow copy was kept on the array, because another host uses it.", "Delete it on that host, or with 'shadowlun lun delete' when it is no longer needed.";
    /// An abort that asks for reported copies too met copies that others may use (SEQ-33).
    CopiesKept = 202, Warning, "A given-up shadow copy set was not discarded whole: copies are broken or mapped to another host.", "Delete them there, or with 'shadowlun lun delete' when they are no longer needed.";
    /// After the thaw, when the queue was too short (LOG-6).
    EventsLost = 203, Warning, "Events were lost, because too many came while the volumes were frozen.", "See the events before this one.";
    /// IVssAsync::Cancel stopped a resync (ASY-4).
    ResyncCancelled = 204, Warning, "A resynchronisation was cancelled; the contents of its target LUNs are undefined.", "Repeat the resynchronisation, or restore the LUNs from a backup, before anything uses them.";
    /// The array is under its administrator's threshold; asked once a minute (ERR-5, CTX-13, LOG-5).
    SpaceLow = 205, Warning, "The array's free space is low.", "Free space on the array or enlarge its store, before writes and new shadow copies fail.";
    /// A break with MAKE_READ_WRITE, and less free space than the LUNs are large (OLS-8).
    SpaceNotGuaranteed = 206, Warning, "Shadow copies became ordinary LUNs, and the array cannot promise the space for all writes to them.", "Free space on the array or enlarge its store, before these LUNs are written to.";
    /// A call found no connection to the array, or no enrolment or settings that can be used.
    ArrayUnreachable = 300, Error, "The array cannot be reached.", "Check that shadowlund runs, the network between host and array, and the enrolled address.";
    /// A call's time was over before the array answered.
    ArrayTimedOut = 301, Error, "The array did not answer in time.", "Check the array's load and its log.";
    /// The array refused the token, or its host has no right to this.
    ArrayDenied = 302, Error, "The array denies this host the operation.", "Check this host's enrolment, its host group and its rights with 'shadowlun host list'.";
    /// A fault of the array, or an answer that the contract does not allow.
    ArrayFailed = 303, Error, "The array failed.", "See the array's log; update array and provider if their versions differ.";
    /// A set or a resync needs more space than the array has (EPS-4, RSY-17).
    NoSpace = 304, Error, "The array has not enough free space.", "Free space on the array or enlarge its store.";
    /// A documented limit of the array was met (LIM-5, LIM-6).
    LimitReached = 305, Error, "A limit of the array is reached.", "Delete shadow copies that are no longer needed.";
    /// A method was called in a state of the set in which it has no meaning (SEQ-9).
    WrongOrder = 306, Error, "A call came in a state in which it is impossible.", "Repeat the backup; if it happens again, another program disturbs the creation of shadow copies.";
    /// A method named an unknown set and its code cannot say so (SEQ-10).
    SetUnknown = 307, Error, "A call named a shadow copy set that is not in progress.", "Repeat the backup.";
    /// A method was handed a LUN of another maker, or one that this array does not have (BPS-4, LOC-11, OLE-6).
    NotOurLun = 308, Error, "A LUN is not on this array.", "Choose the provider that belongs to the LUN, or let Windows choose.";
    /// Import, deletion or masking of a LUN that is no shadow copy (LOC-11, OLE-6).
    NotACopy = 309, Error, "A LUN is not a shadow copy: it is an original, or it was broken out of its set.", "Manage it as an ordinary LUN.";
    /// BeginPrepareSnapshot asked for attributes that the array cannot give (BPS-4, BPS-7).
    ContextRefused = 310, Error, "The kind of shadow copy that was asked for is not supported.", "Ask for another kind; see the cause.";
    /// The array refused to capture, because its deadline from PreCommit had passed (COM-9).
    DeadlinePassed = 311, Error, "The capture came too late after it was prepared.", "Repeat the backup; if it happens again, reduce the load on the host.";
    /// The array could not bring writes to rest within its fence of 2 s.
    FenceTimeout = 312, Error, "Writes on the array did not come to rest in time.", "Repeat the backup; if it happens again, see the array's load.";
    /// A call was still at work when the set was given up (EPS-6, ABT-9).
    Interrupted = 313, Error, "A call was cut short, because VSS gave the set up.", "See the VSS events of the same time for the reason.";
    /// A shadow copy that VSS knows is not on the array (LOC-9).
    LunGone = 314, Error, "The array does not have this LUN (any more).", "Check with 'shadowlun lun list' whether it was deleted, or is on another array.";
    /// BeginPrepareSnapshot for a set that had ended (BPS-10).
    SetReused = 315, Error, "A shadow copy set was begun again after it had ended.", "Repeat the backup.";
    /// CommitSnapshots took longer than its time (COM-9, TIME-10).
    CommitTooLate = 316, Error, "The capture took longer than Windows holds writes; the set was given up.", "See the array's load and the network to it.";
    /// ResyncLuns with LUNs that do not go together (RSY-12).
    ResyncRefused = 317, Error, "The LUNs cannot be resynchronised like this.", "Choose a target that is on the same array and is not the shadow copy itself.";
    /// A resync failed after its start, or it is not known what became of it (ASY-2).
    ResyncFailed = 318, Error, "A resynchronisation did not come to its end; the contents of its target LUNs are undefined.", "Repeat the resynchronisation, or restore the LUNs from a backup, before anything uses them.";
    /// The array refuses new data; asked once a minute (ERR-5, CTX-13, LOG-5).
    SpaceExhausted = 319, Error, "The array has no free space left: writes to its LUNs and to their shadow copies fail.", "Free space on the array or enlarge its store; then check the volumes on it.";
    /// The array did not carry a discard out, and a call failed by it: AbortSnapshots, or the set's next begin (ABT-8, LOG-5).
    DiscardFailed = 320, Error, "A given-up shadow copy set is still on the array.", "Nothing, if the array is back soon: the next set discards it; else look at 'shadowlun orphans' on the array.";
    /// A call could not be carried out for want of memory on this computer (ERR-5).
    OutOfMemory = 397, Error, "This computer has not enough free memory.", "Close programs or give the computer more memory, then repeat the backup.";
    /// The process could not begin to serve, or could not end in order (SEC-4, SEQ-40).
    ServerFailed = 398, Error, "The provider could not start, or could not end in order.", "Remove the cause, then repeat the backup; the provider starts by itself.";
    /// A method, or a thread of the provider, met an error of its own (GEN-7).
    InternalError = 399, Error, "The provider met an error of its own.", "Report it to the makers of the provider, with this text; repeat the backup meanwhile.";
}

impl EventKind {
    /// The kind that tells of an array error.
    pub fn of(kind: ArrayErrorKind) -> Self {
        use ArrayErrorKind as Kind;
        match kind {
            Kind::Unauthenticated | Kind::Forbidden => Self::ArrayDenied,
            Kind::UnknownResync => Self::ResyncFailed,
            Kind::UnknownSet => Self::SetUnknown,
            Kind::UnknownLun => Self::LunGone,
            Kind::WrongState => Self::WrongOrder,
            Kind::NotACopy => Self::NotACopy,
            Kind::NoSpace => Self::NoSpace,
            Kind::LimitReached => Self::LimitReached,
            Kind::NotSupported => Self::ContextRefused,
            Kind::DeadlinePassed => Self::DeadlinePassed,
            Kind::FenceTimeout => Self::FenceTimeout,
            Kind::Unreachable => Self::ArrayUnreachable,
            Kind::TimedOut => Self::ArrayTimedOut,
            Kind::InvalidRequest | Kind::AlreadyExists | Kind::Internal | Kind::Protocol => {
                Self::ArrayFailed
            }
        }
    }
}

/// One entry for the Application log (LOG-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// In which call.
    pub method: Method,
    /// Of which set.
    pub set: Option<SetId>,
    /// Of which shadow copy.
    pub snapshot: Option<SnapshotId>,
    /// With which LUNs.
    pub luns: Vec<LunId>,
    /// Why, as far as is known: one sentence without a full stop.
    pub cause: String,
    /// The array's own advice, if it gave one.
    pub advice: Option<String>,
    /// What the call answered.
    pub code: Hresult,
}

impl Event {
    /// In which call, with what, and what it answered: the operation, ids and code of LOG-4.
    pub fn context(&self) -> String {
        // First what is never to be missing: the log takes so many characters of it, and a set may have thousands of LUNs.
        let mut context = format!("Operation: {}; code {:?}", self.method, self.code);
        if let Some(set) = self.set {
            context += &format!("; set {set}");
        }
        if let Some(snapshot) = self.snapshot {
            context += &format!("; shadow copy {snapshot}");
        }
        for lun in &self.luns {
            context += &format!("; LUN {lun}");
        }
        context
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.kind.title())?;
        writeln!(f, "Cause: {}.", self.cause)?;
        writeln!(f, "{}", self.context())?;
        write!(f, "What to do: {}", self.kind.remedy())?;
        match &self.advice {
            Some(advice) => write!(f, " The array says: {advice}."),
            None => Ok(()),
        }
    }
}

/// Where events go: the Application log on Windows, a list in tests.
///
/// `report` may block and do I/O; the provider calls it only while writes flow, and holds no lock meanwhile. It must not
/// call the provider back.
pub trait EventSink: Send + Sync {
    /// Writes one event.
    fn report(&self, event: &Event);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// LOG-4: a message file needs one text per id.
    #[test]
    fn catalogue_ids_are_distinct_and_every_text_is_there() {
        let ids: HashSet<_> = EventKind::ALL.iter().map(|k| k.id()).collect();
        assert_eq!(ids.len(), EventKind::ALL.len());
        for kind in EventKind::ALL {
            assert!(kind.title().ends_with('.') && kind.remedy().ends_with('.'));
            assert!(kind.when().ends_with('.'));
        }
    }

    #[test]
    fn display_tells_cause_context_code_and_remedy() {
        let event = Event {
            kind: EventKind::NoSpace,
            method: Method::EndPrepareSnapshots,
            set: Some(SetId::from_u128(1)),
            snapshot: None,
            luns: vec![LunId(2)],
            cause: "3 bytes are free".to_owned(),
            advice: Some("free 4".to_owned()),
            code: Hresult::VSS_E_INSUFFICIENT_STORAGE,
        };
        let text = event.to_string();
        for part in [
            "not enough free space",
            "Cause: 3 bytes are free.",
            "EndPrepareSnapshots",
            "00000000-0000-0000-0000-000000000001",
            "LUN 00000000000000000000000000000002",
            "VSS_E_INSUFFICIENT_STORAGE (0x8004231F)",
            "Free space on the array",
            "The array says: free 4.",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
    }
}
