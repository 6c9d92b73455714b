// SPDX-License-Identifier: MIT OR Apache-2.0
//! An array and a provider that the rig knows only through a vendor's adapter (`docs/rig.md`): a file that says how the provider is
//! installed, and a program that works the array.

use super::{ArrayUnderTest, CREATOR, CopyKind, Fault, IMPORTER, ORIGINAL_BYTES, ORIGINAL_COUNT};
use crate::host::ProviderHost;
use crate::interrupt::Interrupt;
use crate::wine::{WindowsParts, WineHost};
use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;
use vss_provider::LunDescription;

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
    output: BufReader<ChildStdout>,
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
    fn start(adapter: &Adapter) -> anyhow::Result<Self> {
        let (program, arguments) = adapter.array.command.split_first().context("no program")?;
        // A path is the adapter's; a name alone is looked for as a shell would.
        let at = match program.contains('/') {
            true => adapter.folder.join(program),
            false => program.into(),
        };
        let mut child = Command::new(at)
            .args(arguments)
            .current_dir(&adapter.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the adapter's program {program}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no pipe")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
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
                self.cannot = Some(what.clone());
                bail!("the adapter cannot do this: {what}")
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
        writeln!(input, "{question}")?;
        input.flush()?;
        let mut line = String::new();
        ensure!(self.output.read_line(&mut line)? > 0, "it has ended");
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        // It ends with its input, and removes what it made.
        let _ = self.child.wait();
    }
}

/// The vendor's array, with the vendor's provider on two Windows hosts.
pub struct AdapterArray {
    // Dropped in this order: the providers' hosts, then the array.
    creator: WineHost,
    importer: WineHost,
    worker: Mutex<Worker>,
    class: Uuid,
    originals: Vec<LunDescription>,
    uninstall: Vec<String>,
    copy_kind: CopyKind,
}

impl AdapterArray {
    /// Has the array made, and the provider installed on both hosts.
    pub fn start(
        adapter: &Adapter,
        class: Uuid,
        parts: &WindowsParts,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let mut worker = Worker::start(adapter)?;
        worker.ask::<Value>(&json!({
            "do": "start",
            "hosts": [CREATOR, IMPORTER],
            "luns": ORIGINAL_COUNT,
            "lun_bytes": ORIGINAL_BYTES,
        }))?;
        let mut ready = |name: &str| -> anyhow::Result<WineHost> {
            let event_file = &adapter.provider.event_file;
            let host = WineHost::without_provider(parts, event_file, interrupt)?;
            worker.ask::<Value>(&json!({
                "do": "host",
                "host": name,
                "drive_c": host.drive_c(),
            }))?;
            run(&host, &adapter.provider.install)?;
            Ok(host)
        };
        let (creator, importer) = (ready(CREATOR)?, ready(IMPORTER)?);
        let mut array = Self {
            creator,
            importer,
            worker: Mutex::new(worker),
            class,
            originals: Vec::new(),
            uninstall: adapter.provider.uninstall.clone(),
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

    /// What the adapter was asked since the last call and cannot do: the case that asked says nothing about the provider.
    pub fn take_cannot(&self) -> Option<String> {
        self.worker().cannot.take()
    }

    /// Uninstalls the provider and ends both hosts, and looks that nothing is left of them.
    pub fn end(self) -> anyhow::Result<()> {
        for host in [self.creator, self.importer] {
            run(&host, &self.uninstall).context("uninstalling")?;
            host.end()?;
        }
        Ok(())
    }

    fn worker(&self) -> MutexGuard<'_, Worker> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T: DeserializeOwned>(&self, question: &Value) -> anyhow::Result<T> {
        self.worker().ask(question)
    }
}

fn run(host: &WineHost, command: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("no program")?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    host.run_program(program, &arguments)
}

impl ArrayUnderTest for AdapterArray {
    fn copy_kind(&self) -> CopyKind {
        self.copy_kind
    }

    fn releases_late(&self) -> bool {
        true
    }

    fn provider(&self, host: &str) -> anyhow::Result<Box<dyn ProviderHost>> {
        let host = match host {
            CREATOR => &self.creator,
            IMPORTER => &self.importer,
            _ => bail!("no host {host}"),
        };
        Ok(Box::new(host.load_class(self.class)?))
    }

    fn originals(&self) -> &[LunDescription] {
        &self.originals
    }

    fn disks(&self, host: &str) -> anyhow::Result<Vec<LunDescription>> {
        self.ask(&json!({"do": "disks", "host": host}))
    }

    fn lun_count(&self) -> anyhow::Result<usize> {
        self.ask(&json!({"do": "count"}))
    }

    fn write_and_read_back(&self, host: &str, disk: &LunDescription) -> anyhow::Result<()> {
        let contents = Uuid::new_v4().simple().to_string();
        let question = json!({"do": "write", "host": host, "disk": disk, "contents": contents});
        self.ask::<Value>(&question)?;
        let read = self.contents(host, disk)?;
        ensure!(read == contents.as_bytes(), "the disk did not keep a write");
        Ok(())
    }

    fn contents(&self, host: &str, disk: &LunDescription) -> anyhow::Result<Vec<u8>> {
        let contents: String = self.ask(&json!({"do": "read", "host": host, "disk": disk}))?;
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
