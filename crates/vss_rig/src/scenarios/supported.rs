// SPDX-License-Identifier: MIT OR Apache-2.0
//! AreLunsSupported with crafted LUNs and contexts (specification 10.2), and T-319.

use super::stage::{BACKUP, elsewhere, expect};
use super::{Scenario, Stage};
use crate::array::{CREATOR, CopyKind, Fault};
use crate::host::ProviderHost as _;
use crate::sequence::{Point, ShadowSet};
use anyhow::{Context as _, ensure};
use std::time::Duration;
use vss_provider::{Hresult, Interconnect, LunDescription, StorageIdentifier};

/// TIME-9.
const LIMIT: Duration = Duration::from_secs(5);
/// Designator types that identify a LUN (LUN-1).
const USABLE_TYPES: [u32; 4] = [1, 2, 3, 8];

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-032",
        title: "a LUN without a usable designator makes the volume unsupported",
        run: t032,
    },
    Scenario {
        id: "T-033",
        title: "designators of types 0, 4, 5, 6 and 7 identify nothing",
        run: t033,
    },
    Scenario {
        id: "T-034",
        title: "one designator of a usable type is enough",
        run: t034,
    },
    Scenario {
        id: "T-035",
        title: "contexts are answered by table 6.4",
        run: t035,
    },
    Scenario {
        id: "T-036",
        title: "differential and full at once is refused",
        run: t036,
    },
    Scenario {
        id: "T-038",
        title: "bits of VSS's own change no answer",
        run: t038,
    },
    Scenario {
        id: "T-041",
        title: "AreLunsSupported with a silent array is FALSE within 5 s",
        run: t041,
    },
    Scenario {
        id: "T-043",
        title: "AreLunsSupported beside a prepared set leaves the set alone",
        run: t043,
    },
    Scenario {
        id: "T-045",
        title: "AreLunsSupported of no LUN is FALSE",
        run: t045,
    },
    Scenario {
        id: "T-048",
        title: "missing INQUIRY and serial strings do no harm",
        run: t048,
    },
    Scenario {
        id: "T-050",
        title: "a copy, mapped or not, is ours, but no copy is made of it",
        run: t050,
    },
    Scenario {
        id: "T-051",
        title: "a volume across two arrays is unsupported",
        run: t051,
    },
    Scenario {
        id: "T-052",
        title: "AreLunsSupported leaves interconnects alone",
        run: t052,
    },
    Scenario {
        id: "T-053",
        title: "structures of version 0 and 2 do no harm",
        run: t053,
    },
    Scenario {
        id: "T-054",
        title: "AreLunsSupported that fails stores FALSE",
        run: t054,
    },
    Scenario {
        id: "T-319",
        title: "an original without page 80h is supported and copied",
        run: t319,
    },
];

fn asked(stage: &Stage<'_>, context: i32, mut luns: Vec<LunDescription>) -> anyhow::Result<bool> {
    let (code, supported) = stage.provider().are_luns_supported(context, &mut luns);
    expect("AreLunsSupported", code, Hresult::S_OK)?;
    Ok(supported)
}

fn expect_answer(
    stage: &Stage<'_>,
    what: &str,
    luns: Vec<LunDescription>,
    wanted: bool,
) -> anyhow::Result<()> {
    let found = asked(stage, BACKUP, luns)?;
    ensure!(found == wanted, "{what}: AreLunsSupported said {found}");
    Ok(())
}

/// The first original as a volume.
fn ours(stage: &Stage<'_>) -> Vec<LunDescription> {
    stage.volume(&[0])
}

fn t032(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut luns = stage.volume(&[0, 1, 2]);
    luns[1]
        .identifiers
        .retain(|identifier| !USABLE_TYPES.contains(&identifier.kind));
    expect_answer(stage, "the LUN between", luns, false)
}

