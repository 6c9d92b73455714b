// SPDX-License-Identifier: MIT OR Apache-2.0
//! The second host: the provider's executable behind real COM, called by the stand-in on the rig's orders.

use crate::agent::Agent;
use crate::events::EventFile;
use crate::host::{AsyncOperation, LoggedEvent, ProviderHost};
use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;
use vss_provider::{Hresult, LunDescription};
use vss_standin::wire::{Answer, AsyncMethod, Method, ObjectId, Order};

/// What a call gives whose order never reached COM; [`ProviderHost::failure`] then says why. E_UNEXPECTED, which no provider may
/// give (ERR-1), so that nothing takes it for an answer.
const NOT_CALLED: Hresult = Hresult(0x8000_FFFF);

thread_local! {
    static LAST_CALL: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// A provider object that the stand-in holds. Dropping it is the last Release.
pub struct ComProvider {
    agent: Arc<Agent>,
    object: ObjectId,
    events: Mutex<EventFile>,
}

struct ComAsync {
    agent: Arc<Agent>,
    object: ObjectId,
}

impl ComProvider {
    /// Takes over an object that `agent` holds; its events are those that reach `events` from now on.
    pub(crate) fn new(agent: Arc<Agent>, object: ObjectId, events: EventFile) -> Self {
        Self {
            agent,
            object,
            events: Mutex::new(events),
        }
    }

    /// The object in the stand-in, for orders that are no method.
    #[cfg(target_os = "linux")]
    pub(crate) fn object(&self) -> ObjectId {
        self.object
    }

    /// Calls a method with exactly these arguments.
    pub(crate) fn call(&self, method: Method) -> Answer {
        let object = self.object;
        called(&self.agent, Order::Call { object, method })
    }

    fn code(&self, method: Method) -> Hresult {
        Hresult(self.call(method).code)
    }
}

fn called(agent: &Agent, order: Order) -> Answer {
    let answer = agent.order(order).unwrap_or_else(|_| Answer {
        code: NOT_CALLED.0,
        ..Answer::default()
    });
    LAST_CALL.set(Some(Duration::from_micros(answer.elapsed_us)));
    answer
}

impl Drop for ComProvider {
    fn drop(&mut self) {
        // When the stand-in is gone, COM releases for it.
        let _ = self.agent.order(Order::Release {
            object: self.object,
        });
    }
}

impl Drop for ComAsync {
    fn drop(&mut self) {
        let _ = self.agent.order(Order::Release {
            object: self.object,
        });
    }
}

/// A count for an array that the rig made itself.
fn count<T: TryFrom<usize>>(luns: &[LunDescription]) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(luns.len()).expect("the rig's own arrays are short")
}

impl ProviderHost for ComProvider {
    fn on_load(&self) -> Hresult {
        self.code(Method::OnLoad {
            with_callback: false,
        })
    }

    fn on_unload(&self, force: bool) -> Hresult {
        self.code(Method::OnUnload { force })
    }

    fn are_luns_supported(&self, context: i32, luns: &mut Vec<LunDescription>) -> (Hresult, bool) {
        let answer = self.call(Method::AreLunsSupported {
            context,
            luns: luns.clone(),
        });
        if Hresult(answer.code) != NOT_CALLED {
            *luns = answer.luns;
        }
        (Hresult(answer.code), answer.supported.unwrap_or_default())
    }

    fn fill_in_lun_info(&self, lun: &mut LunDescription) -> (Hresult, bool) {
        let answer = self.call(Method::FillInLunInfo { lun: lun.clone() });
        if let Some(after) = answer.luns.into_iter().next() {
            *lun = after;
        }
        (Hresult(answer.code), answer.supported.unwrap_or_default())
    }

    fn begin_prepare_snapshot(
        &self,
        set: Uuid,
        snapshot: Uuid,
        context: i32,
        luns: &mut Vec<LunDescription>,
    ) -> Hresult {
        let answer = self.call(Method::BeginPrepareSnapshot {
            set,
            snapshot,
            context,
            luns: luns.clone(),
        });
        if Hresult(answer.code) != NOT_CALLED {
            *luns = answer.luns;
        }
        Hresult(answer.code)
    }

