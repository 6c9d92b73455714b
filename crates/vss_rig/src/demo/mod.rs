// SPDX-License-Identifier: MIT OR Apache-2.0
//! One real shadow copy set, made and verified on this machine: array, iSCSI, NTFS, the rig as VSS, and the provider's real
//! executable behind COM on a Windows host under Wine (or its portable core in this process). Everything is on loopback and
//! in scratch folders, and is ended and removed afterwards, whatever happens.

mod checks;
mod creation;
mod files;
mod installation;
mod ntfs;
mod numbers;
mod report;
mod steps;
mod world;

pub(crate) use installation::{CLASS_ID, PROVIDER_ID};
pub use report::{Check, Report, Windows};

use crate::array::Binaries;
use crate::host::{ProviderHost as _, Recorded};
use crate::in_process::InProcess;
use crate::interrupt::Interrupt;
use crate::wine::{WindowsParts, WineHost};
use anyhow::ensure;
use array_api::HttpsArray;
use checks::Checks;
use creation::Created;
use installation::{Installed, Starting};
use ntfs::Tools;
use std::sync::Arc;
use std::time::Instant;
use steps::Steps;
use vss_provider::Hresult;
use world::World;

/// What `--sabotage` spoils. Each must turn the verdict to failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// A byte of a file in a copy is flipped.
    Flip,
    /// The second LUN's copy shows a later instant than the first's.
    Late,
    /// GetTargetLuns is taken to have told a wrong designator.
    Identity,
    /// OnLunEmpty is not called for the second LUN.
    Leak,
    /// A key of the provider is in the registry after uninstall (not with --in-process).
    Registry,
}

impl Sabotage {
    /// The check that has to catch it.
    pub fn caught_by(self) -> &'static str {
        match self {
            Self::Flip => checks::FILES,
            Self::Late => checks::ONE_INSTANT,
            Self::Identity => checks::PAGES,
            Self::Leak => checks::LUN_COUNT,
            Self::Registry => installation::REGISTRY,
        }
    }
}

/// How to run the demo.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the Windows host is made of. `None`: the provider's core in this process, without COM.
    pub windows: Option<WindowsParts>,
    /// Leave array, export and mount running.
    pub keep: bool,
    /// Spoil one thing.
    pub sabotage: Option<Sabotage>,
}

/// Steps with the provider in this process.
const STEPS_IN_PROCESS: usize = 7;
/// Steps through COM: installation and removal come on top.
const STEPS_THROUGH_COM: usize = 9;

/// Runs the demo. `say` gets progress, a line at a time.
///
/// # Errors
/// When it did not come to the provider: a program is missing, or array, NTFS, writers or the Windows host could not
/// be set up; and after a signal. What fails later is in the report, and the verdict then is failed.
pub fn run(
    options: &Options,
    binaries: &Binaries,
    interrupt: &Interrupt,
    say: &dyn Fn(&str),
) -> anyhow::Result<Report> {
    let tools = Tools::find()?;
    let start = Instant::now();
    let parts = options.windows.as_ref();
    let starting = parts.map(|parts| Starting::begin(parts, interrupt));
    let steps = Steps::new(say, parts.map_or(STEPS_IN_PROCESS, |_| STEPS_THROUGH_COM));
    let world = World::build(tools, binaries, interrupt, &steps)?;
    let windows = starting.map(|it| it.wait(&steps)).transpose()?;
    let mut report = Report::default();
    let result = run_in(world, windows, options, &mut report, &steps);
    if result.is_err() {
        // Whoever stopped it knows why; nothing was judged.
        interrupt.check()?;
    }
    report.failure = result.err().map(|error| format!("{error:#}"));
    report.elapsed = start.elapsed();
    Ok(report)
}

fn run_in(
    mut world: World,
    windows: Option<WineHost>,
    options: &Options,
    report: &mut Report,
    steps: &Steps<'_>,
) -> anyhow::Result<()> {
    let result = match windows {
        None => use_provider(&mut world, &load_in_process, options, report, steps),
        Some(windows) => run_through_com(&mut world, windows, options, report, steps),
    };
    // An array that ended explains whatever else failed.
    result.or_else(|error| world.daemon.check_alive().and(Err(error)))?;
    world.interrupt.check()?;
    steps.next("verdict");
    assert!(steps.all_begun(), "fewer steps than were announced");
    if options.keep {
        // Nothing of Wine is worth keeping: another set needs another installation, and Wine's services outlive their user.
        let ended = match options.windows {
            Some(_) => "the two writers, the provider, which is uninstalled, and Wine",
            None => "the two writers and the provider",
        };
        report.kept = Some(world.keep(ended)?);
    }
    Ok(())
}

