//! What a workspace keeps: the log, the documents, who stands where. A trait, so that another database can
//! take SQLite's place; `store::conformance` says in code what every backend owes.

pub mod access;
pub mod accounts;
pub mod audit;
pub mod conformance;
pub mod erasure;
pub mod recovery;
pub mod relay;
pub mod scopes;
pub mod sqlite;

use crdt_core::id::{
    ActorId, BatchId, ChangeHash, DeviceId, DocumentId, Epoch, Lease, MemberId, ReplicaId,
};
use crdt_core::protocol::{Ended, Receipt};
use crdt_core::record::{Clock, OpId};
use crdt_core::time::Timestamp;

pub use scopes::{Place, ScopeRow};

/// A storage fault. State is as before the transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room: reads go on, nothing is acknowledged until there is.
    #[error("the workspace's storage is full; free space or raise storage.max_page_count")]
    Full,
    /// The file or a row is damaged.
    #[error("the workspace's storage is damaged: {0}")]
    Damaged(String),
    /// Written by a newer server.
    #[error("the workspace was written by a newer server (format {found}, this one knows {known})")]
    Newer {
        /// The file's format.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
    /// Another process has the workspace open.
    #[error("another server has this workspace open")]
    InUse,
    /// The ledger beside the storage.
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerError),
    /// Reading, writing or syncing failed. The storage is opened anew before it is written again.
    #[error("the workspace's storage failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Whether the storage itself failed, so that nothing may be taken for durable that was under way, nor
    /// what memory says of it for true.
    #[must_use]
    pub const fn is_distrust(&self) -> bool {
        matches!(self, Self::Backend(_))
    }
}

/// A workspace's storage.
pub trait Store: Send + Sync {
    /// Runs `work` on one consistent state, beside any writer.
    ///
    /// # Errors
    /// The storage's fault, or the one of `work`.
    fn read(
        &self,
        work: &mut dyn FnMut(&dyn Read) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Runs `work` in one transaction: durable when this returns `Ok`, and as before when it does not.
    /// Writers take turns.
    ///
    /// # Errors
    /// The storage's fault, or the one of `work`.
    fn write(
        &self,
        work: &mut dyn FnMut(&mut dyn Write) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Writes everything that is stored anew, without traces of what was deleted before. Takes as long as
    /// that; writers wait.
    ///
    /// # Errors
    /// The storage's fault; nothing that is stored has changed.
    fn write_anew(&self) -> Result<(), StoreError>;

    /// Empties what the storage keeps beside what is stored, such as a write-ahead log: after
    /// [`Store::write_anew`], no file of it holds a byte of what was deleted before. Gives false when somebody
    /// who reads an older state stands in the way; it is then tried again later.
    ///
    /// # Errors
    /// The storage's fault; nothing that is stored has changed.
    fn empty_log(&self) -> Result<bool, StoreError>;
}

/// Reads with a result; see [`Store::read`].
///
/// # Errors
/// Those of [`Store::read`].
pub fn read<T>(
    store: &dyn Store,
    mut work: impl FnMut(&dyn Read) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut result = None;
    store.read(&mut |tx| {
        result = Some(work(tx)?);
        Ok(())
    })?;
    Ok(result.expect("the work ran, or its error was returned"))
}

/// Writes with a result; see [`Store::write`].
///
/// # Errors
/// Those of [`Store::write`].
pub fn write<T>(
    store: &dyn Store,
    mut work: impl FnMut(&mut dyn Write) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut result = None;
    store.write(&mut |tx| {
        result = Some(work(tx)?);
        Ok(())
    })?;
    Ok(result.expect("the work ran, or its error was returned"))
}

/// A document's row.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentRow {
    /// Its number, from 1.
    pub number: u64,
    /// Record and section.
    pub id: DocumentId,
    /// The record's entity.
    pub entity: String,
    /// What it says, stored.
    pub cells: Vec<u8>,
    /// The position up to which changes are folded into a snapshot; 0 when none are.
    pub folded_to: u64,
}

/// A change's row: the index stays when the bytes are folded into the snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeRow {
    /// The document.
    pub document: u64,
    /// The position of its batch.
    pub position: u64,
    /// Its hash.
    pub hash: ChangeHash,
    /// Who made it.
    pub actor: ActorId,
    /// Its number among the actor's changes of this document.
    pub seq: u64,
    /// The counter of its last operation.
    pub max_op: u64,
    /// What it covers.
    pub clock: Clock,
    /// Automerge's bytes; nothing once folded.
    pub bytes: Option<Vec<u8>>,
}

