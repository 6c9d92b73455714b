// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client in the commit window, over real sockets and TLS, against a peer that hangs up or keeps silent at will: which
//! connections `arm`, `commit` and `abort` use, and that none is made.

use array_api::wire::{CONTRACT_HEADER, ContractRange, ReadyAnswer};
use array_api::{
    AbortOutcome, Armed, Array, ArrayErrorKind, CommitReport, Enrolment, HttpsArray, KeyPin,
    Readiness, SetId, Token, key_pin_of_certificate,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);

/// An array that answers what a set needs.
struct Peer {
    address: String,
    pin: KeyPin,
    state: Arc<State>,
    /// One message for each commit that came, and was not answered.
    commits: Receiver<()>,
    /// One message for each connection on which a commit waited when the client closed it.
    closed: Receiver<()>,
}

#[derive(Default)]
struct State {
    accepted: AtomicU32,
    commit_hangs: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    /// The connections, by number, on which a request came.
    used: Mutex<BTreeSet<usize>>,
    held: Mutex<Option<Held>>,
}

/// The next call of this name is not answered before the other end of `until` is gone.
struct Held {
    call: &'static str,
    came: Sender<()>,
    until: Receiver<()>,
}

impl Peer {
    fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["peer".to_owned()]).unwrap();
        let pin = key_pin_of_certificate(made.cert.der()).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::<State>::default();
        let ((commit, commits), (close, closed)) = (channel(), channel());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let number = shared.accepted.fetch_add(1, Ordering::Relaxed) as usize;
                shared
                    .open
                    .lock()
                    .unwrap()
                    .push(socket.try_clone().unwrap());
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let (state, commit, close) = (Arc::clone(&shared), commit.clone(), close.clone());
                std::thread::spawn(move || {
                    serve(
                        number,
                        StreamOwned::new(tls, socket),
                        &state,
                        &commit,
                        &close,
                    )
                });
            }
        });
        Self {
            address,
            pin,
            state,
            commits,
            closed,
        }
    }

    fn client(&self) -> HttpsArray {
        let token = Token::random().unwrap();
        HttpsArray::new(&Enrolment::new(&self.address, self.pin, token).unwrap())
    }

    fn accepted(&self) -> u32 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Holds the answer to the next call of this name until the sender is dropped. The receiver hears when the call has come.
    fn hold(&self, call: &'static str) -> (Receiver<()>, Sender<()>) {
        let ((came, heard), (release, until)) = (channel(), channel());
        *self.state.held.lock().unwrap() = Some(Held { call, came, until });
        (heard, release)
    }

    /// Lets the time pass after which it closes idle connections: those on which no request came since the last time.
    fn idle_time_is_over(&self) {
        let used = std::mem::take(&mut *self.state.used.lock().unwrap());
        let unused = (0..self.accepted() as usize).filter(|number| !used.contains(number));
        self.hang_up(&unused.collect::<Vec<_>>());
    }

    /// Closes the connections with these numbers, in the order in which they were made.
    fn hang_up(&self, numbers: &[usize]) {
        let open = self.state.open.lock().unwrap();
        for number in numbers {
            // One that is closed already stays so.
            let _ = open[*number].shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Answers requests until the client closes. A commit that is to hang is not answered at all.
fn serve(
    number: usize,
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    state: &State,
    commit: &Sender<()>,
    close: &Sender<()>,
) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        let Some(path) = take_request(&mut input) else {
            let mut piece = [0; 4096];
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                count => input.extend_from_slice(&piece[..count]),
            }
            continue;
        };
        if path.ends_with("/commit") && state.commit_hangs.load(Ordering::Relaxed) {
            let _ = commit.send(());
            // Until the client gives up.
            let _ = stream.read(&mut [0; 1]);
            let _ = close.send(());
            return Ok(());
        }
        state.used.lock().unwrap().insert(number);
        let held = state
            .held
            .lock()
            .unwrap()
            .take_if(|held| path.ends_with(held.call));
        if let Some(held) = held {
            let _ = held.came.send(());
            // Fails when the test lets go, or has failed itself.
            let _ = held.until.recv();
        }
        let body = answer(&path);
        let head = format!(
            "HTTP/1.1 200 OK\r\n{CONTRACT_HEADER}: {}\r\nContent-Length: {}\r\n\r\n{body}",
            ContractRange::OURS,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
    }
}

