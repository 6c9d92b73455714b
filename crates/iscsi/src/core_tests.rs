// SPDX-License-Identifier: MIT OR Apache-2.0
//! The session's and the login's state machines fed directly, without a socket.

use crate::core::{Core, CoreConfig, Effects};
use crate::latch::Latch;
use crate::login::{LoginMachine, Step};
use crate::negotiate::Params;
use crate::pdu::{NO_TAG, Request, RequestHeader, opcode};
use crate::view::HostView;
use block::ram::RamDisk;
use block::{Disk, WriteFence};
use proptest::prelude::*;
use scsi::{Identity, LogicalUnit, Nexus, Reply};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, FromZeros};

const WRITE: u8 = 0xa1;
const READ: u8 = 0xc1;

fn identity() -> Identity {
    Identity {
        vendor: *b"SHADOWLN",
        product: *b"SHADOWLUN-VOLUME",
        revision: *b"0001",
        serial: "1".to_owned(),
        designators: Vec::new(),
    }
}

fn core(params: Params) -> Core {
    let view = HostView::new(LogicalUnit::controller(identity()));
    let disk = Disk::new(RamDisk::new(1 << 20));
    let unit = LogicalUnit::disk(disk, WriteFence::new(), identity());
    view.set_luns(BTreeMap::from([(1, unit)]));
    let nexus = Arc::new(Nexus::new());
    nexus.take(1);
    let config = CoreConfig {
        params,
        discovery: false,
        cid: 0,
        cmd_sn: 1,
        stat_sn: 1,
        window: 4,
        view,
        nexus,
        target_iqn: "iqn.2026-11.test:a".to_owned(),
        addresses: vec!["127.0.0.1:3260,1".to_owned()],
    };
    Core::new(config, Instant::now())
}

fn request(operation: u8, flags: u8, itt: u32, cmd_sn: u32) -> Request {
    let mut header = RequestHeader::new_zeroed();
    header.opcode = operation;
    header.flags = flags;
    header.itt = U32::new(itt);
    header.cmd_sn = U32::new(cmd_sn);
    Request {
        header,
        ahs: Vec::new(),
        data: Vec::new(),
    }
}

/// A transfer of `blocks` blocks at LUN 1.
fn transfer(cdb_opcode: u8, flags: u8, itt: u32, cmd_sn: u32, blocks: u8) -> Request {
    let mut request = request(opcode::SCSI_COMMAND, flags, itt, cmd_sn);
    request.header.lun[1] = 1;
    request.header.word_5 = U32::new(u32::from(blocks) * 512);
    request.header.tail[0] = cdb_opcode;
    request.header.tail[8] = blocks;
    request
}

fn feed(core: &mut Core, request: Request) -> Effects {
    core.on_request(request, Instant::now())
}

#[test]
fn window_is_as_wide_as_what_is_free() {
    let mut core = core(Params::default());
    for itt in 0..4 {
        let effects = feed(&mut core, transfer(0x28, READ, itt, 1 + itt, 1));
        assert_eq!(effects.start.len(), 1);
    }
    // A fifth is outside the window and ignored.
    assert!(
        feed(&mut core, transfer(0x28, READ, 4, 5, 1))
            .start
            .is_empty()
    );
    core.begin(1).unwrap();
    let answer = &core.complete(1, Reply::good(vec![0; 512])).send[0];
    let header = &answer.header;
    assert_eq!((header.exp_cmd_sn.get(), header.max_cmd_sn.get()), (5, 5));
    assert_eq!(
        feed(&mut core, transfer(0x28, READ, 4, 5, 1)).start.len(),
        1
    );
}

#[test]
fn parked_task_opens_a_shut_window_and_says_so() {
    let mut core = core(Params::default());
    for itt in 0..4 {
        let mut write = transfer(0x2a, WRITE, itt, 1 + itt, 1);
        write.data = vec![1; 512];
        assert!(feed(&mut core, write).start[0].fence.is_some());
    }
    let said = core.park(1).send;
    assert_eq!(said.len(), 1);
    let header = &said[0].header;
    assert_eq!((header.opcode, header.ttt.get()), (opcode::NOP_IN, NO_TAG));
    assert_eq!(header.max_cmd_sn.get(), 5);
    assert!(core.park(2).send.is_empty());
}

