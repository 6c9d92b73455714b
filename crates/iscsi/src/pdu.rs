// SPDX-License-Identifier: MIT OR Apache-2.0
//! Protocol data units as bytes (RFC 7143 section 11). All requests of an initiator share one layout of the basic
//! header, all answers of a target another; what a field means depends on the opcode.

use std::ops::Range;
use std::sync::Arc;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a basic header segment.
pub(crate) const BHS_BYTES: usize = 48;
/// The tag that stands for none, and for a reserved data sequence tag.
pub(crate) const NO_TAG: u32 = 0xffff_ffff;

/// Opcodes, without the immediate bit (RFC 7143 11.2.1.2).
pub(crate) mod opcode {
    pub(crate) const NOP_OUT: u8 = 0x00;
    pub(crate) const SCSI_COMMAND: u8 = 0x01;
    pub(crate) const TASK_MANAGEMENT: u8 = 0x02;
    pub(crate) const LOGIN: u8 = 0x03;
    pub(crate) const TEXT: u8 = 0x04;
    pub(crate) const DATA_OUT: u8 = 0x05;
    pub(crate) const LOGOUT: u8 = 0x06;
    pub(crate) const SNACK: u8 = 0x10;
    pub(crate) const NOP_IN: u8 = 0x20;
    pub(crate) const SCSI_RESPONSE: u8 = 0x21;
    pub(crate) const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    pub(crate) const LOGIN_RESPONSE: u8 = 0x23;
    pub(crate) const TEXT_RESPONSE: u8 = 0x24;
    pub(crate) const DATA_IN: u8 = 0x25;
    pub(crate) const LOGOUT_RESPONSE: u8 = 0x26;
    pub(crate) const R2T: u8 = 0x31;
    pub(crate) const REJECT: u8 = 0x3f;
}

/// F, and T of a login PDU.
pub(crate) const FINAL: u8 = 0x80;
/// C of text and login PDUs.
pub(crate) const CONTINUES: u8 = 0x40;
/// The immediate bit of an opcode byte.
pub(crate) const IMMEDIATE: u8 = 0x40;

/// Basic header of everything that an initiator sends.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RequestHeader {
    /// Bit 6 immediate, bits 0-5 opcode.
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    /// Login: highest version.
    pub(crate) byte_2: u8,
    /// Login: lowest version.
    pub(crate) byte_3: u8,
    /// Additional headers, in words of 4 bytes.
    pub(crate) ahs_words: u8,
    pub(crate) data_bytes: [u8; 3],
    /// LUN; login: ISID and TSIH.
    pub(crate) lun: [u8; 8],
    /// Initiator task tag.
    pub(crate) itt: U32,
    /// Expected data transfer length, target transfer tag, referenced task tag, or connection id (upper half).
    pub(crate) word_5: U32,
    pub(crate) cmd_sn: U32,
    pub(crate) exp_stat_sn: U32,
    /// The CDB; Data-Out: DataSN at 4, buffer offset at 8; task management: RefCmdSN at 0.
    pub(crate) tail: [u8; 16],
}
const _: () = assert!(size_of::<RequestHeader>() == BHS_BYTES);

impl RequestHeader {
    pub(crate) fn operation(&self) -> u8 {
        self.opcode & 0x3f
    }

    pub(crate) fn is_immediate(&self) -> bool {
        self.opcode & IMMEDIATE != 0
    }

    pub(crate) fn is_final(&self) -> bool {
        self.flags & FINAL != 0
    }

    pub(crate) fn data_length(&self) -> usize {
        let [high, mid, low] = self.data_bytes;
        u32::from_be_bytes([0, high, mid, low]) as usize
    }

    /// One of the four words of the tail.
    pub(crate) fn tail_word(&self, index: usize) -> u32 {
        let at = index * 4;
        let bytes: [u8; 4] = self.tail[at..at + 4]
            .try_into()
            .expect("the tail has four words");
        u32::from_be_bytes(bytes)
    }

    pub(crate) fn isid(&self) -> [u8; 6] {
        self.lun[..6].try_into().expect("6 of 8 bytes")
    }

    pub(crate) fn tsih(&self) -> u16 {
        u16::from_be_bytes([self.lun[6], self.lun[7]])
    }

    pub(crate) fn cid(&self) -> u16 {
        (self.word_5.get() >> 16) as u16
    }
}

/// One PDU from an initiator. Padding is gone; additional headers are kept for the one question asked of them.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) header: RequestHeader,
    pub(crate) ahs: Vec<u8>,
    pub(crate) data: Vec<u8>,
}

impl Request {
    /// Whether an additional header extends the CDB beyond 16 bytes (RFC 7143 11.2.2.3).
    pub(crate) fn has_extended_cdb(&self) -> bool {
        const EXTENDED_CDB: u8 = 1;
        let mut rest = &self.ahs[..];
        while let [high, low, kind, ..] = *rest {
            if kind & 0x3f == EXTENDED_CDB {
                return true;
            }
            let length = 3 + usize::from(u16::from_be_bytes([high, low]));
            rest = rest.get(padded(length)..).unwrap_or_default();
        }
        false
    }
}

