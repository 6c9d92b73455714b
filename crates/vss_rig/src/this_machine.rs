// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Windows that the rig itself runs on as the only host: its own VSS, its own COM, and proxies that it has already.

use crate::com::ComProvider;
use crate::interrupt::Interrupt;
use crate::process::run_windows_program;
use crate::standin::StandIn;
use anyhow::ensure;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use uuid::Uuid;

const STANDIN: &str = "vss_standin.exe";
const DRIVE_C: &str = r"C:\";
/// How long a command of the provider may take: stopping a service has a limit of its own within.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The rig's program that makes the calls.
#[derive(Clone, Debug)]
pub struct WindowsParts {
    standin: PathBuf,
}

impl WindowsParts {
    /// Finds it in `folder`, or beside the running program.
    ///
    /// # Errors
    /// When it is not there.
    pub fn find_without_provider(folder: Option<&Path>) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let beside = program.parent().unwrap_or(&program);
        let standin = folder.unwrap_or(beside).join(STANDIN);
        ensure!(standin.is_file(), "{} is missing", standin.display());
        Ok(Self { standin })
    }
}

/// This machine. Nothing of it goes with the rig: what was installed has to be uninstalled.
pub struct ThisMachine {
    standin: StandIn,
    /// For what programs print.
    folder: tempfile::TempDir,
    event_file: PathBuf,
}

impl ThisMachine {
    /// Starts the stand-in; nothing is registered for it. `event_file` is where the provider will write its events, on drive C:.
    pub fn without_provider(
        parts: &WindowsParts,
        event_file: &str,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("standin.log");
        let standin = StandIn::start(Command::new(&parts.standin), &log, interrupt)?;
        Ok(Self {
            standin,
            folder,
            event_file: Path::new(DRIVE_C).join(event_file),
        })
    }

    /// Drive C:.
    pub fn drive_c(&self) -> PathBuf {
        PathBuf::from(DRIVE_C)
    }

    /// Runs a program, which has to succeed. Ctrl-C does not end it: an installer that is cut off leaves more behind than one that ends.
    pub fn run_program(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command.args(arguments);
        let patient = Interrupt::default();
        run_windows_program(command, self.folder.path(), &patient, COMMAND_LIMIT, None)?
            .expect_success(program)
    }

    /// Activates a provider by its class.
    pub fn load_class(&self, class: Uuid) -> anyhow::Result<ComProvider> {
        self.standin.load(class, &self.event_file)
    }

    /// What VSS knows of its providers, one text each: `{id} | name | type | version | {version id} | {class id}`.
    pub fn providers(&self) -> anyhow::Result<Vec<String>> {
        self.standin.providers()
    }

    /// Why an order could not be carried out, if one could not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.standin.failure()
    }

    /// Ends the stand-in.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.standin.close();
        Ok(self.folder.close()?)
    }
}
