//! The promises of tokens: what was minted is taken in its time, and nothing else ever.

use aws_lc_rs::signature::KeyPair;
use crdt_core::limits::TOKEN_BYTES_MAX;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const HOUR: Duration = Duration::from_secs(3_600);

fn member() -> MemberId {
    MemberId::from_source_key("user", "rosa")
}

fn key() -> (TokenKey, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (TokenKey::open_or_create(&folder.path().join("token-key.pem")).unwrap(), folder)
}

fn claims() -> Value {
    json!({
        "iss": "fieldbook", "aud": "fieldbook", "sub": member().to_string(),
        "workspace": "acme", "nbf": 1_800_000_000, "exp": 1_800_003_600,
    })
}

fn claims_with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[claim] = value;
    claims
}

fn claims_without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

fn part(value: &Value) -> String {
    base64url(value.to_string().as_bytes())
}

#[test]
fn a_minted_token_says_who_its_bearer_is_until_it_ends() {
    let (key, _folder) = key();
    let token = key.mint("acme", member(), NOW, HOUR);

    let principal = key.verify(&token, NOW).unwrap();

    let expires = Timestamp::from_millis(1_800_003_600_000);
    let workspace = "acme".to_owned();
    assert_eq!(principal, Principal { workspace, member: member(), device: None, expires });
    assert!(key.verify(&token, expires.plus_millis(29_999)).is_ok());
    assert_eq!(
        key.verify(&token, expires.plus_millis(30_000)),
        Err(TokenError::Expired { at: expires })
    );
    let from = Timestamp::from_millis(1_800_000_000_000);
    assert!(key.verify(&token, from.plus_millis(-30_000)).is_ok());
    assert_eq!(
        key.verify(&token, from.plus_millis(-30_001)),
        Err(TokenError::NotYetValid { from })
    );
}

#[test]
fn a_token_is_never_minted_for_longer_than_the_limit() {
    let (key, _folder) = key();
    let token = key.mint("acme", member(), NOW, Duration::MAX);
    let expires = key.verify(&token, NOW).unwrap().expires;
    assert_eq!(
        expires.since(Timestamp::from_millis(1_800_000_000_000)),
        1_000 * TTL_S_MAX.cast_signed()
    );
}

#[test]
fn claims_that_are_missing_ill_typed_or_foreign_are_refused_though_the_signature_fits() {
    let (key, _folder) = key();
    assert!(key.verify(&key.sign(&claims()), NOW).is_ok());

    for claim in ["iss", "aud", "sub", "workspace", "nbf", "exp"] {
        let refused = key.verify(&key.sign(&claims_without(claim)), NOW);
        assert_eq!(refused, Err(TokenError::Missing { claim }));
        for value in [json!(null), json!(["fieldbook"]), json!({}), json!(true)] {
            let refused = key.verify(&key.sign(&claims_with(claim, value.clone())), NOW);
            // The library stumbles over some of them before they are judged.
            let expected = [Err(TokenError::IllTyped { claim }), Err(TokenError::Malformed)];
            assert!(expected.contains(&refused), "{claim} = {value}: {refused:?}");
        }
    }
    for (claim, value) in [
        ("exp", json!("1800003600")),
        ("exp", json!(1_800_003_600.5)),
        ("exp", json!(-1)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(u64::MAX)),
        ("nbf", json!("1800000000")),
        ("nbf", json!(-1)),
        ("sub", json!("")),
        ("sub", json!("rosa")),
        ("sub", json!(format!("{{{}}}", member()))),
        ("sub", json!(7)),
        ("workspace", json!("")),
        ("workspace", json!("../../etc/passwd")),
        ("workspace", json!("Acme")),
        ("workspace", json!("a".repeat(65))),
    ] {
        let refused = key.verify(&key.sign(&claims_with(claim, value.clone())), NOW);
        let expected = [Err(TokenError::IllTyped { claim }), Err(TokenError::Malformed)];
        assert!(expected.contains(&refused), "{claim} = {value}: {refused:?}");
    }
}

