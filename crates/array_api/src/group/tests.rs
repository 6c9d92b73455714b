// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two simulated arrays. That the group keeps the contract is shown by the suite, in `tests/group_conformance.rs`.

use super::*;
use crate::CopyNeeds;
use crate::simulated::{Fault, Gate, Op, SimulatedArray, VirtualClock};
use std::collections::BTreeSet;
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(5);
const BYTES: u64 = 1 << 30;

struct Pair {
    one: SimulatedArray,
    other: SimulatedArray,
    group: ArrayGroup,
}

fn pair() -> Pair {
    let clock = VirtualClock::new();
    let (one, other) = (
        SimulatedArray::new(clock.clone()),
        SimulatedArray::new(clock),
    );
    // Simulated arrays count their ids from the same start; no LUN is to be on both.
    for _ in 0..100 {
        let skipped = other.create_lun(1, &[]);
        other.remove_lun(skipped);
    }
    let group = ArrayGroup::new(vec![one.host("here"), other.host("here")]);
    Pair { one, other, group }
}

impl Pair {
    /// A LUN on each.
    fn luns(&self) -> [LunId; 2] {
        [&self.one, &self.other].map(|array| array.create_lun(BYTES, &["here"]))
    }

    fn prepare(&self, set: SetId, luns: &[LunId]) -> Result<PrepareOutcome, ArrayError> {
        self.group.prepare(
            WITHIN,
            set,
            &PrepareRequest {
                snapshot: Uuid::new_v4(),
                luns: luns.to_vec(),
                needs: CopyNeeds::default(),
            },
        )
    }

    /// A set with a volume on each, ready and armed.
    fn armed(&self) -> (SetId, [LunId; 2]) {
        let (set, luns) = (Uuid::new_v4(), self.luns());
        for lun in luns {
            self.prepare(set, &[lun]).unwrap();
        }
        assert_eq!(self.group.ready(WITHIN, set).unwrap(), Readiness::Ready);
        self.group.arm(WITHIN, set).unwrap();
        (set, luns)
    }

    fn sets(&self) -> (usize, usize) {
        (self.one.set_count(), self.other.set_count())
    }
}

/// T-051, SEQ-18: a volume over two arrays is refused by the question and by the call; volumes on either are fine.
#[test]
fn t051_a_volume_over_two_arrays_is_not_supported() {
    let pair = pair();
    let luns = pair.luns();
    let check = |luns: &[LunId]| {
        let request = CheckRequest {
            luns: luns.to_vec(),
            needs: CopyNeeds::default(),
        };
        pair.group.check(WITHIN, &request).unwrap()
    };

    assert!(check(&luns[..1]).supported && check(&luns[1..]).supported);
    let both = check(&luns);
    assert!(!both.supported && both.reason.unwrap().contains("several arrays"));
    let refused = pair.prepare(Uuid::new_v4(), &luns).unwrap_err();
    assert_eq!(refused.kind, ArrayErrorKind::NotSupported);
    assert_eq!(pair.sets(), (0, 0));
}

/// SEQ-18: a set over both is captured by both, with one call each, and reported in the caller's order.
#[test]
fn set_over_two_arrays_is_captured_reported_and_mapped() {
    let pair = pair();
    let (set, [first, second]) = pair.armed();

    let report = pair.group.commit(WITHIN, set).unwrap();

    assert_eq!(report.luns, 2);
    assert_eq!(
        (pair.one.count(Op::Commit), pair.other.count(Op::Commit)),
        (1, 1)
    );
    let copies = pair
        .group
        .report(WITHIN, set, &[second, first, second])
        .unwrap();
    let sources: Vec<_> = copies.iter().map(|copy| copy.source).collect();
    assert_eq!(sources, [second, first, second]);
    let copies = [copies[0].copy, copies[1].copy];
    pair.group.map(WITHIN, &copies).unwrap();
    let here = BTreeSet::from(["here".to_owned()]);
    assert_eq!(pair.other.mapped_to(copies[0]), here);
    assert_eq!(pair.one.mapped_to(copies[1]), here);
    let delete = |copy| pair.group.delete(WITHIN, copy).unwrap();
    assert_eq!(copies.map(delete), [DeleteOutcome::Deleted; 2]);
    assert_eq!(delete(copies[0]), DeleteOutcome::AlreadyGone);
}

