// SPDX-License-Identifier: MIT OR Apache-2.0
//! The object through its vtables, as COM calls it, in this process.

// UNSAFETY: calls COM methods with pointers.
#![expect(unsafe_code)]

#[path = "object_input_tests.rs"]
mod input;
#[path = "object_memory_tests.rs"]
mod memory_tests;

use super::*;
use crate::com::factory::Factory;
use crate::lifetime::Lifetime;
use array_api::simulated::{SimulatedArray, VirtualClock};
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::Mutex;
use std::time::Duration;
use uuid::Uuid;
use vss_provider::{Event, EventKind, EventSink, LunDescription, Settings, identity};
use windows::Win32::Foundation::{
    CLASS_E_NOAGGREGATION, CO_E_SERVER_STOPPING, E_INVALIDARG, E_NOINTERFACE, E_NOTIMPL, S_FALSE,
    S_OK,
};
use windows::Win32::Storage::Vss::{
    IVssFileShareSnapshotProvider, IVssHardwareSnapshotProvider, IVssHardwareSnapshotProviderEx,
    IVssSoftwareSnapshotProvider,
};
use windows::Win32::System::Com::IClassFactory;
use windows::core::imp::IAgileObject;

const VETO: HRESULT = HRESULT(Hresult::VSS_E_PROVIDER_VETO.0.cast_signed());
const FINISHED: HRESULT = HRESULT(Hresult::VSS_S_ASYNC_FINISHED.0.cast_signed());

thread_local! {
    /// The array of this test, for the factory, which runs on the test's thread.
    static ARRAY: SimulatedArray = SimulatedArray::new(VirtualClock::new());
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
    /// So many events make the log panic.
    static LOG_BREAKS: Cell<u32> = const { Cell::new(0) };
    /// Whether the test's calls are those of an administrator.
    static PRIVILEGED: Cell<bool> = const { Cell::new(true) };
    /// Whether AreLunsSupported is to answer VETO for what it cannot ask.
    static VETO_WHEN_UNREACHABLE: Cell<bool> = const { Cell::new(false) };
}

struct Client;

impl Callers for Client {
    fn may_call(&self) -> bool {
        PRIVILEGED.get()
    }
}

struct Log;

impl EventSink for Log {
    fn report(&self, event: &Event) {
        if let Some(left) = LOG_BREAKS.get().checked_sub(1) {
            LOG_BREAKS.set(left);
            panic!("the event log is broken");
        }
        EVENTS.with_borrow_mut(|events| events.push(event.clone()));
    }
}

struct Bench {
    factory: IClassFactory,
    lifetime: Arc<Lifetime>,
    live: Arc<Live>,
}

fn bench() -> Bench {
    let (lifetime, live) = (Lifetime::new(), Arc::<Live>::default());
    let factory = IClassFactory::from(Factory {
        live: Arc::clone(&live),
        lifetime: Arc::clone(&lifetime),
        events: Arc::new(Log),
        site: || Site {
            array: ARRAY.with(|array| array.host("here")),
            enrolled: None,
            events: Arc::new(Log),
            settings: Settings {
                veto_when_unreachable: VETO_WHEN_UNREACHABLE.get(),
                ..Settings::default()
            },
        },
        callers: Arc::new(Client),
        locks: Mutex::default(),
    });
    Bench {
        factory,
        lifetime,
        live,
    }
}

impl Bench {
    fn load<T: Interface>(&self) -> windows::core::Result<T> {
        // SAFETY: no outer object.
        unsafe { self.factory.CreateInstance(None) }
    }
}

/// What the array was asked since the test began.
fn array_calls() -> usize {
    ARRAY.with(|array| array.calls().len())
}

fn create_lun() -> LunDescription {
    let array = ARRAY.with(Clone::clone);
    let lun = array.create_lun(1 << 30, &["here"]);
    let infos = array.host("here").query(vss_provider::budget::TICK, &[lun]);
    let info = infos.expect("the array is up").remove(0);
    identity::describe(&info.expect("it is there").identity)
}

/// A structure as VSS makes it; its blocks are freed with it.
struct Lun(VDS_LUN_INFORMATION);

impl Lun {
    fn new(lun: &LunDescription) -> Self {
        let mut raw = Self(VDS_LUN_INFORMATION::default());
        raw.write(lun);
        raw
    }

    fn write(&mut self, lun: &LunDescription) {
        // SAFETY: a whole structure, with blocks of task memory.
        unsafe { write_luns(&CoTaskMemory, &raw mut self.0, std::slice::from_ref(lun)) }
            .expect("there is memory");
    }

