//! Numbered migrations: each is one transaction, and none is edited after its release.

#[cfg(test)]
mod tests;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{StoreError, fault};

/// The format of the file; migrations raise it.
pub(super) const FORMAT: i64 = 2;
const MIGRATIONS: [&str; FORMAT as usize] = [include_str!("0001.sql"), include_str!("0002.sql")];

/// Makes the tables of a new file, within the caller's transaction.
pub(super) fn begin(connection: &Connection) -> Result<(), StoreError> {
    for sql in MIGRATIONS {
        connection.execute_batch(sql).map_err(fault)?;
    }
    connection.pragma_update(None, "user_version", FORMAT).map_err(fault)
}

/// Refuses a file that is no workspace, or of a newer format, and leaves it as it is: closing it does not fold
/// its WAL either.
pub(super) fn refuse(connection: &Connection) -> Result<(), StoreError> {
    let refused = match version(connection)? {
        0 => StoreError::Damaged("the file is not a workspace".to_owned()),
        found if found > FORMAT => StoreError::Newer { found, known: FORMAT },
        _ => return Ok(()),
    };
    let keep_wal = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(keep_wal, true).map_err(fault)?;
    Err(refused)
}

/// Brings the file to the newest format.
pub(super) fn migrate(connection: &Connection) -> Result<(), StoreError> {
    through(connection, &MIGRATIONS)
}

fn through(connection: &Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let found = version(connection)?;
    for (number, sql) in (1..).zip(migrations).skip_while(|(number, _)| *number <= found) {
        let step = format!("BEGIN IMMEDIATE; {sql}; PRAGMA user_version = {number}; COMMIT");
        connection.execute_batch(&step).map_err(fault)?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fault)
}
