// SPDX-License-Identifier: MIT OR Apache-2.0
//! One real shadow copy set, made and verified on this machine: array, iSCSI, NTFS, the provider's core and the rig as VSS.
//! Everything is on loopback and in one scratch folder, and is ended and removed afterwards, whatever happens.

mod checks;
mod creation;
mod files;
mod late;
mod ntfs;
mod numbers;
mod report;
mod world;

pub use report::{Check, Report, Windows};

use crate::array::Binaries;
use crate::host::Recorded;
use crate::interrupt::Interrupt;
use checks::Checks;
use creation::Created;
use ntfs::Tools;
use std::time::Instant;
use world::{Say, World};

/// What `--sabotage` spoils. Each must turn the verdict to failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// A byte of a file in a copy is flipped.
    Flip,
    /// The second LUN is captured later than the first.
    Late,
    /// GetTargetLuns is taken to have told a wrong designator.
    Identity,
    /// OnLunEmpty is not called for the second LUN.
    Leak,
}

impl Sabotage {
    /// The check that has to catch it.
    pub fn caught_by(self) -> &'static str {
        match self {
            Self::Flip => checks::FILES,
            Self::Late => checks::ONE_INSTANT,
            Self::Identity => checks::PAGES,
            Self::Leak => checks::LUN_COUNT,
        }
    }
}

/// How to run the demo.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave array, export and mount running.
    pub keep: bool,
    /// Spoil one thing.
    pub sabotage: Option<Sabotage>,
}

/// Runs the demo. `say` gets progress, a line at a time.
///
/// # Errors
/// Only when it did not come to the set: a program is missing, or array, NTFS or writers could not be set up. What fails
/// later is in the report, and the verdict then is failed.
pub fn run(
    options: &Options,
    binaries: &Binaries,
    interrupt: &Interrupt,
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    let tools = Tools::find()?;
    let start = Instant::now();
    let mut report = Report::default();
    let world = World::build(tools, binaries, interrupt, say)?;
    let result = run_in(world, options, &mut report, say);
    report.failure = result.err().map(|error| format!("{error:#}"));
    report.elapsed = start.elapsed();
    Ok(report)
}

fn run_in(
    mut world: World,
    options: &Options,
    report: &mut Report,
    say: Say<'_>,
) -> anyhow::Result<()> {
    let provider = world.load_provider(options.sabotage);
    let result = make_and_check(&mut world, &provider, options, report, say);
    report.calls = provider.calls();
    // An array that ended explains whatever else failed.
    result.or_else(|error| world.daemon.check_alive().and(Err(error)))?;
    if options.keep {
        // The set of the report is deleted; another one stays, so that there is something to look at.
        world.create_set(&world.load_provider(None), None)?;
        report.kept = Some(world.keep()?);
    }
    Ok(())
}

fn make_and_check(
    world: &mut World,
    provider: &Recorded,
    options: &Options,
    report: &mut Report,
    say: Say<'_>,
) -> anyhow::Result<()> {
    say("4/7 shadow copy set of both LUNs, in VSS's order");
    let created = world.create_set(provider, options.sabotage)?;
    report.windows = Some(created.windows);
    if options.sabotage == Some(Sabotage::Flip) {
        world.flip_a_byte(created.copies[0].lun)?;
    }
    say("5/7 checks as the host");
    let mut checks = Checks::default();
    world.check_copies(&created, &mut checks);
    say("6/7 OnLunEmpty for both copies");
    let removed = remove(world, provider, &created, options.sabotage, &mut checks);
    say("7/7 verdict");
    report.checks = checks.0;
    world.interrupt.check()?;
    removed
}

/// Step 6. The checks made before it are kept even when it fails.
fn remove(
    world: &mut World,
    provider: &Recorded,
    created: &Created,
    sabotage: Option<Sabotage>,
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let held = world.usage()?;
    let _ = world.session.take_attentions();
    let mut doomed = created.set.clone();
    if sabotage == Some(Sabotage::Leak) {
        doomed.volumes.truncate(1);
    }
    doomed.delete(provider)?;
    let attention = world.await_lun_change()?;
    world.check_removed(created, held, attention, checks);
    Ok(())
}
