// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plays the VSS service: calls a hardware provider in VSS's order and judges what comes back, against a simulated array
//! or a real one. `shadowlun-rig demo` makes and verifies one real shadow copy set; `shadowlun-rig scenarios` runs the test cases of
//! the specification.
//!
//! **Is not** part of the product: it shares no code with the array but the management contract, looks at LUNs through an
//! initiator from outside (libiscsi), and knows a provider only through [`host::ProviderHost`].
//!
//! **I/O model.** Blocking calls on a few threads; children (daemon, qemu-storage-daemon, ntfs-3g) are ended by process id,
//! also after Ctrl-C.
//!
//! **Error model.** This is the inside of a program: what goes wrong is told to a person, so most functions give
//! [`anyhow::Error`]; the initiator and the parsers have typed errors. A finding about the provider is not an error but an
//! outcome.

pub mod array;
pub mod bench;
pub mod com;
pub mod demo;
pub mod description;
pub mod host;
pub mod in_process;
pub mod initiator;
pub mod interrupt;
mod judge;
mod process;
mod relay;
pub mod report;
pub mod scenarios;
pub mod sequence;
pub mod vss_writes;
pub mod wine;
