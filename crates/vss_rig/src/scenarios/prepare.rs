// SPDX-License-Identifier: MIT OR Apache-2.0
//! BeginPrepareSnapshot (specification 10.3).

use super::stage::{BACKUP, elsewhere, expect, foreign_disk, unknown_id};
use super::{Scenario, Stage};
use crate::array::{CREATOR, Fault, ORIGINAL_COUNT};
use crate::host::{LoggedEvent, ProviderHost as _};
use crate::sequence::{Point, ShadowSet};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_provider::Hresult;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-060",
        title: "BeginPrepareSnapshot is quick and maps nothing",
        run: t060,
    },
    Scenario {
        id: "T-062",
        title: "a LUN shared by two volumes of a set has one target",
        run: t062,
    },
    Scenario {
        id: "T-063",
        title: "a new set in each state releases the unreported old one and completes",
        run: t063,
    },
    Scenario {
        id: "T-064",
        title: "a new set keeps the reported copies of the old one",
        run: t064,
    },
    Scenario {
        id: "T-066",
        title: "BeginPrepareSnapshot for a closed set vetoes and releases it",
        run: t066,
    },
    Scenario {
        id: "T-067",
        title: "the same BeginPrepareSnapshot again makes no second target",
        run: t067,
    },
    Scenario {
        id: "T-068",
        title: "the same snapshot id with other LUNs is invalid, the first stays",
        run: t068,
    },
    Scenario {
        id: "T-069",
        title: "nil ids are invalid",
        run: t069,
    },
    Scenario {
        id: "T-070",
        title: "the id of a finished set vetoes",
        run: t070,
    },
    Scenario {
        id: "T-071",
        title: "contexts that cannot be honoured are refused",
        run: t071,
    },
    Scenario {
        id: "T-072",
        title: "a second context within a set is refused, the first volume stays",
        run: t072,
    },
    Scenario {
        id: "T-073",
        title: "a foreign LUN is refused and nothing is reserved",
        run: t073,
    },
    Scenario {
        id: "T-074",
        title: "64 volumes complete, a 65th is refused",
        run: t074,
    },
    Scenario {
        id: "T-075",
        title: "64 volumes on one LUN have one target",
        run: t075,
    },
    Scenario {
        id: "T-076",
        title: "a volume of no LUN is invalid",
        run: t076,
    },
    Scenario {
        id: "T-077",
        title: "a volume that fails leaves the others of its set alone",
        run: t077,
    },
    Scenario {
        id: "T-297",
        title: "a shadow copy id of an unfinished set is taken over by the next",
        run: t297,
    },
    Scenario {
        id: "T-305",
        title: "a finished set answers GetTargetLuns until the next begins",
        run: t305,
    },
    Scenario {
        id: "T-311",
        title: "after each way to fail the next set begins at once, and one event tells of the old",
        run: t311,
    },
];

/// LIM-6.
const VOLUMES_MAX: usize = 64;

fn t060(stage: &Stage<'_>) -> anyhow::Result<()> {
    let disks_before = stage.array().disks(CREATOR)?.len();
    let start = Instant::now();
    let code = stage.provider().begin_prepare_snapshot(
        unknown_id(),
        unknown_id(),
        BACKUP,
        &mut stage.volume(&[0]),
    );
    let elapsed = start.elapsed();
    expect("BeginPrepareSnapshot", code, Hresult::S_OK)?;
    ensure!(
        elapsed < Duration::from_secs(5),
        "BeginPrepareSnapshot took {elapsed:?}"
    );
    let disks_after = stage.array().disks(CREATOR)?.len();
    ensure!(
        disks_before == disks_after,
        "the host saw {disks_before} disks before and {disks_after} after"
    );
    Ok(())
}

fn t062(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let mut set = stage.driven(&[&[0], &[0, 1]], Point::Preparing)?;
    stage.expect_lun_count(before + 2, "volumes on L1 and on L1 + L2")?;
    set.go_on(stage.provider(), Point::Preparing, Point::Created)?;
    let shared = &set.volumes[0].targets[0];
    ensure!(
        *shared == set.volumes[1].targets[0],
        "the shared LUN has two targets"
    );
    set.delete(stage.provider())?;
    Ok(())
}

fn t063(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    for point in Point::unreported() {
        let at = || format!("old set at {point:?}");
        stage.driven(&[&[0], &[1]], point)?;
        let mut new = stage.driven(&[&[2]], Point::Preparing).with_context(at)?;
        stage.expect_lun_count(before + 1, &at())?;
        new.go_on(stage.provider(), Point::Preparing, Point::Created)
            .with_context(at)?;
        new.delete(stage.provider()).with_context(at)?;
        stage.expect_lun_count(before, &at())?;
    }
    Ok(())
}

