//! The counters behind the accounting, and where a single batch is. Batches that were ever written are
//! counted by the outbox's own numbers, which never come twice.

use crdt_core::id::BatchId;
use crdt_core::planted::{Bug, planted};
use crdt_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{dispute, fixed, outbox};
use crate::accounting::{Accounting, Whereabouts};
use crate::error::StoreError;

/// What is counted, since its rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Accepted,
    Erased,
    Discarded,
    Resent,
    Amended,
}

impl Count {
    const fn key(self) -> &'static str {
        match self {
            Self::Accepted => "count.accepted",
            Self::Erased => "count.erased",
            Self::Discarded => "count.discarded",
            Self::Resent => "count.resent",
            Self::Amended => "count.amended",
        }
    }
}

/// Adds to a counter; `by` may be negative.
pub(crate) fn add(connection: &Connection, count: Count, by: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
               ON CONFLICT (key) DO UPDATE SET value = value + excluded.value";
    connection.prepare_cached(sql)?.execute((count.key(), by))?;
    Ok(())
}

fn read(connection: &Connection, count: Count) -> Result<u64, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let value: Option<i64> = statement.query_row([count.key()], |row| row.get(0)).optional()?;
    Ok(value.unwrap_or(0).cast_unsigned())
}

/// The accounting of the file, in one snapshot.
pub(crate) fn of(connection: &Connection) -> Result<Accounting, StoreError> {
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0),
                      (SELECT count(*) FROM outbox WHERE state = 0)";
    let (written, pending): (i64, i64) =
        connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let open = dispute::count(connection)?;
    let discarded = read(connection, Count::Discarded)?;
    let resent = read(connection, Count::Resent)?;
    let amended = read(connection, Count::Amended)?;
    Ok(Accounting {
        submitted: written.cast_unsigned() - read(connection, Count::Erased)?,
        accepted: read(connection, Count::Accepted)?,
        disputed: open + discarded + resent + amended,
        pending: pending.cast_unsigned(),
        open,
        discarded,
        resent,
        amended,
    })
}

/// Where a batch is; nothing when this file never wrote it, has forgotten that it was accepted, or an erasure
/// left nothing of it.
pub(crate) fn whereabouts(
    connection: &Connection,
    batch: &BatchId,
) -> Result<Option<Whereabouts>, StoreError> {
    if let Some((_, accepted)) = outbox::find(connection, batch)? {
        return Ok(Some(if accepted { Whereabouts::Accepted } else { Whereabouts::Pending }));
    }
    if let Some(dispute) = dispute::find(connection, batch)? {
        return Ok(Some(Whereabouts::Disputed(dispute.id)));
    }
    let sql = "SELECT how, successor FROM resolution WHERE batch = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found: Option<(String, Option<Vec<u8>>)> =
        statement.query_row([&batch.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((how, successor)) = found else { return Ok(None) };
    let successor = successor.map(|bytes| fixed(&bytes, "batch id").map(BatchId)).transpose()?;
    Ok(match how.as_str() {
        DISCARDED => Some(Whereabouts::Discarded),
        ERASED => None,
        _ => Some(Whereabouts::TriedAnew(successor)),
    })
}

/// How a user decided a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Discarded,
    /// The batch that tries it anew; nothing when the records say it all by now.
    Resent(Option<BatchId>),
    Amended(Option<BatchId>),
}

const DISCARDED: &str = "discarded";
const ERASED: &str = "erased";

/// Notes that an erasure left nothing of a batch: its name stays for a while, so that a late answer for it is
/// not taken for a sign that the file was put back.
pub(crate) fn note_erased(
    connection: &Connection,
    batch: &BatchId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO resolution (batch, how, successor, resolved_at) VALUES (?1, ?2, NULL, ?3)
               ON CONFLICT (batch) DO UPDATE SET how = excluded.how, successor = NULL";
    connection.prepare_cached(sql)?.execute((&batch.0, ERASED, now.as_millis()))?;
    Ok(())
}

/// Whether an erasure left nothing of a batch.
pub(crate) fn is_erased(connection: &Connection, batch: &BatchId) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM resolution WHERE batch = ?1 AND how = ?2)";
    Ok(connection.prepare_cached(sql)?.query_row((&batch.0, ERASED), |row| row.get(0))?)
}

/// Notes where the edit of a dispute went.
pub(crate) fn resolve(
    connection: &Connection,
    batch: &BatchId,
    decision: Decision,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (count, how, successor) = match decision {
        Decision::Discarded => (Count::Discarded, DISCARDED, None),
        Decision::Resent(successor) => (Count::Resent, "resent", successor),
        Decision::Amended(successor) => (Count::Amended, "amended", successor),
    };
    if count != Count::Discarded || !planted(Bug::DiscardUncounted) {
        add(connection, count, 1)?;
    }
    let sql = "INSERT INTO resolution (batch, how, successor, resolved_at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (batch) DO UPDATE
               SET how = excluded.how, successor = excluded.successor";
    let successor = successor.map(|batch| batch.0);
    connection.prepare_cached(sql)?.execute((&batch.0, how, successor, now.as_millis()))?;
    Ok(())
}
