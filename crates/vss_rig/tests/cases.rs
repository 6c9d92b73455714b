// SPDX-License-Identifier: MIT OR Apache-2.0
//! `docs/rig-cases.md` against the list of cases and the table of scenarios.

use std::collections::BTreeSet;
use vss_rig::scenarios::{table, windows_table};

const REQUIREMENTS: &str = include_str!("../../../docs/requirements.md");
const RIG_CASES: &str = include_str!("../../../docs/rig-cases.md");

/// The first cell of each table row that `wanted` likes, which gets all of them.
fn rows(document: &str, wanted: impl Fn(&[&str]) -> bool) -> BTreeSet<&str> {
    document
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').skip(1).map(str::trim).collect();
            let id = *cells.first()?;
            (id.starts_with("T-") && wanted(&cells)).then_some(id)
        })
        .collect()
}

#[test]
fn each_case_of_level_u_and_c_is_a_scenario_or_has_its_reason() {
    let cases = rows(REQUIREMENTS, |cells| {
        matches!(cells.get(1), Some(&("U" | "C")))
    });
    let explained = rows(RIG_CASES, |cells| {
        cells[1..3].iter().all(|cell| !cell.is_empty())
    });
    let scenarios: BTreeSet<&str> = table()
        .iter()
        .chain(&windows_table())
        .map(|scenario| scenario.id)
        .collect();

    let missing: Vec<_> = cases
        .iter()
        .filter(|case| !scenarios.contains(*case) && !explained.contains(*case))
        .collect();
    let stale: Vec<_> = explained
        .iter()
        .filter(|case| scenarios.contains(*case) || !cases.contains(*case))
        .collect();

    assert!(!cases.is_empty());
    assert!(
        missing.is_empty(),
        "neither scenario nor reason: {missing:?}"
    );
    assert!(stale.is_empty(), "a reason too many: {stale:?}");
}