#[test]
fn claims_of_another_time_or_place_are_refused_though_the_signature_fits() {
    let (key, _folder) = key();
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
    for (claim, value, expected) in [
        ("iss", json!("elsewhere"), TokenError::WrongIssuer),
        ("aud", json!("elsewhere"), TokenError::WrongAudience),
        ("aud", json!(""), TokenError::WrongAudience),
        ("exp", json!(0), TokenError::Expired { at: at(0) }),
        ("exp", json!(1_799_999_970), TokenError::Expired { at: at(1_799_999_970) }),
        ("nbf", json!(1_800_000_031), TokenError::NotYetValid { from: at(1_800_000_031) }),
        ("nbf", json!(9_000_000_000_i64), TokenError::NotYetValid { from: at(9_000_000_000) }),
        ("exp", json!(4_000_000_000_i64), TokenError::TooLongLived { until: at(4_000_000_000) }),
        ("nbf", json!(0), TokenError::TooLongLived { until: at(1_800_003_600) }),
    ] {
        let refused = key.verify(&key.sign(&claims_with(claim, value.clone())), NOW);
        assert_eq!(refused, Err(expected), "{claim} = {value}");
    }
}

#[test]
fn a_header_that_chooses_an_algorithm_or_a_key_is_refused() {
    let (key, _folder) = key();
    let good = key.mint("acme", member(), NOW, HOUR);
    let signature = good.rsplit('.').next().unwrap();
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    for header in [
        json!({"alg": "none", "typ": "JWT"}),
        json!({"alg": "None", "typ": "JWT"}),
        json!({"alg": "HS256", "typ": "JWT"}),
        json!({"alg": "RS256", "typ": "JWT"}),
        json!({"alg": "ES256", "typ": "JWT"}),
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "typ": "at+jwt"}),
        json!({"alg": ["EdDSA"], "typ": "JWT"}),
        json!({"typ": "JWT"}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": "../../etc/passwd"}),
        json!({"alg": "EdDSA", "typ": "JWT", "kid": "' OR 1"}),
        json!({"alg": "EdDSA", "typ": "JWT", "jku": "https://evil.example/keys"}),
        json!({"alg": "EdDSA", "typ": "JWT", "x5u": "https://evil.example/cert"}),
        json!({"alg": "EdDSA", "typ": "JWT", "jwk": jwk}),
        json!({"alg": "EdDSA", "typ": "JWT", "crit": ["exp"]}),
        json!({"alg": "EdDSA", "typ": "JWT", "unknown": 1}),
    ] {
        for signature in [signature, ""] {
            let token = format!("{}.{}.{signature}", part(&header), part(&claims()));
            let refused = key.verify(&token, NOW);
            let expected = [TokenError::UnexpectedHeader, TokenError::Malformed];
            assert!(expected.contains(&refused.clone().unwrap_err()), "{header}: {refused:?}");
        }
    }
}

#[test]
fn a_pointer_to_a_key_is_refused_even_under_our_own_signature() {
    let (key, _folder) = key();
    let header = json!({"alg": "EdDSA", "typ": "JWT", "jku": "https://evil.example/keys"});
    let signed = format!("{}.{}", part(&header), part(&claims()));
    let signature = base64url(key.pair.sign(signed.as_bytes()).as_ref());
    assert_eq!(
        key.verify(&format!("{signed}.{signature}"), NOW),
        Err(TokenError::UnexpectedHeader)
    );
}

#[test]
fn a_token_signed_with_the_public_key_as_a_secret_is_refused() {
    let (key, _folder) = key();
    let secret = EncodingKey::from_secret(key.pair.public_key().as_ref());
    let header = Header::new(jsonwebtoken::Algorithm::HS256);
    let token = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
    assert_eq!(key.verify(&token, NOW), Err(TokenError::UnexpectedHeader));
}

#[test]
fn a_token_for_one_device_names_it() {
    let (key, _folder) = key();
    let device = DeviceId([7; 16]);
    let token = key.mint_for_device("acme", member(), device, NOW, HOUR);
    assert_eq!(key.verify(&token, NOW).unwrap().device, Some(device));
    for bad in [json!(7), json!(""), json!("07"), json!("0G".repeat(16)), json!("0A".repeat(16))] {
        let refused = key.verify(&key.sign(&claims_with("device", bad)), NOW);
        assert_eq!(refused, Err(TokenError::IllTyped { claim: "device" }));
    }
}

