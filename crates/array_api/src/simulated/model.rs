// SPDX-License-Identifier: MIT OR Apache-2.0
use super::resync::Resync;
use crate::{
    AbortOutcome, Armed, ArrayError, ArrayErrorKind, Capabilities, CommitReport, CopyInfo,
    CopyNeeds, CopyReport, DeleteOutcome, LunId, LunIdentity, LunInfo, LunRole, LunState, Orphan,
    Oui, PrepareOutcome, PrepareRequest, ResyncId, SetId, SnapshotId, SpaceLevel,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) const CAPACITY_BYTES: u64 = 1 << 50;
/// Past this the array refuses to capture (design, "One array call commits").
const COMMIT_WITHIN: Duration = Duration::from_secs(8);
/// Disks have numbers 1-254 on each host (design, "Shadow LUNs come up in the session").
const LUN_NUMBERS: usize = 254;

pub(super) struct Lun {
    pub(super) size_bytes: u64,
    pub(super) identity: LunIdentity,
    pub(super) maps: BTreeSet<String>,
    /// Those of `maps` that an administrator made read-only.
    pub(super) read_only: BTreeSet<String>,
    pub(super) content: u64,
    copy: Option<CopyInfo>,
    pub(super) reserved_bytes: u64,
}

pub(super) struct Set {
    host: String,
    snapshots: BTreeMap<SnapshotId, Vec<LunId>>,
    needs: CopyNeeds,
    targets: BTreeMap<LunId, LunId>,
    phase: Phase,
    pub(super) ready_at: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Preparing,
    Armed { until: Duration },
    Committed,
}

