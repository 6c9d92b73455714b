// SPDX-License-Identifier: MIT OR Apache-2.0
//! The enrolment file `enrolment.json`: which array this host belongs to, and the host's secret, sealed for this machine.
//!
//! The seal (DPAPI, machine scope) makes a copy of the file useless elsewhere; on this machine every process could open it, so
//! the file's access list is what keeps others out ([`crate::data_folder::FILE_SDDL`], SEC-10).

use crate::data_folder::DataFolder;
use array_api::{Enrolment, Token};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// In the data folder.
pub const FILE: &str = "enrolment.json";
/// Version of the file's own form.
const FORM: u32 = 1;

/// Seals secrets so that only this machine opens them.
pub trait SecretBox {
    /// Seals.
    fn protect(&self, secret: &[u8]) -> io::Result<Vec<u8>>;
    /// Opens what [`SecretBox::protect`] sealed on this machine; an error for anything else.
    fn unprotect(&self, sealed: &[u8]) -> io::Result<Vec<u8>>;
}

/// Why there is no enrolment.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Never enrolled.
    #[error("this host is not enrolled with an array")]
    Missing,
    /// The file cannot be read.
    #[error("the enrolment {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Written by a newer version.
    #[error("the enrolment {path} has the form {form}, which this version does not know")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        form: u32,
    },
    /// Damaged, or changed by hand.
    #[error("the enrolment {path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, without any of the content.
        reason: &'static str,
    },
    /// Sealed on another machine, or this machine's keys were lost.
    #[error("the secret in the enrolment {path} cannot be opened on this machine: {source}")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl LoadError {
    /// What to do about it, one sentence without a full stop.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing => {
                "run 'shadowlun-provider enroll -' and paste the line that 'shadowlun host add' printed on the array"
            }
            Self::Unreadable { .. } => {
                "run the command as administrator; let SYSTEM and Administrators read the file"
            }
            Self::Newer { .. } => "update the provider, or enroll again",
            Self::Damaged { .. } | Self::Sealed { .. } => {
                "enroll again: 'shadowlun-provider enroll -', with this host's enrolment line"
            }
        }
    }
}

#[derive(Deserialize)]
struct AnyForm {
    form: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    form: u32,
    address: String,
    key_pin: String,
    /// Sealed, in hexadecimal digits.
    token: String,
}

/// Reads this host's enrolment.
///
/// # Errors
/// [`LoadError`].
pub fn load(folder: &dyn DataFolder, secrets: &dyn SecretBox) -> Result<Enrolment, LoadError> {
    let path = folder.path(FILE);
    let bytes = match folder.read(FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LoadError::Missing),
        Err(source) => return Err(LoadError::Unreadable { path, source }),
    };
    let damaged = |reason| LoadError::Damaged {
        path: path.clone(),
        reason,
    };
    let AnyForm { form } =
        serde_json::from_slice(&bytes).map_err(|_| damaged("it is no JSON with a form"))?;
    if form != FORM {
        return Err(LoadError::Newer { path, form });
    }
    let file: File =
        serde_json::from_slice(&bytes).map_err(|_| damaged("a field is missing or unknown"))?;
    let sealed = unhex(&file.token).ok_or_else(|| damaged("the token is not hexadecimal"))?;
    let key_pin = file
        .key_pin
        .parse()
        .map_err(|_| damaged("the key pin is not 64 hexadecimal digits"))?;
    let opened = secrets
        .unprotect(&sealed)
        .map_err(|source| LoadError::Sealed {
            path: path.clone(),
            source,
        })?;
    let token: Token = std::str::from_utf8(&opened)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| damaged("the sealed secret is no token"))?;
    Enrolment::new(&file.address, key_pin, token)
        .map_err(|_| damaged("the address is not HOST:PORT"))
}

