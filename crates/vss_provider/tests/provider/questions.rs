// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::support::{HOST, LUN_BYTES, OK, Rig, set};
use array_api::simulated::{Fault, Gate, Op, SimulatedArray};
use array_api::{ArrayGroup, Capabilities, LunId, LunIdentity, Oui};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use vss_provider::state::State;
use vss_provider::{
    EventKind, Hresult, Interconnect, LunDescription, Settings, StorageIdentifier, identity,
};

fn foreign() -> LunDescription {
    LunDescription {
        version: 1,
        vendor: Some(b"OTHER   ".to_vec()),
        identifiers: vec![StorageIdentifier {
            code_set: 1,
            kind: 3,
            bytes: vec![0x60; 16],
        }],
        ..LunDescription::default()
    }
}

/// T-011, T-012, T-013.
#[test]
fn t011_t012_t013_load_and_unload_need_no_array() {
    let rig = Rig::new(1);
    rig.array.fault_all(&Fault::Hang);
    let before = rig.clock.now();
    assert_eq!(rig.provider.on_load(), Ok(()));
    assert_eq!(rig.provider.on_unload(false), OK);
    assert_eq!(rig.provider.on_unload(true), OK);
    assert_eq!(rig.clock.now(), before);
    assert_eq!(rig.array.calls(), []);
}

/// T-030.
#[test]
fn t030_own_lun_is_supported() {
    let rig = Rig::new(1);
    assert_eq!(rig.provider.are_luns_supported(0, &rig.volume()), Ok(true));
}

/// T-031, ALS-1, SEQ-17.
#[test]
fn t031_one_foreign_lun_makes_the_volume_unsupported_without_array_call() {
    let rig = Rig::new(1);
    let own = rig.device(rig.luns[0]);
    rig.array.forget_calls();
    for luns in [[own.clone(), foreign()], [foreign(), own]] {
        assert_eq!(rig.provider.are_luns_supported(0, &luns), Ok(false));
    }
    assert_eq!(rig.array.calls(), []);
}

/// T-032, LUN-6.
#[test]
fn t032_lun_without_page_83_identity_is_unsupported() {
    let rig = Rig::new(3);
    let mut luns = rig.volume();
    luns[1].identifiers.clear();
    assert_eq!(rig.provider.are_luns_supported(0, &luns), Ok(false));
}

/// T-034, LUN-11: our LUNs are known by their type 1 designator, whatever else is there.
#[test]
fn t034_type_1_designator_alone_is_enough() {
    let rig = Rig::new(1);
    let mut lun = rig.device(rig.luns[0]);
    lun.identifiers.retain(|i| i.kind == 1);
    assert_eq!(rig.provider.are_luns_supported(0, &[lun]), Ok(true));
}

/// T-035, T-036, T-037, CTX-1, CTX-2, CTX-3, CTX-5: contexts against arrays, through the provider.
#[test]
fn t035_t036_t037_contexts_follow_the_arrays_abilities() {
    let rig = Rig::new(1);
    let volume = rig.volume();
    let supported = |context| rig.provider.are_luns_supported(context, &volume);
    for context in [0, 0x9, 0x10, 0x19, 0x20, 0x2_0000, 0x40_0000] {
        assert_eq!(supported(context), Ok(true), "{context:#x}");
    }
    for context in [0x4_0000, 0x6_0000, 0x1d, 0x0d, -1, 0x400_0000] {
        assert_eq!(supported(context), Ok(false), "{context:#x}");
    }
    rig.array.set_capabilities(Capabilities {
        differential: false,
        plex: true,
        transportable: false,
        persistent: false,
        resync: false,
        luns_per_set_max: 8,
    });
    for (context, expected) in [
        (0, true),
        (0x2_0000, false),
        (0x4_0000, true),
        (0x20, false),
        (0x9, false),
    ] {
        assert_eq!(supported(context), Ok(expected), "{context:#x}");
    }
}

