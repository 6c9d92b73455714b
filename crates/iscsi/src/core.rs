// SPDX-License-Identifier: MIT OR Apache-2.0
//! A session in its full feature phase as a state machine without I/O: PDUs and completions go in, PDUs and work come
//! out. One connection, error recovery level 0.

mod commands;
mod services;

use crate::latch::Latch;
use crate::negotiate::Params;
use crate::pdu::{Answer, AnswerHeader, NO_TAG, Request, decode_lun, opcode};
use crate::task::{Phase, Task};
use crate::view::HostView;
use block::WriteFence;
use scsi::{Accepted, LogicalUnit, Nexus};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U32;

/// Tasks that wait at a fence give their place in the window back, so that a host with a full queue of held writes
/// can still read; up to this many windows.
const PARKED_WINDOWS_MAX: u32 = 4;
/// Commands that may wait for a missing one before them.
const EARLY_MAX: usize = 32;

/// Reasons of a Reject PDU (RFC 7143 11.17.1).
mod reason {
    pub(super) const SNACK: u8 = 0x03;
    pub(super) const PROTOCOL_ERROR: u8 = 0x04;
    pub(super) const COMMAND_NOT_SUPPORTED: u8 = 0x05;
    pub(super) const TOO_MANY_IMMEDIATE: u8 = 0x06;
    pub(super) const TASK_IN_PROGRESS: u8 = 0x07;
    pub(super) const INVALID_FIELD: u8 = 0x09;
}

/// Task management functions (RFC 7143 11.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    AbortTask,
    AbortTaskSet,
    ClearTaskSet,
    LunReset,
    WarmReset,
    ColdReset,
    NotSupported,
    ReassignNotSupported,
}

impl Function {
    fn from_flags(flags: u8) -> Self {
        match flags & 0x7f {
            1 => Self::AbortTask,
            2 => Self::AbortTaskSet,
            4 => Self::ClearTaskSet,
            5 => Self::LunReset,
            6 => Self::WarmReset,
            7 => Self::ColdReset,
            8 => Self::ReassignNotSupported,
            _ => Self::NotSupported,
        }
    }
}

/// A task management request for the driver, which knows the other sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Management {
    pub(crate) function: Function,
    pub(crate) itt: u32,
    pub(crate) lun: Option<u8>,
    pub(crate) referenced_itt: u32,
    pub(crate) ref_cmd_sn: u32,
}

/// Responses to them (RFC 7143 11.6.1).
pub(crate) mod response {
    pub(crate) const COMPLETE: u8 = 0;
    pub(crate) const NO_SUCH_TASK: u8 = 1;
    pub(crate) const NO_SUCH_LUN: u8 = 2;
    pub(crate) const REASSIGN_NOT_SUPPORTED: u8 = 4;
    pub(crate) const NOT_SUPPORTED: u8 = 5;
}

/// A task to hand to a worker, through its fence if it has one.
pub(crate) struct Start {
    pub(crate) task: u64,
    pub(crate) fence: Option<Arc<WriteFence>>,
}

/// What a step of the machine wants done, in this order.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) send: Vec<Answer>,
    pub(crate) start: Vec<Start>,
    pub(crate) manage: Vec<Management>,
    /// To be dropped when no session is locked.
    pub(crate) latches: Vec<Arc<Latch>>,
    /// Close the connection once all is sent.
    pub(crate) close: Option<&'static str>,
}

/// What a worker needs to execute a task.
pub(crate) struct Work {
    pub(crate) unit: Arc<LogicalUnit>,
    pub(crate) accepted: Arc<Accepted>,
    pub(crate) lun: u8,
    pub(crate) data: Vec<u8>,
}

/// What a session is made of.
pub(crate) struct CoreConfig {
    pub(crate) params: Params,
    pub(crate) discovery: bool,
    pub(crate) cid: u16,
    pub(crate) cmd_sn: u32,
    pub(crate) stat_sn: u32,
    pub(crate) window: u32,
    pub(crate) view: Arc<HostView>,
    pub(crate) nexus: Arc<Nexus>,
    /// Name and addresses, for SendTargets.
    pub(crate) target_iqn: String,
    pub(crate) addresses: Vec<String>,
}

