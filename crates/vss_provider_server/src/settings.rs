// SPDX-License-Identifier: MIT OR Apache-2.0
//! The settings file `provider.toml`. It may be missing and each setting may be left out; an unknown or impossible one
//! is an error, because a misspelt limit that is silently ignored is worse than a backup that fails and says why.

use crate::data_folder::DataFolder;
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vss_provider::Settings;

/// In the data folder.
pub const FILE: &str = "provider.toml";
/// A day: a longer time is a slip of the pen.
const TIME_MAX_S: u64 = 24 * 60 * 60;

/// Every setting at its default, with its meaning: what `print-settings` prints.
pub const EXAMPLE: &str = r#"# Settings of the Shadowlun provider: %ProgramData%\Shadowlun\provider.toml. The file and each setting may be left out.
# They are read whenever Windows loads the provider. An unknown setting or an impossible value makes every shadow copy
# fail with an event that says so.

# How many seconds preparing a shadow copy set may take, 1 to 86400.
end_prepare_max_s = 1800
# A set that nobody continues is given up after so many seconds, 60 to 86400.
idle_set_max_s = 1800
# What happens when the array cannot be asked whether it can copy a volume of its own. false: the provider declines, and
# Windows may make the shadow copy with another provider. true: the backup fails.
veto_when_unreachable = false
# Also appends each event of the provider to this file, as a line of JSON, for support. An absolute path on a drive, in
# a folder that only administrators may write to; write it in single quotes. Without it events go to the Application log only.
# event_file = 'C:\ProgramData\Shadowlun\events.jsonl'
"#;

/// The settings, checked.
#[derive(Clone, Debug, Default)]
pub struct FileSettings {
    /// What the core needs.
    pub provider: Settings,
    /// Events are also appended here.
    pub event_file: Option<PathBuf>,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is there and cannot be read.
    #[error("the settings {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Not TOML, an unknown setting, or a value that cannot work.
    #[error("the settings {path} do not fit: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line and cause, in one line.
        reason: String,
    },
}

impl FileError {
    /// What to do about it, one sentence without a full stop.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => {
                "let SYSTEM and Administrators read the file, or delete it to use the defaults"
            }
            Self::Malformed { .. } => {
                "correct the file ('shadowlun-provider print-settings' prints an example), or delete it to use the defaults"
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    end_prepare_max_s: Option<u64>,
    idle_set_max_s: Option<u64>,
    veto_when_unreachable: Option<bool>,
    event_file: Option<PathBuf>,
}

