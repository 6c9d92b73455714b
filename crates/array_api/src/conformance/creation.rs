// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{
    ALPHA, BETA, Bench, Fixture, GAMMA, LUN_BYTES, WITHIN, assert_kind, new_set, nowhere, request,
};
use crate::{
    ArrayErrorKind as Kind, CONTRACT_VERSION, CheckRequest, CopyNeeds, LunId, LunRole, LunState,
    OLDEST_CONTRACT_VERSION, PrepareOutcome, PrepareRequest, Readiness,
};
use std::collections::HashSet;

/// `info` names the caller and a contract version that this crate speaks.
pub fn info_names_host_and_version(fixture: &dyn Fixture) {
    for host in [ALPHA, GAMMA] {
        let info = fixture.host(host).info(WITHIN).expect("info always works");
        assert_eq!(info.host, host);
        assert!(info.contract_version >= OLDEST_CONTRACT_VERSION);
        assert!(info.oldest_contract_version <= CONTRACT_VERSION);
        assert!(info.free_bytes <= info.capacity_bytes);
        assert!(info.capabilities.luns_per_set_max > 0);
    }
}

/// `query` answers in the order asked, `None` for what it does not have, and an empty question with nothing.
pub fn query_unknown_lun_is_none_in_its_place(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(2);
    let asked = [luns[1], nowhere(), luns[0]];
    let answer = bench.alpha.query(WITHIN, &asked).expect("never fails");
    let ids: Vec<_> = answer.iter().map(|i| i.as_ref().map(|i| i.id)).collect();
    assert_eq!(ids, [Some(luns[1]), None, Some(luns[0])]);
    let nothing = bench.alpha.query(WITHIN, &[]).expect("never fails");
    assert!(nothing.is_empty());
}

/// `mapped_here` and `mapped_elsewhere` are the caller's view.
pub fn query_shows_maps_from_the_callers_side(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture);
    let lun = fixture.create_lun(LUN_BYTES, &[ALPHA]);
    let seen = |host| {
        let info = bench.info(host, lun).expect("the LUN exists");
        (info.mapped_here, info.mapped_elsewhere)
    };
    assert_eq!(seen(ALPHA), (true, false));
    assert_eq!(seen(BETA), (false, true));
}

/// ALS-11: also for LUNs that are not mapped to the caller, with their identity and size.
pub fn query_answers_for_luns_of_other_hosts(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture);
    let lun = fixture.create_lun(LUN_BYTES, &[ALPHA]);
    let info = bench.info(GAMMA, lun).expect("the LUN exists");
    assert_eq!(info.size_bytes, LUN_BYTES);
    assert_eq!(info.role, LunRole::Original);
    let ids: Vec<_> = info
        .identity
        .designators
        .iter()
        .filter_map(|designator| fixture.lun_of(designator))
        .collect();
    assert_eq!(ids, [lun]);
}

/// ALS-9: a check allocates nothing.
pub fn check_mapped_lun_is_supported_and_reserves_nothing(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(2);
    assert!(check(&bench, ALPHA, &luns));
    bench.assert_clean();
}

/// A host may snapshot only what is mapped to it.
pub fn check_lun_of_another_host_is_refused(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    assert!(!check(&bench, GAMMA, &luns));
}

/// An unknown LUN makes no copy.
pub fn check_unknown_lun_is_refused(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = [bench.luns(1)[0], nowhere()];
    assert!(!check(&bench, ALPHA, &luns));
}

/// ALS-3, BPS-4, CTX-1..5: `check` and `prepare` refuse what the array's own abilities do not meet, and nothing else.
pub fn needs_are_met_as_the_abilities_say(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    let can = bench.alpha.info(WITHIN).expect("always works").capabilities;
    for bits in 0..16 {
        let needs = CopyNeeds {
            differential: bits & 1 != 0,
            plex: bits & 2 != 0,
            transportable: bits & 4 != 0,
            persistent: bits & 8 != 0,
            recovery: false,
        };
        let question = CheckRequest {
            luns: luns.clone(),
            needs,
        };
        let answer = bench.alpha.check(WITHIN, &question).expect("alpha's LUN");
        assert_eq!(answer.supported, needs.met_by(&can), "{needs:?}");
        let set = new_set();
        let prepared = bench.alpha.prepare(
            WITHIN,
            set,
            &PrepareRequest {
                needs,
                ..request(&luns)
            },
        );
        if needs.met_by(&can) {
            prepared.expect("the array says that it can");
            abort(&bench, set);
        } else {
            assert_kind(prepared, &[Kind::NotSupported]);
        }
    }
    bench.assert_clean();
}

