// SPDX-License-Identifier: MIT OR Apache-2.0
//! Check, prepare, ready, arm, commit, report and abort: the table of [`crate::sets`] carried out.

use super::hold::under_hold;
use super::refusal::{refuse, store_error};
use super::{LUNS_PER_SET_MAX, Service, State, new_identity, unix_now};
use crate::record::Record;
use crate::sets::{Action, Event, Phase, SnapshotSet};
use array_api::{
    AbortOutcome, Armed, ArrayError, ArrayErrorKind, CheckAnswer, CheckRequest, CommitReport,
    CopyInfo, CopyNeeds, CopyReport, LunId, LunState, PrepareOutcome, PrepareRequest, Readiness,
    SetId, SnapshotId,
};
use block::{WriteFence, hold_all};
use lun_store::Capture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// Writes in flight get this long to come to rest.
const DRAIN_MAX: Duration = Duration::from_millis(1_500);
/// Writes are held no longer, whatever the disks do (design, "One array call commits").
const HOLD_MAX: Duration = Duration::from_secs(2);
/// `ready` waits so long for the sources to be written back; a provider asks in slices of half a second (EPS-8).
const READY_WRITE_BACK_MAX: Duration = Duration::from_millis(300);
/// `arm` waits so long for it: PreCommitSnapshots has 2 s (TIME-9).
const ARM_WRITE_BACK_MAX: Duration = Duration::from_millis(800);
/// How long an abort, or another commit, waits for a commit under way.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// VSS takes at most 64 volumes into a set; this is room for whoever takes more, and a bound for the tag.
const SNAPSHOTS_PER_SET_MAX: usize = 512;

struct CapturePlan {
    fences: Vec<Arc<WriteFence>>,
    captures: Vec<Capture>,
    records: Vec<(LunId, Record)>,
    deadline: Instant,
    cancelled: Arc<std::sync::atomic::AtomicBool>,
}

impl Service {
    /// Whether a copy could be prepared now, and if not, why.
    pub fn check(&self, host: &str, request: &CheckRequest) -> CheckAnswer {
        let state = self.lock();
        let refusal = self
            .check_copyable(
                &state,
                host,
                &request.luns,
                &request.needs,
                request.luns.len(),
            )
            .and_then(|()| check_numbers(&state, host, request.luns.len()))
            .err();
        CheckAnswer {
            supported: refusal.is_none(),
            reason: refusal.map(|error| error.message),
        }
    }

    /// Adds one shadow copy to a set; a set that this host left unreported is discarded for it.
    pub fn prepare(
        &self,
        host: &str,
        id: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        let mut state = self.lock();
        loop {
            if let Some(set) = state.sets.get_mut(&id) {
                set.touched = Instant::now();
                if let Some(outcome) = repeated(set, host, id, request)? {
                    return Ok(outcome);
                }
            }
            let missing = self.check_prepare(&state, host, id, request)?;
            let Some(other) = other_unreported(&state, host, id) else {
                self.reserve(&mut state, host, id, request, &missing)?;
                return Ok(PrepareOutcome::Added);
            };
            // Waiting for a commit lets go of the lock: what was checked may not be true any more.
            state = self.settle(state, other)?;
            if state.sets.contains_key(&other) {
                tracing::info!(set = %other, host, "discarded: its host prepares another set");
                self.discard(&mut state, host, other, false);
            }
        }
    }

    /// The sources that have no target in the set yet, once all may be copied.
    fn check_prepare(
        &self,
        state: &State,
        host: &str,
        id: SetId,
        request: &PrepareRequest,
    ) -> Result<Vec<LunId>, ArrayError> {
        let known = state.sets.get(&id).map(|set| &set.targets);
        let has_target = |lun: &LunId| known.is_some_and(|targets| targets.contains_key(lun));
        let missing: Vec<LunId> = request
            .luns
            .iter()
            .copied()
            .filter(|lun| !has_target(lun))
            .collect();
        self.check_copyable(state, host, &request.luns, &request.needs, missing.len())?;
        if known.map_or(0, |targets| targets.len()) + missing.len() > LUNS_PER_SET_MAX {
            return refuse(
                ArrayErrorKind::LimitReached,
                format!("a set has at most {LUNS_PER_SET_MAX} LUNs"),
                "take fewer volumes into the set",
            );
        }
        Ok(missing)
    }

