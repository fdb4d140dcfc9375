//! The keys of one issuer as they are known now: which may be used, and when to ask again. Decides only; the
//! time, in milliseconds of any clock that never goes back, is an argument.

use super::jwks::KeySet;
use crate::token::PublicKey;

/// How often an issuer is asked, milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// From one good answer to the next question.
    pub(crate) ttl_ms: u64,
    /// Between any two questions, whoever wants to know.
    pub(crate) gap_ms: u64,
    /// How long keys are used without a good answer.
    pub(crate) stale_ms: u64,
}

/// What is known of an issuer's keys.
pub(crate) struct Cache {
    pace: Pace,
    /// The last good answer, and when it came.
    keys: Option<(KeySet, u64)>,
    /// When the issuer was asked last.
    asked_at: Option<u64>,
    asking: bool,
}

/// What is known of one key.
pub(crate) enum Found {
    Key(PublicKey),
    /// Not known; asking the issuer may help.
    AskFor,
    /// Not known, and the issuer was asked just now.
    Unknown,
    /// No keys at all, and the issuer was asked just now.
    NoKeys,
}

impl Cache {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, keys: None, asked_at: None, asking: false }
    }

    pub(crate) fn find(&self, kid: &str, now: u64) -> Found {
        let usable = self.usable(now);
        if let Some(key) = usable.and_then(|keys| keys.get(kid)) {
            return Found::Key(key.clone());
        }
        match usable {
            _ if self.asking || self.may_ask(now) => Found::AskFor,
            Some(_) => Found::Unknown,
            None => Found::NoKeys,
        }
    }

    /// When to ask without being told to.
    pub(crate) fn due_at(&self) -> u64 {
        let Some(asked_at) = self.asked_at else { return 0 };
        let fresh_until = self.keys.as_ref().map_or(0, |(_, at)| at + self.pace.ttl_ms);
        fresh_until.max(asked_at + self.pace.gap_ms)
    }

    /// Notes that the issuer is being asked, unless it was asked just now.
    pub(crate) fn begin(&mut self, now: u64) -> bool {
        let begins = self.may_ask(now);
        if begins {
            self.asked_at = Some(now);
            self.asking = true;
        }
        begins
    }

    /// Takes the issuer's answer; a bad one leaves the keys as they are.
    pub(crate) fn finish(&mut self, now: u64, answer: Option<KeySet>) {
        self.asking = false;
        if let Some(keys) = answer {
            self.keys = Some((keys, now));
        }
    }

    fn may_ask(&self, now: u64) -> bool {
        self.asked_at.is_none_or(|at| now >= at + self.pace.gap_ms)
    }

    fn usable(&self, now: u64) -> Option<&KeySet> {
        let (keys, at) = self.keys.as_ref()?;
        (now < at + self.pace.stale_ms).then_some(keys)
    }
}
