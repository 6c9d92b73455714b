// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes and forms that somebody else has to carry.

use crate::support::{Rig, set};
use array_api::SnapshotId;

/// Fewer than VSS allows.
const VOLUMES: usize = 30;
/// With the originals, so many copies have numbers on one host (254).
const LUNS_PER_VOLUME: usize = 4;

/// LIM-10: a set of far more LUNs than volumes goes through every call, LocateLuns with all of them at once.
#[test]
fn set_of_120_luns_goes_through_every_call() {
    let rig = Rig::new(VOLUMES * LUNS_PER_VOLUME);
    let luns = rig.volume();
    let p = &rig.provider;
    for (index, volume) in luns.chunks(LUNS_PER_VOLUME).enumerate() {
        let snapshot = SnapshotId::from_u128(1 + index as u128);
        assert_eq!(
            p.begin_prepare_snapshot(set(1), snapshot, 0, volume),
            Ok(())
        );
    }
    assert_eq!(p.end_prepare_snapshots(set(1)), Ok(()));
    assert_eq!(p.pre_commit_snapshots(set(1)), Ok(()));
    assert_eq!(p.commit_snapshots(set(1)), Ok(()));
    assert_eq!(p.post_commit_snapshots(set(1), 30), Ok(()));
    let told: Vec<_> = luns
        .chunks(LUNS_PER_VOLUME)
        .flat_map(|volume| p.get_target_luns(volume).expect("captured"))
        .collect();
    assert_eq!(told.len(), luns.len());
    assert_eq!(p.locate_luns(&told), Ok(()));
    assert_eq!(p.pre_final_commit_snapshots(set(1)), Ok(()));
    assert_eq!(p.post_final_commit_snapshots(set(1)), Ok(()));
    rig.delete(&told, 0);
}

/// LUN-19: what GetTargetLuns tells survives a text form: printable ASCII without a zero byte, identifiers that fit SCSI's
/// length byte, and the same after a round trip.
#[test]
fn told_description_survives_a_text_form() {
    let rig = Rig::new(2);
    for told in rig.full(set(1)) {
        let strings = [&told.vendor, &told.product, &told.revision, &told.serial];
        for string in strings {
            let string = string.as_ref().expect("the array fills every field");
            assert!(
                string.iter().all(|byte| (0x20..0x7F).contains(byte)),
                "{told:?}"
            );
        }
        assert!(!told.identifiers.is_empty());
        for identifier in &told.identifiers {
            assert!((1..=255).contains(&identifier.bytes.len()), "{told:?}");
        }
        let text = serde_json::to_string(&told).expect("a description has a text form");
        assert_eq!(
            serde_json::from_str::<vss_provider::LunDescription>(&text).ok(),
            Some(told)
        );
    }
}
