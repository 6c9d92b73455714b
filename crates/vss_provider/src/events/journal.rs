// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{Event, EventKind, EventSink};
use crate::{Hresult, Method};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most events that wait for the thaw (LOG-6). A set makes a handful; more are counted as lost.
pub const QUEUE_MAX: usize = 256;

/// Hands events to the sink, but not while volumes are frozen.
pub struct Journal {
    sink: Arc<dyn EventSink>,
    queue: Mutex<Queue>,
}

struct Queue {
    frozen_since: Option<Duration>,
    waiting: VecDeque<Event>,
    lost: u64,
}

impl Journal {
    /// A journal that writes at once. The queue's memory is taken now, so that a freeze needs none for it.
    pub fn new(sink: Arc<dyn EventSink>) -> Self {
        Self {
            sink,
            queue: Mutex::new(Queue {
                frozen_since: None,
                waiting: VecDeque::with_capacity(QUEUE_MAX),
                lost: 0,
            }),
        }
    }

    /// From now on events wait (PreCommitSnapshots' entry).
    pub fn freeze(&self, now: Duration) {
        self.lock().frozen_since.get_or_insert(now);
    }

    /// Since when events wait; `None` when they do not.
    pub fn frozen_since(&self) -> Option<Duration> {
        self.lock().frozen_since
    }

    /// Writes flow again: hands over what waited, in order.
    pub fn thaw(&self) {
        // Events of other threads may overtake here; their order among one another is kept, and nothing is lost.
        let (waiting, lost) = {
            let mut queue = self.lock();
            if queue.frozen_since.take().is_none() {
                return;
            }
            let fresh = VecDeque::with_capacity(QUEUE_MAX);
            let waiting = std::mem::replace(&mut queue.waiting, fresh);
            (waiting, std::mem::take(&mut queue.lost))
        };
        for event in &waiting {
            self.sink.report(event);
        }
        if lost > 0 {
            self.sink.report(&Event {
                kind: EventKind::EventsLost,
                method: Method::PreCommitSnapshots,
                set: None,
                snapshot: None,
                luns: Vec::new(),
                cause: format!("{lost} events came beyond the {QUEUE_MAX} that can wait"),
                advice: None,
                code: Hresult::S_OK,
            });
        }
    }

    /// Writes an event now, or after the thaw.
    pub fn post(&self, event: Event) {
        {
            let mut queue = self.lock();
            if queue.frozen_since.is_some() {
                if queue.waiting.len() < QUEUE_MAX {
                    queue.waiting.push_back(event);
                } else {
                    queue.lost += 1;
                }
                return;
            }
        }
        self.sink.report(&event);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole after every statement above, so a panic elsewhere under the lock left it usable.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct List(Mutex<Vec<Event>>);

    impl EventSink for List {
        fn report(&self, event: &Event) {
            self.0
                .lock()
                .expect("no test panics here")
                .push(event.clone());
        }
    }

    fn event(number: usize) -> Event {
        Event {
            kind: EventKind::ArrayFailed,
            method: Method::CommitSnapshots,
            set: None,
            snapshot: None,
            luns: Vec::new(),
            cause: number.to_string(),
            advice: None,
            code: Hresult::VSS_E_PROVIDER_VETO,
        }
    }

    /// ERR-6, TIME-20.
    #[test]
    fn post_while_frozen_waits_for_the_thaw_and_keeps_order() {
        let list = Arc::new(List::default());
        let journal = Journal::new(Arc::clone(&list) as Arc<dyn EventSink>);
        journal.freeze(Duration::ZERO);
        journal.post(event(1));
        journal.post(event(2));
        assert!(list.0.lock().expect("not poisoned").is_empty());
        journal.thaw();
        journal.post(event(3));
        let causes: Vec<_> = list.0.lock().expect("not poisoned").drain(..).collect();
        assert_eq!(causes, [event(1), event(2), event(3)]);
    }

    /// T-302, LOG-6.
    #[test]
    fn t302_ten_thousand_events_while_frozen_are_bounded_and_counted() {
        let list = Arc::new(List::default());
        let journal = Journal::new(Arc::clone(&list) as Arc<dyn EventSink>);
        journal.freeze(Duration::ZERO);
        for number in 0..10_000 {
            journal.post(event(number));
        }
        journal.thaw();
        let events = list.0.lock().expect("not poisoned");
        assert_eq!(events.len(), QUEUE_MAX + 1);
        let last = events.last().expect("it has 257 elements");
        assert_eq!(last.kind, EventKind::EventsLost);
        assert!(last.cause.starts_with("9744 events"));
    }
}
