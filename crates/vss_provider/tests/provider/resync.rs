// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{HOST, LUN_BYTES, OK, Rig, VETO, code, set};
use array_api::simulated::{Fault, Gate, Op, UNDEFINED_CONTENT};
use array_api::{ArrayErrorKind as Kind, Capabilities};
use std::time::Duration;
use vss_provider::state::State;
use vss_provider::{EventKind, Hresult, ResyncOperation, budget};

const PENDING: Hresult = Hresult::VSS_S_ASYNC_PENDING;
const FINISHED: Hresult = Hresult::VSS_S_ASYNC_FINISHED;
const CANCELLED: Hresult = Hresult::VSS_S_ASYNC_CANCELLED;
const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// A copy of one LUN with the content 1, the LUN changed to 2, and its resync started, which takes a minute.
fn running() -> (Rig, ResyncOperation) {
    let rig = Rig::new(1);
    rig.array.set_resync_right(HOST, true);
    rig.array.set_resync_time(SECONDS(60));
    rig.array.write(rig.luns[0], 1);
    let told = rig.full(set(1));
    rig.array.write(rig.luns[0], 2);
    rig.forget_events();
    let operation = rig.provider.resync_luns(&told, &rig.volume());
    (rig, operation.expect("the array can"))
}

fn kinds(rig: &Rig) -> Vec<EventKind> {
    rig.events().iter().map(|e| e.kind).collect()
}

/// T-217, ASY-1, ASY-2: asked at once, without waiting for the end.
#[test]
fn t217_running_resync_is_pending() {
    let (rig, operation) = running();
    assert_eq!(operation.query_status(), PENDING);
    assert_eq!(rig.clock.now(), Duration::ZERO);
    rig.clock.advance(SECONDS(60));
    assert_eq!(operation.query_status(), FINISHED);
    assert_eq!(rig.array.read(rig.luns[0]), Some(1));
}

/// T-218, ASY-3: a wait that is over before the end.
#[test]
fn t218_wait_returns_when_its_time_is_over() {
    let (rig, operation) = running();
    assert_eq!(operation.wait(Duration::from_millis(100)), OK);
    assert_eq!(rig.clock.now(), Duration::from_millis(100));
    assert_eq!(operation.query_status(), PENDING);
    assert_eq!(operation.wait(Duration::ZERO), OK);
    assert_eq!(rig.clock.now(), Duration::from_millis(100));
}

/// T-219, ASY-3: a wait without limit ends with the operation, and the end is remembered.
#[test]
fn t219_wait_returns_at_the_end() {
    for timeout in [SECONDS(3600), Duration::MAX] {
        let (rig, operation) = running();
        assert_eq!(operation.wait(timeout), OK);
        assert_eq!(rig.clock.now(), SECONDS(60));
        rig.array.fault_all(&Fault::Down);
        assert_eq!(operation.query_status(), FINISHED);
        assert_eq!(operation.wait(timeout), OK);
        assert_eq!(rig.events(), []);
    }
}

/// T-216, ASY-2: one event, whoever asks how often.
#[test]
fn t216_failure_after_the_start_is_the_operations_status() {
    let (rig, operation) = running();
    rig.array.set_resync_failure(Some(Kind::Internal));
    assert_eq!(operation.wait(Duration::MAX), VETO);
    assert_eq!(operation.query_status(), VETO);
    assert_eq!(operation.wait(Duration::ZERO), VETO);
    assert_eq!(operation.cancel(), VETO);
    assert_eq!(kinds(&rig), [EventKind::ResyncFailed]);
    let event = &rig.events()[0];
    assert_eq!((event.code, &event.luns), (VETO, &rig.luns));
    assert!(event.advice.is_some(), "the array's own advice");
}

/// T-220: Cancel of a running, a cancelled and a finished operation; the failed one is above.
#[test]
fn t220_cancel_answers_how_it_ended() {
    let (_rig, operation) = running();
    assert_eq!(operation.cancel(), OK);
    assert_eq!(operation.cancel(), CANCELLED);
    let (rig, operation) = running();
    rig.clock.advance(SECONDS(60));
    assert_eq!(operation.cancel(), FINISHED);
    rig.array.fault_all(&Fault::Down);
    assert_eq!(operation.cancel(), FINISHED, "known without the array");
    assert_eq!(rig.events(), []);
}

