//! A workspace: judges batches, keeps the log, answers handshakes. Synchronous and deterministic: time and
//! randomness are arguments, so the simulation runs this very code.

mod dependencies;
mod draft;
mod feed;
mod fold;
mod hello;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crdt_core::id::{MemberId, ReplicaId};
use crdt_core::protocol::{Batch, Outcome, PeerLimits, Receipt};
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;

use crate::access::Access;
use crate::store::{self, ReplicaRow, Store, StoreError};

pub use feed::{Feed, Stride};
pub use fold::Folding;
pub use hello::{Greeting, HelloError};

/// A workspace in force.
pub struct Workspace {
    store: Arc<dyn Store>,
    access: Arc<dyn Access>,
    schema: Arc<Schema>,
    limits: PeerLimits,
    slow_doors: judge::SlowDoors,
    stride: Stride,
    /// The position up to which documents were looked at for folding.
    fold_cursor: u64,
}

/// A batch and who sent it.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The replica: its session has been greeted.
    pub replica: ReplicaId,
    /// The replica's member.
    pub member: MemberId,
    /// The batch.
    pub batch: Batch,
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// The answers, in the order of the batches.
    pub receipts: Vec<(ReplicaId, Receipt)>,
    /// The log's last position.
    pub head: u64,
    /// Replicas whose batches were not all judged, and are not to be answered: their members have used up
    /// what documents are loaded for. They come back later.
    pub put_off: BTreeSet<ReplicaId>,
    /// Batches accepted now.
    pub accepted: u64,
    /// Batches refused.
    pub refused: u64,
    /// Changes that needed their document loaded.
    pub slow_doors: u64,
}

/// The workspace cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its storage fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its schema does not parse: it was checked when it was put in force.
    #[error("the workspace's schema is damaged: {0}")]
    Schema(#[from] crdt_core::schema::SchemaProblems),
}

impl Workspace {
    /// Opens a workspace on its storage.
    ///
    /// # Errors
    /// When the storage fails or its schema does not parse.
    pub fn open(
        store: Arc<dyn Store>,
        access: Arc<dyn Access>,
        limits: PeerLimits,
    ) -> Result<Self, OpenError> {
        let log = store::read(&*store, |tx| tx.log())?;
        let schema = Arc::new(Schema::parse(&log.schema, "schema.toml")?);
        let slow_doors = judge::SlowDoors::default();
        let stride = Stride::default();
        Ok(Self { store, access, schema, limits, slow_doors, stride, fold_cursor: 0 })
    }

    /// The same workspace, whose feeds read with another stride.
    #[must_use]
    pub fn with_stride(self, stride: Stride) -> Self {
        Self { stride, ..self }
    }

    /// Its storage, for readers beside the writer.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The schema in force.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The log's last position.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn head(&self) -> Result<u64, StoreError> {
        store::read(&*self.store, |tx| tx.head())
    }

    /// Judges batches in their order and commits all that is accepted, with every receipt, in one
    /// transaction. Receipts may be sent once this has returned.
    ///
    /// # Errors
    /// When the storage fails: then nothing was accepted and nothing is to be answered.
    pub fn commit(
        &mut self,
        now: Timestamp,
        batches: &[Submitted],
    ) -> Result<Committed, StoreError> {
        let store = Arc::clone(&self.store);
        let mut slow_doors = self.slow_doors.clone();
        let committed = store::write(&*store, |tx| {
            slow_doors = self.slow_doors.clone();
            let mut replicas: BTreeMap<ReplicaId, ReplicaRow> = BTreeMap::new();
            let mut committed = Committed { head: tx.head()?, ..Committed::default() };
            let mut desk = judge::Desk::new(&self.schema, &*self.access, now, &mut slow_doors);
            for submitted in batches {
                if committed.put_off.contains(&submitted.replica) {
                    continue;
                }
                let row = match replicas.get_mut(&submitted.replica) {
                    Some(row) => row,
                    None => {
                        let row = tx.replica(&submitted.replica)?.ok_or_else(unknown_replica)?;
                        replicas.entry(submitted.replica).or_insert(row)
                    }
                };
                let Some((outcome, touched)) = desk.judge(tx, submitted)? else {
                    committed.put_off.insert(submitted.replica);
                    continue;
                };
                match &outcome {
                    Outcome::Accepted { .. } => committed.accepted += 1,
                    Outcome::Refused { .. } => committed.refused += 1,
                    Outcome::Already { .. } => {}
                }
                row.last_receipt += 1;
                let receipt =
                    Receipt { number: row.last_receipt, batch: submitted.batch.id, outcome };
                tx.put_receipt(&submitted.replica, &receipt, &touched)?;
                committed.receipts.push((submitted.replica, receipt));
            }
            committed.slow_doors = desk.slow_doors();
            desk.finish(tx)?;
            for row in replicas.values_mut() {
                row.last_seen = now;
                row.confirm_lease();
                tx.put_replica(row)?;
            }
            committed.head = tx.head()?;
            Ok(committed)
        })?;
        self.slow_doors = slow_doors;
        Ok(committed)
    }

    /// Drops the receipts that a device has stored.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn acknowledge(&mut self, replica: &ReplicaId, receipt: u64) -> Result<(), StoreError> {
        store::write(&*self.store, |tx| {
            if let Some(mut row) = tx.replica(replica)?
                && row.confirm_lease()
            {
                tx.put_replica(&row)?;
            }
            tx.drop_receipts(replica, receipt)
        })
    }

    /// Adds a member to the workspace's directory, or renames it.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn put_member(&mut self, id: &MemberId, name: &str) -> Result<(), StoreError> {
        store::write(&*self.store, |tx| tx.put_member(id, name))
    }
}

fn unknown_replica() -> StoreError {
    StoreError::Damaged("a session's replica has no row".to_owned())
}
