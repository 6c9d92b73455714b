// SPDX-License-Identifier: MIT OR Apache-2.0
//! T-109: programs, settings and events of the provider lie on the volume that is copied, and this volume takes no write from before
//! PreCommitSnapshots to after PostCommitSnapshots: an ext4 on the LUN, by iSCSI, frozen as VSS holds a volume. Needs the programs of
//! both systems, root, and a loop device.

use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use vss_provider::{Hresult, LunDescription};
use vss_rig::array::{Binaries, CREATOR, Daemon};
use vss_rig::com::ComProvider;
use vss_rig::description::disks;
use vss_rig::host::{LoggedEvent, ProviderHost as _};
use vss_rig::initiator::{Initiator, Portal};
use vss_rig::interrupt::Interrupt;
use vss_rig::sequence::{Point, ShadowSet};
use vss_rig::wine::{Hosting, WindowsParts, WineHost};

const INITIATOR: &str = "iqn.2026-01.test:host";
const VOLUME: &str = "volume";
const LIMIT: Duration = Duration::from_secs(60);
/// Some ticks of the provider's own thread.
const TICKS: Duration = Duration::from_millis(2_500);
/// Far longer than any call's budget: a call that has not returned then waits for the frozen volume.
const DEADLOCK: Duration = Duration::from_secs(45);
/// Id of the event that tells what a commit took.
const SET_CAPTURED: u32 = 100;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
}

/// The LUN as a file. Its shell also takes away what is mounted of it when the other end of its pipe closes, however the test ends.
struct Export {
    image: PathBuf,
    keeper: Child,
}

impl Export {
    fn start(portal: &Portal, lun: u8, scratch: &Path) -> Self {
        let image = scratch.join("lun.img");
        std::fs::write(&image, b"").unwrap();
        let Portal {
            address,
            target,
            initiator,
        } = portal;
        let script = format!(
            "qemu-storage-daemon --blockdev driver=iscsi,node-name=lun,transport=tcp,portal={address},\
             target={target},lun={lun},initiator-name={initiator} \
             --export type=fuse,id=export,node-name=lun,mountpoint={image},writable=on </dev/null & \
             exporter=$!; read _; fsfreeze --unfreeze {folder}; umount --all-targets --lazy {folder}; kill $exporter; \
             wait $exporter",
            image = image.display(),
            folder = scratch.join(VOLUME).display(),
        );
        let log = std::fs::File::create(scratch.join("export.log")).unwrap();
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &script]).stdin(Stdio::piped());
        let shell = shell.stdout(log.try_clone().unwrap()).stderr(log);
        let export = Self {
            keeper: shell.process_group(0).spawn().unwrap(),
            image,
        };
        let appeared = Interrupt::default().wait_until(LIMIT, || {
            std::fs::metadata(&export.image).is_ok_and(|image| image.len() > 0)
        });
        let log = std::fs::read_to_string(scratch.join("export.log")).unwrap();
        assert!(appeared.unwrap(), "the LUN's export did not appear: {log}");
        export
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// An ext4 on it.
struct Volume {
    folder: PathBuf,
}

impl Volume {
    fn mount(export: &Export) -> Self {
        assert!(rustix::process::geteuid().is_root(), "mounting needs root");
        let folder = export.image.with_file_name(VOLUME);
        std::fs::create_dir(&folder).unwrap();
        let image = export.image.to_str().unwrap();
        run("mkfs.ext4", &["-q", "-F", image]);
        let volume = Self { folder };
        run("mount", &["-o", "loop", image, volume.path()]);
        volume
    }

    fn path(&self) -> &str {
        self.folder.to_str().unwrap()
    }

    /// Moves a folder to this volume, and leaves it where it was for whoever looks.
    fn take(&self, folder: &Path) {
        let name = folder.parent().unwrap().file_name().unwrap();
        let place = self.folder.join(name);
        run(
            "cp",
            &["-a", folder.to_str().unwrap(), place.to_str().unwrap()],
        );
        run(
            "mount",
            &["--bind", place.to_str().unwrap(), folder.to_str().unwrap()],
        );
    }

    fn freeze(&self) {
        run("fsfreeze", &["--freeze", self.path()]);
    }

    fn thaw(&self) {
        run("fsfreeze", &["--unfreeze", self.path()]);
    }

