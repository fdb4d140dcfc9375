//! What the engine is doing: one variant for each thing, holding what exists only then.

use crdt_core::id::Epoch;

use super::ConnectionId;
use super::live::Live;
use super::token::TokenWatch;
use crate::status::SyncPhase;

#[derive(Debug)]
pub(super) enum Phase {
    /// Not wanted.
    Stopped,
    /// Until the next attempt.
    Waiting { until: u64, wish: Wish },
    /// Until somebody acts.
    Halted(SyncPhase),
    /// The database is a copy, and is made a replica of its own.
    Renewing,
    /// The device was revoked, and the database is being removed.
    Wiping,
    /// The app is asked for a token.
    FetchingToken { deadline: u64 },
    /// The connection is being made.
    Connecting { connection: ConnectionId, token: String, deadline: u64 },
    /// Connected; the hello is being put together.
    Greeting { connection: ConnectionId, deadline: u64 },
    /// The hello is sent.
    Welcoming { connection: ConnectionId, said: Said, deadline: u64 },
    /// The welcome has come.
    Live { live: Box<Live>, pulse: Pulse, token: TokenWatch },
}

/// Whose wish it is to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Ours: a new network ends it.
    Ours,
    /// The server's: only the app's wish ends it.
    Server,
}

/// What of the hello the welcome is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) at: u64,
    pub(super) epoch: Option<Epoch>,
    pub(super) receipt: u64,
}

/// Whether the peer lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    heard: u64,
    pings: u64,
}

/// What silence asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symptom {
    None,
    /// Ping it.
    Silent,
    /// Two pings were missed.
    Dead,
}

impl Pulse {
    pub(super) const fn new(now: u64) -> Self {
        Self { heard: now, pings: 0 }
    }

    /// When silence asks for something next.
    pub(super) const fn deadline(&self) -> u64 {
        self.heard + PING_MS * (self.pings + 1)
    }

    /// What the silence up to `now` asks for.
    pub(super) fn feel(&mut self, now: u64) -> Symptom {
        if now < self.deadline() {
            return Symptom::None;
        }
        if self.pings == PINGS_MISSED_MAX {
            return Symptom::Dead;
        }
        // Counted from here, so that a device that slept gives its peer the time to answer.
        self.heard = now - PING_MS * (self.pings + 1);
        self.pings += 1;
        Symptom::Silent
    }

    /// The network changed: one ping decides.
    pub(super) fn doubt(&mut self, now: u64) {
        self.heard = now.saturating_sub(PING_MS * PINGS_MISSED_MAX);
        self.pings = PINGS_MISSED_MAX;
    }
}

impl Phase {
    /// As those who watch see it.
    pub(super) fn shown(&self) -> SyncPhase {
        match self {
            Self::Stopped => SyncPhase::Stopped,
            Self::Waiting { .. } => SyncPhase::Offline,
            Self::Halted(phase) => *phase,
            Self::Renewing
            | Self::Wiping
            | Self::FetchingToken { .. }
            | Self::Connecting { .. }
            | Self::Greeting { .. }
            | Self::Welcoming { .. } => SyncPhase::Connecting,
            Self::Live { live, .. } if live.is_caught_up() => SyncPhase::Live,
            Self::Live { .. } => SyncPhase::CatchingUp,
        }
    }

    /// The connection, made or being made.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Stopped
            | Self::Waiting { .. }
            | Self::Halted(_)
            | Self::Renewing
            | Self::Wiping
            | Self::FetchingToken { .. } => None,
            Self::Connecting { connection, .. }
            | Self::Greeting { connection, .. }
            | Self::Welcoming { connection, .. } => Some(*connection),
            Self::Live { live, .. } => Some(live.connection),
        }
    }

    /// When time itself asks for something.
    pub(super) fn deadline(&self) -> Option<u64> {
        match self {
            Self::Stopped | Self::Halted(_) | Self::Renewing | Self::Wiping => None,
            Self::Waiting { until, .. } => Some(*until),
            Self::FetchingToken { deadline }
            | Self::Connecting { deadline, .. }
            | Self::Greeting { deadline, .. }
            | Self::Welcoming { deadline, .. } => Some(*deadline),
            Self::Live { pulse, token, .. } => {
                let pulse = pulse.deadline();
                Some(token.deadline().map_or(pulse, |token| token.min(pulse)))
            }
        }
    }
}

/// Silence after which the peer is pinged, and again, milliseconds: below the shortest timeouts of mobile
/// networks, which forget idle connections after 30 seconds.
pub(super) const PING_MS: u64 = 25_000;
/// Pings without an answer after which the peer is taken for dead.
pub(super) const PINGS_MISSED_MAX: u64 = 2;