fn t064(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    for point in [Point::Reported, Point::Surfaced, Point::Prefinal] {
        let at = || format!("old set at {point:?}");
        let old = stage.driven(&[&[0]], point)?;
        let new = stage.driven(&[&[1]], Point::Created).with_context(at)?;
        stage.expect_lun_count(before + 2, &at())?;
        old.delete(stage.provider()).with_context(at)?;
        new.delete(stage.provider()).with_context(at)?;
    }
    Ok(())
}

fn t066(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Prepared)?;
    let _ = stage.provider().take_events();
    let code = stage.provider().begin_prepare_snapshot(
        set.id,
        unknown_id(),
        BACKUP,
        &mut stage.volume(&[1]),
    );
    expect("BeginPrepareSnapshot", code, Hresult::VSS_E_PROVIDER_VETO)?;
    stage.expect_one_event("closed set")?;
    stage.expect_lun_count(before, "after the veto")?;
    stage.next_set_works()
}

fn t067(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Preparing)?;
    let code = stage.provider().begin_prepare_snapshot(
        set.id,
        set.volumes[0].snapshot,
        BACKUP,
        &mut stage.volume(&[0]),
    );
    expect("the second BeginPrepareSnapshot", code, Hresult::S_OK)?;
    stage.expect_lun_count(before + 1, "after the second call")
}

