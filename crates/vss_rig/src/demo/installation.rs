// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps that only the provider's real executable has: a Windows host under Wine, installation and removal.

use super::Sabotage;
use super::checks::{Checks, Found};
use super::steps::Steps;
use super::world::World;
use crate::com::ComProvider;
use crate::interrupt::Interrupt;
use crate::wine::{Hosting, WindowsParts, WineHost};
use anyhow::{Context as _, anyhow};
use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::Duration;

/// The provider's id in VSS and its COM class, which no version may change (REG-16).
pub(crate) const PROVIDER_ID: &str = "28ea8399-c98f-4f97-b0d1-6b3d187c8045";
pub(crate) const CLASS_ID: &str = "2c7f1ed9-9c5e-439a-8d23-55efdae102c3";
/// How long the provider's process may go on after uninstall.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How many registry entries a failed check shows.
const SHOWN_ENTRIES_MAX: usize = 8;

/// Name of the check that catches the sabotage of this name.
pub(super) const REGISTRY: &str = "the registry is as it was before install";

/// A Windows host that comes up while something else goes on.
pub(super) struct Starting(Option<JoinHandle<anyhow::Result<WineHost>>>);

impl Starting {
    pub(super) fn begin(parts: &WindowsParts, interrupt: &Interrupt) -> Self {
        let (parts, interrupt) = (parts.clone(), interrupt.clone());
        Self(Some(std::thread::spawn(move || {
            WineHost::start(&parts, &interrupt)
        })))
    }

    /// The step of the installation begins with the host being there.
    pub(super) fn wait(mut self, steps: &Steps<'_>) -> anyhow::Result<WineHost> {
        steps.next("Windows host under Wine: shadowlun-provider.exe install, enroll, status");
        let thread = self.0.take().context("the host was taken before")?;
        thread
            .join()
            .map_err(|_| anyhow!("starting the Windows host ended in a panic"))?
            .context("Windows host under Wine")
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // The thread ends what it started; the program must not end before it has.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

/// A Windows host on which the provider is installed and enrolled.
pub(super) struct Installed {
    windows: WineHost,
    registry_before: BTreeSet<String>,
}

impl Installed {
    /// Installs and enrols with the real executable's own commands.
    pub(super) fn install(
        windows: WineHost,
        world: &World,
        checks: &mut Checks<'_>,
    ) -> anyhow::Result<Self> {
        let registry_before = windows.registry()?;
        windows.install(Hosting::Service)?;
        checks.add("install: VSS knows one provider, ours", || {
            Ok(one_provider(&windows.providers()?))
        });
        windows.enroll(&world.enrolment)?;
        checks.add("status finds everything in order", || {
            let status = windows.provider_command(&["status"], None)?;
            Ok(match status.code {
                0 => Ok("exit code 0".to_owned()),
                code => Err(format!("exit code {code}: {}", status.text)),
            })
        });
        Ok(Self {
            windows,
            registry_before,
        })
    }

    /// CoCreateInstance.
    pub(super) fn load(&self) -> anyhow::Result<ComProvider> {
        self.windows.load()
    }

    /// Where the provider runs.
    pub(super) fn provider_pids(&self) -> anyhow::Result<Vec<u32>> {
        self.windows.provider_pids()
    }

    /// Uninstalls, looks at what is left, and ends Wine.
    pub(super) fn remove(
        self,
        world: &World,
        sabotage: Option<Sabotage>,
        checks: &mut Checks<'_>,
    ) -> anyhow::Result<()> {
        let Self {
            windows,
            registry_before,
        } = self;
        windows.uninstall()?;
        if sabotage == Some(Sabotage::Registry) {
            leave_a_key(&windows)?;
        }
        checks.add("uninstall: VSS knows no provider", || {
            let left = windows.providers()?;
            Ok(match left.is_empty() {
                true => Ok("none".to_owned()),
                false => Err(left.join(", ")),
            })
        });
        checks.add(REGISTRY, || {
            Ok(same_registry(&registry_before, &windows.registry()?))
        });
        checks.add("no process of the provider is left", || {
            let mut pids = Ok(Vec::new());
            let none = world.interrupt.wait_until(END_LIMIT, || {
                pids = windows.provider_pids();
                matches!(&pids, Ok(pids) if pids.is_empty())
            })?;
            Ok(match none {
                true => Ok("none".to_owned()),
                false => Err(format!("process {:?}", pids?)),
            })
        });
        checks.add("nothing of Wine is left", || {
            windows.end()?;
            Ok(Ok("no process, no file".to_owned()))
        });
        Ok(())
    }
}

/// `--sabotage=registry`: what an installer that forgets a key would leave.
fn leave_a_key(windows: &WineHost) -> anyhow::Result<()> {
    let key = format!("HKLM\\Software\\Classes\\CLSID\\{{{CLASS_ID}}}\\Forgotten");
    windows.run_program("reg.exe", &["add", &key, "/f"])
}

fn one_provider(providers: &[String]) -> Found {
    let is_ours = |line: &str| {
        let line = line.to_lowercase();
        line.contains(PROVIDER_ID) && line.contains(CLASS_ID)
    };
    match providers {
        [line] if is_ours(line) => Ok(line.clone()),
        _ => Err(format!("{providers:?}")),
    }
}

fn same_registry(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Found {
    let left = after.difference(before).map(|entry| format!("+ {entry}"));
    let lost = before.difference(after).map(|entry| format!("- {entry}"));
    let changes: Vec<_> = left.chain(lost).collect();
    match changes.len() {
        0 => Ok(format!("{} entries", after.len())),
        count => {
            let shown = &changes[..count.min(SHOWN_ENTRIES_MAX)];
            Err(format!("{count} changes: {}", shown.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(entries: &[&str]) -> BTreeSet<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn same_registry_shows_what_was_left_and_what_was_lost() {
        let before = entries(&["a", "b"]);

        assert!(same_registry(&before, &before).is_ok());
        let found = same_registry(&before, &entries(&["b", "c"])).unwrap_err();
        assert_eq!(found, "2 changes: + c; - a");
    }

    #[test]
    fn one_provider_wants_exactly_ours() {
        let ours = format!("{{{PROVIDER_ID}}} | name | {{{}}}", CLASS_ID.to_uppercase());

        assert!(one_provider(std::slice::from_ref(&ours)).is_ok());
        assert!(one_provider(&[]).is_err());
        assert!(one_provider(&[ours, "another".to_owned()]).is_err());
        assert!(one_provider(&["another".to_owned()]).is_err());
    }
}
