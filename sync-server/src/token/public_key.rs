//! A public key and the one algorithm that it is for.

use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};

use super::TokenError;
use super::jwt::Jwt;

/// An algorithm that tokens may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA with PKCS #1 1.5 and SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in a JWT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a name, spelled exactly.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A public key and the one algorithm that it is for. Clones share the key.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    pub(crate) algorithm: Algorithm,
    key: Arc<ParsedPublicKey>,
}

impl PublicKey {
    /// An Ed25519 key; nothing when the bytes are none.
    pub(crate) fn ed25519(x: &[u8]) -> Option<Self> {
        if x.len() != 32 {
            return None;
        }
        Some(Self::new(Algorithm::EdDsa, ParsedPublicKey::new(&ED25519, x).ok()?))
    }

    /// A key on P-256; nothing when the coordinates are no point of it.
    pub(crate) fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        if x.len() != 32 || y.len() != 32 {
            return None;
        }
        let point = [&[UNCOMPRESSED][..], x, y].concat();
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        Some(Self::new(Algorithm::Es256, key))
    }

    /// An RSA key; nothing when it is too small or too large, or its exponent is an odd choice.
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
        let exponent_fits = exponent.len() <= 4
            && exponent.iter().fold(0_u64, |e, byte| e << 8 | u64::from(*byte)) >= 65_537;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || !exponent_fits {
            return None;
        }
        let components = RsaPublicKeyComponents { n: modulus, e: exponent };
        let key = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        Some(Self::new(Algorithm::Rs256, key))
    }

    fn new(algorithm: Algorithm, key: ParsedPublicKey) -> Self {
        Self { algorithm, key: Arc::new(key) }
    }

    /// Whether this key signed the token. What the token's header says of it must have been judged before.
    pub(crate) fn check(&self, jwt: &Jwt<'_>) -> Result<(), TokenError> {
        self.key.verify_sig(jwt.signed, &jwt.signature).map_err(|_| TokenError::Forged)
    }
}

/// How the bytes of a point begin that has both coordinates.
const UNCOMPRESSED: u8 = 4;
/// Smaller keys are within reach of those who can pay.
const RSA_BITS_MIN: usize = 2_048;
/// Larger ones only cost time.
const RSA_BITS_MAX: usize = 8_192;
