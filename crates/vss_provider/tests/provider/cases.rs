// SPDX-License-Identifier: MIT OR Apache-2.0
//! Single cases of specification 10 that belong to no larger group.

use crate::support::{HOST, LUN_BYTES, OK, Rig, VETO, code, set};
use array_api::ArrayErrorKind as Kind;
use array_api::simulated::{Fault, Op, SimulatedArray};
use std::time::Duration;
use vss_provider::state::State;
use vss_provider::{
    DO_MASK_LUNS, EventKind, Interconnect, LunDescription, Method, NOTIFY_READ_WRITE, Settings,
    budget, identity,
};

const OTHER: &str = "backuphost";

fn with_interconnect(mut lun: LunDescription) -> LunDescription {
    lun.interconnects = vec![Interconnect {
        address_type: 2,
        port: vec![1, 2, 3],
        address: vec![4, 5],
    }];
    lun
}

/// T-051, SEQ-18: a volume on two arrays. This provider knows one array; the other's LUN is none of its own.
#[test]
fn t051_lun_of_another_array_makes_the_volume_unsupported() {
    let rig = Rig::new(1);
    let elsewhere = SimulatedArray::new(rig.clock.clone());
    // Ids are made in one sequence on every simulated array: the second one is not on the rig's.
    elsewhere.create_lun(LUN_BYTES, &[HOST]);
    let stranger = elsewhere.create_lun(LUN_BYTES, &[HOST]);
    let infos = elsewhere
        .host(HOST)
        .query(Duration::from_secs(1), &[stranger]);
    let info = infos.expect("the array is well").remove(0);
    let stranger = identity::describe(&info.expect("just made").identity);
    let own = rig.device(rig.luns[0]);
    for luns in [[own.clone(), stranger.clone()], [stranger, own]] {
        assert_eq!(rig.provider.are_luns_supported(0, &luns), Ok(false));
        let begun = rig
            .provider
            .begin_prepare_snapshot(set(1), set(2), 0, &luns);
        assert!(begun.is_err());
    }
    assert_eq!(rig.copies(), 0);
}

/// T-052, ALS-5, FIL-4: ports do not matter to any method, and FillInLunInfo hands them back as they came.
#[test]
fn t052_interconnects_are_left_alone() {
    let rig = Rig::new(1);
    let lun = with_interconnect(rig.device(rig.luns[0]));
    let luns = [lun.clone()];
    assert_eq!(rig.provider.are_luns_supported(0, &luns), Ok(true));
    let begun = rig
        .provider
        .begin_prepare_snapshot(set(1), set(2), 0, &luns);
    assert_eq!(begun, Ok(()));
    let filled = rig.provider.fill_in_lun_info(&lun).expect("ours");
    assert_eq!(filled.interconnects, lun.interconnects);
}

/// T-054, ALS-12: whatever the array answers to any question, a failure never comes with TRUE.
#[test]
fn t054_failing_questions_are_never_true() {
    for veto_when_unreachable in [false, true] {
        for op in [Op::Query, Op::Check] {
            for kind in [Kind::Internal, Kind::Unreachable, Kind::Protocol] {
                let settings = Settings {
                    veto_when_unreachable,
                    ..Settings::default()
                };
                let rig = Rig::with(1, settings);
                let volume = rig.volume();
                rig.array.fault(op, Fault::Err(kind));
                let answer = rig.provider.are_luns_supported(0, &volume);
                // An array that answered, whatever it said, was in reach (OQ-34).
                let vetoes = veto_when_unreachable && kind != Kind::Internal;
                let expected = if vetoes { Err(VETO) } else { Ok(false) };
                assert_eq!(answer, expected, "{op:?} {kind:?}");
            }
        }
    }
}

/// T-108, COM-4, TIME-21: a write right after Commit is not in the copy: nothing is copied after it returned.
#[test]
fn t108_write_right_after_commit_is_not_in_the_copy() {
    let rig = Rig::new(1);
    rig.array.write_as(HOST, rig.luns[0], 1);
    rig.reach(State::Committed, set(1));
    assert!(rig.array.write_as(HOST, rig.luns[0], 2));
    let copy = rig.copies_or_told(set(1))[0];
    rig.clock.advance(Duration::from_secs(3600));
    assert_eq!(rig.array.read(copy), Some(1));
}

/// T-125, LUN-3, GTL-5: designators of ports, target port groups and LUN groups never reach VSS, also when Windows read some.
#[test]
fn t125_only_designators_of_the_lun_itself_are_told() {
    let rig = Rig::new(1);
    let told = rig.full(set(1));
    let mut device = rig.device(rig.copies_or_told(set(1))[0]);
    for kind in [4, 5, 6] {
        let mut designator = device.identifiers[0].clone();
        designator.kind = kind;
        designator.bytes = vec![0, 0, 0, 1];
        device.identifiers.push(designator);
    }
    let filled = rig.provider.fill_in_lun_info(&device).expect("ours");
    assert_eq!(filled.identifiers, told[0].identifiers);
    assert!(
        told[0]
            .identifiers
            .iter()
            .all(|i| [1, 2, 3, 8].contains(&i.kind))
    );
}

