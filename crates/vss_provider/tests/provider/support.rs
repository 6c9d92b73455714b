// SPDX-License-Identifier: MIT OR Apache-2.0
use array_api::simulated::{Fault, Gate, Op, SimulatedArray, VirtualClock};
use array_api::{Array, LunId, LunRole, SetId, SnapshotId};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use vss_provider::state::State;
use vss_provider::{
    DO_MASK_LUNS, Event, EventKind, EventSink, Hresult, LunDescription, Method, Provider, Settings,
    Severity, identity,
};

pub(crate) const HOST: &str = "winhost";
pub(crate) const LUN_BYTES: u64 = 1 << 30;
pub(crate) const OK: Hresult = Hresult::S_OK;
pub(crate) const VETO: Hresult = Hresult::VSS_E_PROVIDER_VETO;
pub(crate) const NOT_FOUND: Hresult = Hresult::VSS_E_OBJECT_NOT_FOUND;
const WITHIN: Duration = Duration::from_secs(1);
/// More often than any test needs, the provider does not ask for the time without letting it pass.
const READS_MAX: u32 = 1_000_000;
/// Longer than any test's story.
const TIME_MAX: Duration = Duration::from_hours(30 * 24);

#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn report(&self, event: &Event) {
        let is_error = event.kind.severity() == Severity::Error;
        assert!(event.code != VETO || is_error, "LOG-5: {event}");
        // LOG-4: an event that does not say why helps nobody.
        assert!(!event.cause.is_empty(), "{event:?}");
        let of_luns = [
            EventKind::VolumeRefused,
            EventKind::CopiesKept,
            EventKind::KeptMappedElsewhere,
            EventKind::SpaceNotGuaranteed,
            EventKind::ResyncCancelled,
        ];
        assert!(
            !of_luns.contains(&event.kind) || !event.luns.is_empty(),
            "{event:?}"
        );
        self.0.lock().expect("no panic here").push(event.clone());
    }
}

/// A provider on a simulated array with some LUNs.
pub(crate) struct Rig {
    pub(crate) clock: VirtualClock,
    pub(crate) array: SimulatedArray,
    pub(crate) provider: Arc<Provider>,
    pub(crate) luns: Vec<LunId>,
    events: Arc<Recorder>,
    before: usize,
}

/// A call that stands at a gate of the array, in a thread of its own.
pub(crate) struct Blocked {
    pub(crate) gate: Gate,
    thread: JoinHandle<Hresult>,
}

impl Blocked {
    /// Lets the call go on, and waits for its answer.
    pub(crate) fn answer(self) -> Hresult {
        self.gate.open();
        self.thread.join().expect("the call does not panic")
    }
}

impl Rig {
    pub(crate) fn new(luns: usize) -> Self {
        Self::with(luns, Settings::default())
    }

    pub(crate) fn with(luns: usize, settings: Settings) -> Self {
        let clock = VirtualClock::new();
        let array = SimulatedArray::new(clock.clone());
        let luns: Vec<_> = (0..luns)
            .map(|_| array.create_lun(LUN_BYTES, &[HOST]))
            .collect();
        let events = Arc::new(Recorder::default());
        let provider = provider(array.host(HOST), &clock, &events, settings);
        Self {
            before: luns.len(),
            clock,
            array,
            provider: Arc::new(provider),
            luns,
            events,
        }
    }

    /// A provider process that was killed: no destructor runs. The next one knows nothing.
    pub(crate) fn kill_and_restart(&mut self) {
        std::mem::forget(Arc::clone(&self.provider));
        self.restart();
    }

    /// A new provider object on the same array.
    pub(crate) fn restart(&mut self) {
        self.provider = Arc::new(self.second_provider(HOST));
    }

    pub(crate) fn second_provider(&self, host: &str) -> Provider {
        self.provider_on(self.array.host(host))
    }

    /// A provider of another array than the rig's.
    pub(crate) fn provider_on(&self, array: Arc<dyn Array>) -> Provider {
        provider(array, &self.clock, &self.events, Settings::default())
    }

    /// One more LUN of the host.
    pub(crate) fn add_lun(&mut self, size_bytes: u64) {
        self.luns.push(self.array.create_lun(size_bytes, &[HOST]));
        self.before += 1;
    }

    pub(crate) fn host(&self) -> Arc<dyn Array> {
        self.array.host(HOST)
    }

    /// What Windows reads from a LUN: as the array shows it, with the port driver's bus type.
    pub(crate) fn device(&self, lun: LunId) -> LunDescription {
        let infos = self.array_host_query(lun);
        LunDescription {
            bus_type: 9,
            ..identity::describe(&infos.expect("the LUN exists").identity)
        }
    }

    fn array_host_query(&self, lun: LunId) -> Option<array_api::LunInfo> {
        // A handle of another host, so that faults of the host under test do not matter; the fault is per operation
        // though, so tests describe LUNs before they break the array.
        let infos = self.array.host("observer").query(WITHIN, &[lun]);
        infos.expect("the array is well").remove(0)
    }

