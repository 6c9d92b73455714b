// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an initiator sees of a disk, the controller and an empty LUN, CDB by CDB.

use block::ram::RamDisk;
use block::{BlockDevice, BlockError, Disk, Geometry, WriteFence, hold_all};
use proptest::prelude::*;
use scsi::{Context, Designator, Identity, LogicalUnit, Nexus, Reply, UnitAttention};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const LUN: u8 = 3;

fn identity() -> Identity {
    Identity {
        vendor: *b"SHADOWLN",
        product: *b"SHADOWLUN-VOLUME",
        revision: *b"0001",
        serial: "0123456789abcdef0123456789abcdef".to_owned(),
        designators: vec![
            Designator {
                code_set: 2,
                kind: 1,
                bytes: b"SHADOWLN0123456789abcdef0123456789abcdef".to_vec(),
            },
            Designator {
                code_set: 1,
                kind: 3,
                bytes: vec![0x60; 16],
            },
        ],
    }
}

struct Host {
    unit: Arc<LogicalUnit>,
    nexus: Nexus,
}

impl Host {
    /// A host that has heard of the unit's power-on.
    fn of(unit: Arc<LogicalUnit>) -> Self {
        let nexus = Nexus::new();
        nexus.take(LUN);
        Self { unit, nexus }
    }

    fn disk(size_bytes: u64) -> Self {
        let disk = Disk::new(RamDisk::new(size_bytes));
        Self::of(LogicalUnit::disk(disk, WriteFence::new(), identity()))
    }

    fn send(&self, cdb: &[u8], data_out: &[u8]) -> Reply {
        let context = Context {
            nexus: &self.nexus,
            lun: LUN,
            inventory: &[0, 3, 254],
            relative_port: 1,
            port_group: 2,
        };
        match self.unit.accept(cdb, &self.nexus, LUN) {
            Ok(accepted) => self.unit.execute(&accepted, data_out, &context),
            Err(sense) => Reply {
                data: Vec::new(),
                sense: Some(sense),
            },
        }
    }

    fn good(&self, cdb: &[u8], data_out: &[u8]) -> Vec<u8> {
        let reply = self.send(cdb, data_out);
        assert_eq!(reply.sense, None, "{cdb:02x?}");
        reply.data
    }

    fn sense(&self, cdb: &[u8]) -> String {
        self.send(cdb, &[0; 512])
            .sense
            .expect("a failure")
            .to_string()
    }
}

fn read_10(lba: u32, blocks: u16) -> Vec<u8> {
    transfer_10(0x28, lba, blocks)
}

fn transfer_10(opcode: u8, lba: u32, blocks: u16) -> Vec<u8> {
    let mut cdb = vec![opcode, 0];
    cdb.extend(lba.to_be_bytes());
    cdb.push(0);
    cdb.extend(blocks.to_be_bytes());
    cdb.push(0);
    cdb
}

fn transfer_16(opcode: u8, lba: u64, blocks: u32) -> Vec<u8> {
    let mut cdb = vec![opcode, 0];
    cdb.extend(lba.to_be_bytes());
    cdb.extend(blocks.to_be_bytes());
    cdb.extend([0, 0]);
    cdb
}

#[test]
fn inquiry_disk_says_who_it_is() {
    let data = Host::disk(MIB).good(&[0x12, 0, 0, 0, 255, 0], &[]);
    assert_eq!(data.len(), 96);
    // Type 0, SPC-4, HISUP with format 2, CMDQUE.
    assert_eq!(data[..8], [0x00, 0, 6, 0x12, 91, 0, 0, 0x02]);
    assert_eq!(&data[8..36], b"SHADOWLNSHADOWLUN-VOLUME0001");
    // The version descriptor of iSCSI is among them.
    assert!(data[58..74].chunks(2).any(|pair| pair == [0x09, 0x60]));
}

#[test]
fn inquiry_controller_is_type_0c() {
    let host = Host::of(LogicalUnit::controller(identity()));
    assert_eq!(host.good(&[0x12, 0, 0, 0, 5, 0], &[])[0], 0x0c);
    assert_eq!(
        host.good(&[0x12, 1, 0, 0, 255, 0], &[])[3..],
        [3, 0x00, 0x80, 0x83]
    );
    assert_eq!(host.sense(&read_10(0, 1)), "05/20/00");
}

