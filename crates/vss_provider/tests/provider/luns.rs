// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{HOST, LUN_BYTES, Rig, VETO, code, set};
use array_api::LunRole;
use array_api::simulated::{Fault, Op};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;
use vss_provider::state::State;
use vss_provider::{DO_MASK_LUNS, EventKind, Hresult, LunDescription, NOTIFY_READ_WRITE, identity};

const OTHER: &str = "backuphost";

fn grouped(luns: usize) -> Rig {
    let rig = Rig::new(luns);
    rig.array.set_group("pair", &[HOST, OTHER]);
    rig
}

/// T-120, T-121, T-124, T-126, GTL-1..GTL-11.
#[test]
fn t120_t121_t124_t126_targets_in_order_complete_stable_unmapped() {
    let rig = Rig::new(3);
    rig.reach(State::Postcommitted, set(1));
    let volume = rig.volume();
    let told = rig.provider.get_target_luns(&volume).expect("captured");
    let copies = rig.copies_or_told(set(1));
    let named: Vec<_> = told.iter().filter_map(identity::lun_id).collect();
    assert_eq!(named, copies);
    for (told, source) in told.iter().zip(&volume) {
        assert_eq!(told.version, 1);
        assert_eq!(told.disk_signature, Uuid::nil());
        assert_eq!(told.interconnects, []);
        assert_ne!(told.serial, source.serial);
        assert_ne!(told.identifiers, source.identifiers);
    }
    assert_eq!(rig.provider.get_target_luns(&volume), Ok(told));
    assert!(copies.iter().all(|c| rig.array.mapped_to(*c).is_empty()));
    assert_eq!(rig.array.count(Op::Map), 0);
}

/// T-128, GEN-6.
#[test]
fn t128_no_source_no_target_in_any_state() {
    let rig = Rig::new(1);
    assert_eq!(rig.provider.get_target_luns(&[]), Ok(Vec::new()));
}

/// T-133.
#[test]
fn t133_targets_before_post_commit_are_refused_and_the_state_stays() {
    for state in [
        State::Preparing,
        State::Prepared,
        State::Precommitted,
        State::Committed,
    ] {
        let rig = Rig::new(1);
        rig.reach(state, set(1));
        assert_eq!(code(rig.provider.get_target_luns(&rig.volume())), VETO);
        assert_eq!(rig.state(), state);
    }
}

/// T-134, GTL-9, GTL-10: nothing is told, the set waits for VSS's abort, which discards it; an answer that was lost counts
/// as nothing told.
#[test]
fn t134_failed_report_keeps_the_state_and_abort_discards() {
    for fault in [Fault::Down, Fault::Hang, Fault::Lost] {
        let rig = Rig::new(2);
        rig.reach(State::Postcommitted, set(1));
        let volume = rig.volume();
        rig.array.fault(Op::Report, fault);
        assert_eq!(code(rig.provider.get_target_luns(&volume)), VETO);
        assert_eq!(rig.state(), State::Postcommitted);
        assert_eq!(rig.errors().len(), 1);
        rig.array.heal();
        assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
        assert_eq!(rig.copies(), 0);
    }
}

/// GTL-9: a LUN that is not in the set.
#[test]
fn get_target_luns_source_outside_the_set_is_vetoed() {
    let rig = Rig::new(1);
    rig.reach(State::Postcommitted, set(1));
    let other = rig.array.create_lun(LUN_BYTES, &[HOST]);
    let mut sources = rig.volume();
    sources.push(rig.device(other));
    assert_eq!(code(rig.provider.get_target_luns(&sources)), VETO);
    assert_eq!(rig.array.count(Op::Report), 0);
    assert_eq!(rig.errors(), [EventKind::NotOurLun]);
}

/// T-140, OLS-7: this host only.
#[test]
fn t140_own_set_is_mapped_to_this_host_only() {
    let rig = grouped(2);
    rig.reach(State::Surfaced, set(1));
    for copy in rig.copies_or_told(set(1)) {
        assert_eq!(rig.array.mapped_to(copy), BTreeSet::from([HOST.to_owned()]));
    }
}

/// T-141, T-298, ROLE-7, LOC-8, IMP-9, FIL-9, LUN-4, T-192, OLE-8, IMP-7.
#[test]
fn t141_t192_t298_another_host_imports_and_deletes() {
    let rig = grouped(2);
    let told = rig.full(set(1));
    assert_eq!(
        rig.provider.on_lun_state_change(&told, None, DO_MASK_LUNS),
        Ok(())
    );
    let there = rig.second_provider(OTHER);
    assert_eq!(there.locate_luns(&told), Ok(()));
    for (told, copy) in told.iter().zip(rig.copies_or_told(set(1))) {
        assert_eq!(
            rig.array.mapped_to(copy),
            BTreeSet::from([OTHER.to_owned()])
        );
        assert_eq!(there.fill_in_lun_info(told).as_ref(), Some(told));
        let infos = rig.host().query(Duration::from_secs(1), &[copy]);
        let info = infos.expect("the array is well").remove(0);
        let LunRole::Copy(tag) = info.expect("it is there").role else {
            panic!("it is a copy");
        };
        assert_eq!(tag.importing_host.as_deref(), Some(OTHER));
    }
    for lun in &told {
        assert_eq!(there.on_lun_empty(lun), Ok(()));
    }
    assert_eq!(rig.copies(), 0);
}

