// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::initiator::Portal;
use crate::interrupt::Interrupt;
use crate::process::{Service, run};
use anyhow::{Context as _, bail};
use array_api::Enrolment;
use serde::Deserialize;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long the daemon may take to start, and a command of its CLI to end.
const LIMIT: Duration = Duration::from_secs(60);
/// How often a wait for the daemon looks whether it still runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The daemon and its command line.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `shadowlund`.
    pub daemon: PathBuf,
    /// `shadowlun`.
    pub cli: PathBuf,
}

impl Binaries {
    /// Finds them in `folder`, or beside the running program (for a test: in the folder of the build).
    ///
    /// # Errors
    /// With the command that makes them, when one is missing.
    pub fn find(folder: Option<&Path>) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => beside(&std::env::current_exe()?),
        };
        let binaries = Self {
            daemon: folder.join("shadowlund"),
            cli: folder.join("shadowlun"),
        };
        for file in [&binaries.daemon, &binaries.cli] {
            if !file.is_file() {
                bail!(
                    "{} is missing; run `cargo build --workspace --bins` first",
                    file.display()
                );
            }
        }
        Ok(binaries)
    }
}

/// The folder of a program; test programs live one folder deeper, in `deps`.
pub(crate) fn beside(program: &Path) -> PathBuf {
    let folder = program.parent().unwrap_or(Path::new("."));
    match folder.parent() {
        Some(up) if folder.ends_with("deps") => up.to_owned(),
        _ => folder.to_owned(),
    }
}

/// A host as the daemon knows it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name in the array's catalogue.
    pub name: String,
    /// Initiator name.
    pub iqn: String,
    /// What its provider needs.
    pub enrolment: Enrolment,
}

/// How much the array holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// LUNs of all kinds.
    pub lun_count: usize,
    /// Bytes of the store in use.
    pub used_bytes: u64,
}

/// A running `shadowlund` with a store of its own.
pub struct Daemon {
    service: Service,
    binaries: Binaries,
    socket: PathBuf,
    status: Status,
    interrupt: Interrupt,
}

/// The part of `shadowlun status --json` that the rig needs.
#[derive(Clone, Debug, Deserialize)]
struct Status {
    api_address: SocketAddr,
    iscsi_addresses: Vec<SocketAddr>,
    target_iqn: String,
    capacity_bytes: u64,
    free_bytes: u64,
    luns: usize,
}

impl Daemon {
    /// Writes a configuration into `folder`, starts the daemon with it and waits until it is ready. All ports are chosen
    /// by the system.
    pub fn start(
        binaries: &Binaries,
        folder: &Path,
        capacity: &str,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let state_dir = folder.join("array");
        let config = folder.join("shadowlund.toml");
        std::fs::write(
            &config,
            format!(
                "state_dir = {:?}\nname = \"demo\"\n\n[store]\ncapacity = {capacity:?}\n\n\
                 [api]\nlisten = \"127.0.0.1:0\"\n\n[iscsi]\nlisten = [\"127.0.0.1:0\"]\n",
                state_dir.to_string_lossy()
            ),
        )?;
        let mut command = Command::new(&binaries.daemon);
        command.arg("--config").arg(&config).stdout(Stdio::piped());
        let log = folder.join("shadowlund.log");
        let mut service = Service::start("shadowlund", command, &log)?;
        let lines = lines_of(service.take_stdout());
        await_ready(&mut service, &lines, interrupt)?;
        let socket = state_dir.join("admin.sock");
        let status = serde_json::from_value(cli(binaries, &socket, interrupt, &["status"])?)
            .context("shadowlun status --json")?;
        Ok(Self {
            service,
            binaries: binaries.clone(),
            socket,
            status,
            interrupt: interrupt.clone(),
        })
    }

    /// Runs `shadowlun --json` with these arguments.
    pub fn cli(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        cli(&self.binaries, &self.socket, &self.interrupt, arguments)
    }

    /// Creates a thin LUN, mapped to `host`.
    pub fn create_lun(&self, name: &str, size: &str, host: &str) -> anyhow::Result<()> {
        self.cli(&["lun", "create", name, size, "--host", host])
            .map(|_| ())
    }

    /// Adds a host and gives what its provider and its initiator need.
    pub fn add_host(&self, name: &str, iqn: &str) -> anyhow::Result<Host> {
        self.add_host_with(name, iqn, &[])
    }

    /// The same for a host that may overwrite its LUNs with copies.
    pub fn add_resync_host(&self, name: &str, iqn: &str) -> anyhow::Result<Host> {
        self.add_host_with(name, iqn, &["--allow-resync"])
    }

    fn add_host_with(&self, name: &str, iqn: &str, options: &[&str]) -> anyhow::Result<Host> {
        let all = [&["host", "add", name, "--iqn", iqn], options].concat();
        let added = self.cli(&all)?;
        let line = added["enrolment"]
            .as_str()
            .context("shadowlun host add printed no enrolment line")?;
        Ok(Host {
            name: name.to_owned(),
            iqn: iqn.to_owned(),
            enrolment: line.parse()?,
        })
    }

    /// Where `host`'s initiator logs in.
    pub fn portal(&self, host: &Host) -> anyhow::Result<Portal> {
        Ok(Portal {
            address: *self
                .status
                .iscsi_addresses
                .first()
                .context("the daemon has no portal")?,
            target: self.status.target_iqn.clone(),
            initiator: host.iqn.clone(),
        })
    }

    /// Where the management interface listens.
    pub fn api_address(&self) -> SocketAddr {
        self.status.api_address
    }

    /// The admin socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The programs that this daemon belongs to.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Counts, as the daemon's administrator sees them.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let status: Status = serde_json::from_value(self.cli(&["status"])?)?;
        Ok(Usage {
            lun_count: status.luns,
            used_bytes: status.capacity_bytes.saturating_sub(status.free_bytes),
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// `Err` with the end of its log when the daemon has ended by itself.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        self.service.check_alive()
    }

    /// Lets the daemon live on after the rig.
    pub fn release(mut self) {
        self.service.release();
    }
}

fn cli(
    binaries: &Binaries,
    socket: &Path,
    interrupt: &Interrupt,
    arguments: &[&str],
) -> anyhow::Result<Value> {
    let socket = socket.to_string_lossy();
    let all = [&["--socket", &socket, "--json"], arguments].concat();
    let output = run(interrupt, LIMIT, &binaries.cli, all)?;
    serde_json::from_str(&output)
        .with_context(|| format!("`shadowlun {}` printed no JSON", arguments.join(" ")))
}

fn lines_of(output: Option<ChildStdout>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(output) = output {
        // Reads until the daemon ends, so that the daemon never meets a closed or full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    receiver
}

fn await_ready(
    service: &mut Service,
    lines: &Receiver<String>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        interrupt.check()?;
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(line) if line.starts_with("ready") => return Ok(()),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => service.check_alive()?,
            Err(RecvTimeoutError::Disconnected) => {
                service.wait(Duration::from_secs(5));
                service.check_alive()?;
                bail!("shadowlund closed its output before it was ready");
            }
        }
        if start.elapsed() > LIMIT {
            bail!("shadowlund was not ready within {} s", LIMIT.as_secs());
        }
    }
}
