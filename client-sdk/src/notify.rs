//! Telling subscribers what changed: merged when they are behind, never waiting for them.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crdt_core::id::RecordId;
use tokio::sync::Notify;

/// Records that one notice names; beyond that it says that there are more.
const RECORDS_MAX: usize = 4_096;

/// What changed since the last notice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// The tables whose rows changed: entities, `conflict`, `dispute`, `outbox`.
    pub tables: BTreeSet<String>,
    /// The records that changed.
    pub records: BTreeSet<RecordId>,
    /// Whether more records changed than are named.
    pub more: bool,
    /// Whether some of it was written on this device, so that there is something to send.
    pub local: bool,
    /// Records that were erased for good: what the app keeps of them elsewhere has to go, too. All of them.
    pub erased: BTreeSet<RecordId>,
}

impl Changes {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.records.is_empty()
            && !self.more
            && !self.local
            && self.erased.is_empty()
    }

    pub(crate) fn table(&mut self, name: &str) {
        if !self.tables.contains(name) {
            self.tables.insert(name.to_owned());
        }
    }

    pub(crate) fn record(&mut self, entity: &str, id: RecordId) {
        self.table(entity);
        if self.records.len() < RECORDS_MAX {
            self.records.insert(id);
        } else if !self.records.contains(&id) {
            self.more = true;
        }
    }

    pub(crate) fn erased(&mut self, id: RecordId) {
        self.erased.insert(id);
    }

    fn merge(&mut self, other: &Self) {
        self.tables.extend(other.tables.iter().cloned());
        for id in &other.records {
            if self.records.len() >= RECORDS_MAX {
                self.more |= !self.records.contains(id);
            } else {
                self.records.insert(*id);
            }
        }
        self.more |= other.more;
        self.local |= other.local;
        self.erased.extend(&other.erased);
    }
}

/// Notices of changes. Dropping it ends them.
#[derive(Debug)]
pub struct Subscription {
    inbox: Arc<Inbox>,
}

impl Subscription {
    /// What changed since the last call; nothing when nothing did.
    #[must_use]
    pub fn take(&self) -> Option<Changes> {
        let mut waiting = lock(&self.inbox.waiting);
        let changes = std::mem::take(&mut waiting.changes);
        (!changes.is_empty()).then_some(changes)
    }

    /// Waits until something changes; nothing once the client is closed.
    pub async fn next(&mut self) -> Option<Changes> {
        loop {
            let notified = self.inbox.notify.notified();
            if let Some(changes) = self.take() {
                return Some(changes);
            }
            if lock(&self.inbox.waiting).closed {
                return None;
            }
            notified.await;
        }
    }

    /// As [`next`](Self::next), on a thread without a runtime, for at most `patience`.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> Option<Changes> {
        let until = Instant::now() + patience;
        let mut waiting = lock(&self.inbox.waiting);
        while waiting.changes.is_empty() && !waiting.closed {
            let left = until.checked_duration_since(Instant::now())?;
            let woken = self.inbox.wake.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let changes = std::mem::take(&mut waiting.changes);
        (!changes.is_empty()).then_some(changes)
    }
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: Changes,
    closed: bool,
}

/// Every subscription of a client.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    inboxes: Mutex<Vec<Weak<Inbox>>>,
}

impl Hub {
    pub(crate) fn subscribe(&self) -> Subscription {
        let inbox = Arc::new(Inbox::default());
        lock(&self.inboxes).push(Arc::downgrade(&inbox));
        Subscription { inbox }
    }

    pub(crate) fn tell(&self, changes: &Changes) {
        if !changes.is_empty() {
            self.each(|waiting| waiting.changes.merge(changes));
        }
    }

    pub(crate) fn close(&self) {
        self.each(|waiting| waiting.closed = true);
    }

    fn each(&self, act: impl Fn(&mut Waiting)) {
        lock(&self.inboxes).retain(|inbox| {
            let Some(inbox) = inbox.upgrade() else { return false };
            act(&mut lock(&inbox.waiting));
            inbox.wake.notify_all();
            // One task waits per subscription: a permit is kept when it is not waiting yet.
            inbox.notify.notify_one();
            true
        });
    }
}

/// A panic of another holder leaves nothing half-done behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(record: u8) -> Changes {
        let mut changes = Changes::default();
        changes.record("contact", RecordId(uuid::Uuid::from_bytes([record; 16])));
        changes
    }

    #[test]
    fn a_subscriber_that_is_behind_gets_one_merged_notice() {
        let hub = Hub::default();
        let subscription = hub.subscribe();
        hub.tell(&change(1));
        hub.tell(&change(2));
        assert_eq!(subscription.take().unwrap().records.len(), 2);
        assert_eq!(subscription.take(), None);
    }

    #[test]
    fn a_dropped_subscription_is_forgotten_and_a_closed_hub_ends_the_others() {
        let hub = Hub::default();
        drop(hub.subscribe());
        let other = hub.subscribe();
        hub.tell(&change(1));
        assert_eq!(lock(&hub.inboxes).len(), 1);
        assert!(other.take().is_some());
        hub.close();
        assert_eq!(other.wait(Duration::from_secs(60)), None);
    }

    #[test]
    fn a_notice_names_a_bounded_number_of_records() {
        let mut changes = Changes::default();
        for number in 0..=RECORDS_MAX as u128 {
            changes.record("contact", RecordId(uuid::Uuid::from_u128(number)));
        }
        assert_eq!(changes.records.len(), RECORDS_MAX);
        assert!(changes.more);
    }
}
