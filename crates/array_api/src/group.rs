// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several arrays behind one [`Array`]: what a host with more than one enrolment calls.
//!
//! Each LUN belongs to one member; which, the members themselves say. A volume over two arrays is not supported (SEQ-18), a
//! set over several is: its members are armed and captured in parallel, within the same time.

mod workers;

use crate::{
    AbortOutcome, Armed, Array, ArrayError, ArrayErrorKind, ArrayInfo, CheckAnswer, CheckRequest,
    CommitReport, CopyReport, DeleteOutcome, LunId, LunInfo, Orphan, PrepareOutcome,
    PrepareRequest, Readiness, ResyncId, ResyncPair, ResyncStatus, SetId,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use workers::Workers;

/// Several arrays as one.
///
/// Where the contract says "all or none", the group keeps that across its members for `map` and `unmap`: a failure takes back
/// what others did. `break_copies` cannot be taken back; a failure leaves what was broken broken, and the call can be repeated.
pub struct ArrayGroup {
    members: Vec<Arc<dyn Array>>,
    /// The set in progress and those before it that were not given up, the newest last.
    sets: Mutex<Vec<GroupSet>>,
}

/// A new set waits so long for the members of earlier ones, of which one may be silent.
const GIVE_UP_MAX: Duration = Duration::from_secs(1);
/// Sets that are remembered. One that was forgotten is looked for on every member.
const SETS_MAX: usize = 16;

#[derive(Clone)]
struct GroupSet {
    id: SetId,
    /// Which member has each source.
    sources: Vec<(LunId, usize)>,
    /// From `ready` on for those beyond the first, so that none has to be made while writes are held.
    workers: Option<Arc<Workers>>,
}

impl GroupSet {
    fn members(&self) -> Vec<usize> {
        let mut members: Vec<_> = self.sources.iter().map(|(_, member)| *member).collect();
        members.sort_unstable();
        members.dedup();
        members
    }
}

/// The caller's time, of which the members' calls share what is left.
#[derive(Clone, Copy)]
struct Time(Instant);

impl Time {
    fn begin(within: Duration) -> Self {
        // A caller that has "for ever" gets a day: `Instant` has an end.
        Self(Instant::now() + within.min(Duration::from_secs(86_400)))
    }

    fn left(&self) -> Result<Duration, ArrayError> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ArrayError::new(
                ArrayErrorKind::TimedOut,
                "the arrays of the group did not answer in time",
                "check the load of the arrays and the network",
            ));
        }
        Ok(left)
    }
}

/// Where a LUN is, and what that member knows of it.
type Route = Option<(usize, LunInfo)>;

impl ArrayGroup {
    /// A group of these. Without a member every call fails.
    pub fn new(members: Vec<Arc<dyn Array>>) -> Self {
        Self {
            members,
            sets: Mutex::default(),
        }
    }

