//! A client's store, as the engine's device.

use std::collections::BTreeSet;
use std::sync::Arc;

use crdt_core::id::BatchId;
use crdt_core::protocol::{Batch, Compare, Hello, Lacking, Page, Receipt, Relay, Welcome};
use crdt_core::time::Timestamp;

use crate::client::{Client, Unless};
use crate::config::Entropy;
use crate::engine::{Counts, Device, StoreFailure, SyncLoop};
use crate::error::StoreError;
use crate::status::{SyncError, SyncErrorKind, SyncPhase, SyncStatus};
use crate::store::receipts::ReceiptsApplied;
use crate::store::relay::RelayStep;

impl SyncLoop {
    /// Over a client's store. Waits between attempts are drawn from the client's entropy.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        let mut seed = [0; 8];
        let entropy = &client.config().entropy;
        let mut entropy = entropy.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Entropy::fill(&mut *entropy, &mut seed);
        drop(entropy);
        let slot = Arc::clone(client.sync());
        Self::over(Box::new(client.clone()), slot, u64::from_le_bytes(seed))
    }
}

impl Client {
    /// How sync stands, with what was kept of it in the database.
    pub(super) fn sync(&self) -> &Arc<super::slot::SyncSlot> {
        let slot = self.sync_slot();
        slot.remember_once(|| remembered(self));
        slot
    }
}

/// The status as the database has it. What cannot be read counts as not kept: it is only shown.
fn remembered(client: &Client) -> SyncStatus {
    let row = |key| client.status_row(key).ok().flatten();
    let mut status = SyncStatus {
        phase: SyncPhase::Stopped,
        last_synced: row(LAST_SYNCED).and_then(|text| serde_json::from_str(&text).ok()),
        last_error: row(LAST_ERROR).and_then(|text| serde_json::from_str(&text).ok()),
        ..SyncStatus::default()
    };
    if let Ok(counts) = client.counts() {
        status.take(&counts);
    }
    status
}

impl Device for Client {
    fn wall(&self) -> Timestamp {
        self.config().clock.wall()
    }

    fn hello(&self, token: String) -> Result<Hello, StoreFailure> {
        Ok(Self::hello(self, token)?)
    }

    fn store_welcome(
        &self,
        welcome: &Welcome,
        round_trip_ms: u64,
    ) -> Result<Vec<u64>, StoreFailure> {
        let applied = self.apply_welcome(welcome, round_trip_ms)?;
        let mut fetch = applied.fetch;
        fetch.extend(own_name(applied.receipts)?);
        Ok(fetch)
    }

    fn store_receipts(
        &self,
        receipts: &[Receipt],
        in_flight: &BTreeSet<BatchId>,
    ) -> Result<Vec<u64>, StoreFailure> {
        own_name(self.apply_receipts_while(receipts, in_flight)?)
    }

    fn store_page(&self, page: Page) -> Result<Vec<u64>, StoreFailure> {
        Ok(self.take_page(page)?.fetch)
    }

    fn renew_replica(&self) -> Result<(), StoreFailure> {
        Ok(self.become_new_replica()?)
    }

    fn wipe(&self) -> Result<(), StoreFailure> {
        Ok(self.wipe_revoked()?)
    }

    fn outbox(&self, after: u64, batches: usize, bytes: usize) -> Result<Vec<Batch>, StoreFailure> {
        Ok(Self::outbox(self, after, batches, bytes)?)
    }

    fn next_relay(&self, in_flight: &BTreeSet<BatchId>) -> Result<RelayStep, StoreFailure> {
        Ok(Self::next_relay(self, in_flight)?)
    }

    fn store_lacking(
        &self,
        compare: &Compare,
        lacking: &Lacking,
    ) -> Result<Vec<Relay>, StoreFailure> {
        Ok(self.apply_lacking(compare, lacking)?)
    }

    fn store_relayed(&self, compare: &Compare) -> Result<(), StoreFailure> {
        Ok(self.apply_relayed(compare)?)
    }

    fn rest(&self) -> Result<(), StoreFailure> {
        Ok(self.end_loading(Unless::Never)?)
    }

    fn quiet(&self) -> Result<(), StoreFailure> {
        Ok(Self::quiet(self)?)
    }

    fn counts(&self) -> Result<Counts, StoreFailure> {
        Ok(Counts {
            unsent: self.unsent()?,
            broken_records: self.broken_count()?,
            disputes: self.dispute_count()?,
            access: self.access_status()?,
        })
    }

    fn remember(
        &self,
        last_synced: Option<Timestamp>,
        last_error: Option<&SyncError>,
    ) -> Result<(), StoreFailure> {
        let last_synced = last_synced.map(|at| at.as_millis().to_string());
        self.set_status_row(LAST_SYNCED, last_synced.as_deref())?;
        let last_error = last_error.map(|error| serde_json::json!(error).to_string());
        Ok(self.set_status_row(LAST_ERROR, last_error.as_deref())?)
    }
}

/// What is to be fetched; a failure when somebody else wrote under this replica's name. The session ends
/// then, and the database becomes a replica of its own.
fn own_name(applied: ReceiptsApplied) -> Result<Vec<u64>, StoreFailure> {
    if applied.forked {
        let text = "another copy of this database writes under its name".to_owned();
        return Err(StoreFailure { kind: SyncErrorKind::Refused, text });
    }
    Ok(applied.fetch)
}

impl From<StoreError> for StoreFailure {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Full => SyncErrorKind::DeviceFull,
            // The token names another member than the one that the database was opened for.
            StoreError::NotYours { .. } => SyncErrorKind::SignIn,
            StoreError::Schema(_) => SyncErrorKind::UpgradeRequired,
            StoreError::PutBack => SyncErrorKind::Refused,
            StoreError::InUse { .. }
            | StoreError::Newer { .. }
            | StoreError::Io(_)
            | StoreError::Corrupt(_)
            | StoreError::Busy
            | StoreError::Closed
            | StoreError::Unsent(_)
            | StoreError::Cells(_)
            | StoreError::Change(_)
            | StoreError::Document(_)
            | StoreError::Malformed(_)
            | StoreError::Statement(_) => SyncErrorKind::DeviceStore,
        };
        Self { kind, text: error.to_string() }
    }
}

const LAST_SYNCED: &str = "last_synced";
const LAST_ERROR: &str = "last_error";