/// Installation, everything in between, and removal, which ends Wine too.
fn run_through_com(
    world: &mut World,
    windows: WineHost,
    options: &Options,
    report: &mut Report,
    steps: &Steps<'_>,
) -> anyhow::Result<()> {
    let installed = Installed::install(windows, world, &mut Checks(&mut report.checks))?;
    let load = |world: &World| {
        let provider = installed.load()?;
        let pids = installed.provider_pids()?;
        steps.detail(&format!("CoCreateInstance: process {pids:?}"));
        Ok(record(world, provider))
    };
    use_provider(world, &load, options, report, steps)?;
    steps.next("shadowlun-provider.exe uninstall, end of Wine");
    installed.remove(world, options.sabotage, &mut Checks(&mut report.checks))
}

/// Gives a provider that was never used.
type Load<'a> = &'a dyn Fn(&World) -> anyhow::Result<Recorded>;

fn load_in_process(world: &World) -> anyhow::Result<Recorded> {
    let zero = Instant::now();
    let array = Arc::new(HttpsArray::new(&world.enrolment));
    let provider = InProcess::new(array, Arc::new(move || zero.elapsed()));
    Ok(record(world, provider))
}

fn record(world: &World, provider: impl crate::host::ProviderHost + 'static) -> Recorded {
    Recorded::new(Box::new(provider)).with_array_time(world.relay.array_time())
}

/// From the first to the last call of a provider, and its Release.
fn use_provider(
    world: &mut World,
    load: Load<'_>,
    options: &Options,
    report: &mut Report,
    steps: &Steps<'_>,
) -> anyhow::Result<()> {
    steps.next("shadow copy set of both LUNs, in VSS's order");
    let provider = load(world)?;
    let result = make_and_check(world, &provider, options, report, steps);
    report.calls = provider.calls();
    result.map_err(|error| with_events(error, &provider))?;
    drop(provider);
    if options.keep {
        // The set of the report is deleted; another one stays, so that there is something to look at.
        let provider = load(world)?;
        on_load(&provider)?;
        world.create_set(&provider, None)?;
        on_unload(&provider)?;
    }
    Ok(())
}

/// A failure with what the provider itself says about it. The code of a call that never came back means nothing.
fn with_events(error: anyhow::Error, provider: &Recorded) -> anyhow::Error {
    let error = match provider.failure() {
        Some(why) => error.context(why),
        None => error,
    };
    let texts = provider.take_events().into_iter().map(|event| event.text);
    match texts.reduce(|all, text| format!("{all}\n{text}")) {
        Some(texts) => anyhow::anyhow!("{error:#}; the provider logged: {texts}"),
        None => error,
    }
}

fn on_load(provider: &Recorded) -> anyhow::Result<()> {
    let code = provider.on_load();
    ensure!(code == Hresult::S_OK, "OnLoad gave {code}");
    Ok(())
}

fn on_unload(provider: &Recorded) -> anyhow::Result<()> {
    let code = provider.on_unload(false);
    ensure!(code == Hresult::S_OK, "OnUnload(FALSE) gave {code}");
    Ok(())
}

fn make_and_check(
    world: &mut World,
    provider: &Recorded,
    options: &Options,
    report: &mut Report,
    steps: &Steps<'_>,
) -> anyhow::Result<()> {
    on_load(provider)?;
    let created = world.create_set(provider, options.sabotage)?;
    report.windows = Some(created.windows);
    match options.sabotage {
        Some(Sabotage::Flip) => world.flip_a_byte(created.copies[0].lun)?,
        Some(Sabotage::Late) => world.make_late(&created)?,
        _ => {}
    }
    let mut checks = Checks(&mut report.checks);
    steps.next("checks as the host");
    world.check_copies(&created, &mut checks);
    steps.next("OnLunEmpty for both copies, OnUnload");
    remove(world, provider, &created, options.sabotage, &mut checks)?;
    on_unload(provider)?;
    checks.add("the provider logged no error", || {
        let events = provider.take_events();
        Ok(match events.iter().find(|event| event.is_error) {
            None => Ok(format!("none among {}", events.len())),
            Some(error) => Err(error.text.clone()),
        })
    });
    Ok(())
}

fn remove(
    world: &mut World,
    provider: &Recorded,
    created: &Created,
    sabotage: Option<Sabotage>,
    checks: &mut Checks<'_>,
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
