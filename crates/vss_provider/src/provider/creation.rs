// SPDX-License-Identifier: MIT OR Apache-2.0
use super::support::{Call, Failure};
use super::{Provider, plain};
use crate::budget::{self, Budget};
use crate::errors::outcome_unknown;
use crate::identity::LunOf;
use crate::state::{
    Captured, Decision, Event as SetEvent, Step, Ticket, VolumeCheck, VolumeRefusal,
};
use crate::{Event, EventKind, Hresult, LunDescription, Method, context, identity};
use array_api::{
    ArrayErrorKind, CopyNeeds, LunId, LunRole, PrepareOutcome, PrepareRequest, Readiness, SetId,
    SnapshotId,
};

/// A volume in the array's terms.
struct Volume {
    needs: CopyNeeds,
    /// Sorted: the same volume may come with its LUNs in another order.
    luns: Vec<LunId>,
}

impl Provider {
    /// BeginPrepareSnapshot: adds a volume to the set, or begins a new set and drops the one before (BPS-1..BPS-13).
    ///
    /// # Errors
    /// E_INVALIDARG (nil id, no LUN, same shadow copy with other LUNs), VSS_E_UNSUPPORTED_CONTEXT,
    /// VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED, VSS_E_PROVIDER_VETO.
    pub fn begin_prepare_snapshot(
        &self,
        set: SetId,
        snapshot: SnapshotId,
        context: i32,
        luns: &[LunDescription],
    ) -> Result<(), Hresult> {
        let mut call = self.call(
            Method::BeginPrepareSnapshot,
            Some(set),
            budget::BEGIN_PREPARE,
        );
        call.snapshot = Some(snapshot);
        let result = self.begin(&mut call, set, snapshot, context, luns);
        call.conclude(result)
    }

    fn begin(
        &self,
        call: &mut Call<'_>,
        set: SetId,
        snapshot: SnapshotId,
        context: i32,
        luns: &[LunDescription],
    ) -> Result<(), Failure> {
        if set.is_nil() || snapshot.is_nil() || luns.is_empty() {
            return Err(Failure::quiet(Hresult::E_INVALIDARG));
        }
        let (before, decision) = {
            let mut sets = self.sets();
            (sets.id(), sets.begin(call.started, set))
        };
        self.leave(decision.release);
        let ticket = match decision.step {
            Step::Run(ticket) => ticket,
            _ if before != Some(set) => {
                return Err(set_reused());
            }
            step => return Err(self.refused(call, &step)),
        };
        if before != Some(set) {
            // Whatever was frozen belonged to a set that is dead (BPS-2).
            self.journal.thaw();
        }
        match self.add_volume(call, ticket, snapshot, context, luns) {
            Ok(Some(Volume { needs, luns })) => {
                let finish = self.sets().added(ticket, snapshot, needs, luns);
                self.taken(call, finish)
            }
            Ok(None) => Ok(()),
            Err((failure, uncertain)) => {
                let finish = self.sets().not_added(ticket, uncertain);
                self.taken(call, finish)?;
                Err(failure)
            }
        }
    }

    /// The array's part; `None` when the volume was there already. With an error goes whether the array may have reserved
    /// something all the same.
    fn add_volume(
        &self,
        call: &mut Call<'_>,
        ticket: Ticket,
        snapshot: SnapshotId,
        context: i32,
        luns: &[LunDescription],
    ) -> Result<Option<Volume>, (Failure, bool)> {
        let certain = |failure| (failure, false);
        let Volume { needs, luns: ids } =
            understood(self.settings.lun_of, context, luns).map_err(certain)?;
        call.luns.clone_from(&ids);
        let check = self.sets().check_volume(ticket, snapshot, needs, &ids);
        let first = match check {
            Ok(VolumeCheck::Repeated) => return Ok(None),
            Ok(check) => check == VolumeCheck::First,
            Err(refusal) => return Err(certain(volume_refused(refusal))),
        };
        let mut discarded = true;
        if first {
            let budget = Budget::new(&*self.clock, budget::BEGIN_DISCARD);
            discarded = !self.settle(&budget, None).contains(&ticket.set);
        }
        if !discarded || self.has_leftover(ticket.set) {
            // A discard that is still due would hit the volumes that are begun now.
            return Err(certain(Failure::veto(
                EventKind::DiscardFailed,
                "an earlier attempt with this set could not be discarded",
            )));
        }
        self.all_originals(call, &ids).map_err(certain)?;
        let request = PrepareRequest {
            snapshot,
            luns: ids.clone(),
            needs,
        };
        let outcome = call
            .budget
            .left()
            .and_then(|within| self.array.prepare(within, ticket.set, &request))
            .map_err(|e| (call.failed(&e), outcome_unknown(e.kind)))?;
        if first && outcome == PrepareOutcome::Identical {
            // The array holds this set from an earlier life. It may be captured and told to VSS already: neither its
            // old data nor its end may come from here (BPS-10).
            return Err(certain(set_reused()));
        }
        Ok(Some(Volume { needs, luns: ids }))
    }

