// SPDX-License-Identifier: MIT OR Apache-2.0
//! EndPrepareSnapshots to PostCommitSnapshots, and aborts (specification 10.4, 10.7).

use super::stage::{expect, unknown_id};
use super::{Scenario, Stage};
use crate::array::Fault;
use crate::host::ProviderHost;
use crate::sequence::Point;
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_provider::Hresult;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-094",
        title: "an unknown set id is not found, the set in progress goes on",
        run: t094,
    },
    Scenario {
        id: "T-095",
        title: "an unknown set id vetoes in the final phases",
        run: t095,
    },
    Scenario {
        id: "T-096",
        title: "PreCommit with the array down vetoes, event after thaw, no leak",
        run: t096,
    },
    Scenario {
        id: "T-106",
        title: "PostCommit with a negative count is invalid",
        run: t106,
    },
    Scenario {
        id: "T-110",
        title: "PreCommit, Commit and PostCommit take 2 s at most together",
        run: t110,
    },
    Scenario {
        id: "T-176",
        title: "an abort in each state before the report leaks nothing, the next set works",
        run: t176,
    },
    Scenario {
        id: "T-178",
        title: "an abort after the report discards the copies",
        run: t178,
    },
    Scenario {
        id: "T-180",
        title: "an abort of a finished set is not found and keeps its copies",
        run: t180,
    },
    Scenario {
        id: "T-182",
        title: "a second abort succeeds",
        run: t182,
    },
];

fn t094(stage: &Stage<'_>) -> anyhow::Result<()> {
    type Call = fn(&dyn ProviderHost, Uuid) -> Hresult;
    let calls: [(&str, Call); 5] = [
        ("EndPrepareSnapshots", |host, id| {
            host.end_prepare_snapshots(id)
        }),
        ("PreCommitSnapshots", |host, id| {
            host.pre_commit_snapshots(id)
        }),
        ("CommitSnapshots", |host, id| host.commit_snapshots(id)),
        ("PostCommitSnapshots", |host, id| {
            host.post_commit_snapshots(id, 1)
        }),
        ("AbortSnapshots", |host, id| host.abort_snapshots(id)),
    ];
    let mut set = stage.driven(&[&[0]], Point::Preparing)?;
    for (name, call) in calls {
        expect(
            name,
            call(stage.provider(), unknown_id()),
            Hresult::VSS_E_OBJECT_NOT_FOUND,
        )?;
    }
    set.go_on(stage.provider(), Point::Preparing, Point::Created)
        .context("the set in progress")?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t095(stage: &Stage<'_>) -> anyhow::Result<()> {
    let provider = stage.provider();
    expect(
        "PreFinalCommitSnapshots",
        provider.pre_final_commit_snapshots(unknown_id()),
        Hresult::VSS_E_PROVIDER_VETO,
    )?;
    expect(
        "PostFinalCommitSnapshots",
        provider.post_final_commit_snapshots(unknown_id()),
        Hresult::VSS_E_PROVIDER_VETO,
    )
}

fn t096(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Prepared)?;
    let _ = stage.provider().take_events();
    stage.array().fault(Fault::Down);
    let code = stage.provider().pre_commit_snapshots(set.id);
    expect("PreCommitSnapshots", code, Hresult::VSS_E_PROVIDER_VETO)?;
    // ERR-6: the volumes may be frozen until VSS gives the set up.
    let early = stage.provider().take_events();
    ensure!(early.is_empty(), "logged before thaw: {early:?}");
    stage.array().heal();
    let code = stage.provider().abort_snapshots(set.id);
    expect("AbortSnapshots", code, Hresult::S_OK)?;
    stage.expect_one_event("after the abort")?;
    // What could not be released then goes at the latest with the next set (SEQ-40).
    stage.next_set_works()?;
    stage.expect_lun_count(before, "after the next set")
}

fn t106(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Committed)?;
    let code = stage.provider().post_commit_snapshots(set.id, -1);
    expect("PostCommitSnapshots", code, Hresult::E_INVALIDARG)
}

fn t110(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0, 1], &[2]], Point::Prepared)?;
    let start = Instant::now();
    set.go_on(stage.provider(), Point::Prepared, Point::Postcommitted)?;
    let elapsed = start.elapsed();
    ensure!(elapsed <= Duration::from_secs(2), "together {elapsed:?}");
    set.go_on(stage.provider(), Point::Postcommitted, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t176(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    for point in Point::unreported() {
        let at = format!("abort at {point:?}");
        let set = stage.driven(&[&[0, 1], &[2]], point)?;
        expect(&at, stage.provider().abort_snapshots(set.id), Hresult::S_OK)?;
        stage.expect_lun_count(before, &at)?;
        stage.next_set_works().context(at)?;
    }
    Ok(())
}

fn t178(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    for point in [Point::Reported, Point::Surfaced, Point::Prefinal] {
        let at = format!("abort at {point:?}");
        let set = stage.driven(&[&[0]], point)?;
        expect(&at, stage.provider().abort_snapshots(set.id), Hresult::S_OK)?;
        stage.expect_lun_count(before, &at)?;
    }
    stage.next_set_works()
}

fn t180(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Created)?;
    expect(
        "AbortSnapshots",
        stage.provider().abort_snapshots(set.id),
        Hresult::VSS_E_OBJECT_NOT_FOUND,
    )?;
    stage.expect_lun_count(before + 1, "after the abort")?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t182(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Prepared)?;
    for which in ["the first AbortSnapshots", "the second AbortSnapshots"] {
        expect(
            which,
            stage.provider().abort_snapshots(set.id),
            Hresult::S_OK,
        )?;
    }
    Ok(())
}
