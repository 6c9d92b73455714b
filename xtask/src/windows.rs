// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds for Windows on Linux: the provider's executable, its message DLL, and what the rig needs under Wine.
//!
//! Everything that is ready to run lies in `target/windows`; what cargo makes on the way in `target/windows-build`, so that
//! another compiler than the workspace's own does not disturb it.

use crate::Failure;
use crate::run::{bin_dir, cargo, output, root, run_logged, step, target_dir, timed};
use crate::setup;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-pc-windows-gnu";
/// The crates of the Windows programs.
const CRATES: &[&str] = &[
    "vss_provider_server",
    "vss_standin",
    "vendor_provider",
    "wrong_provider",
    "vss_rig",
];
/// Those whose tests run under Wine: not the rig, whose tests start it there themselves, but the portable parts of the
/// provider, and what is thrown at it.
const TESTED: &[&str] = &[
    "vss_provider_server",
    "vss_standin",
    "vendor_provider",
    "wrong_provider",
    "array_api",
    "vss_provider",
    "fuzzing",
];
const PROVIDER: &str = "shadowlun-provider.exe";
const RIG: &str = "shadowlun-rig.exe";
const STANDIN: &str = "vss_standin.exe";
const EXECUTABLES: &[&str] = &[
    PROVIDER,
    RIG,
    STANDIN,
    "anvil-provider.exe",
    "wrong-provider.exe",
    "anvil-array.exe",
];
/// A provider of the rig's tests, from an example of the provider's crate.
const PANICKING: (&str, &str) = ("panicking_provider", "panicking-provider.exe");
const MESSAGE_DLL: &str = "shadowlun-messages.dll";
const ANVIL_MESSAGE_DLL: &str = "anvil-messages.dll";
/// DLLs with event texts, and the example programs that print their sources.
const MESSAGES: [(&str, &str); 2] = [
    (MESSAGE_DLL, "message_file"),
    (ANVIL_MESSAGE_DLL, "anvil_message_file"),
];
const PROXY_DLL: &str = "vss_ps.dll";
const SHIM_DLL: &str = "bcryptprimitives.dll";
/// CLSID of the proxies of the rig; drawn at random.
const PROXY_CLASS: &str = "{0xb5329e7e,0x6c4e,0x48dd,{0xbf,0x57,0xd8,0x17,0x98,0x0c,0x62,0x8c}}";
/// Longest wait for rustup's server.
const RUSTUP_SECONDS: &str = "180";
/// Debian's own Rust with the sources of its standard library, for where rustup's server cannot be reached.
const DEBIAN_RUST: &[(&str, &str)] = &[
    ("cargo-web", "a Rust that can build for Windows"),
    (
        "rust-web-src",
        "the standard library for Windows, from source",
    ),
];

/// What compiles for Windows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The toolchain that runs us has the target's standard library.
    Own,
    /// Debian's compiler, which builds the standard library from its sources.
    Debian,
}

/// Finds a toolchain, and installs one where there is none.
pub(crate) fn ensure_toolchain() -> Result<Toolchain, Failure> {
    if has_target() {
        return Ok(Toolchain::Own);
    }
    if setup::are_installed(DEBIAN_RUST) {
        return Ok(Toolchain::Debian);
    }
    println!("xtask: adding the target {TARGET} with rustup");
    let mut rustup = Command::new("timeout");
    rustup.args([RUSTUP_SECONDS, "rustup", "target", "add", TARGET]);
    let added = run_logged(&mut rustup, "rustup-target");
    if added.is_ok() && has_target() {
        return Ok(Toolchain::Own);
    }
    println!("xtask: rustup could not add it; Debian's Rust builds for Windows instead");
    setup::ensure_packages(DEBIAN_RUST)?;
    Ok(Toolchain::Debian)
}

fn has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", TARGET]);
    output(command.current_dir(root())).is_some_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Where the ready files are.
pub(crate) fn folder() -> PathBuf {
    target_dir().join("windows")
}

