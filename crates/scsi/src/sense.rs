// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sense data: what went wrong, as three bytes and a detail (SPC-4 4.5). Fixed format only (D_SENSE is 0).

use block::{BlockError, ErrorKind};
use std::fmt;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of the sense data that [`Sense::to_fixed`] builds, in bytes.
pub const FIXED_SENSE_BYTES: usize = 18;

const NO_SENSE: u8 = 0x0;
const MEDIUM_ERROR: u8 = 0x3;
const HARDWARE_ERROR: u8 = 0x4;
const ILLEGAL_REQUEST: u8 = 0x5;
const UNIT_ATTENTION: u8 = 0x6;
const DATA_PROTECT: u8 = 0x7;
const ABORTED_COMMAND: u8 = 0xb;
const MISCOMPARE: u8 = 0xe;

/// Sense key, additional sense code and qualifier, with what belongs to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    key: u8,
    asc: u8,
    ascq: u8,
    detail: Detail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    None,
    /// Where the fault lies (SPC-4 4.5.2.4.2): byte of the CDB or parameter list, and the leftmost bit of the field.
    Field {
        in_cdb: bool,
        byte: u16,
        bit: Option<u8>,
    },
    /// INFORMATION: an LBA or an offset.
    Information(u64),
}

/// Fixed format sense data (SPC-4 4.5.3).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FixedSense {
    /// Bit 7 VALID (INFORMATION holds something), bits 0-6 response code.
    valid_response_code: u8,
    obsolete: u8,
    sense_key: u8,
    information: U32,
    additional_length: u8,
    command_specific: U32,
    asc: u8,
    ascq: u8,
    fru_code: u8,
    /// Bit 7 SKSV, bit 6 C/D, bit 3 BPV, bits 0-2 bit pointer.
    key_specific: u8,
    field_pointer: U16,
}
const _: () = assert!(size_of::<FixedSense>() == FIXED_SENSE_BYTES);

/// Current error, fixed format.
const RESPONSE_CODE_FIXED: u8 = 0x70;

impl Sense {
    const fn plain(key: u8, asc: u8, ascq: u8) -> Self {
        Self {
            key,
            asc,
            ascq,
            detail: Detail::None,
        }
    }

    /// Nothing to report.
    pub const NONE: Self = Self::plain(NO_SENSE, 0, 0);
    /// Peripheral device write fault (a write failed on the medium).
    pub const WRITE_ERROR: Self = Self::plain(MEDIUM_ERROR, 0x0c, 0x00);
    /// Unrecovered read error.
    pub const READ_ERROR: Self = Self::plain(MEDIUM_ERROR, 0x11, 0x00);
    /// Internal target failure.
    pub const INTERNAL_FAILURE: Self = Self::plain(HARDWARE_ERROR, 0x44, 0x00);
    /// Parameter list length error.
    pub const PARAMETER_LIST_LENGTH: Self = Self::plain(ILLEGAL_REQUEST, 0x1a, 0x00);
    /// Invalid command operation code.
    pub const INVALID_OPCODE: Self = Self::plain(ILLEGAL_REQUEST, 0x20, 0x00);
    /// Logical block address out of range.
    pub const LBA_OUT_OF_RANGE: Self = Self::plain(ILLEGAL_REQUEST, 0x21, 0x00);
    /// Logical unit not supported: nothing is mapped at this number (any more).
    pub const LUN_NOT_SUPPORTED: Self = Self::plain(ILLEGAL_REQUEST, 0x25, 0x00);
    /// Invalid field in command information unit: the transport's data does not fit the command.
    pub const INVALID_INFORMATION_UNIT: Self = Self::plain(ILLEGAL_REQUEST, 0x0e, 0x03);
    /// Saving parameters not supported.
    pub const NO_SAVED_PAGES: Self = Self::plain(ILLEGAL_REQUEST, 0x39, 0x00);
    /// Space allocation failed write protect: the thin pool is full (SBC-3 4.7.3.6).
    pub const NO_SPACE: Self = Self::plain(DATA_PROTECT, 0x27, 0x07);
    /// Unexpected unsolicited data (RFC 7143 11.4.7.2).
    pub const UNEXPECTED_UNSOLICITED_DATA: Self = Self::plain(ABORTED_COMMAND, 0x0c, 0x0c);
    /// Incorrect amount of data (RFC 7143 11.4.7.2).
    pub const INCORRECT_AMOUNT_OF_DATA: Self = Self::plain(ABORTED_COMMAND, 0x0c, 0x0d);
    /// Protocol service CRC error: a data sequence has a gap (RFC 7143 11.4.7.2).
    pub const DATA_SEQUENCE_ERROR: Self = Self::plain(ABORTED_COMMAND, 0x47, 0x05);

    /// A unit attention with this code and qualifier.
    pub const fn unit_attention(asc: u8, ascq: u8) -> Self {
        Self::plain(UNIT_ATTENTION, asc, ascq)
    }

