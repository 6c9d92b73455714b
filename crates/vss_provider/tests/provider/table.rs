// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{Blocked, NOT_FOUND, OK, Rig, VETO, code, set};
use array_api::SetId;
use array_api::simulated::{Fault, Gate, Op};
use std::time::Duration;
use vss_provider::state::{Cell, Disposal, Event, Finish, SnapshotSets, State, Step, cell};
use vss_provider::{EventKind, Hresult, LunDescription, Method, budget};

const S1: u128 = 1;
const S2: u128 = 2;

/// T-184: every state and event, on the real provider: code, state after, leftovers, and that the next set works.
#[test]
fn t184_every_state_and_event_as_in_the_table() {
    for state in State::ALL {
        for event in Event::ALL {
            if cell(state, event) != Cell::Never {
                check_pair(state, event);
            }
        }
    }
}

fn check_pair(state: State, event: Event) {
    let at = format!("{state:?} x {event:?}");
    let mut rig = Rig::new(2);
    let mut earlier = Vec::new();
    if state == State::Idle {
        earlier = rig.full(set(9));
        rig.restart();
    }
    let kept_before = rig.copies();
    let blocked = rig.reach(state, set(S1));
    let copies = match event {
        Event::LocateLuns if state == State::Idle => earlier,
        Event::LocateLuns if state == State::Aborted => rig.volume(),
        Event::LocateLuns => rig.devices(&rig.copies_or_told(set(S1))),
        _ => Vec::new(),
    };
    let answer = fire(&rig, event, &copies);
    let after = rig.provider.state();
    let (expected, next) = expectation(state, event);
    assert_eq!(answer, expected, "{at}");
    let blocked_answer = blocked.map(Blocked::answer);
    match next {
        // A call that is blocked goes on when it was not overtaken.
        Next::Same => {
            assert_eq!(after.0, state, "{at}");
            assert!(blocked_answer.is_none_or(|c| c == OK), "{at}");
        }
        Next::To(next) => {
            assert_eq!(after.0, next, "{at}");
            assert!(blocked_answer.is_none_or(|c| c == VETO), "{at}");
        }
        Next::NewSet => {
            assert_eq!(after, (State::Preparing, Some(set(S2))), "{at}");
            assert!(blocked_answer.is_none_or(|c| c == VETO), "{at}");
        }
    }
    // VSS follows with an abort or not; what was given up is gone in any case, and what was told stays.
    if matches!(cell(state, event), Cell::Kill(_)) {
        let _ = rig.provider.abort_snapshots(set(S1));
    }
    let kept = kept_before + kept(state, event);
    match next {
        Next::NewSet => assert_eq!(rig.copies(), kept + 2, "{at}"),
        Next::To(State::Aborted) => assert_eq!(rig.copies(), kept, "{at}"),
        _ => {}
    }
    let told_now = matches!(
        rig.state(),
        State::Reported | State::Surfaced | State::Prefinal | State::Created
    );
    // Skipping GetTargetLuns tells VSS of nothing, so the next set drops that one whole.
    let told_now = told_now && (state, event) != (State::Postcommitted, Event::PreFinal);
    let kept = if told_now { kept_before + 2 } else { kept };
    rig.assert_next_set_works(kept);
}

enum Next {
    Same,
    To(State),
    NewSet,
}

fn expectation(state: State, event: Event) -> (Hresult, Next) {
    match cell(state, event) {
        Cell::Never => unreachable!("left out above"),
        Cell::Begin(_) => (OK, Next::NewSet),
        Cell::Add | Cell::Stay | Cell::Import | Cell::Again => (OK, Next::Same),
        Cell::Go(next) => (OK, Next::To(next)),
        Cell::Veto => (VETO, Next::Same),
        Cell::Kill(_) => (VETO, Next::To(State::Aborted)),
        Cell::NotFound | Cell::Forgotten => (NOT_FOUND, Next::Same),
        Cell::Abort(_) => (OK, Next::To(State::Aborted)),
    }
}

/// Copies of S1 that stay on the array.
fn kept(state: State, event: Event) -> usize {
    match cell(state, event) {
        Cell::Begin(Disposal::Keep) => 2,
        Cell::Begin(Disposal::Nothing) if state == State::Created => 2,
        _ => 0,
    }
}

