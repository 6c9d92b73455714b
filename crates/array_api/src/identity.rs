// SPDX-License-Identifier: MIT OR Apache-2.0
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// INQUIRY vendor and T10 vendor identification: fills its 8 characters, so that trimming changes nothing (LUN-10).
pub const SCSI_VENDOR: &str = "SHADOWLN";
/// INQUIRY product: fills its 16 characters.
pub const SCSI_PRODUCT: &str = "SHADOWLUN-VOLUME";

/// Code sets and types of designators (SPC-4 7.8.6.1); the values equal VDS_STORAGE_IDENTIFIER_CODE_SET and _TYPE.
const CODE_SET_BINARY: u8 = 1;
const CODE_SET_ASCII: u8 = 2;
const TYPE_T10_VENDOR: u8 = 1;
const TYPE_NAA: u8 = 3;
/// NAA IEEE Registered Extended (SPC-4 7.8.6.6.5): 16 bytes.
const NAA_6: u8 = 6;

/// The random 128-bit identity of a LUN. Written as 32 lower-case hexadecimal digits everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LunId(pub u128);

impl LunId {
    /// A fresh id from the system's random generator.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for LunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for LunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LunId({self})")
    }
}

/// Why a text is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A LUN id has 32 hexadecimal digits.
    #[error("a LUN id has 32 hexadecimal digits, not {0:?}")]
    LunId(String),
    /// An OUI has 6 hexadecimal digits.
    #[error("an OUI has 6 hexadecimal digits, not {0:?}")]
    Oui(String),
}

impl FromStr for LunId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::LunId(text.chars().take(64).collect());
        if text.len() != 32 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| malformed())
    }
}

impl Serialize for LunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The 24-bit company id of the NAA designator. Until the project owns one it comes from the locally administered
/// space (bit 1 of the first byte set), and a site may set its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oui(u32);

impl Oui {
    /// "SHA" with the locally administered bit, the default.
    pub const LOCAL: Self = Self(0x02_53_48);

    /// The three bytes as a number below 2^24.
    pub fn value(self) -> u32 {
        self.0
    }
}

impl FromStr for Oui {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Oui(text.chars().take(64).collect());
        if text.len() != 6 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        u32::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| malformed())
    }
}

/// One association-0 (logical unit) designator of VPD page 83h (SPC-4 7.8.6). `bytes` holds at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Designator {
    /// 1 binary, 2 ASCII, 3 UTF-8.
    pub code_set: u8,
    /// Designator type: 1 T10 vendor id, 3 NAA.
    #[serde(rename = "type")]
    pub kind: u8,
    /// The identifier itself.
    pub bytes: Vec<u8>,
}

/// What INQUIRY, page 80h and the association-0 part of page 83h of a LUN show, byte for byte (GTL-2, GTL-6). Frozen
/// when the LUN is created, so that an upgrade of the array breaks no import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LunIdentity {
    /// INQUIRY bytes 8-15, 8 characters.
    pub vendor: String,
    /// INQUIRY bytes 16-31, 16 characters.
    pub product: String,
    /// INQUIRY bytes 32-35, 4 characters.
    pub revision: String,
    /// Page 80h, 32 characters: the LUN id in hexadecimal.
    pub serial: String,
    /// Page 83h, association 0, in the order shown.
    pub designators: Vec<Designator>,
}

impl LunIdentity {
    /// The identity of a LUN created now: T10 vendor designator with the whole id, NAA-6 with `oui` and the first
    /// 100 bits of it.
    pub fn new(id: LunId, oui: Oui, revision: [u8; 4]) -> Self {
        let t10 = format!("{SCSI_VENDOR}{id}");
        let naa = (u128::from(NAA_6) << 124) | (u128::from(oui.value()) << 100) | (id.0 >> 28);
        Self {
            vendor: SCSI_VENDOR.to_owned(),
            product: SCSI_PRODUCT.to_owned(),
            revision: revision
                .iter()
                .map(|&b| {
                    if b.is_ascii_graphic() {
                        char::from(b)
                    } else {
                        '0'
                    }
                })
                .collect(),
            serial: id.to_string(),
            designators: vec![
                Designator {
                    code_set: CODE_SET_ASCII,
                    kind: TYPE_T10_VENDOR,
                    bytes: t10.into_bytes(),
                },
                Designator {
                    code_set: CODE_SET_BINARY,
                    kind: TYPE_NAA,
                    bytes: naa.to_be_bytes().to_vec(),
                },
            ],
        }
    }

    /// The LUN id that a T10 vendor designator of ours carries; `None` for anybody else's.
    pub fn lun_id(designator: &Designator) -> Option<LunId> {
        if designator.kind != TYPE_T10_VENDOR {
            return None;
        }
        let text = std::str::from_utf8(&designator.bytes).ok()?;
        text.strip_prefix(SCSI_VENDOR)?.parse().ok()
    }
}
