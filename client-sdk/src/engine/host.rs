//! The engine and its store as one: what is left to the host is network, time and tokens.
//!
//! Store work is done before `handle` returns, so a test that drives this with simulated time and a
//! simulated network is as deterministic as the engine itself: the same inputs, seed, clock and entropy give
//! the same outward effects and the same rows.

use std::collections::VecDeque;
use std::sync::Arc;

use crdt_core::time::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::device::Device;
use super::{
    Effect, Engine, Input, Nudge, Outward, Progress, StatusChange, StoreFailure, StoreWork,
};
use crate::config::TokenReason;
use crate::driver::slot::{Outcome, SyncSlot};
use crate::status::{SyncError, SyncPhase, SyncStatus};

/// The engine over a client's store.
///
/// Feed it everything that happens: `Start` once, then the answers to what it returns, a `Tick` when
/// [`Outward::WakeAt`] says so, and [`Nudge::Edited`] after each local write. The answers to store work are
/// its own; an input of that kind from outside is ignored.
pub struct SyncLoop {
    engine: Engine,
    device: Box<dyn Device>,
    slot: Arc<SyncSlot>,
    rng: StdRng,
    outcome: Outcome,
    /// When the time of the last sync was last written to the database.
    remembered: Option<Timestamp>,
    /// When unsent work was counted last, and how much of it there was.
    counted: Counted,
}

/// A count of unsent work.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    at: u64,
    batches: u64,
    /// Whether what is shown may be out of date.
    stale: bool,
}

impl Counted {
    /// Whether it is time to count again. Counting takes as long as there is unsent work: with much of it,
    /// what people read is brought up to date a few times a second, and when all is sent.
    const fn is_due(&self, now: u64, at_rest: bool) -> bool {
        let few = self.batches <= COUNTED_ALWAYS;
        self.stale && (few || at_rest || now >= self.at + COUNT_MS)
    }
}

impl SyncLoop {
    /// Over any device.
    pub(crate) fn over(device: Box<dyn Device>, slot: Arc<SyncSlot>, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let outcome = Outcome::default();
        let counted = Counted::default();
        Self { engine: Engine::new(), device, slot, rng, outcome, remembered: None, counted }
    }

