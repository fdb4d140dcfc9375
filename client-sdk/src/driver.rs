//! Sync over the network: the engine on a small runtime of its own, or on the app's.

mod device;
mod endpoint;
mod erase;
mod handle;
mod link;
mod run;
pub(crate) mod slot;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

pub use endpoint::BadServer;
pub use erase::EraseError;
pub use handle::SyncHandle;
pub(crate) use slot::SyncSlot;

use crate::client::Client;
use crate::engine::{Nudge, SyncLoop};
use crate::status::{SyncError, SyncErrorKind, SyncPhase, SyncStatus};
use endpoint::Endpoint;
use run::Wiring;
use slot::Outcome;

/// Sync cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The client was opened without a server, or without a source of tokens.
    #[error("the client was opened without a server to sync with")]
    NoServer,
    /// The server's address or certificates cannot be used.
    #[error(transparent)]
    BadServer(#[from] BadServer),
    /// Sync of this client runs already; one is enough.
    #[error("sync runs already")]
    AlreadyRunning,
    /// The operating system gives no thread.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What one run of [`Client::sync_once`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncReport {
    /// Batches that the server answered.
    pub uploaded: u64,
    /// Changed documents that came and are stored.
    pub downloaded: u64,
    /// Batches that are still unsent.
    pub remaining: u64,
    /// Whether everything new has come.
    pub caught_up: bool,
}

impl Client {
    /// Starts to sync, on a thread of its own, until the handle is dropped or the client is closed.
    ///
    /// # Errors
    /// When there is no server to sync with, or sync runs already. A server that cannot be reached is no
    /// error: sync waits for it, and [`Client::status`] says so.
    pub fn start_sync(&self) -> Result<SyncHandle, StartError> {
        let (sync, wiring, stop) = self.wire()?;
        Ok(SyncHandle::start(sync, wiring, stop)?)
    }

    /// As [`Client::start_sync`], on the app's runtime, which has I/O and time enabled.
    ///
    /// # Errors
    /// As [`Client::start_sync`].
    pub fn start_sync_on(&self, runtime: &Handle) -> Result<SyncHandle, StartError> {
        let (sync, wiring, stop) = self.wire()?;
        Ok(SyncHandle::start_on(runtime, sync, wiring, stop))
    }

    /// Syncs until everything is sent and everything new has come, or until `deadline`: uploads first, and
    /// what is stored by then stays stored. For background jobs; blocks the calling thread. When sync runs
    /// already, it waits for that one.
    ///
    /// # Errors
    /// When nothing can be synced until somebody acts, or the server was not reached before the deadline.
    pub fn sync_once(&self, deadline: Duration) -> Result<SyncReport, SyncError> {
        let slot = self.sync();
        let running = match self.start_sync() {
            Ok(handle) => Some(handle),
            Err(StartError::AlreadyRunning) => {
                self.retry_now();
                None
            }
            Err(error) => return Err(self.error(SyncErrorKind::Configuration, error.to_string())),
        };
        let before = if running.is_some() { Outcome::default() } else { slot.outcome() };
        let outcome = self.wait_until_synced(Instant::now() + deadline);
        drop(running);
        if !outcome.synced && (is_halted(outcome.phase) || !outcome.welcomed) {
            let late = || self.error(SyncErrorKind::Timeout, "the server was not reached".into());
            return Err(slot.status().borrow().last_error.clone().unwrap_or_else(late));
        }
        Ok(SyncReport {
            uploaded: outcome.progress.uploaded.saturating_sub(before.progress.uploaded),
            downloaded: outcome.progress.downloaded.saturating_sub(before.progress.downloaded),
            remaining: slot.status().borrow().unsent_batches,
            caught_up: outcome.phase == SyncPhase::Live,
        })
    }

    fn wait_until_synced(&self, until: Instant) -> Outcome {
        let slot = self.sync();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let outcome = slot.wait(left, |outcome| outcome.synced || is_halted(outcome.phase));
            // An edit just made may not have reached a sync that runs already.
            let all_sent = || self.unsent().is_ok_and(|unsent| unsent.is_empty());
            if !outcome.synced || all_sent() || Instant::now() >= until {
                return outcome;
            }
            slot.wait(left.min(NUDGE_PATIENCE), |outcome| !outcome.synced);
        }
    }

    /// How sync stands; also when it is not running.
    #[must_use]
    pub fn status(&self) -> SyncStatus {
        self.watch_status().borrow().clone()
    }

    /// How sync stands, and every change of it.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<SyncStatus> {
        self.sync().status().subscribe()
    }

    /// Tries at once instead of at the end of a wait; also after the user has signed in.
    pub fn retry_now(&self) {
        self.sync().nudge(Nudge::Asked);
    }

    /// Says that the device has a network again, or another one.
    pub fn network_changed(&self) {
        self.sync().nudge(Nudge::Network);
    }

    fn wire(&self) -> Result<(SyncLoop, Wiring, oneshot::Sender<()>), StartError> {
        let config = self.config();
        let (Some(server), Some(tokens)) = (&config.server, &config.tokens) else {
            return Err(StartError::NoServer);
        };
        let endpoint = Endpoint::new(server, &config.extra_roots)?;
        let slot = self.sync();
        let (occupied, orders) = SyncSlot::occupy(slot).ok_or(StartError::AlreadyRunning)?;
        let (stop, stopped) = oneshot::channel();
        let wiring = Wiring {
            endpoint,
            tokens: Arc::clone(tokens),
            clock: Arc::clone(&config.clock),
            edits: self.watch(),
            orders,
            stop: stopped,
            occupied,
        };
        Ok((SyncLoop::new(self), wiring, stop))
    }

    fn error(&self, kind: SyncErrorKind, text: String) -> SyncError {
        SyncError { kind, text, at: self.config().clock.wall(), retry_at: None }
    }
}

/// Whether sync waits for somebody, or has ended.
const fn is_halted(phase: SyncPhase) -> bool {
    match phase {
        SyncPhase::NeedsAuth
        | SyncPhase::Disabled
        | SyncPhase::Revoked
        | SyncPhase::UpgradeRequired
        | SyncPhase::Refused(_) => true,
        SyncPhase::Stopped
        | SyncPhase::Offline
        | SyncPhase::Connecting
        | SyncPhase::CatchingUp
        | SyncPhase::Live => false,
    }
}

/// How long an edit may take to reach a sync that runs.
const NUDGE_PATIENCE: Duration = Duration::from_millis(50);
