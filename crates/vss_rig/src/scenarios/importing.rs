// SPDX-License-Identifier: MIT OR Apache-2.0
//! GetTargetLuns, LocateLuns and FillInLunInfo (specification 10.5, 10.6).

use super::stage::{expect, expect_of, expect_same_lun, foreign_disk};
use super::{Scenario, Stage};
use crate::array::{CREATOR, IMPORTER, is_same_lun};
use crate::host::ProviderHost;
use crate::sequence::{Point, ShadowSet};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_provider::{Hresult, LunDescription};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-120",
        title: "GetTargetLuns answers in order, version 1, no signature, no interconnects",
        run: t120,
    },
    Scenario {
        id: "T-121",
        title: "GetTargetLuns twice gives the same bytes",
        run: t121,
    },
    Scenario {
        id: "T-123",
        title: "FillInLunInfo of the surfaced disk equals GetTargetLuns",
        run: t123,
    },
    Scenario {
        id: "T-124",
        title: "identities of copies differ from the originals' and from one another",
        run: t124,
    },
    Scenario {
        id: "T-126",
        title: "GetTargetLuns maps nothing",
        run: t126,
    },
    Scenario {
        id: "T-133",
        title: "GetTargetLuns before PostCommit vetoes and the set goes on",
        run: t133,
    },
    Scenario {
        id: "T-140",
        title: "LocateLuns maps all copies read/write to this host only",
        run: t140,
    },
    Scenario {
        id: "T-141",
        title: "LocateLuns on another host without memory maps the copy there",
        run: t141,
    },
    Scenario {
        id: "T-142",
        title: "a copy named twice is mapped once",
        run: t142,
    },
    Scenario {
        id: "T-143",
        title: "LocateLuns of mapped copies succeeds",
        run: t143,
    },
    Scenario {
        id: "T-146",
        title: "LocateLuns of an original or a foreign LUN vetoes",
        run: t146,
    },
    Scenario {
        id: "T-151",
        title: "FillInLunInfo of a known copy is TRUE and equals GetTargetLuns",
        run: t151,
    },
    Scenario {
        id: "T-152",
        title: "FillInLunInfo of a foreign LUN is FALSE, unchanged, without the array",
        run: t152,
    },
    Scenario {
        id: "T-154",
        title: "FillInLunInfo twice is FillInLunInfo once",
        run: t154,
    },
    Scenario {
        id: "T-155",
        title: "FillInLunInfo clears the disk signature",
        run: t155,
    },
    Scenario {
        id: "T-161",
        title: "FillInLunInfo of an original gives its own identity",
        run: t161,
    },
];

