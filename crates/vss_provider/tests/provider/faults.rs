// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{HOST, LUN_BYTES, OK, Rig, VETO, code, set, snapshot};
use array_api::simulated::{Fault, Op, SimulatedArray};
use array_api::{ArrayErrorKind as Kind, ArrayGroup, SnapshotId};
use std::sync::Arc;
use std::time::Duration;
use vss_provider::state::State;
use vss_provider::{
    DO_MASK_LUNS, EventKind, Hresult, Method, NOTIFY_READ_WRITE, budget, errors, identity,
};

const NEVER: Duration = Duration::ZERO;

/// Every error that an array can answer with. The client's own two, `Unreachable` and `TimedOut`, take time: [`Fault::Down`] and
/// [`Fault::Hang`] bring them (T-250, T-251).
pub(crate) const KINDS: [Kind; 16] = [
    Kind::InvalidRequest,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::UnknownSet,
    Kind::UnknownLun,
    Kind::UnknownResync,
    Kind::AlreadyExists,
    Kind::WrongState,
    Kind::NotACopy,
    Kind::NoSpace,
    Kind::LimitReached,
    Kind::NotSupported,
    Kind::DeadlinePassed,
    Kind::FenceTimeout,
    Kind::Internal,
    Kind::Protocol,
];

/// The calls that need the array, the state in which each is legal, its budget, and the state after its failure.
pub(crate) const POINTS: [(Method, State, Duration, State); 15] = {
    use Method::*;
    use State::*;
    [
        (AreLunsSupported, Idle, budget::ARE_LUNS_SUPPORTED, Idle),
        (BeginPrepareSnapshot, Idle, budget::BEGIN_PREPARE, Idle),
        // The silence that it tolerates, then the discard.
        (
            EndPrepareSnapshots,
            Preparing,
            Duration::from_secs(21),
            Aborted,
        ),
        (PreCommitSnapshots, Prepared, budget::PRE_COMMIT, Aborted),
        (CommitSnapshots, Precommitted, budget::COMMIT_STOP, Aborted),
        (PostCommitSnapshots, Committed, NEVER, Postcommitted),
        (
            GetTargetLuns,
            Postcommitted,
            budget::GET_TARGET_LUNS,
            Postcommitted,
        ),
        (LocateLuns, Reported, budget::LOCATE_LUNS, Reported),
        (FillInLunInfo, Surfaced, budget::FILL_IN_LUN_INFO, Surfaced),
        (PreFinalCommitSnapshots, Surfaced, NEVER, Prefinal),
        (PostFinalCommitSnapshots, Prefinal, NEVER, Created),
        (AbortSnapshots, Prepared, budget::ABORT, Aborted),
        (OnLunEmpty, Created, budget::ON_LUN_EMPTY, Created),
        (
            OnLunStateChange,
            Created,
            budget::ON_LUN_STATE_CHANGE,
            Created,
        ),
        (ResyncLuns, Created, budget::RESYNC, Created),
    ]
};

/// T-250, T-251: unreachable and silent at every point: code, time, event, state, and no leak afterwards.
#[test]
fn t250_t251_array_out_of_reach_at_every_point() {
    for fault in [Fault::Down, Fault::Hang] {
        for (method, state, budget, after) in POINTS {
            let at = format!("{method} {fault:?}");
            let rig = Rig::new(2);
            rig.array.set_resync_right(crate::support::HOST, true);
            rig.reach(state, set(1));
            let originals = rig.volume();
            let copies = rig.devices(&rig.copies_or_told(set(1)));
            rig.forget_events();
            rig.array.fault_all(&fault);
            let before = rig.clock.now();
            let code = rig.fire_with(method, set(1), &copies, &originals);
            let took = rig.clock.now() - before;
            assert!(took <= budget, "{at}: {took:?}");
            assert!(errors::permitted(method).contains(&code), "{at}: {code:?}");
            let needs_no_array = matches!(
                method,
                Method::AreLunsSupported
                    | Method::FillInLunInfo
                    | Method::PostCommitSnapshots
                    | Method::PreFinalCommitSnapshots
                    | Method::PostFinalCommitSnapshots
            );
            assert_eq!(code, if needs_no_array { OK } else { VETO }, "{at}");
            assert_eq!(rig.state(), after, "{at}");
            rig.array.heal();
            check_aftermath(&rig, code == VETO, &at);
        }
    }
}

