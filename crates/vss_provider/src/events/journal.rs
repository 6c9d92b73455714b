// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{Event, EventKind, EventSink};
use crate::{Hresult, Method, Window};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Most events that wait for the thaw (LOG-6). A set makes a handful; more are counted as lost.
pub const QUEUE_MAX: usize = 256;

/// Hands events to the sink, but not while volumes are frozen. Knows the commit window, whose memory is the [`Window`]'s.
pub struct Journal {
    sink: Arc<dyn EventSink>,
    window: OnceLock<Arc<dyn Window>>,
    queue: Mutex<Queue>,
}

struct Queue {
    frozen_since: Option<Duration>,
    /// [`Window::asked_system`] at the beginning of the freeze.
    asked_before: u64,
    /// Never grows: a freeze needs no memory for it.
    waiting: VecDeque<Event>,
    lost: u64,
}

impl Journal {
    /// A journal that writes at once. The queue's memory is taken now, so that a freeze needs none for it.
    pub fn new(sink: Arc<dyn EventSink>) -> Self {
        Self {
            sink,
            window: OnceLock::new(),
            queue: Mutex::new(Queue {
                frozen_since: None,
                asked_before: 0,
                waiting: VecDeque::with_capacity(QUEUE_MAX),
                lost: 0,
            }),
        }
    }

    /// Opens and closes `window` with each freeze. The first one stays.
    pub fn set_window(&self, window: Arc<dyn Window>) {
        self.window.get_or_init(|| window);
    }

    /// From now on events wait (PreCommitSnapshots' entry).
    pub fn freeze(&self, now: Duration) {
        let mut queue = self.lock();
        if queue.frozen_since.is_none() {
            queue.frozen_since = Some(now);
            if let Some(window) = self.window.get() {
                queue.asked_before = window.asked_system();
                window.open();
            }
        }
    }

    /// Since when events wait; `None` when they do not.
    pub fn frozen_since(&self) -> Option<Duration> {
        self.lock().frozen_since
    }

    /// How many requests for memory went to the system since the freeze began; `None` where nobody counts, or nothing is
    /// frozen.
    pub fn asked_system(&self) -> Option<u64> {
        let queue = self.lock();
        queue.frozen_since?;
        let asked = self.window.get()?.asked_system();
        Some(asked.saturating_sub(queue.asked_before))
    }

    /// Writes flow again. What waited is not written yet: this is PostCommitSnapshots' end, where nothing may take time
    /// (PST-2).
    pub fn end_freeze(&self) {
        let mut queue = self.lock();
        if queue.frozen_since.take().is_some()
            && let Some(window) = self.window.get()
        {
            window.close();
        }
    }

    /// Writes flow again: hands over what waited, in order.
    pub fn thaw(&self) {
        self.end_freeze();
        self.flush();
    }

    /// Hands over what waited, in order, unless volumes are frozen.
    pub fn flush(&self) {
        // Events of other threads may overtake here; their order among one another is kept, and nothing is lost.
        while let Some(event) = self.next_due() {
            self.sink.report(&event);
        }
    }

    fn next_due(&self) -> Option<Event> {
        let mut queue = self.lock();
        if queue.frozen_since.is_some() {
            return None;
        }
        let waiting = queue.waiting.pop_front();
        waiting.or_else(|| match std::mem::take(&mut queue.lost) {
            0 => None,
            lost => Some(events_lost(lost)),
        })
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
        self.flush();
        self.sink.report(&event);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole after every statement above, so a panic elsewhere under the lock left it usable.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn events_lost(lost: u64) -> Event {
    Event {
        kind: EventKind::EventsLost,
        method: Method::PreCommitSnapshots,
        set: None,
        snapshot: None,
        luns: Vec::new(),
        cause: format!("{lost} events came beyond the {QUEUE_MAX} that can wait"),
        advice: None,
        code: Hresult::S_OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

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

    #[derive(Default)]
    struct Count {
        open: AtomicI32,
        asked: AtomicU64,
    }

    impl Window for Count {
        fn open(&self) {
            self.open.fetch_add(1, Ordering::Relaxed);
        }

        fn close(&self) {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }

        fn asked_system(&self) -> u64 {
            self.asked.load(Ordering::Relaxed)
        }
    }

    /// COM-8: whoever begins or ends a freeze twice, the window is open exactly as long as it lasts.
    #[test]
    fn window_is_open_while_frozen_and_tells_what_the_system_was_asked_since() {
        let window = Arc::new(Count::default());
        let journal = Journal::new(Arc::<List>::default());
        journal.set_window(Arc::clone(&window) as Arc<dyn Window>);
        window.asked.store(7, Ordering::Relaxed);
        assert_eq!(journal.asked_system(), None);
        journal.freeze(Duration::ZERO);
        journal.freeze(Duration::from_secs(1));
        window.asked.store(9, Ordering::Relaxed);
        assert_eq!(window.open.load(Ordering::Relaxed), 1);
        assert_eq!(journal.asked_system(), Some(2));
        journal.end_freeze();
        journal.thaw();
        assert_eq!(window.open.load(Ordering::Relaxed), 0);
    }

    /// T-099, PST-2, ERR-6: PostCommitSnapshots' end writes nothing itself.
    #[test]
    fn t099_end_of_a_freeze_writes_nothing_before_the_flush() {
        let list = Arc::new(List::default());
        let journal = Journal::new(Arc::clone(&list) as Arc<dyn EventSink>);
        journal.freeze(Duration::ZERO);
        journal.flush();
        journal.post(event(1));
        journal.end_freeze();
        assert!(list.0.lock().expect("not poisoned").is_empty());
        journal.post(event(2));
        let causes: Vec<_> = list.0.lock().expect("not poisoned").drain(..).collect();
        assert_eq!(causes, [event(1), event(2)]);
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