/// Basic header of everything that a target sends.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct AnswerHeader {
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    /// Response, reason; login: highest version.
    pub(crate) byte_2: u8,
    /// SCSI status; login: active version.
    pub(crate) byte_3: u8,
    pub(crate) ahs_words: u8,
    pub(crate) data_bytes: [u8; 3],
    /// LUN; login: ISID and TSIH.
    pub(crate) lun: [u8; 8],
    pub(crate) itt: U32,
    /// Target transfer tag or SNACK tag.
    pub(crate) ttt: U32,
    pub(crate) stat_sn: U32,
    pub(crate) exp_cmd_sn: U32,
    pub(crate) max_cmd_sn: U32,
    /// DataSN, R2TSN, ExpDataSN; login: status class and detail in the upper half.
    pub(crate) word_9: U32,
    /// Buffer offset; logout: Time2Wait and Time2Retain.
    pub(crate) word_10: U32,
    /// Residual count; R2T: desired length.
    pub(crate) word_11: U32,
}
const _: () = assert!(size_of::<AnswerHeader>() == BHS_BYTES);

impl AnswerHeader {
    /// A header with the final bit set and all else 0.
    pub(crate) fn new(opcode: u8, itt: u32) -> Self {
        let mut header = Self::new_zeroed();
        header.opcode = opcode;
        header.flags = FINAL;
        header.itt = U32::new(itt);
        header
    }
}

/// One PDU for an initiator. Several may share one buffer of data.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) header: AnswerHeader,
    pub(crate) buffer: Option<Arc<Vec<u8>>>,
    pub(crate) range: Range<usize>,
}

impl Answer {
    pub(crate) fn bare(header: AnswerHeader) -> Self {
        Self {
            header,
            buffer: None,
            range: 0..0,
        }
    }

    pub(crate) fn with_data(header: AnswerHeader, data: Vec<u8>) -> Self {
        let range = 0..data.len();
        Self::sharing(header, &Arc::new(data), range)
    }

    /// A PDU that carries a part of `buffer`.
    pub(crate) fn sharing(
        mut header: AnswerHeader,
        buffer: &Arc<Vec<u8>>,
        range: Range<usize>,
    ) -> Self {
        let length = u32::try_from(range.len()).expect("segments are far below 4 GiB");
        let [overflow, high, mid, low] = length.to_be_bytes();
        assert!(overflow == 0, "a data segment has at most 2^24 - 1 bytes");
        header.data_bytes = [high, mid, low];
        Self {
            header,
            buffer: (!range.is_empty()).then(|| Arc::clone(buffer)),
            range,
        }
    }

    pub(crate) fn data(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => &buffer[self.range.clone()],
            None => &[],
        }
    }

    /// Zeros that follow the data (RFC 7143 11.1).
    pub(crate) fn padding(&self) -> &'static [u8] {
        &[0; 4][..padded(self.range.len()) - self.range.len()]
    }

    /// Length of the whole PDU in bytes.
    pub(crate) fn wire_bytes(&self) -> usize {
        BHS_BYTES + padded(self.range.len())
    }

    /// The whole PDU in one piece, where speed does not matter.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.as_bytes().to_vec();
        bytes.extend(self.data());
        bytes.extend(self.padding());
        bytes
    }
}

/// `length` rounded up to whole words.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The single-level LUN in a LUN field (SAM-5 4.6.6, 4.6.7), or `None` for any other format: nothing is mapped there.
pub(crate) fn decode_lun(field: &[u8; 8]) -> Option<u8> {
    const FLAT: u8 = 0x40;
    match field {
        [0 | FLAT, lun, 0, 0, 0, 0, 0, 0] => Some(*lun),
        _ => None,
    }
}

/// The upper half of a header's word, where 16-bit fields stand.
pub(crate) fn upper_half(value: u16) -> U32 {
    U32::new(u32::from(value) << 16)
}

/// ISID and TSIH as they stand in the place of the LUN.
pub(crate) fn session_field(isid: [u8; 6], tsih: u16) -> [u8; 8] {
    let mut field = [0; 8];
    field[..6].copy_from_slice(&isid);
    field[6..].copy_from_slice(U16::new(tsih).as_bytes());
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_odd_data_is_padded_to_words() {
        let pdu = Answer::with_data(AnswerHeader::new(opcode::NOP_IN, 7), b"abcde".to_vec());
        let bytes = pdu.to_bytes();
        assert_eq!(bytes.len(), 48 + 8);
        assert_eq!(bytes[5..8], [0, 0, 5]);
        assert_eq!(&bytes[48..], b"abcde\0\0\0");
    }

    #[test]
    fn decode_lun_other_formats_are_nowhere() {
        assert_eq!(decode_lun(&[0, 7, 0, 0, 0, 0, 0, 0]), Some(7));
        assert_eq!(decode_lun(&[0x40, 7, 0, 0, 0, 0, 0, 0]), Some(7));
        assert_eq!(decode_lun(&[0x41, 7, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(decode_lun(&[0, 7, 0, 1, 0, 0, 0, 0]), None);
        assert_eq!(decode_lun(&[0xc1, 1, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn has_extended_cdb_walks_all_headers() {
        let with = |ahs: &[u8]| Request {
            header: RequestHeader::new_zeroed(),
            ahs: ahs.to_vec(),
            data: Vec::new(),
        };
        assert!(!with(&[]).has_extended_cdb());
        assert!(!with(&[0, 5, 2, 0, 0, 0, 2, 0]).has_extended_cdb());
        assert!(with(&[0, 5, 2, 0, 0, 0, 2, 0, 0, 1, 1, 0]).has_extended_cdb());
        assert!(!with(&[0xff, 0xff, 2, 0]).has_extended_cdb());
    }
}