#[test]
fn a_claim_that_is_said_twice_is_refused_though_the_signature_fits() {
    let (key, _folder) = key();
    let twice = claims().to_string().replacen('{', "{\"workspace\":\"globex\",", 1);
    let header = Value::Object(header().into_map());
    let signed = format!("{}.{}", part(&header), base64url(twice.as_bytes()));
    let signature = base64url(key.pair.sign(signed.as_bytes()).as_ref());
    assert_eq!(key.verify(&format!("{signed}.{signature}"), NOW), Err(TokenError::Malformed));
}

#[test]
fn a_token_of_another_server_is_refused() {
    let ((ours, _folder), (theirs, _other_folder)) = (key(), key());
    let token = theirs.mint("acme", member(), NOW, HOUR);
    assert_eq!(ours.verify(&token, NOW), Err(TokenError::Forged));
}

#[test]
fn a_token_with_other_claims_under_the_old_signature_is_refused() {
    let (key, _folder) = key();
    let token = key.mint("acme", member(), NOW, HOUR);
    let [header, _, signature]: [&str; 3] =
        token.split('.').collect::<Vec<_>>().try_into().unwrap();
    for forged in [
        claims_with("workspace", json!("globex")),
        claims_with("sub", json!(MemberId::from_source_key("user", "boss").to_string())),
        claims_with("exp", json!(1_900_000_000)),
    ] {
        let token = format!("{header}.{}.{signature}", part(&forged));
        assert_eq!(key.verify(&token, NOW), Err(TokenError::Forged));
    }
}

#[test]
fn every_single_changed_character_makes_a_token_worthless() {
    let (key, _folder) = key();
    let token = key.mint("acme", member(), NOW, HOUR);
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(key.verify(std::str::from_utf8(&changed).unwrap(), NOW).is_err(), "at {at}");
        assert!(key.verify(&token[..at], NOW).is_err(), "cut at {at}");
    }
}

#[test]
fn garbage_is_refused() {
    let (key, _folder) = key();
    let token = key.mint("acme", member(), NOW, HOUR);
    let list = format!("{}.{}.", part(&json!({"alg": "EdDSA", "typ": "JWT"})), part(&json!([])));
    for garbage in
        ["", ".", "..", "...", "a.b.c", "\0.\0.\0", "ü.ü.ü", " ", &format!("{token}."), &list]
    {
        assert!(key.verify(garbage, NOW).is_err(), "{garbage:?}");
    }
    assert!(key.verify(&format!(" {token}"), NOW).is_err());
    assert!(key.verify(&format!("Bearer {token}"), NOW).is_err());
}

#[test]
fn a_token_beyond_the_limit_is_refused_before_it_is_read() {
    let (key, _folder) = key();
    let long = key.sign(&claims_with("more", json!("x".repeat(TOKEN_BYTES_MAX))));
    assert_eq!(key.verify(&long, NOW), Err(TokenError::TooLong { bytes: long.len() }));
}

#[test]
fn the_key_is_made_once_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/token-key.pem");
    let token = TokenKey::open_or_create(&path).unwrap().mint("acme", member(), NOW, HOUR);

    let opened_again = TokenKey::open_or_create(&path).unwrap();

    assert!(opened_again.verify(&token, NOW).is_ok());
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(files, 1, "only the key is left behind");
}

#[test]
fn all_that_make_the_key_at_once_use_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-key.pem");
    let keys: Vec<TokenKey> = std::thread::scope(|scope| {
        let makers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| TokenKey::open_or_create(&path))).collect();
        makers.into_iter().map(|maker| maker.join().unwrap().unwrap()).collect()
    });
    let token = keys[0].mint("acme", member(), NOW, HOUR);
    assert!(keys.iter().all(|key| key.verify(&token, NOW).is_ok()));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-key.pem");
    TokenKey::open_or_create(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();

    let refused = TokenKey::open_or_create(&path);
    assert!(matches!(refused, Err(KeyError::TooOpen { mode: 0o640, .. })));
}

#[test]
fn a_file_that_is_no_key_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-key.pem");
    TokenKey::open_or_create(&path).unwrap();
    for text in ["", "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(&path, text).unwrap();
        let refused = TokenKey::open_or_create(&path);
        assert!(matches!(refused, Err(KeyError::NotAKey { .. })), "{text:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
