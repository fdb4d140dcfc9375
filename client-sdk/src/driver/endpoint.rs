//! Where the server is and how to get there: address, TCP, TLS, WebSocket handshake.

use std::sync::Arc;
use std::time::Duration;

use crdt_core::limits;
use crdt_core::protocol::SUBPROTOCOL;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::http::{Request, Response, StatusCode, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::engine::ConnectFailure;
use crate::status::SyncErrorKind;

/// A connected socket, encrypted or not.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// What a socket runs over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why an address cannot be connected to, whatever the network does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadServer {
    /// Not a URL with a host.
    #[error("{0:?} is not the address of a server: write wss://host or wss://host:port")]
    NotAnAddress(String),
    /// Neither `wss` nor, stated on purpose, `ws`.
    #[error("the scheme {0:?} is none of wss and ws")]
    Scheme(String),
    /// An extra root certificate cannot be read.
    #[error("an extra root certificate cannot be read: {0}")]
    Certificate(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Where the server is.
#[derive(Clone)]
pub(super) struct Endpoint {
    host: String,
    port: u16,
    /// What goes into the `Host` header.
    authority: String,
    uri: Uri,
    security: Security,
}

#[derive(Clone)]
enum Security {
    Tls(TlsConnector, ServerName<'static>),
    /// Only when the address says `ws`: a development server on the same machine.
    Plain,
}

impl Endpoint {
    /// Reads an address. Without a path it means the server's only sync path.
    pub(super) fn new(url: &str, extra_roots: &[Vec<u8>]) -> Result<Self, BadServer> {
        let bad = || BadServer::NotAnAddress(url.chars().take(200).collect());
        let uri: Uri = url.trim().parse().map_err(|_| bad())?;
        let scheme = uri.scheme_str().ok_or_else(bad)?.to_owned();
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(bad)?.to_string();
        let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
        let (security, port) = match scheme.as_str() {
            "wss" => {
                let name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
                (Security::Tls(connector(extra_roots)?, name), 443)
            }
            "ws" => (Security::Plain, 80),
            _ => return Err(BadServer::Scheme(scheme)),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path == "/" { SYNC_PATH } else { path };
        let full = Uri::builder().scheme(scheme.as_str()).authority(authority.as_str());
        let full = full.path_and_query(path).build().map_err(|_| bad())?;
        Ok(Self { port: uri.port_u16().unwrap_or(port), host, authority, uri: full, security })
    }

    /// Connects, within the time that a connection may take.
    pub(super) async fn connect(self) -> Result<Socket, ConnectFailure> {
        let late = || failure(SyncErrorKind::Timeout, "the connection was not made in time");
        tokio::time::timeout(CONNECT_TIMEOUT, self.connect_patiently())
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    async fn connect_patiently(self) -> Result<Socket, ConnectFailure> {
        let network = |error: std::io::Error| failure(SyncErrorKind::Network, &error.to_string());
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(network)?;
        tcp.set_nodelay(true).map_err(network)?;
        let stream: Box<dyn Stream> = match self.security {
            Security::Plain => Box::new(tcp),
            Security::Tls(connector, name) => {
                Box::new(connector.connect(name, tcp).await.map_err(tls_failure)?)
            }
        };
        let request = request(&self.uri, &self.authority)?;
        let connected = client_async_with_config(request, stream, Some(web_socket_config())).await;
        connected.map(|(socket, _)| socket).map_err(handshake_failure)
    }
}

fn connector(extra_roots: &[Vec<u8>]) -> Result<TlsConnector, BadServer> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for der in extra_roots {
        let added = roots.add(CertificateDer::from(der.clone()));
        added.map_err(|error| BadServer::Certificate(error.to_string()))?;
    }
    // Named, not the process's default: which one that is depends on what else the app links.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BadServer::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn request(uri: &Uri, authority: &str) -> Result<Request<()>, ConnectFailure> {
    Request::get(uri)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .body(())
        .map_err(|error| failure(SyncErrorKind::Configuration, &error.to_string()))
}

/// Every size is set: the library's defaults take messages of 64 MiB and leave writing unbounded.
fn web_socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(2 * limits::FRAME_BYTES_MAX)
        .max_message_size(Some(limits::FRAME_BYTES_MAX))
        .max_frame_size(Some(limits::FRAME_BYTES_MAX))
}

fn failure(kind: SyncErrorKind, text: &str) -> ConnectFailure {
    ConnectFailure { kind, text: text.to_owned(), retry_after_ms: None }
}

/// A connection that breaks during the TLS handshake is the network's fault, anything else TLS's.
fn tls_failure(error: std::io::Error) -> ConnectFailure {
    let of_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    let kind = if of_tls { SyncErrorKind::Tls } else { SyncErrorKind::Network };
    failure(kind, &error.to_string())
}

fn handshake_failure(error: tungstenite::Error) -> ConnectFailure {
    match error {
        tungstenite::Error::Http(response) => answered(&response),
        tungstenite::Error::Io(error) => failure(SyncErrorKind::Network, &error.to_string()),
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::HandshakeIncomplete) => {
            failure(SyncErrorKind::Network, "the server closed the connection")
        }
        other => failure(SyncErrorKind::Configuration, &format!("no sync server: {other}")),
    }
}

/// An HTTP answer instead of a socket: a busy server, a proxy, a captive portal.
fn answered(response: &Response<Option<Vec<u8>>>) -> ConnectFailure {
    let status = response.status();
    let kind = match status {
        StatusCode::UNAUTHORIZED => SyncErrorKind::SignIn,
        StatusCode::UPGRADE_REQUIRED => SyncErrorKind::UpgradeRequired,
        StatusCode::TOO_MANY_REQUESTS => SyncErrorKind::ServerBusy,
        busy if busy.is_server_error() => SyncErrorKind::ServerBusy,
        _ => SyncErrorKind::Configuration,
    };
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let text = format!("the server answered {status}");
    ConnectFailure { kind, text, retry_after_ms: seconds.map(|s| s.saturating_mul(1_000)) }
}

/// Where servers offer sync.
const SYNC_PATH: &str = "/v1/sync";
/// For name, TCP, TLS and WebSocket together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Both buffers of the socket, bytes: a frame of edits fits, a page takes several reads.
const BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_mean_the_sync_path_and_their_scheme_s_port() {
        let cases = [
            ("wss://crm.example", "crm.example", 443, "/v1/sync"),
            ("wss://crm.example/", "crm.example", 443, "/v1/sync"),
            ("wss://crm.example:8443/west/sync", "crm.example", 8443, "/west/sync"),
            ("ws://127.0.0.1:9000", "127.0.0.1", 9000, "/v1/sync"),
            ("ws://[::1]:9000", "::1", 9000, "/v1/sync"),
        ];
        for (url, host, port, path) in cases {
            let endpoint = Endpoint::new(url, &[]).unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port), "{url}");
            assert_eq!(endpoint.uri.path(), path, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_or_would_be_in_the_clear_by_accident_is_refused() {
        for url in ["", "crm.example", "/v1/sync", "wss://", "wss://user:pass@crm.example"] {
            assert!(matches!(Endpoint::new(url, &[]), Err(BadServer::NotAnAddress(_))), "{url}");
        }
        for url in ["http://crm.example", "https://crm.example"] {
            assert!(matches!(Endpoint::new(url, &[]), Err(BadServer::Scheme(_))), "{url}");
        }
        let refused = Endpoint::new("wss://crm.example", &[vec![1, 2, 3]]);
        assert!(matches!(refused, Err(BadServer::Certificate(_))));
    }

    #[test]
    fn http_answers_are_told_apart_by_who_must_act() {
        let cases = [
            (401, SyncErrorKind::SignIn),
            (426, SyncErrorKind::UpgradeRequired),
            (429, SyncErrorKind::ServerBusy),
            (503, SyncErrorKind::ServerBusy),
            (302, SyncErrorKind::Configuration),
            (200, SyncErrorKind::Configuration),
        ];
        for (status, kind) in cases {
            let response = Response::builder().status(status).header("retry-after", "5");
            let failure = answered(&response.body(None).unwrap());
            assert_eq!((failure.kind, failure.retry_after_ms), (kind, Some(5_000)), "{status}");
        }
    }
}
