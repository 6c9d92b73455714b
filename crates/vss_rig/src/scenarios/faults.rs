// SPDX-License-Identifier: MIT OR Apache-2.0
//! An array that cannot be reached, or is silent, at each call (specification 10.11: T-250, T-251).

use super::stage::BACKUP;
use super::{Scenario, Stage};
use crate::array::Fault;
use crate::host::ProviderHost as _;
use crate::sequence::{Point, ShadowSet};
use anyhow::{Context as _, ensure};
use std::time::Duration;
use vss_provider::Hresult;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-250",
        title: "with the array down each method answers in its time, and the provider recovers",
        run: t250,
    },
    Scenario {
        id: "T-251",
        title: "with a silent array each method answers in its time, and the provider recovers",
        run: t251,
    },
];

/// What becomes of the set when the array fails a call (table 4.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// ABORTED.
    Aborted,
    /// The next steps go on as if nothing had happened.
    GoesOn,
}

/// One of the 14 methods that 10.11 tries.
struct Row {
    method: &'static str,
    /// How far the set has come before.
    point: Point,
    limit: Duration,
    code: Hresult,
    then: Then,
    call: fn(&Stage<'_>, &ShadowSet) -> Hresult,
}

const VETO: Hresult = Hresult::VSS_E_PROVIDER_VETO;

fn row(
    method: &'static str,
    point: Point,
    limit_s: u64,
    (code, then): (Hresult, Then),
    call: fn(&Stage<'_>, &ShadowSet) -> Hresult,
) -> Row {
    Row {
        method,
        point,
        limit: Duration::from_secs(limit_s),
        code,
        then,
        call,
    }
}

fn creation() -> Vec<Row> {
    let refused = (VETO, Then::Aborted);
    // BPS-6: the volumes before it stay.
    let kept = (VETO, Then::GoesOn);
    vec![
        row(
            "BeginPrepareSnapshot",
            Point::Preparing,
            5,
            kept,
            |stage, set| {
                let mut luns = stage.volume(&[1]);
                let snapshot = super::stage::unknown_id();
                stage
                    .provider()
                    .begin_prepare_snapshot(set.id, snapshot, BACKUP, &mut luns)
            },
        ),
        // 10 s of silence, and the discard.
        row(
            "EndPrepareSnapshots",
            Point::Preparing,
            20,
            refused,
            |stage, set| stage.provider().end_prepare_snapshots(set.id),
        ),
        row(
            "PreCommitSnapshots",
            Point::Prepared,
            2,
            refused,
            |stage, set| stage.provider().pre_commit_snapshots(set.id),
        ),
        row(
            "CommitSnapshots",
            Point::Precommitted,
            8,
            refused,
            |stage, set| stage.provider().commit_snapshots(set.id),
        ),
        row(
            "AbortSnapshots",
            Point::Prepared,
            10,
            refused,
            |stage, set| stage.provider().abort_snapshots(set.id),
        ),
    ]
}

fn later() -> Vec<Row> {
    let kept = (VETO, Then::GoesOn);
    let fine = (Hresult::S_OK, Then::GoesOn);
    vec![
        row(
            "PostCommitSnapshots",
            Point::Committed,
            2,
            fine,
            |stage, set| stage.provider().post_commit_snapshots(set.id, 1),
        ),
        row(
            "GetTargetLuns",
            Point::Postcommitted,
            10,
            kept,
            |stage, set| stage.provider().get_target_luns(&set.volumes[0].luns).0,
        ),
        row("LocateLuns", Point::Reported, 60, kept, |stage, set| {
            stage.provider().locate_luns(&set.targets())
        }),
        row("FillInLunInfo", Point::Surfaced, 2, fine, |stage, set| {
            let mut target = set.targets().remove(0);
            let (code, supported) = stage.provider().fill_in_lun_info(&mut target);
            // FIL-10: complete data speak for themselves. The HRESULT alone would say nothing.
            if supported { code } else { Hresult::S_FALSE }
        }),
        row(
            "PreFinalCommitSnapshots",
            Point::Surfaced,
            2,
            fine,
            |stage, set| stage.provider().pre_final_commit_snapshots(set.id),
        ),
        row(
            "PostFinalCommitSnapshots",
            Point::Prefinal,
            2,
            fine,
            |stage, set| stage.provider().post_final_commit_snapshots(set.id),
        ),
        row("OnLunEmpty", Point::Created, 30, kept, |stage, set| {
            stage.provider().on_lun_empty(&set.targets()[0])
        }),
        row(
            "OnLunStateChange",
            Point::Created,
            30,
            kept,
            |stage, set| {
                let copies = set.targets();
                stage.provider().on_lun_state_change(&copies, None, 0x800)
            },
        ),
        row("ResyncLuns", Point::Created, 60, kept, |stage, set| {
            let (copies, originals) = (set.targets(), stage.volume(&[0]));
            stage.provider().resync_luns(&copies, &originals).0
        }),
    ]
}

fn try_row(stage: &Stage<'_>, row: &Row, fault: Fault) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let mut set = stage.driven(&[&[0]], row.point)?;
    stage.array().fault(fault);
    let code = stage.within(row.limit, row.method, || (row.call)(stage, &set))?;
    ensure!(code == row.code, "it gave {code}, not {}", row.code);
    stage.array().heal();
    if row.then == Then::Aborted {
        let code = stage.provider().end_prepare_snapshots(set.id);
        ensure!(
            code == Hresult::VSS_E_OBJECT_NOT_FOUND,
            "the set is not ABORTED: EndPrepareSnapshots gave {code}"
        );
        return stage.recovers(&set, before, "afterwards");
    }
    let done = match row.code {
        // Its own step was made.
        Hresult::S_OK => next_point(row),
        _ => row.point,
    };
    set.go_on(stage.provider(), done, Point::Created)?;
    set.delete(stage.provider())?;
    stage.expect_lun_count(before, "after OnLunEmpty")
}

/// How far a set has come when the row's call has succeeded.
fn next_point(row: &Row) -> Point {
    match row.method {
        "PostCommitSnapshots" => Point::Postcommitted,
        "PreFinalCommitSnapshots" => Point::Prefinal,
        "PostFinalCommitSnapshots" => Point::Created,
        _ => row.point,
    }
}

fn t250(stage: &Stage<'_>) -> anyhow::Result<()> {
    for row in creation().iter().chain(&later()) {
        try_row(stage, row, Fault::Down).context(row.method)?;
    }
    Ok(())
}

/// Where time is real, the methods whose limit is long are left to the simulated array.
fn t251(stage: &Stage<'_>) -> anyhow::Result<()> {
    for row in creation().iter().chain(&later()) {
        if stage.can_wait(row.limit) {
            try_row(stage, row, Fault::Hang).context(row.method)?;
        }
    }
    Ok(())
}
