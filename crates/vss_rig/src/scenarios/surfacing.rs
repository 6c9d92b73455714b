// SPDX-License-Identifier: MIT OR Apache-2.0
//! GetTargetLuns, LocateLuns and FillInLunInfo with crafted LUNs, other hosts and faults (specification 10.5, 10.6).

use super::removal::DO_MASK_LUNS;
use super::stage::{expect, expect_of, expect_same_lun};
use super::supported::interconnects;
use super::{Scenario, Stage};
use crate::array::{CREATOR, Fault, IMPORTER};
use crate::host::ProviderHost;
use crate::sequence::{Point, ShadowSet};
use anyhow::{Context as _, ensure};
use std::time::Duration;
use vss_provider::{Hresult, LunDescription};

/// TIME-9.
const LOCATE_LIMIT: Duration = Duration::from_secs(60);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-125",
        title: "GetTargetLuns tells the designators of the LUN itself only",
        run: t125,
    },
    Scenario {
        id: "T-134",
        title: "GetTargetLuns with the array down vetoes, and nothing is left",
        run: t134,
    },
    Scenario {
        id: "T-135",
        title: "trailing blanks make no difference",
        run: t135,
    },
    Scenario {
        id: "T-148",
        title: "LocateLuns with the array down or silent vetoes in its time, and works later",
        run: t148,
    },
    Scenario {
        id: "T-149",
        title: "LocateLuns of older copies leaves a prepared set alone",
        run: t149,
    },
    Scenario {
        id: "T-156",
        title: "FillInLunInfo leaves interconnects alone",
        run: t156,
    },
    Scenario {
        id: "T-157",
        title: "FillInLunInfo with the array down answers from complete data",
        run: t157,
    },
    Scenario {
        id: "T-159",
        title: "FillInLunInfo that fails stores FALSE",
        run: t159,
    },
    Scenario {
        id: "T-160",
        title: "FillInLunInfo of a disk with a newer firmware equals GetTargetLuns",
        run: t160,
    },
    Scenario {
        id: "T-298",
        title: "FillInLunInfo knows an imported copy on both hosts",
        run: t298,
    },
];

/// The copy of the first original as the host sees it, in a finished set that is deleted after `judge`.
fn with_disk(
    stage: &Stage<'_>,
    judge: impl FnOnce(&LunDescription, &LunDescription) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let target = set.targets().remove(0);
    let disk = stage
        .disk_like(CREATOR, &target)?
        .context("the copy did not come up")?;
    judge(&disk, &target)?;
    stage.array().heal();
    set.delete(stage.provider())?;
    Ok(())
}

/// Checks that FillInLunInfo of `given` is TRUE, and gives what it made of it.
fn filled(host: &dyn ProviderHost, given: &LunDescription) -> anyhow::Result<LunDescription> {
    let mut lun = given.clone();
    let (code, supported) = host.fill_in_lun_info(&mut lun);
    expect_of(host, "FillInLunInfo", code, Hresult::S_OK)?;
    ensure!(supported, "FillInLunInfo said FALSE");
    Ok(lun)
}

/// What a host builds from page 83h has association 0 only, so equal lists say that the report has no other (LUN-3).
fn t125(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_disk(stage, |disk, target| {
        ensure!(
            disk.identifiers == target.identifiers,
            "the report has {:?}, the disk {:?}",
            target.identifiers,
            disk.identifiers
        );
        Ok(())
    })
}

fn t134(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Postcommitted)?;
    let _ = stage.provider().take_events();
    stage.array().fault(Fault::Down);
    let (code, targets) = stage.provider().get_target_luns(&set.volumes[0].luns);
    expect("GetTargetLuns", code, Hresult::VSS_E_PROVIDER_VETO)?;
    ensure!(targets.is_empty(), "a failure with targets (GTL-10)");
    stage.expect_one_event("after GetTargetLuns")?;
    stage.recovers(&set, before, "after the veto")
}

fn t135(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_disk(stage, |disk, target| {
        let mut padded = disk.clone();
        for text in [
            &mut padded.vendor,
            &mut padded.product,
            &mut padded.revision,
            &mut padded.serial,
        ] {
            text.get_or_insert_default().extend(b"   ");
        }
        let found = filled(stage.provider(), &padded)?;
        expect_same_lun("FillInLunInfo with trailing blanks", &found, target)
    })
}

