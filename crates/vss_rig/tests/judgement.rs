// SPDX-License-Identifier: MIT OR Apache-2.0
//! The judge judged: a provider that breaks one rule fails the scenario that shows the rule.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use uuid::Uuid;
use vss_provider::{Hresult, LunDescription};
use vss_rig::array::{self, ArrayUnderTest, Simulated};
use vss_rig::host::{AsyncOperation, LoggedEvent, ProviderHost};
use vss_rig::scenarios::{run_one, table};

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    OnLoadFails,
    SupportsForeignLuns,
    ChangesStructures,
    RefusesOurLuns,
    FillsInForeignLuns,
    KeepsSignature,
    TargetsInWrongOrder,
    TargetsOfOtherSources,
    NewIdentityEachTime,
    LocatesNothing,
    EmptiesNothing,
    EmptiesTwiceFails,
    AbortsNothing,
    KnowsEverySet,
    ForgetsEvents,
    LogsAtOnce,
    NewSetRefused,
    KeepsSetAfterRelease,
    ForgetsCopies,
    ResyncsNothing,
    ResyncNeverEnds,
    ResyncsAnything,
    ClaimsCapabilities,
    ReusesLuns,
    FailsForVeto,
    AbortsWhateverIsThere,
    LocatesOnce,
    EmptiesAnything,
    DropsSetWhenBeginFails,
    AbortWaits,
    LeavesTargets,
    OthersForgetEvents,
    WritesIdsInCapitals,
}

/// An operation that is never over.
struct Endless;

impl AsyncOperation for Endless {
    fn cancel(&self) -> Hresult {
        Hresult::S_OK
    }

    fn wait(&self, _timeout: std::time::Duration) -> Hresult {
        Hresult::S_OK
    }

    fn query_status(&self) -> (Hresult, Hresult) {
        (Hresult::S_OK, Hresult::VSS_S_ASYNC_PENDING)
    }
}

/// A good provider with one rule broken.
struct Spoilt {
    inner: Arc<dyn ProviderHost>,
    array: Arc<Simulated>,
    fault: Fault,
    calls: AtomicUsize,
    /// The set that began last.
    begun: Mutex<Uuid>,
    /// Held over EndPrepareSnapshots and AbortSnapshots.
    everything: Mutex<()>,
}

/// What a provider may never give where the matrix says VETO (ERR-1).
const E_FAIL: Hresult = Hresult(0x8000_4005);

impl Spoilt {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn lock_of_everything(&self) -> Option<MutexGuard<'_, ()>> {
        self.is(Fault::AbortWaits)
            .then(|| self.everything.lock().unwrap())
    }

    fn known(&self, code: Hresult) -> Hresult {
        match self.is(Fault::KnowsEverySet) && code == Hresult::VSS_E_OBJECT_NOT_FOUND {
            true => Hresult::S_OK,
            false => code,
        }
    }
}

impl ProviderHost for Spoilt {
    fn on_load(&self) -> Hresult {
        match self.is(Fault::OnLoadFails) {
            true => Hresult::VSS_E_PROVIDER_VETO,
            false => self.inner.on_load(),
        }
    }

    fn on_unload(&self, force: bool) -> Hresult {
        self.inner.on_unload(force)
    }

    fn are_luns_supported(&self, context: i32, luns: &mut Vec<LunDescription>) -> (Hresult, bool) {
        let (code, supported) = self.inner.are_luns_supported(context, luns);
        if self.is(Fault::ChangesStructures) {
            luns[0].revision = None;
        }
        let always = self.is(Fault::SupportsForeignLuns);
        (
            code,
            (supported || always) && !self.is(Fault::RefusesOurLuns),
        )
    }

    fn fill_in_lun_info(&self, lun: &mut LunDescription) -> (Hresult, bool) {
        let given = lun.clone();
        if self.is(Fault::ForgetsCopies) {
            return (Hresult::S_OK, false);
        }
        let (code, supported) = self.inner.fill_in_lun_info(lun);
        if self.is(Fault::KeepsSignature) {
            lun.disk_signature = given.disk_signature;
        }
        (code, supported || self.is(Fault::FillsInForeignLuns))
    }

