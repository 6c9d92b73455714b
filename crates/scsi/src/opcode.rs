// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one table of commands: what a CDB may look like, who answers it, and what it passes on its way.

use crate::cdb::{self, Cdb, Operation, Parse};
use crate::sense::Sense;

/// One command.
pub(crate) struct Opcode {
    pub(crate) opcode: u8,
    /// Bits 0-4 of byte 1, for operation codes that have service actions.
    pub(crate) action: Option<u8>,
    /// Which bits of the CDB may be set, from byte 1 on; its length is that of the CDB less one. A set bit outside is
    /// an invalid field: reserved bits, protection information, groups and NACA are not offered.
    pub(crate) usage: &'static [u8],
    /// Changes data: passes the write fence.
    pub(crate) writes: bool,
    /// The controller device at LUN 0 answers it too.
    pub(crate) on_controller: bool,
    /// Answered in spite of a pending unit attention, which stays pending (SPC-4 5.14).
    pub(crate) despite_attention: bool,
    parse: Parse,
}

impl Opcode {
    const fn new(opcode: u8, usage: &'static [u8], parse: Parse) -> Self {
        Self {
            opcode,
            action: None,
            usage,
            writes: false,
            on_controller: false,
            despite_attention: false,
            parse,
        }
    }

    const fn action(mut self, action: u8) -> Self {
        self.action = Some(action);
        self
    }

    const fn writes(mut self) -> Self {
        self.writes = true;
        self
    }

    const fn on_controller(mut self) -> Self {
        self.on_controller = true;
        self
    }

    const fn despite_attention(mut self) -> Self {
        self.despite_attention = true;
        self
    }

    /// Length of the CDB in bytes.
    pub(crate) const fn cdb_bytes(&self) -> usize {
        self.usage.len() + 1
    }

    /// Where a transfer's CDB has its length (SPC-4 4.2.2).
    pub(crate) const fn transfer_length_byte(&self) -> u16 {
        match self.cdb_bytes() {
            6 => 4,
            10 => 7,
            12 => 6,
            _ => 10,
        }
    }

    /// What `cdb` asks for.
    pub(crate) fn parse(&self, cdb: &Cdb) -> Result<Operation, Sense> {
        for (index, (byte, usage)) in cdb[1..].iter().zip(self.usage).enumerate() {
            let wrong = byte & !usage;
            // The service action was matched by the look-up and is no part of the usage mask.
            let wrong = match (index, self.action) {
                (0, Some(_)) => wrong & 0xe0,
                _ => wrong,
            };
            if wrong != 0 {
                let bit = 7 - wrong.leading_zeros() as u8;
                return Err(Sense::invalid_cdb_field(index as u16 + 1, Some(bit)));
            }
        }
        (self.parse)(cdb)
    }
}

const F: u8 = 0xff;
/// LBA and length of a 10-byte transfer whose second byte allows `flags`.
const fn transfer_10(flags: u8) -> [u8; 9] {
    [flags, F, F, F, F, 0, F, F, 0]
}
const fn transfer_12(flags: u8) -> [u8; 11] {
    [flags, F, F, F, F, F, F, F, F, 0, 0]
}
const fn transfer_16(flags: u8) -> [u8; 15] {
    [flags, F, F, F, F, F, F, F, F, F, F, F, F, 0, 0]
}
/// DPO and FUA.
const DPO_FUA: u8 = 0x18;
/// DPO and BYTCHK.
const DPO_BYTCHK: u8 = 0x16;
/// IMMED of SYNCHRONIZE CACHE: accepted, and the status comes when the cache is written all the same.
const IMMED: u8 = 0x02;
/// UNMAP of WRITE SAME.
const WS_UNMAP: u8 = 0x08;
/// NDOB of WRITE SAME(16).
const WS_NDOB: u8 = 0x01;