pub(crate) struct Core {
    config: CoreConfig,
    absent: Arc<LogicalUnit>,
    stat_sn: u32,
    exp_cmd_sn: u32,
    max_cmd_sn: u32,
    /// Commands that came before their turn, by CmdSN; `None` for a number that was aborted before it came.
    early: BTreeMap<u32, Option<Request>>,
    /// Tasks that take a place in the window, and how many of them wait at a fence.
    numbered: u32,
    parked: u32,
    tasks: BTreeMap<u64, Task>,
    tags: HashMap<u32, u64>,
    /// Tasks with the ORDERED attribute.
    ordered: u32,
    tasks_made: u64,
    next_ttt: u32,
    /// Tasks that wait for memory before their next R2T, by LUN.
    hungry: BTreeMap<u8, VecDeque<u64>>,
    memory: BTreeMap<u8, u64>,
    text: Vec<u8>,
    /// The rest of a text answer that did not fit, and its tag.
    text_rest: Option<(u32, Vec<u8>)>,
    closed: bool,
    executing: usize,
    heard: Instant,
    pinged: Option<Instant>,
}

impl Core {
    pub(crate) fn new(config: CoreConfig, now: Instant) -> Self {
        Self {
            absent: LogicalUnit::absent(),
            stat_sn: config.stat_sn,
            exp_cmd_sn: config.cmd_sn,
            max_cmd_sn: config.cmd_sn.wrapping_add(config.window).wrapping_sub(1),
            early: BTreeMap::new(),
            numbered: 0,
            parked: 0,
            tasks: BTreeMap::new(),
            tags: HashMap::new(),
            ordered: 0,
            tasks_made: 0,
            next_ttt: 0,
            hungry: BTreeMap::new(),
            memory: BTreeMap::new(),
            text: Vec::new(),
            text_rest: None,
            closed: false,
            executing: 0,
            heard: now,
            pinged: None,
            config,
        }
    }

    pub(crate) fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// Tasks that a worker is at.
    pub(crate) fn executing(&self) -> usize {
        self.executing
    }

    pub(crate) fn view(&self) -> &Arc<HostView> {
        &self.config.view
    }

    /// Takes one PDU.
    pub(crate) fn on_request(&mut self, request: Request, now: Instant) -> Effects {
        let mut effects = Effects::default();
        self.heard = now;
        self.pinged = None;
        if self.closed {
            return effects;
        }
        match request.header.operation() {
            opcode::DATA_OUT => self.on_data_out(request, &mut effects),
            opcode::NOP_OUT
            | opcode::SCSI_COMMAND
            | opcode::TASK_MANAGEMENT
            | opcode::TEXT
            | opcode::LOGOUT => self.in_order(request, &mut effects),
            opcode::SNACK => self.reject(&request, reason::SNACK, &mut effects),
            opcode::LOGIN => {
                self.reject(&request, reason::PROTOCOL_ERROR, &mut effects);
                effects.close = Some("a login inside a session");
            }
            _ => self.reject(&request, reason::COMMAND_NOT_SUPPORTED, &mut effects),
        }
        effects
    }

    /// Brings numbered requests into the order of CmdSN (RFC 7143 4.2.2.1).
    fn in_order(&mut self, request: Request, effects: &mut Effects) {
        if request.header.is_immediate() {
            self.dispatch(request, effects);
            return;
        }
        let cmd_sn = request.header.cmd_sn.get();
        let ahead = cmd_sn.wrapping_sub(self.exp_cmd_sn);
        let window = self
            .max_cmd_sn
            .wrapping_sub(self.exp_cmd_sn)
            .wrapping_add(1);
        if ahead >= window {
            // Outside the window, or a number that was used: ignored without a word, as the standard wants.
            tracing::debug!(
                cmd_sn,
                self.exp_cmd_sn,
                self.max_cmd_sn,
                "CmdSN outside the window"
            );
            return;
        }
        if ahead > 0 {
            // On one connection a gap means a faulty initiator: it may wait for its own missing command, within reason.
            self.early.entry(cmd_sn).or_insert(Some(request));
            if self.early.len() > EARLY_MAX {
                effects.close = Some("too many commands ahead of a missing one");
            }
            return;
        }
        self.early.insert(cmd_sn, Some(request));
        self.dispatch_due(effects);
    }

    /// Dispatches what has its turn.
    fn dispatch_due(&mut self, effects: &mut Effects) {
        while let Some(due) = self.early.remove(&self.exp_cmd_sn) {
            self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
            if let Some(request) = due {
                self.dispatch(request, effects);
            }
        }
    }

    fn dispatch(&mut self, request: Request, effects: &mut Effects) {
        if self.closed {
            return;
        }
        match request.header.operation() {
            opcode::SCSI_COMMAND => self.on_command(request, effects),
            opcode::NOP_OUT => self.on_nop(request, effects),
            opcode::TASK_MANAGEMENT => self.on_management(&request, effects),
            opcode::TEXT => self.on_text(&request, effects),
            _ => self.on_logout(&request, effects),
        }
    }

