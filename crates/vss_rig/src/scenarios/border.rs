// SPDX-License-Identifier: MIT OR Apache-2.0
//! What COM adds: identity, proxies, memory across the border, activation, processes that die (parts of specification 10.1, 10.5).
//!
//! Negative counts (GEN-6) do not come so far: RPC's own code refuses them (0x800706C6), or reads for ever under Wine.

use super::stage::{BACKUP, expect};
use super::{Scenario, Stage, echo};
use crate::array::CREATOR;
use crate::com::ComProvider;
use crate::host::ProviderHost as _;
use crate::sequence::Point;
use crate::wine::{Hosting, ProcessUse, WineHost};
use anyhow::{Context as _, ensure};
use uuid::{Uuid, uuid};
use vss_provider::Hresult;
use vss_standin::wire::{Method, Order, Server};

/// The interfaces of a provider, IUnknown first (specification 0.3).
const INTERFACES: [Uuid; 5] = [
    uuid!("00000000-0000-0000-c000-000000000046"),
    uuid!("9593a157-44e9-4344-bbeb-44fbf9b06b10"),
    uuid!("7f5ba925-cdb1-4d11-a71f-339eb7e709fd"),
    uuid!("5f894e5b-1e39-4778-8e23-9abad9f0e08c"),
    uuid!("e561901f-03a5-4afe-86d0-72baeece7004"),
];
/// IVssSoftwareSnapshotProvider and IVssFileShareSnapshotProvider.
const OTHER_KINDS: [Uuid; 2] = [
    uuid!("609e123e-2c5a-44d3-8f01-0b1d9a47d1ff"),
    uuid!("c8636060-7c2e-11df-8c4a-0800200c9a66"),
];
const E_NOINTERFACE: u32 = 0x8000_4002;
const REGDB_E_CLASSNOTREG: u32 = 0x8004_0154;

/// T-023: loads altogether, and of them those before the first look, in which caches fill.
const LOADS: usize = 1000;
const WARM_UP: usize = 200;
/// T-023: what the server may have more after the rest. A leak of one page a load would be 3 MiB.
const GROWTH: ProcessUse = ProcessUse {
    threads: 8,
    handles: 16,
    memory_kib: 2048,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-008",
        title: "each interface leads to each other, with one identity",
        run: t008,
    },
    Scenario {
        id: "T-009",
        title: "the interfaces of other kinds of providers are not there",
        run: t009,
    },
    Scenario {
        id: "T-010",
        title: "each slot carries its arguments through the proxy, both ways",
        run: echo::t010,
    },
    Scenario {
        id: "T-011",
        title: "OnLoad keeps no reference to its callback",
        run: t011,
    },
    Scenario {
        id: "T-023",
        title: "a thousand loads leave no thread, handle or memory",
        run: t023,
    },
    Scenario {
        id: "T-128",
        title: "GetTargetLuns: NULL sources are invalid, nothing succeeds",
        run: t128,
    },
    Scenario {
        id: "T-130",
        title: "a failed GetTargetLuns crosses the border whole",
        run: t130,
    },
    Scenario {
        id: "T-131",
        title: "the client frees all that a set brought, its heap is sound",
        run: t131,
    },
    Scenario {
        id: "T-150",
        title: "LocateLuns: NULL LUNs are invalid, nothing succeeds",
        run: t150,
    },
    Scenario {
        id: "T-204",
        title: "OnLunStateChange: NULL copies are invalid, nothing succeeds",
        run: t204,
    },
    Scenario {
        id: "T-256",
        title: "VSS dies during a set: the next set works",
        run: t256,
    },
    Scenario {
        id: "T-291",
        title: "the class cannot be loaded in-process",
        run: t291,
    },
];

fn creator<'a>(stage: &Stage<'a>) -> anyhow::Result<&'a WineHost> {
    stage.windows()?.host(CREATOR)
}

fn expect_code(what: &str, found: u32, wanted: Hresult) -> anyhow::Result<()> {
    expect(what, Hresult(found), wanted)
}

fn t008(stage: &Stage<'_>) -> anyhow::Result<()> {
    let host = creator(stage)?;
    let provider = host.load()?;
    for from in INTERFACES {
        for to in INTERFACES {
            let answer = host.order(Order::QueryInterface {
                object: provider.object(),
                from,
                to,
            })?;
            let what = format!("QueryInterface from {from} to {to}");
            expect_code(&what, answer.code, Hresult::S_OK)?;
            ensure!(answer.value == Some(1), "{what}: another identity (REG-8)");
        }
    }
    Ok(())
}

fn t009(stage: &Stage<'_>) -> anyhow::Result<()> {
    let host = creator(stage)?;
    let provider = host.load()?;
    for to in OTHER_KINDS {
        let answer = host.order(Order::QueryInterface {
            object: provider.object(),
            from: INTERFACES[0],
            to,
        })?;
        let what = format!("QueryInterface to {to}");
        expect_code(&what, answer.code, Hresult(E_NOINTERFACE))?;
    }
    Ok(())
}

fn t011(stage: &Stage<'_>) -> anyhow::Result<()> {
    let provider = creator(stage)?.load()?;
    let answer = provider.call(Method::OnLoad {
        with_callback: true,
    });
    expect_code("OnLoad with a callback", answer.code, Hresult::S_OK)?;
    let left = answer.value.context("no count of references")?;
    ensure!(left == 0, "{left} references are left (LOAD-4)");
    Ok(())
}

