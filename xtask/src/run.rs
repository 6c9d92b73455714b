// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting other programs: cargo, apt-get, the project's own binaries.

use crate::Failure;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask
        .parent()
        .expect("xtask lies one folder below the root")
        .to_owned()
}

/// Where cargo puts what it builds; set-up keeps its tools and logs below it too.
pub(crate) fn target_dir() -> PathBuf {
    // cargo runs in the root, so a relative one is below that.
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The folder of the workspace's binaries.
pub(crate) fn bin_dir() -> PathBuf {
    target_dir().join("debug")
}

/// A cargo command on this workspace, with the cargo that runs us.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// Runs one step with its output shown, its name before and its time after.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<(), Failure> {
    timed(name, || {
        let status = command.stdin(Stdio::null()).status().map_err(|error| {
            Failure::Failed(format!("{name}: cannot start {command:?}: {error}"))
        })?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::Failed(format!("{name} failed ({status})"))),
        }
    })
}

/// Says that a step begins, and when it ended well how long it took.
pub(crate) fn timed<T>(
    name: &str,
    body: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    println!("== {name}");
    let started = Instant::now();
    let result = body()?;
    println!("   {name}: {:.1} s", started.elapsed().as_secs_f64());
    Ok(result)
}

/// Runs a command silently; its output as text if it ended well.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// All files of the repository with one of these endings, without what cargo built.
pub(crate) fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A path as shown to people: relative to the root.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Runs with the output in a log file; on failure the log's end is shown.
pub(crate) fn run_logged(command: &mut Command, name: &str) -> Result<(), Failure> {
    let path = target_dir().join(format!("log-{name}.txt"));
    let unusable = |error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(target_dir()).map_err(unusable)?;
    let log = File::create(&path).map_err(unusable)?;
    let errors = log.try_clone().map_err(unusable)?;
    let status = command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .status()
        .map_err(|error| Failure::Failed(format!("cannot start {command:?}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let tail: Vec<&str> = text.lines().rev().take(15).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(Failure::Failed(format!(
        "{command:?} failed ({status}); {}:\n{tail}",
        path.display()
    )))
}
