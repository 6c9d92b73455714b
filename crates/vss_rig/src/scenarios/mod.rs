// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios of the specification's section 10, each a plain function over a provider and an array.
//!
//! One table names them; the same table runs against every array and every kind of host. Each scenario leaves as many LUNs
//! on the array as it found; the runner checks that ("no leak").

#[cfg(target_os = "linux")]
mod border;
mod commit;
#[cfg(target_os = "linux")]
mod echo;
mod faults;
mod importing;
#[cfg(target_os = "linux")]
mod installer;
mod load;
mod prepare;
mod recovery;
mod removal;
mod resync;
mod stage;
mod supported;
mod surfacing;
mod transitions;

pub use stage::Stage;

use crate::array::ArrayUnderTest;
use crate::host::ProviderHost as _;
#[cfg(target_os = "linux")]
use crate::interrupt::Interrupt;
use anyhow::bail;
use std::time::{Duration, Instant};

/// What a scenario does; `Err` says what it found instead of what the specification wants.
pub type Run = fn(&Stage<'_>) -> anyhow::Result<()>;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Id in the specification.
    pub id: &'static str,
    /// What is expected, in a few words.
    pub title: &'static str,
    /// The calls.
    pub run: Run,
}

/// The scenarios for every kind of host, in the specification's order.
pub fn table() -> Vec<Scenario> {
    let mut table = [
        load::SCENARIOS,
        supported::SCENARIOS,
        prepare::SCENARIOS,
        commit::SCENARIOS,
        transitions::SCENARIOS,
        importing::SCENARIOS,
        surfacing::SCENARIOS,
        recovery::SCENARIOS,
        removal::SCENARIOS,
        resync::SCENARIOS,
        faults::SCENARIOS,
    ]
    .concat();
    table.sort_by_key(|scenario| scenario.id);
    table
}

/// The scenarios that need Windows hosts with this project's provider: what COM, registration and processes add.
#[cfg(target_os = "linux")]
pub fn windows_table() -> Vec<Scenario> {
    [border::SCENARIOS, installer::SCENARIOS].concat()
}

/// How a scenario went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Id in the specification.
    pub id: &'static str,
    /// What was expected.
    pub title: &'static str,
    /// How long it took.
    pub elapsed: Duration,
    /// What was wrong; `None` when it held.
    pub failure: Option<String>,
    /// The calls and the events, in the order in which the rig saw them.
    pub story: Vec<String>,
}

/// Runs the scenarios whose id is in `only` (all when empty), and tells `progress` of each.
///
/// # Errors
/// Only when the fixture itself fails or a signal came; a scenario that fails is an [`Outcome`].
#[cfg(target_os = "linux")]
pub fn run_all(
    array: &dyn ArrayUnderTest,
    only: &[String],
    interrupt: &Interrupt,
    mut progress: impl FnMut(&Outcome),
) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let mut scenarios = table();
    if array.windows().is_some() {
        scenarios.extend(windows_table());
    }
    for scenario in scenarios {
        if !only.is_empty() && !only.iter().any(|id| id.eq_ignore_ascii_case(scenario.id)) {
            continue;
        }
        interrupt.check()?;
        let outcome = run_one(array, &scenario)?;
        progress(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// How long what the Release after a failed scenario has to discard may stay: nothing is judged by it, but the next one should find
/// the array at rest.
const FAILED_RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Runs one scenario and looks for leaks.
pub fn run_one(array: &dyn ArrayUnderTest, scenario: &Scenario) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let lun_count_before = array.lun_count()?;
    let stage = Stage::new(array)?;
    let result = (scenario.run)(&stage);
    array.heal();
    let story = stage.story().clone();
    let findings = [stage.provider().findings(), story.findings()].concat();
    let failure = stage.provider().failure();
    if let Some(why) = failure.or_else(|| array.failure()) {
        bail!("{}: {why}\n{}", scenario.id, story.lines().join("\n"));
    }
    // The last Release: what the scenario left in progress has to go with it (LOAD-10).
    drop(stage);
    let patience = match result {
        Ok(()) => stage::RELEASE_LIMIT,
        Err(_) => FAILED_RELEASE_LIMIT,
    };
    let lun_count_after = stage::settled_lun_count(array, lun_count_before, patience)?;
    let failure = match result {
        Err(error) => Some(format!("{error:#}")),
        Ok(()) if !findings.is_empty() => Some(findings.join("\n")),
        Ok(()) if lun_count_after != lun_count_before => Some(format!(
            "leak: {lun_count_before} LUNs before, {lun_count_after} after"
        )),
        Ok(()) => None,
    };
    Ok(Outcome {
        id: scenario.id,
        title: scenario.title,
        elapsed: start.elapsed(),
        failure,
        story: story.lines(),
    })
}
