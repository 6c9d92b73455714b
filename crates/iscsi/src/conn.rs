// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection from its first byte to its last: login, then requests into the session.

use crate::config::SessionInfo;
use crate::core::{Core, CoreConfig};
use crate::login::{Login, LoginMachine, PORTAL_GROUP, Status, Step};
use crate::negotiate::RECEIVE_BYTES_MAX;
use crate::outbound::{Outbound, Woken};
use crate::pdu::{BHS_BYTES, Request, RequestHeader, padded};
use crate::registry::AddError;
use crate::session::{Session, UNSENT_BYTES_MAX};
use crate::target::Shared;
use scsi::Nexus;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

/// Longest data segment before the two sides have agreed on one (RFC 7143 13.12), with room for the generous.
const LOGIN_BYTES_MAX: usize = 16 << 10;
/// How much is read from the socket at once, in bytes.
const READ_BYTES: usize = 128 << 10;
/// How often a connection's second thread looks whether the initiator is still there.
const TICK: Duration = Duration::from_secs(1);
/// Unsent bytes from which on nothing more is read: what is answered without a worker (NOP, text, task management,
/// rejects) is bounded by this alone. Above the point where commands stop, which only those that read can reach.
const UNHEARD_BYTES_MAX: usize = 2 * UNSENT_BYTES_MAX;

/// Serves a connection until it ends.
pub(crate) fn serve(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    match login(shared, stream, peer) {
        Ok(Some((session, mut requests))) => {
            run(shared, &session, &mut requests);
            session.close();
            session.wait_until_idle();
            shared.registry.remove(session.tsih());
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(%peer, %error, "no login"),
    }
}

/// Bytes from the socket, cut into PDUs.
struct Requests {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Until the login is done.
    deadline: Option<Instant>,
    data_bytes_max: usize,
}

impl Requests {
    /// Whether the next PDU's header can be had without waiting.
    fn more_at_hand(&self) -> bool {
        self.end - self.start >= BHS_BYTES
    }

    /// The next PDU, or `None` when the peer has closed the connection between two.
    fn next(&mut self) -> io::Result<Option<Request>> {
        if !self.more_at_hand() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < BHS_BYTES {
                self.arm()?;
                match read(&mut self.stream, &mut self.buffer[self.end..])? {
                    0 if self.end == 0 => return Ok(None),
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    length => self.end += length,
                }
            }
        }
        let (header, _) = RequestHeader::read_from_prefix(&self.buffer[self.start..])
            .expect("the buffer holds a header");
        self.start += BHS_BYTES;
        let data_bytes = header.data_length();
        if data_bytes > self.data_bytes_max {
            let text = format!("a data segment of {data_bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let ahs = self.take(usize::from(header.ahs_words) * 4)?;
        let mut data = self.take(padded(data_bytes))?;
        data.truncate(data_bytes);
        Ok(Some(Request { header, ahs, data }))
    }

    /// The next `length` bytes: from the buffer, and beyond it straight from the socket.
    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let at_hand = length.min(self.end - self.start);
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(&self.buffer[self.start..self.start + at_hand]);
        self.start += at_hand;
        if bytes.len() < length {
            bytes.resize(length, 0);
            let mut filled = at_hand;
            while filled < length {
                self.arm()?;
                match read(&mut self.stream, &mut bytes[filled..])? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    part => filled += part,
                }
            }
        }
        Ok(bytes)
    }

    /// Bounds the next read by the login's deadline.
    fn arm(&self) -> io::Result<()> {
        let Some(deadline) = self.deadline else {
            return Ok(());
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))
    }
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The login phase. `Ok(None)` when the login was refused.
fn login(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<Option<(Arc<Session>, Requests)>> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(shared.config.login_within))?;
    let mut requests = Requests {
        stream,
        buffer: vec![0; READ_BYTES],
        start: 0,
        end: 0,
        deadline: Some(Instant::now() + shared.config.login_within),
        data_bytes_max: LOGIN_BYTES_MAX,
    };
    let mut machine = LoginMachine::new(&shared.config.iqn);
    while let Some(request) = requests.next()? {
        let (answer, done) = match machine.on_request(&request) {
            Step::Continue(answer) => (answer, None),
            Step::Refuse(answer) => {
                tracing::info!(%peer, "login refused");
                requests.stream.write_all(&answer.to_bytes())?;
                return Ok(None);
            }
            Step::Close(reason) => {
                tracing::debug!(%peer, reason, "closing");
                return Ok(None);
            }
            Step::Decide(login) => {
                let initiator = login.initiator.clone();
                match admit(shared, &requests.stream, peer, &machine, login) {
                    Ok(session) => {
                        let window = shared.config.tasks_per_session;
                        (machine.accept(session.tsih(), window), Some(session))
                    }
                    Err(status) => {
                        tracing::info!(%peer, initiator, ?status, "login refused");
                        let answer = machine.refuse(status);
                        requests.stream.write_all(&answer.to_bytes())?;
                        return Ok(None);
                    }
                }
            }
        };
        let sent = requests.stream.write_all(&answer.to_bytes());
        let Some(session) = done else {
            sent?;
            continue;
        };
        let settled = sent.and_then(|()| requests.stream.set_read_timeout(None));
        if let Err(error) = settled {
            // The session is known already; nobody else will forget it.
            session.close();
            shared.registry.remove(session.tsih());
            return Err(error);
        }
        requests.deadline = None;
        requests.data_bytes_max = RECEIVE_BYTES_MAX as usize;
        tracing::info!(%peer, initiator = session.initiator(), "logged in");
        return Ok(Some((session, requests)));
    }
    Ok(None)
}

