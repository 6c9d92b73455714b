// SPDX-License-Identifier: MIT OR Apache-2.0
//! 10.11 from the array's side: the real `shadowlund` dies with SIGKILL in each state of a set and in the midst of calls, and
//! comes back. The provider, in this process, says so or goes on; nothing is leaked, what was told to VSS stays, and no
//! source is left frozen. Needs the workspace's programs: `cargo build --workspace --bins`.

use array_api::{Enrolment, HttpsArray};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vss_provider::{DO_MASK_LUNS, Hresult, LunDescription};
use vss_rig::array::{Binaries, CREATOR};
use vss_rig::description::disks;
use vss_rig::host::ProviderHost;
use vss_rig::in_process::InProcess;
use vss_rig::initiator::{Initiator, Portal};
use vss_rig::sequence::{Point, ShadowSet};

const IQN: &str = "iqn.1991-05.com.microsoft:winhost";
const TIMEOUT: Duration = Duration::from_secs(30);
const ORIGINALS: usize = 2;
/// How long a call is left waiting for an array that stands still before that dies.
const BLOCKED: Duration = Duration::from_millis(300);
const PIECE: usize = 64 << 10;

/// `shadowlund` with two LUNs and one host; its ports stay over restarts.
struct Array {
    binaries: Binaries,
    folder: tempfile::TempDir,
    child: Child,
    portal: Portal,
    enrolment: Enrolment,
    originals: Vec<LunDescription>,
}

/// Starts the daemon, and gives its addresses and its target's name.
fn spawn(
    binaries: &Binaries,
    folder: &Path,
    [api, iscsi]: [SocketAddr; 2],
) -> (Child, [SocketAddr; 2], String) {
    let config = folder.join("shadowlund.toml");
    let text = format!(
        "state_dir = {:?}\n[store]\ncapacity = \"4GiB\"\n[api]\nlisten = \"{api}\"\n[iscsi]\nlisten = [\"{iscsi}\"]\n",
        folder.join("array")
    );
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let mut child = Command::new(&binaries.daemon)
        .arg("--config")
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let value = |name: &str| {
        let mut words = line.split_whitespace();
        let found = words.find_map(|word| word.strip_prefix(name));
        found.expect("the daemon says where it listens").to_owned()
    };
    let addresses = ["api=", "iscsi="].map(|name| value(name).parse().unwrap());
    (child, addresses, value("target="))
}

