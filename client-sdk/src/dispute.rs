//! Disputes: refused batches, kept for their user with what was tried and why it was refused.

use std::collections::BTreeMap;

use crdt_core::id::{BatchId, RecordId};
use crdt_core::schema::Entity;
use crdt_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::edits::{Edits, carried};
use crate::error::EditError;
use crate::plain::from_plain;

/// A refused batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispute {
    /// Names the dispute on this device.
    pub id: i64,
    /// The batch that was refused.
    pub batch: BatchId,
    /// Why it is here.
    pub kind: DisputeKind,
    /// When the edit was made.
    pub created_at: Timestamp,
    /// The policy by which it was judged; nothing when it was not judged.
    pub policy_version: Option<u64>,
    /// What was refused, and why: at least one reason.
    pub reasons: Vec<DisputeReason>,
    /// What was tried, by record.
    pub tried: Vec<Tried>,
}

/// Why a batch became a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeKind {
    /// The server refused it.
    Refused,
    /// The file was damaged before it was sent, and not all of it, or of the records that it changes, can be
    /// read.
    FileDamaged,
    /// It cannot stand without one that was refused: its record was not accepted, or nothing is left of it.
    DependsOnRefused,
}

/// One reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeReason {
    /// A stable word.
    pub code: String,
    /// A sentence.
    pub text: String,
    /// The rule of the policy that it breaks.
    #[serde(default)]
    pub rule: Option<String>,
    /// The record that it is about.
    pub record: Option<RecordId>,
    /// The field that it is about.
    pub field: Option<String>,
}

impl DisputeReason {
    /// Forgets what reasons say of a record; whether one said something. That there was a reason stays, and of
    /// which kind.
    pub(crate) fn forget(reasons: &mut [Self], record: RecordId) -> bool {
        let mut said = false;
        for reason in reasons.iter_mut().filter(|reason| reason.record == Some(record)) {
            (reason.record, reason.field) = (None, None);
            reason.text = "it was about a record that was erased since".to_owned();
            said = true;
        }
        said
    }
}

/// What a batch tried to do to one record. Values are in their plain spelling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The record.
    pub record: RecordId,
    /// Its entity.
    pub entity: String,
    /// Whether the batch created it.
    #[serde(default)]
    pub created: bool,
    /// Whether it deleted (true) or restored (false) it.
    #[serde(default)]
    pub deleted: Option<bool>,
    /// Fields and the values that were tried.
    #[serde(default)]
    pub values: BTreeMap<String, Json>,
    /// What these fields say without the batch; nothing of what has left the device since.
    #[serde(default)]
    pub old: BTreeMap<String, Json>,
    /// Members that were added (true) or removed (false), by `set/member`.
    #[serde(default)]
    pub members: BTreeMap<String, bool>,
    /// Counters and by how much they were incremented.
    #[serde(default)]
    pub increments: BTreeMap<String, i64>,
    /// Prose and what it said with the batch, while the record is on the device.
    #[serde(default)]
    pub texts: BTreeMap<String, String>,
    /// Prose and the characters that were typed; nothing where some were only erased.
    #[serde(default)]
    pub typed: BTreeMap<String, String>,
}

impl Tried {
    pub(crate) fn new(record: RecordId, entity: &str) -> Self {
        Self {
            record,
            entity: entity.to_owned(),
            created: false,
            deleted: None,
            values: BTreeMap::new(),
            old: BTreeMap::new(),
            members: BTreeMap::new(),
            increments: BTreeMap::new(),
            texts: BTreeMap::new(),
            typed: BTreeMap::new(),
        }
    }

    /// The edits that try it once more. `says` tells what a text says now: what others wrote stays.
    pub(crate) fn edits(
        &self,
        entity: &Entity,
        says: impl Fn(&str) -> String,
    ) -> Result<Edits, EditError> {
        let mut edits = Edits::new();
        for (key, plain) in &self.values {
            let unknown =
                || EditError::UnknownField { entity: entity.name.clone(), field: key.clone() };
            let field = entity.field(key).ok_or_else(unknown)?;
            let value = from_plain(field, plain)
                .map_err(|violation| EditError::Invalid { field: key.clone(), violation })?;
            edits = edits.set(key.clone(), value);
        }
        for (key, added) in &self.members {
            let Some((set, member)) = key.split_once('/') else { continue };
            edits = if *added { edits.add(set, member) } else { edits.remove(set, member) };
        }
        for (counter, by) in &self.increments {
            edits = edits.increment(counter.clone(), *by);
        }
        for (text, typed) in &self.typed {
            let now = says(text);
            let said = self.old.get(text).and_then(Json::as_str).zip(self.texts.get(text));
            let splice = match said {
                Some((before, after)) => carried(before, after, &now),
                // Where it stood is not known any more: it comes at the end.
                None => Some((now.chars().count(), 0, typed.clone())),
            };
            if let Some((at, delete, insert)) = splice {
                edits = edits.splice(text.clone(), at, delete, insert);
            }
        }
        Ok(edits)
    }
}
