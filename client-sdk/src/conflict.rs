//! Conflicts: concurrent different values of one field, all kept until somebody writes the field.

use crdt_core::id::{ActorId, MemberId, RecordId, Section};
use crdt_core::record::Value;
use crdt_core::time::Timestamp;

/// Concurrent different values of one field; of a deleted record, the edits that its deleter had not seen.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldConflict {
    /// The record.
    pub record: RecordId,
    /// Its entity.
    pub entity: String,
    /// The field's section.
    pub section: Section,
    /// The field; `$deleted` offers to restore the record with the edits listed.
    pub field: String,
    /// Whether it waits for a person.
    pub open: bool,
    /// The values, the one that shows first; for `$deleted`, the unseen edits.
    pub values: Vec<ConflictValue>,
}

/// One of the values.
#[derive(Debug, Clone, PartialEq)]
pub struct ConflictValue {
    /// The document key that it stands under.
    pub field: String,
    /// What it says.
    pub value: Value,
    /// The actor that wrote it.
    pub actor: ActorId,
    /// The member behind the actor, when known.
    pub member: Option<MemberId>,
    /// That member's name.
    pub member_name: Option<String>,
    /// When it was written.
    pub time: Timestamp,
}

/// What a conflict is decided for.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// This value, whether it was among the contenders or not.
    Value(Value),
    /// The contender at this place of [`FieldConflict::values`].
    Contender(usize),
}