fn check_aftermath(rig: &Rig, vetoed: bool, at: &str) {
    // The freeze ends at the latest after a minute.
    rig.clock.advance(budget::FREEZE_MAX);
    rig.provider.tick();
    let expected = usize::from(vetoed);
    let errors: Vec<_> = rig
        .events()
        .into_iter()
        .filter(|e| e.code == VETO)
        .collect();
    assert_eq!(errors.len(), expected, "{at}: {errors:?}");
    for event in &errors {
        assert!(event.to_string().contains("What to do: "), "{at}");
        assert!(!event.cause.is_empty(), "{at}");
    }
    let told = matches!(
        rig.state(),
        State::Reported | State::Surfaced | State::Prefinal | State::Created
    );
    rig.assert_next_set_works(if told { 2 } else { 0 });
}

/// T-232, T-233: every error of every array call, at every point: a code of the matrix, and one event for a VETO.
#[test]
fn t232_t233_every_error_at_every_point() {
    for kind in KINDS {
        for (method, state, _, _) in POINTS {
            let at = format!("{method} {kind:?}");
            let rig = Rig::new(2);
            rig.reach(state, set(1));
            let originals = rig.volume();
            let copies = rig.devices(&rig.copies_or_told(set(1)));
            rig.forget_events();
            rig.array.fault_all(&Fault::Err(kind));
            let code = rig.fire_with(method, set(1), &copies, &originals);
            assert!(errors::permitted(method).contains(&code), "{at}: {code:?}");
            rig.array.heal();
            check_aftermath(&rig, code == VETO, &at);
        }
    }
}

/// T-232, CAP-2, REU-2, LOAD-4, LOAD-5: the four methods that are not about a set or a LUN answer the same whatever ails the array.
#[test]
fn t232_methods_without_a_set_answer_from_the_matrix() {
    for kind in KINDS {
        for (state, unload) in [(State::Idle, OK), (State::Prepared, Hresult::S_FALSE)] {
            let rig = Rig::new(1);
            rig.reach(state, set(1));
            rig.array.fault_all(&Fault::Err(kind));
            let p = &rig.provider;
            let answers = [
                (Method::OnLoad, code(p.on_load()), OK),
                (
                    Method::GetProviderCapabilities,
                    code(p.get_provider_capabilities()),
                    Hresult::E_NOTIMPL,
                ),
                (
                    Method::OnReuseLuns,
                    code(p.on_reuse_luns()),
                    Hresult::E_NOTIMPL,
                ),
                (Method::OnUnload, p.on_unload(false), unload),
                (Method::OnUnload, p.on_unload(true), OK),
            ];
            for (method, answer, expected) in answers {
                assert_eq!(answer, expected, "{method} {kind:?}");
                assert!(errors::permitted(method).contains(&answer), "{method}");
            }
        }
    }
}

/// TIME-9, SEQ-9: a call in a state in which it is impossible gives the set up, and with a silent array it still is over in
/// the method's own time; what is left is discarded later.
#[test]
fn t251_impossible_call_with_silent_array_returns_in_its_time() {
    let budget_of = |method| match method {
        Method::BeginPrepareSnapshot => budget::BEGIN_PREPARE,
        Method::EndPrepareSnapshots => budget::END_PREPARE_SILENCE + budget::ABORT,
        Method::CommitSnapshots => budget::COMMIT_STOP,
        Method::GetTargetLuns => budget::GET_TARGET_LUNS,
        Method::AbortSnapshots => budget::ABORT,
        _ => budget::PRE_COMMIT,
    };
    let states = State::ALL
        .into_iter()
        .filter(|state| !matches!(state, State::Ending | State::Committing));
    for state in states {
        for (method, ..) in POINTS.into_iter().filter(|(method, ..)| is_phase(*method)) {
            let at = format!("{method} in {state:?}");
            let rig = Rig::new(2);
            rig.reach(state, set(1));
            let (volume, earlier) = (rig.volume(), rig.state());
            rig.array.fault_all(&Fault::Hang);
            let before = rig.clock.now();
            let _ = rig.fire_with(method, set(1), &[], &volume);
            let took = rig.clock.now() - before;
            assert!(took <= budget_of(method), "{at}: {took:?}");
            rig.array.heal();
            let told = rig.state() != State::Aborted && earlier >= State::Reported;
            rig.clock.advance(budget::FREEZE_MAX);
            rig.provider.tick();
            if rig.state() == State::Aborted {
                assert_eq!(rig.copies(), 0, "{at}");
            }
            rig.assert_next_set_works(if told { 2 } else { 0 });
        }
    }
}