/// COM-6: a volume may join a set that was asked for its readiness before; its array has a part in the commit all the same.
#[test]
fn volume_of_a_third_array_that_joins_after_ready_is_captured_too() {
    let Pair { one, other, .. } = pair();
    let third = SimulatedArray::new(VirtualClock::new());
    for _ in 0..200 {
        let skipped = third.create_lun(1, &[]);
        third.remove_lun(skipped);
    }
    let arrays = [&third, &one, &other];
    let luns = arrays.map(|array| array.create_lun(BYTES, &["here"]));
    let members = arrays.map(|array| array.host("here"));
    let pair = Pair {
        group: ArrayGroup::new(members.to_vec()),
        one,
        other,
    };
    let set = Uuid::new_v4();
    for lun in [luns[1], luns[2]] {
        pair.prepare(set, &[lun]).unwrap();
    }
    assert_eq!(pair.group.ready(WITHIN, set).unwrap(), Readiness::Ready);
    pair.prepare(set, &luns[..1]).unwrap();
    assert_eq!(pair.group.ready(WITHIN, set).unwrap(), Readiness::Ready);
    pair.group.arm(WITHIN, set).unwrap();

    assert_eq!(pair.group.commit(WITHIN, set).unwrap().luns, 3);
}

/// ERR-7: one array that does not capture fails the set; the abort reaches what the other captured.
#[test]
fn failed_commit_of_one_is_an_error_and_the_abort_discards_the_other() {
    let pair = pair();
    let (set, _) = pair.armed();
    pair.other
        .fault(Op::Commit, Fault::Err(ArrayErrorKind::FenceTimeout));

    let error = pair.group.commit(WITHIN, set).unwrap_err();

    assert_eq!(error.kind, ArrayErrorKind::FenceTimeout);
    let outcome = pair.group.abort(WITHIN, set, true).unwrap();
    assert_eq!(outcome.discarded.len(), 2);
    assert_eq!(pair.sets(), (0, 0));
}

/// An abort that one array did not carry out is repeated, and then only counts there.
#[test]
fn abort_that_failed_on_one_can_be_repeated() {
    let pair = pair();
    let (set, _) = pair.armed();
    pair.other.fault(Op::Abort, Fault::Down);
    let error = pair.group.abort(WITHIN, set, true).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::Unreachable);
    assert_eq!(pair.sets(), (0, 1));
    pair.other.heal();

    let outcome = pair.group.abort(WITHIN, set, true).unwrap();

    assert_eq!(outcome.discarded.len(), 1);
    let error = pair.group.abort(WITHIN, set, true).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::UnknownSet);
}

/// SEQ-40: a set of a group that is gone, because the host was restarted, is found on every array.
#[test]
fn set_of_an_earlier_process_is_given_up_everywhere() {
    let pair = pair();
    let (set, _) = pair.armed();
    let later = ArrayGroup::new(vec![pair.one.host("here"), pair.other.host("here")]);

    later.abort(WITHIN, set, true).unwrap();

    assert_eq!(pair.sets(), (0, 0));
}

/// SEQ-40: the host's next set discards the unreported one before it also on the array that has no part in it.
#[test]
fn next_set_on_one_array_discards_the_last_on_both() {
    let pair = pair();
    let (_, [first, _]) = pair.armed();

    pair.prepare(Uuid::new_v4(), &[first]).unwrap();

    assert_eq!(pair.sets(), (1, 0));
}

/// SEQ-40, TIME-9: an array that is silent, and has a part in the last set only, does not keep the next one.
#[test]
fn next_set_does_not_wait_for_a_silent_array_of_the_last() {
    let pair = pair();
    let (_, [first, _]) = pair.armed();
    let gate = Gate::closed();
    pair.other.fault(Op::Abort, Fault::Gate(gate.clone()));

    let outcome = pair.prepare(Uuid::new_v4(), &[first]);

    assert_eq!(outcome, Ok(PrepareOutcome::Added));
    gate.wait_entered();
    assert!(gate.holds_calls(), "the silent array was waited for");
    gate.open();
}

/// OLS-8, ERR-5: what one array has free is of no use to the LUNs of the other.
#[test]
fn space_is_that_of_the_array_with_less() {
    let pair = pair();
    for (one, other) in [(7, 1 << 40), (1 << 40, 7)] {
        pair.one.set_free_bytes(one);
        pair.other.set_free_bytes(other);
        assert_eq!(pair.group.info(WITHIN).unwrap().free_bytes, 7);
    }
}

