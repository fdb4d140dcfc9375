//! Where the device stands in each scope.

use crdt_core::protocol::{Cursor, ScopeCursor};
use rusqlite::Connection;

use crate::error::StoreError;

/// The cursor of every scope without a row of its own, and the rows that differ from it.
pub(crate) fn cursors(connection: &Connection) -> Result<(Cursor, Vec<ScopeCursor>), StoreError> {
    let sql = "SELECT scope, position, catching_from FROM scope ORDER BY scope";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut all = Cursor::default();
    let mut exceptions = Vec::new();
    while let Some(row) = rows.next()? {
        let scope: String = row.get(0)?;
        let cursor = Cursor {
            position: row.get::<_, i64>(1)?.cast_unsigned(),
            from: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
        };
        if scope.is_empty() {
            all = cursor;
        } else {
            exceptions.push(ScopeCursor { scope, cursor });
        }
    }
    exceptions.retain(|exception| exception.cursor != all);
    Ok((all, exceptions))
}

/// Moves cursors as a page says: one for every scope takes the place of all the others.
pub(crate) fn advance(connection: &Connection, cursors: &[ScopeCursor]) -> Result<(), StoreError> {
    for ScopeCursor { scope, cursor } in cursors {
        if scope.is_empty() {
            let sql = "UPDATE scope SET position = ?1, catching_from = ?2";
            let from = cursor.from.map(u64::cast_signed);
            connection.prepare_cached(sql)?.execute((cursor.position.cast_signed(), from))?;
        }
        put(connection, scope, *cursor)?;
    }
    Ok(())
}

/// Takes the scopes that the server names: new ones begin at 0, those that are lost are forgotten.
pub(crate) fn adopt(connection: &Connection, scopes: &[String]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("SELECT scope FROM scope WHERE scope != ''")?;
    let present = statement.query_map([], |row| row.get(0))?;
    let present: Vec<String> = present.collect::<Result<_, _>>()?;
    for lost in present.iter().filter(|scope| !scopes.contains(scope)) {
        connection.prepare_cached("DELETE FROM scope WHERE scope = ?1")?.execute([lost])?;
    }
    for new in scopes.iter().filter(|scope| !present.contains(scope) && !scope.is_empty()) {
        put(connection, new, Cursor::default())?;
    }
    Ok(())
}

/// After the server was restored to `last`: no cursor lies beyond it.
pub(crate) fn cut_back(connection: &Connection, last: u64) -> Result<(), StoreError> {
    let last = last.cast_signed();
    let sql = "UPDATE scope SET position = min(position, ?1),
                                catching_from = min(catching_from, ?1)";
    connection.prepare_cached(sql)?.execute([last])?;
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
