// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{Blocked, NOT_FOUND, OK, Rig, VETO, code, set, snapshot};
use array_api::ArrayErrorKind as Kind;
use array_api::simulated::{Fault, Op};
use std::time::Duration;
use uuid::Uuid;
use vss_provider::state::State;
use vss_provider::{EventKind, Hresult, Method, Settings, budget};

const INVALID: Hresult = Hresult::E_INVALIDARG;
const SECONDS: fn(u64) -> Duration = Duration::from_secs;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// T-060, BPS-11, and the whole straight path.
#[test]
fn t060_begin_maps_nothing_and_the_full_sequence_succeeds() {
    let rig = Rig::new(2);
    assert_eq!(rig.begin(set(1)), OK);
    assert_eq!(rig.state(), State::Preparing);
    for copy in rig.copies_of(set(1)) {
        assert!(rig.array.mapped_to(copy).is_empty());
    }
    let told = rig.full(set(2));
    assert_eq!(rig.state(), State::Created);
    rig.delete(&told, 0);
    assert_eq!(rig.errors(), []);
}

/// T-061, T-090, BPS-1, EPS-2: begin returns at once, EndPrepare when the targets are ready.
#[test]
fn t061_t090_slow_preparation_is_waited_for_in_end_prepare() {
    let rig = Rig::new(1);
    rig.array.set_preparation(SECONDS(60));
    assert_eq!(rig.begin(set(1)), OK);
    assert_eq!(rig.clock.now(), Duration::ZERO);
    assert_eq!(rig.provider.end_prepare_snapshots(set(1)), Ok(()));
    assert_eq!(rig.clock.now(), SECONDS(60));
}

/// OQ-36: the site's own limit.
#[test]
fn end_prepare_beyond_the_sites_limit_fails_and_leaves_nothing() {
    let settings = Settings {
        end_prepare_max: SECONDS(30),
        ..Settings::default()
    };
    let rig = Rig::with(1, settings);
    rig.array.set_preparation(SECONDS(60));
    rig.begin(set(1));
    assert_eq!(code(rig.provider.end_prepare_snapshots(set(1))), VETO);
    assert_eq!((rig.clock.now(), rig.copies()), (SECONDS(30), 0));
    assert_eq!(rig.errors(), [EventKind::ArrayTimedOut]);
}

/// T-062, BPS-3, SEQ-19, SEQ-20.
#[test]
fn t062_shared_lun_gets_one_target() {
    let rig = Rig::new(2);
    let p = &rig.provider;
    let volume = rig.volume();
    assert_eq!(
        p.begin_prepare_snapshot(set(1), id(1), 0, &volume[..1]),
        Ok(())
    );
    assert_eq!(p.begin_prepare_snapshot(set(1), id(2), 0, &volume), Ok(()));
    assert_eq!(rig.copies(), 2);
    assert_eq!(p.end_prepare_snapshots(set(1)), Ok(()));
    assert_eq!(p.pre_commit_snapshots(set(1)), Ok(()));
    assert_eq!(p.commit_snapshots(set(1)), Ok(()));
    assert_eq!(p.post_commit_snapshots(set(1), 2), Ok(()));
    let first = p.get_target_luns(&volume[..1]).expect("captured");
    let second = p.get_target_luns(&volume).expect("captured");
    assert_eq!(first[0], second[0]);
    assert_eq!(rig.array.count(Op::Report), 2);
}

/// T-066, T-070, BPS-10.
#[test]
fn t066_t070_closed_and_ended_sets_take_no_volume() {
    let rig = Rig::new(1);
    rig.reach(State::Prepared, set(1));
    let more = rig
        .provider
        .begin_prepare_snapshot(set(1), id(9), 0, &rig.volume());
    assert_eq!(code(more), VETO);
    assert_eq!((rig.state(), rig.copies()), (State::Aborted, 0));
    let told = rig.full(set(2));
    assert_eq!(rig.begin(set(2)), VETO);
    assert_eq!(rig.begin(set(1)), VETO);
    assert_eq!(rig.state(), State::Created);
    assert_eq!(
        rig.errors(),
        [
            EventKind::WrongOrder,
            EventKind::WrongOrder,
            EventKind::SetReused
        ]
    );
    rig.delete(&told, 0);
}

