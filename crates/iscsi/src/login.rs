// SPDX-License-Identifier: MIT OR Apache-2.0
//! The login phase (RFC 7143 section 6.3) as a state machine: requests in, answers out.

use crate::config::is_iscsi_name;
use crate::negotiate::{Params, RECEIVE_BYTES_MAX, Verdict};
use crate::pdu::{
    Answer, AnswerHeader, CONTINUES, FINAL, Request, RequestHeader, opcode, session_field,
    upper_half,
};
use crate::text::{self, TEXT_BYTES_MAX};
use std::collections::BTreeSet;
use zerocopy::byteorder::big_endian::U32;

/// Most requests of one login: a sound initiator needs two to four.
const REQUESTS_MAX: u32 = 32;
/// Longest answer text: what an initiator takes before it has said more (RFC 7143 13.12).
const ANSWER_BYTES_MAX: usize = 8192;
/// The only portal group there is.
pub(crate) const PORTAL_GROUP: u16 = 1;

/// Login status (RFC 7143 11.13.5): class in the upper byte, detail in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u16);

impl Status {
    pub(crate) const SUCCESS: Self = Self(0x0000);
    pub(crate) const INITIATOR_ERROR: Self = Self(0x0200);
    pub(crate) const AUTHENTICATION_FAILED: Self = Self(0x0201);
    pub(crate) const NOT_AUTHORIZED: Self = Self(0x0202);
    pub(crate) const NOT_FOUND: Self = Self(0x0203);
    pub(crate) const UNSUPPORTED_VERSION: Self = Self(0x0205);
    pub(crate) const TOO_MANY_CONNECTIONS: Self = Self(0x0206);
    pub(crate) const MISSING_PARAMETER: Self = Self(0x0207);
    pub(crate) const SESSION_TYPE: Self = Self(0x0209);
    pub(crate) const SERVICE_UNAVAILABLE: Self = Self(0x0301);
    pub(crate) const OUT_OF_RESOURCES: Self = Self(0x0302);
}

/// CSG and NSG values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    Security = 0,
    Operational = 1,
    FullFeature = 3,
}

impl Stage {
    fn from_bits(bits: u8) -> Option<Self> {
        match bits & 3 {
            0 => Some(Self::Security),
            1 => Some(Self::Operational),
            3 => Some(Self::FullFeature),
            _ => None,
        }
    }
}

/// Who logged in, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) initiator: String,
    pub(crate) isid: [u8; 6],
    pub(crate) cid: u16,
    pub(crate) discovery: bool,
    pub(crate) params: Params,
    /// CmdSN of the first command.
    pub(crate) cmd_sn: u32,
}

/// What to do after a request.
pub(crate) enum Step {
    /// Send, and wait for the next request.
    Continue(Answer),
    /// Send, and close the connection.
    Refuse(Answer),
    /// The initiator is through. Decide, then send what [`LoginMachine::accept`] or [`LoginMachine::refuse`] build.
    Decide(Login),
    /// Not a login at all: close without a word.
    Close(&'static str),
}

pub(crate) struct LoginMachine {
    target_iqn: String,
    stage: Option<Stage>,
    requests: u32,
    /// Text of the present negotiation step, as long as its parts come with C.
    text: Vec<u8>,
    seen: BTreeSet<String>,
    initiator: Option<String>,
    target: Option<String>,
    discovery: bool,
    params: Params,
    declared: bool,
    group_told: bool,
    last: Option<RequestHeader>,
    stat_sn: u32,
    answer: Vec<u8>,
}

impl LoginMachine {
    pub(crate) fn new(target_iqn: &str) -> Self {
        Self {
            target_iqn: target_iqn.to_owned(),
            stage: None,
            requests: 0,
            text: Vec::new(),
            seen: BTreeSet::new(),
            initiator: None,
            target: None,
            discovery: false,
            params: Params::default(),
            declared: false,
            group_told: false,
            last: None,
            stat_sn: 0,
            answer: Vec::new(),
        }
    }

    /// The StatSN that follows those of the login.
    pub(crate) fn next_stat_sn(&self) -> u32 {
        self.stat_sn
    }

    pub(crate) fn on_request(&mut self, request: &Request) -> Step {
        let header = &request.header;
        if header.operation() != opcode::LOGIN {
            return Step::Close("a PDU before the login was done");
        }
        self.requests += 1;
        self.last = Some(header.clone());
        match self.step(request) {
            Ok(step) => step,
            Err(status) => Step::Refuse(self.refuse(status)),
        }
    }

    fn step(&mut self, request: &Request) -> Result<Step, Status> {
        let header = &request.header;
        let transit = header.flags & FINAL != 0;
        let continues = header.flags & CONTINUES != 0;
        let stage = self.check(header, transit && continues)?;
        self.text.extend(&request.data);
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(Status::INITIATOR_ERROR);
        }
        if continues {
            return Ok(Step::Continue(self.answer(Status::SUCCESS, 0)));
        }
        let pairs =
            text::parse(&std::mem::take(&mut self.text)).map_err(|_| Status::INITIATOR_ERROR)?;
        self.take_names(&pairs)?;
        for (key, value) in &pairs {
            self.take_key(key, value)?;
        }
        self.check_names()?;
        self.add_own(stage);
        if self.answer.len() > ANSWER_BYTES_MAX {
            return Err(Status::INITIATOR_ERROR);
        }
        if !transit {
            return Ok(Step::Continue(self.answer(Status::SUCCESS, 0)));
        }
        let next = Stage::from_bits(header.flags)
            .filter(|next| *next > stage)
            .ok_or(Status::INITIATOR_ERROR)?;
        if next == Stage::FullFeature {
            self.params.settle();
            return Ok(Step::Decide(Login {
                initiator: self.initiator.clone().ok_or(Status::MISSING_PARAMETER)?,
                isid: header.isid(),
                cid: header.cid(),
                discovery: self.discovery,
                params: self.params.clone(),
                cmd_sn: header.cmd_sn.get(),
            }));
        }
        self.stage = Some(next);
        Ok(Step::Continue(self.answer(Status::SUCCESS, FINAL)))
    }

