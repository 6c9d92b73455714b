// SPDX-License-Identifier: MIT OR Apache-2.0
//! When the server may end: one count of everything that keeps it alive, objects and locks alike.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A server that COM started ends after it was unused for so long. VSS loads and unloads often (LOAD-1), and the time also
/// covers a client that has got the class object and has not created its object yet.
pub const IDLE: Duration = Duration::from_secs(30);

/// The count.
#[derive(Default)]
pub struct Lifetime {
    usage: Mutex<Usage>,
    changed: Condvar,
}

#[derive(Default)]
struct Usage {
    /// Objects and locks.
    users: usize,
    /// Since when there are none; `None` before the first wait.
    idle_since: Option<Instant>,
    /// No more objects.
    closed: bool,
}

/// Keeps the server alive while it exists.
pub struct User(Arc<Lifetime>);

impl Lifetime {
    /// Nobody uses the server yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One user more; `None` when the server is about to end.
    pub fn enter(self: &Arc<Self>) -> Option<User> {
        let mut usage = self.usage();
        if usage.closed {
            return None;
        }
        usage.users = usage.users.checked_add(1)?;
        Some(User(Arc::clone(self)))
    }

    /// Waits until nobody has used the server for `idle`, counted from now at the earliest.
    pub fn wait_until_idle(&self, idle: Duration) {
        let mut usage = self.usage();
        usage.idle_since = Some(Instant::now());
        loop {
            let since = usage.idle_since.filter(|_| usage.users == 0);
            let left = since.map(|since| idle.saturating_sub(since.elapsed()));
            if left == Some(Duration::ZERO) {
                return;
            }
            usage = match left {
                Some(left) => {
                    let waited = self.changed.wait_timeout(usage, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(usage);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// Refuses new users from now on, unless there is one: the server ends when the answer is true.
    pub fn close_if_unused(&self) -> bool {
        let mut usage = self.usage();
        usage.closed |= usage.users == 0;
        usage.closed
    }

    /// Refuses new users from now on.
    pub fn close(&self) {
        self.usage().closed = true;
    }

    /// Whether the last user leaves within `limit`.
    pub fn wait_until_unused(&self, limit: Duration) -> bool {
        let usage = self.usage();
        let waited = self
            .changed
            .wait_timeout_while(usage, limit, |usage| usage.users > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.users == 0
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        // Each change under the lock is one assignment.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a server: says so, then stops it, whether or not anybody heard.
///
/// # Errors
/// Why it did not stop in order, else why nobody heard.
pub fn end<E>(
    say: impl FnOnce() -> Result<(), E>,
    stop: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let said = say();
    stop().and(said)
}

impl Clone for User {
    /// Also while the server ends: it waits for this user in any case.
    fn clone(&self) -> Self {
        self.0.usage().users += 1;
        Self(Arc::clone(&self.0))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut usage = self.0.usage();
        usage.users -= 1;
        if usage.users == 0 {
            usage.idle_since = Some(Instant::now());
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    #[test]
    fn wait_until_idle_returns_when_nobody_ever_came() {
        let started = Instant::now();
        Lifetime::new().wait_until_idle(SHORT);
        assert!(started.elapsed() >= SHORT);
    }

    /// LOAD-1: a user who comes within the idle time starts it anew.
    #[test]
    fn wait_until_idle_counts_from_the_last_user() {
        let lifetime = Lifetime::new();
        let user = lifetime.enter().expect("it is open");
        let waiter = std::thread::spawn({
            let lifetime = Arc::clone(&lifetime);
            move || {
                lifetime.wait_until_idle(SHORT);
                Instant::now()
            }
        });
        std::thread::sleep(3 * SHORT);
        let second = lifetime.enter();
        drop(user);
        std::thread::sleep(3 * SHORT);
        assert!(!waiter.is_finished(), "one user is left");
        let left = Instant::now();
        drop(second);
        let ended = waiter.join().expect("it does not panic");
        assert!(ended >= left + SHORT);
    }

    #[test]
    fn close_if_unused_with_a_user_stays_open() {
        let lifetime = Lifetime::new();
        let user = lifetime.enter();
        assert!(!lifetime.close_if_unused());
        assert!(lifetime.enter().is_some());
        drop(user);
        assert!(lifetime.close_if_unused());
        assert!(lifetime.enter().is_none(), "an ending server takes nobody");
    }

    /// ASY-5: what a user makes may outlive it, also when it is made while the server ends.
    #[test]
    fn close_lets_users_bring_others() {
        let lifetime = Lifetime::new();
        let user = lifetime.enter().expect("it is open");
        lifetime.close();
        let other = user.clone();
        drop(user);
        assert!(!lifetime.wait_until_unused(Duration::ZERO));
        drop(other);
        assert!(lifetime.wait_until_unused(Duration::ZERO));
    }

    /// A set in progress is given up by the stop, so nothing may keep it from being called.
    #[test]
    fn end_stops_the_server_when_nobody_hears_of_it() {
        let stopped = std::cell::Cell::new(false);
        let stop = |result| {
            stopped.set(true);
            result
        };

        assert_eq!(end(|| Err("deaf"), || stop(Ok(()))), Err("deaf"));

        assert!(stopped.get());
        assert_eq!(end(|| Err("deaf"), || stop(Err("stuck"))), Err("stuck"));
        assert_eq!(end(|| Ok(()), || stop(Err("stuck"))), Err("stuck"));
    }

    #[test]
    fn close_refuses_new_users_and_waits_bounded_for_the_others() {
        let lifetime = Lifetime::new();
        let user = lifetime.enter();
        lifetime.close();
        assert!(lifetime.enter().is_none());
        assert!(!lifetime.wait_until_unused(SHORT));
        drop(user);
        assert!(lifetime.wait_until_unused(SHORT));
    }
}