/// Writes this host's enrolment, in place of an earlier one.
///
/// # Errors
/// The system's.
pub fn store(
    folder: &dyn DataFolder,
    secrets: &dyn SecretBox,
    enrolment: &Enrolment,
) -> io::Result<()> {
    let sealed = secrets.protect(enrolment.token().expose().as_bytes())?;
    let file = File {
        form: FORM,
        address: enrolment.address().to_owned(),
        key_pin: enrolment.key_pin().to_string(),
        token: sealed.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    folder.replace(FILE, &serde_json::to_vec_pretty(&file)?)
}

/// Removes this host's enrolment; `false` when there was none.
///
/// # Errors
/// The system's.
pub fn remove(folder: &dyn DataFolder) -> io::Result<bool> {
    match folder.remove(FILE) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let fits = digits.len().is_multiple_of(2) && digits.iter().all(u8::is_ascii_hexdigit);
    fits.then(|| {
        digits
            .chunks_exact(2)
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect()
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data_folder::MemoryFolder;

    /// Seals by a machine's number and an exclusive or, so that the plain text does not show.
    pub(crate) struct Machine(pub(crate) u8);

    impl SecretBox for Machine {
        fn protect(&self, secret: &[u8]) -> io::Result<Vec<u8>> {
            let mut sealed = vec![self.0];
            sealed.extend(secret.iter().map(|byte| byte ^ 0xA5));
            Ok(sealed)
        }

        fn unprotect(&self, sealed: &[u8]) -> io::Result<Vec<u8>> {
            match sealed.split_first() {
                Some((machine, rest)) if *machine == self.0 => {
                    Ok(rest.iter().map(|byte| byte ^ 0xA5).collect())
                }
                _ => Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    fn example() -> Enrolment {
        format!(
            "shadowlun://array.example.net:8443/1/{}/{}",
            "ab".repeat(32),
            "cd".repeat(32)
        )
        .parse()
        .unwrap()
    }

    fn enrolled() -> MemoryFolder {
        let folder = MemoryFolder::default();
        store(&folder, &Machine(1), &example()).unwrap();
        folder
    }

    fn change(folder: &MemoryFolder, from: &str, to: &str) {
        let text = String::from_utf8(folder.read(FILE).unwrap()).unwrap();
        assert!(text.contains(from), "{text}");
        folder.put(FILE, text.replace(from, to).as_bytes());
    }

    #[test]
    fn stored_enrolment_is_read_back() {
        assert!(load(&enrolled(), &Machine(1)).unwrap() == example());
    }

    /// SEC-10.
    #[test]
    fn file_does_not_hold_the_token_in_the_open() {
        let text = String::from_utf8(enrolled().read(FILE).unwrap()).unwrap();

        assert!(!text.contains("cdcdcd"), "the token is in the file");
        let as_text_in_hex: String = b"cdcdcd".iter().map(|b| format!("{b:02x}")).collect();
        assert!(!text.contains(&as_text_in_hex), "the token is in the file");
        assert!(text.contains("array.example.net:8443"));
    }

    #[test]
    fn missing_file_says_how_to_enroll() {
        let error = load(&MemoryFolder::default(), &Machine(1)).unwrap_err();

        assert!(matches!(error, LoadError::Missing));
        assert!(error.remedy().contains("enroll -"));
    }

    #[test]
    fn file_of_another_machine_says_enroll_again() {
        let error = load(&enrolled(), &Machine(2)).unwrap_err();

        assert!(matches!(error, LoadError::Sealed { .. }), "{error}");
        assert!(error.remedy().contains("enroll again"));
    }

    #[test]
    fn newer_form_says_update() {
        let folder = MemoryFolder::default();
        folder.put(FILE, br#"{"form": 2, "anything": []}"#);

        let error = load(&folder, &Machine(1)).unwrap_err();

        assert!(matches!(error, LoadError::Newer { form: 2, .. }), "{error}");
        assert!(error.remedy().contains("update"));
    }

    #[test]
    fn damaged_files_say_what_is_wrong_and_never_show_content() {
        let damages = [
            ("\"form\"", "\"from\"", "form"),
            ("\"address\"", "\"adress\"", "field"),
            ("abab", "zzzz", "key pin"),
            (":8443", "", "address"),
            ("\"token\": \"", "\"token\": \"0", "token is not hex"),
            ("\"token\": \"", "\"token\": \"\u{e9}", "token is not hex"),
        ];
        for (from, to, expected) in damages {
            let folder = enrolled();
            change(&folder, from, to);

            let error = load(&folder, &Machine(1)).unwrap_err();

            assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{from}: {error}");
        }
    }

    #[test]
    fn removed_enrolment_is_gone_and_removing_again_says_so() {
        let folder = enrolled();

        assert!(remove(&folder).unwrap());
        assert!(!remove(&folder).unwrap());
        assert!(matches!(
            load(&folder, &Machine(1)),
            Err(LoadError::Missing)
        ));
    }
}