fn fire(rig: &Rig, event: Event, copies: &[LunDescription]) -> Hresult {
    let volume = rig.volume();
    let p = &rig.provider;
    let method = match event {
        Event::BeginSame => {
            let added = SetId::from_u128(77);
            return code(p.begin_prepare_snapshot(set(S1), added, 0, &volume));
        }
        Event::BeginNew => return rig.begin(set(S2)),
        Event::EndPrepare => Method::EndPrepareSnapshots,
        Event::PreCommit => Method::PreCommitSnapshots,
        Event::Commit => Method::CommitSnapshots,
        Event::PostCommit => Method::PostCommitSnapshots,
        Event::GetTargetLuns => Method::GetTargetLuns,
        Event::LocateLuns => Method::LocateLuns,
        Event::PreFinal => Method::PreFinalCommitSnapshots,
        Event::PostFinal => Method::PostFinalCommitSnapshots,
        Event::Abort => Method::AbortSnapshots,
    };
    rig.fire_with(method, set(S1), copies, &volume)
}

/// T-063, T-064, SEQ-8, SEQ-34: a new set in every state; the old one's unreported resources are gone, its reported stay.
#[test]
fn t063_new_set_in_every_state_completes_and_drops_the_old() {
    for state in State::ALL {
        let rig = Rig::new(2);
        let blocked = rig.reach(state, set(S1));
        let told = matches!(
            state,
            State::Reported | State::Surfaced | State::Prefinal | State::Created
        );
        let new = rig.full(set(S2));
        if let Some(blocked) = blocked {
            assert_eq!(blocked.answer(), VETO, "{state:?}");
        }
        let kept = if told { 2 } else { 0 };
        assert_eq!(rig.copies(), 2 + kept, "{state:?}");
        rig.delete(&new, kept);
    }
}

/// T-176, T-178, ABT-1, ABT-6, SEQ-33: abort in every state before the end discards all, and the next set works.
#[test]
fn t176_t178_abort_in_every_state_leaves_nothing() {
    for state in State::ALL.into_iter().filter(|s| s.is_pending()) {
        let rig = Rig::new(2);
        let blocked = rig.reach(state, set(S1));
        let answer = rig.provider.abort_snapshots(set(S1));
        assert_eq!(answer, Ok(()), "{state:?}");
        assert_eq!(rig.state(), State::Aborted);
        if let Some(blocked) = blocked {
            assert_eq!(blocked.answer(), VETO, "{state:?}");
        }
        assert_eq!(rig.copies(), 0, "{state:?}");
        rig.assert_next_set_works(0);
    }
}

/// T-177, ABT-9: the array captured already when the abort comes; the commit fails and nothing is left.
#[test]
fn t177_abort_after_the_array_captured_discards_the_capture() {
    let rig = Rig::new(2);
    rig.reach(State::Precommitted, set(S1));
    let commit = rig.blocked_at(
        Op::Commit,
        Method::CommitSnapshots,
        set(S1),
        Fault::GateAfter,
    );
    assert_eq!(rig.provider.abort_snapshots(set(S1)), Ok(()));
    assert_eq!(commit.answer(), VETO);
    assert_eq!(rig.copies(), 0);
    rig.assert_next_set_works(0);
}

/// SEQ-38, EPS-6: the array reserves after it was told to give the set up; the call that was overtaken discards what it made.
#[test]
fn reservation_made_after_the_abort_is_discarded_by_its_own_call() {
    let rig = Rig::new(2);
    let begin = rig.blocked(Op::Prepare, Method::BeginPrepareSnapshot, set(S1));
    assert_eq!(rig.provider.abort_snapshots(set(S1)), Ok(()));
    assert_eq!(begin.answer(), VETO);
    assert_eq!((rig.copies(), rig.array.set_count()), (0, 0));
    assert_eq!(rig.errors(), [EventKind::Interrupted]);
    rig.assert_next_set_works(0);
}

/// T-180: a finished set is not aborted.
#[test]
fn t180_abort_of_a_created_set_is_not_found_and_keeps_it() {
    let rig = Rig::new(2);
    rig.full(set(S1));
    assert_eq!(code(rig.provider.abort_snapshots(set(S1))), NOT_FOUND);
    assert_eq!(rig.copies(), 2);
}

/// T-181, T-094, T-095, T-317, SEQ-10, ABT-4, EPS-7: another set's calls do nothing to the set in progress.
#[test]
fn t094_t095_t181_unknown_set_leaves_the_set_in_progress() {
    let rig = Rig::new(2);
    assert_eq!(rig.begin(set(S1)), OK);
    for (method, expected) in [
        (Method::EndPrepareSnapshots, NOT_FOUND),
        (Method::PreCommitSnapshots, NOT_FOUND),
        (Method::CommitSnapshots, NOT_FOUND),
        (Method::PostCommitSnapshots, NOT_FOUND),
        (Method::AbortSnapshots, NOT_FOUND),
        (Method::PreFinalCommitSnapshots, VETO),
        (Method::PostFinalCommitSnapshots, VETO),
    ] {
        let answer = rig.fire_with(method, set(S2), &[], &[]);
        assert_eq!(answer, expected, "{method}");
        assert_eq!(rig.provider.state(), (State::Preparing, Some(set(S1))));
    }
    assert_eq!(rig.provider.end_prepare_snapshots(set(S1)), Ok(()));
}

