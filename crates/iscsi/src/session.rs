// SPDX-License-Identifier: MIT OR Apache-2.0
//! A session at work: the state machine under its lock, the send queue, and the way to the workers.

use crate::config::SessionInfo;
use crate::core::{Core, Effects, Start};
use crate::latch::Latch;
use crate::manage;
use crate::outbound::Outbound;
use crate::pdu::Request;
use crate::registry::Registry;
use crate::target::Shared;
use crate::task::Task;
use block::WritePermit;
use scsi::{Context, LogicalUnit, Nexus, Reply, Sense, UnitAttention};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Unsent data from which on no further command of the session is executed, in bytes: an initiator that asks and does
/// not read costs this much and no more.
pub(crate) const UNSENT_BYTES_MAX: usize = 16 << 20;

/// The one port there is.
const RELATIVE_PORT: u16 = 1;

pub(crate) struct Session {
    info: SessionInfo,
    isid: [u8; 6],
    core: Mutex<Core>,
    /// No task is being executed any more.
    idle: Condvar,
    out: Outbound,
    nexus: Arc<Nexus>,
    shared: Arc<Shared>,
    /// Started tasks that wait for unsent data to leave.
    stalled: Mutex<VecDeque<Job>>,
}

struct Job {
    task: u64,
    /// Given back when the write has been carried out.
    permit: Option<WritePermit>,
}

impl Session {
    pub(crate) fn new(
        info: SessionInfo,
        isid: [u8; 6],
        core: Core,
        nexus: Arc<Nexus>,
        out: Outbound,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        Arc::new(Self {
            info,
            isid,
            core: Mutex::new(core),
            idle: Condvar::new(),
            out,
            nexus,
            shared,
            stalled: Mutex::default(),
        })
    }

    pub(crate) fn initiator(&self) -> &str {
        &self.info.initiator
    }

    pub(crate) fn tsih(&self) -> u16 {
        self.info.tsih
    }

    /// Whether a login with this name and ISID takes this session's place (RFC 7143 6.3.5).
    pub(crate) fn is_reinstated_by(&self, initiator: &str, isid: [u8; 6]) -> bool {
        self.info.initiator == initiator && self.isid == isid
    }

    pub(crate) fn info(&self) -> SessionInfo {
        SessionInfo {
            tasks: self.lock().task_count(),
            ..self.info.clone()
        }
    }

    /// The sessions of the same target.
    pub(crate) fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    pub(crate) fn out(&self) -> &Outbound {
        &self.out
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core
            .lock()
            .expect("outside input does not make the session's state machine panic")
    }

    /// Runs one step of the state machine and does what it wants done. Answers enter the queue under the lock: their
    /// serial numbers and their order are one thing.
    pub(crate) fn step(self: &Arc<Self>, step: impl FnOnce(&mut Core) -> Effects) {
        let mut core = self.lock();
        let mut effects = step(&mut core);
        self.out.push(std::mem::take(&mut effects.send));
        drop(core);
        for start in effects.start {
            self.start(start);
        }
        for management in effects.manage {
            manage::carry_out(self, management);
        }
        drop(effects.latches);
        if let Some(reason) = effects.close {
            tracing::debug!(initiator = self.info.initiator, reason, "closing");
            self.out.close_after();
        }
    }

    /// Sends what can be sent, and lets commands go on that waited for that.
    pub(crate) fn flush(self: &Arc<Self>) {
        self.out.flush();
        let mut stalled = self.stalled.lock().expect("plain data");
        if !stalled.is_empty() && self.out.bytes() < UNSENT_BYTES_MAX {
            let jobs = std::mem::take(&mut *stalled);
            drop(stalled);
            for job in jobs {
                self.submit(job);
            }
        }
    }

    pub(crate) fn on_request(self: &Arc<Self>, request: Request) {
        self.step(|core| core.on_request(request, Instant::now()));
    }

    pub(crate) fn tick(self: &Arc<Self>, ping_after: Duration, dead_after: Duration) {
        self.step(|core| core.tick(Instant::now(), ping_after, dead_after));
        self.flush();
    }

