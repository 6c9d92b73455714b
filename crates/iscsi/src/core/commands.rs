// SPDX-License-Identifier: MIT OR Apache-2.0
//! SCSI commands of a session: from the request over its data to its answer.

use super::{Core, Effects, Start, Work, reason};
use crate::pdu::{Answer, AnswerHeader, NO_TAG, Request, decode_lun, opcode};
use crate::task::{Order, Phase, Progress, Task};
use scsi::{Reply, Sense};
use std::collections::VecDeque;
use std::sync::Arc;
use zerocopy::byteorder::big_endian::U32;

/// Immediate commands that may be under way beside the window.
const IMMEDIATE_MAX: usize = 32;
/// Write data that one session may have in memory for one LUN before further R2Ts wait, in bytes. By LUN, so that
/// writes held at one fence do not stop those of another LUN.
const LUN_MEMORY_BYTES: u64 = 32 << 20;
/// SCSI status codes (SAM-5 5.3.1).
const STATUS_CHECK_CONDITION: u8 = 0x02;

impl Core {
    pub(super) fn on_command(&mut self, mut request: Request, effects: &mut Effects) {
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
        self.ordered += u32::from(task.order == Order::Ordered);
        self.tasks.insert(id, task);
        self.tags.insert(itt, id);
        self.advance(id, effects);
    }

    pub(super) fn on_data_out(&mut self, request: Request, effects: &mut Effects) {
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
    pub(super) fn advance(&mut self, id: u64, effects: &mut Effects) {
        let Some(progress) = self.tasks.get(&id).map(Task::progress) else {
            return;
        };
        let has_to_wait = progress == Progress::Complete && self.has_to_wait(id);
        let task = self.tasks.get_mut(&id).expect("it was there above");
        match progress {
            Progress::Waiting => {}
            Progress::Ask => {
                if task.granted == 0 && !self.grant(id) {
                    return;
                }
                self.ask(id, effects);
            }
            Progress::Complete if has_to_wait && task.verdict.is_ok() => {}
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
    pub(super) fn remove(&mut self, id: u64, effects: &mut Effects) -> Task {
        let mut task = self.tasks.remove(&id).expect("only tasks are removed");
        self.tags.remove(&task.itt);
        self.numbered -= u32::from(!task.immediate);
        self.parked -= u32::from(task.phase == Phase::Parked);
        effects.latches.append(&mut task.latches);
        self.release(&task, id, effects);
        if self.ordered > 0 {
            self.ordered -= u32::from(task.order == Order::Ordered);
            self.advance_waiting(task.lun, effects);
        }
        task
    }

    /// Whether an ORDERED task stands between a task and its execution (SAM-5 8.6): an ORDERED one waits for all
    /// before it, and all others wait for an ORDERED one before them. HEAD OF QUEUE passes by.
    fn has_to_wait(&self, id: u64) -> bool {
        if self.ordered == 0 {
            return false;
        }
        let task = &self.tasks[&id];
        task.order != Order::Head
            && self.tasks.range(..id).any(|(_, earlier)| {
                earlier.lun == task.lun
                    && (task.order == Order::Ordered || earlier.order == Order::Ordered)
            })
    }

    /// Those that an ORDERED task may have held up look again.
    fn advance_waiting(&mut self, lun: u8, effects: &mut Effects) {
        let waiting: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(_, task)| {
                task.lun == lun
                    && task.phase == Phase::Collecting
                    && task.progress() == Progress::Complete
            })
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.advance(id, effects);
        }
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
