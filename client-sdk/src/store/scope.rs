//! Where the device stands in each scope.

use crdt_core::protocol::{Cursor, Parting, ScopeCursor};
use rusqlite::Connection;

use crate::error::StoreError;

/// How a member stands to a scope of which the device has a row.
const HELD: i64 = 0;
/// Granted since the last time, and not come whole yet.
const GAINED: i64 = 1;
/// Not granted any more; its records are still here, until a page drops it.
const LOST: i64 = 2;

/// Which scopes a hello names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// Those that stand elsewhere than the others, and those that were lost.
    Exceptions,
    /// Every one: the server does not know what this replica holds, and has to drop what it may not.
    All,
}

/// The cursor of every scope without a row of its own, the rows that differ from it, and those of scopes that
/// were lost: a server that forgot what it granted has to hear of them.
pub(crate) fn cursors(
    connection: &Connection,
    named: Named,
) -> Result<(Cursor, Vec<ScopeCursor>), StoreError> {
    let sql = "SELECT scope, position, catching_from, standing FROM scope ORDER BY scope";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut all = Cursor::default();
    let mut rows_of_scopes = Vec::new();
    while let Some(row) = rows.next()? {
        let scope: String = row.get(0)?;
        let cursor = Cursor {
            position: row.get::<_, i64>(1)?.cast_unsigned(),
            from: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
        };
        if scope.is_empty() {
            all = cursor;
        } else {
            rows_of_scopes.push((ScopeCursor { scope, cursor }, row.get::<_, i64>(3)? == LOST));
        }
    }
    let exceptions = rows_of_scopes
        .into_iter()
        .filter(|(at, lost)| named == Named::All || *lost || at.cursor != all);
    Ok((all, exceptions.map(|(at, _)| at).collect()))
}

/// Moves cursors as a page says: one for every scope takes the place of all the others. It does not speak of
/// scopes that were lost, since what left them may still be to come.
pub(crate) fn advance(connection: &Connection, cursors: &[ScopeCursor]) -> Result<(), StoreError> {
    for ScopeCursor { scope, cursor } in cursors {
        if scope.is_empty() {
            let sql = "UPDATE scope SET position = ?1, catching_from = ?2 WHERE standing != 2";
            let from = cursor.from.map(u64::cast_signed);
            connection.prepare_cached(sql)?.execute((cursor.position.cast_signed(), from))?;
        }
        put(connection, scope, *cursor)?;
    }
    let sql = "UPDATE scope SET standing = 0
               WHERE standing = 1 AND catching_from IS NULL AND position > 0";
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Takes the scopes that the server names. New ones begin at 0, and so do those that were lost and are back,
/// since part of their records may have left meanwhile. Those that are lost are kept until a page drops them.
/// Gives whether anything changed.
pub(crate) fn adopt(connection: &Connection, scopes: &[String]) -> Result<bool, StoreError> {
    let sql = "SELECT scope, standing FROM scope WHERE scope != ''";
    let mut statement = connection.prepare_cached(sql)?;
    let present = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let present: Vec<(String, i64)> = present.collect::<Result<_, _>>()?;
    let mut changed = false;
    for (lost, _) in present.iter().filter(|(scope, at)| *at != LOST && !scopes.contains(scope)) {
        stand(connection, lost, LOST)?;
        changed = true;
    }
    let granted = |scope: &&String| {
        !scope.is_empty() && !present.iter().any(|(known, at)| known == *scope && *at != LOST)
    };
    for new in scopes.iter().filter(granted) {
        put(connection, new, Cursor::default())?;
        stand(connection, new, GAINED)?;
        changed = true;
    }
    Ok(changed)
}

/// Forgets scopes whose last records a page removed.
pub(crate) fn drop_scopes(connection: &Connection, dropped: &[String]) -> Result<(), StoreError> {
    for scope in dropped.iter().filter(|scope| !scope.is_empty()) {
        connection.prepare_cached("DELETE FROM scope WHERE scope = ?1")?.execute([scope])?;
    }
    Ok(())
}

/// Whether a scope was lost whose records may still be here.
pub(crate) fn is_any_lost(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM scope WHERE standing = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([LOST], |row| row.get(0))?)
}

/// Forgets the scopes that were lost, when nothing of them is here any more.
pub(crate) fn drop_lost(connection: &Connection) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM scope WHERE standing = ?1")?.execute([LOST])?;
    Ok(())
}

/// The scopes that were gained and have not come whole yet, and those that were lost and are still here.
pub(crate) fn unsettled(connection: &Connection) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let sql = "SELECT scope, standing FROM scope WHERE standing != ?1 ORDER BY scope";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([HELD], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, i64)> = rows.collect::<Result<_, _>>()?;
    let (lost, gained): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, at)| *at == LOST);
    let names = |rows: Vec<(String, i64)>| rows.into_iter().map(|(scope, _)| scope).collect();
    Ok((names(gained), names(lost)))
}

/// After the server was restored: cursors as they count in its present log, see [`Parting::cut`].
pub(crate) fn cut_back(
    connection: &Connection,
    parting: &Parting,
    left: u64,
) -> Result<(), StoreError> {
    let (all, exceptions) = cursors(connection, Named::Exceptions)?;
    let at = parting.cut(all, left).position.cast_signed();
    let sql = "UPDATE scope SET position = ?1, catching_from = NULL";
    connection.prepare_cached(sql)?.execute([at])?;
    for ScopeCursor { scope, cursor } in exceptions {
        put(connection, &scope, parting.cut(cursor, left))?;
    }
    Ok(())
}

fn put(connection: &Connection, scope: &str, cursor: Cursor) -> Result<(), StoreError> {
    let sql = "INSERT INTO scope (scope, position, catching_from) VALUES (?1, ?2, ?3)
               ON CONFLICT (scope) DO UPDATE SET position = excluded.position,
                                                 catching_from = excluded.catching_from";
    let from = cursor.from.map(u64::cast_signed);
    connection.prepare_cached(sql)?.execute((scope, cursor.position.cast_signed(), from))?;
    Ok(())
}

fn stand(connection: &Connection, scope: &str, standing: i64) -> Result<(), StoreError> {
    let sql = "UPDATE scope SET standing = ?2 WHERE scope = ?1";
    connection.prepare_cached(sql)?.execute((scope, standing))?;
    Ok(())
}
