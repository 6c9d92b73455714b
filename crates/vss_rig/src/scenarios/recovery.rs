// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes after the report: recovery, the final phases, and a finished copy's later life (specification 10.7, 10.13).

use super::removal::{NOTIFY_READ_WRITE, remove_broken};
use super::stage::{expect, expect_of};
use super::{Scenario, Stage};
use crate::array::{CREATOR, Fault, IMPORTER};
use crate::host::ProviderHost as _;
use crate::sequence::Point;
use anyhow::{Context as _, ensure};
use vss_provider::Hresult;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-170",
        title: "writers repair the copy between PreFinal and PostFinal, the source stays",
        run: t170,
    },
    Scenario {
        id: "T-171",
        title: "a transportable set is finished without LocateLuns",
        run: t171,
    },
    Scenario {
        id: "T-173",
        title: "a finished copy can be mapped read/write by a second host",
        run: t173,
    },
    Scenario {
        id: "T-175",
        title: "PostFinal needs no array",
        run: t175,
    },
    Scenario {
        id: "T-296",
        title: "a nonpersistent copy outlives its provider until OnLunEmpty",
        run: t296,
    },
    Scenario {
        id: "T-301",
        title: "a copy that becomes an ordinary LUN stays mapped read/write",
        run: t301,
    },
];

fn t170(stage: &Stage<'_>) -> anyhow::Result<()> {
    let source = stage.volume(&[0]).remove(0);
    let held = stage.array().contents(CREATOR, &source)?;
    let mut set = stage.driven(&[&[0]], Point::Prefinal)?;
    let copy = set.targets().remove(0);
    stage.array().write_and_read_back(CREATOR, &copy)?;
    let repaired = stage.array().contents(CREATOR, &copy)?;
    set.step(stage.provider(), Point::Created)?;
    ensure!(
        stage.array().contents(CREATOR, &copy)? == repaired,
        "the copy lost what a writer repaired (PFC-2)"
    );
    ensure!(
        stage.array().contents(CREATOR, &source)? == held,
        "the source was changed"
    );
    set.delete(stage.provider())?;
    Ok(())
}

fn t171(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Reported)?;
    let before = stage.array().disks(CREATOR)?.len();
    set.step(stage.provider(), Point::Prefinal)?;
    set.step(stage.provider(), Point::Created)?;
    let after = stage.array().disks(CREATOR)?.len();
    ensure!(before == after, "{before} disks before, {after} after");
    set.delete(stage.provider())?;
    Ok(())
}

fn t173(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let copies = set.targets();
    let importer = stage.load(IMPORTER)?;
    let code = importer.locate_luns(&copies);
    expect_of(
        &importer,
        "LocateLuns on the second host",
        code,
        Hresult::S_OK,
    )?;
    let disk = stage
        .disk_like(IMPORTER, &copies[0])?
        .context("the copy did not come up on the second host")?;
    stage.array().write_and_read_back(IMPORTER, &disk)?;
    let code = importer.on_lun_empty(&copies[0]);
    expect_of(
        &importer,
        "OnLunEmpty on the second host",
        code,
        Hresult::S_OK,
    )?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t175(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Prefinal)?;
    stage.array().fault(Fault::Down);
    set.step(stage.provider(), Point::Created)?;
    stage.array().heal();
    set.delete(stage.provider())?;
    Ok(())
}

fn t296(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let first = stage.load(CREATOR)?;
    let mut set = stage.set(&[&[0]]);
    set.drive(&first, Point::Created)?;
    drop(first);
    let second = stage.load(CREATOR)?;
    stage.expect_lun_count(before + 1, "in the new provider")?;
    set.delete(&second)?;
    stage.expect_lun_count(before, "after OnLunEmpty")
}

fn t301(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let copies = set.targets();
    let code = stage
        .provider()
        .on_lun_state_change(&copies, None, NOTIFY_READ_WRITE);
    expect("OnLunStateChange", code, Hresult::S_OK)?;
    let disk = stage
        .disk_like(CREATOR, &copies[0])?
        .context("the LUN is not mapped any more")?;
    stage.array().write_and_read_back(CREATOR, &disk)?;
    remove_broken(stage, &copies)
}