    /// Asks these members at the same time; their answers in this order.
    fn ask<T: Send>(
        &self,
        members: &[usize],
        call: impl Fn(usize, &dyn Array) -> Result<T, ArrayError> + Sync,
    ) -> Vec<Result<T, ArrayError>> {
        let call = |member: usize| call(member, &*self.members[member]);
        let Some((first, others)) = members.split_first() else {
            return Vec::new();
        };
        std::thread::scope(|scope| {
            let call = &call;
            let asked: Vec<_> = others
                .iter()
                .map(|member| scope.spawn(move || call(*member)))
                .collect();
            let mut answers = vec![call(*first)];
            answers.extend(
                asked
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|_| Err(broke()))),
            );
            answers
        })
    }

    fn everyone(&self) -> Vec<usize> {
        (0..self.members.len()).collect()
    }

    /// Asks every member at the same time; the answers as they come, each with its member. Who has heard enough waits for no
    /// more: a member that does not answer is left to a thread of its own, which ends with the call's time.
    fn answers<T: Send + 'static>(
        &self,
        call: impl Fn(&dyn Array) -> Result<T, ArrayError> + Send + Sync + 'static,
    ) -> impl Iterator<Item = (usize, Result<T, ArrayError>)> {
        let (sender, answers) = mpsc::channel();
        let call = Arc::new(call);
        for (member, array) in self.members.iter().enumerate() {
            let (own, call, array) = (sender.clone(), Arc::clone(&call), Arc::clone(array));
            let thread = std::thread::Builder::new().name("array".to_owned());
            let asked = thread.spawn(move || {
                let answer = catch_unwind(AssertUnwindSafe(|| call(&*array)));
                // Nobody may be listening any more.
                let _ = own.send((member, answer.unwrap_or_else(|_| Err(broke()))));
            });
            if let Err(error) = asked {
                let _ = sender.send((member, Err(no_thread(&error))));
            }
        }
        answers.into_iter()
    }

    /// Which member has each LUN, as soon as that is known. A LUN that nobody has is `None`, unless a member that did not
    /// answer may have it.
    fn route(&self, within: Duration, luns: &[LunId]) -> Result<Vec<Route>, ArrayError> {
        let mut routes: Vec<Route> = vec![None; luns.len()];
        let mut failed = None;
        let asked = luns.to_vec();
        for (member, answer) in self.answers(move |array| array.query(within, &asked)) {
            match answer {
                Err(error) => failed = Some(error),
                Ok(infos) => {
                    for (route, info) in routes.iter_mut().zip(infos) {
                        if route.is_none() {
                            *route = info.map(|info| (member, info));
                        }
                    }
                }
            }
            if routes.iter().all(Option::is_some) {
                break;
            }
        }
        match failed {
            Some(error) if routes.iter().any(Option::is_none) => Err(error),
            _ => Ok(routes),
        }
    }

    /// The one member that has all of these; the first where nobody has one, for it to say so. `None` for several.
    fn one_member(routes: &[Route]) -> Option<usize> {
        let mut found = routes.iter().flatten().map(|(member, _)| *member);
        let first = found.next().unwrap_or(0);
        found.all(|member| member == first).then_some(first)
    }

    fn member(&self, member: usize) -> Result<&dyn Array, ArrayError> {
        let array = self.members.get(member).ok_or_else(|| {
            ArrayError::new(
                ArrayErrorKind::Unreachable,
                "the group has no array",
                "enroll this host with an array",
            )
        })?;
        Ok(&**array)
    }

    fn sets(&self) -> MutexGuard<'_, Vec<GroupSet>> {
        // Each change under the lock is whole.
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, id: SetId) -> Option<GroupSet> {
        self.sets().iter().find(|set| set.id == id).cloned()
    }

    /// The first member of a set over several arrays, and the threads for the others.
    fn workers(&self, id: SetId) -> Option<(usize, Arc<Workers>)> {
        let sets = self.sets();
        let set = sets.iter().find(|set| set.id == id)?;
        let first = set.sources.iter().map(|(_, member)| *member).min()?;
        Some((first, Arc::clone(set.workers.as_ref()?)))
    }

    fn forget(&self, id: SetId) {
        self.sets().retain(|set| set.id != id);
    }

    /// Notes where a set's LUNs are; the sets before it that this one is not part of.
    fn remember(&self, id: SetId, luns: &[LunId], member: usize) -> Vec<GroupSet> {
        let mut sets = self.sets();
        let known = sets.iter().position(|set| set.id == id);
        let before = match known {
            Some(_) => Vec::new(),
            None => sets.clone(),
        };
        let mut set = match known {
            Some(at) => sets.remove(at),
            None => GroupSet {
                id,
                sources: Vec::new(),
                workers: None,
            },
        };
        for lun in luns {
            if !set.sources.iter().any(|(known, _)| known == lun) {
                set.sources.push((*lun, member));
                // They may lack its member; the next `ready` starts others.
                set.workers = None;
            }
        }
        sets.push(set);
        if sets.len() > SETS_MAX {
            sets.remove(0);
        }
        before
    }

    /// Has the members of earlier sets, but this one, give up what was not reported. What fails, or finds no time, is discarded
    /// by that member's next set.
    fn give_up(&self, before: &[GroupSet], but: usize, time: &Time) {
        let (working, all_done) = mpsc::channel::<()>();
        for (member, array) in self.members.iter().enumerate() {
            let of_member = before.iter().filter(|set| set.members().contains(&member));
            let sets: Vec<SetId> = of_member.map(|set| set.id).collect();
            if member == but || sets.is_empty() {
                continue;
            }
            let (array, time, working) = (Arc::clone(array), *time, working.clone());
            let thread = std::thread::Builder::new().name("array".to_owned());
            let _ = thread.spawn(move || {
                let _working = working;
                for set in sets {
                    let _ = time.left().and_then(|left| array.abort(left, set, false));
                }
            });
        }
        drop(working);
        // Nobody sends anything: this ends with the last of them, or with the time.
        let _ = all_done.recv_timeout(GIVE_UP_MAX.min(time.left().unwrap_or_default()));
    }

    /// Calls the members of a set. A set that is not remembered may be anybody's: those that do not know it do not count.
    fn ask_set<T: Send>(
        &self,
        id: SetId,
        call: impl Fn(&dyn Array) -> Result<T, ArrayError> + Sync,
    ) -> Result<Vec<T>, ArrayError> {
        let known = self.set(id).map(|set| set.members());
        let is_known = known.is_some();
        let members = known.unwrap_or_else(|| self.everyone());
        let answers = self.ask(&members, |_, array| call(array));
        if is_known {
            return answers.into_iter().collect();
        }
        some_known(answers, ArrayErrorKind::UnknownSet)
    }

    /// Maps or unmaps on each member in turn; a failure takes back what changed before it.
    fn change_maps(
        &self,
        within: Duration,
        copies: &[LunId],
        change: impl Fn(&dyn Array, Duration, &[LunId]) -> Result<(), ArrayError>,
        take_back: impl Fn(&dyn Array, Duration, &[LunId]) -> Result<(), ArrayError>,
        changes: impl Fn(&LunInfo) -> bool,
    ) -> Result<(), ArrayError> {
        let time = Time::begin(within);
        let routes = self.route(within, copies)?;
        let mut done: Vec<(usize, Vec<LunId>)> = Vec::new();
        for member in self.everyone() {
            // A LUN that nobody has goes to the first, which refuses the call.
            let is_here = |route: &Route| route.as_ref().map_or(0, |(at, _)| *at) == member;
            let here: Vec<LunId> = routes
                .iter()
                .zip(copies)
                .filter(|(route, _)| is_here(route))
                .map(|(_, copy)| *copy)
                .collect();
            if here.is_empty() {
                continue;
            }
            let result = time
                .left()
                .and_then(|left| change(&*self.members[member], left, &here));
            if let Err(error) = result {
                for (member, changed) in done {
                    // The error is told in any case; what stays changed is put right by the call's repetition.
                    let _ = time
                        .left()
                        .and_then(|left| take_back(&*self.members[member], left, &changed));
                }
                return Err(error);
            }
            let changed = routes
                .iter()
                .flatten()
                .filter(|(at, info)| *at == member && changes(info));
            done.push((member, changed.map(|(_, info)| info.id).collect()));
        }
        Ok(())
    }
}

