//! The sync engine: a state machine that is told what happened and says what to do.
//!
//! It knows no socket, clock, randomness or storage. [`Engine::handle`] takes the time (milliseconds that
//! never go back), a source of random numbers and one [`Input`], and returns [`Effect`]s, which the host
//! carries out in order. Every `Connect`, `FetchToken` and piece of store work is answered by an input; store
//! work is handed out one piece at a time. What comes late from a connection that has ended changes nothing,
//! and no order of inputs is a fault: a host that loses or repeats one costs time, never data, since only
//! stored pages move cursors and only stored receipts empty the outbox.

mod backoff;
mod device;
mod effect;
mod ending;
mod erasing;
mod giving;
mod host;
mod input;
mod jobs;
mod live;
mod phase;
mod standing;
#[cfg(test)]
mod tests;
mod token;

use crdt_core::protocol::{
    Goodbye, GoodbyeCode, Hello, Message, TokenTaken, VERSIONS, Welcome, decode_frame, encode_frame,
};
use rand::RngCore;

pub use crate::store::relay::RelayStep;
pub(crate) use device::{Counts, Device};
pub use effect::{Effect, Outward, StatusChange, StoreWork};
pub use erasing::EraseFailure;
pub use host::SyncLoop;
pub use input::{ConnectFailure, ConnectionId, Input, Nudge, StoreFailure, TokenFailure};

use crate::status::SyncPhase;
use ending::Ending;
use erasing::Erasing;
use jobs::{Job, Jobs};
use live::Live;
use phase::{Phase, Pulse, Said, Symptom, Wish};
use standing::Standing;
use token::TokenWatch;

/// The sync engine.
#[derive(Debug)]
pub struct Engine {
    phase: Phase,
    jobs: Jobs,
    last_connection: u64,
    /// Attempts since the last good session.
    attempt: u32,
    /// Tokens in a row that the server did not take.
    refused_tokens: u32,
    /// New names that the database took since the last welcome.
    renewals: u32,
    progress: Progress,
    shown: SyncPhase,
    wake_at: Option<u64>,
    /// Whether something was stored since all was last seen to be synced.
    news: News,
    erasing: Erasing,
}

/// What has been done since the engine was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Batches that were answered.
    pub uploaded: u64,
    /// Entries of pages that were stored.
    pub downloaded: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    None,
    Some,
}

/// What one call of [`Engine::handle`] works with.
struct Turn<'a> {
    now: u64,
    rng: &'a mut dyn RngCore,
    effects: Vec<Effect>,
}

