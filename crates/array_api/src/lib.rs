// SPDX-License-Identifier: MIT OR Apache-2.0
//! The management contract between the VSS provider and the array: the [`Array`] trait, its types, the wire form and
//! the HTTPS client. The only crate that the Windows half and the Linux half share.
//!
//! **Is not** a place for decisions: what a VSS context means is the provider's matter, what a LUN holds the array's.
//!
//! **Shape.** One snapshot set goes prepare, ready, arm, commit, report, map; later, from any host and after any
//! restart, copies are found by their [`LunId`] and mapped, unmapped, deleted, broken or resynced. Each call is
//! idempotent: repeating one whose answer was lost leads to the same state and a success that says so.
//!
//! **I/O model.** Calls block, at most for the `within` that the caller gives, and may come from several threads at
//! once: an abort has to pass a blocked commit. [`HttpsArray`] speaks JSON over HTTPS (`docs/api.md`,
//! `docs/openapi.json`) on connections that it keeps warm.
//!
//! **Error model.** [`ArrayError`]: a kind for machines, a message and a remedy for people. [`ArrayErrorKind`] has one
//! HTTP status each; the mapping is in this crate, for both sides.

mod enrolment;
mod error;
mod group;
pub mod http1;
mod https;
mod identity;
mod tls;
mod types;
pub mod wire;

#[cfg(feature = "simulation")]
pub mod conformance;
#[cfg(feature = "simulation")]
pub mod simulated;

pub use enrolment::{Enrolment, EnrolmentError, KeyPin, Token};
pub use error::{ArrayError, ArrayErrorKind, ErrorBody};
pub use group::ArrayGroup;
pub use https::HttpsArray;
pub use identity::{Designator, IdentityError, LunId, LunIdentity, Oui, SCSI_PRODUCT, SCSI_VENDOR};
pub use tls::key_pin_of_certificate;
pub use types::{
    AbortOutcome, Armed, ArrayInfo, CONTRACT_VERSION, Capabilities, CheckAnswer, CheckRequest,
    CommitReport, CopyInfo, CopyNeeds, CopyReport, DeleteOutcome, LunInfo, LunRole, LunState,
    OLDEST_CONTRACT_VERSION, Orphan, PrepareOutcome, PrepareRequest, Readiness, ResyncId,
    ResyncPair, ResyncStatus, SetId, SnapshotId, SpaceLevel,
};

use std::time::Duration;

/// What an array does for a provider. The daemon, the HTTPS client and the simulated array of the provider's tests
/// all implement it, and the same suite runs against each.
///
/// **Duties of an implementation.** Each call is atomic: it did all it was asked or changed nothing (an unknown outcome
/// is possible only for [`ArrayErrorKind::TimedOut`] and [`ArrayErrorKind::Unreachable`]). `within` bounds the call from
/// the caller's view; past it the result is [`ArrayErrorKind::TimedOut`], whatever the array does later. The caller is
/// one host, known by its token; "this host" below means that one.
///
/// **What callers may rely on.** A set that was prepared by this host and neither reported nor aborted is discarded
/// when this host prepares another set (a host has one set in progress, spec ST and LIM-9): so a provider that was
/// killed leaves nothing for ever (SEQ-40).
pub trait Array: Send + Sync {
    /// Who the array is, what it can do, and how much space it has.
    fn info(&self, within: Duration) -> Result<ArrayInfo, ArrayError>;

    /// What the array knows of each LUN, in the order asked; `None` for a LUN it does not have. Never fails for an
    /// unknown LUN, and answers for LUNs that are not mapped to this host too (ALS-11).
    fn query(&self, within: Duration, luns: &[LunId]) -> Result<Vec<Option<LunInfo>>, ArrayError>;

    /// Whether a copy of these LUNs could be prepared now: mapped to this host, healthy, space and limits (ALS-4), and needs that
    /// the array's abilities meet ([`CopyNeeds::met_by`]).
    /// Allocates nothing (ALS-9).
    fn check(&self, within: Duration, request: &CheckRequest) -> Result<CheckAnswer, ArrayError>;