/// T-067, T-068, T-069, T-076, T-083, BPS-8.
#[test]
fn t067_t068_t069_t076_repeats_and_malformed_calls() {
    let rig = Rig::new(2);
    let volume = rig.volume();
    let p = &rig.provider;
    let begin = |s, v, luns| code(p.begin_prepare_snapshot(s, v, 0, luns));
    assert_eq!(begin(set(1), id(1), &volume[..1]), OK);
    assert_eq!(begin(set(1), id(1), &volume[..1]), OK);
    assert_eq!(begin(set(1), id(1), &volume[1..]), INVALID);
    assert_eq!(begin(Uuid::nil(), id(1), &volume), INVALID);
    assert_eq!(begin(set(1), Uuid::nil(), &volume), INVALID);
    assert_eq!(begin(set(1), id(2), &[]), INVALID);
    let twice = [volume[0].clone(), volume[0].clone()];
    assert_eq!(begin(set(1), id(2), &twice), INVALID);
    assert_eq!((rig.state(), rig.copies()), (State::Preparing, 1));
    assert_eq!(rig.array.count(Op::Prepare), 1);
    assert_eq!(rig.events(), []);
}

/// T-071, T-072, BPS-4, BPS-7.
#[test]
fn t071_t072_contexts_are_refused_and_the_first_volume_stays() {
    let rig = Rig::new(2);
    let volume = rig.volume();
    let p = &rig.provider;
    let begin = |v, context, luns| code(p.begin_prepare_snapshot(set(1), id(v), context, luns));
    let refused = Hresult::VSS_E_UNSUPPORTED_CONTEXT;
    for context in [0x4, 0x6_0000, 0x4_0000] {
        assert_eq!(begin(1, context, &volume), refused, "{context:#x}");
        assert_eq!((rig.state(), rig.copies()), (State::Idle, 0));
    }
    assert_eq!(begin(1, 0, &volume[..1]), OK);
    assert_eq!(begin(2, 0x20, &volume[1..]), refused);
    assert_eq!(begin(3, 0x1_0000, &volume[1..]), OK, "CTX-8: VSS's own bit");
    assert_eq!((rig.state(), rig.copies()), (State::Preparing, 2));
}

/// T-073, BPS-4, BPS-5: nothing of the volume is reserved.
#[test]
fn t073_foreign_lun_in_the_volume_reserves_nothing() {
    let rig = Rig::new(1);
    let mut volume = rig.volume();
    volume.push(vss_provider::LunDescription::default());
    let answer = rig
        .provider
        .begin_prepare_snapshot(set(1), id(1), 0, &volume);
    assert_eq!(answer, Err(Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER));
    assert_eq!((rig.state(), rig.copies()), (State::Idle, 0));
    assert_eq!(rig.errors(), [EventKind::NotOurLun]);
}

