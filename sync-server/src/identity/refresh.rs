//! Refresh tokens: each is exchanged for the next one, and an old one that is shown again gives a theft away.
//!
//! A token is 16 bytes that name its family and 32 random ones; the store keeps hashes only. Exchanging token
//! 7 gives token 8; token 7 stays good until token 8 has been used, as a lease does, because an answer that
//! never came must not lock a rep out, however long the tunnel was. Within half a minute the same question
//! gets the same answer, so that requests that overtake each other do no harm; later it gets a new token 8 and
//! the one before is void. So of a token and its copy only one can go on: whoever shows a void one ends both.

use aws_lc_rs::{digest, hmac};
use crdt_core::id::{DeviceId, MemberId};
use crdt_core::time::Timestamp;

use crate::store::accounts::FamilyRow;
use crate::token::{base64url, unbase64url};

/// A refresh token as a device shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    pub(crate) family: [u8; 16],
    secret: [u8; 32],
}

impl RefreshToken {
    /// The token that a text spells.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = unbase64url(text)?;
        let (family, secret) = bytes.split_first_chunk::<16>()?;
        Some(Self { family: *family, secret: secret.try_into().ok()? })
    }

    pub(crate) fn text(&self) -> String {
        base64url(&self.bytes())
    }

    fn bytes(&self) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(&self.family);
        bytes[16..].copy_from_slice(&self.secret);
        bytes
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &self.bytes()).as_ref());
        hash
    }

    /// The token after this one. It follows from this one and a random salt, of which the store keeps only the
    /// salt: so it can be given once more to whoever shows this one, and to nobody else.
    fn next(&self, salt: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
        let mut secret = [0; 32];
        secret.copy_from_slice(hmac::sign(&key, &self.bytes()).as_ref());
        Self { family: self.family, secret }
    }
}

/// The first token of a new family, of random bytes.
pub(crate) fn begin(
    member: MemberId,
    device: DeviceId,
    (family, secret): ([u8; 16], [u8; 32]),
    now: Timestamp,
    ttl_ms: i64,
) -> (FamilyRow, RefreshToken) {
    let token = RefreshToken { family, secret };
    let row = FamilyRow {
        id: family,
        member,
        device,
        current: token.hash(),
        previous: None,
        salt: [0; 32],
        rotated_at: now,
        expires_at: now.plus_millis(ttl_ms),
        revoked: false,
    };
    (row, token)
}

/// What showing a token leads to.
pub(crate) enum Exchange {
    /// The next token; the row has to be kept first.
    Rotated(FamilyRow, RefreshToken),
    /// The next token once more; nothing has changed.
    Repeated(RefreshToken),
    /// A void token, or one of another device: the row, now revoked, has to be kept.
    Stolen(FamilyRow),
    /// The family has ended.
    Over,
}

/// Exchanges a token; `salt` is random.
pub(crate) fn exchange(
    row: &FamilyRow,
    shown: &RefreshToken,
    device: DeviceId,
    salt: [u8; 32],
    now: Timestamp,
    ttl_ms: i64,
) -> Exchange {
    if row.revoked || now >= row.expires_at {
        return Exchange::Over;
    }
    if !is_good(row, shown) || device != row.device {
        return Exchange::Stolen(FamilyRow { revoked: true, ..row.clone() });
    }
    let hash = shown.hash();
    let age_ms = now.since(row.rotated_at);
    if hash != row.current && (0..SAME_ANSWER_MS).contains(&age_ms) {
        return Exchange::Repeated(shown.next(&row.salt));
    }
    let next = shown.next(&salt);
    let turned = FamilyRow {
        current: next.hash(),
        previous: Some(hash),
        salt,
        rotated_at: now,
        expires_at: now.plus_millis(ttl_ms),
        ..row.clone()
    };
    Exchange::Rotated(turned, next)
}

/// Whether a token is the last one of its family, or the one that was exchanged for it. Hashes may be compared
/// in any time: nobody can choose one.
pub(crate) fn is_good(row: &FamilyRow, shown: &RefreshToken) -> bool {
    let hash = shown.hash();
    hash == row.current || Some(hash) == row.previous
}

/// How long the same question gets the same answer, milliseconds: as long as a request may be under way.
const SAME_ANSWER_MS: i64 = 30_000;

#[cfg(test)]
mod tests;