impl Turn<'_> {
    fn outward(&mut self, outward: Outward) {
        self.effects.push(Effect::Outward(outward));
    }

    fn send(&mut self, message: &Message) {
        self.outward(Outward::Send(encode_frame(message)));
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine that waits for [`Input::Start`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            phase: Phase::Stopped,
            jobs: Jobs::default(),
            last_connection: 0,
            attempt: 0,
            refused_tokens: 0,
            renewals: 0,
            progress: Progress::default(),
            shown: SyncPhase::Stopped,
            wake_at: None,
            news: News::None,
            erasing: Erasing::default(),
        }
    }

    /// Takes one thing that happened; gives what to do now, in order.
    #[must_use]
    pub fn handle(&mut self, now: u64, rng: &mut dyn RngCore, input: Input) -> Vec<Effect> {
        let mut turn = Turn { now, rng, effects: Vec::new() };
        self.take(&mut turn, input);
        self.settle(&mut turn);
        turn.effects
    }

    /// Whether everything was sent and answered, and everything new has come and is stored.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        match &self.phase {
            Phase::Live { live, .. } => live.is_synced() && self.jobs.is_idle(),
            Phase::Stopped
            | Phase::Waiting { .. }
            | Phase::Halted(_)
            | Phase::Renewing
            | Phase::Wiping
            | Phase::FetchingToken { .. }
            | Phase::Connecting { .. }
            | Phase::Greeting { .. }
            | Phase::Welcoming { .. } => false,
        }
    }

    /// What sync is doing.
    #[must_use]
    pub const fn phase(&self) -> SyncPhase {
        self.shown
    }

    /// What has been done since the engine was made.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    fn take(&mut self, turn: &mut Turn<'_>, input: Input) {
        match input {
            Input::Start => self.start(turn),
            Input::Stop => {
                // That the device was revoked is the last word about it.
                if !matches!(self.phase, Phase::Wiping | Phase::Halted(SyncPhase::Revoked)) {
                    self.hang_up(turn, None);
                    self.phase = Phase::Stopped;
                }
            }
            Input::Nudge(nudge) => self.nudged(turn, nudge),
            Input::Erase { request, record } => self.erase(turn, request, record),
            Input::TokenReady(token) => self.token_ready(turn, token),
            Input::Connected(connection) => self.connected(turn, connection),
            Input::ConnectFailed(connection, failure) => {
                let connecting = matches!(self.phase, Phase::Connecting { .. });
                if connecting && self.phase.connection() == Some(connection) {
                    self.rest(turn, failure.into());
                }
            }
            Input::FrameReceived(connection, frame) => {
                self.frame_received(turn, connection, &frame)
            }
            Input::Heard(connection) => self.heard(turn.now, connection),
            Input::Disconnected(connection, text) => {
                if self.phase.connection() == Some(connection) {
                    self.rest(turn, Ending::broken(text));
                }
            }
            Input::Tick => {
                // A clock in coarse steps may let it ring early: then it is set again.
                self.wake_at = None;
                self.tick(turn);
            }
            Input::HelloReady(hello) => self.hello_ready(turn, hello),
            Input::WelcomeStored { cursor, exceptions, fetch } => {
                let standing = Standing::new(cursor, exceptions);
                self.welcome_stored(turn, standing, &fetch);
            }
            Input::ReceiptsStored { fetch } => {
                let job = self.jobs.answered(|job| matches!(job, Job::Receipts { .. }));
                self.stored(turn, job, &fetch);
            }
            Input::PageStored { number, fetch } => {
                let ours = |job: &Job| matches!(job, Job::Page { number: n, .. } if *n == number);
                let job = self.jobs.answered(ours);
                self.stored(turn, job, &fetch);
            }
            Input::ReplicaRenewed => self.replica_renewed(turn),
            Input::Wiped => {
                if self.jobs.answered(|job| matches!(job, Job::Wipe)).is_some() {
                    self.phase = Phase::Halted(SyncPhase::Revoked);
                }
            }
            Input::OutboxRead(batches) => {
                let job = self.jobs.answered(|job| matches!(job, Job::Outbox));
                if let (Some(_), Phase::Live { live, .. }) = (job, &mut self.phase) {
                    live.outbox_read(batches).iter().for_each(|push| turn.send(push));
                }
            }
            Input::RelayRead(_) | Input::LackingStored(_) | Input::RelayedStored => {
                self.given(turn, input);
            }
            Input::StoreFailed(failure) => self.store_failed(turn, failure),
        }
    }

    fn store_failed(&mut self, turn: &mut Turn<'_>, failure: StoreFailure) {
        let Some(job) = self.jobs.answered(|_| true) else { return };
        if job == Job::Renewal {
            self.renewals = self.renewals.saturating_sub(1);
        }
        let text = "the device cannot store what comes";
        self.hang_up(turn, Some(goodbye(GoodbyeCode::Internal, text)));
        self.rest(turn, failure.into());
    }

    /// What follows from any input: the store's next work, what to show, when to wake.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        if let Phase::Live { live, .. } = &mut self.phase {
            let acknowledgement = live.settle(&mut self.jobs);
            acknowledgement.iter().for_each(|message| turn.send(message));
        }
        if let Some(mut work) = self.jobs.next() {
            if let (StoreWork::StoreReceipts { receipts, in_flight }, Phase::Live { live, .. }) =
                (&mut work, &self.phase)
            {
                *in_flight = live.in_flight_beside(receipts);
            }
            if let (StoreWork::ReadRelay { in_flight }, Phase::Live { live, .. }) =
                (&mut work, &self.phase)
            {
                *in_flight = live.in_flight_beside(&[]);
            }
            turn.effects.push(Effect::Store(work));
        }
        self.settle_erasures(turn);
        let shown = self.phase.shown();
        if shown != self.shown {
            self.shown = shown;
            turn.effects.push(Effect::Status(StatusChange::Phase(shown)));
        }
        if self.news == News::Some && self.is_synced() {
            self.news = News::None;
            turn.effects.push(Effect::Status(StatusChange::Synced));
        }
        self.set_alarm(turn);
    }

    /// Asks to be woken, unless a wake-up that comes early enough was asked for already: the deadline of a
    /// living connection moves with every frame.
    fn set_alarm(&mut self, turn: &mut Turn<'_>) {
        self.wake_at = self.wake_at.filter(|wake_at| *wake_at > turn.now);
        let Some(deadline) = self.phase.deadline() else { return };
        if self.wake_at.is_none_or(|wake_at| wake_at > deadline) {
            let wake_at = deadline.max(turn.now);
            self.wake_at = Some(wake_at);
            turn.outward(Outward::WakeAt(wake_at));
        }
    }

    fn start(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Stopped | Phase::Halted(_)) {
            self.attempt = 0;
            self.refused_tokens = 0;
            self.renewals = 0;
            self.attempt_now(turn);
        }
    }

    fn attempt_now(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::FetchingToken { deadline: turn.now + TOKEN_MS_MAX };
        turn.outward(Outward::FetchToken);
    }

    fn nudged(&mut self, turn: &mut Turn<'_>, nudge: Nudge) {
        match (nudge, &mut self.phase) {
            (Nudge::Edited, Phase::Live { live, .. }) => {
                self.news = News::Some;
                live.edited();
            }
            (Nudge::Network, Phase::Live { pulse, .. }) => {
                pulse.doubt(turn.now);
                turn.outward(Outward::Ping);
            }
            // What hangs since before the network changed would use up the time that it is there.
            (Nudge::Network, Phase::Connecting { deadline, .. })
                if *deadline < turn.now + CONNECT_MS_MAX - HANGING_MS =>
            {
                self.hang_up(turn, None);
                self.attempt_now(turn);
            }
            (Nudge::Network, Phase::Waiting { wish: Wish::Ours, .. })
            | (Nudge::Asked, Phase::Waiting { .. }) => self.attempt_now(turn),
            (
                Nudge::Asked,
                Phase::Halted(
                    SyncPhase::NeedsAuth | SyncPhase::Disabled | SyncPhase::UpgradeRequired,
                ),
            ) => {
                self.refused_tokens = 0;
                self.attempt_now(turn);
            }
            // An edit alone says nothing about the network, a refused database stays refused until sync
            // is started anew, and what is under way already needs no second nudge.
            (Nudge::Edited | Nudge::Network | Nudge::Asked, _) => {}
        }
    }

    fn connected(&mut self, turn: &mut Turn<'_>, now_connected: ConnectionId) {
        let Phase::Connecting { connection, token, .. } = &mut self.phase else { return };
        if *connection != now_connected {
            return;
        }
        self.jobs.prepare_hello(std::mem::take(token));
        let deadline = turn.now + WELCOME_MS_MAX;
        self.phase = Phase::Greeting { connection: now_connected, deadline };
    }

    fn hello_ready(&mut self, turn: &mut Turn<'_>, hello: Box<Hello>) {
        let job = self.jobs.answered(|job| matches!(job, Job::Hello));
        let (Some(_), Phase::Greeting { connection, deadline }) = (job, &self.phase) else {
            return;
        };
        let said = Said { at: turn.now, epoch: hello.epoch, receipt: hello.receipt };
        self.phase = Phase::Welcoming { connection: *connection, said, deadline: *deadline };
        turn.send(&Message::Hello(hello));
    }

    fn frame_received(&mut self, turn: &mut Turn<'_>, connection: ConnectionId, frame: &[u8]) {
        if self.phase.connection() != Some(connection) {
            return;
        }
        self.heard(turn.now, connection);
        let message = match decode_frame(frame) {
            Ok(message) => message,
            Err(error) => return self.violated(turn, error.to_string()),
        };
        let result = match (message, &mut self.phase) {
            (Message::Goodbye(goodbye), _) => {
                self.hang_up(turn, None);
                return self.rest(turn, goodbye.into());
            }
            (Message::Welcome(welcome), Phase::Welcoming { said, .. }) => {
                let said = *said;
                self.welcomed(turn, connection, said, welcome)
            }
            (Message::Page(part), Phase::Live { live, .. }) => live.take_part(part, &mut self.jobs),
            (Message::Receipts(receipts), Phase::Live { live, .. }) => {
                live.take_receipts(receipts, &mut self.jobs)
            }
            (Message::ShortReceipts(receipts), Phase::Live { live, .. }) => {
                live.take_short_receipts(&receipts, &mut self.jobs)
            }
            (Message::Lacking(lacking), Phase::Live { live, .. }) => {
                live.giving.take_lacking(lacking, &mut self.jobs)
            }
            (Message::Relayed(_), Phase::Live { live, .. }) => {
                let next = live.giving.take_relayed(&mut self.jobs);
                next.map(|next| next.iter().for_each(|message| turn.send(message)))
            }
            (Message::TokenTaken(TokenTaken { expires }), Phase::Live { token, .. }) => {
                token.taken(turn.now, expires);
                Ok(())
            }
            (Message::Erasure(erasure), Phase::Live { .. }) => self.erasure_answered(turn, erasure),
            (unexpected, _) => Err(format!("the server may not send {} now", unexpected.name())),
        };
        if let Err(text) = result {
            self.violated(turn, text);
        }
    }

    fn welcomed(
        &mut self,
        turn: &mut Turn<'_>,
        connection: ConnectionId,
        said: Said,
        welcome: Box<Welcome>,
    ) -> Result<(), String> {
        if !VERSIONS.contains(&welcome.version) {
            return Err(format!("the server chose version {}", welcome.version));
        }
        // Another log numbers its receipts anew.
        let receipt = if said.epoch == Some(welcome.epoch) { said.receipt } else { 0 };
        let numbers = welcome.receipts.iter().map(|receipt| receipt.number);
        if !std::iter::once(receipt).chain(numbers).is_sorted_by(|a, b| a < b) {
            return Err("the welcome's receipts are not in order".to_owned());
        }
        let live = Box::new(Live::begin(connection, turn.now, &welcome, receipt));
        let token = TokenWatch::new(turn.now, &welcome);
        self.phase = Phase::Live { live, pulse: Pulse::new(turn.now), token };
        self.jobs.store_welcome(welcome, turn.now.saturating_sub(said.at));
        Ok(())
    }

    fn welcome_stored(&mut self, turn: &mut Turn<'_>, standing: Standing, fetch: &[u64]) {
        let job = self.jobs.answered(|job| matches!(job, Job::Welcome));
        if let (Some(_), Phase::Live { live, .. }) = (job, &mut self.phase) {
            self.refused_tokens = 0;
            self.renewals = 0;
            self.news = News::Some;
            live.welcome_stored(standing, fetch).iter().for_each(|message| turn.send(message));
        }
    }

    fn stored(&mut self, turn: &mut Turn<'_>, job: Option<Job>, fetch: &[u64]) {
        let (Some(job), Phase::Live { live, .. }) = (job, &mut self.phase) else { return };
        let (uploaded, downloaded) = match &job {
            Job::Receipts { batches, .. } => (batches.len() as u64, 0),
            Job::Page { entries, .. } => (0, *entries),
            Job::Hello
            | Job::Welcome
            | Job::Renewal
            | Job::Wipe
            | Job::Outbox
            | Job::Relay
            | Job::Lacking
            | Job::Relayed => (0, 0),
        };
        self.progress.uploaded += uploaded;
        self.progress.downloaded += downloaded;
        self.news = News::Some;
        let is_page = matches!(job, Job::Page { .. });
        live.stored(job, fetch).iter().for_each(|message| turn.send(message));
        if is_page && live.is_caught_up() {
            self.attempt = 0;
        }
    }

    fn heard(&mut self, now: u64, connection: ConnectionId) {
        if let Phase::Live { live, pulse, .. } = &mut self.phase
            && live.connection == connection
        {
            *pulse = Pulse::new(now);
        }
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        if self.phase.deadline().is_none_or(|deadline| turn.now < deadline) {
            return;
        }
        let late = match &mut self.phase {
            Phase::Stopped | Phase::Halted(_) | Phase::Renewing | Phase::Wiping => return,
            Phase::Waiting { .. } => return self.attempt_now(turn),
            Phase::Live { pulse, token, .. } => {
                if token.ask(turn.now) {
                    turn.outward(Outward::FetchToken);
                }
                match pulse.feel(turn.now) {
                    Symptom::None => return,
                    Symptom::Silent => return turn.outward(Outward::Ping),
                    Symptom::Dead => "the server no longer answers",
                }
            }
            Phase::FetchingToken { .. } => "the app's token did not come in time",
            Phase::Connecting { .. } => "the connection was not made in time",
            Phase::Greeting { .. } | Phase::Welcoming { .. } => "the welcome did not come in time",
        };
        self.hang_up(turn, Some(goodbye(GoodbyeCode::Timeout, late)));
        self.rest(turn, Ending::late(late));
    }
}

fn goodbye(code: GoodbyeCode, text: &str) -> Goodbye {
    Goodbye { code, text: text.to_owned(), retry_after_ms: None }
}

/// How long the app may take for a token, milliseconds: it may ask another server first.
const TOKEN_MS_MAX: u64 = 30_000;
/// How long a connection may take, milliseconds; the driver gives up after ten seconds by itself.
const CONNECT_MS_MAX: u64 = 15_000;
/// An attempt that is older than this when the network changes is given up for a new one, milliseconds.
const HANGING_MS: u64 = 2_000;
/// From the connection to the welcome, milliseconds.
const WELCOME_MS_MAX: u64 = 20_000;
