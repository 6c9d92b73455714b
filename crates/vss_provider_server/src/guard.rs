// SPDX-License-Identifier: MIT OR Apache-2.0
//! No panic crosses the COM border (GEN-7): it would end the process, and every set in progress with it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Arc;
use vss_provider::{Event, EventKind, EventSink, Hresult, Method};

thread_local! {
    /// Guarded calls on this thread's stack.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic under a guard of this thread was.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Who may call. COM's closed list is the first check, this is the second (SEC-2).
pub trait Callers: Send + Sync {
    /// Whether the client of the call on this thread is Local System or an administrator. Where that cannot be found out, it
    /// is not.
    fn may_call(&self) -> bool;
}

/// [`guarded`], for those alone who may call: others get E_ACCESSDENIED before anything else is done (SEC-1). There is no event
/// about it, since whoever is refused could fill the log with them.
pub fn admitted(
    callers: &dyn Callers,
    method: Method,
    post: impl FnOnce(Event),
    body: impl FnOnce() -> Hresult,
) -> Hresult {
    guarded(method, post, || match callers.may_call() {
        true => body(),
        false => Hresult::E_ACCESSDENIED,
    })
}

/// Carries `body` out and answers its code. A panic in it becomes the method's general failure and one event, handed to `post`.
pub fn guarded(
    method: Method,
    post: impl FnOnce(Event),
    body: impl FnOnce() -> Hresult,
) -> Hresult {
    caught(body).unwrap_or_else(|cause| {
        let code = general_failure(method);
        let event = internal_error(method, cause, code);
        // The event log may be what panicked. There is nobody left to tell then.
        let _ = caught(|| post(event));
        code
    })
}

/// The code after a panic: one that the method may return (matrix 8.2).
fn general_failure(method: Method) -> Hresult {
    match method {
        // LOAD-6. An unforced one must not keep VSS from unloading what is broken.
        Method::OnUnload => Hresult::S_OK,
        Method::GetProviderCapabilities | Method::OnReuseLuns => Hresult::E_NOTIMPL,
        _ => Hresult::VSS_E_PROVIDER_VETO,
    }
}

/// Carries `body` out; `Err` tells what panicked, and where.
///
/// # Errors
/// `body` panicked.
pub fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    DEPTH.set(DEPTH.get() + 1);
    // Whoever panics under a lock of the provider leaves whole values behind: the core goes on after poisoned locks.
    let result = catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| {
        let place = PLACE.take().unwrap_or_default();
        format!("panic{place}: {}", text(&*payload))
    })
}

/// Sends panics to `events` that no guard catches; those of guarded calls become their events, after the thaw where
/// volumes are frozen: nothing is written here then.
pub fn report_panics(events: Arc<dyn EventSink>) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = place(info);
        if DEPTH.get() > 0 {
            PLACE.set(Some(place));
            return;
        }
        before(info);
        let cause = format!("panic{place}: {}", text(info.payload()));
        let event = internal_error(Method::OnLoad, cause, Hresult::S_OK);
        // A panic within a hook ends the process, guard or not. So a log that panics does it on a thread of its own.
        std::thread::scope(|scope| {
            let teller = std::thread::Builder::new().name("panic".to_owned());
            let _ = teller.spawn_scoped(scope, || caught(|| events.report(&event)));
        });
    }));
}