/// T-074, T-075, BPS-4, LIM-5, LIM-6, SEQ-22.
#[test]
fn t074_t075_sixty_four_volumes_on_one_lun_complete_the_next_is_refused() {
    let rig = Rig::new(1);
    let volume = rig.volume();
    let p = &rig.provider;
    let begin = |v| code(p.begin_prepare_snapshot(set(1), id(v), 0, &volume));
    for v in 1..=64 {
        assert_eq!(begin(v), OK, "volume {v}");
    }
    assert_eq!(begin(65), Hresult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
    assert_eq!(begin(64), OK, "a repetition is no new volume");
    assert_eq!(rig.copies(), 1);
    for method in [
        Method::EndPrepareSnapshots,
        Method::PreCommitSnapshots,
        Method::CommitSnapshots,
        Method::PostCommitSnapshots,
    ] {
        assert_eq!(rig.fire(method, set(1)), OK);
    }
    let first = p.get_target_luns(&volume);
    for _ in 1..64 {
        assert_eq!(p.get_target_luns(&volume), first);
    }
}

/// T-077, BPS-6, SEQ-23: a volume that fails takes nothing along.
#[test]
fn t077_failing_second_volume_leaves_the_first() {
    for kind in [
        Kind::NoSpace,
        Kind::LimitReached,
        Kind::Internal,
        Kind::Forbidden,
    ] {
        let rig = Rig::new(2);
        let volume = rig.volume();
        let p = &rig.provider;
        assert_eq!(
            p.begin_prepare_snapshot(set(1), id(1), 0, &volume[..1]),
            Ok(())
        );
        rig.array.fault(Op::Prepare, Fault::Err(kind));
        assert!(p.begin_prepare_snapshot(set(1), id(2), 0, &volume).is_err());
        rig.array.heal();
        for method in [
            Method::EndPrepareSnapshots,
            Method::PreCommitSnapshots,
            Method::CommitSnapshots,
            Method::PostCommitSnapshots,
        ] {
            assert_eq!(rig.fire(method, set(1)), OK, "{kind:?}");
        }
        let told = p.get_target_luns(&volume[..1]).expect("captured");
        assert_eq!(rig.copies(), 1);
        rig.delete(&told, 0);
    }
}

/// SEQ-38, BPS-6: volume 2's answer is lost, so the array holds a target that nobody will ask for; the end of the set
/// discards it.
#[test]
fn begin_lost_answer_of_second_volume_leaves_no_stray_target() {
    let rig = Rig::new(2);
    let volume = rig.volume();
    let p = &rig.provider;
    assert_eq!(
        p.begin_prepare_snapshot(set(1), id(1), 0, &volume[..1]),
        Ok(())
    );
    rig.array.fault(Op::Prepare, Fault::Lost);
    assert!(
        p.begin_prepare_snapshot(set(1), id(2), 0, &volume[1..])
            .is_err()
    );
    rig.array.heal();
    assert_eq!(rig.copies(), 2);
    for method in [
        Method::EndPrepareSnapshots,
        Method::PreCommitSnapshots,
        Method::CommitSnapshots,
        Method::PostCommitSnapshots,
    ] {
        assert_eq!(rig.fire(method, set(1)), OK);
    }
    let told = p.get_target_luns(&volume[..1]).expect("captured");
    assert_eq!(p.pre_final_commit_snapshots(set(1)), Ok(()));
    assert_eq!(p.post_final_commit_snapshots(set(1)), Ok(()));
    assert_eq!(rig.copies(), 1);
    rig.delete(&told, 0);
}

/// SEQ-38: the first volume's answer is lost; the same set can be begun again.
#[test]
fn begin_lost_answer_of_first_volume_can_be_repeated() {
    let rig = Rig::new(1);
    rig.device(rig.luns[0]);
    rig.array.fault(Op::Prepare, Fault::Lost);
    assert_eq!(rig.begin(set(1)), VETO);
    assert_eq!(rig.state(), State::Idle);
    rig.array.heal();
    let told = rig.full(set(1));
    rig.delete(&told, 0);
}

/// BPS-10: a provider that was restarted does not take an ended set up again, nor end it.
#[test]
fn begin_set_of_an_earlier_process_is_refused_and_keeps_its_copies() {
    let mut rig = Rig::new(1);
    rig.reach(State::Created, set(1));
    rig.restart();
    assert_eq!(rig.begin(set(1)), VETO);
    assert_eq!((rig.state(), rig.copies()), (State::Idle, 1));
    assert_eq!(rig.errors(), [EventKind::SetReused]);
}

/// T-080, BPS-13: the array fails after k of 16 LUNs.
#[test]
fn t080_half_made_reservations_are_released() {
    for k in 0..16 {
        let rig = Rig::new(16);
        rig.array.fault(Op::Prepare, Fault::Part(k));
        assert_eq!(rig.begin(set(1)), VETO);
        rig.array.heal();
        rig.provider.tick();
        assert_eq!(rig.copies(), 0, "after {k}");
    }
}

/// T-080, BPS-13: all 16 are reserved, and the array fails, or its answer is lost, when it is asked whether they are ready.
#[test]
fn t080_reservations_are_released_when_end_prepare_fails() {
    for fault in [Fault::Err(Kind::Internal), Fault::Lost] {
        let rig = Rig::new(16);
        rig.reach(State::Preparing, set(1));
        assert_eq!(rig.copies(), 16);
        rig.array.fault(Op::Ready, fault.clone());
        assert_eq!(code(rig.provider.end_prepare_snapshots(set(1))), VETO);
        rig.array.heal();
        assert_eq!(rig.copies(), 0, "{fault:?}");
    }
}

/// T-082, SEQ-7.
#[test]
fn t082_forgotten_set_is_released_after_half_an_hour() {
    for state in [State::Preparing, State::Prepared, State::Postcommitted] {
        let rig = Rig::new(1);
        rig.reach(state, set(1));
        rig.clock.advance(SECONDS(30 * 60 - 1));
        rig.provider.tick();
        assert_eq!((rig.state(), rig.copies()), (state, 1));
        rig.clock.advance(SECONDS(1));
        rig.provider.tick();
        assert_eq!((rig.state(), rig.copies()), (State::Idle, 0), "{state:?}");
        let answer = rig.provider.end_prepare_snapshots(set(1));
        assert_eq!(code(answer), NOT_FOUND);
        assert_eq!(rig.errors(), []);
        let events = rig.events();
        let forgotten = events.iter().find(|e| e.kind == EventKind::SetForgotten);
        let cause = forgotten.map(|event| event.cause.as_str());
        assert_eq!(cause, Some("no call came for it in 30 minutes"));
    }
}

/// PRE-3, COM-8: while a prepared set waits the array is asked once a minute, and no more once it goes on.
#[test]
fn prepared_set_is_made_ready_again_once_a_minute() {
    let rig = Rig::new(1);
    rig.reach(State::Prepared, set(1));
    let tick_for = |seconds| {
        let before = rig.array.count(Op::Ready);
        for _ in 0..seconds {
            rig.provider.tick();
            rig.clock.advance(SECONDS(1));
        }
        rig.array.count(Op::Ready) - before
    };
    assert_eq!(tick_for(600), 9);
    assert_eq!(tick_for(1), 1, "ten minutes after the first look");
    assert_eq!(rig.provider.pre_commit_snapshots(set(1)), Ok(()));
    assert_eq!(tick_for(120), 0);
}

/// SEQ-7: the half hour begins anew with each call.
#[test]
fn t082_set_that_is_called_for_lives_on() {
    let rig = Rig::new(1);
    rig.reach(State::Preparing, set(1));
    for _ in 0..3 {
        rig.clock.advance(SECONDS(20 * 60));
        rig.provider.tick();
        assert_eq!(rig.begin(set(1)), OK, "the same call again");
    }
    rig.clock.advance(SECONDS(20 * 60));
    assert_eq!(rig.provider.end_prepare_snapshots(set(1)), Ok(()));
}

/// GTL-12: the timer does not touch what VSS was told of.
#[test]
fn tick_never_expires_reported_copies() {
    for state in [
        State::Reported,
        State::Surfaced,
        State::Prefinal,
        State::Created,
    ] {
        let rig = Rig::new(1);
        rig.reach(state, set(1));
        rig.clock.advance(SECONDS(86_400));
        rig.provider.tick();
        assert_eq!((rig.state(), rig.copies()), (state, 1));
    }
}

/// T-091, EPS-5, EPS-6.
#[test]
fn t091_abort_cuts_end_prepare_short() {
    let rig = Rig::new(1);
    let waiting = rig.reach(State::Ending, set(1)).expect("EndPrepare waits");
    assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
    assert_eq!(waiting.answer(), VETO);
    assert_eq!(rig.copies(), 0);
    assert_eq!(rig.errors(), [EventKind::Interrupted]);
    assert!(rig.clock.now() <= SECONDS(1));
}

/// EPS-5, EPS-8: an abort ends the wait at the next look, also when the array does not hear of it and goes on preparing.
#[test]
fn abort_that_the_array_does_not_hear_cuts_end_prepare_short() {
    let rig = Rig::new(1);
    rig.array.set_preparation(SECONDS(600));
    let waiting = rig.reach(State::Ending, set(1)).expect("EndPrepare waits");
    rig.array.fault(Op::Abort, Fault::Down);
    assert_eq!(code(rig.provider.abort_snapshots(set(1))), VETO);
    assert_eq!(waiting.answer(), VETO);
    assert_eq!(rig.clock.now(), budget::END_PREPARE_SLICE);
    rig.array.heal();
    rig.provider.tick();
    assert_eq!(rig.copies(), 0);
}

/// EPS-2: silence counts from the last answer, not from the start of the wait.
#[test]
fn late_short_silence_does_not_end_end_prepare() {
    let rig = Rig::new(1);
    rig.array.set_preparation(SECONDS(60));
    let waiting = rig.reach(State::Ending, set(1)).expect("EndPrepare waits");
    rig.clock.advance(budget::END_PREPARE_SILENCE);
    let silent = Fault::Times(1, Box::new(Fault::Hang));
    rig.array.fault(Op::Ready, silent);
    assert_eq!(waiting.answer(), OK);
    assert_eq!(rig.clock.now(), SECONDS(60));
}

/// T-093, EPS-4.
#[test]
fn t093_space_runs_out_while_preparing() {
    let rig = Rig::new(2);
    rig.begin(set(1));
    rig.array.fault(Op::Ready, Fault::Err(Kind::NoSpace));
    let answer = rig.provider.end_prepare_snapshots(set(1));
    assert_eq!(answer, Err(Hresult::VSS_E_INSUFFICIENT_STORAGE));
    assert_eq!((rig.state(), rig.copies()), (State::Aborted, 0));
    assert_eq!(rig.errors(), [EventKind::NoSpace]);
}

/// T-096, T-104, ERR-6: found before writes are held; told after.
#[test]
fn t096_t104_failures_while_frozen_are_told_after_the_abort() {
    for (state, op, method) in [
        (State::Prepared, Op::Arm, Method::PreCommitSnapshots),
        (State::Precommitted, Op::Commit, Method::CommitSnapshots),
    ] {
        let rig = Rig::new(2);
        rig.reach(state, set(1));
        rig.array.fault(op, Fault::Down);
        assert_eq!(rig.fire(method, set(1)), VETO);
        assert_eq!(rig.state(), State::Aborted);
        assert_eq!(rig.events(), [], "writes may be held");
        assert_eq!(rig.array.count(Op::Abort), 0, "no more calls while frozen");
        rig.array.heal();
        assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
        assert_eq!(rig.errors(), [EventKind::ArrayUnreachable]);
        assert_eq!(rig.copies(), 0);
        rig.assert_next_set_works(0);
    }
}

/// ERR-6: VSS may never call again.
#[test]
fn tick_ends_a_freeze_that_nobody_ended() {
    let rig = Rig::new(1);
    rig.reach(State::Precommitted, set(1));
    rig.array.fault(Op::Commit, Fault::Err(Kind::FenceTimeout));
    assert_eq!(rig.fire(Method::CommitSnapshots, set(1)), VETO);
    rig.provider.tick();
    assert_eq!((rig.events().len(), rig.copies()), (0, 1));
    rig.clock.advance(SECONDS(60));
    rig.provider.tick();
    assert_eq!(rig.errors(), [EventKind::FenceTimeout]);
    assert_eq!(rig.copies(), 0);
}

/// T-097, T-110, COM-2, COM-6, TIME-3.
#[test]
fn t097_t110_one_array_call_each_and_no_time_of_its_own() {
    let rig = Rig::new(64);
    rig.reach(State::Prepared, set(1));
    let before = rig.clock.now();
    rig.array.forget_calls();
    for method in [
        Method::PreCommitSnapshots,
        Method::CommitSnapshots,
        Method::PostCommitSnapshots,
    ] {
        assert_eq!(rig.fire_with(method, set(1), &[], &[]), OK);
    }
    let ops: Vec<_> = rig.array.calls().into_iter().map(|c| c.op).collect();
    assert_eq!(ops, [Op::Arm, Op::Commit]);
    assert!(rig.clock.now() - before <= SECONDS(2));
    assert!(
        rig.events().is_empty(),
        "PostCommitSnapshots takes no time (PST-2)"
    );
    rig.provider.tick();
    let captured = rig.events();
    assert_eq!(captured.len(), 1);
    assert_eq!(captured[0].kind, EventKind::SetCaptured);
    assert!(captured[0].cause.starts_with("64 LUNs"));
}

/// T-100, COM-9.
#[test]
fn t100_slow_commit_fails_at_eight_seconds() {
    for fault in [
        Fault::Slow(SECONDS(9)),
        Fault::Slow(SECONDS(11)),
        Fault::Hang,
    ] {
        let rig = Rig::new(2);
        rig.reach(State::Precommitted, set(1));
        let before = rig.clock.now();
        rig.array.fault(Op::Commit, fault);
        assert_eq!(rig.fire(Method::CommitSnapshots, set(1)), VETO);
        assert!(rig.clock.now() - before <= SECONDS(8));
        rig.array.heal();
        assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
        assert_eq!(rig.copies(), 0);
        assert_eq!(rig.errors(), [EventKind::ArrayTimedOut]);
    }
}

/// T-101, TIME-10: the array's success comes too late.
#[test]
fn t101_success_after_ten_and_a_half_seconds_is_a_failure() {
    let rig = Rig::new(1);
    rig.reach(State::Precommitted, set(1));
    let late = Fault::Overrun(Duration::from_millis(10_500));
    rig.array.fault(Op::Commit, late);
    assert_eq!(rig.fire(Method::CommitSnapshots, set(1)), VETO);
    assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
    assert_eq!(rig.errors(), [EventKind::CommitTooLate]);
    assert_eq!(rig.copies(), 0);
}

/// T-101, COM-9: the limit itself is still in time.
#[test]
fn t101_success_after_ten_seconds_is_one() {
    let rig = Rig::new(1);
    rig.reach(State::Precommitted, set(1));
    rig.array
        .fault(Op::Commit, Fault::Overrun(budget::COMMIT_VOID));
    assert_eq!(rig.fire(Method::CommitSnapshots, set(1)), OK);
    assert_eq!(rig.state(), State::Committed);
}

/// PST-1: VSS's count is for information; none is not a wrong one.
#[test]
fn post_commit_with_a_count_of_zero_is_a_success() {
    let rig = Rig::new(1);
    rig.reach(State::Committed, set(1));
    assert_eq!(rig.provider.post_commit_snapshots(set(1), 0), Ok(()));
}

/// BPS-2, PRE-3: a new set ends the freeze of the one that it drops, and its events are written.
#[test]
fn begin_of_a_new_set_ends_the_old_ones_freeze() {
    let rig = Rig::new(1);
    rig.reach(State::Committed, set(1));
    rig.forget_events();
    assert_eq!(rig.begin(set(2)), OK);
    // Outside of a freeze an event is written at once.
    assert_eq!(rig.provider.pre_commit_snapshots(set(2)), Err(VETO));
    assert_eq!(rig.errors(), [EventKind::WrongOrder]);
}

/// PRE-3, LOG-6: what a commit has to tell waits for the next call outside of the window, which writes it.
#[test]
fn events_of_a_commit_are_written_by_the_next_call() {
    let rig = Rig::new(1);
    rig.reach(State::Committed, set(1));
    rig.forget_events();
    assert_eq!(rig.fire(Method::PostCommitSnapshots, set(1)), OK);
    assert_eq!(rig.events(), []);
    assert_eq!(rig.fire(Method::AreLunsSupported, set(1)), OK);
    let events = rig.events();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::SetCaptured]);
}

