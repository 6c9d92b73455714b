// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{HOST, LUN_BYTES, Rig, set};
use array_api::SpaceLevel;
use array_api::simulated::{Fault, Op};
use std::time::Duration;
use vss_provider::state::State;
use vss_provider::{EventKind, Method, NOTIFY_READ_WRITE, Severity, budget};

fn kinds(rig: &Rig) -> Vec<EventKind> {
    rig.events().iter().map(|e| e.kind).collect()
}

fn next_look(rig: &Rig) {
    rig.clock.advance(budget::SPACE_EVERY);
    rig.provider.tick();
}

/// T-300, CTX-13, ERR-5, LOG-5: Warning at the threshold, Error when nothing is left, each once; the copies stay as they are.
#[test]
fn t300_space_running_out_is_a_warning_then_an_error() {
    let rig = Rig::new(2);
    rig.array.write(rig.luns[0], 1);
    rig.full(set(1));
    rig.forget_events();
    next_look(&rig);
    assert_eq!(kinds(&rig), []);
    for (space, kind, severity) in [
        (SpaceLevel::Low, EventKind::SpaceLow, Severity::Warning),
        (
            SpaceLevel::Exhausted,
            EventKind::SpaceExhausted,
            Severity::Error,
        ),
    ] {
        rig.array.set_space(space);
        rig.forget_events();
        next_look(&rig);
        next_look(&rig);
        assert_eq!(kinds(&rig), [kind]);
        assert_eq!(kind.severity(), severity);
    }
    let copies = rig.copies_or_told(set(1));
    assert_eq!(rig.array.read(copies[0]), Some(1));
    assert_eq!(copies.len(), 2);
}

/// ERR-5: what is low already when the provider is loaded is told.
#[test]
fn space_that_is_short_from_the_start_is_told() {
    let rig = Rig::new(1);
    rig.array.set_space(SpaceLevel::Exhausted);
    rig.provider.tick();
    assert_eq!(kinds(&rig), [EventKind::SpaceExhausted]);
}

/// TIME-20: the array is asked once a minute at most, never while writes are frozen, and no longer than a tick may take.
#[test]
fn space_is_asked_for_seldom_and_never_while_frozen() {
    let rig = Rig::new(1);
    for _ in 0..10 {
        rig.clock.advance(Duration::from_secs(1));
        rig.provider.tick();
    }
    assert_eq!(rig.array.count(Op::Info), 1);
    rig.reach(State::Prepared, set(1));
    rig.clock.advance(budget::SPACE_EVERY);
    assert_eq!(
        rig.fire(Method::PreCommitSnapshots, set(1)),
        crate::support::OK
    );
    rig.provider.tick();
    assert_eq!(rig.array.count(Op::Info), 1);
    let (rig, before) = (Rig::new(1), Duration::ZERO);
    rig.array.fault_all(&Fault::Hang);
    rig.provider.tick();
    assert!(rig.clock.now() - before <= budget::TICK);
    assert_eq!(rig.events(), []);
}

/// T-174, CTX-13, LOG-5: space runs out between PreFinal and PostFinal. The recovery's writes fail instead of spoiling
/// anything, the calls go on, and the event comes.
#[test]
fn t174_space_runs_out_in_recovery() {
    let rig = Rig::new(1);
    rig.array.write(rig.luns[0], 1);
    rig.reach(State::Prefinal, set(1));
    let copy = rig.copies_or_told(set(1))[0];
    rig.forget_events();
    rig.array.set_space(SpaceLevel::Exhausted);
    assert!(!rig.array.write_as(HOST, copy, 9));
    rig.provider.tick();
    assert_eq!(rig.provider.post_final_commit_snapshots(set(1)), Ok(()));
    assert_eq!(kinds(&rig), [EventKind::SpaceExhausted]);
    let read = [rig.luns[0], copy].map(|lun| rig.array.read(lun));
    assert_eq!(read, [Some(1), Some(1)]);
}

/// OLS-8: a copy that takes writes for good needs its whole size; what the array cannot promise, or cannot say, is logged.
#[test]
fn ols8_broken_copy_without_guaranteed_space_is_told() {
    for (free_bytes, space, told) in [
        (LUN_BYTES, SpaceLevel::Ample, false),
        (LUN_BYTES - 1, SpaceLevel::Ample, true),
        (LUN_BYTES, SpaceLevel::Low, true),
    ] {
        let rig = Rig::new(1);
        let copies = rig.full(set(1));
        rig.forget_events();
        rig.array.set_free_bytes(free_bytes);
        rig.array.set_space(space);
        let broken = rig
            .provider
            .on_lun_state_change(&copies, None, NOTIFY_READ_WRITE);
        assert_eq!(broken, Ok(()));
        let expected: &[_] = if told {
            &[EventKind::SpaceNotGuaranteed]
        } else {
            &[]
        };
        assert_eq!(kinds(&rig), expected, "{free_bytes} {space:?}");
    }
    for fault in [Fault::Down, Fault::Hang] {
        let rig = Rig::new(1);
        let copies = rig.full(set(1));
        rig.forget_events();
        rig.array.fault(Op::Info, fault);
        let before = rig.clock.now();
        let broken = rig
            .provider
            .on_lun_state_change(&copies, None, NOTIFY_READ_WRITE);
        assert_eq!(broken, Ok(()));
        assert_eq!(kinds(&rig), [EventKind::SpaceNotGuaranteed]);
        assert!(rig.clock.now() - before <= budget::SPACE_ASK);
    }
}
