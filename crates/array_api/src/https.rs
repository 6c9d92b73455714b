// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::http1::{ExchangeError, Request, Response, exchange};
use crate::tls::{DeadlineSocket, PinnedKey, TlsStream};
use crate::wire::{self, ContractRange, SetStep};
use crate::{
    AbortOutcome, Armed, Array, ArrayError, ArrayErrorKind, ArrayInfo, CheckAnswer, CheckRequest,
    CommitReport, CopyReport, DeleteOutcome, Enrolment, ErrorBody, LunId, LunInfo, Orphan,
    PrepareOutcome, PrepareRequest, Readiness, ResyncId, ResyncPair, ResyncStatus, SetId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

/// Connections kept open and apart from `ready` on: one for `arm` and `commit`, one for the abort that has to pass it.
const WARM_CONNECTIONS: usize = 2;
/// Idle connections kept at most.
const IDLE_CONNECTIONS_MAX: usize = 8;
/// Older idle connections are not trusted: the daemon closes idle ones after twice this time.
const IDLE_AGE_MAX: Duration = Duration::from_secs(300);
/// What a call in which the array waits leaves of the caller's time for the way there and back.
const WAIT_MARGIN: Duration = Duration::from_millis(250);

/// An array reached over HTTPS: [`Array`] with the array's key pinned and the host's token.
///
/// Any number of threads may call at once; each call has a connection of its own meanwhile. Connections stay open for
/// later calls. A connection that the array closed meanwhile costs a silent retry on another one, which is safe because
/// every call of the contract is idempotent. Nothing runs in the background.
///
/// **The commit window** (COM-8, TIME-22). `ready` leaves two connections behind that have just carried a request, and that no
/// other call uses. `arm` and `commit` use them or fail: they never connect, resolve or shake hands, so that a program
/// has to call `ready` before, and again now and then while the set waits: an idle connection does not live for ever. `ready`
/// takes one of them at a time, so `arm` finds the other; from `arm` on, `ready` opens none for that set any more, also when it
/// was under way before. `abort` uses one of them too, and connects where both are gone. No lock is held over I/O.
pub struct HttpsArray {
    address: String,
    authorization: String,
    tls: Arc<rustls::ClientConfig>,
    resolved: Mutex<Option<Vec<SocketAddr>>>,
    pool: Mutex<Pool>,
    connections_opened: AtomicU64,
}

struct Pool {
    /// The newest last.
    idle: Vec<Idle>,
    warm: Vec<TlsStream>,
    /// The set whose commit window has begun.
    armed: Option<SetId>,
}

struct Idle {
    stream: TlsStream,
    since: Instant,
}

/// Which connections a call may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// An idle one, or a new one.
    Ordinary,
    /// An idle one, a warm one in its place, or a new one.
    Ready,
    /// A warm one, an idle one in its place, but no new one.
    Window,
    /// Any: what is open, or a new one.
    Abort,
}

enum Failure {
    /// The connection broke before an answer began: it had gone stale, and another one may work.
    Stale(ArrayError),
    Final(ArrayError),
}

impl Failure {
    fn into_error(self) -> ArrayError {
        match self {
            Self::Stale(error) | Self::Final(error) => error,
        }
    }
}

impl HttpsArray {
    /// A client for the enrolled array. Connects nothing yet.
    pub fn new(enrolment: &Enrolment) -> Self {
        Self {
            address: enrolment.address().to_owned(),
            authorization: format!("Bearer {}", enrolment.token().expose()),
            tls: PinnedKey::client_config(enrolment.key_pin()),
            resolved: Mutex::default(),
            pool: Mutex::new(Pool {
                idle: Vec::with_capacity(IDLE_CONNECTIONS_MAX),
                warm: Vec::with_capacity(WARM_CONNECTIONS),
                armed: None,
            }),
            connections_opened: AtomicU64::new(0),
        }
    }

