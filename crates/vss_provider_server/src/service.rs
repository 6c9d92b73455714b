// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server as a Windows service: started by the service control manager when COM activates the class (AppID
//! `LocalService`), ended by it alone.

use crate::com::server::{Server, ServerError, TURN_MAX, tell};
use crate::guard::{caught, report_panics};
use crate::ids;
use crate::lifetime::end;
use crate::site::Site;
use std::ffi::OsString;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use vss_provider::EventSink;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::{define_windows_service, service_dispatcher};

/// What the service control manager allows between two signs of life.
const SIGN_OF_LIFE_MAX: Duration = Duration::from_secs(10);
/// How often there is one while the service ends.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(1);

/// What became of the service; it runs on a thread that the service control manager has started.
static OUTCOME: Mutex<Option<Result<(), ServerError>>> = Mutex::new(None);

define_windows_service!(service_entry, service_main);

/// Runs as a service until the service control manager ends it.
///
/// # Errors
/// Not started by the service control manager, or the server failed; there is an event in the log for the latter, as far
/// as that works.
pub fn run() -> Result<(), ServerError> {
    service_dispatcher::start(ids::names().service_name, service_entry)?;
    let mut outcome = OUTCOME.lock().unwrap_or_else(PoisonError::into_inner);
    outcome.take().unwrap_or_else(|| {
        let what = "the service ended before it began".to_owned();
        Err(ServerError::Internal(what))
    })
}

fn service_main(_arguments: Vec<OsString>) {
    let result = caught(|| {
        let events = Site::open().events;
        report_panics(Arc::clone(&events));
        serve(&events).inspect_err(|error| tell(&*events, error))
    });
    let result = result.unwrap_or_else(|cause| Err(ServerError::Internal(cause)));
    *OUTCOME.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
}

fn serve(events: &Arc<dyn EventSink>) -> Result<(), ServerError> {
    let (stop, stopped) = channel();
    let handler = service_control_handler::register(ids::names().service_name, move |control| {
        on_control(&control, &stop)
    })?;
    let status = Status(handler);
    status.tell(ServiceState::StartPending, 1)?;
    let served = caught(|| serve_until(&stopped, &status, events));
    let served = served.unwrap_or_else(|cause| Err(ServerError::Internal(cause)));
    // The manager starts a service again only after it has heard that it ended.
    let ended = status.ended(served.is_ok());
    served.and(ended)
}

/// Runs on the dispatcher's thread, and must not block. The shutdown comes as its early form, while the network is there
/// and the set in progress can still be given up.
fn on_control(control: &ServiceControl, stop: &Sender<()>) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Preshutdown => {
            // A second stop finds nobody who listens, and the end under way.
            let _ = stop.send(());
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

fn serve_until(
    stopped: &Receiver<()>,
    status: &Status,
    events: &Arc<dyn EventSink>,
) -> Result<(), ServerError> {
    let server = Server::start(events)?;
    let wait = || {
        status.tell(ServiceState::Running, 0)?;
        // An error means that the handler is gone, and with it the manager.
        let _ = stopped.recv();
        status.tell(ServiceState::StopPending, 1)
    };
    end(wait, || stop(server, status))
}

/// Stops the server, with signs of life.
fn stop(server: Server, status: &Status) -> Result<(), ServerError> {
    std::thread::scope(|scope| {
        let (done, ending) = channel::<()>();
        scope.spawn(move || {
            let mut checkpoint = 2;
            while ending.recv_timeout(SIGN_OF_LIFE_EVERY)
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                // Without its signs of life the manager only becomes impatient.
                let _ = status.tell(ServiceState::StopPending, checkpoint);
                checkpoint += 1;
            }
        });
        let stopped = server.stop();
        drop(done);
        stopped
    })
}

/// What the service control manager is told.
struct Status(ServiceStatusHandle);

impl Status {
    fn tell(&self, state: ServiceState, checkpoint: u32) -> Result<(), ServerError> {
        let (accepted, wait_hint) = match state {
            ServiceState::Running => (
                ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN,
                Duration::ZERO,
            ),
            // The start waits for a server that is ending, without signs of life.
            ServiceState::StartPending => {
                (ServiceControlAccept::empty(), TURN_MAX + SIGN_OF_LIFE_MAX)
            }
            _ => (ServiceControlAccept::empty(), SIGN_OF_LIFE_MAX),
        };
        self.set(
            state,
            accepted,
            checkpoint,
            wait_hint,
            ServiceExitCode::NO_ERROR,
        )
    }

    /// The cause of a failure is in the event log; here is only that there was one.
    fn ended(&self, well: bool) -> Result<(), ServerError> {
        let exit_code = match well {
            true => ServiceExitCode::NO_ERROR,
            false => ServiceExitCode::ServiceSpecific(1),
        };
        let none = ServiceControlAccept::empty();
        self.set(ServiceState::Stopped, none, 0, Duration::ZERO, exit_code)
    }

    fn set(
        &self,
        current_state: ServiceState,
        controls_accepted: ServiceControlAccept,
        checkpoint: u32,
        wait_hint: Duration,
        exit_code: ServiceExitCode,
    ) -> Result<(), ServerError> {
        Ok(self.0.set_service_status(ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state,
            controls_accepted,
            exit_code,
            checkpoint,
            wait_hint,
            process_id: None,
        })?)
    }
}
