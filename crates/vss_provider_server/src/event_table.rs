// SPDX-License-Identifier: MIT OR Apache-2.0
//! `docs/events.md`, drawn from the one catalogue as the message DLL is (LOG-1). `examples/event_table.rs` prints it.

use std::fmt::Write as _;
use vss_provider::{EventKind, Severity};

/// The page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Events of the provider\n\n\
         In the Application log, source `Shadowlun`; `shadowlun-provider events` lists them. Each entry also names the operation, \
         the set, the LUNs, the code that VSS got, and the cause. Nothing is written while volumes are frozen: such events follow \
         after the thaw.\n\n\
         This page is made from the catalogue in `crates/vss_provider/src/events.rs`; do not edit it.\n\n\
         | Id | Severity | Event | What to do | Written when |\n|---|---|---|---|---|\n",
    );
    for kind in EventKind::ALL {
        let severity = severity(kind.severity());
        let cells = [kind.title(), kind.remedy(), kind.when()].map(|text| text.replace('|', "\\|"));
        let _ = writeln!(
            page,
            "| {} | {severity} | {} |",
            kind.id(),
            cells.join(" | ")
        );
    }
    page
}

/// As it stands in files and tables.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Information => "information",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-235, LOG-1, LOG-4: the page for administrators says what the code says.
    #[test]
    fn t235_the_page_of_events_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
        // Git may have given it the line ends of Windows.
        let checked_in = std::fs::read_to_string(path).expect("docs/events.md is there");
        assert!(
            checked_in.replace("\r\n", "\n") == markdown(),
            "docs/events.md is not what the catalogue says; make it anew with:\n\
             cargo run -q -p vss_provider_server --example event_table > docs/events.md"
        );
    }
}