    /// ALS-11: a copy of a copy is refused.
    fn all_originals(&self, call: &Call<'_>, ids: &[LunId]) -> Result<(), Failure> {
        let infos = self.query(&call.budget, ids).map_err(|e| call.failed(&e))?;
        for (id, info) in ids.iter().zip(infos) {
            match info.map(|i| i.role) {
                None => return Err(not_supported(format!("the array has no LUN {id}"))),
                Some(LunRole::Copy(_)) => {
                    return Err(not_supported(format!("LUN {id} is a shadow copy itself")));
                }
                Some(LunRole::Original) => {}
            }
        }
        Ok(())
    }

    /// EndPrepareSnapshots: waits until every target can be captured at once (EPS-1..EPS-8).
    ///
    /// # Errors
    /// VSS_E_OBJECT_NOT_FOUND, VSS_E_INSUFFICIENT_STORAGE, VSS_E_PROVIDER_VETO; the set is ABORTED then, unless unknown.
    pub fn end_prepare_snapshots(&self, set: SetId) -> Result<(), Hresult> {
        let limit = self.settings.end_prepare_max;
        let call = self.call(Method::EndPrepareSnapshots, Some(set), limit);
        let result = self
            .start(&call, set, SetEvent::EndPrepare)
            .and_then(|ticket| {
                let waited = self.wait_until_ready(&call, ticket);
                let finish = self.sets().finish(ticket, waited.is_ok());
                self.taken(&call, finish)?;
                self.settle_unless_frozen(&call);
                waited
            });
        call.conclude(result)
    }

    fn wait_until_ready(&self, call: &Call<'_>, ticket: Ticket) -> Result<(), Failure> {
        let mut heard_at = call.started;
        loop {
            if self.sets().is_stale(ticket) {
                return Err(Failure::interrupted());
            }
            let within = call.budget.left().map_err(|e| call.failed(&e))?;
            let within = within.min(budget::END_PREPARE_SLICE);
            match self.array.ready(within, ticket.set) {
                Ok(Readiness::Ready) => return Ok(()),
                Ok(Readiness::Preparing) => heard_at = self.clock.now(),
                Err(error) if error.kind == ArrayErrorKind::TimedOut => {
                    let silence = self.clock.now().saturating_sub(heard_at);
                    if silence >= budget::END_PREPARE_SILENCE {
                        return Err(call.failed(&error));
                    }
                }
                Err(error) => return Err(call.failed(&error)),
            }
        }
    }

    /// PreCommitSnapshots: arms the array (PRE-1..PRE-3). From here on no event is written until thaw.
    ///
    /// # Errors
    /// VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO; the set is ABORTED then, unless unknown.
    pub fn pre_commit_snapshots(&self, set: SetId) -> Result<(), Hresult> {
        let call = self.call(Method::PreCommitSnapshots, Some(set), budget::PRE_COMMIT);
        let result = self
            .start(&call, set, SetEvent::PreCommit)
            .and_then(|ticket| {
                self.journal.freeze(call.started);
                let armed = call
                    .budget
                    .left()
                    .and_then(|within| self.array.arm(within, set))
                    .map_err(|e| call.failed(&e));
                let finish = self.sets().finish(ticket, armed.is_ok());
                self.taken(&call, finish)?;
                armed.map(|_| ())
            });
        call.conclude(result)
    }

