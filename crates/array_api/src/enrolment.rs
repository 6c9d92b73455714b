// SPDX-License-Identifier: MIT OR Apache-2.0
use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "shadowlun://";
/// Version of the line's own form, its first path element.
const FORM: &str = "1";

/// What a provider needs to know of an array: where it is, which key it must prove to have, and the secret that says
/// which host is calling.
///
/// Its text form is one line without blanks, printed once by `shadowlun host add` and pasted on the host:
/// `shadowlun://ADDRESS:PORT/1/KEY_PIN/TOKEN`, pin and token as 64 hexadecimal digits each. Whoever has the line has
/// the host's rights on the array; `Debug` therefore shows neither the token nor the line.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolment {
    address: String,
    key_pin: KeyPin,
    token: Token,
}

/// SHA-256 of the SubjectPublicKeyInfo (RFC 5280 4.1.2.7) of the array's certificate. Survives a renewed certificate
/// with the same key, and asks for no name and no certificate authority.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyPin(pub [u8; 32]);

/// A host's secret: 32 random bytes. The array keeps only [`Token::sha256`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

/// Why a text is no enrolment line. The line itself is never repeated: it holds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// Another scheme or too few or too many elements.
    #[error(
        "an enrolment line has the form shadowlun://ADDRESS:PORT/1/KEY_PIN/TOKEN, as `shadowlun host add` prints it"
    )]
    Form,
    /// A newer form of the line.
    #[error("the enrolment line has a form that this version does not know; update the provider")]
    Version,
    /// No `host:port`.
    #[error("the enrolment line's address is not HOST:PORT with a port from 1 to 65535")]
    Address,
    /// Not 64 hexadecimal digits.
    #[error(
        "the enrolment line's key pin or token is not 64 hexadecimal digits; copy the whole line"
    )]
    Digits,
}

impl Enrolment {
    /// An enrolment from its parts.
    ///
    /// # Errors
    /// [`EnrolmentError::Address`] when `address` is no `HOST:PORT` (IPv6 in brackets).
    pub fn new(address: &str, key_pin: KeyPin, token: Token) -> Result<Self, EnrolmentError> {
        let (host, port) = address.rsplit_once(':').ok_or(EnrolmentError::Address)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host_fits = !host.is_empty()
            && host.len() <= 255
            && (bracketed || !host.contains(':'))
            && host.bytes().all(|c| c.is_ascii_graphic() && c != b'/');
        if !host_fits || port.parse::<u16>().ok().is_none_or(|port| port == 0) {
            return Err(EnrolmentError::Address);
        }
        Ok(Self {
            address: address.to_owned(),
            key_pin,
            token,
        })
    }

    /// `HOST:PORT` of the array's management interface.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The key that the array must prove to have.
    pub fn key_pin(&self) -> KeyPin {
        self.key_pin
    }

    /// The host's secret.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

impl KeyPin {
    /// The pin of a DER-encoded SubjectPublicKeyInfo.
    pub fn of_spki(spki_der: &[u8]) -> Self {
        Self(sha256(spki_der))
    }
}

impl Token {
    /// A fresh secret from the system's random generator.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// What the array stores and compares. The token is random and long, so a plain hash gives nothing away.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    /// The secret as it goes into the `Authorization` header. Not `Display`, so that no log line gets it by accident.
    pub fn expose(&self) -> String {
        hex(&self.0)
    }
}

impl FromStr for Token {
    type Err = EnrolmentError;

    fn from_str(text: &str) -> Result<Self, EnrolmentError> {
        unhex(text).map(Self)
    }
}

impl FromStr for KeyPin {
    type Err = EnrolmentError;

    fn from_str(text: &str) -> Result<Self, EnrolmentError> {
        unhex(text).map(Self)
    }
}

impl FromStr for Enrolment {
    type Err = EnrolmentError;

    fn from_str(text: &str) -> Result<Self, EnrolmentError> {
        let rest = text
            .trim()
            .strip_prefix(SCHEME)
            .ok_or(EnrolmentError::Form)?;
        let mut elements = rest.split('/');
        let address = elements.next().ok_or(EnrolmentError::Form)?;
        if elements.next().ok_or(EnrolmentError::Form)? != FORM {
            return Err(EnrolmentError::Version);
        }
        let (Some(pin), Some(token), None) = (elements.next(), elements.next(), elements.next())
        else {
            return Err(EnrolmentError::Form);
        };
        Self::new(address, pin.parse()?, token.parse()?)
    }
}

/// The enrolment line, secret included.
impl fmt::Display for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            key_pin,
            token,
        } = self;
        write!(f, "{SCHEME}{address}/{FORM}/{key_pin}/{}", token.expose())
    }
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolment")
            .field("address", &self.address)
            .field("key_pin", &self.key_pin)
            .field("token", &self.token)
            .finish()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPin({self})")
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<[u8; 32], EnrolmentError> {
    if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(EnrolmentError::Digits);
    }
    let mut out = [0; 32];
    for (byte, digits) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| EnrolmentError::Digits)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| EnrolmentError::Digits)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Enrolment {
        Enrolment::new("[::1]:8443", KeyPin([0xab; 32]), Token([0x5c; 32])).unwrap()
    }

    #[test]
    fn enrolment_line_survives_a_round_trip() {
        let line = example().to_string();
        assert_eq!(line.parse::<Enrolment>(), Ok(example()));
        assert_eq!(line.lines().count(), 1);
        assert!(!line.contains(' '));
    }

    #[test]
    fn enrolment_debug_hides_the_token() {
        let shown = format!("{:?}", example());
        assert!(shown.contains("[::1]:8443"));
        assert!(!shown.contains("5c5c"));
    }

    #[test]
    fn enrolment_malformed_line_says_what_is_wrong() {
        let line = example().to_string();
        let cases = [
            (line.replace("shadowlun:", "https:"), EnrolmentError::Form),
            (line.replace("/1/", "/2/"), EnrolmentError::Version),
            (format!("{line}/more"), EnrolmentError::Form),
            (line[..line.len() - 1].to_owned(), EnrolmentError::Digits),
            (line.replace(":8443", ""), EnrolmentError::Address),
            (line.replace(":8443", ":0"), EnrolmentError::Address),
            (line.replace("[::1]", "a b"), EnrolmentError::Address),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Enrolment>(), Err(expected));
        }
    }
}
