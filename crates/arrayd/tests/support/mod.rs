// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real `shadowlund` for tests: own state directory, ports from the system, ended by its process id.
#![expect(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part of this"
)]

use array_api::{
    Array, CopyNeeds, Enrolment, HttpsArray, LunId, PrepareRequest, SetId, SnapshotId, http1,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

pub const WITHIN: Duration = Duration::from_secs(20);
pub const MIB: u64 = 1 << 20;

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    pub state_dir: PathBuf,
    pub api: String,
    pub portal: String,
    pub target: String,
    pub socket: PathBuf,
}

/// A configuration on loopback with ports from the system; `more` goes before the first table.
pub fn config_text(state_dir: &Path, more: &str) -> String {
    format!(
        "state_dir = {state_dir:?}\nlog = \"info\"\n{more}\n[store]\ncapacity = \"256MiB\"\nfree_floor = \"8MiB\"\n\
         [api]\nlisten = \"127.0.0.1:0\"\n[iscsi]\nlisten = [\"127.0.0.1:0\"]\n"
    )
}

pub fn write_config(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("shadowlund.toml");
    std::fs::write(&path, text).unwrap();
    path
}

pub fn shadowlund(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadowlund"));
    command
        .arg("--config")
        .arg(config)
        .env_remove("NOTIFY_SOCKET");
    command
}

impl Daemon {
    /// Starts one on `dir`, with what is there already.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &config_text(&dir.join("state"), ""))
    }

    pub fn start_with(dir: &Path, config: &str) -> Self {
        let config = write_config(dir, config);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        let mut child = shadowlund(&config)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let value = |name: &str| {
            let mut words = line.split_whitespace();
            let found = words.find_map(|word| word.strip_prefix(name));
            found.map(str::to_owned).unwrap_or_else(|| {
                let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
                panic!("no {name} in the ready line {line:?}; log:\n{log}")
            })
        };
        assert!(line.starts_with("ready "), "{line:?}");
        Self {
            api: value("api="),
            portal: value("iscsi="),
            target: value("target="),
            socket: value("socket=").into(),
            state_dir: dir.join("state"),
            child,
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(self) -> Option<i32> {
        self.ask_to_end();
        self.wait()
    }

    /// SIGTERM.
    pub fn ask_to_end(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// The exit code of a daemon that was asked to end.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Runs `shadowlun --json` and expects success.
    pub fn admin(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[&["--json"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "shadowlun {arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn cli(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_shadowlun"))
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Adds a host and gives its client.
    pub fn add_host(&self, name: &str, more: &[&str]) -> HttpsArray {
        HttpsArray::new(&self.enrol(name, more).parse::<Enrolment>().unwrap())
    }

    /// Adds a host and gives its enrolment line.
    pub fn enrol(&self, name: &str, more: &[&str]) -> String {
        let iqn = iqn(name);
        let added = self.admin(&[&["host", "add", name, "--iqn", &iqn], more].concat());
        added["enrolment"].as_str().unwrap().to_owned()
    }

    /// Creates a LUN, mapped to `hosts`.
    pub fn create_lun(&self, name: &str, size_bytes: u64, hosts: &[&str]) -> LunId {
        let size = size_bytes.to_string();
        let mut arguments = vec!["lun", "create", name, &size];
        for host in hosts {
            arguments.extend(["--host", host]);
        }
        let lun = self.admin(&arguments);
        lun["id"].as_str().unwrap().parse().unwrap()
    }

    pub fn lun_count(&self) -> usize {
        self.admin(&["lun", "list"]).as_array().unwrap().len()
    }

    /// The number under which a host sees a LUN.
    pub fn number(&self, lun: LunId, host: &str) -> u8 {
        let lun = self.admin(&["lun", "show", &lun.to_string()]);
        u8::try_from(lun["map"][host].as_u64().expect("mapped")).unwrap()
    }

    /// Runs qemu-io as that host on one of its LUNs.
    pub fn qemu_io(&self, host: &str, number: u8, commands: &[&str]) -> Output {
        let image = self.image(host, number);
        let mut command = Command::new("qemu-io");
        command.arg("--image-opts").arg(image);
        for text in commands {
            command.arg("-c").arg(text);
        }
        command.output().expect(
            "qemu-io is missing: install qemu-utils and qemu-block-extra (`cargo xtask test` does)",
        )
    }

    /// qemu's words for one of a host's LUNs.
    pub fn image(&self, host: &str, number: u8) -> String {
        format!(
            "driver=iscsi,transport=tcp,portal={},target={},lun={number},initiator-name={}",
            self.portal,
            self.target,
            iqn(host)
        )
    }

    /// Fills the first 64 KiB of a LUN with one byte, and makes it durable.
    pub fn fill(&self, host: &str, lun: LunId, byte: u8) {
        let write = format!("write -q -P {byte} 0 64k");
        let output = self.qemu_io(host, self.number(lun, host), &[&write, "flush"]);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
    }

    /// Whether the first 64 KiB of a LUN are all this byte.
    pub fn holds(&self, host: &str, lun: LunId, byte: u8) -> bool {
        let read = format!("read -q -P {byte} 0 64k");
        let output = self.qemu_io(host, self.number(lun, host), &[&read]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() || said.contains("Pattern verification failed"),
            "{output:?}"
        );
        output.status.success() && !said.contains("Pattern verification failed")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn iqn(host: &str) -> String {
    format!("iqn.2026-01.net.shadowlun.test:{host}")
}

/// A set of one shadow copy of these LUNs, prepared.
pub fn prepare(array: &dyn Array, luns: &[LunId]) -> SetId {
    let set = SetId::new_v4();
    let request = PrepareRequest {
        snapshot: SnapshotId::new_v4(),
        luns: luns.to_vec(),
        needs: CopyNeeds::default(),
    };
    array.prepare(WITHIN, set, &request).unwrap();
    set
}

/// Prepared and armed.
pub fn armed(array: &dyn Array, luns: &[LunId]) -> SetId {
    let set = prepare(array, luns);
    array.ready(WITHIN, set).unwrap();
    array.arm(WITHIN, set).unwrap();
    set
}

/// Prepared, armed and captured.
pub fn captured(array: &dyn Array, luns: &[LunId]) -> SetId {
    let set = armed(array, luns);
    array.commit(WITHIN, set).unwrap();
    set
}

/// The whole way: the copies, in the order of the LUNs.
pub fn copies(array: &dyn Array, luns: &[LunId]) -> Vec<LunId> {
    let set = captured(array, luns);
    let reports = array.report(WITHIN, set, luns).unwrap();
    reports.into_iter().map(|report| report.copy).collect()
}

/// kill -9 by process id.
pub fn kill_9(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A TLS connection that trusts the daemon's certificate.
pub fn tls_stream(daemon: &Daemon) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let pem = std::fs::read(daemon.state_dir.join("tls-cert.pem")).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("shadowlun").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(&daemon.api).unwrap();
    socket.set_read_timeout(Some(WITHIN)).unwrap();
    rustls::StreamOwned::new(connection, socket)
}

/// A request by hand, with any contract header.
pub fn raw_request(daemon: &Daemon, token: &str, path: &str, contract: &str) -> http1::Response {
    let mut stream = tls_stream(daemon);
    let authorization = format!("Bearer {token}");
    let request = http1::Request {
        method: "GET",
        path,
        host: &daemon.api,
        headers: &[
            ("Authorization", authorization.as_str()),
            (array_api::wire::CONTRACT_HEADER, contract),
        ],
        json: None,
    };
    http1::exchange(&mut stream, &request, 1 << 20).unwrap()
}