    /// Hands a task to the workers, through its fence if it has one.
    fn start(self: &Arc<Self>, start: Start) {
        let task = start.task;
        let Some(fence) = start.fence else {
            return self.submit(Job { task, permit: None });
        };
        let passed = Arc::new(AtomicBool::new(false));
        let passing = Arc::clone(&passed);
        let session = Arc::clone(self);
        fence.enter(move |permit| {
            passing.store(true, Ordering::Release);
            let permit = Some(permit);
            session.submit(Job { task, permit });
        });
        // If the gate opens right now, the task is counted as parked until a worker takes it, which harms nothing.
        if !passed.load(Ordering::Acquire) {
            self.step(|core| core.park(task));
        }
    }

    fn submit(self: &Arc<Self>, job: Job) {
        let session = Arc::clone(self);
        self.shared
            .pool
            .submit(Box::new(move || session.execute(job)));
    }

    fn execute(self: &Arc<Self>, job: Job) {
        // Only reads make data, so a write never waits here, and a fence never waits for a slow initiator.
        if job.permit.is_none() && self.out.bytes() >= UNSENT_BYTES_MAX {
            self.stalled.lock().expect("plain data").push_back(job);
            // The queue may have emptied between the question and the answer to it.
            return self.flush();
        }
        let mut core = self.lock();
        let Some(work) = core.begin(job.task) else {
            return;
        };
        let map = core.view().map();
        drop(core);
        let inventory: Vec<u8> = map.keys().copied().collect();
        let context = Context {
            nexus: &self.nexus,
            lun: work.lun,
            inventory: &inventory,
            relative_port: RELATIVE_PORT,
            port_group: crate::login::PORTAL_GROUP,
        };
        // A device that panics breaks its contract; the initiator has to hear of its command all the same.
        let reply = catch_unwind(AssertUnwindSafe(|| {
            work.unit.execute(&work.accepted, &work.data, &context)
        }))
        .unwrap_or_else(|_| {
            tracing::error!(command = ?work.accepted, "a device panicked");
            Reply::check(Sense::INTERNAL_FAILURE)
        });
        drop(job.permit);
        self.step(|core| core.complete(job.task, reply));
        self.idle.notify_all();
        self.flush();
    }

    /// Aborts the tasks of this session that `which` picks; says how many.
    pub(crate) fn abort(
        self: &Arc<Self>,
        which: impl Fn(&Task) -> bool,
        latch: &Arc<Latch>,
    ) -> usize {
        let mut count = 0;
        self.step(|core| {
            let mut effects = Effects::default();
            count = core.abort_where(which, latch, &mut effects);
            effects
        });
        self.flush();
        count
    }

    /// LUNs at which this session sees `unit`.
    pub(crate) fn luns_of(&self, unit: &Arc<LogicalUnit>) -> Vec<u8> {
        let map = self.lock().view().map();
        map.iter()
            .filter(|(_, present)| Arc::ptr_eq(present, unit))
            .map(|(lun, _)| *lun)
            .collect()
    }

    pub(crate) fn unit_at(&self, lun: u8) -> Option<Arc<LogicalUnit>> {
        self.lock().view().map().get(&lun).cloned()
    }

    /// All units that this session sees.
    pub(crate) fn units(&self) -> Vec<Arc<LogicalUnit>> {
        self.lock().view().map().values().cloned().collect()
    }

    pub(crate) fn shares_view(&self, other: &Self) -> bool {
        let view = Arc::clone(self.lock().view());
        Arc::ptr_eq(&view, other.lock().view())
    }

    pub(crate) fn establish(&self, lun: u8, attention: UnitAttention) {
        self.nexus.establish(lun, attention);
    }

    /// Cuts the connection. Tasks that are not being executed are gone when this returns.
    pub(crate) fn close(&self) {
        let mut effects = Effects::default();
        self.lock().close(&mut effects);
        self.stalled.lock().expect("plain data").clear();
        self.out.close();
        drop(effects);
    }

    /// Waits until no worker is at a task of this session. After [`Session::close`] it stays that way.
    pub(crate) fn wait_until_idle(&self) {
        let core = self.lock();
        let _core = self
            .idle
            .wait_while(core, |core| core.executing() > 0)
            .expect("see lock");
    }
}
