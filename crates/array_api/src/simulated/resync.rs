// SPDX-License-Identifier: MIT OR Apache-2.0
use super::model::{Model, fail};
use crate::{ArrayError, ArrayErrorKind, LunId, ResyncId, ResyncPair, ResyncStatus};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the target of a resync reads as, from its start until it has finished.
pub const UNDEFINED_CONTENT: u64 = u64::MAX;

/// One resync, running or ended.
pub(super) struct Resync {
    pairs: Vec<ResyncPair>,
    ends_at: Duration,
    status: ResyncStatus,
}

impl Model {
    pub(super) fn resync(
        &mut self,
        host: &str,
        now: Duration,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        if let Ok(status) = self.resync_status(host, id) {
            return Ok(status);
        }
        let growth = self.may_resync(host, pairs)?;
        self.free_bytes -= growth;
        for pair in pairs {
            let size_bytes = self.luns[&pair.copy].size_bytes;
            let target = self.luns.get_mut(&pair.target).expect("checked above");
            target.reserved_bytes += size_bytes.saturating_sub(target.size_bytes);
            (target.content, target.size_bytes) = (UNDEFINED_CONTENT, size_bytes);
        }
        let resync = Resync {
            pairs: pairs.to_vec(),
            ends_at: now + self.resync_time,
            status: ResyncStatus::Running,
        };
        let key = (host.to_owned(), id);
        self.running.push(key.clone());
        self.resyncs.insert(key, resync);
        self.end_resyncs(now);
        self.resync_status(host, id)
    }

    /// The bytes by which the targets would grow, or why not.
    fn may_resync(&self, host: &str, pairs: &[ResyncPair]) -> Result<u64, ArrayError> {
        if !self.capabilities.resync {
            return fail(ArrayErrorKind::NotSupported, "no resync on this array");
        }
        if !self.resync_right.contains(host) {
            return fail(ArrayErrorKind::Forbidden, format!("{host} may not resync"));
        }
        let targets: BTreeSet<_> = pairs.iter().map(|p| p.target).collect();
        if pairs.is_empty()
            || targets.len() != pairs.len()
            || pairs.iter().any(|p| targets.contains(&p.copy))
        {
            return fail(ArrayErrorKind::InvalidRequest, "the pairs contradict");
        }
        let mut growth = 0;
        for pair in pairs {
            self.told_copy(host, pair.copy)?;
            let target = self.lun(pair.target)?;
            if !target.maps.contains(host) {
                return fail(ArrayErrorKind::Forbidden, "the target is not mapped");
            }
            self.not_in_resync(pair.target)?;
            growth += self
                .lun(pair.copy)?
                .size_bytes
                .saturating_sub(target.size_bytes);
        }
        if growth > self.free_bytes {
            return fail(ArrayErrorKind::NoSpace, "no space for the targets to grow");
        }
        Ok(growth)
    }

    pub(super) fn not_in_resync(&self, lun: LunId) -> Result<(), ArrayError> {
        let mut running = self
            .running
            .iter()
            .filter_map(|key| self.resyncs.get(key))
            .filter(|r| r.status == ResyncStatus::Running)
            .flat_map(|r| &r.pairs);
        if running.any(|p| p.copy == lun || p.target == lun) {
            return fail(ArrayErrorKind::WrongState, format!("{lun} is in a resync"));
        }
        Ok(())
    }

    /// Ends the resyncs whose time has come.
    pub(super) fn end_resyncs(&mut self, now: Duration) {
        for key in std::mem::take(&mut self.running) {
            let Some(resync) = self.resyncs.get_mut(&key) else {
                continue;
            };
            if resync.status != ResyncStatus::Running {
                continue;
            }
            if resync.ends_at > now {
                self.running.push(key);
                continue;
            }
            if let Some(error) = &self.resync_failure {
                resync.status = ResyncStatus::Failed(error.clone().into());
                continue;
            }
            for pair in &resync.pairs {
                let content = self.luns.get(&pair.copy).map(|l| l.content);
                if let (Some(content), Some(target)) = (content, self.luns.get_mut(&pair.target)) {
                    target.content = content;
                }
            }
            resync.status = ResyncStatus::Finished;
        }
    }

    pub(super) fn resync_left(
        &self,
        host: &str,
        now: Duration,
        id: ResyncId,
    ) -> Result<Duration, ArrayError> {
        match self.resyncs.get(&(host.to_owned(), id)) {
            Some(resync) if resync.status == ResyncStatus::Running => {
                Ok(resync.ends_at.saturating_sub(now))
            }
            Some(_) => Ok(Duration::ZERO),
            None => fail(ArrayErrorKind::UnknownResync, "no such resync"),
        }
    }

    pub(super) fn resync_status(
        &self,
        host: &str,
        id: ResyncId,
    ) -> Result<ResyncStatus, ArrayError> {
        match self.resyncs.get(&(host.to_owned(), id)) {
            Some(resync) => Ok(resync.status.clone()),
            None => fail(ArrayErrorKind::UnknownResync, "no such resync"),
        }
    }

    pub(super) fn cancel_resync(
        &mut self,
        host: &str,
        id: ResyncId,
    ) -> Result<ResyncStatus, ArrayError> {
        if let Some(resync) = self.resyncs.get_mut(&(host.to_owned(), id))
            && resync.status == ResyncStatus::Running
        {
            resync.status = ResyncStatus::Cancelled;
        }
        self.resync_status(host, id)
    }
}
