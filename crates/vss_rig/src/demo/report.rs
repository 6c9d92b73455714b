// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the demo says at its end.

use crate::host::CallRecord;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};
use std::time::Duration;

/// Width of the tables in a file or pipe.
const COLUMNS_WITHOUT_TERMINAL: u16 = 140;
/// Longest text in a table's cell.
const CELL_CHARS_MAX: usize = 400;

/// Below the table of calls.
const LEGEND: &str =
    "array: it owed the provider an answer; rest: the provider itself, and COM where it is used";

/// One thing that had to hold.
#[derive(Clone, Debug)]
pub struct Check {
    /// What had to hold.
    pub name: &'static str,
    /// `Ok` with what was found, or `Err` with what was found instead.
    pub result: Result<String, String>,
}

/// The spans that the specification limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Windows {
    /// The NTFS writer stood still (TIME-4: 60 s at most).
    pub freeze: Duration,
    /// Writes were held by Windows, from flush to release (TIME-1: 10 s at most).
    pub hold: Duration,
    /// CommitSnapshots alone.
    pub commit: Duration,
}

/// How the demo went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every call to the provider.
    pub calls: Vec<CallRecord>,
    /// Freeze and commit windows; `None` when it did not come so far.
    pub windows: Option<Windows>,
    /// Every check that was made.
    pub checks: Vec<Check>,
    /// Why it ended early, if it did.
    pub failure: Option<String>,
    /// How to look at what was left running and how to stop it, when that was asked for.
    pub kept: Option<String>,
    /// From the start of the array to the last check.
    pub elapsed: Duration,
}

impl Report {
    /// Whether it came to its end and every check held.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
            && !self.checks.is_empty()
            && self.checks.iter().all(|check| check.result.is_ok())
    }

    /// Whether the check of this name was made and did not hold.
    pub fn caught(&self, name: &str) -> bool {
        self.checks
            .iter()
            .any(|check| check.name == name && check.result.is_err())
    }

    /// The last line.
    pub fn verdict(&self) -> String {
        let held = self.checks.iter().filter(|c| c.result.is_ok()).count();
        let seconds = self.elapsed.as_secs_f64();
        if self.passed() {
            return format!(
                "PASSED: {} calls, {held} of {held} checks held, {seconds:.1} s",
                self.calls.len()
            );
        }
        let why = match &self.failure {
            Some(failure) => failure.replace('\n', " | "),
            None => {
                let broken = self.checks.iter().find(|c| c.result.is_err());
                broken.map_or_else(String::new, |c| c.name.to_owned())
            }
        };
        format!(
            "FAILED: {why} ({held} of {} checks held, {seconds:.1} s)",
            self.checks.len()
        )
    }

    /// Tables for people, verdict last.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.calls.is_empty() {
            text += &format!("{}\n{LEGEND}\n\n", self.calls_table());
        }
        if let Some(windows) = self.windows {
            text += &format!(
                "freeze window {} ms (limit 60 000), writes held {} ms (limit 10 000), CommitSnapshots {} ms\n\n",
                millis(windows.freeze),
                millis(windows.hold),
                millis(windows.commit)
            );
        }
        if !self.checks.is_empty() {
            text += &format!("{}\n\n", self.checks_table());
        }
        if let Some(kept) = &self.kept {
            text += &format!("{kept}\n\n");
        }
        text + &self.verdict()
    }

    fn calls_table(&self) -> Table {
        let mut table = new_table(["call", "ms", "array ms", "rest ms", "code"]);
        for call in &self.calls {
            let flag = match call.supported {
                Some(true) => ", TRUE",
                Some(false) => ", FALSE",
                None => "",
            };
            table.add_row([
                call.method.to_owned(),
                millis(call.elapsed),
                call.array.map_or_else(String::new, millis),
                rest(call).map_or_else(String::new, millis),
                format!("{}{flag}", call.code),
            ]);
        }
        for index in 1..=3 {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn checks_table(&self) -> Table {
        let mut table = new_table(["check", "held", "found"]);
        for check in &self.checks {
            let (held, found) = match &check.result {
                Ok(found) => ("yes", found),
                Err(found) => ("NO", found),
            };
            table.add_row([check.name, held, &shortened(found)]);
        }
        table
    }

    /// The same for scripts.
    pub fn json(&self) -> Value {
        json!({
            "passed": self.passed(),
            "verdict": self.verdict(),
            "elapsed_ms": self.elapsed.as_millis() as u64,
            "failure": self.failure,
            "kept": self.kept,
            "windows_us": self.windows.map(|windows| json!({
                "freeze": windows.freeze.as_micros() as u64,
                "hold": windows.hold.as_micros() as u64,
                "commit": windows.commit.as_micros() as u64,
            })),
            "calls": self.calls.iter().map(|call| json!({
                "method": call.method,
                "us": call.elapsed.as_micros() as u64,
                "array_us": call.array.map(|time| time.as_micros() as u64),
                "rest_us": rest(call).map(|time| time.as_micros() as u64),
                "code": call.code.to_string(),
                "supported": call.supported,
            })).collect::<Vec<_>>(),
            "checks": self.checks.iter().map(|check| json!({
                "name": check.name,
                "held": check.result.is_ok(),
                "found": check.result.as_ref().unwrap_or_else(|found| found),
            })).collect::<Vec<_>>(),
        })
    }
}

/// What is not the array's part of a call.
fn rest(call: &CallRecord) -> Option<Duration> {
    // Something else of the provider may ask the array meanwhile and for longer.
    Some(call.elapsed.saturating_sub(call.array?))
}

fn new_table<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_BORDERS_ONLY_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    if table.width().is_none() {
        table.set_width(COLUMNS_WITHOUT_TERMINAL);
    }
    table
}