/// T-142, T-143, LOC-6, LOC-7.
#[test]
fn t142_t143_same_lun_twice_and_mapped_already_are_fine() {
    let rig = Rig::new(1);
    let told = rig.full(set(1));
    let twice = [told[0].clone(), told[0].clone()];
    assert_eq!(rig.provider.locate_luns(&twice), Ok(()));
}

/// T-146, LOC-9, LOC-11: one bad LUN, and nothing is mapped.
#[test]
fn t146_originals_broken_copies_and_foreign_luns_are_not_mapped() {
    let rig = Rig::new(2);
    rig.reach(State::Reported, set(1));
    let told = rig.provider.get_target_luns(&rig.volume()).expect("told");
    let gone = told[1].clone();
    assert_eq!(rig.provider.on_lun_empty(&gone), Ok(()));
    let original = rig.device(rig.luns[0]);
    for (bad, kind) in [
        (original, EventKind::NotACopy),
        (LunDescription::default(), EventKind::NotOurLun),
        (gone, EventKind::LunGone),
    ] {
        rig.forget_events();
        let answer = rig.provider.locate_luns(&[told[0].clone(), bad]);
        assert_eq!(code(answer), VETO);
        assert_eq!(rig.errors(), [kind]);
    }
    let flags = NOTIFY_READ_WRITE;
    assert_eq!(
        rig.provider.on_lun_state_change(&told[..1], None, flags),
        Ok(())
    );
    assert_eq!(code(rig.provider.locate_luns(&told[..1])), VETO);
    let copy = identity::lun_id(&told[0]).expect("ours");
    assert!(rig.array.mapped_to(copy).is_empty());
}

/// T-147, LOC-4.
#[test]
fn t147_slow_map_is_waited_for() {
    let rig = Rig::new(1);
    rig.reach(State::Reported, set(1));
    let copies = rig.devices(&rig.copies_or_told(set(1)));
    rig.array
        .fault(Op::Map, Fault::Slow(Duration::from_secs(30)));
    assert_eq!(rig.provider.locate_luns(&copies), Ok(()));
    assert_eq!(rig.clock.now(), Duration::from_secs(30));
}

/// LOC-9: an array that stops half-way leaves nothing mapped.
#[test]
fn locate_luns_half_way_is_undone() {
    let rig = Rig::new(3);
    rig.reach(State::Reported, set(1));
    let copies = rig.copies_or_told(set(1));
    let devices = rig.devices(&copies);
    rig.array.fault(Op::Map, Fault::Part(2));
    assert_eq!(code(rig.provider.locate_luns(&devices)), VETO);
    assert!(copies.iter().all(|c| rig.array.mapped_to(*c).is_empty()));
    rig.array.heal();
    assert_eq!(rig.provider.locate_luns(&devices), Ok(()));
    assert_eq!(rig.state(), State::Surfaced);
}

/// T-149, SEQ-12: another set's copies while a set is PREPARED.
#[test]
fn t149_import_leaves_the_set_in_progress() {
    let rig = Rig::new(1);
    let told = rig.full(set(1));
    rig.reach(State::Prepared, set(2));
    assert_eq!(rig.provider.locate_luns(&told), Ok(()));
    assert_eq!(rig.provider.state(), (State::Prepared, Some(set(2))));
    assert_eq!(rig.provider.pre_commit_snapshots(set(2)), Ok(()));
}

/// T-150.
#[test]
fn t150_no_lun_to_locate_is_a_success_without_array() {
    let rig = Rig::new(1);
    assert_eq!(rig.provider.locate_luns(&[]), Ok(()));
    assert_eq!(rig.array.calls(), []);
}

/// T-190, T-191, OLE-1, OLE-4.
#[test]
fn t190_t191_empty_lun_is_deleted_once_and_again_a_success() {
    let rig = Rig::new(2);
    let told = rig.full(set(1));
    for lun in &told {
        assert_eq!(rig.provider.fill_in_lun_info(lun).as_ref(), Some(lun));
        assert_eq!(rig.provider.on_lun_empty(lun), Ok(()));
    }
    assert_eq!(rig.copies(), 0);
    rig.delete(&told, 0);
    assert_eq!(rig.errors(), []);
}

