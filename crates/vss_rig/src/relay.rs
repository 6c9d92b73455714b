// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TCP relay on loopback between a provider and its array, so that the connection can be disturbed, traffic be seen and the
//! array's part of a call be measured without the array's or the provider's help.

use crate::array::Fault;
use crate::host::ArrayTime;
use array_api::Enrolment;
use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The relay; its threads end when it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    fault: Mutex<Option<Fault>>,
    ended: AtomicBool,
    bytes_sent: AtomicU64,
    connection_count: AtomicU64,
    open: Mutex<HashMap<u64, Connection>>,
    clock: Mutex<Clock>,
}

struct Connection {
    ends: [TcpStream; 2],
    turns: Turns,
    /// Bytes were withheld for good, so that TLS on it is broken.
    is_spoilt: bool,
}

/// How often the two ends have taken turns to send. TLS 1.3 is up when the client speaks for the second time; only then the
/// array's bytes answer a request. The relay needs to know no more of TLS than this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turns {
    client: u32,
    is_client: bool,
}

impl Turns {
    fn sent(&mut self) {
        self.client += u32::from(!self.is_client);
        self.is_client = true;
    }

    fn received(&mut self) {
        self.is_client = false;
    }

    fn is_answer(self) -> bool {
        self.client >= 2
    }
}

/// How long the array had something to answer, as seen from the bytes alone.
///
/// Between two events nothing is known, so each gap is judged by how it ends. It was the array's when a connection had
/// sent something and got nothing back yet, or when it ends with bytes from the array: TLS 1.3's session tickets come
/// between a request and its answer on a new connection, and an answer may come in several pieces. Otherwise it was idle.
/// Connections that wait at the same time count once.
#[derive(Default)]
struct Clock {
    total: Duration,
    /// The end of the last gap.
    last: Option<Instant>,
    /// Connections whose last bytes went to the array. A connection that is only opened ahead leaves with the tickets,
    /// which the array's TLS sends in answer to the end of the handshake.
    unanswered: HashSet<u64>,
}

impl Clock {
    /// Bytes of `connection` went to the array.
    fn sent(&mut self, connection: u64, now: Instant) {
        self.end_gap(now, !self.unanswered.is_empty());
        self.unanswered.insert(connection);
    }

    /// Bytes of `connection` came from the array.
    fn received(&mut self, connection: u64, now: Instant) {
        self.end_gap(now, true);
        self.unanswered.remove(&connection);
    }

    /// `connection` is closed, so that nobody waits on it any more.
    fn closed(&mut self, connection: u64, now: Instant) {
        self.end_gap(now, !self.unanswered.is_empty());
        self.unanswered.remove(&connection);
    }

    /// The sum of the array's gaps. What goes on after this look counts from here.
    fn total(&mut self, now: Instant) -> Duration {
        self.end_gap(now, !self.unanswered.is_empty());
        self.total
    }

    fn end_gap(&mut self, now: Instant, of_the_array: bool) {
        // Another thread may have come first with a later moment.
        let gap = self
            .last
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if of_the_array {
            self.total += gap;
        }
        self.last = self.last.max(Some(now));
    }
}

impl Relay {
    /// Listens on a free port and passes each connection on to `upstream`.
    pub(crate) fn start(upstream: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            fault: Mutex::default(),
            ended: AtomicBool::new(false),
            bytes_sent: AtomicU64::new(0),
            connection_count: AtomicU64::new(0),
            open: Mutex::default(),
            clock: Mutex::default(),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// What a provider is enrolled with that reaches the array by way of this relay.
    pub(crate) fn enrolment(&self, direct: &Enrolment) -> anyhow::Result<Enrolment> {
        Ok(Enrolment::new(
            &self.address.to_string(),
            direct.key_pin(),
            direct.token().clone(),
        )?)
    }

    /// From now on this goes wrong, until [`Relay::heal`].
    pub(crate) fn fault(&self, fault: Fault) {
        *self.shared.fault_lock() = Some(fault);
        if fault == Fault::Down {
            self.shared.close(|_| true);
        }
    }

    /// Passes everything on again. Connections on which bytes were withheld are closed: what was lost stays lost.
    pub(crate) fn heal(&self) {
        *self.shared.fault_lock() = None;
        self.shared.close(|connection| connection.is_spoilt);
    }

    /// Bytes that clients sent so far. Unchanged over a call means that the call asked the array nothing.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.shared.bytes_sent.load(Ordering::SeqCst)
    }