    /// All targets of the call in one transaction: VSS prepares up to 64 volumes one after the other and waits for each.
    fn reserve(
        &self,
        state: &mut State,
        host: &str,
        id: SetId,
        request: &PrepareRequest,
        missing: &[LunId],
    ) -> Result<(), ArrayError> {
        let now = unix_now();
        let ids = self.fresh_ids(state, missing.len())?;
        let mut targets = BTreeMap::new();
        let mut new = Vec::with_capacity(missing.len());
        for (source, copy) in missing.iter().zip(ids) {
            let original = state.lun(*source)?;
            let tag = CopyInfo {
                set: id,
                snapshots: vec![request.snapshot],
                source: *source,
                creator_host: host.to_owned(),
                importing_host: None,
                state: LunState::Reserved,
                created_unix_s: now,
            };
            let name = copy_name(&original.record.name, copy);
            let identity = new_identity(copy, &self.config);
            let record = Record::new(name, identity, now, Some(tag));
            new.push((copy, original.size_bytes, record));
            targets.insert(*source, copy);
        }
        // A LUN that another volume of the set shares keeps its one target (SEQ-20), which now serves two copies.
        let shared = request.luns.iter().filter(|lun| !missing.contains(lun));
        let shared = shared.map(|source| {
            let copy = state.sets[&id].targets[source];
            let record = with_snapshot(&state.luns[&copy].record, request.snapshot);
            (copy, record)
        });
        let shared = shared.collect();
        self.create(state, new, shared)?;
        let set = state
            .sets
            .entry(id)
            .or_insert_with(|| SnapshotSet::new(host, Some(request.needs), Instant::now()));
        set.targets.extend(targets);
        set.snapshots.insert(request.snapshot, request.luns.clone());
        Ok(())
    }

    /// Whether the set can be armed. Targets of this store are ready as soon as they are reserved. Begins to write the
    /// sources back: there is more time for it now than in `arm`.
    pub fn ready(&self, host: &str, id: SetId) -> Result<Readiness, ArrayError> {
        let sources = {
            let mut state = self.lock();
            let set = own_set(&mut state, host, id)?;
            set.action(id, Event::Ready)?;
            set.sources()
        };
        let written_back = self.store.write_back(&sources, READY_WRITE_BACK_MAX);
        written_back.map_err(store_error)?;
        Ok(Readiness::Ready)
    }

    /// Writes back what the sources hold unflushed, so that the commit is short, and starts the deadline. A store with too
    /// much to do for that is armed all the same: the commit captures unflushed data too, in one larger transaction.
    pub fn arm(&self, host: &str, id: SetId) -> Result<Armed, ArrayError> {
        let deadline = Instant::now() + self.config.commit_deadline;
        let sources: Vec<u128> = {
            let mut state = self.lock();
            let set = own_set(&mut state, host, id)?;
            if set.action(id, Event::Arm)? == Action::SayDeadline {
                return Ok(time_left(set));
            }
            let sources = set.sources();
            self.check_space()?;
            sources
        };
        let written_back = self.store.write_back(&sources, ARM_WRITE_BACK_MAX);
        written_back.map_err(store_error)?;
        let mut state = self.lock();
        let set = own_set(&mut state, host, id)?;
        if set.action(id, Event::Arm)? == Action::WriteBackAndArm {
            set.advance(Event::Arm);
            set.deadline = Some(deadline);
        }
        Ok(time_left(set))
    }

    /// Captures all LUNs of the set at one instant. Goes to its end whatever becomes of the caller.
    pub fn commit(&self, host: &str, id: SetId) -> Result<CommitReport, ArrayError> {
        self.commit_within(host, id, HOLD_MAX)
    }

