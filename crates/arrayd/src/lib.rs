// SPDX-License-Identifier: MIT OR Apache-2.0
//! The array: `shadowlund`, which keeps LUNs, hosts and shadow copy sets and shows LUNs over iSCSI, and `shadowlun`, the
//! administrator's command line.
//!
//! **Is not** a store (`lun_store`), a target (`iscsi`) or a contract (`array_api`): it decides who may do what, in
//! which order things become true, and what survives a crash.
//!
//! **Shape.** [`service`] holds all decisions, blocking and callable from many threads, with [`sets`] as the table of a
//! set's life. [`api`] is its HTTPS face for hosts, [`admin`] the words of its unix socket for administrators, [`exports`]
//! its iSCSI face. [`daemon`] starts and ends everything, [`cli`] is the command line.
//!
//! **I/O model.** The faces are asynchronous (tokio); each call of the service runs on a blocking thread and goes to its
//! end even when its client has gone. **Error model.** [`array_api::ArrayError`] for calls, [`daemon::StartError`] for
//! a daemon that does not start: one line with cause and remedy.

pub mod admin;
pub mod api;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod durable_file;
pub mod exports;
mod key;
mod listen;
mod notify;
pub mod numbers;
pub mod record;
pub mod service;
pub mod sets;
pub mod size;
