// SPDX-License-Identifier: MIT OR Apache-2.0
//! What VSS calls: the provider behind an interface that COM could carry.

use crate::judge::Judge;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_provider::{Hresult, LunDescription};

/// One loaded provider. The methods are those of IVssHardwareSnapshotProviderEx, IVssProviderCreateSnapshotSet and
/// IVssProviderNotifications (specification section 3), with owned values for what crosses the border.
///
/// **Duties of a host.** Calls may come from several threads at once and reach the provider so (GEN-9). What is `[in,out]`
/// in the interface is `&mut` here, and shows what the provider left there, also after a failure. Device names are not
/// passed: a provider identifies a LUN by its description (GEN-11).
///
/// **What callers may rely on.** Dropping a host is the last Release (LOAD-10).
pub trait ProviderHost: Send + Sync {
    /// IVssProviderNotifications::OnLoad.
    fn on_load(&self) -> Hresult;
    /// IVssProviderNotifications::OnUnload.
    fn on_unload(&self, force: bool) -> Hresult;
    /// The code and *pbIsSupported.
    fn are_luns_supported(&self, context: i32, luns: &mut Vec<LunDescription>) -> (Hresult, bool);
    /// The code and *pbIsSupported.
    fn fill_in_lun_info(&self, lun: &mut LunDescription) -> (Hresult, bool);
    /// IVssHardwareSnapshotProvider::BeginPrepareSnapshot.
    fn begin_prepare_snapshot(
        &self,
        set: Uuid,
        snapshot: Uuid,
        context: i32,
        luns: &mut Vec<LunDescription>,
    ) -> Hresult;
    /// The code and rgDestinationLuns, which is empty after a failure (GTL-10).
    fn get_target_luns(&self, sources: &[LunDescription]) -> (Hresult, Vec<LunDescription>);
    /// IVssHardwareSnapshotProvider::LocateLuns.
    fn locate_luns(&self, luns: &[LunDescription]) -> Hresult;
    /// IVssHardwareSnapshotProvider::OnLunEmpty.
    fn on_lun_empty(&self, lun: &LunDescription) -> Hresult;
    /// IVssHardwareSnapshotProviderEx::OnLunStateChange; `flags` as in specification 3.7.
    fn on_lun_state_change(
        &self,
        copies: &[LunDescription],
        originals: Option<&[LunDescription]>,
        flags: u32,
    ) -> Hresult;
    /// IVssProviderCreateSnapshotSet::EndPrepareSnapshots.
    fn end_prepare_snapshots(&self, set: Uuid) -> Hresult;
    /// IVssProviderCreateSnapshotSet::PreCommitSnapshots.
    fn pre_commit_snapshots(&self, set: Uuid) -> Hresult;
    /// IVssProviderCreateSnapshotSet::CommitSnapshots.
    fn commit_snapshots(&self, set: Uuid) -> Hresult;
    /// IVssProviderCreateSnapshotSet::PostCommitSnapshots; `count` shadow copies of this provider are in the set.
    fn post_commit_snapshots(&self, set: Uuid, count: i32) -> Hresult;
    /// IVssProviderCreateSnapshotSet::PreFinalCommitSnapshots.
    fn pre_final_commit_snapshots(&self, set: Uuid) -> Hresult;
    /// IVssProviderCreateSnapshotSet::PostFinalCommitSnapshots.
    fn post_final_commit_snapshots(&self, set: Uuid) -> Hresult;
    /// IVssProviderCreateSnapshotSet::AbortSnapshots.
    fn abort_snapshots(&self, set: Uuid) -> Hresult;
    /// IVssHardwareSnapshotProviderEx::GetProviderCapabilities: the code and the mask.
    fn get_provider_capabilities(&self) -> (Hresult, u64);
    /// IVssHardwareSnapshotProviderEx::ResyncLuns: the code, and what IVssAsync stands for when it succeeded.
    fn resync_luns(
        &self,
        copies: &[LunDescription],
        targets: &[LunDescription],
    ) -> (Hresult, Option<Box<dyn AsyncOperation>>);
    /// IVssHardwareSnapshotProviderEx::OnReuseLuns.
    fn on_reuse_luns(&self, copies: &[LunDescription], originals: &[LunDescription]) -> Hresult;
    /// The provider's entries in the event log since the last call.
    fn take_events(&self) -> Vec<LoggedEvent>;
    /// How long the calling thread's last call took as measured beside the provider's border, where the host's own way there
    /// would count otherwise. `None`: the host has no such way.
    fn last_call_time(&self) -> Option<Duration> {
        None
    }
    /// What kept the host from carrying a call to the provider at all. The codes of such calls mean nothing.
    fn failure(&self) -> Option<String> {
        None
    }
}

