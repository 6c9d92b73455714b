// SPDX-License-Identifier: MIT OR Apache-2.0
//! The catalogue: LUNs, hosts and sets, and what each call makes of them. No I/O, no clock.

use array_api::{
    AbortOutcome, Armed, ArrayError, ArrayErrorKind, CopyInfo, CopyNeeds, CopyReport,
    DeleteOutcome, Designator, LunId, LunIdentity, LunInfo, LunRole, LunState, Orphan,
    PrepareOutcome, PrepareRequest, Readiness, ResyncId, ResyncPair, ResyncStatus, SetId,
    SnapshotId,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// After this the array refuses to capture an armed set.
const COMMIT_WITHIN_MS: u32 = 8000;
/// NAA 6, and a company id of the locally administered space: the first 28 of a LUN's 128 bits.
const NAA_PREFIX: u128 = 0x602_414e;
const RANDOM_BITS: u32 = 100;

/// The LUN that a designator names: this vendor shows one NAA designator (type 3, binary) of 16 bytes.
pub fn anvil_lun(designator: &Designator) -> Option<LunId> {
    let bytes: [u8; 16] = designator.bytes.as_slice().try_into().ok()?;
    let id = u128::from_be_bytes(bytes);
    let ours = (designator.code_set, designator.kind) == (1, 3) && id >> RANDOM_BITS == NAA_PREFIX;
    ours.then_some(LunId(id))
}

/// Everything that the array knows.
#[derive(Default, Serialize, Deserialize)]
pub struct State {
    luns: BTreeMap<LunId, Lun>,
    sets: BTreeMap<SetId, Set>,
    groups: BTreeMap<String, String>,
    resync_right: BTreeSet<String>,
    resyncs: BTreeMap<ResyncId, Resync>,
    copies_are_held: bool,
    /// LUNs that went, whose contents may go.
    #[serde(skip)]
    garbage: Vec<LunId>,
}

/// One LUN.
#[derive(Clone, Serialize, Deserialize)]
pub struct Lun {
    /// Its size.
    pub size_bytes: u64,
    /// The hosts that see it.
    pub maps: BTreeSet<String>,
    /// The tag, of a copy.
    pub copy: Option<CopyInfo>,
}

/// A set in progress, or reported.
#[derive(Serialize, Deserialize)]
pub(crate) struct Set {
    host: String,
    needs: CopyNeeds,
    snapshots: BTreeMap<SnapshotId, Vec<LunId>>,
    targets: BTreeMap<LunId, LunId>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Preparing,
    Armed { until_ms: u64 },
    Committed,
}

#[derive(Serialize, Deserialize)]
struct Resync {
    host: String,
    status: ResyncStatus,
}

pub(crate) fn fail<T>(kind: ArrayErrorKind, message: impl Into<String>) -> Result<T, ArrayError> {
    let remedy = "look at the array's list of LUNs and hosts";
    Err(ArrayError::new(kind, message, remedy))
}

/// What the array's administrator does.
impl State {
    /// A new original.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn create_lun(&mut self, size_bytes: u64, hosts: &[&str]) -> Result<LunId, ArrayError> {
        let maps = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.insert(size_bytes, maps, None)
    }

    /// Removes an original or a copy, whoever sees it.
    pub fn remove(&mut self, lun: LunId) {
        if self.luns.remove(&lun).is_some() {
            self.garbage.push(lun);
        }
    }

    /// Puts hosts into one group, whose members may use one another's copies.
    pub fn set_group(&mut self, group: &str, hosts: &[&str]) {
        for host in hosts {
            let group = format!("group {group}");
            self.groups.insert((*host).to_owned(), group);
        }
    }

    /// Lets a host overwrite its LUNs by resync.
    pub fn allow_resync(&mut self, host: &str) {
        self.resync_right.insert(host.to_owned());
    }

    /// Lets no copy become ready from now on, or lets them again.
    pub fn hold_copies(&mut self, held: bool) {
        self.copies_are_held = held;
    }

    /// Originals, copies and reservations.
    pub fn luns(&self) -> &BTreeMap<LunId, Lun> {
        &self.luns
    }

    pub(crate) fn take_garbage(mut self) -> Vec<LunId> {
        std::mem::take(&mut self.garbage)
    }

    fn insert(
        &mut self,
        size_bytes: u64,
        maps: BTreeSet<String>,
        copy: Option<CopyInfo>,
    ) -> Result<LunId, ArrayError> {
        let random = LunId::random().or_else(|error| {
            let what = format!("no random numbers: {error}");
            fail(ArrayErrorKind::Internal, what)
        })?;
        let id = LunId((NAA_PREFIX << RANDOM_BITS) | (random.0 >> (128 - RANDOM_BITS)));
        let lun = Lun {
            size_bytes,
            maps,
            copy,
        };
        self.luns.insert(id, lun);
        Ok(id)
    }
}