    fn read(&self) -> LunDescription {
        // SAFETY: a whole structure.
        unsafe { read_lun(&raw const self.0) }.expect("it is whole")
    }
}

impl Drop for Lun {
    fn drop(&mut self) {
        self.write(&LunDescription::default());
    }
}

fn code(result: windows::core::Result<()>) -> HRESULT {
    result.err().map_or(S_OK, |error| error.code())
}

/// T-008, T-009, REG-5..REG-10: one identity, no interface of another kind of provider, none of COM's short cuts.
#[test]
fn t008_t009_every_interface_leads_to_every_other_and_to_no_stranger() {
    let object: IUnknown = bench().load().expect("it loads");
    let interfaces = [
        IUnknown::IID,
        IVssHardwareSnapshotProvider::IID,
        IVssHardwareSnapshotProviderEx::IID,
        IVssProviderCreateSnapshotSet::IID,
        IVssProviderNotifications::IID,
    ];
    let strangers = [
        IVssSoftwareSnapshotProvider::IID,
        IVssFileShareSnapshotProvider::IID,
        IAgileObject::IID,
    ];
    let query = |from: &IUnknown, to: &GUID| {
        let mut found = ptr::null_mut();
        // SAFETY: any interface pointer begins with the vtable of IUnknown.
        let code = unsafe { from.query(to, &raw mut found) };
        // SAFETY: as above; NULL is `None`.
        (code, unsafe { mem_option(found) })
    };
    for from in interfaces {
        let from = query(&object, &from).1.expect("it is there");
        for to in interfaces {
            let to = query(&from, &to).1.expect("it is there");
            let identity: IUnknown = to.cast().expect("it is there");
            assert_eq!(identity.as_raw(), object.as_raw());
        }
        for stranger in strangers {
            assert!(matches!(query(&from, &stranger), (E_NOINTERFACE, None)));
        }
    }
}

/// # Safety
/// NULL, or an interface pointer whose reference is handed over.
unsafe fn mem_option(pointer: *mut c_void) -> Option<IUnknown> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { IUnknown::from_raw(pointer) })
}

/// T-230, T-231, CAP-2, REU-2: also where the caller's place held something.
#[test]
fn t230_t231_reserved_methods_are_not_implemented_and_store_nothing() {
    let object: IVssHardwareSnapshotProviderEx = bench().load().expect("it loads");
    let mut mask = 7_u64;
    let vtable = object.vtable();
    // SAFETY: a place of ours; no LUNs.
    unsafe {
        let code = (vtable.GetProviderCapabilities)(object.as_raw(), &raw mut mask);
        assert_eq!((code, mask), (E_NOTIMPL, 0));
        let code = (vtable.OnReuseLuns)(object.as_raw(), ptr::null(), ptr::null(), 3);
        assert_eq!(code, E_NOTIMPL);
    }
}

/// T-120, T-123, GTL-6, FIL-3, OLE-4: one set through every vtable, with memory that changes its owner.
#[test]
fn t123_a_whole_set_of_two_luns() {
    let bench = bench();
    let provider: IVssHardwareSnapshotProviderEx = bench.load().expect("it loads");
    let creation: IVssProviderCreateSnapshotSet = provider.cast().expect("it is there");
    let (set, snapshot) = (GUID::from_u128(1), GUID::from_u128(2));
    let mut sources = [Lun::new(&create_lun()), Lun::new(&create_lun())];
    let raw: *mut VDS_LUN_INFORMATION = (&raw mut sources).cast();
    let mut targets = [Lun::new(&Default::default()), Lun::new(&Default::default())];
    let copies: *mut VDS_LUN_INFORMATION = (&raw mut targets).cast();
    let mut supported = BOOL(0);
    // SAFETY: arrays of two, in places of ours. A `Lun` is the structure and nothing else.
    unsafe {
        (provider.AreLunsSupported(2, 0, ptr::null(), raw, &raw mut supported)).expect("ours");
        assert!(supported.as_bool());
        (provider.BeginPrepareSnapshot(set, snapshot, 0, 2, ptr::null(), raw)).expect("begins");
        creation.EndPrepareSnapshots(set).expect("ready");
        creation.PreCommitSnapshots(set).expect("armed");
        creation.CommitSnapshots(set).expect("captured");
        creation.PostCommitSnapshots(set, 1).expect("thawed");
        (provider.GetTargetLuns(2, ptr::null(), raw, copies)).expect("told");
        let both = std::slice::from_raw_parts(copies, 2);
        provider.LocateLuns(both).expect("mapped");
        for target in &mut targets {
            let told = target.read();
            assert_eq!((told.version, told.disk_signature), (1, Uuid::nil()));
            target.write(&LunDescription {
                bus_type: 9,
                disk_signature: Uuid::from_u128(5),
                ..told.clone()
            });
            supported = BOOL(0);
            (provider.FillInLunInfo(ptr::null(), &raw mut target.0, &raw mut supported))
                .expect("known");
            assert!(supported.as_bool());
            let filled = target.read();
            assert_eq!((filled.version, filled.disk_signature), (1, Uuid::nil()));
            assert_eq!(filled.identifiers, told.identifiers);
        }
        creation.PreFinalCommitSnapshots(set).expect("in order");
        creation.PostFinalCommitSnapshots(set).expect("in order");
        for target in &targets {
            provider
                .OnLunEmpty(ptr::null(), &raw const target.0)
                .expect("deleted");
            provider
                .OnLunEmpty(ptr::null(), &raw const target.0)
                .expect("repeatable");
        }
    }
}

