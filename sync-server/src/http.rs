//! The one port: health, numbers, signing in, and the door to the sync socket. Knows nothing of what is said
//! on it.

mod addresses;
mod handshakes;
pub mod listen;
mod sign_in;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use crdt_core::protocol::SUBPROTOCOL;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use self::addresses::{Attempts, Sockets, address};
use self::handshakes::Handshake;
use self::listen::{Peer, SessionSlot};
use crate::config::ServerConfig;
use crate::identity::accounts::Accounts;
use crate::telemetry::metrics::Metrics;

/// A sync socket.
pub type WebSocket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// What talks on an upgraded socket.
pub trait OnSocket: Send + Sync + 'static {
    /// Talks until the connection is over. The future is the connection: dropping it cuts the connection,
    /// and it has to keep `admission` until nothing of the connection is left. It is asked to end by
    /// whatever also ended the listener, and dropped when it has not ended by `drain_timeout`.
    fn serve(&self, socket: WebSocket, admission: Admission) -> BoxFuture<'static, ()>;
}

/// What an upgraded socket was let in with; dropping it makes room for another.
pub struct Admission {
    since: Instant,
    handshake: Option<Handshake>,
    _permit: OwnedSemaphorePermit,
    _counted: addresses::Counted,
}

impl Admission {
    /// When the connection was accepted, before TLS, headers and upgrade.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// The device has said who it is: from now on the connection is not cut to make room for another.
    pub fn end_handshake(&mut self) {
        self.handshake = None;
    }
}

/// Whether this server wants work; clones say the same.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// Everything is open: work may come.
    pub fn set_ready(&self) {
        self.0.store(READY, Ordering::Release);
    }

    /// The end has begun: send work elsewhere.
    pub fn set_draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    fn refusal(&self) -> Option<Refusal> {
        match self.0.load(Ordering::Acquire) {
            READY => None,
            DRAINING => Some(Refusal::Draining),
            _ => Some(Refusal::Starting),
        }
    }
}

/// What the routes need.
#[derive(Clone)]
pub struct HttpState {
    config: Arc<ServerConfig>,
    readiness: Readiness,
    metrics: Metrics,
    connections: Arc<Semaphore>,
    sockets: Arc<dyn OnSocket>,
    accounts: Option<Arc<Accounts>>,
    by_address: Arc<Sockets>,
    attempts: Arc<Attempts>,
}

impl HttpState {
    /// State of one server; it is not ready until `readiness` says so.
    #[must_use]
    pub fn new(
        config: Arc<ServerConfig>,
        readiness: Readiness,
        metrics: Metrics,
        sockets: Arc<dyn OnSocket>,
    ) -> Self {
        let permits = config.limits.max_connections.min(Semaphore::MAX_PERMITS);
        let connections = Arc::new(Semaphore::new(permits));
        let by_address = Sockets::new(config.limits.sockets_per_address);
        let attempts = Arc::new(Attempts::per_minute(config.limits.connects_per_minute));
        let accounts = None;
        Self { config, readiness, metrics, connections, sockets, accounts, by_address, attempts }
    }

    /// The same state, with accounts to sign in to.
    #[must_use]
    pub fn with_accounts(self, accounts: Arc<Accounts>) -> Self {
        Self { accounts: Some(accounts), ..self }
    }
}

/// The routes: `/v1/sync`, `/livez`, `/readyz`, `/metrics`, and `/v1/login`, `/v1/refresh`, `/v1/logout` where
/// there are accounts. Sync and accounts work only behind [`listen::run`], which owns the connections.
pub fn router(state: HttpState) -> Router {
    let routes = if state.accounts.is_some() {
        Router::new()
            .route("/v1/login", post(sign_in::login))
            .route("/v1/refresh", post(sign_in::refresh))
            .route("/v1/logout", post(sign_in::logout))
    } else {
        Router::new()
    };
    routes
        .route("/v1/sync", get(sync))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .with_state(state)
}

/// How to close a socket after an error in reading it, so that the peer learns what it did wrong; nothing
/// when there is nobody left to tell.
#[must_use]
pub fn close_code(error: &tungstenite::Error) -> Option<CloseCode> {
    let known = [
        (matches!(error, tungstenite::Error::Capacity(_)), CloseCode::Size),
        (matches!(error, tungstenite::Error::Utf8(_)), CloseCode::Invalid),
        (matches!(error, tungstenite::Error::Protocol(_)), CloseCode::Protocol),
    ];
    known.into_iter().find_map(|(fits, code)| fits.then_some(code))
}

async fn ready(State(state): State<HttpState>) -> Result<&'static str, Refusal> {
    match state.readiness.refusal() {
        None => Ok("ready\n"),
        Some(refusal) => Err(refusal),
    }
}

