// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commit window against the real daemon, over real TLS: this program's allocator, descriptors and event sink are
//! watched from PreCommitSnapshots' entry to PostCommitSnapshots' return. A program of its own, because what is
//! watched is the whole process's. Needs the workspace's programs: `cargo build --workspace --bins`.

use array_api::{Array as _, HttpsArray, LunId, SetId, SnapshotId};
use reserve::Reserve;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vss_provider::{Event, EventKind, EventSink, LunDescription, Provider, Settings, Window};
use vss_rig::array::{Binaries, Daemon};
use vss_rig::interrupt::Interrupt;

#[global_allocator]
static MEMORY: Reserve = Reserve::new();

const LUNS: usize = 64;
const WITHIN: Duration = Duration::from_secs(20);

struct ReserveWindow;

impl Window for ReserveWindow {
    fn open(&self) {
        MEMORY.open();
    }

    fn close(&self) {
        MEMORY.close();
    }

    fn asked_system(&self) -> u64 {
        MEMORY.asked_system()
    }
}

/// Counts what is written while the window is watched.
#[derive(Default)]
struct Log {
    watched: AtomicBool,
    early: AtomicU32,
    events: Mutex<Vec<Event>>,
}

impl EventSink for Log {
    fn report(&self, event: &Event) {
        let early = u32::from(self.watched.load(Ordering::Relaxed));
        self.early.fetch_add(early, Ordering::Relaxed);
        self.events.lock().unwrap().push(event.clone());
    }
}

/// What one window asked of the system.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    allocations: u64,
    events: u32,
    connections: u64,
    descriptors_changed: bool,
}

fn descriptors() -> Vec<PathBuf> {
    let folder = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = folder.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    // The folder that is being read is one of them.
    let mut links: Vec<_> = links.filter(|link| !link.starts_with("/proc")).collect();
    links.sort();
    links
}

/// A set of all LUNs; what its window asked of the system, and the event that tells of it.
fn set(
    array: &Arc<HttpsArray>,
    luns: &[LunDescription],
    window: Option<Arc<dyn Window>>,
) -> (Asked, String) {
    let (zero, log) = (Instant::now(), Arc::<Log>::default());
    let mut provider = Provider::new(
        Arc::clone(array) as Arc<dyn array_api::Array>,
        Arc::new(move || zero.elapsed()),
        Arc::clone(&log) as Arc<dyn EventSink>,
        Settings::default(),
    );
    if let Some(window) = window {
        provider = provider.with_window(window);
    }
    let set = SetId::new_v4();
    for volume in luns.chunks(8) {
        let begun = provider.begin_prepare_snapshot(set, SnapshotId::new_v4(), 0, volume);
        begun.unwrap();
    }
    provider.end_prepare_snapshots(set).unwrap();

    let (before, connections) = (descriptors(), array.connections_opened());
    let limit = getrlimit(Resource::Nofile);
    // No file and no socket can be opened at all.
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    setrlimit(Resource::Nofile, none).unwrap();
    log.watched.store(true, Ordering::Relaxed);
    let asked = MEMORY.asked_system();
    let results = [
        provider.pre_commit_snapshots(set),
        provider.commit_snapshots(set),
        provider.post_commit_snapshots(set, 8),
    ];
    let allocations = MEMORY.asked_system() - asked;
    log.watched.store(false, Ordering::Relaxed);
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(results, [Ok(()); 3]);
    let asked = Asked {
        allocations,
        events: log.early.load(Ordering::Relaxed),
        connections: array.connections_opened() - connections,
        descriptors_changed: descriptors() != before,
    };

    provider.abort_snapshots(set).unwrap();
    let events = log.events.lock().unwrap();
    let captured = events.iter().find(|e| e.kind == EventKind::SetCaptured);
    (asked, captured.unwrap().cause.clone())
}

/// T-099, T-109, COM-3, COM-8, TIME-17, TIME-18, TIME-19, TIME-20, TIME-22, ERR-6: between PreCommitSnapshots' entry and
/// PostCommitSnapshots' return no heap growth, no file or socket opened, no connection, no event: wherever log, settings and
/// program lie, also on a volume of the set, nothing is written to it or read from it. The control, the same
/// without the reserve, shows that the count counts.
#[test]
fn t099_window_of_64_luns_asks_the_system_for_nothing() {
    MEMORY.touch();
    let interrupt = Interrupt::default();
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries::find(None).unwrap();
    let daemon = Daemon::start(&binaries, folder.path(), "8GiB", &interrupt).unwrap();
    let host = daemon.add_host("a", "iqn.2026-01.test:a").unwrap();
    let ids: Vec<LunId> = (0..LUNS)
        .map(|index| {
            let name = format!("lun-{index}");
            let lun = daemon.cli(&["lun", "create", &name, "16MiB", "--host", "a"]);
            lun.unwrap()["id"].as_str().unwrap().parse().unwrap()
        })
        .collect();
    let array = Arc::new(HttpsArray::new(&host.enrolment));
    let infos = array.query(WITHIN, &ids).unwrap().into_iter();
    let luns: Vec<_> = infos
        .map(|info| vss_provider::identity::describe(&info.unwrap().identity))
        .collect();

    let (control, _) = set(&array, &luns, None);
    assert!(control.allocations > 0, "{control:?}");

    // The first and any later one: nothing builds up.
    for _ in 0..3 {
        let (asked, event) = set(&array, &luns, Some(Arc::new(ReserveWindow)));
        let nothing = Asked {
            allocations: 0,
            events: 0,
            connections: 0,
            descriptors_changed: false,
        };
        assert_eq!(asked, nothing);
        assert!(event.starts_with("64 LUNs were captured in "), "{event}");
        let count = "; 0 requests for memory went to the system meanwhile";
        assert!(event.ends_with(count), "{event}");
    }
    assert!(MEMORY.served() > 0);
    assert_eq!(MEMORY.slots_in_use(), 0, "all went back to the reserve");
}
