// SPDX-License-Identifier: MIT OR Apache-2.0
//! The specification's transition table 4.3, from outside: each call in each state that a finished call leads to (T-184).

use super::stage::{BACKUP, unknown_id};
use super::{Scenario, Stage};
use crate::array::CREATOR;
use crate::host::{ProviderHost as _, Recorded};
use crate::sequence::{Point, ShadowSet};
use anyhow::{Context as _, bail, ensure};
use vss_provider::Hresult;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "T-184",
    title: "each call in each state is answered by table 4.3",
    run: t184,
}];

/// The columns of [`TABLE`]. BeginPrepareSnapshot comes with the set's own id, then with a new one.
const EVENTS: [&str; 11] = [
    "BeginPrepareSnapshot (same set)",
    "BeginPrepareSnapshot (new set)",
    "EndPrepareSnapshots",
    "PreCommitSnapshots",
    "CommitSnapshots",
    "PostCommitSnapshots",
    "GetTargetLuns",
    "LocateLuns",
    "PreFinalCommitSnapshots",
    "PostFinalCommitSnapshots",
    "AbortSnapshots",
];

/// `S` S_OK, `V` VETO, `N` VSS_E_OBJECT_NOT_FOUND, `-` cannot be called from outside: there is no set, or no copy of it is known.
const TABLE: [(&str, &str); 11] = [
    ("Idle", "- S N N N N V - V V N"),
    ("Preparing", "S S S V V V V - V V S"),
    ("Prepared", "V S V S V V V - V V S"),
    ("Precommitted", "V S V V S V V - V V S"),
    ("Committed", "V S V V V S V - V V S"),
    ("Postcommitted", "V S V V V V S - S V S"),
    ("Reported", "V S V V V V S S S S S"),
    ("Surfaced", "V S V V V V S S S S S"),
    ("Prefinal", "V S V V V V S S V S S"),
    ("Created", "V S V V V V S S V V N"),
    ("Aborted", "V S N N N N V - V V S"),
];

fn t184(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    // A provider that has never seen a set is IDLE; the others take its place in turn.
    for (state, answers) in TABLE {
        for (event, answer) in EVENTS.into_iter().zip(answers.split(' ')) {
            let wanted = match answer {
                "S" => Hresult::S_OK,
                "V" => Hresult::VSS_E_PROVIDER_VETO,
                "N" => Hresult::VSS_E_OBJECT_NOT_FOUND,
                _ => continue,
            };
            let at = || format!("{event} in {state}");
            let fresh = match state {
                "Idle" => Some(stage.load(CREATOR)?),
                _ => None,
            };
            let provider = fresh.as_ref().unwrap_or(stage.provider());
            let set = in_state(stage, provider, state).with_context(at)?;
            let new = stage.set(&[&[1]]);
            let code = call(provider, &set, &new, event)?;
            ensure!(code == wanted, "{} gave {code}, not {wanted}", at());
            clean(stage, provider, [&set, &new], before).with_context(at)?;
        }
    }
    Ok(())
}

/// A set in this state; for IDLE one that nobody has begun.
fn in_state(stage: &Stage<'_>, provider: &Recorded, state: &str) -> anyhow::Result<ShadowSet> {
    let mut set = stage.set(&[&[0]]);
    if state == "Aborted" {
        set.drive(provider, Point::Prepared)?;
        provider.abort_snapshots(set.id);
    } else if let Some(point) = Point::ALL
        .into_iter()
        .find(|point| format!("{point:?}") == state)
    {
        set.drive(provider, point)?;
    }
    Ok(set)
}

fn call(
    provider: &Recorded,
    set: &ShadowSet,
    new: &ShadowSet,
    event: &str,
) -> anyhow::Result<Hresult> {
    let begin = |set: &ShadowSet| {
        let mut luns = new.volumes[0].luns.clone();
        provider.begin_prepare_snapshot(set.id, unknown_id(), BACKUP, &mut luns)
    };
    Ok(match event {
        "BeginPrepareSnapshot (same set)" => begin(set),
        "BeginPrepareSnapshot (new set)" => begin(new),
        "EndPrepareSnapshots" => provider.end_prepare_snapshots(set.id),
        "PreCommitSnapshots" => provider.pre_commit_snapshots(set.id),
        "CommitSnapshots" => provider.commit_snapshots(set.id),
        "PostCommitSnapshots" => provider.post_commit_snapshots(set.id, 1),
        "GetTargetLuns" => provider.get_target_luns(&set.volumes[0].luns).0,
        "LocateLuns" => provider.locate_luns(&set.targets()),
        "PreFinalCommitSnapshots" => provider.pre_final_commit_snapshots(set.id),
        "PostFinalCommitSnapshots" => provider.post_final_commit_snapshots(set.id),
        "AbortSnapshots" => provider.abort_snapshots(set.id),
        _ => bail!("the table has no column {event}"),
    })
}

/// Gives both sets up, and deletes the copies that are VSS's by now.
fn clean(
    stage: &Stage<'_>,
    provider: &Recorded,
    sets: [&ShadowSet; 2],
    lun_count: usize,
) -> anyhow::Result<()> {
    for set in sets {
        provider.abort_snapshots(set.id);
    }
    if stage.array().lun_count()? != lun_count {
        sets[0].delete(provider)?;
    }
    stage.expect_lun_count(lun_count, "afterwards")
}