    /// How long the array has had requests unanswered; for calls that follow each other.
    pub(crate) fn array_time(&self) -> ArrayTime {
        let shared = Arc::clone(&self.shared);
        Box::new(move || shared.clock().total(Instant::now()))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which looks at the flag after each connection.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.shared.close(|_| true);
    }
}

impl Shared {
    fn close(&self, which: impl Fn(&Connection) -> bool) {
        for connection in self.open().values().filter(|connection| which(connection)) {
            for stream in &connection.ends {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// The client sent something on this connection: whether it goes on to the array.
    fn sent(&self, id: u64) -> bool {
        let hangs = self.fault() == Some(Fault::Hang);
        if let Some(connection) = self.open().get_mut(&id) {
            connection.turns.sent();
            connection.is_spoilt |= hangs;
            return !connection.is_spoilt;
        }
        true
    }

    /// The array sent something on this connection: whether it goes on to the client, once this returns.
    fn received(&self, id: u64) -> bool {
        let fault = self.fault();
        let (mut passes, mut delay) = (true, Duration::ZERO);
        if let Some(connection) = self.open().get_mut(&id) {
            let is_first = connection.turns.is_client;
            connection.turns.received();
            match fault.filter(|_| connection.turns.is_answer()) {
                Some(Fault::Hang | Fault::Lost) => connection.is_spoilt = true,
                Some(Fault::Slow(time)) if is_first => delay = time,
                _ => {}
            }
            passes = !connection.is_spoilt;
        }
        std::thread::sleep(delay);
        passes
    }

    fn fault(&self) -> Option<Fault> {
        *self.fault_lock()
    }

    fn fault_lock(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().expect("nothing panics under this lock")
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.open.lock().expect("nothing panics under this lock")
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().expect("nothing panics under this lock")
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.fault() == Some(Fault::Down) {
            continue;
        }
        // A refused connection of the array shows to the client as a connection closed at once.
        if let Ok(array) = TcpStream::connect(shared.upstream) {
            let _ = pass(client, array, shared);
        }
    }
}

fn pass(client: TcpStream, array: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    array.set_nodelay(true)?;
    let id = shared.connection_count.fetch_add(1, Ordering::SeqCst);
    let connection = Connection {
        ends: [client.try_clone()?, array.try_clone()?],
        turns: Turns::default(),
        is_spoilt: false,
    };
    shared.open().insert(id, connection);
    if shared.fault() == Some(Fault::Down) {
        // Cut between the look above and the entry: nobody else closes this pair.
        shared.close(|_| true);
    }
    let (client_back, array_back) = (client.try_clone()?, array.try_clone()?);
    let counted = Arc::clone(shared);
    std::thread::spawn(move || {
        copy(client, array, |bytes| {
            counted.bytes_sent.fetch_add(bytes, Ordering::SeqCst);
            counted.clock().sent(id, Instant::now());
            counted.sent(id)
        });
        counted.clock().closed(id, Instant::now());
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        copy(array_back, client_back, |_| {
            let passes = shared.received(id);
            shared.clock().received(id, Instant::now());
            passes
        });
        shared.clock().closed(id, Instant::now());
        shared.open().remove(&id);
    });
    Ok(())
}

/// Passes bytes on until an end closes; `passes` hears of them before the other side does, and may withhold them.
fn copy(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(u64) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if passes(length as u64) && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo_once() -> (SocketAddr, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4];
            while stream.read_exact(&mut buffer).is_ok() {
                stream.write_all(&buffer).unwrap();
            }
        });
        (address, thread)
    }

