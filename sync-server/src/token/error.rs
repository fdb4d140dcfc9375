//! Why a token is refused.

use crdt_core::limits::TOKEN_BYTES_MAX;
use crdt_core::time::Timestamp;

/// Why a token was refused. Only `Expired`, `NotYetValid` and `KeysUnavailable` can happen to an honest
/// device whose identity provider is configured well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than any token may be.
    #[error("the token has {bytes} bytes, the most is {TOKEN_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a JWT, or one that says something twice.
    #[error("the token is not a JWT")]
    Malformed,
    /// A header that points to a key, or asks for more than a signature; of the server's own tokens, any
    /// other than the one that it writes.
    #[error("the token's header is not one that this server takes")]
    UnexpectedHeader,
    /// The header names another algorithm than the key has.
    #[error("the token's algorithm is not the one of its key")]
    WrongAlgorithm,
    /// No key of that name among the issuer's.
    #[error("the token was signed with a key that its issuer does not publish")]
    UnknownKey,
    /// The issuer's keys cannot be had just now. The one refusal that passes by itself.
    #[error("the keys of the token's issuer cannot be had just now")]
    KeysUnavailable,
    /// Not signed by the key.
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
    /// Issued by someone whom this server does not know.
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
    /// Valid for longer than is taken from its issuer.
    #[error("the token is valid until {until}, longer than is taken")]
    TooLongLived {
        /// Until when.
        until: Timestamp,
    },
}

impl TokenError {
    /// One word for the numbers of the server; one of [`TokenError::REASONS`].
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Malformed => "malformed",
            Self::UnexpectedHeader => "header",
            Self::WrongAlgorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Forged => "forged",
            Self::Missing { .. } => "missing_claim",
            Self::IllTyped { .. } => "ill_typed_claim",
            Self::WrongIssuer => "issuer",
            Self::WrongAudience => "audience",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::TooLongLived { .. } => "too_long_lived",
        }
    }

    /// Whether the same token may be good a little later, so that a device need not ask for another one.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::KeysUnavailable | Self::NotYetValid { .. })
    }

    /// Every word that [`TokenError::reason`] says.
    pub const REASONS: [&'static str; 14] = [
        "too_long",
        "malformed",
        "header",
        "algorithm",
        "unknown_key",
        "keys_unavailable",
        "forged",
        "missing_claim",
        "ill_typed_claim",
        "issuer",
        "audience",
        "expired",
        "not_yet_valid",
        "too_long_lived",
    ];
}
