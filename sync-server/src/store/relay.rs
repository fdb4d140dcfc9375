//! What a workspace keeps while devices give back what a restore lost.

use crdt_core::id::{ActorId, DocumentId, MemberId, ReplicaId};
use crdt_core::protocol::Relayed;
use crdt_core::time::Timestamp;

use super::StoreError;

/// A change that waits for what it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRow {
    /// Its place in the queue; the storage gives it.
    pub id: u64,
    /// The document.
    pub document: DocumentId,
    /// Who wrote it.
    pub actor: ActorId,
    /// Its number among the actor's changes of this document.
    pub seq: u64,
    /// The replica that gave it back.
    pub replica: ReplicaId,
    /// That replica's member.
    pub member: MemberId,
    /// When.
    pub parked_at: Timestamp,
    /// The change as it was given, with its author: [`crdt_core::protocol::Relay::to_stored`].
    pub relay: Vec<u8>,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParkedSize {
    /// Changes.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a replica gave back since the last restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayedRow {
    /// The replica.
    pub replica: ReplicaId,
    /// Its member.
    pub member: MemberId,
    /// How much, and what became of it.
    pub relayed: Relayed,
    /// When it did so last.
    pub at: Timestamp,
}

/// Reading it.
pub trait ReadRelay {
    /// When the operator last ended the time in which other people's changes are taken; nothing when that was
    /// never done.
    fn relay_closed_at(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Whose a replica is that was never here, by what others said.
    fn presumed_member(&self, replica: &ReplicaId) -> Result<Option<MemberId>, StoreError>;
    /// A document's changes that wait, in the order in which they came.
    fn parked_of(&self, document: &DocumentId) -> Result<Vec<ParkedRow>, StoreError>;
    /// The changes that wait after a place in the queue, at most `limit`.
    fn parked_after(&self, id: u64, limit: usize) -> Result<Vec<ParkedRow>, StoreError>;
    /// How much waits.
    fn parked_size(&self) -> Result<ParkedSize, StoreError>;
    /// Whether a change was refused when its own author brought it.
    fn is_withdrawn(
        &self,
        document: &DocumentId,
        actor: &ActorId,
        seq: u64,
    ) -> Result<bool, StoreError>;
    /// What each replica gave back, in the order of replicas.
    fn relayed(&self) -> Result<Vec<RelayedRow>, StoreError>;
}

/// Writing it.
pub trait WriteRelay: ReadRelay {
    /// Ends that time: what waits is dropped. Gives how much that was.
    fn close_relay(&mut self, at: Timestamp) -> Result<ParkedSize, StoreError>;
    /// Notes whose a replica is, unless that was said before.
    fn presume(
        &mut self,
        replica: &ReplicaId,
        member: &MemberId,
        said_by: &MemberId,
    ) -> Result<(), StoreError>;
    /// Lets a change wait; the one that waits under its document, actor and number stays.
    fn park(&mut self, row: &ParkedRow) -> Result<(), StoreError>;
    /// Takes a change out of the queue.
    fn unpark(&mut self, id: u64) -> Result<(), StoreError>;
    /// Notes that an actor's changes of a document from a number on are not taken from others, and drops those
    /// that wait.
    fn withdraw(
        &mut self,
        document: &DocumentId,
        actor: &ActorId,
        seq: u64,
    ) -> Result<(), StoreError>;
    /// Counts anew what replicas give back.
    fn forget_relayed(&mut self) -> Result<(), StoreError>;
    /// Adds to what a replica gave back.
    fn count_relayed(&mut self, row: &RelayedRow) -> Result<(), StoreError>;
}
