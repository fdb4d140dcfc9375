//! Numbered migrations: each is one transaction, and none is edited after its release.

#[cfg(test)]
mod tests;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// The formats in order; a file's `user_version` says how many it has been through.
const MIGRATIONS: [&str; 2] =
    [include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql")];

/// The newest format that this SDK writes.
pub(crate) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// Brings the file to the newest format.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    through(connection, &MIGRATIONS)
}

/// Refuses a file of a newer format, and leaves it as it is: closing it does not fold its WAL either.
pub(crate) fn refuse_newer(connection: &Connection) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > NEWEST {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        return Err(StoreError::Newer { found, known: NEWEST });
    }
    Ok(())
}

fn through(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    loop {
        let found = version(connection)?;
        let Some(sql) = migrations.get(found as usize) else { return Ok(()) };
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", found + 1)?;
        tx.commit()?;
    }
}

fn version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
