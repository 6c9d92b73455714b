// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::random::expected_next;
use crate::support::{HOST, OK, Rig, VETO, set};
use array_api::SetId;
use array_api::simulated::{Fault, Op};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use vss_provider::Method;
use vss_provider::state::State;

const THREADS: u64 = 100;
const CALLS: u32 = 300;
const METHODS: [Method; 10] = [
    Method::AreLunsSupported,
    Method::BeginPrepareSnapshot,
    Method::EndPrepareSnapshots,
    Method::PreCommitSnapshots,
    Method::CommitSnapshots,
    Method::PostCommitSnapshots,
    Method::GetTargetLuns,
    Method::PreFinalCommitSnapshots,
    Method::PostFinalCommitSnapshots,
    Method::AbortSnapshots,
];

/// GEN-9: a hundred threads make calls for the same sets while the array breaks and heals. None panics (a code outside
/// the matrix does), none blocks for ever, and afterwards nothing is left but copies that were told.
#[test]
fn gen9_hundred_threads_of_random_calls_leave_a_working_provider() {
    let rig = Rig::new(2);
    let volume = rig.volume();
    let captured = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (rig, volume, captured) = (&rig, &volume, &captured);
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for _ in 0..CALLS {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let pick = usize::try_from(random >> 40).expect("24 bits");
                    match pick % 64 {
                        0 => rig.array.fault(Op::Abort, Fault::Hang),
                        1 => rig.array.fault(Op::Commit, Fault::Lost),
                        2 => rig.provider.tick(),
                        3..=6 => rig.array.heal(),
                        _ => {}
                    }
                    // Mostly the call that comes next, so that sets get far; sometimes any.
                    let method = match pick % 50 {
                        0 => METHODS[(pick / 50) % METHODS.len()],
                        _ => match expected_next(rig) {
                            // The copies need not come up.
                            Method::LocateLuns => Method::PreFinalCommitSnapshots,
                            next => next,
                        },
                    };
                    let id = match (method, rig.provider.state().1) {
                        (Method::BeginPrepareSnapshot, _) | (_, None) => SetId::new_v4(),
                        (_, Some(current)) => current,
                    };
                    let code = rig.fire_with(method, id, &[], volume);
                    let done = method == Method::CommitSnapshots && code == OK;
                    captured.fetch_add(u32::from(done), Ordering::Relaxed);
                }
            });
        }
    });
    rig.array.heal();
    let _ = rig.provider.on_unload(true);
    assert!(rig.provider.leftover_sets().is_empty());
    let orphans = rig.host().orphans(Duration::from_secs(1));
    let orphans = orphans.expect("the array is well");
    assert!(
        orphans
            .iter()
            .all(|o| o.tag.state == array_api::LunState::Reported),
        "{orphans:?}"
    );
    let captured = captured.into_inner();
    assert!(captured > 0, "no set came as far as its capture");
    println!("{captured} captures");
    rig.assert_next_set_works(orphans.len());
}

/// GEN-10: a provider is at rest only when nothing of it counts on what the array knows: no set, no call, no resync, no discard.
#[test]
fn at_rest_means_no_set_no_call_no_resync_and_no_discard() {
    for state in State::ALL {
        let rig = Rig::new(1);
        let blocked = rig.reach(state, set(1));
        let rests = rig.provider.at_rest(|| 5);
        assert_eq!(rests.is_some(), !state.is_pending(), "{state:?}");
        if let Some(blocked) = blocked {
            blocked.answer();
        }
    }

    let rig = Rig::new(1);
    let call = rig.blocked(Op::Query, Method::BeginPrepareSnapshot, set(1));
    rig.array.fault(Op::Abort, Fault::Down);
    let overtaken = rig.provider.abort_snapshots(set(1));
    assert_eq!(overtaken, Err(VETO));
    rig.array.heal();
    rig.provider.tick();
    assert!(rig.provider.leftover_sets().is_empty());
    assert_eq!(rig.provider.at_rest(|| ()), None, "a call is under way");
    assert_eq!(call.answer(), VETO);
    rig.provider.tick();
    assert_eq!(rig.provider.at_rest(|| ()), Some(()));

    rig.reach(State::Prepared, set(2));
    rig.array.fault(Op::Abort, Fault::Down);
    assert_eq!(rig.provider.abort_snapshots(set(2)), Err(VETO));
    assert_eq!(rig.provider.at_rest(|| ()), None, "a discard is due");
    rig.array.heal();
    rig.provider.tick();

    rig.array.set_resync_right(HOST, true);
    let told = rig.full(set(3));
    let resync = rig.provider.resync_luns(&told, &rig.volume());
    assert_eq!(rig.provider.at_rest(|| ()), None, "a resync is watched");
    drop(resync);
    assert_eq!(rig.provider.at_rest(|| ()), Some(()));
}