    /// A clock that is told of events at given milliseconds.
    struct Told(Clock, Instant);

    impl Told {
        fn new() -> Self {
            Self(Clock::default(), Instant::now())
        }

        fn at(&self, ms: u64) -> Instant {
            self.1 + Duration::from_millis(ms)
        }

        fn up(mut self, connection: u64, ms: u64) -> Self {
            self.0.sent(connection, self.at(ms));
            self
        }

        fn down(mut self, connection: u64, ms: u64) -> Self {
            self.0.received(connection, self.at(ms));
            self
        }

        fn close(mut self, connection: u64, ms: u64) -> Self {
            self.0.closed(connection, self.at(ms));
            self
        }

        fn look(mut self, ms: u64, total_ms: u64) -> Self {
            let found = self.0.total(self.at(ms));
            assert_eq!(found, Duration::from_millis(total_ms), "at {ms} ms");
            self
        }
    }

    #[test]
    fn clock_counts_from_request_to_answer_and_nothing_between() {
        let told = Told::new().look(0, 0).up(1, 10).down(1, 15).look(20, 5);
        told.look(100, 5).up(1, 200).down(1, 201).look(202, 6);
    }

    #[test]
    fn clock_answer_in_pieces_counts_to_the_last() {
        let told = Told::new().up(1, 10).down(1, 12).down(1, 20);
        told.look(50, 10);
    }

    #[test]
    fn clock_session_tickets_are_not_the_answer() {
        // Handshake: 10 to 12, the client's turn to 14. Its last message and the request at 14, the tickets at 15.
        let told = Told::new().up(1, 10).down(1, 12).up(1, 14).up(1, 14);
        told.down(1, 15).down(1, 15).down(1, 40).look(60, 2 + 26);
    }

    #[test]
    fn clock_connection_opened_ahead_is_idle_after_its_tickets() {
        let told = Told::new().up(1, 10).down(1, 12).up(1, 14).down(1, 15);
        told.look(60, 3).look(90, 3);
    }

    #[test]
    fn clock_overlapping_connections_count_once() {
        let told = Told::new().up(1, 10).up(2, 20).down(1, 30).look(35, 25);
        told.down(2, 50).look(70, 40);
    }

    #[test]
    fn clock_look_during_a_request_splits_it() {
        let told = Told::new().up(1, 10).look(15, 5);
        told.down(1, 18).look(20, 8);
    }

    #[test]
    fn clock_request_that_gets_no_answer_ends_with_its_connection() {
        let told = Told::new().up(1, 10).close(1, 30).close(1, 31);
        told.look(90, 20);
    }

    #[test]
    fn clock_array_that_closes_an_idle_connection_adds_nothing_to_the_next_call() {
        let told = Told::new().up(1, 10).down(1, 12).look(13, 2);
        let mut told = told.down(1, 500).close(1, 501);
        let before = told.0.total(told.at(600));
        let after = told.0.total(told.at(640));
        assert_eq!(before, after);
    }

    #[test]
    fn relay_array_time_grows_with_an_answer_that_takes_its_time() {
        const TAKEN: Duration = Duration::from_millis(30);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).unwrap();
        let time = relay.array_time();
        let mut client = TcpStream::connect(relay.address).unwrap();
        let (mut array, _) = listener.accept().unwrap();
        let mut buffer = [0; 4];
        assert_eq!(time(), Duration::ZERO);

        client.write_all(b"ping").unwrap();
        array.read_exact(&mut buffer).unwrap();
        std::thread::sleep(TAKEN);
        array.write_all(&buffer).unwrap();
        client.read_exact(&mut buffer).unwrap();
        let taken = time();
        std::thread::sleep(TAKEN);

