//! The promises of the port, over real sockets.

mod crowds;
mod frames;
mod sign_in;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::listen::Bounds;
use super::*;
use crate::tls::Acceptor;

/// Longer than anything here takes: reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends back what it gets, and says how it closes.
struct Echo;

impl OnSocket for Echo {
    fn serve(&self, mut socket: WebSocket, permit: Admission) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some(read) = socket.next().await {
                match read {
                    Ok(message @ Message::Binary(_)) => socket.send(message).await.unwrap(),
                    Ok(_) => {}
                    Err(error) => {
                        if let Some(code) = close_code(&error) {
                            let frame = CloseFrame { code, reason: "".into() };
                            socket.close(Some(frame)).await.unwrap();
                            linger(socket).await;
                        }
                        break;
                    }
                }
            }
            drop(permit);
        })
    }
}

/// Reads on until the peer has gone: closing with unread bytes would reset the connection and with it the
/// reason.
async fn linger(mut socket: WebSocket) {
    let mut bytes = vec![0; 4096];
    while socket.get_mut().read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

struct Server {
    address: SocketAddr,
    readiness: Readiness,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(config: ServerConfig, tls: Option<Acceptor>) -> Self {
        Self::start_with(config, tls, |state| state).await
    }

    async fn start_with(
        config: ServerConfig,
        tls: Option<Acceptor>,
        add: impl FnOnce(HttpState) -> HttpState,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, metrics) = (Readiness::default(), Metrics::new());
        readiness.set_ready();
        let bounds = Bounds::of(&config);
        let state =
            HttpState::new(Arc::new(config), readiness.clone(), metrics.clone(), Arc::new(Echo));
        let state = add(state);
        let (stop, stopped) = oneshot::channel();
        let counted = metrics.clone();
        let task =
            tokio::spawn(listen::run(listener, tls, router(state), bounds, counted, async {
                stopped.await.unwrap_or_default();
            }));
        Self { address, readiness, metrics, stop, task }
    }

    async fn plain() -> Self {
        Self::start(ServerConfig::default(), None).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that the server answers to these bytes until it closes.
    async fn answer(&self, request: &str) -> String {
        answer(self.connect().await, request).await
    }

    async fn get(&self, path: &str) -> String {
        self.answer(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    async fn sync(&self) -> WebSocketStream<TcpStream> {
        sync_over(self.connect().await).await
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text)).await.unwrap().unwrap();
    String::from_utf8(text).unwrap()
}

async fn sync_over<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    let mut request = "ws://localhost/v1/sync".into_client_request().unwrap();
    let offer = HeaderValue::from_static("other.v9, fieldbook.v1");
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], SUBPROTOCOL);
    socket
}

async fn next(
    socket: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
) -> tungstenite::Result<Message> {
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap()
}

async fn ended(socket: &mut WebSocketStream<TcpStream>) {
    timeout(PATIENCE, async { while let Some(Ok(_)) = socket.next().await {} }).await.unwrap();
}

/// A handshake that is fine but for what `lines` replace or add.
fn handshake(lines: &[&str]) -> String {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let fine = [
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: fieldbook.v1",
    ];
    let kept = fine.into_iter().filter(|line| lines.iter().all(|other| name(other) != name(line)));
    let all: Vec<&str> = kept.chain(lines.iter().copied()).collect();
    format!("GET /v1/sync HTTP/1.1\r\n{}\r\n\r\n", all.join("\r\n"))
}

#[tokio::test]
async fn a_server_is_alive_at_once_and_ready_between_its_start_and_its_end() {
    let server = Server::plain().await;
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(server.get("/readyz").await.starts_with("HTTP/1.1 200"));

    server.readiness.set_draining();

    let refused = server.get("/readyz").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 5"), "{refused}");
    assert!(server.answer(&handshake(&[])).await.starts_with("HTTP/1.1 503"));
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(Readiness::default().refusal().is_some(), "a server that is starting is not ready");
}

#[tokio::test]
async fn other_paths_methods_and_languages_are_refused() {
    let server = Server::plain().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("GET /v1/sync/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("POST /v1/sync HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "405"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1} is TLS\r\n\r\n", "400"),
    ] {
        let answer = server.answer(request).await;
        assert!(answer.is_empty() || answer.contains(status), "{request:?}: {answer}");
    }
}

