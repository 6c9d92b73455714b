// SPDX-License-Identifier: MIT OR Apache-2.0
use super::WindowsParts;
use super::keeper;
use super::store::Run;
use super::usage::ProcessUse;
use crate::CommandOutput;
use crate::com::ComProvider;
use crate::interrupt::Interrupt;
use crate::standin::StandIn;
use anyhow::{Context as _, bail, ensure};
use array_api::Enrolment;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use uuid::Uuid;
use vss_standin::wire::{Answer, Order};

const STANDIN: &str = r"C:\rig\vss_standin.exe";
const PROVIDER: &str = r"C:\Program Files\Shadowlun\shadowlun-provider.exe";
const PROVIDER_FOLDER: &str = "Program Files/Shadowlun";
const DATA_FOLDER: &str = "ProgramData/Shadowlun";
const EVENT_FILE: &str = "events.jsonl";
/// How long a command of the provider may take: stopping a service has a limit of its own within.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// One Windows host: a Wine prefix with the stand-in for VSS, and the provider's files copied but not installed.
///
/// Dropping it ends everything in the prefix and removes it.
pub struct WineHost {
    standin: StandIn,
    run: Run,
    interrupt: Interrupt,
    /// What VSS has registered, once somebody asked; an installer changes it.
    class: Mutex<Option<Uuid>>,
    /// Where the provider writes its events, on drive C:, by its path with slashes.
    event_file: String,
}

/// How the provider is registered (`shadowlun-provider install --hosting`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// A Windows service that COM starts.
    Service,
    /// A program that COM starts.
    LocalServer,
}

impl Hosting {
    fn argument(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::LocalServer => "local-server",
        }
    }
}

impl WineHost {
    /// Starts a host. Takes about a second; the first ever takes longer, since the template of all prefixes is made.
    pub fn start(parts: &WindowsParts, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let host =
            Self::without_provider(parts, &format!("{DATA_FOLDER}/{EVENT_FILE}"), interrupt)?;
        let run = &host.run;
        let place = run.prefix.drive_c(PROVIDER_FOLDER);
        std::fs::create_dir_all(&place)?;
        for name in WindowsParts::PROVIDER {
            std::fs::copy(parts.file(name), place.join(name))
                .with_context(|| format!("cannot copy {name}"))?;
        }
        let data = run.prefix.drive_c(DATA_FOLDER);
        std::fs::create_dir_all(&data)?;
        std::fs::write(
            data.join("provider.toml"),
            format!("event_file = 'C:\\ProgramData\\Shadowlun\\{EVENT_FILE}'\n"),
        )?;
        Ok(host)
    }

    /// Starts a host with nothing of a provider on it. `event_file` is where its provider will write its events, on drive C:.
    pub fn without_provider(
        parts: &WindowsParts,
        event_file: &str,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let run = Run::start(parts, interrupt)?;
        Ok(Self {
            standin: start_standin(&run, interrupt)?,
            run,
            interrupt: interrupt.clone(),
            class: Mutex::default(),
            event_file: event_file.to_owned(),
        })
    }

    /// Runs `shadowlun-provider.exe` to its end.
    ///
    /// # Errors
    /// When it could not be run; another exit code than 0 is an answer.
    pub fn provider_command(
        &self,
        arguments: &[&str],
        stdin: Option<&str>,
    ) -> anyhow::Result<CommandOutput> {
        let prefix = &self.run.prefix;
        prefix.run(&self.interrupt, COMMAND_LIMIT, PROVIDER, arguments, stdin)
    }

    /// Drive C: as Linux sees it.
    pub fn drive_c(&self) -> PathBuf {
        self.run.prefix.drive_c("")
    }

    /// Runs a Windows program on the host, which has to succeed.
    pub fn run_program(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let prefix = &self.run.prefix;
        let output = prefix.run(&self.interrupt, COMMAND_LIMIT, program, arguments, None)?;
        output.expect_success(program)
    }

    /// `shadowlun-provider install`, which has to succeed.
    pub fn install(&self, hosting: Hosting) -> anyhow::Result<()> {
        self.succeed(&["install", "--hosting", hosting.argument()], None)
    }

    /// `shadowlun-provider enroll -`, which has to succeed; the line goes through standard input.
    pub fn enroll(&self, enrolment: &Enrolment) -> anyhow::Result<()> {
        self.succeed(&["enroll", "-"], Some(&format!("{enrolment}\r\n")))
    }

    /// `shadowlun-provider uninstall`, which has to succeed.
    pub fn uninstall(&self) -> anyhow::Result<()> {
        self.succeed(&["uninstall"], None)
    }

