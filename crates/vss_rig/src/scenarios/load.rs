// SPDX-License-Identifier: MIT OR Apache-2.0
//! OnLoad, OnUnload (specification 10.1) and AreLunsSupported (10.2).

use super::stage::{BACKUP, expect, foreign_disk};
use super::{Scenario, Stage};
use crate::array::{CREATOR, Fault};
use crate::host::ProviderHost as _;
use crate::sequence::Point;
use anyhow::ensure;
use std::time::{Duration, Instant};
use vss_provider::{Hresult, LunDescription};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-011",
        title: "OnLoad succeeds",
        run: t011,
    },
    Scenario {
        id: "T-012",
        title: "OnLoad succeeds with the array down, in under 1 s",
        run: t012,
    },
    Scenario {
        id: "T-013",
        title: "OnUnload(FALSE) when idle succeeds",
        run: t013,
    },
    Scenario {
        id: "T-014",
        title: "OnUnload(FALSE) during a set refuses and the set completes",
        run: t014,
    },
    Scenario {
        id: "T-015",
        title: "OnUnload(TRUE) during a set releases it",
        run: t015,
    },
    Scenario {
        id: "T-016",
        title: "OnUnload(TRUE) after the report keeps the copies",
        run: t016,
    },
    Scenario {
        id: "T-018",
        title: "the last Release during a set releases it",
        run: t018,
    },
    Scenario {
        id: "T-019",
        title: "a copy outlives its provider and is deleted through a new one",
        run: t019,
    },
    Scenario {
        id: "T-030",
        title: "AreLunsSupported of our LUN is TRUE and changes nothing",
        run: t030,
    },
    Scenario {
        id: "T-031",
        title: "AreLunsSupported with a foreign LUN is FALSE in either order",
        run: t031,
    },
    Scenario {
        id: "T-037",
        title: "AreLunsSupported in contexts of others is FALSE",
        run: t037,
    },
    Scenario {
        id: "T-040",
        title: "AreLunsSupported with the array down is FALSE within 5 s",
        run: t040,
    },
    Scenario {
        id: "T-044",
        title: "AreLunsSupported alone reserves nothing",
        run: t044,
    },
];

fn t011(stage: &Stage<'_>) -> anyhow::Result<()> {
    expect("OnLoad", stage.provider().on_load(), Hresult::S_OK)
}

fn t012(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.array().fault(Fault::Down);
    let start = Instant::now();
    expect("OnLoad", stage.provider().on_load(), Hresult::S_OK)?;
    // LOAD-11: a connection made here would sit out its time-out.
    ensure!(
        start.elapsed() < Duration::from_secs(1),
        "OnLoad took {:?}",
        start.elapsed()
    );
    Ok(())
}

fn t013(stage: &Stage<'_>) -> anyhow::Result<()> {
    expect("OnLoad", stage.provider().on_load(), Hresult::S_OK)?;
    expect("OnUnload", stage.provider().on_unload(false), Hresult::S_OK)
}

fn t014(stage: &Stage<'_>) -> anyhow::Result<()> {
    for point in Point::unreported() {
        let mut set = stage.driven(&[&[0]], point)?;
        expect(
            &format!("OnUnload(FALSE) at {point:?}"),
            stage.provider().on_unload(false),
            Hresult::S_FALSE,
        )?;
        set.go_on(stage.provider(), point, Point::Created)?;
        set.delete(stage.provider())?;
    }
    Ok(())
}

fn t015(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    for point in Point::unreported() {
        stage.driven(&[&[0]], point)?;
        expect(
            &format!("OnUnload(TRUE) at {point:?}"),
            stage.provider().on_unload(true),
            Hresult::S_OK,
        )?;
        stage.expect_lun_count(before, &format!("unloaded at {point:?}"))?;
        expect("OnLoad", stage.provider().on_load(), Hresult::S_OK)?;
    }
    Ok(())
}

fn t016(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    for point in [Point::Reported, Point::Surfaced] {
        let set = stage.driven(&[&[0]], point)?;
        expect(
            &format!("OnUnload(TRUE) at {point:?}"),
            stage.provider().on_unload(true),
            Hresult::S_OK,
        )?;
        stage.expect_lun_count(before + 1, &format!("unloaded at {point:?}"))?;
        expect("OnLoad", stage.provider().on_load(), Hresult::S_OK)?;
        set.delete(stage.provider())?;
    }
    Ok(())
}

fn t018(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    for point in Point::unreported() {
        let provider = stage.load(CREATOR)?;
        stage.set(&[&[0]]).drive(&provider, point)?;
        drop(provider);
        stage.expect_lun_count_soon(before, &format!("released at {point:?}"))?;
    }
    Ok(())
}

fn t019(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let first = stage.load(CREATOR)?;
    let mut set = stage.set(&[&[0], &[1]]);
    set.drive(&first, Point::Created)?;
    expect("OnUnload", first.on_unload(true), Hresult::S_OK)?;
    drop(first);
    let second = stage.load(CREATOR)?;
    expect("OnLoad", second.on_load(), Hresult::S_OK)?;
    // FillInLunInfo, then OnLunEmpty.
    set.delete(&second)?;
    stage.expect_lun_count(before, "after OnLunEmpty in the new provider")
}

fn t030(stage: &Stage<'_>) -> anyhow::Result<()> {
    let given = stage.volume(&[0]);
    let mut luns = given.clone();
    let (code, supported) = stage.provider().are_luns_supported(BACKUP, &mut luns);
    expect("AreLunsSupported", code, Hresult::S_OK)?;
    ensure!(supported, "AreLunsSupported said FALSE");
    // ALS-6: the array reports its pages, so nothing is to be completed.
    ensure!(luns == given, "the structure was changed to {luns:?}");
    Ok(())
}

fn t031(stage: &Stage<'_>) -> anyhow::Result<()> {
    let ours = stage.volume(&[0]).remove(0);
    for mut luns in [
        vec![ours.clone(), foreign_disk()],
        vec![foreign_disk(), ours],
    ] {
        expect_refused(stage, BACKUP, &mut luns)?;
    }
    Ok(())
}

fn t037(stage: &Stage<'_>) -> anyhow::Result<()> {
    for context in [0x1D, 0x0D, -1, 0x0400_0000, 0x6_0000] {
        expect_refused(stage, context, &mut stage.volume(&[0]))?;
    }
    Ok(())
}

fn t040(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.array().fault(Fault::Down);
    let start = Instant::now();
    expect_refused(stage, BACKUP, &mut stage.volume(&[0]))?;
    ensure!(
        start.elapsed() < Duration::from_secs(5),
        "AreLunsSupported took {:?}",
        start.elapsed()
    );
    Ok(())
}

fn t044(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    t030(stage)?;
    stage.expect_lun_count(before, "after AreLunsSupported")
}

fn expect_refused(
    stage: &Stage<'_>,
    context: i32,
    luns: &mut Vec<LunDescription>,
) -> anyhow::Result<()> {
    let (code, supported) = stage.provider().are_luns_supported(context, luns);
    expect("AreLunsSupported", code, Hresult::S_OK)?;
    ensure!(
        !supported,
        "AreLunsSupported said TRUE in context {context:#x}"
    );
    Ok(())
}