    /// Invalid field in CDB; `byte` and `bit` point at the field.
    pub const fn invalid_cdb_field(byte: u16, bit: Option<u8>) -> Self {
        Self {
            key: ILLEGAL_REQUEST,
            asc: 0x24,
            ascq: 0x00,
            detail: Detail::Field {
                in_cdb: true,
                byte,
                bit,
            },
        }
    }

    /// Invalid field in parameter list; `byte` points at the field.
    pub const fn invalid_parameter_field(byte: u16) -> Self {
        Self {
            key: ILLEGAL_REQUEST,
            asc: 0x26,
            ascq: 0x00,
            detail: Detail::Field {
                in_cdb: false,
                byte,
                bit: None,
            },
        }
    }

    /// Miscompare during verify operation; `offset` is that of the first differing byte of the data sent.
    pub const fn miscompare(offset: u64) -> Self {
        Self {
            key: MISCOMPARE,
            asc: 0x1d,
            ascq: 0x00,
            detail: Detail::Information(offset),
        }
    }

    /// Sense key (SPC-4 table 54).
    pub const fn key(&self) -> u8 {
        self.key
    }

    /// Additional sense code.
    pub const fn asc(&self) -> u8 {
        self.asc
    }

    /// Additional sense code qualifier.
    pub const fn ascq(&self) -> u8 {
        self.ascq
    }

    /// The one place where a device's error becomes sense data.
    pub fn from_block_error(error: &BlockError, writing: bool) -> Self {
        match error.kind() {
            ErrorKind::NoSpace => Self::NO_SPACE,
            ErrorKind::Medium if writing => Self::WRITE_ERROR,
            ErrorKind::Medium => Self::READ_ERROR,
            ErrorKind::Gone => Self::LUN_NOT_SUPPORTED,
            ErrorKind::OutOfRange => Self::LBA_OUT_OF_RANGE,
            // Addresses are whole blocks by construction, so a misaligned one is a fault of ours, not the caller's.
            ErrorKind::Misaligned | ErrorKind::Poisoned | ErrorKind::Io => Self::INTERNAL_FAILURE,
        }
    }

    /// The sense data on the wire.
    pub fn to_fixed(&self) -> [u8; FIXED_SENSE_BYTES] {
        let mut fixed = FixedSense {
            valid_response_code: RESPONSE_CODE_FIXED,
            obsolete: 0,
            sense_key: self.key,
            information: U32::ZERO,
            additional_length: (FIXED_SENSE_BYTES - 8) as u8,
            command_specific: U32::ZERO,
            asc: self.asc,
            ascq: self.ascq,
            fru_code: 0,
            key_specific: 0,
            field_pointer: U16::ZERO,
        };
        match self.detail {
            Detail::None => {}
            Detail::Field { in_cdb, byte, bit } => {
                fixed.key_specific =
                    0x80 | if in_cdb { 0x40 } else { 0 } | bit.map_or(0, |bit| 0x08 | (bit & 7));
                fixed.field_pointer = U16::new(byte);
            }
            // VALID only if the four bytes can hold it; half an address would mislead.
            Detail::Information(value) => {
                if let Ok(value) = u32::try_from(value) {
                    fixed.valid_response_code |= 0x80;
                    fixed.information = U32::new(value);
                }
            }
        }
        let mut bytes = [0; FIXED_SENSE_BYTES];
        bytes.copy_from_slice(fixed.as_bytes());
        bytes
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}/{:02x}/{:02x}", self.key, self.asc, self.ascq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sense_field_pointer_is_encoded() {
        let bytes = Sense::invalid_cdb_field(1, Some(7)).to_fixed();
        let expected = [
            0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcf, 0, 1,
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn sense_information_too_wide_is_left_out() {
        assert_eq!(
            Sense::miscompare(7).to_fixed()[..7],
            [0xf0, 0, 0xe, 0, 0, 0, 7]
        );
        assert_eq!(
            Sense::miscompare(1 << 32).to_fixed()[..7],
            [0x70, 0, 0xe, 0, 0, 0, 0]
        );
    }

    #[test]
    fn block_error_each_kind_has_its_sense() {
        let of = |kind, writing| {
            Sense::from_block_error(&BlockError::new(kind, "test"), writing).to_string()
        };
        assert_eq!(of(ErrorKind::NoSpace, true), "07/27/07");
        assert_eq!(of(ErrorKind::Medium, false), "03/11/00");
        assert_eq!(of(ErrorKind::Medium, true), "03/0c/00");
        assert_eq!(of(ErrorKind::Poisoned, true), "04/44/00");
        assert_eq!(of(ErrorKind::Io, false), "04/44/00");
        assert_eq!(of(ErrorKind::Gone, false), "05/25/00");
        assert_eq!(of(ErrorKind::OutOfRange, true), "05/21/00");
    }
}
