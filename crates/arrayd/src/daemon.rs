// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting and ending `shadowlund`.
//!
//! **Order of the start.** Configuration, ports, store, catalogue, iSCSI, HTTPS, admin socket, then "ready". Ports come
//! before anything is written, so that a daemon that cannot start leaves nothing; the admin socket comes after the
//! store, whose lock says that no other daemon owns the socket that may lie there.

use crate::api;
use crate::config::{Config, ConfigError};
use crate::key::{self, KeyError};
use crate::listen::{self, Stop};
use crate::notify;
use crate::service::{Endpoints, OpenError, Service};
use lun_store::{CreateOptions, Store, StoreError};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::EnvFilter;

/// Name of the admin socket in the state directory.
pub const ADMIN_SOCKET: &str = "admin.sock";
const STORE_DIR: &str = "store";
/// How often idle sets and the space are looked at.
const JANITOR_PERIOD: Duration = Duration::from_secs(30);
/// Calls under way at the end get this long.
const SHUTDOWN_MAX: Duration = Duration::from_secs(20);

/// Why the daemon did not start, in one line with cause and remedy. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log filter.
    #[error(
        "the setting log = {0:?} is no filter (use error, warn, info, debug, trace, or crate=level)"
    )]
    Log(String),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address} for {what}: {source} (stop the other program, or set another {setting})"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Who would listen.
        what: &'static str,
        /// The setting to change.
        setting: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The state directory.
    #[error(
        "the state directory {path} cannot be used: {source} (check that it can be written, or set another state_dir)"
    )]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The store cannot be made or opened.
    #[error("the store in {path} cannot be used: {source}{}", store_remedy(.source))]
    Store {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// What the store holds.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Key or certificate.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The iSCSI target.
    #[error("the iSCSI target does not start: {0} (see the settings of [iscsi])")]
    Iscsi(#[from] iscsi::StartError),
    /// The admin socket.
    #[error(
        "the admin socket {path} cannot be opened: {source} (its path may have 107 bytes; set a shorter state_dir)"
    )]
    AdminSocket {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Threads, signals.
    #[error("the system refused: {0} (look at its limits)")]
    System(io::Error),
}

/// Why a daemon that had started ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It had not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store could not be closed in order; the next start recovers it.
    #[error("the store was not closed in order: {0} (the next start recovers it)")]
    Close(StoreError),
    /// Calls did not come to their end.
    #[error("calls did not come to their end in time (the next start recovers the store)")]
    Busy,
}

fn store_remedy(error: &StoreError) -> &'static str {
    match error {
        StoreError::Version { .. } => " (use the version that wrote it; nothing was changed)",
        StoreError::InUse(_) => "",
        StoreError::NotAStore { .. } | StoreError::AlreadyExists(_) => {
            " (set another state_dir, or restore the store from a backup)"
        }
        StoreError::BadCapacity(_) => " (set another store.capacity)",
        StoreError::Io { .. } | StoreError::Block(_) => {
            " (check permissions and the space of its file system)"
        }
        _ => " (restore the store from a backup)",
    }
}

struct Running {
    service: Arc<Service>,
    hosts: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
    admin: tokio::net::UnixListener,
    admin_path: PathBuf,
}

/// Runs the daemon until SIGTERM or SIGINT.
pub fn run(config_path: &Path) -> Result<(), RunError> {
    let config = Config::load(config_path).map_err(StartError::from)?;
    start_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("shadowlund-api")
        .enable_all()
        .build()
        .map_err(StartError::System)?;
    let result = runtime.block_on(async {
        // Before "ready": whoever reads that may send SIGTERM at once.
        let terminate = signal(SignalKind::terminate()).map_err(StartError::System)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(StartError::System)?;
        let running = start(config)?;
        let service = Arc::clone(&running.service);
        let admin_path = running.admin_path.clone();
        serve(running, [terminate, interrupt]).await;
        Ok::<_, StartError>((service, admin_path))
    });
    // Blocking calls belong to the runtime: a commit under way ends before the store is closed.
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    let (service, admin_path) = result?;
    let _ = std::fs::remove_file(admin_path);
    service.stop_target();
    let service = Arc::into_inner(service).ok_or(RunError::Busy)?;
    service.close().map_err(RunError::Close)?;
    tracing::info!("stopped");
    Ok(())
}

fn start_log(config: &Config) -> Result<(), StartError> {
    let filter =
        EnvFilter::try_new(&config.log).map_err(|_| StartError::Log(config.log.clone()))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false);
    // A second start in one process keeps the first log.
    let _ = subscriber.try_init();
    Ok(())
}