/// T-144, LOC-3, LOC-10: a map that an administrator made read-only becomes read/write.
#[test]
fn t144_read_only_map_becomes_read_write() {
    let rig = Rig::new(1);
    let told = rig.full(set(1));
    let copy = rig.copies_or_told(set(1))[0];
    assert!(rig.array.set_map_read_only(copy, HOST));
    assert!(!rig.array.write_as(HOST, copy, 5));
    assert_eq!(rig.provider.locate_luns(&told), Ok(()));
    assert!(rig.array.write_as(HOST, copy, 5));
}

/// T-148, TIME-9: LocateLuns with the array out of reach, at its first call or at its second.
#[test]
fn t148_locate_with_the_array_out_of_reach_is_vetoed_in_time() {
    for fault in [Fault::Down, Fault::Hang] {
        for op in [Op::Query, Op::Map] {
            let rig = Rig::new(1);
            rig.reach(State::Reported, set(1));
            let copies = rig.devices(&rig.copies_or_told(set(1)));
            let before = rig.clock.now();
            rig.array.fault(op, fault.clone());
            assert_eq!(code(rig.provider.locate_luns(&copies)), VETO);
            assert!(rig.clock.now() - before <= budget::LOCATE_LUNS);
            assert_eq!(rig.errors().len(), 1, "{op:?} {fault:?}");
        }
    }
}

/// T-159, FIL-6, FIL-7, ERR-8: a failure is FALSE where the data do not speak for themselves; no state is touched.
#[test]
fn t159_failing_fill_is_false() {
    for kind in [Kind::Internal, Kind::Unreachable, Kind::Forbidden] {
        let rig = Rig::new(1);
        rig.reach(State::Prepared, set(1));
        let mut device = rig.device(rig.luns[0]);
        device.serial = None;
        rig.array.fault(Op::Query, Fault::Err(kind));
        assert_eq!(rig.provider.fill_in_lun_info(&device), None, "{kind:?}");
        assert_eq!(rig.state(), State::Prepared);
    }
}

/// T-170, PFC-2, SEQ-27: writers repair the copy between PreFinal and PostFinal; the source stays as it is.
#[test]
fn t170_recovery_writes_reach_the_copy_only() {
    let rig = Rig::new(1);
    rig.array.write_as(HOST, rig.luns[0], 1);
    rig.reach(State::Prefinal, set(1));
    let copy = rig.copies_or_told(set(1))[0];
    assert!(rig.array.write_as(HOST, copy, 2));
    assert_eq!(rig.provider.post_final_commit_snapshots(set(1)), Ok(()));
    assert_eq!(rig.state(), State::Created);
    let read = [rig.luns[0], copy].map(|lun| rig.array.read(lun));
    assert_eq!(read, [Some(1), Some(2)]);
}

/// T-173, T-301, LUN-12, LUN-13, PFF-2: the map is read/write from creation on, on every host, and stays so after a break.
#[test]
fn t173_t301_maps_stay_read_write() {
    let rig = Rig::new(1);
    rig.array.set_group("pair", &[HOST, OTHER]);
    let told = rig.full(set(1));
    let copy = rig.copies_or_told(set(1))[0];
    assert!(rig.array.write_as(HOST, copy, 1));
    let there = rig.second_provider(OTHER);
    assert_eq!(there.locate_luns(&told), Ok(()));
    assert!(rig.array.write_as(OTHER, copy, 2));
    let flags = NOTIFY_READ_WRITE;
    assert_eq!(rig.provider.on_lun_state_change(&told, None, flags), Ok(()));
    for (host, content) in [(HOST, 3), (OTHER, 4)] {
        assert!(rig.array.write_as(host, copy, content), "{host}");
    }
}

/// T-197, OLE-5: a deletion that takes ten minutes. OnLunEmpty returns at once; the space comes back later, whatever becomes
/// of the provider.
#[test]
fn t197_slow_deletion_goes_on_without_the_provider() {
    let mut rig = Rig::new(1);
    let free = rig.array.free_bytes();
    let told = rig.full(set(1));
    rig.array.set_deletion_time(Duration::from_secs(600));
    let before = rig.clock.now();
    assert_eq!(rig.provider.on_lun_empty(&told[0]), Ok(()));
    assert!(rig.clock.now() - before <= budget::ON_LUN_EMPTY);
    assert_eq!(rig.array.free_bytes(), free - LUN_BYTES);
    rig.restart();
    assert_eq!(rig.provider.on_lun_empty(&told[0]), Ok(()));
    rig.clock.advance(Duration::from_secs(600));
    assert_eq!(rig.array.free_bytes(), free);
}

