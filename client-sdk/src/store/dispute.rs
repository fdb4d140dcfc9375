//! The `dispute` table, and what a batch tried, read back from its changes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{BatchId, DocumentId, RecordId};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Action, Cells, Change, DELETED, Live, Value, hydrate};
use crdt_core::schema::{Entity, Schema};
use crdt_core::time::Timestamp;
use rusqlite::{Connection, Row};
use serde_json::Value as Json;

use super::accounting::{self, Count};
use super::document::{HeldRecord, Wanted, identity};
use super::outbox::{BatchChange, OutboxRow, cells_of};
use super::projection::CREATED_AT;
use super::withheld::Verdict;
use super::{Session, fixed};
use crate::dispute::{Dispute, DisputeKind, DisputeReason, Tried};
use crate::error::StoreError;
use crate::plain::to_plain;

/// What a batch tried, by record; read before it is taken back.
pub(crate) fn tried(
    connection: &Connection,
    schema: &Schema,
    changes: &[BatchChange],
) -> Result<Vec<Tried>, StoreError> {
    let mut by_record: BTreeMap<RecordId, Tried> = BTreeMap::new();
    let mut cells: BTreeMap<i64, Cells> = BTreeMap::new();
    for change in changes {
        let now = match cells.entry(change.document) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(cells_of(connection, change.document)?),
        };
        let entity = schema.entity(&change.entity);
        // What cannot be read is in the export as it was stored.
        let Ok(read) = change.stored.read(entity, now) else { continue };
        let record = change.id.record;
        let tried = by_record.entry(record).or_insert_with(|| Tried::new(record, &change.entity));
        note(tried, &read);
    }
    for tried in by_record.values_mut().filter(|tried| !tried.typed.is_empty()) {
        let own = || changes.iter().filter(|change| change.id.record == tried.record);
        let mut said = BTreeMap::new();
        for document in own().map(|change| change.document).collect::<BTreeSet<_>>() {
            let rows = || own().filter(|c| c.document == document).map(|c| c.stored.row);
            let (Some(first), Some(last)) = (rows().min(), rows().max()) else { continue };
            for text in tried.typed.keys() {
                let before = text_before(connection, document, first, text);
                let after = text_before(connection, document, last + 1, text);
                said.extend(before.zip(after).map(|said| (text.clone(), said)));
            }
        }
        for (text, (before, after)) in said {
            tried.old.insert(text.clone(), Json::String(before));
            tried.texts.insert(text, after);
        }
    }
    Ok(by_record.into_values().collect())
}

/// What changes tried, by record, told from them alone.
pub(crate) fn tried_alone(schema: &Schema, changes: &[BatchChange]) -> Vec<Tried> {
    let mut by_record: BTreeMap<RecordId, Tried> = BTreeMap::new();
    for change in changes {
        let entity = schema.entity(&change.entity);
        let Ok(read) = change.stored.read(entity, &Cells::default()) else { continue };
        let record = change.id.record;
        let tried = by_record.entry(record).or_insert_with(|| Tried::new(record, &change.entity));
        note(tried, &read);
    }
    by_record.into_values().collect()
}

/// What a text says without the unanswered changes from `row` on; nothing when the document is not here.
fn text_before(connection: &Connection, document: i64, row: i64, text: &str) -> Option<String> {
    let (record, section) = identity(connection, document).ok()??;
    let record = HeldRecord::read_cells(connection, record).ok()??;
    let held = record.documents.get(&section).filter(|held| !held.gone)?;
    if !held.cells.live(text).iter().any(|op| matches!(op.value, Live::Text(_))) {
        return None;
    }
    held.load(connection, Purpose::Text, Wanted::Before(row)).ok()?.text(text).ok()
}

