// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gate: the same on the desk and in CI.

use crate::run::{cargo, root, step, timed};
use crate::{Failure, arrows, permits, requirements, setup, tidy, windows};
use std::process::Command;

/// Runs every check; the quick ones first.
pub(crate) fn all() -> Result<(), Failure> {
    step("format", &mut cargo(["fmt", "--all", "--check"]))?;
    timed("dependency arrows", arrows::check)?;
    timed("unsafe permits", permits::check)?;
    timed("tidy", tidy::check)?;
    timed("requirements", requirements::check)?;
    let deny = setup::ensure_cargo_deny()?;
    // Advisories need a database from the network that a gate cannot count on; licences, bans and sources do not.
    let mut deny = Command::new(deny);
    deny.args([
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ])
    .current_dir(root());
    step("licences, bans and sources of dependencies", &mut deny)?;
    step(
        "clippy",
        &mut cargo([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    windows::clippy(windows::ensure_toolchain()?)?;
    let mut doc = cargo([
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--all-features",
        "--document-private-items",
    ]);
    step(
        "docs",
        doc.env(
            "RUSTDOCFLAGS",
            "-D warnings -A rustdoc::private_intra_doc_links",
        ),
    )
}
