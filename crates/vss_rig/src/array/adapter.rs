// SPDX-License-Identifier: MIT OR Apache-2.0
//! An array and a provider that the rig knows only through a vendor's adapter (`docs/rig.md`): a file that says how the provider is
//! installed, and a program that works the array.

use super::{ArrayUnderTest, CREATOR, CopyKind, Fault, IMPORTER, ORIGINAL_BYTES, ORIGINAL_COUNT};
use crate::com::ComProvider;
use crate::host::ProviderHost;
use crate::interrupt::Interrupt;
use crate::process::spawn_apart;
#[cfg(windows)]
use crate::this_machine::{ThisMachine as WindowsHost, WindowsParts};
#[cfg(target_os = "linux")]
use crate::wine::{WindowsParts, WineHost as WindowsHost};
use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;
use vss_provider::LunDescription;

/// The hosts that the rig has: under Wine as many as it likes, on Windows the machine that it runs on.
const HOSTS: &[&str] = match cfg!(windows) {
    true => &[CREATOR],
    false => &[CREATOR, IMPORTER],
};
/// Whether a host goes away with the rig, with all that was installed on it.
const IS_DISPOSABLE: bool = !cfg!(windows);

/// How long the array's program may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// The same once a signal came: it is asked to put things in order, and no more.
const LAST_ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to remove what it made.
const END_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The adapter file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    provider: ProviderPart,
    array: ArrayPart,
    /// Where the file is: paths in it are relative to its folder.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderPart {
    /// Registers the provider on a Windows host: program and arguments.
    install: Vec<String>,
    /// Takes it away.
    uninstall: Vec<String>,
    /// Where the provider writes its events as lines of JSON, on drive C:, with slashes.
    event_file: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrayPart {
    /// The program that works the array, and its arguments.
    command: Vec<String>,
    /// What its copies are.
    #[serde(default)]
    copies: CopyKind,
}

impl Adapter {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read or does not fit.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the adapter {shown}"))?;
        let mut adapter: Self =
            toml::from_str(&text).with_context(|| format!("the adapter {shown} does not fit"))?;
        let commands = [
            ("provider.install", &adapter.provider.install),
            ("provider.uninstall", &adapter.provider.uninstall),
            ("array.command", &adapter.array.command),
        ];
        for (name, command) in commands {
            ensure!(
                !command.is_empty(),
                "{name} in the adapter {shown} is empty"
            );
        }
        adapter.folder = std::path::absolute(file)?
            .parent()
            .context("a file without a folder")?
            .to_owned();
        Ok(adapter)
    }
}

/// The program that works the array: a line of JSON to its standard input, a line back. It ends when its input does.
struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    /// The lines that it writes; closed when it ends.
    lines: Receiver<String>,
    interrupt: Interrupt,
    /// What it was asked and cannot do, since somebody looked.
    cannot: Option<String>,
    /// Why it is of no use any more.
    broken: Option<String>,
}

/// What the program answers.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Ok(Value),
    Error(String),
    Cannot(String),
}

