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
/// With all that the first one refers to.
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
    "docs/rig.md",
    // To which the rig's page refers.
    "docs/requirements.md",
    "docs/rig-cases.md",
];

/// A folder of files that the first one refers to as well.
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
        let docs = folder.join("docs");
        std::fs::create_dir_all(&docs).map_err(failed(&docs))?;
        for text in TEXTS {
            copy(&root().join(text), &folder.join(text))?;
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