    /// CommitSnapshots: one array call captures all LUNs at one instant (COM-1..COM-10). Gives up at 8 s; what may have been
    /// captured then is discarded after thaw.
    ///
    /// # Errors
    /// VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO; the set is ABORTED then, unless unknown.
    pub fn commit_snapshots(&self, set: SetId) -> Result<(), Hresult> {
        let call = self.call(Method::CommitSnapshots, Some(set), budget::COMMIT_STOP);
        let result = self.start(&call, set, SetEvent::Commit).and_then(|ticket| {
            let captured = call
                .budget
                .left()
                .and_then(|within| self.array.commit(within, set))
                .map_err(|e| call.failed(&e));
            let elapsed = call.elapsed();
            let captured = captured.and_then(|report| {
                if elapsed > budget::COMMIT_VOID {
                    let cause = format!("the array answered after {} ms", elapsed.as_millis());
                    return Err(Failure::veto(EventKind::CommitTooLate, cause));
                }
                Ok(Captured { report, elapsed })
            });
            let finish = {
                let mut sets = self.sets();
                let finish = sets.finish(ticket, captured.is_ok());
                if let (Ok(captured), false) = (&captured, sets.is_stale(ticket)) {
                    sets.captured(*captured);
                }
                finish
            };
            self.taken(&call, finish)?;
            captured.map(|_| ())
        });
        call.conclude(result)
    }

    /// PostCommitSnapshots: writes flow again; the waiting events are written by the next call or by [`Self::tick`]. Needs no
    /// array (PST-1..PST-3).
    /// `count` is VSS's number of shadow copies in the set, for information only.
    ///
    /// # Errors
    /// E_INVALIDARG (negative count), VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO.
    pub fn post_commit_snapshots(&self, set: SetId, count: i32) -> Result<(), Hresult> {
        let call = self.call(Method::PostCommitSnapshots, Some(set), budget::PRE_COMMIT);
        if count < 0 {
            return call.conclude(Err(Failure::quiet(Hresult::E_INVALIDARG)));
        }
        let result = self
            .start(&call, set, SetEvent::PostCommit)
            .and_then(|ticket| {
                let finish = self.sets().finish(ticket, true);
                self.taken(&call, finish)
            });
        if result.is_ok() {
            let captured = self.sets().take_captured();
            if let Some(captured) = captured {
                self.journal.post(Event {
                    cause: self.figures(captured),
                    ..plain(
                        EventKind::SetCaptured,
                        Method::PostCommitSnapshots,
                        Some(set),
                    )
                });
            }
            self.journal.end_freeze();
        }
        call.conclude(result)
    }

    /// What a commit took, for people. To be asked while the window is open.
    fn figures(&self, Captured { report, elapsed }: Captured) -> String {
        let mut text = format!(
            "{} LUNs were captured in {} ms; writes were held for {} us, the array worked for {} us",
            report.luns,
            elapsed.as_millis(),
            report.held_us,
            report.total_us
        );
        if let Some(asked) = self.journal.asked_system() {
            text += &format!("; {asked} requests for memory went to the system meanwhile");
        }
        text
    }

    /// PreFinalCommitSnapshots: the copies are read/write anyway, so only the state changes (PFC-1, PFC-2, SEQ-13).
    ///
    /// # Errors
    /// VSS_E_PROVIDER_VETO in a wrong state or for an unknown set (SEQ-10).
    pub fn pre_final_commit_snapshots(&self, set: SetId) -> Result<(), Hresult> {
        self.final_phase(Method::PreFinalCommitSnapshots, set, SetEvent::PreFinal)
    }

    /// PostFinalCommitSnapshots: the set is finished; its source-to-target map is kept until the next set (PFF-1..PFF-3).
    ///
    /// # Errors
    /// VSS_E_PROVIDER_VETO in a wrong state or for an unknown set (SEQ-10).
    pub fn post_final_commit_snapshots(&self, set: SetId) -> Result<(), Hresult> {
        let method = Method::PostFinalCommitSnapshots;
        let result = self.final_phase(method, set, SetEvent::PostFinal);
        if result.is_ok() {
            let stray = self.sets().stray_targets();
            if stray.is_some() {
                self.leave(stray);
                self.settle_unless_frozen(&self.call(method, Some(set), budget::PRE_COMMIT));
            }
        }
        result
    }

    fn final_phase(&self, method: Method, set: SetId, event: SetEvent) -> Result<(), Hresult> {
        let call = self.call(method, Some(set), budget::PRE_COMMIT);
        let result = self.start(&call, set, event).and_then(|ticket| {
            self.journal.thaw();
            let finish = self.sets().finish(ticket, true);
            self.taken(&call, finish)
        });
        call.conclude(result)
    }