/// Decides on a login that is sound: who it is, whether there is room, and whose place it takes.
fn admit(
    shared: &Arc<Shared>,
    stream: &TcpStream,
    peer: SocketAddr,
    machine: &LoginMachine,
    login: Login,
) -> Result<Arc<Session>, Status> {
    let view = shared
        .access
        .host_view(&login.initiator)
        .ok_or(Status::NOT_AUTHORIZED)?;
    let old = shared
        .registry
        .close_where(|session| session.is_reinstated_by(&login.initiator, login.isid));
    for session in old {
        session.wait_until_idle();
        shared.registry.remove(session.tsih());
    }
    let nexus = Arc::new(Nexus::new());
    view.watch(&nexus);
    let unavailable = |_: io::Error| Status::OUT_OF_RESOURCES;
    let local = stream.local_addr().map_err(unavailable)?;
    let out = Outbound::new(stream.try_clone().map_err(unavailable)?);
    let core = Core::new(
        CoreConfig {
            params: login.params,
            discovery: login.discovery,
            cid: login.cid,
            cmd_sn: login.cmd_sn,
            // The last login answer takes one more.
            stat_sn: machine.next_stat_sn().wrapping_add(1),
            window: shared.config.tasks_per_session,
            view,
            nexus: Arc::clone(&nexus),
            target_iqn: shared.config.iqn.clone(),
            addresses: shared
                .addresses
                .iter()
                .map(|address| format!("{address},{PORTAL_GROUP}"))
                .collect(),
        },
        Instant::now(),
    );
    let make = |tsih| {
        let info = SessionInfo {
            tsih,
            initiator: login.initiator,
            peer,
            local,
            discovery: login.discovery,
            tasks: 0,
        };
        Session::new(info, login.isid, core, nexus, out, Arc::clone(shared))
    };
    shared.registry.add(make).map_err(|error| match error {
        AddError::Full => Status::OUT_OF_RESOURCES,
        AddError::Stopping => Status::SERVICE_UNAVAILABLE,
    })
}

/// The full feature phase, until the connection ends.
fn run(shared: &Arc<Shared>, session: &Arc<Session>, requests: &mut Requests) {
    let second = Arc::clone(session);
    let (ping_after, dead_after) = (shared.config.ping_after, shared.config.dead_after);
    let spawned = std::thread::Builder::new()
        .name("iscsi-send".to_owned())
        .spawn(move || second_thread(&second, ping_after, dead_after));
    let Ok(thread) = spawned else {
        tracing::warn!("no thread to send with: closing a connection");
        return;
    };
    loop {
        session.out().wait_for_room(UNHEARD_BYTES_MAX);
        match requests.next() {
            Ok(Some(request)) => session.on_request(request),
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(initiator = session.initiator(), %error, "connection lost");
                break;
            }
        }
        if !requests.more_at_hand() {
            session.flush();
        }
    }
    session.out().close();
    let _ = thread.join();
}

/// Goes on sending where others found the socket full, and keeps watch over silence.
fn second_thread(session: &Arc<Session>, ping_after: Duration, dead_after: Duration) {
    let tick = TICK.min(ping_after / 2).max(Duration::from_millis(1));
    loop {
        match session.out().wait(tick) {
            Woken::Closed => return,
            Woken::Tick => session.tick(ping_after, dead_after),
            Woken::Full => match session.out().drain(dead_after) {
                Ok(()) => session.flush(),
                Err(error) => {
                    tracing::info!(initiator = session.initiator(), %error, "cannot send");
                    session.out().close();
                }
            },
        }
    }
}