    /// A write that is begun now; the end of the channel tells when it was carried out.
    fn begin_write(&self) -> Receiver<()> {
        let (done, written) = channel();
        let file = self.folder.join("written");
        std::thread::spawn(move || {
            std::fs::write(file, "written").unwrap();
            let _ = done.send(());
        });
        written
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Whoever has files open on it keeps it until then.
        let unmount = Command::new("umount")
            .args(["--all-targets", "--lazy", self.path()])
            .status();
        assert!(unmount.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// In the order in which it has to go.
struct Fixture {
    provider: ComProvider,
    volume: Volume,
    host: WineHost,
    original: LunDescription,
    _export: Export,
    daemon: Daemon,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn start() -> Self {
        let interrupt = Interrupt::default();
        let folder = tempfile::tempdir().unwrap();
        let binaries = Binaries::find(None).unwrap();
        let daemon = Daemon::start(&binaries, folder.path(), "8GiB", &interrupt).unwrap();
        let enrolled = daemon.add_host(CREATOR, INITIATOR).unwrap();
        daemon.create_lun("system", "1GiB", CREATOR).unwrap();
        let portal = daemon.portal(&enrolled).unwrap();
        let mut session = Initiator::connect(&portal, LIMIT).unwrap();
        let disk = disks(&mut session).unwrap().remove(0);
        let export = Export::start(&portal, disk.lun, folder.path());
        let host = WineHost::start(&WindowsParts::find(None).unwrap(), &interrupt).unwrap();
        let volume = Volume::mount(&export);
        for folder in ["Program Files/Shadowlun", "ProgramData/Shadowlun"] {
            volume.take(&host.drive_c().join(folder));
        }
        host.install(Hosting::LocalServer).unwrap();
        host.enroll(&enrolled.enrolment).unwrap();
        Self {
            provider: host.load().unwrap(),
            volume,
            host,
            original: disk.description,
            _export: export,
            daemon,
            _folder: folder,
        }
    }

    fn set(&self) -> ShadowSet {
        ShadowSet::new(0, &[std::slice::from_ref(&self.original)])
    }

    fn signal_array(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.daemon.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What `calls` gives, while the volume is frozen. Should they wait for it, it is thawed, so that the test can fail.
    fn frozen<T: Send>(&self, calls: impl FnOnce() -> T + Send) -> T {
        self.volume.freeze();
        let write = self.volume.begin_write();
        let (sender, answer) = channel();
        let answer = std::thread::scope(|scope| {
            scope.spawn(move || sender.send(calls()));
            let answer = answer.recv_timeout(DEADLOCK);
            let held = write.try_recv().is_err();
            self.volume.thaw();
            assert!(held, "the volume was not frozen");
            answer
        });
        write.recv_timeout(LIMIT).expect("the volume is thawed");
        answer.expect("a call waited for the frozen volume")
    }

    fn await_event(&self, wanted: impl Fn(&LoggedEvent) -> bool) {
        let mut told = Vec::new();
        let came = Interrupt::default().wait_until(LIMIT, || {
            told.extend(self.provider.take_events());
            told.iter().any(&wanted)
        });
        assert!(came.unwrap(), "{told:#?}");
    }

    fn end(self) {
        drop(self.provider);
        drop(self.volume);
        self.host.end().unwrap();
    }
}

/// T-109, COM-8: everything of the provider is on the volume of the set, which takes no write meanwhile. The set is captured, and its
/// event is written after the thaw.
#[test]
fn t109_set_of_the_volume_that_holds_the_provider_is_captured() {
    let f = Fixture::start();
    let mut set = f.set();
    set.drive(&f.provider, Point::Prepared).unwrap();

    f.frozen(|| {
        set.step(&f.provider, Point::Precommitted).unwrap();
        std::thread::sleep(TICKS);
        set.step(&f.provider, Point::Committed).unwrap();
        set.step(&f.provider, Point::Postcommitted).unwrap();
    });

    let from = Point::Postcommitted;
    set.go_on(&f.provider, from, Point::Created).unwrap();
    f.await_event(|event| event.id == SET_CAPTURED);
    set.delete(&f.provider).unwrap();
    f.end();
}

/// T-109, COM-8, LOG-6: the same with an array that stops answering. The commit ends in its time, and its event waits for the thaw.
#[test]
fn t109_failed_commit_of_that_volume_writes_its_event_after_the_thaw() {
    let f = Fixture::start();
    let mut set = f.set();
    set.drive(&f.provider, Point::Prepared).unwrap();

    let code = f.frozen(|| {
        set.step(&f.provider, Point::Precommitted).unwrap();
        f.signal_array(Signal::STOP);
        let committed = set.step(&f.provider, Point::Committed);
        f.signal_array(Signal::CONT);
        committed.map_or_else(|error| error.code, |()| Hresult::S_OK)
    });

    assert_eq!(code, Hresult::VSS_E_PROVIDER_VETO);
    f.await_event(|event| event.is_error && event.text.contains("CommitSnapshots"));
    let _ = f.provider.abort_snapshots(set.id);
    let mut next = f.set();
    next.drive(&f.provider, Point::Created).unwrap();
    next.delete(&f.provider).unwrap();
    f.end();
}
