// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{ALPHA, BETA, Bench, Fixture, GAMMA, LUN_BYTES, WITHIN, assert_kind, new_set, nowhere};
use crate::{
    ArrayErrorKind as Kind, DeleteOutcome, LunRole, LunState, ResyncId, ResyncPair, ResyncStatus,
};

/// LOC-1, OLS-1: a map makes the copy visible, an unmap hides it and keeps it.
pub fn map_shows_and_unmap_hides(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    assert!(!bench.mapped(ALPHA, copies[0]), "nothing is mapped before");
    bench.alpha.map(WITHIN, &copies).expect("alpha's copy");
    assert!(bench.mapped(ALPHA, copies[0]));
    assert_eq!(bench.state(copies[0]), Some(LunState::Mapped));
    bench.alpha.unmap(WITHIN, &copies).expect("alpha's copy");
    assert!(!bench.mapped(ALPHA, copies[0]));
    bench.alpha.map(WITHIN, &copies).expect("kept, so again");
    assert!(bench.mapped(ALPHA, copies[0]));
    bench.delete(&copies);
    bench.assert_clean();
}

/// LOC-6, LOC-7.
pub fn map_twice_and_one_named_twice_is_fine(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copy = bench.reported(new_set(), &luns)[0];
    bench.alpha.map(WITHIN, &[copy, copy]).expect("named twice");
    bench.alpha.map(WITHIN, &[copy]).expect("mapped already");
    assert!(bench.mapped(ALPHA, copy));
    bench.delete(&[copy]);
    bench.assert_clean();
}

/// LOC-9: one bad LUN, and none is mapped.
pub fn map_is_all_or_nothing(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copy = bench.reported(new_set(), &luns)[0];
    let result = bench.alpha.map(WITHIN, &[copy, nowhere()]);
    assert_kind(result, &[Kind::UnknownLun]);
    assert_kind(bench.alpha.map(WITHIN, &[copy, luns[0]]), &[Kind::NotACopy]);
    assert!(!bench.mapped(ALPHA, copy));
    bench.delete(&[copy]);
    bench.assert_clean();
}

/// LOC-11.
pub fn map_original_is_not_a_copy(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture);
    let lun = fixture.create_lun(LUN_BYTES, &[GAMMA]);
    assert_kind(bench.alpha.map(WITHIN, &[lun]), &[Kind::NotACopy]);
    assert!(!bench.mapped(ALPHA, lun));
}

/// GTL-11: a target that VSS was not told of stays invisible.
pub fn map_unreported_copy_is_refused(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    bench.commit(set, &luns);
    let orphans = bench.alpha.orphans(WITHIN).expect("always works");
    let captured: Vec<_> = orphans
        .into_iter()
        .filter(|o| o.tag.set == set)
        .map(|o| o.copy)
        .collect();
    if !captured.is_empty() {
        let result = bench.alpha.map(WITHIN, &captured);
        assert_kind(result, &[Kind::WrongState, Kind::Forbidden, Kind::NotACopy]);
    }
    bench.alpha.abort(WITHIN, set, true).expect("known");
    bench.assert_clean();
}

/// LOC-8, IMP-9: another host of the group imports, and the tag says so.
pub fn map_by_group_member_records_importer(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copy = bench.reported(new_set(), &luns)[0];
    let beta = fixture.host(BETA);
    beta.map(WITHIN, &[copy]).expect("beta is in the group");
    assert!(bench.mapped(BETA, copy) && !bench.mapped(ALPHA, copy));
    let LunRole::Copy(tag) = bench.info(ALPHA, copy).expect("there").role else {
        panic!("a copy says that it is one");
    };
    assert_eq!(tag.importing_host.as_deref(), Some(BETA));
    assert_eq!(tag.creator_host, ALPHA);
    let deleted = beta.delete(WITHIN, copy).expect("IMP-7: deleted there");
    assert_eq!(deleted, DeleteOutcome::Deleted);
    bench.assert_clean();
}

/// Who may do what: copies of one's own host group only.
pub fn map_by_stranger_is_forbidden(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    let gamma = fixture.host(GAMMA);
    assert_kind(gamma.map(WITHIN, &copies), &[Kind::Forbidden]);
    assert!(!bench.mapped(GAMMA, copies[0]));
    bench.delete(&copies);
    bench.assert_clean();
}