/// A cell's text. The JSON report has all of it.
fn shortened(found: &str) -> String {
    match found.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{} ... (--json shows all)", &found[..end]),
        None => found.to_owned(),
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(held: bool) -> Check {
        Check {
            name: "the sky is up",
            result: if held {
                Ok("it is".into())
            } else {
                Err("it fell".into())
            },
        }
    }

    #[test]
    fn passed_needs_checks_and_all_of_them() {
        let with = |checks| Report {
            checks,
            ..Report::default()
        };

        assert!(with(vec![check(true)]).passed());
        assert!(!with(vec![check(true), check(false)]).passed());
        assert!(!with(vec![]).passed());
    }

    #[test]
    fn calls_show_the_array_s_part_and_the_rest() {
        let call = |array_ms: Option<u64>| CallRecord {
            method: "LocateLuns",
            elapsed: Duration::from_millis(50),
            array: array_ms.map(Duration::from_millis),
            code: vss_provider::Hresult::S_OK,
            supported: None,
        };
        let report = Report {
            calls: vec![call(Some(20)), call(Some(60)), call(None)],
            ..Report::default()
        };

        let json = &report.json()["calls"];

        let parts = [0, 1, 2].map(|i| (json[i]["array_us"].as_u64(), json[i]["rest_us"].as_u64()));
        assert_eq!(parts[0], (Some(20_000), Some(30_000)));
        assert_eq!(parts[1], (Some(60_000), Some(0)));
        assert_eq!(parts[2], (None, None));
        let text = report.text();
        let line = text.lines().find(|line| line.contains("LocateLuns"));
        let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
        assert_eq!(words[2..5], ["50.0", "20.0", "30.0"], "{text}");
    }

    #[test]
    fn passed_early_end_is_a_failure() {
        let report = Report {
            checks: vec![check(true)],
            failure: Some("the array ended".into()),
            ..Report::default()
        };

        assert!(!report.passed());
        assert!(report.verdict().contains("the array ended"));
    }

    #[test]
    fn text_of_a_long_finding_stays_readable_and_json_whole() {
        let found = "0123456789 ".repeat(500);
        let report = Report {
            checks: vec![Check {
                name: "short",
                result: Err(found.clone()),
            }],
            ..Report::default()
        };

        let text = report.text();

        let widest = text.lines().map(|line| line.chars().count()).max();
        let limit = new_table(["", "", ""])
            .width()
            .unwrap_or(COLUMNS_WITHOUT_TERMINAL);
        assert!(widest.unwrap_or_default() <= usize::from(limit), "{text}");
        assert!(text.lines().count() < 40, "{text}");
        assert_eq!(report.json()["checks"][0]["found"], found);
    }

    #[test]
    fn verdict_names_the_first_check_that_did_not_hold() {
        let report = Report {
            checks: vec![check(true), check(false)],
            ..Report::default()
        };

        assert!(report.verdict().starts_with("FAILED: the sky is up"));
        assert!(report.text().contains("it fell"));
        assert_eq!(report.json()["passed"], false);
    }
}
