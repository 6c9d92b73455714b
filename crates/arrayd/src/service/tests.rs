// SPDX-License-Identifier: MIT OR Apache-2.0
//! What needs a look inside: fences held up, deadlines passed, numbers used up.

use super::*;
use crate::admin::{AdminAnswer, AdminRequest};
use array_api::{
    CheckRequest, CopyNeeds, DeleteOutcome, PrepareRequest, ResyncPair, ResyncStatus, SnapshotId,
};
use block::{Disk, WritePermit};
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
        self.create_of(name, MIB)
    }

    fn create_of(&self, name: &str, size_bytes: u64) -> LunId {
        let answer = self.admin(AdminRequest::LunCreate {
            name: name.to_owned(),
            size_bytes,
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

    fn disk(&self, lun: LunId) -> Disk {
        Disk::new(self.service.store.device(lun.0).unwrap())
    }

    fn size_bytes(&self, lun: LunId) -> u64 {
        let info = self.service.query(HOST, &[lun]);
        info[0].as_ref().unwrap().size_bytes
    }

    fn number(&self, lun: LunId) -> u8 {
        self.service.lock().luns[&lun].record.map[HOST]
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
        assert_eq!(bench.service.info(HOST).unwrap().host, HOST);
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

/// T-293, LUN-17, LUN-18: a copy shows the size and the sector sizes of its source, at odd sizes too. The store's LUNs are all 512e.
#[test]
fn t293_copy_has_the_sectors_of_its_source() {
    let bench = Bench::new("");
    let sizes = [512, 4096, MIB + 512];
    let luns = sizes.map(|size| bench.create_of(&format!("odd-{size}"), size));
    for (lun, copy) in luns.iter().zip(bench.copies(&luns)) {
        let geometry = bench.disk(copy).geometry();
        assert_eq!(geometry, bench.disk(*lun).geometry());
        let sectors = (geometry.logical_block_bytes, geometry.physical_block_bytes);
        assert_eq!(sectors, (512, 4096));
    }
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

/// T-211, T-212, T-213, RSY-4: all targets of one call get the size of their copies.
#[test]
fn t212_resync_changes_the_size_of_larger_and_smaller_targets() {
    let bench = Bench::new("");
    let copies = bench.copies(&bench.luns);
    let targets = [("larger", 4 * MIB), ("smaller", MIB / 2)];
    let targets = targets.map(|(name, size_bytes)| bench.create_of(name, size_bytes));
    let pairs: Vec<ResyncPair> = copies
        .iter()
        .zip(targets)
        .map(|(copy, target)| ResyncPair {
            copy: *copy,
            target,
        })
        .collect();

    let status = bench.service.resync(HOST, ResyncId::new_v4(), &pairs);

    assert_eq!(status, Ok(ResyncStatus::Finished));
    for target in targets {
        assert_eq!(bench.size_bytes(target), MIB);
    }
    // Of the new size: a copy of another one could not be captured.
    bench.copies(&targets);
}

/// RSY-12: one pair that cannot be, and the other target keeps its size.
#[test]
fn resync_refused_for_one_pair_resizes_none() {
    let bench = Bench::new("");
    let copies = bench.copies(&bench.luns);
    let larger = bench.create_of("larger", 4 * MIB);
    let gone = LunId(5);
    let pairs = [(copies[0], larger), (copies[1], gone)];
    let pairs = pairs.map(|(copy, target)| ResyncPair { copy, target });

    let error = bench
        .service
        .resync(HOST, ResyncId::new_v4(), &pairs)
        .unwrap_err();

    assert_eq!(error.kind, ArrayErrorKind::UnknownLun);
    assert_eq!(bench.size_bytes(larger), 4 * MIB);
}

/// RSY-3: a repetition of a resync under way starts nothing and gives the same answer; so do the question for its state
/// and the wish to stop it.
#[test]
fn resync_repeated_while_it_runs_overwrites_once() {
    let bench = Bench::new("");
    let copies = bench.copies(&bench.luns[..1]);
    let pair = [ResyncPair {
        copy: copies[0],
        target: bench.luns[0],
    }];
    let id = ResyncId::new_v4();
    let permit = bench.write_under_way(bench.luns[0]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| bench.service.resync(HOST, id, &pair));
        while bench.service.lock().resyncing.is_empty() {
            std::thread::yield_now();
        }
        let running = bench.service.resync_status(HOST, id, Duration::ZERO);
        assert_eq!(running, Ok(ResyncStatus::Running));
        let others = [
            scope.spawn(|| bench.service.resync(HOST, id, &pair)),
            scope.spawn(|| bench.service.cancel_resync(HOST, id)),
        ];
        drop(permit);
        assert_eq!(first.join().unwrap(), Ok(ResyncStatus::Finished));
        for other in others {
            assert_eq!(other.join().unwrap(), Ok(ResyncStatus::Finished));
        }
    });
    assert_eq!(bench.service.lock().resyncs.len(), 1);
    let another = bench
        .service
        .resync_status("b", id, Duration::ZERO)
        .unwrap_err();
    assert_eq!(another.kind, ArrayErrorKind::UnknownResync);
}

/// T-300, CTX-13, ERR-5: hosts hear of the threshold and then of the end of the space; copies stay as they are.
#[test]
fn t300_space_is_low_and_then_exhausted_and_copies_are_unaffected() {
    let bench = Bench::new("[store]\nwarn_free = \"128MiB\"\nfree_floor = \"1MiB\"\n");
    let level = || bench.service.info(HOST).unwrap().space;
    bench.disk(bench.luns[0]).write(0, &[7; 4096]).unwrap();
    let copy = bench.copies(&bench.luns[..1])[0];
    let large = bench.disk(bench.create_of("large", 512 * MIB));
    let piece = vec![1; MIB as usize];
    assert_eq!(level(), SpaceLevel::Ample);

    for index in 0..130 {
        large.write(index * MIB, &piece).unwrap();
    }
    assert_eq!(level(), SpaceLevel::Low);
    let refused = (130..512).find_map(|index| large.write(index * MIB, &piece).err());
    assert_eq!(refused.unwrap().kind(), block::ErrorKind::NoSpace);
    while bench.service.store.usage().free_bytes > 0 {
        let used = bench.service.store.usage();
        let at = 512 * MIB - used.free_bytes;
        large.write(at, &piece[..64 << 10]).unwrap();
    }

    assert_eq!(level(), SpaceLevel::Exhausted);
    let mut found = [0; 4096];
    bench.disk(copy).read(0, &mut found).unwrap();
    assert_eq!(found, [7; 4096]);
    let check = CheckRequest {
        luns: bench.luns.clone(),
        needs: CopyNeeds::default(),
    };
    assert!(!bench.service.check(HOST, &check).supported);
    let outcome = bench.service.delete(HOST, copy).unwrap();
    assert_eq!(outcome, DeleteOutcome::Deleted);
}

/// T-314, OLE-9: the next copy gets another number than one that was deleted just before.
#[test]
fn t314_number_of_a_deleted_copy_is_not_used_for_the_next() {
    let bench = Bench::new("");
    let copies = bench.copies(&bench.luns);
    bench.service.map(HOST, &copies[..1]).unwrap();
    let freed = bench.number(copies[0]);
    bench.service.delete(HOST, copies[0]).unwrap();

    bench.service.map(HOST, &copies[1..]).unwrap();

    assert_ne!(bench.number(copies[1]), freed);
}

/// T-177: a client that hangs up during its commit stops nothing; the set is captured whole, and can be given up.
#[test]
fn commit_whose_client_hangs_up_goes_to_its_end() {
    use hyper::service::Service as _;
    let bench = Bench::new("");
    let added = bench.admin(AdminRequest::HostAdd {
        name: "b".to_owned(),
        iqns: BTreeSet::from(["iqn.x:b".to_owned()]),
        allow_resync: false,
        address: None,
    });
    let AdminAnswer::HostAdded(added) = added else {
        panic!("{added:?}")
    };
    let token = added.enrolment.rsplit('/').next().unwrap();
    bench.admin(AdminRequest::LunMap {
        lun: "one".to_owned(),
        host: "b".to_owned(),
    });
    let request = PrepareRequest {
        snapshot: SnapshotId::new_v4(),
        luns: bench.luns[..1].to_vec(),
        needs: CopyNeeds::default(),
    };
    let set = SetId::new_v4();
    bench.service.prepare("b", set, &request).unwrap();
    bench.service.arm("b", set).unwrap();
    let phase = || bench.service.lock().sets[&set].phase;
    let permit = bench.write_under_way(bench.luns[0]);
    let commit = hyper::Request::post(array_api::wire::SetStep::Commit.path(set))
        .header("authorization", format!("Bearer {token}"))
        .header(
            array_api::wire::CONTRACT_HEADER,
            array_api::wire::ContractRange::OURS.to_string(),
        )
        .body(axum::body::Body::from("{}"))
        .unwrap();
    let router = crate::api::router(Arc::clone(&bench.service));
    let face = hyper_util::service::TowerToHyperService::new(router);
    let runtime = tokio::runtime::Runtime::new().unwrap();

    runtime.block_on(async {
        let call = tokio::spawn(face.call(commit));
        while phase() != Phase::Committing {
            assert!(!call.is_finished(), "{:?}", call.await);
            tokio::task::yield_now().await;
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    });
    drop(permit);

    while phase() == Phase::Committing {
        std::thread::yield_now();
    }
    assert_eq!(phase(), Phase::Captured);
    // VSS never got the answer: it gives the set up.
    let outcome = bench.service.abort("b", set, true).unwrap();
    assert_eq!(outcome.discarded.len(), 1);
    assert_eq!(bench.lun_count(), 2);
}
