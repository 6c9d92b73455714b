// SPDX-License-Identifier: MIT OR Apache-2.0
//! OnLunEmpty and OnLunStateChange (specification 10.8).

use super::stage::{expect, expect_of};
use super::{Scenario, Stage};
use crate::array::{CREATOR, Fault, IMPORTER};
use crate::host::ProviderHost as _;
use crate::sequence::Point;
use anyhow::{Context as _, ensure};
use vss_provider::{Hresult, LunDescription};

/// VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE.
pub(super) const NOTIFY_READ_WRITE: u32 = 0x0100;
/// VSS_ONLUNSTATECHANGE_DO_MASK_LUNS.
pub(super) const DO_MASK_LUNS: u32 = 0x0800;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-190",
        title: "OnLunEmpty unmaps and deletes the copy",
        run: t190,
    },
    Scenario {
        id: "T-191",
        title: "OnLunEmpty of a deleted copy succeeds",
        run: t191,
    },
    Scenario {
        id: "T-192",
        title: "OnLunEmpty works in a provider that never saw the set",
        run: t192,
    },
    Scenario {
        id: "T-193",
        title: "OnLunEmpty of an original vetoes and touches nothing",
        run: t193,
    },
    Scenario {
        id: "T-196",
        title: "OnLunEmpty of a copy that another host maps unmaps it here only",
        run: t196,
    },
    Scenario {
        id: "T-201",
        title: "masking a copy keeps it, LocateLuns maps it again",
        run: t201,
    },
    Scenario {
        id: "T-202",
        title: "masking a masked copy succeeds",
        run: t202,
    },
    Scenario {
        id: "T-194",
        title: "OnLunEmpty and LocateLuns of a broken copy veto and touch nothing",
        run: t194,
    },
    Scenario {
        id: "T-198",
        title: "OnLunEmpty with the array down vetoes, and works later",
        run: t198,
    },
    Scenario {
        id: "T-200",
        title: "OnLunEmpty of 64 copies in a row",
        run: t200,
    },
    Scenario {
        id: "T-203",
        title: "of all flags of OnLunStateChange only the mask changes what the host sees",
        run: t203,
    },
    Scenario {
        id: "T-205",
        title: "masking a copy on one host leaves it to the other",
        run: t205,
    },
];

/// Deletes copies that were broken out of their set, as an administrator.
pub(super) fn remove_broken(stage: &Stage<'_>, copies: &[LunDescription]) -> anyhow::Result<()> {
    for copy in copies {
        stage.array().remove_lun(copy)?;
    }
    Ok(())
}

fn t190(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0], &[1]], Point::Created)?;
    set.delete(stage.provider())?;
    stage.expect_lun_count(before, "after OnLunEmpty")?;
    for target in set.targets() {
        ensure!(
            stage.disk_like(CREATOR, &target)?.is_none(),
            "the host still sees a deleted copy"
        );
    }
    Ok(())
}

fn t191(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    set.delete(stage.provider())?;
    let code = stage.provider().on_lun_empty(&set.targets()[0]);
    expect("the second OnLunEmpty", code, Hresult::S_OK)
}

fn t192(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let later = stage.load(CREATOR)?;
    set.delete(&later)?;
    Ok(())
}

fn t193(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let original = stage.volume(&[0]).remove(0);
    let _ = stage.provider().take_events();
    let code = stage.provider().on_lun_empty(&original);
    expect("OnLunEmpty", code, Hresult::VSS_E_PROVIDER_VETO)?;
    stage.expect_one_event("after OnLunEmpty")?;
    stage.expect_lun_count(before, "after OnLunEmpty")?;
    ensure!(
        stage.disk_like(CREATOR, &original)?.is_some(),
        "the original is gone from the host"
    );
    Ok(())
}

fn t196(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let target = set.targets().remove(0);
    let importer = stage.load(IMPORTER)?;
    let code = importer.locate_luns(std::slice::from_ref(&target));
    expect_of(
        &importer,
        "LocateLuns on the other host",
        code,
        Hresult::S_OK,
    )?;
    let code = stage.provider().on_lun_empty(&target);
    expect("OnLunEmpty on the first host", code, Hresult::S_OK)?;
    ensure!(
        stage.disk_like(CREATOR, &target)?.is_none(),
        "the first host still sees the copy"
    );
    ensure!(
        stage.disk_like(IMPORTER, &target)?.is_some(),
        "the other host lost the copy (OLE-7)"
    );
    let code = importer.on_lun_empty(&target);
    expect_of(
        &importer,
        "OnLunEmpty on the other host",
        code,
        Hresult::S_OK,
    )
}