    pub(super) fn commit_within(
        &self,
        host: &str,
        id: SetId,
        hold_max: Duration,
    ) -> Result<CommitReport, ArrayError> {
        let started = Instant::now();
        let plan = match self.begin_commit(host, id)? {
            Ok(plan) => plan,
            Err(report) => return Ok(report),
        };
        let luns = plan.captures.len();
        let result = self.capture(&plan, id, hold_max);
        let result = result.map(|held| CommitReport {
            held_us: micros(held),
            total_us: micros(started.elapsed()),
            luns: u32::try_from(luns).expect("bounded by LUNS_PER_SET_MAX"),
        });
        self.end_commit(id, plan, result)
    }

    /// The plan of the capture, or the report of one that was made before.
    fn begin_commit(
        &self,
        host: &str,
        id: SetId,
    ) -> Result<Result<CapturePlan, CommitReport>, ArrayError> {
        let mut state = self.lock();
        loop {
            let set = own_set(&mut state, host, id)?;
            match set.action(id, set.commit_event(Instant::now()))? {
                Action::Wait => state = self.wait_settled(state, id)?,
                Action::SayCommitted => {
                    return set.report.map(Err).ok_or_else(|| {
                        ArrayError::new(
                            ArrayErrorKind::WrongState,
                            format!("set {id} was committed before the array was restarted"),
                            "go on with report",
                        )
                    });
                }
                _ => break,
            }
        }
        self.check_space()?;
        let set = own_set(&mut state, host, id)?;
        set.advance(Event::Commit);
        let set = set.clone();
        Ok(Ok(plan(&state, &set)))
    }

    /// The fence and the capture. Nothing in here waits for the state's lock: a question under way would prolong the
    /// time in which writes are held.
    fn capture(
        &self,
        plan: &CapturePlan,
        id: SetId,
        hold_max: Duration,
    ) -> Result<Duration, ArrayError> {
        let held_from = Instant::now();
        let drain_until = plan.deadline.min(held_from + DRAIN_MAX);
        let hold = hold_all(&plan.fences, drain_until).or_else(|error| {
            refuse(
                ArrayErrorKind::FenceTimeout,
                format!("set {id} was not captured: {error}"),
                "try again when the array is less busy",
            )
        })?;
        if plan.cancelled.load(std::sync::atomic::Ordering::SeqCst) {
            return refuse(
                ArrayErrorKind::WrongState,
                format!("set {id} was given up during its commit; nothing was captured"),
                "start a new set",
            );
        }
        if Instant::now() > plan.deadline {
            return refuse(
                ArrayErrorKind::DeadlinePassed,
                format!("set {id} was armed too long ago; nothing was captured"),
                "give the set up and start a new one",
            );
        }
        let capture = || self.store.capture(&plan.captures);
        let ended = under_hold(hold, held_from + hold_max, capture).or_else(|error| {
            refuse(
                ArrayErrorKind::Internal,
                format!("set {id} was not captured: the system gives no thread: {error}"),
                "look at the limits of the array's system",
            )
        })?;
        match ended {
            (Ok(()), true) => Ok(held_from.elapsed()),
            (Ok(()), false) => {
                // Captured, but not at one instant: gone before anybody can ask for it.
                if let Some(set) = self.lock().sets.get_mut(&id) {
                    set.abandoned = true;
                }
                refuse(
                    ArrayErrorKind::FenceTimeout,
                    format!("set {id} was discarded: its capture took longer than {hold_max:?}"),
                    "look at the load of the array's disks, then start a new set",
                )
            }
            (Err(error), _) => Err(store_error(error)),
        }
    }

