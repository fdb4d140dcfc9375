//! After the server was restored: giving back what it lost, and ending with what it has.
//!
//! Every document that may hold something from beyond the point is compared with the server's. What other
//! people wrote is given back first; the device's own batches go out again after it, and find what they build
//! on. Then the document is compared once more. What the server still lacks then, it does not take: its document
//! takes the place of the device's, and unanswered batches are written again on top of it.
//!
//! How far a document has come is durable, and each step may be repeated: a connection that ends costs time.

mod gather;

use std::collections::BTreeSet;

use crdt_core::id::{BatchId, DocumentId};
use crdt_core::limits;
use crdt_core::protocol::{Compare, Compared, Identity, Lacking, Recovery, Relay};
use crdt_core::record::{Cells, Reach};
use rusqlite::{Connection, OptionalExtension};

use super::document::{record_of, section_of};
use super::{Session, accounting, incoming, meta, outbox, scope};
use crate::error::StoreError;

/// What to ask the server next.
#[derive(Debug, Clone, PartialEq)]
pub enum RelayStep {
    /// How far it has come in these documents.
    Compare(Compare),
    /// These documents as it has them, by number.
    Fetch(Vec<u64>),
    /// Nothing now: something that is under way comes first.
    Wait,
    /// Nothing any more.
    Done,
}

/// To be compared.
const ASK: i64 = 0;
/// Given back, and to be compared once more.
const GIVEN: i64 = 1;
/// To be taken as the server has it.
const TAKE: i64 = 2;
/// Asked for so.
const ASKED: i64 = 3;

/// The server lost its log beyond `last`: every document of which something may have been accepted since is
/// compared.
pub(crate) fn begin(session: &Session<'_>, last: u64) -> Result<(), StoreError> {
    let sql = "INSERT INTO _relay (document, stage)
               SELECT id, 0 FROM document WHERE seen > ?1 AND gone = 0
               ON CONFLICT (document) DO UPDATE SET stage = 0";
    session.tx.prepare_cached(sql)?.execute([last.cast_signed()])?;
    Ok(())
}

/// The server that lost its newest data may have forgotten that it once granted what it does not grant now, and
/// then does not say what leaves. So every document is compared: what this device may not see is none that
/// the server has for it.
pub(crate) fn compare_lost(session: &Session<'_>) -> Result<(), StoreError> {
    if !scope::is_any_lost(&session.tx)? {
        return Ok(());
    }
    let sql = "INSERT INTO _relay (document, stage) SELECT id, 1 FROM document WHERE gone = 0
               ON CONFLICT (document) DO NOTHING";
    session.tx.prepare_cached(sql)?.execute([])?;
    meta::put(&session.tx, FORGOTTEN, &1)
}

/// A session begins: what the server does for this. One that knows nothing of restores compares nothing.
pub(crate) fn welcome(session: &Session<'_>, recovery: Recovery) -> Result<(), StoreError> {
    meta::put(&session.tx, OPEN, &i64::from(recovery == Recovery::Open))?;
    let sql = match recovery {
        Recovery::Unknown => "DELETE FROM _relay",
        Recovery::Closed => "UPDATE _relay SET stage = min(stage, 2) + (stage = 0)",
        Recovery::Open => "UPDATE _relay SET stage = min(stage, 2)",
    };
    session.tx.execute(sql, [])?;
    if recovery == Recovery::Unknown && meta::number(&session.tx, FORGOTTEN)?.is_some() {
        meta::put(&session.tx, FORGOTTEN, &None::<i64>)?;
    }
    Ok(())
}

/// Whether anything is still to be compared or taken, or to be ended.
pub(crate) fn is_any(connection: &Connection) -> Result<bool, StoreError> {
    Ok(is_comparing(connection)? || meta::number(connection, FORGOTTEN)?.is_some())
}

fn is_comparing(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM _relay)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// What to ask next, while these batches are under way.
pub(crate) fn next(
    session: &mut Session<'_>,
    in_flight: &BTreeSet<BatchId>,
) -> Result<RelayStep, StoreError> {
    loop {
        let asked = compare(session, &staged(&session.tx, ASK)?)?;
        if let Some(step) = asked {
            return Ok(step);
        }
        let given = compare(session, &answered(&session.tx)?)?;
        if let Some(step) = given {
            return Ok(step);
        }
        let due = at_rest(session, in_flight)?;
        let numbers = take(session, &due)?;
        if !numbers.is_empty() {
            return Ok(RelayStep::Fetch(numbers));
        }
        if due.is_empty() {
            if is_comparing(&session.tx)? {
                return Ok(RelayStep::Wait);
            }
            drop_forgotten(session)?;
            return Ok(RelayStep::Done);
        }
    }
}

/// Everything was compared: of the scopes that were lost nothing is here any more.
fn drop_forgotten(session: &mut Session<'_>) -> Result<(), StoreError> {
    if meta::number(&session.tx, FORGOTTEN)?.is_none() {
        return Ok(());
    }
    meta::put(&session.tx, FORGOTTEN, &None::<i64>)?;
    scope::drop_lost(&session.tx)?;
    session.changes.table("scope");
    incoming::purge::mark_scope(&session.tx)
}

