// SPDX-License-Identifier: MIT OR Apache-2.0
//! T-010: each slot of a provider's interfaces, called on the stand-in's echo object, whose code is a digest of the arguments that it
//! saw and which changes LUN arrays by a rule that the caller knows.

use super::Stage;
use super::stage::expect;
use crate::array::CREATOR;
use crate::wine::WineHost;
use anyhow::{Context as _, ensure};
use uuid::Uuid;
use vss_provider::{Hresult, Interconnect, LunDescription, StorageIdentifier};
use vss_standin::echo;
use vss_standin::wire::{Answer, AsyncMethod, Method, ObjectId, Order, Server};

pub(super) fn t010(stage: &Stage<'_>) -> anyhow::Result<()> {
    let host = stage.windows()?.host(CREATOR)?;
    let answer = host.order(Order::Activate {
        class: echo::CLASS,
        server: Server::Local,
    })?;
    expect(
        "CoCreateInstance of the echo class",
        Hresult(answer.code),
        Hresult::S_OK,
    )?;
    let object = answer.object.context("the stand-in gave no object")?;
    let result = call_each(host, object);
    host.order(Order::Release { object })?;
    let heap = host.order(Order::CheckHeap)?;
    ensure!(heap.value == Some(1), "the client's heap is damaged");
    result
}

fn call_each(host: &WineHost, object: ObjectId) -> anyhow::Result<()> {
    let via_ex = |method| Order::Call { object, method };
    let via_base = |method| Order::CallBase { object, method };
    let orders = methods().into_iter().flat_map(|method| {
        let both = [via_ex(method.clone()), via_base(method.clone())];
        both.map(|order| (order, method.clone()))
    });
    for (order, method) in orders {
        let answer = host.order(order)?;
        judge(&method, &answer).with_context(|| format!("{method:?}"))?;
        if let Some(operation) = answer.object {
            judge_operation(host, operation, &method)?;
            host.order(Order::Release { object: operation })?;
        }
    }
    Ok(())
}

fn judge(method: &Method, answer: &Answer) -> anyhow::Result<()> {
    let wanted = match method {
        // These two succeed, so that what they give crosses.
        Method::GetProviderCapabilities => {
            ensure!(answer.value == Some(echo::CAPABILITIES), "the mask differs");
            0
        }
        Method::ResyncLuns { .. } => {
            ensure!(answer.object.is_some(), "no IVssAsync");
            0
        }
        method => echo::code(method),
    };
    expect("the slot", Hresult(answer.code), Hresult(wanted))?;
    let (given, answers_supported) = match method {
        Method::AreLunsSupported { luns, .. } => (luns.clone(), true),
        Method::FillInLunInfo { lun } => (vec![lun.clone()], true),
        Method::BeginPrepareSnapshot { luns, .. } => (luns.clone(), false),
        Method::GetTargetLuns { count, .. } => {
            let count = usize::try_from(*count).unwrap_or_default();
            (vec![LunDescription::default(); count], false)
        }
        _ => return Ok(()),
    };
    let changed: Vec<_> = given.iter().map(echo::changed).collect();
    ensure!(
        answer.luns == changed,
        "[in,out] LUNs came back as {:?}",
        answer.luns
    );
    ensure!(
        !answers_supported || answer.supported == Some(echo::supported(&given)),
        "*pbIsSupported is {:?}",
        answer.supported
    );
    Ok(())
}

fn judge_operation(host: &WineHost, object: ObjectId, made_by: &Method) -> anyhow::Result<()> {
    let call = |method| host.order(Order::Async { object, method });
    let waiting = AsyncMethod::Wait {
        milliseconds: 0x1234_5678,
    };
    let cancel = call(AsyncMethod::Cancel)?.code;
    expect("Cancel", Hresult(cancel), Hresult(echo::code(made_by)))?;
    let wait = call(waiting)?.code;
    expect("Wait", Hresult(wait), Hresult(echo::code(&waiting)))?;
    let status = call(AsyncMethod::QueryStatus)?;
    let wanted = Hresult(echo::code(&AsyncMethod::QueryStatus));
    expect("QueryStatus", Hresult(status.code), wanted)?;
    ensure!(
        status.value == Some(echo::STATUS.into()),
        "*pHrResult is {:?}",
        status.value
    );
    Ok(())
}

