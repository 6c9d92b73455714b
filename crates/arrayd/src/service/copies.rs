// SPDX-License-Identifier: MIT OR Apache-2.0
//! What hosts ask and do with single LUNs: info, query, map, unmap, delete, break, resync, orphans.

use super::refusal::{refuse, store_error};
use super::{LUNS_PER_SET_MAX, Service, State};
use array_api::{
    ArrayError, ArrayErrorKind, ArrayInfo, CONTRACT_VERSION, Capabilities, DeleteOutcome, LunId,
    LunInfo, LunState, OLDEST_CONTRACT_VERSION, Orphan, ResyncId, ResyncPair, ResyncStatus,
    SpaceLevel,
};
use block::{WriteFence, hold_all};
use lun_store::Resync;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Writes to the targets of a resync are held at most so long before it starts.
const RESYNC_DRAIN_MAX: Duration = Duration::from_secs(2);

/// Finished resyncs whose ids are remembered.
const RESYNCS_REMEMBERED: usize = 1024;

impl Service {
    /// Who the array is, what it can do, and how much space it has.
    pub fn info(&self, host: &str) -> ArrayInfo {
        let usage = self.store.usage();
        ArrayInfo {
            name: self.config.name.clone(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            contract_version: CONTRACT_VERSION,
            oldest_contract_version: OLDEST_CONTRACT_VERSION,
            host: host.to_owned(),
            capabilities: Capabilities {
                differential: true,
                plex: false,
                transportable: true,
                persistent: true,
                resync: true,
                luns_per_set_max: u32::try_from(LUNS_PER_SET_MAX).expect("a small number"),
            },
            capacity_bytes: usage.capacity_bytes,
            free_bytes: usage.free_bytes,
            space: SpaceLevel::Ample,
            time_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                }),
        }
    }

    /// What the array knows of each LUN, whoever has it mapped (ALS-11).
    pub fn query(&self, host: &str, luns: &[LunId]) -> Vec<Option<LunInfo>> {
        let state = self.lock();
        let info = |id: &LunId| {
            let lun = state.luns.get(id)?;
            Some(LunInfo {
                id: *id,
                name: lun.record.name.clone(),
                size_bytes: lun.size_bytes,
                identity: lun.record.identity.clone(),
                mapped_here: lun.record.map.contains_key(host),
                mapped_elsewhere: lun.record.map.keys().any(|mapped| mapped != host),
                role: lun.record.role(),
            })
        };
        luns.iter().map(info).collect()
    }

    /// Maps copies to the host, all or none (LOC-1). They are there when this returns (LOC-4).
    pub fn map(&self, host: &str, copies: &[LunId]) -> Result<(), ArrayError> {
        let mut state = self.lock();
        let copies: BTreeSet<LunId> = copies.iter().copied().collect();
        for copy in &copies {
            check_told_copy(&state, host, *copy)?;
        }
        self.map_luns(&mut state, host, &copies)
    }

    /// Unmaps copies from this host only (OLS-7).
    pub fn unmap(&self, host: &str, copies: &[LunId]) -> Result<(), ArrayError> {
        let mut state = self.lock();
        let copies: BTreeSet<LunId> = copies.iter().copied().collect();
        for copy in &copies {
            check_told_copy(&state, host, *copy)?;
            state.check_idle(*copy)?;
        }
        self.unmap_luns(&mut state, host, &copies)
    }

    /// Deletes a copy, unless another host has it mapped (OLE-5, OLE-7). Gone already is a success (OLE-4).
    pub fn delete(&self, host: &str, copy: LunId) -> Result<DeleteOutcome, ArrayError> {
        let mut state = self.lock();
        if !state.luns.contains_key(&copy) {
            return Ok(DeleteOutcome::AlreadyGone);
        }
        check_told_copy(&state, host, copy)?;
        state.check_idle(copy)?;
        let elsewhere = state.luns[&copy]
            .record
            .map
            .keys()
            .any(|mapped| mapped != host);
        if elsewhere {
            self.unmap_luns(&mut state, host, &BTreeSet::from([copy]))?;
            return Ok(DeleteOutcome::KeptMappedElsewhere);
        }
        self.remove(&mut state, &[copy])?;
        tracing::info!(%copy, host, "deleted");
        Ok(DeleteOutcome::Deleted)
    }

    /// Copies become ordinary LUNs (OLS-6). One that is ordinary already stays so: the answer of an earlier call may have
    /// been lost.
    pub fn break_copies(&self, host: &str, copies: &[LunId]) -> Result<(), ArrayError> {
        let mut state = self.lock();
        let copies: BTreeSet<LunId> = copies.iter().copied().collect();
        let mut records = Vec::new();
        for copy in copies {
            if state.lun(copy)?.record.copy.is_none() {
                continue;
            }
            check_told_copy(&state, host, copy)?;
            let mut record = state.luns[&copy].record.clone();
            record.copy = None;
            record.broken = true;
            records.push((copy, record));
        }
        self.set_records(&mut state, records)
    }

    /// Overwrites LUNs with copies, all or none, at once. Writes to the targets are held meanwhile, so that none lands
    /// half before and half after.
    pub fn resync(
        &self,
        host: &str,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        if let Ok(status) = self.resync_status(host, id) {
            return Ok(status);
        }
        let members: BTreeSet<LunId> = pairs
            .iter()
            .flat_map(|pair| [pair.copy, pair.target])
            .collect();
        let fences = {
            let mut state = self.lock();
            let fences = check_resync(&state, host, pairs)?;
            state.busy.extend(&members);
            fences
        };
        let result = self.overwrite(pairs, &fences);
        let mut state = self.lock();
        for member in &members {
            state.busy.remove(member);
        }
        result?;
        if state.resyncs.len() == RESYNCS_REMEMBERED {
            state.resyncs.pop_front();
        }
        state.resyncs.push_back((host.to_owned(), id));
        drop(state);
        for pair in pairs {
            tracing::warn!(target_lun = %pair.target, copy = %pair.copy, host, "overwritten by resync");
        }
        Ok(ResyncStatus::Finished)
    }

    /// How a resync of this host stands: the store redirects at once, so that one which is known has finished.
    pub fn resync_status(&self, host: &str, id: ResyncId) -> Result<ResyncStatus, ArrayError> {
        let state = self.lock();
        if state.resyncs.iter().any(|(h, i)| h == host && *i == id) {
            return Ok(ResyncStatus::Finished);
        }
        refuse(
            ArrayErrorKind::UnknownResync,
            format!("no resync {id} of this host is known"),
            "start it again",
        )
    }

    fn overwrite(
        &self,
        pairs: &[ResyncPair],
        fences: &[Arc<WriteFence>],
    ) -> Result<(), ArrayError> {
        let hold = hold_all(fences, Instant::now() + RESYNC_DRAIN_MAX).or_else(|error| {
            refuse(
                ArrayErrorKind::FenceTimeout,
                format!("nothing was overwritten: {error}"),
                "try again when the array is less busy",
            )
        })?;
        let pairs: Vec<Resync> = pairs
            .iter()
            .map(|pair| Resync {
                copy: pair.copy.0,
                target: pair.target.0,
            })
            .collect();
        let result = self.store.resync(&pairs, &[]).map_err(store_error);
        drop(hold);
        result
    }

    /// This host's copies that VSS may not know or may have lost sight of (SEQ-40).
    pub fn orphans(&self, host: &str) -> Vec<Orphan> {
        self.orphans_where(|creator| creator == host)
    }

    pub(super) fn orphans_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<Orphan> {
        let state = self.lock();
        let orphan = |(id, lun): (&LunId, &super::Lun)| {
            let tag = lun.record.copy.as_ref()?;
            let lost = tag.state != LunState::Mapped && wanted(&tag.creator_host);
            lost.then(|| Orphan {
                copy: *id,
                tag: tag.clone(),
            })
        };
        state.luns.iter().filter_map(orphan).collect()
    }
}

