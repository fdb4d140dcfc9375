//! The whole server on one port: from a configuration to a stop signal.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin::channel::{AdminChannel, HoldError};
use crate::admin::{self, AdminCall, AdminError, AdminReply, peer_limits};
use crate::clock;
use crate::config::ServerConfig;
use crate::connection::{self, Shared};
use crate::http::{self, Admission, HttpState, OnSocket, Readiness, WebSocket, listen};
use crate::identity::accounts::{Accounts, CannotHash, Stores};
use crate::identity::{NoTls, Verifier};
use crate::quotas::Quotas;
use crate::session::Bounds;
use crate::store::sqlite::SqliteOptions;
use crate::telemetry::metrics::Metrics;
use crate::tls::{Acceptor, TlsError};
use crate::token::{KeyError, TokenKey};
use crate::workspaces::Workspaces;

/// The server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token key's file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys of issuers cannot be fetched.
    #[error(transparent)]
    Issuers(#[from] NoTls),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Passwords(#[from] CannotHash),
    /// Another server holds the data directory, or it cannot be written.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The data directory.
    #[error("{path}: {source}")]
    DataDir {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A server that listens and is not serving yet.
pub struct Server {
    config: Arc<ServerConfig>,
    listener: TcpListener,
    tls: Option<Acceptor>,
    shared: Arc<Shared>,
    accounts: Arc<Accounts>,
    stop: watch::Sender<bool>,
    metrics: Metrics,
    admin: AdminChannel,
}

struct Sockets(Arc<Shared>);

impl OnSocket for Sockets {
    fn serve(
        &self,
        socket: WebSocket,
        admission: Admission,
    ) -> futures_util::future::BoxFuture<'static, ()> {
        Box::pin(connection::serve(Arc::clone(&self.0), socket, admission))
    }
}

impl Server {
    /// Opens the data directory and binds the address.
    ///
    /// # Errors
    /// When the directory, the key, the certificate or the address cannot be had.
    pub async fn bind(config: ServerConfig) -> Result<Self, ServeError> {
        let folder = config.data_dir.join("workspaces");
        std::fs::create_dir_all(&folder)
            .map_err(|source| ServeError::DataDir { path: folder.display().to_string(), source })?;
        let admin = AdminChannel::open(&config.data_dir)?;
        let key = TokenKey::open_or_create(&config.token_key())?;
        let tls = match &config.tls {
            Some(files) => Some(Acceptor::from_files(&files.cert, &files.key)?),
            None => None,
        };
        let address = config.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen { address, source })?;
        let metrics = Metrics::new();
        let limits = peer_limits(&config);
        let (stop, stopping) = watch::channel(false);
        let options = SqliteOptions {
            max_page_count: config.storage.max_page_count,
            ..SqliteOptions::default()
        };
        let data_dir = config.data_dir.clone();
        let workspaces = Arc::new(Workspaces::new(data_dir, options, limits, metrics.clone()));
        let accounts = Accounts::new(
            Arc::clone(&workspaces) as Arc<dyn Stores>,
            key.clone(),
            config.accounts.clone(),
            metrics.identity.clone(),
        )?;
        let verifier = Verifier::start(key, &config.issuers, metrics.identity.clone())?;
        let shared = Arc::new(Shared {
            workspaces,
            verifier,
            bounds: Bounds {
                peer: limits,
                idle_timeout_ms: millis(config.limits.idle_timeout),
                handshake_timeout_ms: millis(config.limits.handshake_timeout),
            },
            // One that stops reading for half as long as it may be silent is gone or hopeless.
            write_timeout: config.limits.idle_timeout / 2,
            quotas: Quotas::new(&config.limits),
            metrics: metrics.clone(),
            stopping,
            sessions: AtomicU64::new(1),
        });
        let (config, accounts) = (Arc::new(config), Arc::new(accounts));
        Ok(Self { config, listener, tls, shared, accounts, stop, metrics, admin })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// When the operating system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Its figures; clones count into the same ones.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Serves until `shutdown`, then says goodbye to every connection and finishes what was handed in.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let readiness = Readiness::default();
        let on_socket = Arc::new(Sockets(Arc::clone(&self.shared)));
        let state = HttpState::new(
            Arc::clone(&self.config),
            readiness.clone(),
            self.metrics.clone(),
            on_socket,
        )
        .with_accounts(self.accounts);
        let router = http::router(state);
        readiness.set_ready();
        let (config, shared) = (Arc::clone(&self.config), Arc::clone(&self.shared));
        let administer = move |call| administer(Arc::clone(&config), Arc::clone(&shared), call);
        let admin = tokio::spawn(self.admin.serve(administer, self.shared.stopping.clone()));
        let stop = self.stop;
        let draining = readiness;
        let stopped = async move {
            shutdown.await;
            draining.set_draining();
            // Without connections nobody listens, and nobody needs to.
            let _ = stop.send(true);
        };
        let bounds = listen::Bounds::of(&self.config);
        listen::run(self.listener, self.tls, router, bounds, self.metrics, stopped).await;
        // The data directory is held until its workspaces are closed.
        let held = admin.await;
        if held.is_err() {
            tracing::error!("the admin channel did not stop cleanly");
        }
        let shared = self.shared;
        let finished = tokio::task::spawn_blocking(move || shared.workspaces.stop()).await;
        if finished.is_err() {
            tracing::error!("a workspace did not stop cleanly");
        }
    }
}

/// Does what a command asks, on the thread of its workspace.
async fn administer(
    config: Arc<ServerConfig>,
    shared: Arc<Shared>,
    call: AdminCall,
) -> Result<AdminReply, AdminError> {
    admin::existing(&config, &call.workspace)?;
    let AdminCall { workspace, request } = call;
    let opened = tokio::task::spawn_blocking(move || shared.workspaces.open(&workspace)).await;
    let handle = opened.map_err(|_| AdminError::stopping())??;
    let done = handle.run(move |workspace| admin::perform(workspace, clock::now(), request)).await;
    done.map_err(|_| AdminError::stopping())?
}

/// Serves until `shutdown`; prints the address on standard output once it listens.
///
/// # Errors
/// When the server cannot start.
pub async fn serve(
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = config.listen;
    let server = Server::bind(config).await?;
    let bound = server.local_addr().map_err(|source| ServeError::Listen { address, source })?;
    println!("listening on {bound}");
    // A closed standard output is no reason to stop serving.
    let _ = std::io::stdout().flush();
    server.run(shutdown).await;
    Ok(())
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
