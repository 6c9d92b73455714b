// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C and SIGTERM as a flag that every wait of the rig looks at, so that children and mounts are always ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a wait sleeps between two looks at something that gives no event (a child's exit, a mount).
const LOOK_EVERY: Duration = Duration::from_millis(5);

const SIGNALS: &[i32] = &[
    signal_hook::consts::SIGINT,
    signal_hook::consts::SIGTERM,
    #[cfg(unix)]
    signal_hook::consts::SIGHUP,
];

/// The flag; clones share it.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The person at the keyboard, or the system, wants the program to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Interrupt {
    /// A flag that SIGINT, SIGTERM and, where there is one, SIGHUP set from now on, for the whole process.
    pub fn on_signals() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for &signal in SIGNALS {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Whether a signal came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `Err` once a signal came.
    pub fn check(&self) -> Result<(), Interrupted> {
        match self.is_set() {
            true => Err(Interrupted),
            false => Ok(()),
        }
    }

    /// Looks again and again until `ready` says yes (`Ok(true)`) or `limit` is over (`Ok(false)`).
    pub fn wait_until(
        &self,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<bool, Interrupted> {
        let start = Instant::now();
        loop {
            self.check()?;
            if ready() {
                return Ok(true);
            }
            if start.elapsed() >= limit {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
