// SPDX-License-Identifier: MIT OR Apache-2.0
//! An iSCSI target (RFC 7143, error recovery level 0): sessions in front of [`scsi`] logical units.
//!
//! **Is** discovery and normal sessions, one connection each and many of them at once; who sees what is asked per
//! initiator name through [`Access`]. **Is not** an authenticator: AuthMethod is None, and a target listens on loopback
//! addresses only until there is CHAP. No digests, no multiple connections per session.
//!
//! **Shape.** PDUs, text keys, login and session are state machines without I/O: bytes go in, PDUs and work come out.
//! At the edge a thread per connection reads, workers shared by all sessions execute commands on the synchronous
//! devices, and whoever has something to send sends it without waiting; a second thread per connection takes over
//! when the socket is full. A write that meets a closed fence waits there as an entry in a table, in no thread.
//!
//! **Error model.** [`StartError`] says why a target does not start. Nothing that a peer sends makes the target panic: it
//! gets a status, a Reject, or its connection closed, and the log says why. All memory that a peer can make the target
//! hold is bounded.

mod config;
mod conn;
mod core;
#[cfg(test)]
mod core_tests;
mod latch;
mod login;
mod manage;
mod negotiate;
mod outbound;
mod pdu;
mod pool;
mod registry;
mod session;
mod target;
mod task;
mod text;
mod view;

pub use config::{SessionInfo, StartError, TargetConfig};
pub use target::Target;
pub use view::{Access, HostView};