/// T-182, ABT-5: also after the next set has begun.
#[test]
fn t182_second_abort_is_a_success() {
    let rig = Rig::new(1);
    rig.reach(State::Prepared, set(S1));
    assert_eq!(rig.provider.abort_snapshots(set(S1)), Ok(()));
    assert_eq!(rig.provider.abort_snapshots(set(S1)), Ok(()));
    assert_eq!(rig.begin(set(S2)), OK);
    assert_eq!(rig.provider.abort_snapshots(set(S1)), Ok(()));
    assert_eq!(rig.provider.state(), (State::Preparing, Some(set(S2))));
}

/// T-099, T-182, SEQ-10, ABT-4, ERR-6: an abort that comes once more, late, in the commit window of the next set: the window stays
/// what it is, and the event with its figures comes.
#[test]
fn t099_late_second_abort_leaves_the_next_sets_window_alone() {
    for state in [State::Precommitted, State::Committed] {
        let rig = Rig::new(2);
        rig.reach(State::Prepared, set(S1));
        rig.array.fault(Op::Abort, Fault::Down);
        assert_eq!(rig.provider.abort_snapshots(set(S1)), Err(VETO));
        let event = rig.events().remove(0);
        rig.reach(state, set(S2));
        rig.forget_events();
        rig.array.forget_calls();

        assert_eq!(rig.provider.abort_snapshots(set(S1)), Ok(()), "{state:?}");

        rig.provider.post(event);
        assert_eq!(rig.events(), [], "{state:?}: written while frozen");
        assert_eq!(rig.array.calls(), [], "{state:?}: asked while frozen");
        rig.array.heal();
        if state == State::Precommitted {
            assert_eq!(rig.provider.commit_snapshots(set(S2)), Ok(()));
        }
        assert_eq!(rig.provider.post_commit_snapshots(set(S2), 1), Ok(()));
        rig.provider.tick();
        let kinds: Vec<_> = rig.events().iter().map(|e| e.kind).collect();
        let expected = [EventKind::DiscardFailed, EventKind::SetCaptured];
        assert_eq!(kinds, expected, "{state:?}");
    }
}

/// T-311, SEQ-14: whatever leads to ABORTED, one event tells of it, and the next set is accepted at once.
#[test]
fn t311_every_way_to_aborted_writes_one_event() {
    for state in State::ALL {
        for event in Event::ALL {
            if !matches!(cell(state, event), Cell::Kill(_) | Cell::Abort(_)) {
                continue;
            }
            let rig = Rig::new(2);
            let blocked = rig.reach(state, set(S1));
            // What waits for the end of the commit window is not this call's.
            rig.provider.tick();
            rig.forget_events();
            fire(&rig, event, &[]);
            blocked.map(Blocked::answer);
            assert_eq!(rig.state(), State::Aborted, "{state:?} {event:?}");
            let _ = rig.provider.abort_snapshots(set(S1));
            assert_eq!(
                rig.events().len(),
                1,
                "{state:?} {event:?}: {:?}",
                rig.events()
            );
            assert_eq!(rig.begin(set(S2)), OK);
        }
    }
}

/// T-186, TIME-15, ERR-10: sets aborted in all states, over and over.
#[test]
fn t186_two_hundred_aborted_sets_leave_nothing() {
    let rig = Rig::new(2);
    let states: Vec<_> = State::ALL.into_iter().filter(|s| s.is_pending()).collect();
    for round in 0..200_usize {
        let id = set(1000 + round as u128);
        let blocked = rig.reach(states[round % states.len()], id);
        assert_eq!(rig.provider.abort_snapshots(id), Ok(()));
        blocked.map(Blocked::answer);
    }
    assert_eq!((rig.copies(), rig.array.set_count()), (0, 0));
    rig.assert_next_set_works(0);
}

/// T-318, EPS-5, ABT-3: an abort at any moment of a wait; no deadlock, no lost wake-up.
#[test]
fn t318_abort_at_random_moments_of_end_prepare() {
    let rig = Rig::new(1);
    rig.array.set_preparation(Duration::from_secs(3600));
    for round in 0..1000 {
        let id = set(1000 + round);
        assert_eq!(rig.begin(id), OK);
        let provider = std::sync::Arc::clone(&rig.provider);
        let thread = std::thread::spawn(move || code(provider.end_prepare_snapshots(id)));
        // Any moment of a thread's start and of its first waits.
        for _ in 0..SetId::new_v4().as_u128() % 500 {
            std::thread::yield_now();
        }
        let before = rig.clock.now();
        let aborted = rig.provider.abort_snapshots(id);
        let took = rig.clock.now() - before;
        // The other thread's waits move the clock: this call may find its time used up before it asked the array.
        assert!(
            aborted == Ok(()) || took >= budget::ABORT,
            "{aborted:?} after {took:?}"
        );
        let answer = thread.join().expect("no panic");
        rig.provider.tick();
        // The abort may come before the wait, during it, or after it gave up by itself.
        assert!(answer == VETO || answer == NOT_FOUND, "{answer:?}");
        assert_eq!(rig.copies(), 0);
    }
}