impl Array for ArrayGroup {
    fn info(&self, within: Duration) -> Result<ArrayInfo, ArrayError> {
        let answers = self.ask(&self.everyone(), |_, array| array.info(within));
        let mut infos = Vec::new();
        let mut failed = None;
        for answer in answers {
            match answer {
                Ok(info) => infos.push(info),
                Err(error) => failed = Some(error),
            }
        }
        let combined = infos.into_iter().reduce(combine);
        match (combined, failed) {
            (Some(info), _) => Ok(info),
            (None, Some(error)) => Err(error),
            (None, None) => self.member(0)?.info(within),
        }
    }

    fn query(&self, within: Duration, luns: &[LunId]) -> Result<Vec<Option<LunInfo>>, ArrayError> {
        let routes = self.route(within, luns)?;
        Ok(routes
            .into_iter()
            .map(|route| route.map(|(_, info)| info))
            .collect())
    }

    fn check(&self, within: Duration, request: &CheckRequest) -> Result<CheckAnswer, ArrayError> {
        let time = Time::begin(within);
        match Self::one_member(&self.route(within, &request.luns)?) {
            Some(member) => self.member(member)?.check(time.left()?, request),
            None => Ok(CheckAnswer {
                supported: false,
                reason: Some("the volume's LUNs are on several arrays".to_owned()),
            }),
        }
    }

    fn prepare(
        &self,
        within: Duration,
        set: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        let time = Time::begin(within);
        let routes = self.route(within, &request.luns)?;
        let member = Self::one_member(&routes).ok_or_else(several)?;
        let outcome = self.member(member)?.prepare(time.left()?, set, request)?;
        // The member itself gives up the host's earlier set; the others have not heard of a new one.
        let before = self.remember(set, &request.luns, member);
        self.give_up(&before, member, &time);
        Ok(outcome)
    }

    fn ready(&self, within: Duration, set: SetId) -> Result<Readiness, ArrayError> {
        let answers = self.ask_set(set, |array| array.ready(within, set))?;
        if answers.contains(&Readiness::Preparing) {
            return Ok(Readiness::Preparing);
        }
        let members = match self.set(set) {
            Some(known) if known.workers.is_none() => known.members(),
            _ => return Ok(Readiness::Ready),
        };
        if let Some((_, others)) = members
            .split_first()
            .filter(|(_, others)| !others.is_empty())
        {
            let others = others.iter().map(|at| Arc::clone(&self.members[*at]));
            let workers = Workers::start(others).map_err(|error| no_thread(&error))?;
            let mut sets = self.sets();
            if let Some(known) = sets.iter_mut().find(|known| known.id == set) {
                known.workers = Some(Arc::new(workers));
            }
        }
        Ok(Readiness::Ready)
    }