#[test]
fn ordered_task_keeps_its_place() {
    const ORDERED_WRITE: u8 = 0xa2;
    let mut core = core(Params::default());
    let started =
        |effects: Effects| -> Vec<u64> { effects.start.iter().map(|start| start.task).collect() };
    assert_eq!(started(feed(&mut core, transfer(0x28, READ, 1, 1, 1))), [1]);
    let mut write = transfer(0x2a, ORDERED_WRITE, 2, 2, 1);
    write.data = vec![1; 512];
    assert!(started(feed(&mut core, write)).is_empty());
    assert!(started(feed(&mut core, transfer(0x28, READ, 3, 3, 1))).is_empty());
    core.begin(1).unwrap();
    assert_eq!(started(core.complete(1, Reply::good(vec![0; 512]))), [2]);
    core.begin(2).unwrap();
    assert_eq!(started(core.complete(2, Reply::good(Vec::new()))), [3]);
}

#[test]
fn status_numbers_count_statuses_only() {
    let mut core = core(Params {
        immediate_data: false,
        ..Params::default()
    });
    let asked = feed(&mut core, transfer(0x2a, WRITE, 1, 1, 1));
    assert_eq!(asked.send[0].header.opcode, opcode::R2T);
    assert_eq!(asked.send[0].header.stat_sn.get(), 1);
    let echoed = feed(&mut core, request(opcode::NOP_OUT | 0x40, 0x80, 2, 2));
    assert_eq!(echoed.send[0].header.stat_sn.get(), 1);
    let echoed = feed(&mut core, request(opcode::NOP_OUT | 0x40, 0x80, 2, 2));
    assert_eq!(echoed.send[0].header.stat_sn.get(), 2);
}

#[test]
fn data_in_is_cut_at_segments_and_bursts() {
    let mut core = core(Params {
        send_bytes_max: 1024,
        max_burst_bytes: 1536,
        ..Params::default()
    });
    feed(&mut core, transfer(0x28, READ, 1, 1, 5));
    core.begin(1).unwrap();
    let sent = core.complete(1, Reply::good(vec![0; 2560])).send;
    let shape: Vec<_> = sent
        .iter()
        .map(|pdu| (pdu.header.word_10.get(), pdu.range.len(), pdu.header.flags))
        .collect();
    assert_eq!(shape, [(0, 1024, 0), (1024, 512, 0x80), (1536, 1024, 0x81)]);
}

#[test]
fn abort_executing_task_lets_go_of_the_latch_at_its_end() {
    let mut core = core(Params::default());
    feed(&mut core, transfer(0x28, READ, 7, 1, 1));
    core.begin(1).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    let latch = Arc::new(Latch::new(move || end.store(true, Ordering::Relaxed)));
    let mut effects = Effects::default();
    assert_eq!(
        core.abort_where(|task| task.itt == 7, &latch, &mut effects),
        1
    );
    drop((latch, effects));
    assert!(!ended.load(Ordering::Relaxed));
    let effects = core.complete(1, Reply::good(Vec::new()));
    assert!(effects.send.is_empty());
    drop(effects);
    assert!(ended.load(Ordering::Relaxed));
}

#[test]
fn silence_is_asked_about_once_and_then_ends() {
    let mut core = core(Params::default());
    let (ping, dead) = (Duration::from_secs(30), Duration::from_secs(10));
    let at = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert!(core.tick(at(29), ping, dead).send.is_empty());
    assert_eq!(core.tick(at(31), ping, dead).send.len(), 1);
    assert!(core.tick(at(35), ping, dead).send.is_empty());
    assert!(core.tick(at(42), ping, dead).close.is_some());
}

