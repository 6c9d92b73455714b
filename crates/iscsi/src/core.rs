// SPDX-License-Identifier: MIT OR Apache-2.0
//! A session in its full feature phase as a state machine without I/O: PDUs and completions go in, PDUs and work come
//! out. One connection, error recovery level 0.

use crate::latch::Latch;
use crate::negotiate::{Params, Verdict};
use crate::pdu::{
    Answer, AnswerHeader, CONTINUES, NO_TAG, Request, decode_lun, opcode, upper_half,
};
use crate::task::{Phase, Progress, Task};
use crate::text::{self, TEXT_BYTES_MAX};
use crate::view::HostView;
use block::WriteFence;
use scsi::{Accepted, LogicalUnit, Nexus, Reply, Sense};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;
use zerocopy::byteorder::big_endian::U32;

/// Immediate commands that may be under way beside the window.
const IMMEDIATE_MAX: usize = 32;
/// Tasks that wait at a fence give their place in the window back, so that a host with a full queue of held writes
/// can still read; up to this many windows.
const PARKED_WINDOWS_MAX: u32 = 4;
/// Commands that may wait for a missing one before them.
const EARLY_MAX: usize = 32;
/// Write data that one session may have in memory for one LUN before further R2Ts wait, in bytes. By LUN, so that
/// writes held at one fence do not stop those of another LUN.
const LUN_MEMORY_BYTES: u64 = 32 << 20;