    /// `HOST:PORT` of the array, for messages.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many connections are kept apart for `arm`, `commit` and `abort`.
    pub fn warm_connections(&self) -> usize {
        self.lock_pool().warm.len()
    }

    /// How many connections were tried to open so far.
    pub fn connections_opened(&self) -> u64 {
        self.connections_opened.load(Ordering::Relaxed)
    }

    fn call<T: DeserializeOwned>(
        &self,
        within: Duration,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ArrayError> {
        self.call_by(Way::Ordinary, within, path, body)
    }

    fn call_by<T: DeserializeOwned>(
        &self,
        way: Way,
        within: Duration,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ArrayError> {
        let deadline = deadline_after(within);
        let json = body.map(serde_json::to_vec).transpose().map_err(|error| {
            ArrayError::new(
                ArrayErrorKind::InvalidRequest,
                format!("the request has no JSON form: {error}"),
                "report this as a defect",
            )
        })?;
        let response = self.request(way, deadline, path, json.as_deref())?;
        self.decode(&response)
    }

    fn request(
        &self,
        way: Way,
        deadline: Instant,
        path: &str,
        json: Option<&[u8]>,
    ) -> Result<Response, ArrayError> {
        let mut stale = None;
        while let Some(stream) = self.take(way) {
            match self.request_on(stream, way, deadline, path, json) {
                Ok(response) => return Ok(response),
                Err(Failure::Final(error)) => return Err(error),
                // The array was restarted, most likely; a connection made since may work.
                Err(Failure::Stale(error)) => stale = Some(error),
            }
        }
        if way == Way::Window {
            return Err(stale.unwrap_or_else(|| self.not_connected()));
        }
        let stream = self.connect(deadline)?;
        self.request_on(stream, way, deadline, path, json)
            .map_err(Failure::into_error)
    }

    fn request_on(
        &self,
        mut stream: TlsStream,
        way: Way,
        deadline: Instant,
        path: &str,
        json: Option<&[u8]>,
    ) -> Result<Response, Failure> {
        stream.sock.set_deadline(deadline);
        let versions = ContractRange::OURS.to_string();
        let request = Request {
            method: if json.is_some() { "POST" } else { "GET" },
            path,
            host: &self.address,
            headers: &[
                ("Authorization", &self.authorization),
                (wire::CONTRACT_HEADER, &versions),
            ],
            json,
        };
        match exchange(&mut stream, &request, wire::RESPONSE_BYTES_MAX) {
            Ok(response) => {
                if response.keep_alive {
                    self.keep(way, stream);
                }
                Ok(response)
            }
            Err(ExchangeError::Malformed(what)) => Err(Failure::Final(self.protocol(&what))),
            Err(ExchangeError::Io {
                source,
                answer_begun,
            }) => {
                let error = self.io_error("the connection broke", &source);
                let stale = !answer_begun && error.kind == ArrayErrorKind::Unreachable;
                Err(match stale {
                    true => Failure::Stale(error),
                    false => Failure::Final(error),
                })
            }
        }
    }

    fn decode<T: DeserializeOwned>(&self, response: &Response) -> Result<T, ArrayError> {
        let theirs = response
            .header(wire::CONTRACT_HEADER)
            .ok_or_else(|| self.protocol("it states no contract version"))?
            .parse::<ContractRange>()
            .map_err(|error| self.protocol(&error.to_string()))?;
        if !theirs.meets(ContractRange::OURS) {
            return Err(ArrayError::new(
                ArrayErrorKind::Protocol,
                format!(
                    "the array at {} speaks contract versions {theirs}, this side {}",
                    self.address,
                    ContractRange::OURS
                ),
                "update the older side",
            ));
        }
        if response.status == 200 {
            return serde_json::from_slice(&response.body)
                .map_err(|error| self.protocol(&format!("its body does not fit: {error}")));
        }
        let body: ErrorBody = serde_json::from_slice(&response.body)
            .map_err(|_| self.protocol(&format!("status {} without a reason", response.status)))?;
        Err(body.into())
    }

    fn connect(&self, deadline: Instant) -> Result<TlsStream, ArrayError> {
        let mut last = None;
        for address in self.resolve(deadline)? {
            let left = time_left(deadline).ok_or_else(|| self.timed_out())?;
            self.connections_opened.fetch_add(1, Ordering::Relaxed);
            match TcpStream::connect_timeout(&address, left) {
                Ok(socket) => return self.handshake(socket, deadline),
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        // The name may lead elsewhere by now.
        *self.lock_resolved() = None;
        Err(self.io_error("no connection", &error))
    }

    fn handshake(&self, socket: TcpStream, deadline: Instant) -> Result<TlsStream, ArrayError> {
        let failed = |error: io::Error| self.io_error("no TLS connection", &error);
        let mut socket = DeadlineSocket::new(socket).map_err(failed)?;
        socket.set_deadline(deadline);
        let mut connection = PinnedKey::connection(&self.tls)
            .map_err(|error| self.protocol(&format!("no TLS connection: {error}")))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(failed)?;
        }
        Ok(TlsStream::new(connection, socket))
    }

    /// Looks a name up once, in a thread of its own because the system's resolver knows no time limit; addresses need
    /// none of that.
    fn resolve(&self, deadline: Instant) -> Result<Vec<SocketAddr>, ArrayError> {
        if let Some(known) = self.lock_resolved().clone() {
            return Ok(known);
        }
        if let Ok(address) = self.address.parse::<SocketAddr>() {
            return Ok(vec![address]);
        }
        let left = time_left(deadline).ok_or_else(|| self.timed_out())?;
        let (sender, receiver) = mpsc::channel();
        let name = self.address.clone();
        std::thread::Builder::new()
            .name("array-resolve".to_owned())
            .spawn(move || {
                let found = name.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
                // Nobody waits any more when the time was over.
                let _ = sender.send(found);
            })
            .map_err(|error| self.io_error("no name lookup", &error))?;
        let found = receiver
            .recv_timeout(left)
            .map_err(|_| self.timed_out())?
            .map_err(|error| self.io_error("the name was not found", &error))?;
        *self.lock_resolved() = Some(found.clone());
        Ok(found)
    }

    /// Leaves [`WARM_CONNECTIONS`] apart, each of which has carried a request just now: handshake and session tickets are
    /// behind it, and the array is there (PRE-3). Those that are warm are tried first, one after the other. Once the set is armed
    /// it is the window's calls that have what is missing here.
    fn warm(&self, set: SetId, deadline: Instant) -> Result<(), ArrayError> {
        let mut untried = self.warm_connections();
        let mut proven = 0;
        while proven < WARM_CONNECTIONS {
            let known = match untried {
                0 => self.take(Way::Ordinary),
                _ => self.longest_unused(),
            };
            untried = untried.saturating_sub(1);
            let is_new = known.is_none();
            let stream = match known {
                Some(stream) => stream,
                None if self.lock_pool().armed == Some(set) => return Ok(()),
                None => self.connect(deadline)?,
            };
            match self.request_on(stream, Way::Window, deadline, wire::INFO, None) {
                Ok(_) => proven += 1,
                Err(Failure::Stale(_)) if !is_new => {}
                Err(failure) => return Err(failure.into_error()),
            }
        }
        Ok(())
    }

    fn longest_unused(&self) -> Option<TlsStream> {
        let mut pool = self.lock_pool();
        (!pool.warm.is_empty()).then(|| pool.warm.remove(0))
    }

    fn take(&self, way: Way) -> Option<TlsStream> {
        let warm = || self.lock_pool().warm.pop();
        match way {
            Way::Ordinary => self.take_idle(),
            Way::Ready => self.take_idle().or_else(warm),
            Way::Window | Way::Abort => warm().or_else(|| self.take_idle()),
        }
    }

    fn take_idle(&self) -> Option<TlsStream> {
        let mut pool = self.lock_pool();
        let newest = pool.idle.pop()?;
        if newest.since.elapsed() < IDLE_AGE_MAX {
            return Some(newest.stream);
        }
        // So the others are too old too. They are closed outside the lock.
        let old: Vec<_> = pool.idle.drain(..).collect();
        drop(pool);
        drop(old);
        None
    }

    fn keep(&self, way: Way, stream: TlsStream) {
        let mut pool = self.lock_pool();
        if matches!(way, Way::Window | Way::Ready) && pool.warm.len() < WARM_CONNECTIONS {
            pool.warm.push(stream);
        } else if pool.idle.len() < IDLE_CONNECTIONS_MAX {
            pool.idle.push(Idle {
                stream,
                since: Instant::now(),
            });
        }
    }

    fn lock_pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().expect("no panic happens under this lock")
    }

    fn lock_resolved(&self) -> MutexGuard<'_, Option<Vec<SocketAddr>>> {
        self.resolved
            .lock()
            .expect("no panic happens under this lock")
    }

    fn protocol(&self, what: &str) -> ArrayError {
        ArrayError::new(
            ArrayErrorKind::Protocol,
            format!(
                "the peer at {} is not the enrolled array: {what}",
                self.address
            ),
            "check the address, or enrol this host again",
        )
    }

    fn not_connected(&self) -> ArrayError {
        ArrayError::new(
            ArrayErrorKind::Unreachable,
            format!(
                "no connection to the array at {} is open, and none may be made now",
                self.address
            ),
            "check that shadowlund runs and was not restarted meanwhile, and repeat the backup",
        )
    }

    fn timed_out(&self) -> ArrayError {
        ArrayError::new(
            ArrayErrorKind::TimedOut,
            format!("the array at {} did not answer in time", self.address),
            "check the array's load and the network",
        )
    }

    /// Time over, a broken promise of TLS (wrong key included), or no way there.
    fn io_error(&self, what: &str, error: &io::Error) -> ArrayError {
        if matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        ) {
            return self.timed_out();
        }
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls) => self.protocol(&tls.to_string()),
            None => ArrayError::new(
                ArrayErrorKind::Unreachable,
                format!("{what} with the array at {}: {error}", self.address),
                "check that shadowlund runs and that the address is right",
            ),
        }
    }
}