/// IVssAsync (specification 3.10). Dropping it is the Release.
pub trait AsyncOperation: Send {
    /// Cancel.
    fn cancel(&self) -> Hresult;
    /// Wait with a timeout.
    fn wait(&self, timeout: Duration) -> Hresult;
    /// QueryStatus: the code and *pHrResult.
    fn query_status(&self) -> (Hresult, Hresult);
}

/// One entry of the event log, as far as the rig judges it (LOG-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Event id.
    pub id: u32,
    /// Whether its severity is Error.
    pub is_error: bool,
    /// The whole text, remedy included.
    pub text: String,
    /// What the user can do; ERR-3 wants it for each error.
    pub remedy: String,
}

/// One call as the table and the reports show it.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// The method.
    pub method: &'static str,
    /// From call to return.
    pub elapsed: Duration,
    /// Of that, the time during which the array had a request of the provider unanswered; `None` where nobody looked.
    pub array: Option<Duration>,
    /// What came back.
    pub code: Hresult,
    /// *pbIsSupported, for the two methods that have it.
    pub supported: Option<bool>,
}

impl fmt::Display for CallRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match self.supported {
            Some(true) => " TRUE",
            Some(false) => " FALSE",
            None => "",
        };
        let milliseconds = self.elapsed.as_secs_f64() * 1000.0;
        let (method, code) = (self.method, self.code);
        write!(f, "{method} {code}{answer}, {milliseconds:.1} ms")
    }
}

/// What happened, a line for each call and event in the order in which they were seen, and what was wrong with the calls of
/// providers that are gone; clones share it.
#[derive(Clone, Default)]
pub struct Story {
    lines: Arc<Mutex<Vec<String>>>,
    findings: Arc<Mutex<Vec<String>>>,
}

impl Story {
    fn tell(&self, line: String) {
        let mut lines = self.lines.lock().expect("nothing panics under this lock");
        lines.push(line);
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .expect("nothing panics under this lock")
            .clone()
    }

    /// What was wrong with the calls of the providers that are gone.
    pub(crate) fn findings(&self) -> Vec<String> {
        self.findings
            .lock()
            .expect("nothing panics under this lock")
            .clone()
    }
}

/// A host that notes down each call to another one, and judges what holds for all of them.
pub struct Recorded {
    inner: Box<dyn ProviderHost>,
    story: Story,
    /// Before its lines in the story.
    name: String,
    array_time: Option<ArrayTime>,
    calls: Mutex<Vec<CallRecord>>,
    judged: Mutex<Judged>,
}

#[derive(Default)]
struct Judged {
    judge: Judge,
    /// Events that the judge has seen and nobody has taken yet.
    events: Vec<LoggedEvent>,
}

/// How long the array has had requests of the provider unanswered, since some moment.
pub type ArrayTime = Box<dyn Fn() -> Duration + Send + Sync>;

impl Recorded {
    /// Wraps `inner`.
    pub fn new(inner: Box<dyn ProviderHost>) -> Self {
        Self {
            inner,
            story: Story::default(),
            name: String::new(),
            array_time: None,
            calls: Mutex::default(),
            judged: Mutex::default(),
        }
    }

