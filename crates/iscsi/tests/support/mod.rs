// SPDX-License-Identifier: MIT OR Apache-2.0
//! A target on RAM disks, and an initiator that can also misbehave: bytes on a std TcpStream, nothing shared with the
//! code under test.

#![allow(dead_code, unreachable_pub)] // Each test file uses its part of this.

use block::fault::FaultDisk;
use block::ram::RamDisk;
use block::{Disk, WriteFence};
use iscsi::{Access, HostView, Target, TargetConfig};
use scsi::{Designator, Identity, LogicalUnit};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

pub const IQN: &str = "iqn.2026-11.test.shadowlun:array";
pub const HOST: &str = "iqn.1991-05.com.microsoft:winhost";
pub const OTHER_HOST: &str = "iqn.1991-05.com.microsoft:other";
pub const MIB: u64 = 1 << 20;
/// A test that waits this long for an answer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Views(BTreeMap<String, Arc<HostView>>, bool);

impl Access for Views {
    fn host_view(&self, initiator: &str) -> Option<Arc<HostView>> {
        match self.1 {
            true => self.0.get(HOST).cloned(),
            false => self.0.get(initiator).cloned(),
        }
    }
}

pub struct Lun {
    pub unit: Arc<LogicalUnit>,
    pub fence: Arc<WriteFence>,
    pub faults: Arc<FaultDisk>,
    pub disk: Disk,
}

impl Lun {
    pub fn new(size_bytes: u64, name: &str) -> Self {
        let faults = FaultDisk::new(RamDisk::new(size_bytes));
        let disk = Disk::new(faults.clone());
        let fence = WriteFence::new();
        let unit = LogicalUnit::disk(disk.clone(), Arc::clone(&fence), identity(name));
        Self {
            unit,
            fence,
            faults,
            disk,
        }
    }
}

/// A target with two hosts; LUNs 1 and 2 are mapped to both.
pub struct Rig {
    pub target: Target,
    pub address: SocketAddr,
    pub view: Arc<HostView>,
    pub other_view: Arc<HostView>,
    pub luns: [Lun; 2],
}

impl Rig {
    pub fn start() -> Self {
        Self::with(|_| {}, false)
    }

    /// Every initiator name is taken for [`HOST`]: the tools bring names of their own.
    pub fn open_to_all() -> Self {
        Self::with(|_| {}, true)
    }

    pub fn with(change: impl FnOnce(&mut TargetConfig), open: bool) -> Self {
        let luns = [Lun::new(64 * MIB, "one"), Lun::new(64 * MIB, "two")];
        let map: BTreeMap<u8, _> = [(1, luns[0].unit.clone()), (2, luns[1].unit.clone())].into();
        let controller = LogicalUnit::controller(identity("array"));
        let [view, other_view] = [(); 2].map(|()| HostView::new(Arc::clone(&controller)));
        view.set_luns(map.clone());
        other_view.set_luns(map);
        let views = [
            (HOST.to_owned(), view.clone()),
            (OTHER_HOST.to_owned(), other_view.clone()),
        ];
        let mut config = TargetConfig::new(IQN, vec!["127.0.0.1:0".parse().unwrap()]);
        change(&mut config);
        let target = Target::start(config, Arc::new(Views(views.into(), open))).unwrap();
        Self {
            address: target.local_addrs()[0],
            target,
            view,
            other_view,
            luns,
        }
    }

    pub fn url(&self, lun: u8) -> String {
        format!("iscsi://{}/{IQN}/{lun}", self.address)
    }

    /// A session of [`HOST`] that has heard of the power-on of LUNs 0 to 2.
    pub fn session(&self) -> Initiator {
        self.session_of(HOST, 1, &[])
    }

    pub fn session_of(&self, host: &str, isid: u8, keys: &[(&str, &str)]) -> Initiator {
        let mut initiator = Initiator::connect(self.address);
        initiator.login(host, isid, keys).expect("login");
        for lun in 0..=2 {
            assert_eq!(initiator.run(lun, &[0; 6], 0, &[]).sense(), "06/29/00");
        }
        initiator
    }
}

