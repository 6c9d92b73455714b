// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one thread that writes metadata, and its queue.
//!
//! Order of work: changes of versions and of the catalogue first (a capture holds up a whole set of LUNs on a frozen
//! Windows), then flushes in transactions of at most 64 rows and, in turns with them, reclaiming. A capture thus waits
//! for one small transaction at most, however much there is to flush or to reclaim.
use crate::StoreError;
use crate::fold::LEAVES_PER_FOLD_MAX;
use crate::inner::Inner;
use crate::lun::{FlushGoal, LunState};
use crate::meta::Batch;
use crate::sync::MutexExt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Most leaf rows in one transaction: 50 rows were measured to keep a capture beside them at 12 ms, large batches at
/// 0.4 s (design, "The store").
pub(crate) const ROWS_PER_COMMIT_MAX: usize = 64;

type Job = Box<dyn FnOnce(&Arc<Inner>) + Send>;

struct FlushRequest {
    luns: Vec<Arc<LunState>>,
    reply: Option<Sender<Result<(), StoreError>>>,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    flushes: Vec<FlushRequest>,
    /// Lineages that may have rows which nobody can see, and where to go on looking.
    reclaim: BTreeMap<u64, (u32, u64)>,
    /// Leaves that may hold chunks in two halves without need, as (LUN, leaf).
    folds: BTreeSet<(u128, u32)>,
    reclaiming: bool,
    /// The last thing handed out, apart from jobs, was a flush: reclaiming is next.
    flushed_last: bool,
    stop: bool,
    stopped: bool,
}

/// What the committer has to do.
#[derive(Default)]
pub(crate) struct Queue {
    work: Mutex<Work>,
    changed: Condvar,
    idle: Condvar,
}

enum Next {
    Job(Job),
    Flush(Vec<FlushRequest>),
    GoOn,
    Reclaim(u64, (u32, u64)),
    Fold(Vec<(u128, u32)>),
    Stop,
}

fn receive<T>(reply: &Receiver<T>) -> Result<T, StoreError> {
    // The sender is gone without an answer when the committer stopped, or panicked and poisoned the store.
    reply.recv().map_err(|_| StoreError::Closed)
}