/// T-039, T-042, ALS-4, LIM-5: with an event that names the reason, once. Asked for all the same, it is refused as a limit.
#[test]
fn t039_t042_space_and_limits_decide_and_are_told_once() {
    let rig = Rig::new(1);
    let volume = rig.volume();
    rig.array.set_free_bytes(LUN_BYTES - 4096);
    assert_eq!(rig.provider.are_luns_supported(0, &volume), Ok(false));
    assert_eq!(rig.provider.are_luns_supported(0, &volume), Ok(false));
    let kinds: Vec<_> = rig.events().iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [EventKind::VolumeRefused]);
    rig.array.set_free_bytes(LUN_BYTES);
    assert_eq!(rig.provider.are_luns_supported(0, &volume), Ok(true));
    rig.array.set_copies_max(0);
    assert_eq!(rig.provider.are_luns_supported(0, &volume), Ok(false));
    let too_many = Hresult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED;
    assert_eq!(rig.begin(set(1)), too_many);
    assert_eq!(rig.copies(), 0);
}

/// T-040, T-041, ALS-10, TIME-9.
#[test]
fn t040_t041_array_out_of_reach_is_false_within_five_seconds() {
    for fault in [Fault::Down, Fault::Hang] {
        for op in [Op::Query, Op::Check] {
            let rig = Rig::new(1);
            let volume = rig.volume();
            rig.array.fault(op, fault.clone());
            assert_eq!(rig.provider.are_luns_supported(0, &volume), Ok(false));
            assert!(rig.clock.now() <= Duration::from_secs(5), "{op:?}");
        }
    }
}

/// T-041, ALS-10, FIL-10, TIME-9: an array of the host that hangs keeps nobody waiting who asks about LUNs of another.
#[test]
fn t041_hanging_array_of_several_costs_the_others_nothing() {
    let rig = Rig::new(1);
    let silent = SimulatedArray::new(rig.clock.clone());
    let gate = Gate::closed();
    for op in Op::ALL {
        silent.fault(op, Fault::Gate(gate.clone()));
    }
    let lun = LunDescription {
        revision: Some(b"9999".to_vec()),
        ..rig.device(rig.luns[0])
    };
    for silent_is_first in [false, true] {
        let mut members = vec![rig.host(), silent.host(HOST)];
        if silent_is_first {
            members.reverse();
        }
        let provider = rig.provider_on(Arc::new(ArrayGroup::new(members)));

        let supported = provider.are_luns_supported(0, &rig.volume());
        let filled = provider.fill_in_lun_info(&lun).expect("ours");

        assert_eq!(supported, Ok(true));
        assert_eq!(filled.revision, rig.device(rig.luns[0]).revision);
    }
    gate.wait_entered();
    assert!(gate.holds_calls(), "the silent array was waited for");
    gate.open();
}

/// OQ-34: a site may prefer a failed backup to a silent fall-back.
#[test]
fn are_luns_supported_unreachable_array_vetoes_when_the_site_wants_it() {
    let settings = Settings {
        veto_when_unreachable: true,
        ..Settings::default()
    };
    let rig = Rig::with(1, settings);
    let volume = rig.volume();
    rig.array.fault_all(&Fault::Down);
    let answer = rig.provider.are_luns_supported(0, &volume);
    assert_eq!(answer, Err(Hresult::VSS_E_PROVIDER_VETO));
    assert_eq!(rig.errors(), [EventKind::ArrayUnreachable]);
}

/// T-043, T-044, ALS-9, SEQ-12.
#[test]
fn t043_t044_a_question_reserves_nothing_and_leaves_the_set() {
    let rig = Rig::new(2);
    rig.reach(State::Prepared, set(1));
    let (copies, state) = (rig.copies(), rig.provider.state());
    let other = rig.devices(&rig.luns[1..]);
    assert_eq!(rig.provider.are_luns_supported(0, &other), Ok(true));
    assert_eq!((rig.copies(), rig.provider.state()), (copies, state));
    assert_eq!(rig.provider.pre_commit_snapshots(set(1)), Ok(()));
}

