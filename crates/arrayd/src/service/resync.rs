// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resync: LUNs overwritten with copies. The store redirects, so that a resync takes as long as writes under way need to
//! come to rest, plus one transaction, whatever the LUNs hold (RSY-15).

use super::copies::check_told_copy;
use super::refusal::{refuse, store_error};
use super::{Service, State};
use array_api::{ArrayError, ArrayErrorKind, LunId, ResyncId, ResyncPair, ResyncStatus};
use block::{Disk, WriteFence, hold_all};
use lun_store::Resync;
use scsi::LogicalUnit;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Writes to the targets of a resync are held at most so long before it starts.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long a repetition, or who cancels, waits for the end of a resync: it is near.
const END_MAX: Duration = Duration::from_secs(10);
/// A finished resync is remembered for so long, as the contract asks.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Who finished which resync, and when.
pub(super) struct Finished {
    host: String,
    id: ResyncId,
    at: Instant,
}

/// A LUN to overwrite.
struct Target {
    id: LunId,
    fence: Arc<WriteFence>,
    unit: Arc<LogicalUnit>,
    /// What it gets, when that is not what it has (RSY-4).
    new_size_bytes: Option<u64>,
}

impl Service {
    /// Overwrites LUNs with copies, all or none. Writes to the targets are held meanwhile, so that none lands half before
    /// and half after. A target of another size gets its copy's, and its sessions are told.
    pub fn resync(
        &self,
        host: &str,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        match self.resync_status(host, id, END_MAX) {
            Err(error) if error.kind == ArrayErrorKind::UnknownResync => {}
            known => return known,
        }
        let members: BTreeSet<LunId> = pairs
            .iter()
            .flat_map(|pair| [pair.copy, pair.target])
            .collect();
        let name = (host.to_owned(), id);
        let targets = {
            let mut state = self.lock();
            // It may have begun since.
            if let Some(status) = state.resync(host, id) {
                return Ok(status);
            }
            let targets = check_resync(&state, host, pairs)?;
            self.check_space()?;
            state.busy.extend(&members);
            state.resyncing.insert(name.clone());
            targets
        };
        let result = self.overwrite(pairs, &targets);
        let mut state = self.lock();
        for member in &members {
            state.busy.remove(member);
        }
        state.resyncing.remove(&name);
        self.settled.notify_all();
        result?;
        for target in &targets {
            if let Some(size_bytes) = target.new_size_bytes {
                let lun = state.luns.get_mut(&target.id);
                lun.expect("a busy LUN stays").size_bytes = size_bytes;
            }
        }
        let now = Instant::now();
        state.resyncs.retain(|known| now - known.at < REMEMBERED);
        let (host, id) = name;
        state.resyncs.push(Finished { host, id, at: now });
        drop(state);
        for pair in pairs {
            tracing::warn!(target_lun = %pair.target, copy = %pair.copy, resync = %id, "overwritten by resync");
        }
        Ok(ResyncStatus::Finished)
    }

    /// How a resync of this host stands, after waiting for its end for a while.
    pub fn resync_status(
        &self,
        host: &str,
        id: ResyncId,
        within: Duration,
    ) -> Result<ResyncStatus, ArrayError> {
        let name = (host.to_owned(), id);
        let running = |state: &mut State| state.resyncing.contains(&name);
        let (state, _) = self
            .settled
            .wait_timeout_while(self.lock(), within, running)
            .expect("see lock");
        state.resync(host, id).map_or_else(
            || {
                refuse(
                    ArrayErrorKind::UnknownResync,
                    format!("no resync {id} of this host is known"),
                    "start it again",
                )
            },
            Ok,
        )
    }

    /// How a resync of this host ended. There is nothing to stop: it ends by itself as soon.
    pub fn cancel_resync(&self, host: &str, id: ResyncId) -> Result<ResyncStatus, ArrayError> {
        self.resync_status(host, id, END_MAX)
    }

    fn overwrite(&self, pairs: &[ResyncPair], targets: &[Target]) -> Result<(), ArrayError> {
        let fences: Vec<_> = targets.iter().map(|t| Arc::clone(&t.fence)).collect();
        let hold = hold_all(&fences, Instant::now() + DRAIN_MAX).or_else(|error| {
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
        self.store.resync(&pairs, &[]).map_err(store_error)?;
        let resized = targets.iter().filter(|t| t.new_size_bytes.is_some());
        for target in resized.clone() {
            let device = self.store.device(target.id.0).map_err(store_error)?;
            target.unit.set_disk(Disk::new(device));
        }
        // Writes that were parked meet the new size.
        drop(hold);
        for target in resized {
            self.exports.capacity_changed(&target.unit);
        }
        Ok(())
    }
}

impl State {
    fn resync(&self, host: &str, id: ResyncId) -> Option<ResyncStatus> {
        if self.resyncing.contains(&(host.to_owned(), id)) {
            return Some(ResyncStatus::Running);
        }
        let mut finished = self.resyncs.iter();
        let known = finished.any(|known| known.host == host && known.id == id);
        known.then_some(ResyncStatus::Finished)
    }
}

/// Checks all pairs before any is touched (RSY-12), and gives the targets.
fn check_resync(
    state: &State,
    host: &str,
    pairs: &[ResyncPair],
) -> Result<Vec<Target>, ArrayError> {
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
    let mut members = Vec::with_capacity(pairs.len());
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
        state.check_idle(pair.copy)?;
        state.check_idle(pair.target)?;
        members.push(Target {
            id: pair.target,
            fence: Arc::clone(&target.fence),
            unit: Arc::clone(&target.unit),
            new_size_bytes: (copy.size_bytes != target.size_bytes).then_some(copy.size_bytes),
        });
    }
    Ok(members)
}
