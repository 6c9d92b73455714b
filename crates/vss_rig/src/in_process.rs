// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first host: the provider's core in the rig's own process, without COM.

use crate::host::{AsyncOperation, LoggedEvent, ProviderHost};
use array_api::Array;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;
use vss_provider::{
    Clock, Event, EventSink, Hresult, LunDescription, Provider, ResyncOperation, Settings, Severity,
};

/// A provider in this process.
pub struct InProcess {
    provider: Provider,
    events: Arc<EventList>,
}

#[derive(Default)]
struct EventList(Mutex<Vec<LoggedEvent>>);

impl EventSink for EventList {
    fn report(&self, event: &Event) {
        self.0
            .lock()
            .expect("nothing panics under this lock")
            .push(LoggedEvent {
                id: event.kind.id(),
                is_error: event.kind.severity() == Severity::Error,
                text: event.to_string(),
                remedy: event.kind.remedy().to_owned(),
            });
    }
}

impl InProcess {
    /// Loads a provider that talks to `array`.
    pub fn new(array: Arc<dyn Array>, clock: Arc<dyn Clock>) -> Self {
        let events = Arc::<EventList>::default();
        let sink: Arc<dyn EventSink> = Arc::<EventList>::clone(&events);
        Self {
            provider: Provider::new(array, clock, sink, Settings::default()),
            events,
        }
    }
}

fn code(result: Result<(), Hresult>) -> Hresult {
    result.err().unwrap_or(Hresult::S_OK)
}

impl ProviderHost for InProcess {
    fn on_load(&self) -> Hresult {
        code(self.provider.on_load())
    }

    fn on_unload(&self, force: bool) -> Hresult {
        self.provider.on_unload(force)
    }

    fn are_luns_supported(&self, context: i32, luns: &mut Vec<LunDescription>) -> (Hresult, bool) {
        match self.provider.are_luns_supported(context, luns) {
            Ok(supported) => (Hresult::S_OK, supported),
            Err(code) => (code, false),
        }
    }

    fn fill_in_lun_info(&self, lun: &mut LunDescription) -> (Hresult, bool) {
        match self.provider.fill_in_lun_info(lun) {
            Some(filled) => {
                *lun = filled;
                (Hresult::S_OK, true)
            }
            None => (Hresult::S_OK, false),
        }
    }

    fn begin_prepare_snapshot(
        &self,
        set: Uuid,
        snapshot: Uuid,
        context: i32,
        luns: &mut Vec<LunDescription>,
    ) -> Hresult {
        code(
            self.provider
                .begin_prepare_snapshot(set, snapshot, context, luns),
        )
    }

    fn get_target_luns(&self, sources: &[LunDescription]) -> (Hresult, Vec<LunDescription>) {
        match self.provider.get_target_luns(sources) {
            Ok(targets) => (Hresult::S_OK, targets),
            Err(code) => (code, Vec::new()),
        }
    }

    fn locate_luns(&self, luns: &[LunDescription]) -> Hresult {
        code(self.provider.locate_luns(luns))
    }

    fn on_lun_empty(&self, lun: &LunDescription) -> Hresult {
        code(self.provider.on_lun_empty(lun))
    }

    fn on_lun_state_change(
        &self,
        copies: &[LunDescription],
        originals: Option<&[LunDescription]>,
        flags: u32,
    ) -> Hresult {
        code(self.provider.on_lun_state_change(copies, originals, flags))
    }

    fn end_prepare_snapshots(&self, set: Uuid) -> Hresult {
        code(self.provider.end_prepare_snapshots(set))
    }

    fn pre_commit_snapshots(&self, set: Uuid) -> Hresult {
        code(self.provider.pre_commit_snapshots(set))
    }

    fn commit_snapshots(&self, set: Uuid) -> Hresult {
        code(self.provider.commit_snapshots(set))
    }

    fn post_commit_snapshots(&self, set: Uuid, count: i32) -> Hresult {
        code(self.provider.post_commit_snapshots(set, count))
    }

    fn pre_final_commit_snapshots(&self, set: Uuid) -> Hresult {
        code(self.provider.pre_final_commit_snapshots(set))
    }

    fn post_final_commit_snapshots(&self, set: Uuid) -> Hresult {
        code(self.provider.post_final_commit_snapshots(set))
    }

    fn abort_snapshots(&self, set: Uuid) -> Hresult {
        code(self.provider.abort_snapshots(set))
    }

    fn get_provider_capabilities(&self) -> (Hresult, u64) {
        match self.provider.get_provider_capabilities() {
            Ok(mask) => (Hresult::S_OK, mask),
            Err(code) => (code, 0),
        }
    }

    fn resync_luns(
        &self,
        copies: &[LunDescription],
        targets: &[LunDescription],
    ) -> (Hresult, Option<Box<dyn AsyncOperation>>) {
        match self.provider.resync_luns(copies, targets) {
            Ok(operation) => (Hresult::S_OK, Some(Box::new(operation))),
            Err(code) => (code, None),
        }
    }

    fn on_reuse_luns(&self, _copies: &[LunDescription], _originals: &[LunDescription]) -> Hresult {
        code(self.provider.on_reuse_luns())
    }

    fn take_events(&self) -> Vec<LoggedEvent> {
        std::mem::take(
            &mut *self
                .events
                .0
                .lock()
                .expect("nothing panics under this lock"),
        )
    }
}

impl AsyncOperation for ResyncOperation {
    fn cancel(&self) -> Hresult {
        Self::cancel(self)
    }

    fn wait(&self, timeout: Duration) -> Hresult {
        Self::wait(self, timeout)
    }

    fn query_status(&self) -> (Hresult, Hresult) {
        (Hresult::S_OK, Self::query_status(self))
    }
}
