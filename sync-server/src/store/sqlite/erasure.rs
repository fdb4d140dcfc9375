//! The statements of erasures, and writing the file anew so that it holds no traces.

use std::time::Duration;

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::protocol::{Outcome, Receipt};
use crdt_core::time::Timestamp;
use rusqlite::{Connection, Row, params};

use super::super::StoreError;
use super::super::erasure::{Confirmation, ErasureRow, ReadErasures, Removed, WriteErasures};
use super::fault;
use super::rows::{self, signed, unsigned};
use super::tx::Tx;

const ERASURE: &str =
    "record, position, at, member, with_record, entity, documents, changes, bytes,
                       receipts, scrubbed_at";

fn erasure(row: &Row<'_>) -> Result<ErasureRow, StoreError> {
    let scrubbed_at: Option<i64> = row.get(10).map_err(fault)?;
    Ok(ErasureRow {
        record: rows::id(row, 0)?,
        position: unsigned(row, 1)?,
        at: Timestamp::from_millis(row.get(2).map_err(fault)?),
        by: rows::optional_id(row, 3)?,
        of: rows::optional_id(row, 4)?,
        removed: Removed {
            entity: row.get(5).map_err(fault)?,
            documents: unsigned(row, 6)?,
            changes: unsigned(row, 7)?,
            bytes: unsigned(row, 8)?,
            receipts: unsigned(row, 9)?,
        },
        scrubbed_at: scrubbed_at.map(Timestamp::from_millis),
    })
}

impl ReadErasures for Tx<'_> {
    fn erasure(&self, record: &RecordId) -> Result<Option<ErasureRow>, StoreError> {
        let sql = format!("SELECT {ERASURE} FROM erased WHERE record = ?1");
        self.one(&sql, [record.as_bytes()], erasure)
    }

    fn erased_with(&self, record: &RecordId) -> Result<Vec<ErasureRow>, StoreError> {
        let sql = format!("SELECT {ERASURE} FROM erased WHERE with_record = ?1 ORDER BY position");
        self.all(&sql, [record.as_bytes()], erasure)
    }

    fn erased_after(
        &self,
        position: u64,
        limit: usize,
    ) -> Result<Vec<(u64, RecordId)>, StoreError> {
        let sql =
            "SELECT position, record FROM erased WHERE position > ?1 ORDER BY position LIMIT ?2";
        // A cursor from a peer may exceed what SQLite can hold: nothing lies beyond it.
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        self.all(sql, [position, signed(limit as u64)?], |row| {
            Ok((unsigned(row, 0)?, rows::id(row, 1)?))
        })
    }

    fn erased_documents(&self) -> Result<Vec<(u64, RecordId)>, StoreError> {
        self.all("SELECT number, record FROM erased_document ORDER BY number", [], |row| {
            Ok((unsigned(row, 0)?, rows::id(row, 1)?))
        })
    }

    fn unscrubbed(&self) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT position FROM erased WHERE scrubbed_at IS NULL
                   ORDER BY position DESC LIMIT 1";
        self.one(sql, [], |row| unsigned(row, 0))
    }

    fn erasures_confirmed(&self) -> Result<Vec<Confirmation>, StoreError> {
        self.all("SELECT replica, up_to, at FROM erasure_confirmed ORDER BY replica", [], |row| {
            Ok(Confirmation {
                replica: rows::id(row, 0)?,
                up_to: unsigned(row, 1)?,
                at: Timestamp::from_millis(row.get(2).map_err(fault)?),
            })
        })
    }
}

impl WriteErasures for Tx<'_> {
    fn remove_record(&mut self, record: &RecordId) -> Result<Removed, StoreError> {
        let mut removed = self.weighed(record)?;
        let id = [record.as_bytes()];
        for sql in [
            "INSERT INTO erased_document (number, record)
             SELECT number, record FROM document WHERE record = ?1",
            "DELETE FROM change WHERE document IN (SELECT number FROM document WHERE record = ?1)",
            "DELETE FROM snapshot
             WHERE document IN (SELECT number FROM document WHERE record = ?1)",
            "DELETE FROM scope_document
             WHERE document IN (SELECT number FROM document WHERE record = ?1)",
            "DELETE FROM scope_left
             WHERE document IN (SELECT number FROM document WHERE record = ?1)",
            "DELETE FROM document WHERE record = ?1",
            "DELETE FROM route WHERE record = ?1",
            "DELETE FROM refused WHERE record = ?1",
            "DELETE FROM parked WHERE record = ?1",
            "DELETE FROM withdrawn WHERE record = ?1",
        ] {
            self.run(sql, id)?;
        }
        removed.receipts = self.clean_receipts(record)?;
        Ok(removed)
    }

    fn put_erasure(&mut self, row: &ErasureRow) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO erased ({ERASURE}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        );
        let removed = &row.removed;
        self.run(
            &sql,
            params![
                row.record.as_bytes(),
                signed(row.position)?,
                row.at.as_millis(),
                row.by.as_ref().map(|id| id.as_bytes()),
                row.of.as_ref().map(|id| id.as_bytes()),
                removed.entity,
                signed(removed.documents)?,
                signed(removed.changes)?,
                signed(removed.bytes)?,
                signed(removed.receipts)?,
                row.scrubbed_at.map(Timestamp::as_millis)
            ],
        )
        .map(drop)
    }

    fn note_scrubbed(&mut self, up_to: u64, at: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE erased SET scrubbed_at = ?2 WHERE scrubbed_at IS NULL AND position <= ?1";
        self.run(sql, [signed(up_to)?, at.as_millis()]).map(drop)
    }

    fn confirm_erasures(&mut self, confirmation: &Confirmation) -> Result<(), StoreError> {
        let sql = "INSERT INTO erasure_confirmed (replica, up_to, at) VALUES (?1, ?2, ?3)
                   ON CONFLICT (replica) DO UPDATE SET up_to = excluded.up_to, at = excluded.at
                   WHERE excluded.up_to > up_to";
        let (up_to, at) = (signed(confirmation.up_to)?, confirmation.at.as_millis());
        self.run(sql, params![confirmation.replica.as_bytes(), up_to, at]).map(drop)
    }
}

