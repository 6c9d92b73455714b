// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that offers the class, from its first COM call to its end. Two modes share it: the service, and `-Embedding`,
//! with which COM starts a LocalServer32.

// UNSAFETY: COM's functions for servers.
#![expect(unsafe_code)]

use super::callers::CallersToken;
use super::factory::Factory;
use super::security::{Descriptor, SDDL};
use crate::data_folder::{DataFolder as _, Held};
use crate::guard::report_panics;
use crate::ids;
use crate::lifetime::{IDLE, Lifetime};
use crate::live::Live;
use crate::site::Site;
use crate::sys::SystemFolder;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vss_provider::{Event, EventKind, EventSink, Hresult, Method};
use windows::Win32::System::Com::{
    CLSCTX_INPROC_SERVER, CLSCTX_LOCAL_SERVER, CLSID_GlobalOptions, COINIT_MULTITHREADED,
    COMGLB_EXCEPTION_DONOT_HANDLE, COMGLB_EXCEPTION_HANDLING, CoCreateInstance, CoInitializeEx,
    CoInitializeSecurity, CoRegisterClassObject, CoResumeClassObjects, CoRevokeClassObject,
    CoSuspendClassObjects, EOAC_DISABLE_AAA, EOAC_NO_CUSTOM_MARSHAL,
    EOLE_AUTHENTICATION_CAPABILITIES, IClassFactory, IGlobalOptions, REGCLS_MULTIPLEUSE,
    REGCLS_SUSPENDED, RPC_C_AUTHN_LEVEL_PKT_PRIVACY, RPC_C_IMP_LEVEL_IDENTIFY,
};
use windows::core::{Error, GUID};

/// In the data folder: held by the one process of this computer that serves.
const LOCK_FILE: &str = "serving.lock";
/// How often a server that waits looks again.
const TURN_POLL: Duration = Duration::from_millis(50);
/// How long a new server waits for one that is ending: longer than [`Server::stop`] takes.
pub(crate) const TURN_MAX: Duration = Duration::from_secs(30);
/// How long an ending server waits for its users, before it gives up on their behalf.
const LEAVE_MAX: Duration = Duration::from_secs(8);

/// Why there is no server, or why it did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A COM function failed.
    #[error(
        "{what} failed: {source}. Look for COM and RPC errors of the same time in the System event log; restart Windows if \
         they persist"
    )]
    Com {
        /// Which.
        what: &'static str,
        /// Its code and text.
        source: Error,
    },
    /// Another process serves, and does not end.
    #[error(
        "another {} is serving on this computer, and did not end within {} s. End it (net stop {}), or \
         let it serve: one is enough",
        ids::names().executable,
        TURN_MAX.as_secs(),
        ids::names().service_name
    )]
    AnotherServer,
    /// The data folder is not as it has to be.
    #[error(
        "the file {LOCK_FILE} in the provider's folder %ProgramData%\\{folder} cannot be opened: {source}. As administrator run \
         'shadowlun-provider install', which closes the folder, or says who else has it",
        folder = ids::names().data_folder
    )]
    Lock {
        /// The system's reason, or what is wrong with the folder.
        source: std::io::Error,
    },
    /// No thread.
    #[error(
        "no thread could be started: {0}. The computer is short of memory; close programs or restart it"
    )]
    Thread(#[from] std::io::Error),
    /// The service control manager.
    #[error(
        "the service control manager refused: {}. `service` is for it alone; to start the provider run: net start {}",
        reason(source),
        ids::names().service_name
    )]
    Service {
        /// What it says.
        #[from]
        source: windows_service::Error,
    },
    /// Our own.
    #[error("{0}. Report it to the makers of the provider")]
    Internal(String),
}

/// The system's own words, which windows_service keeps one level down.
fn reason(error: &windows_service::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Names the function that failed.
fn com<T>(what: &'static str, result: windows::core::Result<T>) -> Result<T, ServerError> {
    result.map_err(|source| ServerError::Com { what, source })
}

/// Whether this argument is COM's, for a server that it starts.
pub fn is_embedding(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|argument| {
        argument.eq_ignore_ascii_case("-Embedding") || argument.eq_ignore_ascii_case("/Embedding")
    })
}

/// Serves until nobody has used the server for a while; what COM starts the exe for.
///
/// # Errors
/// There is an event in the log for it, as far as that works.
pub fn run_embedded() -> Result<(), ServerError> {
    let events = Site::open().events;
    report_panics(Arc::clone(&events));
    let served = Server::start(&events).and_then(Server::serve_until_idle);
    served.inspect_err(|error| tell(&*events, error))
}

