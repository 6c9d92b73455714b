// SPDX-License-Identifier: MIT OR Apache-2.0
//! What needs a look inside: fences held up, deadlines passed, numbers used up.

use super::*;
use crate::admin::{AdminAnswer, AdminRequest};
use array_api::{CheckRequest, CopyNeeds, PrepareRequest, SnapshotId};
use block::WritePermit;
use lun_store::CreateOptions;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

const HOST: &str = "a";
const MIB: u64 = 1 << 20;

struct Bench {
    service: Arc<Service>,
    luns: Vec<LunId>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("state_dir = {:?}\n{settings}", dir.path());
        let config = Config::parse(&text, Path::new("test.toml")).unwrap();
        let options = CreateOptions {
            capacity_bytes: 256 * MIB,
            ..CreateOptions::default()
        };
        let store = Store::create(&dir.path().join("store"), &options).unwrap();
        let service = Service::open(config, store).unwrap();
        service.set_endpoints(Endpoints {
            api_address: "127.0.0.1:1".parse().unwrap(),
            key_pin: array_api::KeyPin([0; 32]),
        });
        let bench = Self {
            service: Arc::new(service),
            luns: Vec::new(),
            _dir: dir,
        };
        bench.admin(AdminRequest::HostAdd {
            name: HOST.to_owned(),
            iqns: BTreeSet::from(["iqn.x:a".to_owned()]),
            allow_resync: true,
            address: None,
        });
        let luns = ["one", "two"].map(|name| bench.create(name)).to_vec();
        Self { luns, ..bench }
    }

    fn admin(&self, request: AdminRequest) -> AdminAnswer {
        self.service.admin(request).unwrap()
    }

    fn create(&self, name: &str) -> LunId {
        let answer = self.admin(AdminRequest::LunCreate {
            name: name.to_owned(),
            size_bytes: MIB,
            hosts: vec![HOST.to_owned()],
        });
        let AdminAnswer::Lun(lun) = answer else {
            panic!("{answer:?}")
        };
        lun.id
    }

    fn prepare(&self, luns: &[LunId]) -> SetId {
        let set = SetId::new_v4();
        let request = PrepareRequest {
            snapshot: SnapshotId::new_v4(),
            luns: luns.to_vec(),
            needs: CopyNeeds::default(),
        };
        self.service.prepare(HOST, set, &request).unwrap();
        set
    }

    fn armed(&self) -> SetId {
        let set = self.prepare(&self.luns);
        self.service.arm(HOST, set).unwrap();
        set
    }

    fn copies(&self, luns: &[LunId]) -> Vec<LunId> {
        let set = self.prepare(luns);
        self.service.arm(HOST, set).unwrap();
        self.service.commit(HOST, set).unwrap();
        let reports = self.service.report(HOST, set, luns).unwrap();
        reports.into_iter().map(|report| report.copy).collect()
    }

    /// A write to a LUN that is under way until the permit is dropped.
    fn write_under_way(&self, lun: LunId) -> WritePermit {
        let fence = Arc::clone(&self.service.lock().luns[&lun].fence);
        let (sender, receiver) = mpsc::channel();
        fence.enter(move |permit| sender.send(permit).unwrap());
        receiver.recv().unwrap()
    }

    fn lun_count(&self) -> usize {
        self.service.lock().luns.len()
    }
}

#[test]
fn commit_with_a_write_that_does_not_end_captures_nothing_and_lets_go() {
    let bench = Bench::new("");
    let set = bench.armed();
    let permit = bench.write_under_way(bench.luns[1]);

    let error = bench.service.commit(HOST, set).unwrap_err();

    assert_eq!(error.kind, ArrayErrorKind::FenceTimeout);
    let untouched = bench.write_under_way(bench.luns[0]);
    drop((permit, untouched));
    // Within the deadline the set may still be captured.
    assert_eq!(bench.service.commit(HOST, set).unwrap().luns, 2);
}

#[test]
fn abort_passes_a_blocked_commit_and_nothing_is_captured() {
    let bench = Bench::new("");
    let set = bench.armed();
    let permit = bench.write_under_way(bench.luns[0]);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| bench.service.commit(HOST, set));
        // The gate of the second LUN is closed once the commit is under way.
        while bench.service.lock().sets[&set].phase != Phase::Committing {
            std::thread::yield_now();
        }
        let abort = scope.spawn(|| bench.service.abort(HOST, set, false));
        while !bench.service.lock().sets[&set]
            .cancelled
            .load(std::sync::atomic::Ordering::SeqCst)
        {
            std::thread::yield_now();
        }
        drop(permit);
        let error = commit.join().unwrap().unwrap_err();
        assert!(
            matches!(
                error.kind,
                ArrayErrorKind::WrongState | ArrayErrorKind::FenceTimeout
            ),
            "{error}"
        );
        assert_eq!(abort.join().unwrap().unwrap().discarded.len(), 2);
    });
    assert_eq!(bench.lun_count(), 2);
    let error = bench.service.abort(HOST, set, false).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::UnknownSet);
}

