// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds tests in Rust sources, line by line: a function with `#[test]`, a behaviour of a conformance suite, a scenario of the
//! rig. One that does nothing shows nothing; whether what it does shows what it names, people have to judge.

use super::ids::ids_in;
use std::collections::BTreeSet;
use std::str::Lines;

/// What shows something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// File and function, for people.
    pub(super) name: String,
    /// What it names.
    pub(super) ids: BTreeSet<String>,
}

/// What stands above a function.
#[derive(Default)]
struct Head {
    ids: BTreeSet<String>,
    is_test: bool,
    is_ignored: bool,
}

/// The tests in one source, with the ids they name; those that name none are left out.
pub(super) fn find(path: &str, text: &str) -> Vec<Shown> {
    let in_conformance = path.contains("conformance/");
    let in_scenarios = path.contains("/scenarios/");
    let mut found = Vec::new();
    let mut head = Head::default();
    let mut lines = text.lines();
    while let Some(whole_line) = lines.next() {
        let line = whole_line.trim();
        if let Some(documentation) = line.strip_prefix("///") {
            head.ids.extend(ids_in(documentation));
        } else if line.starts_with("#[") || line.starts_with("//") {
            head.is_test |= line.starts_with("#[test]") || line.contains("::test]");
            head.is_ignored |= line.starts_with("#[ignore");
        } else {
            let Head {
                mut ids,
                is_test,
                is_ignored,
            } = std::mem::take(&mut head);
            let Some(name) = function_name(line) else {
                continue;
            };
            let cases: Vec<String> = cases_in_name(name).collect();
            let is_behaviour = in_conformance && line.starts_with("pub fn");
            // A scenario's function shows what its documentation names beside its own case.
            let counts = is_test || is_behaviour || (in_scenarios && !cases.is_empty());
            ids.extend(cases);
            if counts && !is_ignored && !ids.is_empty() && does_something(whole_line, &lines) {
                let name = format!("{path}:{name}");
                found.push(Shown { name, ids });
            }
        }
    }
    found
}

/// Whether there is a call or a macro in the function that begins in `first` and goes on in `rest`, formatted by rustfmt; the
/// mere success of a scenario is none.
fn does_something<'a>(first: &'a str, rest: &Lines<'a>) -> bool {
    if first.ends_with('}') {
        return false;
    }
    let indent = &first[..first.len() - first.trim_start().len()];
    let end = format!("{indent}}}");
    let lines = rest.clone().take_while(|line| **line != end);
    let mut lines = std::iter::once(first).chain(lines);
    let has_body = lines.any(|line| line.ends_with('{'));
    has_body
        && lines.any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.replace("Ok(())", "").contains('(')
        })
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let only_words = before
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b" ()".contains(&b));
    let name = after.split(['(', '<']).next()?;
    (only_words && !name.is_empty()).then_some(name)
}

/// `t063_new_set_in_each_state`, `t121_t122_...`: the cases that a name begins with.
fn cases_in_name(name: &str) -> impl Iterator<Item = String> + '_ {
    let is_case = |part: &&str| {
        part.len() == 4 && part.starts_with('t') && part[1..].bytes().all(|b| b.is_ascii_digit())
    };
    name.split('_')
        .take_while(is_case)
        .map(|part| format!("T-{}", &part[1..]))
}

#[cfg(test)]
mod unit {
    use super::*;

    fn ids(path: &str, text: &str) -> Vec<String> {
        let shown = find(path, text).into_iter();
        shown.flat_map(|test| test.ids).collect()
    }

    #[test]
    fn test_shows_what_its_name_and_documentation_name() {
        let text = "/// BPS-2: begins anew.\n#[test]\nfn t063_t064_new_set() {\n    look();\n}";
        assert_eq!(ids("a.rs", text), ["BPS-2", "T-063", "T-064"]);
    }

    #[test]
    fn function_without_the_attribute_shows_nothing() {
        let text = "/// BPS-2.\nfn t063_helper() {\n    look();\n}";
        assert_eq!(ids("a.rs", text), [""; 0]);
    }

    #[test]
    fn ignored_test_shows_nothing() {
        let text = "/// BPS-2.\n#[test]\n#[ignore = \"long\"]\nfn long() {\n    look();\n}";
        assert_eq!(ids("a.rs", text), [""; 0]);
    }

    #[test]
    fn empty_function_shows_nothing() {
        for body in [
            "{}",
            "{\n    // look();\n}\nfn other() {\n    look();\n}",
            "{\n    let _ = 1;\n}",
        ] {
            let text = format!("    /// BPS-2.\n#[test]\nfn t063_a() {body}");
            assert_eq!(ids("a.rs", &text), [""; 0], "{body}");
        }
        let scenario = "fn t063(\n    _: &Stage<'_>,\n) -> anyhow::Result<()> {\n    Ok(())\n}";
        assert_eq!(ids("rig/scenarios/a.rs", scenario), [""; 0]);
    }

    #[test]
    fn documentation_of_something_else_is_not_the_tests() {
        let text = "/// BPS-2.\nstruct A;\n#[test]\nfn t063_a() {\n    look();\n}";
        assert_eq!(ids("a.rs", text), ["T-063"]);
    }

    #[test]
    fn scenarios_count_by_name_and_behaviours_by_documentation() {
        let scenario =
            "/// LUN-9.\nfn t123(stage: &Stage<'_>) -> anyhow::Result<()> {\n    look(stage)\n}";
        assert_eq!(ids("rig/scenarios/a.rs", scenario), ["LUN-9", "T-123"]);
        assert_eq!(ids("rig/other.rs", scenario), [""; 0]);
        let row = "        id: \"T-210\",";
        assert_eq!(ids("rig/scenarios/resync.rs", row), [""; 0]);
        let behaviour =
            "/// OLE-4.\npub fn delete_twice(fixture: &dyn Fixture) {\n    look(fixture);\n}";
        assert_eq!(ids("api/conformance/access.rs", behaviour), ["OLE-4"]);
    }
}