/// The path of a request that is there as a whole, which is taken away.
fn take_request(input: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8_lossy(input).into_owned();
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    if rest.len() < length {
        return None;
    }
    input.drain(..head.len() + 4 + length);
    Some(head.split(' ').nth(1).unwrap().to_owned())
}

fn answer(path: &str) -> String {
    let json = match path.rsplit('/').next().unwrap() {
        "ready" => serde_json::to_string(&ReadyAnswer {
            readiness: Readiness::Ready,
        }),
        "arm" => serde_json::to_string(&Armed {
            commit_within_ms: 8_000,
        }),
        "commit" => serde_json::to_string(&CommitReport {
            held_us: 1,
            total_us: 2,
            luns: 3,
        }),
        "abort" => serde_json::to_string(&AbortOutcome {
            discarded: Vec::new(),
            kept: Vec::new(),
        }),
        "orphans" => Ok(r#"{"orphans":[]}"#.to_owned()),
        _ => Ok("{}".to_owned()),
    };
    json.unwrap()
}

/// A set that was made ready.
fn ready(array: &HttpsArray) -> SetId {
    let set = SetId::new_v4();
    assert_eq!(array.ready(WITHIN, set), Ok(Readiness::Ready));
    assert_eq!(array.warm_connections(), 2);
    set
}

/// T-177, ABT-9, COM-8: the abort has a connection of its own, which was made before.
#[test]
fn t177_abort_passes_a_blocked_commit_without_connecting() {
    let peer = Peer::start();
    let array = peer.client();
    let set = ready(&array);
    array.arm(WITHIN, set).unwrap();
    let before = array.connections_opened();
    peer.state.commit_hangs.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| array.commit(Duration::from_secs(2), set));
        peer.commits.recv_timeout(WITHIN).unwrap();

        array.abort(WITHIN, set, true).unwrap();

        assert!(!commit.is_finished(), "the abort waited for the commit");
        let error = commit.join().unwrap().unwrap_err();
        assert_eq!(error.kind, ArrayErrorKind::TimedOut);
    });
    assert_eq!(array.connections_opened(), before);
}

/// T-100, COM-9: the hard stop closes the socket, which is what cancels the call on the array's side.
#[test]
fn t100_commit_that_hangs_ends_in_its_time_and_hangs_up() {
    let peer = Peer::start();
    let array = peer.client();
    let set = ready(&array);
    peer.state.commit_hangs.store(true, Ordering::Relaxed);

    let error = array.commit(Duration::from_millis(300), set).unwrap_err();

    assert_eq!(error.kind, ArrayErrorKind::TimedOut);
    peer.closed.recv_timeout(WITHIN).unwrap();
}

/// T-254, TIME-22: one connection went stale; the other one carries the commit.
#[test]
fn t254_commit_uses_the_other_warm_connection_when_one_is_stale() {
    for stale in [0, 1] {
        let peer = Peer::start();
        let array = peer.client();
        let set = ready(&array);
        let before = array.connections_opened();
        peer.hang_up(&[stale]);

        assert_eq!(array.commit(WITHIN, set).unwrap().luns, 3);

        assert_eq!(array.connections_opened(), before);
    }
}

/// T-254, TIME-22, COM-8: nothing is connected in the window; the call fails at once instead.
#[test]
fn t254_arm_and_commit_fail_rather_than_connect() {
    type Call = fn(&HttpsArray, SetId) -> Option<ArrayErrorKind>;
    let calls: [Call; 2] = [
        |array, set| array.arm(WITHIN, set).err().map(|e| e.kind),
        |array, set| array.commit(WITHIN, set).err().map(|e| e.kind),
    ];
    for call in calls {
        let peer = Peer::start();
        let array = peer.client();
        let set = ready(&array);
        peer.hang_up(&[0, 1]);

        assert_eq!(call(&array, set), Some(ArrayErrorKind::Unreachable));

        assert_eq!((array.connections_opened(), peer.accepted()), (2, 2));
        // Outside the window a new one is made: to give the set up, and for the next set.
        array.abort(WITHIN, set, true).unwrap();
        assert_eq!(peer.accepted(), 3);
        let next = ready(&array);
        array.commit(WITHIN, next).unwrap();
    }
}