/// Writes the event of a server that failed.
pub(crate) fn tell(events: &dyn EventSink, error: &ServerError) {
    events.report(&Event {
        kind: EventKind::ServerFailed,
        method: Method::OnLoad,
        set: None,
        snapshot: None,
        luns: Vec::new(),
        cause: error.to_string(),
        advice: None,
        code: Hresult::VSS_E_PROVIDER_VETO,
    });
}

/// A server that offers the class.
pub(crate) struct Server {
    lifetime: Arc<Lifetime>,
    live: Arc<Live>,
    registration: u32,
    _turn: Turn,
}

impl Server {
    /// Offers the class. The order matters: security before anything that marshals, the turn before the class is seen.
    pub(crate) fn start(events: &Arc<dyn EventSink>) -> Result<Self, ServerError> {
        // SAFETY: the first COM call of this thread. It is never undone: the apartment lasts as long as the process.
        com(
            "CoInitializeEx",
            unsafe { CoInitializeEx(None, COINIT_MULTITHREADED) }.ok(),
        )?;
        close_the_door()?;
        let turn = Turn::wait(TURN_MAX)?;
        let lifetime = Lifetime::new();
        let live = Arc::<Live>::default();
        live.start_ticking()?;
        let factory = IClassFactory::from(Factory {
            live: Arc::clone(&live),
            lifetime: Arc::clone(&lifetime),
            events: Arc::clone(events),
            site: Site::open,
            callers: Arc::new(com("making the SIDs of who may call", CallersToken::new())?),
            locks: Mutex::default(),
        });
        let class = GUID::from_u128(ids::names().class_id.as_u128());
        let flags = REGCLS_MULTIPLEUSE | REGCLS_SUSPENDED;
        // SAFETY: both pointers are valid for the call; COM counts its own reference to the factory.
        let registration = unsafe {
            CoRegisterClassObject(&raw const class, &factory, CLSCTX_LOCAL_SERVER, flags)
        };
        let registration = com("CoRegisterClassObject", registration)?;
        let server = Self {
            lifetime,
            live,
            registration,
            _turn: turn,
        };
        // SAFETY: no precondition.
        com("CoResumeClassObjects", unsafe { CoResumeClassObjects() })?;
        Ok(server)
    }

    /// Ends by itself. Between suspending the class and ending, the count is looked at again: a client that was quicker is
    /// served. Where suspending does nothing (Wine 8), only the idle time stands between such a client and an ended server.
    fn serve_until_idle(self) -> Result<(), ServerError> {
        loop {
            self.lifetime.wait_until_idle(IDLE);
            // SAFETY: no precondition.
            com("CoSuspendClassObjects", unsafe { CoSuspendClassObjects() })?;
            if self.lifetime.close_if_unused() {
                return self.revoke();
            }
            // SAFETY: no precondition.
            com("CoResumeClassObjects", unsafe { CoResumeClassObjects() })?;
        }
    }

    /// Ends because it has to: no new objects, a bounded wait for the old ones, then a forced unload of what is left.
    pub(crate) fn stop(self) -> Result<(), ServerError> {
        self.lifetime.close();
        let revoked = self.revoke();
        if !self.lifetime.wait_until_unused(LEAVE_MAX) {
            self.live.unload();
        }
        revoked
    }

    fn revoke(&self) -> Result<(), ServerError> {
        // SAFETY: registered by this process, and revoked once, since the server ends after it.
        com("CoRevokeClassObject", unsafe {
            CoRevokeClassObject(self.registration)
        })
    }
}

/// Security of the process, once and before anything is marshalled (SEC-4).
fn close_the_door() -> Result<(), ServerError> {
    // SEC-6, advice: a fault ends the process instead of being hidden by COM. A system without the class has no such option.
    // SAFETY: an in-process class of COM's own; the arguments are values.
    let options: windows::core::Result<IGlobalOptions> =
        unsafe { CoCreateInstance(&CLSID_GlobalOptions, None, CLSCTX_INPROC_SERVER) };
    if let Ok(options) = options {
        let value = usize::try_from(COMGLB_EXCEPTION_DONOT_HANDLE.0).expect("it is 1");
        // SAFETY: the arguments are values.
        let set = unsafe { options.Set(COMGLB_EXCEPTION_HANDLING, value) };
        com("IGlobalOptions::Set", set)?;
    }
    let descriptor = Descriptor::new(SDDL).and_then(|descriptor| descriptor.to_absolute());
    let descriptor = com("making the security descriptor", descriptor)?;
    // SAFETY: the descriptor is whole, and COM copies it. Objects that bring code of their own to unmarshal them, and activation
    // in the activator's name, are of no use here and of much to an attacker.
    let secured = unsafe {
        CoInitializeSecurity(
            Some(descriptor.as_raw()),
            -1,
            None,
            None,
            RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
            RPC_C_IMP_LEVEL_IDENTIFY,
            None,
            EOLE_AUTHENTICATION_CAPABILITIES(EOAC_NO_CUSTOM_MARSHAL.0 | EOAC_DISABLE_AAA.0),
            None,
        )
    };
    com("CoInitializeSecurity", secured)
}