/// A batch's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// Its place in the log.
    pub position: u64,
    /// Its name.
    pub id: BatchId,
    /// The replica that sent it.
    pub replica: ReplicaId,
    /// Its member.
    pub member: MemberId,
    /// When it came.
    pub received_at: Timestamp,
}

/// A replica's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaRow {
    /// The replica.
    pub id: ReplicaId,
    /// Its member, bound at first use.
    pub member: MemberId,
    /// The lease given last.
    pub lease: Lease,
    /// The lease before it: valid until a frame carrying the new one has come.
    pub previous_lease: Option<Lease>,
    /// The subscriptions that came with the lease, and those that the device may not have dropped yet.
    pub scopes: Vec<String>,
    /// The same of the lease before it.
    pub previous_scopes: Vec<String>,
    /// The number of its last receipt.
    pub last_receipt: u64,
    /// When it was here last.
    pub last_seen: Timestamp,
    /// The hardware that it runs on.
    pub device: DeviceId,
    /// What that calls itself.
    pub device_name: String,
    /// Whether it was greeted since the log's epoch began: leases are compared within one epoch only.
    pub is_met: bool,
}

impl ReplicaRow {
    /// Notes that a frame has come under the lease given last: devices send nothing before they have stored
    /// it, so whoever still shows the one before it is a copy. Whether that is news.
    pub fn confirm_lease(&mut self) -> bool {
        let confirmed = Some(self.lease);
        std::mem::replace(&mut self.previous_lease, confirmed) != confirmed
    }
}

/// What a workspace's log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogInfo {
    /// Its identity.
    pub epoch: Epoch,
    /// The logs before it, oldest first.
    pub lineage: Vec<Ended>,
    /// Its last position.
    pub head: u64,
    /// The schema in force.
    pub schema: String,
    /// The policy in force; nothing while none was put.
    pub policy: Option<String>,
}

