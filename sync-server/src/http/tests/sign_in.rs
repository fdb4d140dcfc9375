//! The promises of signing in over HTTP: exact answers, strict requests, and nothing for web pages of others.

use crdt_core::id::{Epoch, MemberId};
use crdt_core::schema::Schema;
use serde_json::{Value, json};

use super::*;
use crate::config::AccountSettings;
use crate::identity::accounts::{Stores, set_password};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{self, Store, StoreError};
use crate::token::TokenKey;

struct One(Arc<dyn Store>);

impl Stores for One {
    fn open(&self, workspace: &str) -> Result<Option<Arc<dyn Store>>, StoreError> {
        Ok((workspace == "acme").then(|| Arc::clone(&self.0)))
    }
}

/// A server with one account.
struct Office {
    server: Server,
    _folder: tempfile::TempDir,
}

const DEVICE: &str = "0102030405060708090a0b0c0d0e0f10";

impl Office {
    async fn new() -> Self {
        Self::with(ServerConfig::default()).await
    }

    async fn with(config: ServerConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme.db");
        SqliteStore::create(&path, Epoch([7; 16]), Schema::builtin().text()).unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&path, SqliteOptions::default()).unwrap());
        let rosa = MemberId::from_source_key("user", "rosa");
        store::write(&*store, |tx| tx.put_member(&rosa, "Rosa")).unwrap();
        set_password(&*store, &rosa, "rosa", "correct horse", crate::clock::now()).unwrap();
        let key = TokenKey::open_or_create(&folder.path().join("key.pem")).unwrap();
        let metrics = Metrics::new();
        let settings = config.accounts.clone();
        let accounts =
            Accounts::new(Arc::new(One(store)), key, settings, metrics.identity.clone()).unwrap();
        let server =
            Server::start_with(config, None, |state| state.with_accounts(Arc::new(accounts)));
        Self { server: server.await, _folder: folder }
    }

    async fn post(&self, path: &str, body: &Value) -> (String, Value) {
        self.post_with(path, &["Content-Type: application/json"], &body.to_string()).await
    }

    async fn post_with(&self, path: &str, headers: &[&str], body: &str) -> (String, Value) {
        let headers = headers.join("\r\n");
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.server.answer(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), serde_json::from_str(body).unwrap_or_default())
    }

    async fn sign_in(&self) -> Value {
        let (head, answer) = self.post("/v1/login", &login("rosa", "correct horse")).await;
        assert!(head.starts_with("http/1.1 200"), "{head} {answer}");
        assert!(head.contains("cache-control: no-store") && !head.contains("set-cookie"), "{head}");
        answer
    }
}

fn login(login: &str, password: &str) -> Value {
    json!({"workspace": "acme", "login": login, "password": password, "device": DEVICE})
}

fn shown(answer: &Value) -> Value {
    json!({"workspace": "acme", "refresh_token": answer["refresh_token"], "device": DEVICE})
}

fn config(settings: AccountSettings) -> ServerConfig {
    ServerConfig { accounts: settings, ..ServerConfig::default() }
}