    fn succeed(&self, arguments: &[&str], stdin: Option<&str>) -> anyhow::Result<()> {
        *self.class() = None;
        let output = self.provider_command(arguments, stdin)?;
        output.expect_success(&format!("`shadowlun-provider {}`", arguments.join(" ")))
    }

    /// Activates the provider that VSS has registered, as VSS does.
    pub fn load(&self) -> anyhow::Result<ComProvider> {
        self.load_class(self.registered_class()?)
    }

    /// Activates a provider by its class.
    pub fn load_class(&self, class: Uuid) -> anyhow::Result<ComProvider> {
        self.standin.load(class, &self.event_file())
    }

    /// The class that VSS activates for the only provider that it knows.
    pub(crate) fn registered_class(&self) -> anyhow::Result<Uuid> {
        if let Some(class) = *self.class() {
            return Ok(class);
        }
        let providers = self.providers()?;
        let [provider] = &providers[..] else {
            bail!("VSS has not one provider but {providers:?}");
        };
        let class = provider.rsplit(" | ").next().unwrap_or_default();
        let class = Uuid::parse_str(class.trim())
            .with_context(|| format!("VSS has registered {provider}"))?;
        *self.class() = Some(class);
        Ok(class)
    }

    fn class(&self) -> std::sync::MutexGuard<'_, Option<Uuid>> {
        self.class.lock().expect("nothing panics under this lock")
    }

    /// Has the stand-in do something.
    pub(crate) fn order(&self, order: Order) -> anyhow::Result<Answer> {
        self.standin.order(order)
    }

    /// Why an order could not be carried out, if one could not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.standin.failure()
    }

    fn event_file(&self) -> PathBuf {
        self.run.prefix.drive_c(&self.event_file)
    }

    /// Every key and value of the registry that an installer may touch, one text each.
    pub fn registry(&self) -> anyhow::Result<BTreeSet<String>> {
        Ok(self.order(Order::Registry)?.texts.into_iter().collect())
    }

    /// What VSS knows of its providers, one text each: `{id} | name | type | version | {version id} | {class id}`.
    pub fn providers(&self) -> anyhow::Result<Vec<String>> {
        self.standin.providers()
    }

    /// WINEPREFIX of the host; it goes with the host.
    pub fn prefix(&self) -> PathBuf {
        self.run.prefix.path()
    }

    /// Process ids of the provider, as Linux sees them.
    pub fn provider_pids(&self) -> anyhow::Result<Vec<u32>> {
        self.run.prefix.pids("shadowlun-provider.exe")
    }

    /// What the provider's process has in use, with the descriptors that Wine's server holds, for it and for all others.
    ///
    /// # Errors
    /// When there is not exactly one.
    pub fn provider_use(&self) -> anyhow::Result<ProcessUse> {
        let [pid] = self.provider_pids()?[..] else {
            bail!(
                "not one provider is running but {:?}",
                self.provider_pids()?
            );
        };
        let mut used = ProcessUse::of(pid)?;
        for server in self.run.prefix.pids("wineserver")? {
            used.handles += ProcessUse::of(server)?.handles;
        }
        Ok(used)
    }

    /// Kills the stand-in (SIGKILL), as if VSS had died, and starts another one. What it held is lost to the rig.
    pub fn restart_standin(&mut self) -> anyhow::Result<()> {
        keeper::kill(self.standin.pid(), &self.interrupt)?;
        self.standin = start_standin(&self.run, &self.interrupt)?;
        Ok(())
    }

    /// Kills the provider's process (SIGKILL); the next [`Self::load`] starts another one.
    ///
    /// # Errors
    /// Also when none is running.
    pub fn kill_provider(&self) -> anyhow::Result<()> {
        let pids = self.provider_pids()?;
        ensure!(!pids.is_empty(), "no provider is running");
        // Wine's rpcss does not notice that a server is dead and hands its address out for ever. With it go all servers that it
        // knew: one that ends later, like the coordinator, would take back its number at the next rpcss, where it is another's.
        let prefix = &self.run.prefix;
        let others = prefix.pids("-Embedding")?.into_iter();
        for pid in pids
            .into_iter()
            .chain(others)
            .chain(prefix.pids("rpcss.exe")?)
        {
            keeper::kill(pid, &self.interrupt)?;
        }
        Ok(())
    }

    /// Ends everything of the prefix, checks that nothing is left, and removes it.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.standin.close();
        self.run.end()
    }
}

fn start_standin(run: &Run, interrupt: &Interrupt) -> anyhow::Result<StandIn> {
    StandIn::start(run.prefix.command(STANDIN)?, &run.prefix.log(), interrupt)
}
