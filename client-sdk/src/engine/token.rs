//! Tokens: why the app is asked for one, what becomes of it, and when an open session needs a fresh one so
//! that it outlives the last.

use crdt_core::limits;
use crdt_core::protocol::{Message, NewToken, Welcome};
use crdt_core::time::Timestamp;

use super::ending::Ending;
use super::phase::Phase;
use super::{ConnectionId, Engine, Outward, TokenFailure, Turn};
use crate::config::TokenReason;

/// The token of an open session.
#[derive(Debug)]
pub(super) struct TokenWatch {
    /// The server's clock when this device's counted 0, milliseconds.
    server_at_zero: i64,
    renewal: Renewal,
}

/// How far renewing the token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    /// Nothing to do: the server says nothing of the token's end.
    Never,
    /// The app is asked at this time.
    Due { at: u64 },
    /// The app was asked; past the deadline it is asked again.
    Asked { deadline: u64 },
    /// The server was told; past the deadline the app is asked again.
    Sent { deadline: u64 },
}

impl TokenWatch {
    pub(super) fn new(now: u64, welcome: &Welcome) -> Self {
        let elapsed = i64::try_from(now).unwrap_or(i64::MAX);
        let server_at_zero = welcome.server_time.as_millis().saturating_sub(elapsed);
        let mut watch = Self { server_at_zero, renewal: Renewal::Never };
        if welcome.token_expires.as_millis() > 0 {
            watch.renewal = Renewal::Due { at: watch.time_to_ask(welcome.token_expires).max(now) };
        }
        watch
    }

    /// When time itself asks for something.
    pub(super) const fn deadline(&self) -> Option<u64> {
        match self.renewal {
            Renewal::Never => None,
            Renewal::Due { at } => Some(at),
            Renewal::Asked { deadline } | Renewal::Sent { deadline } => Some(deadline),
        }
    }

    /// Whether the app is to be asked for a token now; it then counts as asked.
    pub(super) fn ask(&mut self, now: u64) -> bool {
        let due = self.deadline().is_some_and(|deadline| now >= deadline);
        if due {
            self.renewal = Renewal::Asked { deadline: now.saturating_add(ANSWER_MS_MAX) };
        }
        due
    }

    /// Whether the app was asked and has not answered; it then counts as having answered.
    pub(super) fn answered(&mut self, now: u64) -> bool {
        let asked = matches!(self.renewal, Renewal::Asked { .. });
        if asked {
            self.renewal = Renewal::Sent { deadline: now.saturating_add(ANSWER_MS_MAX) };
        }
        asked
    }

    /// The app has no token at present.
    pub(super) const fn unavailable(&mut self, now: u64) {
        self.renewal = Renewal::Due { at: now.saturating_add(GAP_MS) };
    }

    /// The server took a token that ends at `expires`, by its clock.
    pub(super) fn taken(&mut self, now: u64, expires: Timestamp) {
        // A token that ends as soon as the one before is not asked after again and again.
        let at = self.time_to_ask(expires).max(now.saturating_add(GAP_MS));
        self.renewal = Renewal::Due { at };
    }

    fn time_to_ask(&self, expires: Timestamp) -> u64 {
        let ends = expires.as_millis().saturating_sub(self.server_at_zero);
        u64::try_from(ends.saturating_sub(LEAD_MS)).unwrap_or(0)
    }
}

impl Engine {
    /// Why the app is asked for a token, when it is.
    #[must_use]
    pub const fn token_reason(&self) -> TokenReason {
        match &self.phase {
            Phase::Live { .. } => TokenReason::Expiring,
            _ if self.refused_tokens > 0 => TokenReason::Refused,
            _ => TokenReason::Start,
        }
    }

    /// The app has answered.
    pub(super) fn token_ready(&mut self, turn: &mut Turn<'_>, token: Result<String, TokenFailure>) {
        let asked = match &mut self.phase {
            Phase::FetchingToken { .. } => true,
            Phase::Live { token, .. } => token.answered(turn.now),
            _ => false,
        };
        match (token, &mut self.phase) {
            _ if !asked => {}
            (Ok(token), _) if token.len() > limits::TOKEN_BYTES_MAX => {
                let text = format!("the app's token is too long: {} bytes", token.len());
                self.sign_out(turn, text);
            }
            (Ok(token), Phase::Live { .. }) => turn.send(&Message::Token(NewToken { token })),
            (Ok(token), _) => {
                self.last_connection += 1;
                let connection = ConnectionId(self.last_connection);
                let deadline = turn.now + super::CONNECT_MS_MAX;
                self.phase = Phase::Connecting { connection, token, deadline };
                turn.outward(Outward::Connect(connection));
            }
            (Err(TokenFailure::SignIn(text)), _) => self.sign_out(turn, text),
            // The session lives on what it has; when that ends the server says so.
            (Err(TokenFailure::Unavailable(_)), Phase::Live { token, .. }) => {
                token.unavailable(turn.now);
            }
            (Err(failure), _) => self.rest(turn, failure.into()),
        }
    }

    fn sign_out(&mut self, turn: &mut Turn<'_>, text: String) {
        self.hang_up(turn, None);
        self.rest(turn, Ending::sign_in(text));
    }
}

/// How long before its end a token is renewed, milliseconds: a minute, and the time that the app may take.
const LEAD_MS: i64 = 120_000;
/// How long the app and the server may take to answer, milliseconds.
const ANSWER_MS_MAX: u64 = 30_000;
/// Between one asking and the next, milliseconds.
const GAP_MS: u64 = 15_000;
