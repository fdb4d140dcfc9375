//! Kept edits: what people tried on records that had moved out of their reach meanwhile. The server keeps it
//! beside the record; who may decide about it there takes it over or turns it down.

use std::collections::BTreeMap;

use crdt_core::id::{MemberId, RecordId};
use crdt_core::record::Value;
use crdt_core::schema::Entity;
use crdt_core::time::Timestamp;
use serde_json::Value as Json;

use super::Client;
use crate::edits::Edits;
use crate::error::{EditError, QueryError};
use crate::plain::from_plain;
use crate::record::Record;
use crate::store;
use crate::transaction::Transaction;

/// An edit that was refused since its record had moved, and waits for a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEdit {
    /// Its own record, of the entity `kept_edit`.
    pub id: RecordId,
    /// The record that was to be edited.
    pub record: RecordId,
    /// Who tried.
    pub author: Option<MemberId>,
    /// When.
    pub edited_at: Option<Timestamp>,
    /// Why it was refused.
    pub reason: String,
    /// What was tried, by document key: plain values; true and false for members of a set that were added or
    /// removed; `{"increment": n}`; `{"typed": "…", "erased": n}` for prose. Only the sections that the
    /// user may read. `$cut` counts values that were too large to keep.
    pub tried: BTreeMap<String, Json>,
}

impl Client {
    /// The kept edits that wait for a decision and that the user may see, the oldest first.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn kept_edits(&self) -> Result<Vec<KeptEdit>, QueryError> {
        if self.schema().entity(ENTITY).is_none() {
            return Ok(Vec::new());
        }
        let mut kept = Vec::new();
        for id in self.read(store::kept::open)? {
            kept.extend(self.get(id)?.and_then(|record| KeptEdit::of(&record)));
        }
        Ok(kept)
    }

    /// Takes a kept edit over: its values are written in the user's name over what the record says now, and
    /// the edit is marked accepted, as one batch. Prose is added at the end, since its place is not known;
    /// what was erased stays.
    ///
    /// # Errors
    /// When it is not an open kept edit, a value does not fit the schema any more, or the policy does not
    /// let the user write it; nothing has changed then.
    pub fn accept_kept(&self, id: RecordId) -> Result<(), EditError> {
        self.transaction(|tx| {
            let kept = open(tx, id)?;
            let unknown = || EditError::UnknownRecord(kept.record);
            let record = tx.get(kept.record)?.ok_or_else(unknown)?;
            let schema = self.schema();
            let entity = schema.entity(record.entity()).ok_or_else(unknown)?;
            let deletion = kept.tried.get(DELETED);
            let restores = deletion == Some(&Json::Bool(false));
            if restores {
                tx.restore(kept.record)?;
            }
            tx.update(kept.record, edits(entity, &record, &kept)?)?;
            if deletion.is_some() && !restores {
                tx.delete(kept.record)?;
            }
            self.decide(tx, id, "accepted")
        })
    }

    /// Turns a kept edit down: the record stays as it is.
    ///
    /// # Errors
    /// When it is not an open kept edit, or the user may not decide about it.
    pub fn dismiss_kept(&self, id: RecordId) -> Result<(), EditError> {
        self.transaction(|tx| {
            open(tx, id)?;
            self.decide(tx, id, "dismissed")
        })
    }

    fn decide(
        &self,
        tx: &mut Transaction<'_, '_>,
        id: RecordId,
        status: &str,
    ) -> Result<(), EditError> {
        let user = RecordId(self.member().0);
        tx.update(id, Edits::new().set("status", status).set("decided_by", user))
    }
}

impl KeptEdit {
    fn of(record: &Record) -> Option<Self> {
        let mut tried = BTreeMap::new();
        for (_, said) in record.values().iter().filter(|(key, _)| key.starts_with(TRIED)) {
            let values: BTreeMap<String, Json> = serde_json::from_str(said.as_str()?).ok()?;
            tried.extend(values);
        }
        Some(Self {
            id: record.id(),
            record: record.reference("record")?,
            author: record.reference("author").map(|author| MemberId(author.0)),
            edited_at: match record.value("edited_at") {
                Value::Timestamp(at) => Some(*at),
                _ => None,
            },
            reason: record.text("reason").unwrap_or_default().to_owned(),
            tried,
        })
    }
}

/// A kept edit about which nobody has decided yet.
fn open(tx: &mut Transaction<'_, '_>, id: RecordId) -> Result<KeptEdit, EditError> {
    let record = tx.get(id)?.filter(|record| record.entity() == ENTITY && !record.deleted());
    let waits = record.filter(|record| record.text("status") == Some("open"));
    waits.and_then(|record| KeptEdit::of(&record)).ok_or(EditError::UnknownRecord(id))
}

/// What was tried, as edits of the record as it is now.
fn edits(entity: &Entity, record: &Record, kept: &KeptEdit) -> Result<Edits, EditError> {
    let mut edits = Edits::new();
    for (key, tried) in kept.tried.iter().filter(|(key, _)| !key.starts_with('$')) {
        if let Some((set, member)) = key.split_once('/') {
            let added = tried == &Json::Bool(true);
            edits = if added { edits.add(set, member) } else { edits.remove(set, member) };
        } else if let Some(by) = tried.get("increment").and_then(Json::as_i64) {
            edits = edits.increment(key.clone(), by);
        } else if let Some(typed) = tried.get("typed") {
            let (now, typed) = (record.text(key).unwrap_or(""), typed.as_str().unwrap_or(""));
            edits = edits.set_text(key.clone(), format!("{now}{typed}"));
        } else {
            let unknown =
                || EditError::UnknownField { entity: entity.name.clone(), field: key.clone() };
            let field = entity.field(key).ok_or_else(unknown)?;
            let value = from_plain(field, tried)
                .map_err(|violation| EditError::Invalid { field: key.clone(), violation })?;
            edits = edits.set(key.clone(), value);
        }
    }
    Ok(edits)
}

/// The entity of kept edits.
const ENTITY: &str = "kept_edit";
/// What the fields with the values begin with, one for each section.
const TRIED: &str = "tried";
/// The key that says whether a record is deleted.
const DELETED: &str = "$deleted";
