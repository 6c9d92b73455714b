// SPDX-License-Identifier: MIT OR Apache-2.0
//! Windows hosts on a Linux desk: the provider's real executable in a Wine prefix of its own, called through real COM.
//!
//! **Life of a prefix.** Booting one takes 12 s, so a template is made once for each set of parts ([`WindowsParts`]) and copied
//! for each host, its programs by hard links. All of it lies in the folder `wine` beside the parts. A shell outside the rig (the keeper)
//! ends a prefix as soon as the rig closes a pipe or is dead, however it died.
//!
//! **What Wine cannot show** is listed in the README: access checks, the event log read back, and more.

mod host;
mod keeper;
mod parts;
mod programs;
mod store;
mod usage;

pub use host::{Hosting, WineHost};
pub use parts::WindowsParts;
pub use usage::ProcessUse;

use crate::CommandOutput;
use crate::interrupt::Interrupt;
use anyhow::Context as _;
use std::time::Duration;
use store::Run;

/// How long a program of [`run_once`] may run.
const PROGRAM_LIMIT: Duration = Duration::from_secs(600);

/// What Wine calls itself.
///
/// # Errors
/// When there is none.
pub fn version() -> anyhow::Result<String> {
    programs::WinePrograms::find()?.version()
}

/// Runs a Windows program, given with its arguments, in a fresh prefix.
///
/// # Errors
/// When it could not be run, or something of it could not be ended.
pub fn run_once(
    parts: &WindowsParts,
    interrupt: &Interrupt,
    program: &[String],
) -> anyhow::Result<CommandOutput> {
    let (program, arguments) = program.split_first().context("no program")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let run = Run::start(parts, interrupt)?;
    let output = run
        .prefix
        .run(interrupt, PROGRAM_LIMIT, program, &arguments, None)?;
    run.end()?;
    Ok(output)
}