/// GTL-9, GTL-10, T-130.
#[test]
fn get_target_luns_in_the_wrong_state_is_vetoed_and_leaves_destinations_zero() {
    let provider: IVssHardwareSnapshotProviderEx = bench().load().expect("it loads");
    let source = Lun::new(&create_lun());
    let mut target = Lun(VDS_LUN_INFORMATION::default());
    // SAFETY: arrays of one.
    let result =
        unsafe { provider.GetTargetLuns(1, ptr::null(), &raw const source.0, &raw mut target.0) };
    assert_eq!(code(result), VETO);
    assert_eq!(target.0, VDS_LUN_INFORMATION::default());
}

fn begin(bench: &Bench) -> IVssHardwareSnapshotProviderEx {
    let provider: IVssHardwareSnapshotProviderEx = bench.load().expect("it loads");
    let mut source = Lun::new(&create_lun());
    let (set, snapshot) = (GUID::from_u128(1), GUID::from_u128(2));
    let lun = &raw mut source.0;
    // SAFETY: an array of one.
    unsafe { provider.BeginPrepareSnapshot(set, snapshot, 0, 1, ptr::null(), lun) }
        .expect("begins");
    provider
}

/// T-013, T-014, T-015, LOAD-5, LOAD-6: S_FALSE comes through the vtable.
#[test]
fn t014_unload_is_refused_while_a_set_is_pending() {
    let bench = bench();
    let provider = begin(&bench);
    let notifications: IVssProviderNotifications = provider.cast().expect("it is there");
    let this = notifications.as_raw();
    let vtable = notifications.vtable();
    // SAFETY: no pointers.
    unsafe {
        assert_eq!((vtable.OnUnload)(this, BOOL(0)), S_FALSE);
        assert_eq!((vtable.OnUnload)(this, BOOL(1)), S_OK);
        assert_eq!((vtable.OnUnload)(this, BOOL(0)), S_OK);
    }
}

/// LUNs that the array keeps for a set in progress.
fn reserved() -> usize {
    let array = ARRAY.with(|array| array.host("here"));
    let orphans = array.orphans(vss_provider::budget::TICK);
    orphans.expect("the array is up").len()
}

/// SEQ-7, LOAD-7: the thread that ticks and the server's end know each loaded provider.
#[test]
fn loaded_provider_is_known_to_the_process() {
    let bench = bench();
    let _provider = begin(&bench);
    assert_eq!(reserved(), 1);
    bench.live.unload();
    assert_eq!(reserved(), 0);
}

/// T-018, LOAD-10, ASY-5: the last Release gives the set up before it returns, and the server may end.
#[test]
fn t018_last_release_is_a_forced_unload() {
    let bench = bench();
    let provider = begin(&bench);
    assert_eq!(reserved(), 1);
    assert!(!bench.lifetime.close_if_unused());
    drop(provider);
    assert_eq!(reserved(), 0);
    assert!(bench.lifetime.close_if_unused());
}

/// T-011, LOAD-4.
#[test]
fn t011_on_load_keeps_nothing() {
    let notifications: IVssProviderNotifications = bench().load().expect("it loads");
    let callback: IUnknown = bench().load().expect("it loads");
    let references = || {
        let again = ManuallyDrop::new(callback.clone());
        let vtable = again.vtable();
        // SAFETY: gives back the reference of the line above.
        unsafe { (vtable.Release)(again.as_raw()) }
    };
    let before = references();
    // SAFETY: no pointers but counted references.
    unsafe {
        notifications.OnLoad(&callback).expect("always");
        notifications.OnLoad(None).expect("always");
    }
    assert_eq!(references(), before);
}

