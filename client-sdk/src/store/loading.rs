//! The first load: a database that held next to nothing and catches up with thousands of records. The indexes
//! that queries use are left out meanwhile, and built once the rows are there: that costs a fraction of
//! keeping each of them up row by row. Queries are answered all the time, from the tables alone.
//!
//! A mark in the file says that indexes may be missing. It is made in the transaction that takes them away,
//! and goes with the one that builds the last.

use crdt_core::protocol::Page;
use rusqlite::Connection;

use super::projection::tables::{self, Index};
use super::{Session, State, meta};
use crate::error::StoreError;

/// Begins the load when a page brings the first of many records.
pub(crate) fn begin(session: &mut Session<'_>, page: &Page) -> Result<(), StoreError> {
    let more_follow = page.cursors.iter().any(|at| at.cursor.from.is_some());
    if session.state.loading || !more_follow || !is_nearly_empty(&session.tx)? {
        return Ok(());
    }
    for index in tables::indexes(&session.state.schema) {
        session.tx.execute_batch(&index.drop())?;
    }
    meta::put(&session.tx, KEY, &true)?;
    session.state.loading = true;
    Ok(())
}

fn is_nearly_empty(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM document LIMIT ?1)";
    let mut statement = connection.prepare_cached(sql)?;
    let count: i64 = statement.query_row([RECORDS_FEW + 1], |row| row.get(0))?;
    Ok(count <= RECORDS_FEW)
}

/// Whether the file says that indexes may be missing.
pub(crate) fn is_marked(connection: &Connection) -> Result<bool, StoreError> {
    Ok(meta::number(connection, KEY)? == Some(1))
}

/// Whether nothing of what the device subscribes to is still to come for the first time.
pub(crate) fn is_over(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT NOT EXISTS
                   (SELECT 1 FROM scope WHERE catching_from IS NOT NULL OR standing = 1)";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Builds missing indexes, of about as many rows as an edit may wait for; gives whether some are left.
pub(crate) fn build_some(session: &mut Session<'_>) -> Result<bool, StoreError> {
    if !session.state.loading {
        return Ok(false);
    }
    let schema = session.schema();
    let mut rows = 0;
    for index in tables::indexes(&schema) {
        if index.is_there(&session.tx)? {
            continue;
        }
        if rows > ROWS_AT_ONCE {
            return Ok(true);
        }
        rows += index.rows(&session.tx)?;
        session.tx.execute_batch(&index.create())?;
    }
    end(&session.tx, &mut session.state)?;
    Ok(false)
}

/// Builds all that is missing, when a process died before it could.
pub(crate) fn build_all(connection: &Connection, state: &mut State) -> Result<(), StoreError> {
    if state.loading {
        tables::indexes(&state.schema)
            .try_for_each(|index: Index| connection.execute_batch(&index.create()))?;
        end(connection, state)?;
    }
    Ok(())
}

fn end(connection: &Connection, state: &mut State) -> Result<(), StoreError> {
    state.loading = false;
    // The row goes, so that a file tells nothing of how it was filled.
    connection.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([KEY])?;
    Ok(())
}

const KEY: &str = "loading";
/// A database with no more documents than this counts as empty.
const RECORDS_FEW: i64 = 1_000;
/// Rows that are indexed in one transaction, unless one index alone has more: a few hundredths of a second.
const ROWS_AT_ONCE: i64 = 20_000;