#[tokio::test]
async fn a_member_signs_in_stays_signed_in_and_signs_out() {
    let office = Office::new().await;
    let first = office.sign_in().await;
    assert_eq!(first["expires_in"], 900);
    assert_eq!(first["member"], MemberId::from_source_key("user", "rosa").to_string());

    let (head, second) = office.post("/v1/refresh", &shown(&first)).await;
    assert!(head.starts_with("http/1.1 200") && head.contains("no-store"), "{head}");
    assert_ne!(second["refresh_token"], first["refresh_token"]);

    let (head, _) = office.post("/v1/logout", &shown(&second)).await;
    assert!(head.starts_with("http/1.1 204"), "{head}");
    let (head, answer) = office.post("/v1/refresh", &shown(&second)).await;
    assert!(head.starts_with("http/1.1 401"), "{head}");
    assert_eq!(answer["error"], "signed_out");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_login_get_the_same_answer() {
    let office = Office::new().await;
    let wrong = office.post("/v1/login", &login("rosa", "wrong horse")).await;
    let unknown = office.post("/v1/login", &login("nobody", "correct horse")).await;
    assert!(wrong.0.starts_with("http/1.1 401"), "{wrong:?}");
    assert_eq!(wrong.1["error"], "wrong_credentials");
    assert_eq!(wrong.1, unknown.1);
}

#[tokio::test]
async fn requests_that_are_not_as_they_should_be_are_refused() {
    let office = Office::new().await;
    let good = login("rosa", "correct horse").to_string();
    let long = login("rosa", &"x".repeat(20_000)).to_string();
    let mut bad_device = login("rosa", "correct horse");
    bad_device["device"] = json!("0102");
    let json = "Content-Type: application/json";
    for (headers, body, status) in [
        (&["Content-Type: text/plain"][..], good.as_str(), "415"),
        (&[], &good, "415"),
        (&["Content-Type: application/jsonp"], &good, "415"),
        (&["Content-Type: application/x-www-form-urlencoded"], "login=rosa", "415"),
        (&[json, "Origin: https://evil.example"], &good, "403"),
        (&[json, "Origin: null"], &good, "403"),
        (&[json], &long, "413"),
        (&[json], "", "400"),
        (&[json], "{}", "400"),
        (&[json], "[]", "400"),
        (&[json], "{\"workspace\":7}", "400"),
        (&[json], &bad_device.to_string(), "400"),
        (&["Content-Type: Application/JSON; charset=utf-8"], &good, "200"),
    ] {
        let (head, answer) = office.post_with("/v1/login", headers, body).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{headers:?} {body}: {head} {answer}"
        );
    }
    assert!(office.server.get("/v1/login").await.starts_with("HTTP/1.1 405"));
    office.server.readiness.set_draining();
    let (head, _) = office.post("/v1/login", &login("rosa", "correct horse")).await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
}

#[tokio::test]
async fn whoever_tries_too_often_is_told_when_to_come_back() {
    let settings = AccountSettings { attempts_per_minute: 3, ..AccountSettings::default() };
    let office = Office::with(config(settings)).await;
    for _ in 0..3 {
        let (head, _) = office.post("/v1/login", &login("rosa", "wrong horse")).await;
        assert!(head.starts_with("http/1.1 401"), "{head}");
    }
    let (head, answer) = office.post("/v1/login", &login("rosa", "correct horse")).await;
    assert!(head.starts_with("http/1.1 429"), "{head}");
    assert!(head.contains("retry-after: "), "{head}");
    assert_eq!(answer["error"], "too_many");
}

#[tokio::test]
async fn only_a_trusted_proxy_says_for_whom_it_asks() {
    let attempt = async |office: &Office, from: &str| {
        let header = format!("X-Forwarded-For: {from}");
        let headers = ["Content-Type: application/json", &header];
        let body = login("rosa", "wrong horse").to_string();
        let (head, _) = office.post_with("/v1/login", &headers, &body).await;
        head[9..12].to_owned()
    };
    let settings = AccountSettings { attempts_per_minute: 1, ..AccountSettings::default() };
    let open = Office::with(config(settings.clone())).await;
    assert_eq!(attempt(&open, "10.0.0.1").await, "401");
    assert_eq!(attempt(&open, "10.0.0.2").await, "429", "anybody could write that header");

    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let behind = Office::with(config(AccountSettings { trusted_proxies, ..settings })).await;
    assert_eq!(attempt(&behind, "10.0.0.1").await, "401");
    assert_eq!(attempt(&behind, "10.0.0.2").await, "401");
    assert_eq!(attempt(&behind, "10.0.0.3, 10.0.0.2").await, "429", "the last one counts");
    assert_eq!(attempt(&behind, "rubbish").await, "401", "the proxy itself");
    assert_eq!(attempt(&behind, "").await, "429");
}

#[tokio::test]
async fn without_accounts_there_is_nothing_to_sign_in_to() {
    let server = Server::plain().await;
    let answer =
        server.answer("POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
