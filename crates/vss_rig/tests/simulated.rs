// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each scenario of the specification against the simulated array, one test for each.

use vss_rig::array::Simulated;
use vss_rig::scenarios::{run_one, table};

fn scenario(id: &str) {
    let scenario = table()
        .into_iter()
        .find(|scenario| scenario.id == id)
        .unwrap_or_else(|| panic!("{id} is not in the table"));
    let array = Simulated::new().unwrap();

    let outcome = run_one(&array, &scenario).unwrap();

    assert_eq!(outcome.failure, None, "{id}: {}", outcome.title);
}

macro_rules! scenarios {
    ($($name:ident = $id:literal,)*) => {
        $(#[test]
        fn $name() {
            scenario($id);
        })*

        #[test]
        fn table_every_scenario_has_a_test_here() {
            let tested = [$($id),*];
            let all: Vec<_> = table().iter().map(|scenario| scenario.id).collect();
            assert_eq!(all, tested);
        }
    };
}

scenarios! {
    t011_on_load_succeeds = "T-011",
    t012_on_load_array_down_succeeds = "T-012",
    t013_on_unload_idle_succeeds = "T-013",
    t014_on_unload_during_a_set_refuses = "T-014",
    t015_on_unload_forced_releases = "T-015",
    t016_on_unload_forced_keeps_reported = "T-016",
    t018_last_release_releases = "T-018",
    t019_copy_outlives_its_provider = "T-019",
    t030_are_luns_supported_ours_is_true = "T-030",
    t031_are_luns_supported_with_foreign_is_false = "T-031",
    t037_are_luns_supported_foreign_contexts_is_false = "T-037",
    t040_are_luns_supported_array_down_is_false = "T-040",
    t044_are_luns_supported_reserves_nothing = "T-044",
    t060_begin_prepare_maps_nothing = "T-060",
    t062_begin_prepare_shared_lun_has_one_target = "T-062",
    t063_new_set_in_each_state_completes = "T-063",
    t064_new_set_keeps_reported_copies = "T-064",
    t066_begin_prepare_closed_set_vetoes = "T-066",
    t067_begin_prepare_again_changes_nothing = "T-067",
    t068_begin_prepare_other_luns_is_invalid = "T-068",
    t069_begin_prepare_nil_ids_are_invalid = "T-069",
    t070_begin_prepare_finished_set_vetoes = "T-070",
    t071_begin_prepare_refuses_contexts = "T-071",
    t072_begin_prepare_second_context_is_refused = "T-072",
    t073_begin_prepare_foreign_lun_is_refused = "T-073",
    t094_unknown_set_is_not_found = "T-094",
    t095_unknown_set_vetoes_in_the_final_phases = "T-095",
    t096_pre_commit_array_down_vetoes = "T-096",
    t106_post_commit_negative_count_is_invalid = "T-106",
    t110_commit_phase_is_quick = "T-110",
    t176_abort_before_the_report_leaks_nothing = "T-176",
    t178_abort_after_the_report_discards = "T-178",
    t180_abort_finished_set_is_not_found = "T-180",
    t182_second_abort_succeeds = "T-182",
    t120_get_target_luns_answers_in_order = "T-120",
    t121_get_target_luns_twice_is_the_same = "T-121",
    t123_fill_in_of_the_disk_equals_the_report = "T-123",
    t124_identities_are_unique = "T-124",
    t126_get_target_luns_maps_nothing = "T-126",
    t133_get_target_luns_early_vetoes = "T-133",
    t140_locate_luns_maps_to_this_host_only = "T-140",
    t141_locate_luns_on_another_host_works = "T-141",
    t142_locate_luns_twice_in_one_call_maps_once = "T-142",
    t143_locate_luns_of_mapped_copies_succeeds = "T-143",
    t146_locate_luns_of_an_original_vetoes = "T-146",
    t151_fill_in_of_a_copy_equals_the_report = "T-151",
    t152_fill_in_of_a_foreign_lun_is_false = "T-152",
    t154_fill_in_is_idempotent = "T-154",
    t155_fill_in_clears_the_signature = "T-155",
    t161_fill_in_of_an_original_keeps_its_identity = "T-161",
    t190_on_lun_empty_deletes = "T-190",
    t191_on_lun_empty_again_succeeds = "T-191",
    t192_on_lun_empty_without_memory_works = "T-192",
    t193_on_lun_empty_of_an_original_vetoes = "T-193",
    t196_on_lun_empty_mapped_elsewhere_keeps = "T-196",
    t201_masking_keeps_the_copy = "T-201",
    t202_masking_again_succeeds = "T-202",
    t210_resync_brings_an_original_back = "T-210",
    t213_resync_of_several_is_one_operation = "T-213",
    t220_cancel_of_a_finished_resync_says_so = "T-220",
    t223_resync_of_nothing_is_finished = "T-223",
    t225_resync_onto_itself_vetoes = "T-225",
    t230_capabilities_are_not_implemented = "T-230",
    t231_reuse_is_not_implemented = "T-231",
}
