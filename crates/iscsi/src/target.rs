// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::config::{SessionInfo, StartError, TargetConfig};
use crate::conn;
use crate::pool::Pool;
use crate::registry::Registry;
use crate::view::Access;
use rustix::net::Shutdown;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What all connections of a target share.
pub(crate) struct Shared {
    pub(crate) config: TargetConfig,
    pub(crate) access: Arc<dyn Access>,
    /// Where the target really listens, in the order of the configuration.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) registry: Registry,
    pub(crate) pool: Arc<Pool>,
}

/// A running target. Dropping it shuts it down.
pub struct Target {
    shared: Arc<Shared>,
    listeners: Vec<(Arc<TcpListener>, JoinHandle<()>)>,
}

impl Target {
    /// Listens on all addresses and serves `access`'s views until [`Target::shutdown`].
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left listening.
    pub fn start(config: TargetConfig, access: Arc<dyn Access>) -> Result<Self, StartError> {
        config.check()?;
        let sockets = config
            .listen
            .iter()
            .map(|&address| listen(address))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses = sockets.iter().map(|(_, address)| *address).collect();
        let pool = Pool::start(config.workers).map_err(StartError::Thread)?;
        let shared = Arc::new(Shared {
            registry: Registry::new(config.sessions_max),
            config,
            access,
            addresses,
            pool,
        });
        let mut target = Self {
            shared,
            listeners: Vec::new(),
        };
        for (socket, address) in sockets {
            let socket = Arc::new(socket);
            let shared = Arc::clone(&target.shared);
            let accepting = Arc::clone(&socket);
            let thread = std::thread::Builder::new()
                .name(format!("iscsi-{}", address.port()))
                .spawn(move || accept_loop(&shared, &accepting))
                .map_err(StartError::Thread)?;
            target.listeners.push((socket, thread));
        }
        Ok(target)
    }

    /// Where the target listens; ports that were 0 are filled in.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shared.addresses.clone()
    }

    /// All sessions that are up, by TSIH.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.shared.registry.list()
    }

    /// Closes every session of `initiator`, waits until no command of theirs is being executed, and says how many
    /// there were. The initiator may log in again as long as [`Access`] lets it.
    pub fn drop_sessions(&self, initiator: &str) -> usize {
        let dropped = self
            .shared
            .registry
            .close_where(|session| session.initiator() == initiator);
        for session in &dropped {
            session.wait_until_idle();
        }
        dropped.len()
    }

    /// Stops listening, closes all sessions, and returns when no command is being executed any more.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.shared.registry.stop();
        for (socket, thread) in self.listeners.drain(..) {
            // On Linux this ends a blocked accept(2) with EINVAL; nothing else does without another thread's help.
            let _ = rustix::net::shutdown(&*socket, Shutdown::Both);
            drop(socket);
            let _ = thread.join();
        }
        self.shared.registry.wait_until_empty();
        self.shared.pool.stop();
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bind = || {
        let socket = TcpListener::bind(address)?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    bind().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse(address),
        _ => StartError::Bind { address, source },
    })
}

fn accept_loop(shared: &Arc<Shared>, listener: &TcpListener) {
    while !shared.registry.stopping() {
        match listener.accept() {
            Ok((stream, peer)) => spawn_connection(shared, stream, peer),
            Err(error) if shared.registry.stopping() => {
                tracing::debug!(%error, "listener closed");
            }
            // Out of descriptors or memory: going on at once would only spin.
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn spawn_connection(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let Some(ticket) = Registry::admit(shared, &stream) else {
        tracing::warn!(%peer, "too many connections: closed at once");
        return;
    };
    let shared = Arc::clone(shared);
    let spawned = std::thread::Builder::new()
        .name(format!("iscsi-{}", peer.port()))
        .spawn(move || {
            conn::serve(&shared, stream, peer);
            drop(ticket);
        });
    if let Err(error) = spawned {
        tracing::warn!(%peer, %error, "no thread for a connection: closed at once");
    }
}