/// T-254, COM-9: past the array's own deadline nothing is captured.
#[test]
fn t254_array_refuses_a_late_commit() {
    let rig = Rig::new(1);
    rig.reach(State::Precommitted, set(1));
    rig.clock.advance(SECONDS(9));
    assert_eq!(rig.fire(Method::CommitSnapshots, set(1)), VETO);
    assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
    assert_eq!(rig.errors(), [EventKind::DeadlinePassed]);
    assert_eq!(rig.copies(), 0);
}

/// T-102, T-103, COM-7, SEQ-38; also when no abort comes but the next set.
#[test]
fn t102_t103_half_and_lost_commits_are_discarded() {
    for fault in [Fault::Part(1), Fault::Part(2), Fault::Lost] {
        for abort_comes in [true, false] {
            let rig = Rig::new(3);
            rig.reach(State::Precommitted, set(1));
            rig.array.fault(Op::Commit, fault.clone());
            assert_eq!(rig.fire(Method::CommitSnapshots, set(1)), VETO);
            rig.array.heal();
            if abort_comes {
                assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
                assert_eq!(rig.copies(), 0);
            }
            rig.assert_next_set_works(0);
        }
    }
}

/// T-106, PST-3; T-107: PostCommit needs no array.
#[test]
fn t106_t107_post_commit_checks_its_count_and_needs_no_array() {
    let rig = Rig::new(1);
    rig.reach(State::Committed, set(1));
    let p = &rig.provider;
    assert_eq!(p.post_commit_snapshots(set(1), -1), Err(INVALID));
    assert_eq!(rig.state(), State::Committed);
    rig.array.fault_all(&Fault::Down);
    assert_eq!(p.post_commit_snapshots(set(1), 7), Ok(()));
    assert_eq!(rig.state(), State::Postcommitted);
}

