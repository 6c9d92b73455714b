// SPDX-License-Identifier: MIT OR Apache-2.0
use super::WindowsParts;
use crate::com::ComProvider;
use crate::interrupt::Interrupt;
use anyhow::bail;
use array_api::Enrolment;
use std::collections::BTreeSet;

/// One Windows host: a Wine prefix with the stand-in for VSS, and the provider's files copied but not installed.
///
/// Dropping it ends everything in the prefix and removes it.
pub struct WineHost {}

/// How the provider is registered (`shadowlun-provider install --hosting`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// A Windows service that COM starts.
    Service,
    /// A program that COM starts.
    LocalServer,
}

/// What a Windows program left.
#[derive(Clone, Debug)]
pub struct CommandOutput {
    /// Exit code.
    pub code: i32,
    /// Standard output and standard error.
    pub text: String,
}

impl WineHost {
    /// Starts a host. Takes about 3 s; the first ever takes longer, since the template of all prefixes is made.
    pub fn start(_parts: &WindowsParts, _interrupt: &Interrupt) -> anyhow::Result<Self> {
        bail!("Wine hosts are not there yet")
    }

    /// Runs `shadowlun-provider.exe` to its end.
    ///
    /// # Errors
    /// When it could not be run; another exit code than 0 is an answer.
    pub fn provider_command(
        &self,
        _arguments: &[&str],
        _stdin: Option<&str>,
    ) -> anyhow::Result<CommandOutput> {
        bail!("Wine hosts are not there yet")
    }

    /// `shadowlun-provider install`, which has to succeed.
    pub fn install(&self, _hosting: Hosting) -> anyhow::Result<()> {
        bail!("Wine hosts are not there yet")
    }

    /// `shadowlun-provider enroll -`, which has to succeed; the line goes through standard input.
    pub fn enroll(&self, _enrolment: &Enrolment) -> anyhow::Result<()> {
        bail!("Wine hosts are not there yet")
    }

    /// `shadowlun-provider uninstall`, which has to succeed.
    pub fn uninstall(&self) -> anyhow::Result<()> {
        bail!("Wine hosts are not there yet")
    }

    /// Activates the provider as VSS does.
    pub fn load(&self) -> anyhow::Result<ComProvider> {
        bail!("Wine hosts are not there yet")
    }

    /// Every key and value of the registry that an installer may touch, one text each.
    pub fn registry(&self) -> anyhow::Result<BTreeSet<String>> {
        bail!("Wine hosts are not there yet")
    }

    /// What VSS knows of its providers, one text each: `{id} | name | type | version | {version id} | {class id}`.
    pub fn providers(&self) -> anyhow::Result<Vec<String>> {
        bail!("Wine hosts are not there yet")
    }

    /// Process ids of the provider, as Linux sees them.
    pub fn provider_pids(&self) -> anyhow::Result<Vec<u32>> {
        bail!("Wine hosts are not there yet")
    }

    /// Kills the provider's process (SIGKILL); the next [`Self::load`] starts another one.
    pub fn kill_provider(&self) -> anyhow::Result<()> {
        bail!("Wine hosts are not there yet")
    }

    /// Ends everything of the prefix, checks that nothing is left, and removes it.
    pub fn end(self) -> anyhow::Result<()> {
        bail!("Wine hosts are not there yet")
    }
}
