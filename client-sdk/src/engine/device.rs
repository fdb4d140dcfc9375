//! What a sync needs of the device it runs on.

use std::collections::BTreeSet;

use crdt_core::id::BatchId;
use crdt_core::protocol::{Batch, Compare, Hello, Lacking, Page, Receipt, Relay, Welcome};
use crdt_core::time::Timestamp;

use super::input::StoreFailure;
use crate::status::{AccessStatus, SyncError};
use crate::store::relay::RelayStep;
use crate::unsent::Unsent;

/// The device's side of sync. Whatever fails has not happened.
pub(crate) trait Device: Send {
    /// What the device believes the time is.
    fn wall(&self) -> Timestamp;

    /// What to say first, from what is stored.
    fn hello(&self, token: String) -> Result<Hello, StoreFailure>;

    /// Stores a welcome durably; gives the documents to fetch whole.
    fn store_welcome(
        &self,
        welcome: &Welcome,
        round_trip_ms: u64,
    ) -> Result<Vec<u64>, StoreFailure>;

    /// Stores receipts durably, while the batches `in_flight` are under way; gives the documents to fetch
    /// whole.
    fn store_receipts(
        &self,
        receipts: &[Receipt],
        in_flight: &BTreeSet<BatchId>,
    ) -> Result<Vec<u64>, StoreFailure>;

    /// Applies a page and its cursors in one transaction; gives the documents to fetch whole.
    fn store_page(&self, page: Page) -> Result<Vec<u64>, StoreFailure>;

    /// Makes this database a replica of its own: new actors, the same batches.
    fn renew_replica(&self) -> Result<(), StoreFailure>;

    /// Removes the database and everything beside it: the device was revoked.
    fn wipe(&self) -> Result<(), StoreFailure>;

    /// Batches that were not answered, in the outbox's order.
    fn outbox(&self, after: u64, batches: usize, bytes: usize) -> Result<Vec<Batch>, StoreFailure>;

    /// What is to be given back, or asked, since the server was restored, while the batches `in_flight` are
    /// under way.
    fn next_relay(&self, in_flight: &BTreeSet<BatchId>) -> Result<RelayStep, StoreFailure>;

    /// Stores what the server lacks; gives what is to be given back.
    fn store_lacking(
        &self,
        compare: &Compare,
        lacking: &Lacking,
    ) -> Result<Vec<Relay>, StoreFailure>;

    /// Notes that what was gathered for these documents was given back.
    fn store_relayed(&self, compare: &Compare) -> Result<(), StoreFailure>;

    /// Nothing more comes for now: what was put off for as long as more came is done.
    fn rest(&self) -> Result<(), StoreFailure> {
        Ok(())
    }

    /// Nothing has happened for a moment: what would hold up the next edit is done now.
    fn quiet(&self) -> Result<(), StoreFailure> {
        Ok(())
    }

    /// What there is to tell the user.
    fn counts(&self) -> Result<Counts, StoreFailure>;

    /// Keeps these two for after a restart.
    fn remember(
        &self,
        last_synced: Option<Timestamp>,
        last_error: Option<&SyncError>,
    ) -> Result<(), StoreFailure>;
}

/// What there is to tell the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) unsent: Unsent,
    pub(crate) broken_records: u64,
    pub(crate) disputes: u64,
    pub(crate) access: AccessStatus,
}
