//! Good tokens of every algorithm, and more than eighty bad ones, each refused for the right reason.

use crdt_core::id::MemberId;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::material::{A, B, NOW, Signer, Theirs, claims, issuer, jwks, number, org, own_key};
use super::*;
use crate::config::{IssuerConfig, WorkspaceRule};
use crate::telemetry::metrics::Metrics;
use crate::token::{Algorithm, Audience, Start, base64url};

/// Two issuers: A names the workspace in a claim, all members of B belong to `globex`. Both call a key `ed`.
struct World {
    own: TokenKey,
    rsa: Signer,
    ec: Signer,
    ed: Signer,
    theirs: Signer,
    metrics: Metrics,
    verifier: Verifier,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl Fn(&mut IssuerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.json"), folder.path().join("b.json"));
        let (rsa, ec, ed) = (Signer::rsa("rsa"), Signer::p256("ec"), Signer::ed("ed"));
        let theirs = Signer::ed("ed");
        std::fs::write(&a, jwks(&[&rsa, &ec, &ed])).unwrap();
        std::fs::write(&b, jwks(&[&theirs])).unwrap();
        let fixed = WorkspaceRule::Fixed("globex".to_owned());
        let mut issuers = [issuer(A, a, org()), issuer(B, b, fixed)];
        change(&mut issuers[0]);
        let (own, metrics) = (own_key(folder.path()), Metrics::new());
        let verifier = Verifier::start(own.clone(), &issuers, metrics.identity.clone()).unwrap();
        Self { own, rsa, ec, ed, theirs, metrics, verifier, _folder: folder }
    }