fn t033(stage: &Stage<'_>) -> anyhow::Result<()> {
    for kind in [0, 4, 5, 6, 7] {
        let mut luns = ours(stage);
        for identifier in &mut luns[0].identifiers {
            identifier.kind = kind;
        }
        expect_answer(stage, &format!("type {kind}"), luns, false)?;
    }
    Ok(())
}

/// Which of a LUN's designators names it is its vendor's choice, so the other types stand beside it.
fn t034(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut luns = ours(stage);
    luns[0]
        .identifiers
        .retain(|identifier| USABLE_TYPES.contains(&identifier.kind));
    luns[0].identifiers.truncate(1);
    expect_answer(stage, "one usable designator", luns.clone(), true)?;
    let others = [
        (1, 2, b"ACME    ANVIL-0000000042".to_vec()),
        (2, 1, vec![0x60, 0, 0x0B, 0, 0, 0, 0, 0x42]),
        (3, 1, vec![0x50, 0, 0x0B, 0, 0, 0, 0, 0x42]),
        (8, 3, b"iqn.1992-01.com.example:42".to_vec()),
    ];
    for (kind, code_set, bytes) in others {
        let mut both = luns.clone();
        both[0].identifiers.push(StorageIdentifier {
            code_set,
            kind,
            bytes,
        });
        expect_answer(stage, &format!("beside it type {kind}"), both, true)?;
    }
    Ok(())
}

/// The array's copies are transportable and survive a restart, and are either differential or full.
fn t035(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (differential, full) = match stage.array().copy_kind() {
        CopyKind::Differential => (true, false),
        CopyKind::Full => (false, true),
    };
    let rows = [
        (0x00, true),
        (0x10, true),
        (0x09, true),
        (0x19, true),
        (0x2_0000, differential),
        (0x4_0000, full),
        (0x6_0000, false),
        (0x20, true),
        (0x01, true),
        (0x4_0020, full),
        (0x2_0021, differential),
        (0x04, false),
        (0x400_0000, false),
        (0x40_0000, true),
        (0x82_0000, differential),
        (0x204_0000, full),
    ];
    for (context, wanted) in rows {
        let found = asked(stage, context, ours(stage))?;
        ensure!(found == wanted, "context {context:#x} gave {found}");
    }
    Ok(())
}

fn t036(stage: &Stage<'_>) -> anyhow::Result<()> {
    ensure!(!asked(stage, 0x6_0000, ours(stage))?, "it said TRUE");
    let set = ShadowSet::new(0x6_0000, &[&ours(stage)]);
    let code = stage.provider().begin_prepare_snapshot(
        set.id,
        set.volumes[0].snapshot,
        set.context,
        &mut ours(stage),
    );
    expect(
        "BeginPrepareSnapshot",
        code,
        Hresult::VSS_E_UNSUPPORTED_CONTEXT,
    )
}

fn t038(stage: &Stage<'_>) -> anyhow::Result<()> {
    for bit in [0x40, 0x1_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x100_0000] {
        for context in [0, 0x01, 0x20, 0x6_0000, 0x04] {
            let without = asked(stage, context, ours(stage))?;
            let with = asked(stage, context | bit, ours(stage))?;
            ensure!(
                with == without,
                "{context:#x}: {without}, with {bit:#x} {with}"
            );
        }
    }
    Ok(())
}

fn t041(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.array().fault(Fault::Hang);
    let answer = stage.within(LIMIT, "AreLunsSupported", || {
        asked(stage, BACKUP, ours(stage))
    })?;
    ensure!(!answer?, "AreLunsSupported said TRUE");
    Ok(())
}