/// T-098, T-295, ROLE-11: what is written after EndPrepare and before Commit is in the copy, what is written later is not.
#[test]
fn t098_t295_copies_hold_the_instant_of_commit() {
    let rig = Rig::new(2);
    rig.reach(State::Precommitted, set(1));
    rig.array.write(rig.luns[0], 5);
    rig.array.write(rig.luns[1], 6);
    assert_eq!(rig.fire(Method::CommitSnapshots, set(1)), OK);
    rig.array.write(rig.luns[0], 7);
    let copies = rig.copies_or_told(set(1));
    let read: Vec<_> = copies.iter().map(|c| rig.array.read(*c)).collect();
    assert_eq!(read, [Some(5), Some(6)]);
}

/// T-171, T-175, SEQ-13, SEQ-26: a transportable set; the final calls need no array.
#[test]
fn t171_t175_final_calls_work_without_locate_and_without_array() {
    let rig = Rig::new(1);
    rig.reach(State::Reported, set(1));
    rig.array.fault_all(&Fault::Down);
    assert_eq!(rig.provider.pre_final_commit_snapshots(set(1)), Ok(()));
    assert_eq!(rig.provider.post_final_commit_snapshots(set(1)), Ok(()));
    assert_eq!(rig.state(), State::Created);
}