async fn numbers(State(state): State<HttpState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

async fn sync(State(state): State<HttpState>, mut request: Request) -> Response {
    match admit(&state, &mut request) {
        Ok(response) => response,
        Err(refusal) => {
            state.metrics.connections_refused.increment(1);
            tracing::info!(%refusal, "refused a sync connection");
            refusal.into_response()
        }
    }
}

/// Judges a request for a sync socket, puts the session into the connection's slot, and agrees. Cookies are
/// never looked at: a token is spoken on the socket.
fn admit(state: &HttpState, request: &mut Request) -> Result<Response, Refusal> {
    if let Some(refusal) = state.readiness.refusal() {
        return Err(refusal);
    }
    if !origin_allowed(request.headers(), &state.config.allowed_origins) {
        return Err(Refusal::ForeignOrigin);
    }
    if !request.body().is_end_stream() {
        return Err(Refusal::HasBody);
    }
    let mut response = create_response_with_body(request, Body::empty)
        .map_err(|error| Refusal::NotAnUpgrade(error.to_string()))?;
    if !speaks_subprotocol(request.headers()) {
        return Err(Refusal::OtherSubprotocol);
    }
    let slot = request.extensions_mut().remove::<SessionSlot>().ok_or(Refusal::NoSlot)?;
    let peer: Peer = *request.extensions().get().ok_or(Refusal::NoSlot)?;
    let trusted = &state.config.accounts.trusted_proxies;
    let from = address(peer.address.ip(), request.headers(), trusted);
    let too_many = |retry_after| Refusal::TooMany { retry_after };
    state.attempts.take(from).map_err(too_many)?;
    let counted = state.by_address.count(from).ok_or_else(|| too_many(SOCKET_RETRY))?;
    let permit = Arc::clone(&state.connections).try_acquire_owned().map_err(|_| Refusal::Full)?;
    let (since, handshake) = (peer.since, slot.take_handshake());
    let admission = Admission { since, handshake, _permit: permit, _counted: counted };
    slot.put(Box::pin(session(state.clone(), hyper::upgrade::on(request), admission)));
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    Ok(response)
}

/// Only web pages send `Origin`, and any page could open a socket in its visitor's name.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let known =
        |origin: &HeaderValue| allowed.iter().any(|one| one.as_bytes() == origin.as_bytes());
    headers.get_all(header::ORIGIN).iter().all(known)
}

fn speaks_subprotocol(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    offers
        .filter_map(|offer| offer.to_str().ok())
        .flat_map(|offer| offer.split(','))
        .any(|offer| offer.trim() == SUBPROTOCOL)
}

async fn session(state: HttpState, upgrade: hyper::upgrade::OnUpgrade, admission: Admission) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "a connection ended before its upgrade"),
    };
    let config = web_socket_config(state.config.limits.frame_bytes);
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let _open = Counted::new(state.metrics.connections.clone());
    state.sockets.serve(socket, admission).await;
}

/// Every size is set: the library's own defaults cost 128 KiB per socket and leave writing unbounded.
fn web_socket_config(frame_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes))
        .accept_unmasked_frames(false)
}

/// One open connection in the numbers, until it is dropped.
struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Why a request was refused. The texts go to the peer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the server is starting; try again soon")]
    Starting,
    #[error("the server is stopping; connect again")]
    Draining,
    #[error("the server has as many connections as it takes; try again later")]
    Full,
    #[error("too many connections from this address; try again later")]
    TooMany { retry_after: Duration },
    #[error("this web page's origin is not on the server's list of allowed origins")]
    ForeignOrigin,
    #[error("a request for a sync connection has no body")]
    HasBody,
    #[error("this is not a WebSocket handshake: {0}")]
    NotAnUpgrade(String),
    #[error("the subprotocol {SUBPROTOCOL} has to be among those that are offered")]
    OtherSubprotocol,
    #[error("this listener serves no sync connections")]
    NoSlot,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Starting | Self::Draining | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::HasBody | Self::NotAnUpgrade(_) | Self::OtherSubprotocol => {
                StatusCode::BAD_REQUEST
            }
            Self::NoSlot => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = (status, format!("{self}\n")).into_response();
        let wait_s = match self {
            Self::TooMany { retry_after } => Some(retry_after.as_secs() + 1),
            Self::Starting | Self::Draining | Self::Full => Some(RETRY_AFTER_S),
            Self::ForeignOrigin
            | Self::HasBody
            | Self::NotAnUpgrade(_)
            | Self::OtherSubprotocol
            | Self::NoSlot => None,
        };
        if let Some(seconds) = wait_s {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

/// Both buffers of a socket, bytes: what a live edit takes fits several times, and ten thousand idle
/// connections hold them.
const BUFFER_BYTES: usize = 2 * 1024;
/// What may wait inside one socket, bytes: two of the largest frames.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * crdt_core::limits::FRAME_BYTES_MAX;
/// When to come back after a 503; devices add jitter of their own.
const RETRY_AFTER_S: u64 = 5;
/// When to come back after too many sockets: the dead ones among them are noticed within a minute.
const SOCKET_RETRY: Duration = Duration::from_secs(30);
const READY: u8 = 1;
const DRAINING: u8 = 2;

#[cfg(test)]
mod tests;