    /// Adds to `story`, under this name, what happens from now on.
    pub fn with_story(mut self, story: &Story, name: &str) -> Self {
        self.story = story.clone();
        name.clone_into(&mut self.name);
        self
    }

    /// Notes the array's part of each call too.
    pub fn with_array_time(mut self, array_time: ArrayTime) -> Self {
        self.array_time = Some(array_time);
        self
    }

    /// The calls so far, in the order of their returns.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.lock().clone()
    }

    /// What was wrong with the calls so far, whatever they were for (T-104, T-232, T-233); call it when none is under way.
    pub fn findings(&self) -> Vec<String> {
        self.look(|judge, events| judge.verdict(events))
    }

    /// Shows the judge the new events and keeps them for [`ProviderHost::take_events`].
    fn look<T>(&self, show: impl FnOnce(&mut Judge, &[LoggedEvent]) -> T) -> T {
        let mut judged = self.judged.lock().expect("nothing panics under this lock");
        let events = self.inner.take_events();
        let shown = show(&mut judged.judge, &events);
        for event in &events {
            let severity = if event.is_error { " (error)" } else { "" };
            let text = event.text.lines().collect::<Vec<_>>().join("\n    ");
            let line = format!("{}event {}{severity}: {text}", self.name, event.id);
            self.story.tell(line);
        }
        judged.events.extend(events);
        shown
    }

    fn lock(&self) -> MutexGuard<'_, Vec<CallRecord>> {
        self.calls.lock().expect("nothing panics under this lock")
    }

    fn code(
        &self,
        method: &'static str,
        call: impl FnOnce(&dyn ProviderHost) -> Hresult,
    ) -> Hresult {
        self.with(method, None, |host| (call(host), None, ())).0
    }

    fn of_set(
        &self,
        method: &'static str,
        set: Uuid,
        call: impl FnOnce(&dyn ProviderHost) -> Hresult,
    ) -> Hresult {
        self.with(method, Some(set), |host| (call(host), None, ()))
            .0
    }

    fn with<T>(
        &self,
        method: &'static str,
        set: Option<Uuid>,
        call: impl FnOnce(&dyn ProviderHost) -> (Hresult, Option<bool>, T),
    ) -> (Hresult, T) {
        let watched = self.look(|judge, events| judge.begins(method, set, events));
        let array_before = self.array_time.as_ref().map(|time| time());
        let start = Instant::now();
        let (code, supported, value) = call(&*self.inner);
        let elapsed = start.elapsed();
        let array_after = self.array_time.as_ref().map(|time| time());
        let record = CallRecord {
            method,
            elapsed: self.inner.last_call_time().unwrap_or(elapsed),
            array: array_after
                .zip(array_before)
                .map(|(after, before)| after.saturating_sub(before)),
            code,
            supported,
        };
        self.story.tell(format!("{}{record}", self.name));
        self.lock().push(record);
        self.look(|judge, events| judge.ended(&watched, code, events));
        (code, value)
    }
}

impl Drop for Recorded {
    /// What nobody asked for is in the story.
    fn drop(&mut self) {
        let found = self.findings().into_iter();
        let found = found.map(|finding| format!("{}{finding}", self.name));
        if let Ok(mut findings) = self.story.findings.lock() {
            findings.extend(found);
        }
    }
}

impl ProviderHost for Recorded {
    fn on_load(&self) -> Hresult {
        self.code("OnLoad", |host| host.on_load())
    }

    fn on_unload(&self, force: bool) -> Hresult {
        self.code("OnUnload", |host| host.on_unload(force))
    }

    fn are_luns_supported(&self, context: i32, luns: &mut Vec<LunDescription>) -> (Hresult, bool) {
        self.with("AreLunsSupported", None, |host| {
            let (code, supported) = host.are_luns_supported(context, luns);
            (code, Some(supported), supported)
        })
    }

