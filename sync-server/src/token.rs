//! Tokens: signed statements of who connects, and how one is judged.
//!
//! A token is a JWT. Nothing in it can choose a key or an algorithm: the key decides the algorithm, and the
//! server decides the keys. Time is an argument. Which roles a member has is not in the token: the
//! workspace knows. The keys of other issuers are kept in [`crate::identity`].

mod claims;
mod error;
mod jwt;
mod key_file;
mod public_key;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use crdt_core::id::{DeviceId, MemberId};
use crdt_core::time::Timestamp;
use serde_json::Value;

pub use self::claims::{Audience, Start};
pub use self::error::TokenError;
pub use self::key_file::KeyError;
pub use self::public_key::Algorithm;

pub(crate) use self::claims::{Claims, Rules, device_named};
pub(crate) use self::jwt::{Jwt, Members, base64url, unbase64url};
pub(crate) use self::public_key::PublicKey;

/// Who a connection speaks for, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The workspace.
    pub workspace: String,
    /// The member of that workspace.
    pub member: MemberId,
    /// The device that the token was given to; nothing when any device may show it. A connection of
    /// another device is not to be let in with it.
    pub device: Option<DeviceId>,
    /// When the token ends.
    pub expires: Timestamp,
}

/// The server's own key: it mints tokens and verifies them. Clones are the same key.
#[derive(Clone)]
pub struct TokenKey {
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl TokenKey {
    /// The key kept in the file at `path`; when there is none, a new one is made and kept there, readable
    /// by the owner alone.
    ///
    /// # Errors
    /// The file cannot be read or made, others may read it, or it holds no Ed25519 key.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyError> {
        key_file::open_or_create(path)
    }

    /// A token that says: the bearer is `member` of `workspace`, from `now` for `ttl` (at most
    /// `TTL_S_MAX`).
    #[must_use]
    pub fn mint(&self, workspace: &str, member: MemberId, now: Timestamp, ttl: Duration) -> String {
        self.sign(&claims_of(workspace, member, now, ttl))
    }

    /// As [`TokenKey::mint`], and good on one device only.
    #[must_use]
    pub fn mint_for_device(
        &self,
        workspace: &str,
        member: MemberId,
        device: DeviceId,
        now: Timestamp,
        ttl: Duration,
    ) -> String {
        let mut claims = claims_of(workspace, member, now, ttl);
        claims["device"] = Value::String(device.to_string());
        self.sign(&claims)
    }

    /// Who the bearer of `token` is.
    ///
    /// # Errors
    /// The token was not minted by this key, or it is not valid at `now`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, TokenError> {
        self.judge(&Jwt::parse(token)?, now)
    }

    /// Who the bearer of a token in this server's name is. The header has to be the one that `mint` writes,
    /// to the last member.
    pub(crate) fn judge(&self, jwt: &Jwt<'_>, now: Timestamp) -> Result<Principal, TokenError> {
        if jwt.header != header() {
            return Err(TokenError::UnexpectedHeader);
        }
        let claims = Claims(&jwt.claims);
        // Told apart before the signature is looked at: whoever signed it did not mean this server.
        claims.issued_by(NAME)?;
        self.public.check(jwt)?;
        let expires = claims.judge(&RULES, now)?;
        let text = claims.text("sub")?;
        let ill_typed = TokenError::IllTyped { claim: "sub" };
        let member = member_named(text).ok_or(ill_typed)?;
        Ok(Principal {
            workspace: claims.workspace("workspace")?,
            member,
            device: claims.device()?,
            expires,
        })
    }

    fn sign(&self, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            base64url(Value::Object(header().into_map()).to_string().as_bytes()),
            base64url(claims.to_string().as_bytes())
        );
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", base64url(signature.as_ref()))
    }
}

/// The member that a text names: an id in its own spelling, and no other.
pub(crate) fn member_named(text: &str) -> Option<MemberId> {
    text.parse().ok().filter(|member: &MemberId| member.to_string() == text)
}

fn claims_of(workspace: &str, member: MemberId, now: Timestamp, ttl: Duration) -> Value {
    let from = now.as_millis().div_euclid(1_000);
    let ttl_s = ttl.as_secs().min(TTL_S_MAX);
    serde_json::json!({
        "iss": NAME,
        "aud": NAME,
        "sub": member.to_string(),
        "workspace": workspace,
        "nbf": from,
        "exp": from.saturating_add_unsigned(ttl_s),
    })
}

fn header() -> Members {
    Members::from_iter([("alg", Algorithm::EdDsa.name()), ("typ", "JWT")])
}

/// Issuer and audience of the server's own tokens: it talks to itself, through its devices.
pub(crate) const NAME: &str = "fieldbook";
/// The longest that a token may be valid, seconds: a year that is a leap year.
pub const TTL_S_MAX: u64 = 366 * 24 * 60 * 60;
/// How far the clocks of two servers that share a key may differ, milliseconds.
pub(crate) const LEEWAY_MS_MAX: i64 = 30_000;
const RULES: Rules<'static> = Rules {
    audience: NAME,
    audience_rule: Audience::Only,
    start: Start::Nbf,
    leeway_ms: LEEWAY_MS_MAX,
    lifetime_ms_max: 1_000 * TTL_S_MAX.cast_signed(),
};

#[cfg(test)]
mod tests;
