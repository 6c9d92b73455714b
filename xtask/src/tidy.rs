// SPDX-License-Identifier: MIT OR Apache-2.0
//! What rustfmt and clippy do not look at: lengths, licence lines, leftovers.

use crate::Failure;
use crate::run::{files, shown};

const LICENCE: &str = "SPDX-License-Identifier: MIT OR Apache-2.0";
const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Checks every Rust source of the repository.
pub(crate) fn check() -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for path in files(&[".rs"]) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        wrong.extend(
            problems(&text)
                .into_iter()
                .map(|(line, what)| format!("{}:{line}: {what}", shown(&path))),
        );
    }
    for path in files(&[".c", ".h", ".idl", ".ps1", ".psm1", ".psd1"]) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if !text
            .lines()
            .next()
            .is_some_and(|line| line.contains(LICENCE))
        {
            wrong.push(format!(
                "{}:1: the first line names the licence",
                shown(&path)
            ));
        }
    }
    for path in files(&[
        ".rs", ".c", ".h", ".idl", ".md", ".toml", ".sh", ".ps1", ".psm1", ".psd1",
    ]) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for (index, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                wrong.push(format!(
                    "{}:{}: blanks at the end of the line",
                    shown(&path),
                    index + 1
                ));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::Failed(format!("tidy:\n  {}", wrong.join("\n  ")))),
    }
}

fn problems(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    if !text.starts_with(&format!("// {LICENCE}\n")) {
        found.push((1, "the first line names the licence".to_owned()));
    }
    let count = text.lines().count();
    if count > FILE_LINES_MAX {
        found.push((
            count,
            format!(
                "{count} lines; a file has at most {FILE_LINES_MAX}: find the second room in it"
            ),
        ));
    }
    // Put together here, so that this file does not find itself.
    let leftovers = [
        ["FIX", "ME"].concat(),
        ["TO", "DO"].concat(),
        ["XX", "X"].concat(),
    ];
    for (index, line) in text.lines().enumerate() {
        if let Some(word) = leftovers.iter().find(|word| line.contains(word.as_str())) {
            found.push((index + 1, format!("{word}: do it or open an issue")));
        }
    }
    found.extend(long_functions(text));
    found
}

/// Relies on rustfmt: a signature ends, with `{` or `;`, in the column in which it begins, and so does the body.
fn long_functions(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !begins_function(line.trim_start()) {
            continue;
        }
        let here = |line: &&&str| line.len() - line.trim_start().len() == indent;
        let signature = lines[start..]
            .iter()
            .filter(here)
            .find(|line| line.ends_with(['{', ';', '}']));
        if !signature.is_some_and(|line| line.ends_with('{')) {
            continue;
        }
        let closes = |line: &&str| here(&line) && line.trim_start().starts_with('}');
        let Some(length) = lines[start..].iter().position(closes) else {
            continue;
        };
        let length = length + 1;
        if length > FUNCTION_LINES_MAX {
            found.push((
                start + 1,
                format!("function of {length} lines; at most {FUNCTION_LINES_MAX}"),
            ));
        }
    }
    found
}

fn begins_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    loop {
        match words.next() {
            Some("fn") => return true,
            Some("pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"" | "\"system\"") => {}
            Some(word) if word.starts_with("pub(") => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FUNCTION_LINES_MAX, long_functions};

    fn function(body_lines: usize) -> String {
        format!(
            "    pub(crate) async fn f(\n        a: u8,\n    ) {{\n{}    }}\n",
            "        g();\n".repeat(body_lines)
        )
    }

    #[test]
    fn function_over_the_limit_is_found() {
        assert_eq!(long_functions(&function(FUNCTION_LINES_MAX)).len(), 1);
    }

    #[test]
    fn function_at_the_limit_passes() {
        assert!(long_functions(&function(FUNCTION_LINES_MAX - 4)).is_empty());
    }

    #[test]
    fn trait_method_without_body_is_not_measured() {
        let body = "        h();\n".repeat(FUNCTION_LINES_MAX);
        let text =
            format!("    fn f(\n        a: u8,\n    ) -> u8;\n\n    impl X {{\n{body}    }}\n");
        assert!(long_functions(&text).is_empty());
    }
}
