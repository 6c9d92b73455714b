// SPDX-License-Identifier: MIT OR Apache-2.0
//! Installs what is missing: Debian packages, rustup components, cargo-deny. Says what before it does; silent when there
//! is nothing to do.

use crate::Failure;
use crate::run::{cargo, output, run_logged, target_dir, timed};
use std::path::PathBuf;
use std::process::Command;

/// Package and what it is for. The linker comes earlier, from `tools/cc`.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "linker, and the C parts of ring"),
    ("libc6-dev", "linker"),
    ("libiscsi-dev", "the rig's independent iSCSI initiator"),
    (
        "libiscsi-bin",
        "iscsi-test-cu and iscsi-inq, outside examiners",
    ),
    (
        "qemu-utils",
        "a second independent iSCSI client; LUNs as local files",
    ),
    ("qemu-block-extra", "qemu's iSCSI driver"),
    // Debian 12's own qemu has qemu-storage-daemon here; newer ones have it in qemu-utils.
    ("qemu-system-common", "qemu-storage-daemon"),
    ("ntfs-3g", "NTFS on the LUNs"),
    ("fuse3", "LUNs as local files"),
    ("wine64", "runs the provider's real executable"),
    (
        "gcc-mingw-w64-x86-64-win32",
        "linker and C compiler for Windows",
    ),
    ("mingw-w64-tools", "compiler of the rig's COM interfaces"),
];

const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";
const CARGO_MUTANTS: &str = "27.1.0";

/// Everything that `demo` and `test` need.
pub(crate) fn ensure_all() -> Result<(), Failure> {
    ensure_packages(PACKAGES)?;
    ensure_components()
}

/// Where cargo-deny is: on the path, or in the project's own tools, built there on first use.
pub(crate) fn ensure_cargo_deny() -> Result<PathBuf, Failure> {
    ensure_tool("cargo-deny", CARGO_DENY)
}

/// Where cargo-fuzz is, likewise.
pub(crate) fn ensure_cargo_fuzz() -> Result<PathBuf, Failure> {
    ensure_tool("cargo-fuzz", CARGO_FUZZ)
}

/// Where cargo-mutants is, likewise.
pub(crate) fn ensure_cargo_mutants() -> Result<PathBuf, Failure> {
    ensure_tool("cargo-mutants", CARGO_MUTANTS)
}

fn ensure_tool(name: &str, version: &str) -> Result<PathBuf, Failure> {
    let tools = target_dir().join("tools");
    let own = tools.join("bin").join(name);
    for candidate in [PathBuf::from(name), own.clone()] {
        if output(Command::new(&candidate).arg("--version")).is_some() {
            return Ok(candidate);
        }
    }
    println!("xtask: building {name} {version} into target/tools (once, some minutes)");
    let mut command = cargo([
        "install",
        "--locked",
        "--quiet",
        // Unoptimised, it does our work in no time all the same, and is built in half the time.
        "--debug",
        name,
        "--version",
        version,
        "--root",
    ]);
    command
        .arg(&tools)
        .env("CARGO_TARGET_DIR", tools.join("build"));
    timed(&format!("build {name}"), || run_logged(&mut command, name))?;
    // A hundred megabytes of intermediate files that nobody needs again.
    std::fs::remove_dir_all(tools.join("build")).ok();
    Ok(own)
}

/// Whether all of them are there.
pub(crate) fn are_installed(packages: &[(&str, &str)]) -> bool {
    packages.iter().all(|(name, _)| is_installed(name))
}

