// SPDX-License-Identifier: MIT OR Apache-2.0
//! One SCSI command under way: the data that it waits for (RFC 7143 4.2.5.2, 11.7, 11.8), and what became of it.

use crate::latch::Latch;
use crate::negotiate::Params;
use crate::pdu::{Request, RequestHeader};
use scsi::{Accepted, LogicalUnit, Sense};
use std::collections::VecDeque;
use std::sync::Arc;

/// Flags of a SCSI Command PDU.
const READ: u8 = 0x40;
const WRITE: u8 = 0x20;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Data is on its way, or waits for its R2T.
    Collecting,
    /// Handed out for execution: at the fence, or in the workers' queue.
    Started,
    /// Known to wait at the fence.
    Parked,
    /// A worker is at it. Can no longer be taken back.
    Executing,
}

/// The attributes that matter (SAM-5 8.6); untagged and ACA tasks are simple ones here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Simple,
    Ordered,
    Head,
}

/// One R2T that is out.
struct Requested {
    ttt: u32,
    /// Where its data ends.
    end: u32,
    next_data_sn: u32,
}

pub(crate) struct Task {
    pub(crate) itt: u32,
    pub(crate) lun: u8,
    pub(crate) lun_field: [u8; 8],
    pub(crate) unit: Arc<LogicalUnit>,
    /// What to execute, or why not to.
    pub(crate) verdict: Result<Arc<Accepted>, Sense>,
    pub(crate) immediate: bool,
    pub(crate) order: Order,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Expected data transfer length.
    pub(crate) expected: u32,
    pub(crate) phase: Phase,
    /// Aborted while executing: nobody hears of its end but those who hold a latch.
    pub(crate) aborted: bool,
    pub(crate) latches: Vec<Arc<Latch>>,
    pub(crate) data: Vec<u8>,
    /// Memory that the session has set aside for data to be asked for, in bytes.
    pub(crate) granted: u64,
    /// Bytes that the command takes and the initiator has.
    wanted: u32,
    /// Bytes that arrived, those beyond `wanted` included.
    received: u32,
    /// Bytes that arrived or were asked for by R2T.
    asked: u32,
    /// Unsolicited Data-Out PDUs are to come, until one has the final bit.
    unsolicited: bool,
    unsolicited_sn: u32,
    requested: VecDeque<Requested>,
    r2t_sn: u32,
}

/// What a Data-Out PDU led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More is to come without our doing.
    Waiting,
    /// Ask for more.
    Ask,
    /// All is there.
    Complete,
}

