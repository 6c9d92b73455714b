// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mutants`: breaks the provider's core in every small way that cargo-mutants knows, and wants a test to fail each time.

use crate::run::{root, step, target_dir};
use crate::{Failure, setup};
use std::process::Command;

/// Those that no test has to catch, each with its reason, are in `.cargo/mutants.toml`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let program = setup::ensure_cargo_mutants()?;
    let mut command = Command::new(program);
    command
        .args(["mutants", "--package", "vss_provider", "--output"])
        .arg(target_dir())
        .args(arguments)
        .env_remove("CARGO")
        .current_dir(root());
    step("mutants of the provider's core", &mut command)
}