/// OLS-7.
pub fn unmap_touches_this_host_only(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    let beta = fixture.host(BETA);
    bench.alpha.map(WITHIN, &copies).expect("alpha's copy");
    beta.map(WITHIN, &copies).expect("beta is in the group");
    bench.alpha.unmap(WITHIN, &copies).expect("alpha's copy");
    assert!(!bench.mapped(ALPHA, copies[0]) && bench.mapped(BETA, copies[0]));
    beta.delete(WITHIN, copies[0]).expect("beta's turn");
    bench.assert_clean();
}

/// OLS-5.
pub fn unmap_repeated_is_fine(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    for _ in 0..2 {
        bench
            .alpha
            .unmap(WITHIN, &copies)
            .expect("not mapped is fine");
    }
    bench.delete(&copies);
    bench.assert_clean();
}

/// A provider's mistake must not take a production disk away.
pub fn unmap_original_is_refused_and_stays_mapped(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    assert_kind(bench.alpha.unmap(WITHIN, &luns), &[Kind::NotACopy]);
    assert!(bench.mapped(ALPHA, luns[0]));
}

/// OLE-4.
pub fn delete_repeated_is_already_gone(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copy = bench.reported(new_set(), &luns)[0];
    bench.alpha.map(WITHIN, &[copy]).expect("alpha's copy");
    let first = bench.alpha.delete(WITHIN, copy);
    let second = bench.alpha.delete(WITHIN, copy);
    assert_eq!(first, Ok(DeleteOutcome::Deleted));
    assert_eq!(second, Ok(DeleteOutcome::AlreadyGone));
    assert_eq!(bench.info(ALPHA, copy), None);
    bench.assert_clean();
}

/// OLE-4: no such LUN was ever there.
pub fn delete_unknown_lun_is_already_gone(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture);
    let outcome = bench.alpha.delete(WITHIN, nowhere());
    assert_eq!(outcome, Ok(DeleteOutcome::AlreadyGone));
}

/// OLE-6.
pub fn delete_original_is_not_a_copy(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    assert_kind(bench.alpha.delete(WITHIN, luns[0]), &[Kind::NotACopy]);
    assert!(bench.mapped(ALPHA, luns[0]));
    bench.assert_clean();
}

/// OLE-7: unmapped here, kept for the other host, which may delete it later.
pub fn delete_mapped_elsewhere_is_kept(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    let beta = fixture.host(BETA);
    bench.alpha.map(WITHIN, &copies).expect("alpha's copy");
    beta.map(WITHIN, &copies).expect("beta is in the group");
    let first = bench.alpha.delete(WITHIN, copies[0]);
    assert_eq!(first, Ok(DeleteOutcome::KeptMappedElsewhere));
    assert!(!bench.mapped(ALPHA, copies[0]) && bench.mapped(BETA, copies[0]));
    let last = beta.delete(WITHIN, copies[0]);
    assert_eq!(last, Ok(DeleteOutcome::Deleted));
    bench.assert_clean();
}

/// Who may do what.
pub fn delete_by_stranger_is_forbidden(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    let gamma = fixture.host(GAMMA);
    assert_kind(gamma.delete(WITHIN, copies[0]), &[Kind::Forbidden]);
    assert_eq!(bench.copies(), 1);
    bench.delete(&copies);
    bench.assert_clean();
}

/// OLS-6: what was broken is out of a provider's reach, and stays mapped.
pub fn break_makes_an_ordinary_lun(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    bench.alpha.map(WITHIN, &copies).expect("alpha's copy");
    let broken = bench.alpha.break_copies(WITHIN, &copies, false);
    broken.expect("alpha's copy");
    let info = bench.info(ALPHA, copies[0]).expect("it is kept");
    assert_eq!(info.role, LunRole::Original);
    assert!(info.mapped_here);
    assert_kind(bench.alpha.delete(WITHIN, copies[0]), &[Kind::NotACopy]);
    assert_kind(bench.alpha.map(WITHIN, &copies), &[Kind::NotACopy]);
    assert_eq!(bench.copies(), 1);
}

