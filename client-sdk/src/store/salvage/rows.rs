//! The rows of a damaged file, one by one: what lies on a damaged page is stepped over, and it is noted where
//! something may be missing.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crdt_core::id::DocumentId;
use rusqlite::{Connection, OptionalExtension, Row};

use super::Whole;
use crate::dispute::{DisputeReason, Tried};
use crate::error::StoreError;
use crate::store::Session;
use crate::store::document::{ACCEPTED, PENDING, StoredChange, record_of, section_of};
use crate::store::outbox::{self, BatchChange, OutboxRow};

/// What of a damaged file concerns unsent work.
pub(super) struct Rows {
    /// Batches without an answer, in order.
    pub(super) batches: Vec<OutboxRow>,
    changes: Vec<Change>,
    /// Row ids of changes that may be there and cannot be read.
    gaps: Vec<RangeInclusive<i64>>,
}

/// A change's row.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) document: i64,
    pub(super) batch: Option<i64>,
    pub(super) stored: StoredChange,
    actor: Vec<u8>,
    seq: i64,
    max_op: i64,
}

impl Rows {
    pub(super) fn read(damaged: &Connection) -> Self {
        let (numbers, _) = readable(damaged, "outbox", "number");
        let batches = numbers.into_iter().filter_map(|number| outbox::unanswered(damaged, number));
        let batches = batches.collect();
        let (ids, mut gaps) = readable(damaged, "change", "id");
        let mut changes = Vec::new();
        for id in ids {
            match change(damaged, id) {
                Ok(change) => changes.push(change),
                Err(_) => gaps.push(id..=id),
            }
        }
        Self { batches, changes, gaps }
    }

    pub(super) fn pending_documents(&self) -> BTreeSet<i64> {
        self.all_pending().map(|change| change.document).collect()
    }

    pub(super) fn all_pending(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.stored.state == PENDING)
    }

    pub(super) fn pending(&self, document: i64) -> impl Iterator<Item = &Change> {
        self.all_pending().filter(move |change| change.document == document)
    }

    pub(super) fn accepted(&self, document: i64) -> impl Iterator<Item = &Change> {
        let of = move |change: &&Change| change.document == document;
        self.changes.iter().filter(of).filter(|change| change.stored.state == ACCEPTED)
    }

    fn of(&self, batch: i64) -> impl Iterator<Item = &Change> {
        self.all_pending().filter(move |change| change.batch == Some(batch))
    }

    pub(super) fn documents_of(&self, batch: i64) -> impl Iterator<Item = i64> {
        self.of(batch).map(|change| change.document)
    }

    pub(super) fn byte_len(&self, batch: i64) -> usize {
        self.of(batch).map(|change| change.stored.bytes.len()).sum()
    }

    /// Whether something of a batch may be missing: nothing of it can be read, or its rows lie beside others
    /// that cannot.
    pub(super) fn is_torn(&self, batch: i64) -> bool {
        let rows = || self.of(batch).map(|change| change.stored.row);
        let (Some(first), Some(last)) = (rows().min(), rows().max()) else { return true };
        let touches = |gap: &RangeInclusive<i64>| {
            *gap.start() <= last.saturating_add(1) && *gap.end() >= first.saturating_sub(1)
        };
        self.gaps.iter().any(touches)
    }

    /// Documents with unanswered changes of other batches than these.
    pub(super) fn strays(&self, sound: &BTreeSet<i64>) -> impl Iterator<Item = i64> {
        let stray = |change: &&Change| change.batch.is_none_or(|batch| !sound.contains(&batch));
        self.all_pending().filter(stray).map(|change| change.document)
    }

    /// What can be read of a batch, with the names of its documents.
    pub(super) fn changes_of(&self, batch: i64, damaged: &Connection) -> Vec<BatchChange> {
        let named = self.of(batch).filter_map(|change| {
            let (id, entity) = identity(damaged, change.document)?;
            let (document, stored) = (change.document, change.stored.clone());
            Some(BatchChange { document, id, entity, number: None, stored })
        });
        named.collect()
    }
}

fn change(damaged: &Connection, id: i64) -> Result<Change, StoreError> {
    let sql = "SELECT id, state, hash, bytes, document, batch, actor, seq, max_op
               FROM change WHERE id = ?1";
    let mut statement = damaged.prepare_cached(sql)?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.ok_or(StoreError::Malformed("change"))?;
    Ok(Change {
        stored: StoredChange::from_row(row)?,
        document: row.get(4)?,
        batch: row.get(5)?,
        actor: row.get(6)?,
        seq: row.get(7)?,
        max_op: row.get(8)?,
    })
}

/// The name of a document that is still in its scopes.
pub(super) fn identity(damaged: &Connection, document: i64) -> Option<(DocumentId, String)> {
    let sql = "SELECT record, section, entity FROM document WHERE id = ?1 AND gone = 0";
    let mut statement = damaged.prepare_cached(sql).ok()?;
    let read = |row: &Row<'_>| {
        let found: (Vec<u8>, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(found)
    };
    let (record, section, entity) = statement.query_row([document], read).ok()?;
    let id = DocumentId { record: record_of(&record).ok()?, section: section_of(&section).ok()? };
    Some((id, entity))
}