#[test]
fn absent_lun_answers_as_nothing() {
    let host = Host::of(LogicalUnit::absent());
    assert_eq!(host.good(&[0x12, 0, 0, 0, 36, 0], &[])[0], 0x7f);
    assert_eq!(host.sense(&[0, 0, 0, 0, 0, 0]), "05/25/00");
    assert_eq!(host.sense(&[0xff, 0, 0, 0, 0, 0]), "05/25/00");
    let sense = host.good(&[0x03, 0, 0, 0, 18, 0], &[]);
    assert_eq!((sense[2], sense[12]), (5, 0x25));
}

#[test]
fn page_83_association_0_comes_first_and_ports_show_types_4_and_5() {
    // LUN-3, LUN-9: what GetTargetLuns tells is the association-0 part of this.
    let data = Host::disk(MIB).good(&[0x12, 1, 0x83, 0, 255, 0], &[]);
    let mut rest = &data[4..];
    let mut seen = Vec::new();
    while let [code_set, kind, _, length, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*length));
        seen.push((code_set & 0xf, (kind >> 4) & 3, kind & 0xf, bytes.to_vec()));
        rest = tail;
    }
    let [t10, naa] = &identity().designators[..] else {
        panic!("two designators");
    };
    let expected = [
        (2, 0, 1, t10.bytes.clone()),
        (1, 0, 3, naa.bytes.clone()),
        (1, 1, 4, vec![0, 0, 0, 1]),
        (1, 1, 5, vec![0, 0, 0, 2]),
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        usize::from(u16::from_be_bytes([data[2], data[3]])),
        data.len() - 4
    );
}