fn note(tried: &mut Tried, change: &Change) {
    if change.as_seed().is_some() {
        return;
    }
    for op in &change.ops {
        match &op.action {
            Action::Put(_) if op.key == DELETED => tried.deleted = Some(true),
            Action::Remove if op.key == DELETED => tried.deleted = Some(false),
            Action::Put(_) if op.key.starts_with('$') => tried.created |= op.key == CREATED_AT,
            Action::Put(_) if op.key.contains('/') => {
                tried.members.insert(op.key.clone(), true);
            }
            Action::Put(scalar) => {
                tried.values.insert(op.key.clone(), to_plain(&Value::from(scalar.clone())));
            }
            Action::Remove => {
                tried.members.insert(op.key.clone(), false);
            }
            Action::Increment(by) => {
                let total = tried.increments.entry(op.key.clone()).or_insert(0);
                *total = total.saturating_add(*by);
            }
            Action::Insert { text, .. } => {
                tried.typed.entry(op.key.clone()).or_default().push_str(text);
            }
            Action::Erase { .. } | Action::MakeText => {
                tried.typed.entry(op.key.clone()).or_default();
            }
        }
    }
}

/// Notes what the fields say once the batch is taken back.
pub(crate) fn note_old(tried: &mut Tried, entity: &Entity, cells: &[&Cells]) {
    let mut values = BTreeMap::new();
    for cells in cells {
        values.extend(hydrate(cells, entity));
    }
    for key in tried.values.keys() {
        let old = values.get(key).map_or(Json::Null, to_plain);
        tried.old.insert(key.clone(), old);
    }
}

/// Makes a dispute of a batch.
pub(crate) fn insert(
    session: &mut Session<'_>,
    row: &OutboxRow,
    kind: DisputeKind,
    verdict: &Verdict,
    tried: &[Tried],
) -> Result<(), StoreError> {
    let records: Vec<String> = tried.iter().map(|tried| tried.record.to_string()).collect();
    let sql = "INSERT INTO dispute
                   (batch, kind, created_at, records, policy_version, reasons, tried)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    session.tx.prepare_cached(sql)?.execute((
        &row.batch.0,
        kind_word(kind),
        row.stamp.time.as_millis(),
        Json::from(records).to_string(),
        verdict.policy_version.map(u64::cast_signed),
        text(&verdict.reasons)?,
        text(&tried)?,
    ))?;
    let disputed = std::sync::Arc::make_mut(&mut session.state.disputed);
    disputed.extend(tried.iter().map(|tried| tried.record));
    session.changes.table("dispute");
    Ok(())
}

/// A late answer for a batch that is a dispute already: its reasons are the server's from now on.
pub(crate) fn update_reasons(
    session: &mut Session<'_>,
    batch: &BatchId,
    verdict: &Verdict,
) -> Result<bool, StoreError> {
    let sql = "UPDATE dispute SET kind = ?2, reasons = ?3, policy_version = ?4 WHERE batch = ?1";
    let version = verdict.policy_version.map(u64::cast_signed);
    let kind = kind_word(DisputeKind::Refused);
    let values = (&batch.0, kind, text(&verdict.reasons)?, version);
    let found = session.tx.prepare_cached(sql)?.execute(values)? > 0;
    if found {
        session.changes.table("dispute");
    }
    Ok(found)
}

/// Removes a dispute; its records no longer show as disputed.
pub(crate) fn withdraw(session: &mut Session<'_>, found: &Dispute) -> Result<(), StoreError> {
    let mut records = Vec::new();
    for tried in &found.tried {
        records.extend(HeldRecord::read(&session.tx, &session.state, tried.record)?);
    }
    remove(session, found.id)?;
    for mut record in records {
        record.refresh(session)?;
    }
    Ok(())
}

/// The dispute of a batch.
pub(crate) fn find(
    connection: &Connection,
    batch: &BatchId,
) -> Result<Option<Dispute>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM dispute WHERE batch = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([&batch.0])?;
    rows.next()?.map(read).transpose()
}

/// The dispute of this id.
pub(crate) fn by_id(connection: &Connection, id: i64) -> Result<Option<Dispute>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM dispute WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(read).transpose()
}

const COLUMNS: &str = "id, batch, kind, created_at, reasons, tried, policy_version";

fn remove(session: &mut Session<'_>, id: i64) -> Result<(), StoreError> {
    session.tx.prepare_cached("DELETE FROM dispute WHERE id = ?1")?.execute([id])?;
    session.state.disputed = std::sync::Arc::new(disputed_records(&session.tx)?);
    session.changes.table("dispute");
    Ok(())
}