/// Installs those that are missing.
pub(crate) fn ensure_packages(packages: &[(&str, &str)]) -> Result<(), Failure> {
    let missing: Vec<_> = packages
        .iter()
        .filter(|(name, _)| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing
        .iter()
        .map(|(name, why)| format!("  {name}: {why}"))
        .collect::<Vec<_>>()
        .join("\n");
    let Some(root) =
        root_prefix().filter(|_| output(Command::new("apt-get").arg("--version")).is_some())
    else {
        return Err(Failure::Unusable(format!(
            "these Debian packages are missing, and neither root nor sudo (or no apt-get) is at hand:\n{list}\n\
             Remedy: install them, then run this again"
        )));
    };
    println!("xtask: installing with apt-get:\n{list}");
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    timed("apt-get install", || install(root, &names))
}

fn is_installed(package: &str) -> bool {
    if package == "qemu-system-common"
        && output(Command::new("qemu-storage-daemon").arg("--version")).is_some()
    {
        return true;
    }
    output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_some_and(|status| status == "installed")
}

/// `Some([])` as root, `Some(["sudo"])` where sudo is, else `None`.
fn root_prefix() -> Option<&'static [&'static str]> {
    if output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0") {
        return Some(&[]);
    }
    output(Command::new("sudo").arg("--version")).map(|_| &["sudo"][..])
}

fn install(root: &[&str], packages: &[&str]) -> Result<(), Failure> {
    let apt = |arguments: &[&str], options: &[String]| {
        let mut words: Vec<&str> = root.to_vec();
        words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        words.extend(options.iter().map(String::as_str));
        words.extend(arguments);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    let backports = backports_options()?;
    run_logged(&mut apt(&["update"], &backports), "apt-update")?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    let release = release_name().map(|name| format!("{name}-backports"));
    if let (false, Some(release)) = (backports.is_empty(), &release) {
        arguments.extend(["-t", release]);
    }
    arguments.extend(packages);
    run_logged(&mut apt(&arguments, &backports), "apt-install")
}

/// Where qemu-utils was installed from backports and that archive is no longer listed, qemu-block-extra of the plain release
/// would remove it. Then the same mirror's backports are read through a list of our own; the system's lists stay as they are.
fn backports_options() -> Result<Vec<String>, Failure> {
    let version = output(Command::new("dpkg-query").args(["-W", "-f=${Version}", "qemu-utils"]));
    if !version.is_some_and(|version| version.contains("~bpo")) || is_installed("qemu-block-extra")
    {
        return Ok(Vec::new());
    }
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME) $(COMPONENT)",
        "Created-By: Packages",
    ]))
    .unwrap_or_default();
    let Some(release) = release_name() else {
        return Ok(Vec::new());
    };
    let wanted = format!(" {release} main");
    let Some(mirror) = targets
        .lines()
        .find_map(|line| line.strip_suffix(wanted.as_str()))
    else {
        return Ok(Vec::new());
    };
    let folder = target_dir().join("apt");
    let list = folder.join("backports.list");
    let lists = folder.join("lists");
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    std::fs::create_dir_all(lists.join("partial"))
        .and_then(|()| {
            std::fs::write(
                &list,
                format!("deb [signed-by={keyring}] {mirror} {release}-backports main\n"),
            )
        })
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", list.display())))?;
    Ok(vec![
        format!("-oDir::Etc::sourcelist={}", list.display()),
        format!("-oDir::State::lists={}", lists.display()),
    ])
}

fn release_name() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    release.lines().find_map(|line| {
        Some(
            line.strip_prefix("VERSION_CODENAME=")?
                .trim_matches('"')
                .to_owned(),
        )
    })
}

/// rustup's minimal profile comes without these two.
fn ensure_components() -> Result<(), Failure> {
    for (tool, component) in [("clippy", "clippy"), ("fmt", "rustfmt")] {
        if output(&mut cargo([tool, "--version"])).is_some() {
            continue;
        }
        println!("xtask: installing the component {component} with rustup");
        run_logged(
            Command::new("rustup").args(["component", "add", component]),
            "rustup",
        )
        .map_err(|_| {
            Failure::Unusable(format!(
                "cargo {tool} is missing. Remedy: rustup component add {component}"
            ))
        })?;
    }
    Ok(())
}
