//! Numbered migrations: each is one transaction, and none is edited after its release.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// The formats in order; a file's `user_version` says how many it has been through.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];

/// The newest format that this SDK writes.
pub(crate) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// Brings the file to the newest format. A newer one is refused and left as it is.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    loop {
        let found = version(connection)?;
        if found > NEWEST {
            return Err(StoreError::Newer { found, known: NEWEST });
        }
        let Some(sql) = MIGRATIONS.get(found as usize) else { return Ok(()) };
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", found + 1)?;
        tx.commit()?;
    }
}

pub(crate) fn version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
