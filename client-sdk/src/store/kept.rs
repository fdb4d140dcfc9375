//! The kept edits that wait for a decision: ordinary records of their own entity.

use crdt_core::id::RecordId;
use rusqlite::Connection;

use super::fixed;
use crate::error::StoreError;

/// Their ids, the oldest edit first.
pub(crate) fn open(connection: &Connection) -> Result<Vec<RecordId>, StoreError> {
    let sql = "SELECT _id FROM kept_edit WHERE status = 'open' ORDER BY edited_at, _id";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    let mut ids = Vec::new();
    for row in rows {
        let id: [u8; 16] = fixed(&row?, "record id")?;
        ids.extend(RecordId::try_from(&id[..]));
    }
    Ok(ids)
}
