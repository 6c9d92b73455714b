// SPDX-License-Identifier: MIT OR Apache-2.0
//! The matrix: which requirement of `docs/requirements.md` is shown by which test.
//!
//! A test shows what its name (`t063_...`) and its documentation name (`T-063`, `BPS-2`, `LOC-1..LOC-3`); so does a scenario
//! of the rig, and a behaviour of a conformance suite. A test that is `#[ignore]`d or does nothing shows nothing. That the tests
//! pass is the matter of `cargo xtask test`; here counts that they exist.

mod ids;
mod tests;

use crate::Failure;
use crate::run::{files, root, shown};
use ids::ids_in;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = "docs/requirements.md";
const SCRIPTS: &str = "docs/windows-acceptance";

/// Requirements by id, cases by id, and what was looked at by hand.
#[derive(Default)]
struct Document {
    requirements: BTreeMap<String, Requirement>,
    cases: BTreeMap<String, Case>,
    inspected: BTreeMap<String, String>,
}

struct Requirement {
    tag: char,
    text: String,
}

struct Case {
    level: char,
    shows: BTreeSet<String>,
}

/// How a requirement is shown, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    RunHere,
    WindowsScript,
    Inspected,
    Gap,
}

impl How {
    fn text(self) -> &'static str {
        match self {
            Self::RunHere => "run here",
            Self::WindowsScript => "Windows script, never run",
            Self::Inspected => "inspected",
            Self::Gap => "GAP",
        }
    }
}

struct Row {
    id: String,
    tag: char,
    how: How,
    by: Vec<String>,
}

/// Prints the matrix (`--json` for machines) and fails on a gap.
pub(crate) fn print(arguments: &[String]) -> Result<(), Failure> {
    let as_json = match arguments {
        [] => false,
        [only] if only == "--json" => true,
        _ => {
            return Err(Failure::Unusable(
                "usage: cargo xtask requirements [--json]".to_owned(),
            ));
        }
    };
    let matrix = Matrix::read()?;
    match as_json {
        true => println!("{:#}", matrix.json()),
        false => print!("{}", matrix.text()),
    }
    matrix.verdict()
}

/// As `print`, silent where all is well.
pub(crate) fn check() -> Result<(), Failure> {
    Matrix::read()?.verdict()
}

struct Matrix {
    rows: Vec<Row>,
    problems: Vec<String>,
}

impl Matrix {
    fn read() -> Result<Self, Failure> {
        let document = std::fs::read_to_string(root().join(DOCUMENT))
            .map_err(|error| Failure::Failed(format!("cannot read {DOCUMENT}: {error}")))?;
        let document = parse(&document);
        let mut shown_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in files(&[".rs"]) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for test in tests::find(&shown(&path), &text) {
                for id in test.ids {
                    shown_by.entry(id).or_default().insert(test.name.clone());
                }
            }
        }
        let scripts: BTreeSet<String> = files(&[".ps1"])
            .iter()
            .filter(|path| path.starts_with(root().join(SCRIPTS)))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        Ok(judge(&document, &shown_by, &scripts))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let by = row.by.join(", ");
            text += &format!("{:<8} {}  {:<26} {by}\n", row.id, row.tag, row.how.text());
        }
        let count = |how| self.rows.iter().filter(|row| row.how == how).count();
        text += &format!(
            "\n{} requirements: {} run here, {} only in a Windows script that was never run, {} inspected, {} gaps\n",
            self.rows.len(),
            count(How::RunHere),
            count(How::WindowsScript),
            count(How::Inspected),
            count(How::Gap)
        );
        text
    }

    fn json(&self) -> serde_json::Value {
        let rows = self.rows.iter().map(|row| {
            json!({"id": row.id, "tag": row.tag.to_string(), "how": row.how.text(), "by": row.by})
        });
        json!({"requirements": rows.collect::<Vec<_>>(), "problems": self.problems})
    }

    fn verdict(&self) -> Result<(), Failure> {
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(Failure::Failed(format!(
                "requirements:\n  {}",
                self.problems.join("\n  ")
            ))),
        }
    }
}

fn judge(
    document: &Document,
    shown_by: &BTreeMap<String, BTreeSet<String>>,
    scripts: &BTreeSet<String>,
) -> Matrix {
    let mut problems = Vec::new();
    for (id, names) in shown_by {
        if !document.cases.contains_key(id) && !document.requirements.contains_key(id) {
            let name = names.first().expect("an entry has a test");
            problems.push(format!("{name} names {id}, which is not in {DOCUMENT}"));
        }
    }
    for (id, case) in &document.cases {
        // What runs here needs no script; a U case has to run here.
        let has_script = case.level != 'U' && scripts.contains(id);
        if !has_script && !shown_by.contains_key(id) {
            problems.push(format!("case {id} has no test, and no script either"));
        }
        for requirement in &case.shows {
            if !document.requirements.contains_key(requirement) {
                problems.push(format!("case {id} shows {requirement}, which is no row"));
            }
        }
    }
    let mut rows = Vec::new();
    for (id, requirement) in &document.requirements {
        if !"MSD".contains(requirement.tag) {
            continue;
        }
        let row = row_of(id, requirement.tag, document, shown_by, scripts);
        if row.how == How::Gap {
            problems.push(format!("{id} is shown by nothing: {}", requirement.text));
        }
        rows.push(row);
    }
    Matrix { rows, problems }
}

