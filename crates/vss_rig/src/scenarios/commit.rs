// SPDX-License-Identifier: MIT OR Apache-2.0
//! EndPrepareSnapshots to PostCommitSnapshots, and aborts (specification 10.4, 10.7).

use super::stage::{PATIENCE, expect, unknown_id};
use super::{Scenario, Stage};
use crate::array::{CREATOR, Fault};
use crate::host::ProviderHost;
use crate::sequence::Point;
use anyhow::{Context as _, anyhow, bail, ensure};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_provider::Hresult;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-091",
        title: "an abort ends EndPrepareSnapshots while it waits, no leak",
        run: t091,
    },
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
    Scenario {
        id: "T-100",
        title: "Commit stops at 8 s when the array is slow or silent, no leak",
        run: t100,
    },
    Scenario {
        id: "T-103",
        title: "what was captured when Commit's answer was lost is discarded",
        run: t103,
    },
    Scenario {
        id: "T-104",
        title: "an event about a failed Commit waits for the abort",
        run: t104,
    },
    Scenario {
        id: "T-107",
        title: "PostCommit needs no array",
        run: t107,
    },
    Scenario {
        id: "T-108",
        title: "a write right after Commit is not in the copy",
        run: t108,
    },
    Scenario {
        id: "T-181",
        title: "an abort of another set is not found, the set in progress goes on",
        run: t181,
    },
    Scenario {
        id: "T-185",
        title: "an abort because of others is no error",
        run: t185,
    },
    Scenario {
        id: "T-186",
        title: "200 sets aborted in random states leave nothing, the next set works",
        run: t186,
    },
    Scenario {
        id: "T-253",
        title: "an array that comes back during EndPrepare lets it complete or fail cleanly",
        run: t253,
    },
    Scenario {
        id: "T-295",
        title: "what was written before Commit is in the copy",
        run: t295,
    },
    Scenario {
        id: "T-317",
        title: "EndPrepare of an unknown set does not wait",
        run: t317,
    },
];

/// COM-9.
const COMMIT_STOP: Duration = Duration::from_secs(8);

/// Which of the two calls comes back first depends on how the array makes the one wait.
fn t091(stage: &Stage<'_>) -> anyhow::Result<()> {
    const HEAD_START: Duration = Duration::from_millis(700);
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Preparing)?;
    stage.array().keep_preparing();
    let provider = stage.provider();
    let (overtook, ended, aborted) = std::thread::scope(|scope| {
        let ending = scope.spawn(|| provider.end_prepare_snapshots(set.id));
        std::thread::sleep(HEAD_START);
        let aborting = scope.spawn(|| provider.abort_snapshots(set.id));
        let start = Instant::now();
        let either = || ending.is_finished() || aborting.is_finished();
        while !either() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let overtook = either();
        stage.array().heal();
        (overtook, ending.join(), aborting.join())
    });
    ensure!(
        overtook,
        "AbortSnapshots and EndPrepareSnapshots both waited for {PATIENCE:?} (EPS-5)"
    );
    let joined = |call: std::thread::Result<_>| call.map_err(|_| anyhow!("the call panicked"));
    let veto = Hresult::VSS_E_PROVIDER_VETO;
    expect("EndPrepareSnapshots", joined(ended)?, veto)?;
    expect("AbortSnapshots", joined(aborted)?, Hresult::S_OK)?;
    stage.expect_lun_count(before, "after both")?;
    stage.next_set_works()
}

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

/// Commits while something is wrong with the array, and gives the set up after it.
fn failed_commit(stage: &Stage<'_>, fault: Fault) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0, 1], &[2]], Point::Precommitted)?;
    let _ = stage.provider().take_events();
    stage.array().fault(fault);
    let code = stage.within(COMMIT_STOP, "CommitSnapshots", || {
        stage.provider().commit_snapshots(set.id)
    })?;
    expect("CommitSnapshots", code, Hresult::VSS_E_PROVIDER_VETO)?;
    let early = stage.provider().take_events();
    ensure!(early.is_empty(), "logged before thaw: {early:?}");
    stage.array().heal();
    let code = stage.provider().abort_snapshots(set.id);
    expect("AbortSnapshots", code, Hresult::S_OK)?;
    stage.expect_one_event("after the abort")?;
    stage.expect_lun_count(before, "after the abort")?;
    stage.next_set_works()
}

fn t100(stage: &Stage<'_>) -> anyhow::Result<()> {
    if stage.array().simulated_time().is_some() {
        for seconds in [9, 11] {
            let slow = Fault::Slow(Duration::from_secs(seconds));
            failed_commit(stage, slow).with_context(|| format!("an answer after {seconds} s"))?;
        }
    }
    failed_commit(stage, Fault::Hang).context("no answer")
}

