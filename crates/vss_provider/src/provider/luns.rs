// SPDX-License-Identifier: MIT OR Apache-2.0
use super::support::{Call, Failure, out_of_reach};
use super::{Provider, garbled, plain};
use crate::budget;
use crate::errors::outcome_unknown;
use crate::identity::LunOf;
use crate::state::{Finish, Step, Ticket};
use crate::{Event, EventKind, Hresult, LunDescription, Method, context, identity};
use array_api::{ArrayError, CheckRequest, CopyReport, DeleteOutcome, LunId, LunInfo, LunRole};
use std::collections::BTreeSet;

/// OnLunStateChange: the copies become read/write for good (break).
pub const NOTIFY_READ_WRITE: u32 = 0x100;
/// OnLunStateChange: recovery begins; nothing is asked.
pub const NOTIFY_LUN_PRE_RECOVERY: u32 = 0x200;
/// OnLunStateChange: recovery has ended; nothing is asked.
pub const NOTIFY_LUN_POST_RECOVERY: u32 = 0x400;
/// OnLunStateChange: mask the copies from this computer.
pub const DO_MASK_LUNS: u32 = 0x800;

impl Provider {
    /// AreLunsSupported: whether a copy of this volume can be made in this context, now (ALS-1..ALS-12). Changes nothing.
    ///
    /// # Errors
    /// VSS_E_PROVIDER_VETO when the array cannot be asked and the site wants it so; otherwise that is FALSE.
    pub fn are_luns_supported(
        &self,
        context: i32,
        luns: &[LunDescription],
    ) -> Result<bool, Hresult> {
        let mut call = self.call(Method::AreLunsSupported, None, budget::ARE_LUNS_SUPPORTED);
        let Ok(ids) = identity::lun_ids(self.settings.lun_of, luns) else {
            return Ok(false);
        };
        if ids.is_empty() {
            return Ok(false);
        }
        call.luns.clone_from(&ids);
        let refusal = match self.refusal(&call, context, &ids) {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(None)) => return Ok(false),
            Ok(Err(Some(reason))) => (EventKind::VolumeRefused, reason),
            Err(error) if self.settings.veto_when_unreachable && out_of_reach(error.kind) => {
                let failure = call.failed(&error);
                return call.conclude(Err(failure));
            }
            Err(error) => (EventKind::VolumeRefused, error.message),
        };
        if self.refusal_event_due() {
            let (kind, cause) = refusal;
            self.journal.post(Event {
                luns: call.luns,
                cause,
                ..plain(kind, Method::AreLunsSupported, None)
            });
        }
        Ok(false)
    }

    /// Why not, with the reason when a person can change it.
    fn refusal(
        &self,
        call: &Call<'_>,
        context: i32,
        ids: &[LunId],
    ) -> Result<Result<(), Option<String>>, ArrayError> {
        let infos = self.query(&call.budget, ids)?;
        let Some(infos) = infos.into_iter().collect::<Option<Vec<LunInfo>>>() else {
            return Ok(Err(None));
        };
        let copies = infos.iter().filter(|i| is_copy(&i.role)).count();
        if copies > 0 {
            // ALS-11: the method is also asked who looks after a copy, whatever the context.
            let all = copies == infos.len();
            return Ok(if all { Ok(()) } else { Err(None) });
        }
        let Ok(needs) = context::needs(context) else {
            return Ok(Err(None));
        };
        let request = CheckRequest {
            luns: ids.to_vec(),
            needs,
        };
        let answer = self.array.check(call.budget.left()?, &request)?;
        Ok(if answer.supported {
            Ok(())
        } else {
            let reason = answer.reason;
            Err(Some(
                reason.unwrap_or_else(|| "the array gave no reason".to_owned()),
            ))
        })
    }

    /// FillInLunInfo: the description in the form of GetTargetLuns, or `None` (FALSE) for a LUN that is not on this array
    /// (FIL-1..FIL-10). Foreign LUNs are told apart without the array; without the array complete data speak for themselves.
    pub fn fill_in_lun_info(&self, lun: &LunDescription) -> Option<LunDescription> {
        let id = identity::lun_id_by(self.settings.lun_of, lun)?;
        let call = self.call(Method::FillInLunInfo, None, budget::FILL_IN_LUN_INFO);
        match self.query(&call.budget, &[id]) {
            Ok(infos) => {
                let info = infos.into_iter().next().flatten()?;
                Some(identity::fill(lun, &info.identity))
            }
            Err(_) => identity::fill_alone(self.settings.lun_of, lun),
        }
    }

    /// GetTargetLuns: element i describes the copy of source i (GTL-1..GTL-12). Repeated calls give the same bytes.
    ///
    /// # Errors
    /// VSS_E_PROVIDER_VETO: a source is not in the set, the set is not captured, or the array failed; nothing is reported.
    pub fn get_target_luns(
        &self,
        sources: &[LunDescription],
    ) -> Result<Vec<LunDescription>, Hresult> {
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let set = self.sets().id();
        let mut call = self.call(Method::GetTargetLuns, set, budget::GET_TARGET_LUNS);
        let result = self.targets(&mut call, sources);
        call.conclude(result)
    }

    fn targets(
        &self,
        call: &mut Call<'_>,
        sources: &[LunDescription],
    ) -> Result<Vec<LunDescription>, Failure> {
        let ids = self.known(sources)?;
        call.luns.clone_from(&ids);
        let decision = self.sets().get_target_luns(call.started);
        let ticket = match decision.step {
            Step::Run(ticket) => ticket,
            step => return Err(self.refused(call, &step)),
        };
        self.journal.thaw();
        let missing: Vec<LunId> = {
            let sets = self.sets();
            let members = sets.sources();
            if let Some(stranger) = ids.iter().find(|id| !members.contains(id)) {
                let cause = format!("LUN {stranger} is not in the set");
                return Err(Failure::veto(EventKind::NotOurLun, cause));
            }
            let distinct: BTreeSet<LunId> = ids.iter().copied().collect();
            distinct
                .into_iter()
                .filter(|id| sets.told(*id).is_none())
                .collect()
        };
        let reported = self
            .reported(call, ticket, &missing)
            .map_err(|e| call.failed(&e));
        let (finish, targets) = {
            let mut sets = self.sets();
            let finish = sets.finish(ticket, reported.is_ok());
            if let (Finish::Taken(_), Ok(reports)) = (&finish, &reported) {
                let told = reports
                    .iter()
                    .map(|r| (r.source, r.copy, identity::describe(&r.identity)));
                sets.tell(ticket, told.collect());
            }
            let targets: Option<Vec<_>> = ids.iter().map(|id| sets.told(*id)).collect();
            (finish, targets)
        };
        self.taken(call, finish)?;
        reported?;
        targets.ok_or_else(|| call.failed(&garbled()))
    }

    fn reported(
        &self,
        call: &Call<'_>,
        ticket: Ticket,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let reports = self
            .array
            .report(call.budget.left()?, ticket.set, sources)?;
        if fits(self.settings.lun_of, &reports, sources) {
            Ok(reports)
        } else {
            Err(garbled())
        }
    }

    /// LocateLuns: maps copies to this host, all or none, of the set in progress or of any earlier one (LOC-1..LOC-13).
    ///
    /// # Errors
    /// VSS_E_PROVIDER_VETO: a LUN is unknown, foreign, an original or a broken copy, or the array failed; nothing new is mapped.
    pub fn locate_luns(&self, luns: &[LunDescription]) -> Result<(), Hresult> {
        if luns.is_empty() {
            return Ok(());
        }
        let mut call = self.call(Method::LocateLuns, None, budget::LOCATE_LUNS);
        let result = self.locate(&mut call, luns);
        call.conclude(result)
    }

    fn locate(&self, call: &mut Call<'_>, luns: &[LunDescription]) -> Result<(), Failure> {
        let distinct: BTreeSet<LunId> = self.known(luns)?.into_iter().collect();
        call.luns = distinct.into_iter().collect();
        let infos = self
            .query(&call.budget, &call.luns)
            .map_err(|e| call.failed(&e))?;
        let current = self.sets().id();
        let (mut unmapped, mut own) = (Vec::new(), false);
        for (id, info) in call.luns.iter().zip(infos) {
            let Some(info) = info else {
                let cause = format!("there is no LUN {id} on the array");
                return Err(Failure::veto(EventKind::LunGone, cause));
            };
            let LunRole::Copy(tag) = info.role else {
                let cause = format!("LUN {id} is an original or a broken copy");
                return Err(Failure::veto(EventKind::NotACopy, cause));
            };
            own |= current == Some(tag.set);
            if !info.mapped_here {
                unmapped.push(*id);
            }
        }
        let mut ticket = None;
        if let (true, Some(set)) = (own, current) {
            call.set = current;
            let decision = self.sets().locate(call.started, set);
            match decision.step {
                Step::Run(t) => ticket = Some(t),
                Step::Import => {}
                step => return Err(self.refused(call, &step)),
            }
        }
        let mapped = self.map(call, &unmapped);
        if let Some(ticket) = ticket {
            let finish = self.sets().finish(ticket, mapped.is_ok());
            if let Finish::Taken(release) = finish {
                self.leave(release);
            }
        }
        mapped
    }

    fn map(&self, call: &Call<'_>, unmapped: &[LunId]) -> Result<(), Failure> {
        let result = call
            .budget
            .left()
            .and_then(|within| self.array.map(within, &call.luns));
        result.map_err(|error| {
            if outcome_unknown(error.kind)
                && !unmapped.is_empty()
                && let Ok(within) = call.budget.left()
            {
                // LOC-9: no half-surfaced set. An array that is gone keeps its promise of all or none by itself.
                let _ = self.array.unmap(within, unmapped);
            }
            call.failed(&error)
        })
    }

    /// OnLunEmpty: unmaps the copy from this host and deletes it (OLE-1..OLE-10). Repeatable.
    ///
    /// A failure is recorded by its event and by the tag that the copy keeps on the array (OLE-10). Nothing is deleted later
    /// by itself: VSS was told of the failure, keeps the shadow copy, and calls again.
    ///
    /// # Errors
    /// VSS_E_PROVIDER_VETO: not a copy of this array, or the array failed; the LUN is untouched.
    pub fn on_lun_empty(&self, lun: &LunDescription) -> Result<(), Hresult> {
        let mut call = self.call(Method::OnLunEmpty, None, budget::ON_LUN_EMPTY);
        let result = self.known(std::slice::from_ref(lun)).and_then(|ids| {
            call.luns.clone_from(&ids);
            call.budget
                .left()
                .and_then(|within| self.array.delete(within, ids[0]))
                .map_err(|e| call.failed(&e))
        });
        if matches!(result, Ok(DeleteOutcome::KeptMappedElsewhere)) {
            self.journal.post(Event {
                luns: call.luns.clone(),
                cause: "another host has it mapped".to_owned(),
                ..plain(EventKind::KeptMappedElsewhere, Method::OnLunEmpty, None)
            });
        }
        call.conclude(result.map(|_| ()))
    }

    /// OnLunStateChange: masks copies from this host, and turns broken ones into ordinary LUNs (OLS-1..OLS-9); the other
    /// flags ask for nothing. `originals` are informative.
    ///
    /// Where both are asked, one call of the array does both: what is broken is out of the provider's reach, so a mask that
    /// came after it (OLS-3) would be refused, also by the repetition after a lost answer.
    ///
    /// # Errors
    /// E_INVALIDARG (as many originals as copies, or none), VSS_E_PROVIDER_VETO.
    pub fn on_lun_state_change(
        &self,
        copies: &[LunDescription],
        originals: Option<&[LunDescription]>,
        flags: u32,
    ) -> Result<(), Hresult> {
        let mut call = self.call(Method::OnLunStateChange, None, budget::ON_LUN_STATE_CHANGE);
        if originals.is_some_and(|o| o.len() != copies.len()) {
            return call.conclude(Err(Failure::quiet(Hresult::E_INVALIDARG)));
        }
        if copies.is_empty() || flags & (DO_MASK_LUNS | NOTIFY_READ_WRITE) == 0 {
            return Ok(());
        }
        let result = self.known(copies).and_then(|ids| {
            call.luns.clone_from(&ids);
            self.change_state(&call, &ids, flags)
                .map_err(|e| call.failed(&e))
        });
        call.conclude(result)
    }

    fn change_state(&self, call: &Call<'_>, ids: &[LunId], flags: u32) -> Result<(), ArrayError> {
        let (within, mask) = (call.budget.left()?, flags & DO_MASK_LUNS != 0);
        if flags & NOTIFY_READ_WRITE == 0 {
            return self.array.unmap(within, ids);
        }
        self.array.break_copies(within, ids, mask)?;
        self.tell_unless_space_suffices(call, ids);
        Ok(())
    }

    /// The LUNs' ids; a foreign LUN is VETO.
    pub(super) fn known(&self, luns: &[LunDescription]) -> Result<Vec<LunId>, Failure> {
        identity::lun_ids(self.settings.lun_of, luns).map_err(|index| {
            let cause = format!("LUN {} of the call is not on this array", index + 1);
            Failure::veto(EventKind::NotOurLun, cause)
        })
    }
}