/// T-045.
#[test]
fn t045_no_lun_is_unsupported() {
    let rig = Rig::new(1);
    assert_eq!(rig.provider.are_luns_supported(0, &[]), Ok(false));
}

/// T-048, GEN-12, T-319: strings may be missing when page 83 speaks.
#[test]
fn t048_t319_missing_strings_do_not_matter() {
    let rig = Rig::new(1);
    let mut lun = rig.device(rig.luns[0]);
    (lun.vendor, lun.product, lun.revision, lun.serial) = (None, None, None, None);
    assert_eq!(rig.provider.are_luns_supported(0, &[lun]), Ok(true));
}

/// T-050, ALS-11: a copy of ours belongs to us, mapped or not, without space; it cannot be copied.
#[test]
fn t050_own_copy_is_ours_but_cannot_be_copied() {
    let rig = Rig::new(1);
    let told = rig.full(set(1));
    for masked in [false, true] {
        if masked {
            let flags = vss_provider::DO_MASK_LUNS;
            assert_eq!(rig.provider.on_lun_state_change(&told, None, flags), Ok(()));
            rig.array.set_free_bytes(0);
        }
        assert_eq!(rig.provider.are_luns_supported(0x1d, &told), Ok(true));
    }
    let answer = rig
        .provider
        .begin_prepare_snapshot(set(2), Uuid::from_u128(5), 0, &told);
    assert_eq!(answer, Err(Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER));
}

/// T-053: other versions of the structure are read all the same.
#[test]
fn t053_structure_version_does_not_matter() {
    let rig = Rig::new(1);
    for version in [0, 2] {
        let mut lun = rig.device(rig.luns[0]);
        lun.version = version;
        assert_eq!(rig.provider.are_luns_supported(0, &[lun]), Ok(true));
    }
}

/// A LUN of ours by form that this array does not have.
#[test]
fn are_luns_supported_lun_of_another_array_is_false() {
    let rig = Rig::new(1);
    let other = identity::describe(&LunIdentity::new(LunId(99), Oui::LOCAL, *b"0001"));
    assert_eq!(
        rig.provider
            .are_luns_supported(0, std::slice::from_ref(&other)),
        Ok(false)
    );
    assert_eq!(rig.provider.fill_in_lun_info(&other), None);
}

/// T-151, T-123, T-158, FIL-2, FIL-3, GTL-6, GEN-11: what the surfaced device shows becomes what GetTargetLuns told, but for the
/// bus type. The LUN speaks for itself: no method of the core is handed a device name.
#[test]
fn t123_t151_filled_device_equals_what_was_told() {
    let rig = Rig::new(2);
    let told = rig.full(set(1));
    let copies = rig.copies_or_told(set(1));
    for (told, copy) in told.iter().zip(copies) {
        let device = rig.device(copy);
        let mut filled = rig.provider.fill_in_lun_info(&device).expect("ours");
        assert_eq!(filled.bus_type, 9);
        filled.bus_type = told.bus_type;
        assert_eq!(&filled, told);
        assert_eq!(rig.provider.fill_in_lun_info(told).as_ref(), Some(told));
    }
}

/// T-152, FIL-8.
#[test]
fn t152_foreign_lun_is_false_without_array_call() {
    let rig = Rig::new(1);
    rig.array.forget_calls();
    assert_eq!(rig.provider.fill_in_lun_info(&foreign()), None);
    assert_eq!(rig.array.calls(), []);
}