/// OLS-3, OLS-7: broken and masked in one step, from this host only; repeated, it is a success.
pub fn break_that_unmaps_too_hides_the_lun_here(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(2);
    let copies = bench.reported(new_set(), &luns);
    bench.alpha.map(WITHIN, &copies).expect("alpha's copies");
    let beta = fixture.host(BETA);
    beta.map(WITHIN, &copies[..1])
        .expect("beta is in the group");
    for _ in 0..2 {
        let broken = bench.alpha.break_copies(WITHIN, &copies, true);
        broken.expect("alpha's copies, or a repetition");
        for copy in &copies {
            assert_eq!(bench.state(*copy), None, "an ordinary LUN");
            assert!(!bench.mapped(ALPHA, *copy));
        }
        assert!(bench.mapped(BETA, copies[0]));
    }
}

/// OLS-3: one bad LUN, and nothing is broken or hidden; a production disk least of all.
pub fn break_that_unmaps_too_refuses_an_original_that_is_mapped(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copy = bench.reported(new_set(), &luns)[0];
    bench.alpha.map(WITHIN, &[copy]).expect("alpha's copy");
    let result = bench.alpha.break_copies(WITHIN, &[copy, luns[0]], true);
    assert_kind(result, &[Kind::NotACopy]);
    assert_eq!(bench.state(copy), Some(LunState::Mapped));
    assert!(bench.mapped(ALPHA, copy) && bench.mapped(ALPHA, luns[0]));
    bench.delete(&[copy]);
    bench.assert_clean();
}

/// A break whose answer was lost may be repeated.
pub fn break_repeated_is_a_success(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    for _ in 0..2 {
        let broken = bench.alpha.break_copies(WITHIN, &copies, false);
        broken.expect("a repetition is a success");
    }
    assert_eq!(bench.copies(), 1);
}

/// All or nothing.
pub fn break_unknown_lun_changes_nothing(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copy = bench.reported(new_set(), &luns)[0];
    let result = bench.alpha.break_copies(WITHIN, &[copy, nowhere()], false);
    assert_kind(result, &[Kind::UnknownLun]);
    assert_eq!(bench.state(copy), Some(LunState::Reported));
    bench.delete(&[copy]);
    bench.assert_clean();
}

/// RSY-2, RSY-7.
pub fn resync_overwrites_target_and_keeps_copy(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let contents = fixture.write_marker(luns[0], 31);
    let copies = bench.reported(new_set(), &luns);
    let contents = contents && fixture.write_marker(luns[0], 32);
    let pair = ResyncPair {
        copy: copies[0],
        target: luns[0],
    };
    let status = bench.alpha.resync(WITHIN, ResyncId::new_v4(), &[pair]);
    assert_eq!(status, Ok(ResyncStatus::Finished));
    if contents {
        assert_eq!(fixture.read_marker(luns[0]), Some(31));
        assert_eq!(fixture.read_marker(copies[0]), Some(31));
    }
    assert!(bench.mapped(ALPHA, luns[0]), "the target keeps its map");
    assert_eq!(bench.state(copies[0]), Some(LunState::Reported));
    bench.delete(&copies);
    bench.assert_clean();
}

/// RSY-4: a target that is larger or smaller gets the copy's size with its contents.
pub fn resync_gives_targets_the_copys_size(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let source = bench.luns(1);
    let targets = [LUN_BYTES * 2, LUN_BYTES / 2].map(|size| fixture.create_lun(size, &[ALPHA]));
    bench.luns_before += targets.len();
    let contents = fixture.write_marker(source[0], 71);
    let contents = contents && targets.iter().all(|lun| fixture.write_marker(*lun, 72));
    let copies = bench.reported(new_set(), &source);
    for target in targets {
        let pair = ResyncPair {
            copy: copies[0],
            target,
        };
        let status = bench.alpha.resync(WITHIN, ResyncId::new_v4(), &[pair]);
        assert_eq!(status, Ok(ResyncStatus::Finished));
        let info = bench.info(ALPHA, target).expect("the target is kept");
        assert_eq!(info.size_bytes, LUN_BYTES);
        assert!(info.mapped_here, "the target keeps its map");
        if contents {
            assert_eq!(fixture.read_marker(target), Some(71));
        }
    }
    let size = |lun| bench.info(ALPHA, lun).map(|info| info.size_bytes);
    assert_eq!(size(copies[0]), Some(LUN_BYTES), "the copy keeps its own");
    bench.delete(&copies);
    bench.assert_clean();
}

