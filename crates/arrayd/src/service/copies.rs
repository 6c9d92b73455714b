// SPDX-License-Identifier: MIT OR Apache-2.0
//! What hosts ask and do with single LUNs: info, query, map, unmap, delete, break, orphans.

use super::refusal::refuse;
use super::{LUNS_PER_SET_MAX, Service, State};
use array_api::{
    ArrayError, ArrayErrorKind, ArrayInfo, CONTRACT_VERSION, Capabilities, DeleteOutcome, LunId,
    LunInfo, LunState, OLDEST_CONTRACT_VERSION, Orphan,
};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

impl Service {
    /// Who the array is, what it can do, and how much space it has.
    ///
    /// # Errors
    /// `Internal`: the system does not tell the space.
    pub fn info(&self, host: &str) -> Result<ArrayInfo, ArrayError> {
        let space = self.space()?;
        Ok(ArrayInfo {
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
            capacity_bytes: space.capacity_bytes,
            free_bytes: space.free_bytes,
            space: space.level,
            time_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                }),
        })
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

    /// Copies become ordinary LUNs (OLS-6), and with `unmap_too` leave this host in the same transaction (OLS-3). One that is
    /// ordinary already stays so: the answer of an earlier call may have been lost.
    pub fn break_copies(
        &self,
        host: &str,
        copies: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError> {
        let mut state = self.lock();
        let copies: BTreeSet<LunId> = copies.iter().copied().collect();
        let (mut records, mut numbers) = (Vec::new(), Vec::new());
        for copy in copies {
            let mut record = state.lun(copy)?.record.clone();
            let hides = unmap_too && record.map.contains_key(host);
            if record.copy.is_none() && !hides {
                continue;
            }
            check_told_copy(&state, host, copy)?;
            record.copy = None;
            record.broken = true;
            if hides {
                state.check_idle(copy)?;
                numbers.extend(record.map.remove(host));
            }
            records.push((copy, record));
        }
        self.set_records(&mut state, records)?;
        if !numbers.is_empty() {
            state.hide(&self.exports, host, numbers);
        }
        Ok(())
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
pub(super) fn check_told_copy(state: &State, host: &str, id: LunId) -> Result<(), ArrayError> {
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
