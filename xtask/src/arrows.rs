// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dependency arrows between the rooms, as ARCHITECTURE.md draws them.

use crate::Failure;
use crate::run::{cargo, output, root};
use serde_json::Value;

/// Room and the rooms that it may use, also in its tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("block", &[]),
    ("lun_store", &["block"]),
    ("scsi", &["block"]),
    ("iscsi", &["scsi", "block"]),
    ("array_api", &[]),
    (
        "arrayd",
        &["lun_store", "iscsi", "scsi", "block", "array_api"],
    ),
    ("vss_provider", &["array_api"]),
    ("reserve", &[]),
    (
        "vss_provider_server",
        &["vss_provider", "array_api", "reserve"],
    ),
    ("vendor_provider", &["vss_provider_server", "array_api"]),
    (
        "wrong_provider",
        &["vendor_provider", "vss_provider_server", "vss_provider"],
    ),
    ("vss_standin", &["vss_provider"]),
    (
        "vss_rig",
        &["vss_standin", "vss_provider", "array_api", "reserve"],
    ),
    (
        "fuzzing",
        &["vss_provider", "vss_provider_server", "array_api"],
    ),
    ("xtask", &[]),
];

/// Checks every crate's dependencies on other rooms, and that each outside dependency is used and has its reason.
pub(crate) fn check() -> Result<(), Failure> {
    let metadata = output(&mut cargo([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))
    .and_then(|text| serde_json::from_str::<Value>(&text).ok())
    .ok_or_else(|| Failure::Failed("cargo metadata does not answer".to_owned()))?;
    let packages = metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| *room == name) else {
            wrong.push(format!(
                "{name} is no room of the design; add it to ARCHITECTURE.md and xtask/src/arrows.rs"
            ));
            continue;
        };
        for dependency in package["dependencies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            let used = dependency["name"].as_str().unwrap_or_default();
            let is_room = ARROWS.iter().any(|(room, _)| *room == used);
            if is_room && used != name && !allowed.contains(&used) {
                wrong.push(format!("{name} may not use {used}"));
            }
            if !is_used(package, used) {
                wrong.push(format!(
                    "{name} names {used} in its Cargo.toml and does not use it"
                ));
            }
        }
    }
    wrong.extend(unreasoned(packages));
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::Failed(format!(
            "dependencies:\n  {}",
            wrong.join("\n  ")
        ))),
    }
}

/// A crate's sources mention the dependency by its Rust name. Coarse, but it finds what was left behind.
fn is_used(package: &Value, dependency: &str) -> bool {
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let folder = std::path::Path::new(manifest)
        .parent()
        .map(std::path::Path::to_owned)
        .unwrap_or_default();
    let word = dependency.replace('-', "_");
    crate::run::files(&[".rs"])
        .iter()
        .filter(|path| path.starts_with(&folder))
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .any(|text| {
            [
                format!("{word}::"),
                format!("use {word};"),
                format!("{word}!"),
            ]
            .iter()
            .any(|w| text.contains(w))
        })
}

/// Every outside dependency of the workspace has its line of reason, and a crate that names it.
fn unreasoned(packages: &[Value]) -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap_or_default();
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .unwrap_or_default();
    let mut wrong = Vec::new();
    for line in section.lines().take_while(|line| !line.starts_with('[')) {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        let is_named = packages
            .iter()
            .filter_map(|package| package["dependencies"].as_array())
            .flatten()
            .any(|dependency| dependency["name"] == name);
        if !is_named {
            wrong.push(format!("Cargo.toml has {name}, which no crate names"));
        }
        if !line.contains("path = ") && !line.contains(" # ") {
            wrong.push(format!("no reason given in Cargo.toml: {line}"));
        }
    }
    wrong
}
