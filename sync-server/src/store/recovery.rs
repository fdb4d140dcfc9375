//! What a workspace keeps about backups and about logs that were ended by restoring one.

use crdt_core::id::Epoch;
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

/// Reading what is kept about backups.
pub trait ReadRecovery {
    /// The latest restoration; nothing when the log is the workspace's first.
    fn restoration(&self) -> Result<Option<Restoration>, StoreError>;
    /// The greatest document number; 0 without documents.
    fn last_document(&self) -> Result<u64, StoreError>;
}

/// Writing it.
pub trait WriteRecovery: Read {
    /// Begins a new log after the last position: `lineage` are all the logs before it. No replica has been
    /// greeted in it yet.
    fn begin_epoch(
        &mut self,
        epoch: Epoch,
        lineage: &[Ended],
        restoration: &Restoration,
    ) -> Result<(), StoreError>;
}
