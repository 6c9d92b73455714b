// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ids of requirements (`BPS-2`, `SEQ-32b`) and cases (`T-063`) in running text, ranges (`LOC-1..LOC-3`, `TIME-17..22`) spelt out.

use std::collections::BTreeSet;

const AREAS: &[&str] = &[
    "ROLE", "REG", "LOAD", "SEC", "GEN", "ALS", "FIL", "BPS", "GTL", "LOC", "OLE", "CAP", "OLS",
    "RSY", "REU", "EPS", "PRE", "COM", "PST", "PFC", "PFF", "ABT", "ASY", "SEQ", "IMP", "DEL",
    "BRK", "SWP", "RVT", "CLU", "LUN", "CTX", "LIM", "TIME", "ERR", "LOG",
];

/// Whether the whole text is the id of a requirement.
pub(super) fn is_requirement(text: &str) -> bool {
    text.split_once('-').is_some_and(|(area, number)| {
        AREAS.contains(&area) && number.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// Whether the whole text is the id of a case.
pub(super) fn is_case(text: &str) -> bool {
    text.strip_prefix("T-")
        .is_some_and(|number| number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Every id that the text names.
pub(super) fn ids_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(dash) = rest.find('-') {
        let area_start = rest[..dash]
            .rfind(|c: char| !c.is_ascii_uppercase())
            .map_or(0, |at| {
                at + rest[at..].chars().next().map_or(1, char::len_utf8)
            });
        let area = &rest[area_start..dash];
        let free = !rest[..area_start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        rest = &rest[dash + 1..];
        if !free || !(AREAS.contains(&area) || area == "T") {
            continue;
        }
        let Some((first, after)) = number(rest) else {
            continue;
        };
        rest = after;
        let last = range_end(area, rest).filter(|_| first.parse::<u32>().is_ok());
        match (first.parse::<u32>(), last) {
            (Ok(first), Some((last, after))) if first <= last => {
                rest = after;
                found.extend((first..=last).map(|n| id(area, &n.to_string())));
            }
            _ => {
                found.insert(id(area, first));
            }
        }
    }
    found
}

fn id(area: &str, number: &str) -> String {
    match area {
        "T" => format!("T-{number:0>3}"),
        _ => format!("{area}-{number}"),
    }
}

/// Digits and at most one small letter (`32b`), and what follows.
fn number(text: &str) -> Option<(&str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let tail = &text.as_bytes()[digits..];
    let letter = tail.first().is_some_and(u8::is_ascii_lowercase)
        && !tail.get(1).is_some_and(u8::is_ascii_alphanumeric);
    Some(text.split_at(digits + usize::from(letter)))
}

/// `..3`, `..LOC-3`: the last number of a range of this area.
fn range_end<'a>(area: &str, text: &'a str) -> Option<(u32, &'a str)> {
    let end = text.strip_prefix("..")?;
    let end = match end.strip_prefix(area) {
        Some(end) => end.strip_prefix('-')?,
        None => end,
    };
    let (last, after) = number(end)?;
    Some((last.parse().ok()?, after))
}

#[cfg(test)]
mod unit {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        ids_in(text).into_iter().collect()
    }

    #[test]
    fn ids_single_and_with_letters() {
        assert_eq!(
            found("T-063, BPS-2 (SEQ-32b)."),
            ["BPS-2", "SEQ-32b", "T-063"]
        );
    }

    #[test]
    fn ids_ranges_are_spelt_out() {
        assert_eq!(found("LOC-1..3"), ["LOC-1", "LOC-2", "LOC-3"]);
        assert_eq!(found("RSY-12..RSY-13"), ["RSY-12", "RSY-13"]);
    }

    #[test]
    fn ids_other_words_with_dashes_are_none() {
        assert_eq!(found("UTF-8, X-2, read-only, FOO_ALS-1, SHA-256"), [""; 0]);
    }
}
