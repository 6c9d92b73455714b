// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-provider.exe`: the VSS hardware provider as an out-of-process COM server, and its installer. A shell around
//! [`vss_provider::Provider`], which makes every decision of the provider.
//!
//! **Is not** portable: COM, service, registry, event log and DPAPI exist on Windows only and are compiled there only. What
//! decides something (what is registered in which order and undone how, what a file of ours means, when the server may end) is
//! plain code behind small traits and is compiled and tested everywhere.
//!
//! **I/O model.** COM's own threads call the methods, in the multithreaded apartment; one thread a process calls
//! [`vss_provider::Provider::tick`].
//!
//! **Error model.** Methods answer the core's [`vss_provider::Hresult`]; a panic becomes VSS_E_PROVIDER_VETO and an event,
//! never a fault across the border (GEN-7). Commands tell a person what failed, why and what to do; exit codes 0 done, 1 failed, 2 wrong usage.

#[cfg(windows)]
pub mod com;
pub mod commands;
pub mod data_folder;
pub mod doctor;
pub mod enrolment;
pub mod event_log;
pub mod event_table;
pub mod exposure;
pub mod guard;
pub mod ids;
pub mod lifetime;
pub mod live;
pub mod log_reader;
pub mod memory;
pub mod message_file;
pub mod registration;
#[cfg(windows)]
pub mod service;
pub mod settings;
pub mod site;
pub mod status;
#[cfg(windows)]
pub mod sys;
pub mod vendor;
