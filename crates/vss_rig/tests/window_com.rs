// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commit window of the provider's executable, behind COM under Wine. Needs the programs of both systems: `cargo xtask build`.

use std::time::{Duration, Instant};
use vss_rig::array::{ArrayUnderTest as _, Binaries, CREATOR, HostKind, RealArray};
use vss_rig::interrupt::Interrupt;
use vss_rig::sequence::{Point, ShadowSet};
use vss_rig::wine::WindowsParts;

/// Id of the event that tells what a commit took.
const SET_CAPTURED: u32 = 100;

/// T-099, COM-3, COM-8, TIME-22: the executable's own allocator counts, and its event tells the count.
#[test]
fn t099_executable_asks_the_system_for_no_memory_in_the_window() {
    let interrupt = Interrupt::default();
    let kind = HostKind::Com(WindowsParts::find(None).unwrap());
    let array = RealArray::start(&Binaries::find(None).unwrap(), &kind, &interrupt).unwrap();
    let provider = array.provider(CREATOR).unwrap();
    for _ in 0..3 {
        let mut set = ShadowSet::new(0, &[array.originals()]);
        set.drive(&*provider, Point::Created).unwrap();
        set.delete(&*provider).unwrap();
        let events = provider.take_events();
        let captured = events.iter().find(|event| event.id == SET_CAPTURED);
        let text = &captured.expect("each set has one").text;
        let count = "; 0 requests for memory went to the system meanwhile";
        assert!(text.contains(count), "{text}");
    }
    drop(provider);
    array.end().unwrap();
}

/// T-099, LOG-6, PST-2: PostCommitSnapshots writes nothing; without another call the process's own thread does.
#[test]
fn t099_event_of_a_set_is_written_without_another_call() {
    let interrupt = Interrupt::default();
    let kind = HostKind::Com(WindowsParts::find(None).unwrap());
    let array = RealArray::start(&Binaries::find(None).unwrap(), &kind, &interrupt).unwrap();
    let provider = array.provider(CREATOR).unwrap();
    let mut set = ShadowSet::new(0, &[array.originals()]);
    set.drive(&*provider, Point::Postcommitted).unwrap();
    let started = Instant::now();
    while !(provider.take_events().iter()).any(|event| event.id == SET_CAPTURED) {
        assert!(started.elapsed() < Duration::from_secs(30), "no event came");
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = provider.abort_snapshots(set.id);
    drop(provider);
    array.end().unwrap();
}