/// An R2T to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) ttt: u32,
    pub(crate) sn: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl Task {
    /// A task for a SCSI Command PDU whose CDB was judged to be `verdict`.
    pub(crate) fn new(
        request: &mut Request,
        lun: u8,
        unit: Arc<LogicalUnit>,
        verdict: Result<Accepted, Sense>,
        params: &Params,
    ) -> Self {
        let header = &request.header;
        let write = header.flags & WRITE != 0;
        let expected = header.word_5.get();
        let needs = verdict.as_ref().map_or(0, Accepted::data_out_bytes);
        let mut task = Self {
            itt: header.itt.get(),
            lun,
            lun_field: header.lun,
            unit,
            verdict: verdict.map(Arc::new),
            immediate: header.is_immediate(),
            order: match header.flags & 7 {
                2 => Order::Ordered,
                3 => Order::Head,
                _ => Order::Simple,
            },
            read: header.flags & READ != 0,
            write,
            expected,
            phase: Phase::Collecting,
            aborted: false,
            latches: Vec::new(),
            data: Vec::new(),
            granted: 0,
            wanted: if write {
                u32::try_from(needs).unwrap_or(u32::MAX).min(expected)
            } else {
                0
            },
            received: 0,
            asked: 0,
            unsolicited: write && !header.is_final(),
            unsolicited_sn: 0,
            requested: VecDeque::new(),
            r2t_sn: 0,
        };
        if let Ok(accepted) = &task.verdict
            && accepted.takes_exactly()
            && u64::from(expected) != needs
        {
            task.fail(Sense::INVALID_INFORMATION_UNIT);
        }
        let immediate_data = std::mem::take(&mut request.data);
        task.take_immediate(immediate_data, params);
        task
    }

    fn take_immediate(&mut self, data: Vec<u8>, params: &Params) {
        if self.unsolicited && params.initial_r2t {
            self.fail(Sense::UNEXPECTED_UNSOLICITED_DATA);
        }
        if data.is_empty() {
            return;
        }
        let length = data.len() as u32;
        if !params.immediate_data || !self.write {
            self.fail(Sense::UNEXPECTED_UNSOLICITED_DATA);
        } else if length > params.first_burst_bytes.min(self.expected) {
            self.fail(Sense::INCORRECT_AMOUNT_OF_DATA);
        }
        // The common case, a small write that is complete in its command, copies nothing.
        self.data = data;
        self.data.truncate(self.wanted as usize);
        self.received = length;
        self.asked = length;
    }

    /// The command ends with `sense`, once the data under way has been swallowed. The first failure stands.
    pub(crate) fn fail(&mut self, sense: Sense) {
        if self.verdict.is_ok() {
            self.verdict = Err(sense);
        }
        self.data = Vec::new();
        self.wanted = 0;
    }

    /// Bytes of memory that the task is going to hold.
    pub(crate) fn memory_bytes(&self) -> u64 {
        u64::from(self.wanted)
    }

    /// Where the task stands with its data.
    pub(crate) fn progress(&self) -> Progress {
        if self.unsolicited || (self.verdict.is_err() && !self.requested.is_empty()) {
            Progress::Waiting
        } else if self.verdict.is_err() || self.received >= self.wanted {
            Progress::Complete
        } else if self.asked < self.wanted {
            Progress::Ask
        } else {
            Progress::Waiting
        }
    }

    /// The next R2T, if one may go out. `ttt` is a fresh tag.
    pub(crate) fn ask(&mut self, ttt: u32, params: &Params) -> Option<Ask> {
        if self.progress() != Progress::Ask
            || self.requested.len() >= params.outstanding_r2t_max as usize
        {
            return None;
        }
        let missing = self.wanted as usize - self.data.len();
        self.data.reserve_exact(missing);
        let ask = Ask {
            ttt,
            sn: self.r2t_sn,
            offset: self.asked,
            length: (self.wanted - self.asked).min(params.max_burst_bytes),
        };
        self.r2t_sn += 1;
        self.asked += ask.length;
        self.requested.push_back(Requested {
            ttt,
            end: self.asked,
            next_data_sn: 0,
        });
        Some(ask)
    }

    /// R2Ts and data sequences so far, for ExpDataSN of the response.
    pub(crate) fn r2ts_sent(&self) -> u32 {
        self.r2t_sn
    }

    /// Takes a Data-Out PDU.
    pub(crate) fn on_data(&mut self, header: &RequestHeader, data: &[u8], params: &Params) {
        let data_sn = header.tail_word(1);
        let offset = header.tail_word(2);
        let ttt = header.word_5.get();
        let length = data.len() as u32;
        let end = u64::from(self.received) + u64::from(length);
        let fault = if ttt == crate::pdu::NO_TAG {
            self.unsolicited_fault(end, data_sn, params)
        } else {
            self.solicited_fault(ttt, end, data_sn)
        };
        let fault = fault.or((offset != self.received).then_some(Sense::DATA_SEQUENCE_ERROR));
        if let Some(sense) = fault {
            self.fail(sense);
        }
        let room = self.wanted as usize - self.data.len().min(self.wanted as usize);
        self.data.extend(&data[..data.len().min(room)]);
        self.received = self.received.saturating_add(length);
        if header.is_final() {
            self.end_sequence(ttt);
        }
    }

    fn unsolicited_fault(&mut self, end: u64, data_sn: u32, params: &Params) -> Option<Sense> {
        let expected_sn = self.unsolicited_sn;
        self.unsolicited_sn = self.unsolicited_sn.wrapping_add(1);
        if !self.unsolicited {
            Some(Sense::UNEXPECTED_UNSOLICITED_DATA)
        } else if end > u64::from(params.first_burst_bytes.min(self.expected)) {
            Some(Sense::INCORRECT_AMOUNT_OF_DATA)
        } else {
            (data_sn != expected_sn).then_some(Sense::DATA_SEQUENCE_ERROR)
        }
    }

    fn solicited_fault(&mut self, ttt: u32, end: u64, data_sn: u32) -> Option<Sense> {
        // Sequences come in order (DataSequenceInOrder=Yes), so only the oldest R2T can be meant.
        let Some(front) = self.requested.front_mut().filter(|r| r.ttt == ttt) else {
            return Some(Sense::DATA_SEQUENCE_ERROR);
        };
        let expected_sn = front.next_data_sn;
        front.next_data_sn = front.next_data_sn.wrapping_add(1);
        if end > u64::from(front.end) {
            Some(Sense::INCORRECT_AMOUNT_OF_DATA)
        } else {
            (data_sn != expected_sn).then_some(Sense::DATA_SEQUENCE_ERROR)
        }
    }

    fn end_sequence(&mut self, ttt: u32) {
        if ttt == crate::pdu::NO_TAG {
            self.unsolicited = false;
            self.asked = self.asked.max(self.received);
        } else if let Some(front) = self.requested.front()
            && front.ttt == ttt
        {
            if self.received < front.end {
                self.fail(Sense::INCORRECT_AMOUNT_OF_DATA);
            }
            self.requested.pop_front();
        }
    }
}