    fn end_commit(
        &self,
        id: SetId,
        plan: CapturePlan,
        result: Result<CommitReport, ArrayError>,
    ) -> Result<CommitReport, ArrayError> {
        let mut state = self.lock();
        let captured = result.is_ok();
        if captured {
            for (copy, record) in plan.records {
                let lun = state.luns.get_mut(&copy);
                lun.expect("targets of a set under commit stay").record = record;
            }
        }
        let set = state.sets.get_mut(&id);
        let set = set.expect("a set under commit stays");
        set.advance(match captured {
            true => Event::CommitDone,
            false => Event::CommitFailed,
        });
        set.touched = Instant::now();
        set.report = result.as_ref().ok().copied();
        if set.abandoned {
            let host = set.host.clone();
            self.discard(&mut state, &host, id, false);
        }
        self.settled.notify_all();
        drop(state);
        match &result {
            Ok(report) => {
                let CommitReport {
                    held_us,
                    total_us,
                    luns,
                } = *report;
                tracing::info!(set = %id, luns, held_us, total_us, "captured");
            }
            Err(error) => tracing::warn!(set = %id, %error, "not captured"),
        }
        result
    }

    /// The copies of `sources`, REPORTED from now on.
    pub fn report(
        &self,
        host: &str,
        id: SetId,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        let mut state = self.lock();
        let set = own_set(&mut state, host, id)?;
        set.action(id, Event::Report)?;
        let targets = set.targets.clone();
        let mut reports = Vec::with_capacity(sources.len());
        let mut records = Vec::new();
        for source in sources {
            let copy = targets
                .get(source)
                .filter(|copy| state.luns.contains_key(copy));
            let Some(&copy) = copy else {
                return refuse(
                    ArrayErrorKind::UnknownLun,
                    format!("set {id} has no copy of LUN {source}"),
                    "ask for LUNs that were prepared for it",
                );
            };
            let record = &state.luns[&copy].record;
            reports.push(CopyReport {
                source: *source,
                copy,
                identity: record.identity.clone(),
            });
            if record.state() == Some(LunState::Captured)
                && !records.iter().any(|(known, _)| *known == copy)
            {
                records.push((copy, record.in_state(LunState::Reported)));
            }
        }
        self.set_records(&mut state, records)?;
        Ok(reports)
    }

