//! Answering questions on a connection that can only read.

use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::schema::Entity;
use crdt_core::time::Timestamp;
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{CachedStatement, Connection, Statement};

use super::document::record_of;
use super::projection::quoted;
use crate::error::{QueryError, StoreError};
use crate::query::{Paging, Rows};

/// Runs one reading statement.
pub(crate) fn query(
    connection: &Connection,
    sql: &str,
    parameters: &[Value],
    paging: Paging,
) -> Result<Rows, QueryError> {
    let mut statement = prepare(connection, sql)?;
    let wanted = statement.parameter_count();
    if wanted != parameters.len() {
        let text = format!("{wanted} parameters are wanted, {} were given", parameters.len());
        return Err(QueryError::Sql(text));
    }
    let parameters = rusqlite::params_from_iter(parameters.iter().map(to_sql));
    let mut found = statement.query(parameters).map_err(at_fault)?;
    let limit = paging.limit.min(Paging::LIMIT_MAX);
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    let mut skipped = 0;
    while let Some(row) = found.next().map_err(at_fault)? {
        if columns.is_empty() {
            columns = names(row.as_ref());
        }
        if skipped < paging.offset {
            skipped += 1;
            continue;
        }
        if rows.len() == limit {
            return Ok(Rows { columns, rows, more: true });
        }
        let values = (0..columns.len()).map(|place| row.get_ref(place).map(from_sql));
        rows.push(values.collect::<Result<_, _>>().map_err(at_fault)?);
    }
    if columns.is_empty() {
        // Now that it has run, a kept statement knows of a column that came since.
        drop(found);
        columns = names(&statement);
    }
    Ok(Rows { columns, rows, more: false })
}

fn names(statement: &Statement<'_>) -> Vec<String> {
    statement.column_names().map(str::to_owned).collect()
}

/// The statement, when it is one and can only read. Statements that read but do more, as `ATTACH` and
/// `PRAGMA`, begin with other words.
fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<CachedStatement<'c>, QueryError> {
    let word: String = sql.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    if !["select", "with", "values"].contains(&word.to_ascii_lowercase().as_str()) {
        return Err(QueryError::NotReadOnly);
    }
    let statement = connection.prepare_cached(sql).map_err(|error| match error {
        rusqlite::Error::MultipleStatement => QueryError::NotReadOnly,
        other => at_fault(other),
    })?;
    if statement.readonly() { Ok(statement) } else { Err(QueryError::NotReadOnly) }
}

/// A wrong statement is the caller's; everything else is the store's.
fn at_fault(error: rusqlite::Error) -> QueryError {
    match StoreError::from(error) {
        StoreError::Statement(text) => QueryError::Sql(text),
        other => QueryError::Store(other),
    }
}

fn to_sql(value: &Value) -> Sql {
    match value {
        Value::Bool(truth) => Sql::Integer(i64::from(*truth)),
        Value::Int(number) | Value::Counter(number) => Sql::Integer(*number),
        Value::Float(number) => Sql::Real(*number),
        Value::Str(text) | Value::Text(text) => Sql::Text(text.clone()),
        Value::Timestamp(time) => Sql::Integer(Timestamp::as_millis(*time)),
        Value::Bytes(bytes) => Sql::Blob(bytes.clone()),
        Value::Set(members) => Sql::Text(serde_json::Value::from(members.as_slice()).to_string()),
        _ => Sql::Null,
    }
}

fn from_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => Value::Str(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

/// The records whose reference `column` names `target`, in the order of their ids.
pub(crate) fn referencing(
    connection: &Connection,
    entity: &Entity,
    column: &str,
    target: RecordId,
    paging: Paging,
) -> Result<Vec<RecordId>, QueryError> {
    let sql = format!(
        "SELECT _id FROM {} WHERE {} = ?1 ORDER BY _id LIMIT ?2 OFFSET ?3",
        quoted(&entity.name),
        quoted(column)
    );
    let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql).map_err(StoreError::from)?;
    let values = (target.as_bytes(), whole(paging.limit), whole(paging.offset));
    let mut rows = statement.query(values).map_err(StoreError::from)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(StoreError::from)? {
        found.push(record_of(&row.get::<_, Vec<u8>>(0).map_err(StoreError::from)?)?);
    }
    Ok(found)
}