fn t023(stage: &Stage<'_>) -> anyhow::Result<()> {
    let host = creator(stage)?;
    let load = |times: usize| -> anyhow::Result<ProcessUse> {
        for _ in 0..times {
            let provider = host.load()?;
            expect("OnLoad", provider.on_load(), Hresult::S_OK)?;
            expect("OnUnload", provider.on_unload(false), Hresult::S_OK)?;
        }
        host.provider_use()
    };
    let before = load(WARM_UP)?;
    let after = load(LOADS - WARM_UP)?;
    ensure!(
        after.threads <= before.threads + GROWTH.threads
            && after.handles <= before.handles + GROWTH.handles
            && after.memory_kib <= before.memory_kib + GROWTH.memory_kib,
        "after {WARM_UP} loads {before:?}, after {LOADS} {after:?}"
    );
    Ok(())
}

fn t128(stage: &Stage<'_>) -> anyhow::Result<()> {
    let provider = creator(stage)?.load()?;
    let call = |sources, count| provider.call(Method::GetTargetLuns { sources, count }).code;
    let null = call(None, 1);
    expect_code("GetTargetLuns(NULL, 1)", null, Hresult::E_INVALIDARG)?;
    let nothing = call(Some(Vec::new()), 0);
    expect_code("GetTargetLuns(.., 0)", nothing, Hresult::S_OK)
}

fn t130(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0, 1]], Point::Preparing)?;
    let (code, left) = stage.provider().get_target_luns(&set.volumes[0].luns);
    expect("GetTargetLuns", code, Hresult::VSS_E_PROVIDER_VETO)?;
    ensure!(
        left.is_empty(),
        "the destinations hold {left:?} after a failure (GTL-10)"
    );
    expect_sound_heap(stage)
}

fn t131(stage: &Stage<'_>) -> anyhow::Result<()> {
    let set = stage.driven(&[&[0, 1], &[2]], Point::Created)?;
    set.delete(stage.provider())?;
    expect_sound_heap(stage)
}

fn expect_sound_heap(stage: &Stage<'_>) -> anyhow::Result<()> {
    let answer = creator(stage)?.order(Order::CheckHeap)?;
    ensure!(
        answer.value == Some(1),
        "the client's heap is damaged, or blocks of LUN arrays are left: {:?}",
        answer.texts
    );
    Ok(())
}

fn t150(stage: &Stage<'_>) -> anyhow::Result<()> {
    let provider = creator(stage)?.load()?;
    let call = |luns, count| provider.call(Method::LocateLuns { luns, count }).code;
    let null = call(None, 1);
    expect_code("LocateLuns(NULL, 1)", null, Hresult::E_INVALIDARG)?;
    let nothing = call(Some(Vec::new()), 0);
    expect_code("LocateLuns(.., 0)", nothing, Hresult::S_OK)
}

fn t204(stage: &Stage<'_>) -> anyhow::Result<()> {
    let provider = creator(stage)?.load()?;
    let call = |count| {
        let method = Method::OnLunStateChange {
            copies: None,
            originals: None,
            count,
            flags: 0x800,
        };
        provider.call(method).code
    };
    let what = "OnLunStateChange of NULL";
    expect_code(what, call(2), Hresult::E_INVALIDARG)?;
    expect_code(what, call(0), Hresult::S_OK)
}

/// A provider on a host of its own, which speaks for the creating host.
fn load_on(host: &WineHost, stage: &Stage<'_>) -> anyhow::Result<ComProvider> {
    host.install(Hosting::Service)?;
    host.enroll(stage.windows()?.creator_enrolment())?;
    host.load()
}

fn t256(stage: &Stage<'_>) -> anyhow::Result<()> {
    let before = stage.array().lun_count()?;
    let mut host = stage.windows()?.fresh_host()?;
    for point in [Point::Preparing, Point::Committed] {
        let provider = match host.providers()?.is_empty() {
            true => load_on(&host, stage)?,
            false => host.load()?,
        };
        stage.set(&[&[0]]).drive(&provider, point)?;
        host.restart_standin()?;
        drop(provider);
        // Under Wine the server keeps the dead client's references, so that only the next set gives the old one up (SEQ-40).
        let next = host.load()?;
        let mut set = stage.set(&[&[1]]);
        set.drive(&next, Point::Created)
            .with_context(|| format!("after VSS died at {point:?}"))?;
        stage.expect_lun_count(before + 1, &format!("VSS died at {point:?}"))?;
        set.delete(&next)?;
    }
    host.end()
}

fn t291(stage: &Stage<'_>) -> anyhow::Result<()> {
    let host = creator(stage)?;
    let answer = host.order(Order::Activate {
        class: host.registered_class()?,
        server: Server::InProcess,
    })?;
    expect_code(
        "CoCreateInstance in-process",
        answer.code,
        Hresult(REGDB_E_CLASSNOTREG),
    )?;
    // The stage's own provider, out of process, is the same class.
    let mut luns = stage.volume(&[0]);
    let (code, _) = stage.provider().are_luns_supported(BACKUP, &mut luns);
    expect("AreLunsSupported out of process", code, Hresult::S_OK)
}