/// A cargo command for Windows on some crates. `arguments` begins with the subcommand.
fn windows_cargo(
    toolchain: Toolchain,
    arguments: &[&str],
    crates: &[&str],
) -> Result<Command, Failure> {
    let mut command = match toolchain {
        Toolchain::Own => cargo(&arguments[..1]),
        Toolchain::Debian => {
            let mut command = Command::new("/usr/bin/cargo");
            command
                .current_dir(root())
                .arg(arguments[0])
                .arg("-Zbuild-std=std,panic_unwind")
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTDOC", "/usr/bin/rustdoc")
                // Building the standard library is not offered to a released compiler otherwise.
                .env("RUSTC_BOOTSTRAP", "1")
                .env_remove("RUSTUP_TOOLCHAIN");
            command
        }
    };
    command
        .args(["--target", TARGET])
        .args(&arguments[1..])
        .env("CARGO_TARGET_DIR", build_dir())
        .env("TMPDIR", scratch()?);
    for name in crates {
        command.args(["-p", name]);
    }
    Ok(command)
}

fn build_dir() -> PathBuf {
    target_dir().join("windows-build")
}

/// mingw's gcc can leave empty files behind in the folder for temporary files; here they are in nobody's way.
fn scratch() -> Result<PathBuf, Failure> {
    let folder = build_dir().join("tmp");
    make_dir(&folder)?;
    Ok(folder)
}

/// Builds everything in `target/windows`. Quick when nothing has changed.
pub(crate) fn build(toolchain: Toolchain) -> Result<(), Failure> {
    let name = match toolchain {
        Toolchain::Own => "build for Windows",
        Toolchain::Debian => "build for Windows (Debian's Rust, standard library from source)",
    };
    step(
        name,
        &mut windows_cargo(toolchain, &["build", "--quiet", "--bins"], CRATES)?,
    )?;
    let made = build_dir().join(TARGET).join("debug");
    for executable in EXECUTABLES {
        put(&made.join(executable), &folder().join(executable))?;
    }
    let (example, executable) = PANICKING;
    // With all features, as the tests are built: so they share what is built.
    let arguments = ["build", "--quiet", "--all-features", "--example", example];
    step(
        "the rig's own provider",
        &mut windows_cargo(toolchain, &arguments, TESTED)?,
    )?;
    let example = made.join("examples").join(format!("{example}.exe"));
    put(&example, &folder().join(executable))?;
    timed("message DLL, proxies", || {
        build_messages()?;
        build_proxies()?;
        build_shim()
    })
}

/// The program that throws random inputs at what only Windows has.
pub(crate) fn build_thrower() -> Result<PathBuf, Failure> {
    let arguments = ["build", "--quiet", "--all-features", "--bin", "throw"];
    let mut command = windows_cargo(ensure_toolchain()?, &arguments, TESTED)?;
    step("the thrower for Windows", &mut command)?;
    Ok(build_dir().join(TARGET).join("debug/throw.exe"))
}

/// The tests of what runs on Windows, under Wine. `rig` is the program `shadowlun-rig`, which runs each in a prefix of its own.
pub(crate) fn test(toolchain: Toolchain, rig: &Path) -> Result<(), Failure> {
    let runner = format!(
        "target.{TARGET}.runner=[{:?}, \"wine\", \"--\"]",
        rig.display().to_string()
    );
    let fixed = ["test", "--quiet", "--no-fail-fast", "--all-features"];
    let mut command = windows_cargo(toolchain, &fixed, TESTED)?;
    command.args(["--config", &runner]);
    step("tests of what runs on Windows, under Wine", &mut command)
}

