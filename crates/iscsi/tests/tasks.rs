// SPDX-License-Identifier: MIT OR Apache-2.0
//! The write fence and task management as an initiator meets them.

mod support;

use block::fault::{Op, Rule};
use block::hold_all;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{OTHER_HOST, Rig};

const ABORT_TASK: u8 = 1;
const ABORT_TASK_SET: u8 = 2;
const CLEAR_TASK_SET: u8 = 4;
const LUN_RESET: u8 = 5;
const WARM_RESET: u8 = 6;
const COLD_RESET: u8 = 7;
const COMPLETE: u8 = 0;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[test]
fn fence_held_reads_other_luns_and_management_go_on() {
    let rig = Rig::start();
    let mut host = rig.session();
    let hold = hold_all(&[Arc::clone(&rig.luns[0].fence)], soon()).unwrap();
    let write = host.start_write(1, 0, &[1; 4096]);

    assert_eq!(host.read(1, 0, 8).good(), [0; 4096]);
    host.write(2, 0, &[2; 4096]).good();
    assert_eq!(host.manage(ABORT_TASK, 1, 0x7777), 1);
    host.echo();
    assert!(!host.has_answer(write));

    drop(hold);
    assert_eq!(host.finish(write).sense(), "good");
    assert_eq!(host.read(1, 0, 8).good(), [1; 4096]);
}

#[test]
fn fence_held_aborted_write_never_lands() {
    let rig = Rig::start();
    let mut host = rig.session();
    let hold = hold_all(&[Arc::clone(&rig.luns[0].fence)], soon()).unwrap();
    let aborted = host.start_write(1, 0, &[1; 512]);
    let kept = host.start_write(1, 1, &[2; 512]);
    host.echo();
    assert_eq!(rig.luns[0].fence.parked(), 2);
    assert_eq!(host.manage(ABORT_TASK, 1, aborted), COMPLETE);
    drop(hold);
    assert_eq!(host.finish(kept).sense(), "good");
    let data = host.read(1, 0, 2).good();
    assert_eq!((data[0], data[512]), (0, 2));
    assert!(!host.has_answer(aborted));
}

#[test]
fn fence_held_writes_of_a_closed_session_never_land() {
    let rig = Rig::start();
    let mut host = rig.session();
    let hold = hold_all(&[Arc::clone(&rig.luns[0].fence)], soon()).unwrap();
    host.start_write(1, 0, &[1; 512]);
    host.echo();
    assert_eq!(rig.luns[0].fence.parked(), 1);
    assert_eq!(rig.target.drop_sessions(support::HOST), 1);
    drop(hold);
    let mut again = rig.session();
    assert_eq!(again.read(1, 0, 1).good(), [0; 512]);
}

#[test]
fn fence_held_beyond_the_target_gives_its_permits_back() {
    let rig = Rig::start();
    let mut host = rig.session();
    let fence = Arc::clone(&rig.luns[0].fence);
    let hold = hold_all(&[Arc::clone(&fence)], soon()).unwrap();
    host.start_write(1, 0, &[1; 512]);
    host.echo();
    rig.target.shutdown();
    drop(hold);
    assert!(hold_all(&[fence], soon()).is_ok());
}

#[test]
fn fence_held_full_queue_of_writes_leaves_room_for_reads() {
    let rig = Rig::with(|config| config.tasks_per_session = 8, false);
    let mut host = rig.session();
    let hold = hold_all(&[Arc::clone(&rig.luns[0].fence)], soon()).unwrap();
    let mut writes = Vec::new();
    for lba in 0..16 {
        while (host.max_cmd_sn.wrapping_sub(host.cmd_sn) as i32) < 0 {
            // The target says of its own accord that there is room again.
            host.wait_for(|pdu| pdu.opcode() == 0x20);
        }
        writes.push(host.start_write(1, lba, &[1; 512]));
        host.echo();
    }
    assert_eq!(host.read(1, 0, 1).good(), [0; 512]);
    assert_eq!(rig.luns[0].fence.parked(), 16);
    drop(hold);
    for write in writes {
        assert_eq!(host.finish(write).sense(), "good");
    }
}

#[test]
fn abort_task_in_execution_is_answered_when_it_has_ended() {
    let rig = Rig::start();
    let mut host = rig.session();
    let blocked = rig.luns[0].faults.block(Rule::of(Op::Write));
    let write = host.start_write(1, 0, &[1; 512]);
    blocked.wait_arrived(1);
    let management = host.start_management(ABORT_TASK, 1, write);
    host.echo();
    assert!(!host.has_answer(management));
    drop(blocked);
    assert_eq!(host.managed(management), COMPLETE);
    // It could not be taken back, so it landed before the answer, and nobody hears of it any more.
    assert_eq!(host.read(1, 0, 1).good(), [1; 512]);
    assert!(!host.has_answer(write));
}