/// ASY-2, RSY-12: the same id starts nothing again, and an ended resync stays as it ended.
pub fn resync_repeated_starts_nothing(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let contents = fixture.write_marker(luns[0], 61);
    let copies = bench.reported(new_set(), &luns);
    let pair = ResyncPair {
        copy: copies[0],
        target: luns[0],
    };
    let id = ResyncId::new_v4();
    bench.alpha.resync(WITHIN, id, &[pair]).expect("allowed");
    let ended = bench.alpha.resync_status(WITHIN, id, WITHIN / 2);
    assert_eq!(ended, Ok(ResyncStatus::Finished));
    let contents = contents && fixture.write_marker(luns[0], 62);
    let again = bench.alpha.resync(WITHIN, id, &[pair]);
    assert_eq!(again, Ok(ResyncStatus::Finished));
    let cancelled = bench.alpha.cancel_resync(WITHIN, id);
    assert_eq!(cancelled, Ok(ResyncStatus::Finished));
    if contents {
        assert_eq!(fixture.read_marker(luns[0]), Some(62));
    }
    bench.delete(&copies);
    bench.assert_clean();
}

/// A resync is its host's alone.
pub fn resync_unknown_id_is_unknown_in_every_call(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    let pair = ResyncPair {
        copy: copies[0],
        target: luns[0],
    };
    let id = ResyncId::new_v4();
    bench.alpha.resync(WITHIN, id, &[pair]).expect("allowed");
    let beta = fixture.host(BETA);
    for (host, id) in [(&bench.alpha, ResyncId::new_v4()), (&beta, id)] {
        let status = host.resync_status(WITHIN, id, WITHIN / 2);
        assert_kind(status, &[Kind::UnknownResync]);
        assert_kind(host.cancel_resync(WITHIN, id), &[Kind::UnknownResync]);
    }
    bench.delete(&copies);
    bench.assert_clean();
}

/// Resync overwrites originals and is a right of its own.
pub fn resync_without_right_is_forbidden(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let lun = fixture.create_lun(LUN_BYTES, &[ALPHA, BETA]);
    bench.luns_before += 1;
    let contents = fixture.write_marker(lun, 41);
    let copies = bench.reported(new_set(), &[lun]);
    let contents = contents && fixture.write_marker(lun, 42);
    let pair = ResyncPair {
        copy: copies[0],
        target: lun,
    };
    let result = fixture
        .host(BETA)
        .resync(WITHIN, ResyncId::new_v4(), &[pair]);
    assert_kind(result, &[Kind::Forbidden]);
    if contents {
        assert_eq!(fixture.read_marker(lun), Some(42));
    }
    bench.delete(&copies);
    bench.assert_clean();
}

/// RSY-12: one bad pair, and nothing is overwritten.
pub fn resync_is_all_or_nothing(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let contents = fixture.write_marker(luns[0], 51);
    let copies = bench.reported(new_set(), &luns);
    let contents = contents && fixture.write_marker(luns[0], 52);
    let good = ResyncPair {
        copy: copies[0],
        target: luns[0],
    };
    let bad = ResyncPair {
        copy: copies[0],
        target: nowhere(),
    };
    let result = bench.alpha.resync(WITHIN, ResyncId::new_v4(), &[good, bad]);
    assert_kind(result, &[Kind::UnknownLun]);
    if contents {
        assert_eq!(fixture.read_marker(luns[0]), Some(52));
    }
    bench.delete(&copies);
    bench.assert_clean();
}

/// RSY-12.
pub fn resync_onto_itself_is_refused(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    bench.alpha.map(WITHIN, &copies).expect("alpha's copy");
    let pair = ResyncPair {
        copy: copies[0],
        target: copies[0],
    };
    let result = bench.alpha.resync(WITHIN, ResyncId::new_v4(), &[pair]);
    assert_kind(result, &[Kind::InvalidRequest]);
    bench.delete(&copies);
    bench.assert_clean();
}

/// SEQ-40: what is in use is no orphan.
pub fn orphans_lists_no_mapped_copy_and_no_original(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let copies = bench.reported(new_set(), &luns);
    bench.alpha.map(WITHIN, &copies).expect("alpha's copy");
    let orphans = bench.alpha.orphans(WITHIN).expect("always works");
    assert!(orphans.is_empty(), "{orphans:?}");
    bench.delete(&copies);
    bench.assert_clean();
}
