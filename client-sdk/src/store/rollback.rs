//! Taking unanswered batches back: their documents return to the accepted state, what was tried becomes
//! disputes, and nothing else is touched.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{RecordId, Section};
use crdt_core::record::{Cells, Live};

use super::dispute;
use super::document::{Held, HeldRecord, PENDING};
use super::outbox::{self, OutboxRow};
use super::receipts::{DEPENDS_ON_REFUSED, kind_of};
use super::{Session, undo};
use crate::dispute::{DisputeReason, Tried};
use crate::error::StoreError;

/// Turns a refused batch into a dispute, and with it the later ones that build on it. Gives how many.
pub(crate) fn refuse(
    session: &mut Session<'_>,
    row: &OutboxRow,
    reasons: &[DisputeReason],
) -> Result<usize, StoreError> {
    let (withdrawn, records) = take_back(session, row.number)?;
    let count = withdrawn.len();
    for (batch, tried) in withdrawn {
        outbox::remove(session, batch.number)?;
        if batch.number == row.number {
            dispute::insert(session, &batch, kind_of(reasons), reasons, &tried)?;
        } else {
            let reasons = [stranded("it builds on an edit that was refused")];
            dispute::insert(session, &batch, kind_of(&reasons), &reasons, &tried)?;
        }
    }
    finish(session, records)?;
    Ok(count)
}

/// Drops the device's copy of a batch that the server has under other hashes. Later batches that build on
/// the copy become disputes. Gives how many.
pub(crate) fn replace(session: &mut Session<'_>, row: &OutboxRow) -> Result<usize, StoreError> {
    let (mut withdrawn, records) = take_back(session, row.number)?;
    withdrawn.retain(|(batch, _)| batch.number != row.number);
    for (batch, tried) in &withdrawn {
        outbox::remove(session, batch.number)?;
        let reasons = [stranded("it builds on a copy that the server has in another form")];
        dispute::insert(session, batch, kind_of(&reasons), &reasons, tried)?;
    }
    finish(session, records)?;
    Ok(withdrawn.len())
}

fn stranded(text: &str) -> DisputeReason {
    DisputeReason {
        code: DEPENDS_ON_REFUSED.to_owned(),
        text: text.to_owned(),
        record: None,
        field: None,
    }
}

/// Batches that were withdrawn with what they tried, and their records, which are still to be saved.
type TakenBack = (Vec<(OutboxRow, Vec<Tried>)>, Vec<HeldRecord>);

/// Withdraws a batch and those that build on it, in the order in which they were made.
fn take_back(session: &mut Session<'_>, first: i64) -> Result<TakenBack, StoreError> {
    let batches = with_dependents(session, first)?;
    let schema = session.schema();
    let mut withdrawn = Vec::new();
    let mut documents: BTreeMap<RecordId, BTreeSet<Section>> = BTreeMap::new();
    for number in &batches {
        let Some(row) = outbox::unsent_rows(&session.tx, number - 1, 1)?.pop() else { continue };
        let changes = outbox::changes_of(&session.tx, *number)?;
        for (record, section) in outbox::documents_of(&changes).into_values() {
            documents.entry(record).or_default().insert(section);
        }
        withdrawn.push((row, dispute::tried(&session.tx, &schema, &changes)?));
    }
    for number in &batches {
        remove_changes(session, *number)?;
    }
    let mut records = Vec::new();
    for (id, sections) in documents {
        let Some(mut record) = HeldRecord::read(&session.tx, &session.state, id)? else { continue };
        for section in &sections {
            return_to_base(session, &mut record, section)?;
        }
        undo::remove(&session.tx, id)?;
        for tried in withdrawn.iter_mut().flat_map(|(_, tried)| tried) {
            if let Some(entity) = schema.entity(&tried.entity).filter(|_| tried.record == id) {
                let cells: Vec<&Cells> = record.live().map(|(_, held)| &held.cells).collect();
                dispute::note_old(tried, entity, &cells);
            }
        }
        records.push(record);
    }
    Ok((withdrawn, records))
}

/// The batch, and every later unanswered one that shares a document with it or with another of them.
fn with_dependents(session: &Session<'_>, first: i64) -> Result<BTreeSet<i64>, StoreError> {
    let mut batches = BTreeSet::from([first]);
    let mut waiting = vec![first];
    while let Some(number) = waiting.pop() {
        let changes = outbox::changes_of(&session.tx, number)?;
        let pending = changes.iter().filter(|change| change.stored.state == PENDING);
        let documents: BTreeSet<i64> = pending.map(|change| change.document).collect();
        for document in documents {
            for later in outbox::later_on(&session.tx, number, document)? {
                if batches.insert(later) {
                    waiting.push(later);
                }
            }
        }
    }
    Ok(batches)
}

/// Unanswered changes go; accepted ones only lose their batch.
fn remove_changes(session: &Session<'_>, batch: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM change WHERE batch = ?1 AND state != 1";
    session.tx.prepare_cached(sql)?.execute([batch])?;
    let sql = "UPDATE change SET batch = NULL WHERE batch = ?1";
    session.tx.prepare_cached(sql)?.execute([batch])?;
    Ok(())
}

/// What the document says without the withdrawn changes: the accepted state, and the unanswered changes that
/// remain on top of it.
fn return_to_base(
    session: &Session<'_>,
    record: &mut HeldRecord,
    section: &Section,
) -> Result<(), StoreError> {
    let schema = session.schema();
    let entity = schema.entity(&record.entity);
    let Some(held) = record.documents.get_mut(section) else { return Ok(()) };
    let Some(base) = held.base.clone() else { return Ok(()) };
    let stored = held.changes(&session.tx)?;
    let remaining: Vec<_> = stored.iter().filter(|change| change.state == PENDING).collect();
    if remaining.is_empty() && base.is_empty() {
        return record.remove(&session.tx, section);
    }
    let mut cells = base;
    for change in &remaining {
        cells.apply(&change.read(entity, &held.cells)?, change.hash);
    }
    held.tail = stored.iter().map(|change| change.bytes.len() as u64).sum();
    held.cells = cells;
    held.dirty = true;
    if remaining.is_empty() {
        held.base = None;
        return Ok(());
    }
    let texts = texts_of(held);
    held.refresh_texts(&session.tx, &texts)
}

/// The texts of a document.
pub(crate) fn texts_of(held: &Held) -> Vec<String> {
    let is_text = |live: &[crdt_core::record::LiveOp]| {
        live.iter().any(|op| matches!(op.value, Live::Text(_)))
    };
    held.cells.keys().filter(|(_, live)| is_text(live)).map(|(key, _)| key.to_owned()).collect()
}

/// Sequence numbers were spent on changes that are gone: from now on another actor writes.
fn finish(session: &mut Session<'_>, records: Vec<HeldRecord>) -> Result<(), StoreError> {
    session.state.meta.incarnation = session.state.meta.incarnation.saturating_add(1);
    session.state.disputed = std::sync::Arc::new(dispute::disputed_records(&session.tx)?);
    for mut record in records {
        record.save(session, None)?;
    }
    Ok(())
}