/// What INQUIRY and the pages 80h and 83h show; never changes for a LUN.
fn identity(id: LunId) -> LunIdentity {
    LunIdentity {
        vendor: "ANVILEXA".to_owned(),
        product: "FOLDER-OF-FILES1".to_owned(),
        revision: "0001".to_owned(),
        serial: id.to_string(),
        designators: vec![Designator {
            code_set: 1,
            kind: 3,
            bytes: id.0.to_be_bytes().to_vec(),
        }],
    }
}

/// What providers do, each for its `host`.
impl State {
    pub(crate) fn info(&self, host: &str, id: LunId) -> Option<LunInfo> {
        let lun = self.luns.get(&id)?;
        Some(LunInfo {
            id,
            name: format!("anvil-{id}"),
            size_bytes: lun.size_bytes,
            identity: identity(id),
            mapped_here: lun.maps.contains(host),
            mapped_elsewhere: lun.maps.iter().any(|other| other != host),
            role: match &lun.copy {
                None => LunRole::Original,
                Some(tag) => LunRole::Copy(tag.clone()),
            },
        })
    }

    pub(crate) fn can_copy(
        &self,
        host: &str,
        luns: &[LunId],
        needs: &CopyNeeds,
    ) -> Result<(), ArrayError> {
        let distinct: BTreeSet<_> = luns.iter().collect();
        if luns.is_empty() || distinct.len() != luns.len() {
            return fail(ArrayErrorKind::InvalidRequest, "no LUN, or one twice");
        }
        for id in luns {
            if !self.lun(*id)?.maps.contains(host) {
                let what = format!("{id} is not mapped to {host}");
                return fail(ArrayErrorKind::Forbidden, what);
            }
        }
        match needs.differential {
            true => fail(ArrayErrorKind::NotSupported, "copies are full copies here"),
            false => Ok(()),
        }
    }

    pub(crate) fn prepare(
        &mut self,
        host: &str,
        id: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        if let Some(set) = self.sets.get(&id) {
            if set.host != host {
                return fail(ArrayErrorKind::Forbidden, "this is another host's set");
            }
            let known = set.snapshots.get(&request.snapshot);
            if known == Some(&request.luns) && set.needs == request.needs {
                return Ok(PrepareOutcome::Identical);
            }
            if set.phase != Phase::Preparing {
                return fail(ArrayErrorKind::WrongState, "the set is closed");
            }
            if known.is_some() || set.needs != request.needs {
                return fail(ArrayErrorKind::InvalidRequest, "same id, other contents");
            }
        }
        self.can_copy(host, &request.luns, &request.needs)?;
        self.give_up_others(host, id)?;
        let set = self.sets.remove(&id);
        let mut set = set.unwrap_or_else(|| Set {
            host: host.to_owned(),
            needs: request.needs,
            snapshots: BTreeMap::new(),
            targets: BTreeMap::new(),
            phase: Phase::Preparing,
        });
        for source in &request.luns {
            let copy = match set.targets.get(source) {
                Some(copy) => *copy,
                None => self.reserve(host, id, *source)?,
            };
            set.targets.insert(*source, copy);
            let tag = self.luns.get_mut(&copy).and_then(|lun| lun.copy.as_mut());
            tag.expect("reserved as a copy")
                .snapshots
                .push(request.snapshot);
        }
        set.snapshots.insert(request.snapshot, request.luns.clone());
        self.sets.insert(id, set);
        Ok(PrepareOutcome::Added)
    }