    fn begin_prepare_snapshot(
        &self,
        set: Uuid,
        snapshot: Uuid,
        context: i32,
        luns: &mut Vec<LunDescription>,
    ) -> Hresult {
        if self.is(Fault::NewSetRefused) && self.calls.fetch_add(1, Ordering::SeqCst) > 1 {
            return Hresult::VSS_E_PROVIDER_VETO;
        }
        *self.begun.lock().unwrap() = set;
        let code = self
            .inner
            .begin_prepare_snapshot(set, snapshot, context, luns);
        if self.is(Fault::DropsSetWhenBeginFails) && !code.is_success() {
            let _ = self.inner.abort_snapshots(set);
        }
        code
    }

    fn get_target_luns(&self, sources: &[LunDescription]) -> (Hresult, Vec<LunDescription>) {
        if self.is(Fault::TargetsOfOtherSources) {
            // Wrong in the same way each time, however many are asked for.
            let next = |source: &LunDescription| {
                let originals = self.array.originals();
                let at = originals.iter().position(|lun| lun == source);
                originals[(at.unwrap() + 1) % originals.len()].clone()
            };
            let others: Vec<_> = sources.iter().map(next).collect();
            return self.inner.get_target_luns(&others);
        }
        let (code, mut targets) = self.inner.get_target_luns(sources);
        if self.is(Fault::TargetsInWrongOrder) {
            targets.reverse();
        }
        if self.is(Fault::NewIdentityEachTime)
            && let Some(target) = targets.first_mut()
        {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            target.serial = Some(format!("serial {call}").into_bytes());
        }
        if self.is(Fault::LeavesTargets) && !code.is_success() {
            targets = vec![sources[0].clone()];
        }
        (code, targets)
    }

    fn locate_luns(&self, luns: &[LunDescription]) -> Hresult {
        match self.fault {
            Fault::LocatesNothing => Hresult::S_OK,
            Fault::LocatesOnce if self.calls.fetch_add(1, Ordering::SeqCst) > 0 => {
                Hresult::VSS_E_PROVIDER_VETO
            }
            Fault::FailsForVeto => match self.inner.locate_luns(luns) {
                Hresult::VSS_E_PROVIDER_VETO => E_FAIL,
                code => code,
            },
            _ => self.inner.locate_luns(luns),
        }
    }

    fn on_lun_empty(&self, lun: &LunDescription) -> Hresult {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::EmptiesNothing => Hresult::S_OK,
            Fault::EmptiesAnything => {
                let code = self.inner.on_lun_empty(lun);
                if !code.is_success() {
                    self.array.remove_lun(lun).unwrap();
                }
                code
            }
            Fault::EmptiesTwiceFails if call > 0 => Hresult::VSS_E_PROVIDER_VETO,
            _ => self.inner.on_lun_empty(lun),
        }
    }

    fn on_lun_state_change(
        &self,
        copies: &[LunDescription],
        originals: Option<&[LunDescription]>,
        flags: u32,
    ) -> Hresult {
        self.inner.on_lun_state_change(copies, originals, flags)
    }

    fn end_prepare_snapshots(&self, set: Uuid) -> Hresult {
        let _one = self.lock_of_everything();
        self.known(self.inner.end_prepare_snapshots(set))
    }

    fn pre_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.known(self.inner.pre_commit_snapshots(set))
    }

    fn commit_snapshots(&self, set: Uuid) -> Hresult {
        self.known(self.inner.commit_snapshots(set))
    }

    fn post_commit_snapshots(&self, set: Uuid, count: i32) -> Hresult {
        self.known(self.inner.post_commit_snapshots(set, count))
    }

    fn pre_final_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.inner.pre_final_commit_snapshots(set)
    }

    fn post_final_commit_snapshots(&self, set: Uuid) -> Hresult {
        self.inner.post_final_commit_snapshots(set)
    }

    fn abort_snapshots(&self, set: Uuid) -> Hresult {
        let _one = self.lock_of_everything();
        match self.fault {
            Fault::AbortsNothing => Hresult::S_OK,
            Fault::AbortsWhateverIsThere => {
                let begun = *self.begun.lock().unwrap();
                self.inner.abort_snapshots(begun)
            }
            _ => self.known(self.inner.abort_snapshots(set)),
        }
    }

    fn get_provider_capabilities(&self) -> (Hresult, u64) {
        match self.is(Fault::ClaimsCapabilities) {
            true => (Hresult::E_NOTIMPL, 1),
            false => self.inner.get_provider_capabilities(),
        }
    }

    fn resync_luns(
        &self,
        copies: &[LunDescription],
        targets: &[LunDescription],
    ) -> (Hresult, Option<Box<dyn AsyncOperation>>) {
        if self.is(Fault::ResyncsNothing) {
            return self.inner.resync_luns(&[], &[]);
        }
        let (code, operation) = self.inner.resync_luns(copies, targets);
        match self.fault {
            Fault::ResyncNeverEnds => (code, Some(Box::new(Endless))),
            Fault::ResyncsAnything => (Hresult::S_OK, operation),
            _ => (code, operation),
        }
    }

    fn on_reuse_luns(&self, copies: &[LunDescription], originals: &[LunDescription]) -> Hresult {
        match self.is(Fault::ReusesLuns) {
            true => Hresult::S_OK,
            false => self.inner.on_reuse_luns(copies, originals),
        }
    }

    fn take_events(&self) -> Vec<LoggedEvent> {
        let mut events = self.inner.take_events();
        if self.is(Fault::ForgetsEvents) {
            events.clear();
        }
        if self.is(Fault::WritesIdsInCapitals) {
            for event in &mut events {
                event.text = event.text.to_uppercase();
            }
        }
        if self.is(Fault::LogsAtOnce) {
            events.push(LoggedEvent {
                id: 1,
                is_error: true,
                text: "too early".to_owned(),
                remedy: "none".to_owned(),
            });
        }
        events
    }
}