    /// AbortSnapshots: gives the set up, also while another thread waits in it (ABT-1..ABT-9). Past 10 s [`Self::tick`] goes on.
    ///
    /// # Errors
    /// VSS_E_OBJECT_NOT_FOUND; VSS_E_PROVIDER_VETO when the array did not discard it yet (the set is ABORTED all the same).
    pub fn abort_snapshots(&self, set: SetId) -> Result<(), Hresult> {
        let call = self.call(Method::AbortSnapshots, Some(set), budget::ABORT);
        let (decision, in_progress) = {
            let mut sets = self.sets();
            let in_progress = sets.id() == Some(set);
            (sets.named(call.started, set, SetEvent::Abort), in_progress)
        };
        let result = match decision.step {
            // It was given up before. The window of the set in progress is none of its business (SEQ-10).
            Step::Done { .. } if !in_progress && self.journal.frozen_since().is_some() => Ok(()),
            Step::Done {
                cancelled,
                repeated,
            } => {
                self.leave(decision.release);
                let mut figures = None;
                if in_progress {
                    let captured = self.sets().take_captured();
                    figures = captured.map(|captured| self.figures(captured));
                    self.journal.thaw();
                }
                // Only what this call tried counts: one that it cut short may note the set again at any time.
                if self.settle(&call.budget, Some(set)).contains(&set) {
                    self.leftover_is_told(set);
                    Err(Failure::veto(
                        EventKind::DiscardFailed,
                        "the array did not carry the discard out",
                    ))
                } else {
                    // A call that is cut short writes the set's one event itself (SEQ-14).
                    if !cancelled && !repeated {
                        self.journal.post(Event {
                            cause: match figures {
                                None => "VSS called AbortSnapshots".to_owned(),
                                Some(figures) => format!("VSS called AbortSnapshots; {figures}"),
                            },
                            ..plain(EventKind::SetAborted, Method::AbortSnapshots, Some(set))
                        });
                    }
                    Ok(())
                }
            }
            step => Err(self.refused(&call, &step)),
        };
        call.conclude(result)
    }

    /// Asks the state machine; a refusal is carried out here.
    fn start(&self, call: &Call<'_>, set: SetId, event: SetEvent) -> Result<Ticket, Failure> {
        let Decision { step, release } = self.sets().named(call.started, set, event);
        self.leave(release);
        match step {
            Step::Run(ticket) => Ok(ticket),
            step => Err(self.refused(call, &step)),
        }
    }

    /// Why a call was refused; when that gave the set up, what is left of the call's time goes into the discard.
    pub(super) fn refused(&self, call: &Call<'_>, step: &Step) -> Failure {
        match step {
            Step::Veto { state, killed } => {
                if *killed {
                    self.settle_unless_frozen(call);
                }
                Failure::wrong_order(*state)
            }
            Step::NotFound => Failure::quiet(Hresult::VSS_E_OBJECT_NOT_FOUND),
            other => unreachable!("{other:?} is no refusal"),
        }
    }
}

/// Context and LUNs in the array's terms.
fn understood(lun_of: LunOf, context: i32, luns: &[LunDescription]) -> Result<Volume, Failure> {
    let needs = context::needs(context).map_err(|refusal| {
        Failure::new(
            Hresult::VSS_E_UNSUPPORTED_CONTEXT,
            EventKind::ContextRefused,
            refusal.to_string(),
        )
    })?;
    let mut ids = identity::lun_ids(lun_of, luns).map_err(|index| {
        not_supported(format!(
            "LUN {} of the volume is not on this array",
            index + 1
        ))
    })?;
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < luns.len() {
        // ALS-7: within one call a LUN occurs once.
        return Err(Failure::quiet(Hresult::E_INVALIDARG));
    }
    Ok(Volume { needs, luns: ids })
}

fn set_reused() -> Failure {
    Failure::veto(EventKind::SetReused, "the set has ended before")
}

fn not_supported(cause: String) -> Failure {
    Failure::new(
        Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
        EventKind::NotOurLun,
        cause,
    )
}

fn volume_refused(refusal: VolumeRefusal) -> Failure {
    match refusal {
        VolumeRefusal::OtherLuns => Failure::quiet(Hresult::E_INVALIDARG),
        VolumeRefusal::OtherContext => Failure::new(
            Hresult::VSS_E_UNSUPPORTED_CONTEXT,
            EventKind::ContextRefused,
            refusal.to_string(),
        ),
        VolumeRefusal::TooMany => Failure::new(
            Hresult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
            EventKind::LimitReached,
            refusal.to_string(),
        ),
        VolumeRefusal::Stale => Failure::interrupted(),
    }
}
