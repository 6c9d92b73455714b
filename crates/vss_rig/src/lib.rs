// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays the VSS service: calls a hardware provider in VSS's order and judges what comes back, against a simulated array
//! or a real one. `shadowlun-rig demo` makes and verifies one real shadow copy set; `shadowlun-rig scenarios` runs the test cases of
//! the specification.
//!
//! **Is not** part of the product: it shares no code with the array but the management contract, looks at LUNs through an
//! initiator from outside (libiscsi), and knows a provider only through [`host::ProviderHost`].
//!
//! **Systems.** On Linux everything, with Wine as the Windows. On Windows [`array::AdapterArray`] and what it needs: `shadowlun-rig run` on the
//! machine's own COM and VSS.
//!
//! **I/O model.** Blocking calls on a few threads; children (daemon, qemu-storage-daemon, ntfs-3g) are ended by process id,
//! also after Ctrl-C.
//!
//! **Error model.** This is the inside of a program: what goes wrong is told to a person, so most functions give
//! [`anyhow::Error`]; the initiator and the parsers have typed errors. A finding about the provider is not an error but an
//! outcome.

mod agent;
pub mod array;
pub mod cases;
pub mod com;
mod events;
pub mod host;
pub mod interrupt;
mod judge;
mod process;
pub mod report;
pub mod scenarios;
pub mod sequence;
mod standin;
#[cfg(windows)]
pub mod this_machine;

// What needs Linux: the project's own array, Wine, the outside initiator, NTFS.
#[cfg(target_os = "linux")]
pub mod bench;
#[cfg(target_os = "linux")]
pub mod demo;
#[cfg(target_os = "linux")]
pub mod description;
#[cfg(target_os = "linux")]
pub mod in_process;
#[cfg(target_os = "linux")]
pub mod initiator;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
pub mod vss_writes;
#[cfg(target_os = "linux")]
pub mod wine;

pub use process::CommandOutput;