/// A copy that the host may handle and that VSS was told of.
fn check_told_copy(state: &State, host: &str, id: LunId) -> Result<(), ArrayError> {
    let lun = state.lun(id)?;
    let Some(tag) = &lun.record.copy else {
        return refuse(
            ArrayErrorKind::NotACopy,
            format!("LUN {id} is an original or a broken copy"),
            "handle it with `shadowlun lun`: hosts handle shadow copies only",
        );
    };
    if !state.catalogue.same_group(host, &tag.creator_host) {
        return refuse(
            ArrayErrorKind::Forbidden,
            format!(
                "copy {id} was made by host {}, which shares no group with {host}",
                tag.creator_host
            ),
            "put both into one group with `shadowlun host group add`",
        );
    }
    if lun.record.untold() {
        return refuse(
            ArrayErrorKind::WrongState,
            format!(
                "copy {id} belongs to set {}, which was not reported yet",
                tag.set
            ),
            "report the set first, or abort it",
        );
    }
    Ok(())
}

/// Checks all pairs before any is touched (RSY-12), and gives the fences of the targets.
fn check_resync(
    state: &State,
    host: &str,
    pairs: &[ResyncPair],
) -> Result<Vec<Arc<WriteFence>>, ArrayError> {
    let allowed = state
        .catalogue
        .hosts
        .get(host)
        .is_some_and(|host| host.allow_resync);
    if !allowed {
        return refuse(
            ArrayErrorKind::Forbidden,
            format!("host {host} has no right to overwrite LUNs"),
            "add the host with `--allow-resync`",
        );
    }
    let targets: BTreeSet<LunId> = pairs.iter().map(|pair| pair.target).collect();
    let contradict =
        targets.len() != pairs.len() || pairs.iter().any(|pair| targets.contains(&pair.copy));
    if pairs.is_empty() || contradict {
        return refuse(
            ArrayErrorKind::InvalidRequest,
            "the pairs name no LUN, a target twice, or a LUN as copy and target",
            "name each target once",
        );
    }
    let mut fences = Vec::with_capacity(pairs.len());
    for pair in pairs {
        check_told_copy(state, host, pair.copy)?;
        let (copy, target) = (state.lun(pair.copy)?, state.lun(pair.target)?);
        if !target.record.map.contains_key(host) {
            return refuse(
                ArrayErrorKind::Forbidden,
                format!("LUN {} is not mapped to host {host}", pair.target),
                "map it to that host first: only what a host sees may it overwrite",
            );
        }
        if copy.size_bytes != target.size_bytes {
            return refuse(
                ArrayErrorKind::NotSupported,
                format!("LUN {} and copy {} differ in size", pair.target, pair.copy),
                "use a LUN of the same size",
            );
        }
        state.check_idle(pair.copy)?;
        state.check_idle(pair.target)?;
        fences.push(Arc::clone(&target.fence));
    }
    Ok(fences)
}
