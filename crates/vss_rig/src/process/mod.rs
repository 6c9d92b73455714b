// SPDX-License-Identifier: MIT OR Apache-2.0
//! Children of the rig: each is ended by its process id, and none outlives its owner unless released.

#[cfg(target_os = "linux")]
mod tether;
#[cfg(target_os = "linux")]
mod tools;

#[cfg(target_os = "linux")]
pub(crate) use tether::{Tether, has_ended};
#[cfg(target_os = "linux")]
pub(crate) use tools::{find_tool, run};

use crate::interrupt::Interrupt;
use anyhow::{Context as _, bail, ensure};
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a child may take to end after SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// Of CreateProcess.
#[cfg(windows)]
const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;

/// What a Windows program left.
#[derive(Clone, Debug)]
pub struct CommandOutput {
    /// Exit code.
    pub code: i32,
    /// Standard output and standard error, with line ends of Linux.
    pub text: String,
}

impl CommandOutput {
    /// `Err` with what `program` printed when it did not end with 0.
    pub(crate) fn expect_success(&self, program: &str) -> anyhow::Result<()> {
        let (code, text) = (self.code, self.text.trim());
        ensure!(code == 0, "{program} ended with {code}: {text}");
        Ok(())
    }
}

/// Runs a Windows program to its end, `input` on its standard input. What it prints goes through a file in `folder`: services that it
/// starts would inherit a pipe and keep it open.
pub(crate) fn run_windows_program(
    mut command: Command,
    folder: &Path,
    interrupt: &Interrupt,
    limit: Duration,
    input: Option<&str>,
) -> anyhow::Result<CommandOutput> {
    let output = tempfile::NamedTempFile::new_in(folder)?;
    let file = append(output.path())?;
    command
        .stdin(match input {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(file.try_clone()?)
        .stderr(file);
    let code = wait_for(interrupt, limit, command, input)?;
    let bytes = std::fs::read(output.path())?;
    Ok(CommandOutput {
        code,
        text: String::from_utf8_lossy(&bytes).replace("\r\n", "\n"),
    })
}

/// Waits for the end of what `command` starts, and ends it when `limit` is over or a signal came.
pub(crate) fn wait_for(
    interrupt: &Interrupt,
    limit: Duration,
    mut command: Command,
    input: Option<&str>,
) -> anyhow::Result<i32> {
    let mut child = spawn_apart(&mut command)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A program that reads no input has closed its end; its exit code says more.
        let _ = pipe.write_all(input.as_bytes());
    }
    let ended = interrupt.wait_until(limit, || !matches!(child.try_wait(), Ok(None)));
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait()?;
    if !ended? {
        bail!(
            "a Windows program did not end within {} s: {command:?}",
            limit.as_secs()
        );
    }
    status
        .code()
        .with_context(|| format!("a Windows program ended with {status}"))
}

/// For writing at the end of a file, which is made when there is none.
pub(crate) fn append(file: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .with_context(|| format!("cannot open {}", file.display()))
}

/// Starts a child in a process group of its own, so that a Ctrl-C at the terminal reaches only the rig, which then ends its children
/// in the right order.
pub(crate) fn spawn_apart(command: &mut Command) -> anyhow::Result<Child> {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(command, CREATE_NEW_PROCESS_GROUP);
    let child = command.spawn();
    child.with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// A long-running child.
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
        command.stdin(Stdio::null()).stderr(errors);
        let child = spawn_apart(&mut command)?;
        Ok(Self {
            name: name.to_owned(),
            child: Some(child),
            log: log.to_owned(),
        })
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

    /// Ends the child: SIGTERM (for which Windows has nothing), then SIGKILL after a grace time.
    pub(crate) fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if matches!(child.try_wait(), Ok(None)) {
            // Not reaped yet, so the id still is this child's.
            #[cfg(unix)]
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
}

#[cfg(target_os = "linux")]
impl Service {
    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The standard output, when the command was given a pipe for it and nobody took it yet.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.as_mut()?.stdout.take()
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

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

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