impl Array {
    fn start() -> Self {
        let binaries = Binaries::find(None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let (child, addresses, target) = spawn(&binaries, folder.path(), [any, any]);
        let mut array = Self {
            portal: Portal {
                address: addresses[1],
                target,
                initiator: IQN.to_owned(),
            },
            enrolment: added(&binaries, folder.path()),
            binaries,
            folder,
            child,
            originals: Vec::new(),
        };
        for index in 0..ORIGINALS {
            let name = format!("original-{index}");
            array.cli(&["lun", "create", &name, "64MiB", "--host", CREATOR]);
        }
        array.originals = array.disks();
        assert_eq!(array.originals.len(), ORIGINALS);
        array
    }

    fn cli(&self, arguments: &[&str]) -> Value {
        cli(&self.binaries, self.folder.path(), arguments)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// SIGKILL, and a new start with the same ports.
    fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let api = self.enrolment.address().parse().unwrap();
        let addresses = [api, self.portal.address];
        self.child = spawn(&self.binaries, self.folder.path(), addresses).0;
    }

    fn provider(&self) -> InProcess {
        let zero = Instant::now();
        InProcess::new(
            Arc::new(HttpsArray::new(&self.enrolment)),
            Arc::new(move || zero.elapsed()),
        )
    }

    fn set(&self, original: usize) -> ShadowSet {
        ShadowSet::new(0, &[std::slice::from_ref(&self.originals[original])])
    }

    fn log_in(&self) -> Initiator {
        Initiator::connect(&self.portal, TIMEOUT).unwrap()
    }

    fn disks(&self) -> Vec<LunDescription> {
        let seen = disks(&mut self.log_in()).unwrap();
        seen.into_iter().map(|disk| disk.description).collect()
    }

    fn sees(&self, lun: &LunDescription) -> bool {
        let disks = self.disks();
        disks.iter().any(|disk| disk.identifiers == lun.identifiers)
    }

    fn lun_count(&self) -> usize {
        self.cli(&["lun", "list"]).as_array().unwrap().len()
    }

    /// Writes to a LUN, which waits for no fence, and reads it back.
    fn write(&self, lun: &LunDescription, byte: u8) {
        let mut session = self.log_in();
        let seen = disks(&mut session).unwrap();
        let mut seen = seen.iter();
        let disk = seen.find(|disk| disk.description.identifiers == lun.identifiers);
        let number = disk.expect("the host sees it").lun;
        session.write(number, 0, &[byte; PIECE]).unwrap();
        assert_eq!(session.read(number, 0, PIECE).unwrap(), [byte; PIECE]);
    }

    fn first_byte(&self, lun: &LunDescription) -> u8 {
        let mut session = self.log_in();
        let seen = disks(&mut session).unwrap();
        let mut seen = seen.iter();
        let disk = seen.find(|disk| disk.description.identifiers == lun.identifiers);
        session.read(disk.unwrap().lun, 0, PIECE).unwrap()[0]
    }

    /// Sources can be written, the next set of the same provider is whole, and nothing is left of it.
    fn next_set_works(&self, provider: &dyn ProviderHost, when: &str) {
        for original in &self.originals {
            self.write(original, 7);
        }
        let before = self.lun_count();
        let mut set = self.set(1);
        set.drive(provider, Point::Created).expect(when);
        set.delete(provider).expect(when);
        assert_eq!(self.lun_count(), before, "{when}: leftovers");
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cli(binaries: &Binaries, folder: &Path, arguments: &[&str]) -> Value {
    let socket: PathBuf = folder.join("array/admin.sock");
    let output = Command::new(&binaries.cli)
        .arg("--socket")
        .arg(socket)
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Adds the host, and gives its enrolment.
fn added(binaries: &Binaries, folder: &Path) -> Enrolment {
    let arguments = ["host", "add", CREATOR, "--iqn", IQN, "--allow-resync"];
    let added = cli(binaries, folder, &arguments);
    added["enrolment"].as_str().unwrap().parse().unwrap()
}

/// T-240, T-241, T-242, T-243, T-244, T-245, T-246, T-247, SEQ-37, SEQ-40, GTL-12: the array dies after each call of a set.
/// What was not told to VSS is gone when it comes back; what was told is there, the unmapped among it listed as
/// orphans, and the set goes on to its end.
#[test]
fn t240_to_t247_array_killed_in_each_state() {
    let mut array = Array::start();
    let provider = array.provider();
    for point in Point::ALL {
        let when = format!("killed at {point:?}");
        let mut set = array.set(0);
        array.write(&array.originals[0], 1);
        set.drive(&provider, point).expect(&when);

        array.crash();

        if point < Point::Reported {
            assert_eq!(array.lun_count(), ORIGINALS, "{when}");
            let next = Point::ALL[Point::ALL.iter().position(|p| *p == point).unwrap() + 1];
            // PostCommit asks the array nothing; GetTargetLuns after it does.
            if next != Point::Postcommitted {
                set.step(&provider, next).expect_err(&when);
            }
        } else {
            assert_eq!(array.lun_count(), ORIGINALS + 1, "{when}");
            let orphans = array.cli(&["orphans"]).as_array().unwrap().len();
            assert_eq!(orphans, usize::from(point == Point::Reported), "{when}");
            set.go_on(&provider, point, Point::Created).expect(&when);
            let target = &set.targets()[0];
            array.write(&array.originals[0], 2);
            assert_eq!(array.first_byte(target), 1, "{when}");
            set.delete(&provider).expect(&when);
        }
        array.next_set_works(&provider, &when);
    }
}

/// T-254, COM-9: the array restarts between PreCommit and Commit. The commit fails within its time, and nothing is leaked.
#[test]
fn t254_array_restarted_between_precommit_and_commit() {
    let mut array = Array::start();
    let provider = array.provider();
    let mut set = array.set(0);
    set.drive(&provider, Point::Precommitted).unwrap();

    array.crash();
    let start = Instant::now();
    let error = set.step(&provider, Point::Committed).unwrap_err();

    assert!(start.elapsed() < Duration::from_secs(8), "{error}");
    assert_eq!(error.code, Hresult::VSS_E_PROVIDER_VETO, "{error}");
    assert_eq!(array.lun_count(), ORIGINALS);
    array.next_set_works(&provider, "after T-254");
}

/// Makes `call` while the array dies: once it has stood still with the call in hand, and after each of some times, which
/// are to fall at some moment of the call. The repetition with the array back succeeds.
fn killed_during(
    array: &mut Array,
    prepare: impl Fn(&Array, &InProcess) -> ShadowSet,
    call: impl Fn(&Array, &dyn ProviderHost, &ShadowSet) -> Hresult + Sync,
    judge: impl Fn(&Array, &ShadowSet),
) {
    for delay_ms in [None, Some(0), Some(2), Some(5)] {
        let provider = array.provider();
        let set = prepare(array, &provider);
        let pid = array.pid();
        if delay_ms.is_none() {
            kill_process(pid, Signal::STOP).unwrap();
        }
        let shared: &Array = array;
        std::thread::scope(|scope| {
            // Its answer may be lost or not; the repetition has to do.
            scope.spawn(|| call(shared, &provider, &set));
            std::thread::sleep(delay_ms.map_or(BLOCKED, Duration::from_millis));
            kill_process(pid, Signal::KILL).unwrap();
        });
        array.crash();

        let fresh = array.provider();
        assert_eq!(
            call(array, &fresh, &set),
            Hresult::S_OK,
            "{delay_ms:?}: {:?}",
            fresh.take_events()
        );
        judge(array, &set);
        for target in set.targets() {
            assert_eq!(fresh.on_lun_empty(&target), Hresult::S_OK);
        }
        array.next_set_works(&fresh, "after a call was repeated");
        assert_eq!(array.lun_count(), ORIGINALS);
    }
}

fn driven(point: Point) -> impl Fn(&Array, &InProcess) -> ShadowSet {
    move |array, provider| {
        array.write(&array.originals[0], 1);
        let mut set = array.set(0);
        set.drive(provider, point).unwrap();
        array.write(&array.originals[0], 2);
        set
    }
}

/// T-249, LOC-7: LocateLuns.
#[test]
fn t249_array_killed_during_locate_luns() {
    killed_during(
        &mut Array::start(),
        driven(Point::Reported),
        |_, provider, set| provider.locate_luns(&set.targets()),
        |array, set| assert_eq!(array.first_byte(&set.targets()[0]), 1),
    );
}

/// T-249, OLE-4: OnLunEmpty.
#[test]
fn t249_array_killed_during_on_lun_empty() {
    killed_during(
        &mut Array::start(),
        driven(Point::Created),
        |_, provider, set| provider.on_lun_empty(&set.targets()[0]),
        |array, _| assert_eq!(array.lun_count(), ORIGINALS),
    );
}

/// T-249, OLS-5: masking.
#[test]
fn t249_array_killed_during_mask() {
    killed_during(
        &mut Array::start(),
        driven(Point::Created),
        |_, provider, set| provider.on_lun_state_change(&set.targets(), None, DO_MASK_LUNS),
        |array, set| {
            assert!(!array.sees(&set.targets()[0]));
            assert_eq!(array.lun_count(), ORIGINALS + 1);
        },
    );
}

/// T-249, RSY-3: a resync that was cut short left the target as it was or as the copy, and its repetition makes it the copy.
#[test]
fn t249_array_killed_during_resync() {
    killed_during(
        &mut Array::start(),
        driven(Point::Created),
        |array, provider, set| {
            let (code, operation) = provider.resync_luns(&set.targets(), &array.originals[..1]);
            operation.map_or(code, |operation| operation.wait(TIMEOUT))
        },
        |array, _| assert_eq!(array.first_byte(&array.originals[0]), 1),
    );
}
