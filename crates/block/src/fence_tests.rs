// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn now() -> Instant {
    Instant::now()
}

/// Passes a write that stays under way until the result is dropped.
fn write_under_way(fence: &Arc<WriteFence>) -> WritePermit {
    let (sender, receiver) = channel();
    fence.enter(move |permit| sender.send(permit).unwrap());
    receiver.try_recv().expect("the gate is open")
}

#[test]
fn enter_open_gate_starts_at_once() {
    let fence = WriteFence::new();
    drop(write_under_way(&fence));
    assert_eq!(fence.parked(), 0);
}

#[test]
fn enter_held_gate_parks_and_starts_in_order_after_release() {
    let fence = WriteFence::new();
    let hold = hold_all(&[Arc::clone(&fence)], soon()).unwrap();
    let (sender, started) = channel();
    for number in 0..3 {
        let sender = sender.clone();
        fence.enter(move |_permit| sender.send(number).unwrap());
    }
    assert_eq!(fence.parked(), 3);
    assert!(started.try_recv().is_err(), "started behind a closed gate");
    drop(hold);
    assert_eq!(started.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(fence.parked(), 0);
}

#[test]
fn hold_waits_for_writes_in_flight() {
    let fence = WriteFence::new();
    let permit = write_under_way(&fence);
    let carried_out = Arc::new(AtomicBool::new(false));
    let holder = {
        let (fence, carried_out) = (Arc::clone(&fence), Arc::clone(&carried_out));
        thread::spawn(move || {
            let hold = hold_all(&[fence], soon()).unwrap();
            assert!(carried_out.load(Ordering::SeqCst), "held too early");
            drop(hold);
        })
    };
    // The gate is shut at once, although the hold is not there yet: a write now is parked.
    while !fence.lock().held {
        thread::yield_now();
    }
    carried_out.store(true, Ordering::SeqCst);
    drop(permit);
    holder.join().unwrap();
}

#[test]
fn hold_not_drained_in_time_opens_all_members_again() {
    let (quiet, busy) = (WriteFence::new(), WriteFence::new());
    let permit = write_under_way(&busy);
    let result = hold_all(&[Arc::clone(&quiet), Arc::clone(&busy)], now());
    assert!(matches!(result, Err(HoldError::NotDrained(1))));
    drop(write_under_way(&quiet));
    drop(write_under_way(&busy));
    drop(permit);
}

#[test]
fn hold_not_drained_in_time_starts_writes_parked_meanwhile() {
    let fence = WriteFence::new();
    let permit = write_under_way(&fence);
    let holder = {
        let fence = Arc::clone(&fence);
        let deadline = Instant::now() + Duration::from_millis(200);
        thread::spawn(move || hold_all(&[fence], deadline).is_err())
    };
    while !fence.lock().held {
        thread::yield_now();
    }
    let (sender, started) = channel();
    fence.enter(move |_permit| sender.send(()).unwrap());
    assert!(holder.join().unwrap(), "nobody gave the permit back");
    started.recv_timeout(Duration::from_secs(20)).unwrap();
    drop(permit);
}

#[test]
fn hold_same_fence_twice_holds_it_once() {
    let fence = WriteFence::new();
    let hold = hold_all(&[Arc::clone(&fence), Arc::clone(&fence)], soon()).unwrap();
    assert_eq!(hold.fences.len(), 1);
    drop(hold);
    drop(write_under_way(&fence));
}

#[test]
fn hold_of_held_fence_waits_then_fails_at_deadline() {
    let fence = WriteFence::new();
    let first = hold_all(&[Arc::clone(&fence)], soon()).unwrap();
    let second = hold_all(&[Arc::clone(&fence)], now());
    assert!(matches!(second, Err(HoldError::NotDrained(1))));
    assert!(
        fence.lock().held,
        "the failed hold must not open the first one's gate"
    );
    drop(first);
    drop(hold_all(&[fence], soon()).unwrap());
}

#[test]
fn holds_with_common_members_take_turns() {
    let fences: Vec<_> = (0..3).map(|_| WriteFence::new()).collect();
    let inside = Arc::new(AtomicUsize::new(0));
    let holders: Vec<_> = [[0, 1], [1, 2], [2, 0], [1, 0]]
        .into_iter()
        .map(|members| {
            let members: Vec<_> = members.iter().map(|&i| Arc::clone(&fences[i])).collect();
            let inside = Arc::clone(&inside);
            thread::spawn(move || {
                for _ in 0..200 {
                    let hold = hold_all(&members, soon()).unwrap();
                    // Any two of these sets have a member in common.
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(hold);
                }
            })
        })
        .collect();
    for holder in holders {
        holder.join().unwrap();
    }
}

#[test]
fn permit_dropped_on_unwinding_is_given_back() {
    let fence = WriteFence::new();
    let writer = {
        let fence = Arc::clone(&fence);
        thread::spawn(move || fence.enter(|_permit| panic!("a write that goes wrong")))
    };
    assert!(writer.join().is_err());
    drop(hold_all(&[fence], soon()).unwrap());
}

#[test]
fn parked_write_that_panics_neither_stops_others_nor_stays_in_flight() {
    let fence = WriteFence::new();
    let hold = hold_all(&[Arc::clone(&fence)], soon()).unwrap();
    fence.enter(|_permit| panic!("a write that goes wrong"));
    let (sender, started) = channel();
    fence.enter(move |_permit| sender.send(()).unwrap());
    drop(hold);
    started.recv_timeout(Duration::from_secs(20)).unwrap();
    drop(hold_all(&[fence], soon()).unwrap());
}