/// The simulated array with spoilt providers.
struct SpoiltArray {
    inner: Arc<Simulated>,
    fault: Fault,
    kept: Mutex<Vec<Arc<dyn ProviderHost>>>,
    loads: AtomicUsize,
}

impl ArrayUnderTest for SpoiltArray {
    fn provider(&self, host: &str) -> anyhow::Result<Box<dyn ProviderHost>> {
        let inner: Arc<dyn ProviderHost> = Arc::from(self.inner.provider(host)?);
        if self.fault == Fault::KeepsSetAfterRelease {
            self.kept.lock().unwrap().push(Arc::clone(&inner));
        }
        let is_first = self.loads.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(Box::new(Spoilt {
            inner,
            array: Arc::clone(&self.inner),
            fault: match self.fault {
                Fault::OthersForgetEvents if !is_first => Fault::ForgetsEvents,
                fault => fault,
            },
            calls: AtomicUsize::new(0),
            begun: Mutex::default(),
            everything: Mutex::default(),
        }))
    }

    fn originals(&self) -> &[LunDescription] {
        self.inner.originals()
    }

    fn disks(&self, host: &str) -> anyhow::Result<Vec<LunDescription>> {
        self.inner.disks(host)
    }

    fn lun_count(&self) -> anyhow::Result<usize> {
        self.inner.lun_count()
    }

    fn write_and_read_back(&self, host: &str, disk: &LunDescription) -> anyhow::Result<()> {
        self.inner.write_and_read_back(host, disk)
    }

    fn contents(&self, host: &str, disk: &LunDescription) -> anyhow::Result<Vec<u8>> {
        self.inner.contents(host, disk)
    }

    fn fault(&self, fault: array::Fault) {
        self.inner.fault(fault);
    }

    fn keep_preparing(&self) {
        self.inner.keep_preparing();
    }

    fn heal(&self) {
        self.inner.heal();
    }

    fn simulated_time(&self) -> Option<std::time::Duration> {
        self.inner.simulated_time()
    }

    fn remove_lun(&self, disk: &LunDescription) -> anyhow::Result<()> {
        self.inner.remove_lun(disk)
    }

    fn traffic(&self) -> u64 {
        self.inner.traffic()
    }
}

/// What a case finds.
fn verdict(fault: Fault, id: &str) -> Option<String> {
    let scenario = table().into_iter().find(|s| s.id == id).unwrap();
    let array = SpoiltArray {
        inner: Arc::new(Simulated::new().unwrap()),
        fault,
        kept: Mutex::default(),
        loads: AtomicUsize::new(0),
    };
    run_one(&array, &scenario).unwrap().failure
}

