// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vendor's array keeps the contract: the suite that every array runs.

use array_api::conformance::{ALPHA, BETA, Fixture};
use array_api::{Array, Designator, LunId};
use std::sync::Arc;
use std::time::Duration;
use vendor_provider::FolderArray;

const WITHIN: Duration = Duration::from_secs(20);

struct Folder {
    folder: tempfile::TempDir,
    admin: FolderArray,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let admin = FolderArray::new(folder.path(), "admin");
        admin
            .with_state(WITHIN, |state| {
                state.set_group("pair", &[ALPHA, BETA]);
                state.allow_resync(ALPHA);
                Ok(())
            })
            .unwrap();
        Self { folder, admin }
    }
}

impl Fixture for Folder {
    fn host(&self, name: &str) -> Arc<dyn Array> {
        Arc::new(FolderArray::new(self.folder.path(), name))
    }

    fn create_lun(&self, size_bytes: u64, hosts: &[&str]) -> LunId {
        let made = |state: &mut vendor_provider::State| state.create_lun(size_bytes, hosts);
        self.admin.with_state(WITHIN, made).unwrap()
    }

    fn lun_count(&self) -> usize {
        let count = |state: &mut vendor_provider::State| Ok(state.luns().len());
        self.admin.with_state(WITHIN, count).unwrap()
    }

    fn lun_of(&self, designator: &Designator) -> Option<LunId> {
        vendor_provider::anvil_lun(designator)
    }

    fn write_marker(&self, lun: LunId, value: u64) -> bool {
        std::fs::write(self.admin.contents(lun), value.to_le_bytes()).is_ok()
    }

    fn read_marker(&self, lun: LunId) -> Option<u64> {
        let bytes = std::fs::read(self.admin.contents(lun)).ok()?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

array_api::array_conformance_suite!(Folder::new);

/// What a provider under Wine holds on a folder that both sides see. A process's own POSIX locks do not hinder it, so another one,
/// which is this test again, has the lock.
#[cfg(unix)]
#[test]
fn posix_lock_of_another_process_keeps_the_folder() {
    use array_api::ArrayErrorKind;
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::{Command, Stdio};
    const FOLDER: &str = "ANVIL_TEST_FOLDER_TO_HOLD";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let file = std::fs::File::create(std::path::Path::new(&folder).join("lock")).unwrap();
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        println!("\nheld");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let f = Folder::new();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["posix_lock_of_another", "--nocapture"])
        .env(FOLDER, f.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));

    let meanwhile = f.admin.with_state(Duration::ZERO, |_| Ok(()));
    drop(other.stdin.take());
    let ended = other.wait().unwrap();
    let afterwards = f.admin.with_state(WITHIN, |_| Ok(()));

    assert!(ended.success());
    assert_eq!(meanwhile.unwrap_err().kind, ArrayErrorKind::TimedOut);
    assert_eq!(afterwards, Ok(()));
}

/// The administrator's word, as a provider hears it.
#[test]
fn held_copies_are_preparing_until_they_are_let_go() {
    use array_api::{CopyNeeds, PrepareRequest, Readiness};
    let f = Folder::new();
    let lun = f.create_lun(1 << 20, &[ALPHA]);
    let (host, set) = (f.host(ALPHA), uuid::Uuid::from_u128(1));
    let request = PrepareRequest {
        snapshot: uuid::Uuid::from_u128(2),
        luns: vec![lun],
        needs: CopyNeeds::default(),
    };
    host.prepare(WITHIN, set, &request).unwrap();
    let hold = |held| {
        f.admin.with_state(WITHIN, |state| {
            state.hold_copies(held);
            Ok(())
        })
    };

    hold(true).unwrap();
    let held = host.ready(Duration::from_millis(50), set);
    hold(false).unwrap();

    assert_eq!(held, Ok(Readiness::Preparing));
    assert_eq!(host.ready(WITHIN, set), Ok(Readiness::Ready));
}

/// REG-14: nothing of this project's own names is in a vendor's provider.
#[test]
fn vendor_shares_no_name_with_the_project() {
    use vss_provider_server::ids::SHADOWLUN;
    let own = &vendor_provider::ANVIL.names;

    let ids = [own.class_id, own.app_id, own.provider_id, own.version_id];
    let theirs = [
        SHADOWLUN.class_id,
        SHADOWLUN.app_id,
        SHADOWLUN.provider_id,
        SHADOWLUN.version_id,
    ];
    assert!(ids.iter().all(|id| !theirs.contains(id)));
    for (name, other) in [
        (own.provider_name, SHADOWLUN.provider_name),
        (own.service_name, SHADOWLUN.service_name),
        (own.event_source, SHADOWLUN.event_source),
        (own.command, SHADOWLUN.command),
        (own.executable, SHADOWLUN.executable),
        (own.message_dll, SHADOWLUN.message_dll),
        (own.data_folder, SHADOWLUN.data_folder),
    ] {
        assert_ne!(name, other);
    }
}

/// LOG-4: what an administrator is told to do names the vendor's own means, in every event.
#[test]
fn events_of_the_vendor_name_nothing_of_the_project() {
    let source = vss_provider_server::message_file::source(&vendor_provider::ANVIL.names);
    assert!(source.contains("Anvil console"));
    assert!(!source.to_lowercase().contains("shadowlun"), "{source}");
}

/// The tutorial shows this crate's code as it is.
#[test]
fn tutorial_quotes_this_crate() {
    let page = include_str!("../../../docs/sdk.md");
    let sources = [
        include_str!("../src/main.rs"),
        include_str!("../src/lib.rs"),
        include_str!("../src/folder.rs"),
        include_str!("../src/state.rs"),
        include_str!("conformance.rs"),
    ];

    let blocks = page.split("```rust\n").skip(1);
    let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();

    assert!(!blocks.is_empty());
    for block in blocks {
        let found = sources.iter().any(|source| source.contains(block));
        assert!(found, "not in the example:\n{block}");
    }
}

/// The tutorial's Cargo.toml brings what this crate needs, with the same features, and the profile that keeps COM alive.
#[test]
fn tutorial_manifest_has_what_this_crate_needs() {
    use toml::{Table, Value};
    let page = include_str!("../../../docs/sdk.md");
    let block = page.split("```toml\n").nth(1).unwrap();
    let theirs: Table = block.split("```").next().unwrap().parse().unwrap();
    let ours: Table = include_str!("../Cargo.toml").parse().unwrap();
    let workspace: Table = include_str!("../../../Cargo.toml").parse().unwrap();
    let names = |list: &Value| list.as_table().unwrap().keys().cloned().collect::<Vec<_>>();

    let key = "dependencies";
    assert_eq!(names(&theirs[key]), names(&ours[key]));
    let key = "dev-dependencies";
    assert_eq!(names(&theirs[key]), names(&ours[key]));
    let features = |manifest: &Table| manifest["dev-dependencies"]["array_api"]["features"].clone();
    assert_eq!(features(&theirs), features(&ours));
    assert_eq!(
        theirs["target"]["cfg(unix)"]["dependencies"]["rustix"]["features"][0].as_str(),
        Some("fs")
    );
    let profile =
        |manifest: &Table| manifest["profile"]["dev"]["package"]["vss_provider_server"].clone();
    assert_eq!(profile(&theirs), profile(&workspace));
}