impl Worker {
    fn start(adapter: &Adapter, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let (program, arguments) = adapter.array.command.split_first().context("no program")?;
        // A path is the adapter's; a name alone is looked for as a shell would.
        let at = match program.contains(std::path::is_separator) {
            true => adapter.folder.join(program),
            false => program.into(),
        };
        let mut command = Command::new(at);
        command
            .args(arguments)
            .current_dir(&adapter.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = spawn_apart(&mut command)
            .with_context(|| format!("the adapter's program {program}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no pipe")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut lines = output.lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        Ok(Self {
            child,
            input,
            lines,
            interrupt: interrupt.clone(),
            cannot: None,
            broken: None,
        })
    }

    fn ask<T: DeserializeOwned>(&mut self, question: &Value) -> anyhow::Result<T> {
        if let Some(why) = &self.broken {
            bail!("{why}");
        }
        match self.exchange(question) {
            Ok(Reply::Ok(value)) => serde_json::from_value(value)
                .with_context(|| format!("the adapter's answer to {question} has another form")),
            Ok(Reply::Error(why)) => bail!("the adapter failed at {question}: {why}"),
            Ok(Reply::Cannot(what)) => {
                let why = format!("the adapter cannot {what}");
                self.cannot = Some(why.clone());
                bail!("{why}")
            }
            Err(error) => {
                let why = format!("the adapter's program gave no answer to {question}: {error:#}");
                self.broken = Some(why.clone());
                bail!("{why}")
            }
        }
    }

    fn exchange(&mut self, question: &Value) -> anyhow::Result<Reply> {
        let input = self.input.as_mut().context("its input is closed")?;
        let sent = writeln!(input, "{question}").and_then(|()| input.flush());
        // One that has ended takes no question.
        let line = match sent {
            Ok(()) => self.next_line()?,
            Err(_) => None,
        };
        let Some(line) = line else {
            self.input = None;
            bail!("it has ended ({})", self.child.wait()?);
        };
        serde_json::from_str(&line).with_context(|| format!("it wrote {line:?}"))
    }

    /// `None` when it has ended.
    fn next_line(&self) -> anyhow::Result<Option<String>> {
        let start = Instant::now();
        loop {
            match self.lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let limit = match self.interrupt.is_set() {
                true => LAST_ANSWER_LIMIT,
                false => ANSWER_LIMIT,
            };
            let seconds = limit.as_secs();
            ensure!(start.elapsed() < limit, "none came within {seconds} s");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        // It ends with its input, and removes what it made.
        let limit = match self.broken {
            None => END_LIMIT,
            Some(_) => LAST_ANSWER_LIMIT,
        };
        let patient = Interrupt::default();
        let ended = patient.wait_until(limit, || !matches!(self.child.try_wait(), Ok(None)));
        if !matches!(ended, Ok(true)) {
            eprintln!("the adapter's program did not end with its input, and is ended");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A Windows host with the vendor's provider on it.
struct ProviderHostMachine {
    name: &'static str,
    /// `None` once it has ended in order.
    host: Option<WindowsHost>,
    uninstall: Vec<String>,
}

impl ProviderHostMachine {
    /// Starts a host, has the adapter put the provider's files there, and installs it.
    fn start(
        name: &'static str,
        adapter: &Adapter,
        parts: &WindowsParts,
        worker: &mut Worker,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let host = WindowsHost::without_provider(parts, &adapter.provider.event_file, interrupt)?;
        worker.ask::<Value>(&json!({"do": "host", "host": name, "drive_c": host.drive_c()}))?;
        let machine = Self {
            name,
            host: Some(host),
            uninstall: adapter.provider.uninstall.clone(),
        };
        run(machine.host()?, &adapter.provider.install).context("provider.install")?;
        Ok(machine)
    }

    /// Activates the provider. Where that fails, what VSS has registered tells a wrong class from an installation that does nothing.
    fn load(&self, class: Uuid) -> anyhow::Result<ComProvider> {
        let host = self.host()?;
        host.load_class(class).with_context(|| {
            let known = host.providers().map(|known| match known.is_empty() {
                true => "VSS has no provider registered".to_owned(),
                false => format!("VSS has registered: {}", known.join("; ")),
            });
            let known = known.unwrap_or_else(|error| format!("{error:#}"));
            format!("on {}, after provider.install: {known}", self.name)
        })
    }

    fn host(&self) -> anyhow::Result<&WindowsHost> {
        self.host.as_ref().context("the host has ended")
    }

    fn end(mut self) -> anyhow::Result<()> {
        let Some(host) = self.host.take() else {
            return Ok(());
        };
        let uninstalled = run(&host, &self.uninstall).context("provider.uninstall");
        let ended = host.end();
        uninstalled.and(ended).context(self.name)
    }
}

impl Drop for ProviderHostMachine {
    /// A run that was broken off leaves no provider on a machine that stays.
    fn drop(&mut self) {
        if let Some(host) = self.host.take()
            && !IS_DISPOSABLE
            && let Err(error) = run(&host, &self.uninstall)
        {
            eprintln!("the provider could not be uninstalled: {error:#}");
        }
    }
}

fn run(host: &WindowsHost, command: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no program")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    host.run_program(program, &arguments)
}

/// The vendor's array, with the vendor's provider on each host that the rig has.
pub struct AdapterArray {
    // Dropped in this order: the providers' hosts, then the array.
    hosts: Vec<ProviderHostMachine>,
    worker: Mutex<Worker>,
    class: Uuid,
    originals: Vec<LunDescription>,
    copy_kind: CopyKind,
}

impl AdapterArray {
    /// Has the array made, and the provider installed on the hosts.
    ///
    /// # Errors
    /// Something of it failed.
    pub fn start(
        adapter: &Adapter,
        class: Uuid,
        parts: &WindowsParts,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let mut worker = Worker::start(adapter, interrupt)?;
        worker.ask::<Value>(&json!({
            "do": "start",
            "hosts": HOSTS,
            "luns": ORIGINAL_COUNT,
            "lun_bytes": ORIGINAL_BYTES,
        }))?;
        let mut hosts = Vec::new();
        for name in HOSTS {
            let host = ProviderHostMachine::start(name, adapter, parts, &mut worker, interrupt);
            hosts.push(host.with_context(|| format!("host {name}"))?);
        }
        let mut array = Self {
            hosts,
            worker: Mutex::new(worker),
            class,
            originals: Vec::new(),
            copy_kind: adapter.array.copies,
        };
        array.originals = array.disks(CREATOR)?;
        ensure!(
            array.originals.len() == ORIGINAL_COUNT,
            "the adapter shows {} disks to {CREATOR}, not {ORIGINAL_COUNT}",
            array.originals.len()
        );
        Ok(array)
    }

    /// What was asked since the last call and cannot be done: the case that asked says nothing about the provider.
    pub fn take_cannot(&self) -> Option<String> {
        self.worker().cannot.take()
    }

    /// Uninstalls the provider and ends the hosts, and looks that nothing is left of them.
    ///
    /// # Errors
    /// Something is.
    pub fn end(self) -> anyhow::Result<()> {
        self.hosts
            .into_iter()
            .try_for_each(ProviderHostMachine::end)
    }

    fn worker(&self) -> MutexGuard<'_, Worker> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T: DeserializeOwned>(&self, question: &Value) -> anyhow::Result<T> {
        self.worker().ask(question)
    }

    /// As [`Self::ask`], about a host.
    fn ask_of<T: DeserializeOwned>(&self, host: &str, question: &Value) -> anyhow::Result<T> {
        self.machine(host)?;
        self.ask(question)
    }

    /// One that is not there leaves [`Self::take_cannot`].
    fn machine(&self, name: &str) -> anyhow::Result<&ProviderHostMachine> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.with_context(|| {
            let why = "there is no second Windows host: on Windows the rig has the machine that it runs on";
            self.worker().cannot = Some(why.to_owned());
            why
        })
    }
}

impl ArrayUnderTest for AdapterArray {
    fn copy_kind(&self) -> CopyKind {
        self.copy_kind
    }

    fn releases_late(&self) -> bool {
        true
    }

    fn failure(&self) -> Option<String> {
        let of = |machine: &ProviderHostMachine| {
            let why = machine.host.as_ref()?.failure()?;
            Some(format!("{}: {why}", machine.name))
        };
        self.hosts.iter().find_map(of)
    }

    fn provider(&self, host: &str) -> anyhow::Result<Box<dyn ProviderHost>> {
        Ok(Box::new(self.machine(host)?.load(self.class)?))
    }

    fn originals(&self) -> &[LunDescription] {
        &self.originals
    }

    fn disks(&self, host: &str) -> anyhow::Result<Vec<LunDescription>> {
        self.ask_of(host, &json!({"do": "disks", "host": host}))
    }

    fn lun_count(&self) -> anyhow::Result<usize> {
        self.ask(&json!({"do": "count"}))
    }

    fn write_and_read_back(&self, host: &str, disk: &LunDescription) -> anyhow::Result<()> {
        let contents = Uuid::new_v4().simple().to_string();
        let question = json!({"do": "write", "host": host, "disk": disk, "contents": contents});
        self.ask_of::<Value>(host, &question)?;
        let read = self.contents(host, disk)?;
        ensure!(read == contents.as_bytes(), "the disk did not keep a write");
        Ok(())
    }

    fn contents(&self, host: &str, disk: &LunDescription) -> anyhow::Result<Vec<u8>> {
        let question = json!({"do": "read", "host": host, "disk": disk});
        let contents: String = self.ask_of(host, &question)?;
        Ok(contents.into_bytes())
    }

    /// One that the adapter cannot make leaves [`Self::take_cannot`].
    fn fault(&self, fault: Fault) {
        let question = match fault {
            Fault::Down => json!({"do": "fault", "fault": "down"}),
            Fault::Hang => json!({"do": "fault", "fault": "hang"}),
            Fault::Lost => json!({"do": "fault", "fault": "lost"}),
            Fault::Slow(time) => {
                json!({"do": "fault", "fault": "slow", "milliseconds": time.as_millis()})
            }
        };
        self.tell(&question);
    }

    fn keep_preparing(&self) {
        self.tell(&json!({"do": "fault", "fault": "preparing"}));
    }

    fn heal(&self) {
        self.tell(&json!({"do": "heal"}));
    }

    fn remove_lun(&self, disk: &LunDescription) -> anyhow::Result<()> {
        self.ask::<Value>(&json!({"do": "remove", "disk": disk}))?;
        Ok(())
    }

    fn traffic(&self) -> u64 {
        self.ask(&json!({"do": "traffic"})).unwrap_or_default()
    }
}

impl AdapterArray {
    /// For questions of which the trait wants no answer: a failure breaks the worker, so that the next question tells it.
    fn tell(&self, question: &Value) {
        let mut worker = self.worker();
        let told = worker.ask::<Value>(question);
        if let Err(error) = told
            && worker.cannot.is_none()
        {
            worker.broken.get_or_insert_with(|| format!("{error:#}"));
        }
    }
}