fn t201(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Created)?;
    let targets = set.targets();
    let originals = stage.volume(&[0]);
    let code = stage
        .provider()
        .on_lun_state_change(&targets, Some(&originals), DO_MASK_LUNS);
    expect("OnLunStateChange", code, Hresult::S_OK)?;
    ensure!(
        stage.disk_like(CREATOR, &targets[0])?.is_none(),
        "the host still sees a masked copy"
    );
    stage.expect_lun_count(before + 1, "after masking")?;
    let code = stage.provider().locate_luns(&targets);
    expect("LocateLuns", code, Hresult::S_OK)?;
    stage
        .disk_like(CREATOR, &targets[0])?
        .context("the copy did not come up again")?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t202(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let targets = set.targets();
    for which in ["the first OnLunStateChange", "the second OnLunStateChange"] {
        let code = stage
            .provider()
            .on_lun_state_change(&targets, None, DO_MASK_LUNS);
        expect(which, code, Hresult::S_OK)?;
    }
    set.delete(stage.provider())?;
    Ok(())
}

fn t194(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let copies = set.targets();
    let provider = stage.provider();
    let code = provider.on_lun_state_change(&copies, None, NOTIFY_READ_WRITE);
    expect("OnLunStateChange", code, Hresult::S_OK)?;
    let held = stage.array().contents(CREATOR, &copies[0])?;
    for (what, code) in [
        ("OnLunEmpty", provider.on_lun_empty(&copies[0])),
        ("LocateLuns", provider.locate_luns(&copies)),
    ] {
        expect(what, code, Hresult::VSS_E_PROVIDER_VETO)?;
    }
    ensure!(
        stage.array().contents(CREATOR, &copies[0])? == held,
        "a broken copy was touched (OLE-6, BRK-6)"
    );
    remove_broken(stage, &copies)
}

fn t198(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let set = stage.driven(&[&[0]], Point::Created)?;
    let _ = stage.provider().take_events();
    stage.array().fault(Fault::Down);
    let code = stage.provider().on_lun_empty(&set.targets()[0]);
    expect("OnLunEmpty", code, Hresult::VSS_E_PROVIDER_VETO)?;
    stage.expect_one_event("after OnLunEmpty")?;
    stage.array().heal();
    stage.expect_lun_count(before + 1, "with the array back")?;
    set.delete(stage.provider())?;
    stage.expect_lun_count(before, "after the second OnLunEmpty")
}

fn t200(stage: &Stage<'_>) -> anyhow::Result<()> {
    const COPIES: usize = 64;
    let before = stage.array().lun_count()?;
    let mut copies = Vec::new();
    while copies.len() < COPIES {
        copies.extend(stage.driven(&[&[0, 1, 2]], Point::Created)?.targets());
    }
    for copy in &copies {
        let code = stage.provider().on_lun_empty(copy);
        expect("OnLunEmpty", code, Hresult::S_OK)?;
    }
    stage.expect_lun_count(before, "after all of them")
}

fn t203(stage: &Stage<'_>) -> anyhow::Result<()> {
    for flags in [0, 0x100, 0x200, 0x400, 0x700, 0x900, 0x8000_0000] {
        let at = format!("flags {flags:#x}");
        let set = stage.driven(&[&[0]], Point::Created)?;
        let copies = set.targets();
        let code = stage.provider().on_lun_state_change(&copies, None, flags);
        expect(&at, code, Hresult::S_OK)?;
        let is_mapped = stage.disk_like(CREATOR, &copies[0])?.is_some();
        ensure!(
            is_mapped == (flags & DO_MASK_LUNS == 0),
            "{at}: the host sees the LUN: {is_mapped}"
        );
        match flags & NOTIFY_READ_WRITE {
            0 => set.delete(stage.provider())?,
            _ => remove_broken(stage, &copies)?,
        }
    }
    Ok(())
}

fn t205(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let copies = set.targets();
    let importer = stage.load(IMPORTER)?;
    let code = importer.locate_luns(&copies);
    expect_of(
        &importer,
        "LocateLuns on the other host",
        code,
        Hresult::S_OK,
    )?;
    let code = stage
        .provider()
        .on_lun_state_change(&copies, None, DO_MASK_LUNS);
    expect("OnLunStateChange", code, Hresult::S_OK)?;
    ensure!(
        stage.disk_like(CREATOR, &copies[0])?.is_none(),
        "this host still sees the copy"
    );
    ensure!(
        stage.disk_like(IMPORTER, &copies[0])?.is_some(),
        "the other host lost the copy (OLS-7)"
    );
    let code = importer.on_lun_empty(&copies[0]);
    expect_of(
        &importer,
        "OnLunEmpty on the other host",
        code,
        Hresult::S_OK,
    )
}
