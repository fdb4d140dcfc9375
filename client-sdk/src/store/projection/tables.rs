//! The tables of the projection, made and altered in place as the schema asks.

use std::collections::BTreeSet;

use crdt_core::schema::{Entity, Field, FieldKind};
use rusqlite::{Connection, OptionalExtension};

use super::quoted;
use crate::error::StoreError;
use crate::store::State;
use crate::store::document::HeldRecord;
use crate::store::meta;

/// Makes the tables what the schema asks for. Rows are shown anew where columns were added: what the fields
/// say may have come before the fields were known.
pub(crate) fn ensure(tx: &Connection, state: &State) -> Result<(), StoreError> {
    let wanted = state.schema.version().cast_signed();
    let built: Option<i64> = tx
        .query_row("SELECT value FROM meta WHERE key = 'projected_schema'", [], |row| row.get(0))
        .optional()?;
    if built == Some(wanted) {
        return Ok(());
    }
    for entity in state.schema.entities() {
        let grown = ensure_entity(tx, entity)?;
        ensure_search(tx, entity)?;
        if grown {
            show_again(tx, state, entity)?;
        }
    }
    meta::put(tx, "projected_schema", &wanted)
}

/// Whether columns were added to a table that was there.
fn ensure_entity(tx: &Connection, entity: &Entity) -> Result<bool, StoreError> {
    let table = quoted(&entity.name);
    let present = columns_of(tx, &entity.name)?;
    let mut grown = false;
    if present.is_empty() {
        let columns: Vec<String> = entity.fields.iter().flat_map(declarations).collect();
        tx.execute_batch(&format!(
            "CREATE TABLE {table} (_row INTEGER PRIMARY KEY, _id BLOB NOT NULL UNIQUE,
             _created_at INTEGER, _created_by BLOB, _updated_at INTEGER, _updated_by BLOB,
             _sync_state TEXT NOT NULL, {} extra TEXT)",
            columns.iter().map(|column| format!("{column}, ")).collect::<String>()
        ))?;
    } else {
        for (field, declaration) in
            entity.fields.iter().flat_map(|f| f.columns().zip(declarations(f)))
        {
            if !present.contains(&field) {
                tx.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {declaration}"))?;
                grown = true;
            }
        }
    }
    for field in &entity.fields {
        match field.kind {
            FieldKind::Set(_) => ensure_members(tx, entity, &field.column)?,
            FieldKind::Ref(_) => ensure_index(tx, entity, std::slice::from_ref(&field.column))?,
            _ => {}
        }
    }
    for index in &entity.indexes {
        ensure_index(tx, entity, index)?;
    }
    Ok(grown)
}

fn declarations(field: &Field) -> Vec<String> {
    let kind = match field.kind {
        FieldKind::Int | FieldKind::Bool | FieldKind::Timestamp | FieldKind::Counter => "INTEGER",
        FieldKind::Money => "INTEGER",
        FieldKind::Float => "REAL",
        FieldKind::Ref(_) => "BLOB",
        _ => "TEXT",
    };
    let main = format!("{} {kind}", quoted(&field.column));
    let currency = field.currency_column().map(|column| format!("{} TEXT", quoted(&column)));
    std::iter::once(main).chain(currency).collect()
}

fn ensure_index(tx: &Connection, entity: &Entity, columns: &[String]) -> Result<(), StoreError> {
    let name = quoted(&format!("{}__by_{}", entity.name, columns.join("_")));
    let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    let table = quoted(&entity.name);
    let columns = columns.join(", ");
    tx.execute_batch(&format!("CREATE INDEX IF NOT EXISTS {name} ON {table} ({columns})"))?;
    Ok(())
}

fn ensure_members(tx: &Connection, entity: &Entity, set: &str) -> Result<(), StoreError> {
    let table = members_table(entity, set);
    tx.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {0} (_row INTEGER NOT NULL, member TEXT NOT NULL,
             PRIMARY KEY (_row, member)) WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS {1} ON {0} (member)",
        quoted(&table),
        quoted(&format!("{table}__by_member"))
    ))?;
    Ok(())
}

fn ensure_search(tx: &Connection, entity: &Entity) -> Result<(), StoreError> {
    let wanted = search_columns(entity);
    let name = search_table(entity);
    let present = columns_of(tx, &name)?;
    if wanted.iter().all(|column| present.contains(column)) && wanted.len() == present.len() {
        return Ok(());
    }
    let table = quoted(&name);
    tx.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    if wanted.is_empty() {
        return Ok(());
    }
    let columns: Vec<String> = wanted.iter().map(|column| quoted(column)).collect();
    tx.execute_batch(&format!(
        "CREATE VIRTUAL TABLE {table} USING fts5({}, content='', contentless_delete=1,
             prefix='2 3', tokenize='unicode61 remove_diacritics 2');
         INSERT OR IGNORE INTO _search_dirty (entity, row) SELECT '{}', _row FROM {}",
        columns.join(", "),
        entity.name,
        quoted(&entity.name)
    ))?;
    Ok(())
}

/// Shows every record of an entity anew.
fn show_again(tx: &Connection, state: &State, entity: &Entity) -> Result<(), StoreError> {
    let mut statement =
        tx.prepare("SELECT record FROM document WHERE entity = ?1 AND section = 'main'")?;
    let mut rows = statement.query([&entity.name])?;
    while let Some(row) = rows.next()? {
        let id = crate::store::document::record_of(&row.get::<_, Vec<u8>>(0)?)?;
        if let Some(record) = HeldRecord::read(tx, state, id)? {
            super::show_columns(tx, entity, &record)?;
        }
    }
    Ok(())
}

fn columns_of(tx: &Connection, table: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut statement = tx.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// The columns that full-text search covers.
pub(crate) fn search_columns(entity: &Entity) -> Vec<String> {
    let fields = entity.search.iter().filter_map(|key| entity.field(key));
    fields.map(|field| field.column.clone()).collect()
}

/// The table of a searchable entity's words.
pub(crate) fn search_table(entity: &Entity) -> String {
    format!("{}_fts", entity.name)
}

/// The table of a set's members.
pub(crate) fn members_table(entity: &Entity, set: &str) -> String {
    format!("{}__{set}", entity.name)
}