pub fn identity(name: &str) -> Identity {
    Identity {
        vendor: *b"SHADOWLN",
        product: *b"SHADOWLUN-VOLUME",
        revision: *b"0001",
        serial: name.to_owned(),
        designators: vec![Designator {
            code_set: 2,
            kind: 1,
            bytes: format!("SHADOWLN{name}").into_bytes(),
        }],
    }
}

#[derive(Clone, Debug)]
pub struct Pdu {
    pub bhs: [u8; 48],
    pub data: Vec<u8>,
}

impl Pdu {
    pub fn new(opcode: u8, flags: u8) -> Self {
        let mut bhs = [0; 48];
        bhs[0] = opcode;
        bhs[1] = flags;
        Self {
            bhs,
            data: Vec::new(),
        }
    }

    pub fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }

    pub fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bhs[at..at + 4].try_into().unwrap())
    }

    pub fn set(&mut self, at: usize, word: u32) {
        self.bhs[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }

    pub fn itt(&self) -> u32 {
        self.word(16)
    }

    pub fn text(&self) -> Vec<String> {
        self.data
            .split(|&byte| byte == 0)
            .filter(|pair| !pair.is_empty())
            .map(|pair| String::from_utf8(pair.to_vec()).unwrap())
            .collect()
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: u8,
    pub sense: Vec<u8>,
    pub data: Vec<u8>,
    /// O and U bits, and the count.
    pub residual: (u8, u32),
}

impl Outcome {
    pub fn sense(&self) -> String {
        match self.status {
            0 => "good".to_owned(),
            _ => {
                let s = &self.sense;
                format!("{:02x}/{:02x}/{:02x}", s[2] & 0xf, s[12], s[13])
            }
        }
    }

    pub fn good(self) -> Vec<u8> {
        assert_eq!(self.sense(), "good");
        self.data
    }
}

pub struct Initiator {
    pub stream: TcpStream,
    pub cmd_sn: u32,
    pub max_cmd_sn: u32,
    next_itt: u32,
    /// PDUs that came while something else was waited for.
    waiting: VecDeque<Pdu>,
    /// Data to send when it is asked for, by task.
    outgoing: BTreeMap<u32, Vec<u8>>,
    /// R2Ts that were answered: offset and length.
    pub r2ts: Vec<(u32, u32)>,
    pub segment_bytes: usize,
    /// Small writes carry their data in the command.
    immediate: bool,
}

pub const READ: u8 = 0x40;
pub const WRITE: u8 = 0x20;

impl Initiator {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            cmd_sn: 1,
            max_cmd_sn: 0,
            next_itt: 1,
            waiting: VecDeque::new(),
            outgoing: BTreeMap::new(),
            r2ts: Vec::new(),
            segment_bytes: 8192,
            immediate: true,
        }
    }

    pub fn send(&mut self, pdu: &Pdu) {
        let mut bytes = pdu.bhs.to_vec();
        bytes[5..8].copy_from_slice(&(pdu.data.len() as u32).to_be_bytes()[1..]);
        bytes.extend(&pdu.data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next PDU, or `None` when the target has closed the connection.
    pub fn receive(&mut self) -> Option<Pdu> {
        let mut bhs = [0; 48];
        if let Err(error) = self.stream.read_exact(&mut bhs) {
            assert!(
                !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ),
                "no answer within {PATIENCE:?}"
            );
            return None;
        }
        let length = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let mut data = vec![0; length.next_multiple_of(4)];
        self.stream.read_exact(&mut data).ok()?;
        data.truncate(length);
        let pdu = Pdu { bhs, data };
        let max = pdu.word(32);
        if (max.wrapping_sub(self.max_cmd_sn) as i32) > 0 || self.max_cmd_sn == 0 {
            self.max_cmd_sn = max;
        }
        Some(pdu)
    }

    /// The next PDU for which `which` holds; others are kept for later, R2Ts are answered.
    pub fn wait_for(&mut self, which: impl Fn(&Pdu) -> bool) -> Pdu {
        if let Some(at) = self.waiting.iter().position(&which) {
            return self.waiting.remove(at).unwrap();
        }
        loop {
            let pdu = self.receive().expect("the connection stays open");
            if pdu.opcode() == 0x31 && self.outgoing.contains_key(&pdu.itt()) {
                self.answer_r2t(&pdu);
            } else if which(&pdu) {
                return pdu;
            } else {
                self.waiting.push_back(pdu);
            }
        }
    }

    fn answer_r2t(&mut self, r2t: &Pdu) {
        let (offset, length) = (r2t.word(40), r2t.word(44));
        self.r2ts.push((offset, length));
        let data = self.outgoing[&r2t.itt()].clone();
        let mut done = 0;
        let mut sn = 0;
        while done < length as usize {
            let part = self.segment_bytes.min(length as usize - done);
            let last = done + part == length as usize;
            let from = offset as usize + done;
            self.data_out(
                r2t.itt(),
                r2t.word(20),
                sn,
                from,
                &data[from..from + part],
                last,
            );
            done += part;
            sn += 1;
        }
    }

    pub fn data_out(
        &mut self,
        itt: u32,
        ttt: u32,
        sn: u32,
        offset: usize,
        data: &[u8],
        last: bool,
    ) {
        let mut pdu = Pdu::new(0x05, if last { 0x80 } else { 0 });
        pdu.set(16, itt);
        pdu.set(20, ttt);
        pdu.set(36, sn);
        pdu.set(40, offset as u32);
        pdu.data = data.to_vec();
        self.send(&pdu);
    }

    /// One login request in the operational stage that asks for the full feature phase; the status on refusal.
    pub fn login(&mut self, host: &str, isid: u8, keys: &[(&str, &str)]) -> Result<Pdu, u16> {
        self.immediate = !keys.contains(&("ImmediateData", "No"));
        let mut all = vec![
            ("InitiatorName", host),
            ("SessionType", "Normal"),
            ("TargetName", IQN),
            ("MaxRecvDataSegmentLength", "262144"),
        ];
        if keys.iter().any(|(key, _)| *key == "SessionType") {
            all.drain(1..3);
        }
        all.extend(keys);
        self.login_raw(isid, &all)
    }

    pub fn login_raw(&mut self, isid: u8, keys: &[(&str, &str)]) -> Result<Pdu, u16> {
        let mut pdu = Pdu::new(0x43, 0x87);
        pdu.bhs[8] = 0x80;
        pdu.bhs[13] = isid;
        pdu.set(24, self.cmd_sn);
        for (key, value) in keys {
            pdu.data.extend(format!("{key}={value}\0").bytes());
        }
        self.send(&pdu);
        let answer = self.receive().expect("a login is answered");
        assert_eq!(answer.opcode(), 0x23);
        match u16::from_be_bytes([answer.bhs[36], answer.bhs[37]]) {
            0 => Ok(answer),
            status => Err(status),
        }
    }

    pub fn fresh_itt(&mut self) -> u32 {
        self.next_itt += 1;
        self.next_itt
    }

    /// A SCSI Command PDU with the next CmdSN, not yet sent.
    pub fn command_pdu(&mut self, lun: u8, cdb: &[u8], flags: u8, expected: u32) -> Pdu {
        let mut pdu = Pdu::new(0x01, 0x80 | flags | 0x01);
        pdu.bhs[9] = lun;
        pdu.set(16, self.fresh_itt());
        pdu.set(20, expected);
        pdu.set(24, self.cmd_sn);
        pdu.bhs[32..32 + cdb.len()].copy_from_slice(cdb);
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        pdu
    }

    /// Sends a command; `data` goes out as the target asks for it. Gives its task tag.
    pub fn start(&mut self, lun: u8, cdb: &[u8], expected: u32, data: &[u8]) -> u32 {
        let flags = match (data.is_empty(), expected) {
            (false, _) => WRITE,
            (true, 0) => 0,
            _ => READ,
        };
        let expected = if data.is_empty() {
            expected
        } else {
            data.len() as u32
        };
        let mut pdu = self.command_pdu(lun, cdb, flags, expected);
        if self.immediate && data.len() <= self.segment_bytes {
            pdu.data = data.to_vec();
        }
        self.outgoing.insert(pdu.itt(), data.to_vec());
        self.send(&pdu);
        pdu.itt()
    }

    /// Waits for the end of a command.
    pub fn finish(&mut self, itt: u32) -> Outcome {
        let mut data = Vec::new();
        loop {
            let pdu = self.wait_for(|pdu| pdu.itt() == itt);
            match pdu.opcode() {
                0x25 => {
                    assert_eq!(pdu.word(40) as usize, data.len(), "Data-In comes in order");
                    data.extend(&pdu.data);
                    if pdu.bhs[1] & 1 != 0 {
                        return Outcome {
                            status: pdu.bhs[3],
                            sense: Vec::new(),
                            data,
                            residual: (pdu.bhs[1] & 6, pdu.word(44)),
                        };
                    }
                }
                0x21 => {
                    return Outcome {
                        status: pdu.bhs[3],
                        sense: pdu.data.get(2..).unwrap_or_default().to_vec(),
                        data,
                        residual: (pdu.bhs[1] & 6, pdu.word(44)),
                    };
                }
                opcode => panic!("PDU {opcode:02x} in the middle of a command: {pdu:02x?}"),
            }
        }
    }

    pub fn run(&mut self, lun: u8, cdb: &[u8], expected: u32, data: &[u8]) -> Outcome {
        let itt = self.start(lun, cdb, expected, data);
        self.finish(itt)
    }

    pub fn read(&mut self, lun: u8, lba: u32, blocks: u16) -> Outcome {
        self.run(
            lun,
            &transfer_10(0x28, lba, blocks),
            u32::from(blocks) * 512,
            &[],
        )
    }

    pub fn start_write(&mut self, lun: u8, lba: u32, data: &[u8]) -> u32 {
        let cdb = transfer_10(0x2a, lba, (data.len() / 512) as u16);
        self.start(lun, &cdb, 0, data)
    }

    pub fn write(&mut self, lun: u8, lba: u32, data: &[u8]) -> Outcome {
        let itt = self.start_write(lun, lba, data);
        self.finish(itt)
    }

    /// Sends an immediate task management request; gives its tag.
    pub fn start_management(&mut self, function: u8, lun: u8, referenced: u32) -> u32 {
        let mut pdu = Pdu::new(0x42, 0x80 | function);
        let itt = self.fresh_itt();
        pdu.bhs[9] = lun;
        pdu.set(16, itt);
        pdu.set(20, referenced);
        pdu.set(24, self.cmd_sn);
        // A RefCmdSN that was used long ago.
        pdu.set(32, self.cmd_sn.wrapping_sub(1));
        self.send(&pdu);
        itt
    }

    pub fn manage(&mut self, function: u8, lun: u8, referenced: u32) -> u8 {
        let itt = self.start_management(function, lun, referenced);
        self.managed(itt)
    }

    /// Waits for the answer to a task management request.
    pub fn managed(&mut self, itt: u32) -> u8 {
        self.wait_for(|pdu| pdu.opcode() == 0x22 && pdu.itt() == itt)
            .bhs[2]
    }

    /// A NOP-Out and its echo: everything sent before has been received, everything received is in `waiting`.
    pub fn echo(&mut self) {
        let mut pdu = Pdu::new(0x40, 0x80);
        let itt = self.fresh_itt();
        pdu.set(16, itt);
        pdu.set(20, u32::MAX);
        pdu.set(24, self.cmd_sn);
        pdu.data = b"echo?".to_vec();
        self.send(&pdu);
        let answer = self.wait_for(|pdu| pdu.opcode() == 0x20 && pdu.itt() == itt);
        assert_eq!(answer.data, b"echo?");
    }

    /// Whether an answer for this task has come.
    pub fn has_answer(&self, itt: u32) -> bool {
        self.waiting.iter().any(|pdu| pdu.itt() == itt)
    }

    /// Whether the target closes the connection without another PDU.
    pub fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }
}

pub fn transfer_10(opcode: u8, lba: u32, blocks: u16) -> Vec<u8> {
    let mut cdb = vec![opcode, 0];
    cdb.extend(lba.to_be_bytes());
    cdb.push(0);
    cdb.extend(blocks.to_be_bytes());
    cdb.push(0);
    cdb
}