/// Either form of a refusal is a refusal: an answer with a reason, or an error about the LUN.
fn check(bench: &Bench<'_>, host: &str, luns: &[LunId]) -> bool {
    let request = CheckRequest {
        luns: luns.to_vec(),
        needs: CopyNeeds::default(),
    };
    match bench.fixture.host(host).check(WITHIN, &request) {
        Ok(answer) => {
            assert_eq!(answer.supported, answer.reason.is_none());
            answer.supported
        }
        Err(error) => {
            let about_the_lun = matches!(error.kind, Kind::UnknownLun | Kind::Forbidden);
            assert!(about_the_lun, "{error:?}");
            false
        }
    }
}

/// SEQ-20, BPS-11: one reservation per source, nothing mapped.
pub fn prepare_reserves_one_target_per_source(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    let outcome = bench.alpha.prepare(WITHIN, set, &request(&luns));
    assert_eq!(outcome, Ok(PrepareOutcome::Added));
    assert_eq!(bench.copies(), 2);
    abort(&bench, set);
}

/// The same (set, snapshot, LUNs) again changes nothing and says so.
pub fn prepare_repeated_changes_nothing(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    let request = request(&luns);
    let first = bench.alpha.prepare(WITHIN, set, &request);
    let second = bench.alpha.prepare(WITHIN, set, &request);
    assert_eq!(first, Ok(PrepareOutcome::Added));
    assert_eq!(second, Ok(PrepareOutcome::Identical));
    assert_eq!(bench.copies(), 1);
    abort(&bench, set);
}

/// SEQ-20: a LUN of two volumes gets one target, tagged with both.
pub fn prepare_shared_lun_gets_one_target(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    let (one, both) = (request(&luns[..1]), request(&luns));
    for request in [&one, &both] {
        let outcome = bench.alpha.prepare(WITHIN, set, request);
        assert_eq!(outcome, Ok(PrepareOutcome::Added));
    }
    assert_eq!(bench.copies(), 2);
    bench.ready(set);
    bench.alpha.arm(WITHIN, set).expect("the set is ready");
    bench.alpha.commit(WITHIN, set).expect("the set is armed");
    let reports = bench.alpha.report(WITHIN, set, &luns).expect("captured");
    let LunRole::Copy(tag) = bench.info(ALPHA, reports[0].copy).expect("there").role else {
        panic!("a copy says that it is one");
    };
    let snapshots: HashSet<_> = tag.snapshots.into_iter().collect();
    assert_eq!(snapshots, HashSet::from([one.snapshot, both.snapshot]));
    bench.delete(&reports.iter().map(|r| r.copy).collect::<Vec<_>>());
    bench.assert_clean();
}

/// An empty list makes no sense.
pub fn prepare_without_luns_is_refused(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture);
    let result = bench.alpha.prepare(WITHIN, new_set(), &request(&[]));
    assert_kind(result, &[Kind::InvalidRequest]);
}

/// All or nothing.
pub fn prepare_unknown_lun_changes_nothing(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = ([bench.luns(1)[0], nowhere()], new_set());
    let result = bench.alpha.prepare(WITHIN, set, &request(&luns));
    assert_kind(result, &[Kind::UnknownLun]);
    bench.assert_clean();
    assert_kind(bench.alpha.ready(WITHIN, set), &[Kind::UnknownSet]);
}

/// A host's token may snapshot LUNs mapped to that host.
pub fn prepare_lun_of_another_host_changes_nothing(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(1);
    for host in [BETA, GAMMA] {
        let result = fixture
            .host(host)
            .prepare(WITHIN, new_set(), &request(&luns));
        assert_kind(result, &[Kind::Forbidden]);
    }
    bench.assert_clean();
}

/// An armed set is closed, and can still be committed.
pub fn prepare_after_arm_is_wrong_state(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    bench.prepare(set, &luns[..1]);
    bench.ready(set);
    bench.alpha.arm(WITHIN, set).expect("the set is ready");
    let result = bench.alpha.prepare(WITHIN, set, &request(&luns[1..]));
    assert_kind(result, &[Kind::WrongState]);
    let report = bench.alpha.commit(WITHIN, set).expect("still armed");
    assert_eq!(report.luns, 1);
    abort(&bench, set);
}