/// T-299, ASY-4: the array's copying stops, and the event says that the target's contents are undefined.
#[test]
fn t299_cancel_stops_the_array_and_tells_of_the_target() {
    let (rig, operation) = running();
    assert_eq!(operation.cancel(), OK);
    assert_eq!(operation.query_status(), CANCELLED);
    assert_eq!(operation.wait(Duration::MAX), OK);
    rig.clock.advance(SECONDS(3600));
    assert_eq!(rig.array.read(rig.luns[0]), Some(UNDEFINED_CONTENT));
    assert_eq!(kinds(&rig), [EventKind::ResyncCancelled]);
    assert!(EventKind::ResyncCancelled.title().contains("undefined"));
    assert_eq!(rig.events()[0].luns, rig.luns);
}

/// ASY-6: a Cancel passes a Wait of another thread, and ends it.
#[test]
fn asy6_cancel_ends_a_wait_of_another_thread() {
    let (rig, operation) = running();
    let gate = Gate::closed();
    rig.array.fault(Op::ResyncStatus, Fault::Gate(gate.clone()));
    std::thread::scope(|scope| {
        let wait = scope.spawn(|| operation.wait(Duration::MAX));
        gate.wait_entered();
        let cancelled = operation.cancel();
        // Before anything can fail: the scope waits for the other thread.
        gate.open();
        assert_eq!(wait.join().expect("no panic"), OK);
        assert_eq!(cancelled, OK);
    });
    assert_eq!(operation.query_status(), CANCELLED);
    assert!(rig.clock.now() < SECONDS(60));
    assert_eq!(kinds(&rig), [EventKind::ResyncCancelled]);
}

/// ASY-4, ASY-6: both Cancels reach the array before either knows of an end. The first ends it, the second is told how it had
/// ended, and one event is written.
#[test]
fn of_two_cancels_at_once_one_ends_it() {
    let (rig, operation) = running();
    let gates = [Gate::closed(), Gate::closed()];
    let codes = std::thread::scope(|scope| {
        let calls = gates.each_ref().map(|gate| {
            rig.array.fault(Op::CancelResync, Fault::Gate(gate.clone()));
            let call = scope.spawn(|| operation.cancel());
            gate.wait_entered();
            (gate, call)
        });
        calls.map(|(gate, call)| {
            gate.open();
            call.join().expect("no panic")
        })
    });
    assert_eq!(codes, [OK, CANCELLED]);
    assert_eq!(kinds(&rig), [EventKind::ResyncCancelled]);
}

/// ASY-2: an answer that was under way when the resync ended does not make it pending again.
#[test]
fn answer_from_before_the_end_does_not_hide_the_end() {
    let (rig, operation) = running();
    let gate = Gate::closed();
    let fault = Fault::GateAfter(gate.clone());
    rig.array.fault(Op::ResyncStatus, fault);
    let codes = std::thread::scope(|scope| {
        let status = scope.spawn(|| operation.query_status());
        gate.wait_entered();
        let cancelled = operation.cancel();
        gate.open();
        (cancelled, status.join().expect("no panic"))
    });
    assert_eq!(codes, (OK, CANCELLED));
}

/// ASY-5: the operation outlives the provider.
#[test]
fn asy5_operation_outlives_the_provider() {
    let (mut rig, operation) = running();
    rig.restart();
    assert_eq!(operation.query_status(), PENDING);
    assert_eq!(operation.wait(Duration::MAX), OK);
    assert_eq!(rig.array.read(rig.luns[0]), Some(1));
}

/// ASY-2: an array that does not know the resync any more cannot say how far it came.
#[test]
fn status_of_a_forgotten_resync_is_a_failure_told_once() {
    let (rig, operation) = running();
    let fault = Fault::Err(Kind::UnknownResync);
    rig.array.fault(Op::ResyncStatus, fault);
    assert_eq!(operation.query_status(), VETO);
    rig.array.heal();
    assert_eq!(operation.query_status(), VETO, "final");
    assert_eq!(kinds(&rig), [EventKind::ResyncFailed]);
}