    /// Gives a set up.
    pub fn abort(
        &self,
        host: &str,
        id: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError> {
        let mut state = self.lock();
        own_set(&mut state, host, id)?;
        let mut state = self.settle(state, id)?;
        let targets = own_set(&mut state, host, id)?.targets.clone();
        if reported_too {
            // A copy may be the source of another set or of a resync: gone, it would be missed in their midst.
            for copy in targets.values() {
                state.check_idle(*copy)?;
            }
        }
        let outcome = self.discard(&mut state, host, id, reported_too);
        tracing::info!(
            set = %id,
            discarded = outcome.discarded.len(),
            kept = outcome.kept.len(),
            "aborted"
        );
        Ok(outcome)
    }

    /// Discards unreported sets that nobody called for since the configured time (SEQ-7).
    pub fn discard_idle(&self) {
        let mut state = self.lock();
        let idle: Vec<(SetId, String)> = state
            .sets
            .iter()
            .filter(|(_, set)| set.touched.elapsed() >= self.config.set_idle)
            .filter(|(_, set)| set.phase != Phase::Committing && has_untold(&state, set))
            .map(|(id, set)| (*id, set.host.clone()))
            .collect();
        for (id, host) in idle {
            tracing::info!(set = %id, host, "discarded: nobody called for it any more");
            self.discard(&mut state, &host, id, false);
        }
    }

    /// Lets a commit of the set come to its end, cancelled if it still can be.
    fn settle<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: SetId,
    ) -> Result<MutexGuard<'a, State>, ArrayError> {
        while let Some(set) = state.sets.get_mut(&id) {
            if set.action(id, Event::Abort)? != Action::Wait {
                break;
            }
            set.cancel();
            state = match self.wait_settled(state, id) {
                Ok(state) => state,
                Err(error) => {
                    if let Some(set) = self.lock().sets.get_mut(&id) {
                        set.abandoned = set.phase == Phase::Committing;
                    }
                    return Err(error);
                }
            };
        }
        Ok(state)
    }

    fn wait_settled<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        id: SetId,
    ) -> Result<MutexGuard<'a, State>, ArrayError> {
        let committing = |state: &mut State| {
            state
                .sets
                .get(&id)
                .is_some_and(|set| set.phase == Phase::Committing)
        };
        let (state, waited) = self
            .settled
            .wait_timeout_while(state, SETTLE_MAX, committing)
            .expect("see lock");
        if waited.timed_out() {
            return refuse(
                ArrayErrorKind::Internal,
                format!("the commit of set {id} does not come to its end"),
                "look at the disks of the array",
            );
        }
        Ok(state)
    }

    /// Deletes what was not reported, and with `reported_too` also reported copies that no other host has mapped.
    /// The set is forgotten unless reported copies stay its own.
    fn discard(
        &self,
        state: &mut State,
        host: &str,
        id: SetId,
        reported_too: bool,
    ) -> AbortOutcome {
        let mut outcome = AbortOutcome::default();
        let Some(mut set) = state.sets.remove(&id) else {
            return outcome;
        };
        let mut doomed = Vec::new();
        for copy in set.targets.values().copied() {
            let Some(lun) = state.luns.get(&copy) else {
                continue;
            };
            let record = &lun.record;
            let elsewhere = record.map.keys().any(|mapped| mapped != host);
            if record.untold() || (record.copy.is_some() && reported_too && !elsewhere) {
                doomed.push(copy);
                continue;
            }
            if record.copy.is_some() && reported_too {
                let unmapped = self.unmap_luns(state, host, &BTreeSet::from([copy]));
                log_leftover(&[copy], unmapped);
            }
            outcome.kept.push(copy);
        }
        match self.remove(state, &doomed) {
            Ok(()) => outcome.discarded = doomed,
            // Unreported ones go at the next start; reported ones are listed as orphans.
            Err(error) => {
                log_leftover(&doomed, Err(error));
                outcome.kept.extend(doomed);
            }
        }
        if !reported_too && !outcome.kept.is_empty() {
            set.targets.retain(|_, copy| outcome.kept.contains(copy));
            state.sets.insert(id, set);
        }
        outcome
    }

    fn check_copyable(
        &self,
        state: &State,
        host: &str,
        luns: &[LunId],
        needs: &CopyNeeds,
        new_targets: usize,
    ) -> Result<(), ArrayError> {
        let distinct: BTreeSet<_> = luns.iter().collect();
        if luns.is_empty() || distinct.len() != luns.len() {
            return refuse(
                ArrayErrorKind::InvalidRequest,
                "the request names no LUN, or one twice",
                "name each LUN of the volume once",
            );
        }
        for id in luns {
            let lun = state.lun(*id)?;
            if !lun.record.map.contains_key(host) {
                return refuse(
                    ArrayErrorKind::Forbidden,
                    format!("LUN {id} is not mapped to host {host}"),
                    "map it to that host first: only what a host sees may it copy",
                );
            }
            if state.busy.contains(id) {
                state.check_idle(*id)?;
            }
        }
        if needs.plex {
            return refuse(
                ArrayErrorKind::NotSupported,
                "this array makes differential copies only",
                "ask for a differential copy, or leave the choice to the provider",
            );
        }
        match new_targets {
            0 => Ok(()),
            _ => self.check_space(),
        }
    }
}

/// What a request for a set that exists comes to, when it is no new snapshot.
fn repeated(
    set: &SnapshotSet,
    host: &str,
    id: SetId,
    request: &PrepareRequest,
) -> Result<Option<PrepareOutcome>, ArrayError> {
    if set.host != host {
        return refuse(
            ArrayErrorKind::Forbidden,
            format!("set {id} belongs to another host"),
            "use a set id of your own",
        );
    }
    let same_needs = set.needs.is_none_or(|needs| needs == request.needs);
    let known = set.snapshots.get(&request.snapshot);
    if same_needs && known == Some(&request.luns) {
        return Ok(Some(PrepareOutcome::Identical));
    }
    set.action(id, Event::Prepare)?;
    if known.is_some() || !same_needs {
        return refuse(
            ArrayErrorKind::InvalidRequest,
            format!(
                "snapshot {} was prepared with other LUNs or needs",
                request.snapshot
            ),
            "repeat a request unchanged, or use another snapshot id",
        );
    }
    if set.snapshots.len() >= SNAPSHOTS_PER_SET_MAX {
        return refuse(
            ArrayErrorKind::LimitReached,
            format!("a set has at most {SNAPSHOTS_PER_SET_MAX} snapshots"),
            "take fewer volumes into the set",
        );
    }
    Ok(None)
}