/// Drives a set to [`Point::Created`] and hands it to `judge`, then deletes it.
fn with_created(
    stage: &Stage<'_>,
    volumes: &[&[usize]],
    judge: impl FnOnce(&ShadowSet) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let set = stage.driven(volumes, Point::Created)?;
    judge(&set)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn fill_in(host: &dyn ProviderHost, given: &LunDescription) -> anyhow::Result<LunDescription> {
    let mut lun = given.clone();
    let (code, supported) = host.fill_in_lun_info(&mut lun);
    expect("FillInLunInfo", code, Hresult::S_OK)?;
    ensure!(supported, "FillInLunInfo said FALSE");
    Ok(lun)
}

fn t120(stage: &Stage<'_>) -> anyhow::Result<()> {
    for original in stage.array().originals() {
        stage.array().write_and_read_back(CREATOR, original)?;
    }
    with_created(stage, &[&[2, 0, 1]], |set| {
        let targets = &set.volumes[0].targets;
        for (index, target) in targets.iter().enumerate() {
            let said = format!("target {index}");
            ensure!(target.version == 1, "{said} has version {}", target.version);
            ensure!(target.disk_signature.is_nil(), "{said} has a signature");
            ensure!(target.interconnects.is_empty(), "{said} has interconnects");
            ensure!(
                target
                    .identifiers
                    .iter()
                    .any(|i| matches!(i.kind, 1 | 2 | 3 | 8)),
                "{said} has no unique identifier (LUN-1)"
            );
            let disk = stage.disk_like(CREATOR, target)?.context(said.clone())?;
            ensure!(
                disk.identifiers == target.identifiers,
                "{said} shows other identifiers than reported (GTL-6)"
            );
        }
        expect_order(stage, set)
    })
}

/// GTL-1: target i is the copy of source i. It holds what the source held, and each source holds something else.
fn expect_order(stage: &Stage<'_>, set: &ShadowSet) -> anyhow::Result<()> {
    for (index, (source, target)) in set.volumes[0]
        .luns
        .iter()
        .zip(&set.volumes[0].targets)
        .enumerate()
    {
        let held = stage.array().contents(CREATOR, source)?;
        let copied = stage.array().contents(CREATOR, target)?;
        ensure!(
            held == copied,
            "target {index} is not the copy of source {index} (GTL-1)"
        );
    }
    Ok(())
}

fn t121(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0, 1, 2]], Point::Reported)?;
    let (code, again) = stage.provider().get_target_luns(&set.volumes[0].luns);
    expect("the second GetTargetLuns", code, Hresult::S_OK)?;
    ensure!(
        again == set.volumes[0].targets,
        "the second answer differs: {again:?}"
    );
    set.go_on(stage.provider(), Point::Reported, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

/// LUN-9 beside the case: the device's own designators, in number, order and bytes.
fn t123(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_created(stage, &[&[0], &[1]], |set| {
        for target in set.targets() {
            let disk = stage
                .disk_like(CREATOR, &target)?
                .context("the copy did not come up")?;
            // LUN-9: page 83 itself, before the provider could put anything right.
            ensure!(
                disk.identifiers == target.identifiers,
                "the disk shows {:?}, told was {:?}",
                disk.identifiers,
                target.identifiers
            );
            let filled = fill_in(stage.provider(), &disk)?;
            expect_same_lun("FillInLunInfo of the disk", &filled, &target)?;
        }
        Ok(())
    })
}

fn t124(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_created(stage, &[&[0, 1, 2]], |set| {
        let targets = set.targets();
        let all: Vec<_> = targets.iter().chain(stage.array().originals()).collect();
        for (index, lun) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                ensure!(
                    lun.serial != other.serial,
                    "two LUNs share {:?}",
                    lun.serial
                );
                ensure!(
                    !lun.identifiers
                        .iter()
                        .any(|i| other.identifiers.contains(i)),
                    "two LUNs share a designator: {lun:?}, {other:?}"
                );
            }
        }
        Ok(())
    })
}

fn t126(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Postcommitted)?;
    let before = stage.array().disks(CREATOR)?.len();
    set.step(stage.provider(), Point::Reported)?;
    let after = stage.array().disks(CREATOR)?.len();
    ensure!(before == after, "{before} disks before, {after} after");
    set.delete(stage.provider())?;
    Ok(())
}

fn t133(stage: &Stage<'_>) -> anyhow::Result<()> {
    for point in Point::unreported().filter(|point| *point < Point::Postcommitted) {
        let mut set = stage.driven(&[&[0]], point)?;
        let (code, targets) = stage.provider().get_target_luns(&set.volumes[0].luns);
        expect(
            &format!("GetTargetLuns at {point:?}"),
            code,
            Hresult::VSS_E_PROVIDER_VETO,
        )?;
        ensure!(targets.is_empty(), "a failure with targets (GTL-10)");
        set.go_on(stage.provider(), point, Point::Created)?;
        set.delete(stage.provider())?;
    }
    Ok(())
}

fn t140(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0, 1], &[2]], Point::Reported)?;
    set.step(stage.provider(), Point::Surfaced)?;
    for target in set.targets() {
        let disk = stage
            .disk_like(CREATOR, &target)?
            .context("a copy did not come up")?;
        stage.array().write_and_read_back(CREATOR, &disk)?;
        ensure!(
            stage.disk_like(IMPORTER, &target)?.is_none(),
            "another host sees the copy too (OLS-7)"
        );
    }
    set.go_on(stage.provider(), Point::Surfaced, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t141(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Reported)?;
    // Transportable: no LocateLuns at creation (4.1, step 15b).
    set.step(stage.provider(), Point::Prefinal)?;
    set.step(stage.provider(), Point::Created)?;
    let importer = stage.load(IMPORTER)?;
    let targets = set.targets();
    let code = importer.locate_luns(&targets);
    expect_of(
        &importer,
        "LocateLuns on the other host",
        code,
        Hresult::S_OK,
    )?;
    for target in &targets {
        let disk = stage
            .disk_like(IMPORTER, target)?
            .context("the copy did not come up on the other host")?;
        stage.array().write_and_read_back(IMPORTER, &disk)?;
        let filled = fill_in(&importer, &disk)?;
        expect_same_lun("FillInLunInfo on the other host", &filled, target)?;
        ensure!(
            stage.disk_like(CREATOR, target)?.is_none(),
            "the creating host sees the copy"
        );
        let code = importer.on_lun_empty(&filled);
        expect_of(
            &importer,
            "OnLunEmpty on the other host",
            code,
            Hresult::S_OK,
        )?;
    }
    Ok(())
}

