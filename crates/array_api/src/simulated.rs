// SPDX-License-Identifier: MIT OR Apache-2.0
//! An array in RAM for tests: the whole [`Array`] contract, virtual time, and a fault for each operation.
//!
//! **Is not** a mock with prepared answers: it keeps LUNs, maps, sets and rights, and passes the same
//! [`conformance`](crate::conformance) suite as the real daemon. A LUN's content is one number, enough to tell one
//! instant from another.
//!
//! **I/O model.** No I/O. Time is a [`VirtualClock`]; only a [`Gate`] blocks really.

mod fault;
mod model;
mod resync;

pub use fault::{Fault, Gate, Op, VirtualClock};
pub use resync::UNDEFINED_CONTENT;

use crate::{
    AbortOutcome, Armed, Array, ArrayError, ArrayErrorKind, ArrayInfo, CONTRACT_VERSION,
    Capabilities, CheckAnswer, CheckRequest, CommitReport, CopyReport, DeleteOutcome, LunId,
    LunInfo, OLDEST_CONTRACT_VERSION, Orphan, PrepareOutcome, PrepareRequest, Readiness, ResyncId,
    ResyncPair, ResyncStatus, SetId, SpaceLevel,
};
use model::Model;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A simulated array. Clones are handles to the same one.
#[derive(Clone)]
pub struct SimulatedArray(Arc<Shared>);

struct Shared {
    clock: VirtualClock,
    model: Mutex<Model>,
    faults: Mutex<BTreeMap<Op, Fault>>,
    calls: Mutex<Vec<Call>>,
}

/// One call that reached the simulated array's client, also when a fault kept it from the array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The calling host.
    pub host: String,
    /// The operation.
    pub op: Op,
    /// Virtual time when it came.
    pub at: Duration,
    /// The time that the caller allowed.
    pub within: Duration,
}

impl SimulatedArray {
    /// An empty array of 1 PiB that can make differential, transportable, persistent copies.
    pub fn new(clock: VirtualClock) -> Self {
        Self(Arc::new(Shared {
            clock,
            model: Mutex::new(Model::new()),
            faults: Mutex::default(),
            calls: Mutex::default(),
        }))
    }

    /// The array as this host sees it. A host belongs to a group of its own until [`Self::set_group`].
    pub fn host(&self, name: &str) -> Arc<dyn Array> {
        Arc::new(HostHandle {
            shared: Arc::clone(&self.0),
            host: name.to_owned(),
        })
    }

    /// A new LUN, mapped to these hosts.
    pub fn create_lun(&self, size_bytes: u64, hosts: &[&str]) -> LunId {
        self.model().create_lun(size_bytes, hosts)
    }

    /// Removes a LUN that is no shadow copy, as an administrator would; false for an unknown one.
    pub fn remove_lun(&self, lun: LunId) -> bool {
        self.model().luns.remove(&lun).is_some()
    }

    /// Puts hosts into one group (a cluster, or a production and a backup server).
    pub fn set_group(&self, group: &str, hosts: &[&str]) {
        for host in hosts {
            let group = format!("group {group}");
            self.model().groups.insert((*host).to_owned(), group);
        }
    }

    /// Grants or takes the right to overwrite LUNs by resync.
    pub fn set_resync_right(&self, host: &str, allowed: bool) {
        let mut model = self.model();
        if allowed {
            model.resync_right.insert(host.to_owned());
        } else {
            model.resync_right.remove(host);
        }
    }

