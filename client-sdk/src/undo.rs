//! Undo: what the last edit of a record wrote, what stood there before, and the edit that puts it back.

use std::collections::BTreeSet;

use crdt_core::record::{Action, DELETED, Deletion, LiveOp, Value, field_value};
use crdt_core::schema::{Entity, FieldKind};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::edits::Edits;
use crate::error::EditError;
use crate::plain::{from_plain, to_plain};
use crate::store::document::HeldRecord;

/// The last edit of a record that was made on this device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UndoEdit {
    kind: Kind,
    values: Vec<UndoValue>,
    increments: Vec<(String, i64)>,
    /// Which replica made the record: of a creation, in the place of all the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    creator: Option<[u8; 12]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Created,
    Edited,
    Deleted,
    Restored,
}

/// A key that was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct UndoValue {
    key: String,
    before: Json,
    after: Json,
}

/// How an edit is undone.
pub(crate) enum Inverse {
    Delete,
    Restore,
    Edit(Edits),
}

/// What an edit did, from the record before and after it; nothing when only prose changed.
pub(crate) fn edit(
    entity: &Entity,
    before: Option<&HeldRecord>,
    now: &HeldRecord,
) -> Option<UndoEdit> {
    let kind = match before.map(is_deleted) {
        None => Kind::Created,
        Some(false) if is_deleted(now) => Kind::Deleted,
        Some(true) if !is_deleted(now) => Kind::Restored,
        Some(_) => Kind::Edited,
    };
    if kind == Kind::Created {
        let mut changes = now.documents.values().flat_map(|held| &held.fresh);
        let own = changes.find(|fresh| fresh.change.as_seed().is_none())?;
        let creator = Some(own.change.actor.replica().0);
        return Some(UndoEdit { kind, values: Vec::new(), increments: Vec::new(), creator });
    }
    let mut written = BTreeSet::new();
    let mut increments = Vec::new();
    for fresh in now.documents.values().flat_map(|held| &held.fresh) {
        for op in fresh.change.ops.iter().filter(|_| fresh.change.as_seed().is_none()) {
            match op.action {
                Action::Put(_) | Action::Remove if !op.key.starts_with('$') => {
                    written.insert(op.key.as_str());
                }
                Action::Increment(by) => increments.push((op.key.clone(), by)),
                _ => {}
            }
        }
    }
    let (was, is) = (before.map(|record| Said::of(entity, record)), Said::of(entity, now));
    let value = |key: &str| UndoValue {
        key: key.to_owned(),
        before: was.as_ref().map_or(Json::Null, |said| said.by(key)),
        after: is.by(key),
    };
    let values: Vec<UndoValue> = written.into_iter().map(value).collect();
    let nothing = kind == Kind::Edited && values.is_empty() && increments.is_empty();
    (!nothing).then_some(UndoEdit { kind, values, increments, creator: None })
}

/// The edit that undoes `edit`, if nobody wrote over it since.
pub(crate) fn inverse(
    edit: &UndoEdit,
    entity: &Entity,
    record: &HeldRecord,
) -> Result<Inverse, EditError> {
    let deleted = is_deleted(record);
    let stale = |key: &str| EditError::UndoStale { field: key.to_owned() };
    match edit.kind {
        Kind::Deleted if deleted => return Ok(Inverse::Restore),
        Kind::Restored if !deleted => return Ok(Inverse::Delete),
        Kind::Deleted | Kind::Restored => return Err(stale(DELETED)),
        Kind::Created | Kind::Edited if deleted => return Err(stale(DELETED)),
        Kind::Created | Kind::Edited => {}
    }
    let said = Said::of(entity, record);
    if let Some(changed) = edit.values.iter().find(|value| said.by(&value.key) != value.after) {
        return Err(stale(&changed.key));
    }
    if edit.kind == Kind::Created {
        let strange = edit.creator.and_then(|creator| written_by_others(record, creator));
        return strange.map_or(Ok(Inverse::Delete), |key| Err(stale(key)));
    }
    let mut edits = Edits::new();
    for value in &edit.values {
        let (field, member) = entity.field_of_key(&value.key).ok_or_else(|| stale(&value.key))?;
        edits = match member {
            Some(member) if value.before == Json::Bool(true) => {
                edits.add(field.key.clone(), member)
            }
            Some(member) => edits.remove(field.key.clone(), member),
            None => {
                let before = from_plain(field, &value.before).map_err(|_| stale(&value.key))?;
                edits.set(field.key.clone(), before)
            }
        };
    }
    for (counter, by) in &edit.increments {
        edits = edits.increment(counter.clone(), by.saturating_neg());
    }
    Ok(Inverse::Edit(edits))
}

/// A key whose value another replica wrote. Seeds are nobody's.
fn written_by_others(record: &HeldRecord, creator: [u8; 12]) -> Option<&str> {
    let mut keys = record.documents.values().flat_map(|held| held.cells.keys());
    let strange = |live: &[LiveOp]| {
        let mut dated = live.iter().filter(|op| op.time.as_millis() != 0);
        dated.any(|op| op.id.actor.replica().0 != creator)
    };
    keys.find(|(_, live)| strange(live)).map(|(key, _)| key)
}

fn is_deleted(record: &HeldRecord) -> bool {
    record.main().is_some_and(|main| Deletion::of(&main.cells).is_some())
}

/// What a record says, by key.
struct Said<'a> {
    entity: &'a Entity,
    record: &'a HeldRecord,
}

impl<'a> Said<'a> {
    const fn of(entity: &'a Entity, record: &'a HeldRecord) -> Self {
        Self { entity, record }
    }

    /// A field's value, or whether a set has a member.
    fn by(&self, key: &str) -> Json {
        let Some((field, member)) = self.entity.field_of_key(key) else { return Json::Null };
        let Some(held) = self.record.documents.get(&field.section) else { return Json::Null };
        match (member, &field.kind) {
            (Some(_), _) if held.cells.live(key).is_empty() => Json::Null,
            (Some(_), _) => Json::Bool(true),
            (None, FieldKind::Text | FieldKind::Counter) => Json::Null,
            (None, _) => to_plain(&field_value(&held.cells, field).unwrap_or(Value::Null)),
        }
    }
}