    fn reserve(&mut self, host: &str, set: SetId, source: LunId) -> Result<LunId, ArrayError> {
        let tag = CopyInfo {
            set,
            snapshots: Vec::new(),
            source,
            creator_host: host.to_owned(),
            importing_host: None,
            state: LunState::Reserved,
            created_unix_s: 0,
        };
        let size_bytes = self.lun(source)?.size_bytes;
        self.insert(size_bytes, BTreeSet::new(), Some(tag))
    }

    /// What this host prepared or captured and never reported goes with its next set.
    fn give_up_others(&mut self, host: &str, keep: SetId) -> Result<(), ArrayError> {
        let others = self.sets.iter();
        let others = others.filter(|(id, set)| set.host == host && **id != keep);
        let others: Vec<_> = others.map(|(id, _)| *id).collect();
        for id in others {
            self.abort(host, id, false)?;
        }
        Ok(())
    }

    pub(crate) fn set(&mut self, host: &str, id: SetId) -> Result<&mut Set, ArrayError> {
        match self.sets.get_mut(&id) {
            Some(set) if set.host == host => Ok(set),
            _ => fail(
                ArrayErrorKind::UnknownSet,
                format!("set {id} is not in progress"),
            ),
        }
    }

    pub(crate) fn ready(&mut self, host: &str, id: SetId) -> Result<Readiness, ArrayError> {
        self.set(host, id)?;
        Ok(match self.copies_are_held {
            true => Readiness::Preparing,
            false => Readiness::Ready,
        })
    }