    /// What copies can be, from now on.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.model().capabilities = capabilities;
    }

    /// Free bytes, from now on. A reservation takes its LUN's whole size.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.model().free_bytes = bytes;
    }

    /// Most copies that the array keeps.
    pub fn set_copies_max(&self, copies: usize) {
        self.model().copies_max = copies;
    }

    /// How long targets take to become ready after `prepare` (a clone's synchronisation), from now on.
    pub fn set_preparation(&self, time: Duration) {
        self.model().preparation = time;
    }

    /// How long a resync takes, from now on. Its targets read as [`UNDEFINED_CONTENT`] meanwhile.
    pub fn set_resync_time(&self, time: Duration) {
        self.model().resync_time = time;
    }

    /// Lets resyncs that end from now on fail like this, or again succeed.
    pub fn set_resync_failure(&self, kind: Option<ArrayErrorKind>) {
        self.model().resync_failure = kind.map(refused);
    }

    /// How long the space of a deleted copy takes to come back, from now on.
    pub fn set_deletion_time(&self, time: Duration) {
        self.model().deletion_time = time;
    }

    /// What the array says of its space, from now on. Exhausted, it refuses hosts' writes.
    pub fn set_space(&self, space: SpaceLevel) {
        self.model().space = space;
    }

    /// Keeps copies of this LUN where it is: they cannot be mapped to other hosts.
    pub fn set_immovable(&self, lun: LunId) {
        self.model().immovable.insert(lun);
    }

    /// Makes a host's map of a LUN read-only, as an administrator could; false where there is no map.
    pub fn set_map_read_only(&self, lun: LunId, host: &str) -> bool {
        let mut model = self.model();
        let lun = model.luns.get_mut(&lun);
        lun.is_some_and(|l| l.maps.contains(host) && l.read_only.insert(host.to_owned()))
    }

    /// A host's write through its map; false when there is none, when it is read-only, or when space is exhausted.
    pub fn write_as(&self, host: &str, lun: LunId, content: u64) -> bool {
        let mut model = self.model();
        let room = model.space != SpaceLevel::Exhausted;
        let lun = model.luns.get_mut(&lun);
        let open = lun.filter(|l| room && l.maps.contains(host) && !l.read_only.contains(host));
        open.map(|l| l.content = content).is_some()
    }

    /// Free bytes now.
    pub fn free_bytes(&self) -> u64 {
        self.model().free_bytes
    }

    /// LUNs on the array: originals, copies and reservations.
    pub fn lun_count(&self) -> usize {
        self.model().luns.len()
    }

    /// The ids of all LUNs on the array.
    pub fn luns(&self) -> Vec<LunId> {
        self.model().luns.keys().copied().collect()
    }

    /// Sets that the array still remembers.
    pub fn set_count(&self) -> usize {
        self.model().sets.len()
    }

    /// The hosts that have a LUN mapped; empty for an unknown LUN.
    pub fn mapped_to(&self, lun: LunId) -> BTreeSet<String> {
        self.model()
            .luns
            .get(&lun)
            .map(|l| l.maps.clone())
            .unwrap_or_default()
    }

    /// Overwrites a LUN's content, as a host's write would; false for an unknown LUN.
    pub fn write(&self, lun: LunId, content: u64) -> bool {
        self.model()
            .luns
            .get_mut(&lun)
            .map(|l| l.content = content)
            .is_some()
    }

    /// A LUN's content; `None` for an unknown LUN.
    pub fn read(&self, lun: LunId) -> Option<u64> {
        self.model().luns.get(&lun).map(|l| l.content)
    }

    /// The contents of several LUNs at one moment; `None` for an unknown one.
    pub fn contents<'a>(&self, luns: impl IntoIterator<Item = &'a LunId>) -> Vec<Option<u64>> {
        let model = self.model();
        let content = |lun| model.luns.get(lun).map(|l| l.content);
        luns.into_iter().map(content).collect()
    }

    /// The sets that hold copies of which nobody was told yet.
    pub fn unreported_sets(&self) -> BTreeSet<SetId> {
        self.model().unreported_sets()
    }

    /// A LUN's size in bytes; `None` for an unknown LUN.
    pub fn size_bytes(&self, lun: LunId) -> Option<u64> {
        self.model().luns.get(&lun).map(|l| l.size_bytes)
    }

    /// Sets the fault of one operation, until another is set.
    pub fn fault(&self, op: Op, fault: Fault) {
        lock(&self.0.faults).insert(op, fault);
    }

    /// Sets the fault of every operation.
    pub fn fault_all(&self, fault: &Fault) {
        for op in Op::ALL {
            self.fault(op, fault.clone());
        }
    }

    /// Ends all faults.
    pub fn heal(&self) {
        lock(&self.0.faults).clear();
    }

    /// The calls since the last [`Self::forget_calls`], in order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.0.calls).clone()
    }

    /// How often an operation was called since the last [`Self::forget_calls`].
    pub fn count(&self, op: Op) -> usize {
        lock(&self.0.calls).iter().filter(|c| c.op == op).count()
    }

    /// Starts the record of calls anew.
    pub fn forget_calls(&self) {
        lock(&self.0.calls).clear();
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        let mut model = lock(&self.0.model);
        model.let_pass(self.0.clock.now());
        model
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that panicked in another thread reports itself; this one should still see the array.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The simulated array as one host sees it.
struct HostHandle {
    shared: Arc<Shared>,
    host: String,
}

impl HostHandle {
    fn run<T>(
        &self,
        op: Op,
        within: Duration,
        work: impl FnOnce(&mut Model, &str, Duration) -> Result<T, ArrayError>,
    ) -> Result<T, ArrayError> {
        let clock = &self.shared.clock;
        lock(&self.shared.calls).push(Call {
            host: self.host.clone(),
            op,
            at: clock.now(),
            within,
        });
        let fault = next_fault(&mut lock(&self.shared.faults), op);
        let work = |part: Option<usize>| {
            let mut model = lock(&self.shared.model);
            model.let_pass(clock.now());
            model.part = part;
            let result = work(&mut model, &self.host, clock.now());
            model.part = None;
            result
        };
        match fault {
            Fault::Ok => work(None),
            Fault::Err(kind) => Err(refused(kind)),
            Fault::Down => Err(ArrayError::new(
                ArrayErrorKind::Unreachable,
                "the array cannot be reached",
                "check the network and that shadowlund runs",
            )),
            Fault::Hang => {
                clock.advance(within);
                Err(timed_out(within))
            }
            Fault::Lost => {
                let _ = work(None);
                clock.advance(within);
                Err(timed_out(within))
            }
            Fault::Part(luns) => work(Some(luns)),
            Fault::Slow(time) if time > within => {
                clock.advance(within);
                Err(timed_out(within))
            }
            Fault::Slow(time) => {
                clock.advance(time);
                work(None)
            }
            Fault::Overrun(time) => {
                let result = work(None);
                clock.advance(time);
                result
            }
            Fault::Times(..) => unreachable!("next_fault unwraps it"),
            Fault::Gate(gate) => {
                gate.pass();
                work(None)
            }
            Fault::GateAfter(gate) => {
                let result = work(None);
                gate.pass();
                result
            }
        }
    }
}

/// The fault of this call; those that come a number of times are counted down.
fn next_fault(faults: &mut BTreeMap<Op, Fault>, op: Op) -> Fault {
    match faults.get_mut(&op) {
        None => Fault::Ok,
        Some(Fault::Times(0, _)) => Fault::Ok,
        Some(Fault::Times(left, fault)) => {
            *left -= 1;
            (**fault).clone()
        }
        Some(fault) => fault.clone(),
    }
}

fn refused(kind: ArrayErrorKind) -> ArrayError {
    ArrayError::new(
        kind,
        "the simulated array refused",
        "take the fault out of the test",
    )
}

fn timed_out(within: Duration) -> ArrayError {
    ArrayError::new(
        ArrayErrorKind::TimedOut,
        format!("no answer within {} ms", within.as_millis()),
        "check the array's load and log",
    )
}

impl Array for HostHandle {
    fn info(&self, within: Duration) -> Result<ArrayInfo, ArrayError> {
        self.run(Op::Info, within, |model, host, now| {
            Ok(ArrayInfo {
                name: "simulated".to_owned(),
                software: env!("CARGO_PKG_VERSION").to_owned(),
                contract_version: CONTRACT_VERSION,
                oldest_contract_version: OLDEST_CONTRACT_VERSION,
                host: host.to_owned(),
                capabilities: model.capabilities,
                capacity_bytes: model::CAPACITY_BYTES,
                free_bytes: model.free_bytes,
                space: model.space,
                time_unix_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            })
        })
    }

    fn query(&self, within: Duration, luns: &[LunId]) -> Result<Vec<Option<LunInfo>>, ArrayError> {
        self.run(Op::Query, within, |model, host, _| {
            Ok(luns.iter().map(|lun| model.info(host, *lun)).collect())
        })
    }

    fn check(&self, within: Duration, request: &CheckRequest) -> Result<CheckAnswer, ArrayError> {
        self.run(Op::Check, within, |model, host, _| {
            let refusal = model.can_prepare(host, &request.luns, &request.needs).err();
            Ok(CheckAnswer {
                supported: refusal.is_none(),
                reason: refusal.map(|e| e.message),
            })
        })
    }

    fn prepare(
        &self,
        within: Duration,
        set: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        self.run(Op::Prepare, within, |model, host, now| {
            model.prepare(host, now, set, request)
        })
    }

    fn ready(&self, within: Duration, set: SetId) -> Result<Readiness, ArrayError> {
        let clock = self.shared.clock.clone();
        self.run(Op::Ready, within, |model, host, now| {
            let ready_at = model.set(host, set)?.ready_at;
            let wait = ready_at.saturating_sub(now);
            clock.advance(wait.min(within));
            Ok(if wait > within {
                Readiness::Preparing
            } else {
                Readiness::Ready
            })
        })
    }

    fn arm(&self, within: Duration, set: SetId) -> Result<Armed, ArrayError> {
        self.run(Op::Arm, within, |model, host, now| {
            model.arm(host, now, set)
        })
    }

    fn commit(&self, within: Duration, set: SetId) -> Result<CommitReport, ArrayError> {
        self.run(Op::Commit, within, |model, host, now| {
            model.commit(host, now, set)
        })
    }

    fn report(
        &self,
        within: Duration,
        set: SetId,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        self.run(Op::Report, within, |model, host, _| {
            model.report(host, set, sources)
        })
    }

    fn abort(
        &self,
        within: Duration,
        set: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError> {
        self.run(Op::Abort, within, |model, host, _| {
            model.abort(host, set, reported_too)
        })
    }

    fn map(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.run(Op::Map, within, |model, host, _| model.map(host, copies))
    }

    fn unmap(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.run(Op::Unmap, within, |model, host, _| {
            model.unmap(host, copies)
        })
    }

    fn delete(&self, within: Duration, copy: LunId) -> Result<DeleteOutcome, ArrayError> {
        self.run(Op::Delete, within, |model, host, now| {
            model.delete(host, now, copy)
        })
    }

    fn break_copies(
        &self,
        within: Duration,
        copies: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError> {
        self.run(Op::BreakCopies, within, |model, host, _| {
            model.break_copies(host, copies, unmap_too)
        })
    }

    fn resync(
        &self,
        within: Duration,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        self.run(Op::Resync, within, |model, host, now| {
            model.resync(host, now, id, pairs)
        })
    }

    fn resync_status(
        &self,
        within: Duration,
        id: ResyncId,
        wait: Duration,
    ) -> Result<ResyncStatus, ArrayError> {
        let clock = self.shared.clock.clone();
        self.run(Op::ResyncStatus, within, |model, host, now| {
            let left = model.resync_left(host, now, id)?;
            clock.advance(left.min(wait).min(within));
            model.let_pass(clock.now());
            model.resync_status(host, id)
        })
    }

    fn cancel_resync(&self, within: Duration, id: ResyncId) -> Result<ResyncStatus, ArrayError> {
        self.run(Op::CancelResync, within, |model, host, _| {
            model.cancel_resync(host, id)
        })
    }

    fn orphans(&self, within: Duration) -> Result<Vec<Orphan>, ArrayError> {
        self.run(
            Op::Orphans,
            within,
            |model, host, _| Ok(model.orphans(host)),
        )
    }
}