#[test]
fn abort_task_set_leaves_other_luns_alone() {
    let rig = Rig::start();
    let mut host = rig.session();
    let fences = [
        Arc::clone(&rig.luns[0].fence),
        Arc::clone(&rig.luns[1].fence),
    ];
    let hold = hold_all(&fences, soon()).unwrap();
    host.start_write(1, 0, &[1; 512]);
    let kept = host.start_write(2, 0, &[2; 512]);
    assert_eq!(host.manage(ABORT_TASK_SET, 1, u32::MAX), COMPLETE);
    drop(hold);
    assert_eq!(host.finish(kept).sense(), "good");
    assert_eq!(host.read(1, 0, 1).good(), [0; 512]);
}

#[test]
fn abort_task_while_data_is_missing_swallows_what_still_comes() {
    let rig = Rig::start();
    let mut host = rig.session();
    let cdb = support::transfer_10(0x2a, 0, 2);
    let pdu = host.command_pdu(1, &cdb, support::WRITE, 1024);
    host.send(&pdu);
    let r2t = host.wait_for(|pdu| pdu.opcode() == 0x31);
    assert_eq!(host.manage(ABORT_TASK, 1, pdu.itt()), COMPLETE);
    host.data_out(pdu.itt(), r2t.word(20), 0, 0, &[1; 1024], true);
    assert_eq!(host.read(1, 0, 2).good(), [0; 1024]);
}

#[test]
fn clear_task_set_reaches_other_sessions() {
    let rig = Rig::start();
    let mut host = rig.session();
    let mut other = rig.session_of(OTHER_HOST, 1, &[]);
    let hold = hold_all(&[Arc::clone(&rig.luns[0].fence)], soon()).unwrap();
    other.start_write(1, 0, &[1; 512]);
    other.echo();
    assert_eq!(host.manage(CLEAR_TASK_SET, 1, u32::MAX), COMPLETE);
    drop(hold);
    assert_eq!(other.read(1, 0, 1).sense(), "06/2f/00");
    assert_eq!(other.read(1, 0, 1).good(), [0; 512]);
    host.read(1, 0, 1).good();
}

#[test]
fn lun_reset_aborts_everywhere_and_is_told_on_that_lun_only() {
    let rig = Rig::start();
    let mut host = rig.session();
    let mut other = rig.session_of(OTHER_HOST, 1, &[]);
    let blocked = rig.luns[0].faults.block(Rule::of(Op::Read));
    let read = other.start(1, &support::transfer_10(0x28, 0, 1), 512, &[]);
    blocked.wait_arrived(1);
    let reset = host.start_management(LUN_RESET, 1, u32::MAX);
    host.echo();
    assert!(!host.has_answer(reset));
    drop(blocked);
    assert_eq!(host.managed(reset), COMPLETE);
    for session in [&mut host, &mut other] {
        session.read(2, 0, 1).good();
        assert_eq!(session.read(1, 0, 1).sense(), "06/29/03");
        session.read(1, 0, 1).good();
    }
    assert!(!other.has_answer(read));
}

#[test]
fn lun_reset_of_nothing_is_refused() {
    let rig = Rig::start();
    let mut host = rig.session();
    assert_eq!(host.manage(LUN_RESET, 9, u32::MAX), 2);
    // CLEAR ACA and TASK REASSIGN.
    assert_eq!(host.manage(3, 1, u32::MAX), 5);
    assert_eq!(host.manage(8, 1, u32::MAX), 4);
}

#[test]
fn warm_reset_is_told_on_every_lun() {
    let rig = Rig::start();
    let mut host = rig.session();
    assert_eq!(host.manage(WARM_RESET, 0, u32::MAX), COMPLETE);
    assert_eq!(host.read(1, 0, 1).sense(), "06/29/03");
    assert_eq!(host.read(2, 0, 1).sense(), "06/29/03");
}

#[test]
fn cold_reset_ends_the_sessions_of_that_host() {
    let rig = Rig::start();
    let mut host = rig.session();
    let mut second = rig.session_of(support::HOST, 2, &[]);
    let mut other = rig.session_of(OTHER_HOST, 1, &[]);
    assert_eq!(host.manage(COLD_RESET, 0, u32::MAX), COMPLETE);
    assert!(host.is_closed());
    assert!(second.is_closed());
    assert_eq!(other.read(1, 0, 1).sense(), "06/29/03");
}
