// SPDX-License-Identifier: MIT OR Apache-2.0
//! `shadowlun-rig bench provider`: how long each method takes for sets of 1, 8 and 64 LUNs, against the real array, while writers
//! load the LUNs over iSCSI. It prints what it measured and judges nothing.

mod figures;
mod load;

pub use figures::{Figures, MethodFigures, SetFigures};

use crate::array::{Binaries, CREATOR, Daemon, Host};
use crate::description::disks;
use crate::host::{ProviderHost, Recorded};
use crate::in_process::InProcess;
use crate::initiator::Initiator;
use crate::interrupt::Interrupt;
use crate::sequence::{Point, ShadowSet};
use crate::wine::{Hosting, WindowsParts, WineHost};
use anyhow::{Context as _, ensure};
use array_api::HttpsArray;
use figures::Captured;
use load::Load;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vss_provider::LunDescription;

/// Size of each LUN. Thin: a set of 64 needs no more room than what the writers wrote.
const LUN_BYTES: u64 = 64 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Sets made before the counting begins: the first one meets cold code and caches.
const WARM_UP_SETS: usize = 3;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sets of each size.
    pub sets: usize,
    /// Sizes, in LUNs.
    pub lun_counts: Vec<usize>,
    /// Where the provider runs besides this process; `None`: nowhere.
    pub windows: Option<WindowsParts>,
    /// Whether the provider's core runs in this process.
    pub in_process: bool,
}

/// Measures; tells `progress` of each part before it begins, and `measured` each part's figures, as a text, once they are there.
///
/// # Errors
/// When something could not be started, or the first sets, which do not count, failed. One that fails later is counted.
pub fn run(
    options: &Options,
    binaries: &Binaries,
    interrupt: &Interrupt,
    progress: &dyn Fn(&str),
    measured: &dyn Fn(&str),
) -> anyhow::Result<Figures> {
    let mut figures = Figures::of_this_machine(options.sets)?;
    measured(&figures.heading());
    let mut add = |part: SetFigures| {
        measured(&part.text());
        figures.results.push(part);
    };
    if options.in_process {
        let world = World::start(options, binaries, interrupt)?;
        let zero = Instant::now();
        let provider = InProcess::new(
            Arc::new(HttpsArray::new(&world.host.enrolment)),
            Arc::new(move || zero.elapsed()),
        );
        let provider = Recorded::new(Box::new(provider));
        measure(options, &world, "in-process", &provider, progress, &mut add)?;
    }
    if let Some(parts) = &options.windows {
        let world = World::start(options, binaries, interrupt)?;
        let windows = WineHost::start(parts, interrupt)?;
        windows.install(Hosting::LocalServer)?;
        windows.enroll(&world.host.enrolment)?;
        let provider = Recorded::new(Box::new(windows.load()?));
        measure(options, &world, "COM, Wine", &provider, progress, &mut add)?;
        drop(provider);
        windows.end()?;
    }
    Ok(figures)
}

/// An array with enough LUNs.
struct World {
    // Dropped in this order.
    daemon: Daemon,
    host: Host,
    luns: Vec<LunDescription>,
    interrupt: Interrupt,
    _folder: tempfile::TempDir,
}

impl World {
    fn start(
        options: &Options,
        binaries: &Binaries,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("shadowlun-bench-")
            .tempdir()?;
        let daemon = Daemon::start(binaries, folder.path(), "16GiB", interrupt)?;
        let host = daemon.add_host(CREATOR, "iqn.1991-05.com.microsoft:winhost")?;
        let count = options.lun_counts.iter().copied().max().unwrap_or_default();
        for index in 0..count {
            daemon.create_lun(&format!("lun-{index}"), &LUN_BYTES.to_string(), CREATOR)?;
        }
        let mut session = Initiator::connect(&daemon.portal(&host)?, TIMEOUT)?;
        let seen = disks(&mut session)?;
        ensure!(
            seen.len() == count,
            "{} of {count} LUNs came up",
            seen.len()
        );
        Ok(Self {
            daemon,
            host,
            luns: seen.into_iter().map(|disk| disk.description).collect(),
            interrupt: interrupt.clone(),
            _folder: folder,
        })
    }
}

fn measure(
    options: &Options,
    world: &World,
    place: &'static str,
    provider: &Recorded,
    progress: &dyn Fn(&str),
    add: &mut dyn FnMut(SetFigures),
) -> anyhow::Result<()> {
    for &count in &options.lun_counts {
        progress(&format!("{place}: {} sets of {count} LUNs", options.sets));
        let load_average = figures::load_average()?;
        let portal = world.daemon.portal(&world.host)?;
        let load = Load::start(&portal, count, LUN_BYTES)?;
        for _ in 0..WARM_UP_SETS {
            one_set(provider, &world.luns[..count])?;
        }
        let (first_call, started) = (provider.calls().len(), Instant::now());
        let writes_before = load.writes();
        let mut captured = Vec::with_capacity(options.sets);
        let mut failed = 0;
        for number in 0..options.sets {
            world.interrupt.check()?;
            match one_set(provider, &world.luns[..count]) {
                Ok(event) => captured.push(event),
                Err(why) => {
                    progress(&format!("{place}: set {number} failed: {why:#}"));
                    failed += 1;
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let writes = load.writes() - writes_before;
        load.stop()?;
        let calls = &provider.calls()[first_call..];
        let mut part = SetFigures::new(place, count, calls, &captured);
        part.failed_sets = failed;
        part.writes_per_second = writes as f64 / seconds;
        part.load_average = load_average;
        add(part);
    }
    Ok(())
}

/// A whole set with one volume a LUN, whose copies are deleted again; what the provider's event tells of its commit.
fn one_set(provider: &Recorded, luns: &[LunDescription]) -> anyhow::Result<Captured> {
    let volumes: Vec<&[LunDescription]> = luns.chunks(1).collect();
    let mut set = ShadowSet::new(0, &volumes);
    let driven = set.drive(provider, Point::Created);
    if let Err(why) = driven {
        provider.abort_snapshots(set.id);
        return Err(why).with_context(|| format!("{:?}", provider.take_events()));
    }
    set.delete(provider)?;
    let events = provider.take_events();
    let captured = events.iter().find_map(|event| Captured::parse(&event.text));
    captured.with_context(|| format!("no event tells what the commit took: {events:?}"))
}
