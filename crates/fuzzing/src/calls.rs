// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every method of the provider, in any order, with LUN descriptions of any kind (SEC-8).

use crate::descriptions::{list, one};
use arbitrary::{Result, Unstructured};
use array_api::simulated::{SimulatedArray, VirtualClock};
use array_api::{LunId, LunState, SetId, SnapshotId};
use std::sync::Arc;
use std::time::Duration;
use vss_provider::errors::permitted;
use vss_provider::{Event, EventSink, Hresult, Method, Provider, Settings};

const HOST: &str = "winhost";
const ORIGINALS: usize = 3;
const BYTES: u64 = 1 << 30;
/// Calls of one input.
const CALLS_MAX: usize = 64;

struct Silence;

impl EventSink for Silence {
    fn report(&self, event: &Event) {
        // The text is made of what came in.
        assert!(!event.to_string().is_empty());
    }
}

/// Plays VSS gone mad. Whatever it calls: no panic, only codes of matrix 8.2, no original touched, and nothing left of what
/// VSS was not told of.
pub fn calls(data: &[u8]) {
    let clock = VirtualClock::new();
    let array = SimulatedArray::new(clock.clone());
    let originals: Vec<LunId> = (0..ORIGINALS)
        .map(|_| array.create_lun(BYTES, &[HOST]))
        .collect();
    for (value, lun) in (1..).zip(&originals) {
        array.write(*lun, value);
    }
    let now = clock.clone();
    let provider = Provider::new(
        array.host(HOST),
        Arc::new(move || now.now()),
        Arc::new(Silence),
        Settings::default(),
    );
    let mut input = Unstructured::new(data);
    for _ in 0..CALLS_MAX {
        if input.is_empty() || call(&mut input, &provider, &array, &clock).is_err() {
            break;
        }
    }
    provider.on_unload(true);
    for (value, lun) in (1..).zip(&originals) {
        assert_eq!(array.read(*lun), Some(value), "an original was written");
    }
    // What is still there was told to VSS: only OnLunEmpty takes it.
    let told = array.lun_count() - ORIGINALS;
    let orphans = array.host(HOST).orphans(Duration::from_secs(1));
    let reserved = orphans
        .expect("nothing is wrong with the array")
        .into_iter()
        .filter(|orphan| matches!(orphan.tag.state, LunState::Reserved | LunState::Captured))
        .count();
    assert_eq!(reserved, 0, "of {told} copies");
}

fn call(
    input: &mut Unstructured<'_>,
    provider: &Provider,
    array: &SimulatedArray,
    clock: &VirtualClock,
) -> Result<()> {
    let (method, code) = match input.int_in_range(0..=3)? {
        0 | 1 => creation(input, provider, array)?,
        2 => luns(input, provider, array)?,
        _ => {
            clock.advance(Duration::from_secs(input.int_in_range(0..=4000)?));
            provider.tick();
            match input.ratio(1_u8, 8)? {
                true => (Method::OnUnload, provider.on_unload(input.arbitrary()?)),
                false => (Method::OnLoad, code(provider.on_load())),
            }
        }
    };
    assert!(
        permitted(method).contains(&code),
        "{method} answered {code:?}"
    );
    Ok(())
}

/// The calls that name a set.
fn creation(
    input: &mut Unstructured<'_>,
    provider: &Provider,
    array: &SimulatedArray,
) -> Result<(Method, Hresult)> {
    let set = SetId::from_u128(input.int_in_range(0..=3)?);
    let (method, result) = match input.int_in_range(0..=7)? {
        0 => return begin(provider, input, array, set),
        1 => (
            Method::EndPrepareSnapshots,
            provider.end_prepare_snapshots(set),
        ),
        2 => (
            Method::PreCommitSnapshots,
            provider.pre_commit_snapshots(set),
        ),
        3 => (Method::CommitSnapshots, provider.commit_snapshots(set)),
        4 => {
            let result = provider.post_commit_snapshots(set, input.arbitrary()?);
            (Method::PostCommitSnapshots, result)
        }
        5 => {
            let result = provider.pre_final_commit_snapshots(set);
            (Method::PreFinalCommitSnapshots, result)
        }
        6 => {
            let result = provider.post_final_commit_snapshots(set);
            (Method::PostFinalCommitSnapshots, result)
        }
        _ => (Method::AbortSnapshots, provider.abort_snapshots(set)),
    };
    Ok((method, code(result)))
}

/// The calls that name LUNs only.
fn luns(
    input: &mut Unstructured<'_>,
    provider: &Provider,
    array: &SimulatedArray,
) -> Result<(Method, Hresult)> {
    let which = input.int_in_range(0..=6)?;
    let (first, second) = (list(input, array)?, list(input, array)?);
    let one = one(input, array)?;
    Ok(match which {
        0 => {
            let result = provider.are_luns_supported(input.arbitrary()?, &first);
            (Method::AreLunsSupported, code(result))
        }
        1 => {
            provider.fill_in_lun_info(&one);
            (Method::FillInLunInfo, Hresult::S_OK)
        }
        2 => (
            Method::GetTargetLuns,
            code(provider.get_target_luns(&first)),
        ),
        3 => (Method::LocateLuns, code(provider.locate_luns(&first))),
        4 => (Method::OnLunEmpty, code(provider.on_lun_empty(&one))),
        5 => {
            let flags = 0x100 << input.int_in_range(0..=4)?;
            let originals = input.arbitrary::<bool>()?.then_some(&*second);
            let result = provider.on_lun_state_change(&first, originals, flags);
            (Method::OnLunStateChange, code(result))
        }
        // Without the right to resync: originals have to stay.
        _ => (
            Method::ResyncLuns,
            code(provider.resync_luns(&first, &second)),
        ),
    })
}

/// BeginPrepareSnapshot, as VSS would or not at all so.
fn begin(
    provider: &Provider,
    input: &mut Unstructured<'_>,
    array: &SimulatedArray,
    set: SetId,
) -> Result<(Method, Hresult)> {
    let snapshot = SnapshotId::from_u128(input.int_in_range(0..=5)?);
    let context = match input.arbitrary()? {
        true => 0,
        false => input.arbitrary()?,
    };
    let luns = list(input, array)?;
    let result = provider.begin_prepare_snapshot(set, snapshot, context, &luns);
    Ok((Method::BeginPrepareSnapshot, code(result)))
}

fn code<T>(result: std::result::Result<T, Hresult>) -> Hresult {
    result.err().unwrap_or(Hresult::S_OK)
}
