// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::interrupt::Interrupt;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the tidying up after a signal may take before a [`Tether`] pulls.
const TIDY_LIMIT: Duration = Duration::from_secs(30);
/// How long a tethered child may live at all: the demo takes less than two minutes.
const TETHERED_LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Service;
    use std::process::Command;

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
}