/// ASY-1, ASY-2, ASY-5, RSY-14: the operation outlives the provider's object, and keeps the server up.
#[test]
fn resync_gives_a_finished_operation_of_its_own() {
    let bench = bench();
    let provider: IVssHardwareSnapshotProviderEx = bench.load().expect("it loads");
    bench.lifetime.close();
    // SAFETY: no LUNs.
    let operation = unsafe { provider.ResyncLuns(ptr::null(), ptr::null(), 0) }.expect("done");
    drop(provider);
    assert!(!bench.lifetime.wait_until_unused(Duration::ZERO));
    let mut status = S_FALSE;
    let vtable = operation.vtable();
    // SAFETY: a place of ours, or NULL where the interface allows it.
    unsafe {
        let query = |to| (vtable.QueryStatus)(operation.as_raw(), to, ptr::null_mut());
        assert_eq!((query(&raw mut status), status), (S_OK, FINISHED));
        assert_eq!(query(ptr::null_mut()), E_INVALIDARG);
        assert_eq!((vtable.Wait)(operation.as_raw(), u32::MAX), S_OK);
        assert_eq!((vtable.Cancel)(operation.as_raw()), FINISHED);
    }
    drop(operation);
    assert!(bench.lifetime.wait_until_unused(Duration::ZERO));
}

/// T-234, GEN-7, ERR-3, LOAD-10: a panic in the last Release ends nothing, is told, and the set is given up all the same.
#[test]
fn t234_panic_in_the_last_release_is_told() {
    let bench = bench();
    let provider = begin(&bench);
    let creation: IVssProviderCreateSnapshotSet = provider.cast().expect("it is there");
    let (set, stranger) = (GUID::from_u128(1), Lun::new(&LunDescription::default()));
    // SAFETY: no pointers, and an array of one.
    unsafe {
        creation.EndPrepareSnapshots(set).expect("ready");
        creation.PreCommitSnapshots(set).expect("armed");
        let waiting = provider.LocateLuns(std::slice::from_ref(&stranger.0));
        assert_eq!(code(waiting), VETO);
    }
    drop(creation);
    LOG_BREAKS.set(1);
    drop(provider);
    let kinds: Vec<_> = EVENTS.take().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::InternalError]);
    assert_eq!(reserved(), 0);
    assert!(bench.lifetime.close_if_unused());
}

/// T-234, GEN-7: a panic below a method comes out as VETO; the object still answers.
#[test]
fn t234_panic_below_a_method_is_a_veto() {
    let provider: IVssHardwareSnapshotProviderEx = bench().load().expect("it loads");
    let stranger = Lun::new(&LunDescription::default());
    // SAFETY: an array of one.
    let locate = || code(unsafe { provider.LocateLuns(std::slice::from_ref(&stranger.0)) });
    // The method's event, and that of the panic.
    LOG_BREAKS.set(2);
    assert_eq!(locate(), VETO);
    assert_eq!(locate(), VETO);
    let kinds: Vec<_> = EVENTS.take().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::NotOurLun]);
}

#[test]
fn factory_refuses_aggregation_and_works_after_it() {
    let bench = bench();
    let outer: IUnknown = bench.load().expect("it loads");
    // SAFETY: a counted reference.
    let refused = unsafe { bench.factory.CreateInstance::<_, IUnknown>(&outer) };
    assert_eq!(
        refused.expect_err("it is refused").code(),
        CLASS_E_NOAGGREGATION
    );
    drop(outer);
    assert!(
        bench.lifetime.close_if_unused(),
        "nothing is left of the refused one"
    );
}

#[test]
fn factory_lock_keeps_the_server_up_until_it_is_taken_back() {
    let bench = bench();
    // SAFETY: no pointers.
    unsafe {
        bench.factory.LockServer(true).expect("it is open");
        assert!(!bench.lifetime.close_if_unused());
        bench.factory.LockServer(false).expect("always");
        bench
            .factory
            .LockServer(false)
            .expect("one too many is harmless");
    }
    assert!(bench.lifetime.close_if_unused());
    let refused = bench.load::<IUnknown>().expect_err("it is ending");
    assert_eq!(refused.code(), CO_E_SERVER_STOPPING);
}