/// T-198, OLE-10: VETO with one event that names the LUN; the copy keeps its tag, and the repetition deletes it. Until then
/// nothing is deleted: VSS was told that it is still there.
#[test]
fn t198_failed_deletion_is_recorded_and_can_be_repeated() {
    let faults = [Fault::Down, Fault::Err(Kind::Internal), Fault::Hang];
    for fault in faults {
        let rig = Rig::new(1);
        let told = rig.full(set(1));
        let copy = rig.copies_or_told(set(1));
        rig.forget_events();
        rig.array.fault(Op::Delete, fault.clone());
        assert_eq!(code(rig.provider.on_lun_empty(&told[0])), VETO);
        let events = rig.events();
        assert_eq!(events.len(), 1, "{fault:?}");
        assert_eq!((events[0].code, &events[0].luns), (VETO, &copy));
        rig.array.heal();
        rig.provider.tick();
        assert_eq!(rig.copies_or_told(set(1)), copy);
        assert_eq!(rig.provider.on_lun_empty(&told[0]), Ok(()));
        assert_eq!(rig.copies(), 0);
    }
}

/// T-290, T-316, ROLE-5, RSY-2, GTL-3, LOC-2, OLE-2, OLS-9: the provider's only way out is the array's management: a whole
/// life writes to no LUN (each keeps its content, also the marks that Windows sets on it), and asks for nothing but these.
#[test]
fn t290_t316_a_whole_life_goes_through_the_arrays_management_only() {
    let rig = Rig::new(2);
    rig.array.set_resync_right(HOST, true);
    for lun in &rig.luns {
        rig.array.write_as(HOST, *lun, 7);
    }
    let told = rig.full(set(1));
    let p = &rig.provider;
    assert_eq!(p.on_lun_state_change(&told, None, DO_MASK_LUNS), Ok(()));
    for lun in rig.luns.iter().chain(&rig.copies_or_told(set(1))) {
        assert_eq!(rig.array.read(*lun), Some(7));
    }
    rig.array.write_as(HOST, rig.luns[1], 8);
    assert!(p.resync_luns(&told[..1], &rig.volume()[..1]).is_ok());
    assert_eq!(rig.array.read(rig.luns[1]), Some(8));
    rig.delete(&told, 0);
    let volume = rig.volume().len();
    rig.array.forget_calls();
    rig.full(set(2));
    let ops: Vec<_> = rig.array.calls().into_iter().map(|c| c.op).collect();
    let creation = [
        Op::Query,
        Op::Prepare,
        Op::Ready,
        Op::Arm,
        Op::Commit,
        Op::Report,
        Op::Map,
    ];
    let asked: Vec<_> = creation.into_iter().filter(|op| ops.contains(op)).collect();
    assert_eq!(asked, creation);
    // `volume` and its descriptions are the test's own questions.
    assert!(
        ops.iter().all(|op| creation.contains(op)),
        "{volume}: {ops:?}"
    );
}

/// T-293, LUN-17, LUN-18: odd sizes; the copy is as large as its source, and a disk (type 0).
#[test]
fn t293_copies_have_the_size_and_type_of_their_sources() {
    let mut rig = Rig::new(0);
    for size_bytes in [512, 4096, LUN_BYTES + 512, (3 << 40) + 4096] {
        rig.add_lun(size_bytes);
    }
    let told = rig.full(set(1));
    for ((lun, copy), told) in rig.luns.iter().zip(rig.copies_or_told(set(1))).zip(&told) {
        assert_eq!(rig.array.size_bytes(copy), rig.array.size_bytes(*lun));
        assert_eq!((told.device_type, told.device_type_modifier), (0, 0));
    }
}

/// T-310, ALS-2, ALS-3: a LUN whose copies cannot be mapped to other hosts: no transportable copy of it, others yes.
#[test]
fn t310_immovable_lun_has_no_transportable_copy() {
    let rig = Rig::new(1);
    rig.array.set_immovable(rig.luns[0]);
    let volume = rig.volume();
    assert_eq!(rig.provider.are_luns_supported(0x20, &volume), Ok(false));
    assert_eq!(rig.provider.are_luns_supported(0, &volume), Ok(true));
    let begun = rig
        .provider
        .begin_prepare_snapshot(set(1), set(2), 0x20, &volume);
    assert_eq!(
        code(begun),
        vss_provider::Hresult::VSS_E_UNSUPPORTED_CONTEXT
    );
    assert_eq!(rig.copies(), 0);
    assert_eq!(rig.fire(Method::BeginPrepareSnapshot, set(3)), OK);
    assert_eq!(rig.errors(), [EventKind::ContextRefused]);
}
