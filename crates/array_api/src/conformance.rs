// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every [`Array`] owes, as tests: one function per behaviour, run against the simulated array and the real daemon.
//!
//! ```ignore
//! array_api::array_conformance_suite!(MyFixture::new);
//! ```
//!
//! Each function gets a fresh [`Fixture`] and panics where the array breaks the contract. Every one ends with the array as it
//! was: as many LUNs as before, counted by the fixture.

mod access;
mod creation;

pub use access::*;
pub use creation::*;

use crate::{
    Array, ArrayError, ArrayErrorKind, CopyNeeds, Designator, LunId, LunIdentity, LunInfo, LunRole,
    LunState, PrepareRequest, Readiness, SetId, SnapshotId,
};
use std::sync::Arc;
use std::time::Duration;

/// Host that makes copies. In one group with [`BETA`], and with the resync right.
pub const ALPHA: &str = "alpha";
/// Host in one group with [`ALPHA`], without the resync right.
pub const BETA: &str = "beta";
/// Host in no group, without the resync right.
pub const GAMMA: &str = "gamma";

/// Capacity of the suite's LUNs in bytes.
pub const LUN_BYTES: u64 = 64 << 20;
/// Generous: no behaviour here depends on a time limit.
const WITHIN: Duration = Duration::from_secs(20);

/// An array under test with the hosts [`ALPHA`], [`BETA`] and [`GAMMA`], their groups and rights set up, and nothing on it.
pub trait Fixture {
    /// The array as this host sees it.
    fn host(&self, name: &str) -> Arc<dyn Array>;

    /// A new ordinary LUN, mapped to these hosts.
    fn create_lun(&self, size_bytes: u64, hosts: &[&str]) -> LunId;

    /// All LUNs of the array: originals, copies and reservations.
    fn lun_count(&self) -> usize;

    /// The LUN that a designator of this array's page 83h names; `None` for anybody else's.
    fn lun_of(&self, designator: &Designator) -> Option<LunId> {
        LunIdentity::lun_id(designator)
    }

    /// Overwrites the first block of an original LUN with a value; false when this fixture cannot, which leaves out what
    /// depends on contents.
    fn write_marker(&self, lun: LunId, value: u64) -> bool {
        let _ = (lun, value);
        false
    }

    /// The value in the first block of any LUN, mapped or not; `None` when this fixture cannot read.
    fn read_marker(&self, lun: LunId) -> Option<u64> {
        let _ = lun;
        None
    }
}

/// Makes one `#[test]` of each behaviour. `$make` is an expression that yields a fresh fixture when called.
#[macro_export]
macro_rules! array_conformance_suite {
    ($make:expr) => {
        $crate::array_conformance_suite!(@tests $make;
            info_names_host_and_version
            query_unknown_lun_is_none_in_its_place
            query_shows_maps_from_the_callers_side
            query_answers_for_luns_of_other_hosts
            check_mapped_lun_is_supported_and_reserves_nothing
            check_lun_of_another_host_is_refused
            check_unknown_lun_is_refused
            needs_are_met_as_the_abilities_say
            prepare_reserves_one_target_per_source
            prepare_repeated_changes_nothing
            prepare_shared_lun_gets_one_target
            prepare_without_luns_is_refused
            prepare_unknown_lun_changes_nothing
            prepare_lun_of_another_host_changes_nothing
            prepare_after_arm_is_wrong_state
            prepare_new_set_discards_the_unreported_one
            prepare_new_set_keeps_the_reported_one
            prepare_by_another_host_keeps_this_hosts_set
            prepare_that_fails_keeps_the_set_in_progress
            ready_repeated_stays_ready
            unknown_set_is_unknown_in_every_call
            another_hosts_set_cannot_be_used
            arm_repeated_is_a_success
            commit_without_arm_is_wrong_state
            commit_captures_every_lun_and_repeats_its_success
            report_before_commit_is_wrong_state
            report_keeps_order_and_stays_the_same
            report_source_outside_the_set_is_unknown_lun
            report_identity_is_the_copys_own
            copies_carry_their_tag
            copies_hold_the_instant_and_sources_go_on
            abort_reserved_set_discards_it
            abort_captured_set_discards_it
            abort_keeps_reported_copies_unless_asked
            abort_reported_too_unmaps_and_discards
            abort_keeps_copies_mapped_elsewhere
            abort_keeps_broken_copies
            abort_twice_is_unknown_set
            map_shows_and_unmap_hides
            map_twice_and_one_named_twice_is_fine
            map_is_all_or_nothing
            map_original_is_not_a_copy
            map_unreported_copy_is_refused
            map_by_group_member_records_importer
            map_by_stranger_is_forbidden
            unmap_touches_this_host_only
            unmap_repeated_is_fine
            unmap_original_is_refused_and_stays_mapped
            delete_repeated_is_already_gone
            delete_unknown_lun_is_already_gone
            delete_original_is_not_a_copy
            delete_mapped_elsewhere_is_kept
            delete_by_stranger_is_forbidden
            break_makes_an_ordinary_lun
            break_that_unmaps_too_hides_the_lun_here
            break_that_unmaps_too_refuses_an_original_that_is_mapped
            break_repeated_is_a_success
            break_unknown_lun_changes_nothing
            resync_overwrites_target_and_keeps_copy
            resync_gives_targets_the_copys_size
            resync_repeated_starts_nothing
            resync_unknown_id_is_unknown_in_every_call
            resync_without_right_is_forbidden
            resync_is_all_or_nothing
            resync_onto_itself_is_refused
            orphans_lists_no_mapped_copy_and_no_original
        );
    };
    (@tests $make:expr; $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let make = $make;
                $crate::conformance::$name(&make());
            }
        )*
    };
}

