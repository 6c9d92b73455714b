// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text keys (RFC 7143 section 6): `key=value` pairs, each ended by a zero byte.

/// Most bytes of one negotiation, over all its PDUs.
pub(crate) const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest key and value (RFC 7143 6.1).
const KEY_BYTES_MAX: usize = 63;
const VALUE_BYTES_MAX: usize = 8192;

/// A text that breaks RFC 7143 6.1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedText;

/// The pairs of `data`, in order.
pub(crate) fn parse(data: &[u8]) -> Result<Vec<(String, String)>, MalformedText> {
    // Some initiators pad with zero bytes or leave the last one out; both are understood.
    data.split(|&byte| byte == 0)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|_| MalformedText)?;
            let (key, value) = pair.split_once('=').ok_or(MalformedText)?;
            let sound = !key.is_empty()
                && key.len() <= KEY_BYTES_MAX
                && value.len() <= VALUE_BYTES_MAX
                && key.chars().all(|c| c.is_ascii_graphic());
            match sound {
                true => Ok((key.to_owned(), value.to_owned())),
                false => Err(MalformedText),
            }
        })
        .collect()
}

/// Appends one pair.
pub(crate) fn push(text: &mut Vec<u8>, key: &str, value: &str) {
    text.extend(key.bytes());
    text.push(b'=');
    text.extend(value.bytes());
    text.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_pairs_in_order() {
        let pairs = parse(b"A=1\0B=x=y\0C=\0").unwrap();
        let expected = [("A", "1"), ("B", "x=y"), ("C", "")];
        assert!(pairs.iter().map(|(k, v)| (&**k, &**v)).eq(expected));
    }

    #[test]
    fn parse_malformed_is_an_error() {
        for text in [&b"novalue\0"[..], b"=x\0", b"\xff=1\0", b"a b=1\0"] {
            assert_eq!(parse(text), Err(MalformedText), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_any_bytes_never_panics(data: Vec<u8>) {
            let _ = parse(&data);
        }
    }
}