    fn arm(&self, within: Duration, set: SetId) -> Result<Armed, ArrayError> {
        let armed = match self.workers(set) {
            Some((first, workers)) => workers.arm(self.member(first)?, within, set)?,
            None => self.ask_set(set, |array| array.arm(within, set))?,
        };
        let shortest = armed.into_iter().min_by_key(|armed| armed.commit_within_ms);
        shortest.ok_or_else(broke)
    }

    fn commit(&self, within: Duration, set: SetId) -> Result<CommitReport, ArrayError> {
        let reports = match self.workers(set) {
            Some((first, workers)) => workers.commit(self.member(first)?, within, set)?,
            None => self.ask_set(set, |array| array.commit(within, set))?,
        };
        let longest = |one: CommitReport, other: CommitReport| CommitReport {
            held_us: one.held_us.max(other.held_us),
            total_us: one.total_us.max(other.total_us),
            luns: one.luns + other.luns,
        };
        reports.into_iter().reduce(longest).ok_or_else(broke)
    }

    fn report(
        &self,
        within: Duration,
        set: SetId,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        let time = Time::begin(within);
        let at: Vec<usize> = match self.set(set) {
            Some(known) => {
                // One that is not of the set is refused by whoever has it.
                let first = known.members().first().copied().unwrap_or(0);
                let of = |lun| known.sources.iter().find(|(source, _)| source == lun);
                sources
                    .iter()
                    .map(|lun| of(lun).map_or(first, |(_, member)| *member))
                    .collect()
            }
            None => self
                .route(within, sources)?
                .iter()
                .map(|route| route.as_ref().map_or(0, |(member, _)| *member))
                .collect(),
        };
        let mut members = at.clone();
        members.sort_unstable();
        members.dedup();
        if members.is_empty() {
            members.push(0);
        }
        let answers = self.ask(&members, |member, array| {
            let here = sources.iter().zip(&at).filter(|(_, at)| **at == member);
            let here: Vec<LunId> = here.map(|(lun, _)| *lun).collect();
            array.report(time.left()?, set, &here)
        });
        let mut answers = answers
            .into_iter()
            .map(|answer| answer.map(Vec::into_iter))
            .collect::<Result<Vec<_>, _>>()?;
        at.iter()
            .map(|member| {
                let asked = members.iter().position(|asked| asked == member);
                asked
                    .and_then(|asked| answers[asked].next())
                    .ok_or_else(broke)
            })
            .collect()
    }

