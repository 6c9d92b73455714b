// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports on scenarios: text for people, JUnit XML for CI systems.

use crate::scenarios::Outcome;
use std::fmt::Write as _;

/// One line for a scenario, more when it failed.
pub fn text_line(outcome: &Outcome) -> String {
    let verdict = match outcome.failure {
        None => "pass",
        Some(_) => "FAIL",
    };
    let mut line = format!(
        "{verdict}  {:<6} {:>6} ms  {}",
        outcome.id,
        outcome.elapsed.as_millis(),
        outcome.title
    );
    for detail in outcome.failure.iter().flat_map(|failure| failure.lines()) {
        let _ = write!(line, "\n        {detail}");
    }
    line
}

/// The last line of a text report.
pub fn text_summary(array: &str, outcomes: &[Outcome]) -> String {
    let failed = outcomes.iter().filter(|o| o.failure.is_some()).count();
    format!(
        "{} scenarios against the {array} array: {} passed, {failed} failed",
        outcomes.len(),
        outcomes.len() - failed
    )
}

/// A whole JUnit report.
pub fn junit(array: &str, outcomes: &[Outcome]) -> String {
    let failed = outcomes.iter().filter(|o| o.failure.is_some()).count();
    let seconds: f64 = outcomes.iter().map(|o| o.elapsed.as_secs_f64()).sum();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"vss_rig.{}\" tests=\"{}\" \
         failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{seconds:.3}\">\n",
        escape(array),
        outcomes.len()
    );
    for outcome in outcomes {
        let _ = write!(
            xml,
            "    <testcase classname=\"vss_rig.{}\" name=\"{} {}\" time=\"{:.3}\"",
            escape(array),
            escape(outcome.id),
            escape(outcome.title),
            outcome.elapsed.as_secs_f64()
        );
        let _ = match &outcome.failure {
            None => writeln!(xml, "/>"),
            Some(failure) => writeln!(
                xml,
                ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                escape(failure.lines().next().unwrap_or_default()),
                escape(failure)
            ),
        };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Text as XML 1.0 allows it in content and attributes; characters that XML cannot carry become `?`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(c),
            c if c < ' ' || matches!(c, '\u{FFFE}' | '\u{FFFF}') => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn outcome(failure: Option<&str>) -> Outcome {
        Outcome {
            id: "T-001",
            title: "a & b",
            elapsed: Duration::from_millis(1500),
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn junit_failure_is_counted_and_escaped() {
        let xml = junit(
            "real",
            &[
                outcome(None),
                outcome(Some("<3> said \"no\"\u{1}\nsecond line")),
            ],
        );

        assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
        assert!(
            xml.contains("message=\"&lt;3&gt; said &quot;no&quot;?\""),
            "{xml}"
        );
        assert!(
            xml.contains("name=\"T-001 a &amp; b\" time=\"1.500\"/>"),
            "{xml}"
        );
    }

    #[test]
    fn text_line_failure_shows_every_line_of_it() {
        let line = text_line(&outcome(Some("first\nsecond")));

        assert!(line.starts_with("FAIL  T-001"), "{line}");
        assert!(line.contains("first") && line.contains("second"), "{line}");
    }

    #[test]
    fn text_summary_counts() {
        assert_eq!(
            text_summary("simulated", &[outcome(None), outcome(Some("x"))]),
            "2 scenarios against the simulated array: 1 passed, 1 failed"
        );
    }
}