#[tokio::test]
async fn a_handshake_that_is_not_ours_is_refused_with_a_reason() {
    let server = Server::plain().await;
    for (lines, status, reason) in [
        (&["Sec-WebSocket-Protocol: other.v1"][..], 400, "subprotocol fieldbook.v1 has to be"),
        (&["Sec-WebSocket-Protocol:"], 400, "subprotocol fieldbook.v1 has to be"),
        (&["Sec-WebSocket-Protocol: Fieldbook.v1"], 400, "subprotocol fieldbook.v1 has to be"),
        (&["Upgrade: h2c"], 400, "not a WebSocket handshake"),
        (&["Connection: keep-alive"], 400, "not a WebSocket handshake"),
        (&["Sec-WebSocket-Version: 8"], 400, "not a WebSocket handshake"),
        (&["Sec-WebSocket-Key: short"], 400, "not a WebSocket handshake"),
        (&["Content-Length: 5"], 400, "has no body"),
        (&["Transfer-Encoding: chunked"], 400, "has no body"),
        (&["Origin: https://evil.example"], 403, "allowed origins"),
        (&["Origin: null"], 403, "allowed origins"),
        (&["Origin:"], 403, "allowed origins"),
    ] {
        let answer = server.answer(&handshake(lines)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{lines:?}: {answer}");
        assert!(answer.contains(reason), "{lines:?}: {answer}");
    }
    assert!(server.get("/metrics").await.contains("fieldbook_connections_refused_total 12"));
}

#[tokio::test]
async fn a_web_page_gets_in_only_from_an_origin_on_the_list() {
    let ours = "https://crm.example.com".to_owned();
    let config = ServerConfig { allowed_origins: vec![ours], ..ServerConfig::default() };
    let server = Server::start(config, None).await;
    for lines in [
        &["Origin: https://crm.example.com.evil.example"][..],
        &["Origin: http://crm.example.com"],
        &["Origin: https://crm.example.com:8443"],
        &["Origin: https://CRM.example.com"],
        &["Origin: https://crm.example.com", "Origin: https://evil.example"],
    ] {
        let answer = server.answer(&handshake(lines)).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{lines:?}: {answer}");
    }
    let mut stream = server.connect().await;
    let request = handshake(&["Origin: https://crm.example.com"]);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 101");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_has_gone() {
    let mut config = ServerConfig::default();
    config.limits.max_connections = 1;
    let server = Server::start(config, None).await;
    let mut first = server.sync().await;

    let refused = server.answer(&handshake(&[])).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 5"), "{refused}");
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200"), "health needs no permit");

    first.close(None).await.unwrap();
    ended(&mut first).await;
    let again = async {
        while server.metrics.render().contains("fieldbook_connections 1") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    server.sync().await;
}

#[tokio::test]
async fn a_peer_that_never_finishes_its_headers_is_cut_at_the_deadline() {
    let mut config = ServerConfig::default();
    config.limits.handshake_timeout = Duration::from_millis(300);
    let server = Server::start(config, None).await;
    for start in ["", "G", "GET /livez HTTP/1.1\r\nHost: localhost\r\n"] {
        assert_eq!(server.answer(start).await, "", "{start:?}");
    }
}

#[tokio::test]
async fn the_deadline_ends_with_the_upgrade() {
    let mut config = ServerConfig::default();
    config.limits.handshake_timeout = Duration::from_secs(1);
    let server = Server::start(config, None).await;
    let mut socket = server.sync().await;

    // A slow peer that came later is cut: more than the deadline has passed for the socket.
    assert_eq!(server.answer("G").await, "");

    let message = Message::Binary(Bytes::from_static(b"still here"));
    socket.send(message.clone()).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap(), message);
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let server = Server::plain().await;
    let long = "x".repeat(40_000);
    let many: String = (0..100).map(|at| format!("X-{at}: 1\r\n")).collect();
    for request in [
        format!("GET /livez HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
        format!("GET /livez HTTP/1.1\r\nX: {long}"),
    ] {
        let mut stream = server.connect().await;
        // The server may close before it has read everything.
        stream.write_all(request.as_bytes()).await.unwrap_or_default();
        let mut start = [0; 12];
        match timeout(PATIENCE, stream.read_exact(&mut start)).await.unwrap() {
            Ok(_) => assert_eq!(&start, b"HTTP/1.1 431"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

#[tokio::test]
async fn the_end_waits_for_open_connections_and_takes_no_new_ones() {
    let server = Server::plain().await;
    let mut socket = server.sync().await;

    server.stop.send(()).unwrap();

    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let message = Message::Binary(Bytes::from_static(b"last words"));
    socket.send(message.clone()).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap(), message);
    assert!(!server.task.is_finished());
    socket.close(None).await.unwrap();
    ended(&mut socket).await;
    timeout(PATIENCE, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_does_not_end_is_cut_at_the_drain_deadline() {
    let config =
        ServerConfig { drain_timeout: Duration::from_millis(50), ..ServerConfig::default() };
    let server = Server::start(config, None).await;
    let mut socket = server.sync().await;

    server.stop.send(()).unwrap();

    timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(next(&mut socket).await.is_err());
    assert!(server.metrics.render().contains("fieldbook_connections 0"));
}

#[tokio::test]
async fn a_session_that_panics_takes_nobody_with_it() {
    struct Panics;
    impl OnSocket for Panics {
        fn serve(&self, _: WebSocket, _: Admission) -> BoxFuture<'static, ()> {
            Box::pin(async { panic!("as the test wants") })
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = ServerConfig::default();
    let (readiness, bounds) = (Readiness::default(), Bounds::of(&config));
    readiness.set_ready();
    let state = HttpState::new(Arc::new(config), readiness, Metrics::new(), Arc::new(Panics));
    tokio::spawn(listen::run(listener, None, router(state), bounds, Metrics::new(), pending()));

    let mut socket = sync_over(TcpStream::connect(address).await.unwrap()).await;
    assert!(next(&mut socket).await.is_err());

    let stream = TcpStream::connect(address).await.unwrap();
    let alive = answer(stream, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(alive.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn everything_works_the_same_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let acceptor = Acceptor::from_files(&cert, &key).unwrap();
    let mut config = ServerConfig::default();
    config.limits.handshake_timeout = Duration::from_secs(5);
    let server = Server::start(config, Some(acceptor)).await;
    let client = trusting(made.cert.der().clone());
    let name = ServerName::try_from("localhost").unwrap();

    let stream = client.connect(name.clone(), server.connect().await).await.unwrap();
    let mut socket = sync_over(stream).await;
    let message = Message::Binary(Bytes::from(vec![7; 100_000]));
    socket.send(message.clone()).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap(), message);

    let plain = server.get("/livez").await;
    assert!(!plain.contains("200"), "without TLS nothing is served: {plain:?}");
    let stranger = trusting(other_certificate());
    assert!(stranger.connect(name, server.connect().await).await.is_err());
}

fn other_certificate() -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    made.cert.der().clone()
}

fn trusting(cert: CertificateDer<'static>) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}
