// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports on scenarios: text and a page for people, JUnit XML for CI systems, JSON for programs.

use crate::cases::requirements;
use crate::scenarios::{Outcome, Scenario};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// One line for a scenario, more when it failed: what was wrong, then the calls and events.
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
    if let Some(failure) = &outcome.failure {
        for detail in failure.lines() {
            let _ = write!(line, "\n        {detail}");
        }
        for call in outcome.story.iter().flat_map(|call| call.lines()) {
            let _ = write!(line, "\n          {call}");
        }
    }
    line
}

/// The cases, one a line, with the requirements that they show; those that are not run with the reason.
pub fn list(scenarios: &[Scenario], not_run: &[NotRun]) -> String {
    let line = |id, title: &str| format!("{id:<6} {title}  [{}]", requirements(id));
    let run = scenarios.iter().map(|case| line(case.id, case.title));
    let rest = not_run.iter().map(|case| {
        let line = line(case.id, &case.title);
        format!("{line}  not run: {}", case.why)
    });
    let mut lines: Vec<String> = run.chain(rest).collect();
    lines.sort();
    lines.join("\n") + "\n"
}

/// A case that says nothing about the provider, since something it needs was not there.
#[derive(Clone, Debug)]
pub struct NotRun {
    /// Id in the specification.
    pub id: &'static str,
    /// What would have been expected.
    pub title: String,
    /// What was not there.
    pub why: String,
}