impl Array for HttpsArray {
    fn info(&self, within: Duration) -> Result<ArrayInfo, ArrayError> {
        self.call(within, wire::INFO, None::<&wire::Nothing>)
    }

    fn query(&self, within: Duration, luns: &[LunId]) -> Result<Vec<Option<LunInfo>>, ArrayError> {
        let answer: wire::LunInfoList = self.call(within, wire::QUERY, Some(&lun_list(luns)))?;
        if answer.luns.len() != luns.len() {
            return Err(self.protocol("its list has another length than the question"));
        }
        Ok(answer.luns)
    }

    fn check(&self, within: Duration, request: &CheckRequest) -> Result<CheckAnswer, ArrayError> {
        self.call(within, wire::CHECK, Some(request))
    }

    fn prepare(
        &self,
        within: Duration,
        set: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        self.call(within, &SetStep::Prepare.path(set), Some(request))
            .map(|answer: wire::PrepareAnswer| answer.outcome)
    }

    fn ready(&self, within: Duration, set: SetId) -> Result<Readiness, ArrayError> {
        let deadline = deadline_after(within);
        let body = wire::ReadyRequest {
            wait_ms: wait_ms(within),
        };
        let path = SetStep::Ready.path(set);
        let answer: wire::ReadyAnswer = self.call_by(Way::Ready, within, &path, Some(&body))?;
        if answer.readiness == Readiness::Ready {
            self.warm(set, deadline)?;
        }
        Ok(answer.readiness)
    }

