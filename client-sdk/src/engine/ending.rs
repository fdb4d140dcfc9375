//! Why a session, or an attempt at one, ends, and what follows from it.

use crdt_core::protocol::{Goodbye, GoodbyeCode};

use super::input::{ConnectFailure, StoreFailure, TokenFailure};
use super::jobs::Job;
use super::phase::{Phase, Wish};
use super::{Effect, Engine, Outward, StatusChange, Turn, backoff, goodbye};
use crate::status::{RefusedKind, SyncErrorKind, SyncPhase};

/// Why it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) kind: SyncErrorKind,
    pub(super) text: String,
    pub(super) next: Next,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, after a wait.
    Retry { retry_after_ms: Option<u64> },
    /// Another attempt, after a long wait: the peer is not to be trusted with many.
    RetrySeldom,
    /// Another attempt at once, or when the server says: nothing is wrong.
    Return { after_ms: u64 },
    /// Another attempt with a fresh token; somebody has to sign in when that is not taken either.
    RefreshToken,
    /// Another attempt as a replica of its own; nothing when that does not help.
    RenewReplica,
    /// The database is removed.
    Wipe,
    /// Nothing, until somebody acts.
    Halt(SyncPhase),
}

impl Ending {
    pub(super) fn new(kind: SyncErrorKind, text: impl Into<String>, next: Next) -> Self {
        // The text may be the server's: no more of it than fits a line or two.
        Self { kind, text: text.into().chars().take(TEXT_CHARS_MAX).collect(), next }
    }

    /// The connection broke.
    pub(super) fn broken(text: String) -> Self {
        Self::new(SyncErrorKind::Network, text, Next::Retry { retry_after_ms: None })
    }

    /// Something did not come in time.
    pub(super) fn late(text: &str) -> Self {
        Self::new(SyncErrorKind::Timeout, text, Next::Retry { retry_after_ms: None })
    }

    /// The server sent what it may not send.
    pub(super) fn violation(text: impl Into<String>) -> Self {
        Self::new(SyncErrorKind::Protocol, text, Next::RetrySeldom)
    }

    /// The user has to sign in.
    pub(super) fn sign_in(text: impl Into<String>) -> Self {
        Self::new(SyncErrorKind::SignIn, text, Next::Halt(SyncPhase::NeedsAuth))
    }

    fn refused(kind: RefusedKind, text: String) -> Self {
        Self::new(SyncErrorKind::Refused, text, Next::Halt(SyncPhase::Refused(kind)))
    }
}

impl From<TokenFailure> for Ending {
    fn from(failure: TokenFailure) -> Self {
        match failure {
            TokenFailure::SignIn(text) => Self::sign_in(text),
            TokenFailure::Unavailable(text) => {
                let next = Next::Retry { retry_after_ms: None };
                Self::new(SyncErrorKind::TokenUnavailable, text, next)
            }
        }
    }
}

impl From<ConnectFailure> for Ending {
    fn from(failure: ConnectFailure) -> Self {
        let next = match failure.kind {
            SyncErrorKind::SignIn => Next::RefreshToken,
            SyncErrorKind::UpgradeRequired => Next::Halt(SyncPhase::UpgradeRequired),
            // No wait mends a wrong address or certificate, but a captive portal goes away.
            SyncErrorKind::Tls | SyncErrorKind::Configuration | SyncErrorKind::Protocol => {
                Next::RetrySeldom
            }
            SyncErrorKind::Network
            | SyncErrorKind::Timeout
            | SyncErrorKind::ServerBusy
            | SyncErrorKind::Superseded
            | SyncErrorKind::TokenUnavailable
            | SyncErrorKind::Disabled
            | SyncErrorKind::Revoked
            | SyncErrorKind::Refused
            | SyncErrorKind::DeviceFull
            | SyncErrorKind::DeviceStore => Next::Retry { retry_after_ms: failure.retry_after_ms },
        };
        Self::new(failure.kind, failure.text, next)
    }
}