impl Tx<'_> {
    fn weighed(&self, record: &RecordId) -> Result<Removed, StoreError> {
        let sql = "SELECT min(entity), count(*),
                          coalesce(sum(length(cells) + coalesce(length(bytes), 0)), 0)
                   FROM document LEFT JOIN snapshot ON snapshot.document = number
                   WHERE record = ?1";
        let found = self.one(sql, [record.as_bytes()], |row| {
            Ok(Removed {
                entity: row.get(0).map_err(fault)?,
                documents: unsigned(row, 1)?,
                bytes: unsigned(row, 2)?,
                ..Removed::default()
            })
        })?;
        let mut removed = found.unwrap_or_default();
        let sql = "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM change
                   WHERE document IN (SELECT number FROM document WHERE record = ?1)";
        let changes = self
            .one(sql, [record.as_bytes()], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?
            .unwrap_or_default();
        removed.changes = changes.0;
        removed.bytes += changes.1;
        Ok(removed)
    }

    /// Takes out of receipts what they say of a record; how many there were.
    fn clean_receipts(&self, record: &RecordId) -> Result<u64, StoreError> {
        let sql = "SELECT replica, number, receipt FROM receipt";
        let receipts = self.all(sql, [], |row| {
            let blob = |column| row.get::<_, Vec<u8>>(column).map_err(fault);
            Ok((blob(0)?, unsigned(row, 1)?, blob(2)?))
        })?;
        let mut cleaned = 0;
        for (replica, number, bytes) in receipts {
            let mut receipt = Receipt::from_stored(&bytes)
                .map_err(|error| StoreError::Damaged(error.to_string()))?;
            if !clean(&mut receipt.outcome, record) {
                continue;
            }
            let sql = "UPDATE receipt SET receipt = ?3 WHERE replica = ?1 AND number = ?2";
            self.run(sql, params![replica, signed(number)?, receipt.to_stored()])?;
            cleaned += 1;
        }
        Ok(cleaned)
    }
}

/// Takes out what an answer says of a record; whether it said anything. That a batch was refused stays, and
/// for which kind of reason.
fn clean(outcome: &mut Outcome, record: &RecordId) -> bool {
    let is_of = |id: &DocumentId| id.record == *record;
    match outcome {
        Outcome::Accepted { documents, .. } | Outcome::Already { documents, .. } => {
            let before = documents.len();
            documents.retain(|document| !is_of(&document.id));
            documents.len() < before
        }
        Outcome::Refused { reasons } => {
            let mut said = false;
            for reason in reasons.iter_mut().filter(|r| r.document.as_ref().is_some_and(is_of)) {
                (reason.document, reason.field) = (None, None);
                reason.text = "it was about a record that was erased since".to_owned();
                said = true;
            }
            said
        }
    }
}

/// Writes the file anew. Deleted rows leave traces in free pages, and a page that was split or merged may
/// hold stale copies between its cells: only a file that is written anew has none.
pub(super) fn write_anew(connection: &Connection) -> Result<(), StoreError> {
    // What is gathered for it would fill the memory otherwise.
    connection.pragma_update(None, "temp_store", "file").map_err(fault)?;
    let written = connection.execute_batch("VACUUM");
    connection.pragma_update(None, "temp_store", "memory").map_err(fault)?;
    written.map_err(fault)
}

/// Writes the log's pages into the file and empties the log; gives whether that could be done.
pub(super) fn empty_log(connection: &Connection) -> Result<bool, StoreError> {
    connection.busy_timeout(READERS_PATIENCE).map_err(fault)?;
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy = connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    connection.busy_timeout(super::WRITERS_PATIENCE).map_err(fault)?;
    Ok(busy.map_err(fault)? == 0)
}

/// How long pages that are being built are waited for.
const READERS_PATIENCE: Duration = Duration::from_millis(500);