/// ASY-2, ASY-3: an array out of reach says nothing of the resync. It is still pending; a wait or a cancel fails; each tells.
#[test]
fn unreachable_array_leaves_the_resync_pending() {
    for fault in [Fault::Down, Fault::Hang] {
        let (rig, operation) = running();
        rig.array.fault_all(&fault);
        assert_eq!(operation.query_status(), PENDING);
        assert_eq!(rig.events().len(), 1);
        assert_eq!(operation.query_status(), PENDING);
        let [event] = &rig.events()[..] else {
            panic!("one event, not {:?}", kinds(&rig));
        };
        assert_eq!((event.code, &event.luns), (PENDING, &rig.luns));
        assert!(event.advice.is_some(), "the array's own advice");
        let before = rig.clock.now();
        assert_eq!(operation.wait(Duration::MAX), VETO);
        let took = rig.clock.now() - before;
        assert!(
            took <= budget::RESYNC_SILENCE + budget::RESYNC_SLICE + budget::RESYNC_ASK,
            "{took:?}"
        );
        let before = rig.clock.now();
        assert_eq!(operation.cancel(), VETO);
        assert!(rig.clock.now() - before <= budget::RESYNC_CANCEL);
        assert_eq!(rig.errors().len(), 3, "{:?}", kinds(&rig));
        rig.array.heal();
        assert_eq!(operation.wait(Duration::MAX), OK);
        assert_eq!(operation.query_status(), FINISHED);
    }
}

/// T-232, ASY-2, ASY-3: IVssAsync's methods, whatever the array answers: a code of a resync, and no error without an event.
#[test]
fn t232_every_error_at_the_methods_of_ivssasync() {
    type Ask = fn(&ResyncOperation) -> Hresult;
    let query: Ask = ResyncOperation::query_status;
    let wait: Ask = |operation| operation.wait(Duration::MAX);
    let cancel: Ask = ResyncOperation::cancel;
    for kind in crate::faults::KINDS {
        for (name, ask, permitted) in [
            ("QueryStatus", query, &[PENDING, VETO][..]),
            ("Wait", wait, &[VETO]),
            ("Cancel", cancel, &[VETO]),
        ] {
            let (rig, operation) = running();
            rig.array.fault_all(&Fault::Err(kind));
            let answer = ask(&operation);
            assert!(permitted.contains(&answer), "{name} {kind:?}: {answer:?}");
            assert_eq!(rig.events().len(), 1, "{name} {kind:?}");
        }
    }
}

/// ASY-3: a short silence does not end a wait.
#[test]
fn wait_survives_a_short_silence() {
    let (rig, operation) = running();
    let silent = Fault::Times(3, Box::new(Fault::Hang));
    rig.array.fault(Op::ResyncStatus, silent);
    assert_eq!(operation.wait(Duration::MAX), OK);
    assert_eq!(operation.query_status(), FINISHED);
    assert_eq!(rig.events(), []);
}

/// ASY-3: silence counts from the last answer, not from the start of the wait.
#[test]
fn late_short_silence_does_not_end_a_wait() {
    let (rig, operation) = running();
    let gate = Gate::closed();
    rig.array.fault(Op::ResyncStatus, Fault::Gate(gate.clone()));
    let code = std::thread::scope(|scope| {
        let wait = scope.spawn(|| operation.wait(Duration::MAX));
        gate.wait_entered();
        rig.clock.advance(budget::RESYNC_SILENCE);
        let silent = Fault::Times(1, Box::new(Fault::Hang));
        rig.array.fault(Op::ResyncStatus, silent);
        gate.open();
        wait.join().expect("no panic")
    });
    assert_eq!(code, OK);
    assert_eq!(operation.query_status(), FINISHED);
    assert_eq!(rig.events(), []);
}