/// LOC-4: all or none, across arrays.
#[test]
fn map_that_fails_on_the_second_is_taken_back_on_the_first() {
    let pair = pair();
    let (set, luns) = pair.armed();
    pair.group.commit(WITHIN, set).unwrap();
    let copies = pair.group.report(WITHIN, set, &luns).unwrap();
    let copies = [copies[0].copy, copies[1].copy];
    pair.other
        .fault(Op::Map, Fault::Err(ArrayErrorKind::LimitReached));

    let error = pair.group.map(WITHIN, &copies).unwrap_err();

    assert_eq!(error.kind, ArrayErrorKind::LimitReached);
    assert_eq!(pair.one.mapped_to(copies[0]), BTreeSet::new());
}

/// ALS-11: what one array knows is answered while another is down; what might be there is not called unknown.
#[test]
fn array_that_is_down_hides_only_its_own_luns() {
    let pair = pair();
    let [first, second] = pair.luns();
    pair.other.fault(Op::Query, Fault::Down);

    let known = pair.group.query(WITHIN, &[first]).unwrap();
    let error = pair.group.query(WITHIN, &[first, second]).unwrap_err();

    assert_eq!(known[0].as_ref().unwrap().id, first);
    assert_eq!(error.kind, ArrayErrorKind::Unreachable);
}

/// ALS-10, FIL-10, TIME-9: what one array knows is answered, and done, while another is silent.
#[test]
fn array_that_hangs_keeps_nobody_waiting_for_another() {
    let pair = pair();
    let [first, second] = pair.luns();
    let request = |lun| CheckRequest {
        luns: vec![lun],
        needs: CopyNeeds::default(),
    };
    for (silent, lun) in [(&pair.other, first), (&pair.one, second)] {
        let gate = Gate::closed();
        silent.fault(Op::Query, Fault::Gate(gate.clone()));

        let known = pair.group.query(WITHIN, &[lun]).unwrap();
        let check = pair.group.check(WITHIN, &request(lun)).unwrap();
        let outcome = pair.prepare(Uuid::new_v4(), &[lun]).unwrap();

        assert_eq!(known[0].as_ref().unwrap().id, lun);
        assert!(check.supported);
        assert_eq!(outcome, PrepareOutcome::Added);
        gate.wait_entered();
        assert!(gate.holds_calls(), "the silent array was waited for");
        gate.open();
        silent.heal();
    }
}

/// ASY-1: the array that runs a resync tells of it while another is silent.
#[test]
fn resync_is_told_of_while_another_array_hangs() {
    let pair = pair();
    pair.other.set_resync_right("here", true);
    let (set, [_, lun]) = pair.armed();
    pair.group.commit(WITHIN, set).unwrap();
    let copy = pair.group.report(WITHIN, set, &[lun]).unwrap()[0].copy;
    let (id, target) = (Uuid::new_v4(), lun);
    let pairs = [ResyncPair { copy, target }];
    pair.group.resync(WITHIN, id, &pairs).unwrap();
    let gate = Gate::closed();
    for op in [Op::ResyncStatus, Op::CancelResync] {
        pair.one.fault(op, Fault::Gate(gate.clone()));
    }

    let status = pair.group.resync_status(WITHIN, id, WITHIN / 2);
    let cancelled = pair.group.cancel_resync(WITHIN, id);

    assert_eq!(status, Ok(ResyncStatus::Finished));
    assert_eq!(cancelled, Ok(ResyncStatus::Finished));
    gate.wait_entered();
    assert!(gate.holds_calls(), "the silent array was waited for");
    gate.open();
}

/// A member's panic is an answer too.
#[test]
fn array_that_panics_is_an_array_that_failed() {
    let pair = pair();
    let answers = pair
        .group
        .answers(|array| -> Result<(), _> { panic!("{:?}", array.info(WITHIN)) });
    let kinds: Vec<_> = answers
        .map(|(_, answer)| answer.unwrap_err().kind)
        .collect();
    assert_eq!(kinds, [ArrayErrorKind::Internal; 2]);
}

/// The trait's `within` is the whole call's: finding the member counts, so that a budget is not spent twice (TIME-9).
#[test]
fn time_of_a_call_is_shared_by_its_parts() {
    let pair = pair();
    let [lun, _] = pair.luns();
    let request = CheckRequest {
        luns: vec![lun],
        needs: CopyNeeds::default(),
    };
    pair.one.forget_calls();
    pair.group.check(WITHIN, &request).unwrap();
    let within = |op| {
        let calls = pair.one.calls();
        calls.into_iter().find(|call| call.op == op).unwrap().within
    };
    assert!(within(Op::Check) < within(Op::Query));

    let time = Time::begin(Duration::ZERO);
    assert_eq!(time.left().unwrap_err().kind, ArrayErrorKind::TimedOut);
}