pub(super) struct Model {
    pub(super) luns: BTreeMap<LunId, Lun>,
    pub(super) sets: BTreeMap<SetId, Set>,
    pub(super) groups: BTreeMap<String, String>,
    pub(super) resync_right: BTreeSet<String>,
    pub(super) resyncs: BTreeMap<(String, ResyncId), Resync>,
    /// Keys of `resyncs` that have not ended, as far as is known.
    pub(super) running: Vec<(String, ResyncId)>,
    pub(super) resync_time: Duration,
    pub(super) resync_failure: Option<ArrayError>,
    pub(super) deletion_time: Duration,
    /// Space of deleted copies, and when it comes back.
    returning: Vec<(Duration, u64)>,
    pub(super) immovable: BTreeSet<LunId>,
    pub(super) space: SpaceLevel,
    pub(super) capabilities: Capabilities,
    pub(super) free_bytes: u64,
    pub(super) copies_max: usize,
    pub(super) preparation: Duration,
    /// Fails after so many LUNs: the fault PART of the call under way.
    pub(super) part: Option<usize>,
    created: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            luns: BTreeMap::new(),
            sets: BTreeMap::new(),
            groups: BTreeMap::new(),
            resync_right: BTreeSet::new(),
            resyncs: BTreeMap::new(),
            running: Vec::new(),
            resync_time: Duration::ZERO,
            resync_failure: None,
            deletion_time: Duration::ZERO,
            returning: Vec::new(),
            immovable: BTreeSet::new(),
            space: SpaceLevel::Ample,
            capabilities: Capabilities {
                differential: true,
                plex: false,
                transportable: true,
                persistent: true,
                resync: true,
                luns_per_set_max: 256,
            },
            free_bytes: CAPACITY_BYTES,
            copies_max: 4096,
            preparation: Duration::ZERO,
            part: None,
            created: 0,
        }
    }

    /// What the array does by itself up to now: resyncs end, space comes back.
    pub(super) fn let_pass(&mut self, now: Duration) {
        self.end_resyncs(now);
        let free_bytes = &mut self.free_bytes;
        self.returning.retain(|(at, bytes)| {
            let due = *at <= now;
            *free_bytes += if due { *bytes } else { 0 };
            !due
        });
    }

    pub(super) fn create_lun(&mut self, size_bytes: u64, hosts: &[&str]) -> LunId {
        let maps = hosts.iter().map(|&h| h.to_owned()).collect();
        self.insert(size_bytes, maps, None, 0)
    }

    fn insert(
        &mut self,
        size_bytes: u64,
        maps: BTreeSet<String>,
        copy: Option<CopyInfo>,
        reserved_bytes: u64,
    ) -> LunId {
        self.created += 1;
        // Reproducible, and different in the high bits, which are all that the NAA designator holds.
        let high = mix(self.created);
        let id = LunId((u128::from(high) << 64) | u128::from(mix(high)));
        self.luns.insert(
            id,
            Lun {
                size_bytes,
                identity: LunIdentity::new(id, Oui::LOCAL, *b"0001"),
                maps,
                read_only: BTreeSet::new(),
                content: 0,
                copy,
                reserved_bytes,
            },
        );
        id
    }

    pub(super) fn info(&self, host: &str, id: LunId) -> Option<LunInfo> {
        let lun = self.luns.get(&id)?;
        Some(LunInfo {
            id,
            name: format!("lun-{id}"),
            size_bytes: lun.size_bytes,
            identity: lun.identity.clone(),
            mapped_here: lun.maps.contains(host),
            mapped_elsewhere: lun.maps.iter().any(|h| h != host),
            role: match &lun.copy {
                None => LunRole::Original,
                Some(copy) => LunRole::Copy(copy.clone()),
            },
        })
    }

    pub(super) fn can_prepare(
        &self,
        host: &str,
        luns: &[LunId],
        needs: &CopyNeeds,
    ) -> Result<(), ArrayError> {
        if luns.is_empty() || luns.iter().collect::<BTreeSet<_>>().len() != luns.len() {
            return fail(ArrayErrorKind::InvalidRequest, "no LUN, or one twice");
        }
        for id in luns {
            let lun = self.lun(*id)?;
            if !lun.maps.contains(host) {
                return fail(ArrayErrorKind::Forbidden, format!("{id} is not mapped"));
            }
        }
        if !needs.met_by(&self.capabilities)
            || (needs.transportable && luns.iter().any(|l| self.immovable.contains(l)))
        {
            return fail(ArrayErrorKind::NotSupported, "no copy of this kind");
        }
        let copies = self.luns.values().filter(|l| l.copy.is_some()).count();
        if copies + luns.len() > self.copies_max {
            return fail(ArrayErrorKind::LimitReached, "too many copies");
        }
        if luns.iter().map(|l| self.luns[l].size_bytes).sum::<u64>() > self.free_bytes {
            return fail(ArrayErrorKind::NoSpace, "space is short");
        }
        Ok(())
    }

    pub(super) fn prepare(
        &mut self,
        host: &str,
        now: Duration,
        id: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        if let Some(set) = self.sets.get(&id) {
            if set.host != host {
                return fail(ArrayErrorKind::Forbidden, "another host's set");
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
        let targets = self.sets.get(&id).map(|s| s.targets.clone());
        let mut targets = targets.unwrap_or_default();
        let sources: Vec<_> = request.luns.clone();
        let missing: Vec<_> = sources
            .iter()
            .copied()
            .filter(|l| !targets.contains_key(l))
            .collect();
        self.can_prepare(host, &sources, &request.needs)
            .or_else(|e| {
                // A LUN that another volume of the set has reserved already costs nothing more (SEQ-22).
                let shared = missing.is_empty()
                    && matches!(
                        e.kind,
                        ArrayErrorKind::NoSpace | ArrayErrorKind::LimitReached
                    );
                if shared { Ok(()) } else { Err(e) }
            })?;
        if targets.len() + missing.len() > self.capabilities.luns_per_set_max as usize {
            return fail(ArrayErrorKind::LimitReached, "too many LUNs in the set");
        }
        self.discard_other_sets(host, id);
        for (index, source) in missing.into_iter().enumerate() {
            if self.part == Some(index) {
                self.store_set(host, now, id, request, targets);
                return fail(ArrayErrorKind::Internal, "failed half-way");
            }
            let copy = self.reserve(host, id, source);
            targets.insert(source, copy);
        }
        self.store_set(host, now, id, request, targets.clone());
        for source in &sources {
            let copy = self.luns.get_mut(&targets[source]).expect("just reserved");
            let tag = copy.copy.as_mut().expect("reserved as a copy");
            tag.snapshots.push(request.snapshot);
        }
        let set = self.sets.get_mut(&id).expect("just stored");
        set.snapshots.insert(request.snapshot, sources);
        Ok(PrepareOutcome::Added)
    }

    fn store_set(
        &mut self,
        host: &str,
        now: Duration,
        id: SetId,
        request: &PrepareRequest,
        targets: BTreeMap<LunId, LunId>,
    ) {
        let ready_at = now + self.preparation;
        let set = self.sets.entry(id).or_insert_with(|| Set {
            host: host.to_owned(),
            snapshots: BTreeMap::new(),
            needs: request.needs,
            targets: BTreeMap::new(),
            phase: Phase::Preparing,
            ready_at,
        });
        set.targets = targets;
        set.ready_at = ready_at;
    }

    fn reserve(&mut self, host: &str, set: SetId, source: LunId) -> LunId {
        let size_bytes = self.luns[&source].size_bytes;
        self.free_bytes -= size_bytes.min(self.free_bytes);
        let tag = CopyInfo {
            set,
            snapshots: Vec::new(),
            source,
            creator_host: host.to_owned(),
            importing_host: None,
            state: LunState::Reserved,
            created_unix_s: 0,
        };
        self.insert(size_bytes, BTreeSet::new(), Some(tag), size_bytes)
    }

    /// What this host prepared or captured and never reported is given up by its next set.
    fn discard_other_sets(&mut self, host: &str, keep: SetId) {
        let others: Vec<_> = self
            .sets
            .iter()
            .filter(|(id, set)| set.host == host && **id != keep)
            .map(|(id, _)| *id)
            .collect();
        for id in others {
            self.abort(host, id, false)
                .expect("a set that was just listed is known");
        }
    }

    pub(super) fn set(&mut self, host: &str, id: SetId) -> Result<&mut Set, ArrayError> {
        match self.sets.get_mut(&id) {
            Some(set) if set.host == host => Ok(set),
            _ => fail(
                ArrayErrorKind::UnknownSet,
                format!("set {id} is not in progress"),
            ),
        }
    }

    pub(super) fn arm(
        &mut self,
        host: &str,
        now: Duration,
        id: SetId,
    ) -> Result<Armed, ArrayError> {
        let set = self.set(host, id)?;
        let until = match set.phase {
            Phase::Preparing if set.ready_at <= now => now + COMMIT_WITHIN,
            Phase::Armed { until } => until,
            _ => {
                return fail(
                    ArrayErrorKind::WrongState,
                    "the set is not ready, or committed",
                );
            }
        };
        set.phase = Phase::Armed { until };
        let left = until.saturating_sub(now).as_millis();
        Ok(Armed {
            commit_within_ms: u32::try_from(left).expect("at most 8000"),
        })
    }

    pub(super) fn commit(
        &mut self,
        host: &str,
        now: Duration,
        id: SetId,
    ) -> Result<CommitReport, ArrayError> {
        let part = self.part;
        let set = self.set(host, id)?;
        let targets = set.targets.clone();
        match set.phase {
            Phase::Preparing => {
                return fail(ArrayErrorKind::WrongState, "the set is not armed");
            }
            Phase::Armed { until } if now > until => {
                return fail(ArrayErrorKind::DeadlinePassed, "armed too long ago");
            }
            Phase::Armed { .. } => {
                if part.is_none() {
                    set.phase = Phase::Committed;
                }
                for (source, copy) in targets.iter().take(part.unwrap_or(usize::MAX)) {
                    self.capture(*source, *copy);
                }
                if part.is_some() {
                    return fail(ArrayErrorKind::Internal, "failed half-way");
                }
            }
            Phase::Committed => {}
        }
        Ok(CommitReport {
            held_us: 100,
            total_us: 1000,
            luns: u32::try_from(targets.len()).expect("bounded by luns_per_set_max"),
        })
    }

    fn capture(&mut self, source: LunId, copy: LunId) {
        let Some(original) = self.luns.get(&source) else {
            return;
        };
        let (content, size_bytes) = (original.content, original.size_bytes);
        if let Some(copy) = self.luns.get_mut(&copy) {
            (copy.content, copy.size_bytes) = (content, size_bytes);
            if let Some(tag) = &mut copy.copy {
                tag.state = LunState::Captured;
            }
        }
    }

    pub(super) fn report(
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
        let targets = set.targets.clone();
        for source in sources {
            let Some(copy) = targets.get(source) else {
                return fail(ArrayErrorKind::UnknownLun, format!("{source} is not in it"));
            };
            reports.push(CopyReport {
                source: *source,
                copy: *copy,
                identity: self.lun(*copy)?.identity.clone(),
            });
        }
        for report in &reports {
            let lun = self.luns.get_mut(&report.copy).expect("looked up above");
            if let Some(tag) = &mut lun.copy
                && tag.state == LunState::Captured
            {
                tag.state = LunState::Reported;
            }
        }
        Ok(reports)
    }

    pub(super) fn abort(
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
            let told = match &lun.copy {
                None => {
                    outcome.kept.push(copy);
                    continue;
                }
                Some(tag) => matches!(tag.state, LunState::Reported | LunState::Mapped),
            };
            let elsewhere = lun.maps.iter().any(|h| h != host);
            if told && (!reported_too || elsewhere) {
                if reported_too {
                    lun.maps.remove(host);
                }
                outcome.kept.push(copy);
            } else {
                self.remove(copy);
                outcome.discarded.push(copy);
            }
        }
        if reported_too || outcome.kept.is_empty() {
            self.sets.remove(&id);
        } else {
            let set = self.sets.get_mut(&id).expect("looked up above");
            set.targets.retain(|_, copy| outcome.kept.contains(copy));
        }
        Ok(outcome)
    }

    fn remove(&mut self, id: LunId) {
        if let Some(lun) = self.luns.remove(&id) {
            self.free_bytes += lun.reserved_bytes;
        }
    }

    /// A copy that this host may touch.
    fn own_copy(&self, host: &str, id: LunId) -> Result<LunState, ArrayError> {
        let Some(tag) = &self.lun(id)?.copy else {
            return fail(ArrayErrorKind::NotACopy, format!("{id} is no shadow copy"));
        };
        if self.group(&tag.creator_host) != self.group(host) {
            return fail(ArrayErrorKind::Forbidden, format!("{id} is not {host}'s"));
        }
        Ok(tag.state)
    }

    pub(super) fn told_copy(&self, host: &str, id: LunId) -> Result<(), ArrayError> {
        match self.own_copy(host, id)? {
            LunState::Reported | LunState::Mapped => Ok(()),
            LunState::Reserved | LunState::Captured => fail(
                ArrayErrorKind::WrongState,
                format!("{id} belongs to a set in progress"),
            ),
        }
    }

    fn group<'a>(&'a self, host: &'a str) -> &'a str {
        self.groups.get(host).map_or(host, String::as_str)
    }

    pub(super) fn map(&mut self, host: &str, copies: &[LunId]) -> Result<(), ArrayError> {
        let distinct: BTreeSet<_> = copies.iter().copied().collect();
        for copy in &distinct {
            self.told_copy(host, *copy)?;
        }
        let used = self.luns.values().filter(|l| l.maps.contains(host)).count();
        let new = distinct
            .iter()
            .filter(|c| !self.luns[c].maps.contains(host))
            .count();
        if used + new > LUN_NUMBERS {
            return fail(ArrayErrorKind::LimitReached, "no LUN number is free");
        }
        for (index, copy) in distinct.iter().enumerate() {
            if self.part == Some(index) {
                return fail(ArrayErrorKind::Internal, "failed half-way");
            }
            let lun = self.luns.get_mut(copy).expect("checked above");
            lun.maps.insert(host.to_owned());
            lun.read_only.remove(host);
            if let Some(tag) = &mut lun.copy {
                tag.state = LunState::Mapped;
                tag.importing_host = Some(host.to_owned());
            }
        }
        Ok(())
    }

    pub(super) fn unmap(&mut self, host: &str, copies: &[LunId]) -> Result<(), ArrayError> {
        for copy in copies {
            self.told_copy(host, *copy)?;
        }
        for copy in copies {
            let lun = self.luns.get_mut(copy).expect("checked above");
            lun.maps.remove(host);
        }
        Ok(())
    }

    pub(super) fn delete(
        &mut self,
        host: &str,
        now: Duration,
        copy: LunId,
    ) -> Result<DeleteOutcome, ArrayError> {
        if !self.luns.contains_key(&copy) {
            return Ok(DeleteOutcome::AlreadyGone);
        }
        self.told_copy(host, copy)?;
        self.not_in_resync(copy)?;
        let lun = self.luns.get_mut(&copy).expect("looked up above");
        lun.maps.remove(host);
        if !lun.maps.is_empty() {
            return Ok(DeleteOutcome::KeptMappedElsewhere);
        }
        let lun = self.luns.remove(&copy).expect("looked up above");
        let due = (now + self.deletion_time, lun.reserved_bytes);
        self.returning.push(due);
        self.let_pass(now);
        let luns = &self.luns;
        self.sets
            .retain(|_, set| set.targets.values().any(|c| luns.contains_key(c)));
        Ok(DeleteOutcome::Deleted)
    }

    pub(super) fn break_copies(
        &mut self,
        host: &str,
        copies: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError> {
        for copy in copies {
            let lun = self.lun(*copy)?;
            // An original is what a break makes; repeating one whose answer was lost is a success.
            if lun.copy.is_some() || (unmap_too && lun.maps.contains(host)) {
                self.told_copy(host, *copy)?;
            }
        }
        for copy in copies {
            let lun = self.luns.get_mut(copy).expect("checked above");
            lun.copy = None;
            if unmap_too {
                lun.maps.remove(host);
            }
        }
        Ok(())
    }

    pub(super) fn orphans(&self, host: &str) -> Vec<Orphan> {
        let tags = self.luns.iter().filter_map(|(id, lun)| {
            let tag = lun.copy.as_ref()?;
            (tag.creator_host == host && tag.state != LunState::Mapped).then(|| Orphan {
                copy: *id,
                tag: tag.clone(),
            })
        });
        tags.collect()
    }

    pub(super) fn unreported_sets(&self) -> BTreeSet<SetId> {
        let tags = self.luns.values().filter_map(|lun| lun.copy.as_ref());
        let untold = |tag: &&CopyInfo| matches!(tag.state, LunState::Reserved | LunState::Captured);
        tags.filter(untold).map(|tag| tag.set).collect()
    }

    pub(super) fn lun(&self, id: LunId) -> Result<&Lun, ArrayError> {
        self.luns.get(&id).ok_or_else(|| {
            ArrayError::new(
                ArrayErrorKind::UnknownLun,
                format!("there is no LUN {id}"),
                "look at the list of LUNs",
            )
        })
    }
}

pub(super) fn fail<T>(kind: ArrayErrorKind, message: impl Into<String>) -> Result<T, ArrayError> {
    Err(ArrayError::new(kind, message, "see the array's log"))
}

/// Spreads a counter over 64 bits, one to one (an odd multiplication and xor-shifts can be undone).
fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 31)
}