    async fn refusal(&self, token: &str) -> TokenError {
        self.verifier.verify(token, NOW).await.unwrap_err()
    }
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims(A);
    claims[claim] = value;
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = claims(A);
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

#[tokio::test]
async fn good_tokens_of_every_algorithm_are_taken() {
    let world = World::new();
    let member = member_of(A, "auth0|rosa");
    for signer in [&world.rsa, &world.ec, &world.ed] {
        let mut header = jsonwebtoken::Header::new(signer.algorithm);
        header.kid = Some(signer.kid.to_owned());
        let token = jsonwebtoken::encode(&header, &claims(A), &signer.key).unwrap();
        let principal = world.verifier.verify(&token, NOW).await.unwrap();
        let expires = Timestamp::from_millis(1_800_000_900_000);
        let expected = Principal { workspace: "acme".to_owned(), member, device: None, expires };
        assert_eq!(principal, expected, "{:?}", signer.algorithm);
    }
    let of_b = world.verifier.verify(&world.theirs.token(&claims(B)), NOW).await.unwrap();
    assert_eq!(of_b.workspace, "globex", "whatever its claims say");
    assert_ne!(of_b.member, member, "the same `sub` of another issuer is somebody else");
    let hour = std::time::Duration::from_secs(3_600);
    let own = world.own.mint("acme", member, NOW, hour);
    assert_eq!(world.verifier.verify(&own, NOW).await.unwrap().member, member);
}

#[tokio::test]
async fn a_sub_that_is_a_members_id_is_that_member() {
    let world = World::new();
    let member = MemberId::from_source_key("user", "rosa");
    let token = world.ed.token(&with("sub", json!(member.to_string())));
    assert_eq!(world.verifier.verify(&token, NOW).await.unwrap().member, member);
    let spelled_otherwise = member.to_string().to_uppercase();
    assert_ne!(member_of(A, &spelled_otherwise), member);
    assert_ne!(member_of(A, "rosa"), member_of(B, "rosa"));
    assert_ne!(member_of("a", "bc"), member_of("ab", "c"));
}

#[tokio::test]
async fn what_honest_headers_and_claims_may_also_say_changes_nothing() {
    let world = World::new();
    for (member, value) in [("typ", json!("at+jwt")), ("typ", json!("jwt")), ("x5t", json!("abc"))]
    {
        let mut header = world.ec.header();
        header[member] = value;
        let token = world.ec.sign(&header.to_string(), &claims(A).to_string());
        assert!(world.verifier.verify(&token, NOW).await.is_ok(), "{header}");
    }
    let mut header = world.ec.header();
    header.as_object_mut().unwrap().remove("typ");
    assert!(
        world
            .verifier
            .verify(&world.ec.sign(&header.to_string(), &claims(A).to_string()), NOW)
            .await
            .is_ok()
    );
    let nested = with("realm", json!({"roles": ["admin"], "more": [1.5, null]}));
    assert!(world.verifier.verify(&world.ec.token(&nested), NOW).await.is_ok());
}

/// One bad token, and why it is refused.
type Case = (&'static str, String, TokenError);

#[tokio::test]
async fn more_than_eighty_bad_tokens_are_refused_each_for_its_reason() {
    let world = World::new();
    let mut cases = headers(&world);
    cases.extend(algorithms(&world));
    cases.extend(signatures(&world));
    cases.extend(missing_and_ill_typed(&world));
    cases.extend(times_and_places(&world));
    cases.extend(spellings(&world));
    assert!(cases.len() >= 80, "{}", cases.len());
    for (name, token, expected) in &cases {
        assert_eq!(&world.refusal(token).await, expected, "{name}: {token}");
    }
    let counted: u64 = TokenError::REASONS
        .iter()
        .map(|reason| format!("fieldbook_token_refused_total{{reason=\"{reason}\"}}"))
        .map(|line| number(&world.metrics, &line))
        .sum();
    assert_eq!(counted, cases.len() as u64, "each is counted once");
}

/// Headers that choose an algorithm or point to a key.
fn headers(world: &World) -> Vec<Case> {
    let World { rsa, ec, ed, .. } = world;
    let body = claims(A).to_string();
    let own = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&[1; 32])});
    let mut cases = Vec::new();
    for (name, member, value, expected) in [
        ("jku", "jku", json!("https://evil.example/keys"), TokenError::UnexpectedHeader),
        ("jwk", "jwk", own, TokenError::UnexpectedHeader),
        ("jwk null", "jwk", json!(null), TokenError::UnexpectedHeader),
        ("x5u", "x5u", json!("https://evil.example/cert"), TokenError::UnexpectedHeader),
        ("x5c", "x5c", json!(["MIIB"]), TokenError::UnexpectedHeader),
        ("crit", "crit", json!(["exp"]), TokenError::UnexpectedHeader),
        ("crit empty", "crit", json!([]), TokenError::UnexpectedHeader),
        ("b64", "b64", json!(false), TokenError::UnexpectedHeader),
        ("zip", "zip", json!("DEF"), TokenError::UnexpectedHeader),
        ("enc", "enc", json!("A256GCM"), TokenError::UnexpectedHeader),
        ("typ of another token", "typ", json!("dpop+jwt"), TokenError::UnexpectedHeader),
        ("typ a number", "typ", json!(1), TokenError::UnexpectedHeader),
        ("alg none", "alg", json!("none"), TokenError::WrongAlgorithm),
        ("alg NONE", "alg", json!("NONE"), TokenError::WrongAlgorithm),
        ("alg nOnE", "alg", json!("nOnE"), TokenError::WrongAlgorithm),
        ("alg empty", "alg", json!(""), TokenError::WrongAlgorithm),
        ("alg null", "alg", json!(null), TokenError::WrongAlgorithm),
        ("alg a list", "alg", json!(["EdDSA"]), TokenError::WrongAlgorithm),
        ("alg in lower case", "alg", json!("eddsa"), TokenError::WrongAlgorithm),
        ("alg of another kind", "alg", json!("ES256"), TokenError::WrongAlgorithm),
        ("alg HS256", "alg", json!("HS256"), TokenError::WrongAlgorithm),
        ("kid unknown", "kid", json!("other"), TokenError::UnknownKey),
        ("kid empty", "kid", json!(""), TokenError::UnknownKey),
        ("kid a path", "kid", json!("../../etc/passwd"), TokenError::UnknownKey),
        ("kid a device", "kid", json!("/dev/null"), TokenError::UnknownKey),
        ("kid SQL", "kid", json!("' OR 1=1 --"), TokenError::UnknownKey),
        ("kid SQL with a result", "kid", json!("x' UNION SELECT 'AAAA"), TokenError::UnknownKey),
        ("kid an address", "kid", json!("https://evil.example/key"), TokenError::UnknownKey),
        ("kid with a zero", "kid", json!("ed\0"), TokenError::UnknownKey),
        ("kid in other letters", "kid", json!("еd"), TokenError::UnknownKey),
        ("kid a number", "kid", json!(0), TokenError::UnknownKey),
        ("kid a list", "kid", json!(["ed"]), TokenError::UnknownKey),
    ] {
        let mut header = ed.header();
        header[member] = value;
        cases.push((name, ed.sign(&header.to_string(), &body), expected));
    }
    let no = |member: &str, signer: &Signer| {
        let mut header = signer.header();
        header.as_object_mut().unwrap().remove(member);
        signer.sign(&header.to_string(), &body)
    };
    cases.push(("no alg", no("alg", ed), TokenError::WrongAlgorithm));
    cases.push(("no kid", no("kid", rsa), TokenError::UnknownKey));
    let twice = r#"{"alg":"none","alg":"ES256","kid":"ec"}"#;
    cases.push(("alg twice", ec.sign(twice, &body), TokenError::Malformed));
    cases.push(("header a list", ec.sign(r#"["ES256"]"#, &body), TokenError::Malformed));
    cases
}

/// Tokens that were signed in another way than their key is for.
fn algorithms(world: &World) -> Vec<Case> {
    let rsa = &world.rsa;
    let body = claims(A).to_string();
    let wrong = |name, token| (name, token, TokenError::WrongAlgorithm);
    let forged = |name, token| (name, token, TokenError::Forged);
    let hs256 = |bytes: &[u8]| {
        let key = jsonwebtoken::EncodingKey::from_secret(bytes);
        Signer { kid: "rsa", algorithm: Theirs::HS256, key }.token(&claims(A))
    };
    let rs = |algorithm: Theirs, name: &str| {
        rsa.sign_as(algorithm, &json!({"alg": name, "kid": "rsa"}).to_string(), &body)
    };
    let public = rsa.jwk();
    let p384 = Signer::p384("ec");
    let mut as_es256 = p384.header();
    as_es256["alg"] = json!("ES256");
    vec![
        wrong("HS256 with the public key's text", hs256(public.to_string().as_bytes())),
        wrong("HS256 with the modulus", hs256(public["n"].as_str().unwrap().as_bytes())),
        wrong("HS256 with nothing", hs256(b"")),
        wrong("RS384", rs(Theirs::RS384, "RS384")),
        wrong("RS512", rs(Theirs::RS512, "RS512")),
        wrong("PS256", rs(Theirs::PS256, "PS256")),
        wrong("ES384", p384.token(&claims(A))),
        forged("PS256 called RS256", rs(Theirs::PS256, "RS256")),
        forged("RS384 called RS256", rs(Theirs::RS384, "RS256")),
        forged("ES384 called ES256", p384.sign(&as_es256.to_string(), &body)),
    ]
}

/// Tokens whose signature is a stranger's, another issuer's, another token's or none.
fn signatures(world: &World) -> Vec<Case> {
    let World { own, rsa, ec, ed, theirs, .. } = world;
    let forged = |name, token| (name, token, TokenError::Forged);
    let resigned = |token: String, signature: &str| {
        format!("{}.{signature}", token.rsplit_once('.').unwrap().0)
    };
    let zeros =
        |signer: &Signer, bytes| resigned(signer.token(&claims(A)), &base64url(&vec![0; bytes]));
    let good = ed.token(&claims(A));
    let signature = good.rsplit('.').next().unwrap();
    let minute = std::time::Duration::from_secs(60);
    let ours = own.mint("acme", member_of(A, "rosa"), NOW, minute);
    vec![
        forged("a stranger's RSA key", Signer::rsa("rsa").token(&claims(A))),
        forged("a stranger's P-256 key", Signer::p256("ec").token(&claims(A))),
        forged("a stranger's Ed25519 key", Signer::ed("ed").token(&claims(A))),
        forged("B's key in A's name", theirs.token(&claims(A))),
        forged("A's key in B's name", ed.token(&claims(B))),
        ("A's other key in B's name", rsa.token(&claims(B)), TokenError::UnknownKey),
        (
            "A's key in this server's name",
            ed.token(&claims("fieldbook")),
            TokenError::UnexpectedHeader,
        ),
        (
            "A's key in nobody's name",
            ed.token(&claims("https://c.example/")),
            TokenError::WrongIssuer,
        ),
        forged("this server's signature", resigned(good.clone(), ours.rsplit('.').next().unwrap())),
        forged("no signature", resigned(good.clone(), "")),
        forged("half a signature", resigned(good.clone(), &signature[..40])),
        forged("an Ed25519 signature of zeros", zeros(ed, 64)),
        forged("a P-256 signature of zeros", zeros(ec, 64)),
        forged("an RSA signature of zeros", zeros(rsa, 256)),
        forged(
            "the signature of other claims",
            resigned(ed.token(&with("org", json!("globex"))), signature),
        ),
    ]
}

/// Claims that are not there, or not what they have to be, under a good signature.
fn missing_and_ill_typed(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    for (claim, named) in [
        ("iss", "iss"),
        ("aud", "aud"),
        ("exp", "exp"),
        ("nbf", "nbf"),
        ("sub", "sub"),
        ("org", "workspace"),
    ] {
        let token = world.ed.token(&without(claim));
        cases.push(("missing", token, TokenError::Missing { claim: named }));
    }
    for (claim, value) in [
        ("iss", json!(null)),
        ("iss", json!(7)),
        ("iss", json!([A])),
        ("aud", json!(["crm"])),
        ("aud", json!(["crm", "other"])),
        ("aud", json!([])),
        ("aud", json!({"crm": true})),
        ("aud", json!(null)),
        ("exp", json!("1800000900")),
        ("exp", json!(1_800_000_900.5)),
        ("exp", json!(1.800_000_9e9)),
        ("exp", json!(-1)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(null)),
        ("exp", json!([1_800_000_900])),
        ("exp", json!(true)),
        ("nbf", json!("1800000000")),
        ("nbf", json!(-1)),
        ("nbf", json!(1_800_000_000.0)),
        ("nbf", json!({})),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!(null)),
        ("sub", json!(["auth0|rosa"])),
        ("sub", json!("rosa\n")),
        ("sub", json!("r".repeat(256))),
    ] {
        let token = world.ed.token(&with(claim, value));
        cases.push(("ill typed", token, TokenError::IllTyped { claim }));
    }
    for value in [
        json!(""),
        json!("Acme"),
        json!("../acme"),
        json!("acme/../globex"),
        json!(["acme"]),
        json!(1),
        json!("аcme"),
    ] {
        let token = world.ed.token(&with("org", value));
        cases.push(("no workspace", token, TokenError::IllTyped { claim: "workspace" }));
    }
    cases
}

/// Claims of another time or another place, under a good signature.
fn times_and_places(world: &World) -> Vec<Case> {
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
    let over = |seconds| TokenError::Expired { at: at(seconds) };
    let early = |seconds| TokenError::NotYetValid { from: at(seconds) };
    let long = |seconds| TokenError::TooLongLived { until: at(seconds) };
    let mut cases = Vec::new();
    for (name, claim, value, expected) in [
        ("another audience", "aud", json!("other"), TokenError::WrongAudience),
        ("audience in capitals", "aud", json!("CRM"), TokenError::WrongAudience),
        ("no audience", "aud", json!(""), TokenError::WrongAudience),
        ("audience and a space", "aud", json!("crm "), TokenError::WrongAudience),
        ("an issuer that almost is", "iss", json!("https://a.example"), TokenError::WrongIssuer),
        ("an issuer in capitals", "iss", json!("HTTPS://a.example/"), TokenError::WrongIssuer),
        ("an issuer with a path", "iss", json!("https://a.example/evil"), TokenError::WrongIssuer),
        ("no issuer", "iss", json!(""), TokenError::WrongIssuer),
        ("expired at the beginning of time", "exp", json!(0), over(0)),
        ("expired a leeway ago", "exp", json!(1_799_999_970), over(1_799_999_970)),
        ("not before soon", "nbf", json!(1_800_000_031), early(1_800_000_031)),
        ("not before long", "nbf", json!(9_000_000_000_i64), early(9_000_000_000)),
        ("far future", "exp", json!(4_000_000_000_i64), long(4_000_000_000)),
        ("very far future", "exp", json!(9_000_000_000_000_000_i64), long(9_000_000_000_000_000)),
        ("a second too long", "exp", json!(1_800_003_601), long(1_800_003_601)),
        ("valid since 1970", "nbf", json!(0), long(1_800_000_900)),
    ] {
        cases.push((name, world.rsa.token(&with(claim, value)), expected));
    }
    cases
}

/// Texts that are no tokens, or were one once.
fn spellings(world: &World) -> Vec<Case> {
    let good = world.ed.token(&claims(A));
    let text = claims(A).to_string();
    let header = world.ed.header().to_string();
    let sign = |body: &str| world.ed.sign(&header, body);
    let [first, second, third] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let long = "x".repeat(8_193);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1_000), "]".repeat(1_000));
    let mut cases = vec![
        ("too long", long.clone(), TokenError::TooLong { bytes: long.len() }),
        ("exp twice", sign(&text.replacen('{', "{\"exp\":9e9,", 1)), TokenError::Malformed),
        ("iss twice", sign(&text.replacen('{', "{\"iss\":\"x\",", 1)), TokenError::Malformed),
        (
            "sub twice, escaped",
            sign(&text.replacen('{', "{\"s\\u0075b\":\"boss\",", 1)),
            TokenError::Malformed,
        ),
        ("NaN", sign(&text.replace("1800000900", "NaN")), TokenError::Malformed),
        ("infinity", sign(&text.replace("1800000900", "1e999")), TokenError::Malformed),
        ("hexadecimal", sign(&text.replace("1800000900", "0x6B49D584")), TokenError::Malformed),
        ("a comment", sign(&text.replacen('{', "{/**/", 1)), TokenError::Malformed),
        ("more after the end", sign(&format!("{text}{text}")), TokenError::Malformed),
        ("deep", sign(&deep), TokenError::Malformed),
        ("claims a list", sign("[]"), TokenError::Malformed),
        ("claims a text", sign("\"claims\""), TokenError::Malformed),
        ("claims null", sign("null"), TokenError::Malformed),
        ("claims empty", sign(""), TokenError::Malformed),
        (
            "claims no UTF-8",
            format!("{first}.{}.{third}", base64url(b"{\"iss\":\"\xff\"}")),
            TokenError::Malformed,
        ),
        ("padding", format!("{first}.{second}.{third}=="), TokenError::Malformed),
        ("padding within", format!("{first}=.{second}.{third}"), TokenError::Malformed),
        (
            "standard base64",
            format!("{first}.{second}.{}", third.replace(['-', '_'], "+")) + "+",
            TokenError::Malformed,
        ),
    ];
    for (name, token) in [
        ("empty", String::new()),
        ("a dot", ".".to_owned()),
        ("two dots", "..".to_owned()),
        ("five parts", "a.b.c.d.e".to_owned()),
        ("cut after the header", format!("{first}.")),
        ("cut before the signature", format!("{first}.{second}")),
        ("four parts", format!("{good}.")),
        ("a space before", format!(" {good}")),
        ("a line end after", format!("{good}\n")),
        ("with its scheme", format!("Bearer {good}")),
        ("unicode", "é.ü.ß".to_owned()),
        ("zeros", "\0.\0.\0".to_owned()),
        ("JSON", json!({"payload": second, "signature": third}).to_string()),
    ] {
        cases.push((name, token, TokenError::Malformed));
    }
    cases
}

