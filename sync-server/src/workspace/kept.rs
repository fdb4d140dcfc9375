//! Kept edits: what somebody tried to change in a record that had moved out of reach meanwhile. The server
//! keeps it beside the record, in the record's scopes, for whoever decides there now.
//!
//! Kept is what a refused batch tried on records that exist and that its sender once had: a document of the
//! record stood in a scope that the sender's replica was granted, or left one, or somebody of the sender's
//! replicas wrote in it. A stranger's probing leaves nothing. An edit that is forbidden on a record which
//! its author still sees is not kept either: the author has it as a dispute, and nobody else needs it.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, MemberId, RecordId, Section};
use crdt_core::policy::Subscription;
use crdt_core::protocol::{DocumentChanges, DocumentRef, Outcome};
use crdt_core::record::{Action, Cells, Op, Scalar, Value};
use crdt_core::schema::{Entity, FieldKind};
use crdt_core::time::Timestamp;
use serde_json::{Map, json};

use super::Submitted;
use super::author::{Writing, batch_id};
use super::feed::Known;
use super::judge::{Answer, Desk, Rules};
use crate::store::{Read, ReplicaRow, StoreError};

/// The entity of kept edits; a schema without it keeps none.
pub(super) const ENTITY: &str = "kept_edit";
/// Kept edits of one batch.
const RECORDS_MAX: usize = 100;
/// Characters of what was tried in one section, as the entity's field has them.
const TRIED_CHARS_MAX: usize = 8_192;
/// Kept edits of one member within an hour: more than anybody makes by hand on records that moved away.
pub(super) const PER_HOUR_MAX: u32 = 200;

/// What a refused batch tried on one record.
#[derive(Default)]
struct Tried {
    sections: BTreeMap<Section, Map<String, serde_json::Value>>,
    edited_at: Option<Timestamp>,
}

/// The server's batch with what is to be kept of a refused one; nothing when there is nothing.
pub(super) fn keep(
    tx: &dyn Read,
    desk: &mut Desk<'_>,
    now: Timestamp,
    submitted: &Submitted,
    row: &ReplicaRow,
    answer: &Answer,
    mut may_keep: impl FnMut() -> bool,
) -> Result<Option<Submitted>, StoreError> {
    let rules = desk.rules();
    let Some(entity) = rules.schema.entity(ENTITY) else { return Ok(None) };
    let tried = tried(tx, desk, submitted, &answer.out_of_reach)?;
    let mut documents = Vec::new();
    for (record, tried) in tried.into_iter().take(RECORDS_MAX) {
        let id =
            RecordId::from_source_key("kept edit", &format!("{}/{record}", submitted.batch.id));
        let is_kept = tx.route(&id)?.is_some();
        if is_kept || !fits(tx, entity, &record)? {
            continue;
        }
        // Whoever probes uses up what the search for an own hand in the record costs.
        if !may_keep() {
            break;
        }
        if !had(tx, rules, submitted, row, &record)? {
            continue;
        }
        let values = values(entity, record, submitted.member, tried, answer);
        documents.extend(rules.write(tx, now, &Writing { entity, record: id, values })?);
    }
    if documents.is_empty() {
        return Ok(None);
    }
    let name = batch_id(tx, "kept edits", &submitted.batch.id.to_string())?;
    Ok(Some(rules.own_batch(name, documents)))
}

/// What the batch writes into each record that is out of its sender's reach.
fn tried(
    tx: &dyn Read,
    desk: &mut Desk<'_>,
    submitted: &Submitted,
    records: &BTreeSet<RecordId>,
) -> Result<BTreeMap<RecordId, Tried>, StoreError> {
    let mut tried: BTreeMap<RecordId, Tried> = BTreeMap::new();
    for document in &submitted.batch.documents {
        let id = match &document.document {
            DocumentRef::Identity(identity) => Some(identity.id.clone()),
            DocumentRef::Number(number) => desk.name_of(tx, *number)?.map(|(id, _)| id),
        };
        let Some(id) = id.filter(|id| records.contains(&id.record)) else { continue };
        let tried = tried.entry(id.record).or_default();
        tried.edited_at = tried.edited_at.max(edited_at(document));
        let values = tried.sections.entry(id.section).or_default();
        for op in document.changes.iter().flat_map(|sent| &sent.change.ops) {
            note(values, op);
        }
    }
    Ok(tried)
}

fn edited_at(document: &DocumentChanges) -> Option<Timestamp> {
    let changes = document.changes.iter().filter(|sent| sent.change.as_seed().is_none());
    changes.map(|sent| sent.change.time).max()
}

/// Adds what an operation writes. Counters add up, text is what was typed and how much was taken away.
fn note(values: &mut Map<String, serde_json::Value>, op: &Op) {
    let before = |part: &str| values.get(&op.key).and_then(|value| value.get(part)).cloned();
    let value = match &op.action {
        Action::Put(scalar) => spelled(scalar),
        Action::Remove => json!(false),
        Action::Increment(by) => {
            let total = before("increment").and_then(|total| total.as_i64()).unwrap_or(0);
            json!({ "increment": total.saturating_add(*by) })
        }
        Action::MakeText => return,
        Action::Insert { text, .. } => {
            let typed = before("typed").and_then(|t| t.as_str().map(str::to_owned));
            json!({ "typed": typed.unwrap_or_default() + text, "erased": before("erased") })
        }
        Action::Erase { count, .. } => {
            let erased = before("erased").and_then(|n| n.as_u64()).unwrap_or(0);
            json!({ "typed": before("typed"), "erased": erased + u64::from(*count) })
        }
    };
    values.insert(op.key.clone(), value);
}