fn t148(stage: &Stage<'_>) -> anyhow::Result<()> {
    for fault in [Fault::Down, Fault::Hang] {
        if fault == Fault::Hang && !stage.can_wait(LOCATE_LIMIT) {
            continue;
        }
        let mut set = stage.driven(&[&[0]], Point::Reported)?;
        let _ = stage.provider().take_events();
        stage.array().fault(fault);
        let code = stage.within(LOCATE_LIMIT, "LocateLuns", || {
            stage.provider().locate_luns(&set.targets())
        })?;
        expect("LocateLuns", code, Hresult::VSS_E_PROVIDER_VETO)?;
        stage.expect_one_event("after LocateLuns")?;
        stage.array().heal();
        set.go_on(stage.provider(), Point::Reported, Point::Created)?;
        set.delete(stage.provider())?;
    }
    Ok(())
}

fn t149(stage: &Stage<'_>) -> anyhow::Result<()> {
    let old = stage.driven(&[&[0]], Point::Created)?;
    let copies = old.targets();
    let code = stage
        .provider()
        .on_lun_state_change(&copies, None, DO_MASK_LUNS);
    expect("OnLunStateChange", code, Hresult::S_OK)?;
    let mut new = stage.driven(&[&[1]], Point::Prepared)?;
    let code = stage.provider().locate_luns(&copies);
    expect("LocateLuns of the older set", code, Hresult::S_OK)?;
    new.go_on(stage.provider(), Point::Prepared, Point::Created)?;
    old.delete(stage.provider())?;
    new.delete(stage.provider())?;
    Ok(())
}

fn t156(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_disk(stage, |disk, _| {
        let mut connected = disk.clone();
        connected.interconnects = interconnects();
        let found = filled(stage.provider(), &connected)?;
        ensure!(
            found.interconnects == connected.interconnects,
            "the interconnects became {:?}",
            found.interconnects
        );
        Ok(())
    })
}

fn t157(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_disk(stage, |disk, target| {
        stage.array().fault(Fault::Down);
        let found = filled(stage.provider(), disk)?;
        expect_same_lun("FillInLunInfo without the array", &found, target)
    })
}

fn t159(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_disk(stage, |disk, _| {
        let mut incomplete = disk.clone();
        incomplete.serial = None;
        stage.array().fault(Fault::Down);
        let (_, supported) = stage.provider().fill_in_lun_info(&mut incomplete);
        ensure!(!supported, "TRUE for what nobody can complete (FIL-6)");
        Ok(())
    })
}

fn t160(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_disk(stage, |disk, target| {
        let mut newer = disk.clone();
        newer.revision = Some(b"9999".to_vec());
        let found = filled(stage.provider(), &newer)?;
        expect_same_lun("FillInLunInfo with another revision", &found, target)
    })
}

fn expect_importing_host(
    stage: &Stage<'_>,
    copy: &LunDescription,
    wanted: &str,
) -> anyhow::Result<()> {
    let found = stage.array().importing_host(copy)?;
    ensure!(
        found.as_deref().is_none_or(|host| host == wanted),
        "the copy's tag has {found:?} as the host that located it last, not {wanted} (IMP-9)"
    );
    Ok(())
}

fn t298(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set: ShadowSet = stage.driven(&[&[0]], Point::Created)?;
    let target = set.targets().remove(0);
    expect_importing_host(stage, &target, CREATOR)?;
    let importer = stage.load(IMPORTER)?;
    let code = importer.locate_luns(std::slice::from_ref(&target));
    expect_of(
        &importer,
        "LocateLuns on the other host",
        code,
        Hresult::S_OK,
    )?;
    expect_importing_host(stage, &target, IMPORTER)?;
    for (host, provider) in [
        (CREATOR, stage.provider() as &dyn ProviderHost),
        (IMPORTER, &importer),
    ] {
        let disk = stage
            .disk_like(host, &target)?
            .with_context(|| format!("{host} does not see the copy"))?;
        let found = filled(provider, &disk)?;
        expect_same_lun(host, &found, &target)?;
    }
    let code = importer.on_lun_empty(&target);
    expect_of(
        &importer,
        "OnLunEmpty on the other host",
        code,
        Hresult::S_OK,
    )?;
    set.delete(stage.provider())?;
    Ok(())
}
