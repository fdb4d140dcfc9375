//! Keys made for one test, tokens signed with somebody else's code, and issuers that publish the keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair,
};
use crdt_core::time::Timestamp;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};

use crate::config::{IssuerConfig, KeySource, WorkspaceRule};
use crate::telemetry::metrics::Metrics;
use crate::token::{Algorithm, Audience, Start, TokenKey, base64url};

pub(super) use jsonwebtoken::Algorithm as Theirs;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
pub(super) const A: &str = "https://a.example/";
pub(super) const B: &str = "https://b.example/";

/// A key of an issuer, and the name under which it is published.
pub(super) struct Signer {
    pub(super) kid: &'static str,
    pub(super) algorithm: Theirs,
    pub(super) key: EncodingKey,
}

impl Signer {
    pub(super) fn rsa(kid: &'static str) -> Self {
        let der: Pkcs8V1Der<'_> = KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
        let text = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
        Self {
            kid,
            algorithm: Theirs::RS256,
            key: EncodingKey::from_rsa_pem(text.as_bytes()).unwrap(),
        }
    }

    pub(super) fn p256(kid: &'static str) -> Self {
        Self::ec(kid, Theirs::ES256, &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(super) fn p384(kid: &'static str) -> Self {
        Self::ec(kid, Theirs::ES384, &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ec(kid: &'static str, algorithm: Theirs, curve: &'static EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { kid, algorithm, key }
    }

    pub(super) fn ed(kid: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { kid, algorithm: Theirs::EdDSA, key }
    }

    /// The public key as its issuer publishes it.
    pub(super) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk
    }

    pub(super) fn header(&self) -> Value {
        json!({ "alg": serde_json::to_value(self.algorithm).unwrap(), "typ": "JWT", "kid": self.kid })
    }

    /// A token of this key.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// A token of this key that says whatever is given.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        self.sign_as(self.algorithm, header, claims)
    }

    pub(super) fn sign_as(&self, algorithm: Theirs, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, algorithm);
        format!("{signed}.{}", signature.unwrap())
    }
}

/// What a good token of an issuer says.
pub(super) fn claims(iss: &str) -> Value {
    json!({
        "iss": iss, "aud": "crm", "sub": "auth0|rosa", "org": "acme", "email": "rosa@acme.example",
        "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_900,
    })
}

pub(super) fn jwks(keys: &[&Signer]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// An issuer that publishes its keys in a file.
pub(super) fn issuer(iss: &str, file: PathBuf, workspace: WorkspaceRule) -> IssuerConfig {
    IssuerConfig {
        name: "test".to_owned(),
        iss: iss.to_owned(),
        audience: "crm".to_owned(),
        audience_rule: Audience::Only,
        keys: KeySource::File(file),
        algorithms: all_algorithms(),
        workspace,
        start: Start::Nbf,
        leeway: Duration::from_secs(30),
        lifetime_max: Duration::from_secs(3_600),
    }
}

pub(super) fn all_algorithms() -> BTreeSet<Algorithm> {
    Algorithm::ALL.into_iter().collect()
}

pub(super) fn org() -> WorkspaceRule {
    WorkspaceRule::Claim("org".to_owned())
}

pub(super) fn own_key(folder: &Path) -> TokenKey {
    TokenKey::open_or_create(&folder.join("token-key.pem")).unwrap()
}

/// The number of a metric's line.
pub(super) fn number(metrics: &Metrics, line: &str) -> u64 {
    let page = metrics.render();
    let found = page.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {line} in\n{page}"))
}