fn t142(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Reported)?;
    let before = stage.array().disks(CREATOR)?.len();
    let target = set.targets().remove(0);
    let code = stage.provider().locate_luns(&[target.clone(), target]);
    expect("LocateLuns", code, Hresult::S_OK)?;
    let after = stage.array().disks(CREATOR)?.len();
    ensure!(after == before + 1, "{} disks came up", after - before);
    set.go_on(stage.provider(), Point::Surfaced, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t143(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_created(stage, &[&[0], &[1]], |set| {
        let before = stage.array().disks(CREATOR)?.len();
        let code = stage.provider().locate_luns(&set.targets());
        expect("LocateLuns of mapped copies", code, Hresult::S_OK)?;
        let after = stage.array().disks(CREATOR)?.len();
        ensure!(before == after, "{before} disks before, {after} after");
        Ok(())
    })
}

fn t146(stage: &Stage<'_>) -> anyhow::Result<()> {
    let disks = stage.array().disks(CREATOR)?.len();
    let original = stage.volume(&[0]).remove(0);
    for lun in [original, foreign_disk()] {
        let _ = stage.provider().take_events();
        let code = stage.provider().locate_luns(&[lun]);
        expect("LocateLuns", code, Hresult::VSS_E_PROVIDER_VETO)?;
        stage.expect_one_event("after LocateLuns")?;
    }
    let after = stage.array().disks(CREATOR)?.len();
    ensure!(disks == after, "{disks} disks before, {after} after");
    Ok(())
}

fn t151(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_created(stage, &[&[0]], |set| {
        for target in set.targets() {
            let filled = fill_in(stage.provider(), &target)?;
            ensure!(filled == target, "{filled:?} is not {target:?}");
        }
        Ok(())
    })
}

fn t152(stage: &Stage<'_>) -> anyhow::Result<()> {
    let given = foreign_disk();
    let mut lun = given.clone();
    let traffic = stage.array().traffic();
    let start = Instant::now();
    let (code, supported) = stage.provider().fill_in_lun_info(&mut lun);
    let elapsed = start.elapsed();
    expect("FillInLunInfo", code, Hresult::S_OK)?;
    ensure!(!supported, "FillInLunInfo said TRUE");
    ensure!(lun == given, "the structure was changed to {lun:?}");
    ensure!(
        stage.array().traffic() == traffic,
        "the array was asked (FIL-8)"
    );
    ensure!(elapsed < Duration::from_millis(50), "it took {elapsed:?}");
    Ok(())
}

fn t154(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_created(stage, &[&[0]], |set| {
        let target = set.targets().remove(0);
        let disk = stage
            .disk_like(CREATOR, &target)?
            .context("the copy did not come up")?;
        let once = fill_in(stage.provider(), &disk)?;
        let twice = fill_in(stage.provider(), &once)?;
        ensure!(once == twice, "{twice:?} is not {once:?}");
        Ok(())
    })
}

fn t155(stage: &Stage<'_>) -> anyhow::Result<()> {
    with_created(stage, &[&[0]], |set| {
        let mut signed = set.targets().remove(0);
        signed.disk_signature = Uuid::from_u128(0xDEAD_BEEF);
        let filled = fill_in(stage.provider(), &signed)?;
        ensure!(
            filled.disk_signature.is_nil(),
            "the signature is {}",
            filled.disk_signature
        );
        Ok(())
    })
}

fn t161(stage: &Stage<'_>) -> anyhow::Result<()> {
    let original = stage.volume(&[0]).remove(0);
    let filled = fill_in(stage.provider(), &original)?;
    ensure!(
        is_same_lun(&filled, &original),
        "the identity became {filled:?}"
    );
    Ok(())
}