/// Every command of this target, in ascending order of operation code.
pub(crate) static OPCODES: &[Opcode] = &[
    Opcode::new(0x00, &[0, 0, 0, 0, 0], cdb::test_unit_ready).on_controller(),
    Opcode::new(0x03, &[0, 0, 0, F, 0], cdb::request_sense)
        .on_controller()
        .despite_attention(),
    Opcode::new(0x08, &[0x1f, F, F, F, 0], cdb::read_6),
    Opcode::new(0x0a, &[0x1f, F, F, F, 0], cdb::write_6).writes(),
    Opcode::new(0x12, &[0x01, F, F, F, 0], cdb::inquiry)
        .on_controller()
        .despite_attention(),
    Opcode::new(0x1a, &[0x08, F, F, F, 0], cdb::mode_sense_6),
    // IMMED, NO_FLUSH, START; LOEJ is for removable media.
    Opcode::new(0x1b, &[0x01, 0, 0, 0xf5, 0], cdb::start_stop),
    Opcode::new(0x25, &[0, 0, 0, 0, 0, 0, 0, 0, 0], cdb::read_capacity_10),
    Opcode::new(0x28, &transfer_10(DPO_FUA), cdb::read_10),
    Opcode::new(0x2a, &transfer_10(DPO_FUA), cdb::write_10).writes(),
    Opcode::new(0x2e, &transfer_10(DPO_BYTCHK), cdb::write_verify_10).writes(),
    Opcode::new(0x2f, &transfer_10(DPO_BYTCHK), cdb::verify_10),
    Opcode::new(0x35, &transfer_10(IMMED), cdb::synchronize_cache_10),
    Opcode::new(0x41, &transfer_10(WS_UNMAP), cdb::write_same_10).writes(),
    Opcode::new(0x42, &[0, 0, 0, 0, 0, 0, F, F, 0], cdb::unmap).writes(),
    Opcode::new(0x5a, &[0x18, F, F, 0, 0, 0, F, F, 0], cdb::mode_sense_10),
    Opcode::new(0x88, &transfer_16(DPO_FUA), cdb::read_16),
    Opcode::new(0x8a, &transfer_16(DPO_FUA), cdb::write_16).writes(),
    Opcode::new(0x8e, &transfer_16(DPO_BYTCHK), cdb::write_verify_16).writes(),
    Opcode::new(0x8f, &transfer_16(DPO_BYTCHK), cdb::verify_16),
    Opcode::new(0x91, &transfer_16(IMMED), cdb::synchronize_cache_16),
    Opcode::new(0x93, &transfer_16(WS_UNMAP | WS_NDOB), cdb::write_same_16).writes(),
    Opcode::new(
        0x9e,
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, F, F, F, F, 0, 0],
        cdb::read_capacity_16,
    )
    .action(0x10),
    Opcode::new(0x9e, &transfer_16(0), cdb::get_lba_status).action(0x12),
    Opcode::new(0xa0, &[0, F, 0, 0, 0, F, F, F, F, 0, 0], cdb::report_luns)
        .on_controller()
        .despite_attention(),
    Opcode::new(
        0xa3,
        &[0, 0x87, F, F, F, F, F, F, F, 0, 0],
        cdb::report_opcodes,
    )
    .action(0x0c)
    .on_controller(),
    Opcode::new(0xa8, &transfer_12(DPO_FUA), cdb::read_12),
    Opcode::new(0xaa, &transfer_12(DPO_FUA), cdb::write_12).writes(),
    Opcode::new(0xae, &transfer_12(DPO_BYTCHK), cdb::write_verify_12).writes(),
    Opcode::new(0xaf, &transfer_12(DPO_BYTCHK), cdb::verify_12),
];

/// The command that `cdb` is an instance of. An unknown operation code and an unknown service action differ: 20/00
/// for the first, 24/00 pointing at the service action for the second (SPC-4 5.2).
pub(crate) fn find(cdb: &Cdb) -> Result<&'static Opcode, Sense> {
    let mut known = false;
    for entry in OPCODES.iter().filter(|entry| entry.opcode == cdb[0]) {
        match entry.action {
            Some(action) if action != cdb[1] & 0x1f => known = true,
            _ => return Ok(entry),
        }
    }
    Err(if known {
        Sense::invalid_cdb_field(1, Some(4))
    } else {
        Sense::INVALID_OPCODE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_sorted_and_unique() {
        let keys: Vec<_> = OPCODES.iter().map(|e| (e.opcode, e.action)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    }

    #[test]
    fn opcodes_cdb_length_follows_the_group_code() {
        for entry in OPCODES {
            let expected = match entry.opcode >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                5 => 12,
                group => panic!("group {group} is not in use"),
            };
            assert_eq!(entry.cdb_bytes(), expected, "{:02x}", entry.opcode);
        }
    }

    #[test]
    fn find_unknown_service_action_points_at_it() {
        let mut cdb = [0; 16];
        cdb[0] = 0x9e;
        cdb[1] = 0x1f;
        assert_eq!(find(&cdb).err(), Some(Sense::invalid_cdb_field(1, Some(4))));
    }

    #[test]
    fn parse_reserved_bit_points_at_the_bit() {
        let mut cdb = [0; 16];
        cdb[0] = 0x28;
        cdb[1] = 0x20;
        let parsed = find(&cdb).unwrap().parse(&cdb);
        assert_eq!(parsed, Err(Sense::invalid_cdb_field(1, Some(5))));
    }
}