#[test]
fn text_answer_that_does_not_fit_is_continued() {
    let mut core = core(Params {
        send_bytes_max: 20,
        ..Params::default()
    });
    let mut asked = request(opcode::TEXT | 0x40, 0x80, 5, 1);
    asked.header.word_5 = U32::new(NO_TAG);
    asked.data = b"SendTargets=\0".to_vec();
    let mut told: Vec<u8> = Vec::new();
    loop {
        let effects = feed(&mut core, asked.clone());
        let pdu = &effects.send[0];
        told.extend(pdu.data());
        if pdu.header.flags & 0x80 != 0 {
            break;
        }
        asked.header.word_5 = pdu.header.ttt;
        asked.data.clear();
    }
    assert_eq!(
        told,
        b"TargetName=iqn.2026-11.test:a\0TargetAddress=127.0.0.1:3260,1\0"
    );
}

/// Headers whose fields hit each other often enough to get somewhere.
fn any_request() -> impl Strategy<Value = Request> {
    let opcodes = prop::sample::select(vec![
        0x00u8, 0x01, 0x01, 0x01, 0x02, 0x04, 0x05, 0x05, 0x06, 0x10,
    ]);
    let cdbs = prop::sample::select(vec![0x00u8, 0x28, 0x2a, 0x2a, 0x42, 0x41, 0x93, 0xa0, 0xff]);
    (
        (opcodes, any::<bool>(), any::<u8>(), 0u8..3, 0u32..5),
        (0u32..8, 0u32..40, cdbs, prop::array::uniform8(0u8..4)),
        (prop::collection::vec(any::<u8>(), 0..1500), 0u32..6),
    )
        .prop_map(|(a, b, (data, words))| {
            let (operation, immediate, flags, lun, itt) = a;
            let (word_5, cmd_sn, cdb, tail) = b;
            let operation = operation | if immediate { 0x40 } else { 0 };
            let mut request = request(operation, flags, itt, cmd_sn);
            request.header.lun[1] = lun;
            request.header.word_5 = match word_5 {
                0 => U32::new(NO_TAG),
                other => U32::new((other - 1) * 512),
            };
            request.header.tail[0] = cdb;
            request.header.tail[7..15].copy_from_slice(&tail);
            if operation & 0x3f == opcode::DATA_OUT {
                request.header.tail = [0; 16];
                request.header.tail[11] = if words > 3 { 0 } else { words as u8 };
                request.header.word_5 = U32::new(if words % 2 == 0 { NO_TAG } else { word_5 });
            }
            request.data = data;
            request
        })
}

proptest! {
    #[test]
    fn any_requests_never_panic(
        requests in prop::collection::vec(any_request(), 1..60),
        initial_r2t: bool,
        immediate_data: bool,
    ) {
        let mut core = core(Params { initial_r2t, immediate_data, ..Params::default() });
        let mut running = Vec::new();
        for (step, request) in requests.into_iter().enumerate() {
            let effects = feed(&mut core, request);
            running.extend(effects.start.iter().map(|start| start.task));
            if step % 3 == 0 && let Some(task) = running.pop() {
                core.park(task);
                if core.begin(task).is_some() {
                    core.complete(task, Reply::good(vec![0; 100]));
                }
            }
        }
        core.close(&mut Effects::default());
        prop_assert_eq!(core.task_count(), 0);
    }

    #[test]
    fn any_login_never_panics(
        headers in prop::collection::vec(any::<[u8; 48]>(), 1..6),
        sound: bool,
        text in "[A-Za-z]{0,12}=[A-Za-z0-9,]{0,12}",
    ) {
        let mut machine = LoginMachine::new("iqn.2026-11.test:a");
        for bytes in headers {
            let mut header = RequestHeader::read_from_bytes(&bytes).expect("48 bytes");
            if sound {
                header.opcode = 0x43;
                header.byte_3 = 0;
                header.flags &= 0xc7;
                header.lun[6..].fill(0);
            }
            let names = "InitiatorName=iqn.2026-11.test:i\0TargetName=iqn.2026-11.test:a\0";
            let data = format!("{names}{text}\0").into_bytes();
            if let Step::Decide(_) = machine.on_request(&Request { header, ahs: Vec::new(), data }) {
                machine.accept(1, 128);
            }
        }
    }
}
