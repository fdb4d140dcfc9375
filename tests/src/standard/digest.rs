//! The contents of a database as one number: every row of every table, whoever wrote them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::vfs::Disk;

/// A second connection to a database on a disk.
///
/// # Errors
/// SQLite's.
pub fn connect(disk: &Disk, path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags_and_vfs(path, flags, disk.name())
}

/// What every table holds.
///
/// # Errors
/// SQLite's.
pub fn digest(connection: &Connection) -> rusqlite::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let sql = "SELECT name, sql FROM sqlite_schema
               WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name";
    let mut tables = connection.prepare(sql)?;
    let mut rows = tables.query([])?;
    while let Some(row) = rows.next()? {
        let (name, sql): (String, String) = (row.get(0)?, row.get(1)?);
        sql.hash(&mut hasher);
        table(connection, &name, &mut hasher)?;
    }
    Ok(hasher.finish())
}

fn table(connection: &Connection, name: &str, hasher: &mut DefaultHasher) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\""))?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Null => 0_u8.hash(hasher),
                ValueRef::Integer(number) => number.hash(hasher),
                ValueRef::Real(number) => number.to_bits().hash(hasher),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(hasher),
            }
        }
    }
    Ok(())
}

/// The first thing that SQLite finds wrong with a database, if anything.
///
/// # Errors
/// SQLite's.
pub fn fault(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let answer: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((answer != "ok").then_some(answer))
}
