// SPDX-License-Identifier: MIT OR Apache-2.0
//! Logins, sessions and data transfer as an initiator meets them.

mod support;

use iscsi::{StartError, Target, TargetConfig};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use support::{HOST, IQN, Initiator, Lun, MIB, OTHER_HOST, Pdu, Rig, WRITE, transfer_10};

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 512 + at % 251) as u8).collect()
}

#[test]
fn login_unknown_initiator_is_not_authorized() {
    let rig = Rig::start();
    let mut stranger = Initiator::connect(rig.address);
    let refused = stranger.login("iqn.2026-11.test:stranger", 1, &[]);
    assert_eq!(refused.unwrap_err(), 0x0202);
    assert!(stranger.is_closed());
}

#[test]
fn login_wrong_or_missing_names_are_refused() {
    let rig = Rig::start();
    let refused = |keys: &[(&str, &str)]| {
        Initiator::connect(rig.address)
            .login_raw(1, keys)
            .unwrap_err()
    };
    let name = ("InitiatorName", HOST);
    assert_eq!(refused(&[name]), 0x0207);
    assert_eq!(refused(&[("TargetName", IQN)]), 0x0207);
    assert_eq!(
        refused(&[name, ("TargetName", "iqn.2026-11.test:no")]),
        0x0203
    );
    assert_eq!(
        refused(&[("InitiatorName", "winhost"), ("TargetName", IQN)]),
        0x0200
    );
    let chap = ("AuthMethod", "CHAP");
    assert_eq!(refused(&[name, ("TargetName", IQN), chap]), 0x0201);
}

#[test]
fn login_is_answered_to_the_byte() {
    let rig = Rig::start();
    let mut host = Initiator::connect(rig.address);
    let answer = host
        .login(
            HOST,
            7,
            &[("HeaderDigest", "CRC32C,None"), ("InitialR2T", "No")],
        )
        .unwrap();
    let mut expected = [0; 48];
    expected[0] = 0x23;
    // Transit from the operational stage to the full feature phase.
    expected[1] = 0x87;
    let text = b"MaxRecvDataSegmentLength=262144\0HeaderDigest=None\0InitialR2T=No\0TargetPortalGroupTag=1\0";
    expected[7] = text.len() as u8;
    expected[8] = 0x80;
    expected[13] = 7;
    expected[15] = 1;
    expected[31] = 1;
    expected[35] = 128;
    assert_eq!(answer.bhs, expected);
    assert_eq!(answer.data, text);
}

#[test]
fn login_through_the_security_stage_works() {
    let rig = Rig::start();
    let mut host = Initiator::connect(rig.address);
    let mut pdu = Pdu::new(0x43, 0x81);
    pdu.set(24, 5);
    pdu.data =
        format!("InitiatorName={HOST}\0TargetName={IQN}\0AuthMethod=CHAP,None\0").into_bytes();
    host.send(&pdu);
    let answer = host.receive().unwrap();
    assert_eq!(answer.bhs[1], 0x81);
    assert!(answer.text().contains(&"AuthMethod=None".to_owned()));
    // The second step comes in two parts.
    let mut pdu = Pdu::new(0x43, 0x44);
    pdu.data = b"MaxBurst".to_vec();
    host.send(&pdu);
    assert_eq!(host.receive().unwrap().bhs[1], 0x04);
    let mut pdu = Pdu::new(0x43, 0x87);
    pdu.data = b"Length=65536\0".to_vec();
    host.send(&pdu);
    let answer = host.receive().unwrap();
    assert_eq!(answer.bhs[1], 0x87);
    let text = answer.text();
    assert_eq!(
        text,
        ["MaxBurstLength=65536", "MaxRecvDataSegmentLength=262144"]
    );
}

#[test]
fn login_other_pdu_first_is_cut() {
    let rig = Rig::start();
    let mut host = Initiator::connect(rig.address);
    host.send(&Pdu::new(0x01, 0x80));
    assert!(host.is_closed());
}

#[test]
fn login_that_does_not_come_is_cut() {
    let rig = Rig::with(
        |config| config.login_within = Duration::from_millis(50),
        false,
    );
    assert!(Initiator::connect(rig.address).is_closed());
}

#[test]
fn login_more_sessions_than_allowed_is_out_of_resources() {
    let rig = Rig::with(|config| config.sessions_max = 2, false);
    let _first = rig.session_of(HOST, 1, &[]);
    let _second = rig.session_of(HOST, 2, &[]);
    let refused = Initiator::connect(rig.address).login(HOST, 3, &[]);
    assert_eq!(refused.unwrap_err(), 0x0302);
}

