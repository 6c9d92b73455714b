// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider's own entries, read back: from the Application log, or where that has none from the event file.

use crate::data_folder::DataFolder;
use crate::event_log::rfc3339;
use crate::event_table::severity;
use crate::{ids, message_file, settings};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead as _};
use std::path::Path;
use std::time::Duration;
use vss_provider::EventKind;

/// Reads the Application log.
pub trait LogReader {
    /// The newest entries of our source, at most `count`, the newest first.
    fn newest(&self, count: usize) -> io::Result<Vec<Entry>>;
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// UTC, RFC 3339.
    pub time: String,
    /// Id of the catalogue.
    pub id: u32,
    /// `information`, `warning` or `error`.
    pub severity: String,
    /// What happened, why, where.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

impl Entry {
    /// Without anything that a terminal obeys or that looks like a line of its own: anybody may write to the log in our name.
    fn printable(self) -> Self {
        Self {
            time: printable(&self.time),
            id: self.id,
            severity: printable(&self.severity),
            text: printable(&self.text),
            remedy: printable(&self.remedy),
        }
    }
}

/// A line break becomes a blank, every other control character, and what turns the direction of writing, is escaped.
fn printable(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\n' | '\t' => told.push(' '),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => told.extend(c.escape_unicode()),
            c if c.is_control() => told.extend(c.escape_unicode()),
            c => told.push(c),
        }
    }
    told
}

/// The newest entries, the oldest of them first, and where they come from; printable.
///
/// # Errors
/// Why neither the log nor the event file can be read.
pub fn last(
    log: &dyn LogReader,
    folder: &dyn DataFolder,
    count: usize,
) -> Result<(Vec<Entry>, String), String> {
    let printable = |entries: Vec<Entry>| entries.into_iter().map(Entry::printable).collect();
    let read = log.newest(count);
    if let Ok(entries) = &read
        && !entries.is_empty()
    {
        let mut entries = entries.clone();
        entries.reverse();
        return Ok((printable(entries), "the Application log".to_owned()));
    }
    let file = settings::load(folder).ok().and_then(|s| s.event_file);
    match (file, read) {
        (Some(file), _) => {
            let entries = of_file(&file, count).map_err(|error| {
                format!("The event file {} cannot be read: {error}.", file.display())
            })?;
            Ok((printable(entries), file.display().to_string()))
        }
        (None, Ok(_)) => Ok((Vec::new(), "the Application log".to_owned())),
        (None, Err(error)) => Err(format!(
            "The Application log cannot be read: {error}.\nWhat to do: run the command as administrator, or set an event_file."
        )),
    }
}

/// The last lines of the event file that are events.
fn of_file(file: &Path, count: usize) -> io::Result<Vec<Entry>> {
    let mut entries = std::collections::VecDeque::new();
    for line in io::BufReader::new(std::fs::File::open(file)?).split(b'\n') {
        let Ok(entry) = serde_json::from_slice::<Entry>(&line?) else {
            continue;
        };
        if entries.len() == count {
            entries.pop_front();
        }
        entries.push_back(entry);
    }
    Ok(entries.into())
}

/// The entries of our source among the records that ReadEventLog stored, in its order. What is no whole record ends it.
pub fn of_records(mut records: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some(length) = number(records, 0).filter(|length| *length >= RECORD_HEAD_BYTES) {
        let Some((record, rest)) = records.split_at_checked(length) else {
            break;
        };
        entries.extend(entry(record));
        records = rest;
    }
    entries
}

/// The fixed part of an EVENTLOGRECORD; the source's name follows it.
const RECORD_HEAD_BYTES: usize = 56;
/// Ids carry severity and facility above these bits.
const CODE_BITS: u32 = 0xFFFF;

fn entry(record: &[u8]) -> Option<Entry> {
    if text(record, RECORD_HEAD_BYTES)?.0 != ids::names().event_source {
        return None;
    }
    let id = u32::try_from(number(record, 20)?).ok()? & CODE_BITS;
    let kind = EventKind::ALL.iter().find(|kind| kind.id() == id).copied();
    let count = u16::from_le_bytes(record.get(26..28)?.try_into().ok()?);
    let mut at = number(record, 36)?;
    let mut inserts = Vec::new();
    for _ in 0..count {
        let (insert, next) = text(record, at)?;
        inserts.push(insert);
        at = next;
    }
    let insert = |at: usize| inserts.get(at).map_or("", String::as_str);
    let seconds = u64::try_from(number(record, 12)?).ok()?;
    Some(Entry {
        time: rfc3339(Duration::from_secs(seconds)),
        id,
        severity: match kind {
            Some(kind) => severity(kind.severity()).to_owned(),
            None => "unknown".to_owned(),
        },
        text: match kind {
            Some(kind) => format!("{} Cause: {}. {}", kind.title(), insert(0), insert(1)),
            // Of another version of the provider.
            None => inserts.join(" "),
        },
        remedy: match kind {
            Some(kind) => format!("{}{}", ids::remedy(kind), insert(2)),
            None => "update the provider to read it".to_owned(),
        },
    })
}

#[expect(
    clippy::host_endian_bytes,
    reason = "the record's numbers are this machine's"
)]
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let number = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_ne_bytes(number.try_into().ok()?)).ok()
}