/// One array under test, with what every behaviour needs.
struct Bench<'a> {
    fixture: &'a dyn Fixture,
    alpha: Arc<dyn Array>,
    luns_before: usize,
}

impl<'a> Bench<'a> {
    fn new(fixture: &'a dyn Fixture) -> Self {
        Self {
            alpha: fixture.host(ALPHA),
            luns_before: fixture.lun_count(),
            fixture,
        }
    }

    /// LUNs of alpha.
    fn luns(&mut self, count: usize) -> Vec<LunId> {
        self.luns_before += count;
        (0..count)
            .map(|_| self.fixture.create_lun(LUN_BYTES, &[ALPHA]))
            .collect()
    }

    /// Copies and reservations on the array now.
    fn copies(&self) -> usize {
        let now = self.fixture.lun_count();
        now.checked_sub(self.luns_before)
            .expect("no original LUN disappears")
    }

    /// Counts are back where they were.
    fn assert_clean(&self) {
        assert_eq!(self.copies(), 0, "copies or reservations were left behind");
    }

    fn prepare(&self, set: SetId, luns: &[LunId]) {
        self.alpha
            .prepare(WITHIN, set, &request(luns))
            .expect("these LUNs can be prepared");
    }

    fn ready(&self, set: SetId) {
        // Bounded by the number of attempts: a target that needs longer than this in a test is a defect.
        for _ in 0..10 {
            if self.alpha.ready(WITHIN, set).expect("the set is known") == Readiness::Ready {
                return;
            }
        }
        panic!("the set does not become ready");
    }

    fn commit(&self, set: SetId, luns: &[LunId]) {
        self.prepare(set, luns);
        self.ready(set);
        self.alpha.arm(WITHIN, set).expect("the set is ready");
        self.alpha.commit(WITHIN, set).expect("the set is armed");
    }

    /// A reported set; its copies in the order of `luns`.
    fn reported(&self, set: SetId, luns: &[LunId]) -> Vec<LunId> {
        self.commit(set, luns);
        let reports = self.alpha.report(WITHIN, set, luns);
        let reports = reports.expect("the set is captured");
        reports.into_iter().map(|r| r.copy).collect()
    }

    fn delete(&self, copies: &[LunId]) {
        for copy in copies {
            self.alpha
                .delete(WITHIN, *copy)
                .expect("a copy of alpha can be deleted");
        }
    }

    fn info(&self, host: &str, lun: LunId) -> Option<LunInfo> {
        let infos = self.fixture.host(host).query(WITHIN, &[lun]);
        let mut infos = infos.expect("a query never fails for a LUN");
        assert_eq!(infos.len(), 1, "one answer per question");
        infos.remove(0)
    }

    fn state(&self, copy: LunId) -> Option<LunState> {
        match self.info(ALPHA, copy)?.role {
            LunRole::Original => None,
            LunRole::Copy(tag) => Some(tag.state),
        }
    }

    fn mapped(&self, host: &str, lun: LunId) -> bool {
        self.info(host, lun).is_some_and(|i| i.mapped_here)
    }
}

/// A request for a fresh shadow copy of these LUNs.
fn request(luns: &[LunId]) -> PrepareRequest {
    PrepareRequest {
        snapshot: SnapshotId::new_v4(),
        luns: luns.to_vec(),
        needs: CopyNeeds::default(),
    }
}

fn new_set() -> SetId {
    SetId::new_v4()
}

/// A LUN id that no array has.
fn nowhere() -> LunId {
    LunId(SetId::new_v4().as_u128())
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: Result<T, ArrayError>, allowed: &[ArrayErrorKind]) {
    match result {
        Ok(value) => panic!("expected one of {allowed:?}, got {value:?}"),
        Err(error) => {
            assert!(
                allowed.contains(&error.kind),
                "expected {allowed:?}, got {error:?}"
            );
            assert!(!error.message.is_empty() && !error.remedy.is_empty());
        }
    }
}