/// T-014, LOAD-5.
#[test]
fn t014_unforced_unload_waits_for_a_pending_set() {
    for state in State::ALL {
        let rig = Rig::new(1);
        let blocked = rig.reach(state, set(1));
        let expected = if state.is_pending() {
            Hresult::S_FALSE
        } else {
            OK
        };
        assert_eq!(rig.provider.on_unload(false), expected, "{state:?}");
        assert_eq!(rig.state(), state);
        blocked.map(Blocked::answer);
    }
}

/// T-015, T-016, T-018, LOAD-6, LOAD-7, LOAD-10: forced, or by the last Release.
#[test]
fn t015_t016_t018_forced_unload_gives_up_what_was_not_told() {
    for state in State::ALL {
        for release in [false, true] {
            let mut rig = Rig::new(2);
            let blocked = rig.reach(state, set(1));
            if release && blocked.is_none() {
                rig.restart();
            } else {
                assert_eq!(rig.provider.on_unload(true), OK, "{state:?}");
            }
            if let Some(blocked) = blocked {
                assert_eq!(blocked.answer(), VETO);
            }
            let told = matches!(
                state,
                State::Reported | State::Surfaced | State::Prefinal | State::Created
            );
            let kept = if told { 2 } else { 0 };
            assert_eq!(rig.copies(), kept, "{state:?}");
            assert_eq!(rig.state(), State::Idle);
            rig.assert_next_set_works(kept);
        }
    }
}