#[tokio::test]
async fn only_algorithms_that_are_configured_are_taken() {
    let world = World::with(|a| a.algorithms = [Algorithm::Es256].into());
    assert!(world.verifier.verify(&world.ec.token(&claims(A)), NOW).await.is_ok());
    assert_eq!(world.refusal(&world.rsa.token(&claims(A))).await, TokenError::UnknownKey);
    assert_eq!(world.refusal(&world.ed.token(&claims(A))).await, TokenError::UnknownKey);
}

#[tokio::test]
async fn an_issuer_may_be_allowed_lists_of_audiences() {
    let world = World::with(|a| a.audience_rule = Audience::Among);
    for good in [json!("crm"), json!(["crm"]), json!(["other", "crm"])] {
        let token = world.ed.token(&with("aud", good));
        assert!(world.verifier.verify(&token, NOW).await.is_ok());
    }
    let refusal = async |aud: Value| world.refusal(&world.ed.token(&with("aud", aud))).await;
    assert_eq!(refusal(json!([])).await, TokenError::WrongAudience);
    assert_eq!(refusal(json!(["other"])).await, TokenError::WrongAudience);
    assert_eq!(refusal(json!(["crm", 7])).await, TokenError::IllTyped { claim: "aud" });
    assert_eq!(refusal(json!([["crm"]])).await, TokenError::IllTyped { claim: "aud" });
}

#[tokio::test]
async fn an_issuer_without_nbf_may_be_allowed_to_say_iat_and_both_are_kept_to() {
    let world = World::with(|a| a.start = Start::Iat);
    assert!(world.verifier.verify(&world.ed.token(&without("nbf")), NOW).await.is_ok());
    let refusal = async |claims: Value| world.refusal(&world.ed.token(&claims)).await;
    assert_eq!(refusal(without("iat")).await, TokenError::Missing { claim: "iat" });
    let from = Timestamp::from_millis(1_800_000_100_000);
    assert_eq!(refusal(with("nbf", json!(1_800_000_100))).await, TokenError::NotYetValid { from });
    assert_eq!(refusal(with("nbf", json!("x"))).await, TokenError::IllTyped { claim: "nbf" });
    assert_eq!(refusal(with("iat", json!(1_800_000_100))).await, TokenError::NotYetValid { from });
}
