//! What a client knows of its sync: whether it runs, how it stands, and how to reach it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::erase::{EraseError, Errand};
use crate::engine::{Nudge, Progress};
use crate::status::{SyncPhase, SyncStatus};

/// What a client knows of its sync. One client runs one sync at a time: two would fence each other off.
#[derive(Debug, Default)]
pub(crate) struct SyncSlot {
    status: watch::Sender<SyncStatus>,
    remembered: OnceLock<()>,
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    nudges: Option<mpsc::Sender<Nudge>>,
    errands: Option<mpsc::Sender<Errand>>,
    outcome: Outcome,
}

/// How far sync has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    /// What was done since sync was started.
    pub(crate) progress: Progress,
    /// Whether everything was sent and everything new has come.
    pub(crate) synced: bool,
    /// Whether the server welcomed this client since sync was started.
    pub(crate) welcomed: bool,
    /// What sync is doing.
    pub(crate) phase: SyncPhase,
}

impl SyncSlot {
    /// Fills the status with what was kept in the database, the first time that it is looked at.
    pub(super) fn remember_once(&self, remembered: impl FnOnce() -> SyncStatus) {
        self.remembered.get_or_init(|| {
            self.status.send_replace(remembered());
        });
    }

    /// The status, to show and to change.
    pub(crate) const fn status(&self) -> &watch::Sender<SyncStatus> {
        &self.status
    }

    /// Reaches the sync that runs.
    pub(crate) fn nudge(&self, nudge: Nudge) {
        if let Some(nudges) = &self.work().nudges {
            // A full queue holds enough nudges already, and a closed one belongs to a sync that ends.
            let _enough = nudges.try_send(nudge);
        }
    }

    /// Sends the sync that runs on an errand.
    pub(super) fn send(&self, errand: Errand) -> Result<(), EraseError> {
        let errands = self.work().errands.clone().ok_or(EraseError::Offline)?;
        errands.try_send(errand).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => EraseError::Busy,
            mpsc::error::TrySendError::Closed(_) => EraseError::Offline,
        })
    }

    /// Takes the only place; nothing when it is taken.
    pub(super) fn occupy(slot: &Arc<Self>) -> Option<(Occupied, Orders)> {
        let mut work = slot.work();
        if work.nudges.is_some() {
            return None;
        }
        let (nudger, nudges) = mpsc::channel(NUDGES_MAX);
        let (errander, errands) = mpsc::channel(ERRANDS_MAX);
        let (nudger, errander) = (Some(nudger), Some(errander));
        *work = Work { nudges: nudger, errands: errander, outcome: Outcome::default() };
        drop(work);
        Some((Occupied(Arc::clone(slot)), Orders { nudges, errands }))
    }

    /// Tells those who wait how far sync has come.
    pub(crate) fn report(&self, outcome: Outcome) {
        let mut work = self.work();
        if work.outcome != outcome {
            work.outcome = outcome;
            self.changed.notify_all();
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.work().outcome
    }

    /// Waits until `enough` or until `patience` has passed; what is then so.
    pub(super) fn wait(&self, patience: Duration, enough: impl Fn(&Outcome) -> bool) -> Outcome {
        let until = Instant::now() + patience;
        let mut work = self.work();
        while !enough(&work.outcome) {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            let woken = self.changed.wait_timeout(work, left);
            work = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        work.outcome
    }

    /// A panic of another holder leaves nothing half-done behind this lock.
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the app says to the sync that runs.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) nudges: mpsc::Receiver<Nudge>,
    pub(super) errands: mpsc::Receiver<Errand>,
}

/// The place is taken, until this is dropped.
pub(super) struct Occupied(Arc<SyncSlot>);

impl Drop for Occupied {
    fn drop(&mut self) {
        {
            let mut work = self.0.work();
            (work.nudges, work.errands) = (None, None);
        }
        // That the device was revoked is the last word about it.
        let revoked = self.0.status.borrow().phase == SyncPhase::Revoked;
        let phase = if revoked { SyncPhase::Revoked } else { SyncPhase::Stopped };
        self.0.status.send_if_modified(|status| {
            let changed = status.phase != phase;
            status.phase = phase;
            changed
        });
        let outcome = Outcome { phase, ..self.0.outcome() };
        self.0.report(outcome);
    }
}

/// Nudges that wait; more of them would say nothing new.
const NUDGES_MAX: usize = 8;
/// Errands that wait; people ask for one at a time.
const ERRANDS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sync_runs_at_a_time_and_its_place_is_free_again_when_it_ends() {
        let slot = Arc::<SyncSlot>::default();
        let first = SyncSlot::occupy(&slot).unwrap();
        assert!(SyncSlot::occupy(&slot).is_none());
        slot.status().send_modify(|status| status.phase = SyncPhase::Live);
        drop(first);
        assert_eq!(slot.status().borrow().phase, SyncPhase::Stopped);
        assert!(SyncSlot::occupy(&slot).is_some());
    }

    #[test]
    fn nudges_without_a_sync_and_beyond_what_it_takes_are_no_fault() {
        let slot = Arc::<SyncSlot>::default();
        slot.nudge(Nudge::Asked);
        let (_occupied, mut orders) = SyncSlot::occupy(&slot).unwrap();
        (0..100).for_each(|_| slot.nudge(Nudge::Asked));
        assert_eq!(orders.nudges.try_recv(), Ok(Nudge::Asked));
    }

    #[test]
    fn an_errand_without_a_sync_is_refused_and_one_too_many_says_so() {
        let slot = Arc::<SyncSlot>::default();
        let record = crdt_core::id::RecordId::from_source_key("contact", "1");
        let errand = || Errand { record, reply: tokio::sync::oneshot::channel().0 };
        assert!(matches!(slot.send(errand()), Err(EraseError::Offline)));
        let (occupied, orders) = SyncSlot::occupy(&slot).unwrap();
        (0..ERRANDS_MAX).for_each(|_| slot.send(errand()).unwrap());
        assert!(matches!(slot.send(errand()), Err(EraseError::Busy)));
        drop((occupied, orders));
        assert!(matches!(slot.send(errand()), Err(EraseError::Offline)));
    }

    #[test]
    fn waiting_ends_with_what_is_waited_for_or_with_patience() {
        let slot = SyncSlot::default();
        let late = slot.wait(Duration::ZERO, |outcome| outcome.synced);
        assert!(!late.synced);
        slot.report(Outcome { synced: true, ..Outcome::default() });
        assert!(slot.wait(Duration::from_secs(60), |outcome| outcome.synced).synced);
    }
}
