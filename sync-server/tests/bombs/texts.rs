//! Bombs in what is text: tokens, keys, schemas, policies.

use std::collections::BTreeSet;

use crdt_core::limits;
use crdt_core::policy::Policy;
use crdt_core::schema::Schema;
use sync_server::identity::check_file;
use sync_server::token::{Algorithm, TokenKey};

use crate::cheap;
use crate::support::world::World;

#[test]
fn a_token_nested_ten_thousand_deep_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let key = TokenKey::open_or_create(&folder.path().join("key.pem")).unwrap();
    let deep = |text: &str| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut spelled = String::new();
        for three in text.as_bytes().chunks_exact(3) {
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for shift in [18, 12, 6, 0] {
                spelled.push(char::from(alphabet[(bits >> shift & 63) as usize]));
            }
        }
        spelled
    };
    for (depth, length) in [(600, 0), (3_000, 0), (9_000, 0), (0, 3_000_000)] {
        let part = deep(&format!("{{\"a\":{}{}", "[".repeat(depth), " ".repeat(length)));
        let token = format!("{part}.{part}.{part}");
        assert!(cheap(|| key.verify(&token, World::now())).is_err());
    }
}

#[test]
fn keys_nested_deep_or_without_end_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let many = format!(r#"{{"keys":[{}]}}"#, vec![r#"{"kty":"OKP"}"#; 40_000].join(","));
    for text in [
        format!(r#"{{"keys":{}"#, "[".repeat(100_000)),
        format!(r#"{{"keys":[{}"#, r#"{"a":"#.repeat(50_000)),
        format!(r#"{{"keys":[{{"kid":"{}"}}]}}"#, "k".repeat(3_000_000)),
        many,
    ] {
        std::fs::write(&path, text).unwrap();
        assert!(cheap(|| check_file(&path, &BTreeSet::from(Algorithm::ALL))).is_err());
    }
}

#[test]
fn schemas_and_policies_without_end_are_refused() {
    let schema = "version = 1\n[entity.a]\nlabel = \"A\"\n[entity.a.fields]\n";
    let fields: String = (0..30_000).map(|n| format!("f{n} = \"string\"\n")).collect();
    for text in [
        format!("{schema}{fields}"),
        format!("{schema}x = {}", "[".repeat(100_000)),
        format!("{schema}x = {}", "{ a = ".repeat(50_000)),
        format!("{}x = 1", "a.".repeat(50_000)),
        format!("{schema}x = {{ type = \"string\", pattern = \"((a{{1000}}){{1000}}){{1000}}\" }}"),
        "#".repeat(limits::SCHEMA_BYTES_MAX + 1),
    ] {
        let beginning: String = text.chars().take(80).collect();
        assert!(cheap(|| Schema::parse(&text, "schema.toml").map(drop)).is_err(), "{beginning}");
    }
    let roles: String = (0..2_000).map(|n| format!("[role.r{n}]\n")).collect();
    for text in [roles, "[".repeat(60_000), "#".repeat(limits::POLICY_BYTES_MAX + 1)] {
        let parsed = cheap(|| Policy::parse(&text, "policy.toml", Schema::builtin()).map(drop));
        assert!(parsed.is_err());
    }
}