/// Reading one consistent state.
pub trait Read:
    access::ReadAccess
    + accounts::ReadAccounts
    + audit::ReadAudit
    + erasure::ReadErasures
    + recovery::ReadRecovery
    + relay::ReadRelay
    + scopes::ReadScopes
{
    /// The log.
    fn log(&self) -> Result<LogInfo, StoreError>;
    /// The log's last position.
    fn head(&self) -> Result<u64, StoreError>;
    /// A document by number.
    fn document(&self, number: u64) -> Result<Option<DocumentRow>, StoreError>;
    /// A document by name.
    fn find_document(&self, id: &DocumentId) -> Result<Option<DocumentRow>, StoreError>;
    /// The uncompressed save of a document's folded changes, if some were folded.
    fn snapshot(&self, document: u64) -> Result<Option<Vec<u8>>, StoreError>;
    /// A document's changes whose hash begins with `prefix`; at most 16.
    fn changes_like(&self, document: u64, prefix: u32) -> Result<Vec<ChangeRow>, StoreError>;
    /// A document's changes after a position, in the log's order.
    fn changes_after(&self, document: u64, position: u64) -> Result<Vec<ChangeRow>, StoreError>;
    /// The change of a document that holds an operation: the actor's first that reaches its counter.
    fn change_of(&self, document: u64, op: &OpId) -> Result<Option<ChangeRow>, StoreError>;
    /// The changes of one position, in the order in which they were appended.
    fn changes_at(&self, position: u64) -> Result<Vec<ChangeRow>, StoreError>;
    /// The position of a document's first change; nothing when it has none.
    fn first_position(&self, document: u64) -> Result<Option<u64>, StoreError>;
    /// The documents that were changed after a position and up to another, each with the position, in the
    /// log's order.
    fn changed(&self, after: u64, up_to: u64) -> Result<Vec<(u64, u64)>, StoreError>;
    /// The bytes of a document's changes up to a position that are not folded, when they are at least so many.
    fn foldable(
        &self,
        document: u64,
        up_to: u64,
        changes_min: u64,
    ) -> Result<Option<u64>, StoreError>;
    /// The number of the document after a number.
    fn document_after(&self, number: u64) -> Result<Option<u64>, StoreError>;
    /// A batch by name.
    fn batch(&self, id: &BatchId) -> Result<Option<BatchRow>, StoreError>;
    /// The batches after a position, at most `limit`, in order.
    fn batches_after(&self, position: u64, limit: usize) -> Result<Vec<BatchRow>, StoreError>;
    /// What the batches of a replica changed after a position and up to another: position and document, in
    /// order.
    fn changes_by(
        &self,
        replica: &ReplicaId,
        after: u64,
        up_to: u64,
    ) -> Result<Vec<(u64, u64)>, StoreError>;
    /// A replica.
    fn replica(&self, id: &ReplicaId) -> Result<Option<ReplicaRow>, StoreError>;
    /// A replica's receipts after a number, in order.
    fn receipts_after(&self, replica: &ReplicaId, number: u64) -> Result<Vec<Receipt>, StoreError>;
    /// Whether a batch of the replica that touched the document was refused and not yet acknowledged.
    fn has_refused(&self, replica: &ReplicaId, id: &DocumentId) -> Result<bool, StoreError>;
    /// A member's name.
    fn member(&self, id: &MemberId) -> Result<Option<String>, StoreError>;
}

/// Writing, in one transaction. Reads see what it wrote.
pub trait Write:
    Read
    + access::WriteAccess
    + accounts::WriteAccounts
    + audit::WriteAudit
    + erasure::WriteErasures
    + recovery::WriteRecovery
    + relay::WriteRelay
    + scopes::WriteScopes
{
    /// Takes the next position for a batch. Positions have no gaps and commit in their order.
    fn append_batch(&mut self, batch: &BatchRow) -> Result<(), StoreError>;
    /// Makes a document; its number is the next one. The number of an erased document never comes again: a
    /// device that was away may still name it.
    fn create_document(&mut self, document: &DocumentRow) -> Result<u64, StoreError>;
    /// Puts new cells on a document.
    fn set_cells(&mut self, document: u64, cells: &[u8]) -> Result<(), StoreError>;
    /// Puts a new snapshot on a document and drops the bytes of the changes up to a position. The changes
    /// themselves stay in the index.
    fn fold(&mut self, document: u64, snapshot: &[u8], up_to: u64) -> Result<(), StoreError>;
    /// Appends a change.
    fn append_change(&mut self, change: &ChangeRow) -> Result<(), StoreError>;
    /// Writes a replica's row.
    fn put_replica(&mut self, replica: &ReplicaRow) -> Result<(), StoreError>;
    /// Keeps a receipt until it is acknowledged; `refused` are the documents of a refused batch.
    fn put_receipt(
        &mut self,
        replica: &ReplicaId,
        receipt: &Receipt,
        refused: &[DocumentId],
    ) -> Result<(), StoreError>;
    /// Drops a replica's receipts up to a number.
    fn drop_receipts(&mut self, replica: &ReplicaId, up_to: u64) -> Result<(), StoreError>;
    /// Adds a member without a record, or renames one.
    fn put_member(&mut self, id: &MemberId, name: &str) -> Result<(), StoreError>;
    /// Puts a schema in force.
    fn put_schema(&mut self, schema: &str) -> Result<(), StoreError>;
}
