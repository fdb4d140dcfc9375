//! The accept loop: owns every connection, bounds what it may take before its upgrade, and ends them all.
//!
//! One connection carries one request. So one deadline covers everything up to the upgrade (TLS, headers,
//! answer), and no peer can hold a connection by being slow.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::addresses::{Counted, Sockets};
use super::handshakes::{Handshake, Handshakes};
use crate::config::ServerConfig;
use crate::telemetry::metrics::Metrics;
use crate::tls::Acceptor;

/// What connections may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// From accepting a connection to its upgrade.
    pub handshake_timeout: Duration,
    /// From the stop signal to the end of the last connection.
    pub drain_timeout: Duration,
    /// Connections whose device has not said who it is; further ones make room for themselves.
    pub handshakes_max: usize,
    /// Open sockets of one address, upgraded or not; further ones are closed at once.
    pub sockets_per_address: usize,
    /// Proxies, which are as many as one.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Bounds {
    /// As configured.
    #[must_use]
    pub fn of(config: &ServerConfig) -> Self {
        let per_address = config.limits.sockets_per_address;
        Self {
            handshake_timeout: config.limits.handshake_timeout,
            drain_timeout: config.drain_timeout,
            handshakes_max: config.limits.max_handshakes,
            sockets_per_address: per_address.saturating_add(HANDSHAKES_PER_ADDRESS),
            trusted_proxies: config.accounts.trusted_proxies.clone(),
        }
    }
}

/// Serves connections until `shutdown`, then waits for the open ones, at most `drain_timeout`; those that
/// are still open are cut. Reads the certificate again on SIGHUP.
pub async fn run(
    listener: TcpListener,
    tls: Option<Acceptor>,
    router: Router,
    bounds: Bounds,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let mut connections = JoinSet::new();
    let sockets = Sockets::new(bounds.sockets_per_address);
    let handshakes = Handshakes::new(bounds.handshakes_max, metrics.handshakes_cut);
    let is_proxy = |peer: IpAddr| bounds.trusted_proxies.contains(&peer.to_canonical());
    let mut shutdown = pin!(shutdown);
    let mut reloads = pin!(reloads(tls.clone()));
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = &mut reloads => {}
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let counted = sockets.count(peer.ip());
                    if counted.is_none() && !is_proxy(peer.ip()) {
                        tracing::debug!("closed a connection at once: too many of one address");
                        continue;
                    }
                    let peer = Peer { address: peer, since: Instant::now() };
                    let (tls, router) = (tls.clone(), router.clone());
                    let handshake = handshakes.begin(peer.address.ip());
                    let name = handshake.name();
                    let slot = SessionSlot::new(handshake);
                    let connection = Connection { peer, tls, router, slot, _counted: counted };
                    let task = connections.spawn(connection.run(stream, bounds.handshake_timeout));
                    handshakes.runs_in(name, task);
                }
                Err(error) => {
                    // Mostly a lack of file descriptors: trying again at once would only spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
    drop(listener);
    drain(connections, bounds.drain_timeout).await;
}

async fn reloads(tls: Option<Acceptor>) {
    match tls {
        Some(tls) => tls.reload_on_hangup().await,
        None => std::future::pending().await,
    }
}

async fn drain(mut connections: JoinSet<()>, drain_timeout: Duration) {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(drain_timeout, all).await.is_err() {
        tracing::warn!(open = connections.len(), "cut the connections that did not end in time");
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        // One that made room for another was cancelled.
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task ended badly; the others go on");
    }
}

/// Where a connection came from, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) since: Instant,
}

/// Where a handler leaves the session that follows its answer, and takes the handshake that goes on with it;
/// the connection's task takes the session from here.
#[derive(Clone)]
pub(super) struct SessionSlot(Arc<Mutex<Slot>>);

struct Slot {
    session: Option<BoxFuture<'static, ()>>,
    handshake: Option<Handshake>,
}

impl SessionSlot {
    fn new(handshake: Handshake) -> Self {
        Self(Arc::new(Mutex::new(Slot { session: None, handshake: Some(handshake) })))
    }

    pub(super) fn put(&self, session: BoxFuture<'static, ()>) {
        self.slot().session = Some(session);
    }

    pub(super) fn take_handshake(&self) -> Option<Handshake> {
        self.slot().handshake.take()
    }

    fn take_session(&self) -> Option<BoxFuture<'static, ()>> {
        self.slot().session.take()
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection ended before its request was answered.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("socket: {0}")]
    Socket(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
}

struct Connection {
    peer: Peer,
    tls: Option<Acceptor>,
    router: Router,
    slot: SessionSlot,
    /// Counts it until it is over.
    _counted: Option<Counted>,
}

impl Connection {
    async fn run(self, stream: TcpStream, handshake_timeout: Duration) {
        let peer = self.peer.address;
        let slot = self.slot.clone();
        // Boxed, so that what a handshake takes is given back while the session goes on.
        let answer = Box::pin(self.answer(stream, slot.clone()));
        match timeout(handshake_timeout, answer).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a connection broke"),
            Err(_) => return tracing::debug!(%peer, "closed a connection that was too slow"),
        }
        if let Some(session) = slot.take_session() {
            session.await;
        }
    }

    async fn answer(&self, stream: TcpStream, slot: SessionSlot) -> Result<(), Broken> {
        stream.set_nodelay(true).map_err(Broken::Socket)?;
        let router = self.router.clone();
        match &self.tls {
            Some(tls) => {
                let stream = tls.accept(stream).await.map_err(Broken::Tls)?;
                answer_one(stream, router, slot, self.peer).await?;
            }
            None => answer_one(stream, router, slot, self.peer).await?,
        }
        Ok(())
    }
}

/// Reads one request and answers it; returns when the answer is out or the stream is handed on. The
/// library's own header timeout stays off: the caller's deadline is the stricter one.
async fn answer_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    slot: SessionSlot,
    peer: Peer,
) -> hyper::Result<()> {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(slot.clone());
        request.extensions_mut().insert(peer);
        let answer = router.call(request);
        async move { answer.await.map(closing) }
    });
    http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
}

/// Says that the connection ends with this answer, unless the answer hands it on. (Switching keep-alive off
/// in the library would also write `Connection: close` over an upgrade.)
fn closing(mut response: Response) -> Response {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Sockets of one address beyond its sync connections, for the same.
const HANDSHAKES_PER_ADDRESS: usize = 64;
/// Headers of one request; a browser's handshake has about twenty.
const HEADERS_MAX: usize = 64;
/// All headers of one request together, bytes; tokens are not among them.
const HEADER_BYTES_MAX: usize = 16 * 1024;
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