/// Forgets what disputes say of a record, as after its erasure; whether one said something. A dispute about
/// nothing else goes.
pub(crate) fn erase(session: &mut Session<'_>, record: RecordId) -> Result<bool, StoreError> {
    let mut said = false;
    for mut dispute in list(&session.tx)? {
        let tried = dispute.tried.len();
        dispute.tried.retain(|tried| tried.record != record);
        if !DisputeReason::forget(&mut dispute.reasons, record) && dispute.tried.len() == tried {
            continue;
        }
        said = true;
        if dispute.tried.is_empty() {
            remove(session, dispute.id)?;
            accounting::add(&session.tx, Count::Erased, 1)?;
            accounting::note_erased(&session.tx, &dispute.batch, dispute.created_at)?;
        } else {
            store_tried(session, &dispute)?;
        }
    }
    session.state.disputed = std::sync::Arc::new(disputed_records(&session.tx)?);
    Ok(said)
}

/// A document has left the device: disputes keep what their user tried, and nothing that others wrote.
pub(crate) fn leave(session: &mut Session<'_>, id: &DocumentId) -> Result<(), StoreError> {
    if !session.state.disputed.contains(&id.record) {
        return Ok(());
    }
    let schema = session.schema();
    for mut dispute in list(&session.tx)? {
        let before = dispute.clone();
        for tried in dispute.tried.iter_mut().filter(|tried| tried.record == id.record) {
            let entity = schema.entity(&tried.entity);
            let elsewhere = |key: &str| {
                let field = entity.and_then(|entity| entity.field(key));
                field.is_some_and(|field| field.section != id.section)
            };
            tried.old.retain(|key, _| elsewhere(key));
            tried.texts.retain(|key, _| elsewhere(key));
        }
        if dispute != before {
            store_tried(session, &dispute)?;
        }
    }
    Ok(())
}

fn store_tried(session: &mut Session<'_>, dispute: &Dispute) -> Result<(), StoreError> {
    let records: Vec<String> = dispute.tried.iter().map(|tried| tried.record.to_string()).collect();
    let sql = "UPDATE dispute SET records = ?2, tried = ?3, reasons = ?4 WHERE id = ?1";
    let (tried, reasons) = (text(&dispute.tried)?, text(&dispute.reasons)?);
    let values = (dispute.id, Json::from(records).to_string(), tried, reasons);
    session.tx.prepare_cached(sql)?.execute(values)?;
    session.changes.table("dispute");
    Ok(())
}

/// Every dispute in the order in which they came.
pub(crate) fn list(connection: &Connection) -> Result<Vec<Dispute>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM dispute ORDER BY id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut disputes = Vec::new();
    while let Some(row) = rows.next()? {
        disputes.push(read(row)?);
    }
    Ok(disputes)
}

fn read(row: &Row<'_>) -> Result<Dispute, StoreError> {
    let malformed = |_| StoreError::Malformed("dispute");
    Ok(Dispute {
        id: row.get(0)?,
        batch: BatchId(fixed(&row.get::<_, Vec<u8>>(1)?, "batch id")?),
        kind: match row.get::<_, String>(2)?.as_str() {
            "refused" => DisputeKind::Refused,
            "file_damaged" => DisputeKind::FileDamaged,
            _ => DisputeKind::DependsOnRefused,
        },
        created_at: Timestamp::from_millis(row.get(3)?),
        reasons: serde_json::from_str(&row.get::<_, String>(4)?).map_err(malformed)?,
        tried: serde_json::from_str(&row.get::<_, String>(5)?).map_err(malformed)?,
        policy_version: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
    })
}

/// The records that some dispute names.
pub(crate) fn disputed_records(connection: &Connection) -> Result<BTreeSet<RecordId>, StoreError> {
    let sql = "SELECT j.value FROM dispute, json_each(dispute.records) j";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut records = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        records.insert(text.parse().map_err(|_| StoreError::Malformed("dispute"))?);
    }
    Ok(records)
}

/// How many there are.
pub(crate) fn count(connection: &Connection) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM dispute")?
        .query_row([], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

const fn kind_word(kind: DisputeKind) -> &'static str {
    match kind {
        DisputeKind::Refused => "refused",
        DisputeKind::FileDamaged => "file_damaged",
        DisputeKind::DependsOnRefused => "depends_on_refused",
    }
}

fn text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Malformed("dispute"))
}