    /// The parts of the header that have to hold; the stage that the request belongs to.
    fn check(&mut self, header: &RequestHeader, transit_and_more: bool) -> Result<Stage, Status> {
        if header.byte_3 > 0 {
            return Err(Status::UNSUPPORTED_VERSION);
        }
        let stage = Stage::from_bits(header.flags >> 2).ok_or(Status::INITIATOR_ERROR)?;
        let expected = *self.stage.get_or_insert(stage);
        if stage != expected
            || stage == Stage::FullFeature
            || transit_and_more
            || self.requests > REQUESTS_MAX
        {
            return Err(Status::INITIATOR_ERROR);
        }
        match header.tsih() {
            0 => Ok(stage),
            // One connection per session: nothing can be added to a session.
            _ => Err(Status::TOO_MANY_CONNECTIONS),
        }
    }

    /// Names and the session type stand in the first request and matter for how the rest is read.
    fn take_names(&mut self, pairs: &[(String, String)]) -> Result<(), Status> {
        for (key, value) in pairs {
            match key.as_str() {
                "InitiatorName" if is_iscsi_name(&value.to_lowercase()) => {
                    self.initiator.get_or_insert(value.to_lowercase());
                }
                "InitiatorName" => return Err(Status::INITIATOR_ERROR),
                "TargetName" => {
                    self.target.get_or_insert(value.to_lowercase());
                }
                "SessionType" => match value.as_str() {
                    "Normal" => self.discovery = false,
                    "Discovery" => self.discovery = true,
                    _ => return Err(Status::SESSION_TYPE),
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn take_key(&mut self, key: &str, value: &str) -> Result<(), Status> {
        if !self.seen.insert(key.to_owned()) {
            // A key may be offered once (RFC 7143 6.2).
            return Err(Status::INITIATOR_ERROR);
        }
        if matches!(key, "InitiatorName" | "TargetName" | "SessionType") {
            return Ok(());
        }
        match self.params.offer(key, value) {
            Verdict::Answer(answer) => {
                if key == "AuthMethod" && answer == "Reject" {
                    return Err(Status::AUTHENTICATION_FAILED);
                }
                self.declared |= key == "MaxRecvDataSegmentLength";
                text::push(&mut self.answer, key, &answer);
                Ok(())
            }
            Verdict::Silent => Ok(()),
            Verdict::Fatal => Err(Status::INITIATOR_ERROR),
        }
    }

    fn check_names(&self) -> Result<(), Status> {
        match (&self.initiator, &self.target) {
            (None, _) => Err(Status::MISSING_PARAMETER),
            (_, None) if !self.discovery => Err(Status::MISSING_PARAMETER),
            (_, Some(name)) if *name != self.target_iqn => Err(Status::NOT_FOUND),
            _ => Ok(()),
        }
    }

    /// What the target says of its own accord.
    fn add_own(&mut self, stage: Stage) {
        if !self.group_told && !self.discovery {
            self.group_told = true;
            let group = PORTAL_GROUP.to_string();
            text::push(&mut self.answer, "TargetPortalGroupTag", &group);
        }
        if stage == Stage::Operational && !self.declared {
            self.declared = true;
            let bytes = RECEIVE_BYTES_MAX.to_string();
            text::push(&mut self.answer, "MaxRecvDataSegmentLength", &bytes);
        }
    }

    /// The last answer of a login that succeeds.
    pub(crate) fn accept(&mut self, tsih: u16, window: u32) -> Answer {
        let mut answer = self.answer(Status::SUCCESS, FINAL);
        answer.header.lun[6..].copy_from_slice(&tsih.to_be_bytes());
        answer.header.max_cmd_sn = U32::new(
            answer
                .header
                .exp_cmd_sn
                .get()
                .wrapping_add(window)
                .wrapping_sub(1),
        );
        answer
    }

    /// The last answer of a login that does not.
    pub(crate) fn refuse(&mut self, status: Status) -> Answer {
        self.answer.clear();
        self.answer(status, 0)
    }

    fn answer(&mut self, status: Status, transit: u8) -> Answer {
        let request = self.last.as_ref().expect("answers follow a request");
        let mut header = AnswerHeader::new(opcode::LOGIN_RESPONSE, request.itt.get());
        // An answer echoes the stages; a refusal has none.
        header.flags = match status {
            Status::SUCCESS if transit != 0 => transit | (request.flags & 0x0f),
            Status::SUCCESS => request.flags & 0x0c,
            _ => 0,
        };
        header.lun = session_field(request.isid(), request.tsih());
        header.exp_cmd_sn = request.cmd_sn;
        header.max_cmd_sn = request.cmd_sn;
        header.word_9 = upper_half(status.0);
        if status == Status::SUCCESS {
            header.stat_sn = U32::new(self.stat_sn);
            self.stat_sn = self.stat_sn.wrapping_add(1);
        }
        Answer::with_data(header, std::mem::take(&mut self.answer))
    }
}