/// T-249, RSY-12: a lost answer of the start is asked for again, with the same id; the array starts once.
#[test]
fn t249_lost_answer_of_the_start_is_asked_for_again() {
    let (rig, _first) = running();
    rig.clock.advance(SECONDS(60));
    let copies = rig.devices(&rig.copies_or_told(set(1)));
    let volume = rig.volume();
    rig.array.write(rig.luns[0], 3);
    let lost = Fault::Times(1, Box::new(Fault::Lost));
    rig.array.fault(Op::Resync, lost);
    rig.array.forget_calls();
    let operation = rig.provider.resync_luns(&copies, &volume);
    let operation = operation.expect("it was started");
    assert_eq!(rig.array.count(Op::Resync), 2);
    assert_eq!(operation.wait(Duration::MAX), OK);
    assert_eq!(operation.query_status(), FINISHED);
    assert_eq!(rig.array.read(rig.luns[0]), Some(1));
    assert_eq!(rig.events(), []);
}

/// SEQ-38: where the answers stay lost, the resync is stopped, and the event does not claim that nothing happened.
#[test]
fn start_whose_answers_stay_lost_is_stopped_and_told() {
    let (rig, _first) = running();
    rig.clock.advance(SECONDS(60));
    let copies = rig.devices(&rig.copies_or_told(set(1)));
    let volume = rig.volume();
    let before = rig.clock.now();
    rig.array.fault(Op::Resync, Fault::Lost);
    assert_eq!(code(rig.provider.resync_luns(&copies, &volume)), VETO);
    assert!(rig.clock.now() - before <= budget::RESYNC);
    assert_eq!(kinds(&rig), [EventKind::ResyncFailed]);
    rig.clock.advance(SECONDS(3600));
    assert_eq!(rig.array.read(rig.luns[0]), Some(UNDEFINED_CONTENT));
}

/// SEQ-38: where it cannot be stopped either, the array goes on, and the event says that it may.
#[test]
fn start_that_was_lost_and_cannot_be_stopped_is_told_as_possible() {
    let (rig, _first) = running();
    rig.clock.advance(SECONDS(60));
    let copies = rig.devices(&rig.copies_or_told(set(1)));
    let volume = rig.volume();
    rig.array.write(rig.luns[0], 3);
    rig.array.fault(Op::Resync, Fault::Lost);
    rig.array.fault(Op::CancelResync, Fault::Down);
    assert_eq!(code(rig.provider.resync_luns(&copies, &volume)), VETO);
    assert_eq!(kinds(&rig), [EventKind::ResyncFailed]);
    let cause = &rig.events()[0].cause;
    assert!(cause.contains("may have been started"), "{cause}");
    rig.clock.advance(SECONDS(3600));
    assert_eq!(rig.array.read(rig.luns[0]), Some(1));
}

/// RSY-12: an array that was silent but never started: an ordinary failure, nothing is overwritten.
#[test]
fn start_that_never_came_through_overwrites_nothing() {
    let (rig, _first) = running();
    rig.clock.advance(SECONDS(60));
    let copies = rig.devices(&rig.copies_or_told(set(1)));
    rig.array.write(rig.luns[0], 3);
    rig.array.fault(Op::Resync, Fault::Hang);
    assert_eq!(code(rig.provider.resync_luns(&copies, &rig.volume())), VETO);
    assert_eq!(kinds(&rig), [EventKind::ArrayTimedOut]);
    assert_eq!(rig.array.read(rig.luns[0]), Some(3));
}

/// T-212, RSY-12: a smaller target grows, or, without the space for it, nothing is started.
#[test]
fn t212_smaller_target_grows_when_there_is_space() {
    let rig = Rig::new(1);
    rig.array.set_resync_right(HOST, true);
    let told = rig.full(set(1));
    let smaller = rig.array.create_lun(LUN_BYTES / 2, &[HOST]);
    let targets = rig.devices(&[smaller]);
    rig.array.set_free_bytes(LUN_BYTES / 2 - 1);
    let short = Hresult::VSS_E_INSUFFICIENT_STORAGE;
    assert_eq!(code(rig.provider.resync_luns(&told, &targets)), short);
    assert_eq!(rig.array.size_bytes(smaller), Some(LUN_BYTES / 2));
    assert_eq!(rig.errors(), [EventKind::NoSpace]);
    rig.array.set_free_bytes(LUN_BYTES / 2);
    assert!(rig.provider.resync_luns(&told, &targets).is_ok());
    assert_eq!(rig.array.size_bytes(smaller), Some(LUN_BYTES));
}