    /// Stamps the serial numbers that every answer carries. Those that do not count get the number that comes next.
    fn stamp(&mut self, header: &mut AnswerHeader, counts: bool) {
        let window = self.config.window;
        let credit = self.parked.min(window * PARKED_WINDOWS_MAX);
        let free = (window + credit).saturating_sub(self.numbered);
        let max = self.exp_cmd_sn.wrapping_add(free).wrapping_sub(1);
        // MaxCmdSN never goes back (RFC 7143 4.2.2.1).
        if (max.wrapping_sub(self.max_cmd_sn) as i32) > 0 {
            self.max_cmd_sn = max;
        }
        header.stat_sn = U32::new(self.stat_sn);
        header.exp_cmd_sn = U32::new(self.exp_cmd_sn);
        header.max_cmd_sn = U32::new(self.max_cmd_sn);
        if counts {
            self.stat_sn = self.stat_sn.wrapping_add(1);
        }
    }

    fn send(&mut self, mut answer: Answer, effects: &mut Effects) {
        self.stamp(&mut answer.header, true);
        effects.send.push(answer);
    }

    fn reject(&mut self, request: &Request, reason: u8, effects: &mut Effects) {
        let mut header = AnswerHeader::new(opcode::REJECT, NO_TAG);
        header.byte_2 = reason;
        let rejected = request.header.as_bytes().to_vec();
        self.send(Answer::with_data(header, rejected), effects);
    }

    fn fresh_ttt(&mut self) -> u32 {
        self.next_ttt = self.next_ttt.wrapping_add(1);
        if self.next_ttt == NO_TAG {
            self.next_ttt = 1;
        }
        self.next_ttt
    }

    fn on_management(&mut self, request: &Request, effects: &mut Effects) {
        if self.config.discovery {
            return self.reject(request, reason::PROTOCOL_ERROR, effects);
        }
        effects.manage.push(Management {
            function: Function::from_flags(request.header.flags),
            itt: request.header.itt.get(),
            lun: decode_lun(&request.header.lun),
            referenced_itt: request.header.word_5.get(),
            ref_cmd_sn: request.header.tail_word(0),
        });
    }

    /// Aborts the tasks that `which` picks and says how many. Those in execution end when they end, unheard, and hold
    /// `latch` until then; all others are gone when this returns.
    pub(crate) fn abort_where(
        &mut self,
        which: impl Fn(&Task) -> bool,
        latch: &Arc<Latch>,
        effects: &mut Effects,
    ) -> usize {
        let picked: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(_, task)| !task.aborted && which(task))
            .map(|(id, _)| *id)
            .collect();
        for &id in &picked {
            let task = self.tasks.get_mut(&id).expect("picked above");
            if task.phase == Phase::Executing {
                task.aborted = true;
                task.latches.push(Arc::clone(latch));
            } else {
                self.remove(id, effects);
            }
        }
        picked.len()
    }

    /// ABORT TASK for a command that has not come yet: its number counts as received (RFC 7143 11.5.1).
    pub(crate) fn abort_unseen(&mut self, management: &Management, effects: &mut Effects) -> bool {
        let ahead = management.ref_cmd_sn.wrapping_sub(self.exp_cmd_sn);
        let window = self
            .max_cmd_sn
            .wrapping_sub(self.exp_cmd_sn)
            .wrapping_add(1);
        if ahead >= window {
            return false;
        }
        self.early.insert(management.ref_cmd_sn, None);
        self.dispatch_due(effects);
        true
    }

    /// The answer to a task management request.
    pub(crate) fn managed(&mut self, itt: u32, response: u8) -> Effects {
        let mut effects = Effects::default();
        if !self.closed {
            let mut header = AnswerHeader::new(opcode::TASK_MANAGEMENT_RESPONSE, itt);
            header.byte_2 = response;
            self.send(Answer::bare(header), &mut effects);
        }
        effects
    }

    /// Ends the session: no more answers, and every task that is not being executed is gone.
    pub(crate) fn close(&mut self, effects: &mut Effects) {
        self.closed = true;
        self.early.clear();
        self.hungry.clear();
        let ids: Vec<u64> = self.tasks.keys().copied().collect();
        for id in ids {
            let task = self.tasks.get_mut(&id).expect("its id was listed");
            if task.phase == Phase::Executing {
                task.aborted = true;
            } else {
                self.remove(id, effects);
            }
        }
    }
}
