// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of all cases, as `docs/requirements.md` has it, and why `shadowlun-rig run` leaves some out.

use crate::report::NotRun;
use crate::scenarios;
use std::collections::HashMap;

const REQUIREMENTS: &str = include_str!("../../../docs/requirements.md");
const RIG_CASES: &str = include_str!("../../../docs/rig-cases.md");

/// The cells of each table row about a case; the first is its id.
fn rows(document: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let rows = document.lines().filter(|line| line.starts_with("| T-"));
    rows.map(|row| {
        let cells = row.trim_matches([' ', '|']).split('|');
        cells.map(str::trim).collect()
    })
}

/// The requirements that a case shows; empty for a case that is not in the list.
pub fn requirements(id: &str) -> &'static str {
    let row = rows(REQUIREMENTS).find(|cells| cells[0] == id);
    row.and_then(|cells| cells.last().copied())
        .unwrap_or_default()
}

/// The cases that no provider of others is tried with here, each with the reason.
pub fn left_out() -> Vec<NotRun> {
    let run: Vec<_> = scenarios::table().iter().map(|case| case.id).collect();
    let reasons: HashMap<_, _> = rows(RIG_CASES)
        .map(|cells| (cells[0], (cells[1], cells[2])))
        .collect();
    let cases = rows(REQUIREMENTS).filter(|cells| !run.contains(&cells[0]));
    cases
        .map(|cells| {
            let [id, level, _, calls, expected, ..] = cells[..] else {
                panic!("docs/requirements.md has a case with {} cells", cells.len());
            };
            let why = match reasons.get(id) {
                _ if level == "W" => format!("Windows only: docs/windows-acceptance/{id}.ps1"),
                Some(("every scenario", how)) => format!("part of every case: {how}"),
                Some((_, reason)) => format!("not from outside: {reason}"),
                None => {
                    "only for this project's own provider: `shadowlun-rig scenarios --host com`"
                        .to_owned()
                }
            };
            NotRun {
                id,
                title: format!("{calls}: {expected}"),
                why,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_scenario_has_its_requirements() {
        for scenario in scenarios::table() {
            assert!(!requirements(scenario.id).is_empty(), "{}", scenario.id);
        }
    }

    #[test]
    fn scenarios_and_left_out_are_the_whole_list_each_case_once() {
        let scenarios = scenarios::table();
        let left_out = left_out();
        let all = scenarios.iter().map(|case| case.id);
        let all: Vec<_> = all.chain(left_out.iter().map(|case| case.id)).collect();

        let listed: BTreeSet<_> = rows(REQUIREMENTS).map(|cells| cells[0]).collect();
        assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), listed);
        assert_eq!(all.len(), listed.len());
    }

    #[test]
    fn case_for_windows_names_its_script_and_every_script_is_named() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let scripts = std::fs::read_dir(root.join("docs/windows-acceptance")).unwrap();
        let scripts: BTreeSet<String> = scripts
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("T-"))
            .collect();

        let reasons: Vec<String> = left_out().into_iter().map(|case| case.why).collect();
        let named: BTreeSet<String> = reasons
            .iter()
            .filter_map(|why| Some(why.split_once("docs/windows-acceptance/")?.1.to_owned()))
            .collect();

        assert!(!scripts.is_empty());
        assert_eq!(named, scripts);
    }
}