/// Lints what only Windows compiles. Debian's clippy is another version than the workspace's, with other lints.
pub(crate) fn clippy(toolchain: Toolchain) -> Result<(), Failure> {
    if toolchain == Toolchain::Debian {
        println!("== clippy for Windows: not run, the toolchain has no standard library for it");
        return Ok(());
    }
    // The rig's tests are for Linux.
    for (targets, crates) in [("--all-targets", TESTED), ("--bins", CRATES)] {
        let mut command = windows_cargo(toolchain, &["clippy", "--quiet", targets], crates)?;
        step("clippy for Windows", command.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Release builds of everything, and of it the provider with its message DLL.
pub(crate) fn package(toolchain: Toolchain, into: &Path) -> Result<(), Failure> {
    let arguments = ["build", "--quiet", "--release", "--bins"];
    let mut command = windows_cargo(toolchain, &arguments, CRATES)?;
    step(
        "release build for Windows",
        // Symbols would make it ten times as large.
        command.env("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
    )?;
    put(&released(PROVIDER), &into.join(PROVIDER))?;
    build_messages()?;
    put(&folder().join(MESSAGE_DLL), &into.join(MESSAGE_DLL))
}

/// The rig for Windows, and what the rig for Linux needs under Wine, of what [`package`] built.
pub(crate) fn package_rig(into: &Path, for_wine: &Path) -> Result<(), Failure> {
    for program in [RIG, STANDIN] {
        put(&released(program), &into.join(program))?;
    }
    put(&released(STANDIN), &for_wine.join(STANDIN))?;
    build_proxies()?;
    build_shim()?;
    for library in [PROXY_DLL, SHIM_DLL] {
        put(&folder().join(library), &for_wine.join(library))?;
    }
    Ok(())
}

fn released(program: &str) -> PathBuf {
    build_dir().join(TARGET).join("release").join(program)
}

/// Release builds of everything that runs under Wine; the folder that they are in.
pub(crate) fn build_release(toolchain: Toolchain) -> Result<PathBuf, Failure> {
    let mut command = windows_cargo(
        toolchain,
        &["build", "--quiet", "--release", "--bins"],
        CRATES,
    )?;
    step("release build for Windows", &mut command)?;
    let into = target_dir().join("windows-release");
    for executable in EXECUTABLES {
        put(&released(executable), &into.join(executable))?;
    }
    build_messages()?;
    build_proxies()?;
    build_shim()?;
    for library in [MESSAGE_DLL, ANVIL_MESSAGE_DLL, PROXY_DLL, SHIM_DLL] {
        put(&folder().join(library), &into.join(library))?;
    }
    Ok(into)
}

/// The event texts, from the provider's catalogue, in each provider's words.
fn build_messages() -> Result<(), Failure> {
    // With the whole workspace, so that they share the libraries that the other programs are built of.
    let mut build = cargo(["build", "--quiet", "--workspace"]);
    for (_, generator) in MESSAGES {
        build.args(["--example", generator]);
    }
    run_logged(&mut build, "message-file")?;
    MESSAGES
        .iter()
        .try_for_each(|(name, generator)| build_message_dll(name, generator))
}

fn build_message_dll(name: &str, generator: &str) -> Result<(), Failure> {
    let work = build_dir().join(generator);
    make_dir(&work)?;
    let mut generator = Command::new(bin_dir().join("examples").join(generator));
    let text = output(&mut generator)
        .ok_or_else(|| Failure::Failed(format!("{generator:?} failed; run it by hand")))?;
    let source = work.join("messages.mc");
    let dll = folder().join(name);
    if dll.is_file() && std::fs::read_to_string(&source).is_ok_and(|old| old == text) {
        return Ok(());
    }
    // Else an interrupted build would leave the old texts with the new source, and look finished.
    remove(&dll)?;
    std::fs::write(&source, text)
        .map_err(|error| Failure::Failed(format!("{}: {error}", source.display())))?;
    tool("windmc", &work, ["-b", &shown(&source)])?;
    tool("windres", &work, ["messages.rc", "messages.o"])?;
    tool(
        "gcc",
        &work,
        [
            "-shared",
            "-nostdlib",
            "-Wl,--entry=0,--no-insert-timestamp",
            "-o",
            name,
            "messages.o",
        ],
    )?;
    finish(&work.join(name), &dll)
}

/// Proxies and stubs of the VSS interfaces: Windows Server has them, Wine has none.
fn build_proxies() -> Result<(), Failure> {
    let sources = root().join("crates/vss_standin/proxy");
    let dll = folder().join(PROXY_DLL);
    if is_newer(&dll, &sources) {
        return Ok(());
    }
    let work = build_dir().join("proxies");
    make_dir(&work)?;
    let source = |name: &str| shown(&sources.join(name));
    let (idl, include) = (source("vss_ps.idl"), format!("-I{}", sources.display()));
    for (kind, made) in [("-h", "-H"), ("-p", "-o"), ("-u", "-o")] {
        let name = match kind {
            "-h" => "vss_ps.h",
            "-p" => "vss_ps_p.c",
            _ => "vss_ps_i.c",
        };
        let fixed = ["-m64", "--nostdinc", "-Oicf", &include, kind, made, name];
        tool("widl", &work, fixed.iter().copied().chain([idl.as_str()]))?;
    }
    tool(
        "widl",
        &work,
        ["--dlldata-only", "-o", "dlldata.c", "vss_ps"],
    )?;
    let class = format!("-DPROXY_CLSID_IS={PROXY_CLASS}");
    let (shim, call_as) = (source("shim.h"), source("call_as.c"));
    let mut objects = Vec::new();
    for file in ["vss_ps_p.c", "vss_ps_i.c", "dlldata.c", &call_as] {
        let name = Path::new(file).file_stem().and_then(OsStr::to_str);
        let object = format!("{}.o", name.unwrap_or_default());
        let fixed = [
            "-O2",
            "-c",
            "-I.",
            &include,
            "-DWIN32",
            "-DREGISTER_PROXY_DLL",
            &class,
            "-D_WIN32_WINNT=0x0600",
            "-DENTRY_PREFIX=",
            "-include",
            &shim,
            "-o",
            &object,
            file,
        ];
        tool("gcc", &work, fixed)?;
        objects.push(object);
    }
    let exports = source("vss_ps.def");
    let libraries = ["-lrpcrt4", "-loleaut32", "-lole32", "-luuid"];
    let fixed = [
        "-shared",
        "-static-libgcc",
        "-Wl,--no-insert-timestamp",
        "-o",
        PROXY_DLL,
    ];
    let all = fixed
        .iter()
        .copied()
        .chain(objects.iter().map(String::as_str))
        .chain([exports.as_str()])
        .chain(libraries);
    tool("gcc", &work, all)?;
    finish(&work.join(PROXY_DLL), &dll)
}

/// bcryptprimitives.dll: Rust's standard library imports it, Wine 8 has none.
fn build_shim() -> Result<(), Failure> {
    let sources = root().join("crates/vss_standin/proxy");
    let dll = folder().join(SHIM_DLL);
    if is_newer(&dll, &sources) {
        return Ok(());
    }
    let work = build_dir().join("shim");
    make_dir(&work)?;
    let source = shown(&sources.join("bcryptprimitives.c"));
    let fixed = [
        "-O2",
        "-shared",
        "-static-libgcc",
        "-Wl,--no-insert-timestamp",
        "-o",
        SHIM_DLL,
        &source,
        "-ladvapi32",
    ];
    tool("gcc", &work, fixed)?;
    finish(&work.join(SHIM_DLL), &dll)
}

/// Runs one of mingw's tools.
fn tool<'a>(
    name: &str,
    folder: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<(), Failure> {
    let mut command = Command::new(format!("x86_64-w64-mingw32-{name}"));
    command.current_dir(folder).args(arguments);
    run_logged(&mut command, &format!("mingw-{name}"))
}

/// Whether `made` is newer than every file of `sources` and than this program, which knows how it is made.
fn is_newer(made: &Path, sources: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let Some(made) = changed(made) else {
        return false;
    };
    let inputs = std::fs::read_dir(sources)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .chain(std::env::current_exe().ok());
    inputs
        .into_iter()
        .all(|input| changed(&input).is_some_and(|time| time < made))
}

/// Copies a file, unless the same is there: what is unchanged keeps its time.
fn put(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error| {
        Failure::Failed(format!(
            "cannot copy {} to {}: {error}",
            from.display(),
            to.display()
        ))
    };
    let bytes = std::fs::read(from).map_err(failed)?;
    if std::fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        make_dir(folder)?;
    }
    // Not over the old file: a program under Wine may have it mapped.
    let new = to.with_extension("new");
    std::fs::write(&new, bytes)
        .and_then(|()| std::fs::rename(&new, to))
        .map_err(failed)
}

/// Moves what is whole to its place: an interrupted linker leaves nothing there that looks ready.
fn finish(made: &Path, to: &Path) -> Result<(), Failure> {
    if let Some(folder) = to.parent() {
        make_dir(folder)?;
    }
    std::fs::rename(made, to).map_err(|error| {
        Failure::Failed(format!(
            "cannot move {} to {}: {error}",
            made.display(),
            to.display()
        ))
    })
}

fn remove(file: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::Failed(
            format!("cannot remove {}: {error}", file.display()),
        )),
        _ => Ok(()),
    }
}

fn make_dir(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::Failed(format!("cannot make {}: {error}", folder.display())))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