/// BPS-2, SEQ-40: reserved, armed or captured, a host's next set ends it.
pub fn prepare_new_set_discards_the_unreported_one(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(2);
    let (reserved, armed, captured, last) = (new_set(), new_set(), new_set(), new_set());
    bench.prepare(reserved, &luns);
    bench.prepare(armed, &luns[..1]);
    assert_eq!(bench.copies(), 1, "the reserved set is gone");
    assert_kind(bench.alpha.ready(WITHIN, reserved), &[Kind::UnknownSet]);
    bench.ready(armed);
    bench.alpha.arm(WITHIN, armed).expect("the set is ready");
    bench.commit(captured, &luns);
    assert_eq!(bench.copies(), 2, "the armed set is gone");
    assert_kind(bench.alpha.commit(WITHIN, armed), &[Kind::UnknownSet]);
    bench.prepare(last, &luns[..1]);
    assert_eq!(bench.copies(), 1, "the captured set is gone");
    assert_kind(
        bench.alpha.report(WITHIN, captured, &luns),
        &[Kind::UnknownSet],
    );
    abort(&bench, last);
}

/// SEQ-34, GTL-12.
pub fn prepare_new_set_keeps_the_reported_one(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    let copies = bench.reported(new_set(), &luns);
    bench.prepare(set, &luns);
    assert_eq!(bench.copies(), 2);
    assert_eq!(bench.state(copies[0]), Some(LunState::Reported));
    abort_leaving(&bench, set, 1);
    bench.delete(&copies);
    bench.assert_clean();
}

/// ROLE-6: hosts do not disturb one another.
pub fn prepare_by_another_host_keeps_this_hosts_set(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set, other) = (bench.luns(1), new_set(), new_set());
    let strange = fixture.create_lun(LUN_BYTES, &[GAMMA]);
    bench.luns_before += 1;
    bench.prepare(set, &luns);
    let gamma = fixture.host(GAMMA);
    gamma
        .prepare(WITHIN, other, &request(&[strange]))
        .expect("gamma's own LUN");
    assert_eq!(bench.copies(), 2);
    bench.ready(set);
    gamma.abort(WITHIN, other, true).expect("gamma's own set");
    abort(&bench, set);
}

/// Each call did all or nothing: a refused begin does not end the set in progress.
pub fn prepare_that_fails_keeps_the_set_in_progress(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    bench.prepare(set, &luns);
    let result = bench
        .alpha
        .prepare(WITHIN, new_set(), &request(&[nowhere()]));
    assert_kind(result, &[Kind::UnknownLun]);
    bench.ready(set);
    abort(&bench, set);
}

/// EPS-2.
pub fn ready_repeated_stays_ready(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    bench.prepare(set, &luns);
    bench.ready(set);
    assert_eq!(bench.alpha.ready(WITHIN, set), Ok(Readiness::Ready));
    abort(&bench, set);
}

/// SEQ-37: a set that was never prepared.
pub fn unknown_set_is_unknown_in_every_call(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set, alpha) = (bench.luns(1), new_set(), &bench.alpha);
    let unknown = [Kind::UnknownSet];
    assert_kind(alpha.ready(WITHIN, set), &unknown);
    assert_kind(alpha.arm(WITHIN, set), &unknown);
    assert_kind(alpha.commit(WITHIN, set), &unknown);
    assert_kind(alpha.report(WITHIN, set, &luns), &unknown);
    assert_kind(alpha.abort(WITHIN, set, false), &unknown);
    assert_kind(alpha.abort(WITHIN, set, true), &unknown);
}

/// Sets belong to the host that prepared them.
pub fn another_hosts_set_cannot_be_used(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    bench.prepare(set, &luns);
    let gamma = fixture.host(GAMMA);
    let refused = [Kind::UnknownSet, Kind::Forbidden];
    assert_kind(gamma.ready(WITHIN, set), &refused);
    assert_kind(gamma.arm(WITHIN, set), &refused);
    assert_kind(gamma.abort(WITHIN, set, true), &refused);
    bench.ready(set);
    abort(&bench, set);
}

/// A repeated arm succeeds and grants no more time than the first.
pub fn arm_repeated_is_a_success(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    bench.prepare(set, &luns);
    bench.ready(set);
    let first = bench.alpha.arm(WITHIN, set).expect("the set is ready");
    let second = bench.alpha.arm(WITHIN, set).expect("a repetition");
    assert!(first.commit_within_ms > 0 && first.commit_within_ms <= 8000);
    assert!(second.commit_within_ms <= first.commit_within_ms);
    abort(&bench, set);
}

/// Nothing is captured without an arm.
pub fn commit_without_arm_is_wrong_state(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    bench.prepare(set, &luns);
    bench.ready(set);
    assert_kind(bench.alpha.commit(WITHIN, set), &[Kind::WrongState]);
    abort(&bench, set);
}

