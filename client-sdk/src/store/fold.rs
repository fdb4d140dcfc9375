//! Folding: changes that outgrew the snapshot become part of it; and the check that cells and documents
//! agree.

use crdt_core::id::DocumentId;
use crdt_core::planted::{Bug, planted};
use crdt_core::record::document::Purpose;
use rusqlite::{Connection, OptionalExtension};

use super::Session;
use super::document::{HeldRecord, NewSnapshot, Wanted, identity, record_of, section_of};
use crate::error::StoreError;

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Documents that were checked.
    pub checked: usize,
    /// Documents whose cells differ from their history, or that cannot be loaded.
    pub differing: Vec<DocumentId>,
}

/// Folds documents with long tails: at most `limit`, and fewer when their histories are long, since edits wait
/// meanwhile. Gives whether more may be left.
pub(crate) fn fold(session: &mut Session<'_>, limit: usize) -> Result<bool, StoreError> {
    let sql = "SELECT d.id, d.tail + coalesce(length(s.bytes), 0)
               FROM document d LEFT JOIN _snapshot s ON s.document = d.id
               WHERE d.tail > 16384 AND d.tail * 4 > coalesce(length(s.bytes), 0)
               ORDER BY d.id LIMIT ?1";
    let mut statement = session.tx.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    drop(statement);
    let mut bytes = 0;
    for (row, size) in &rows {
        if bytes > BYTES_AT_ONCE {
            return Ok(true);
        }
        let Some((id, section)) = identity(&session.tx, *row)? else { continue };
        let Some(mut record) = HeldRecord::read(&session.tx, &session.state, id)? else { continue };
        let Some(held) = record.documents.get_mut(&section) else { continue };
        let all = planted(Bug::FoldTakesUnanswered);
        let wanted = if all { Wanted::Everything } else { Wanted::Accepted };
        let document = held.load(&session.tx, Purpose::Fold, wanted)?;
        let accepted = held.base.as_ref().filter(|_| !all).unwrap_or(&held.cells);
        if document.heads() != accepted.heads() {
            // Never folded away: `verify` names such a document.
            continue;
        }
        held.snapshot = Some(NewSnapshot { heads: document.heads(), bytes: document.save()? });
        held.dirty = true;
        record.save(session, None)?;
        bytes += size;
    }
    Ok(i64::try_from(rows.len()).is_ok_and(|found| found == limit))
}

/// Histories that are folded in one transaction, bytes: some hundredths of a second.
const BYTES_AT_ONCE: i64 = 128 * 1024;

/// Compares the cells of every document with its history.
pub(crate) fn verify(connection: &Connection) -> Result<VerifyReport, StoreError> {
    let mut report = VerifyReport::default();
    let mut after = 0;
    let sql = "SELECT id, record, section FROM document WHERE id > ?1 AND gone = 0
               ORDER BY id LIMIT 1";
    loop {
        let mut statement = connection.prepare_cached(sql)?;
        let next = statement.query_row([after], |row| {
            let found: (i64, Vec<u8>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(found)
        });
        let Some((row, record, section)) = next.optional()? else { return Ok(report) };
        after = row;
        let id = DocumentId { record: record_of(&record)?, section: section_of(&section)? };
        report.checked += 1;
        if !agrees(connection, &id)? {
            report.differing.push(id);
        }
    }
}

fn agrees(connection: &Connection, id: &DocumentId) -> Result<bool, StoreError> {
    let record = match HeldRecord::read_cells(connection, id.record) {
        Ok(record) => record,
        Err(StoreError::Cells(_)) => return Ok(false),
        Err(other) => return Err(other),
    };
    let Some(held) = record.as_ref().and_then(|record| record.documents.get(&id.section)) else {
        return Ok(false);
    };
    match held.load(connection, Purpose::Verify, Wanted::Everything) {
        Ok(document) => Ok(document.cells().is_ok_and(|cells| cells == held.cells)),
        Err(StoreError::Document(_)) => Ok(false),
        Err(other) => Err(other),
    }
}
