// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{OK, Rig, set};
use array_api::simulated::{Fault, Op};
use array_api::{ArrayErrorKind, LunId, LunState};
use std::collections::BTreeMap;
use std::time::Duration;
use vss_provider::{LunDescription, Method, identity};

const CALLS: u32 = 100_000;
/// VSS deletes its copies when it has more, as a backup product does.
const TOLD_MAX: usize = 12;

/// A small generator (xorshift), so that a seed gives the same run for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const METHODS: [Method; 15] = [
    Method::AreLunsSupported,
    Method::FillInLunInfo,
    Method::BeginPrepareSnapshot,
    Method::EndPrepareSnapshots,
    Method::PreCommitSnapshots,
    Method::CommitSnapshots,
    Method::PostCommitSnapshots,
    Method::GetTargetLuns,
    Method::LocateLuns,
    Method::PreFinalCommitSnapshots,
    Method::PostFinalCommitSnapshots,
    Method::AbortSnapshots,
    Method::OnLunEmpty,
    Method::OnLunStateChange,
    Method::ResyncLuns,
];

/// What VSS believes: the copies that it was told of, by LUN.
struct Vss {
    told: BTreeMap<LunId, (u128, LunDescription)>,
    set: u128,
    created: u32,
}

/// T-187: random calls and faults. Nothing panics (codes outside the matrix do), a told copy disappears only through
/// OnLunEmpty or an abort of its set, and in the end nothing is left that VSS does not know.
#[test]
fn t187_random_sequences_keep_the_invariants() {
    let seed = std::env::var("SHADOWLUN_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0x5eed_0187_u64);
    println!("seed {seed} (set SHADOWLUN_TEST_SEED for another)");
    let mut random = Random(seed | 1);
    let rig = Rig::new(3);
    rig.array.set_resync_right(crate::support::HOST, true);
    let volume = rig.volume();
    let mut vss = Vss {
        told: BTreeMap::new(),
        set: 1,
        created: 0,
    };
    for _ in 0..CALLS {
        disturb(&rig, &mut random);
        step(&rig, &mut random, &mut vss, &volume);
        for (copy, (of, _)) in &vss.told {
            assert!(
                rig.array.size_bytes(*copy).is_some(),
                "copy of set {of} is lost"
            );
        }
    }
    rig.array.heal();
    let _ = rig.provider.on_unload(true);
    let known = vss.told.len();
    let left = rig.copies();
    assert!(rig.provider.leftover_sets().is_empty());
    // Copies whose report was lost are unknown to VSS, and kept when the next set came instead of an abort (SEQ-34);
    // nothing else is left.
    assert!(left >= known, "{left} copies, {known} known");
    let orphans = rig.host().orphans(Duration::from_secs(1));
    for orphan in orphans.expect("the array is well") {
        assert_eq!(orphan.tag.state, LunState::Reported, "{orphan:?}");
    }
    assert!(
        vss.created > 1000,
        "only {} sets were finished",
        vss.created
    );
    let told: Vec<_> = vss.told.into_values().map(|(_, d)| d).collect();
    for lun in &told {
        assert_eq!(rig.provider.on_lun_empty(lun), Ok(()));
    }
    rig.assert_next_set_works(left - known);
}

/// Now and then the array breaks, or gets well; time passes.
fn disturb(rig: &Rig, random: &mut Random) {
    match random.below(40) {
        0 => {
            let faults = [
                Fault::Down,
                Fault::Hang,
                Fault::Lost,
                Fault::Part(1),
                Fault::Slow(Duration::from_secs(3)),
                Fault::Err(ArrayErrorKind::NoSpace),
                Fault::Err(ArrayErrorKind::Internal),
            ];
            rig.array.fault(random.pick(&Op::ALL), random.pick(&faults));
        }
        1..=4 => rig.array.heal(),
        5 => rig.provider.tick(),
        6 if random.below(50) == 0 => rig.clock.advance(Duration::from_secs(1801)),
        _ => {}
    }
}

fn step(rig: &Rig, random: &mut Random, vss: &mut Vss, volume: &[LunDescription]) {
    if vss.told.len() > TOLD_MAX {
        rig.array.heal();
        for (_, (_, lun)) in std::mem::take(&mut vss.told) {
            assert_eq!(rig.provider.on_lun_empty(&lun), Ok(()));
        }
    }
    // Mostly the call that comes next, so that sets get far; sometimes any.
    let method = if random.below(4) == 0 {
        random.pick(&METHODS)
    } else {
        expected_next(rig)
    };
    if method == Method::BeginPrepareSnapshot && random.below(3) > 0 {
        vss.set += 1;
    }
    let id = if random.below(20) == 0 {
        vss.set + 1_000_000
    } else {
        vss.set
    };
    match method {
        Method::GetTargetLuns => {
            let current = rig.provider.state().1;
            if let Ok(told) = rig.provider.get_target_luns(volume) {
                let of = current.expect("targets are of a set").as_u128() >> 64;
                for description in told {
                    let copy = identity::lun_id(&description).expect("ours");
                    // A set's answers go on after some of its copies were deleted (GTL-7).
                    if rig.array.size_bytes(copy).is_some() {
                        vss.told.insert(copy, (of, description));
                    }
                }
            }
        }
        Method::AbortSnapshots => {
            vss.told.retain(|_, (of, _)| *of != id);
            let _ = rig.provider.abort_snapshots(set(id));
        }
        Method::FillInLunInfo
        | Method::LocateLuns
        | Method::OnLunEmpty
        | Method::OnLunStateChange
        | Method::ResyncLuns => {
            let copies: Vec<_> = vss.told.values().map(|(_, d)| d.clone()).collect();
            if copies.is_empty() {
                return;
            }
            let one = [random.pick(&copies)];
            if method == Method::OnLunEmpty {
                vss.told.retain(|_, (_, d)| *d != one[0]);
            }
            let _ = rig.fire_with(method, set(id), &one, &volume[..1]);
        }
        _ => {
            let code = rig.fire_with(method, set(id), &[], volume);
            assert!(code == OK || !code.is_success(), "{method} {code:?}");
            let finished = method == Method::PostFinalCommitSnapshots && code == OK;
            vss.created += u32::from(finished);
        }
    }
}

pub(crate) fn expected_next(rig: &Rig) -> Method {
    use vss_provider::state::State;
    match rig.state() {
        State::Idle | State::Created | State::Aborted => Method::BeginPrepareSnapshot,
        State::Preparing | State::Ending => Method::EndPrepareSnapshots,
        State::Prepared => Method::PreCommitSnapshots,
        State::Precommitted | State::Committing => Method::CommitSnapshots,
        State::Committed => Method::PostCommitSnapshots,
        State::Postcommitted => Method::GetTargetLuns,
        State::Reported => Method::LocateLuns,
        State::Surfaced => Method::PreFinalCommitSnapshots,
        State::Prefinal => Method::PostFinalCommitSnapshots,
    }
}
