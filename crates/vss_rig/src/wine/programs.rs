// SPDX-License-Identifier: MIT OR Apache-2.0
use super::keeper::pids_of;
use crate::CommandOutput;
use crate::interrupt::Interrupt;
use crate::process::{append, find_tool, run_windows_program, wait_for};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where Debian keeps Wine's own programs; what it puts into PATH are scripts around them.
const DEBIAN: &str = "/usr/lib/wine";

/// Wine's loader and its server.
#[derive(Clone, Debug)]
pub(super) struct WinePrograms {
    pub(super) wine: PathBuf,
    pub(super) server: PathBuf,
}

impl WinePrograms {
    /// Finds them.
    pub(super) fn find() -> anyhow::Result<Self> {
        let find = |names: [&str; 2]| {
            let in_debian = || names.map(|name| Path::new(DEBIAN).join(name));
            let debian = in_debian().into_iter().find(|file| file.is_file());
            debian.or_else(|| names.into_iter().find_map(find_tool))
        };
        match (
            find(["wine64", "wine"]),
            find(["wineserver64", "wineserver"]),
        ) {
            (Some(wine), Some(server)) => Ok(Self { wine, server }),
            _ => bail!("Wine is missing; install it with `cargo xtask setup` (Debian: wine64)"),
        }
    }

    /// What tells one release of Wine from another.
    pub(super) fn version(&self) -> anyhow::Result<String> {
        let output = Command::new(&self.wine)
            .arg("--version")
            .env_remove("DISPLAY")
            .output()
            .with_context(|| format!("cannot start {}", self.wine.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
        Ok(text.chars().filter(|c| kept(*c)).collect())
    }
}

/// A folder with a Wine prefix in it, and what runs there. Nobody but its owner uses it.
pub(super) struct Prefix {
    programs: WinePrograms,
    /// Holds the prefix, the log and Wine's sockets.
    folder: PathBuf,
}

impl Prefix {
    pub(super) fn new(programs: &WinePrograms, folder: &Path) -> Self {
        Self {
            programs: programs.clone(),
            folder: folder.to_owned(),
        }
    }

    /// WINEPREFIX.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("prefix")
    }

    /// A file of drive C:, by its path with slashes.
    pub(super) fn drive_c(&self, path: &str) -> PathBuf {
        self.path().join("drive_c").join(path)
    }

    /// Where all Windows programs write what nobody asked for.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("wine.log")
    }

    /// A Windows program, ready to be started: what it prints goes to the log. A pipe would be inherited by Wine's services,
    /// which keep it open.
    pub(super) fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.programs.wine);
        self.environment(&mut command);
        command
            .arg(program)
            .stdin(Stdio::null())
            .stdout(append(&self.log())?)
            .stderr(append(&self.log())?);
        Ok(command)
    }

    /// Runs a Windows program to its end, `input` on its standard input.
    pub(super) fn run(
        &self,
        interrupt: &Interrupt,
        limit: Duration,
        program: &str,
        arguments: &[&str],
        input: Option<&str>,
    ) -> anyhow::Result<CommandOutput> {
        let mut command = self.command(program)?;
        command.args(arguments);
        run_windows_program(command, &self.folder, interrupt, limit, input)
    }

    /// Waits until nothing runs in the prefix any more and the registry is on disk.
    pub(super) fn wait_idle(&self, interrupt: &Interrupt, limit: Duration) -> anyhow::Result<()> {
        let mut command = Command::new(&self.programs.server);
        self.environment(&mut command);
        command
            .arg("-w")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match wait_for(interrupt, limit, command, None)? {
            0 => Ok(()),
            code => bail!("wineserver -w ended with {code}"),
        }
    }

    /// Process ids of the prefix whose command line names `program`.
    pub(super) fn pids(&self, program: &str) -> anyhow::Result<Vec<u32>> {
        let pids = pids_of(&self.path())?.into_iter();
        Ok(pids
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(program)
            })
            .collect())
    }

    fn environment(&self, command: &mut Command) {
        environment(command, &self.programs, &self.folder, &self.path());
    }
}

/// What each of Wine's programs gets. `folder` takes Wine's sockets, which else stay in /tmp.
pub(super) fn environment(
    command: &mut Command,
    programs: &WinePrograms,
    folder: &Path,
    prefix: &Path,
) {
    command
        .env("WINEPREFIX", prefix)
        .env("WINEARCH", "win64")
        .env("WINEDEBUG", "-all")
        .env("WINESERVER", &programs.server)
        .env("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe=")
        .env("TMPDIR", folder)
        // Wine links the user's folders into each prefix.
        .env("HOME", "/nonexistent")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY");
}
