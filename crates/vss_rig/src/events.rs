// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file to which a provider writes its events when it runs under the rig.

use crate::host::LoggedEvent;
use serde::Deserialize;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The provider's event file. Wine writes to the event log but cannot read it back, so the provider's settings name this file as its
/// second place for events.
pub(crate) struct EventFile {
    path: PathBuf,
    /// Bytes already told.
    offset: u64,
}

#[derive(Deserialize)]
struct Line {
    id: u32,
    severity: String,
    text: String,
    remedy: String,
}

impl EventFile {
    /// From what `path` holds now on.
    pub(crate) fn from_here(path: &Path) -> Self {
        Self {
            offset: std::fs::metadata(path).map_or(0, |file| file.len()),
            path: path.to_owned(),
        }
    }

    /// What was added since the last call. A line that is no event shows as one, so that a test sees it.
    pub(crate) fn take(&mut self) -> Vec<LoggedEvent> {
        // Before the first event there is no file.
        let new = self.read_on().unwrap_or_default();
        // What follows the last line end is still being written.
        let whole = new.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |last| last + 1);
        self.offset += whole as u64;
        String::from_utf8_lossy(&new[..whole])
            .lines()
            .map(event)
            .collect()
    }

    fn read_on(&self) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut new = Vec::new();
        file.read_to_end(&mut new)?;
        Ok(new)
    }
}

fn event(line: &str) -> LoggedEvent {
    match serde_json::from_str::<Line>(line) {
        Ok(line) => LoggedEvent {
            id: line.id,
            is_error: line.severity.eq_ignore_ascii_case("error"),
            text: line.text,
            remedy: line.remedy,
        },
        Err(error) => LoggedEvent {
            id: 0,
            is_error: true,
            text: format!("the event file holds {line:?}: {error}"),
            remedy: String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write as _;

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path);
        file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn take_gives_each_whole_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let line = r#"{"id":301,"severity":"error","text":"gone","remedy":"look","time":"x"}"#;
        append(&path, &format!("{line}\n"));
        let mut late = EventFile::from_here(&path);
        append(&path, &format!("{line}\n{}", &line[..20]));

        let first = late.take();
        append(&path, &format!("{}\n", &line[20..]));
        let second = late.take();

        assert_eq!((first.len(), second.len(), late.take().len()), (1, 1, 0));
        assert_eq!((second[0].id, second[0].is_error), (301, true));
    }

    #[test]
    fn take_of_a_malformed_line_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut file = EventFile::from_here(&path);
        append(&path, "no json\n");

        assert!(file.take()[0].text.contains("no json"));
    }
}
