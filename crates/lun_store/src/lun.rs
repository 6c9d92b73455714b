// SPDX-License-Identifier: MIT OR Apache-2.0
//! A live LUN: which version it writes to, and what it has written and not yet made durable.
use crate::format::RowId;
use crate::leaf::Leaf;
use crate::sync::{MutexExt, RwLockExt};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;

/// Most unflushed data of a LUN in bytes: what arm and commit may have to wait for.
pub(crate) const UNFLUSHED_BYTES_MAX: u64 = 16 << 20;
/// Most leaves of a LUN whose rows wait to be written.
const DIRTY_LEAVES_MAX: usize = 512;
/// A background flush starts here, so that writers seldom meet the bounds.
const FLUSH_FROM_BYTES: u64 = 4 << 20;
const FLUSH_FROM_LEAVES: usize = 128;

/// Which rows a LUN writes, the newest version of its lineage, and how large it is. A resync replaces all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) lineage: u64,
    pub(crate) epoch: u64,
    pub(crate) size_bytes: u64,
}

impl Head {
    pub(crate) fn row(&self, leaf: u32) -> RowId {
        RowId {
            lineage: self.lineage,
            leaf,
            epoch: self.epoch,
        }
    }
}

/// A leaf whose row waits to be written.
pub(crate) struct Dirty {
    turn: u64,
    pub(crate) number: u32,
    pub(crate) leaf: Arc<Leaf>,
}

#[derive(Default)]
struct Pending {
    /// Bytes ever admitted, ever returned, ever made durable: each is at most the one before.
    admitted_bytes: u64,
    done_bytes: u64,
    durable_bytes: u64,
    /// Writes and unmaps that have returned, and how many of them are durable.
    done_count: u64,
    durable_count: u64,
    dirty: VecDeque<Dirty>,
    next_turn: u64,
    flush_asked: bool,
}

impl Pending {
    fn unflushed_bytes(&self) -> u64 {
        self.admitted_bytes - self.durable_bytes
    }
}

/// How far a flush has to come.
#[derive(Clone, Copy)]
pub(crate) struct FlushGoal {
    until_turn: u64,
    bytes: u64,
    count: u64,
}

/// A live LUN.
pub(crate) struct LunState {
    pub(crate) id: u128,
    /// Held shared by each write and unmap, exclusively by what changes versions: the store's own fence, for callers
    /// that have none. Reads pass.
    pub(crate) gate: RwLock<()>,
    /// `None` once the LUN was deleted or the store closed. Held shared while an operation looks at chunks.
    pub(crate) head: RwLock<Option<Head>>,
    /// The same as `head` being `None`, for those who may not wait for it.
    gone: AtomicBool,
    pending: Mutex<Pending>,
    room: Condvar,
}

impl LunState {
    pub(crate) fn new(id: u128, head: Head) -> Arc<Self> {
        Arc::new(Self {
            id,
            gate: RwLock::new(()),
            head: RwLock::new(Some(head)),
            gone: AtomicBool::new(false),
            pending: Mutex::default(),
            room: Condvar::new(),
        })
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The LUN was deleted or the store closed. Waits for operations under way; later ones fail.
    pub(crate) fn end(&self) {
        *self.head.exclusive() = None;
        self.gone.store(true, Ordering::Release);
        self.wake();
    }

    /// Admits a write of `bytes`, waiting until the unflushed data leaves room for it; `stop` ends the waiting,
    /// `ask` asks for a background flush.
    pub(crate) fn admit(&self, bytes: u64, stop: impl Fn() -> bool, ask: impl Fn()) {
        let mut pending = self.pending.locked();
        loop {
            let unflushed = pending.unflushed_bytes();
            let fits = unflushed == 0 || unflushed + bytes <= UNFLUSHED_BYTES_MAX;
            if (fits && pending.dirty.len() < DIRTY_LEAVES_MAX) || stop() {
                break;
            }
            if !std::mem::replace(&mut pending.flush_asked, true) {
                drop(pending);
                ask();
                pending = self.pending.locked();
                continue;
            }
            // The time limit only guards against a wake-up lost to a dying committer.
            let waited = self.room.wait_timeout(pending, Duration::from_secs(1));
            pending = waited.expect("see sync").0;
        }
        pending.admitted_bytes += bytes;
        let early = pending.unflushed_bytes() >= FLUSH_FROM_BYTES
            || pending.dirty.len() >= FLUSH_FROM_LEAVES;
        if early && !std::mem::replace(&mut pending.flush_asked, true) {
            drop(pending);
            ask();
        }
    }

    /// An admitted write has returned.
    pub(crate) fn done(&self, bytes: u64) {
        let mut pending = self.pending.locked();
        pending.done_bytes += bytes;
        pending.done_count += 1;
    }

    /// A leaf's row has to be written. The caller holds the leaf and has just set its `dirty`.
    pub(crate) fn push_dirty(&self, number: u32, leaf: &Arc<Leaf>) {
        let mut pending = self.pending.locked();
        let turn = pending.next_turn;
        pending.next_turn += 1;
        pending.dirty.push_back(Dirty {
            turn,
            number,
            leaf: Arc::clone(leaf),
        });
    }

    /// Puts a leaf back whose transaction failed, so that it stays in memory.
    pub(crate) fn put_back(&self, number: u32, leaf: Arc<Leaf>) {
        let turn = 0;
        self.pending
            .locked()
            .dirty
            .push_front(Dirty { turn, number, leaf });
    }

    /// The next leaf to write within a flush.
    pub(crate) fn pop_dirty(&self, goal: Option<FlushGoal>) -> Option<Dirty> {
        let mut pending = self.pending.locked();
        let next = pending.dirty.front()?;
        match goal {
            Some(goal) if next.turn >= goal.until_turn => None,
            _ => pending.dirty.pop_front(),
        }
    }

    pub(crate) fn has_dirty(&self, goal: FlushGoal) -> bool {
        let pending = self.pending.locked();
        let next = pending.dirty.front();
        next.is_some_and(|next| next.turn < goal.until_turn)
    }

    pub(crate) fn is_flushed(&self) -> bool {
        let pending = self.pending.locked();
        pending.done_count == pending.durable_count
    }

    /// Takes one leaf out of its turn.
    pub(crate) fn take_dirty(&self, number: u32) -> Option<Dirty> {
        let mut pending = self.pending.locked();
        let place = pending
            .dirty
            .iter()
            .position(|dirty| dirty.number == number)?;
        pending.dirty.remove(place)
    }

    /// Starts a flush: everything that has returned by now has to be durable when it ends.
    pub(crate) fn flush_goal(&self) -> FlushGoal {
        let mut pending = self.pending.locked();
        // From here on new writes need a new flush.
        pending.flush_asked = false;
        FlushGoal {
            until_turn: pending.next_turn,
            bytes: pending.done_bytes,
            count: pending.done_count,
        }
    }

    /// The flush has come there.
    pub(crate) fn reached(&self, goal: FlushGoal) {
        let mut pending = self.pending.locked();
        // The larger one: a capture may have come further while a flush was under way.
        pending.durable_bytes = pending.durable_bytes.max(goal.bytes);
        pending.durable_count = pending.durable_count.max(goal.count);
        drop(pending);
        self.room.notify_all();
    }

    /// Wakes who waits for room.
    pub(crate) fn wake(&self) {
        drop(self.pending.locked());
        self.room.notify_all();
    }
}