fn spelled(scalar: &Scalar) -> serde_json::Value {
    match scalar {
        Scalar::Null => serde_json::Value::Null,
        Scalar::Bool(value) => json!(value),
        Scalar::Int(value) | Scalar::Counter(value) => json!(value),
        Scalar::Float(value) => json!(value),
        Scalar::Str(value) => json!(value),
        Scalar::Timestamp(value) => json!(value.as_millis()),
        Scalar::Bytes(bytes) => match RecordId::try_from(&bytes[..]) {
            Ok(record) => json!(record.to_string()),
            Err(_) => json!(format!("{} bytes", bytes.len())),
        },
    }
}

/// Whether a kept edit may point at the record.
fn fits(tx: &dyn Read, entity: &Entity, record: &RecordId) -> Result<bool, StoreError> {
    let Some(route) = tx.route(record)? else { return Ok(false) };
    let kind = entity.field("record").map(|field| &field.kind);
    Ok(matches!(kind, Some(FieldKind::Ref(targets)) if targets.contains(&route.entity)))
}

/// Whether the sender once had the record.
fn had(
    tx: &dyn Read,
    rules: &Rules,
    submitted: &Submitted,
    row: &ReplicaRow,
    record: &RecordId,
) -> Result<bool, StoreError> {
    let Some(document) = tx.find_document(&DocumentId::main(*record))? else { return Ok(false) };
    let mut scopes: BTreeSet<String> = tx.left_by(document.number)?.into_iter().collect();
    scopes.extend(tx.scopes_of(document.number)?.into_iter().map(|place| place.scope));
    let known = row.scopes.iter().chain(&row.previous_scopes);
    let known = known.filter_map(|entry| Known::read(entry).name.parse::<Subscription>().ok());
    let who = rules.directory.standing(submitted.member);
    let granted = rules.policy.subscriptions(&who, &rules.schema);
    let mut subscriptions = known.chain(granted);
    if subscriptions.any(|s| scopes.contains(&s.scope()) && s.admits(&document.entity)) {
        return Ok(true);
    }
    let cells =
        Cells::from_stored(&document.cells).map_err(|e| StoreError::Damaged(e.to_string()))?;
    for (actor, _) in cells.clock().iter() {
        let writer = tx.replica(&actor.replica())?;
        if writer.is_some_and(|writer| writer.member == submitted.member) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn values(
    entity: &Entity,
    record: RecordId,
    author: MemberId,
    tried: Tried,
    answer: &Answer,
) -> BTreeMap<String, Value> {
    let first = match &answer.outcome {
        Outcome::Refused { reasons } => reasons.first(),
        Outcome::Accepted { .. } | Outcome::Already { .. } => None,
    };
    let mut reason = first.map(|reason| reason.text.clone()).unwrap_or_default();
    let mut values = BTreeMap::from([
        ("record".to_owned(), Value::Bytes(record.as_bytes().to_vec())),
        ("author".to_owned(), Value::Bytes(author.as_bytes().to_vec())),
        ("status".to_owned(), Value::Str("open".to_owned())),
    ]);
    let edited_at = tried.edited_at.map(Value::Timestamp);
    values.extend(edited_at.map(|at| ("edited_at".to_owned(), at)));
    let rule = first.and_then(|reason| reason.rule.clone()).map(Value::Str);
    values.extend(rule.map(|rule| ("rule".to_owned(), rule)));
    for (section, tried) in tried.sections {
        let field = if section.is_main() { "tried".to_owned() } else { format!("tried_{section}") };
        let fits = entity.field(&field).is_some_and(|field| field.section == section);
        if fits {
            values.insert(field, Value::Str(within_bounds(tried)));
        } else {
            // Whoever reads this may not read that section: the names of its fields, never their values.
            let names: Vec<&str> = tried.keys().map(String::as_str).collect();
            reason = format!("{reason}; also tried in section {section}: {}", names.join(", "));
        }
    }
    let reason = reason.chars().take(TRIED_CHARS_MAX / 4).collect();
    values.insert("reason".to_owned(), Value::Str(reason));
    values.retain(|key, _| entity.field(key).is_some());
    values
}

/// What was tried as JSON, cut to what the field takes; `$cut` counts the values that were left out.
fn within_bounds(mut tried: Map<String, serde_json::Value>) -> String {
    let mut cut = 0;
    loop {
        if cut > 0 {
            tried.insert("$cut".to_owned(), json!(cut));
        }
        let text = json!(tried).to_string();
        if text.len() <= TRIED_CHARS_MAX {
            return text;
        }
        let values = tried.iter().filter(|(key, _)| *key != "$cut");
        let largest = values.max_by_key(|(_, value)| value.to_string().len());
        let Some(key) = largest.map(|(key, _)| key.clone()) else { return text };
        tried.remove(&key);
        cut += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_cut_to_its_bound_and_says_so() {
        let mut tried = Map::new();
        tried.insert("note".to_owned(), json!("x".repeat(8_000)));
        tried.insert("title".to_owned(), json!("y".repeat(1_000)));
        let text = within_bounds(tried.clone());
        assert!(text.len() <= TRIED_CHARS_MAX);
        assert!(text.contains("\"$cut\":1") && text.contains("yyy") && !text.contains("xxx"));
        tried.remove("note");
        assert_eq!(within_bounds(tried.clone()), json!(tried).to_string());
    }
}
