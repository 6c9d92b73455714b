// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the provider's events go: the Application log, ETW, and beside them the event file that a site may set. All at once, and
//! never while volumes are frozen: the core queues events until then (LOG-6).
//!
//! What Wine cannot show: reading an entry back, and an ETW session. So both are seams ([`Log`], [`Trace`]) that get exactly what
//! ReportEvent and EventWrite get, and the DLL's texts are compared one by one (`status` does it too).

use crate::event_table::severity;
use crate::{ids, message_file};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;
use vss_provider::{Event, EventKind, EventSink, Severity};

/// The event file is not continued beyond this size: a host in trouble must not fill its system disk.
const EVENT_FILE_BYTES_MAX: u64 = 64 << 20;

/// The Application log, as ReportEvent takes an entry.
pub trait Log: Send + Sync {
    /// Writes one entry: severity, id with the severity's bits, the strings for `%1` to `%3`.
    fn write(&self, severity: Severity, message_id: u32, inserts: &[String; 3]);
}

/// Event Tracing for Windows, as it takes a self-describing event.
pub trait Trace: Send + Sync {
    /// Writes one event: its id and name in the catalogue, and its fields.
    fn write(&self, kind: EventKind, fields: &[Field]);
}

/// Name and value.
pub type Field = (&'static str, String);

/// The longest value in bytes: ETW drops events of more than 64 KiB, and a set may have thousands of LUNs.
const FIELD_BYTES_MAX: usize = 6 << 10;

/// What an event tells ETW. Empty where there is nothing to tell.
pub fn fields(event: &Event) -> [Field; 8] {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let luns: Vec<_> = event.luns.iter().map(ToString::to_string).collect();
    let fields = [
        ("operation", event.method.to_string()),
        ("set", id(event.set)),
        ("snapshot", id(event.snapshot)),
        ("luns", luns.join(" ")),
        ("code", format!("{:#010x}", event.code.0)),
        ("cause", event.cause.clone()),
        ("remedy", ids::remedy(event.kind)),
        (
            "advice",
            event
                .advice
                .as_deref()
                .map(ids::in_own_words)
                .unwrap_or_default(),
        ),
    ];
    fields.map(|(name, mut value)| {
        value.truncate(value.floor_char_boundary(FIELD_BYTES_MAX));
        (name, value)
    })
}

/// The provider's sink.
pub struct Events<L, T> {
    log: L,
    trace: T,
    file: Option<PathBuf>,
}

impl<L: Log, T: Trace> Events<L, T> {
    /// A sink that also appends to `file`, if there is one.
    pub fn new(log: L, trace: T, file: Option<PathBuf>) -> Self {
        Self { log, trace, file }
    }
}

impl<L: Log, T: Trace> EventSink for Events<L, T> {
    fn report(&self, event: &Event) {
        let kind = event.kind;
        self.log.write(
            kind.severity(),
            message_file::message_id(kind),
            &message_file::inserts(event),
        );
        self.trace.write(kind, &fields(event));
        if let Some(path) = &self.file {
            // The log has the event in any case; `status` tells of a file that cannot be written.
            let _ = append(path, &line(event, SystemTime::now()));
        }
    }
}

/// Whether events can be appended to the file.
///
/// # Errors
/// Why not.
pub fn check_event_file(path: &Path) -> io::Result<()> {
    append(path, "")
}

/// In one piece, so that lines of several provider objects do not mix.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if file.metadata()?.len() > EVENT_FILE_BYTES_MAX {
        return Err(io::Error::other("it is full (64 MiB); move it away"));
    }
    file.write_all(line.as_bytes())
}

#[derive(Serialize)]
struct Line {
    id: u32,
    severity: &'static str,
    text: String,
    remedy: String,
    time: String,
}

fn line(event: &Event, now: SystemTime) -> String {
    let line = Line {
        id: event.kind.id(),
        severity: severity(event.kind.severity()),
        text: ids::in_own_words(&event.to_string()),
        remedy: ids::remedy(event.kind),
        time: rfc3339(now.duration_since(UNIX_EPOCH).unwrap_or_default()),
    };
    let json = serde_json::to_string(&line).expect("strings and a number have a JSON form");
    format!("{json}\n")
}