    /// Takes one thing that happened, does the store's part of what follows, and gives the rest to do, in
    /// order. `now` counts milliseconds and never goes back.
    #[must_use]
    pub fn handle(&mut self, now: u64, input: Input) -> Vec<Outward> {
        let mut outward = Vec::new();
        let mut counts = Counting::AsBefore;
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            counts = counts.after(&input);
            for effect in self.engine.handle(now, &mut self.rng, input) {
                match effect {
                    Effect::Outward(one) => outward.push(one),
                    Effect::Store(work) => inputs.push_back(self.work(work)),
                    Effect::Status(change) => self.show(now, change),
                }
            }
        }
        self.counted.stale |= counts == Counting::Anew;
        let at_rest = self.engine.is_synced() || self.engine.phase() != self.outcome.phase;
        if self.counted.is_due(now, at_rest) {
            self.count(now);
        }
        self.report();
        outward
    }

    /// Uses a moment in which nothing happens.
    pub(crate) fn quiet(&self) {
        if let Err(failure) = self.device.quiet() {
            // The file is opened anew before it is used again, and whoever uses it next hears of the fault.
            tracing::warn!(text = failure.text, "the log was not folded back");
        }
    }

    /// Whether everything was sent and answered, and everything new has come and is stored.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.engine.is_synced()
    }

    /// Why the app is asked for a token, when it is.
    #[must_use]
    pub const fn token_reason(&self) -> TokenReason {
        self.engine.token_reason()
    }

    /// What has been done since this was made.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.engine.progress()
    }

    /// How sync stands.
    #[must_use]
    pub fn status(&self) -> SyncStatus {
        self.slot.status().borrow().clone()
    }

    fn work(&self, work: StoreWork) -> Input {
        self.answer(work).unwrap_or_else(Input::StoreFailed)
    }

    fn answer(&self, work: StoreWork) -> Result<Input, StoreFailure> {
        Ok(match work {
            StoreWork::PrepareHello { token } => {
                Input::HelloReady(Box::new(self.device.hello(token)?))
            }
            StoreWork::StoreWelcome { welcome, round_trip_ms } => {
                let fetch = self.device.store_welcome(&welcome, round_trip_ms)?;
                // Scopes may have come or gone: where the device stands is what its next hello would say.
                let hello = self.device.hello(String::new())?;
                let (cursor, exceptions) = (hello.cursor, hello.exceptions);
                Input::WelcomeStored { cursor, exceptions, fetch }
            }
            StoreWork::StoreReceipts { receipts, in_flight } => {
                let fetch = self.device.store_receipts(&receipts, &in_flight)?;
                Input::ReceiptsStored { fetch }
            }
            StoreWork::StorePage { number, page } => {
                Input::PageStored { number, fetch: self.device.store_page(page)? }
            }
            StoreWork::RenewReplica => {
                self.device.renew_replica()?;
                Input::ReplicaRenewed
            }
            StoreWork::Wipe => {
                self.device.wipe()?;
                Input::Wiped
            }
            StoreWork::ReadOutbox { after, batches, bytes } => {
                Input::OutboxRead(self.device.outbox(after, batches, bytes)?)
            }
            StoreWork::ReadRelay { in_flight } => {
                Input::RelayRead(self.device.next_relay(&in_flight)?)
            }
            StoreWork::StoreLacking { compare, lacking } => {
                Input::LackingStored(self.device.store_lacking(&compare, &lacking)?)
            }
            StoreWork::StoreRelayed { compare } => {
                self.device.store_relayed(&compare)?;
                Input::RelayedStored
            }
        })
    }

    fn show(&mut self, now: u64, change: StatusChange) {
        let wall = self.device.wall();
        match change {
            StatusChange::Phase(phase) => {
                tracing::info!(?phase, "sync");
                self.rest(phase);
                self.slot.status().send_modify(|status| status.phase = phase);
            }
            StatusChange::Failed { kind, text, retry_at } => {
                tracing::info!(?kind, text, "sync stopped");
                let wait =
                    retry_at.map(|at| i64::try_from(at.saturating_sub(now)).unwrap_or(i64::MAX));
                let retry_at = wait.map(|wait| wall.plus_millis(wait));
                let error = SyncError { kind, text, at: wall, retry_at };
                self.slot.status().send_modify(|status| status.last_error = Some(error));
                self.remember(wall);
            }
            StatusChange::Synced => self.synced(wall),
        }
    }

    /// Lets the device put itself in order when nothing comes until who knows when.
    fn rest(&self, phase: SyncPhase) {
        match phase {
            SyncPhase::Offline
            | SyncPhase::NeedsAuth
            | SyncPhase::Disabled
            | SyncPhase::UpgradeRequired
            | SyncPhase::Refused(_) => {
                if let Err(failure) = self.device.rest() {
                    tracing::warn!(text = failure.text, "what was put off is still to be done");
                }
            }
            // Whoever stops sync, or opens the file next, is not to wait for it here; the next open does it.
            SyncPhase::Stopped | SyncPhase::Revoked => {}
            SyncPhase::Connecting | SyncPhase::CatchingUp | SyncPhase::Live => {}
        }
    }

    fn synced(&mut self, wall: Timestamp) {
        let had_error = self.slot.status().borrow().last_error.is_some();
        self.slot.status().send_modify(|status| {
            status.last_synced = Some(wall);
            status.last_error = None;
        });
        // Once a minute is enough for a time that people read, and spares the disk.
        let fresh = self.remembered.is_some_and(|at| wall.since(at).abs() < REMEMBER_MS);
        if had_error || !fresh {
            self.remember(wall);
        }
    }

    fn remember(&mut self, wall: Timestamp) {
        let (last_synced, last_error) = {
            let status = self.slot.status().borrow();
            (status.last_synced, status.last_error.clone())
        };
        match self.device.remember(last_synced, last_error.as_ref()) {
            Ok(()) => self.remembered = Some(wall),
            // The status in memory is right all the same, and the next change tries again.
            Err(failure) => tracing::warn!(text = failure.text, "the sync status was not kept"),
        }
    }

    fn count(&mut self, now: u64) {
        match self.device.counts() {
            Ok(counts) => {
                self.counted = Counted { at: now, batches: counts.unsent.batches, stale: false };
                self.slot.status().send_if_modified(|status| {
                    let before = status.clone();
                    status.take(&counts);
                    *status != before
                });
            }
            // What was counted last stays on show; the work that made it change reports its own failure.
            Err(failure) => tracing::warn!(text = failure.text, "unsent work was not counted"),
        }
    }

    fn report(&mut self) {
        let phase = self.engine.phase();
        self.outcome = Outcome {
            progress: self.engine.progress(),
            synced: self.engine.is_synced(),
            welcomed: self.outcome.welcomed
                || matches!(phase, SyncPhase::CatchingUp | SyncPhase::Live),
            phase,
        };
        self.slot.report(self.outcome);
    }
}

impl Drop for SyncLoop {
    fn drop(&mut self) {
        let status = self.status();
        if status.last_synced.is_some() && status.last_synced != self.remembered {
            self.remember(self.device.wall());
        }
    }
}

/// Whether what is shown of unsent work and disputes may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counting {
    AsBefore,
    Anew,
}

impl Counting {
    const fn after(self, input: &Input) -> Self {
        match input {
            Input::Start
            | Input::Nudge(Nudge::Edited)
            | Input::WelcomeStored { .. }
            | Input::ReceiptsStored { .. }
            | Input::PageStored { .. }
            | Input::ReplicaRenewed => Self::Anew,
            Input::Stop
            | Input::Nudge(Nudge::Network | Nudge::Asked)
            | Input::Erase { .. }
            | Input::TokenReady(_)
            | Input::Connected(_)
            | Input::ConnectFailed(..)
            | Input::FrameReceived(..)
            | Input::Heard(_)
            | Input::Disconnected(..)
            | Input::Tick
            | Input::HelloReady(_)
            | Input::Wiped
            | Input::OutboxRead(_)
            | Input::RelayRead(_)
            | Input::LackingStored(_)
            | Input::RelayedStored
            | Input::StoreFailed(_) => self,
        }
    }
}

/// Up to so many batches unsent work is counted whenever it changes.
const COUNTED_ALWAYS: u64 = 256;
/// How old a count of more may be, milliseconds.
const COUNT_MS: u64 = 200;
/// How old the time of the last sync may be in the database, milliseconds.
const REMEMBER_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_unsent_work_is_counted_now_and_then_and_when_nothing_is_under_way() {
        let few = Counted { at: 1_000, batches: COUNTED_ALWAYS, stale: true };
        assert!(few.is_due(1_000, false));
        assert!(!Counted { stale: false, ..few }.is_due(9_000, true), "nothing has changed");
        let many = Counted { batches: COUNTED_ALWAYS + 1, ..few };
        assert!(!many.is_due(1_000 + COUNT_MS - 1, false));
        assert!(many.is_due(1_000 + COUNT_MS, false));
        assert!(many.is_due(1_000, true), "what is shown at rest is exact");
    }
}