#[test]
fn login_same_isid_takes_the_old_sessions_place() {
    let rig = Rig::start();
    let mut old = rig.session_of(HOST, 1, &[]);
    let mut new = rig.session_of(HOST, 1, &[]);
    assert!(old.is_closed());
    new.read(1, 0, 1).good();
    assert_eq!(rig.target.sessions().len(), 1);
}

#[test]
fn discovery_names_the_target_and_takes_no_commands() {
    let rig = Rig::start();
    let mut host = Initiator::connect(rig.address);
    host.login(HOST, 1, &[("SessionType", "Discovery")])
        .unwrap();
    let mut pdu = Pdu::new(0x44, 0x80);
    pdu.set(16, 9);
    pdu.set(20, u32::MAX);
    pdu.set(24, host.cmd_sn);
    pdu.data = b"SendTargets=All\0".to_vec();
    host.send(&pdu);
    let answer = host.wait_for(|pdu| pdu.opcode() == 0x24);
    let address = format!("TargetAddress={},1", rig.address);
    assert_eq!(answer.text(), [format!("TargetName={IQN}"), address]);
    assert!(rig.target.sessions()[0].discovery);
    let command = host.command_pdu(0, &[0; 6], 0, 0);
    host.send(&command);
    let reject = host.wait_for(|pdu| pdu.opcode() == 0x3f);
    assert_eq!(reject.data, command.bhs);
}

#[test]
fn sessions_many_at_once_keep_their_data_apart() {
    let rig = Rig::start();
    std::thread::scope(|scope| {
        for number in 0..24u8 {
            let rig = &rig;
            scope.spawn(move || {
                let mut host = rig.session_of(HOST, number, &[]);
                for round in 0..20u32 {
                    let lba = u32::from(number) * 64 + round;
                    host.write(1, lba, &[number + 1; 512]).good();
                    assert_eq!(host.read(1, lba, 1).good(), [number + 1; 512]);
                }
            });
        }
    });
}

#[test]
fn write_by_r2t_keeps_to_the_agreed_bursts() {
    let rig = Rig::start();
    let keys = [
        ("InitialR2T", "Yes"),
        ("ImmediateData", "No"),
        ("MaxBurstLength", "65536"),
        ("MaxOutstandingR2T", "4"),
    ];
    let mut host = rig.session_of(HOST, 1, &keys);
    let data = pattern(MIB as usize);
    host.write(1, 100, &data).good();
    assert_eq!(host.r2ts.len(), 16);
    assert!(host.r2ts.iter().all(|(_, length)| *length == 65_536));
    let read = host.read(1, 100, 2048);
    assert_eq!(read.residual, (0, 0));
    assert!(read.good() == data);
}

#[test]
fn write_with_immediate_and_unsolicited_data_is_completed_by_r2t() {
    let rig = Rig::start();
    let keys = [("InitialR2T", "No"), ("FirstBurstLength", "8192")];
    let mut host = rig.session_of(HOST, 1, &keys);
    let data = pattern(32_768);
    let mut pdu = host.command_pdu(1, &transfer_10(0x2a, 0, 64), WRITE, 32_768);
    pdu.bhs[1] &= 0x7f;
    pdu.data = data[..4096].to_vec();
    host.send(&pdu);
    host.data_out(pdu.itt(), u32::MAX, 0, 4096, &data[4096..8192], true);
    let r2t = host.wait_for(|pdu| pdu.opcode() == 0x31);
    assert_eq!((r2t.word(40), r2t.word(44)), (8192, 24_576));
    host.data_out(pdu.itt(), r2t.word(20), 0, 8192, &data[8192..], true);
    assert_eq!(host.finish(pdu.itt()).sense(), "good");
    assert!(host.read(1, 0, 64).good() == data);
}

#[test]
fn write_unsolicited_data_that_was_not_agreed_is_refused() {
    let rig = Rig::start();
    let mut host = rig.session_of(HOST, 1, &[("ImmediateData", "No")]);
    let mut pdu = host.command_pdu(1, &transfer_10(0x2a, 0, 1), WRITE, 512);
    pdu.data = vec![1; 512];
    host.send(&pdu);
    assert_eq!(host.finish(pdu.itt()).sense(), "0b/0c/0c");
    assert_eq!(host.read(1, 0, 1).good(), [0; 512]);
}

