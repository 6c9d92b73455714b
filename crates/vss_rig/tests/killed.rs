// SPDX-License-Identifier: MIT OR Apache-2.0
//! T-240 to T-249: the provider's process dies in each state of a set, and during the calls of a copy's later life. COM tells the
//! caller, the next provider makes the next set, what was never reported goes with it, and what was reported stays and can be deleted.
//! Needs the Windows programs.

use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use vss_provider::{DO_MASK_LUNS, Hresult};
use vss_rig::array::{ArrayUnderTest as _, Binaries, CREATOR, HostKind, RealArray};
use vss_rig::com::ComProvider;
use vss_rig::host::ProviderHost as _;
use vss_rig::interrupt::Interrupt;
use vss_rig::sequence::{Point, ShadowSet};
use vss_rig::wine::{WindowsParts, WineHost};

/// RPC_S_CALL_FAILED and RPC_S_SERVER_UNAVAILABLE, as HRESULT.
const DEAD_SERVER: [Hresult; 2] = [Hresult(0x8007_06BE), Hresult(0x8007_06BA)];
/// How long a call is left waiting for the array before its provider is killed.
const BLOCKED: Duration = Duration::from_millis(500);
const RESYNC_LIMIT: Duration = Duration::from_secs(30);

struct Fixture(RealArray);

impl Fixture {
    fn start() -> Self {
        let binaries = Binaries::find(None).unwrap();
        let kind = HostKind::Com(WindowsParts::find(None).unwrap());
        Self(RealArray::start(&binaries, &kind, &Interrupt::default()).unwrap())
    }

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

/// The provider dies while `call` waits for the array; a fresh one repeats it.
fn repeated(
    f: &Fixture,
    name: &str,
    reached: Point,
    call: impl Fn(&ComProvider, &ShadowSet) -> Hresult + Sync,
) {
    let before = f.0.lun_count().unwrap();
    let provider = f.host().load().unwrap();
    let mut set = f.set(0);
    set.drive(&provider, reached).expect(name);

    f.signal_array(Signal::STOP);
    let code = std::thread::scope(|scope| {
        let called = scope.spawn(|| call(&provider, &set));
        std::thread::sleep(BLOCKED);
        f.host().kill_provider().unwrap();
        called.join().unwrap()
    });
    f.signal_array(Signal::CONT);
    assert!(DEAD_SERVER.contains(&code), "{name}: {code}");
    drop(provider);

    let fresh = f.host().load().unwrap();
    assert_eq!(call(&fresh, &set), Hresult::S_OK, "{name} again");
    for copy in set.targets() {
        assert_eq!(fresh.on_lun_empty(&copy), Hresult::S_OK, "after {name}");
    }
    assert_eq!(f.0.lun_count().unwrap(), before, "after {name}");
}

/// T-249, LOC-7, OLE-4, OLS-5: what the dead provider's call did or did not do, its repetition succeeds.
#[test]
fn t249_provider_killed_during_calls_that_are_repeated() {
    let f = Fixture::start();

    repeated(&f, "LocateLuns", Point::Reported, |provider, set| {
        provider.locate_luns(&set.targets())
    });
    repeated(&f, "OnLunEmpty", Point::Created, |provider, set| {
        provider.on_lun_empty(&set.targets()[0])
    });
    repeated(&f, "OnLunStateChange", Point::Created, |provider, set| {
        provider.on_lun_state_change(&set.targets(), None, DO_MASK_LUNS)
    });
    repeated(&f, "ResyncLuns", Point::Created, |provider, set| {
        let (code, operation) = provider.resync_luns(&set.targets(), &set.volumes[0].luns);
        operation.map_or(code, |operation| operation.wait(RESYNC_LIMIT))
    });

    f.0.end().unwrap();
}

/// T-240, T-241, T-242, T-243, T-244, T-245, T-246, T-247, SEQ-37, SEQ-40, GTL-12.
#[test]
fn t240_to_t247_provider_killed_in_each_state() {
    let f = Fixture::start();

    for point in Point::ALL {
        killed_at(&f, point);
    }
    killed_during(&f, Point::Preparing, Point::Prepared);
    killed_during(&f, Point::Prepared, Point::Precommitted);
    killed_during(&f, Point::Precommitted, Point::Committed);

    f.0.end().unwrap();
}
