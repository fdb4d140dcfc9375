//! Issuers over real sockets and files: rotation, silence, slowness, and answers that are none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::cache::Pace;
use super::super::fetch::{FetchError, Fetcher, web_roots};
use super::super::issuer::Issuer;
use super::material::{A, NOW, Signer, claims, issuer, jwks, number, org};
use super::*;
use crate::config::{KeySource, KeyUrl};
use crate::telemetry::metrics::Metrics;

/// Asks as often as anyone wants to know.
const EAGER: Pace = Pace { ttl_ms: 3_600_000, gap_ms: 0, stale_ms: 86_400_000 };

/// A server of keys that answers whatever it is told to, and keeps what it was asked.
struct KeyServer {
    port: u16,
    answer: Arc<Mutex<Option<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl KeyServer {
    async fn start(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(Mutex::new(Vec::new())));
        let task = tokio::spawn(serve(listener, Arc::clone(&answer), Arc::clone(&asked)));
        Self { port, answer, asked, task }
    }

    fn say(&self, answer: Option<String>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn url(&self) -> KeyUrl {
        format!("http://127.0.0.1:{}/keys?v=1", self.port).parse().unwrap()
    }

    fn issuer(&self, metrics: &Metrics) -> Issuer {
        let mut config = issuer(A, PathBuf::new(), org());
        config.keys = KeySource::Url(self.url());
        Issuer::start_at(EAGER, config, &fetcher(), &metrics.identity)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Without an answer to give, connections stay open and silent.
async fn serve(
    listener: TcpListener,
    answer: Arc<Mutex<Option<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut silent: Vec<TcpStream> = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { break };
            request.push(byte);
        }
        asked.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
        let answer = answer.lock().unwrap().clone();
        match answer {
            Some(text) => stream.write_all(text.as_bytes()).await.unwrap_or_default(),
            None => silent.push(stream),
        }
    }
}

fn ok(body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn fetcher() -> Fetcher {
    Fetcher::new(web_roots()).unwrap()
}

async fn judge(issuer: &Issuer, signer: &Signer) -> Result<Principal, TokenError> {
    judge_claims(issuer, signer, &claims(A)).await
}

async fn judge_claims(
    issuer: &Issuer,
    signer: &Signer,
    claims: &Value,
) -> Result<Principal, TokenError> {
    issuer.judge(&Jwt::parse(&signer.token(claims)).unwrap(), NOW).await
}

#[tokio::test]
async fn keys_rotate_without_one_good_session_refused() {
    let (old, new) = (Signer::ed("old"), Signer::p256("new"));
    let server = KeyServer::start(ok(&jwks(&[&old]))).await;
    let metrics = Metrics::new();
    let issuer = server.issuer(&metrics);
    assert!(judge(&issuer, &old).await.is_ok(), "the first token waits for the first answer");

    server.say(ok(&jwks(&[&old, &new])));
    assert!(judge(&issuer, &new).await.is_ok(), "an unknown key is asked for");
    assert!(judge(&issuer, &old).await.is_ok());
    server.say(ok(&jwks(&[&new])));
    assert!(judge(&issuer, &new).await.is_ok());

    assert_eq!(number(&metrics, "fieldbook_jwks_refresh_total{result=\"ok\"}"), 2);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].starts_with("GET /keys?v=1 HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].to_lowercase().contains(&format!("host: 127.0.0.1:{}", server.port)));
}

#[tokio::test]
async fn broken_answers_never_replace_good_keys() {
    let key = Signer::rsa("key");
    let server = KeyServer::start(ok(&jwks(&[&key]))).await;
    let metrics = Metrics::new();
    let issuer = server.issuer(&metrics);
    assert!(judge(&issuer, &key).await.is_ok());
    let stranger = Signer::ed("stranger");
    let big = format!("{{\"keys\":[]{}}}", " ".repeat(65 * 1_024));
    let answers = [
        ok(""),
        ok("{\"keys\":[]}"),
        ok("<html>maintenance</html>"),
        ok(&big),
        Some(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{big}\r\n0\r\n\r\n",
            big.len()
        )),
        Some("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned()),
        Some(
            "HTTP/1.1 302 Found\r\nLocation: http://evil.example/keys\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
        ),
        Some("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned()),
        Some(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-More: 1\r\n".repeat(100))),
        Some("not HTTP at all\r\n\r\n".to_owned()),
        Some(String::new()),
    ];
    let count = answers.len();
    for answer in answers {
        server.say(answer.clone());
        let refused = judge(&issuer, &stranger).await;
        assert!(refused.is_err(), "{answer:?}");
        assert!(judge(&issuer, &key).await.is_ok(), "{answer:?}");
    }
    let failed = number(&metrics, "fieldbook_jwks_refresh_total{result=\"failed\"}");
    assert!(failed >= count as u64, "{failed}");
}

#[tokio::test]
async fn a_silent_issuer_holds_up_nobody_whose_key_is_known() {
    let key = Signer::ed("key");
    let server = KeyServer::start(ok(&jwks(&[&key]))).await;
    let issuer = Arc::new(server.issuer(&Metrics::new()));
    assert!(judge(&issuer, &key).await.is_ok());
    server.say(None);
    let waiting = Arc::clone(&issuer);
    let stranger = tokio::spawn(async move { judge(&waiting, &Signer::ed("other")).await });
    while server.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(judge(&issuer, &key).await.is_ok());
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(!stranger.is_finished());
    stranger.abort();
}

#[tokio::test]
async fn an_issuer_that_nobody_can_reach_refuses_for_now_and_not_for_good() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut config = issuer(A, PathBuf::new(), org());
    config.keys = KeySource::Url(format!("http://127.0.0.1:{port}").parse().unwrap());
    let pace = Pace { gap_ms: 60_000, ..EAGER };
    let issuer = Issuer::start_at(pace, config, &fetcher(), &Metrics::new().identity);
    let refused = judge(&issuer, &Signer::ed("key")).await.unwrap_err();
    assert_eq!(refused, TokenError::KeysUnavailable);
    assert!(refused.is_temporary());
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_and_a_broken_one_changes_nothing() {
    let (old, new) = (Signer::ed("old"), Signer::ed("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, jwks(&[&old])).unwrap();
    let config = issuer(A, path.clone(), org());
    let issuer = Issuer::start_at(EAGER, config, &fetcher(), &Metrics::new().identity);
    assert!(judge(&issuer, &old).await.is_ok());
    std::fs::write(&path, "half a fi").unwrap();
    assert!(judge(&issuer, &new).await.is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(judge(&issuer, &new).await.is_err());
    assert!(judge(&issuer, &old).await.is_ok());
    std::fs::write(&path, jwks(&[&new])).unwrap();
    assert!(judge(&issuer, &new).await.is_ok());
    assert_eq!(judge(&issuer, &old).await, Err(TokenError::KeysUnavailable), "it was withdrawn");
}

#[tokio::test]
async fn keys_come_over_tls_from_whoever_has_the_names_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, private) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&private, made.signing_key.serialize_pem()).unwrap();
    let acceptor = crate::tls::Acceptor::from_files(&cert, &private).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4_096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(read > 0);
            stream.write_all(ok("{}").unwrap().as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap_or_default();
        }
    });
    let url: KeyUrl = format!("https://localhost:{port}/keys").parse().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();

    assert_eq!(Fetcher::new(roots.clone()).unwrap().get(&url).await.unwrap(), b"{}");
    let stranger = fetcher().get(&url).await.unwrap_err();
    assert!(matches!(stranger, FetchError::Socket(_)), "{stranger}");
    let other_name: KeyUrl = format!("https://127.0.0.1:{port}/keys").parse().unwrap();
    assert!(Fetcher::new(roots).unwrap().get(&other_name).await.is_err());
    task.abort();
}