fn t043(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut set = stage.driven(&[&[0]], Point::Prepared)?;
    expect_answer(stage, "another volume", stage.volume(&[1]), true)?;
    set.go_on(stage.provider(), Point::Prepared, Point::Created)?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t045(stage: &Stage<'_>) -> anyhow::Result<()> {
    expect_answer(stage, "no LUN", Vec::new(), false)
}

fn t048(stage: &Stage<'_>) -> anyhow::Result<()> {
    let spoilers: [fn(&mut LunDescription); 5] = [
        |lun| lun.vendor = None,
        |lun| lun.product = None,
        |lun| lun.revision = None,
        |lun| lun.serial = None,
        |lun| {
            lun.vendor = None;
            lun.product = None;
            lun.revision = None;
            lun.serial = None;
        },
    ];
    for spoil in spoilers {
        let mut luns = ours(stage);
        spoil(&mut luns[0]);
        // FALSE, or TRUE where page 83h is enough.
        asked(stage, BACKUP, luns)?;
    }
    expect_answer(stage, "the whole structure", ours(stage), true)
}

fn t050(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0]], Point::Reported)?;
    let copy = set.targets();
    let count = stage.array().lun_count()?;
    expect_answer(stage, "a copy that is not mapped", copy.clone(), true)?;
    let mut set = set;
    set.go_on(stage.provider(), Point::Reported, Point::Created)?;
    expect_answer(stage, "a mapped copy", copy.clone(), true)?;
    let of_copy = ShadowSet::new(BACKUP, &[&copy]);
    let code = stage.provider().begin_prepare_snapshot(
        of_copy.id,
        of_copy.volumes[0].snapshot,
        BACKUP,
        &mut copy.clone(),
    );
    expect(
        "BeginPrepareSnapshot of a copy",
        code,
        Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
    )?;
    stage.expect_lun_count(count, "after the refusal")?;
    set.delete(stage.provider())?;
    Ok(())
}

fn t051(stage: &Stage<'_>) -> anyhow::Result<()> {
    let here = ours(stage).remove(0);
    let there = elsewhere(&here);
    for luns in [vec![here.clone(), there.clone()], vec![there, here]] {
        expect_answer(stage, "two arrays", luns, false)?;
    }
    Ok(())
}

/// Two interconnects as Windows might pass them.
pub(super) fn interconnects() -> Vec<Interconnect> {
    [b"port one", b"port two"]
        .map(|port| Interconnect {
            address_type: 4,
            port: port.to_vec(),
            address: vec![192, 0, 2, 7],
        })
        .to_vec()
}

fn t052(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut luns = ours(stage);
    luns[0].interconnects = interconnects();
    let given = luns.clone();
    let (code, supported) = stage.provider().are_luns_supported(BACKUP, &mut luns);
    expect("AreLunsSupported", code, Hresult::S_OK)?;
    ensure!(supported, "AreLunsSupported said FALSE");
    ensure!(luns == given, "the structure was changed to {luns:?}");
    Ok(())
}

fn t053(stage: &Stage<'_>) -> anyhow::Result<()> {
    for version in [0, 2] {
        let mut luns = ours(stage);
        luns[0].version = version;
        // TRUE and FALSE are both an answer.
        asked(stage, BACKUP, luns)?;
    }
    expect_answer(stage, "version 1", ours(stage), true)
}

fn t054(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.array().fault(Fault::Down);
    let (code, supported) = stage
        .provider()
        .are_luns_supported(BACKUP, &mut ours(stage));
    ensure!(!supported, "{code} and TRUE (ALS-12)");
    Ok(())
}

fn t319(stage: &Stage<'_>) -> anyhow::Result<()> {
    let mut luns = ours(stage);
    stage.array().write_and_read_back(CREATOR, &luns[0])?;
    luns[0].serial = None;
    let mut set = ShadowSet::new(BACKUP, &[&luns]);
    set.drive(stage.provider(), Point::Created)?;
    let copy = &set.targets()[0];
    let disk = stage
        .disk_like(CREATOR, copy)?
        .context("the copy did not come up")?;
    ensure!(
        stage.array().contents(CREATOR, &disk)? == stage.array().contents(CREATOR, &luns[0])?,
        "the copy holds something else"
    );
    set.delete(stage.provider())?;
    Ok(())
}
