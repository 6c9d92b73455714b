// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connection to a stand-in: orders go out, answers come back in any order.

use crate::interrupt::Interrupt;
use crate::process::Service;
use anyhow::{Context as _, anyhow, bail, ensure};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use vss_standin::wire::{Answer, Hello, Order, Request, Response};

/// How long the stand-in may take to connect: Wine starts its services first.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// How long a caller may take to say who it is.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// The longest first line.
const HELLO_BYTES_MAX: u64 = 4096;
/// How long an order may take; the longest call, EndPrepareSnapshots, is over in its budget of two minutes and the abort.
const ORDER_LIMIT: Duration = Duration::from_secs(180);
/// How often a wait for an answer looks whether a signal came.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The connection to the stand-in. Orders may come from several threads at once.
pub(crate) struct Agent {
    stream: Mutex<TcpStream>,
    shared: Arc<Mutex<Shared>>,
    interrupt: Interrupt,
    order_limit: Duration,
}

#[derive(Default)]
struct Shared {
    next_id: u64,
    /// Who waits for which answer.
    waiting: HashMap<u64, Sender<Result<Answer, String>>>,
    /// Why there will be no more answers.
    ended: Option<String>,
    /// The first order that failed in the stand-in or on the way.
    failure: Option<String>,
}

impl Agent {
    /// Waits until the stand-in connects to `listener` and shows `cookie`; others are turned away. `service` is the stand-in's
    /// process, whose end ends the wait.
    pub(crate) fn accept(
        listener: &TcpListener,
        cookie: &str,
        service: &mut Service,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        listener.set_nonblocking(true)?;
        let start = Instant::now();
        loop {
            interrupt.check()?;
            match listener.accept() {
                Ok((stream, _)) => {
                    // Whoever else connects to the port is not worth an error.
                    if let Some(reader) = greet(stream, cookie) {
                        return Self::new(reader, interrupt);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    service.check_alive()?;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error).context("waiting for the stand-in"),
            }
            if start.elapsed() > CONNECT_LIMIT {
                bail!(
                    "the stand-in did not connect within {} s",
                    CONNECT_LIMIT.as_secs()
                );
            }
        }
    }

    fn new(reader: BufReader<TcpStream>, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let stream = reader.get_ref().try_clone()?;
        let shared = Arc::<Mutex<Shared>>::default();
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let why = receive(reader, &shared);
                let mut shared = lock(&shared);
                shared.ended = Some(why);
                // Wakes all who wait.
                shared.waiting.clear();
            }
        });
        Ok(Self {
            stream: Mutex::new(stream),
            shared,
            interrupt: interrupt.clone(),
            order_limit: ORDER_LIMIT,
        })
    }

    /// Has the stand-in do something, and waits for its answer.
    pub(crate) fn order(&self, order: Order) -> anyhow::Result<Answer> {
        let answer = self.try_order(order);
        if let Err(error) = &answer {
            lock(&self.shared)
                .failure
                .get_or_insert_with(|| format!("{error:#}"));
        }
        answer
    }

    /// Why an order could not be carried out; COM's own failures are answers.
    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.shared).failure.clone()
    }

    fn try_order(&self, order: Order) -> anyhow::Result<Answer> {
        let (sender, answer) = channel();
        let id = {
            let mut shared = lock(&self.shared);
            if let Some(why) = &shared.ended {
                bail!("{why}");
            }
            shared.next_id += 1;
            let id = shared.next_id;
            shared.waiting.insert(id, sender);
            id
        };
        let mut line = serde_json::to_vec(&Request { id, order })?;
        line.push(b'\n');
        self.stream
            .lock()
            .expect("nothing panics under this lock")
            .write_all(&line)
            .context("the stand-in takes no orders any more")?;
        self.wait_for(&answer).with_context(|| {
            let start = String::from_utf8_lossy(&line[..line.len().min(120)]);
            format!("the order {}", start.trim_end())
        })
    }

    fn wait_for(&self, answer: &Receiver<Result<Answer, String>>) -> anyhow::Result<Answer> {
        let start = Instant::now();
        loop {
            match answer.recv_timeout(LOOK_EVERY) {
                Ok(result) => return result.map_err(|text| anyhow!("the stand-in: {text}")),
                Err(RecvTimeoutError::Timeout) => self.interrupt.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    let why = lock(&self.shared).ended.clone().unwrap_or_default();
                    bail!("{why}")
                }
            }
            if start.elapsed() > self.order_limit {
                let why = format!(
                    "no answer within {} s: the provider hangs, or the stand-in does",
                    self.order_limit.as_secs()
                );
                // Later orders, of which Release is one, would wait as long for the same process.
                lock(&self.shared).ended.get_or_insert_with(|| why.clone());
                bail!("{why}");
            }
        }
    }
}

impl Agent {
    /// Ends the connection, and with it the stand-in.
    pub(crate) fn close(&self) {
        if let Ok(stream) = self.stream.lock() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("nothing panics under this lock")
}

/// The rest of the connection when the caller knows the cookie.
fn greet(stream: TcpStream, cookie: &str) -> Option<BufReader<TcpStream>> {
    let hello = || -> anyhow::Result<_> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HELLO_LIMIT))?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.by_ref().take(HELLO_BYTES_MAX).read_line(&mut line)?;
        let hello: Hello = serde_json::from_str(&line)?;
        ensure!(hello.cookie == cookie, "another cookie");
        reader.get_ref().set_read_timeout(None)?;
        Ok(reader)
    };
    hello().ok()
}