fn expect_caught(fault: Fault, ids: &[&str]) {
    for id in ids {
        assert!(
            verdict(fault, id).is_some(),
            "{id} does not catch {fault:?}"
        );
    }
}

/// LOG-4 wants the set's id in an event, and nobody how it is written.
#[test]
fn ids_in_capitals_are_fine() {
    assert_eq!(verdict(Fault::WritesIdsInCapitals, "T-311"), None);
}

macro_rules! caught {
    ($($name:ident: $fault:ident, $ids:expr;)*) => {
        $(#[test]
        fn $name() {
            expect_caught(Fault::$fault, &$ids);
        })*
    };
}

caught! {
    on_load_that_fails_is_caught: OnLoadFails, ["T-011", "T-012"];
    support_of_foreign_luns_is_caught: SupportsForeignLuns, ["T-031", "T-032", "T-033", "T-036", "T-037", "T-040", "T-041", "T-045", "T-051", "T-054"];
    refusal_of_our_luns_is_caught: RefusesOurLuns, ["T-030", "T-034", "T-035", "T-050", "T-052", "T-319"];
    changed_structures_are_caught: ChangesStructures, ["T-030", "T-052"];
    fill_in_of_foreign_luns_is_caught: FillsInForeignLuns, ["T-152"];
    kept_signature_is_caught: KeepsSignature, ["T-155"];
    targets_in_wrong_order_are_caught: TargetsInWrongOrder, ["T-120"];
    targets_of_other_sources_are_caught: TargetsOfOtherSources, ["T-120", "T-295"];
    identity_made_up_each_time_is_caught: NewIdentityEachTime, ["T-121", "T-123", "T-151"];
    locate_that_maps_nothing_is_caught: LocatesNothing, ["T-140", "T-141", "T-173", "T-298"];
    copies_never_deleted_are_caught: EmptiesNothing, ["T-190", "T-192", "T-193", "T-198", "T-200", "T-296"];
    second_on_lun_empty_that_fails_is_caught: EmptiesTwiceFails, ["T-191"];
    abort_that_does_nothing_is_caught: AbortsNothing, ["T-176", "T-178", "T-184", "T-186"];
    unknown_sets_accepted_are_caught: KnowsEverySet, ["T-094", "T-181", "T-184", "T-317"];
    veto_without_event_is_caught: ForgetsEvents, ["T-066", "T-096", "T-133", "T-134", "T-146", "T-148", "T-184", "T-194", "T-198", "T-250"];
    veto_of_a_second_object_without_event_is_caught: OthersForgetEvents, ["T-184"];
    event_before_thaw_is_caught: LogsAtOnce, ["T-096", "T-100", "T-103", "T-104"];
    second_set_refused_is_caught: NewSetRefused, ["T-063", "T-311"];
    set_kept_after_the_last_release_is_caught: KeepsSetAfterRelease, ["T-018"];
    copies_forgotten_are_caught: ForgetsCopies, ["T-019", "T-135", "T-156", "T-157", "T-160", "T-298"];
    resync_that_does_nothing_is_caught: ResyncsNothing, ["T-210", "T-213", "T-225", "T-313"];
    resync_that_never_ends_is_caught: ResyncNeverEnds, ["T-210", "T-220", "T-223", "T-226", "T-313"];
    resync_of_anything_is_caught: ResyncsAnything, ["T-225"];
    capabilities_claimed_are_caught: ClaimsCapabilities, ["T-230"];
    reuse_accepted_is_caught: ReusesLuns, ["T-231"];
    another_code_than_veto_is_caught: FailsForVeto, ["T-146"];
    abort_without_a_look_at_its_set_is_caught: AbortsWhateverIsThere, ["T-181"];
    locate_of_mapped_copies_that_fails_is_caught: LocatesOnce, ["T-143"];
    original_given_up_is_caught: EmptiesAnything, ["T-193"];
    set_dropped_by_one_failed_begin_is_caught: DropsSetWhenBeginFails, ["T-077"];
    abort_that_waits_for_end_prepare_is_caught: AbortWaits, ["T-091"];
    targets_left_by_a_failure_are_caught: LeavesTargets, ["T-133", "T-134"];
}
