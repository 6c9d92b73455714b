// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads for the calls between PreCommit and thaw: made before, so that none is made while writes are held.

use super::broke;
use crate::{Armed, Array, ArrayError, CommitReport, SetId};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One thread for each member beyond the first, which the caller's own thread serves. They end with it.
pub(super) struct Workers {
    /// Held over a call: its answers belong to it.
    lanes: Mutex<Vec<Lane>>,
}

/// One order at a time, and its answer: neither channel needs memory after it was made.
struct Lane {
    orders: SyncSender<Order>,
    answers: Receiver<Answer>,
}

enum Order {
    Arm(Duration, SetId),
    Commit(Duration, SetId),
}

enum Answer {
    Armed(Result<Armed, ArrayError>),
    Committed(Result<CommitReport, ArrayError>),
}

impl Workers {
    pub(super) fn start(arrays: impl Iterator<Item = Arc<dyn Array>>) -> std::io::Result<Self> {
        let lanes = arrays.map(Lane::start).collect::<Result<_, _>>()?;
        Ok(Self {
            lanes: Mutex::new(lanes),
        })
    }

    /// Arms the first member and every other; all their answers, or the first error.
    pub(super) fn arm(
        &self,
        first: &dyn Array,
        within: Duration,
        set: SetId,
    ) -> Result<Vec<Armed>, ArrayError> {
        self.call(
            || Order::Arm(within, set),
            || first.arm(within, set),
            |answer| match answer {
                Answer::Armed(armed) => armed,
                Answer::Committed(_) => Err(broke()),
            },
        )
    }

    /// As [`Self::arm`].
    pub(super) fn commit(
        &self,
        first: &dyn Array,
        within: Duration,
        set: SetId,
    ) -> Result<Vec<CommitReport>, ArrayError> {
        self.call(
            || Order::Commit(within, set),
            || first.commit(within, set),
            |answer| match answer {
                Answer::Committed(report) => report,
                Answer::Armed(_) => Err(broke()),
            },
        )
    }

    fn call<T>(
        &self,
        order: impl Fn() -> Order,
        own: impl FnOnce() -> Result<T, ArrayError>,
        read: impl Fn(Answer) -> Result<T, ArrayError>,
    ) -> Result<Vec<T>, ArrayError> {
        let lanes = self.lanes();
        // A worker that is gone has panicked; its missing answer says so.
        for lane in &*lanes {
            let _ = lane.orders.send(order());
        }
        let mut answers = Vec::with_capacity(lanes.len() + 1);
        answers.push(own());
        // Every answer is taken, also after an error: a lane is empty for the next order.
        for lane in &*lanes {
            answers.push(lane.answers.recv().map_err(|_| broke()).and_then(&read));
        }
        answers.into_iter().collect()
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn start(array: Arc<dyn Array>) -> std::io::Result<Self> {
        let (orders, ordered) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let thread = std::thread::Builder::new().name("array".to_owned());
        thread.spawn(move || {
            while let Ok(order) = ordered.recv() {
                let done = match order {
                    Order::Arm(within, set) => Answer::Armed(array.arm(within, set)),
                    Order::Commit(within, set) => Answer::Committed(array.commit(within, set)),
                };
                if answer.send(done).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, answers })
    }
}