    fn get_target_luns(&self, sources: &[LunDescription]) -> (Hresult, Vec<LunDescription>) {
        let answer = self.call(Method::GetTargetLuns {
            sources: Some(sources.to_vec()),
            count: count(sources),
        });
        let (code, mut targets) = (Hresult(answer.code), answer.luns);
        if !code.is_success() {
            // Destinations go in zeroed; whatever a failure wrote there stays to be seen.
            targets.retain(|target| *target != LunDescription::default());
        }
        (code, targets)
    }

    fn locate_luns(&self, luns: &[LunDescription]) -> Hresult {
        self.code(Method::LocateLuns {
            luns: Some(luns.to_vec()),
            count: count(luns),
        })
    }

    fn on_lun_empty(&self, lun: &LunDescription) -> Hresult {
        self.code(Method::OnLunEmpty {
            lun: Some(lun.clone()),
        })
    }

    fn on_lun_state_change(
        &self,
        copies: &[LunDescription],
        originals: Option<&[LunDescription]>,
        flags: u32,
    ) -> Hresult {
        self.code(Method::OnLunStateChange {
            copies: Some(copies.to_vec()),
            originals: originals.map(<[_]>::to_vec),
            count: count(copies),
            flags,
        })
    }

    fn end_prepare_snapshots(&self, set: Uuid) -> Hresult {
        self.code(Method::EndPrepareSnapshots { set })
    }

    fn pre_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.code(Method::PreCommitSnapshots { set })
    }

    fn commit_snapshots(&self, set: Uuid) -> Hresult {
        self.code(Method::CommitSnapshots { set })
    }

    fn post_commit_snapshots(&self, set: Uuid, count: i32) -> Hresult {
        self.code(Method::PostCommitSnapshots { set, count })
    }

    fn pre_final_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.code(Method::PreFinalCommitSnapshots { set })
    }

    fn post_final_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.code(Method::PostFinalCommitSnapshots { set })
    }

    fn abort_snapshots(&self, set: Uuid) -> Hresult {
        self.code(Method::AbortSnapshots { set })
    }

    fn get_provider_capabilities(&self) -> (Hresult, u64) {
        let answer = self.call(Method::GetProviderCapabilities);
        (Hresult(answer.code), answer.value.unwrap_or_default())
    }

    fn resync_luns(
        &self,
        copies: &[LunDescription],
        targets: &[LunDescription],
    ) -> (Hresult, Option<Box<dyn AsyncOperation>>) {
        let answer = self.call(Method::ResyncLuns {
            copies: Some(copies.to_vec()),
            targets: Some(targets.to_vec()),
            count: count(copies),
        });
        let operation = answer.object.map(|object| {
            Box::new(ComAsync {
                agent: Arc::clone(&self.agent),
                object,
            }) as Box<dyn AsyncOperation>
        });
        (Hresult(answer.code), operation)
    }

    fn on_reuse_luns(&self, copies: &[LunDescription], originals: &[LunDescription]) -> Hresult {
        self.code(Method::OnReuseLuns {
            copies: Some(copies.to_vec()),
            originals: Some(originals.to_vec()),
            count: count(copies),
        })
    }

    fn take_events(&self) -> Vec<LoggedEvent> {
        self.events
            .lock()
            .expect("nothing panics under this lock")
            .take()
    }

    fn last_call_time(&self) -> Option<Duration> {
        LAST_CALL.get()
    }

    fn failure(&self) -> Option<String> {
        self.agent.failure()
    }
}

impl ComAsync {
    fn call(&self, method: AsyncMethod) -> Answer {
        let object = self.object;
        called(&self.agent, Order::Async { object, method })
    }
}

impl AsyncOperation for ComAsync {
    fn cancel(&self) -> Hresult {
        Hresult(self.call(AsyncMethod::Cancel).code)
    }

    fn wait(&self, timeout: Duration) -> Hresult {
        // INFINITE for what does not fit.
        let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        Hresult(self.call(AsyncMethod::Wait { milliseconds }).code)
    }

    fn query_status(&self) -> (Hresult, Hresult) {
        let answer = self.call(AsyncMethod::QueryStatus);
        let status = answer.value.and_then(|value| u32::try_from(value).ok());
        (Hresult(answer.code), Hresult(status.unwrap_or_default()))
    }
}