fn start(config: Config) -> Result<Running, StartError> {
    let hosts = bind(config.api_listen, "hosts", "api.listen")?;
    for address in &config.iscsi_listen {
        // Tried and let go: the target binds for itself, once there are LUNs to show.
        bind(*address, "iSCSI", "iscsi.listen")?;
    }
    make_state_dir(&config.state_dir)?;
    let store = open_store(&config)?;
    let service = Arc::new(Service::open(config, store)?);
    let config = service.config();
    let key = key::load_or_create(&config.state_dir)?;
    let target_config =
        iscsi::TargetConfig::new(config.target_iqn.clone(), config.iscsi_listen.clone());
    let target = iscsi::Target::start(target_config, service.exports())?;
    let iscsi_addresses = target.local_addrs();
    service.set_target(target);
    let api_address = hosts.local_addr().map_err(StartError::System)?;
    service.set_endpoints(Endpoints {
        api_address,
        key_pin: key.pin,
    });
    let admin_path = config.state_dir.join(ADMIN_SOCKET);
    let admin = listen::bind_admin(&admin_path).map_err(|source| StartError::AdminSocket {
        path: admin_path.clone(),
        source,
    })?;
    hosts.set_nonblocking(true).map_err(StartError::System)?;
    let hosts = tokio::net::TcpListener::from_std(hosts).map_err(StartError::System)?;
    announce(&service, api_address, &iscsi_addresses, &admin_path)?;
    Ok(Running {
        service,
        hosts,
        acceptor: TlsAcceptor::from(key.config),
        admin,
        admin_path,
    })
}

fn bind(
    address: SocketAddr,
    what: &'static str,
    setting: &'static str,
) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen {
        address,
        what,
        setting,
        source,
    })
}

fn make_state_dir(path: &Path) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StartError::StateDir {
            path: path.to_owned(),
            source,
        })
}

/// Opens the store, or makes it at the first start. A start that was killed while making it left what is no store yet:
/// `create` knows its own leftovers, and refuses everything else.
fn open_store(config: &Config) -> Result<Store, StartError> {
    let path = config.state_dir.join(STORE_DIR);
    let options = CreateOptions {
        capacity_bytes: config.capacity_bytes,
        ..CreateOptions::default()
    };
    let result = match path.exists() {
        true => Store::open(&path).or_else(|error| match error {
            StoreError::NotAStore { .. } => Store::create(&path, &options).map_err(|_| error),
            _ => Err(error),
        }),
        false => Store::create(&path, &options),
    };
    result.map_err(|source| StartError::Store { path, source })
}

/// The one line on standard output: scripts wait for it and read the real ports from it.
fn announce(
    service: &Service,
    api: SocketAddr,
    iscsi: &[SocketAddr],
    admin: &Path,
) -> Result<(), StartError> {
    let portals: Vec<String> = iscsi.iter().map(SocketAddr::to_string).collect();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "ready api={api} iscsi={} target={} socket={}",
        portals.join(","),
        service.config().target_iqn,
        admin.display()
    )
    .and_then(|()| out.flush())
    .map_err(StartError::System)?;
    if let Err(error) = notify::ready() {
        tracing::warn!(%error, "the service manager could not be told");
    }
    tracing::info!(%api, iscsi = portals.join(","), "started");
    Ok(())
}

async fn serve(running: Running, signals: [Signal; 2]) {
    let [mut terminate, mut interrupt] = signals;
    let (stop, stopped) = watch::channel(false);
    let service = running.service;
    let router = api::router(Arc::clone(&service));
    let hosts = listen::serve_hosts(running.hosts, running.acceptor, router, stopped.clone());
    let hosts = tokio::spawn(hosts);
    let admin = listen::serve_admin(running.admin, Arc::clone(&service), stopped.clone());
    let admin = tokio::spawn(admin);
    let janitor = tokio::spawn(look_after(service, stopped));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let _ = stop.send(true);
    for task in [hosts, admin, janitor] {
        let _ = task.await;
    }
}

/// Looks for forgotten sets and at the space now and then.
async fn look_after(service: Arc<Service>, mut stop: Stop) {
    loop {
        tokio::select! {
            _ = tokio::time::sleep(JANITOR_PERIOD) => {}
            () = listen::stopped(&mut stop) => return,
        }
        let service = Arc::clone(&service);
        let look = move || {
            service.discard_idle();
            if let Err(error) = service.space() {
                tracing::error!(%error, "looking at the space");
            }
        };
        let _ = tokio::task::spawn_blocking(look).await;
    }
}