/// The right to serve on this computer: a file of the data folder that one process at a time has open. The system closes it
/// when the process ends, however it ends, so that a restart waits for the old process, and a killed one is in nobody's way. A
/// name that every program can take, such as a mutex's, would let anybody keep the provider from starting.
struct Turn(#[expect(dead_code, reason = "kept open until the process ends")] Held);

impl Turn {
    fn wait(limit: Duration) -> Result<Self, ServerError> {
        let folder = SystemFolder::new();
        let until = Instant::now() + limit;
        loop {
            match folder
                .try_hold(LOCK_FILE)
                .map_err(|source| ServerError::Lock { source })?
            {
                Some(file) => return Ok(Self(file)),
                None if Instant::now() >= until => return Err(ServerError::AnotherServer),
                None => std::thread::sleep(TURN_POLL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows::Win32::System::Com::CoGetClassObject;

    /// REG-12: COM writes it in either form.
    #[test]
    fn is_embedding_knows_coms_argument_in_any_case() {
        for argument in ["-Embedding", "/Embedding", "-embedding", "/EMBEDDING"] {
            assert!(is_embedding(OsStr::new(argument)), "{argument}");
        }
        for argument in ["Embedding", "--Embedding", "-Embeddin", "service"] {
            assert!(!is_embedding(OsStr::new(argument)), "{argument}");
        }
    }

    struct Nowhere;

    impl EventSink for Nowhere {
        fn report(&self, _event: &Event) {}
    }

    /// A server, as long as its thread: so long it has the turn, offers the class and lets time pass (SEQ-7).
    fn serve() {
        let events: Arc<dyn EventSink> = Arc::new(Nowhere);
        let server = Server::start(&events).expect("it is our turn");
        let second = std::thread::spawn(|| Turn::wait(Duration::from_millis(50)).err());
        let refused = second.join().expect("it does not panic");
        assert!(matches!(refused, Some(ServerError::AnotherServer)));

        let (ticks, ticked) = std::sync::mpsc::channel();
        let clock = move || {
            let _ = ticks.send(());
            Duration::ZERO
        };
        let array = Site::assemble(
            Ok(crate::settings::FileSettings::default()),
            crate::site::Enrolments {
                stamp: Box::new(|| None),
                load: Box::new(|| Err(crate::enrolment::LoadError::Missing)),
            },
            |_| Arc::new(Nowhere),
        );
        let provider =
            vss_provider::Provider::new(array.array, Arc::new(clock), array.events, array.settings);
        let provider = Arc::new(provider);
        server.live.add(&provider, None);
        while ticked.try_recv().is_ok() {}
        (ticked.recv_timeout(Duration::from_secs(20))).expect("the clock is asked");

        let class = GUID::from_u128(ids::names().class_id.as_u128());
        let get = || {
            // SAFETY: the pointer is valid for the call. The class is of this process.
            unsafe {
                CoGetClassObject::<IClassFactory>(&raw const class, CLSCTX_LOCAL_SERVER, None)
            }
        };
        get().expect("it is offered");
        server.stop().expect("it ends");
        get().expect_err("it is offered no more");
    }

    /// One test, because the turn is the whole computer's.
    #[test]
    fn turn_is_for_one_at_a_time_and_free_after_a_death() {
        let dead = std::thread::spawn(serve);
        assert!(dead.join().is_ok());
        let dead = std::thread::spawn(|| Turn::wait(Duration::from_secs(5)).is_ok());
        assert!(dead.join().expect("it does not panic"));
        let _first = Turn::wait(Duration::from_secs(5)).expect("it is free again");
        let second = std::thread::spawn(|| Turn::wait(Duration::from_millis(50)).err());
        let refused = second.join().expect("it does not panic");
        assert!(matches!(refused, Some(ServerError::AnotherServer)));
    }
}
