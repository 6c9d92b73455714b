// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order in which VSS calls a provider for one shadow copy set (specification 4.1).

use crate::host::ProviderHost;
use uuid::Uuid;
use vss_provider::{Hresult, LunDescription};

/// A volume of a set.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Id of its shadow copy.
    pub snapshot: Uuid,
    /// The LUNs that it lies on, each once.
    pub luns: Vec<LunDescription>,
    /// What GetTargetLuns told, in the order of `luns`; empty before.
    pub targets: Vec<LunDescription>,
}

/// A set as VSS keeps it.
#[derive(Clone, Debug)]
pub struct ShadowSet {
    /// Id of the set.
    pub id: Uuid,
    /// VSS_SNAPSHOT_CONTEXT with attributes.
    pub context: i32,
    /// Its volumes.
    pub volumes: Vec<Volume>,
}

/// How far a set has come; the states of specification 4.2 that a finished call leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// AreLunsSupported and BeginPrepareSnapshot for each volume.
    Preparing,
    /// EndPrepareSnapshots.
    Prepared,
    /// PreCommitSnapshots.
    Precommitted,
    /// CommitSnapshots.
    Committed,
    /// PostCommitSnapshots.
    Postcommitted,
    /// GetTargetLuns for each volume.
    Reported,
    /// LocateLuns for all volumes together, FillInLunInfo for each target.
    Surfaced,
    /// PreFinalCommitSnapshots.
    Prefinal,
    /// PostFinalCommitSnapshots.
    Created,
}

impl Point {
    /// All, in order.
    pub const ALL: [Self; 9] = [
        Self::Preparing,
        Self::Prepared,
        Self::Precommitted,
        Self::Committed,
        Self::Postcommitted,
        Self::Reported,
        Self::Surfaced,
        Self::Prefinal,
        Self::Created,
    ];

    /// The points at which nothing was told to VSS yet, so that everything may be discarded.
    pub fn unreported() -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|point| *point < Self::Reported)
    }
}

/// A call that did not do what the straight path needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method} gave {code}{detail}")]
pub struct StepFailed {
    /// The method.
    pub method: &'static str,
    /// Its code.
    pub code: Hresult,
    /// What else was wrong, with its punctuation.
    pub detail: String,
}

impl ShadowSet {
    /// A new set, with fresh ids.
    pub fn new(context: i32, volumes: &[&[LunDescription]]) -> Self {
        Self {
            id: Uuid::new_v4(),
            context,
            volumes: volumes
                .iter()
                .map(|luns| Volume {
                    snapshot: Uuid::new_v4(),
                    luns: luns.to_vec(),
                    targets: Vec::new(),
                })
                .collect(),
        }
    }

    /// All targets told so far, each LUN once, as LocateLuns gets them (SEQ-20: a shared LUN has one target).
    pub fn targets(&self) -> Vec<LunDescription> {
        let mut targets: Vec<LunDescription> = Vec::new();
        for target in self.volumes.iter().flat_map(|volume| &volume.targets) {
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        targets
    }

    /// Makes all calls up to `point` for a set that has not begun.
    pub fn drive(&mut self, host: &dyn ProviderHost, point: Point) -> Result<(), StepFailed> {
        Point::ALL
            .into_iter()
            .filter(|step| *step <= point)
            .try_for_each(|step| self.step(host, step))
    }

    /// Makes the calls that come after `from`, up to `to`.
    pub fn go_on(
        &mut self,
        host: &dyn ProviderHost,
        from: Point,
        to: Point,
    ) -> Result<(), StepFailed> {
        Point::ALL
            .into_iter()
            .filter(|step| *step > from && *step <= to)
            .try_for_each(|step| self.step(host, step))
    }

    /// Makes the calls of one step; the set must have come to the step before.
    pub fn step(&mut self, host: &dyn ProviderHost, step: Point) -> Result<(), StepFailed> {
        match step {
            Point::Preparing => self.begin(host),
            Point::Prepared => ok("EndPrepareSnapshots", host.end_prepare_snapshots(self.id)),
            Point::Precommitted => ok("PreCommitSnapshots", host.pre_commit_snapshots(self.id)),
            Point::Committed => ok("CommitSnapshots", host.commit_snapshots(self.id)),
            Point::Postcommitted => {
                let count = i32::try_from(self.volumes.len()).unwrap_or(i32::MAX);
                ok(
                    "PostCommitSnapshots",
                    host.post_commit_snapshots(self.id, count),
                )
            }
            Point::Reported => self.report(host),
            Point::Surfaced => self.surface(host),
            Point::Prefinal => ok(
                "PreFinalCommitSnapshots",
                host.pre_final_commit_snapshots(self.id),
            ),
            Point::Created => ok(
                "PostFinalCommitSnapshots",
                host.post_final_commit_snapshots(self.id),
            ),
        }
    }

    fn begin(&mut self, host: &dyn ProviderHost) -> Result<(), StepFailed> {
        for volume in &mut self.volumes {
            let (code, supported) = host.are_luns_supported(self.context, &mut volume.luns);
            ok("AreLunsSupported", code)?;
            demand("AreLunsSupported", supported)?;
            let code = host.begin_prepare_snapshot(
                self.id,
                volume.snapshot,
                self.context,
                &mut volume.luns,
            );
            ok("BeginPrepareSnapshot", code)?;
        }
        Ok(())
    }

    fn report(&mut self, host: &dyn ProviderHost) -> Result<(), StepFailed> {
        for volume in &mut self.volumes {
            let (code, targets) = host.get_target_luns(&volume.luns);
            ok("GetTargetLuns", code)?;
            if targets.len() != volume.luns.len() {
                return Err(StepFailed {
                    method: "GetTargetLuns",
                    code,
                    detail: format!(" and {} of {} targets", targets.len(), volume.luns.len()),
                });
            }
            volume.targets = targets;
        }
        Ok(())
    }

    fn surface(&mut self, host: &dyn ProviderHost) -> Result<(), StepFailed> {
        let targets = self.targets();
        ok("LocateLuns", host.locate_luns(&targets))?;
        for mut target in targets {
            let (code, supported) = host.fill_in_lun_info(&mut target);
            ok("FillInLunInfo", code)?;
            demand("FillInLunInfo", supported)?;
        }
        Ok(())
    }

    /// What VSS does when the last shadow copy on each LUN was deleted: FillInLunInfo, then OnLunEmpty with its result.
    pub fn delete(&self, host: &dyn ProviderHost) -> Result<(), StepFailed> {
        for mut target in self.targets() {
            let (code, supported) = host.fill_in_lun_info(&mut target);
            ok("FillInLunInfo", code)?;
            demand("FillInLunInfo", supported)?;
            ok("OnLunEmpty", host.on_lun_empty(&target))?;
        }
        Ok(())
    }
}

fn ok(method: &'static str, code: Hresult) -> Result<(), StepFailed> {
    match code == Hresult::S_OK {
        true => Ok(()),
        false => Err(StepFailed {
            method,
            code,
            detail: String::new(),
        }),
    }
}

fn demand(method: &'static str, supported: bool) -> Result<(), StepFailed> {
    match supported {
        true => Ok(()),
        false => Err(StepFailed {
            method,
            code: Hresult::S_OK,
            detail: " and FALSE".to_owned(),
        }),
    }
}