fn is_phase(method: Method) -> bool {
    matches!(
        method,
        Method::BeginPrepareSnapshot
            | Method::EndPrepareSnapshots
            | Method::PreCommitSnapshots
            | Method::CommitSnapshots
            | Method::PostCommitSnapshots
            | Method::PreFinalCommitSnapshots
            | Method::PostFinalCommitSnapshots
            | Method::GetTargetLuns
            | Method::AbortSnapshots
    )
}

/// T-233, ABT-8, SEQ-40, LOG-5: an abort that the array did not carry out is repeated, and told once, as an error.
#[test]
fn t250_abort_while_down_is_repeated_by_tick() {
    let rig = Rig::new(2);
    rig.reach(State::Prepared, set(1));
    rig.array.fault(Op::Abort, Fault::Down);
    assert_eq!(
        rig.fire_with(Method::AbortSnapshots, set(1), &[], &[]),
        VETO
    );
    assert_eq!(rig.state(), State::Aborted);
    rig.provider.tick();
    rig.provider.tick();
    let kinds: Vec<_> = rig.events().iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [EventKind::DiscardFailed]);
    assert_eq!((rig.copies(), rig.provider.leftover_sets().len()), (2, 1));
    rig.array.heal();
    rig.provider.tick();
    assert_eq!((rig.copies(), rig.provider.leftover_sets().len()), (0, 0));
}

/// SEQ-40: each set that the array did not discard is noted, once.
#[test]
fn leftovers_of_several_sets_are_all_repeated() {
    let rig = Rig::new(1);
    rig.array.fault(Op::Abort, Fault::Down);
    for number in [1, 2] {
        rig.reach(State::Prepared, set(number));
        let abort = || rig.fire_with(Method::AbortSnapshots, set(number), &[], &[]);
        assert_eq!([abort(), abort()], [VETO, VETO], "tried again each time");
    }
    assert_eq!(rig.provider.leftover_sets(), [set(1), set(2)]);
    rig.array.heal();
    rig.provider.tick();
    assert_eq!((rig.copies(), rig.provider.leftover_sets().len()), (0, 0));
}

/// T-251, SEQ-40, TIME-9: one array of two is silent, and a discard is due on it. Sets on the other begin, are given up and are
/// discarded as if it were alone.
#[test]
fn t251_discard_due_on_a_silent_array_keeps_no_set_on_another() {
    let rig = Rig::new(1);
    let silent = SimulatedArray::new(rig.clock.clone());
    // Simulated arrays count their ids from the same start; no LUN is to be on both.
    let skipped = [(); 8].map(|()| silent.create_lun(LUN_BYTES, &[]));
    let lun = silent.create_lun(LUN_BYTES, &[HOST]);
    assert_eq!(skipped.map(|lun| silent.remove_lun(lun)), [true; 8]);
    let infos = silent.host(HOST).query(budget::TICK, &[lun]);
    let info = infos.expect("it is well yet").remove(0);
    let there = [identity::describe(&info.expect("it has it").identity)];
    let members = vec![rig.host(), silent.host(HOST)];
    let provider = rig.provider_on(Arc::new(ArrayGroup::new(members)));
    let begin = |id, volume: &[_]| provider.begin_prepare_snapshot(id, snapshot(id), 0, volume);
    assert_eq!(begin(set(1), &there), Ok(()));
    silent.fault(Op::Abort, Fault::Hang);
    assert_eq!(provider.abort_snapshots(set(1)), Err(VETO));

    assert_eq!(begin(set(2), &rig.volume()), Ok(()));
    let before = rig.clock.now();
    assert_eq!(provider.abort_snapshots(set(2)), Ok(()));

    assert_eq!(rig.clock.now(), before, "it asked the silent one");
    assert_eq!(rig.copies(), 0);
    assert_eq!(begin(set(3), &rig.volume()), Ok(()));
    rig.array.fault(Op::Abort, Fault::Down);
    assert_eq!(provider.abort_snapshots(set(3)), Err(VETO));
    rig.array.heal();
    for _ in 0..2 {
        provider.tick();
    }
    assert_eq!((rig.copies(), provider.leftover_sets()), (0, vec![set(1)]));
}

