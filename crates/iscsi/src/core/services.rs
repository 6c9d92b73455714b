// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a session does beside SCSI: NOP, text, logout, and noticing that nobody is there any more.

use super::{Core, Effects, reason};
use crate::negotiate::Verdict;
use crate::pdu::{Answer, AnswerHeader, CONTINUES, NO_TAG, Request, opcode, upper_half};
use crate::text::{self, TEXT_BYTES_MAX};
use std::time::{Duration, Instant};
use zerocopy::byteorder::big_endian::U32;

impl Core {
    pub(super) fn on_nop(&mut self, mut request: Request, effects: &mut Effects) {
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

    pub(super) fn on_logout(&mut self, request: &Request, effects: &mut Effects) {
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

    pub(super) fn on_text(&mut self, request: &Request, effects: &mut Effects) {
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
}