/// T-210, T-213, T-226, T-313, RSY-2, RSY-3, RSY-7, RSY-13, RSY-15, SEQ-12: an array that redirects is finished at once; no
/// set is touched.
#[test]
fn t210_t213_t226_t313_instant_resync_is_finished_at_once() {
    let rig = Rig::new(4);
    rig.array.set_resync_right(HOST, true);
    for lun in &rig.luns {
        rig.array.write(*lun, 1);
    }
    let told = rig.full(set(1));
    for lun in &rig.luns {
        rig.array.write(*lun, 2);
    }
    rig.reach(State::Prepared, set(2));
    let operation = rig.provider.resync_luns(&told, &rig.volume());
    let operation = operation.expect("the array can");
    assert_eq!(operation.wait(Duration::MAX), OK);
    assert_eq!(operation.query_status(), Hresult::VSS_S_ASYNC_FINISHED);
    assert_eq!(operation.cancel(), Hresult::VSS_S_ASYNC_FINISHED);
    for lun in rig.luns.iter().chain(&rig.copies_or_told(set(1))) {
        assert_eq!(rig.array.read(*lun), Some(1));
    }
    assert_eq!(rig.array.count(Op::Resync), 1);
    assert_eq!(rig.state(), State::Prepared);
}

/// T-211, RSY-4.
#[test]
fn t211_larger_target_gets_the_copys_size() {
    let rig = Rig::new(1);
    rig.array.set_resync_right(HOST, true);
    let told = rig.full(set(1));
    let larger = rig.array.create_lun(2 * LUN_BYTES, &[HOST]);
    let targets = rig.devices(&[larger]);
    assert!(rig.provider.resync_luns(&told, &targets).is_ok());
    assert_eq!(rig.array.size_bytes(larger), Some(LUN_BYTES));
}

/// T-215, T-223, T-224, T-225, RSY-5, RSY-12, RSY-14, RSY-16, RSY-17.
#[test]
fn t215_t223_t224_t225_resync_refusals() {
    let rig = Rig::new(1);
    rig.array.set_resync_right(HOST, true);
    let told = rig.full(set(1));
    let volume = rig.volume();
    let resync = |copies, targets| rig.provider.resync_luns(copies, targets);
    assert_eq!(code(resync(&told, &[])), Hresult::E_INVALIDARG);
    let nothing = resync(&[], &[]).expect("nothing to do");
    assert_eq!(nothing.query_status(), Hresult::VSS_S_ASYNC_FINISHED);
    assert_eq!(code(resync(&told, &told)), VETO);
    rig.array.fault(Op::Resync, Fault::Err(Kind::NoSpace));
    let short = Hresult::VSS_E_INSUFFICIENT_STORAGE;
    assert_eq!(code(resync(&told, &volume)), short);
    rig.array.heal();
    rig.array.set_resync_right(HOST, false);
    assert_eq!(code(resync(&told, &volume)), VETO);
    rig.array.set_capabilities(Capabilities {
        differential: true,
        plex: false,
        transportable: true,
        persistent: true,
        resync: false,
        luns_per_set_max: 8,
    });
    rig.forget_events();
    assert_eq!(code(resync(&told, &volume)), Hresult::E_NOTIMPL);
    assert_eq!(rig.events(), []);
}

/// RSY-12: a refused start is over; there is nothing to stop.
#[test]
fn refused_start_is_not_cancelled() {
    let rig = Rig::new(1);
    rig.array.set_resync_right(HOST, true);
    let told = rig.full(set(1));
    rig.array.fault(Op::Resync, Fault::Err(Kind::WrongState));
    let answer = rig.provider.resync_luns(&told, &rig.volume());
    assert_eq!(code(answer), VETO);
    assert_eq!(rig.array.count(Op::CancelResync), 0);
}