pub(super) fn snapshot(damaged: &Connection, document: i64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement =
        damaged.prepare_cached("SELECT bytes FROM _snapshot WHERE document = ?1")?;
    Ok(statement.query_row([document], |row| row.get(0)).optional()?)
}

/// Row ids of a table that can be read, in order, and ranges in which some may be that cannot.
fn readable(damaged: &Connection, table: &str, key: &str) -> (Vec<i64>, Vec<RangeInclusive<i64>>) {
    let sql =
        format!("SELECT {key} FROM {table} NOT INDEXED WHERE {key} > ?1 ORDER BY {key} LIMIT 1");
    let next = |after: i64| -> Result<Option<i64>, rusqlite::Error> {
        damaged.prepare_cached(&sql)?.query_row([after], |row| row.get(0)).optional()
    };
    let (mut ids, mut gaps) = (Vec::new(), Vec::new());
    let mut after = 0;
    loop {
        match next(after) {
            Ok(Some(id)) if id > after => {
                ids.push(id);
                after = id;
            }
            Ok(_) => return (ids, gaps),
            Err(_) => {
                let from = after;
                after = behind_gap(&next, after);
                gaps.push(from.saturating_add(1)..=after);
                if after == i64::MAX {
                    return (ids, gaps);
                }
            }
        }
    }
}

/// The first row id after `from` behind which reading succeeds again.
fn behind_gap(next: &impl Fn(i64) -> Result<Option<i64>, rusqlite::Error>, from: i64) -> i64 {
    let mut step = 1_i64;
    let mut bad = from;
    let mut good = loop {
        let place = from.saturating_add(step);
        if next(place).is_ok() {
            break place;
        }
        if place == i64::MAX {
            return i64::MAX;
        }
        bad = place;
        step = step.saturating_mul(2);
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if next(middle).is_ok() { good = middle } else { bad = middle }
    }
    good
}

// --------------------------------------------------------------------------------- into the fresh file

/// A batch is judged by the schema and the policy by which it was written.
pub(super) fn keep_versions(
    session: &Session<'_>,
    number: &i64,
    row: &OutboxRow,
) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET schema_version = ?2, policy_version = ?3 WHERE number = ?1";
    let versions = (number, row.schema_version.cast_signed(), row.policy_version.cast_signed());
    session.tx.prepare_cached(sql)?.execute(versions)?;
    Ok(())
}

pub(super) fn store_document(session: &Session<'_>, whole: &Whole) -> Result<i64, StoreError> {
    let tail: usize = whole.accepted.iter().map(|change| change.stored.bytes.len()).sum();
    let sql = "INSERT INTO document (record, section, entity, cells, base, tail)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    session.tx.prepare_cached(sql)?.execute((
        whole.id.record.as_bytes(),
        whole.id.section.as_str(),
        &whole.entity,
        whole.cells.to_stored(),
        whole.base.to_stored(),
        i64::try_from(tail).unwrap_or(i64::MAX),
    ))?;
    let document = session.tx.last_insert_rowid();
    if let Some(snapshot) = &whole.snapshot {
        snapshot.save(&session.tx, document)?;
    }
    for change in &whole.accepted {
        store_change(session, document, None, change)?;
    }
    Ok(document)
}

pub(super) fn store_change(
    session: &Session<'_>,
    document: i64,
    batch: Option<i64>,
    change: &Change,
) -> Result<(), StoreError> {
    let stored = &change.stored;
    let sql = "INSERT INTO change (document, batch, state, hash, actor, seq, max_op, bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let Change { actor, seq, max_op, .. } = change;
    let values = (document, batch, stored.state, &stored.hash.0, actor, seq, max_op, &stored.bytes);
    session.tx.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Copies the disputes that can be read; gives how many.
pub(super) fn copy_disputes(
    session: &mut Session<'_>,
    damaged: &Connection,
) -> Result<usize, StoreError> {
    let (ids, _) = readable(damaged, "dispute", "id");
    let mut copied = 0;
    for id in ids {
        copied += usize::from(copy_dispute(session, damaged, id)?);
    }
    Ok(copied)
}

fn copy_dispute(
    session: &mut Session<'_>,
    damaged: &Connection,
    id: i64,
) -> Result<bool, StoreError> {
    type Found = (Vec<u8>, String, i64, Option<i64>, String, String, String);
    let sql = "SELECT batch, kind, created_at, policy_version, records, reasons, tried
               FROM dispute WHERE id = ?1";
    let read = |row: &Row<'_>| -> rusqlite::Result<Found> { row.try_into() };
    let found = damaged.prepare_cached(sql).and_then(|mut look| look.query_row([id], read));
    let Ok(found) = found else { return Ok(false) };
    let is_sound = found.0.len() == 16
        && serde_json::from_str::<Vec<DisputeReason>>(&found.5).is_ok()
        && serde_json::from_str::<Vec<Tried>>(&found.6).is_ok();
    if !is_sound {
        return Ok(false);
    }
    let sql = "INSERT OR IGNORE INTO dispute
                   (batch, kind, created_at, policy_version, records, reasons, tried)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let batch = found.0.clone();
    if session.tx.prepare_cached(sql)?.execute(found)? == 0 {
        return Ok(false);
    }
    outbox::spend_number(session, &batch)?;
    session.changes.table("dispute");
    Ok(true)
}
