//! Sets of keys: which keys of a JWKS are taken, and which texts are none.

use serde_json::{Value, json};

use super::super::jwks::{JWKS_BYTES_MAX, KeySet, Unusable};
use super::material::{Signer, all_algorithms};
use super::*;
use crate::token::{Algorithm, base64url};

fn parse(keys: &[Value]) -> Result<Vec<(usize, Unusable)>, JwksError> {
    let text = json!({ "keys": keys }).to_string();
    KeySet::parse(text.as_bytes(), &all_algorithms()).map(|(_, unusable)| unusable)
}

/// Why a key is left out of a set that has a good one as well.
fn unusable(key: &Value) -> Option<Unusable> {
    let good = Signer::ed("good").jwk();
    parse(&[good, key.clone()]).unwrap().first().map(|(at, why)| {
        assert_eq!(*at, 1);
        *why
    })
}

fn changed(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

#[test]
fn keys_that_are_secret_weak_or_for_something_else_are_left_out() {
    let (rsa, ec, ed) = (Signer::rsa("k").jwk(), Signer::p256("k").jwk(), Signer::ed("k").jwk());
    for key in [&rsa, &ec, &ed] {
        assert_eq!(unusable(key), None, "{key}");
        let marked =
            changed(changed(key.clone(), "use", json!("sig")), "key_ops", json!(["verify"]));
        assert_eq!(unusable(&marked), None, "{marked}");
    }
    let small = base64url(&[0xff; 128]);
    let big = base64url(&[0xff; 1_025]);
    let point = base64url(&[1; 32]);
    for (key, expected) in [
        (json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"}), Unusable::Symmetric),
        (changed(ed.clone(), "k", json!("c2VjcmV0")), Unusable::Symmetric),
        (changed(ed.clone(), "d", json!(point)), Unusable::Private),
        (changed(rsa.clone(), "p", json!("AQAB")), Unusable::Private),
        (changed(rsa.clone(), "use", json!("enc")), Unusable::NotForSigning),
        (changed(rsa.clone(), "use", json!(null)), Unusable::NotForSigning),
        (changed(ec.clone(), "key_ops", json!(["sign"])), Unusable::NotForSigning),
        (changed(ec.clone(), "key_ops", json!([])), Unusable::NotForSigning),
        (changed(rsa.clone(), "alg", json!("RS512")), Unusable::OtherKind),
        (changed(rsa.clone(), "alg", json!("PS256")), Unusable::OtherKind),
        (changed(rsa.clone(), "alg", json!("HS256")), Unusable::OtherKind),
        (changed(ec.clone(), "alg", json!("EdDSA")), Unusable::OtherKind),
        (changed(rsa.clone(), "crv", json!("P-256")), Unusable::OtherKind),
        (changed(ec.clone(), "crv", json!("P-384")), Unusable::OtherKind),
        (changed(ed.clone(), "crv", json!("X25519")), Unusable::OtherKind),
        (changed(ed.clone(), "kty", json!("EC")), Unusable::OtherKind),
        (Signer::p384("k").jwk(), Unusable::OtherKind),
        (json!({"kid": "k"}), Unusable::OtherKind),
        (changed(ed.clone(), "kid", json!(null)), Unusable::NoKid),
        (changed(ed.clone(), "kid", json!("")), Unusable::NoKid),
        (changed(ed.clone(), "kid", json!(7)), Unusable::NoKid),
        (changed(ed.clone(), "kid", json!("k".repeat(257))), Unusable::NoKid),
        (changed(ed.clone(), "x", json!("AA")), Unusable::BadNumbers),
        (changed(ed, "x", json!(null)), Unusable::BadNumbers),
        (changed(ec.clone(), "y", json!(point)), Unusable::BadNumbers),
        (changed(ec, "x", json!("AAAA")), Unusable::BadNumbers),
        (changed(rsa.clone(), "n", json!(small)), Unusable::BadNumbers),
        (changed(rsa.clone(), "n", json!(big)), Unusable::BadNumbers),
        (changed(rsa.clone(), "n", json!("")), Unusable::BadNumbers),
        (changed(rsa.clone(), "n", json!("not base64!")), Unusable::BadNumbers),
        (changed(rsa.clone(), "e", json!("Aw")), Unusable::BadNumbers),
        (changed(rsa.clone(), "e", json!("AQ")), Unusable::BadNumbers),
        (changed(rsa, "e", json!(base64url(&[0xff; 5]))), Unusable::BadNumbers),
    ] {
        assert_eq!(unusable(&key), Some(expected), "{key}");
    }
}

#[test]
fn of_two_keys_with_one_name_neither_is_taken() {
    let (one, other) = (Signer::ed("same").jwk(), Signer::p256("same").jwk());
    let repeated = Unusable::RepeatedKid;
    assert_eq!(
        parse(&[one, other, Signer::ed("good").jwk()]).unwrap(),
        [(0, repeated), (1, repeated)]
    );
}

#[test]
fn a_text_without_a_good_key_is_no_set() {
    assert!(matches!(parse(&[]), Err(JwksError::NoKeys(0))));
    let symmetric = json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"});
    assert!(matches!(parse(&[symmetric]), Err(JwksError::NoKeys(1))));
    let many: Vec<Value> = (0..65).map(|_| json!({})).collect();
    assert!(matches!(parse(&many), Err(JwksError::TooMany(65))));
    for text in
        ["", "{}", "[]", "null", "<html>", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[]"#]
    {
        let parsed = KeySet::parse(text.as_bytes(), &all_algorithms());
        assert!(matches!(parsed, Err(JwksError::Malformed(_))), "{text}");
    }
    let twice = r#"{"keys":[{"kty":"OKP","kty":"oct","kid":"k"}]}"#;
    assert!(matches!(
        KeySet::parse(twice.as_bytes(), &all_algorithms()),
        Err(JwksError::Malformed(_))
    ));
    let long = vec![b' '; JWKS_BYTES_MAX + 1];
    assert!(matches!(KeySet::parse(&long, &all_algorithms()), Err(JwksError::TooLong)));
}

#[test]
fn a_file_of_keys_can_be_checked_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    assert!(matches!(check_file(&path, &all_algorithms()), Err(JwksError::Unreadable(_))));
    std::fs::write(&path, json!({"keys": [Signer::ed("k").jwk()]}).to_string()).unwrap();
    assert_eq!(check_file(&path, &all_algorithms()).unwrap(), 1);
    let only_rsa = [Algorithm::Rs256].into();
    assert!(matches!(check_file(&path, &only_rsa), Err(JwksError::NoKeys(1))));
}
