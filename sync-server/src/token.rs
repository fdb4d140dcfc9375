//! Tokens: signed statements of who connects, minted and verified by this server's own key.
//!
//! A token is a JWT with one algorithm, EdDSA, and exactly the header that `mint` writes; nothing in a
//! token can choose a key or an algorithm. Time is an argument. Which roles a member has is not in the
//! token: the workspace knows.

mod key_file;

use std::path::Path;
use std::time::Duration;

use crdt_core::id::{MemberId, is_name};
use crdt_core::limits::TOKEN_BYTES_MAX;
use crdt_core::time::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value};

pub use self::key_file::KeyError;

/// Who a connection speaks for, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The workspace.
    pub workspace: String,
    /// The member of that workspace.
    pub member: MemberId,
    /// When the token ends.
    pub expires: Timestamp,
}

/// The server's own key: it mints tokens and verifies them.
pub struct TokenKey {
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// Why a token was refused. Only `Expired` and `NotYetValid` can happen to an honest device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than any token that is minted.
    #[error("the token has {bytes} bytes, the most is {TOKEN_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a JWT.
    #[error("the token is not a JWT")]
    Malformed,
    /// A header that this server does not write: another algorithm, or a pointer to a key.
    #[error("the token's header is not the one that this server writes")]
    UnexpectedHeader,
    /// Not signed by this server's key.
    #[error("the token's signature does not fit")]
    Forged,
    /// A claim is missing.
    #[error("the token has no claim {claim}")]
    Missing {
        /// The claim.
        claim: &'static str,
    },
    /// A claim has a value of another type or spelling.
    #[error("the token's claim {claim} is malformed")]
    IllTyped {
        /// The claim.
        claim: &'static str,
    },
    /// Issued by someone else.
    #[error("the token was issued by someone else")]
    WrongIssuer,
    /// Made for someone else.
    #[error("the token was made for another audience")]
    WrongAudience,
    /// Its time is over.
    #[error("the token expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Its time has not come.
    #[error("the token is valid from {from}")]
    NotYetValid {
        /// From when on.
        from: Timestamp,
    },
    /// Valid for longer than any token that is minted.
    #[error("the token is valid until {until}, longer than any that is minted")]
    TooLongLived {
        /// Until when.
        until: Timestamp,
    },
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
        let from = now.as_millis().div_euclid(1_000);
        let ttl_s = ttl.as_secs().min(TTL_S_MAX);
        self.sign(&serde_json::json!({
            "iss": NAME,
            "aud": NAME,
            "sub": member.to_string(),
            "workspace": workspace,
            "nbf": from,
            "exp": from.saturating_add_unsigned(ttl_s),
        }))
    }

    /// Who the bearer of `token` is.
    ///
    /// # Errors
    /// The token was not minted by this key, or it is not valid at `now`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        Claims(&self.claims_of(token)?).judge(now)
    }

    fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(ALGORITHM), claims, &self.signing).expect(
            "the key was parsed by the same library when it was opened, and JSON always encodes",
        )
    }

    /// The claims of a token that this key signed. Claims are not judged by the library: it takes lists
    /// for `aud`, fractions for times, and asks the system for the time.
    fn claims_of(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header != Header::new(ALGORITHM) {
            return Err(TokenError::UnexpectedHeader);
        }
        let mut validation = Validation::new(ALGORITHM);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(token, &self.verifying, &validation)
            .map(|data| data.claims)
            .map_err(|error| refusal(error.kind()))
    }
}

fn refusal(kind: &ErrorKind) -> TokenError {
    if matches!(kind, ErrorKind::InvalidSignature) {
        TokenError::Forged
    } else {
        TokenError::Malformed
    }
}

/// What a token with a good signature says. Types are strict: this server wrote them.
struct Claims<'a>(&'a Map<String, Value>);

impl Claims<'_> {
    fn judge(&self, now: Timestamp) -> Result<Principal, TokenError> {
        if self.text("iss")? != NAME {
            return Err(TokenError::WrongIssuer);
        }
        if self.text("aud")? != NAME {
            return Err(TokenError::WrongAudience);
        }
        let principal = Principal {
            workspace: self.workspace()?,
            member: self.member()?,
            expires: self.time("exp")?,
        };
        self.judge_times(principal.expires, now)?;
        Ok(principal)
    }

    fn judge_times(&self, expires: Timestamp, now: Timestamp) -> Result<(), TokenError> {
        let from = self.time("nbf")?;
        if from.since(now) > LEEWAY_MS {
            return Err(TokenError::NotYetValid { from });
        }
        if now.since(expires) >= LEEWAY_MS {
            return Err(TokenError::Expired { at: expires });
        }
        if expires.since(from) > TTL_MS_MAX {
            return Err(TokenError::TooLongLived { until: expires });
        }
        Ok(())
    }

    fn workspace(&self) -> Result<String, TokenError> {
        let text = self.text("workspace")?;
        if is_name(text) {
            Ok(text.to_owned())
        } else {
            Err(TokenError::IllTyped { claim: "workspace" })
        }
    }

    fn member(&self) -> Result<MemberId, TokenError> {
        let text = self.text("sub")?;
        let member: MemberId = text.parse().map_err(|_| TokenError::IllTyped { claim: "sub" })?;
        if member.to_string() == text {
            Ok(member)
        } else {
            Err(TokenError::IllTyped { claim: "sub" })
        }
    }

    fn text(&self, claim: &'static str) -> Result<&str, TokenError> {
        self.value(claim)?.as_str().ok_or(TokenError::IllTyped { claim })
    }

    /// A time in whole seconds since 1970.
    fn time(&self, claim: &'static str) -> Result<Timestamp, TokenError> {
        let seconds = self.value(claim)?.as_i64().filter(|seconds| *seconds >= 0);
        seconds
            .and_then(|seconds| seconds.checked_mul(1_000))
            .map(Timestamp::from_millis)
            .ok_or(TokenError::IllTyped { claim })
    }

    fn value(&self, claim: &'static str) -> Result<&Value, TokenError> {
        self.0.get(claim).ok_or(TokenError::Missing { claim })
    }
}

/// Issuer and audience of every token: this server talks to itself, through its devices.
const NAME: &str = "fieldbook";
/// The one algorithm. It is decided here, never by a token.
const ALGORITHM: Algorithm = Algorithm::EdDSA;
/// How far the clocks of two servers that share a key may differ, milliseconds.
const LEEWAY_MS: i64 = 30_000;
/// The longest that a token may be valid, seconds: a year that is a leap year.
pub const TTL_S_MAX: u64 = 366 * 24 * 60 * 60;
const TTL_MS_MAX: i64 = 1_000 * TTL_S_MAX.cast_signed();

#[cfg(test)]
mod tests;