/// T-193, T-194, OLE-6, BRK-6.
#[test]
fn t193_t194_originals_and_broken_copies_are_not_deleted() {
    let rig = Rig::new(1);
    let told = rig.full(set(1));
    let original = rig.device(rig.luns[0]);
    assert_eq!(code(rig.provider.on_lun_empty(&original)), VETO);
    let flags = NOTIFY_READ_WRITE;
    assert_eq!(rig.provider.on_lun_state_change(&told, None, flags), Ok(()));
    assert_eq!(code(rig.provider.on_lun_empty(&told[0])), VETO);
    assert_eq!(
        code(rig.provider.on_lun_empty(&LunDescription::default())),
        VETO
    );
    assert_eq!(rig.copies(), 1);
    assert_eq!(
        rig.errors(),
        [
            EventKind::NotACopy,
            EventKind::NotACopy,
            EventKind::NotOurLun
        ]
    );
}

/// T-196, OLE-7.
#[test]
fn t196_copy_of_two_hosts_is_unmapped_here_only() {
    let rig = grouped(1);
    let told = rig.full(set(1));
    let there = rig.second_provider(OTHER);
    assert_eq!(there.locate_luns(&told), Ok(()));
    rig.forget_events();
    assert_eq!(rig.provider.on_lun_empty(&told[0]), Ok(()));
    let copy = identity::lun_id(&told[0]).expect("ours");
    assert_eq!(
        rig.array.mapped_to(copy),
        BTreeSet::from([OTHER.to_owned()])
    );
    let kinds: Vec<_> = rig.events().iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [EventKind::KeptMappedElsewhere]);
}

/// SEQ-33: an abort after import elsewhere keeps that copy, and says so.
#[test]
fn abort_after_import_elsewhere_keeps_that_copy() {
    let rig = grouped(2);
    rig.reach(State::Reported, set(1));
    let copies = rig.copies_or_told(set(1));
    let there = rig.second_provider(OTHER);
    assert_eq!(there.locate_luns(&rig.devices(&copies[..1])), Ok(()));
    assert_eq!(rig.provider.abort_snapshots(set(1)), Ok(()));
    assert_eq!(rig.copies(), 1);
    let kinds: Vec<_> = rig.events().iter().map(|e| e.kind).collect();
    assert!(kinds.contains(&EventKind::CopiesKept), "{kinds:?}");
}

/// T-200.
#[test]
fn t200_sixty_four_deletes_in_a_row() {
    let rig = Rig::new(64);
    let told = rig.full(set(1));
    rig.delete(&told, 0);
}

/// T-201, T-202, T-205, OLS-1, OLS-5, OLS-7.
#[test]
fn t201_t202_t205_mask_hides_here_keeps_data_and_other_hosts() {
    let rig = grouped(1);
    let told = rig.full(set(1));
    let copy = identity::lun_id(&told[0]).expect("ours");
    let there = rig.second_provider(OTHER);
    assert_eq!(there.locate_luns(&told), Ok(()));
    for _ in 0..2 {
        assert_eq!(
            rig.provider.on_lun_state_change(&told, None, DO_MASK_LUNS),
            Ok(())
        );
        assert_eq!(
            rig.array.mapped_to(copy),
            BTreeSet::from([OTHER.to_owned()])
        );
    }
    assert_eq!(rig.provider.locate_luns(&told), Ok(()));
    assert_eq!(rig.array.mapped_to(copy).len(), 2);
}

/// T-203, OLS-2, OLS-3, BRK-3: only 0x800 changes the mapping, only 0x100 breaks.
#[test]
fn t203_flags_are_a_mask() {
    for flags in [0x100, 0x200, 0x400, 0, 0x700, 0x900, 0x8000_0000] {
        let rig = Rig::new(1);
        let told = rig.full(set(1));
        let copy = identity::lun_id(&told[0]).expect("ours");
        let originals = rig.volume();
        let answer = rig
            .provider
            .on_lun_state_change(&told, Some(&originals), flags);
        assert_eq!(answer, Ok(()), "{flags:#x}");
        let mapped = !rig.array.mapped_to(copy).is_empty();
        assert_eq!(mapped, flags & 0x800 == 0, "{flags:#x}");
        let broken = rig.copies_or_told(set(1)).is_empty();
        assert_eq!(broken, flags & 0x100 != 0, "{flags:#x}");
    }
}

/// T-204, OLS-4; an original is never masked.
#[test]
fn t204_state_change_without_originals_or_copies() {
    let rig = Rig::new(2);
    let told = rig.full(set(1));
    let p = &rig.provider;
    assert_eq!(p.on_lun_state_change(&[], None, DO_MASK_LUNS), Ok(()));
    let one = rig.devices(&rig.luns[..1]);
    let uneven = p.on_lun_state_change(&told, Some(&one), DO_MASK_LUNS);
    assert_eq!(uneven, Err(Hresult::E_INVALIDARG));
    assert_eq!(code(p.on_lun_state_change(&one, None, DO_MASK_LUNS)), VETO);
    assert!(rig.array.mapped_to(rig.luns[0]).contains(HOST));
}
