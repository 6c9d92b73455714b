// SPDX-License-Identifier: MIT OR Apache-2.0
//! ResyncLuns with IVssAsync (specification 10.9), GetProviderCapabilities and OnReuseLuns (10.10).

use super::stage::{expect, foreign_disk};
use super::{Scenario, Stage};
use crate::array::CREATOR;
use crate::host::{AsyncOperation, ProviderHost as _};
use crate::sequence::Point;
use anyhow::{Context as _, ensure};
use std::time::Duration;
use vss_provider::{Hresult, LunDescription};

/// How long a resync of these small LUNs may take.
const RESYNC_LIMIT: Duration = Duration::from_secs(30);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-210",
        title: "ResyncLuns brings an original back to its copy, the copy stays",
        run: t210,
    },
    Scenario {
        id: "T-213",
        title: "ResyncLuns of several pairs is one operation",
        run: t213,
    },
    Scenario {
        id: "T-220",
        title: "Cancel of a finished resync says FINISHED",
        run: t220,
    },
    Scenario {
        id: "T-223",
        title: "ResyncLuns of nothing is finished at once",
        run: t223,
    },
    Scenario {
        id: "T-225",
        title: "ResyncLuns onto itself or from a foreign LUN vetoes, nothing is touched",
        run: t225,
    },
    Scenario {
        id: "T-230",
        title: "GetProviderCapabilities is not implemented and gives 0",
        run: t230,
    },
    Scenario {
        id: "T-231",
        title: "OnReuseLuns is not implemented and changes nothing",
        run: t231,
    },
    Scenario {
        id: "T-226",
        title: "ResyncLuns beside a set in progress leaves the set alone",
        run: t226,
    },
    Scenario {
        id: "T-313",
        title: "an instant redirect is FINISHED at once, and reads are right",
        run: t313,
    },
];

fn resync(
    stage: &Stage<'_>,
    copies: &[LunDescription],
    targets: &[LunDescription],
) -> anyhow::Result<Box<dyn AsyncOperation>> {
    let (code, operation) = stage.provider().resync_luns(copies, targets);
    expect("ResyncLuns", code, Hresult::S_OK)?;
    operation.context("ResyncLuns succeeded without an IVssAsync")
}

/// IVssAsync as vshadow uses it: Wait, then QueryStatus (3.10).
fn finish(operation: &dyn AsyncOperation) -> anyhow::Result<()> {
    expect("Wait", operation.wait(RESYNC_LIMIT), Hresult::S_OK)?;
    expect_finished(operation)
}

fn expect_finished(operation: &dyn AsyncOperation) -> anyhow::Result<()> {
    let (code, status) = operation.query_status();
    expect("QueryStatus", code, Hresult::S_OK)?;
    expect("*pHrResult", status, Hresult::VSS_S_ASYNC_FINISHED)
}

/// Copies the originals with these indices, changes them, resyncs them, and looks.
fn round_trip(stage: &Stage<'_>, indices: &[usize]) -> anyhow::Result<()> {
    let array = stage.array();
    let originals = stage.volume(indices);
    let set = stage.driven(&[indices], Point::Created)?;
    let copies = set.targets();
    let mut held = Vec::new();
    for original in &originals {
        held.push(array.contents(CREATOR, original)?);
        array.write_and_read_back(CREATOR, original)?;
    }
    finish(&*resync(stage, &copies, &originals)?)?;
    for ((original, copy), held) in originals.iter().zip(&copies).zip(&held) {
        ensure!(
            array.contents(CREATOR, original)? == *held,
            "an original does not hold what it held (RSY-2)"
        );
        ensure!(
            array.contents(CREATOR, copy)? == *held,
            "a copy lost its contents (RSY-7)"
        );
        // RSY-3: usable.
        array.write_and_read_back(CREATOR, original)?;
    }
    set.delete(stage.provider())?;
    Ok(())
}

fn t210(stage: &Stage<'_>) -> anyhow::Result<()> {
    round_trip(stage, &[0])
}

fn t213(stage: &Stage<'_>) -> anyhow::Result<()> {
    round_trip(stage, &[2, 0, 1])
}

fn t220(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let operation = resync(stage, &set.targets(), &stage.volume(&[0]))?;
    expect("Wait", operation.wait(RESYNC_LIMIT), Hresult::S_OK)?;
    expect("Cancel", operation.cancel(), Hresult::VSS_S_ASYNC_FINISHED)?;
    expect_finished(&*operation)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t223(stage: &Stage<'_>) -> anyhow::Result<()> {
    let traffic = stage.array().traffic();
    expect_finished(&*resync(stage, &[], &[])?)?;
    ensure!(stage.array().traffic() == traffic, "the array was asked");
    Ok(())
}

fn t225(stage: &Stage<'_>) -> anyhow::Result<()> {
    let original = stage.volume(&[0]);
    let held = stage.array().contents(CREATOR, &original[0])?;
    for copies in [original.clone(), vec![foreign_disk()]] {
        let _ = stage.provider().take_events();
        let (code, operation) = stage.provider().resync_luns(&copies, &original);
        expect("ResyncLuns", code, Hresult::VSS_E_PROVIDER_VETO)?;
        ensure!(operation.is_none(), "a failure with an IVssAsync (RSY-13)");
        stage.expect_one_event("after ResyncLuns")?;
    }
    ensure!(
        stage.array().contents(CREATOR, &original[0])? == held,
        "the original was touched"
    );
    Ok(())
}

fn t230(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (code, mask) = stage.provider().get_provider_capabilities();
    expect("GetProviderCapabilities", code, Hresult::E_NOTIMPL)?;
    ensure!(mask == 0, "the mask is {mask:#x} (CAP-2)");
    Ok(())
}

fn t231(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Created)?;
    let traffic = stage.array().traffic();
    let code = stage
        .provider()
        .on_reuse_luns(&set.targets(), &stage.volume(&[0]));
    expect("OnReuseLuns", code, Hresult::E_NOTIMPL)?;
    ensure!(stage.array().traffic() == traffic, "the array was asked");
    set.delete(stage.provider())?;
    Ok(())
}

fn t226(stage: &Stage<'_>) -> anyhow::Result<()> {
    let old = stage.driven(&[&[0]], Point::Created)?;
    let mut new = stage.driven(&[&[1]], Point::Prepared)?;
    finish(&*resync(stage, &old.targets(), &stage.volume(&[0]))?)?;
    new.go_on(stage.provider(), Point::Prepared, Point::Created)?;
    old.delete(stage.provider())?;
    new.delete(stage.provider())?;
    Ok(())
}

fn t313(stage: &Stage<'_>) -> anyhow::Result<()> {
    let originals = stage.volume(&[0]);
    let held = stage.array().contents(CREATOR, &originals[0])?;
    let set = stage.driven(&[&[0]], Point::Created)?;
    stage.array().write_and_read_back(CREATOR, &originals[0])?;
    let operation = resync(stage, &set.targets(), &originals)?;
    expect_finished(&*operation)?;
    ensure!(
        stage.array().contents(CREATOR, &originals[0])? == held,
        "the original does not show the copy's contents yet"
    );
    set.delete(stage.provider())?;
    Ok(())
}
