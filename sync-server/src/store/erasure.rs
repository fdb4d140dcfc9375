//! What a workspace keeps of erasures: which records there were once, what went with them, and which devices
//! know of it. Nothing of what the records said.

use crdt_core::id::{MemberId, RecordId, ReplicaId};
use crdt_core::time::Timestamp;

use super::StoreError;

/// An erased record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureRow {
    /// The record.
    pub record: RecordId,
    /// The place that its erasure has in the log.
    pub position: u64,
    /// When it was erased.
    pub at: Timestamp,
    /// The member who asked for it; nothing for the operator.
    pub by: Option<MemberId>,
    /// The record with which it went; nothing when it was erased for itself.
    pub of: Option<RecordId>,
    /// What was removed.
    pub removed: Removed,
    /// When its traces in free pages and in the write-ahead log were removed; nothing while they may be there.
    pub scrubbed_at: Option<Timestamp>,
}

/// What an erasure removed from the storage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// The record's entity; nothing when the storage held nothing of it.
    pub entity: Option<String>,
    /// Documents: the record's sections that held something.
    pub documents: u64,
    /// Changes, those within snapshots included.
    pub changes: u64,
    /// Bytes of snapshots, changes and cells.
    pub bytes: u64,
    /// Receipts, not yet acknowledged, that named it.
    pub receipts: u64,
}

/// A replica that knows of erasures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// The replica.
    pub replica: ReplicaId,
    /// It has removed what was erased up to here.
    pub up_to: u64,
    /// When it said so.
    pub at: Timestamp,
}

/// Reading erasures.
pub trait ReadErasures {
    /// A record's erasure; nothing when it was not erased.
    fn erasure(&self, record: &RecordId) -> Result<Option<ErasureRow>, StoreError>;
    /// The records that went with one, in the order of positions.
    fn erased_with(&self, record: &RecordId) -> Result<Vec<ErasureRow>, StoreError>;
    /// What was erased after a position, at most `limit`, in the order of positions.
    fn erased_after(&self, position: u64, limit: usize)
    -> Result<Vec<(u64, RecordId)>, StoreError>;
    /// The documents of erased records, each by its number, which is never given again.
    fn erased_documents(&self) -> Result<Vec<(u64, RecordId)>, StoreError>;
    /// The last position whose traces are not removed yet; nothing when all are.
    fn unscrubbed(&self) -> Result<Option<u64>, StoreError>;
    /// How far each replica knows of erasures, in the order of replicas.
    fn erasures_confirmed(&self) -> Result<Vec<Confirmation>, StoreError>;
}

/// Writing erasures.
pub trait WriteErasures: ReadErasures {
    /// What the storage holds of a record, and removes: documents, changes, index, scopes, route, and what
    /// receipts say of it. Its number is kept.
    fn remove_record(&mut self, record: &RecordId) -> Result<Removed, StoreError>;
    /// Notes an erasure.
    fn put_erasure(&mut self, row: &ErasureRow) -> Result<(), StoreError>;
    /// Notes that the traces of everything erased up to a position were removed.
    fn note_scrubbed(&mut self, up_to: u64, at: Timestamp) -> Result<(), StoreError>;
    /// Notes how far a replica knows of erasures, unless it knew of more.
    fn confirm_erasures(&mut self, confirmation: &Confirmation) -> Result<(), StoreError>;
}