/// ABT-8, BPS-10: a set that is begun again does not meet the discard of its first attempt.
#[test]
fn begin_waits_for_the_discard_of_the_sets_first_attempt() {
    let rig = Rig::new(1);
    rig.array.fault(Op::Prepare, Fault::Lost);
    rig.array.fault(Op::Abort, Fault::Down);
    assert_eq!(rig.begin(set(1)), VETO);
    assert_eq!(
        (rig.copies(), rig.provider.leftover_sets()),
        (1, vec![set(1)])
    );
    rig.array.fault(Op::Prepare, Fault::Ok);
    rig.forget_events();
    assert_eq!(rig.begin(set(1)), VETO);
    assert_eq!(rig.errors(), [EventKind::DiscardFailed]);
    rig.array.heal();
    assert_eq!(rig.begin(set(1)), OK);
    assert_eq!(rig.copies(), 1);
}

/// SEQ-38: a volume whose prepare lost its answer is begun again; that the array has it already is no news.
#[test]
fn lost_prepare_of_a_second_volume_can_be_repeated() {
    let rig = Rig::new(2);
    let volumes = rig.volume();
    let begin = |number: usize| {
        let id = SnapshotId::from_u128(number as u128 + 1);
        let lun = &volumes[number..=number];
        code(rig.provider.begin_prepare_snapshot(set(1), id, 0, lun))
    };
    assert_eq!(begin(0), OK);
    rig.array.fault(Op::Prepare, Fault::Lost);
    assert_eq!(begin(1), VETO);
    rig.array.heal();
    assert_eq!(begin(1), OK);
    assert_eq!(rig.copies(), 2);
    assert_eq!(rig.provider.end_prepare_snapshots(set(1)), Ok(()));
}

/// T-253, EPS-2: a short silence during the wait does not end it.
#[test]
fn t253_array_comes_back_during_end_prepare() {
    let rig = Rig::new(1);
    rig.array.set_preparation(Duration::from_secs(2));
    rig.reach(State::Preparing, set(1));
    let silent = Fault::Times(19, Box::new(Fault::Hang));
    rig.array.fault(Op::Ready, silent);
    assert_eq!(rig.provider.end_prepare_snapshots(set(1)), Ok(()));
    assert_eq!(rig.array.count(Op::Ready), 20);
}

/// LOAD-8: a forced unload is over in its time, and the leftovers are told.
#[test]
fn on_unload_hanging_array_returns_in_time() {
    let rig = Rig::new(1);
    rig.reach(State::Prepared, set(1));
    rig.array.fault_all(&Fault::Hang);
    let before = rig.clock.now();
    assert_eq!(rig.provider.on_unload(true), OK);
    assert!(rig.clock.now() - before <= budget::ON_UNLOAD);
    let kinds: Vec<_> = rig.events().iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [EventKind::LeftoverPending]);
    rig.array.heal();
    rig.assert_next_set_works(0);
}

