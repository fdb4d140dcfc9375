//! The tables of the projection, made and altered in place as the schema asks.

use std::collections::BTreeSet;

use crdt_core::id::RecordId;
use crdt_core::schema::{Entity, Field, FieldKind, Schema};
use rusqlite::{Connection, OptionalExtension, Params};

use super::quoted;
use crate::error::StoreError;
use crate::notify::Changes;
use crate::store::document::{HeldRecord, record_of};
use crate::store::{State, meta};

/// Makes the tables what the schema asks for. Rows are shown anew where columns were added: what the fields
/// say may have come before the fields were known; and where values compete: another of them may win by the
/// schema's rules.
pub(crate) fn ensure(
    tx: &Connection,
    state: &State,
    changes: &mut Changes,
) -> Result<(), StoreError> {
    let wanted = state.schema.version().cast_signed();
    let built: Option<i64> = tx
        .query_row("SELECT value FROM meta WHERE key = 'projected_schema'", [], |row| row.get(0))
        .optional()?;
    if built == Some(wanted) {
        return Ok(());
    }
    let mut stale = records(tx, "SELECT DISTINCT record FROM conflict", [])?;
    for entity in state.schema.entities() {
        let grown = ensure_entity(tx, entity)?;
        ensure_search(tx, entity)?;
        if grown {
            let sql = "SELECT record FROM document WHERE entity = ?1 AND section = 'main'";
            stale.extend(records(tx, sql, [&entity.name])?);
        }
    }
    for id in stale {
        if let Some(record) = HeldRecord::read(tx, state, id)?
            && super::show_again(tx, state, &record)?
        {
            changes.table("conflict");
            changes.record(&record.entity, id);
        }
    }
    if !state.loading {
        indexes(&state.schema).try_for_each(|index| tx.execute_batch(&index.create()))?;
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
    for set in entity.fields.iter().filter(|field| field.kind.is_set()) {
        tx.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {} (_row INTEGER NOT NULL, member TEXT NOT NULL,
                 PRIMARY KEY (_row, member)) WITHOUT ROWID",
            quoted(&members_table(entity, &set.column))
        ))?;
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

/// An index that queries use, and nothing else: without it answers are the same, and later.
pub(crate) struct Index {
    name: String,
    table: String,
    columns: Vec<String>,
}

impl Index {
    fn new(table: &str, columns: &[String]) -> Self {
        let name = format!("{table}__by_{}", columns.join("_"));
        Self { name, table: table.to_owned(), columns: columns.to_vec() }
    }

    pub(crate) fn create(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quoted(column)).collect();
        let (name, table) = (quoted(&self.name), quoted(&self.table));
        format!("CREATE INDEX IF NOT EXISTS {name} ON {table} ({})", columns.join(", "))
    }

    pub(crate) fn drop(&self) -> String {
        format!("DROP INDEX IF EXISTS {}", quoted(&self.name))
    }

    pub(crate) fn is_there(&self, connection: &Connection) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?1)";
        Ok(connection.prepare_cached(sql)?.query_row([&self.name], |row| row.get(0))?)
    }

    /// About how many rows it covers: those of its table are numbered as the documents are.
    pub(crate) fn rows(&self, connection: &Connection) -> Result<i64, StoreError> {
        let sql = format!("SELECT coalesce(max(_row), 0) FROM {}", quoted(&self.table));
        Ok(connection.query_row(&sql, [], |row| row.get(0))?)
    }
}

/// Every index of the schema's tables.
pub(crate) fn indexes(schema: &Schema) -> impl Iterator<Item = Index> {
    schema.entities().flat_map(|entity| {
        let fields = entity.fields.iter().filter_map(|field| match field.kind {
            FieldKind::Set(_) => {
                Some(Index::new(&members_table(entity, &field.column), &["member".to_owned()]))
            }
            FieldKind::Ref(_) => {
                Some(Index::new(&entity.name, std::slice::from_ref(&field.column)))
            }
            _ => None,
        });
        fields.chain(entity.indexes.iter().map(|columns| Index::new(&entity.name, columns)))
    })
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

fn records(
    tx: &Connection,
    sql: &str,
    values: impl Params,
) -> Result<BTreeSet<RecordId>, StoreError> {
    let mut statement = tx.prepare(sql)?;
    let mut rows = statement.query(values)?;
    let mut records = BTreeSet::new();
    while let Some(row) = rows.next()? {
        records.insert(record_of(&row.get::<_, Vec<u8>>(0)?)?);
    }
    Ok(records)
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