/// A text of UTF-16 with a zero behind it, and where the next thing begins.
fn text(record: &[u8], at: usize) -> Option<(String, usize)> {
    let units: Vec<u16> = record
        .get(at..)?
        .chunks_exact(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .take_while(|unit| *unit != 0)
        .take(message_file::INSERT_UNITS_MAX + 1)
        .collect();
    let next = at + 2 * (units.len() + 1);
    (next <= record.len()).then(|| (String::from_utf16_lossy(&units), next))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data_folder::MemoryFolder;

    /// A log with these entries, the newest first; or one that cannot be read.
    pub(crate) struct FakeLog(pub(crate) Option<Vec<Entry>>);

    impl LogReader for FakeLog {
        fn newest(&self, count: usize) -> io::Result<Vec<Entry>> {
            let entries = self.0.as_ref().ok_or(io::ErrorKind::PermissionDenied)?;
            Ok(entries.iter().take(count).cloned().collect())
        }
    }

    fn record(source: &str, id: u32, inserts: &[&str]) -> Vec<u8> {
        let wide = |text: &str| -> Vec<u8> {
            text.encode_utf16()
                .chain([0])
                .flat_map(u16::to_le_bytes)
                .collect()
        };
        let mut bytes = vec![0; RECORD_HEAD_BYTES];
        bytes.extend([wide(source), wide("COMPUTER")].concat());
        let strings = u32::try_from(bytes.len()).unwrap();
        bytes.extend(inserts.iter().flat_map(|insert| wide(insert)));
        let length = u32::try_from(bytes.len()).unwrap();
        let count = u16::try_from(inserts.len()).unwrap();
        bytes[0..4].copy_from_slice(&length.to_le_bytes());
        bytes[12..16].copy_from_slice(&951_782_400_u32.to_le_bytes());
        bytes[20..24].copy_from_slice(&id.to_le_bytes());
        bytes[26..28].copy_from_slice(&count.to_le_bytes());
        bytes[36..40].copy_from_slice(&strings.to_le_bytes());
        bytes
    }

    fn ours() -> Vec<u8> {
        let id = message_file::message_id(EventKind::NoSpace);
        record(
            "Shadowlun",
            id,
            &["3 bytes are free", "Operation: X", " In this case: free 4."],
        )
    }

    /// LOG-1, LOG-4: what ReportEvent was given is told again as the viewer tells it.
    #[test]
    fn own_records_are_found_among_others_and_have_text_and_remedy() {
        let records = [
            record("Other", 7, &["x"]),
            ours(),
            record("Shadowlun", 9_999, &["new"]),
        ];

        let entries = of_records(&records.concat());

        assert_eq!(entries.len(), 2);
        let Entry {
            time,
            id,
            severity,
            text,
            remedy,
        } = &entries[0];
        assert_eq!((*id, severity.as_str()), (304, "error"));
        assert_eq!(time, "2000-02-29T00:00:00.000Z");
        assert!(
            text.contains("free space. Cause: 3 bytes are free. Operation: X"),
            "{text}"
        );
        assert!(remedy.ends_with("In this case: free 4."), "{remedy}");
        assert_eq!(entries[1].text, "new");
    }

    /// SEC-8: other programs write to this log too.
    #[test]
    fn damaged_records_end_the_reading_and_nothing_else() {
        let whole = ours();
        for end in 0..whole.len() {
            assert_eq!(of_records(&whole[..end]), []);
        }
        for at in 0..whole.len() {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0xFF;
            assert!(of_records(&spoilt).len() <= 1);
        }
    }

    /// SEC-8: other programs may write to the log in the provider's name.
    #[test]
    fn control_characters_of_the_log_reach_no_terminal() {
        let forged = Entry {
            time: "t\r".to_owned(),
            id: 1,
            severity: "error\u{7}".to_owned(),
            text: "a\r\n2026  information 1  b\u{1b}[2J\u{9b}31m".to_owned(),
            remedy: "x\u{202e}y\u{7f}\u{e4}".to_owned(),
        };

        let log = FakeLog(Some(vec![forged]));
        let (entries, _) = last(&log, &MemoryFolder::default(), 1).unwrap();

        let told = &entries[0];
        assert_eq!(told.time, r"t\u{d}");
        assert_eq!(told.severity, r"error\u{7}");
        assert_eq!(told.text, r"a 2026  information 1  b\u{1b}[2J\u{9b}31m");
        assert_eq!(told.remedy, "x\\u{202e}y\\u{7f}\u{e4}");
    }

    #[test]
    fn event_file_stands_in_for_a_log_without_entries() {
        let path = std::env::temp_dir().join(format!("shadowlun-last-{}", std::process::id()));
        let line = |id| {
            let entry = Entry {
                time: "t".to_owned(),
                id,
                severity: "error".to_owned(),
                text: "x".to_owned(),
                remedy: "y".to_owned(),
            };
            serde_json::to_string(&entry).unwrap()
        };
        std::fs::write(
            &path,
            format!("{}\ntorn\n{}\n{}\n", line(1), line(2), line(3)),
        )
        .unwrap();
        let folder = MemoryFolder::default();
        // A path of Windows, for a file of this system.
        let found = of_file(&path, 2).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!([found[0].id, found[1].id], [2, 3]);

        let entries = |ids: &[u32]| {
            let lines = ids
                .iter()
                .map(|id| serde_json::from_str(&line(*id)).unwrap());
            FakeLog(Some(lines.collect()))
        };
        let (entries, from) = last(&entries(&[9, 8, 7]), &folder, 2).unwrap();
        assert_eq!(
            (entries[0].id, entries[1].id),
            (8, 9),
            "the newest is the last"
        );
        assert!(from.contains("Application log"));
        assert_eq!(last(&FakeLog(Some(Vec::new())), &folder, 2).unwrap().0, []);
        let error = last(&FakeLog(None), &folder, 2).unwrap_err();
        assert!(error.contains("as administrator"), "{error}");
        folder.put(settings::FILE, br"event_file = 'C:\nowhere\events.jsonl'");
        let error = last(&FakeLog(None), &folder, 2).unwrap_err();
        assert!(error.contains("nowhere"), "{error}");
    }
}