/// SCSI status codes (SAM-5 5.3.1).
const STATUS_CHECK_CONDITION: u8 = 0x02;

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

    // ---- numbering ------------------------------------------------------------------------------------------------

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

    // ---- commands -------------------------------------------------------------------------------------------------

    fn on_command(&mut self, mut request: Request, effects: &mut Effects) {
        let itt = request.header.itt.get();
        let refuse = if itt == NO_TAG {
            Some(reason::INVALID_FIELD)
        } else if self.config.discovery {
            Some(reason::PROTOCOL_ERROR)
        } else if self.tags.contains_key(&itt) {
            Some(reason::TASK_IN_PROGRESS)
        } else {
            let immediate = request.header.is_immediate()
                && self.tasks.values().filter(|t| t.immediate).count() >= IMMEDIATE_MAX;
            immediate.then_some(reason::TOO_MANY_IMMEDIATE)
        };
        if let Some(reason) = refuse {
            return self.reject(&request, reason, effects);
        }
        let lun = decode_lun(&request.header.lun);
        let map = self.config.view.map();
        let unit = lun
            .and_then(|lun| map.get(&lun))
            .unwrap_or(&self.absent)
            .clone();
        let lun = lun.unwrap_or(u8::MAX);
        let verdict = match request.has_extended_cdb() {
            true => Err(Sense::INVALID_OPCODE),
            false => unit.accept(&request.header.tail, &self.config.nexus, lun),
        };
        let task = Task::new(&mut request, lun, unit, verdict, &self.config.params);
        self.tasks_made += 1;
        let id = self.tasks_made;
        self.numbered += u32::from(!task.immediate);
        self.tasks.insert(id, task);
        self.tags.insert(itt, id);
        self.advance(id, effects);
    }

    fn on_data_out(&mut self, request: Request, effects: &mut Effects) {
        let itt = request.header.itt.get();
        // Data for a task that was aborted or has failed is on its way for a while: swallowed.
        let Some(&id) = self.tags.get(&itt) else {
            return;
        };
        let task = self.tasks.get_mut(&id).expect("tags name tasks");
        if task.phase != Phase::Collecting {
            return self.reject(&request, reason::PROTOCOL_ERROR, effects);
        }
        task.on_data(&request.header, &request.data, &self.config.params);
        self.advance(id, effects);
    }

    /// Takes a task that collects its data as far as it goes.
    fn advance(&mut self, id: u64, effects: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        match task.progress() {
            Progress::Waiting => {}
            Progress::Ask => {
                if task.granted == 0 && !self.grant(id) {
                    return;
                }
                self.ask(id, effects);
            }
            Progress::Complete => match &task.verdict {
                Ok(accepted) => {
                    task.phase = Phase::Started;
                    let fence = match accepted.passes_fence() {
                        true => task.unit.fence().cloned(),
                        false => None,
                    };
                    effects.start.push(Start { task: id, fence });
                }
                Err(sense) => {
                    let reply = Reply::check(*sense);
                    let task = self.remove(id, effects);
                    self.respond(&task, reply, effects);
                }
            },
        }
    }

    /// Room for the data of a task that has to be asked for; without it the task waits in line.
    fn grant(&mut self, id: u64) -> bool {
        let task = self.tasks.get_mut(&id).expect("the caller has it");
        let wanted = task.memory_bytes();
        let held = self.memory.entry(task.lun).or_default();
        let line = self.hungry.entry(task.lun).or_default();
        let turn = line.front().is_none_or(|first| *first == id);
        // A task alone may always go on, however large it is.
        if turn && (*held == 0 || *held + wanted <= LUN_MEMORY_BYTES) {
            *held += wanted;
            task.granted = wanted;
            line.pop_front();
            return true;
        }
        if !line.contains(&id) {
            line.push_back(id);
        }
        false
    }

    fn ask(&mut self, id: u64, effects: &mut Effects) {
        loop {
            let ttt = self.fresh_ttt();
            let Some(task) = self.tasks.get_mut(&id) else {
                return;
            };
            let Some(ask) = task.ask(ttt, &self.config.params) else {
                return;
            };
            let mut header = AnswerHeader::new(opcode::R2T, task.itt);
            header.lun = task.lun_field;
            header.ttt = U32::new(ask.ttt);
            header.word_9 = U32::new(ask.sn);
            header.word_10 = U32::new(ask.offset);
            header.word_11 = U32::new(ask.length);
            self.stamp(&mut header, false);
            effects.send.push(Answer::bare(header));
        }
    }

    /// Takes a task out of all tables. The caller decides whether anybody hears of it.
    fn remove(&mut self, id: u64, effects: &mut Effects) -> Task {
        let mut task = self.tasks.remove(&id).expect("only tasks are removed");
        self.tags.remove(&task.itt);
        self.numbered -= u32::from(!task.immediate);
        self.parked -= u32::from(task.phase == Phase::Parked);
        effects.latches.append(&mut task.latches);
        self.release(&task, id, effects);
        task
    }

    /// Gives a task's memory back and lets those go on who waited for it.
    fn release(&mut self, task: &Task, id: u64, effects: &mut Effects) {
        let Some(line) = self.hungry.get_mut(&task.lun) else {
            return;
        };
        line.retain(|waiting| *waiting != id);
        if let Some(held) = self.memory.get_mut(&task.lun) {
            *held -= task.granted;
        }
        while let Some(&next) = self.hungry.get(&task.lun).and_then(VecDeque::front) {
            self.advance(next, effects);
            if self.hungry[&task.lun].front() == Some(&next) {
                break;
            }
        }
    }

    /// A worker asks for a task: `None` if it was aborted in the meantime.
    pub(crate) fn begin(&mut self, id: u64) -> Option<Work> {
        let task = self.tasks.get_mut(&id)?;
        let accepted = Arc::clone(task.verdict.as_ref().ok()?);
        self.parked -= u32::from(task.phase == Phase::Parked);
        task.phase = Phase::Executing;
        self.executing += 1;
        Some(Work {
            unit: Arc::clone(&task.unit),
            accepted,
            lun: task.lun,
            data: std::mem::take(&mut task.data),
        })
    }

    /// A worker has finished a task that it had begun.
    pub(crate) fn complete(&mut self, id: u64, reply: Reply) -> Effects {
        let mut effects = Effects::default();
        self.executing -= 1;
        let task = self.remove(id, &mut effects);
        if !task.aborted && !self.closed {
            self.respond(&task, reply, &mut effects);
        }
        effects
    }

    /// The fence did not let the task pass at once.
    pub(crate) fn park(&mut self, id: u64) -> Effects {
        let mut effects = Effects::default();
        let Some(task) = self.tasks.get_mut(&id) else {
            return effects;
        };
        if task.phase == Phase::Started {
            task.phase = Phase::Parked;
            // An immediate command has no place in the window to give back, but only a few are allowed.
            self.parked += 1;
            // An initiator whose window was shut has nothing out that would bring it the new one.
            let shut = self.max_cmd_sn.wrapping_add(1) == self.exp_cmd_sn;
            if shut && !self.closed {
                let mut header = AnswerHeader::new(opcode::NOP_IN, NO_TAG);
                header.ttt = U32::new(NO_TAG);
                self.stamp(&mut header, false);
                effects.send.push(Answer::bare(header));
            }
        }
        effects
    }

    fn respond(&mut self, task: &Task, reply: Reply, effects: &mut Effects) {
        let takes = task
            .verdict
            .as_ref()
            .map_or(0, |accepted| accepted.data_out_bytes());
        let (residual_flags, residual) = residual(task, takes, reply.data.len() as u64);
        let Some(sense) = reply.sense else {
            let room = if task.read { task.expected as usize } else { 0 };
            let mut data = reply.data;
            data.truncate(room);
            return if data.is_empty() {
                let mut header = self.response(task);
                header.flags |= residual_flags;
                header.word_11 = U32::new(residual);
                self.send(Answer::bare(header), effects);
            } else {
                self.send_data(task, data, residual_flags, residual, effects);
            };
        };
        let mut header = self.response(task);
        header.byte_3 = STATUS_CHECK_CONDITION;
        header.flags |= residual_flags;
        header.word_11 = U32::new(residual);
        let fixed = sense.to_fixed();
        let mut data = (fixed.len() as u16).to_be_bytes().to_vec();
        data.extend(fixed);
        self.send(Answer::with_data(header, data), effects);
    }

    fn response(&self, task: &Task) -> AnswerHeader {
        let mut header = AnswerHeader::new(opcode::SCSI_RESPONSE, task.itt);
        header.word_9 = U32::new(task.r2ts_sent());
        header
    }

    /// Data-In PDUs, the last of which carries the status (RFC 7143 11.7.3).
    fn send_data(
        &mut self,
        task: &Task,
        data: Vec<u8>,
        residual_flags: u8,
        residual: u32,
        effects: &mut Effects,
    ) {
        const STATUS: u8 = 0x01;
        let segment = self.config.params.send_bytes_max;
        let burst = self.config.params.max_burst_bytes as usize;
        let data = Arc::new(data);
        let (mut offset, mut sn) = (0, 0);
        while offset < data.len() {
            let burst_end = (offset / burst + 1) * burst;
            let end = (offset + segment).min(burst_end).min(data.len());
            let last = end == data.len();
            let mut header = AnswerHeader::new(opcode::DATA_IN, task.itt);
            header.ttt = U32::new(NO_TAG);
            header.word_9 = U32::new(sn);
            header.word_10 = U32::new(offset as u32);
            if last {
                header.flags |= STATUS | residual_flags;
                header.word_11 = U32::new(residual);
            } else if end != burst_end {
                header.flags = 0;
            }
            self.stamp(&mut header, last);
            if !last {
                header.stat_sn = U32::ZERO;
            }
            effects
                .send
                .push(Answer::sharing(header, &data, offset..end));
            offset = end;
            sn += 1;
        }
    }

    // ---- task management --------------------------------------------------------------------------------------------

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

    // ---- the rest ---------------------------------------------------------------------------------------------------

    fn on_nop(&mut self, mut request: Request, effects: &mut Effects) {
        if request.header.itt.get() == NO_TAG {
            // The answer to a ping of ours: that it was heard is all there is to it.
            return;
        }
        let mut header = AnswerHeader::new(opcode::NOP_IN, request.header.itt.get());
        header.ttt = U32::new(NO_TAG);
        header.lun = request.header.lun;
        let mut data = std::mem::take(&mut request.data);
        data.truncate(self.config.params.send_bytes_max);
        self.send(Answer::with_data(header, data), effects);
    }

    fn on_logout(&mut self, request: &Request, effects: &mut Effects) {
        const CLOSE_SESSION: u8 = 0;
        const CLOSE_CONNECTION: u8 = 1;
        const NO_SUCH_CONNECTION: u8 = 1;
        const NO_RECOVERY: u8 = 2;
        let response = match request.header.flags & 0x7f {
            CLOSE_SESSION => 0,
            CLOSE_CONNECTION if request.header.cid() == self.config.cid => 0,
            CLOSE_CONNECTION => NO_SUCH_CONNECTION,
            _ => NO_RECOVERY,
        };
        let mut header = AnswerHeader::new(opcode::LOGOUT_RESPONSE, request.header.itt.get());
        header.byte_2 = response;
        // Come back at once, and expect nothing to be kept (Time2Wait and Time2Retain).
        header.word_10 = upper_half(0);
        self.send(Answer::bare(header), effects);
        if response == 0 {
            self.close(effects);
            effects.close = Some("logged out");
        }
    }

    fn on_text(&mut self, request: &Request, effects: &mut Effects) {
        let header = &request.header;
        let ttt = header.word_5.get();
        if ttt != NO_TAG {
            return match self.text_rest.take() {
                Some((known, rest)) if known == ttt => self.send_text(request, rest, effects),
                _ => self.reject(request, reason::INVALID_FIELD, effects),
            };
        }
        self.text_rest = None;
        self.text.extend(&request.data);
        if self.text.len() > TEXT_BYTES_MAX {
            self.text = Vec::new();
            return self.reject(request, reason::PROTOCOL_ERROR, effects);
        }
        if header.flags & CONTINUES != 0 {
            let mut answer = AnswerHeader::new(opcode::TEXT_RESPONSE, header.itt.get());
            answer.flags = 0;
            // The tag has no state behind it: what belongs together is what comes with C.
            answer.ttt = U32::new(NO_TAG);
            return self.send(Answer::bare(answer), effects);
        }
        let Ok(pairs) = text::parse(&std::mem::take(&mut self.text)) else {
            return self.reject(request, reason::PROTOCOL_ERROR, effects);
        };
        let mut answer = Vec::new();
        for (key, value) in &pairs {
            match self.text_key(key, value, &mut answer) {
                Some(()) => {}
                None => return self.reject(request, reason::PROTOCOL_ERROR, effects),
            }
        }
        self.send_text(request, answer, effects);
    }

    fn text_key(&mut self, key: &str, value: &str, answer: &mut Vec<u8>) -> Option<()> {
        match key {
            "SendTargets" => {
                let own =
                    value == self.config.target_iqn || (value.is_empty() && !self.config.discovery);
                if own || (value == "All" && self.config.discovery) {
                    text::push(answer, "TargetName", &self.config.target_iqn);
                    for address in &self.config.addresses {
                        text::push(answer, "TargetAddress", address);
                    }
                } else if value == "All" || value.is_empty() {
                    text::push(answer, key, "Reject");
                }
            }
            // The one operational key that may change in the full feature phase.
            "MaxRecvDataSegmentLength" => match self.config.params.offer(key, value) {
                Verdict::Answer(value) => text::push(answer, key, &value),
                Verdict::Silent => {}
                Verdict::Fatal => return None,
            },
            _ if key.starts_with("X-") => text::push(answer, key, "NotUnderstood"),
            _ => text::push(answer, key, "Reject"),
        }
        Some(())
    }

    fn send_text(&mut self, request: &Request, mut data: Vec<u8>, effects: &mut Effects) {
        let mut header = AnswerHeader::new(opcode::TEXT_RESPONSE, request.header.itt.get());
        header.lun = request.header.lun;
        header.ttt = U32::new(NO_TAG);
        let room = self.config.params.send_bytes_max;
        if data.len() > room {
            let rest = data.split_off(room);
            let ttt = self.fresh_ttt();
            header.flags = CONTINUES;
            header.ttt = U32::new(ttt);
            self.text_rest = Some((ttt, rest));
        }
        self.send(Answer::with_data(header, data), effects);
    }

    /// Time passes: asks a silent initiator whether it is there, and gives up on one that does not answer.
    pub(crate) fn tick(
        &mut self,
        now: Instant,
        ping_after: Duration,
        dead_after: Duration,
    ) -> Effects {
        let mut effects = Effects::default();
        if self.closed {
            return effects;
        }
        match self.pinged {
            Some(asked) if now.duration_since(asked) >= dead_after => {
                effects.close = Some("no answer to a ping");
            }
            None if now.duration_since(self.heard) >= ping_after => {
                self.pinged = Some(now);
                let mut header = AnswerHeader::new(opcode::NOP_IN, NO_TAG);
                header.ttt = U32::new(self.fresh_ttt());
                self.stamp(&mut header, false);
                effects.send.push(Answer::bare(header));
            }
            _ => {}
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

/// Residual flags and count (RFC 7143 11.4.5): what the command moves against what the initiator expected.
fn residual(task: &Task, takes: u64, gives: u64) -> (u8, u32) {
    const OVERFLOW: u8 = 0x04;
    const UNDERFLOW: u8 = 0x02;
    let moves = takes.max(gives);
    // Data that would go the other way than announced finds no room at all.
    let expected = match (takes > 0, gives > 0) {
        (true, _) if !task.write => 0,
        (_, true) if !task.read => 0,
        _ => u64::from(task.expected),
    };
    match moves.cmp(&expected) {
        std::cmp::Ordering::Greater => (
            OVERFLOW,
            u32::try_from(moves - expected).unwrap_or(u32::MAX),
        ),
        std::cmp::Ordering::Less => (UNDERFLOW, (expected - moves) as u32),
        std::cmp::Ordering::Equal => (0, 0),
    }
}