#[test]
fn questions_are_answered_while_a_commit_is_blocked() {
    let bench = Bench::new("");
    let set = bench.armed();
    let permit = bench.write_under_way(bench.luns[0]);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| bench.service.commit(HOST, set));
        while bench.service.lock().sets[&set].phase != Phase::Committing {
            std::thread::yield_now();
        }
        assert_eq!(bench.service.query(HOST, &bench.luns).len(), 2);
        assert_eq!(bench.service.info(HOST).host, HOST);
        // A source under commit must not go away.
        let delete = AdminRequest::LunUnmap {
            lun: "one".to_owned(),
            host: HOST.to_owned(),
        };
        assert_eq!(
            bench.service.admin(delete).unwrap_err().kind,
            ArrayErrorKind::WrongState
        );
        drop(permit);
        commit.join().unwrap().unwrap();
    });
}

#[test]
fn commit_twice_at_once_captures_once_and_tells_both() {
    let bench = Bench::new("");
    let set = bench.armed();
    let permit = bench.write_under_way(bench.luns[0]);
    std::thread::scope(|scope| {
        let commits = [0, 1].map(|_| scope.spawn(|| bench.service.commit(HOST, set)));
        while bench.service.lock().sets[&set].phase != Phase::Committing {
            std::thread::yield_now();
        }
        drop(permit);
        let [first, second] = commits.map(|commit| commit.join().unwrap().unwrap());
        assert_eq!(first, second);
    });
    assert_eq!(bench.lun_count(), 4);
}

#[test]
fn commit_after_the_deadline_is_refused_and_captures_nothing() {
    let bench = Bench::new("[sets]\ncommit_deadline_ms = 1\n");
    let set = bench.armed();
    let deadline = bench.service.lock().sets[&set].deadline.unwrap();
    while Instant::now() <= deadline {
        std::thread::yield_now();
    }
    let error = bench.service.commit(HOST, set).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::DeadlinePassed);
    let error = bench.service.report(HOST, set, &bench.luns).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::WrongState);
    assert_eq!(
        bench
            .service
            .abort(HOST, set, false)
            .unwrap()
            .discarded
            .len(),
        2
    );
}

#[test]
fn arm_again_does_not_move_the_deadline() {
    let bench = Bench::new("");
    let set = bench.armed();
    let before = bench.service.lock().sets[&set].deadline;
    let armed = bench.service.arm(HOST, set).unwrap();
    assert!(armed.commit_within_ms <= 8_000);
    assert_eq!(bench.service.lock().sets[&set].deadline, before);
}

#[test]
fn idle_set_is_discarded_and_a_reported_one_is_not() {
    let bench = Bench::new("");
    let reported = bench.copies(&bench.luns[..1]);
    let set = bench.prepare(&bench.luns);
    bench.service.discard_idle();
    assert!(
        bench.service.lock().sets.contains_key(&set),
        "it is not idle yet"
    );

    let long_ago = Instant::now()
        .checked_sub(Duration::from_secs(3_600))
        .unwrap();
    for set in bench.service.lock().sets.values_mut() {
        set.touched = long_ago;
    }
    bench.service.discard_idle();

    assert!(!bench.service.lock().sets.contains_key(&set));
    assert!(bench.service.lock().luns.contains_key(&reported[0]));
    assert_eq!(bench.lun_count(), 3);
}

#[test]
fn prepare_of_one_set_at_once_reserves_each_source_once() {
    let bench = Bench::new("");
    bench.prepare(&bench.luns);
    let set = SetId::new_v4();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let request = PrepareRequest {
                    snapshot: SnapshotId::new_v4(),
                    luns: bench.luns.clone(),
                    needs: CopyNeeds::default(),
                };
                bench.service.prepare(HOST, set, &request).unwrap();
            });
        }
    });
    assert_eq!(bench.lun_count(), 4);
    assert_eq!(bench.service.lock().sets[&set].snapshots.len(), 4);
}

#[test]
fn map_to_a_host_that_the_catalogue_lost_is_given_up_for_good() {
    let bench = Bench::new("");
    let service = Arc::into_inner(bench.service).unwrap();
    let config = service.config.clone();
    let mut catalogue = service.lock().catalogue.clone();
    service.close().unwrap();
    let reopen = |catalogue: &Catalogue| {
        catalogue.save(&config.state_dir).unwrap();
        let store = Store::open(&config.state_dir.join("store")).unwrap();
        Service::open(config.clone(), store).unwrap()
    };
    let host = catalogue.hosts.remove(HOST).unwrap();
    reopen(&catalogue).close().unwrap();
    catalogue.hosts.insert(HOST.to_owned(), host);
    let service = reopen(&catalogue);
    assert!(
        service
            .lock()
            .luns
            .values()
            .all(|lun| lun.record.map.is_empty())
    );
}