/// T-135, T-154, T-155, T-156, T-160: normal form, idempotent, no signature, interconnects untouched, frozen revision.
#[test]
fn t135_t154_t155_t156_t160_fill_gives_the_normal_form() {
    let rig = Rig::new(1);
    let told = rig.full(set(1));
    let mut device = told[0].clone();
    device.version = 2;
    device.disk_signature = Uuid::from_u128(7);
    device.interconnects = vec![Interconnect {
        address_type: 5,
        port: vec![1],
        address: vec![2, 3],
    }];
    device.serial.as_mut().expect("it has one").extend(b"   ");
    device.revision = Some(b"9999".to_vec());
    let filled = rig.provider.fill_in_lun_info(&device).expect("ours");
    assert_eq!(filled.interconnects, device.interconnects);
    let mut bare = filled.clone();
    bare.interconnects.clear();
    assert_eq!(bare, told[0]);
    assert_eq!(rig.provider.fill_in_lun_info(&filled), Some(filled));
}

/// T-157, FIL-10.
#[test]
fn t157_array_down_complete_identity_fills_the_same() {
    for fault in [Fault::Down, Fault::Hang] {
        let rig = Rig::new(1);
        let told = rig.full(set(1));
        let device = rig.device(rig.copies_or_told(set(1))[0]);
        let up = rig.provider.fill_in_lun_info(&device);
        rig.array.fault_all(&fault);
        let before = rig.clock.now();
        assert_eq!(rig.provider.fill_in_lun_info(&device), up);
        assert_eq!(
            rig.provider.fill_in_lun_info(&told[0]),
            Some(told[0].clone())
        );
        assert!(rig.clock.now() - before <= 2 * Duration::from_secs(2));
    }
}

/// T-161, FIL-2.
#[test]
fn t161_original_is_filled_with_its_own_identity() {
    let rig = Rig::new(1);
    rig.full(set(1));
    let device = rig.device(rig.luns[0]);
    let filled = rig.provider.fill_in_lun_info(&device).expect("ours");
    assert_eq!(identity::lun_id(&filled), Some(rig.luns[0]));
}

/// T-230, T-231.
#[test]
fn t230_t231_reserved_methods_are_not_implemented() {
    let rig = Rig::new(1);
    assert_eq!(
        rig.provider.get_provider_capabilities(),
        Err(Hresult::E_NOTIMPL)
    );
    assert_eq!(rig.provider.on_reuse_luns(), Err(Hresult::E_NOTIMPL));
    assert_eq!(rig.array.calls(), []);
}

fn identifiers() -> impl Strategy<Value = Vec<StorageIdentifier>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "(SHADOWLN)?[0-9a-f]{0,34} ?".prop_map(String::into_bytes),
    ];
    let one = (any::<u32>(), prop_oneof![Just(1), any::<u32>()], bytes);
    let one = one.prop_map(|(code_set, kind, bytes)| StorageIdentifier {
        code_set,
        kind,
        bytes,
    });
    prop::collection::vec(one, 0..4)
}

proptest! {
    /// T-236, SEC-8: whatever a structure holds, every method answers; on this array it names no LUN.
    #[test]
    fn t236_malformed_structures_never_panic(
        identifiers in identifiers(),
        serial in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        context in any::<i32>(),
        flags in any::<u32>(),
    ) {
        let rig = Rig::new(1);
        let lun = LunDescription { identifiers, serial, ..LunDescription::default() };
        let luns = [lun.clone()];
        let p = &rig.provider;
        prop_assert_eq!(p.are_luns_supported(context, &luns), Ok(false));
        prop_assert_eq!(p.fill_in_lun_info(&lun), None);
        let begun = p.begin_prepare_snapshot(set(1), Uuid::from_u128(2), context, &luns);
        prop_assert!(begun.is_err());
        prop_assert!(p.get_target_luns(&luns).is_err());
        prop_assert!(p.locate_luns(&luns).is_err());
        let _ = p.on_lun_empty(&lun);
        let _ = p.on_lun_state_change(&luns, Some(&luns), flags);
        prop_assert!(p.resync_luns(&luns, &luns).is_err());
        prop_assert_eq!(rig.copies(), 0);
        prop_assert!(rig.array.mapped_to(rig.luns[0]).contains(HOST));
    }
}
