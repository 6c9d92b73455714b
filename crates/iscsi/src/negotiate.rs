// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the two sides agree on: operational keys and their result functions (RFC 7143 section 13).

/// Longest data segment that this target takes, in bytes.
pub(crate) const RECEIVE_BYTES_MAX: u32 = 256 << 10;
/// Longest burst and first burst that this target agrees to, in bytes.
const BURST_BYTES_MAX: u32 = 1 << 20;
const FIRST_BURST_BYTES_MAX: u32 = 256 << 10;
/// Most R2Ts of one task that this target has out.
const OUTSTANDING_R2T_MAX: u32 = 8;

/// The agreed values; before that, the defaults of RFC 7143 section 13.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    /// Longest data segment that the initiator takes.
    pub(crate) send_bytes_max: usize,
    pub(crate) max_burst_bytes: u32,
    pub(crate) first_burst_bytes: u32,
    pub(crate) initial_r2t: bool,
    pub(crate) immediate_data: bool,
    pub(crate) outstanding_r2t_max: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            send_bytes_max: 8192,
            max_burst_bytes: 262_144,
            first_burst_bytes: 65_536,
            initial_r2t: true,
            immediate_data: true,
            outstanding_r2t_max: 1,
        }
    }
}

/// What to answer to one key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// `key=value`.
    Answer(String),
    /// A declaration that wants no answer.
    Silent,
    /// A value outside its range where no answer can mend that.
    Fatal,
}

fn answer(value: impl ToString) -> Verdict {
    Verdict::Answer(value.to_string())
}

impl Params {
    /// Takes the initiator's offer of one operational key.
    pub(crate) fn offer(&mut self, key: &str, value: &str) -> Verdict {
        match key {
            "HeaderDigest" | "DataDigest" => choose(value, "None"),
            "AuthMethod" => choose(value, "None"),
            "TaskReporting" => choose(value, "RFC3720"),
            "MaxRecvDataSegmentLength" => match number(value, 512, 0xff_ffff) {
                // Larger segments than we build help nobody; the limit keeps arithmetic far from its ends.
                Some(bytes) => {
                    self.send_bytes_max = bytes.min(BURST_BYTES_MAX) as usize;
                    answer(RECEIVE_BYTES_MAX)
                }
                None => Verdict::Fatal,
            },
            "MaxBurstLength" => min_of(value, 512, 0xff_ffff, BURST_BYTES_MAX, |agreed| {
                self.max_burst_bytes = agreed;
            }),
            "FirstBurstLength" => min_of(value, 512, 0xff_ffff, FIRST_BURST_BYTES_MAX, |agreed| {
                self.first_burst_bytes = agreed;
            }),
            "MaxOutstandingR2T" => min_of(value, 1, 65_535, OUTSTANDING_R2T_MAX, |agreed| {
                self.outstanding_r2t_max = agreed;
            }),
            "InitialR2T" => boolean(value, |offer| {
                self.initial_r2t = offer;
                offer
            }),
            "ImmediateData" => boolean(value, |offer| {
                self.immediate_data = offer;
                offer
            }),
            // In order is all this target does; the result of these two is an OR.
            "DataPDUInOrder" | "DataSequenceInOrder" => boolean(value, |_| true),
            "MaxConnections" => min_of(value, 1, 65_535, 1, |_| {}),
            "ErrorRecoveryLevel" => min_of(value, 0, 2, 0, |_| {}),
            "DefaultTime2Retain" => min_of(value, 0, 3600, 0, |_| {}),
            // The result is a maximum, and we need no wait.
            "DefaultTime2Wait" => match number(value, 0, 3600) {
                Some(seconds) => answer(seconds),
                None => answer("Reject"),
            },
            "iSCSIProtocolLevel" => min_of(value, 0, 31, 1, |_| {}),
            // Markers are gone from the protocol (RFC 7143 13.25); old initiators still ask.
            "IFMarker" | "OFMarker" => boolean(value, |_| false),
            "IFMarkInt" | "OFMarkInt" => answer("Irrelevant"),
            "InitiatorAlias" | "TargetAlias" | "TargetAddress" | "TargetPortalGroupTag" => {
                Verdict::Silent
            }
            _ => answer("NotUnderstood"),
        }
    }

    /// Brings the values into the relations that RFC 7143 13.14 asks for.
    pub(crate) fn settle(&mut self) {
        self.first_burst_bytes = self.first_burst_bytes.min(self.max_burst_bytes);
    }
}

/// `ours` if the initiator's list has it.
fn choose(list: &str, ours: &str) -> Verdict {
    match list.split(',').any(|item| item == ours) {
        true => answer(ours),
        false => answer("Reject"),
    }
}

fn boolean(value: &str, result: impl FnOnce(bool) -> bool) -> Verdict {
    let offer = match value {
        "Yes" => true,
        "No" => false,
        _ => return answer("Reject"),
    };
    answer(if result(offer) { "Yes" } else { "No" })
}

fn min_of(value: &str, min: u32, max: u32, ours: u32, agree: impl FnOnce(u32)) -> Verdict {
    match number(value, min, max) {
        Some(offer) => {
            let agreed = offer.min(ours);
            agree(agreed);
            answer(agreed)
        }
        None => answer("Reject"),
    }
}

/// A numerical value: decimal, or hexadecimal behind 0x (RFC 7143 6.1).
fn number(value: &str, min: u32, max: u32) -> Option<u32> {
    let parsed = match value.strip_prefix("0x").or(value.strip_prefix("0X")) {
        Some(digits) if digits.starts_with('+') => return None,
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None if value.starts_with('+') => return None,
        None => value.parse().ok()?,
    };
    (min..=max).contains(&parsed).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offer_numbers_take_the_smaller() {
        let mut params = Params::default();
        assert_eq!(params.offer("MaxBurstLength", "0x1000"), answer(4096));
        assert_eq!(
            params.offer("FirstBurstLength", "16776192"),
            answer(262_144)
        );
        params.settle();
        assert_eq!(params.max_burst_bytes, 4096);
        assert_eq!(params.first_burst_bytes, 4096);
    }

    #[test]
    fn offer_digest_without_none_is_rejected() {
        let mut params = Params::default();
        assert_eq!(params.offer("HeaderDigest", "CRC32C,None"), answer("None"));
        assert_eq!(params.offer("DataDigest", "CRC32C"), answer("Reject"));
    }

    #[test]
    fn offer_out_of_range_is_rejected() {
        let mut params = Params::default();
        assert_eq!(params.offer("MaxBurstLength", "511"), answer("Reject"));
        assert_eq!(params.offer("MaxBurstLength", "+512"), answer("Reject"));
        assert_eq!(params.offer("InitialR2T", "no"), answer("Reject"));
        assert_eq!(
            params.offer("MaxRecvDataSegmentLength", "1"),
            Verdict::Fatal
        );
        assert_eq!(params, Params::default());
    }

    #[test]
    fn offer_unknown_key_is_not_understood() {
        assert_eq!(
            Params::default().offer("X-com.example", "1"),
            answer("NotUnderstood")
        );
    }
}