fn t068(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Preparing)?;
    let code = stage.provider().begin_prepare_snapshot(
        set.id,
        set.volumes[0].snapshot,
        BACKUP,
        &mut stage.volume(&[1]),
    );
    expect("BeginPrepareSnapshot", code, Hresult::E_INVALIDARG)?;
    set.go_on(stage.provider(), Point::Preparing, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t069(stage: &Stage<'_>) -> anyhow::Result<()> {
    for (set, snapshot) in [(Uuid::nil(), unknown_id()), (unknown_id(), Uuid::nil())] {
        let code =
            stage
                .provider()
                .begin_prepare_snapshot(set, snapshot, BACKUP, &mut stage.volume(&[0]));
        expect("BeginPrepareSnapshot", code, Hresult::E_INVALIDARG)?;
    }
    Ok(())
}

fn t070(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let _ = stage.provider().take_events();
    let code = stage.provider().begin_prepare_snapshot(
        set.id,
        unknown_id(),
        BACKUP,
        &mut stage.volume(&[1]),
    );
    expect("BeginPrepareSnapshot", code, Hresult::VSS_E_PROVIDER_VETO)?;
    stage.expect_one_event("finished set")?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t071(stage: &Stage<'_>) -> anyhow::Result<()> {
    for context in [0x4, 0x6_0000] {
        let code = stage.provider().begin_prepare_snapshot(
            unknown_id(),
            unknown_id(),
            context,
            &mut stage.volume(&[0]),
        );
        expect(
            &format!("BeginPrepareSnapshot in {context:#x}"),
            code,
            Hresult::VSS_E_UNSUPPORTED_CONTEXT,
        )?;
    }
    Ok(())
}

fn t072(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Preparing)?;
    let code = stage.provider().begin_prepare_snapshot(
        set.id,
        unknown_id(),
        0x20,
        &mut stage.volume(&[1]),
    );
    expect(
        "BeginPrepareSnapshot",
        code,
        Hresult::VSS_E_UNSUPPORTED_CONTEXT,
    )?;
    set.go_on(stage.provider(), Point::Preparing, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t073(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let mut luns = stage.volume(&[0]);
    luns.push(foreign_disk());
    let code =
        stage
            .provider()
            .begin_prepare_snapshot(unknown_id(), unknown_id(), BACKUP, &mut luns);
    expect(
        "BeginPrepareSnapshot",
        code,
        Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
    )?;
    stage.expect_lun_count(before, "after the refusal")
}

fn t074(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let indices: Vec<[usize; 1]> = (0..VOLUMES_MAX).map(|i| [i % ORIGINAL_COUNT]).collect();
    let volumes: Vec<&[usize]> = indices.iter().map(|index| &index[..]).collect();
    let mut set = stage.driven(&volumes, Point::Preparing)?;
    let code = stage.provider().begin_prepare_snapshot(
        set.id,
        unknown_id(),
        BACKUP,
        &mut stage.volume(&[0]),
    );
    expect(
        "the 65th BeginPrepareSnapshot",
        code,
        Hresult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
    )?;
    set.go_on(stage.provider(), Point::Preparing, Point::Created)?;
    stage.expect_lun_count(before + ORIGINAL_COUNT, "64 volumes on 3 LUNs")?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t075(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0_usize][..]; VOLUMES_MAX], Point::Created)?;
    stage.expect_lun_count(before + 1, "64 volumes on one LUN")?;
    let first = &set.volumes[0].targets;
    ensure!(
        set.volumes.iter().all(|volume| volume.targets == *first),
        "GetTargetLuns told different targets"
    );
    set.delete(stage.provider())?;
    Ok(())
}

fn t076(stage: &Stage<'_>) -> anyhow::Result<()> {
    let code = stage.provider().begin_prepare_snapshot(
        unknown_id(),
        unknown_id(),
        BACKUP,
        &mut Vec::new(),
    );
    expect("BeginPrepareSnapshot", code, Hresult::E_INVALIDARG)
}

fn t077(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let mut set = stage.driven(&[&[0]], Point::Preparing)?;
    let gone = elsewhere(&stage.volume(&[1])[0]);
    let code = stage.provider().begin_prepare_snapshot(
        set.id,
        unknown_id(),
        BACKUP,
        &mut vec![stage.volume(&[2]).remove(0), gone],
    );
    expect(
        "the second BeginPrepareSnapshot",
        code,
        Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
    )?;
    stage.expect_lun_count(before + 1, "after the refusal")?;
    set.go_on(stage.provider(), Point::Preparing, Point::Created)
        .context("the first volume")?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t297(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let old = stage.driven(&[&[0]], Point::Prepared)?;
    let mut new = stage.set(&[&[1]]);
    new.volumes[0].snapshot = old.volumes[0].snapshot;
    new.drive(stage.provider(), Point::Preparing)?;
    stage.expect_lun_count(before + 1, "the new set only")?;
    new.go_on(stage.provider(), Point::Preparing, Point::Created)?;
    new.delete(stage.provider())?;
    Ok(())
}

fn t305(stage: &Stage<'_>) -> anyhow::Result<()> {
    let old = stage.driven(&[&[0, 1]], Point::Created)?;
    let sources = &old.volumes[0].luns;
    let (code, again) = stage.provider().get_target_luns(sources);
    expect("GetTargetLuns of a finished set", code, Hresult::S_OK)?;
    ensure!(again == old.volumes[0].targets, "it told something else");
    let mut new = stage.driven(&[&[2]], Point::Preparing)?;
    let (code, _) = stage.provider().get_target_luns(sources);
    expect(
        "GetTargetLuns of a forgotten set",
        code,
        Hresult::VSS_E_PROVIDER_VETO,
    )?;
    new.go_on(stage.provider(), Point::Preparing, Point::Created)?;
    old.delete(stage.provider())?;
    new.delete(stage.provider())?;
    Ok(())
}

/// A way to end a set that has come to a point.
type Failing = fn(&Stage<'_>, &ShadowSet) -> Hresult;

fn t311(stage: &Stage<'_>) -> anyhow::Result<()> {
    let ways: [(&str, Point, Failing); 5] = [
        ("aborted early", Point::Preparing, |stage, set| {
            stage.provider().abort_snapshots(set.id)
        }),
        ("aborted late", Point::Committed, |stage, set| {
            stage.provider().abort_snapshots(set.id)
        }),
        ("wrong order", Point::Prepared, |stage, set| {
            stage.provider().end_prepare_snapshots(set.id)
        }),
        ("not prepared", Point::Preparing, |stage, set| {
            stage.array().fault(Fault::Down);
            stage.provider().end_prepare_snapshots(set.id)
        }),
        ("not armed", Point::Prepared, |stage, set| {
            stage.array().fault(Fault::Down);
            stage.provider().pre_commit_snapshots(set.id)
        }),
    ];
    for (way, point, fail) in ways {
        let old = stage.driven(&[&[0]], point)?;
        let _ = stage.provider().take_events();
        fail(stage, &old);
        stage.array().heal();
        let mut new = stage.driven(&[&[1]], Point::Preparing).context(way)?;
        let id = old.id.to_string();
        let events = stage.provider().take_events();
        // Windows itself writes ids in capitals.
        let names_it = |event: &&LoggedEvent| event.text.to_lowercase().contains(&id);
        let told = events.iter().filter(names_it);
        ensure!(
            told.count() == 1,
            "{way}: not one event for the old set, but {events:?}"
        );
        new.go_on(stage.provider(), Point::Preparing, Point::Created)
            .context(way)?;
        new.delete(stage.provider())?;
    }
    Ok(())
}
