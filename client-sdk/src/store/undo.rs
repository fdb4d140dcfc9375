//! What undo needs: the last edit of each record that was made on this device, in the row of its main document.

use crdt_core::id::{RecordId, Section};
use rusqlite::{Connection, OptionalExtension};

use super::document::HeldRecord;
use crate::error::StoreError;
use crate::undo::UndoEdit;

/// Notes a record's edit, to be stored with it.
pub(crate) fn note(record: &mut HeldRecord, edit: &UndoEdit) -> Result<(), StoreError> {
    let text = serde_json::to_string(edit).map_err(|_| StoreError::Malformed("undo"))?;
    if let Some(main) = record.documents.get_mut(&Section::main()) {
        main.undo = Some(text);
        main.dirty = true;
    }
    Ok(())
}

pub(crate) fn read(
    connection: &Connection,
    record: RecordId,
) -> Result<Option<UndoEdit>, StoreError> {
    let sql = "SELECT undo FROM document WHERE record = ?1 AND section = 'main'";
    let mut statement = connection.prepare_cached(sql)?;
    let text: Option<Option<String>> =
        statement.query_row([record.as_bytes()], |row| row.get(0)).optional()?;
    let edit = text.flatten().map(|text| serde_json::from_str(&text));
    edit.transpose().map_err(|_| StoreError::Malformed("undo"))
}

/// Forgets a record's edit; whether there was one.
pub(crate) fn remove(connection: &Connection, record: RecordId) -> Result<bool, StoreError> {
    let sql = "UPDATE document SET undo = NULL
               WHERE record = ?1 AND section = 'main' AND undo IS NOT NULL";
    Ok(connection.prepare_cached(sql)?.execute([record.as_bytes()])? > 0)
}
