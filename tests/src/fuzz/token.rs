//! Bytes → a token, a token that was good before it was changed, and an issuer's keys. Only what this server
//! signed is good, to the last bit.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use crdt_core::id::MemberId;
use crdt_core::time::Timestamp;
use sync_server::config::ServerConfig;
use sync_server::identity::check_file;
use sync_server::token::{Algorithm, TokenKey};

struct Keys {
    folder: tempfile::TempDir,
    key: TokenKey,
    good: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let key = TokenKey::open_or_create(&folder.path().join("key.pem")).expect("a key is made");
    let member = MemberId::from_source_key("member", "fuzz");
    let good = key.mint("acme", member, now(), Duration::from_secs(600));
    Keys { folder, key, good }
});

fn now() -> Timestamp {
    Timestamp::from_millis(1_763_000_000_000)
}

/// The first byte says what the rest is.
pub(super) fn run(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => changed(bytes),
        1 => text(bytes),
        2 => keys(bytes),
        _ => configuration(bytes),
    }
}

/// Pairs of a place and a byte that is put there.
fn changed(edits: &[u8]) {
    let Keys { key, good, .. } = &*KEYS;
    let mut token = good.clone().into_bytes();
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % token.len();
        token[place] = edit[2];
    }
    let Ok(token) = String::from_utf8(token) else { return };
    let verified = key.verify(&token, now());
    assert_eq!(verified.is_ok(), token == *good, "{token}");
}

fn text(bytes: &[u8]) {
    let Ok(token) = std::str::from_utf8(bytes) else { return };
    assert!(KEYS.key.verify(token, now()).is_err(), "nobody signed {token}");
}

fn keys(bytes: &[u8]) {
    let path = KEYS.folder.path().join(format!("{:?}.json", std::thread::current().id()));
    fs::write(&path, bytes).expect("a temporary file is written");
    if let Ok(keys) = check_file(&path, &BTreeSet::from(Algorithm::ALL)) {
        assert!((1..=100).contains(&keys), "{keys} keys");
    }
}

fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let name = std::path::Path::new("server.toml");
    if let Ok(config) = ServerConfig::parse(text, name) {
        assert!(config.limits.max_connections > 0 && config.limits.sockets_per_address > 0);
    }
}