/// Reads the settings; the defaults when there is no file.
///
/// # Errors
/// [`FileError`] for a file that is there and cannot be used.
pub fn load(folder: &dyn DataFolder) -> Result<FileSettings, FileError> {
    let path = folder.path(FILE);
    match folder.read(FILE) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => parse(path, &text),
            // What `>` of Windows PowerShell writes.
            Err(_) => Err(FileError::Malformed {
                path,
                reason: "it is no UTF-8 text; save it as UTF-8".to_owned(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileSettings::default()),
        Err(source) => Err(FileError::Unreadable { path, source }),
    }
}

/// The settings of a file's text.
///
/// # Errors
/// [`FileError::Malformed`].
pub fn parse(path: PathBuf, text: &str) -> Result<FileSettings, FileError> {
    read(text).map_err(|reason| FileError::Malformed { path, reason })
}

fn read(text: &str) -> Result<FileSettings, String> {
    // Windows' editors begin UTF-8 files with a mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: File = toml::from_str(text).map_err(|error| one_line(text, &error))?;
    let defaults = Settings::default();
    let event_file = file.event_file;
    if event_file
        .as_deref()
        .is_some_and(|path| !is_on_a_drive(path))
    {
        return Err(
            "event_file is no absolute path on a drive, such as 'C:\\folder\\events.jsonl'"
                .to_owned(),
        );
    }
    Ok(FileSettings {
        provider: Settings {
            end_prepare_max: seconds(
                "end_prepare_max_s",
                file.end_prepare_max_s,
                1,
                defaults.end_prepare_max,
            )?,
            idle_set_max: seconds(
                "idle_set_max_s",
                file.idle_set_max_s,
                60,
                defaults.idle_set_max,
            )?,
            veto_when_unreachable: file
                .veto_when_unreachable
                .unwrap_or(defaults.veto_when_unreachable),
            lun_of: defaults.lun_of,
        },
        event_file,
    })
}

fn seconds(
    name: &str,
    value: Option<u64>,
    min: u64,
    default: Duration,
) -> Result<Duration, String> {
    match value {
        None => Ok(default),
        Some(value) if (min..=TIME_MAX_S).contains(&value) => Ok(Duration::from_secs(value)),
        Some(value) => Err(format!("{name} is {value}, not {min} to {TIME_MAX_S}")),
    }
}

/// A service's working directory is System32, so a relative path would lead there; a share could block for long.
fn is_on_a_drive(path: &Path) -> bool {
    let text = path.to_string_lossy();
    matches!(text.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic())
}

fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.matches('\n').count() + 1);
    let message = error.message().replace('\n', " ");
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_folder::MemoryFolder;

    fn refusal(text: &str) -> String {
        parse("provider.toml".into(), text).unwrap_err().to_string()
    }

    /// What `print-settings` prints is what the code does.
    #[test]
    fn example_holds_the_defaults_and_every_setting() {
        let uncommented = EXAMPLE.replace("# event_file", "event_file");

        let as_printed = parse(FILE.into(), EXAMPLE).unwrap();
        let complete = parse(FILE.into(), &uncommented).unwrap();

        let defaults = Settings::default();
        assert_eq!(
            as_printed.provider.end_prepare_max,
            defaults.end_prepare_max
        );
        assert_eq!(as_printed.provider.idle_set_max, defaults.idle_set_max);
        assert_eq!(
            as_printed.provider.veto_when_unreachable,
            defaults.veto_when_unreachable
        );
        assert_eq!(as_printed.event_file, None);
        assert!(complete.event_file.is_some());
        for setting in [
            "end_prepare_max_s",
            "idle_set_max_s",
            "veto_when_unreachable",
        ] {
            assert!(EXAMPLE.contains(&format!("\n{setting} = ")), "{setting}");
        }
    }

    #[test]
    fn every_setting_is_taken_over() {
        let text = "\u{feff}end_prepare_max_s = 7\nidle_set_max_s = 61\nveto_when_unreachable = true\nevent_file = 'D:\\e.jsonl'\n";

        let settings = parse(FILE.into(), text).unwrap();

        assert_eq!(settings.provider.end_prepare_max, Duration::from_secs(7));
        assert_eq!(settings.provider.idle_set_max, Duration::from_secs(61));
        assert!(settings.provider.veto_when_unreachable);
        assert_eq!(settings.event_file, Some("D:\\e.jsonl".into()));
    }

    #[test]
    fn missing_file_means_the_defaults() {
        let settings = load(&MemoryFolder::default()).unwrap();

        assert_eq!(
            settings.provider.idle_set_max,
            Settings::default().idle_set_max
        );
    }

    #[test]
    fn file_in_another_encoding_is_an_error() {
        let folder = MemoryFolder::default();
        folder.put(FILE, &[0xFF, 0xFE]);

        let error = load(&folder).unwrap_err();

        assert!(error.to_string().contains("save it as UTF-8"), "{error}");
    }

    #[test]
    fn impossible_settings_are_named_with_line_or_range() {
        assert!(refusal("\nveto = true").contains("line 2: unknown field `veto`"));
        assert!(refusal("idle_set_max_s = 59").contains("idle_set_max_s is 59, not 60 to 86400"));
        assert!(refusal("end_prepare_max_s = 0").contains("not 1 to 86400"));
        assert!(refusal("end_prepare_max_s = 86401").contains("not 1 to 86400"));
        assert!(refusal("end_prepare_max_s = -1").contains("line 1"));
        for path in ["events.jsonl", r"\\server\share\e", "C:e", r"\e", "/e"] {
            let refusal = refusal(&format!("event_file = '{path}'"));
            assert!(refusal.contains("absolute path on a drive"), "{path}");
        }
    }
}