/// COM-6; and a commit whose answer was lost may be repeated.
pub fn commit_captures_every_lun_and_repeats_its_success(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(3), new_set());
    bench.prepare(set, &luns);
    bench.ready(set);
    bench.alpha.arm(WITHIN, set).expect("the set is ready");
    let first = bench.alpha.commit(WITHIN, set).expect("the set is armed");
    let second = bench.alpha.commit(WITHIN, set).expect("a repetition");
    assert_eq!((first.luns, second.luns), (3, 3));
    assert_eq!(bench.copies(), 3);
    abort(&bench, set);
}

/// GTL-9.
pub fn report_before_commit_is_wrong_state(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    bench.prepare(set, &luns);
    assert_kind(bench.alpha.report(WITHIN, set, &luns), &[Kind::WrongState]);
    abort(&bench, set);
}

/// GTL-1, GTL-7: in the order of the sources, always the same.
pub fn report_keeps_order_and_stays_the_same(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(3), new_set());
    bench.commit(set, &luns);
    let first = bench.alpha.report(WITHIN, set, &luns).expect("captured");
    let sources: Vec<_> = first.iter().map(|r| r.source).collect();
    assert_eq!(sources, luns);
    let mut backwards = luns.clone();
    backwards.reverse();
    let mut second = bench
        .alpha
        .report(WITHIN, set, &backwards)
        .expect("captured");
    second.reverse();
    assert_eq!(first, second);
    for report in &first {
        assert_eq!(bench.state(report.copy), Some(LunState::Reported));
    }
    bench.delete(&first.iter().map(|r| r.copy).collect::<Vec<_>>());
    bench.assert_clean();
}

/// All or nothing: a stranger among the sources reports none.
pub fn report_source_outside_the_set_is_unknown_lun(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    bench.commit(set, &luns[..1]);
    let result = bench.alpha.report(WITHIN, set, &luns);
    assert_kind(result, &[Kind::UnknownLun, Kind::InvalidRequest]);
    // Unreported still: an abort that keeps reported copies discards it.
    abort_keeping_reported(&bench, set);
    bench.assert_clean();
}

/// LUN-5, LUN-7: neither the source's nor another copy's, and the one that `query` shows.
pub fn report_identity_is_the_copys_own(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    bench.commit(set, &luns);
    let reports = bench.alpha.report(WITHIN, set, &luns).expect("captured");
    let mut serials = HashSet::new();
    let mut designators = HashSet::new();
    for lun in &luns {
        let identity = bench.info(ALPHA, *lun).expect("an original").identity;
        serials.insert(identity.serial);
        designators.extend(identity.designators.into_iter().map(|d| d.bytes));
    }
    for report in &reports {
        let shown = bench.info(ALPHA, report.copy).expect("a copy").identity;
        assert_eq!(shown, report.identity);
        assert!(serials.insert(report.identity.serial.clone()));
        for designator in &report.identity.designators {
            assert!(designators.insert(designator.bytes.clone()));
        }
    }
    bench.delete(&reports.iter().map(|r| r.copy).collect::<Vec<_>>());
    bench.assert_clean();
}

/// SEQ-39, LUN-17.
pub fn copies_carry_their_tag(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    let request = request(&luns);
    bench
        .alpha
        .prepare(WITHIN, set, &request)
        .expect("these LUNs can be prepared");
    bench.ready(set);
    bench.alpha.arm(WITHIN, set).expect("the set is ready");
    bench.alpha.commit(WITHIN, set).expect("the set is armed");
    let copy = bench.alpha.report(WITHIN, set, &luns).expect("captured")[0].copy;
    let info = bench.info(GAMMA, copy).expect("also strangers may look");
    assert_eq!(info.size_bytes, LUN_BYTES);
    assert!(!info.mapped_here && !info.mapped_elsewhere);
    let LunRole::Copy(tag) = info.role else {
        panic!("a copy says that it is one");
    };
    assert_eq!((tag.set, tag.source), (set, luns[0]));
    assert_eq!(tag.snapshots, [request.snapshot]);
    assert_eq!(tag.creator_host, ALPHA);
    assert_eq!(tag.importing_host, None);
    assert_eq!(tag.state, LunState::Reported);
    bench.delete(&[copy]);
    bench.assert_clean();
}

