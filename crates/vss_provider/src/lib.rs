// SPDX-License-Identifier: MIT OR Apache-2.0
//! The portable core of the VSS hardware provider: owned LUN descriptions, contexts, the state machine of the snapshot set
//! in progress, identity, the error matrix and the event catalogue. Every decision of the provider is made here.
//!
//! **Is not** COM: raw pointers, NULLs, apartments, the registry and the event log are the Windows shell's matter, which
//! converts and calls [`Provider`]. It has no sockets (the array is an [`array_api::Array`]), no clock ([`Clock`]) and no
//! threads of its own.
//!
//! **I/O model.** [`Provider`]'s methods block on the array, each within its budget ([`budget`], TIME-9), and are callable
//! from any thread: AbortSnapshots overtakes a blocked EndPrepareSnapshots or CommitSnapshots, and AreLunsSupported and
//! FillInLunInfo never wait for a lock that is held over array I/O (GEN-10). Between PreCommitSnapshots and thaw no event is
//! written, and a [`Window`] that the edge supplies serves the memory that is needed.
//!
//! **Error model.** A method answers an [`Hresult`] of the matrix 8.2 ([`errors`]); every failure that is not the
//! caller's malformed input or unknown set goes with exactly one [`Event`] that names cause and remedy.
//!
//! **State.** Only the set in progress (ROLE-6, ROLE-7). Everything later is answered from the LUN description and the tags
//! that the array keeps, on any host, after any restart.
//!
//! The requirement ids (ALS-1, SEQ-33, ...) are those of the provider's specification.

pub mod budget;
pub mod context;
mod description;
pub mod errors;
mod events;
mod hresult;
pub mod identity;
mod provider;
pub mod state;
mod window;

pub use budget::Clock;
pub use description::{
    BUS_TYPE_SCSI, DEVICE_ID_VERSION, Interconnect, LUN_DESCRIPTION_VERSION, LunDescription,
    StorageIdentifier,
};
pub use errors::Method;
pub use events::{Event, EventKind, EventSink, Journal, QUEUE_MAX, Severity};
pub use hresult::Hresult;
pub use provider::{
    DO_MASK_LUNS, NOTIFY_LUN_POST_RECOVERY, NOTIFY_LUN_PRE_RECOVERY, NOTIFY_READ_WRITE, Provider,
    ResyncOperation, Settings,
};
pub use window::Window;
