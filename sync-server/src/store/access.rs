//! What a workspace keeps of who may see what: policy, directory, routes, the queue of records whose scopes
//! are to be found again, devices.

use crdt_core::id::{DeviceId, DocumentId, MemberId, RecordId};
use crdt_core::policy::{Route, Standing};
use crdt_core::time::Timestamp;

use super::{ReplicaRow, StoreError};

/// A member of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// The name, for people.
    pub name: String,
    /// What the directory says; the policy's default where there is no record of the member.
    pub standing: Standing,
    /// Whether there is a record of the member, of which this is a copy.
    pub has_record: bool,
}

impl MemberRow {
    /// A member without a record.
    #[must_use]
    pub const fn unlisted(id: MemberId, name: String) -> Self {
        Self { name, standing: Standing::unlisted(id), has_record: false }
    }
}

/// Records whose scopes are to be found again, in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rescope {
    /// Those that follow this record: its children, and what was merged into it. Nothing means every record.
    pub of: Option<RecordId>,
    /// The last one that is done.
    pub after: Option<RecordId>,
    /// How many mergers lie between this record and the one whose route changed.
    pub hops: u32,
}

impl Rescope {
    /// All of them, from the first.
    #[must_use]
    pub const fn of(record: Option<RecordId>, hops: u32) -> Self {
        Self { of: record, after: None, hops }
    }
}

/// A record that follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follower {
    /// Its route names the other as its parent.
    Child(RecordId),
    /// It was merged into the other: its own children follow that one.
    Merged(RecordId),
}

impl Follower {
    /// The record.
    #[must_use]
    pub const fn record(self) -> RecordId {
        match self {
            Self::Child(record) | Self::Merged(record) => record,
        }
    }
}

/// A document and what it weighs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentSize {
    /// Its number.
    pub number: u64,
    /// Record and section.
    pub id: DocumentId,
    /// Its snapshot and the changes after it, bytes.
    pub bytes: u64,
}

/// Reading who may see what.
pub trait ReadAccess {
    /// A record's routing values, as its `main` document had them at its last change.
    fn route(&self, record: &RecordId) -> Result<Option<Route>, StoreError>;
    /// Whether any record follows this one.
    fn is_followed(&self, record: &RecordId) -> Result<bool, StoreError>;
    /// The records that follow one, after an id, in the order of ids, at most `limit`.
    fn followers(
        &self,
        record: &RecordId,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<Follower>, StoreError>;
    /// The records that have a route, after an id, in the order of ids, at most `limit`.
    fn records_after(
        &self,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StoreError>;
    /// The documents of a record, each with its number.
    fn documents_of(&self, record: &RecordId) -> Result<Vec<(u64, DocumentId)>, StoreError>;
    /// The documents after a number, in the order of numbers, at most `limit`.
    fn document_sizes(&self, after: u64, limit: usize) -> Result<Vec<DocumentSize>, StoreError>;
    /// What has waited longest in the queue.
    fn next_rescope(&self) -> Result<Option<Rescope>, StoreError>;
    /// Everybody of the directory, in the order of ids.
    fn members(&self) -> Result<Vec<MemberRow>, StoreError>;
    /// Every replica, in the order of ids.
    fn replicas(&self) -> Result<Vec<ReplicaRow>, StoreError>;
    /// Whether a member was ever granted a subscription of this name.
    fn was_granted(&self, member: &MemberId, subscription: &str) -> Result<bool, StoreError>;
    /// When a device was revoked; nothing when it was not.
    fn revoked_at(&self, device: &DeviceId) -> Result<Option<Timestamp>, StoreError>;
    /// Every revoked device.
    fn revoked(&self) -> Result<Vec<(DeviceId, Timestamp)>, StoreError>;
}

/// Writing who may see what.
pub trait WriteAccess: ReadAccess {
    /// Puts a policy in force.
    fn put_policy(&mut self, policy: &str) -> Result<(), StoreError>;
    /// Notes a record's routing values.
    fn put_route(&mut self, record: &RecordId, route: &Route) -> Result<(), StoreError>;
    /// Puts records into the queue. Those that wait there already are all done again, after as few mergers as
    /// either said.
    fn queue_rescope(&mut self, rescope: &Rescope) -> Result<(), StoreError>;
    /// Notes how far the records of a place in the queue are done; nothing takes it out.
    fn advance_rescope(
        &mut self,
        of: Option<RecordId>,
        after: Option<RecordId>,
    ) -> Result<(), StoreError>;
    /// Writes a member's row.
    fn put_member_row(&mut self, row: &MemberRow) -> Result<(), StoreError>;
    /// Notes that a member is granted a subscription. That is never forgotten.
    fn note_granted(&mut self, member: &MemberId, subscription: &str) -> Result<(), StoreError>;
    /// Revokes a device; one that is revoked already keeps its time.
    fn revoke(&mut self, device: &DeviceId, at: Timestamp) -> Result<(), StoreError>;
}