/// T-318, EPS-5: the abort that meets a wait for certain.
#[test]
fn t318_abort_during_a_question_of_end_prepare_ends_it() {
    let rig = Rig::new(1);
    rig.array.set_preparation(Duration::from_secs(3600));
    for round in 0..100 {
        let id = set(1000 + round);
        let blocked = rig.reach(State::Ending, id).expect("it stands at a gate");
        assert_eq!(rig.provider.abort_snapshots(id), Ok(()));
        assert_eq!(blocked.answer(), VETO);
        assert_eq!(rig.copies(), 0);
    }
}

/// T-307, GEN-10: queries are answered while EndPrepare or Commit is blocked.
#[test]
fn t307_queries_pass_blocked_calls() {
    for state in [State::Ending, State::Committing] {
        let rig = Rig::new(2);
        let blocked = rig.reach(state, set(S1));
        let volume = rig.volume();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(rig.provider.are_luns_supported(0, &volume), Ok(true));
                    assert!(rig.provider.fill_in_lun_info(&volume[0]).is_some());
                });
            }
        });
        assert_eq!(blocked.map(Blocked::answer), Some(OK), "{state:?}");
    }
}

/// BPS-10, GEN-9: a result of a set's first life means nothing to its second, whatever ended the first.
#[test]
fn result_from_before_is_stale_for_the_set_of_the_same_id() {
    let begin = |sets: &mut SnapshotSets| match sets.begin(Duration::ZERO, set(1)).step {
        Step::Run(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    let mut sets = SnapshotSets::new();
    let (first, overtaken) = (begin(&mut sets), begin(&mut sets));
    assert_eq!(sets.not_added(first, false), Finish::Taken(None));
    let again = begin(&mut sets);
    assert!(sets.is_stale(overtaken));
    assert!(!sets.is_stale(again));
    assert!(sets.unload().is_some());
    let last = begin(&mut sets);
    assert!(sets.is_stale(again));
    assert!(!sets.is_stale(last));
    sets.named(Duration::ZERO, set(1), Event::Abort);
    for ticket in [first, overtaken, again, last] {
        assert!(sets.is_stale(ticket));
    }
}

/// ABT-5: an ended set is remembered beside others, and not without end.
#[test]
fn ended_sets_are_remembered_up_to_a_bound() {
    let rig = Rig::new(1);
    let abort = |number| code(rig.provider.abort_snapshots(set(number)));
    for number in 1..=64 {
        assert_eq!(rig.begin(set(number)), OK);
        assert_eq!(abort(number), OK);
    }
    assert_eq!(rig.begin(set(65)), OK);
    assert_eq!([abort(1), abort(64)], [OK, OK], "a repetition");
    assert_eq!(abort(65), OK);
    assert_eq!(rig.begin(set(66)), OK);
    assert_eq!([abort(1), abort(2)], [NOT_FOUND, OK]);
}

/// SEQ-34: a GetTargetLuns that the next set overtook takes nothing along that VSS was told of before.
#[test]
fn overtaken_get_target_luns_keeps_what_was_told() {
    let rig = Rig::new(2);
    let volumes = rig.volume();
    rig.reach(State::Postcommitted, set(1));
    let told = rig.provider.get_target_luns(&volumes[..1]);
    assert_eq!(told.map(|luns| luns.len()), Ok(1));
    let gate = Gate::closed();
    rig.array.fault(Op::Report, Fault::GateAfter(gate.clone()));
    std::thread::scope(|scope| {
        let overtaken = scope.spawn(|| rig.provider.get_target_luns(&volumes[1..]));
        gate.wait_entered();
        rig.array.fault(Op::Report, Fault::Ok);
        let begun = rig.begin(set(2));
        // Before anything can fail: the scope waits for the other thread.
        gate.open();
        assert_eq!(overtaken.join().expect("no panic"), Err(VETO));
        assert_eq!(begun, OK);
    });
    assert_eq!(rig.provider.abort_snapshots(set(2)), Ok(()));
    let kept = rig.copies_or_told(set(1));
    assert!(!kept.is_empty(), "VSS was told of the first one");
}
