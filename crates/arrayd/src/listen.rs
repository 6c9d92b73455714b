// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two listeners: HTTPS for hosts, a unix socket for administrators. Connections are bounded in number and end with
//! the daemon: a request under way is answered first.

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
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Connections of hosts at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 256;
/// Connections of administrators at once.
const ADMIN_CONNECTIONS_MAX: usize = 32;
/// A peer that does not finish the TLS handshake in this time is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Idle connections are closed after this time: twice what the provider's client keeps them.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// After a failed accept (no file descriptors left, say) the loop must not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Says when to stop; the sender's `true` or its end.
pub(crate) type Stop = watch::Receiver<bool>;

/// Comes back when it is time to stop. The watch's guard must not live over an await.
pub(crate) async fn stopped(stop: &mut Stop) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves hosts until `stop`.
pub(crate) async fn serve_hosts(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    mut stop: Stop,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            let _slot = slot;
            // Small answers to small questions: waiting to fill a segment would only delay a commit.
            let _ = socket.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(socket)).await {
                Ok(Ok(stream)) => serve(stream, router, stop).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS connection"),
                Err(_) => tracing::debug!(%peer, "no TLS connection in time"),
            }
        });
    }
}

/// Serves administrators until `stop`. Only root and the daemon's own user are heard.
pub(crate) async fn serve_admin(listener: UnixListener, service: Arc<Service>, mut stop: Stop) {
    let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    let router = admin_router(service);
    let own_uid = rustix::process::geteuid().as_raw();
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
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
    fn may_administer_root_and_own_user_only() {
        assert!(may_administer(0, 1000));
        assert!(may_administer(1000, 1000));
        assert!(!may_administer(1001, 1000));
        assert!(!may_administer(1000, 0));
    }
}