#[test]
fn pages_of_a_thin_disk_agree() {
    let host = Host::disk(MIB);
    let page = |number| host.good(&[0x12, 1, number, 0, 255, 0], &[]);
    assert_eq!(page(0x00)[4..], [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    assert_eq!(page(0x80)[4..], *b"0123456789abcdef0123456789abcdef");
    let limits = page(0xb0);
    assert_eq!(limits.len(), 64);
    // 4 MiB transfers, 64 KiB unmap granularity at alignment 0, valid.
    assert_eq!(limits[8..12], 8192u32.to_be_bytes());
    assert_eq!(limits[28..32], 128u32.to_be_bytes());
    assert_eq!(limits[32..36], [0x80, 0, 0, 0]);
    assert_eq!(page(0xb1)[4..6], [0, 1]);
    assert_eq!(page(0xb2)[5..7], [0xe4, 2]);
    let capacity = host.good(
        &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        &[],
    );
    assert_eq!(capacity[..12], [0, 0, 0, 0, 0, 0, 7, 0xff, 0, 0, 2, 0]);
    assert_eq!(capacity[12..16], [0, 3, 0xc0, 0]);
    assert_eq!(host.sense(&[0x12, 1, 0x99, 0, 255, 0]), "05/24/00");
    assert_eq!(host.sense(&[0x12, 0, 0x80, 0, 255, 0]), "05/24/00");
}

#[test]
fn read_capacity_10_large_disk_points_to_the_16_byte_form() {
    let data = Host::disk(4 << 40).good(&transfer_10(0x25, 0, 0), &[]);
    assert_eq!(data, [0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]);
}

/// A device of these block sizes, which holds nothing.
struct Blank(Geometry);

impl BlockDevice for Blank {
    fn geometry(&self) -> Geometry {
        self.0
    }

    fn read(&self, _: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        buf.fill(0);
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), BlockError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn unmap(&self, _: u64, _: u64) -> Result<(), BlockError> {
        Ok(())
    }
}

/// T-293, LUN-18: a host sees the sector sizes of the device, 512n, 512e and 4Kn, at an odd size, and a disk (type 0).
#[test]
fn t293_sector_sizes_of_the_device_are_shown() {
    for (logical, physical, exponent) in [(512, 512, 0), (512, 4096, 3), (4096, 4096, 0)] {
        let geometry = Geometry {
            size_bytes: 77 * 4096,
            logical_block_bytes: logical,
            physical_block_bytes: physical,
        };
        let disk = Disk::new(Arc::new(Blank(geometry)));
        let host = Host::of(LogicalUnit::disk(disk, WriteFence::new(), identity()));

        let inquiry = host.good(&[0x12, 0, 0, 0, 255, 0], &[]);
        let short = host.good(&transfer_10(0x25, 0, 0), &[]);
        let mut long = vec![0x9e, 0x10];
        long.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
        let long = host.good(&long, &[]);

        let last = 77 * 4096 / logical - 1;
        assert_eq!(inquiry[0], 0);
        assert_eq!(short, [last.to_be_bytes(), logical.to_be_bytes()].concat());
        assert_eq!(long[..8], u64::from(last).to_be_bytes());
        assert_eq!(long[8..12], logical.to_be_bytes());
        assert_eq!(long[13] & 0xf, exponent, "{logical} of {physical}");
    }
}

#[test]
fn write_every_form_is_read_back() {
    let host = Host::disk(MIB);
    let block = |byte| vec![byte; 512];
    host.good(&[0x0a, 0, 0, 1, 1, 0], &block(1));
    host.good(&transfer_10(0x2a, 2, 1), &block(2));
    host.good(&transfer_16(0x8a, 3, 1), &block(3));
    host.good(&[0xaa, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0], &block(4));
    let all = host.good(&read_10(0, 6), &[]);
    let firsts: Vec<u8> = all.chunks(512).map(|block| block[511]).collect();
    assert_eq!(firsts, [0, 1, 2, 3, 4, 0]);
    assert_eq!(host.good(&[0x08, 0, 0, 2, 1, 0], &[]), block(2));
    assert_eq!(host.good(&transfer_16(0x88, 3, 1), &[]), block(3));
    assert_eq!(
        host.good(&[0xa8, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0], &[]),
        block(4)
    );
}

#[test]
fn read_6_length_0_means_256() {
    let data = Host::disk(MIB).good(&[0x08, 0, 0, 0, 0, 0], &[]);
    assert_eq!(data.len(), 256 * 512);
}

#[test]
fn transfers_outside_the_medium_are_refused() {
    let host = Host::disk(MIB);
    assert_eq!(host.sense(&read_10(2048, 1)), "05/21/00");
    assert_eq!(host.sense(&read_10(2047, 2)), "05/21/00");
    assert_eq!(host.sense(&transfer_16(0x8a, u64::MAX, 2)), "05/21/00");
    assert_eq!(host.sense(&transfer_10(0x35, 2048, 1)), "05/21/00");
    assert!(host.good(&read_10(2048, 0), &[]).is_empty());
}

#[test]
fn transfer_over_the_limit_points_at_its_length() {
    let host = Host::disk(16 * MIB);
    let sense = host.send(&transfer_16(0x88, 0, 8193), &[]).sense.unwrap();
    assert_eq!(sense.to_string(), "05/24/00");
    assert_eq!(sense.to_fixed()[15..], [0xc0, 0, 10]);
}

#[test]
fn unknown_and_reserved_are_refused_at_once() {
    let host = Host::disk(MIB);
    assert_eq!(host.sense(&[0xff]), "05/20/00");
    assert_eq!(host.sense(&[0x00, 0, 1, 0, 0, 0]), "05/24/00");
    // NACA is not offered.
    assert_eq!(host.sense(&[0x00, 0, 0, 0, 0, 4]), "05/24/00");
}

#[test]
fn write_shorter_than_announced_writes_whole_blocks_only() {
    let host = Host::disk(MIB);
    host.good(&transfer_10(0x2a, 0, 4), &[7; 1300]);
    let data = host.good(&read_10(0, 4), &[]);
    assert!(data[..1024].iter().all(|&byte| byte == 7));
    assert!(data[1024..].iter().all(|&byte| byte == 0));
}

#[test]
fn get_lba_status_is_one_run_to_the_end() {
    let host = Host::disk(MIB);
    let status = |lba: u64| {
        let mut cdb = transfer_16(0x9e, lba, 255);
        cdb[1] = 0x12;
        cdb
    };
    let data = host.good(&status(2000), &[]);
    assert_eq!(data[..8], [0, 0, 0, 20, 0, 0, 0, 0]);
    assert_eq!(data[8..16], 2000u64.to_be_bytes());
    assert_eq!(data[16..24], [0, 0, 0, 48, 0, 0, 0, 0]);
    assert_eq!(host.sense(&status(2048)), "05/21/00");
}

fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let bytes = ranges.len() as u16 * 16;
    let mut list = (bytes + 6).to_be_bytes().to_vec();
    list.extend(bytes.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

fn unmap(host: &Host, list: &[u8]) -> Reply {
    host.send(&transfer_10(0x42, 0, list.len() as u16), list)
}

#[test]
fn unmap_ranges_read_as_zeros() {
    let host = Host::disk(MIB);
    host.good(&transfer_10(0x2a, 0, 8), &[9; 4096]);
    assert_eq!(
        unmap(&host, &unmap_list(&[(1, 2), (6, 1), (0, 0)])).sense,
        None
    );
    let data = host.good(&read_10(0, 8), &[]);
    let kept: Vec<bool> = data.chunks(512).map(|block| block[0] == 9).collect();
    assert_eq!(kept, [true, false, false, true, true, true, false, true]);
}

#[test]
fn unmap_one_bad_range_changes_nothing() {
    let host = Host::disk(MIB);
    host.good(&transfer_10(0x2a, 0, 1), &[9; 512]);
    let reply = unmap(&host, &unmap_list(&[(0, 1), (2048, 1)]));
    assert_eq!(reply.sense.unwrap().to_string(), "05/21/00");
    assert_eq!(host.good(&read_10(0, 1), &[]), [9; 512]);
}

#[test]
fn unmap_malformed_list_is_refused_or_cut() {
    let host = Host::disk(MIB);
    assert_eq!(unmap(&host, &[0; 7]).sense.unwrap().to_string(), "05/1a/00");
    assert_eq!(unmap(&host, &[]).sense, None);
    let too_much = unmap(&host, &unmap_list(&[(0, 1 << 20), (0, 1)]));
    assert_eq!(too_much.sense.unwrap().to_string(), "05/21/00");
    // A list that says more than was sent: what was sent counts.
    assert_eq!(unmap(&host, &unmap_list(&[(0, 1)])[..20]).sense, None);
}

#[test]
fn write_same_repeats_its_block() {
    let host = Host::disk(MIB);
    host.good(&transfer_10(0x41, 1, 5), &[3; 512]);
    let data = host.good(&read_10(0, 7), &[]);
    assert!(data[512..6 * 512].iter().all(|&byte| byte == 3));
    assert!(
        data[..512]
            .iter()
            .chain(&data[6 * 512..])
            .all(|&byte| byte == 0)
    );
    assert_eq!(host.sense(&transfer_10(0x41, 0, 0)), "05/24/00");
}

#[test]
fn write_same_unmap_keeps_a_pattern_and_unmaps_zeros() {
    let host = Host::disk(MIB);
    let mut cdb = transfer_10(0x41, 0, 4);
    cdb[1] = 0x08;
    host.good(&cdb, &[3; 512]);
    assert_eq!(host.good(&read_10(0, 4), &[]), [3; 2048]);
    host.good(&cdb, &[0; 512]);
    assert_eq!(host.good(&read_10(0, 4), &[]), [0; 2048]);
}

#[test]
fn verify_miscompare_says_where() {
    let host = Host::disk(MIB);
    let mut cdb = transfer_10(0x2f, 0, 1);
    host.good(&cdb, &[]);
    cdb[1] = 0x02;
    host.good(&cdb, &[0; 512]);
    let mut other = [0; 512];
    other[300] = 1;
    let sense = host.send(&cdb, &other).sense.unwrap();
    assert_eq!(sense.to_string(), "0e/1d/00");
    assert_eq!(sense.to_fixed()[3..7], 300u32.to_be_bytes());
}

#[test]
fn mode_sense_shows_write_cache_and_all_pages() {
    let host = Host::disk(MIB);
    let caching = host.good(&[0x1a, 0x08, 0x08, 0, 255, 0], &[]);
    assert_eq!(caching[..7], [23, 0, 0x10, 0, 0x08, 0x12, 0x04]);
    let changeable = host.good(&[0x1a, 0x08, 0x48, 0, 255, 0], &[]);
    assert_eq!(changeable[6], 0);
    let all = host.good(&[0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255, 0], &[]);
    assert_eq!(
        usize::from(u16::from_be_bytes([all[0], all[1]])),
        all.len() - 2
    );
    assert_eq!(all[8..16], [0, 0, 8, 0, 0, 0, 2, 0]);
    let numbers = [all[16], all[16 + 20], all[16 + 20 + 12]];
    assert_eq!(numbers, [0x08, 0x0a, 0x1a]);
    assert_eq!(host.sense(&[0x1a, 0, 0xc8, 0, 255, 0]), "05/39/00");
    assert_eq!(host.sense(&[0x1a, 0, 0x02, 0, 255, 0]), "05/24/00");
}

#[test]
fn report_luns_lists_all_and_wants_room() {
    let host = Host::disk(MIB);
    let data = host.good(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[]);
    assert_eq!(data[..8], [0, 0, 0, 24, 0, 0, 0, 0]);
    let luns: Vec<u8> = data[8..].chunks(8).map(|lun| lun[1]).collect();
    assert_eq!(luns, [0, 3, 254]);
    assert_eq!(
        host.sense(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0]),
        "05/24/00"
    );
}

#[test]
fn unit_attention_stops_one_command_only() {
    let host = Host::disk(MIB);
    host.nexus.establish(LUN, UnitAttention::Reset);
    // INQUIRY and REPORT LUNS pass and leave it pending (SPC-4 5.14).
    host.good(&[0x12, 0, 0, 0, 36, 0], &[]);
    host.good(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[]);
    assert_eq!(host.sense(&read_10(0, 1)), "06/29/03");
    host.good(&read_10(0, 1), &[]);
}

#[test]
fn unit_attention_is_told_by_request_sense() {
    let host = Host::disk(MIB);
    host.nexus.inventory_changed();
    let sense = host.good(&[0x03, 0, 0, 0, 252, 0], &[]);
    assert_eq!((sense[2], sense[12], sense[13]), (6, 0x3f, 0x0e));
    assert_eq!(host.good(&[0x03, 0, 0, 0, 252, 0], &[])[2], 0);
}

#[test]
fn report_luns_clears_its_unit_attention() {
    let host = Host::disk(MIB);
    host.nexus.inventory_changed();
    host.good(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[]);
    host.good(&[0, 0, 0, 0, 0, 0], &[]);
}

#[test]
fn accept_says_what_passes_the_fence() {
    let host = Host::disk(MIB);
    let passes = |cdb: &[u8]| {
        host.unit
            .accept(cdb, &host.nexus, LUN)
            .unwrap()
            .passes_fence()
    };
    assert!(passes(&transfer_10(0x2a, 0, 1)));
    assert!(passes(&transfer_10(0x41, 0, 1)));
    assert!(passes(&transfer_10(0x42, 0, 0)));
    assert!(!passes(&read_10(0, 1)));
    assert!(!passes(&transfer_10(0x35, 0, 0)));
}

#[test]
fn fence_is_that_of_the_unit() {
    let fence = WriteFence::new();
    let unit = LogicalUnit::disk(Disk::new(RamDisk::new(MIB)), Arc::clone(&fence), identity());
    let hold = hold_all(&[fence], Instant::now() + Duration::from_secs(1)).unwrap();
    unit.fence().unwrap().enter(|_| {});
    assert_eq!(unit.fence().unwrap().parked(), 1);
    drop(hold);
    assert_eq!(unit.fence().unwrap().parked(), 0);
}

#[test]
fn report_opcodes_tells_the_table() {
    let host = Host::disk(MIB);
    let all = host.good(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], &[]);
    assert_eq!(
        all.len(),
        4 + u32::from_be_bytes(all[..4].try_into().unwrap()) as usize
    );
    assert!(all[4..].chunks(8).any(|e| e[0] == 0x8a && e[7] == 16));
    let one = host.good(&[0xa3, 0x0c, 1, 0x28, 0, 0, 0, 0, 0, 255, 0, 0], &[]);
    assert_eq!(one[..6], [0, 3, 0, 10, 0x28, 0x18]);
    let none = host.good(&[0xa3, 0x0c, 1, 0x5f, 0, 0, 0, 0, 0, 255, 0, 0], &[]);
    assert_eq!(none, [0, 1, 0, 0]);
}

proptest! {
    #[test]
    fn any_cdb_never_panics(
        mut cdb: [u8; 16],
        pick in 0usize..40,
        sparse: bool,
        data: Vec<u8>,
    ) {
        const OPCODES: [u8; 29] = [
            0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x1b, 0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x41,
            0x42, 0x5a, 0x88, 0x8a, 0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa3, 0xa8, 0xaa, 0xae, 0xaf,
        ];
        if let Some(opcode) = OPCODES.get(pick) {
            cdb[0] = *opcode;
        }
        if sparse {
            // Most bits 0, or reserved bits would stop nearly all before they get anywhere.
            for byte in &mut cdb[1..] {
                *byte &= byte.rotate_left(3) & byte.rotate_left(5);
            }
        }
        let host = Host::disk(MIB);
        let reply = host.send(&cdb, &data);
        prop_assert!(reply.data.len() as u64 <= scsi::TRANSFER_BYTES_MAX);
    }
}