    fn arm(&self, within: Duration, set: SetId) -> Result<Armed, ArrayError> {
        self.lock_pool().armed = Some(set);
        let path = SetStep::Arm.path(set);
        let armed = self.call_by(Way::Window, within, &path, Some(&wire::Nothing {}));
        if armed.is_err() {
            // What it did not find, the next `ready` has to make.
            self.lock_pool().armed = None;
        }
        armed
    }

    fn commit(&self, within: Duration, set: SetId) -> Result<CommitReport, ArrayError> {
        let path = SetStep::Commit.path(set);
        self.call_by(Way::Window, within, &path, Some(&wire::Nothing {}))
    }

    fn report(
        &self,
        within: Duration,
        set: SetId,
        sources: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        let body = wire::ReportRequest {
            sources: sources.to_vec(),
        };
        let answer: wire::ReportAnswer =
            self.call(within, &SetStep::Report.path(set), Some(&body))?;
        let told = answer.copies.iter().map(|copy| copy.source);
        if !told.eq(sources.iter().copied()) {
            return Err(self.protocol("its report is about other LUNs"));
        }
        Ok(answer.copies)
    }

    fn abort(
        &self,
        within: Duration,
        set: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError> {
        let body = wire::AbortRequest { reported_too };
        self.call_by(Way::Abort, within, &SetStep::Abort.path(set), Some(&body))
    }

    fn map(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.call(within, wire::MAP, Some(&lun_list(copies)))
            .map(|wire::Done {}| ())
    }

    fn unmap(&self, within: Duration, copies: &[LunId]) -> Result<(), ArrayError> {
        self.call(within, wire::UNMAP, Some(&lun_list(copies)))
            .map(|wire::Done {}| ())
    }

    fn delete(&self, within: Duration, copy: LunId) -> Result<DeleteOutcome, ArrayError> {
        self.call(within, wire::DELETE, Some(&wire::DeleteRequest { copy }))
            .map(|answer: wire::DeleteAnswer| answer.outcome)
    }

    fn break_copies(
        &self,
        within: Duration,
        copies: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError> {
        let body = wire::BreakRequest {
            luns: copies.to_vec(),
            unmap_too,
        };
        self.call(within, wire::BREAK, Some(&body))
            .map(|wire::Done {}| ())
    }

    fn resync(
        &self,
        within: Duration,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        let body = wire::ResyncRequest {
            id,
            pairs: pairs.to_vec(),
        };
        self.call(within, wire::RESYNC, Some(&body))
            .map(|answer: wire::ResyncAnswer| answer.status)
    }

    fn resync_status(
        &self,
        within: Duration,
        id: ResyncId,
        wait: Duration,
    ) -> Result<ResyncStatus, ArrayError> {
        let body = wire::ResyncStatusRequest {
            id,
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        };
        self.call(within, wire::RESYNC_STATUS, Some(&body))
            .map(|answer: wire::ResyncAnswer| answer.status)
    }

    fn cancel_resync(&self, within: Duration, id: ResyncId) -> Result<ResyncStatus, ArrayError> {
        let body = wire::CancelResyncRequest { id };
        self.call(within, wire::CANCEL_RESYNC, Some(&body))
            .map(|answer: wire::ResyncAnswer| answer.status)
    }

    fn orphans(&self, within: Duration) -> Result<Vec<Orphan>, ArrayError> {
        self.call(within, wire::ORPHANS, None::<&wire::Nothing>)
            .map(|answer: wire::OrphanList| answer.orphans)
    }
}

fn lun_list(luns: &[LunId]) -> wire::LunList {
    wire::LunList {
        luns: luns.to_vec(),
    }
}

/// How long the array may wait before it answers.
fn wait_ms(within: Duration) -> u32 {
    u32::try_from(within.saturating_sub(WAIT_MARGIN).as_millis()).unwrap_or(u32::MAX)
}

/// A caller that has "for ever" gets a day: `Instant` has an end.
fn deadline_after(within: Duration) -> Instant {
    Instant::now() + within.min(Duration::from_secs(86_400))
}

fn time_left(deadline: Instant) -> Option<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
}