impl From<StoreFailure> for Ending {
    fn from(failure: StoreFailure) -> Self {
        let next = match failure.kind {
            // The server knows the user as somebody else than this database does.
            SyncErrorKind::SignIn => Next::Halt(SyncPhase::NeedsAuth),
            // The server's schema is none that this build can read.
            SyncErrorKind::UpgradeRequired => Next::Halt(SyncPhase::UpgradeRequired),
            // The file was put back to an older state: under its old name it would miss its own edits.
            SyncErrorKind::Refused => Next::RenewReplica,
            // Downloading again what cannot be stored costs the user's data volume.
            SyncErrorKind::DeviceFull
            | SyncErrorKind::DeviceStore
            | SyncErrorKind::Network
            | SyncErrorKind::Tls
            | SyncErrorKind::Timeout
            | SyncErrorKind::ServerBusy
            | SyncErrorKind::Superseded
            | SyncErrorKind::Protocol
            | SyncErrorKind::TokenUnavailable
            | SyncErrorKind::Disabled
            | SyncErrorKind::Revoked
            | SyncErrorKind::Configuration => Next::RetrySeldom,
        };
        Self::new(failure.kind, failure.text, next)
    }
}

impl From<Goodbye> for Ending {
    fn from(goodbye: Goodbye) -> Self {
        let Goodbye { code, text, retry_after_ms } = goodbye;
        let retry = |kind, text| Self::new(kind, text, Next::Retry { retry_after_ms });
        match code {
            GoodbyeCode::Protocol => Self::violation(text),
            GoodbyeCode::Version => {
                let next = Next::Halt(SyncPhase::UpgradeRequired);
                Self::new(SyncErrorKind::UpgradeRequired, text, next)
            }
            GoodbyeCode::Unauthorized | GoodbyeCode::TokenExpired => {
                Self::new(SyncErrorKind::SignIn, text, Next::RefreshToken)
            }
            GoodbyeCode::AccessChanged => {
                let after_ms = retry_after_ms.unwrap_or(0).min(backoff::RETRY_AFTER_MS_MAX);
                Self::new(SyncErrorKind::ServerBusy, text, Next::Return { after_ms })
            }
            GoodbyeCode::MemberDisabled => {
                Self::new(SyncErrorKind::Disabled, text, Next::Halt(SyncPhase::Disabled))
            }
            GoodbyeCode::DeviceRevoked => Self::new(SyncErrorKind::Revoked, text, Next::Wipe),
            GoodbyeCode::RateLimited if retry_after_ms.is_none() => {
                Self::new(SyncErrorKind::ServerBusy, text, Next::RetrySeldom)
            }
            GoodbyeCode::Superseded => retry(SyncErrorKind::Superseded, text),
            GoodbyeCode::LeaseOutdated => {
                Self::new(SyncErrorKind::Refused, text, Next::RenewReplica)
            }
            GoodbyeCode::ReplicaTaken => Self::refused(RefusedKind::ReplicaTaken, text),
            // Until the server's operator has said that it was put back to an older state.
            GoodbyeCode::CursorAhead => retry(SyncErrorKind::Refused, text),
            GoodbyeCode::UnknownEpoch => Self::refused(RefusedKind::UnknownEpoch, text),
            GoodbyeCode::Timeout => retry(SyncErrorKind::Timeout, text),
            // A code of a newer server, and any that a later version of the codec adds, ask for no more
            // than coming back.
            _ => retry(SyncErrorKind::ServerBusy, text),
        }
    }
}

impl Engine {
    /// The database is a replica of its own now: it comes back after a while.
    pub(super) fn replica_renewed(&mut self, turn: &mut Turn<'_>) {
        let job = self.jobs.answered(|job| matches!(job, Job::Renewal));
        if let (Some(_), Phase::Renewing) = (job, &self.phase) {
            let until = turn.now + backoff::delay_ms(self.attempt, None, turn.rng);
            self.phase = Phase::Waiting { until, wish: Wish::Ours };
        }
    }

