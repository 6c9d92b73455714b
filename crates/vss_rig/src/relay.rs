// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TCP relay on loopback between a provider and its array, so that the connection can be cut and traffic be seen
//! without the array's or the provider's help.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The relay; its threads end when it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    cut: AtomicBool,
    ended: AtomicBool,
    bytes_sent: AtomicU64,
    connection_count: AtomicU64,
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
}

impl Relay {
    /// Listens on a free port and passes each connection on to `upstream`.
    pub(crate) fn start(upstream: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            cut: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            bytes_sent: AtomicU64::new(0),
            connection_count: AtomicU64::new(0),
            open: Mutex::default(),
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

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections and lets none through until [`Relay::mend`].
    pub(crate) fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        self.shared.close_all();
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.shared.cut.store(false, Ordering::SeqCst);
    }

    /// Bytes that clients sent so far. Unchanged over a call means that the call asked the array nothing.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.shared.bytes_sent.load(Ordering::SeqCst)
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
        self.shared.close_all();
    }
}

impl Shared {
    fn close_all(&self) {
        for (_, pair) in self.open().drain() {
            for stream in pair {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, [TcpStream; 2]>> {
        self.open.lock().expect("nothing panics under this lock")
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.cut.load(Ordering::SeqCst) {
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
    shared
        .open()
        .insert(id, [client.try_clone()?, array.try_clone()?]);
    if shared.cut.load(Ordering::SeqCst) {
        // Cut between the look above and the entry: nobody else closes this pair.
        shared.close_all();
    }
    let (client_back, array_back) = (client.try_clone()?, array.try_clone()?);
    let counted = Arc::clone(shared);
    std::thread::spawn(move || {
        copy(client, array, |bytes| {
            counted.bytes_sent.fetch_add(bytes, Ordering::SeqCst);
        });
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        copy(array_back, client_back, |_| ());
        shared.open().remove(&id);
    });
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, count: impl Fn(u64)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        count(length as u64);
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
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

    #[test]
    fn relay_open_passes_both_ways_and_counts() {
        let (upstream, thread) = echo_once();
        let relay = Relay::start(upstream).unwrap();
        let mut client = TcpStream::connect(relay.address()).unwrap();
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
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let mut answer = [0; 4];
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut answer).unwrap();

        relay.cut();

        assert!(client.read_exact(&mut answer).is_err());
        let mut late = TcpStream::connect(relay.address()).unwrap();
        assert!(late.read_exact(&mut answer).is_err());
        drop(relay);
        thread.join().unwrap();
    }
}
