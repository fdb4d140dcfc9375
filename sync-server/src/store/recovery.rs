//! What a workspace keeps about backups, and about logs that were ended by restoring one.

use crdt_core::id::{BatchId, ChangeHash, DeviceId, Epoch, MemberId, ReplicaId};
use crdt_core::protocol::Ended;
use crdt_core::time::Timestamp;

use super::{Read, StoreError};

/// How the present log began, when it began by restoring a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restoration {
    /// The log that it went on from.
    pub from: Ended,
    /// When.
    pub at: Timestamp,
    /// The last position of the log that was replaced, when it could still be read.
    pub ended: Option<u64>,
}

/// A batch of the log that was replaced, which the backup does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBatch {
    /// Its place in that log.
    pub position: u64,
    /// Its name.
    pub batch: BatchId,
    /// The replica that sent it.
    pub replica: ReplicaId,
    /// Its member.
    pub member: MemberId,
    /// Its changes.
    pub hashes: Vec<ChangeHash>,
}

/// A backup of the present log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupRow {
    /// Up to where it holds the log.
    pub position: u64,
    /// When it was made.
    pub at: Timestamp,
}

/// A device says that it stands beyond the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AheadRow {
    /// The replica.
    pub replica: ReplicaId,
    /// Its member.
    pub member: MemberId,
    /// The device that it is on.
    pub device: DeviceId,
    /// Where it stands.
    pub position: u64,
    /// When it said so first.
    pub at: Timestamp,
}

/// Reading what is kept about backups.
pub trait ReadRecovery {
    /// The latest restoration; nothing when the log is the workspace's first.
    fn restoration(&self) -> Result<Option<Restoration>, StoreError>;
    /// The greatest number of a document with a change up to a position; 0 without one.
    fn last_document(&self, position: u64) -> Result<u64, StoreError>;
    /// The batches that the log lost, in the order of their old places; also those that came back.
    fn lost(&self) -> Result<Vec<LostBatch>, StoreError>;
    /// The latest backup of the log.
    fn backup(&self) -> Result<Option<BackupRow>, StoreError>;
    /// The replicas that stand beyond the end of the log, by their ids.
    fn ahead(&self) -> Result<Vec<AheadRow>, StoreError>;
    /// Whether nobody is served until the operator has spoken: the file was put back to an older state.
    fn is_halted(&self) -> Result<bool, StoreError>;
}

/// Writing it.
pub trait WriteRecovery: Read {
    /// Begins a new log after the last position: `lineage` are all the logs before it, `lost` what the log
    /// that was replaced held beyond. No replica has been greeted in the new one yet, none stands beyond its
    /// end, and it is served again.
    fn begin_epoch(
        &mut self,
        epoch: Epoch,
        lineage: &[Ended],
        restoration: &Restoration,
        lost: &[LostBatch],
    ) -> Result<(), StoreError>;
    /// Notes a backup, unless a later one is noted.
    fn note_backup(&mut self, backup: &BackupRow) -> Result<(), StoreError>;
    /// Notes that a replica stands beyond the end of the log; the first time counts.
    fn note_ahead(&mut self, row: &AheadRow) -> Result<(), StoreError>;
    /// Serves nobody until a new epoch begins.
    fn halt(&mut self) -> Result<(), StoreError>;
}
