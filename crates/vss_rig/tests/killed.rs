// SPDX-License-Identifier: MIT OR Apache-2.0
//! T-240 to T-247: the provider's process dies in each state of a set. COM tells the caller, the next provider makes the next set,
//! what was never reported goes with it, and what was reported stays and can be deleted. Needs the Windows programs.

use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use vss_provider::Hresult;
use vss_rig::array::{ArrayUnderTest as _, Binaries, CREATOR, HostKind, RealArray};
use vss_rig::host::ProviderHost as _;
use vss_rig::interrupt::Interrupt;
use vss_rig::sequence::{Point, ShadowSet};
use vss_rig::wine::{WindowsParts, WineHost};

/// RPC_S_CALL_FAILED and RPC_S_SERVER_UNAVAILABLE, as HRESULT.
const DEAD_SERVER: [Hresult; 2] = [Hresult(0x8007_06BE), Hresult(0x8007_06BA)];
/// How long a call is left waiting for the array before its provider is killed.
const BLOCKED: Duration = Duration::from_millis(500);

struct Fixture(RealArray);

impl Fixture {
    fn host(&self) -> &WineHost {
        self.0.windows().unwrap().host(CREATOR).unwrap()
    }

    fn set(&self, original: usize) -> ShadowSet {
        ShadowSet::new(0, &[std::slice::from_ref(&self.0.originals()[original])])
    }

    fn signal_array(&self, signal: Signal) {
        let pid = i32::try_from(self.0.daemon().pid()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// The next set of the host, whole and deleted; `kept` copies of the old one stay meanwhile.
    fn next_set_works(&self, kept: &ShadowSet, lun_count: usize, when: &str) {
        let next = self.host().load().unwrap();
        let mut set = self.set(1);
        set.drive(&next, Point::Created).expect(when);
        assert_eq!(
            self.0.lun_count().unwrap(),
            lun_count + kept.targets().len() + 1,
            "{when}: leftovers"
        );
        // SEQ-37: no source stays frozen.
        let source = &self.0.originals()[0];
        self.0.write_and_read_back(CREATOR, source).expect(when);
        set.delete(&next).expect(when);
        kept.delete(&next).expect(when);
        assert_eq!(self.0.lun_count().unwrap(), lun_count, "{when}");
    }
}

fn killed_at(f: &Fixture, point: Point) {
    let when = format!("killed at {point:?}");
    let before = f.0.lun_count().unwrap();
    let provider = f.host().load().unwrap();
    let mut set = f.set(0);
    set.drive(&provider, point).expect(&when);

    f.host().kill_provider().unwrap();

    // Of an interface that the client has: Wine gives E_NOINTERFACE where it has to ask a dead server for one.
    let (code, _) = provider.are_luns_supported(0, &mut set.volumes[0].luns);
    assert!(DEAD_SERVER.contains(&code), "{when}: {code}");
    drop(provider);
    f.next_set_works(&set, before, &when);
}

/// The array stands still, so that the call of `step` waits for it when the provider dies.
fn killed_during(f: &Fixture, reached: Point, step: Point) {
    let when = format!("killed on the way to {step:?}");
    let before = f.0.lun_count().unwrap();
    let provider = f.host().load().unwrap();
    let mut set = f.set(0);
    set.drive(&provider, reached).expect(&when);

    f.signal_array(Signal::STOP);
    let error = std::thread::scope(|scope| {
        let call = scope.spawn(|| set.step(&provider, step).unwrap_err());
        std::thread::sleep(BLOCKED);
        f.host().kill_provider().unwrap();
        call.join().unwrap()
    });
    f.signal_array(Signal::CONT);

    assert!(DEAD_SERVER.contains(&error.code), "{when}: {error}");
    drop(provider);
    f.next_set_works(&set, before, &when);
}

#[test]
fn t240_to_t247_provider_killed_in_each_state() {
    let binaries = Binaries::find(None).unwrap();
    let kind = HostKind::Com(WindowsParts::find(None).unwrap());
    let f = Fixture(RealArray::start(&binaries, &kind, &Interrupt::default()).unwrap());

    for point in Point::ALL {
        killed_at(&f, point);
    }
    killed_during(&f, Point::Preparing, Point::Prepared);
    killed_during(&f, Point::Prepared, Point::Precommitted);
    killed_during(&f, Point::Precommitted, Point::Committed);

    f.0.end().unwrap();
}
