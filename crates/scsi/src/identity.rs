// SPDX-License-Identifier: MIT OR Apache-2.0

/// One association-0 (logical unit) designator of VPD page 83h (SPC-4 7.8.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Designator {
    /// 1 binary, 2 ASCII, 3 UTF-8.
    pub code_set: u8,
    /// Designator type: 1 T10 vendor id, 2 EUI-64, 3 NAA, 8 SCSI name string.
    pub kind: u8,
    /// The identifier, at most 255 bytes.
    pub bytes: Vec<u8>,
}

/// What a logical unit says about itself in INQUIRY, page 80h and the association-0 part of page 83h (LUN-9: the
/// same bytes in the same order as the provider reports).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// INQUIRY bytes 8-15.
    pub vendor: [u8; 8],
    /// INQUIRY bytes 16-31.
    pub product: [u8; 16],
    /// INQUIRY bytes 32-35.
    pub revision: [u8; 4],
    /// Page 80h, ASCII, at most 252 characters.
    pub serial: String,
    /// Page 83h, association 0, in this order.
    pub designators: Vec<Designator>,
}

impl Identity {
    /// # Panics
    /// If a part does not fit its page: identities are made by our own array, never by outside input.
    pub(crate) fn assert_fits(&self) {
        assert!(
            self.serial.len() <= 252 && self.serial.is_ascii(),
            "the serial number {:?} does not fit page 80h",
            self.serial
        );
        let bytes: usize = self
            .designators
            .iter()
            .map(|designator| 4 + designator.bytes.len())
            .sum();
        assert!(
            bytes <= 4096
                && self
                    .designators
                    .iter()
                    .all(|d| d.bytes.len() <= 255 && d.code_set <= 0xf && d.kind <= 0xf),
            "the designators do not fit page 83h"
        );
    }
}
