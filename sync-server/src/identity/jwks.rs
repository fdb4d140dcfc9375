//! A JWKS: an issuer's public keys by name. One bad key is left out; a set without a good one is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;

use crate::token::{Algorithm, Members, PublicKey, unbase64url};

/// Why a text is no set of keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// The file cannot be read.
    #[error("the keys cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Longer than any honest set.
    #[error("the keys are longer than {JWKS_BYTES_MAX} bytes")]
    TooLong,
    /// Not a JWKS.
    #[error("the keys are not a JWKS: {0}")]
    Malformed(#[from] serde_json::Error),
    /// More keys than any honest set has.
    #[error("there are {0} keys, the most is {KEYS_MAX}")]
    TooMany(usize),
    /// Not one of the keys can be used.
    #[error("none of the {0} keys can be used")]
    NoKeys(usize),
}

/// Why a key of a set is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it has no kid")]
    NoKid,
    #[error("another key has its kid")]
    RepeatedKid,
    #[error("it is a secret, not a public key")]
    Symmetric,
    #[error("it is a private key, and has to be replaced")]
    Private,
    #[error("it is not for signatures")]
    NotForSigning,
    #[error("it is of a kind or an algorithm that is not taken")]
    OtherKind,
    #[error("its algorithm is not among those that are configured")]
    NotConfigured,
    #[error("its numbers are no key, or one that is too weak")]
    BadNumbers,
}

/// An issuer's public keys by `kid`.
#[derive(Debug)]
pub(crate) struct KeySet(BTreeMap<String, PublicKey>);

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Members>,
}

impl KeySet {
    /// The keys that can be used, and why others cannot, by their places.
    pub(crate) fn parse(
        bytes: &[u8],
        algorithms: &BTreeSet<Algorithm>,
    ) -> Result<(Self, Vec<(usize, Unusable)>), JwksError> {
        if bytes.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLong);
        }
        let Jwks { keys } = serde_json::from_slice(bytes)?;
        if keys.len() > KEYS_MAX {
            return Err(JwksError::TooMany(keys.len()));
        }
        let mut taken: BTreeMap<String, PublicKey> = BTreeMap::new();
        let mut unusable = Vec::new();
        for (at, jwk) in keys.iter().enumerate() {
            // With two keys of one name nobody could say which is meant: neither is taken.
            let repeated = |other: &Members| other.text("kid") == jwk.text("kid");
            let judged = if keys.iter().filter(|other| repeated(other)).count() > 1 {
                Err(Unusable::RepeatedKid)
            } else {
                usable(jwk, algorithms)
            };
            match judged {
                Ok((kid, key)) => drop(taken.insert(kid.to_owned(), key)),
                Err(why) => unusable.push((at, why)),
            }
        }
        if taken.is_empty() {
            Err(JwksError::NoKeys(keys.len()))
        } else {
            Ok((Self(taken), unusable))
        }
    }

    pub(crate) fn get(&self, kid: &str) -> Option<&PublicKey> {
        self.0.get(kid)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The bytes of a file of keys, with one more than may be when there are more.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, JwksError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(JWKS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a file holds keys that can be used, and how many.
///
/// # Errors
/// The file cannot be read, or holds no key of these algorithms.
pub fn check_file(path: &Path, algorithms: &BTreeSet<Algorithm>) -> Result<usize, JwksError> {
    KeySet::parse(&read_file(path)?, algorithms).map(|(keys, _)| keys.len())
}

/// The key alone decides the algorithm: by its kind and, where it names one, its `alg`.
fn usable<'a>(
    jwk: &'a Members,
    algorithms: &BTreeSet<Algorithm>,
) -> Result<(&'a str, PublicKey), Unusable> {
    let kid = jwk.text("kid").filter(|kid| !kid.is_empty() && kid.len() <= KID_BYTES_MAX);
    let kid = kid.ok_or(Unusable::NoKid)?;
    if jwk.text("kty") == Some("oct") || jwk.has("k") {
        return Err(Unusable::Symmetric);
    }
    if PRIVATE.iter().any(|member| jwk.has(member)) {
        return Err(Unusable::Private);
    }
    if !is_for_signing(jwk) {
        return Err(Unusable::NotForSigning);
    }
    let algorithm = match (jwk.text("kty"), jwk.text("crv")) {
        (Some("RSA"), None) => Algorithm::Rs256,
        (Some("EC"), Some("P-256")) => Algorithm::Es256,
        (Some("OKP"), Some("Ed25519")) => Algorithm::EdDsa,
        _ => return Err(Unusable::OtherKind),
    };
    if jwk.has("alg") && jwk.text("alg") != Some(algorithm.name()) {
        return Err(Unusable::OtherKind);
    }
    if !algorithms.contains(&algorithm) {
        return Err(Unusable::NotConfigured);
    }
    Ok((kid, key_of(jwk, algorithm).ok_or(Unusable::BadNumbers)?))
}

fn is_for_signing(jwk: &Members) -> bool {
    let use_fits = !jwk.has("use") || jwk.text("use") == Some("sig");
    let verify = serde_json::json!(["verify"]);
    use_fits && jwk.get("key_ops").is_none_or(|ops| *ops == verify)
}

fn key_of(jwk: &Members, algorithm: Algorithm) -> Option<PublicKey> {
    let number = |name| unbase64url(jwk.text(name)?);
    match algorithm {
        Algorithm::Rs256 => PublicKey::rsa(&number("n")?, &number("e")?),
        Algorithm::Es256 => PublicKey::p256(&number("x")?, &number("y")?),
        Algorithm::EdDsa => PublicKey::ed25519(&number("x")?),
    }
}

/// The members that only a private key has.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];
/// A set of keys, bytes: sixteen keys with certificates fit.
pub(crate) const JWKS_BYTES_MAX: usize = 64 * 1024;
/// Keys of one set.
const KEYS_MAX: usize = 64;
/// A key's name, bytes.
const KID_BYTES_MAX: usize = 256;