impl Queue {
    /// Runs `job` on the committer thread, before everything else, and waits for what it returns.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Arc<Inner>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, reply) = channel();
        {
            let mut work = self.work.locked();
            if work.stop {
                return Err(StoreError::Closed);
            }
            work.jobs.push_back(Box::new(move |inner| {
                let result = inner.check_writable().and_then(|()| job(inner));
                // Nobody waits any more: then nobody wants to know.
                let _ = sender.send(result);
            }));
        }
        self.changed.notify_one();
        receive(&reply)?
    }

    /// Flushes LUNs and waits for it. Flushes that are asked for at the same time share transactions.
    pub(crate) fn flush(&self, luns: Vec<Arc<LunState>>) -> Result<(), StoreError> {
        let (sender, reply) = channel();
        self.push_flush(luns, Some(sender))?;
        receive(&reply)?
    }

    /// As [`Queue::flush`], but waits no longer than `within`; whether that was enough. The flush goes on all the same.
    pub(crate) fn flush_within(
        &self,
        luns: Vec<Arc<LunState>>,
        within: Duration,
    ) -> Result<bool, StoreError> {
        let (sender, reply) = channel();
        self.push_flush(luns, Some(sender))?;
        match reply.recv_timeout(within) {
            Ok(result) => result.map(|()| true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(StoreError::Closed),
        }
    }

    /// Flushes a LUN in the background.
    pub(crate) fn ask_flush(&self, lun: &Arc<LunState>) {
        // A closed store has flushed; nothing is lost.
        let _ = self.push_flush(vec![Arc::clone(lun)], None);
    }

    fn push_flush(
        &self,
        luns: Vec<Arc<LunState>>,
        reply: Option<Sender<Result<(), StoreError>>>,
    ) -> Result<(), StoreError> {
        let mut work = self.work.locked();
        if work.stop {
            return Err(StoreError::Closed);
        }
        work.flushes.push(FlushRequest { luns, reply });
        drop(work);
        self.changed.notify_one();
        Ok(())
    }

    /// Looks through a lineage for rows that nobody can see any more, from the start.
    pub(crate) fn reclaim(&self, lineage: u64) {
        self.work.locked().reclaim.insert(lineage, (0, 0));
        self.changed.notify_one();
    }

    /// Looks whether chunks of these leaves can be put together.
    pub(crate) fn fold(&self, leaves: Vec<(u128, u32)>) {
        self.work.locked().folds.extend(leaves);
        self.changed.notify_one();
    }

    /// Waits until nothing is left to reclaim.
    pub(crate) fn wait_reclaimed(&self) -> Result<(), StoreError> {
        let mut work = self.work.locked();
        while work.reclaiming || !work.reclaim.is_empty() || !work.folds.is_empty() {
            if work.stopped {
                return Err(StoreError::Closed);
            }
            work = self.idle.wait(work).expect("see sync");
        }
        Ok(())
    }

    /// Lets the thread end once jobs and flushes are done.
    pub(crate) fn stop(&self) {
        self.work.locked().stop = true;
        self.changed.notify_one();
    }

    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    fn next(&self, flushing: bool, poisoned: impl Fn() -> bool) -> Next {
        let mut work = self.work.locked();
        loop {
            if poisoned() {
                // Reclaiming writes; what it did not get to is found again at the next open.
                work.reclaim.clear();
                work.folds.clear();
            }
            work.reclaiming = false;
            if let Some(job) = work.jobs.pop_front() {
                return Next::Job(job);
            }
            if flushing {
                return Next::GoOn;
            }
            // In turns: beside hosts that flush without a pause, the space of what was deleted would never come back.
            let reclaim_due =
                work.flushed_last && !(work.reclaim.is_empty() && work.folds.is_empty());
            if !work.flushes.is_empty() && (work.stop || !reclaim_due) {
                work.flushed_last = true;
                return Next::Flush(std::mem::take(&mut work.flushes));
            }
            work.flushed_last = false;
            if work.stop {
                work.stopped = true;
                self.idle.notify_all();
                return Next::Stop;
            }
            if let Some((lineage, from)) = work.reclaim.pop_first() {
                work.reclaiming = true;
                return Next::Reclaim(lineage, from);
            }
            if !work.folds.is_empty() {
                work.reclaiming = true;
                let some = (0..LEAVES_PER_FOLD_MAX).map_while(|_| work.folds.pop_first());
                return Next::Fold(some.collect());
            }
            self.idle.notify_all();
            work = self.changed.wait(work).expect("see sync");
        }
    }

    fn go_on_reclaiming(&self, lineage: u64, from: (u32, u64)) {
        // Unless somebody asked for it anew meanwhile: then it starts over.
        self.work.locked().reclaim.entry(lineage).or_insert(from);
    }
}

/// A group of flushes under way.
struct FlushGroup {
    targets: Vec<(Arc<LunState>, FlushGoal)>,
    replies: Vec<Sender<Result<(), StoreError>>>,
    synced: bool,
}

impl FlushGroup {
    fn new(requests: Vec<FlushRequest>) -> Self {
        let mut luns: BTreeMap<u128, Arc<LunState>> = BTreeMap::new();
        let mut replies = Vec::new();
        for request in requests {
            luns.extend(request.luns.into_iter().map(|lun| (lun.id, lun)));
            replies.extend(request.reply);
        }
        let targets = luns.into_values().map(|lun| {
            let goal = lun.flush_goal();
            (lun, goal)
        });
        Self {
            targets: targets.collect(),
            replies,
            synced: false,
        }
    }

