// SPDX-License-Identifier: MIT OR Apache-2.0
//! `package`: what people install, in `dist/`.

use crate::Failure;
use crate::run::{cargo, output, root, step, target_dir, timed};
use crate::{setup, windows as windows_build};
use std::path::Path;
use std::process::Command;

/// The crates of the programs for Linux and their folders: array and rig, each built alone, since together they would share features that
/// are for tests.
const LINUX: &[(&str, &str, &[&str])] = &[
    ("arrayd", "", &["shadowlund", "shadowlun"]),
    ("vss_rig", RIG, &["shadowlun-rig"]),
];
/// Folder of the rig in the packages.
const RIG: &str = "rig";
/// With all that they refer to.
const TEXTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs/api.md",
    "docs/openapi.json",
    "docs/store-format.md",
    "docs/sdk.md",
    "docs/provider-operations.md",
    "docs/provider-performance.md",
    "docs/events.md",
    "docs/rig.md",
    "docs/requirements.md",
    "docs/rig-cases.md",
    "docs/fault-matrix.md",
    "examples/vendor_provider/rig.toml",
    "examples/vendor_provider/src/bin/anvil-array.rs",
    "examples/wrong_provider/rig.toml",
];

/// A folder of files to which they refer as well.
const ACCEPTANCE: &str = "docs/windows-acceptance";

/// Release builds for both systems, the licences and a list of checksums.
pub(crate) fn package() -> Result<(), Failure> {
    setup::ensure_all()?;
    let toolchain = windows_build::ensure_toolchain()?;
    let dist = root().join("dist");
    if dist.exists() {
        std::fs::remove_dir_all(&dist).map_err(failed(&dist))?;
    }
    let linux = dist.join(format!("linux-{}", std::env::consts::ARCH));
    let windows = dist.join("windows-x86_64");
    for folder in [&linux, &windows] {
        for text in TEXTS {
            let to = folder.join(text);
            let place = to.parent().unwrap_or(folder);
            std::fs::create_dir_all(place).map_err(failed(place))?;
            copy(&root().join(text), &to)?;
        }
        copy_folder(&root().join(ACCEPTANCE), &folder.join(ACCEPTANCE))?;
    }
    let rigs = [linux.join(RIG), windows.join(RIG)];
    for folder in &rigs {
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    for (name, folder, programs) in LINUX {
        let mut build = cargo(["build", "--quiet", "--release", "-p", name, "--bins"]);
        step(
            &format!("release build of {name}"),
            build.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
        )?;
        for program in *programs {
            let made = target_dir().join("release").join(program);
            copy(&made, &linux.join(folder).join(program))?;
        }
    }
    let [for_linux, for_windows] = &rigs;
    windows_build::package(toolchain, &windows)?;
    windows_build::package_rig(for_windows, &for_linux.join("windows"))?;
    timed("checksums", || write_checksums(&dist))?;
    println!("== {}", dist.display());
    Ok(())
}

/// `SHA256SUMS`, as `sha256sum --check` and `certutil` understand it.
fn write_checksums(dist: &Path) -> Result<(), Failure> {
    let script = "find . -type f ! -name SHA256SUMS -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum";
    let sums = output(Command::new("sh").args(["-c", script]).current_dir(dist))
        .ok_or_else(|| Failure::Failed("sha256sum failed".to_owned()))?;
    let file = dist.join("SHA256SUMS");
    std::fs::write(&file, sums).map_err(failed(&file))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::copy(from, to).map(|_| ()).map_err(failed(to))
}

/// The files of a folder, without folders in it.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to).map_err(failed(to))?;
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod unit {
    use super::*;

    /// Pages of `docs` and files of the examples, as a page names them: from the root, or beside it in a link.
    fn named(page: &str, text: &str) -> Vec<String> {
        let beside = page.starts_with("docs/");
        let links = text.split("](").skip(1).filter(|_| beside);
        let links = links.filter_map(|rest| rest.split(')').next());
        let links = links.filter(|to| to.ends_with(".md") && !to.contains('/'));
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c)));
        let words = words.map(|word| word.trim_matches('.')).filter(|word| {
            ["docs/", "examples/"]
                .iter()
                .any(|top| word.starts_with(top))
                && [".md", ".json", ".toml", "anvil-array.rs"]
                    .iter()
                    .any(|end| word.ends_with(end))
        });
        let words = words.map(str::to_owned);
        words.chain(links.map(|to| format!("docs/{to}"))).collect()
    }

    #[test]
    fn package_has_every_page_and_example_that_its_pages_name() {
        let pages = TEXTS.iter().filter(|text| text.ends_with(".md"));
        for page in pages {
            let text = std::fs::read_to_string(root().join(page)).unwrap();
            for file in named(page, &text) {
                let is_there = TEXTS.contains(&file.as_str()) || file.starts_with(ACCEPTANCE);
                assert!(is_there, "{page} names {file}");
            }
        }
    }
}