fn own_set<'a>(
    state: &'a mut State,
    host: &str,
    id: SetId,
) -> Result<&'a mut SnapshotSet, ArrayError> {
    match state.sets.get_mut(&id).filter(|set| set.host == host) {
        Some(set) => {
            set.touched = Instant::now();
            Ok(set)
        }
        None => refuse(
            ArrayErrorKind::UnknownSet,
            format!(
                "host {host} has no set {id}: never prepared, or finished, aborted or discarded"
            ),
            "prepare it first",
        ),
    }
}

/// AreLunsSupported has to say FALSE when the host could not be shown the copies (design, "Shadow LUNs come up").
fn check_numbers(state: &State, host: &str, wanted: usize) -> Result<(), ArrayError> {
    let free = state
        .numbers
        .get(host)
        .map_or(254, |numbers| numbers.free());
    let pending: usize = state
        .sets
        .values()
        .filter(|set| set.host == host)
        .flat_map(|set| set.targets.values())
        .filter(|copy| state.luns.get(copy).is_some_and(|lun| lun.record.untold()))
        .count();
    if free < pending + wanted {
        return refuse(
            ArrayErrorKind::LimitReached,
            format!("host {host} has no LUN number left for {wanted} more copies"),
            "unmap or delete copies of that host: it can have 254 LUNs",
        );
    }
    Ok(())
}

fn plan(state: &State, set: &SnapshotSet) -> CapturePlan {
    let mut plan = CapturePlan {
        fences: Vec::new(),
        captures: Vec::new(),
        records: Vec::new(),
        deadline: set.deadline.expect("an armed set has a deadline"),
        cancelled: Arc::clone(&set.cancelled),
    };
    for (source, copy) in &set.targets {
        let record = state.luns[copy].record.in_state(LunState::Captured);
        plan.fences.push(Arc::clone(&state.luns[source].fence));
        plan.captures.push(Capture {
            source: source.0,
            target: copy.0,
            owner: record.encode(),
        });
        plan.records.push((*copy, record));
    }
    plan
}

/// A set of this host that holds unreported copies and has to make way.
fn other_unreported(state: &State, host: &str, keep: SetId) -> Option<SetId> {
    let mut sets = state.sets.iter();
    sets.find(|(id, set)| set.host == host && **id != keep && has_untold(state, set))
        .map(|(id, _)| *id)
}

fn has_untold(state: &State, set: &SnapshotSet) -> bool {
    let untold = |copy: &LunId| state.luns.get(copy).is_some_and(|lun| lun.record.untold());
    set.targets.values().any(untold)
}

fn time_left(set: &SnapshotSet) -> Armed {
    let deadline = set.deadline.expect("an armed set has a deadline");
    let left = deadline
        .saturating_duration_since(Instant::now())
        .as_millis();
    Armed {
        commit_within_ms: u32::try_from(left).expect("at most 8000"),
    }
}

fn with_snapshot(record: &Record, snapshot: SnapshotId) -> Record {
    let mut record = record.clone();
    if let Some(copy) = &mut record.copy
        && !copy.snapshots.contains(&snapshot)
    {
        copy.snapshots.push(snapshot);
    }
    record
}

/// The source's name and the first digits of the copy's id: unique enough to be typed.
fn copy_name(source: &str, copy: LunId) -> String {
    let stem: String = source.chars().take(48).collect();
    let digits = copy.to_string();
    format!("{stem}~{}", &digits[..8])
}

fn log_leftover(copies: &[LunId], result: Result<(), ArrayError>) {
    if let Err(error) = result {
        let copies: Vec<String> = copies.iter().map(LunId::to_string).collect();
        tracing::warn!(copies = copies.join(","), %error, "copies could not be given up");
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
