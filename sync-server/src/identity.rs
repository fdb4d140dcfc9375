//! Who connects: the keys of other issuers, and the accounts of members without an identity provider.
//!
//! A [`Verifier`] judges every token, whoever issued it. [`accounts`] gives tokens to members who sign in
//! with a password. Neither knows what a member may see or do.

pub mod accounts;
mod cache;
mod fetch;
mod issuer;
mod jwks;
mod numbers;
mod password;
mod refresh;

use std::collections::BTreeMap;

use crdt_core::id::MemberId;
use crdt_core::time::Timestamp;

pub use self::fetch::NoTls;
pub use self::jwks::{JwksError, check_file};
pub use self::numbers::IdentityNumbers;

use self::fetch::Fetcher;
use self::issuer::Issuer;
use crate::config::IssuerConfig;
use crate::token::{self, Claims, Jwt, Principal, TokenError, TokenKey, member_named};

/// Judges tokens: the server's own and those of configured issuers. Dropping it ends what keeps the issuers'
/// keys fresh.
pub struct Verifier {
    own: TokenKey,
    issuers: BTreeMap<String, Issuer>,
    numbers: IdentityNumbers,
}

impl Verifier {
    /// Begins to keep the keys of the issuers; has to be called within a runtime. An issuer that cannot be
    /// reached is no error: its tokens are refused until it can.
    ///
    /// # Errors
    /// The crypto library offers no TLS version that we want.
    pub fn start(
        own: TokenKey,
        issuers: &[IssuerConfig],
        numbers: IdentityNumbers,
    ) -> Result<Self, NoTls> {
        let fetcher = Fetcher::new(fetch::web_roots())?;
        let start = |config: &IssuerConfig| {
            (config.iss.clone(), Issuer::start(config.clone(), &fetcher, &numbers))
        };
        let issuers = issuers.iter().map(start).collect();
        Ok(Self { own, issuers, numbers })
    }

    /// Who the bearer of `token` is. Waits for an issuer only when it has to be asked for a key that nobody
    /// knows yet, and then a few seconds at most.
    ///
    /// # Errors
    /// The token is not good at `now`.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, TokenError> {
        let judged = self.judge(token, now).await;
        if let Err(error) = &judged {
            self.numbers.token_refused(error);
            tracing::info!(%error, reason = error.reason(), "refused a token");
        }
        judged
    }

    async fn judge(&self, token: &str, now: Timestamp) -> Result<Principal, TokenError> {
        let jwt = Jwt::parse(token)?;
        // Not believed: it only chooses whose keys the token has to stand up to.
        let iss = Claims(&jwt.claims).text("iss")?;
        if iss == token::NAME {
            return self.own.judge(&jwt, now);
        }
        let issuer = self.issuers.get(iss).ok_or(TokenError::WrongIssuer)?;
        issuer.judge(&jwt, now).await
    }
}

/// The member whom an issuer's `sub` means: a `sub` that is a member's id in its own spelling is that member;
/// any other is a member whose id follows from `iss` and `sub`, the same on every server. A member is added
/// under this id before the first connection.
#[must_use]
pub fn member_of(iss: &str, sub: &str) -> MemberId {
    member_named(sub).unwrap_or_else(|| MemberId::from_source_key(&format!("oidc:{iss}"), sub))
}

#[cfg(test)]
mod tests;