    /// Adds the LUNs of one shadow copy to a set and starts preparing one target per distinct source LUN of the set
    /// (SEQ-20). Returns quickly (BPS-1). The same (set, snapshot, LUNs) again changes nothing.
    ///
    /// # Errors
    /// `WrongState` once the set is armed or later, `UnknownLun`, `Forbidden` (not mapped to this host), `NoSpace`,
    /// `LimitReached`, `NotSupported`.
    fn prepare(
        &self,
        within: Duration,
        set: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError>;

    /// Whether every target of the set can be committed at once (EPS-2). Waits for that, at most `within`, and then
    /// answers `Preparing` rather than an error. Called again once a minute while a ready set waits for its `arm`: what that
    /// will need, connections above all, has to last from each call to the next. An `arm` may come while the call is under way.
    fn ready(&self, within: Duration, set: SetId) -> Result<Readiness, ArrayError>;

    /// PreCommit: checks, writes back dirty data and starts the deadline after which the array refuses to capture.
    /// Takes no fence: Windows flushes its file systems after this (design, "One array call commits").
    fn arm(&self, within: Duration, set: SetId) -> Result<Armed, ArrayError>;

    /// Captures all LUNs of the set at one instant, durably, under one write fence of at most 2 s.
    ///
    /// # Errors
    /// `WrongState` (not armed), `DeadlinePassed`, `FenceTimeout`, `NoSpace`: nothing was captured.
    fn commit(&self, within: Duration, set: SetId) -> Result<CommitReport, ArrayError>;

    /// The copies of `sources`, in that order, and marks them REPORTED (GTL-12). Repeatable; always the same answer.
    fn report(
        &self,
        within: Duration,
        set: SetId,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError>;

    /// Gives a set up: discards what was reserved or captured. With `reported_too`, also reported copies, unless
    /// broken or mapped to another host (SEQ-33). A set that is not known (any more) is `UnknownSet`.
    fn abort(
        &self,
        within: Duration,
        set: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError>;

    /// Maps copies read/write to this host, all or none, and returns when the target shows them (LOC-1, LOC-4). A copy
    /// named twice or mapped already is fine; a map that was read-only becomes read/write (LOC-10).
    ///
    /// # Errors
    /// `UnknownLun`; `NotACopy` (an original or a broken copy, LOC-11); `WrongState` (a copy that was not reported yet);
    /// `Forbidden` (made by another host group); `LimitReached` (no LUN number is free).
    fn map(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError>;

    /// Unmaps copies from this host only, all or none, and keeps the data (OLS-1, OLS-7). Not mapped is fine.
    ///
    /// # Errors
    /// `UnknownLun`; `NotACopy` (an original or a broken copy: which host sees those is the administrator's matter);
    /// `WrongState` (a copy that was not reported yet); `Forbidden` (made by another host group).
    fn unmap(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError>;

    /// Unmaps a copy from this host and deletes it (OLE-5), unless another host maps it (OLE-7). Returns once it is durably
    /// decided; what takes long goes on in the background, also after a restart of the array.
    ///
    /// # Errors
    /// `NotACopy` (an original or a broken copy, OLE-6), `WrongState` (not reported yet), `Forbidden`.
    fn delete(&self, within: Duration, copy: LunId) -> Result<DeleteOutcome, ArrayError>;

    /// Copies become ordinary LUNs that no `map`, `unmap` or `delete` of a provider touches any more (OLS-6), all or none.
    /// Their maps stay, but with `unmap_too` this host's, which goes in the same step (OLS-3): afterwards it would be out of
    /// a provider's reach. A LUN that is ordinary already, an original too, stays what it is and is a success: the answer of
    /// an earlier break may have been lost, and an array does not have to remember what was a copy once.
    ///
    /// # Errors
    /// `UnknownLun`; `WrongState` (a copy that was not reported yet); `Forbidden` (made by another host group); `NotACopy`
    /// (`unmap_too`, and an ordinary LUN that is mapped to this host: no repetition meets that).
    fn break_copies(
        &self,
        within: Duration,
        copies: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError>;

    /// Starts to overwrite each pair's target with the copy's contents (RSY-2), all or none. A target of another size gets
    /// the copy's (RSY-4). Needs the resync right. The same id again starts nothing and answers the present state.
    ///
    /// # Errors
    /// Nothing was started: `InvalidRequest`, `UnknownLun`, `NotACopy`, `Forbidden`, `WrongState`, `NoSpace`, `NotSupported`.
    fn resync(
        &self,
        within: Duration,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError>;

    /// How a resync of this host stands. Waits for its end, at most `wait` (which is part of `within`), and then answers
    /// `Running` rather than an error. An array has to remember one for an hour after its end, restarts excepted.
    ///
    /// # Errors
    /// `UnknownResync`.
    fn resync_status(
        &self,
        within: Duration,
        id: ResyncId,
        wait: Duration,
    ) -> Result<ResyncStatus, ArrayError>;

    /// Stops a resync of this host and answers how it ended: what had ended before stays as it was.
    ///
    /// # Errors
    /// `UnknownResync`.
    fn cancel_resync(&self, within: Duration, id: ResyncId) -> Result<ResyncStatus, ArrayError>;

    /// Copies that this host had made and that no host ever mapped: RESERVED, CAPTURED, or REPORTED (SEQ-40). An array
    /// cannot tell a set in progress from a forgotten one, so those of the set in progress are listed too. Reserved and
    /// captured ones go with the host's next set; reported ones are only listed, for the administrator.
    fn orphans(&self, within: Duration) -> Result<Vec<Orphan>, ArrayError>;
}
