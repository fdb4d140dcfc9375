//! What has left the device leaves its file: after rows are deleted, their words go out of the full-text
//! tables, the file is written anew, and the write-ahead log is emptied. A note in the file says what of
//! this is due, until it is done.
//!
//! Deleted rows are overwritten at once (`secure_delete`), but a page of a table that was split or merged may
//! hold a stale copy of a row that has moved, in the space between its cells: only a file that is written
//! anew has none.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::store::{Session, Store, lock, meta, open};

/// The note.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Due {
    /// The entities whose words are to be merged.
    pub(crate) entities: BTreeSet<String>,
    /// Whether a scope was lost: the file is then written anew whatever its size.
    pub(crate) scope_lost: bool,
    /// Whether a record was erased: likewise.
    #[serde(default)]
    pub(crate) erased: bool,
    /// Whether the log is to be emptied.
    pub(crate) log: bool,
    /// Counts removals, so that one which comes during the work is not taken for done.
    removals: u64,
}

/// Notes that records of these entities were removed.
pub(crate) fn mark(connection: &Connection, entities: &BTreeSet<String>) -> Result<(), StoreError> {
    note(connection, |due| due.entities.extend(entities.iter().cloned()))
}

/// Notes that the last records of a lost scope were removed.
pub(crate) fn mark_scope(connection: &Connection) -> Result<(), StoreError> {
    note(connection, |due| due.scope_lost = true)
}

/// Notes that records of these entities were erased.
pub(crate) fn mark_erased(
    connection: &Connection,
    entities: &BTreeSet<String>,
) -> Result<(), StoreError> {
    note(connection, |due| {
        due.entities.extend(entities.iter().cloned());
        due.erased = true;
    })
}

fn note(connection: &Connection, what: impl FnOnce(&mut Due)) -> Result<(), StoreError> {
    let mut due = read(connection)?.unwrap_or_default();
    what(&mut due);
    due.log = true;
    due.removals += 1;
    store(connection, Some(&due))
}

fn store(connection: &Connection, due: Option<&Due>) -> Result<(), StoreError> {
    let text = due.map(serde_json::to_string).transpose();
    meta::put(connection, KEY, &text.map_err(|_| StoreError::Malformed("purge"))?)
}

/// What is due; nothing when nothing is.
pub(crate) fn read(connection: &Connection) -> Result<Option<Due>, StoreError> {
    let text = meta::text(connection, KEY)?;
    let due = text.map(|text| serde_json::from_str(&text)).transpose();
    due.map_err(|_| StoreError::Malformed("purge"))
}

/// How far the work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// All of it.
    Everything,
    /// All but writing the file anew.
    AllButFile,
}

/// Notes that what was due is done, unless more has come due since.
pub(crate) fn done(connection: &Connection, was: &Due, done: Done) -> Result<(), StoreError> {
    match read(connection)? {
        Some(now) if now == *was && done == Done::Everything => store(connection, None),
        Some(now) if now == *was => {
            store(connection, Some(&Due { removals: now.removals, ..Due::default() }))
        }
        _ => Ok(()),
    }
}

/// The size of the file, bytes.
pub(crate) fn file_bytes(connection: &Connection) -> Result<i64, StoreError> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    Ok(pages.saturating_mul(size))
}

/// Accepted batches are kept for a server that is restored; one without changes has nothing to send again.
pub(crate) fn forget_empty_batches(connection: &Connection) -> Result<(), StoreError> {
    let sql = "DELETE FROM outbox WHERE state = 1
               AND NOT EXISTS (SELECT 1 FROM change WHERE change.batch = outbox.number)";
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Runs `work`, which answers batches; notes when documents that had left were removed by it.
pub(crate) fn watch<T>(
    session: &mut Session<'_>,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let before = gone(&session.tx)?;
    let value = work(session)?;
    if before > 0 && gone(&session.tx)? < before {
        mark(&session.tx, &BTreeSet::new())?;
    }
    Ok(value)
}

/// Documents that left with unanswered changes.
fn gone(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM document WHERE gone = 1";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

impl Store {
    /// Writes the file anew. Nobody else writes meanwhile.
    pub(crate) fn write_anew(&self) -> Result<(), StoreError> {
        self.work_on_file(|connection| {
            // What is gathered for it must not fill the memory of a phone.
            let large = file_bytes(connection)? > SMALL_BYTES_MAX;
            connection.pragma_update(None, "temp_store", if large { "FILE" } else { "MEMORY" })?;
            connection.execute_batch("VACUUM")?;
            Ok(connection.pragma_update(None, "temp_store", "MEMORY")?)
        })
        .map(drop)
    }

    /// Folds a long log back, in a moment in which no edit waits for it.
    pub(crate) fn fold_log(&self) -> Result<(), StoreError> {
        self.work_on_file(|connection| open::fold_log(connection, open::LOG_PAGES)).map(drop)
    }

    /// Writes the log's pages to the database and empties the log; gives whether that could be done, as it
    /// cannot while somebody reads.
    pub(crate) fn empty_log(&self) -> Result<bool, StoreError> {
        let emptied = self.work_on_file(|connection| {
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            // Writers wait behind this: who reads for long is not waited for.
            connection.busy_timeout(READERS_PATIENCE)?;
            let busy = connection.query_row(sql, [], |row| row.get::<_, i64>(0))?;
            connection.busy_timeout(WRITERS_PATIENCE)?;
            Ok(busy == 0)
        })?;
        Ok(emptied.unwrap_or(false))
    }

    /// Works on the file outside of a transaction; nothing while it is to be opened anew. After a fault the
    /// connection is not used again.
    fn work_on_file<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut guard = lock(&self.writer);
        let writer = guard.as_mut().ok_or(StoreError::Closed)?;
        let Some(connection) = &writer.connection else { return Ok(None) };
        work(connection).map(Some).inspect_err(|error| self.distrust(writer, error))
    }
}

const KEY: &str = "purge";
/// Up to this size a file is written anew at once, in a fraction of a second; a larger one when the app is
/// idle, unless a scope was lost or a record erased, bytes.
pub(crate) const SMALL_BYTES_MAX: i64 = 32 * 1024 * 1024;
/// How long readers are waited for.
const READERS_PATIENCE: Duration = Duration::from_millis(200);
/// How long the writer otherwise waits for a lock: what connections begin with.
const WRITERS_PATIENCE: Duration = Duration::from_secs(5);