/// The server's answer to a comparison: what is to be given back.
pub(crate) fn lacking(
    session: &Session<'_>,
    compare: &Compare,
    lacking: &Lacking,
) -> Result<Vec<Relay>, StoreError> {
    let open = meta::number(&session.tx, OPEN)? == Some(1);
    let mut gathering = gather::Gathering::default();
    for (compared, lack) in compare.documents.iter().zip(&lacking.documents) {
        let Some((document, stage)) = find(&session.tx, &compared.identity.id)? else { continue };
        if lack.number != 0 {
            let sql =
                "UPDATE OR IGNORE document SET number = ?2 WHERE id = ?1 AND number IS NOT ?2";
            let values = (document, lack.number.cast_signed());
            session.tx.prepare_cached(sql)?.execute(values)?;
        }
        match stage {
            _ if lack.is_none() => forget(&session.tx, Some(document))?,
            ASK if open && gathering.add(session, document, compared, lack)? => {}
            ASK => put(&session.tx, document, GIVEN)?,
            GIVEN => {
                if lack.number == 0 {
                    // Whatever number it had, the server has no such document for this device.
                    let sql = "UPDATE document SET number = NULL WHERE id = ?1";
                    session.tx.prepare_cached(sql)?.execute([document])?;
                }
                put(&session.tx, document, TAKE)?;
            }
            _ => {}
        }
    }
    Ok(gathering.finish(&session.state.authors))
}

/// What was gathered for these documents was given back, and the server has answered it.
pub(crate) fn given(session: &Session<'_>, compare: &Compare) -> Result<(), StoreError> {
    for compared in &compare.documents {
        if let Some((document, ASK)) = find(&session.tx, &compared.identity.id)? {
            put(&session.tx, document, GIVEN)?;
        }
    }
    Ok(())
}

/// Whether the server's document is to take the place of this one.
pub(crate) fn is_due(connection: &Connection, row: Option<i64>) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM _relay WHERE document = ?1 AND stage = 3)";
    Ok(connection.prepare_cached(sql)?.query_row([row], |row| row.get(0))?)
}

/// The document is as the server has it, or is gone.
pub(crate) fn forget(connection: &Connection, row: Option<i64>) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM _relay WHERE document = ?1")?.execute([row])?;
    Ok(())
}

/// The server's document cannot be applied here: that is another fault, and is reported as such.
pub(crate) fn give_up(connection: &Connection, number: u64) -> Result<(), StoreError> {
    let sql = "DELETE FROM _relay
               WHERE stage = 3 AND document IN (SELECT id FROM document WHERE number = ?1)";
    connection.prepare_cached(sql)?.execute([number.cast_signed()])?;
    Ok(())
}

/// Whether a batch changes a document of which it is not settled yet what the server has.
pub(crate) fn concerns(connection: &Connection, batch: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM change c JOIN _relay r ON r.document = c.document
                              WHERE c.batch = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([batch], |row| row.get(0))?)
}

/// Batches that are not sent at present: what they build on is given back first, or their document is about
/// to be replaced. What builds on them waits with them.
pub(crate) fn held_back(connection: &Connection) -> Result<BTreeSet<i64>, StoreError> {
    let sql = "SELECT DISTINCT o.number FROM _relay r
               JOIN change c ON c.document = r.document
               JOIN outbox o ON o.number = c.batch
               WHERE r.stage != 1 AND o.state = 0";
    let mut waiting = numbers(connection, sql, [])?;
    let mut held = BTreeSet::new();
    while let Some(number) = waiting.pop() {
        if !held.insert(number) {
            continue;
        }
        let sql = "SELECT DISTINCT o.number FROM change mine
                   JOIN change later ON later.document = mine.document AND later.batch > mine.batch
                   JOIN outbox o ON o.number = later.batch
                   WHERE mine.batch = ?1 AND o.state = 0";
        waiting.extend(numbers(connection, sql, [number])?);
    }
    Ok(held)
}

/// The replica takes another name: what was accepted under the old one is given back as other people's is,
/// since nothing is taken from this replica under it any more.
pub(crate) fn disown(session: &Session<'_>) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET state = 1, position = 0, hold = 0
               WHERE state = 0
                 AND EXISTS (SELECT 1 FROM change c WHERE c.batch = outbox.number)
                 AND NOT EXISTS
                     (SELECT 1 FROM change c WHERE c.batch = outbox.number AND c.state = 0)";
    let given = session.tx.prepare_cached(sql)?.execute([])?;
    let given = i64::try_from(given).unwrap_or(i64::MAX);
    accounting::add(&session.tx, accounting::Count::Accepted, given)?;
    // Nor is what was accepted before a restore of which this device has not heard yet.
    session.tx.execute("UPDATE outbox SET position = 0 WHERE state = 1", [])?;
    // Of a batch part of which was accepted only the rest is still to be sent: under the new name.
    let sql = "DELETE FROM change
               WHERE state = 2 AND batch IN (SELECT number FROM outbox WHERE state = 0)";
    session.tx.prepare_cached(sql)?.execute([])?;
    let sql = "UPDATE change SET batch = NULL
               WHERE state = 1 AND batch IN (SELECT number FROM outbox WHERE state = 0)";
    session.tx.prepare_cached(sql)?.execute([])?;
    session.tx.execute("UPDATE _relay SET stage = 0", [])?;
    Ok(())
}

