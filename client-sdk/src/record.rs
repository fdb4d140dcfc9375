//! A record as an app reads it: values by field, who wrote last, and where it stands with the server.

use std::collections::BTreeMap;

use crdt_core::id::{MemberId, RecordId};
use crdt_core::record::{Deletion, Value};
use crdt_core::time::Timestamp;
use serde::de::DeserializeOwned;

use crate::error::QueryError;
use crate::plain;
use crate::store::State;
use crate::store::document::HeldRecord;
use crate::store::projection;

/// A record, read at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    id: RecordId,
    entity: String,
    values: BTreeMap<String, Value>,
    created_at: Option<Timestamp>,
    created_by: Option<MemberId>,
    updated: Option<Updated>,
    sync_state: SyncState,
    deleted: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Updated {
    at: Timestamp,
    by: Option<(MemberId, String)>,
}

/// Where a record stands with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// The server has all of it.
    Synced,
    /// Edits wait for the server's answer.
    Pending,
    /// An edit was refused: see the record's disputes.
    Disputed,
}

impl Record {
    pub(crate) fn of(state: &State, record: &HeldRecord) -> Option<Self> {
        let main = record.main()?;
        let entity = state.entity(&record.entity)?;
        let updated = projection::last_edit(record).map(|last| Updated {
            at: last.time,
            by: state.author(&last.op.actor).map(|author| (author.member, author.name.clone())),
        });
        Some(Self {
            id: record.id,
            entity: record.entity.clone(),
            values: projection::values(entity, record),
            created_at: projection::created_at(&main.cells),
            created_by: projection::created_by(&main.cells)
                .and_then(|bytes| MemberId::try_from(bytes).ok()),
            updated,
            sync_state: match projection::sync_state(state, record) {
                "disputed" => SyncState::Disputed,
                "pending" => SyncState::Pending,
                _ => SyncState::Synced,
            },
            deleted: Deletion::of(&main.cells).is_some(),
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.id
    }

    /// Its entity.
    #[must_use]
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// A field's value; `Null` when it is unset or the device may not see it.
    #[must_use]
    pub fn value(&self, field: &str) -> &Value {
        self.values.get(field).unwrap_or(&Value::Null)
    }

    /// The text of a field.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.value(field).as_str()
    }

    /// The number of a field or counter.
    #[must_use]
    pub fn int(&self, field: &str) -> Option<i64> {
        self.value(field).as_int()
    }

    /// The members of a set, in order.
    #[must_use]
    pub fn members(&self, set: &str) -> &[String] {
        if let Value::Set(members) = self.value(set) { members } else { &[] }
    }

    /// The record that a reference names.
    #[must_use]
    pub fn reference(&self, field: &str) -> Option<RecordId> {
        if let Value::Bytes(bytes) = self.value(field) {
            RecordId::try_from(&bytes[..]).ok()
        } else {
            None
        }
    }

    /// Every field that is set, by key.
    #[must_use]
    pub const fn values(&self) -> &BTreeMap<String, Value> {
        &self.values
    }

    /// When it was created.
    #[must_use]
    pub const fn created_at(&self) -> Option<Timestamp> {
        self.created_at
    }

    /// Who created it.
    #[must_use]
    pub const fn created_by(&self) -> Option<MemberId> {
        self.created_by
    }

    /// When it was edited last.
    #[must_use]
    pub fn updated_at(&self) -> Option<Timestamp> {
        self.updated.as_ref().map(|updated| updated.at)
    }

    /// Who edited it last.
    #[must_use]
    pub fn updated_by(&self) -> Option<MemberId> {
        self.updated.as_ref()?.by.as_ref().map(|(member, _)| *member)
    }

    /// The name of whoever edited it last.
    #[must_use]
    pub fn updated_by_name(&self) -> Option<&str> {
        self.updated.as_ref()?.by.as_ref().map(|(_, name)| name.as_str())
    }

    /// Where it stands with the server.
    #[must_use]
    pub const fn sync_state(&self) -> SyncState {
        self.sync_state
    }

    /// Whether it is deleted: its values are still there, its row is not.
    #[must_use]
    pub const fn deleted(&self) -> bool {
        self.deleted
    }

    /// The record as a typed value: references are UUID strings, times milliseconds, money its string, sets
    /// arrays, groups structs. `id` is the record's own id.
    ///
    /// # Errors
    /// When a field does not fit the type.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, QueryError> {
        serde_json::from_value(plain::to_object(self.id, &self.values))
            .map_err(|error| QueryError::Shape(error.to_string()))
    }
}