    pub(crate) fn devices(&self, luns: &[LunId]) -> Vec<LunDescription> {
        luns.iter().map(|l| self.device(*l)).collect()
    }

    /// Descriptions of all LUNs of the rig.
    pub(crate) fn volume(&self) -> Vec<LunDescription> {
        self.devices(&self.luns)
    }

    pub(crate) fn copies_of(&self, set: SetId) -> Vec<LunId> {
        let orphans = self.array.host(HOST).orphans(WITHIN);
        let of_set = orphans.expect("the array is well").into_iter();
        of_set
            .filter(|o| o.tag.set == set)
            .map(|o| o.copy)
            .collect()
    }

    /// Copies and reservations on the array.
    pub(crate) fn copies(&self) -> usize {
        self.array.lun_count() - self.before
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.0.lock().expect("no panic here").clone()
    }

    pub(crate) fn forget_events(&self) {
        self.events.0.lock().expect("no panic here").clear();
    }

    /// Events about failures, without what only informs.
    pub(crate) fn errors(&self) -> Vec<EventKind> {
        let events = self.events();
        let errors = events.iter().map(|e| e.kind);
        errors.filter(|k| k.severity() == Severity::Error).collect()
    }

    pub(crate) fn state(&self) -> State {
        self.provider.state().0
    }

    pub(crate) fn begin(&self, set: SetId) -> Hresult {
        code(
            self.provider
                .begin_prepare_snapshot(set, snapshot(set), 0, &self.volume()),
        )
    }

    /// Drives a fresh set to a state. ENDING and COMMITTING are reached by a call that stays blocked.
    pub(crate) fn reach(&self, state: State, set: SetId) -> Option<Blocked> {
        let p = &self.provider;
        if state == State::Idle {
            return None;
        }
        assert_eq!(self.begin(set), OK);
        if state == State::Preparing {
            return None;
        }
        if state == State::Ending {
            return Some(self.blocked(Op::Ready, Method::EndPrepareSnapshots, set));
        }
        assert_eq!(code(p.end_prepare_snapshots(set)), OK);
        if state == State::Aborted {
            assert_eq!(code(p.abort_snapshots(set)), OK);
        }
        if matches!(state, State::Prepared | State::Aborted) {
            return None;
        }
        assert_eq!(code(p.pre_commit_snapshots(set)), OK);
        if state == State::Precommitted {
            return None;
        }
        if state == State::Committing {
            return Some(self.blocked(Op::Commit, Method::CommitSnapshots, set));
        }
        for (reached, method) in [
            (State::Committed, Method::CommitSnapshots),
            (State::Postcommitted, Method::PostCommitSnapshots),
            (State::Reported, Method::GetTargetLuns),
            (State::Surfaced, Method::LocateLuns),
            (State::Prefinal, Method::PreFinalCommitSnapshots),
            (State::Created, Method::PostFinalCommitSnapshots),
        ] {
            assert_eq!(self.fire(method, set), OK, "{method}");
            assert_eq!(self.state(), reached);
            if reached == state {
                return None;
            }
        }
        unreachable!("{state:?} was reached above")
    }

    /// Starts a call in another thread and waits until it stands at the gate.
    pub(crate) fn blocked(&self, op: Op, method: Method, set: SetId) -> Blocked {
        self.blocked_at(op, method, set, Fault::Gate)
    }

    pub(crate) fn blocked_at(
        &self,
        op: Op,
        method: Method,
        set: SetId,
        fault: fn(Gate) -> Fault,
    ) -> Blocked {
        let volume = self.volume();
        let gate = Gate::closed();
        self.array.fault(op, fault(gate.clone()));
        let provider = Arc::clone(&self.provider);
        let thread = std::thread::spawn(move || match method {
            Method::BeginPrepareSnapshot => {
                code(provider.begin_prepare_snapshot(set, snapshot(set), 0, &volume))
            }
            Method::EndPrepareSnapshots => code(provider.end_prepare_snapshots(set)),
            Method::CommitSnapshots => code(provider.commit_snapshots(set)),
            other => unreachable!("no test blocks {other}"),
        });
        gate.wait_entered();
        self.array.fault(op, Fault::Ok);
        Blocked { gate, thread }
    }

    /// One call with the rig's LUNs; the answer's code.
    pub(crate) fn fire(&self, method: Method, set: SetId) -> Hresult {
        let copies = if matches!(
            method,
            Method::LocateLuns
                | Method::OnLunEmpty
                | Method::OnLunStateChange
                | Method::ResyncLuns
                | Method::FillInLunInfo
        ) {
            self.devices(&self.copies_or_told(set))
        } else {
            Vec::new()
        };
        self.fire_with(method, set, &copies, &self.volume())
    }

