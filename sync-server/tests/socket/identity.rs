//! Identity on the whole server: signing in, staying connected, and tokens of another issuer.

use std::time::Duration;

use crdt_core::id::DeviceId;
use crdt_core::protocol::{GoodbyeCode, Message, NewToken};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sync_server::clock;
use sync_server::config::ServerConfig;
use sync_server::identity::accounts::set_password;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::workspaces::Workspaces;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Running;
use crate::support::world::member;

const ISSUER: &str = "https://id.example/";

/// A server whose first member has a password.
async fn with_a_password() -> Running {
    let (config, directory) = Running::start().await.stop().await;
    let path = Workspaces::path(&config.data_dir, "acme");
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    set_password(&store, &member(1), "ada", "correct horse", clock::now()).unwrap();
    drop(store);
    Running::again((config, directory)).await
}

async fn post(server: &Running, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn whoever_signs_in_connects_and_stays_connected_with_the_next_token() {
    let server = with_a_password().await;
    let mut device = server.device(1, 1);
    let named = device.device.to_string();
    let login =
        json!({"workspace": "acme", "login": "Ada", "password": "correct horse", "device": named});
    let first = post(&server, "/v1/login", &login).await;
    device.token = text(&first, "access_token");
    let mut client = server.connect().await;
    client.greet(&mut device).await;

    let shown =
        json!({"workspace": "acme", "refresh_token": first["refresh_token"], "device": named});
    let second = post(&server, "/v1/refresh", &shown).await;
    let token = text(&second, "access_token");
    client.send(&Message::Token(NewToken { token })).await;
    while !matches!(client.message().await, Message::TokenTaken(_)) {}

    let token = server.token(2, Duration::ZERO, Duration::from_secs(60));
    client.send(&Message::Token(NewToken { token })).await;
    assert_eq!(client.goodbye().await.code, GoodbyeCode::Unauthorized, "another member's");

    let mut thief = server.device(2, 1);
    thief.device = DeviceId([9; 16]);
    thief.token = text(&second, "access_token");
    let mut client = server.connect().await;
    client.hello(thief.hello()).await;
    assert_eq!(client.goodbye().await.code, GoodbyeCode::Unauthorized, "another device");
    server.stop().await;
}

/// An issuer's key, published in the data directory.
fn publish(config: &mut ServerConfig) -> EncodingKey {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
    let mut jwk =
        serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap()).unwrap();
    jwk["kid"] = json!("key");
    let path = config.data_dir.join("keys.json");
    std::fs::write(&path, json!({ "keys": [jwk] }).to_string()).unwrap();
    let text = format!(
        "[issuer.id]\niss = '{ISSUER}'\naudience = 'crm'\nworkspace = 'acme'\njwks_file = '{}'\n",
        path.display()
    );
    config.issuers = ServerConfig::parse(&text, &path).unwrap().issuers;
    key
}

#[tokio::test]
async fn members_of_another_issuer_connect_as_themselves_and_strangers_do_not() {
    let mut key = None;
    let server = Running::with(|config| key = Some(publish(config))).await;
    let token = |sub: &str| {
        let now = clock::now().as_millis() / 1_000;
        let claims = json!({"iss": ISSUER, "aud": "crm", "sub": sub, "nbf": now, "exp": now + 600});
        let header = Header { kid: Some("key".to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, key.as_ref().unwrap()).unwrap()
    };
    let mut device = server.device(1, 1);
    device.token = token(&member(1).to_string());
    server.join(&mut device).await;

    let mut stranger = server.device(2, 1);
    stranger.token = token("somebody else");
    let mut client = server.connect().await;
    client.hello(stranger.hello()).await;
    assert_eq!(client.goodbye().await.code, GoodbyeCode::Unauthorized, "nobody's directory entry");
    assert_eq!(server.number("fieldbook_jwks_refresh_total{result=\"ok\"}").await, 1);
    server.stop().await;
}