    /// One transaction's worth; true when the group is done.
    fn step(&mut self, inner: &Inner) -> Result<bool, StoreError> {
        inner.check_writable()?;
        let mut taken = Vec::new();
        for (lun, goal) in &self.targets {
            while taken.len() < ROWS_PER_COMMIT_MAX
                && let Some(dirty) = lun.pop_dirty(Some(*goal))
            {
                taken.push(inner.take(lun, dirty));
            }
        }
        if !self.synced || !taken.is_empty() {
            // After taking, before the transaction: no row may become durable before the data that it names.
            if let Err(error) = inner.sync_data() {
                inner.restore(taken);
                return Err(error);
            }
            self.synced = true;
        }
        if !taken.is_empty() {
            inner.commit(taken, Batch::default())?;
        }
        Ok(!self.targets.iter().any(|(lun, goal)| lun.has_dirty(*goal)))
    }

    fn finish(self, inner: &Inner, result: Result<(), StoreError>) {
        if result.is_ok() {
            for (lun, goal) in &self.targets {
                lun.reached(*goal);
            }
        }
        for reply in self.replies {
            // Whoever stopped waiting does not mind.
            let _ = reply.send(match result {
                Ok(()) => Ok(()),
                Err(_) => inner.check_writable(),
            });
        }
    }
}

/// The committer thread. A panic in it poisons the store instead of leaving callers waiting for ever.
pub(crate) fn run(inner: &Arc<Inner>) {
    let mut group: Option<FlushGroup> = None;
    loop {
        let next = inner
            .queue
            .next(group.is_some(), || inner.check_writable().is_err());
        if matches!(next, Next::Stop) {
            return;
        }
        let work = AssertUnwindSafe(|| step(inner, next, &mut group));
        if catch_unwind(work).is_err() {
            group = None;
            inner.poison("the committer met a broken invariant of the store");
        }
    }
}

fn step(inner: &Arc<Inner>, next: Next, group: &mut Option<FlushGroup>) {
    match next {
        Next::Job(job) => job(inner),
        Next::Flush(requests) => *group = Some(FlushGroup::new(requests)),
        Next::GoOn => {
            let Some(mut current) = group.take() else {
                return;
            };
            match current.step(inner) {
                Ok(false) => *group = Some(current),
                Ok(true) => current.finish(inner, Ok(())),
                Err(error) => current.finish(inner, Err(error)),
            }
        }
        Next::Reclaim(lineage, from) => {
            if let Some(from) = inner.reclaim_slice(lineage, from) {
                inner.queue.go_on_reclaiming(lineage, from);
            }
        }
        Next::Fold(leaves) => inner.fold_slice(leaves),
        Next::Stop => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(queue: &Queue) -> &'static str {
        match queue.next(false, || false) {
            Next::Job(_) => "job",
            Next::Flush(_) => "flush",
            Next::GoOn => "go on",
            Next::Reclaim(..) => "reclaim",
            Next::Fold(_) => "fold",
            Next::Stop => "stop",
        }
    }

    #[test]
    fn next_with_flushes_always_waiting_reclaims_in_turns() {
        let queue = Queue::default();
        queue.reclaim(1);
        queue.fold(vec![(7, 0)]);
        let order = [(); 5].map(|()| {
            // A host asks again before the committer is through with the last one.
            queue.push_flush(Vec::new(), None).unwrap();
            next(&queue)
        });
        assert_eq!(order, ["flush", "reclaim", "flush", "fold", "flush"]);
    }

    #[test]
    fn next_when_stopping_flushes_and_leaves_reclaiming_to_the_next_open() {
        let queue = Queue::default();
        queue.reclaim(1);
        queue.push_flush(Vec::new(), None).unwrap();
        assert_eq!(next(&queue), "flush");
        queue.push_flush(Vec::new(), None).unwrap();
        queue.stop();
        assert_eq!([next(&queue), next(&queue)], ["flush", "stop"]);
    }
}
