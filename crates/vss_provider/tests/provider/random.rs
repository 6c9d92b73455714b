// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{HOST, NOT_FOUND, OK, Rig, code, set};
use array_api::simulated::{Fault, Op};
use array_api::{ArrayErrorKind, LunId, LunState};
use std::collections::BTreeMap;
use std::time::Duration;
use vss_provider::{LunDescription, Method, identity};

const CALLS: u32 = 1_000_000;
const WITHIN: Duration = Duration::from_secs(1);
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

/// A copy that VSS was told of.
struct Told {
    set: u128,
    description: LunDescription,
    content: Option<u64>,
}

/// What VSS believes: the copies that it was told of, by LUN.
struct Vss {
    told: BTreeMap<LunId, Told>,
    set: u128,
    created: u32,
}

/// T-187, SEQ-8, SEQ-12, GTL-12, OLE-1: a million random calls and faults. Nothing panics (codes outside the matrix do), the
/// array never holds the beginnings of two sets, a told copy disappears or changes only through OnLunEmpty or an abort of its
/// set, and in the end nothing is left but what VSS or the administrator knows.
#[test]
fn t187_random_sequences_keep_the_invariants() {
    let seed = std::env::var("SHADOWLUN_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(clock_seed);
    println!("seed {seed} (repeat the run with SHADOWLUN_TEST_SEED={seed})");
    let mut random = Random(seed | 1);
    let rig = Rig::new(3);
    rig.array.set_resync_right(HOST, true);
    let free_bytes = rig.array.free_bytes();
    let volume = rig.volume();
    let mut vss = Vss {
        told: BTreeMap::new(),
        set: 1,
        created: 0,
    };
    for call in 0..CALLS {
        disturb(&rig, &mut random);
        step(&rig, &mut random, &mut vss, &volume);
        let contents = rig.array.contents(vss.told.keys());
        for (told, content) in vss.told.values().zip(contents) {
            assert_eq!(content, told.content, "a copy of set {}", told.set);
        }
        if call % 16 == 0 {
            let begun = rig.array.unreported_sets();
            assert!(begun.len() <= 1, "{begun:?}");
        }
        if call % 1024 == 0 {
            rig.array.forget_calls();
            rig.forget_events();
        }
    }
    println!("{} sets ended well", vss.created);
    assert!(vss.created > CALLS / 100, "only {}", vss.created);
    end(&rig, vss, free_bytes);
}

/// Another run each time; the seed is printed.
fn clock_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |d| u64::from(d.subsec_nanos()) ^ d.as_secs())
}

/// VSS deletes what it knows, the administrator what is listed; then the array is as it was.
fn end(rig: &Rig, vss: Vss, free_bytes: u64) {
    rig.array.heal();
    let _ = rig.provider.on_unload(true);
    assert!(rig.provider.leftover_sets().is_empty());
    for told in vss.told.values() {
        assert_eq!(rig.provider.on_lun_empty(&told.description), Ok(()));
    }
    // Copies whose report was lost are unknown to VSS, and kept when the next set came instead of an abort (SEQ-34).
    let orphans = rig.host().orphans(WITHIN).expect("the array is well");
    for orphan in orphans {
        assert_eq!(orphan.tag.state, LunState::Reported, "{orphan:?}");
        let deleted = rig.host().delete(WITHIN, orphan.copy);
        deleted.expect("a listed copy can be deleted");
    }
    assert_eq!((rig.copies(), rig.array.free_bytes()), (0, free_bytes));
    rig.assert_next_set_works(0);
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
        7 => {
            let content = u64::try_from(random.below(1000)).expect("small");
            rig.array.write_as(HOST, random.pick(&rig.luns), content);
        }
        6 if random.below(50) == 0 => rig.clock.advance(Duration::from_secs(1801)),
        _ => {}
    }
}

fn step(rig: &Rig, random: &mut Random, vss: &mut Vss, volume: &[LunDescription]) {
    if vss.told.len() > TOLD_MAX {
        rig.array.heal();
        for told in std::mem::take(&mut vss.told).into_values() {
            assert_eq!(rig.provider.on_lun_empty(&told.description), Ok(()));
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
        Method::GetTargetLuns => ask_for_targets(rig, vss, volume),
        Method::AbortSnapshots => {
            // VSS has given the set up, unless it hears that it is not in progress.
            if code(rig.provider.abort_snapshots(set(id))) != NOT_FOUND {
                vss.told.retain(|_, told| told.set != id);
            }
        }
        Method::FillInLunInfo
        | Method::LocateLuns
        | Method::OnLunEmpty
        | Method::OnLunStateChange
        | Method::ResyncLuns => {
            let known: Vec<_> = vss.told.keys().copied().collect();
            if known.is_empty() {
                return;
            }
            let copy = random.pick(&known);
            let one = [vss.told[&copy].description.clone()];
            let code = rig.fire_with(method, set(id), &one, &volume[..1]);
            // After a failure VSS keeps the copy in its list, though it may be gone already: the answer may be what was lost.
            let gone = rig.array.read(copy).is_none();
            if method == Method::OnLunEmpty && (code == OK || gone) {
                vss.told.remove(&copy);
            }
        }
        _ => {
            let code = rig.fire_with(method, set(id), &[], volume);
            assert!(code == OK || !code.is_success(), "{method} {code:?}");
            let finished = method == Method::PostFinalCommitSnapshots && code == OK;
            vss.created += u32::from(finished);
        }
    }
}

fn ask_for_targets(rig: &Rig, vss: &mut Vss, volume: &[LunDescription]) {
    let current = rig.provider.state().1;
    let Ok(told) = rig.provider.get_target_luns(volume) else {
        return;
    };
    let of = current.expect("targets are of a set").as_u128() >> 64;
    for description in told {
        let copy = identity::lun_id(&description).expect("ours");
        // A set's answers go on after some of its copies were deleted (GTL-7).
        let content = rig.array.read(copy);
        if content.is_some() {
            let told = Told {
                set: of,
                description,
                content,
            };
            vss.told.insert(copy, told);
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