    /// Ends the connection for the server's fault.
    pub(super) fn violated(&mut self, turn: &mut Turn<'_>, text: String) {
        self.hang_up(turn, Some(goodbye(GoodbyeCode::Protocol, &text)));
        self.rest(turn, Ending::violation(text));
    }

    /// Ends the connection, if there is one, from this side.
    pub(super) fn hang_up(&mut self, turn: &mut Turn<'_>, goodbye: Option<Goodbye>) {
        if self.phase.connection().is_some() {
            turn.outward(Outward::Disconnect { goodbye });
        }
        self.jobs.abandon();
    }

    /// The session, or the attempt, is over: waits for the next one, or for somebody.
    pub(super) fn rest(&mut self, turn: &mut Turn<'_>, ending: Ending) {
        self.jobs.abandon();
        if let Phase::Live { live, .. } = &self.phase
            && turn.now.saturating_sub(live.since) >= STABLE_MS
        {
            self.attempt = 0;
        }
        let Ending { kind, text, next } = ending;
        let retry_after_ms = match next {
            Next::Halt(phase) => return self.halt(turn, phase, kind, text),
            Next::RenewReplica => return self.renew(turn, kind, text),
            Next::Wipe => return self.wipe(turn, kind, text),
            // Once: a server that sends everybody away again and again is waited for like any other.
            Next::Return { after_ms } if self.attempt == 0 => {
                self.attempt = 1;
                self.phase = Phase::Waiting { until: turn.now + after_ms, wish: Wish::Server };
                return;
            }
            Next::Return { after_ms } => Some(after_ms),
            Next::RefreshToken => {
                self.refused_tokens += 1;
                if self.refused_tokens > 1 {
                    return self.halt(turn, SyncPhase::NeedsAuth, kind, text);
                }
                None
            }
            Next::RetrySeldom => {
                self.attempt = self.attempt.max(ATTEMPT_SELDOM);
                None
            }
            Next::Retry { retry_after_ms } => retry_after_ms,
        };
        let until = turn.now + backoff::delay_ms(self.attempt, retry_after_ms, turn.rng);
        self.attempt = self.attempt.saturating_add(1);
        let wish = if retry_after_ms.is_some() { Wish::Server } else { Wish::Ours };
        self.phase = Phase::Waiting { until, wish };
        let retry_at = Some(until);
        turn.effects.push(Effect::Status(StatusChange::Failed { kind, text, retry_at }));
    }

    /// The server knows this database as a copy: it becomes a replica of its own. More than once between
    /// two welcomes when it was copied again under its new name.
    fn renew(&mut self, turn: &mut Turn<'_>, kind: SyncErrorKind, text: String) {
        if self.renewals >= RENEWALS_MAX {
            let refused = SyncPhase::Refused(RefusedKind::LeaseOutdated);
            return self.halt(turn, refused, kind, text);
        }
        self.renewals += 1;
        self.phase = Phase::Renewing;
        self.jobs.renew_replica();
        turn.effects.push(Effect::Status(StatusChange::Failed { kind, text, retry_at: None }));
    }

    /// The device was revoked: what it holds goes at once, unsent work included.
    fn wipe(&mut self, turn: &mut Turn<'_>, kind: SyncErrorKind, text: String) {
        self.phase = Phase::Wiping;
        self.jobs.wipe();
        turn.effects.push(Effect::Status(StatusChange::Failed { kind, text, retry_at: None }));
    }

    fn halt(&mut self, turn: &mut Turn<'_>, phase: SyncPhase, kind: SyncErrorKind, text: String) {
        self.phase = Phase::Halted(phase);
        turn.effects.push(Effect::Status(StatusChange::Failed { kind, text, retry_at: None }));
    }
}

/// What is kept of a reason, characters.
const TEXT_CHARS_MAX: usize = 300;
/// A session that lived so long was a good one, milliseconds.
const STABLE_MS: u64 = 60_000;
/// New names between two welcomes: a server that takes none of so many takes no other either.
const RENEWALS_MAX: u32 = 3;
/// The attempt from which waits are long: up to 32 seconds.
const ATTEMPT_SELDOM: u32 = 5;
