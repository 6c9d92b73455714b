// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent of this build, and orders to it, as the rig gives them. The prefix has to have the proxies.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use vss_standin::wire::{Answer, COOKIE_VARIABLE, Hello, Method, Order, Request, Response};
use windows_registry::LOCAL_MACHINE;

const COOKIE: &str = "a cookie of the test";
/// Interface key of IVssAdmin, which the proxies' registration writes.
const PROXY_KEY: &str = r"Software\Classes\Interface\{77ED5996-2F63-11D3-8A39-00C04F72D8E3}";

/// The program that is tested. Under Wine a Unix path needs the drive that shows it.
fn program() -> Command {
    let path = env!("CARGO_BIN_EXE_vss_standin");
    match path.starts_with('/') {
        true => Command::new(format!("Z:{path}")),
        false => Command::new(path),
    }
}

/// Writes the classes' keys, once in a process.
pub(crate) fn register() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        assert!(
            LOCAL_MACHINE.open(PROXY_KEY).is_ok(),
            "this prefix has no VSS proxies: put vss_ps.dll into system32 and run `wine regsvr32 vss_ps.dll`, or run `cargo xtask test`"
        );
        let status = program().arg("register").status().unwrap();
        assert!(status.success(), "register: {status}");
    });
}

/// An agent and the connection to it.
pub(crate) struct Agent {
    process: Child,
    lines: std::io::Lines<BufReader<TcpStream>>,
    connection: TcpStream,
    orders: u64,
}

impl Agent {
    /// Starts one and checks its greeting.
    pub(crate) fn start() -> Self {
        register();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let rig = listener.local_addr().unwrap().to_string();
        let process = program()
            .args(["agent", &rig])
            .env(COOKIE_VARIABLE, COOKIE)
            .spawn()
            .unwrap();
        let (connection, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
        let hello: Hello = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(hello.cookie, COOKIE);
        Self {
            process,
            lines,
            connection,
            orders: 0,
        }
    }

    /// The answer to `order`.
    pub(crate) fn obey(&mut self, order: Order) -> Answer {
        self.orders += 1;
        let request = Request {
            id: self.orders,
            order,
        };
        let response = self.say(&serde_json::to_string(&request).unwrap());
        assert_eq!(response.id, self.orders);
        response.result.unwrap()
    }

    /// The answer to a line.
    pub(crate) fn say(&mut self, line: &str) -> Response {
        self.connection
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// Calls a method of `object`.
    pub(crate) fn call(&mut self, object: u64, method: &Method) -> Answer {
        let method = method.clone();
        self.obey(Order::Call { object, method })
    }

    /// Closes the connection and waits for the process's end.
    pub(crate) fn hang_up(mut self) -> Option<ExitStatus> {
        const PATIENCE: Duration = Duration::from_secs(10);
        self.connection.shutdown(std::net::Shutdown::Both).unwrap();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}
