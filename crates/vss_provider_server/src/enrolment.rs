// SPDX-License-Identifier: MIT OR Apache-2.0
//! The enrolment file `enrolment.json`: which arrays this host belongs to, and the host's secret for each, sealed for this
//! machine.
//!
//! The seal (DPAPI, machine scope) makes a copy of the file useless elsewhere; on this machine every process could open it, so
//! the file's access list is what keeps others out ([`crate::data_folder::FILE_SDDL`], SEC-10).

use crate::data_folder::{DataFolder, Held};
use array_api::{Enrolment, Token};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In the data folder.
pub const FILE: &str = "enrolment.json";
/// In the data folder: held while the enrolment is read, changed and written.
const LOCK_FILE: &str = "enrolment.lock";
/// How long a change waits for another one: longer than any takes.
const TURN_MAX: Duration = Duration::from_secs(10);
/// How often it looks again.
const TURN_POLL: Duration = Duration::from_millis(20);
/// Version of the file's own form: a list of arrays.
const FORM: u32 = 2;
/// One array, without a name. Still read.
const FORM_OF_ONE: u32 = 1;
/// An array to which this host belongs.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// What the array called itself at enrolment; `None` when it was not asked.
    pub name: Option<String>,
    /// Where it is, its key, the host's secret.
    pub enrolment: Enrolment,
}

/// What there was to remove.
#[derive(Debug, PartialEq, Eq)]
pub enum Removed {
    /// This one was removed; so many are left.
    One {
        /// Its name or its address.
        array: String,
        /// Arrays left.
        left: usize,
    },
    /// There is no such array.
    None,
    /// Nothing was removed: it has to be said which of these.
    Which(Vec<String>),
}

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
                "enroll again: 'shadowlun-provider enroll -', with this host's enrolment line for each array"
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
    arrays: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    address: String,
    key_pin: String,
    /// Sealed, in hexadecimal digits.
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOfOne {
    #[serde(rename = "form")]
    _form: u32,
    address: String,
    key_pin: String,
    token: String,
}

impl Entry {
    fn label(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.address)
    }
}

/// Reads this host's enrolments; at least one.
///
/// # Errors
/// [`LoadError`].
pub fn load(folder: &dyn DataFolder, secrets: &dyn SecretBox) -> Result<Vec<Enrolled>, LoadError> {
    let entries = entries(folder)?;
    if entries.is_empty() {
        return Err(LoadError::Missing);
    }
    let path = folder.path(FILE);
    entries
        .into_iter()
        .map(|entry| open(entry, &path, secrets))
        .collect()
}

fn entries(folder: &dyn DataFolder) -> Result<Vec<Entry>, LoadError> {
    let path = folder.path(FILE);
    let bytes = match folder.read(FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(LoadError::Unreadable { path, source }),
    };
    let damaged = |reason| LoadError::Damaged {
        path: path.clone(),
        reason,
    };
    let AnyForm { form } =
        serde_json::from_slice(&bytes).map_err(|_| damaged("it is no JSON with a form"))?;
    let unfit = |_| damaged("a field is missing or unknown");
    match form {
        FORM => Ok(serde_json::from_slice::<File>(&bytes)
            .map_err(unfit)?
            .arrays),
        FORM_OF_ONE => {
            let one: FileOfOne = serde_json::from_slice(&bytes).map_err(unfit)?;
            Ok(vec![Entry {
                name: None,
                address: one.address,
                key_pin: one.key_pin,
                token: one.token,
            }])
        }
        form => Err(LoadError::Newer { path, form }),
    }
}

fn open(entry: Entry, path: &Path, secrets: &dyn SecretBox) -> Result<Enrolled, LoadError> {
    let damaged = |reason| LoadError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let sealed = unhex(&entry.token).ok_or_else(|| damaged("the token is not hexadecimal"))?;
    let key_pin = entry
        .key_pin
        .parse()
        .map_err(|_| damaged("the key pin is not 64 hexadecimal digits"))?;
    let opened = secrets
        .unprotect(&sealed)
        .map_err(|source| LoadError::Sealed {
            path: path.to_owned(),
            source,
        })?;
    let token: Token = std::str::from_utf8(&opened)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| damaged("the sealed secret is no token"))?;
    let enrolment = Enrolment::new(&entry.address, key_pin, token)
        .map_err(|_| damaged("the address is not HOST:PORT"))?;
    Ok(Enrolled {
        name: entry.name,
        enrolment,
    })
}