fn row_of(
    id: &str,
    tag: char,
    document: &Document,
    shown_by: &BTreeMap<String, BTreeSet<String>>,
    scripts: &BTreeSet<String>,
) -> Row {
    let mut run: BTreeSet<String> = shown_by.get(id).into_iter().flatten().cloned().collect();
    let mut script = Vec::new();
    let cases = document
        .cases
        .iter()
        .filter(|(_, case)| case.shows.contains(id));
    for (case, _) in cases {
        match shown_by.get(case) {
            Some(tests) => run.extend(tests.iter().cloned()),
            None if scripts.contains(case) => script.push(format!("{SCRIPTS}/{case}.ps1")),
            None => {}
        }
    }
    let (how, by) = match document.inspected.get(id) {
        _ if !run.is_empty() => (How::RunHere, run.into_iter().collect()),
        _ if !script.is_empty() => (How::WindowsScript, script),
        Some(sentence) => (How::Inspected, vec![sentence.clone()]),
        None => (How::Gap, Vec::new()),
    };
    Row {
        id: id.to_owned(),
        tag,
        how,
        by,
    }
}

fn parse(text: &str) -> Document {
    let mut document = Document::default();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = cells(line);
        let [id, second, ..] = cells.as_slice() else {
            continue;
        };
        let is_requirement = ids::is_requirement(id);
        match (is_requirement, cells.len()) {
            (true, 3) if second.len() == 1 => {
                let requirement = Requirement {
                    tag: second.chars().next().expect("one byte"),
                    text: cells[2].to_owned(),
                };
                document.requirements.insert((*id).to_owned(), requirement);
            }
            (true, 2) => {
                document
                    .inspected
                    .insert((*id).to_owned(), (*second).to_owned());
            }
            (false, 6) if ids::is_case(id) => {
                let case = Case {
                    level: second.chars().next().unwrap_or(' '),
                    shows: ids_in(cells[5]),
                };
                document.cases.insert((*id).to_owned(), case);
            }
            _ => {}
        }
    }
    document
}

/// The cells of a table's row; `\|` is a bar within one.
fn cells(line: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut rest = line.trim().trim_start_matches('|');
    loop {
        let mut from = 0;
        let end = loop {
            match rest[from..].find('|') {
                Some(at) if rest[..from + at].ends_with('\\') => from += at + 1,
                Some(at) => break Some(from + at),
                None => break None,
            }
        };
        match end {
            Some(end) => {
                cells.push(rest[..end].trim());
                rest = &rest[end + 1..];
            }
            None => return cells,
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    const TEXT: &str = "\
| BPS-1 | M | be quick |
| BPS-2 | S | take \\| any |
| ROLE-1 | F | a fact |
| T-060 | U | idle | BP | S_OK | BPS-1 |
| T-261 | W | disk | vshadow | works | BPS-2 |
| BPS-3 | Looked at. |
";

    fn verdict(text: &str, shown: &[(&str, &str)], scripts: &[&str]) -> Vec<String> {
        let mut shown_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, test) in shown {
            let tests = shown_by.entry((*id).to_owned()).or_default();
            tests.insert((*test).to_owned());
        }
        let scripts = scripts.iter().map(|s| (*s).to_owned()).collect();
        judge(&parse(text), &shown_by, &scripts).problems
    }

    #[test]
    fn everything_shown_is_no_problem() {
        assert_eq!(verdict(TEXT, &[("T-060", "a")], &["T-261"]), [""; 0]);
    }

    #[test]
    fn case_without_test_and_its_requirement_are_gaps() {
        let problems = verdict(TEXT, &[], &["T-261"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("T-060") && problems[1].contains("BPS-1"));
    }

    #[test]
    fn windows_case_without_script_is_a_gap() {
        let problems = verdict(TEXT, &[("T-060", "a")], &[]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn id_that_nobody_knows_is_a_problem() {
        let shown = [("T-060", "a"), ("T-999", "b")];
        let problems = verdict(TEXT, &shown, &["T-261"]);
        assert_eq!(problems.len(), 1, "{problems:?}");
    }

    #[test]
    fn inspected_row_needs_its_sentence() {
        let with_row = format!("{TEXT}| BPS-3 | D | map |\n");
        assert_eq!(verdict(&with_row, &[("T-060", "a")], &["T-261"]), [""; 0]);
        let without = with_row.replace("| BPS-3 | Looked at. |\n", "");
        assert_eq!(verdict(&without, &[("T-060", "a")], &["T-261"]).len(), 1);
    }

    #[test]
    fn cells_keep_an_escaped_bar() {
        assert_eq!(cells("| a \\| b | c |"), ["a \\| b", "c"]);
    }
}