/// T-249, OLS-3: a lost answer of break and mask in one call; the repetition succeeds, and both are done.
#[test]
fn t249_lost_answer_of_break_and_mask_can_be_repeated() {
    let rig = Rig::new(1);
    let told = rig.full(set(1));
    let copy = rig.copies_or_told(set(1))[0];
    let change = || {
        let flags = NOTIFY_READ_WRITE | DO_MASK_LUNS;
        code(rig.provider.on_lun_state_change(&told, None, flags))
    };
    rig.array.fault(Op::BreakCopies, Fault::Lost);
    assert_eq!(change(), VETO);
    rig.array.heal();
    assert_eq!(change(), OK);
    assert!(rig.array.mapped_to(copy).is_empty());
    assert_eq!(rig.copies_or_told(set(1)), [], "an ordinary LUN");
}

/// T-250, T-251, OLS-6: a break that the array does not carry out, or whose answer is lost: in its time, with one event, and the
/// repetition succeeds.
#[test]
fn t250_t251_break_under_every_fault_can_be_repeated() {
    let slow = Fault::Slow(budget::ON_LUN_STATE_CHANGE * 2);
    let refused = Fault::Err(Kind::Internal);
    for fault in [Fault::Down, Fault::Hang, Fault::Lost, slow, refused] {
        let rig = Rig::new(2);
        let told = rig.full(set(1));
        rig.forget_events();
        rig.array.fault_all(&fault);
        let change = || {
            let change = rig
                .provider
                .on_lun_state_change(&told, None, NOTIFY_READ_WRITE);
            code(change)
        };
        let before = rig.clock.now();
        assert_eq!(change(), VETO, "{fault:?}");
        assert!(rig.clock.now() - before <= budget::ON_LUN_STATE_CHANGE);
        assert_eq!(rig.errors().len(), 1, "{fault:?}");
        rig.array.heal();
        assert_eq!(change(), OK, "{fault:?}");
        assert_eq!(rig.copies_or_told(set(1)), [], "ordinary LUNs");
    }
}

/// LOG-5: a set cannot be begun again while its discard is due; that is an error too.
#[test]
fn begin_over_a_discard_that_is_due_is_told_as_an_error() {
    let rig = Rig::new(1);
    rig.array.fault(Op::Prepare, Fault::Lost);
    rig.array.fault(Op::Abort, Fault::Down);
    assert_eq!(rig.begin(set(1)), VETO);
    rig.forget_events();
    rig.array.fault(Op::Prepare, Fault::Ok);
    assert_eq!(rig.begin(set(1)), VETO);
    assert_eq!(rig.errors(), [EventKind::DiscardFailed]);
    rig.array.heal();
    rig.assert_next_set_works(0);
}

/// T-249: lost answers of LocateLuns, OnLunEmpty, mask and break; the repetition succeeds.
#[test]
fn t249_lost_answers_can_be_repeated() {
    for (op, method) in [
        (Op::Map, Method::LocateLuns),
        (Op::Delete, Method::OnLunEmpty),
        (Op::Unmap, Method::OnLunStateChange),
    ] {
        let rig = Rig::new(1);
        rig.reach(State::Reported, set(1));
        let copies = rig.devices(&rig.copies_or_told(set(1)));
        let originals = rig.volume();
        rig.array.fault(op, Fault::Lost);
        let fire = || rig.fire_with(method, set(1), &copies, &originals);
        assert_eq!(fire(), VETO, "{method}");
        rig.array.heal();
        assert_eq!(fire(), OK, "{method}");
    }
}

/// T-185, SEQ-4: an abort without own fault is no error.
#[test]
fn t185_abort_without_own_fault_writes_no_error() {
    let rig = Rig::new(1);
    rig.reach(State::Prepared, set(1));
    assert_eq!(rig.fire_with(Method::AbortSnapshots, set(1), &[], &[]), OK);
    assert_eq!(rig.errors(), []);
}

/// The shell's own events go the same way.
#[test]
fn post_writes_the_shells_event() {
    let rig = Rig::new(1);
    rig.reach(State::Aborted, set(1));
    let event = rig.events().remove(0);
    rig.forget_events();
    rig.provider.post(event.clone());
    assert_eq!(rig.events(), [event]);
}