/// The scenarios of one array and one kind of host.
pub struct Suite {
    /// `simulated`, `real`, or `adapter`.
    pub array: &'static str,
    /// `in-process` or `com`.
    pub host: &'static str,
    /// How each went.
    pub outcomes: Vec<Outcome>,
    /// What could not be tried here.
    pub not_run: Vec<NotRun>,
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
    let mut rest = match suite.not_run.len() {
        0 => String::new(),
        count => format!(", {count} not run"),
    };
    if let Some(error) = &suite.error {
        let _ = write!(rest, ", the rest could not be tried: {error}");
    }
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
    let name = escape(&format!("shadowlun-rig.{}.{}", suite.array, suite.host));
    let seconds: f64 = suite.outcomes.iter().map(|o| o.elapsed.as_secs_f64()).sum();
    let errors = usize::from(suite.error.is_some());
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{errors}\" skipped=\"{}\" time=\"{seconds:.3}\">",
        suite.outcomes.len() + suite.not_run.len() + errors,
        suite.failed(),
        suite.not_run.len()
    );
    for outcome in &suite.outcomes {
        let _ = write!(
            xml,
            "    <testcase classname=\"{name}\" name=\"{} {}\" time=\"{:.3}\"",
            escape(outcome.id),
            escape(outcome.title),
            outcome.elapsed.as_secs_f64()
        );
        xml.push_str(">\n");
        if let Some(failure) = &outcome.failure {
            let _ = writeln!(
                xml,
                "      <failure message=\"{}\">{}</failure>",
                escape(failure.lines().next().unwrap_or_default()),
                escape(failure)
            );
        }
        let story = escape(&outcome.story.join("\n"));
        let _ = writeln!(
            xml,
            "      <system-out>{story}</system-out>\n    </testcase>"
        );
    }
    for case in &suite.not_run {
        let _ = writeln!(
            xml,
            "    <testcase classname=\"{name}\" name=\"{} {}\" time=\"0\">\n      <skipped message=\"{}\"/>\n    </testcase>",
            escape(case.id),
            escape(&case.title),
            escape(&case.why)
        );
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

/// The suite as JSON, its cases in order.
pub fn json(suite: &Suite) -> Value {
    let ran = suite.outcomes.iter().map(|outcome| {
        json!({
            "id": outcome.id,
            "title": outcome.title,
            "requirements": requirements(outcome.id),
            "verdict": if outcome.failure.is_none() { "pass" } else { "fail" },
            "milliseconds": outcome.elapsed.as_millis(),
            "finding": outcome.failure,
            "calls": outcome.story,
        })
    });
    let not_run = suite.not_run.iter().map(|case| {
        json!({
            "id": case.id,
            "title": case.title,
            "requirements": requirements(case.id),
            "verdict": "not run",
            "finding": case.why,
        })
    });
    let mut cases: Vec<Value> = ran.chain(not_run).collect();
    cases.sort_by_key(|case| case["id"].to_string());
    json!({
        "passed": suite.passed(),
        "error": suite.error,
        "cases": cases,
    })
}

/// The suite as a page that needs no other file, its cases in order. Calls and events of what held are folded.
pub fn html(suite: &Suite) -> String {
    let summary = escape(&text_summary(suite));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{summary}</title>\n<style>body{{font-family:sans-serif}}\
         td,th{{padding:.3em .8em;text-align:left;vertical-align:top}}.pass{{color:#060}}.fail{{color:#a00}}.not{{color:#666}}</style>\n\
         </head><body>\n<h1>VSS hardware provider</h1>\n<p>{summary}</p>\n<table>\n\
         <tr><th>Case</th><th>Verdict</th><th>Time</th><th>Expected</th><th>Requirements</th></tr>\n"
    );
    let ran = suite.outcomes.iter().map(|outcome| {
        let (verdict, open) = match &outcome.failure {
            None => ("pass", ""),
            Some(_) => ("fail", " open"),
        };
        let finding = outcome.failure.iter();
        let finding: String = finding
            .map(|finding| format!("<pre>{}</pre>", escape(finding)))
            .collect();
        let text = format!(
            "{}{finding}<details{open}><summary>calls and events</summary><pre>{}</pre></details>",
            escape(outcome.title),
            escape(&outcome.story.join("\n"))
        );
        let time = format!("{} ms", outcome.elapsed.as_millis());
        (
            outcome.id,
            row(outcome.id, (verdict, verdict), &time, &text),
        )
    });
    let not_run = suite.not_run.iter().map(|case| {
        let text = format!("{}<br>{}", escape(&case.title), escape(&case.why));
        (case.id, row(case.id, ("not", "not run"), "", &text))
    });
    let mut rows: Vec<(&str, String)> = ran.chain(not_run).collect();
    rows.sort();
    page.extend(rows.into_iter().map(|(_, row)| row));
    page.push_str("</table>\n</body></html>\n");
    page
}

fn row(id: &str, (class, verdict): (&str, &str), time: &str, text: &str) -> String {
    let shown = escape(requirements(id));
    format!(
        "<tr id=\"{id}\"><td>{id}</td><td class=\"{class}\">{verdict}</td><td>{time}</td><td>{text}</td><td>{shown}</td></tr>\n"
    )
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
            story: vec!["OnLoad <S_OK>".to_owned()],
        }
    }

    fn suite(host: &'static str, outcomes: Vec<Outcome>) -> Suite {
        Suite {
            array: "real",
            host,
            outcomes,
            not_run: Vec::new(),
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
            xml.contains("name=\"T-001 a &amp; b\" time=\"1.500\">"),
            "{xml}"
        );
        // Of both.
        let calls = "<system-out>OnLoad &lt;S_OK&gt;</system-out>";
        assert_eq!(xml.matches(calls).count(), 2, "{xml}");
    }

    #[test]
    fn junit_each_host_is_a_suite() {
        let xml = junit(&[
            suite("in-process", vec![outcome(None)]),
            suite("com", vec![outcome(None)]),
        ]);

        for name in ["shadowlun-rig.real.in-process", "shadowlun-rig.real.com"] {
            let one = format!("<testsuite name=\"{name}\"");
            assert_eq!(xml.matches(&one).count(), 1, "{xml}");
        }
    }

    #[test]
    fn text_line_failure_shows_every_line_of_it() {
        let line = text_line(&outcome(Some("first\nsecond")));

        assert!(line.starts_with("FAIL  T-001"), "{line}");
        assert!(line.contains("first") && line.contains("second"), "{line}");
        assert!(line.ends_with("OnLoad <S_OK>"), "{line}");
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

    #[test]
    fn case_not_run_is_in_every_report_and_no_failure() {
        let mut suite = suite("com", vec![outcome(None)]);
        suite.not_run.push(NotRun {
            id: "T-063",
            title: "a set given up".to_owned(),
            why: "cut <the> cable".to_owned(),
        });

        assert!(suite.passed());
        assert!(text_summary(&suite).ends_with("1 passed, 0 failed, 1 not run"));
        let xml = junit(std::slice::from_ref(&suite));
        assert!(
            xml.contains("tests=\"2\"") && xml.contains("skipped=\"1\""),
            "{xml}"
        );
        assert!(
            xml.contains("<skipped message=\"cut &lt;the&gt; cable\"/>"),
            "{xml}"
        );
        assert!(html(&suite).contains("cut &lt;the&gt; cable"));
        assert_eq!(json(&suite)["cases"][1]["verdict"], "not run");
    }

    #[test]
    fn page_shows_calls_of_every_case_folded_unless_it_failed() {
        let held = outcome(None);
        let failed = Outcome {
            id: "T-030",
            ..outcome(Some("it said <no>"))
        };

        let page = html(&suite("com", vec![failed, held]));

        let calls = "<summary>calls and events</summary><pre>OnLoad &lt;S_OK&gt;</pre>";
        let shown = |before: &str| page.contains(&format!("{before}{calls}"));
        assert!(shown("a &amp; b<details>"), "{page}");
        assert!(
            shown("a &amp; b<pre>it said &lt;no&gt;</pre><details open>"),
            "{page}"
        );
        assert!(
            page.contains("class=\"fail\"") && page.contains("<td>ALS-6</td>"),
            "{page}"
        );
        assert!(page.find("id=\"T-001\"") < page.find("id=\"T-030\""));
    }
}