#[test]
fn write_data_out_of_sequence_is_refused() {
    let rig = Rig::start();
    let mut host = rig.session_of(HOST, 1, &[("ImmediateData", "No")]);
    for (sn, offset) in [(1, 0), (0, 512)] {
        let pdu = host.command_pdu(1, &transfer_10(0x2a, 0, 2), WRITE, 1024);
        host.send(&pdu);
        let r2t = host.wait_for(|pdu| pdu.opcode() == 0x31);
        host.data_out(pdu.itt(), r2t.word(20), sn, offset, &[1; 1024], true);
        assert_eq!(host.finish(pdu.itt()).sense(), "0b/47/05");
    }
    assert_eq!(host.read(1, 0, 2).good(), [0; 1024]);
}

#[test]
fn residuals_say_what_did_not_fit() {
    let rig = Rig::start();
    let mut host = rig.session();
    let over = host.run(1, &transfer_10(0x28, 0, 2), 512, &[]);
    assert_eq!((over.data.len(), over.residual), (512, (4, 512)));
    let under = host.run(1, &transfer_10(0x28, 0, 1), 2048, &[]);
    assert_eq!((under.data.len(), under.residual), (512, (2, 1536)));
    let write = host.run(1, &transfer_10(0x2a, 0, 2), 0, &[5; 512]);
    assert_eq!(write.residual, (4, 512));
    let stored = host.read(1, 0, 2).good();
    assert_eq!((stored[511], stored[512]), (5, 0));
}

#[test]
fn cmd_sn_out_of_order_is_put_in_order_and_outside_the_window_ignored() {
    let rig = Rig::start();
    let mut host = rig.session();
    let first = host.command_pdu(1, &transfer_10(0x28, 0, 1), support::READ, 512);
    let second = host.command_pdu(1, &transfer_10(0x28, 1, 1), support::READ, 512);
    let mut far = second.clone();
    far.set(16, host.fresh_itt());
    far.set(24, second.word(24) + 100_000);
    host.send(&far);
    host.send(&second);
    host.echo();
    assert!(!host.has_answer(second.itt()));
    host.send(&first);
    host.finish(first.itt()).good();
    host.finish(second.itt()).good();
    host.echo();
    assert!(!host.has_answer(far.itt()));
}

#[test]
fn strange_pdus_are_rejected_with_their_header() {
    let rig = Rig::start();
    let mut host = rig.session();
    // SNACK, and an opcode that nobody has.
    for (opcode, reason) in [(0x10, 3), (0x1d, 5)] {
        let mut pdu = Pdu::new(opcode, 0x80);
        pdu.set(16, 99);
        host.send(&pdu);
        let reject = host.wait_for(|pdu| pdu.opcode() == 0x3f);
        assert_eq!((reject.bhs[2], &reject.data[..]), (reason, &pdu.bhs[..]));
    }
    host.read(1, 0, 1).good();
}

#[test]
fn oversized_segment_closes_the_connection() {
    let rig = Rig::start();
    let mut host = rig.session();
    let mut bytes = [0; 48];
    bytes[5] = 0xff;
    std::io::Write::write_all(&mut host.stream, &bytes).unwrap();
    assert!(host.is_closed());
}

#[test]
fn logout_is_answered_and_closes() {
    let rig = Rig::start();
    let mut host = rig.session();
    let mut pdu = Pdu::new(0x46, 0x80);
    pdu.set(16, 77);
    pdu.set(24, host.cmd_sn);
    host.send(&pdu);
    let answer = host.wait_for(|pdu| pdu.opcode() == 0x26);
    assert_eq!((answer.itt(), answer.bhs[2]), (77, 0));
    assert!(host.is_closed());
}

#[test]
fn silent_initiator_is_asked_and_then_given_up() {
    let rig = Rig::with(
        |config| {
            config.ping_after = Duration::from_millis(20);
            config.dead_after = Duration::from_millis(200);
        },
        false,
    );
    let mut host = Initiator::connect(rig.address);
    host.login(HOST, 1, &[]).unwrap();
    let ping = host.wait_for(|pdu| pdu.opcode() == 0x20);
    assert_eq!(ping.itt(), u32::MAX);
    assert_ne!(ping.word(20), u32::MAX);
    // An answer keeps the session; then silence ends it.
    let mut answer = Pdu::new(0x40, 0x80);
    answer.set(16, u32::MAX);
    answer.set(20, ping.word(20));
    answer.set(24, host.cmd_sn);
    host.send(&answer);
    let again = host.wait_for(|pdu| pdu.opcode() == 0x20);
    assert_ne!(again.word(20), ping.word(20));
    assert!(host.is_closed());
}