/// Hands answers to those who wait, until the connection ends; says why it did.
fn receive(reader: BufReader<TcpStream>, shared: &Mutex<Shared>) -> String {
    for line in reader.lines() {
        let response = match line {
            Ok(line) => serde_json::from_str::<Response>(&line),
            Err(error) => return format!("the connection to the stand-in broke: {error}"),
        };
        match response {
            Ok(response) => {
                // Nobody waits any more for an answer that came too late.
                if let Some(sender) = lock(shared).waiting.remove(&response.id) {
                    let _ = sender.send(response.result);
                }
            }
            Err(error) => return format!("the stand-in answered in no known form: {error}"),
        }
    }
    "the stand-in is gone".to_owned()
}

/// Where the stand-in has to connect, as an argument for it.
pub(crate) fn address(listener: &TcpListener) -> std::io::Result<String> {
    listener.local_addr().map(|a: SocketAddr| a.to_string())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::Command;
    use vss_standin::wire::Server;

    const COOKIE: &str = "cookie";

    struct Fixture {
        listener: TcpListener,
        process: Service,
        _folder: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sleep");
        command.arg("1000");
        Fixture {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            process: Service::start("sleep", command, &folder.path().join("log")).unwrap(),
            _folder: folder,
        }
    }

    /// Connects as a stand-in would, and goes on with `then`.
    fn standin(
        f: &Fixture,
        cookie: &str,
        then: impl FnOnce(&mut BufReader<TcpStream>) + Send + 'static,
    ) {
        let address = f.listener.local_addr().unwrap();
        let hello = serde_json::to_string(&Hello {
            cookie: cookie.to_owned(),
        });
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            writeln!(stream, "{}", hello.unwrap()).unwrap();
            then(&mut BufReader::new(stream));
        });
    }

    fn accept(f: &mut Fixture) -> Agent {
        let interrupt = Interrupt::default();
        Agent::accept(&f.listener, COOKIE, &mut f.process, &interrupt).unwrap()
    }

    fn request(reader: &mut BufReader<TcpStream>) -> Request {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn answer(reader: &mut BufReader<TcpStream>, to: &Request, code: u32) {
        let response = Response {
            id: to.id,
            result: Ok(Answer {
                code,
                ..Answer::default()
            }),
        };
        let line = serde_json::to_string(&response).unwrap();
        writeln!(reader.get_mut(), "{line}").unwrap();
    }

    #[test]
    fn accept_turns_others_away() {
        let mut f = fixture();
        standin(&f, "guess", |_| ());
        standin(&f, COOKIE, |reader| {
            let order = request(reader);
            answer(reader, &order, 7);
        });

        assert_eq!(accept(&mut f).order(Order::CheckHeap).unwrap().code, 7);
    }

    #[test]
    fn order_answers_in_any_order_find_their_callers() {
        let mut f = fixture();
        standin(&f, COOKIE, |reader| {
            let (first, second) = (request(reader), request(reader));
            for order in [second, first] {
                let code = u32::from(order.order == Order::CheckHeap);
                answer(reader, &order, code);
            }
        });
        let agent = accept(&mut f);

        let codes = std::thread::scope(|scope| {
            let first = scope.spawn(|| agent.order(Order::CheckHeap).unwrap().code);
            let second = agent.order(Order::Providers).unwrap().code;
            (first.join().unwrap(), second)
        });

        assert_eq!(codes, (1, 0));
        assert_eq!(agent.failure(), None);
    }

    #[test]
    fn order_standin_dies_is_a_failure_not_a_hang() {
        let mut f = fixture();
        standin(&f, COOKIE, |reader| drop(request(reader)));
        let agent = accept(&mut f);
        let order = Order::Activate {
            class: uuid::Uuid::nil(),
            server: Server::Local,
        };

        let error = format!("{:#}", agent.order(order.clone()).unwrap_err());
        let later = agent.order(order).unwrap_err().to_string();

        assert!(error.contains("gone"), "{error}");
        assert!(later.contains("gone"), "{later}");
        assert!(agent.failure().is_some());
    }

    #[test]
    fn order_without_an_answer_is_the_last() {
        let mut f = fixture();
        standin(&f, COOKIE, |reader| {
            while reader.fill_buf().is_ok() {
                reader.consume(reader.buffer().len());
            }
        });
        let mut agent = accept(&mut f);
        agent.order_limit = Duration::from_millis(150);
        let error = format!("{:#}", agent.order(Order::CheckHeap).unwrap_err());
        agent.order_limit = ORDER_LIMIT;

        let later = agent.order(Order::Providers).unwrap_err().to_string();

        assert!(error.contains("no answer"), "{error}");
        assert!(later.contains("no answer"), "{later}");
    }

    #[test]
    fn accept_standin_that_never_starts_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo bad image >&2; exit 53"]);
        let mut process = Service::start("it", command, &folder.path().join("log")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();

        let result = Agent::accept(&listener, COOKIE, &mut process, &Interrupt::default());

        let error = result.err().unwrap().to_string();
        assert!(error.contains("bad image"), "{error}");
    }
}
