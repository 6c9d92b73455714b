// SPDX-License-Identifier: MIT OR Apache-2.0
//! The threads that execute commands: block devices are synchronous, connections must not wait for them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Pool {
    state: Mutex<State>,
    work: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    /// A worker was woken and has not come yet.
    waking: bool,
    stopping: bool,
}

impl Pool {
    pub(crate) fn start(workers: usize) -> io::Result<Arc<Self>> {
        let pool = Arc::new(Self {
            state: Mutex::default(),
            work: Condvar::new(),
            threads: Mutex::default(),
        });
        for number in 0..workers {
            let worker = Arc::clone(&pool);
            let spawned = std::thread::Builder::new()
                .name(format!("scsi-{number}"))
                .spawn(move || worker.run());
            match spawned {
                Ok(thread) => pool.threads.lock().expect(UNPOISONED).push(thread),
                Err(error) => {
                    pool.stop();
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// Queues a job. Jobs start in their order. Once the pool is being stopped a job is dropped: one that a fence lets
    /// go after the target's end must give its permit back, or no capture of that LUN would ever come to rest again.
    pub(crate) fn submit(&self, job: Job) {
        let mut state = self.lock();
        if state.stopping {
            drop(state);
            return drop(job);
        }
        state.jobs.push_back(job);
        // A busy worker looks into the queue before it sleeps: waking is for idle ones, and one at a time. That one
        // wakes the next if it finds more than it can take.
        let wake = state.idle > 0 && !state.waking;
        state.waking |= wake;
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                let wake = !state.jobs.is_empty() && state.idle > 0 && !state.waking;
                state.waking |= wake;
                drop(state);
                if wake {
                    self.work.notify_one();
                }
                job();
                state = self.lock();
            } else if state.stopping {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).expect(UNPOISONED);
                state.idle -= 1;
                state.waking = false;
            }
        }
    }

    /// Carries out what is queued and ends the threads.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.work.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().expect(UNPOISONED));
        for thread in threads {
            // The pool's last owner may be one of its own workers; nobody can wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

const UNPOISONED: &str = "no job runs under the pool's locks";

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn stop_runs_what_is_queued_first() {
        let pool = Pool::start(3).unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let ran = Arc::clone(&ran);
            pool.submit(Box::new(move || {
                ran.fetch_add(1, Ordering::Relaxed);
            }));
        }
        pool.stop();
        assert_eq!(ran.load(Ordering::Relaxed), 1000);
    }

    #[test]
    fn submit_after_stop_drops_the_job() {
        let pool = Pool::start(1).unwrap();
        pool.stop();
        let held = Arc::new(());
        let in_job = Arc::clone(&held);
        pool.submit(Box::new(move || drop(in_job)));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