/// Waits until no other process changes the enrolment.
fn turn(folder: &dyn DataFolder) -> io::Result<Held> {
    let until = Instant::now() + TURN_MAX;
    loop {
        match folder.try_hold(LOCK_FILE)? {
            Some(held) => return Ok(held),
            None if Instant::now() >= until => {
                return Err(io::Error::other(format!(
                    "another process has held {} for {} s",
                    folder.path(LOCK_FILE).display(),
                    TURN_MAX.as_secs()
                )));
            }
            None => std::thread::sleep(TURN_POLL),
        }
    }
}

/// Adds an array, in place of one with the same address or the same key. A file that cannot be understood is replaced: the
/// remedy for it is to enroll again.
///
/// # Errors
/// The system's.
pub fn add(
    folder: &dyn DataFolder,
    secrets: &dyn SecretBox,
    enrolled: &Enrolled,
) -> io::Result<()> {
    let _turn = turn(folder)?;
    let mut arrays = match entries(folder) {
        Err(LoadError::Unreadable { source, .. }) => return Err(source),
        entries => entries.unwrap_or_default(),
    };
    let enrolment = &enrolled.enrolment;
    let sealed = secrets.protect(enrolment.token().expose().as_bytes())?;
    let new = Entry {
        name: enrolled.name.clone(),
        address: enrolment.address().to_owned(),
        key_pin: enrolment.key_pin().to_string(),
        token: sealed.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    arrays.retain(|old| old.address != new.address && old.key_pin != new.key_pin);
    arrays.push(new);
    write(folder, arrays)
}

/// Removes the array with this name or address, or without one the only array.
///
/// # Errors
/// The system's. A file that cannot be understood is removed whole when no array is named.
pub fn remove(folder: &dyn DataFolder, which: Option<&str>) -> io::Result<Removed> {
    let _turn = turn(folder)?;
    let mut arrays = match (entries(folder), which) {
        (Ok(arrays), _) => arrays,
        (Err(LoadError::Unreadable { source, .. }), _) => return Err(source),
        (Err(error), Some(_)) => return Err(io::Error::other(error.to_string())),
        (Err(_), None) => {
            folder.remove(FILE)?;
            let array = "all arrays, in a file that cannot be understood".to_owned();
            return Ok(Removed::One { array, left: 0 });
        }
    };
    let found: Vec<usize> = (0..arrays.len())
        .filter(|&at| {
            which.is_none_or(|which| {
                arrays[at].address == which || arrays[at].name.as_deref() == Some(which)
            })
        })
        .collect();
    let at = match found[..] {
        [] => return Ok(Removed::None),
        [at] => at,
        _ => {
            let addresses = found.iter().map(|&at| arrays[at].address.clone());
            return Ok(Removed::Which(addresses.collect()));
        }
    };
    let array = arrays.remove(at).label().to_owned();
    let left = arrays.len();
    match left {
        0 => folder.remove(FILE)?,
        _ => write(folder, arrays)?,
    }
    Ok(Removed::One { array, left })
}

fn write(folder: &dyn DataFolder, arrays: Vec<Entry>) -> io::Result<()> {
    let file = File { form: FORM, arrays };
    folder.replace(FILE, &serde_json::to_vec_pretty(&file)?)
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

    /// What is stored for a line.
    pub(crate) fn of_line(name: &str, line: &str) -> Enrolled {
        Enrolled {
            name: Some(name.to_owned()),
            enrolment: line.parse().unwrap(),
        }
    }

    fn at(name: &str, address: &str, key: &str) -> Enrolled {
        let token = "cd".repeat(32);
        let line = format!("shadowlun://{address}/1/{}/{token}", key.repeat(32));
        of_line(name, &line)
    }

    fn example() -> Enrolled {
        at("store1", "array.example.net:8443", "ab")
    }

    fn enrolled() -> MemoryFolder {
        let folder = MemoryFolder::default();
        add(&folder, &Machine(1), &example()).unwrap();
        folder
    }

    fn addresses(folder: &MemoryFolder) -> Vec<String> {
        let arrays = load(folder, &Machine(1)).unwrap();
        arrays
            .iter()
            .map(|array| array.enrolment.address().to_owned())
            .collect()
    }

    #[test]
    fn second_array_is_added_and_the_same_one_replaced() {
        let folder = enrolled();
        let arrays = |name, address, key| {
            add(&folder, &Machine(1), &at(name, address, key)).unwrap();
            addresses(&folder)
        };

        let two = ["array.example.net:8443", "other:8443"];
        assert_eq!(arrays("store2", "other:8443", "01"), two);
        // The same address with another key, as after a new installation; the same key at another address, as after a move.
        let two = ["other:8443", "array.example.net:8443"];
        assert_eq!(arrays("store1", "array.example.net:8443", "02"), two);
        let two = ["array.example.net:8443", "moved:8443"];
        assert_eq!(arrays("store2", "moved:8443", "01"), two);
    }

    /// A folder where each reading is followed by another process's turn, so that a change without a lock meets a late one.
    struct Slow(MemoryFolder, std::sync::Barrier);

    impl DataFolder for Slow {
        fn path(&self, name: &str) -> PathBuf {
            self.0.path(name)
        }

        fn read(&self, name: &str) -> io::Result<Vec<u8>> {
            let read = self.0.read(name);
            std::thread::sleep(TURN_POLL);
            read
        }

        fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
            self.0.replace(name, bytes)
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }

        fn try_hold(&self, name: &str) -> io::Result<Option<Held>> {
            self.0.try_hold(name)
        }
    }

    /// Two commands at once, each of which reads before either writes unless one waits.
    #[test]
    fn changes_at_once_lose_none() {
        let folder = Slow(enrolled(), std::sync::Barrier::new(2));
        let change = |change: &dyn Fn()| {
            folder.1.wait();
            change();
        };
        std::thread::scope(|scope| {
            let other = || add(&folder, &Machine(1), &at("store2", "other:8443", "01")).unwrap();
            scope.spawn(move || change(&other));
            change(&|| {
                remove(&folder, Some("store1")).unwrap();
            });
        });

        assert_eq!(addresses(&folder.0), ["other:8443"]);
    }

    #[test]
    fn removing_wants_to_know_which_of_several() {
        let folder = enrolled();
        add(&folder, &Machine(1), &at("store2", "other:8443", "01")).unwrap();
        let one = |array: &str, left| Removed::One {
            array: array.to_owned(),
            left,
        };

        let both = vec!["array.example.net:8443".to_owned(), "other:8443".to_owned()];
        assert_eq!(remove(&folder, None).unwrap(), Removed::Which(both));
        assert_eq!(remove(&folder, Some("store3")).unwrap(), Removed::None);
        assert_eq!(
            remove(&folder, Some("other:8443")).unwrap(),
            one("store2", 1)
        );
        assert_eq!(addresses(&folder), ["array.example.net:8443"]);
        assert_eq!(remove(&folder, Some("store1")).unwrap(), one("store1", 0));
        assert!(folder.read(FILE).is_err());
    }

    /// What earlier versions wrote is read, and becomes a list with the next change.
    #[test]
    fn file_of_one_array_is_read_and_continued() {
        let folder = MemoryFolder::default();
        let sealed: String = Machine(1)
            .protect("cd".repeat(32).as_bytes())
            .unwrap()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let pin = "ab".repeat(32);
        let one = format!(
            r#"{{"form": 1, "address": "array.example.net:8443", "key_pin": "{pin}", "token": "{sealed}"}}"#
        );
        folder.put(FILE, one.as_bytes());

        let read = load(&folder, &Machine(1)).unwrap();
        assert!(read[0].enrolment == example().enrolment && read[0].name.is_none());

        add(&folder, &Machine(1), &at("store2", "other:8443", "01")).unwrap();
        assert_eq!(addresses(&folder), ["array.example.net:8443", "other:8443"]);
    }

    fn change(folder: &MemoryFolder, from: &str, to: &str) {
        let text = String::from_utf8(folder.read(FILE).unwrap()).unwrap();
        assert!(text.contains(from), "{text}");
        folder.put(FILE, text.replace(from, to).as_bytes());
    }

    #[test]
    fn stored_enrolment_is_read_back() {
        assert!(load(&enrolled(), &Machine(1)).unwrap() == [example()]);
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
        let error = load(&MemoryFolder::default(), &Machine(1)).err().unwrap();

        assert!(matches!(error, LoadError::Missing));
        assert!(error.remedy().contains("enroll -"));
    }

    #[test]
    fn file_of_another_machine_says_enroll_again() {
        let error = load(&enrolled(), &Machine(2)).err().unwrap();

        assert!(matches!(error, LoadError::Sealed { .. }), "{error}");
        assert!(error.remedy().contains("enroll again"));
    }

    #[test]
    fn newer_form_says_update() {
        let folder = MemoryFolder::default();
        folder.put(FILE, br#"{"form": 3, "anything": []}"#);

        let error = load(&folder, &Machine(1)).err().unwrap();

        assert!(matches!(error, LoadError::Newer { form: 3, .. }), "{error}");
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

            let error = load(&folder, &Machine(1)).err().unwrap();

            assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{from}: {error}");
        }
    }

    #[test]
    fn removed_enrolment_is_gone_and_removing_again_says_so() {
        let folder = enrolled();

        assert!(matches!(
            remove(&folder, None).unwrap(),
            Removed::One { left: 0, .. }
        ));
        assert_eq!(remove(&folder, None).unwrap(), Removed::None);
        assert!(matches!(
            load(&folder, &Machine(1)),
            Err(LoadError::Missing)
        ));
    }
}