#[test]
fn initiator_that_does_not_read_stops_nobody_else() {
    let rig = Rig::with(|config| config.workers = 2, false);
    let mut greedy = rig.session_of(HOST, 1, &[]);
    let cdb = transfer_10(0x28, 0, 8192);
    let reads: Vec<u32> = (0..20)
        .map(|_| greedy.start(1, &cdb, 8192 * 512, &[]))
        .collect();
    let mut other = rig.session_of(OTHER_HOST, 1, &[]);
    other.write(1, 0, &[1; 4096]).good();
    assert_eq!(other.read(1, 0, 8).good(), [1; 4096]);
    // What it asked for is still there when it does read.
    for read in reads {
        assert_eq!(greedy.finish(read).data.len(), 8192 * 512);
    }
}

#[test]
fn initiator_that_asks_on_and_reads_nothing_is_not_listened_to() {
    const PINGS: usize = 16 << 10;
    const PING_BYTES: usize = 8 << 10;
    let rig = Rig::start();
    let mut greedy = rig.session();
    let mut ping = Pdu::new(0x40, 0x80);
    ping.set(16, 77);
    ping.set(20, u32::MAX);
    ping.set(24, greedy.cmd_sn);
    let mut bytes = ping.bhs.to_vec();
    bytes[5..8].copy_from_slice(&(PING_BYTES as u32).to_be_bytes()[1..]);
    bytes.resize(48 + PING_BYTES, 0x5a);
    let all = bytes.repeat(PINGS);

    let mut stream = greedy.stream.try_clone().unwrap();
    // A target that goes on reading takes it all; one that has stopped never takes the next byte.
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut sent = 0;
    while sent < all.len()
        && let Ok(length) = stream.write(&all[sent..])
    {
        sent += length;
    }
    assert!(
        sent < all.len() / 2,
        "the target holds answers to {sent} bytes that nobody reads"
    );
    // Nothing is lost: once it reads, it is listened to again.
    stream.set_write_timeout(None).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| stream.write_all(&all[sent..]).unwrap());
        for _ in 0..PINGS {
            let answer = greedy.receive().unwrap();
            assert_eq!((answer.opcode(), answer.itt()), (0x20, 77));
            assert_eq!(answer.data.len(), PING_BYTES);
        }
    });
}

#[test]
fn set_luns_new_lun_is_announced_once_and_answers() {
    // What makes a shadow copy's LUN arrive in the session that the host already has.
    let rig = Rig::start();
    let mut host = rig.session();
    let mut other = rig.session_of(OTHER_HOST, 1, &[]);
    let copy = Lun::new(MIB, "copy");
    copy.disk.write(0, &[9; 512]).unwrap();
    let mut luns = rig.view.luns();
    luns.insert(200, Arc::clone(&copy.unit));
    rig.view.set_luns(luns);

    assert_eq!(host.read(2, 0, 1).sense(), "06/3f/0e");
    host.read(1, 0, 1).good();
    other.read(1, 0, 1).good();
    let list = host
        .run(0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 256, &[])
        .good();
    let numbers: Vec<u8> = list[8..].chunks(8).map(|lun| lun[1]).collect();
    assert_eq!(numbers, [0, 1, 2, 200]);
    assert_eq!(host.read(200, 0, 1).sense(), "06/29/00");
    assert_eq!(host.read(200, 0, 1).good(), [9; 512]);
}

#[test]
fn set_luns_lost_lun_is_not_supported_any_more() {
    let rig = Rig::start();
    let mut host = rig.session();
    rig.view.set_luns(BTreeMap::new());
    assert_eq!(host.read(1, 0, 1).sense(), "05/25/00");
    let inquiry = host.run(1, &[0x12, 0, 0, 0, 36, 0], 36, &[]).good();
    assert_eq!(inquiry[0], 0x7f);
}

#[test]
fn start_taken_port_is_named() {
    let rig = Rig::start();
    let config = TargetConfig::new(IQN, vec![rig.address]);
    struct Nobody;
    impl iscsi::Access for Nobody {
        fn host_view(&self, _: &str) -> Option<Arc<iscsi::HostView>> {
            None
        }
    }
    match Target::start(config, Arc::new(Nobody)) {
        Err(StartError::PortInUse(address)) => assert_eq!(address, rig.address),
        _ => panic!("the port is taken"),
    }
}

#[test]
fn shutdown_cuts_sessions_and_frees_the_port() {
    let rig = Rig::start();
    let mut host = rig.session();
    let address = rig.address;
    rig.target.shutdown();
    assert!(host.is_closed());
    assert!(std::net::TcpStream::connect(address).is_err());
}
