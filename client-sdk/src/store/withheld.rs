//! Batches that are not sent at present: refused ones, those accepted in another form, and everything that
//! builds on one of them. The mark is durable; who builds on whom follows from the changes.

use std::collections::BTreeSet;

use crdt_core::id::RecordId;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::outbox;
use crate::dispute::DisputeReason;
use crate::error::StoreError;

/// Why a batch is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The server refused it.
    Refused,
    /// The server refused it for what it builds on.
    Stranded,
    /// The server has it in another form.
    Copy,
}

/// Why the server refused a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) policy_version: Option<u64>,
    pub(crate) reasons: Vec<DisputeReason>,
}

impl Hold {
    const fn to_sql(self) -> i64 {
        match self {
            Self::Refused => 1,
            Self::Stranded => 2,
            Self::Copy => 3,
        }
    }

    const fn from_sql(hold: i64) -> Option<Self> {
        match hold {
            1 => Some(Self::Refused),
            2 => Some(Self::Stranded),
            3 => Some(Self::Copy),
            _ => None,
        }
    }
}

/// Holds a batch that was refused.
pub(crate) fn refuse(
    connection: &Connection,
    number: i64,
    verdict: &Verdict,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(verdict).map_err(|_| StoreError::Malformed("refusal"))?;
    let sql = "UPDATE outbox SET hold = ?2, refusal = ?3 WHERE number = ?1";
    connection.prepare_cached(sql)?.execute((number, Hold::Refused.to_sql(), text))?;
    Ok(())
}

/// Holds a batch that was refused for what it builds on.
pub(crate) fn strand(connection: &Connection, number: i64) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET hold = ?2, strandings = strandings + 1 WHERE number = ?1";
    connection.prepare_cached(sql)?.execute((number, Hold::Stranded.to_sql()))?;
    Ok(())
}

/// Holds a batch that was refused for what it builds on, as long as that may still come.
pub(crate) fn wait(connection: &Connection, number: i64) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET hold = ?2 WHERE number = ?1";
    connection.prepare_cached(sql)?.execute((number, Hold::Stranded.to_sql()))?;
    Ok(())
}

/// Lets batches go out again that were refused for what they build on, of those that change this document.
pub(crate) fn release_stranded(connection: &Connection, document: i64) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET hold = 0, strandings = 0
               WHERE hold = ?2 AND state = 0
                 AND number IN (SELECT batch FROM change WHERE document = ?1)";
    connection.prepare_cached(sql)?.execute((document, Hold::Stranded.to_sql()))?;
    Ok(())
}

/// Holds a batch that was accepted in another form.
pub(crate) fn hold_copy(
    connection: &Connection,
    number: i64,
    position: u64,
) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET hold = ?2, position = ?3 WHERE number = ?1";
    let values = (number, Hold::Copy.to_sql(), position.cast_signed());
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Lets a batch go out (again).
pub(crate) fn release(connection: &Connection, number: i64) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET hold = 0 WHERE number = ?1";
    connection.prepare_cached(sql)?.execute([number])?;
    Ok(())
}

/// The held batches in order.
pub(crate) fn held(connection: &Connection) -> Result<Vec<(i64, Hold)>, StoreError> {
    let sql = "SELECT number, hold FROM outbox WHERE hold != 0 AND state = 0 ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut held = Vec::new();
    for row in rows {
        let (number, hold) = row?;
        held.extend(Hold::from_sql(hold).map(|hold| (number, hold)));
    }
    Ok(held)
}

/// Why the server refused a held batch.
pub(crate) fn verdict(connection: &Connection, number: i64) -> Result<Verdict, StoreError> {
    let sql = "SELECT refusal FROM outbox WHERE number = ?1";
    let text: Option<String> =
        connection.prepare_cached(sql)?.query_row([number], |row| row.get(0))?;
    let malformed = || StoreError::Malformed("refusal");
    serde_json::from_str(&text.ok_or_else(malformed)?).map_err(|_| malformed())
}

/// Forgets what refusals say of a record, as after its erasure; whether one said something.
pub(crate) fn forget(connection: &Connection, record: RecordId) -> Result<bool, StoreError> {
    let mut said = false;
    for (number, hold) in held(connection)? {
        if hold != Hold::Refused {
            continue;
        }
        let mut verdict = verdict(connection, number)?;
        if DisputeReason::forget(&mut verdict.reasons, record) {
            refuse(connection, number, &verdict)?;
            said = true;
        }
    }
    Ok(said)
}

/// Where the server has a copy.
pub(crate) fn position(connection: &Connection, number: i64) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce(position, 0) FROM outbox WHERE number = ?1";
    let position: i64 = connection.prepare_cached(sql)?.query_row([number], |row| row.get(0))?;
    Ok(position.cast_unsigned())
}

/// How often a batch was refused for what it builds on.
pub(crate) fn strandings(connection: &Connection, number: i64) -> Result<i64, StoreError> {
    let sql = "SELECT strandings FROM outbox WHERE number = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([number], |row| row.get(0))?)
}

/// Every batch that is not to be sent: the held ones and what builds on them.
pub(crate) fn all(connection: &Connection) -> Result<BTreeSet<i64>, StoreError> {
    let mut all = BTreeSet::new();
    for (number, _) in held(connection)? {
        if !all.contains(&number) {
            all.extend(with_dependents(connection, number)?);
        }
    }
    Ok(all)
}

/// The batch, and every later unanswered one that shares a document with it or with another of them. What
/// is written to any section of a record that the server does not know yet shares the record's creation.
pub(crate) fn with_dependents(
    connection: &Connection,
    first: i64,
) -> Result<BTreeSet<i64>, StoreError> {
    let mut batches = BTreeSet::from([first]);
    let mut waiting = vec![first];
    while let Some(number) = waiting.pop() {
        for document in documents(connection, number)? {
            for later in outbox::later_on(connection, number, document)? {
                if batches.insert(later) {
                    waiting.push(later);
                }
            }
        }
    }
    Ok(batches)
}

/// Whether an earlier unanswered batch shares a document with this one, or makes a record of it.
pub(crate) fn has_earlier(connection: &Connection, number: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (
                   SELECT 1 FROM change mine
                   JOIN document own ON own.id = mine.document
                   JOIN document other ON other.record = own.record
                   JOIN change earlier ON earlier.document = other.id
                   WHERE mine.batch = ?1 AND mine.state = 0
                     AND earlier.batch < ?1 AND earlier.state = 0
                     AND (other.id = own.id
                          OR (other.section = 'main' AND other.number IS NULL)))";
    Ok(connection.prepare_cached(sql)?.query_row([number], |row| row.get(0))?)
}

/// The documents on which a batch has unanswered changes, and every section of the records among them
/// that have no number yet.
fn documents(connection: &Connection, batch: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT document FROM change WHERE batch = ?1 AND state = 0
               UNION
               SELECT other.id FROM change c
               JOIN document main ON main.id = c.document
               JOIN document other ON other.record = main.record
               WHERE c.batch = ?1 AND c.state = 0
                 AND main.section = 'main' AND main.number IS NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map([batch], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}
