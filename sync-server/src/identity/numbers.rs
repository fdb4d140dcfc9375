//! What identity counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::Counter;

use crate::token::TokenError;

/// What identity counts; clones count into the same numbers.
#[derive(Clone)]
pub struct IdentityNumbers {
    tokens_refused: Arc<BTreeMap<&'static str, Counter>>,
    /// Keys of an issuer fetched and understood.
    pub(crate) refreshes_ok: Counter,
    /// Keys of an issuer that could not be fetched or understood.
    pub(crate) refreshes_failed: Counter,
    /// Passwords that were wrong.
    pub(crate) logins_refused: Counter,
    /// Families of refresh tokens revoked because an old one was shown.
    pub(crate) families_revoked: Counter,
}

impl IdentityNumbers {
    /// With the counters that `register` makes: of a name, and a label if there is one.
    pub(crate) fn new(
        register: impl Fn(&'static str, Option<(&'static str, &'static str)>) -> Counter,
    ) -> Self {
        let refused = |reason| (reason, register(TOKENS_REFUSED, Some(("reason", reason))));
        Self {
            tokens_refused: Arc::new(TokenError::REASONS.into_iter().map(refused).collect()),
            refreshes_ok: register(JWKS_REFRESHES, Some(("result", "ok"))),
            refreshes_failed: register(JWKS_REFRESHES, Some(("result", "failed"))),
            logins_refused: register(LOGINS_REFUSED, None),
            families_revoked: register(FAMILIES_REVOKED, None),
        }
    }

    pub(crate) fn token_refused(&self, error: &TokenError) {
        if let Some(counter) = self.tokens_refused.get(error.reason()) {
            counter.increment(1);
        }
    }
}

/// Tokens refused, by reason.
pub const TOKENS_REFUSED: &str = "fieldbook_token_refused_total";
/// Attempts to read an issuer's keys, by result.
pub const JWKS_REFRESHES: &str = "fieldbook_jwks_refresh_total";
/// Wrong passwords and logins.
pub const LOGINS_REFUSED: &str = "fieldbook_logins_refused_total";
/// Families of refresh tokens revoked because an old one was shown again.
pub const FAMILIES_REVOKED: &str = "fieldbook_refresh_families_revoked_total";
