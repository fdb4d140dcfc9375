//! Exports: unsent work as JSON for people and tools, and diagnostics without a word of any record.

use crdt_core::schema::Schema;
use rusqlite::Connection;
use serde_json::{Value as Json, json};

use super::{State, dispute, migrate, outbox, scope};
use crate::error::StoreError;

/// The batches that can be read, however damaged the rest of the file is.
pub(crate) fn readable_batches(connection: &Connection) -> Vec<Json> {
    batches(connection, Schema::builtin(), true).unwrap_or_default()
}

/// Every unsent batch: what was tried by record and field, and its changes as stored.
pub(crate) fn unsent(connection: &Connection, state: &State) -> Result<Json, StoreError> {
    let disputes = dispute::list(connection)?;
    let disputes: Vec<Json> = disputes
        .iter()
        .map(|dispute| {
            json!({
                "batch": dispute.batch.to_string(),
                "created_at": dispute.created_at.to_string(),
                "reasons": dispute.reasons,
                "tried": dispute.tried,
            })
        })
        .collect();
    let batches = batches(connection, &state.schema, false)?;
    Ok(json!({ "batches": batches, "disputes": disputes }))
}

fn batches(
    connection: &Connection,
    schema: &Schema,
    skip_damaged: bool,
) -> Result<Vec<Json>, StoreError> {
    let mut found = Vec::new();
    let mut after = 0;
    // One at a time: what comes before a damaged page is kept.
    loop {
        let row = match outbox::unsent_rows(connection, after, 1) {
            Ok(mut rows) => rows.pop(),
            Err(_) if skip_damaged => return Ok(found),
            Err(error) => return Err(error),
        };
        let Some(row) = row else { return Ok(found) };
        after = row.number;
        match batch(connection, schema, &row) {
            Ok(json) => found.push(json),
            Err(_) if skip_damaged => {}
            Err(error) => return Err(error),
        }
    }
}

fn batch(
    connection: &Connection,
    schema: &Schema,
    row: &outbox::OutboxRow,
) -> Result<Json, StoreError> {
    let changes = outbox::changes_of(connection, row.number)?;
    let tried = dispute::tried(connection, schema, &changes)?;
    let changes: Vec<Json> = changes
        .iter()
        .map(|change| {
            json!({
                "record": change.id.record.to_string(),
                "section": change.id.section.as_str(),
                "entity": change.entity,
                "hash": change.stored.hash.to_string(),
                "bytes": hex(&change.stored.bytes),
            })
        })
        .collect();
    Ok(json!({
        "batch": row.batch.to_string(),
        "number": row.number,
        "created_at": row.stamp.time.to_string(),
        "schema_version": row.schema_version,
        "tried": tried,
        "changes": changes,
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What helps to find a fault: versions, positions, sizes and counts.
pub(crate) fn diagnostics(connection: &Connection, state: &State) -> Result<Json, StoreError> {
    let unsent = outbox::unsent(connection)?;
    let (cursor, exceptions) = scope::cursors(connection, scope::Named::All)?;
    let mut rows = serde_json::Map::new();
    for table in ["document", "change", "outbox", "conflict", "dispute", "actor", "_broken"] {
        rows.insert(table.to_owned(), Json::from(count(connection, table)?));
    }
    let refusals: Vec<Json> = dispute::list(connection)?
        .iter()
        .flat_map(|dispute| &dispute.reasons)
        .map(|reason| json!({ "code": reason.code, "field": reason.field }))
        .collect();
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    Ok(json!({
        "sdk": env!("CARGO_PKG_VERSION"),
        "format": migrate::NEWEST,
        "sqlite": rusqlite::version(),
        "schema_version": state.schema.version(),
        "policy_version": state.meta.policy_version,
        "replica": state.meta.replica.to_string(),
        "incarnation": state.meta.incarnation,
        "epoch": state.meta.epoch.map(|epoch| epoch.to_string()),
        "receipt": state.meta.receipt,
        "backed_up_to": state.meta.backed_up_to,
        "clock_offset_ms": state.meta.clock.map(|clock| clock.offset),
        "position": cursor.position,
        "catching_up": cursor.from.is_some(),
        "scopes_apart": exceptions.len(),
        "unsent": { "records": unsent.records, "batches": unsent.batches, "bytes": unsent.bytes },
        "rows": rows,
        "refusals": refusals,
        "pages": pages,
        "free_pages": free,
    }))
}

fn count(connection: &Connection, table: &str) -> Result<i64, StoreError> {
    let sql = format!("SELECT count(*) FROM {table}");
    Ok(connection.query_row(&sql, [], |row| row.get(0))?)
}