/// Whether these are the copies of these sources. What is told of them decides what VSS imports, and later deletes: a wrong
/// identity must not pass.
fn fits(lun_of: LunOf, reports: &[CopyReport], sources: &[LunId]) -> bool {
    let tells_of_copy = |report: &CopyReport| {
        let told = identity::lun_id_by(lun_of, &identity::describe(&report.identity));
        report.copy != report.source && told == Some(report.copy)
    };
    reports.len() == sources.len()
        && reports
            .iter()
            .zip(sources)
            .all(|(report, source)| report.source == *source && tells_of_copy(report))
}

fn is_copy(role: &LunRole) -> bool {
    matches!(role, LunRole::Copy(_))
}

#[cfg(test)]
mod tests {
    use super::fits;
    use array_api::{CopyReport, LunId, LunIdentity, Oui};

    fn report(source: u128, copy: u128, identity: u128) -> CopyReport {
        CopyReport {
            source: LunId(source),
            copy: LunId(copy),
            identity: LunIdentity::new(LunId(identity), Oui::LOCAL, *b"0001"),
        }
    }

    /// GTL-7: each report is about its own source, and names a copy by that copy's identity.
    #[test]
    fn fits_only_the_copies_of_these_sources_in_their_order() {
        let sources = [LunId(1), LunId(2)];
        let holds = |reports: &[CopyReport]| fits(LunIdentity::lun_id, reports, &sources);
        assert!(holds(&[report(1, 11, 11), report(2, 12, 12)]));
        assert!(!holds(&[report(1, 11, 11)]));
        assert!(!holds(&[report(2, 12, 12), report(1, 11, 11)]));
        assert!(!holds(&[report(1, 1, 1), report(2, 12, 12)]), "no copy");
        assert!(!holds(&[report(1, 11, 12), report(2, 12, 12)]), "another's");
    }
}
