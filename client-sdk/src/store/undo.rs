//! The `_undo` table: the last edit of each record that was made on this device.

use crdt_core::id::RecordId;
use rusqlite::{Connection, OptionalExtension};

use crate::error::StoreError;
use crate::undo::UndoEdit;

pub(crate) fn store(
    connection: &Connection,
    record: RecordId,
    edit: &UndoEdit,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(edit).map_err(|_| StoreError::Malformed("undo"))?;
    let sql = "INSERT INTO _undo (record, edit) VALUES (?1, ?2)
               ON CONFLICT (record) DO UPDATE SET edit = excluded.edit";
    connection.prepare_cached(sql)?.execute((record.as_bytes(), text))?;
    Ok(())
}

pub(crate) fn read(
    connection: &Connection,
    record: RecordId,
) -> Result<Option<UndoEdit>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT edit FROM _undo WHERE record = ?1")?;
    let text: Option<String> =
        statement.query_row([record.as_bytes()], |row| row.get(0)).optional()?;
    let edit = text.map(|text| serde_json::from_str(&text));
    edit.transpose().map_err(|_| StoreError::Malformed("undo"))
}

/// Forgets a record's edit; whether there was one.
pub(crate) fn remove(connection: &Connection, record: RecordId) -> Result<bool, StoreError> {
    let sql = "DELETE FROM _undo WHERE record = ?1";
    Ok(connection.prepare_cached(sql)?.execute([record.as_bytes()])? > 0)
}