/// T-019, LOAD-3, T-296, CTX-11.
#[test]
fn t019_t296_a_new_process_knows_and_deletes_the_copies() {
    let mut rig = Rig::new(2);
    let told = rig.full(set(1));
    assert_eq!(rig.provider.on_unload(true), OK);
    rig.restart();
    for lun in &told {
        assert_eq!(rig.provider.fill_in_lun_info(lun).as_ref(), Some(lun));
    }
    rig.delete(&told, 0);
}

/// T-240, T-241, T-242, T-243, T-244, T-245, T-246, T-247, SEQ-37, SEQ-40: a killed process; the next set frees what VSS was not told of.
#[test]
fn t240_to_t247_killed_provider_leaves_nothing_after_the_next_set() {
    for state in State::ALL.into_iter().filter(|s| s.is_pending()) {
        let mut rig = Rig::new(2);
        let blocked = rig.reach(state, set(1));
        rig.kill_and_restart();
        let answer = rig.provider.end_prepare_snapshots(set(1));
        assert_eq!(code(answer), NOT_FOUND, "{state:?}");
        let told = matches!(state, State::Reported | State::Surfaced | State::Prefinal);
        rig.assert_next_set_works(if told { 2 } else { 0 });
        blocked.map(Blocked::answer);
    }
}

