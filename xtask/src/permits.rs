// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unsafe by permit: a module that opts out of the workspace's `unsafe_code = "deny"` says why, and so does each block.

use crate::Failure;
use crate::run::{files, shown};

/// Finds permits without `// UNSAFETY:` and unsafe code without `// SAFETY:`.
pub(crate) fn check() -> Result<(), Failure> {
    let mut wrong = Vec::new();
    // This file names the words it looks for.
    for path in files(&[".rs"])
        .iter()
        .filter(|path| !path.ends_with("xtask/src/permits.rs"))
    {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for (number, problem) in problems(&text) {
            wrong.push(format!("{}:{number}: {problem}", shown(path)));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::Failed(format!(
            "unsafe permits:\n  {}",
            wrong.join("\n  ")
        ))),
    }
}

fn problems(text: &str) -> Vec<(usize, &'static str)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let permitted = lines.iter().any(|line| line.contains("expect(unsafe_code"));
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("//") {
            continue;
        }
        if line.contains("allow(unsafe_code") {
            found.push((
                index + 1,
                "use #![expect(unsafe_code)], which ends with the last unsafe block",
            ));
        }
        if line.contains("expect(unsafe_code") && !comment_above(&lines, index, "// UNSAFETY:") {
            found.push((
                index + 1,
                "a permit says why in a line `// UNSAFETY: ...` above",
            ));
        }
        let is_unsafe = line.contains("unsafe {")
            || line.contains("unsafe impl")
            || line.contains("unsafe extern");
        if is_unsafe && !permitted {
            found.push((index + 1, "unsafe code without a permit in this file"));
        }
        if is_unsafe && !comment_above(&lines, index, "// SAFETY:") {
            found.push((
                index + 1,
                "unsafe code says what makes it sound in a line `// SAFETY: ...` above",
            ));
        }
    }
    found
}

/// The comment stands in the run of comments and of the statement's own first lines directly above.
fn comment_above(lines: &[&str], index: usize, word: &str) -> bool {
    lines[..index]
        .iter()
        .rev()
        .take(6)
        .take_while(|line| !line.ends_with(';') && !line.is_empty())
        .any(|line| line.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::problems;

    #[test]
    fn unsafe_block_without_permit_is_found() {
        assert_eq!(
            problems("fn f() {\n    // SAFETY: x\n    unsafe { g() }\n}").len(),
            1
        );
    }

    #[test]
    fn unsafe_block_with_permit_and_reason_passes() {
        let text = "// UNSAFETY: C library\n#![expect(unsafe_code)]\nfn f() {\n    // SAFETY: x\n    unsafe { g() }\n}";
        assert!(problems(text).is_empty());
    }

    #[test]
    fn unsafe_block_without_reason_is_found() {
        let text =
            "// UNSAFETY: C library\n#![expect(unsafe_code)]\nfn f() {\n    unsafe { g() }\n}";
        assert_eq!(problems(text).len(), 1);
    }
}