    fn fill_in_lun_info(&self, lun: &mut LunDescription) -> (Hresult, bool) {
        self.with("FillInLunInfo", None, |host| {
            let (code, supported) = host.fill_in_lun_info(lun);
            (code, Some(supported), supported)
        })
    }

    fn begin_prepare_snapshot(
        &self,
        set: Uuid,
        snapshot: Uuid,
        context: i32,
        luns: &mut Vec<LunDescription>,
    ) -> Hresult {
        self.code("BeginPrepareSnapshot", |host| {
            host.begin_prepare_snapshot(set, snapshot, context, luns)
        })
    }

    fn get_target_luns(&self, sources: &[LunDescription]) -> (Hresult, Vec<LunDescription>) {
        self.with("GetTargetLuns", None, |host| {
            let (code, targets) = host.get_target_luns(sources);
            (code, None, targets)
        })
    }

    fn locate_luns(&self, luns: &[LunDescription]) -> Hresult {
        self.code("LocateLuns", |host| host.locate_luns(luns))
    }

    fn on_lun_empty(&self, lun: &LunDescription) -> Hresult {
        self.code("OnLunEmpty", |host| host.on_lun_empty(lun))
    }

    fn on_lun_state_change(
        &self,
        copies: &[LunDescription],
        originals: Option<&[LunDescription]>,
        flags: u32,
    ) -> Hresult {
        self.code("OnLunStateChange", |host| {
            host.on_lun_state_change(copies, originals, flags)
        })
    }

    fn end_prepare_snapshots(&self, set: Uuid) -> Hresult {
        self.of_set("EndPrepareSnapshots", set, |host| {
            host.end_prepare_snapshots(set)
        })
    }

    fn pre_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.of_set("PreCommitSnapshots", set, |host| {
            host.pre_commit_snapshots(set)
        })
    }

    fn commit_snapshots(&self, set: Uuid) -> Hresult {
        self.of_set("CommitSnapshots", set, |host| host.commit_snapshots(set))
    }

    fn post_commit_snapshots(&self, set: Uuid, count: i32) -> Hresult {
        self.of_set("PostCommitSnapshots", set, |host| {
            host.post_commit_snapshots(set, count)
        })
    }

    fn pre_final_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.of_set("PreFinalCommitSnapshots", set, |host| {
            host.pre_final_commit_snapshots(set)
        })
    }

    fn post_final_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.of_set("PostFinalCommitSnapshots", set, |host| {
            host.post_final_commit_snapshots(set)
        })
    }

    fn abort_snapshots(&self, set: Uuid) -> Hresult {
        self.of_set("AbortSnapshots", set, |host| host.abort_snapshots(set))
    }

    fn get_provider_capabilities(&self) -> (Hresult, u64) {
        self.with("GetProviderCapabilities", None, |host| {
            let (code, mask) = host.get_provider_capabilities();
            (code, None, mask)
        })
    }

    fn resync_luns(
        &self,
        copies: &[LunDescription],
        targets: &[LunDescription],
    ) -> (Hresult, Option<Box<dyn AsyncOperation>>) {
        self.with("ResyncLuns", None, |host| {
            let (code, operation) = host.resync_luns(copies, targets);
            (code, None, operation)
        })
    }

    fn on_reuse_luns(&self, copies: &[LunDescription], originals: &[LunDescription]) -> Hresult {
        self.code("OnReuseLuns", |host| host.on_reuse_luns(copies, originals))
    }

    fn take_events(&self) -> Vec<LoggedEvent> {
        self.look(|judge, events| judge.came(events));
        let mut judged = self.judged.lock().expect("nothing panics under this lock");
        std::mem::take(&mut judged.events)
    }

    fn last_call_time(&self) -> Option<Duration> {
        self.inner.last_call_time()
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure()
    }
}
