// SPDX-License-Identifier: MIT OR Apache-2.0
//! All connections and sessions of a target: numbers, limits, reinstatement, end.

use crate::config::SessionInfo;
use crate::session::Session;
use crate::target::Shared;
use rustix::net::Shutdown;
use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Connections beyond the session limit that may be logging in, or be told that there is no room.
const CONNECTIONS_SPARE: usize = 32;

pub(crate) struct Registry {
    sessions_max: usize,
    state: Mutex<State>,
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// Every open connection, logged in or not, so that stopping reaches it.
    connections: BTreeMap<u64, TcpStream>,
    connections_made: u64,
    sessions: BTreeMap<u16, Arc<Session>>,
    last_tsih: u16,
}

/// Why a session cannot be added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AddError {
    /// No room (login status 0302h).
    Full,
    /// The target is being stopped (0301h).
    Stopping,
}

/// A connection's place in the registry.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let registry = &self.shared.registry;
        registry.lock().connections.remove(&self.number);
        registry.emptied.notify_all();
    }
}

impl Registry {
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self {
            sessions_max,
            state: Mutex::default(),
            emptied: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code that can panic runs under the registry's lock")
    }

    /// A place for a connection, or `None` when there is none left.
    pub(crate) fn admit(shared: &Arc<Shared>, stream: &TcpStream) -> Option<Ticket> {
        let clone = clone_stream(stream).ok()?;
        let registry = &shared.registry;
        let mut state = registry.lock();
        if state.stopping || state.connections.len() >= registry.sessions_max + CONNECTIONS_SPARE {
            return None;
        }
        state.connections_made += 1;
        let number = state.connections_made;
        state.connections.insert(number, clone);
        Some(Ticket {
            shared: Arc::clone(shared),
            number,
        })
    }

    /// Adds the session that `make` builds for a free TSIH.
    pub(crate) fn add(
        &self,
        make: impl FnOnce(u16) -> Arc<Session>,
    ) -> Result<Arc<Session>, AddError> {
        let mut state = self.lock();
        if state.stopping {
            return Err(AddError::Stopping);
        }
        if state.sessions.len() >= self.sessions_max {
            return Err(AddError::Full);
        }
        // 0 says "new session" on the wire; there are fewer sessions than numbers, so a free one comes up.
        let tsih = loop {
            state.last_tsih = state.last_tsih.wrapping_add(1);
            if state.last_tsih != 0 && !state.sessions.contains_key(&state.last_tsih) {
                break state.last_tsih;
            }
        };
        let session = make(tsih);
        state.sessions.insert(tsih, Arc::clone(&session));
        Ok(session)
    }

    /// Forgets a session; its connection has ended and its tasks are gone.
    pub(crate) fn remove(&self, tsih: u16) {
        self.lock().sessions.remove(&tsih);
        self.emptied.notify_all();
    }

    /// All sessions at this moment.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.lock().sessions.values().cloned().collect()
    }

    pub(crate) fn list(&self) -> Vec<SessionInfo> {
        self.all().iter().map(|session| session.info()).collect()
    }

    /// Closes the sessions that `which` picks and says which they were. Their commands may still be executing.
    pub(crate) fn close_where(&self, which: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let mut picked = self.all();
        picked.retain(|session| which(session));
        for session in &picked {
            session.close();
        }
        picked
    }

    pub(crate) fn stopping(&self) -> bool {
        self.lock().stopping
    }

    /// No new connections; the present ones are cut.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for stream in state.connections.values() {
            // The peer may have closed it already, which is as good.
            let _ = rustix::net::shutdown(stream, Shutdown::Both);
        }
    }

    /// Waits until every connection's thread has ended.
    pub(crate) fn wait_until_empty(&self) {
        let mut state = self.lock();
        while !state.connections.is_empty() || !state.sessions.is_empty() {
            state = self
                .emptied
                .wait(state)
                .expect("no code that can panic runs under the registry's lock");
        }
    }
}

fn clone_stream(stream: &TcpStream) -> io::Result<TcpStream> {
    stream.try_clone()
}
