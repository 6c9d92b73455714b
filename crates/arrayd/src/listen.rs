// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two listeners: HTTPS for hosts, a unix socket for administrators. Connections are bounded in number, in all and
//! per address, so that no single peer, enrolled or not, can keep the others out by opening connections and staying
//! silent. They end with the daemon: a request under way is answered first.

use crate::admin;
use crate::service::Service;
use array_api::wire::REQUEST_BYTES_MAX;
use array_api::{ArrayError, ArrayErrorKind, ErrorBody};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Connections of hosts at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 256;
/// Connections from one address at once; more are closed. A provider keeps at most 8.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;
/// Connections of administrators at once.
const ADMIN_CONNECTIONS_MAX: usize = 32;
/// A peer that does not finish the TLS handshake in this time is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Idle connections are closed after this time: twice what the provider's client keeps them.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// A peer that takes in nothing of an answer for so long is gone.
const UNREAD_MS_MAX: u32 = 30_000;
/// Requests under way get this long when the daemon ends.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left, say) the loop must not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Says when to stop; the sender's `true` or its end.
pub(crate) type Stop = watch::Receiver<bool>;

/// Comes back when it is time to stop. The watch's guard must not live over an await.
pub(crate) async fn stopped(stop: &mut Stop) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves hosts until `stop`, and what is under way then to its end.
pub(crate) async fn serve_hosts(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    mut stop: Stop,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let peers = Arc::new(Peers::default());
    while let Some(slot) = free_slot(&slots, &mut stop).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = peers.enter(peer.ip()) else {
            tracing::debug!(%peer, "closed: too many connections from this address");
            continue;
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            let _held = (slot, place);
            serve_host(socket, tls, router, stop).await;
        });
    }
    // Who connects now is told so at once.
    drop(listener);
    drain(&slots, CONNECTIONS_MAX).await;
}

async fn serve_host(socket: TcpStream, tls: TlsAcceptor, router: Router, mut stop: Stop) {
    // Small answers to small questions: waiting to fill a segment would only delay a commit.
    let _ = socket.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&socket, UNREAD_MS_MAX);
    let handshake = tokio::time::timeout(HANDSHAKE_MAX, tls.accept(socket));
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        () = stopped(&mut stop) => return,
    };
    match handshake {
        Ok(Ok(stream)) => serve(stream, router, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS connection"),
        Err(_) => tracing::debug!("no TLS connection in time"),
    }
}

/// A slot for one more connection; `None` when it is time to stop, also while all are taken.
async fn free_slot(slots: &Arc<Semaphore>, stop: &mut Stop) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        slot = Arc::clone(slots).acquire_owned() => {
            Some(slot.expect("the semaphore is never closed"))
        }
        () = stopped(stop) => None,
    }
}

/// Waits until all connections have ended. Without this the runtime would drop the answers of calls under way.
async fn drain(slots: &Semaphore, count: usize) {
    let count = u32::try_from(count).expect("a small number");
    if tokio::time::timeout(DRAIN_MAX, slots.acquire_many(count))
        .await
        .is_err()
    {
        tracing::warn!("connections that did not come to their end are cut");
    }
}

/// How many connections each address has.
#[derive(Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// One connection's place; given back when dropped.
struct Place {
    peers: Arc<Peers>,
    address: IpAddr,
}

impl Peers {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        (*count < CONNECTIONS_PER_ADDRESS_MAX).then(|| {
            *count += 1;
            Place {
                peers: Arc::clone(self),
                address,
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = self.peers.0.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Serves administrators until `stop`. Only root and the daemon's own user are heard.
pub(crate) async fn serve_admin(listener: UnixListener, service: Arc<Service>, mut stop: Stop) {
    let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    let router = admin_router(service);
    let own_uid = rustix::process::geteuid().as_raw();
    while let Some(slot) = free_slot(&slots, &mut stop).await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an admin connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let uid = stream.peer_cred().map(|peer| peer.uid());
        if !uid.as_ref().is_ok_and(|uid| may_administer(*uid, own_uid)) {
            tracing::warn!(?uid, "refused an admin connection");
            continue;
        }
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            let _slot = slot;
            serve(stream, router, stop).await;
        });
    }
    drop(listener);
    drain(&slots, ADMIN_CONNECTIONS_MAX).await;
}

/// Opens the admin socket. The caller has the store's lock, so a socket that is there belongs to a dead daemon.
pub(crate) fn bind_admin(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Until here the mode of the state directory and the peer's credentials guard the socket.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn may_administer(peer_uid: u32, own_uid: u32) -> bool {
    peer_uid == 0 || peer_uid == own_uid
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, mut stop: Stop) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}

fn admin_router(service: Arc<Service>) -> Router {
    Router::new()
        .route(admin::PATH, post(administer))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(service)
}

async fn administer(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    let work = move || {
        let request = serde_json::from_slice(&body).map_err(|error| {
            ArrayError::new(
                ArrayErrorKind::InvalidRequest,
                format!("the daemon does not know this request: {error}"),
                "use the shadowlun of the daemon's version",
            )
        })?;
        service.admin(request)
    };
    let result = tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "an admin call ended in a panic");
            Err(ArrayError::new(
                ArrayErrorKind::Internal,
                "the daemon failed in this call",
                "look at its log and report it as a defect",
            ))
        });
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => {
            let status = StatusCode::from_u16(error.kind.http_status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(ErrorBody::from(error))).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_one_address_cannot_take_all_places() {
        let peers = Arc::new(Peers::default());
        let (greedy, modest) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut places: Vec<Place> = (0..CONNECTIONS_PER_ADDRESS_MAX)
            .map(|_| peers.enter(greedy).unwrap())
            .collect();
        assert!(peers.enter(greedy).is_none());
        assert!(peers.enter(modest).is_some());
        places.pop();
        assert!(peers.enter(greedy).is_some());
        places.clear();
        assert!(peers.0.lock().unwrap().is_empty());
    }

    #[test]
    fn may_administer_root_and_own_user_only() {
        assert!(may_administer(0, 1000));
        assert!(may_administer(1000, 1000));
        assert!(!may_administer(1001, 1000));
        assert!(!may_administer(1000, 0));
    }
}