/// Asks for how far these documents have come; nothing when none of them holds anything that was accepted.
fn compare(session: &Session<'_>, rows: &[i64]) -> Result<Option<RelayStep>, StoreError> {
    let mut documents: Vec<Compared> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let sql = "SELECT record, section, entity, cells, base FROM document WHERE id = ?1";
        let mut statement = session.tx.prepare_cached(sql)?;
        let found = statement.query_row([row], |row| {
            let (record, section): (Vec<u8>, String) = (row.get(0)?, row.get(1)?);
            let (cells, base): (Vec<u8>, Option<Vec<u8>>) = (row.get(3)?, row.get(4)?);
            Ok((record, section, row.get::<_, String>(2)?, base.unwrap_or(cells)))
        });
        let (record, section, entity, accepted) = found?;
        let accepted = Cells::from_stored(&accepted)?;
        if accepted.is_empty() {
            forget(&session.tx, Some(*row))?;
            continue;
        }
        let id = DocumentId { record: record_of(&record)?, section: section_of(&section)? };
        let identity = Identity { id, entity };
        let compared = Compared { identity, reach: Reach::of(&accepted) };
        bytes += compared.byte_len();
        if bytes > limits::COMPARE_BYTES && !documents.is_empty() {
            break;
        }
        documents.push(compared);
    }
    Ok((!documents.is_empty()).then_some(RelayStep::Compare(Compare { documents })))
}

/// Takes documents as the server has them: the numbers to ask for. What it does not have is removed.
fn take(session: &mut Session<'_>, rows: &[i64]) -> Result<Vec<u64>, StoreError> {
    let mut asked = Vec::new();
    for row in rows {
        let sql = "SELECT record, section, number FROM document WHERE id = ?1";
        let found = session.tx.prepare_cached(sql)?.query_row([row], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<i64>>(2)?))
        });
        let (record, section, number) = found?;
        match number {
            Some(number) => {
                put(&session.tx, *row, ASKED)?;
                asked.push(number.cast_unsigned());
            }
            None => {
                let id = DocumentId { record: record_of(&record)?, section: section_of(&section)? };
                incoming::leave(session, &id)?;
                forget(&session.tx, Some(*row))?;
            }
        }
    }
    Ok(asked)
}

fn staged(connection: &Connection, stage: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT document FROM _relay WHERE stage = ?1 ORDER BY document LIMIT ?2";
    numbers(connection, sql, [stage, LIMIT])
}

/// Documents that were given back, once the device's own batches from beyond the point are answered, but those
/// that wait for how this ends.
fn answered(connection: &Connection) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT document FROM _relay WHERE stage = 1
               AND NOT EXISTS (SELECT 1 FROM change c JOIN outbox o ON o.number = c.batch
                               WHERE c.document = _relay.document AND c.state != 0
                                 AND o.state = 0 AND o.hold = 0)
               ORDER BY document LIMIT ?1";
    numbers(connection, sql, [LIMIT])
}

/// Documents that are to be taken and of which nothing is under way.
fn at_rest(session: &Session<'_>, in_flight: &BTreeSet<BatchId>) -> Result<Vec<i64>, StoreError> {
    let mut moving = BTreeSet::new();
    for batch in in_flight {
        if let Some((row, _)) = outbox::find(&session.tx, batch)? {
            let sql = "SELECT DISTINCT document FROM change WHERE batch = ?1";
            moving.extend(numbers(&session.tx, sql, [row.number])?);
        }
    }
    let mut due = staged(&session.tx, TAKE)?;
    due.retain(|row| !moving.contains(row));
    Ok(due)
}

fn find(connection: &Connection, id: &DocumentId) -> Result<Option<(i64, i64)>, StoreError> {
    let sql = "SELECT r.document, r.stage FROM _relay r JOIN document d ON d.id = r.document
               WHERE d.record = ?1 AND d.section = ?2";
    let values = (id.record.as_bytes(), id.section.as_str());
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn put(connection: &Connection, document: i64, stage: i64) -> Result<(), StoreError> {
    let sql = "UPDATE _relay SET stage = ?2 WHERE document = ?1";
    connection.prepare_cached(sql)?.execute([document, stage])?;
    Ok(())
}

fn numbers(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<i64>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params, |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Whether the scopes that were lost are dropped when everything was compared.
const FORGOTTEN: &str = "relay_forgotten";
/// Whether the server takes other people's changes.
const OPEN: &str = "relay_open";
/// Documents of one step.
const LIMIT: i64 = limits::COMPARED_MAX as i64;