    /// As [`Self::fire`], with descriptions made before a fault was set.
    pub(crate) fn fire_with(
        &self,
        method: Method,
        set: SetId,
        copies: &[LunDescription],
        originals: &[LunDescription],
    ) -> Hresult {
        let p = &self.provider;
        match method {
            Method::AreLunsSupported => code(p.are_luns_supported(0, originals)),
            Method::FillInLunInfo => {
                p.fill_in_lun_info(&copies[0]);
                OK
            }
            Method::BeginPrepareSnapshot => {
                code(p.begin_prepare_snapshot(set, snapshot(set), 0, originals))
            }
            Method::EndPrepareSnapshots => code(p.end_prepare_snapshots(set)),
            Method::PreCommitSnapshots => code(p.pre_commit_snapshots(set)),
            Method::CommitSnapshots => code(p.commit_snapshots(set)),
            Method::PostCommitSnapshots => code(p.post_commit_snapshots(set, 1)),
            Method::GetTargetLuns => code(p.get_target_luns(originals)),
            Method::LocateLuns => code(p.locate_luns(copies)),
            Method::PreFinalCommitSnapshots => code(p.pre_final_commit_snapshots(set)),
            Method::PostFinalCommitSnapshots => code(p.post_final_commit_snapshots(set)),
            Method::AbortSnapshots => code(p.abort_snapshots(set)),
            Method::OnLunEmpty => code(p.on_lun_empty(&copies[0])),
            Method::OnLunStateChange => {
                code(p.on_lun_state_change(copies, Some(originals), DO_MASK_LUNS))
            }
            Method::ResyncLuns => code(p.resync_luns(copies, originals)),
            other => unreachable!("no test fires {other}"),
        }
    }

    /// The copies of a set, mapped ones too.
    pub(crate) fn copies_or_told(&self, set: SetId) -> Vec<LunId> {
        let mut copies = Vec::new();
        for lun in self.array.luns() {
            let info = self.array_host_query(lun).expect("just listed");
            if let LunRole::Copy(tag) = info.role
                && tag.set == set
            {
                copies.push((tag.source, lun));
            }
        }
        copies.sort_by_key(|(source, _)| self.luns.iter().position(|l| l == source));
        copies.into_iter().map(|(_, copy)| copy).collect()
    }

    /// A whole set, all calls S_OK; the copies' descriptions as told.
    pub(crate) fn full(&self, set: SetId) -> Vec<LunDescription> {
        let p = &self.provider;
        assert_eq!(self.begin(set), OK);
        assert_eq!(p.end_prepare_snapshots(set), Ok(()));
        assert_eq!(p.pre_commit_snapshots(set), Ok(()));
        assert_eq!(p.commit_snapshots(set), Ok(()));
        assert_eq!(p.post_commit_snapshots(set, 1), Ok(()));
        let told = p.get_target_luns(&self.volume()).expect("captured");
        assert_eq!(p.locate_luns(&told), Ok(()));
        assert_eq!(p.pre_final_commit_snapshots(set), Ok(()));
        assert_eq!(p.post_final_commit_snapshots(set), Ok(()));
        told
    }

    /// Deletes copies as VSS does, and checks that nothing is left but `kept` copies.
    pub(crate) fn delete(&self, told: &[LunDescription], kept: usize) {
        for lun in told {
            assert_eq!(self.provider.on_lun_empty(lun), Ok(()));
        }
        assert_eq!(self.copies(), kept, "copies or reservations are left");
    }

    /// The next set works at once, and nothing of earlier ones is left but `kept` copies.
    #[track_caller]
    pub(crate) fn assert_next_set_works(&self, kept: usize) {
        let told = self.full(SetId::new_v4());
        self.delete(&told, kept);
    }
}

fn provider(
    array: Arc<dyn Array>,
    clock: &VirtualClock,
    events: &Arc<Recorder>,
    settings: Settings,
) -> Provider {
    Provider::new(
        array,
        Arc::new(ending(clock.clone())),
        Arc::clone(events) as Arc<dyn EventSink>,
        settings,
    )
}

/// The provider's clock. It fails a test whose provider would go round for ever, which would hang otherwise: at one instant,
/// or through all eternity.
fn ending(clock: VirtualClock) -> impl Fn() -> Duration + Send + Sync {
    let still = Mutex::new((Duration::ZERO, 0));
    move || {
        let now = clock.now();
        let reads = {
            let mut still = still.lock().expect("no panic here");
            let reads = if still.0 == now { still.1 + 1 } else { 0 };
            *still = (now, reads);
            reads
        };
        // A test that has failed is cleaned up all the same.
        if !std::thread::panicking() {
            assert!(reads < READS_MAX, "no end at {now:?}");
            assert!(now < TIME_MAX, "no end until {now:?}");
        }
        now
    }
}

pub(crate) fn code<T>(result: Result<T, Hresult>) -> Hresult {
    result.err().unwrap_or(OK)
}

/// The first shadow copy of a set.
pub(crate) fn snapshot(set: SetId) -> SnapshotId {
    SnapshotId::from_u128(set.as_u128() ^ 1)
}

pub(crate) fn set(number: u128) -> SetId {
    SetId::from_u128(number << 64)
}