fn t103(stage: &Stage<'_>) -> anyhow::Result<()> {
    failed_commit(stage, Fault::Lost)
}

fn t104(stage: &Stage<'_>) -> anyhow::Result<()> {
    failed_commit(stage, Fault::Down)
}

fn t107(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Committed)?;
    stage.array().fault(Fault::Down);
    set.step(stage.provider(), Point::Postcommitted)?;
    stage.array().heal();
    set.go_on(stage.provider(), Point::Postcommitted, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t108(stage: &Stage<'_>) -> anyhow::Result<()> {
    let source = stage.volume(&[0]).remove(0);
    let mut set = stage.driven(&[&[0]], Point::Precommitted)?;
    let held = stage.array().contents(CREATOR, &source)?;
    set.step(stage.provider(), Point::Committed)?;
    stage.array().write_and_read_back(CREATOR, &source)?;
    set.go_on(stage.provider(), Point::Committed, Point::Created)?;
    ensure!(
        stage.array().contents(CREATOR, &set.targets()[0])? == held,
        "the copy shows what was written after Commit (COM-4)"
    );
    set.delete(stage.provider())?;
    Ok(())
}

fn t181(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Prepared)?;
    expect(
        "AbortSnapshots",
        stage.provider().abort_snapshots(unknown_id()),
        Hresult::VSS_E_OBJECT_NOT_FOUND,
    )?;
    set.go_on(stage.provider(), Point::Prepared, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t185(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Prepared)?;
    let _ = stage.provider().take_events();
    let code = stage.provider().abort_snapshots(set.id);
    expect("AbortSnapshots", code, Hresult::S_OK)?;
    stage.expect_lun_count(before, "after the abort")?;
    let events = stage.provider().take_events();
    ensure!(
        !events.iter().any(|event| event.is_error),
        "an abort without a fault of this provider is told as an error: {events:?}"
    );
    Ok(())
}

/// T-186: sets.
const ABORTED_SETS: usize = 200;

fn t186(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let points = &Point::ALL[..Point::ALL.len() - 1];
    // As random as an id is; the trace of a failure shows how far each set had come.
    let random: Vec<u8> = (0..ABORTED_SETS)
        .map(|_| Uuid::new_v4().as_bytes()[0])
        .collect();
    for byte in random {
        let point = points[usize::from(byte) % points.len()];
        let set = stage.driven(&[&[usize::from(byte) % 3]], point)?;
        let code = stage.provider().abort_snapshots(set.id);
        expect(&format!("AbortSnapshots at {point:?}"), code, Hresult::S_OK)?;
    }
    stage.expect_lun_count(before, "after all aborts")?;
    stage.next_set_works()
}

fn t253(stage: &Stage<'_>) -> anyhow::Result<()> {
    const GONE: Duration = Duration::from_millis(700);
    let before = stage.array().lun_count()?;
    let mut set = stage.driven(&[&[0]], Point::Preparing)?;
    stage.array().fault(Fault::Hang);
    let provider = stage.provider();
    let id = set.id;
    let code = std::thread::scope(|scope| {
        let waiting = scope.spawn(move || provider.end_prepare_snapshots(id));
        std::thread::sleep(GONE);
        stage.array().heal();
        waiting.join()
    });
    match code {
        Ok(Hresult::S_OK) => {
            set.go_on(provider, Point::Prepared, Point::Created)?;
            set.delete(provider)?;
        }
        Ok(Hresult::VSS_E_PROVIDER_VETO) => stage.recovers(&set, before, "after the veto")?,
        other => bail!("EndPrepareSnapshots gave {other:?}"),
    }
    Ok(())
}

fn t295(stage: &Stage<'_>) -> anyhow::Result<()> {
    let source = stage.volume(&[0]).remove(0);
    let mut set = stage.driven(&[&[0]], Point::Precommitted)?;
    stage.array().write_and_read_back(CREATOR, &source)?;
    let held = stage.array().contents(CREATOR, &source)?;
    set.go_on(stage.provider(), Point::Precommitted, Point::Created)?;
    ensure!(
        stage.array().contents(CREATOR, &set.targets()[0])? == held,
        "the copy lacks what was written before Commit (LUN-15)"
    );
    set.delete(stage.provider())?;
    Ok(())
}

fn t317(stage: &Stage<'_>) -> anyhow::Result<()> {
    let traffic = stage.array().traffic();
    let code = stage.provider().end_prepare_snapshots(unknown_id());
    expect("EndPrepareSnapshots", code, Hresult::VSS_E_OBJECT_NOT_FOUND)?;
    ensure!(stage.array().traffic() == traffic, "the array was asked");
    Ok(())
}