/// Each slot, with arguments that differ in every byte; those with arrays also with none, NULL and many.
fn methods() -> Vec<Method> {
    let set = Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
    let snapshot = Uuid::from_u128(0xfedc_ba98_7654_3210_8899_aabb_ccdd_eeff);
    let context = 0x1234_5678;
    let mut methods = vec![
        Method::FillInLunInfo { lun: lun(1) },
        Method::FillInLunInfo { lun: lun(2) },
        Method::OnLunEmpty { lun: Some(lun(5)) },
        Method::OnLunEmpty { lun: None },
        Method::GetProviderCapabilities,
        Method::EndPrepareSnapshots { set },
        Method::PreCommitSnapshots { set },
        Method::CommitSnapshots { set },
        Method::PostCommitSnapshots { set, count: -7 },
        Method::PreFinalCommitSnapshots { set },
        Method::PostFinalCommitSnapshots { set },
        Method::AbortSnapshots { set },
        Method::OnLoad {
            with_callback: false,
        },
        Method::OnUnload { force: true },
        Method::OnUnload { force: false },
    ];
    for length in [1, 3, 64] {
        let luns: Vec<_> = (0..length).map(lun).collect();
        methods.push(Method::AreLunsSupported {
            context,
            luns: luns.clone(),
        });
        methods.push(Method::BeginPrepareSnapshot {
            set,
            snapshot,
            context,
            luns,
        });
    }
    for (first, second, count) in [
        (Some(vec![lun(1), lun(2)]), Some(vec![lun(3), lun(4)]), 2),
        (Some(vec![lun(6)]), None, 1),
        (None, None, 0),
    ] {
        methods.extend(array_methods(first, second, count));
    }
    methods
}

/// The slots with one or two `[in]` arrays of `count` elements.
fn array_methods(
    first: Option<Vec<LunDescription>>,
    second: Option<Vec<LunDescription>>,
    count: u32,
) -> Vec<Method> {
    let signed = count.cast_signed();
    vec![
        Method::GetTargetLuns {
            sources: first.clone(),
            count: signed,
        },
        Method::LocateLuns {
            luns: first.clone(),
            count: signed,
        },
        Method::OnLunStateChange {
            copies: first.clone(),
            originals: second.clone(),
            count,
            flags: 0x89ab_cdef,
        },
        Method::ResyncLuns {
            copies: first.clone(),
            targets: second.clone(),
            count,
        },
        Method::OnReuseLuns {
            copies: first,
            originals: second,
            count,
        },
    ]
}

/// A LUN with something in every field, another one for each index; each third has NULL where a pointer may be.
fn lun(index: u8) -> LunDescription {
    let text = |name: &str| (index % 3 != 2).then(|| format!("{name} {index}").into_bytes());
    LunDescription {
        version: 0x0102_0304 + u32::from(index),
        device_type: index,
        device_type_modifier: 0x80 | index,
        command_queueing: index % 2 == 1,
        bus_type: 9,
        vendor: text("vendor"),
        product: text("product"),
        revision: text("revision"),
        serial: text("serial"),
        disk_signature: Uuid::from_u128(
            0x1111_2222_3333_4444_5555_6666_7777_0000 + u128::from(index),
        ),
        device_id_version: 0x0506_0708,
        identifiers: (0..index % 4)
            .map(|which| StorageIdentifier {
                code_set: 1 + u32::from(which),
                kind: 8 - u32::from(which),
                bytes: vec![which ^ 0xA5; usize::from(index) + 1],
            })
            .collect(),
        interconnects: (0..index % 3)
            .map(|which| Interconnect {
                address_type: u32::from(which),
                port: vec![which; 3],
                address: vec![index; usize::from(which) * 300],
            })
            .collect(),
    }
}
