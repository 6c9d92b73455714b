// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes as people write them: `64GiB`, `1 TiB`, `512`, `100 GB`.

use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;

/// A number of bytes. In text and configuration: a whole number with an optional unit, binary (KiB, MiB, GiB, TiB, or
/// K, M, G, T) or decimal (kB, MB, GB, TB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size; write for example 64GiB, 500GB or 1048576")]
pub struct ByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let malformed = || ByteSizeError(text.chars().take(40).collect());
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| malformed())?;
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(malformed()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(malformed)
    }
}

/// The largest binary unit that leaves at least 1, with one decimal place unless it is a whole number.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, unit) in units {
            let whole = self.0 >> shift;
            if whole > 0 {
                let tenths = ((self.0 & ((1 << shift) - 1)) * 10) >> shift;
                return match tenths {
                    0 => write!(f, "{whole} {unit}"),
                    _ => write!(f, "{whole}.{tenths} {unit}"),
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_units_are_understood() {
        let cases = [
            ("512", 512),
            ("64GiB", 64 << 30),
            ("1 TiB", 1 << 40),
            ("2m", 2 << 20),
            ("100 GB", 100_000_000_000),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn size_malformed_or_too_large_is_refused() {
        for text in [
            "",
            "GiB",
            "1.5GiB",
            "-1",
            "1 PiB",
            "99999999999999999999",
            "20000000 TiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn size_is_shown_for_people() {
        let shown =
            [0, 1023, 1536, 64 << 30, (1 << 40) + (1 << 39)].map(|b| ByteSize(b).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "64 GiB", "1.5 TiB"]);
    }
}
