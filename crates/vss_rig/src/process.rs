// SPDX-License-Identifier: MIT OR Apache-2.0
//! Children of the rig: each is ended by its process id, and none outlives its owner unless released.

use crate::interrupt::Interrupt;
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a child may take to end after SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// How long the tidying up after a signal may take before a [`Tether`] pulls.
const TIDY_LIMIT: Duration = Duration::from_secs(30);
/// How long a tethered child may live at all: the demo takes less than two minutes.
const TETHERED_LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A long-running child. It leads a process group of its own, so that a Ctrl-C at the terminal reaches only the rig,
/// which then ends its children in the right order.
pub(crate) struct Service {
    name: String,
    child: Option<Child>,
    log: PathBuf,
}

impl Service {
    /// Starts `command`; standard error goes to the file `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let errors =
            File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child: Some(child),
            log: log.to_owned(),
        })
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The standard output, when the command was given a pipe for it and nobody took it yet.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.as_mut()?.stdout.take()
    }

    /// `Err` with the end of its log when the child has ended by itself.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else {
            bail!("{} was stopped", self.name);
        };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let words = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{} ended with {status}: {}", self.name, last_lines(&words));
            }
        }
    }

    /// Waits for the child to end by itself; `false` when `limit` is over first.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let Some(child) = &mut self.child else {
            return true;
        };
        // A second Ctrl-C does not cut the tidying up short: each wait of it has a limit.
        let done = Interrupt::default().wait_until(limit, || !matches!(child.try_wait(), Ok(None)));
        if matches!(done, Ok(true)) {
            self.child = None;
            return true;
        }
        false
    }

    /// Ends the child: SIGTERM, then SIGKILL after a grace time.
    pub(crate) fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if matches!(child.try_wait(), Ok(None)) {
            // Not reaped yet, so the id still is this child's.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
        }
        if !self.wait(GRACE)
            && let Some(child) = &mut self.child
        {
            let _ = child.kill();
            let _ = child.wait();
            self.child = None;
        }
    }

    /// Lets the child live on after the rig.
    pub(crate) fn release(&mut self) {
        self.child = None;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends a child with SIGKILL as soon as the program that it depends on has ended (or a signal came long ago, or it is
/// too old), from a thread of its own. An export whose array is gone would hold everybody who uses its file for ever,
/// the rig's own threads included, and no signal reaches a thread that waits for a file system.
pub(crate) struct Tether {
    untied: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tether {
    /// Ties `child` to `master`, both by process id. Untie it (drop it) before `child` is reaped.
    pub(crate) fn tie(child: u32, master: u32, interrupt: &Interrupt) -> Self {
        let untied = Arc::<AtomicBool>::default();
        let thread = std::thread::spawn({
            let (untied, interrupt) = (Arc::clone(&untied), interrupt.clone());
            move || {
                let start = Instant::now();
                let mut signal_at = None;
                while !untied.load(Ordering::SeqCst) {
                    if interrupt.is_set() {
                        signal_at.get_or_insert_with(Instant::now);
                    }
                    if has_ended(master)
                        || signal_at.is_some_and(|at| at.elapsed() > TIDY_LIMIT)
                        || start.elapsed() > TETHERED_LIMIT
                    {
                        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
                        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
                        return;
                    }
                    std::thread::park_timeout(LOOK_EVERY);
                }
            }
        });
        Self {
            untied,
            thread: Some(thread),
        }
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        self.untied.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Whether a process is gone, or dead and not reaped yet.
pub(crate) fn has_ended(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // The state follows the name, which is in parentheses and may hold any character.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    matches!(state, Some(Some('Z' | 'X')))
}

/// Runs `program` to its end and gives its standard output. The child is ended when `limit` is over or a signal came.
pub(crate) fn run<I, S>(
    interrupt: &Interrupt,
    limit: Duration,
    program: &Path,
    arguments: I,
) -> anyhow::Result<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let output = reader(child.stdout.take());
    let errors = reader(child.stderr.take());
    let ended = interrupt.wait_until(limit, || !matches!(child.try_wait(), Ok(None)));
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait()?;
    let (output, errors) = (join(output), join(errors));
    if !ended? {
        bail!("{command:?} did not end within {} s", limit.as_secs());
    }
    if !status.success() {
        bail!(
            "{command:?} ended with {status}: {}",
            last_lines(&format!("{output}{errors}"))
        );
    }
    Ok(output)
}

type Reader = Option<std::thread::JoinHandle<String>>;

fn reader(pipe: Option<impl std::io::Read + Send + 'static>) -> Reader {
    pipe.map(|mut pipe| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.by_ref().read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    })
}

fn join(reader: Reader) -> String {
    reader
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}

/// Finds `name` in the folders of PATH and the two where Debian keeps system tools, which a user's PATH leaves out.
pub(crate) fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_failing_command_reports_its_words() {
        let error = run(
            &Interrupt::default(),
            Duration::from_secs(10),
            Path::new("/bin/sh"),
            ["-c", "echo broken valve >&2; exit 3"],
        )
        .unwrap_err();

        assert!(error.to_string().contains("broken valve"), "{error}");
    }

    #[test]
    fn run_command_over_its_limit_is_ended() {
        let error = run(
            &Interrupt::default(),
            Duration::from_millis(20),
            Path::new("/bin/sleep"),
            ["100"],
        )
        .unwrap_err();

        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn service_dropped_ends_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sleep");
        command.arg("1000");
        let service = Service::start("sleep", command, &folder.path().join("log")).unwrap();
        let pid = service.pid();

        drop(service);

        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn tether_master_killed_ends_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let sleeper = |name: &str| {
            let mut command = Command::new("/bin/sleep");
            command.arg("1000");
            Service::start(name, command, &folder.path().join(name)).unwrap()
        };
        let (mut child, mut master) = (sleeper("child"), sleeper("master"));
        let tether = Tether::tie(child.pid(), master.pid(), &Interrupt::default());
        assert!(child.check_alive().is_ok());

        let id = master.child.as_ref().map(Pid::from_child).unwrap();
        kill_process(id, Signal::KILL).unwrap();

        assert!(child.wait(Duration::from_secs(30)));
        assert!(master.wait(Duration::from_secs(30)));
        drop(tether);
    }

    #[test]
    fn tether_dropped_leaves_the_child_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sleep");
        command.arg("1000");
        let mut child = Service::start("child", command, &folder.path().join("log")).unwrap();
        let tether = Tether::tie(child.pid(), std::process::id(), &Interrupt::default());

        drop(tether);

        assert!(child.check_alive().is_ok());
    }

    #[test]
    fn service_that_ended_by_itself_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no such store >&2; exit 2"]);
        let mut service = Service::start("array", command, &folder.path().join("log")).unwrap();

        let ended = Interrupt::default()
            .wait_until(Duration::from_secs(10), || service.check_alive().is_err())
            .unwrap();

        assert!(ended);
        let words = service.check_alive().unwrap_err().to_string();
        assert!(words.contains("no such store"), "{words}");
    }
}