/// ROLE-11.
pub fn copies_hold_the_instant_and_sources_go_on(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let luns = bench.luns(2);
    if !fixture.write_marker(luns[0], 11) || !fixture.write_marker(luns[1], 12) {
        return;
    }
    let copies = bench.reported(new_set(), &luns);
    fixture.write_marker(luns[0], 21);
    fixture.write_marker(luns[1], 22);
    let read = |lun| fixture.read_marker(lun);
    assert_eq!((read(copies[0]), read(copies[1])), (Some(11), Some(12)));
    assert_eq!((read(luns[0]), read(luns[1])), (Some(21), Some(22)));
    bench.delete(&copies);
    bench.assert_clean();
}

/// ABT-1.
pub fn abort_reserved_set_discards_it(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    bench.prepare(set, &luns);
    let outcome = bench.alpha.abort(WITHIN, set, false).expect("known");
    assert_eq!((outcome.discarded.len(), outcome.kept.len()), (2, 0));
    bench.assert_clean();
}

/// ABT-6: the source goes on, the capture is gone.
pub fn abort_captured_set_discards_it(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    bench.commit(set, &luns);
    let outcome = bench.alpha.abort(WITHIN, set, false).expect("known");
    assert_eq!((outcome.discarded.len(), outcome.kept.len()), (2, 0));
    bench.assert_clean();
    assert!(bench.mapped(ALPHA, luns[0]));
}

/// GTL-12: what was told is kept, the rest of the set is not.
pub fn abort_keeps_reported_copies_unless_asked(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    bench.commit(set, &luns);
    let told = bench.alpha.report(WITHIN, set, &luns[..1]);
    let told = told.expect("captured")[0].copy;
    let outcome = bench.alpha.abort(WITHIN, set, false).expect("known");
    assert_eq!((outcome.discarded.len(), outcome.kept), (1, vec![told]));
    assert_eq!(bench.copies(), 1);
    bench.delete(&[told]);
    bench.assert_clean();
}

/// SEQ-33.
pub fn abort_reported_too_unmaps_and_discards(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    let copies = bench.reported(set, &luns);
    bench.alpha.map(WITHIN, &copies[..1]).expect("alpha's copy");
    let outcome = bench.alpha.abort(WITHIN, set, true).expect("known");
    assert_eq!((outcome.discarded.len(), outcome.kept.len()), (2, 0));
    bench.assert_clean();
}

/// SEQ-33: another host's use is respected.
pub fn abort_keeps_copies_mapped_elsewhere(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    let copies = bench.reported(set, &luns);
    bench.alpha.map(WITHIN, &copies).expect("alpha's copies");
    let beta = fixture.host(BETA);
    beta.map(WITHIN, &copies[..1])
        .expect("beta is in the group");
    let outcome = bench.alpha.abort(WITHIN, set, true).expect("known");
    assert_eq!(outcome.kept, [copies[0]]);
    assert_eq!(outcome.discarded, [copies[1]]);
    assert!(bench.mapped(BETA, copies[0]));
    assert!(!bench.mapped(ALPHA, copies[0]));
    beta.delete(WITHIN, copies[0]).expect("beta's turn");
    bench.assert_clean();
}

/// SEQ-33: a broken copy is an ordinary LUN.
pub fn abort_keeps_broken_copies(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(2), new_set());
    let copies = bench.reported(set, &luns);
    let broken = bench.alpha.break_copies(WITHIN, &copies[..1], false);
    broken.expect("alpha's copy");
    let outcome = bench.alpha.abort(WITHIN, set, true).expect("known");
    assert!(!outcome.discarded.contains(&copies[0]));
    assert_eq!(bench.copies(), 1);
    let kept = bench.info(ALPHA, copies[0]).expect("it is kept");
    assert_eq!(kept.role, LunRole::Original);
}

/// A set that was given up is not known any more.
pub fn abort_twice_is_unknown_set(fixture: &dyn Fixture) {
    let mut bench = Bench::new(fixture);
    let (luns, set) = (bench.luns(1), new_set());
    bench.prepare(set, &luns);
    abort(&bench, set);
    assert_kind(bench.alpha.abort(WITHIN, set, true), &[Kind::UnknownSet]);
}

fn abort(bench: &Bench<'_>, set: crate::SetId) {
    abort_leaving(bench, set, 0);
}

fn abort_leaving(bench: &Bench<'_>, set: crate::SetId, copies: usize) {
    let outcome = bench.alpha.abort(WITHIN, set, true);
    outcome.expect("the set is known");
    assert_eq!(bench.copies(), copies, "the abort discards the set");
}

fn abort_keeping_reported(bench: &Bench<'_>, set: crate::SetId) {
    let outcome = bench.alpha.abort(WITHIN, set, false);
    outcome.expect("the set is known");
}
