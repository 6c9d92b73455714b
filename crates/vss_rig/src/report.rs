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

/// The scenarios of one array and one kind of host.
pub struct Suite {
    /// `simulated` or `real`.
    pub array: &'static str,
    /// `in-process` or `com`.
    pub host: &'static str,
    /// How each went.
    pub outcomes: Vec<Outcome>,
    /// Why the rest could not be tried; `None` when there is no rest.
    pub error: Option<String>,
}

impl Suite {
    /// Whether all were tried and held.
    pub fn passed(&self) -> bool {
        self.failed() == 0 && self.error.is_none()
    }

    fn failed(&self) -> usize {
        self.outcomes
            .iter()
            .filter(|outcome| outcome.failure.is_some())
            .count()
    }
}

/// The last line of a suite's text report.
pub fn text_summary(suite: &Suite) -> String {
    let rest = match &suite.error {
        None => String::new(),
        Some(error) => format!(", the rest could not be tried: {error}"),
    };
    format!(
        "{} scenarios, provider {}, {} array: {} passed, {} failed{rest}",
        suite.outcomes.len(),
        suite.host,
        suite.array,
        suite.outcomes.len() - suite.failed(),
        suite.failed()
    )
}

/// A whole text report.
pub fn text(suites: &[Suite]) -> String {
    let mut text = String::new();
    for suite in suites {
        for outcome in &suite.outcomes {
            let _ = writeln!(text, "{}", text_line(outcome));
        }
        let _ = writeln!(text, "{}", text_summary(suite));
    }
    text
}

/// A whole JUnit report.
pub fn junit(suites: &[Suite]) -> String {
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for suite in suites {
        junit_suite(&mut xml, suite);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn junit_suite(xml: &mut String, suite: &Suite) {
    let name = escape(&format!("vss_rig.{}.{}", suite.array, suite.host));
    let seconds: f64 = suite.outcomes.iter().map(|o| o.elapsed.as_secs_f64()).sum();
    let errors = usize::from(suite.error.is_some());
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{errors}\" skipped=\"0\" time=\"{seconds:.3}\">",
        suite.outcomes.len() + errors,
        suite.failed()
    );
    for outcome in &suite.outcomes {
        let _ = write!(
            xml,
            "    <testcase classname=\"{name}\" name=\"{} {}\" time=\"{:.3}\"",
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
    // What stands for the scenarios that were not tried.
    if let Some(error) = &suite.error {
        let _ = writeln!(
            xml,
            "    <testcase classname=\"{name}\" name=\"the rest\" time=\"0\">\n      \
             <error message=\"{}\">{}</error>\n    </testcase>",
            escape(error.lines().next().unwrap_or_default()),
            escape(error)
        );
    }
    xml.push_str("  </testsuite>\n");
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

    fn suite(host: &'static str, outcomes: Vec<Outcome>) -> Suite {
        Suite {
            array: "real",
            host,
            outcomes,
            error: None,
        }
    }

    #[test]
    fn suite_broken_off_has_not_passed_and_keeps_what_was_tried() {
        let mut broken = suite("com", vec![outcome(None)]);
        broken.error = Some("it <hangs>\nat T-015".to_owned());

        assert!(!broken.passed());
        let text = text(std::slice::from_ref(&broken));
        assert!(
            text.contains("1 passed") && text.contains("it <hangs>"),
            "{text}"
        );
        let xml = junit(&[broken]);
        assert!(
            xml.contains("tests=\"2\" failures=\"0\" errors=\"1\""),
            "{xml}"
        );
        assert!(
            xml.contains("<error message=\"it &lt;hangs&gt;\">"),
            "{xml}"
        );
    }

    #[test]
    fn junit_failure_is_counted_and_escaped() {
        let failed = outcome(Some("<3> said \"no\"\u{1}\nsecond line"));
        let xml = junit(&[suite("com", vec![outcome(None), failed])]);

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
    fn junit_each_host_is_a_suite() {
        let xml = junit(&[
            suite("in-process", vec![outcome(None)]),
            suite("com", vec![outcome(None)]),
        ]);

        for name in ["vss_rig.real.in-process", "vss_rig.real.com"] {
            let one = format!("<testsuite name=\"{name}\"");
            assert_eq!(xml.matches(&one).count(), 1, "{xml}");
        }
    }

    #[test]
    fn text_line_failure_shows_every_line_of_it() {
        let line = text_line(&outcome(Some("first\nsecond")));

        assert!(line.starts_with("FAIL  T-001"), "{line}");
        assert!(line.contains("first") && line.contains("second"), "{line}");
    }

    #[test]
    fn text_summary_counts() {
        let suite = suite("com", vec![outcome(None), outcome(Some("x"))]);

        assert_eq!(
            text_summary(&suite),
            "2 scenarios, provider com, real array: 1 passed, 1 failed"
        );
        assert!(!suite.passed());
    }
}