    pub(crate) fn size_of(&self, id: SetId) -> u32 {
        let count = self.sets.get(&id).map_or(0, |set| set.targets.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(crate) fn arm(&mut self, host: &str, id: SetId, now_ms: u64) -> Result<Armed, ArrayError> {
        let set = self.set(host, id)?;
        let until_ms = match set.phase {
            Phase::Preparing => now_ms + u64::from(COMMIT_WITHIN_MS),
            Phase::Armed { until_ms } => until_ms,
            Phase::Committed => return fail(ArrayErrorKind::WrongState, "the set is captured"),
        };
        set.phase = Phase::Armed { until_ms };
        let left = u32::try_from(until_ms.saturating_sub(now_ms));
        Ok(Armed {
            commit_within_ms: left.unwrap_or(COMMIT_WITHIN_MS),
        })
    }

    /// Which LUN to copy to which, now; none when that was done before.
    pub(crate) fn commit(
        &mut self,
        host: &str,
        id: SetId,
        now_ms: u64,
    ) -> Result<Vec<(LunId, LunId)>, ArrayError> {
        let set = self.set(host, id)?;
        match set.phase {
            Phase::Preparing => {
                return fail(ArrayErrorKind::WrongState, "the set is not armed");
            }
            Phase::Armed { until_ms } if now_ms > until_ms => {
                return fail(ArrayErrorKind::DeadlinePassed, "armed too long ago");
            }
            Phase::Committed => return Ok(Vec::new()),
            Phase::Armed { .. } => set.phase = Phase::Committed,
        }
        let pairs: Vec<_> = set.targets.iter().map(|(from, to)| (*from, *to)).collect();
        for (source, copy) in &pairs {
            let size_bytes = self.lun(*source)?.size_bytes;
            if let Some(lun) = self.luns.get_mut(copy) {
                lun.size_bytes = size_bytes;
                advance(lun, LunState::Captured);
            }
        }
        Ok(pairs)
    }

    pub(crate) fn report(
        &mut self,
        host: &str,
        id: SetId,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        let set = self.set(host, id)?;
        if set.phase != Phase::Committed {
            return fail(ArrayErrorKind::WrongState, "the set is not captured");
        }
        let mut reports = Vec::new();
        for source in sources {
            let Some(copy) = set.targets.get(source).copied() else {
                let what = format!("{source} is not in the set");
                return fail(ArrayErrorKind::UnknownLun, what);
            };
            reports.push(CopyReport {
                source: *source,
                copy,
                identity: identity(copy),
            });
        }
        for report in &reports {
            if let Some(lun) = self.luns.get_mut(&report.copy) {
                advance(lun, LunState::Reported);
            }
        }
        Ok(reports)
    }

    pub(crate) fn abort(
        &mut self,
        host: &str,
        id: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError> {
        let copies: Vec<_> = self.set(host, id)?.targets.values().copied().collect();
        let mut outcome = AbortOutcome::default();
        for copy in copies {
            let Some(lun) = self.luns.get_mut(&copy) else {
                continue;
            };
            let told = lun.copy.as_ref().map(|tag| is_told(tag.state));
            let elsewhere = lun.maps.iter().any(|other| other != host);
            match told {
                Some(false) => outcome.discarded.push(copy),
                Some(true) if reported_too && !elsewhere => outcome.discarded.push(copy),
                Some(true) if reported_too => {
                    lun.maps.remove(host);
                    outcome.kept.push(copy);
                }
                // Reported, or broken: no copy any more.
                _ => outcome.kept.push(copy),
            }
        }
        for copy in &outcome.discarded {
            self.remove(*copy);
        }
        if reported_too || outcome.kept.is_empty() {
            self.sets.remove(&id);
        } else {
            let set = self.set(host, id)?;
            set.targets.retain(|_, copy| outcome.kept.contains(copy));
        }
        Ok(outcome)
    }

    pub(crate) fn map(&mut self, host: &str, copies: &[LunId]) -> Result<(), ArrayError> {
        self.all_told(host, copies)?;
        for copy in copies {
            let lun = self.luns.get_mut(copy).expect("looked at just now");
            lun.maps.insert(host.to_owned());
            advance(lun, LunState::Mapped);
            if let Some(tag) = &mut lun.copy {
                tag.importing_host = Some(host.to_owned());
            }
        }
        Ok(())
    }

    pub(crate) fn unmap(&mut self, host: &str, copies: &[LunId]) -> Result<(), ArrayError> {
        self.all_told(host, copies)?;
        for copy in copies {
            let lun = self.luns.get_mut(copy).expect("looked at just now");
            lun.maps.remove(host);
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, host: &str, copy: LunId) -> Result<DeleteOutcome, ArrayError> {
        if !self.luns.contains_key(&copy) {
            return Ok(DeleteOutcome::AlreadyGone);
        }
        self.all_told(host, &[copy])?;
        let lun = self.luns.get_mut(&copy).expect("looked at just now");
        lun.maps.remove(host);
        if !lun.maps.is_empty() {
            return Ok(DeleteOutcome::KeptMappedElsewhere);
        }
        self.remove(copy);
        let luns = &self.luns;
        self.sets
            .retain(|_, set| set.targets.values().any(|copy| luns.contains_key(copy)));
        Ok(DeleteOutcome::Deleted)
    }

    pub(crate) fn break_copies(
        &mut self,
        host: &str,
        copies: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError> {
        for copy in copies {
            let lun = self.lun(*copy)?;
            // An ordinary LUN is what a break makes: the answer of an earlier one may have been lost.
            if lun.copy.is_some() || (unmap_too && lun.maps.contains(host)) {
                self.all_told(host, &[*copy])?;
            }
        }
        for copy in copies {
            let lun = self.luns.get_mut(copy).expect("looked at just now");
            lun.copy = None;
            if unmap_too {
                lun.maps.remove(host);
            }
        }
        Ok(())
    }

    /// What to copy, now; nothing when this id came before.
    pub(crate) fn resync<'a>(
        &mut self,
        host: &str,
        id: ResyncId,
        pairs: &'a [ResyncPair],
    ) -> Result<&'a [ResyncPair], ArrayError> {
        if self.resync_status(host, id).is_ok() {
            return Ok(&[]);
        }
        if !self.resync_right.contains(host) {
            return fail(ArrayErrorKind::Forbidden, format!("{host} may not resync"));
        }
        let targets: BTreeSet<_> = pairs.iter().map(|pair| pair.target).collect();
        let contradict = pairs.iter().any(|pair| targets.contains(&pair.copy));
        if pairs.is_empty() || targets.len() != pairs.len() || contradict {
            return fail(ArrayErrorKind::InvalidRequest, "the pairs contradict");
        }
        for pair in pairs {
            self.all_told(host, &[pair.copy])?;
            if !self.lun(pair.target)?.maps.contains(host) {
                return fail(ArrayErrorKind::Forbidden, "the target is not mapped");
            }
        }
        for pair in pairs {
            let size_bytes = self.lun(pair.copy)?.size_bytes;
            let target = self.luns.get_mut(&pair.target);
            target.expect("looked at just now").size_bytes = size_bytes;
        }
        let done = Resync {
            host: host.to_owned(),
            status: ResyncStatus::Finished,
        };
        self.resyncs.insert(id, done);
        Ok(pairs)
    }

    pub(crate) fn resync_status(
        &self,
        host: &str,
        id: ResyncId,
    ) -> Result<ResyncStatus, ArrayError> {
        match self.resyncs.get(&id) {
            Some(resync) if resync.host == host => Ok(resync.status.clone()),
            _ => fail(ArrayErrorKind::UnknownResync, "there was no such resync"),
        }
    }

    pub(crate) fn orphans(&self, host: &str) -> Vec<Orphan> {
        let orphan = |(id, lun): (&LunId, &Lun)| {
            let tag = lun.copy.clone()?;
            let ours = tag.creator_host == host && tag.state != LunState::Mapped;
            ours.then_some(Orphan { copy: *id, tag })
        };
        self.luns.iter().filter_map(orphan).collect()
    }

    fn lun(&self, id: LunId) -> Result<&Lun, ArrayError> {
        match self.luns.get(&id) {
            Some(lun) => Ok(lun),
            None => fail(ArrayErrorKind::UnknownLun, format!("there is no LUN {id}")),
        }
    }

    /// Whether all are copies of the host's group that VSS was told of.
    fn all_told(&self, host: &str, copies: &[LunId]) -> Result<(), ArrayError> {
        let group = |host: &str| self.groups.get(host).cloned().unwrap_or(host.to_owned());
        for id in copies {
            let Some(tag) = &self.lun(*id)?.copy else {
                return fail(ArrayErrorKind::NotACopy, format!("{id} is no copy"));
            };
            if group(&tag.creator_host) != group(host) {
                return fail(ArrayErrorKind::Forbidden, format!("{id} is not {host}'s"));
            }
            if !is_told(tag.state) {
                let what = format!("{id} belongs to a set in progress");
                return fail(ArrayErrorKind::WrongState, what);
            }
        }
        Ok(())
    }
}

fn is_told(state: LunState) -> bool {
    matches!(state, LunState::Reported | LunState::Mapped)
}

/// A copy's state goes forward only.
fn advance(lun: &mut Lun, to: LunState) {
    let rank = |state| match state {
        LunState::Reserved => 0,
        LunState::Captured => 1,
        LunState::Reported => 2,
        LunState::Mapped => 3,
    };
    if let Some(tag) = &mut lun.copy
        && rank(tag.state) < rank(to)
    {
        tag.state = to;
    }
}
