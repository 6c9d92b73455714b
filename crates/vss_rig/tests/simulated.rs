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
    assert!(!outcome.story.is_empty(), "{id} tells none of its calls");
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
    t032_a_lun_without_a_usable_designator_makes_the_volume = "T-032",
    t033_designators_of_types_0_4_5_6_and_7_identify_nothing = "T-033",
    t034_one_designator_of_a_usable_type_is_enough = "T-034",
    t035_contexts_are_answered_by_table_6_4 = "T-035",
    t036_differential_and_full_at_once_is_refused = "T-036",
    t037_are_luns_supported_foreign_contexts_is_false = "T-037",
    t038_bits_of_vss_s_own_change_no_answer = "T-038",
    t040_are_luns_supported_array_down_is_false = "T-040",
    t041_arelunssupported_with_a_silent_array_is_false_within_5 = "T-041",
    t043_arelunssupported_beside_a_prepared_set_leaves_the_set = "T-043",
    t044_are_luns_supported_reserves_nothing = "T-044",
    t045_arelunssupported_of_no_lun_is_false = "T-045",
    t048_missing_inquiry_and_serial_strings_do_no_harm = "T-048",
    t050_a_copy_mapped_or_not_is_ours_but_no_copy_is_made_of_it = "T-050",
    t051_a_volume_across_two_arrays_is_unsupported = "T-051",
    t052_arelunssupported_leaves_interconnects_alone = "T-052",
    t053_structures_of_version_0_and_2_do_no_harm = "T-053",
    t054_arelunssupported_that_fails_stores_false = "T-054",
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
    t074_64_volumes_complete_a_65th_is_refused = "T-074",
    t075_64_volumes_on_one_lun_have_one_target = "T-075",
    t076_a_volume_of_no_lun_is_invalid = "T-076",
    t077_a_volume_that_fails_leaves_the_others_of_its_set_alone = "T-077",
    t091_an_abort_ends_endpreparesnapshots_while_it_waits = "T-091",
    t094_unknown_set_is_not_found = "T-094",
    t095_unknown_set_vetoes_in_the_final_phases = "T-095",
    t096_pre_commit_array_down_vetoes = "T-096",
    t100_commit_stops_at_8_s_when_the_array_is_slow_or_silent = "T-100",
    t103_what_was_captured_when_commit_s_answer_was_lost = "T-103",
    t104_an_event_about_a_failed_commit_waits_for_the_abort = "T-104",
    t106_post_commit_negative_count_is_invalid = "T-106",
    t107_postcommit_needs_no_array = "T-107",
    t108_a_write_right_after_commit_is_not_in_the_copy = "T-108",
    t110_commit_phase_is_quick = "T-110",
    t120_get_target_luns_answers_in_order = "T-120",
    t121_get_target_luns_twice_is_the_same = "T-121",
    t123_fill_in_of_the_disk_equals_the_report = "T-123",
    t124_identities_are_unique = "T-124",
    t125_gettargetluns_tells_the_designators_of_the_lun_itself = "T-125",
    t126_get_target_luns_maps_nothing = "T-126",
    t133_get_target_luns_early_vetoes = "T-133",
    t134_gettargetluns_with_the_array_down_vetoes_and_nothing = "T-134",
    t135_trailing_blanks_make_no_difference = "T-135",
    t140_locate_luns_maps_to_this_host_only = "T-140",
    t141_locate_luns_on_another_host_works = "T-141",
    t142_locate_luns_twice_in_one_call_maps_once = "T-142",
    t143_locate_luns_of_mapped_copies_succeeds = "T-143",
    t146_locate_luns_of_an_original_vetoes = "T-146",
    t148_locateluns_with_the_array_down_or_silent_vetoes = "T-148",
    t149_locateluns_of_older_copies_leaves_a_prepared_set_alone = "T-149",
    t151_fill_in_of_a_copy_equals_the_report = "T-151",
    t152_fill_in_of_a_foreign_lun_is_false = "T-152",
    t154_fill_in_is_idempotent = "T-154",
    t155_fill_in_clears_the_signature = "T-155",
    t156_fillinluninfo_leaves_interconnects_alone = "T-156",
    t157_fillinluninfo_with_the_array_down_answers_from_complete = "T-157",
    t159_fillinluninfo_that_fails_stores_false = "T-159",
    t160_fillinluninfo_of_a_disk_with_a_newer_firmware_equals = "T-160",
    t161_fill_in_of_an_original_keeps_its_identity = "T-161",
    t170_writers_repair_the_copy_between_prefinal_and_postfinal = "T-170",
    t171_a_transportable_set_is_finished_without_locateluns = "T-171",
    t173_a_finished_copy_can_be_mapped_read_write_by_a_second = "T-173",
    t175_postfinal_needs_no_array = "T-175",
    t176_abort_before_the_report_leaks_nothing = "T-176",
    t178_abort_after_the_report_discards = "T-178",
    t180_abort_finished_set_is_not_found = "T-180",
    t181_an_abort_of_another_set_is_not_found_the_set = "T-181",
    t182_second_abort_succeeds = "T-182",
    t184_each_call_in_each_state_is_answered_by_table_4_3 = "T-184",
    t185_an_abort_because_of_others_is_no_error = "T-185",
    t186_200_sets_aborted_in_random_states_leave_nothing = "T-186",
    t190_on_lun_empty_deletes = "T-190",
    t191_on_lun_empty_again_succeeds = "T-191",
    t192_on_lun_empty_without_memory_works = "T-192",
    t193_on_lun_empty_of_an_original_vetoes = "T-193",
    t194_onlunempty_and_locateluns_of_a_broken_copy_veto = "T-194",
    t196_on_lun_empty_mapped_elsewhere_keeps = "T-196",
    t198_onlunempty_with_the_array_down_vetoes_and_works_later = "T-198",
    t200_onlunempty_of_64_copies_in_a_row = "T-200",
    t201_masking_keeps_the_copy = "T-201",
    t202_masking_again_succeeds = "T-202",
    t203_of_all_flags_of_onlunstatechange_only_the_mask_changes = "T-203",
    t205_masking_a_copy_on_one_host_leaves_it_to_the_other = "T-205",
    t210_resync_brings_an_original_back = "T-210",
    t213_resync_of_several_is_one_operation = "T-213",
    t220_cancel_of_a_finished_resync_says_so = "T-220",
    t223_resync_of_nothing_is_finished = "T-223",
    t225_resync_onto_itself_vetoes = "T-225",
    t226_resyncluns_beside_a_set_in_progress_leaves_the_set = "T-226",
    t230_capabilities_are_not_implemented = "T-230",
    t231_reuse_is_not_implemented = "T-231",
    t250_with_the_array_down_each_method_answers_in_its_time = "T-250",
    t251_with_a_silent_array_each_method_answers_in_its_time = "T-251",
    t253_an_array_that_comes_back_during_endprepare_lets_it = "T-253",
    t295_what_was_written_before_commit_is_in_the_copy = "T-295",
    t296_a_nonpersistent_copy_outlives_its_provider = "T-296",
    t297_a_shadow_copy_id_of_an_unfinished_set_is_taken_over = "T-297",
    t298_fillinluninfo_knows_an_imported_copy_on_both_hosts = "T-298",
    t301_a_copy_that_becomes_an_ordinary_lun_stays_mapped_read = "T-301",
    t305_a_finished_set_answers_gettargetluns_until_the_next = "T-305",
    t311_after_each_way_to_fail_the_next_set_begins_at_once = "T-311",
    t313_an_instant_redirect_is_finished_at_once_and_reads_are = "T-313",
    t317_endprepare_of_an_unknown_set_does_not_wait = "T-317",
    t319_an_original_without_page_80h_is_supported_and_copied = "T-319",
}