/// COM-8, GEN-9: what other threads ask meanwhile does not take the warm connections away.
#[test]
fn window_keeps_its_connections_from_other_calls() {
    let peer = Peer::start();
    let array = peer.client();
    let set = ready(&array);
    assert_eq!(peer.accepted(), 2);
    for _ in 0..3 {
        array.orphans(WITHIN).unwrap();
    }
    assert_eq!(peer.accepted(), 3, "one more, for all of them");
    assert_eq!(array.warm_connections(), 2);
    array.arm(WITHIN, set).unwrap();
    array.commit(WITHIN, set).unwrap();
    assert_eq!(peer.accepted(), 3);
}

/// EPS-2, PRE-3: a set whose commit would have no connection is not ready.
#[test]
fn ready_replaces_stale_connections() {
    let peer = Peer::start();
    let array = peer.client();
    ready(&array);
    peer.hang_up(&[0, 1]);
    ready(&array);
    assert_eq!(peer.accepted(), 4);
}

/// T-099, PRE-3: a set that waits long is made ready again now and then. Its connections outlive the array's limit for idle
/// ones, and none has to be made.
#[test]
fn t099_ready_again_keeps_the_warm_connections_alive() {
    let peer = Peer::start();
    let array = peer.client();
    let set = ready(&array);
    for _ in 0..4 {
        peer.idle_time_is_over();
        assert_eq!(array.ready(WITHIN, set), Ok(Readiness::Ready));
        assert_eq!(array.warm_connections(), 2);
    }
    peer.idle_time_is_over();
    array.arm(WITHIN, set).unwrap();
    array.commit(WITHIN, set).unwrap();
    assert_eq!((array.connections_opened(), peer.accepted()), (2, 2));
}

/// T-099: PreCommitSnapshots may come while the set is just made ready again.
#[test]
fn t099_arm_finds_a_warm_connection_while_the_other_is_tried() {
    let peer = Peer::start();
    let array = peer.client();
    let set = ready(&array);
    std::thread::scope(|scope| {
        let (tried, silent) = peer.hold("/info");
        let again = scope.spawn(|| array.ready(WITHIN, set));
        tried.recv_timeout(WITHIN).unwrap();

        array.arm(WITHIN, set).unwrap();

        assert!(!again.is_finished(), "it is still tried");
        drop(silent);
        assert_eq!(again.join().unwrap(), Ok(Readiness::Ready));
    });
    array.commit(WITHIN, set).unwrap();
    assert_eq!(array.connections_opened(), 2);
}

/// T-099, COM-8: the connection that PreCommitSnapshots has in use is not missing; none is made in its place.
#[test]
fn t099_ready_again_opens_nothing_while_arm_is_under_way() {
    let peer = Peer::start();
    let array = peer.client();
    let set = ready(&array);
    std::thread::scope(|scope| {
        let (came, silent) = peer.hold("/arm");
        let arm = scope.spawn(|| array.arm(WITHIN, set));
        came.recv_timeout(WITHIN).unwrap();

        assert_eq!(array.ready(WITHIN, set), Ok(Readiness::Ready));

        assert!(!arm.is_finished(), "the set is being armed");
        drop(silent);
        arm.join().unwrap().unwrap();
    });
    assert_eq!(array.warm_connections(), 2);
    array.commit(WITHIN, set).unwrap();
    assert_eq!((array.connections_opened(), peer.accepted()), (2, 2));
}

/// T-254, PRE-3: an arm that found no connection can be made again, after a `ready`.
#[test]
fn t254_ready_after_a_failed_arm_connects_anew() {
    let peer = Peer::start();
    let array = peer.client();
    let set = ready(&array);
    peer.hang_up(&[0, 1]);
    let error = array.arm(WITHIN, set).unwrap_err();
    assert_eq!(error.kind, ArrayErrorKind::Unreachable);

    assert_eq!(array.ready(WITHIN, set), Ok(Readiness::Ready));

    assert_eq!(array.warm_connections(), 2);
    array.arm(WITHIN, set).unwrap();
}