/// The event of an error of our own.
pub fn internal_error(method: Method, cause: String, code: Hresult) -> Event {
    Event {
        kind: EventKind::InternalError,
        method,
        set: None,
        snapshot: None,
        luns: Vec::new(),
        cause,
        advice: None,
        code,
    }
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location()
        .map(|place| format!(" at {}:{}", place.file(), place.line()))
        .unwrap_or_default()
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use array_api::simulated::{SimulatedArray, VirtualClock};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use uuid::Uuid;
    use vss_provider::errors::permitted;
    use vss_provider::{LunDescription, Provider, Settings};

    #[derive(Default)]
    struct List(Mutex<Vec<Event>>);

    impl EventSink for List {
        fn report(&self, event: &Event) {
            assert!(!event.cause.contains("not writable"), "the log is broken");
            self.0.lock().expect("not poisoned").push(event.clone());
        }
    }

    struct Client(bool);

    impl Callers for Client {
        fn may_call(&self) -> bool {
            self.0
        }
    }

    const METHODS: [Method; 6] = [
        Method::AreLunsSupported,
        Method::BeginPrepareSnapshot,
        Method::CommitSnapshots,
        Method::AbortSnapshots,
        Method::OnLunEmpty,
        Method::OnUnload,
    ];

    /// T-020, SEC-1, SEC-2: who may not call gets nothing done, and fills no log.
    #[test]
    fn t020_ordinary_caller_is_denied_before_anything_is_done() {
        for method in METHODS {
            let denied = admitted(
                &Client(false),
                method,
                |_| panic!("no event is due"),
                || panic!("nothing is done"),
            );
            assert_eq!(denied, Hresult::E_ACCESSDENIED, "{method}");
        }
    }

    /// T-021, SEC-2.
    #[test]
    fn t021_privileged_caller_gets_the_methods_own_answer() {
        for method in METHODS {
            let answer = admitted(&Client(true), method, |_| {}, || Hresult::S_FALSE);
            assert_eq!(answer, Hresult::S_FALSE, "{method}");
        }
    }

    #[test]
    fn guarded_success_codes_pass_unchanged() {
        for code in [Hresult::S_OK, Hresult::S_FALSE, Hresult::E_NOTIMPL] {
            let answer = guarded(Method::OnUnload, |_| panic!("no event is due"), || code);
            assert_eq!(answer, code);
        }
    }

    /// T-234, ERR-1, LOG-4.
    #[test]
    fn t234_panic_becomes_a_code_of_the_matrix_and_one_event() {
        for method in [
            Method::BeginPrepareSnapshot,
            Method::CommitSnapshots,
            Method::ResyncLuns,
            Method::OnUnload,
            Method::OnReuseLuns,
        ] {
            let mut events = Vec::new();
            let code = guarded(method, |event| events.push(event), || panic!("broken"));
            assert!(permitted(method).contains(&code), "{method}: {code}");
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].kind, EventKind::InternalError);
            assert_eq!((events[0].method, events[0].code), (method, code));
            assert!(events[0].cause.contains("broken"), "{}", events[0].cause);
        }
    }

    /// T-234.
    #[test]
    fn t234_panicking_event_log_escapes_nowhere() {
        let code = guarded(Method::OnLoad, |_| panic!("full"), || panic!("broken"));
        assert_eq!(code, Hresult::VSS_E_PROVIDER_VETO);
    }

    /// T-234: the layer below panics; the provider still answers, and gives the set up.
    #[test]
    fn t234_provider_goes_on_after_a_panic_below_it() {
        let broken = Arc::new(AtomicBool::new(false));
        let clock = {
            let broken = Arc::clone(&broken);
            move || {
                assert!(!broken.load(Ordering::Relaxed), "the clock is broken");
                Duration::ZERO
            }
        };
        let array = SimulatedArray::new(VirtualClock::default());
        let events = Arc::<List>::default();
        let provider = Provider::new(
            array.host("here"),
            Arc::new(clock),
            Arc::clone(&events) as Arc<dyn EventSink>,
            Settings::default(),
        );
        let set = Uuid::from_u128(1);
        let lun = LunDescription::default();
        let answer = |method, body: &dyn Fn() -> Result<(), Hresult>| {
            guarded(
                method,
                |event| provider.post(event),
                || body().err().unwrap_or(Hresult::S_OK),
            )
        };
        broken.store(true, Ordering::Relaxed);
        let begun = answer(Method::BeginPrepareSnapshot, &|| {
            provider.begin_prepare_snapshot(set, Uuid::from_u128(2), 0, std::slice::from_ref(&lun))
        });
        assert_eq!(begun, Hresult::VSS_E_PROVIDER_VETO);
        assert_eq!(events.0.lock().expect("not poisoned").len(), 1);

        broken.store(false, Ordering::Relaxed);
        let aborted = answer(Method::AbortSnapshots, &|| provider.abort_snapshots(set));
        assert_eq!(aborted, Hresult::VSS_E_OBJECT_NOT_FOUND);
    }

    /// The hook is the process's; this is the only test that sets it.
    #[test]
    fn report_panics_tells_of_unguarded_threads_at_once_and_of_guarded_calls_with_their_place() {
        let events = Arc::<List>::default();
        report_panics(Arc::clone(&events) as Arc<dyn EventSink>);

        let thread = std::thread::spawn(|| panic!("on its own"));
        assert!(thread.join().is_err());
        let told = std::mem::take(&mut *events.0.lock().expect("not poisoned"));
        assert!(
            told.iter()
                .any(|e| e.cause.contains("guard.rs") && e.cause.contains("on its own"))
        );

        let cause = caught(|| panic!("guarded")).expect_err("it panics");
        assert!(
            cause.contains("guard.rs") && cause.contains("guarded"),
            "{cause}"
        );
        let told = std::mem::take(&mut *events.0.lock().expect("not poisoned"));
        assert!(!told.iter().any(|e| e.cause.contains("guarded")));

        let thread = std::thread::spawn(|| panic!("not writable"));
        assert!(thread.join().is_err(), "and the process goes on");
    }
}
