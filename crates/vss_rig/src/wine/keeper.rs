// SPDX-License-Identifier: MIT OR Apache-2.0
use super::programs::{WinePrograms, environment};
use crate::interrupt::Interrupt;
use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Reads until the rig closes its end of the pipe or is dead, then ends what runs in the prefix and removes the folder.
/// `$1` wineserver, `$2` folder, `$3` prefix.
const SCRIPT: &str = r#"
read -r _
"$1" -k
for file in $(grep -lzxF "WINEPREFIX=$3" /proc/[0-9]*/environ); do
    pid=${file#/proc/}
    pid=${pid%/environ}
    [ "$pid" = $$ ] || kill -9 "$pid"
done
rm -rf -- "$2"
"#;

/// How long ending a prefix may take: wineserver gives its programs some seconds.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Ends a prefix when the rig is done with it, and also when the rig is killed: a shell that waits for the end of a pipe
/// which only the rig holds. There is no other way in which a prefix ends, so the one for bad days is used each day.
pub(super) struct Keeper {
    child: Option<Child>,
    folder: PathBuf,
    prefix: PathBuf,
}

impl Keeper {
    /// Keeps `prefix`, which lies in `folder`. `lock` stays locked until the keeper is done, also when the rig is killed, so that no
    /// other rig comes in between.
    pub(super) fn start(
        programs: &WinePrograms,
        folder: &Path,
        prefix: &Path,
        lock: &File,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new("/bin/sh");
        environment(&mut command, programs, folder, prefix);
        let child = command
            .args(["-c", SCRIPT, "shadowlun-wine-keeper"])
            .args([&programs.server, folder, prefix])
            .stdin(Stdio::piped())
            // Inherits the lock; it prints nothing.
            .stdout(lock.try_clone()?)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh")?;
        Ok(Self {
            child: Some(child),
            folder: folder.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// Ends everything in the prefix, removes the folder, and looks.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        drop(child.stdin.take());
        // A second Ctrl-C does not cut the tidying up short.
        let patient = Interrupt::default();
        let ended = patient.wait_until(END_LIMIT, || !matches!(child.try_wait(), Ok(None)))?;
        if !ended {
            let _ = child.kill();
        }
        let _ = child.wait();
        ensure!(ended, "ending Wine took over {} s", END_LIMIT.as_secs());
        let left = || pids_of(&self.prefix);
        let gone = patient.wait_until(END_LIMIT, || left().is_ok_and(|pids| pids.is_empty()))?;
        ensure!(gone, "of Wine still running: process {:?}", left()?);
        ensure!(
            !self.folder.exists(),
            "{} could not be removed",
            self.folder.display()
        );
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// All processes of a prefix, by the environment that they were started with; zombies have none.
pub(super) fn pids_of(prefix: &Path) -> anyhow::Result<Vec<u32>> {
    let wanted = format!("WINEPREFIX={}", prefix.display());
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Others' processes and those that just ended cannot be read.
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
        {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// SIGKILL, and waits until the process is gone.
pub(super) fn kill(pid: u32, interrupt: &Interrupt) -> anyhow::Result<()> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = kill_process(id.context("no process id")?, Signal::KILL);
    let gone = interrupt.wait_until(END_LIMIT, || crate::process::has_ended(pid))?;
    ensure!(gone, "process {pid} does not die");
    Ok(())
}