/// T-297, BPS-9.
#[test]
fn t297_snapshot_id_of_an_unfinished_set_may_move_on() {
    let rig = Rig::new(1);
    let volume = rig.volume();
    let p = &rig.provider;
    assert_eq!(
        p.begin_prepare_snapshot(set(1), snapshot(set(1)), 0, &volume),
        Ok(())
    );
    assert_eq!(
        p.begin_prepare_snapshot(set(2), snapshot(set(1)), 0, &volume),
        Ok(())
    );
    assert_eq!(rig.provider.state(), (State::Preparing, Some(set(2))));
    assert_eq!(rig.copies(), 1);
}

/// T-305, PFF-3: the finished set's map answers until the next set begins.
#[test]
fn t305_targets_are_remembered_until_the_next_set() {
    let rig = Rig::new(2);
    let told = rig.full(set(1));
    rig.array.forget_calls();
    let volume = rig.volume();
    assert_eq!(rig.provider.get_target_luns(&volume), Ok(told));
    assert_eq!(rig.array.count(Op::Report), 0);
    assert_eq!(rig.begin(set(2)), OK);
    assert_eq!(code(rig.provider.get_target_luns(&volume)), VETO);
}

/// T-099, LOG-5, ERR-6: a set that is given up after its capture tells what the commit took all the same.
#[test]
fn t099_abort_after_the_capture_tells_the_commits_milliseconds() {
    let rig = Rig::new(2);
    rig.reach(State::Committed, set(1));
    rig.forget_events();
    assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
    let events = rig.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventKind::SetAborted);
    assert!(events[0].cause.contains("2 LUNs were captured in 0 ms"));
}

/// T-099, COM-8, PRE-3: a set may wait for hours, within SEQ-7, between EndPrepareSnapshots and PreCommitSnapshots. The array is
/// asked again all the time, so that nothing that PreCommitSnapshots needs runs out; in other states it is not.
#[test]
fn t099_prepared_set_is_kept_ready_until_pre_commit() {
    let settings = Settings {
        idle_set_max: Duration::from_hours(3),
        ..Settings::default()
    };
    for state in State::ALL {
        let rig = Rig::with(1, settings.clone());
        let blocked = rig.reach(state, set(1));
        rig.array.forget_calls();
        let mut longest = Duration::ZERO;
        let mut last = rig.clock.now();
        for _ in 0..2 * 3600 {
            rig.clock.advance(Duration::from_secs(1));
            rig.provider.tick();
            if rig.array.count(Op::Ready) > 0 {
                rig.array.forget_calls();
                last = rig.clock.now();
            }
            longest = longest.max(rig.clock.now() - last);
        }
        let is_kept = longest < Duration::from_secs(120);
        assert_eq!(is_kept, state == State::Prepared, "{state:?} {longest:?}");
        if let Some(blocked) = blocked {
            blocked.answer();
        }
        if state == State::Prepared {
            assert_eq!(rig.provider.pre_commit_snapshots(set(1)), Ok(()));
        }
    }
}

/// PRE-3: an array that is silent meanwhile costs the set nothing if it is back in time.
#[test]
fn prepared_set_outlives_a_silence_of_the_array() {
    let rig = Rig::new(1);
    rig.reach(State::Prepared, set(1));
    rig.array.fault(Op::Ready, Fault::Hang);
    for _ in 0..200 {
        rig.clock.advance(Duration::from_secs(1));
        rig.provider.tick();
    }
    assert_eq!(rig.errors(), []);
    assert_eq!(rig.provider.pre_commit_snapshots(set(1)), Ok(()));
}