/// UTC with milliseconds. The days are turned into a date as in Howard Hinnant's `civil_from_days`, for days after 1970.
pub(crate) fn rfc3339(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months count from March, so that the leap day is the last of a year.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        since_1970.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use array_api::LunId;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};
    use vss_provider::{Hresult, Method};

    type Entry = (Severity, u32, [String; 3]);
    type TraceEntry = (EventKind, Vec<Field>);

    #[derive(Clone, Default)]
    struct Traced(Arc<Mutex<Vec<TraceEntry>>>);

    impl Trace for Traced {
        fn write(&self, kind: EventKind, fields: &[Field]) {
            self.0.lock().unwrap().push((kind, fields.to_vec()));
        }
    }

    fn events(log: &Written, file: Option<PathBuf>) -> Events<Written, Traced> {
        Events::new(log.clone(), Traced::default(), file)
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<Entry>>>);

    impl Log for Written {
        fn write(&self, severity: Severity, message_id: u32, inserts: &[String; 3]) {
            let entry = (severity, message_id, inserts.clone());
            self.0.lock().unwrap().push(entry);
        }
    }

    fn event(cause: &str) -> Event {
        Event {
            kind: EventKind::NoSpace,
            method: Method::EndPrepareSnapshots,
            set: None,
            snapshot: None,
            luns: Vec::new(),
            cause: cause.to_owned(),
            advice: None,
            code: Hresult::VSS_E_INSUFFICIENT_STORAGE,
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let name = format!("shadowlun-events-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        path
    }

    /// LOG-4, LOG-5.
    #[test]
    fn event_goes_to_the_log_with_severity_id_and_inserts() {
        let log = Written::default();

        events(&log, None).report(&event("3 bytes are free"));

        let written = log.0.lock().unwrap();
        let [(severity, id, inserts)] = &written[..] else {
            panic!("{written:?}");
        };
        assert_eq!((*severity, *id), (Severity::Error, 0xC000_0130));
        assert_eq!(inserts[0], "3 bytes are free");
    }

    /// LOG-4: id, operation, set, shadow copy, LUNs, code, cause and remedy, each as a field of its own.
    #[test]
    fn event_goes_to_etw_with_each_part_as_a_field() {
        let traced = Traced::default();
        let (set, snapshot) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let luns = [LunId(3), LunId(4)];
        let told = Event {
            set: Some(set),
            snapshot: Some(snapshot),
            luns: luns.to_vec(),
            advice: Some("free some".to_owned()),
            ..event("3 bytes are free")
        };

        Events::new(Written::default(), traced.clone(), None).report(&told);

        let traced = traced.0.lock().unwrap();
        let [(kind, fields)] = &traced[..] else {
            panic!("{traced:?}");
        };
        let wanted = [
            ("operation", "EndPrepareSnapshots"),
            ("set", &*set.to_string()),
            ("snapshot", &*snapshot.to_string()),
            ("luns", &*format!("{} {}", luns[0], luns[1])),
            ("code", "0x8004231f"),
            ("cause", "3 bytes are free"),
            ("remedy", EventKind::NoSpace.remedy()),
            ("advice", "free some"),
        ];
        assert_eq!(*kind, EventKind::NoSpace);
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        assert_eq!(fields, wanted);
    }

    #[test]
    fn event_of_any_length_fits_what_etw_takes() {
        let long = "\u{20AC}".repeat(100_000);
        let told = Event {
            luns: vec![LunId(0); 4_096],
            advice: Some(long.clone()),
            ..event(&long)
        };

        let bytes: usize = fields(&told).iter().map(|(_, value)| value.len()).sum();

        assert!((12_000..60_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn event_file_gets_one_line_of_json_per_event() {
        let path = scratch("lines");
        let events = events(&Written::default(), Some(path.clone()));

        events.report(&event("first"));
        events.report(&event("second\nline"));

        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["id"], 304);
        assert_eq!(lines[0]["severity"], "error");
        assert_eq!(lines[0]["remedy"], EventKind::NoSpace.remedy());
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        let text = lines[1]["text"].as_str().unwrap();
        assert!(text.contains("Cause: second\nline."), "{text}");
    }

    #[test]
    fn missing_folder_of_the_event_file_does_not_stop_the_log() {
        let log = Written::default();
        let path = scratch("no-folder").join("events.jsonl");

        events(&log, Some(path.clone())).report(&event("x"));

        assert_eq!(log.0.lock().unwrap().len(), 1);
        assert!(check_event_file(&path).is_err());
    }

    #[test]
    fn event_file_is_not_continued_beyond_its_limit() {
        let path = scratch("full");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(EVENT_FILE_BYTES_MAX + 1).unwrap();

        events(&Written::default(), Some(path.clone())).report(&event("x"));

        assert_eq!(file.metadata().unwrap().len(), EVENT_FILE_BYTES_MAX + 1);
        assert!(check_event_file(&path).is_err());
        drop(file);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn times_are_dates_also_around_leap_days() {
        let at = |seconds| rfc3339(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00.000Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59.000Z");
        assert_eq!(
            rfc3339(Duration::from_millis(4_107_542_400_007)),
            "2100-03-01T00:00:00.007Z"
        );
    }
}