    fn abort(
        &self,
        within: Duration,
        set: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError> {
        let members = self.set(set).map(|known| known.members());
        let members = members.unwrap_or_else(|| self.everyone());
        let answers = self.ask(&members, |_, array| array.abort(within, set, reported_too));
        // Also for a remembered one: an abort that failed on one member was carried out by the others.
        let outcomes = some_known(answers, ArrayErrorKind::UnknownSet);
        if outcomes
            .as_ref()
            .err()
            .is_none_or(|error| error.kind == ArrayErrorKind::UnknownSet)
        {
            self.forget(set);
        }
        let mut all = AbortOutcome::default();
        for outcome in outcomes? {
            all.discarded.extend(outcome.discarded);
            all.kept.extend(outcome.kept);
        }
        Ok(all)
    }

    fn map(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.change_maps(
            within,
            copies,
            |array, within, copies| array.map(within, copies),
            |array, within, copies| array.unmap(within, copies),
            |info| !info.mapped_here,
        )
    }

    fn unmap(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.change_maps(
            within,
            copies,
            |array, within, copies| array.unmap(within, copies),
            |array, within, copies| array.map(within, copies),
            |info| info.mapped_here,
        )
    }

    fn delete(&self, within: Duration, copy: LunId) -> Result<DeleteOutcome, ArrayError> {
        let time = Time::begin(within);
        match &self.route(within, &[copy])?[..] {
            [Some((member, _))] => self.member(*member)?.delete(time.left()?, copy),
            _ => Ok(DeleteOutcome::AlreadyGone),
        }
    }

    fn break_copies(
        &self,
        within: Duration,
        copies: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError> {
        let nothing = |_: &dyn Array, _: Duration, _: &[LunId]| Ok(());
        let time = Time::begin(within);
        let routes = self.route(within, copies)?;
        let left = time.left()?;
        if let Some(at) = routes.iter().position(Option::is_none) {
            return self
                .member(0)?
                .break_copies(left, &copies[at..=at], unmap_too);
        }
        self.change_maps(
            left,
            copies,
            |array, within, copies| array.break_copies(within, copies, unmap_too),
            nothing,
            |_| false,
        )
    }

    fn resync(
        &self,
        within: Duration,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        let luns: Vec<LunId> = pairs
            .iter()
            .flat_map(|pair| [pair.copy, pair.target])
            .collect();
        let time = Time::begin(within);
        let member = Self::one_member(&self.route(within, &luns)?).ok_or_else(several)?;
        self.member(member)?.resync(time.left()?, id, pairs)
    }

    fn resync_status(
        &self,
        within: Duration,
        id: ResyncId,
        wait: Duration,
    ) -> Result<ResyncStatus, ArrayError> {
        first_known(self.answers(move |array| array.resync_status(within, id, wait)))
    }

    fn cancel_resync(&self, within: Duration, id: ResyncId) -> Result<ResyncStatus, ArrayError> {
        first_known(self.answers(move |array| array.cancel_resync(within, id)))
    }

    fn orphans(&self, within: Duration) -> Result<Vec<Orphan>, ArrayError> {
        let answers = self.ask(&self.everyone(), |_, array| array.orphans(within));
        let lists: Vec<_> = answers.into_iter().collect::<Result<_, _>>()?;
        Ok(lists.into_iter().flatten().collect())
    }
}

/// What both can do, and the worse of their states: the space is that of the one which has less.
fn combine(one: ArrayInfo, other: ArrayInfo) -> ArrayInfo {
    let (can, too) = (one.capabilities, other.capabilities);
    // Free space of one is of no use to the LUNs of another (OLS-8).
    let fuller = std::cmp::min_by_key(&one, &other, |info| info.free_bytes);
    let (capacity_bytes, free_bytes) = (fuller.capacity_bytes, fuller.free_bytes);
    ArrayInfo {
        name: format!("{}, {}", one.name, other.name),
        software: format!("{}, {}", one.software, other.software),
        contract_version: one.contract_version.min(other.contract_version),
        oldest_contract_version: one
            .oldest_contract_version
            .max(other.oldest_contract_version),
        host: one.host,
        capabilities: crate::Capabilities {
            differential: can.differential && too.differential,
            plex: can.plex && too.plex,
            transportable: can.transportable && too.transportable,
            persistent: can.persistent && too.persistent,
            resync: can.resync && too.resync,
            luns_per_set_max: can.luns_per_set_max.min(too.luns_per_set_max),
        },
        capacity_bytes,
        free_bytes,
        space: std::cmp::max_by_key(one.space, other.space, |level| *level as u8),
        time_unix_ms: one.time_unix_ms,
    }
}

/// The answers of those that know what was asked about; an error where one failed otherwise, or nobody knows it.
fn some_known<T>(
    answers: Vec<Result<T, ArrayError>>,
    unknown: ArrayErrorKind,
) -> Result<Vec<T>, ArrayError> {
    let mut known = Vec::new();
    let mut nobody = None;
    for answer in answers {
        match answer {
            Ok(answer) => known.push(answer),
            Err(error) if error.kind == unknown => nobody = Some(error),
            Err(error) => return Err(error),
        }
    }
    match nobody {
        Some(error) if known.is_empty() => Err(error),
        _ => Ok(known),
    }
}

/// Of one operation, which at most one member knows. A member that failed may be the one.
fn first_known<T>(
    answers: impl Iterator<Item = (usize, Result<T, ArrayError>)>,
) -> Result<T, ArrayError> {
    let mut refusal = None;
    for (_, answer) in answers {
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) if error.kind == ArrayErrorKind::UnknownResync && refusal.is_some() => {}
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or_else(broke))
}

fn several() -> ArrayError {
    ArrayError::new(
        ArrayErrorKind::NotSupported,
        "the LUNs are on several arrays",
        "keep the LUNs of a volume on one array",
    )
}

fn no_thread(error: &std::io::Error) -> ArrayError {
    ArrayError::new(
        ArrayErrorKind::LimitReached,
        format!("no thread could be started: {error}"),
        "close programs on this host; it is short of memory",
    )
}

/// A member that panicked, or answered with less than was asked.
fn broke() -> ArrayError {
    ArrayError::new(
        ArrayErrorKind::Internal,
        "an array of the group gave no whole answer",
        "see the events of the same time; report it to the makers of the provider",
    )
}

#[cfg(all(test, feature = "simulation"))]
mod tests;