#[test]
fn copy_of_a_copy_is_possible() {
    let bench = Bench::new("");
    let first = bench.copies(&bench.luns[..1]);
    bench.service.map(HOST, &first).unwrap();
    let second = bench.copies(&first);
    bench.service.map(HOST, &second).unwrap();
    // The copy in the middle goes, the other stays.
    bench.service.delete(HOST, first[0]).unwrap();
    assert!(
        bench.service.query(HOST, &second)[0]
            .as_ref()
            .unwrap()
            .mapped_here
    );
}

#[test]
fn enrolment_names_an_address_that_a_host_can_reach() {
    let address = |stated, listening: &str| {
        admin::enrolment_address(stated, listening.parse().unwrap()).map_err(|error| error.kind)
    };
    assert_eq!(address(None, "10.0.0.1:8443").unwrap(), "10.0.0.1:8443");
    assert_eq!(address(Some("san:1"), "0.0.0.0:8443").unwrap(), "san:1");
    assert_eq!(
        address(None, "0.0.0.0:8443"),
        Err(ArrayErrorKind::InvalidRequest)
    );
}

#[test]
fn commit_that_outlasts_its_hold_leaves_no_copies() {
    let bench = Bench::new("");
    let set = bench.armed();
    let error = bench.service.commit_within(HOST, set, Duration::ZERO);
    assert_eq!(error.unwrap_err().kind, ArrayErrorKind::FenceTimeout);
    assert_eq!(bench.lun_count(), 2);
    let error = bench.service.report(HOST, set, &bench.luns).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::UnknownSet);
    assert_eq!(bench.copies(&bench.luns).len(), 2);
}

#[test]
fn abort_of_a_reported_set_leaves_a_copy_that_another_set_copies() {
    let bench = Bench::new("");
    let first_set = bench.prepare(&bench.luns[..1]);
    bench.service.arm(HOST, first_set).unwrap();
    bench.service.commit(HOST, first_set).unwrap();
    let reports = bench.service.report(HOST, first_set, &bench.luns[..1]);
    let copy = reports.unwrap()[0].copy;
    bench.service.map(HOST, &[copy]).unwrap();
    let second_set = bench.prepare(&[copy]);
    bench.service.arm(HOST, second_set).unwrap();

    let error = bench.service.abort(HOST, first_set, true).unwrap_err();

    assert_eq!(error.kind, ArrayErrorKind::WrongState);
    bench.service.commit(HOST, second_set).unwrap();
    // Captured: nothing needs the source any more.
    let outcome = bench.service.abort(HOST, first_set, true).unwrap();
    assert_eq!(outcome.discarded, [copy]);
}

#[test]
fn numbers_used_up_refuse_check_and_map_but_not_prepare() {
    let bench = Bench::new("");
    for index in 2..254 {
        bench.create(&format!("lun-{index}"));
    }
    let check = |count: usize| {
        let request = CheckRequest {
            luns: bench.luns[..count].to_vec(),
            needs: CopyNeeds::default(),
        };
        bench.service.check(HOST, &request)
    };
    assert!(!check(1).supported);
    let copies = bench.copies(&bench.luns);
    let error = bench.service.map(HOST, &copies).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::LimitReached);

    bench.admin(AdminRequest::LunUnmap {
        lun: "lun-7".to_owned(),
        host: HOST.to_owned(),
    });
    assert!(check(1).supported && !check(2).supported);
    assert!(bench.service.map(HOST, &copies).is_err(), "all or none");
    bench.service.map(HOST, &copies[..1]).unwrap();
}

/// BPS-1, BPS-13: VSS waits for each call, and all targets of one belong to one transaction.
#[test]
fn prepare_of_64_luns_takes_one_transaction() {
    let bench = Bench::new("");
    let luns: Vec<LunId> = (0..64).map(|n| bench.create(&format!("m{n}"))).collect();
    let transactions = || bench.service.store.counters().meta_commits;
    let before = transactions();

    let set = bench.prepare(&luns);
    let prepared = transactions();
    assert_eq!(prepared - before, 1);
    assert_eq!(bench.lun_count(), 66 + 64);

    let outcome = bench.service.abort(HOST, set, false).unwrap();
    assert_eq!(outcome.discarded.len(), 64);
    assert_eq!(bench.lun_count(), 66);
}