        assert!(taken >= TAKEN, "{taken:?}");
        assert_eq!(time(), taken);
    }

    #[test]
    fn relay_open_passes_both_ways_and_counts() {
        let (upstream, thread) = echo_once();
        let relay = Relay::start(upstream).unwrap();
        let mut client = TcpStream::connect(relay.address).unwrap();
        let mut answer = [0; 4];

        client.write_all(b"ping").unwrap();
        client.read_exact(&mut answer).unwrap();

        assert_eq!((&answer, relay.bytes_sent()), (b"ping", 4));
        drop((client, relay));
        thread.join().unwrap();
    }

    #[test]
    fn relay_cut_ends_connections_and_lets_none_through() {
        let (upstream, thread) = echo_once();
        let relay = Relay::start(upstream).unwrap();
        let mut client = TcpStream::connect(relay.address).unwrap();
        let mut answer = [0; 4];
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut answer).unwrap();

        relay.fault(Fault::Down);

        assert!(client.read_exact(&mut answer).is_err());
        let mut late = TcpStream::connect(relay.address).unwrap();
        assert!(late.read_exact(&mut answer).is_err());
        drop(relay);
        thread.join().unwrap();
    }

    /// A client whose TLS, so to speak, is up: it has spoken twice.
    fn spoken_twice(relay: &Relay) -> TcpStream {
        let mut client = TcpStream::connect(relay.address).unwrap();
        let mut answer = [0; 4];
        for _ in 0..2 {
            client.write_all(b"ping").unwrap();
            client.read_exact(&mut answer).unwrap();
        }
        client
            .set_read_timeout(Some(Duration::from_millis(30)))
            .unwrap();
        client
    }

    /// An array that counts what arrives, and echoes it.
    fn counting() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4];
            while stream.read_exact(&mut buffer).is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
                stream.write_all(&buffer).unwrap();
            }
        });
        (address, count)
    }

    fn is_timeout(error: &std::io::Error) -> bool {
        use std::io::ErrorKind;
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    }

    #[test]
    fn relay_hang_keeps_the_connection_and_passes_nothing_on() {
        let (upstream, count) = counting();
        let relay = Relay::start(upstream).unwrap();
        let mut client = spoken_twice(&relay);
        let mut answer = [0; 4];

        relay.fault(Fault::Hang);
        client.write_all(b"ping").unwrap();

        let error = client.read_exact(&mut answer).unwrap_err();
        assert!(is_timeout(&error), "{error}");
        assert_eq!(count.load(Ordering::SeqCst), 2);
        relay.heal();
        let error = client.read_exact(&mut answer).unwrap_err();
        assert!(!is_timeout(&error), "{error}");
    }

    #[test]
    fn relay_lost_passes_the_request_on_and_no_answer() {
        let (upstream, count) = counting();
        let relay = Relay::start(upstream).unwrap();
        let mut client = spoken_twice(&relay);
        let mut answer = [0; 4];

        relay.fault(Fault::Lost);
        client.write_all(b"ping").unwrap();
        // The answer is withheld, not late: the array has sent it when it is counted here.
        while count.load(Ordering::SeqCst) < 3 {
            std::thread::yield_now();
        }

        let error = client.read_exact(&mut answer).unwrap_err();
        assert!(is_timeout(&error), "{error}");
    }

    #[test]
    fn relay_lost_lets_a_handshake_through() {
        let (upstream, _) = counting();
        let relay = Relay::start(upstream).unwrap();
        relay.fault(Fault::Lost);
        let mut client = TcpStream::connect(relay.address).unwrap();
        let mut answer = [0; 4];

        client.write_all(b"ping").unwrap();

        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
    }

    #[test]
    fn relay_slow_delays_each_answer() {
        const DELAY: Duration = Duration::from_millis(40);
        let (upstream, _) = counting();
        let relay = Relay::start(upstream).unwrap();
        let mut client = spoken_twice(&relay);
        client.set_read_timeout(None).unwrap();
        let mut answer = [0; 4];

        relay.fault(Fault::Slow(DELAY));
        let start = Instant::now();
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut answer).unwrap();

        assert!(start.elapsed() >= DELAY, "{:?}", start.elapsed());
    }
}
