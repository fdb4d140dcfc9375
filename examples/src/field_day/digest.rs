//! A digest of everything a device shows: each table of each entity in the order of the records' ids, and
//! the conflicts. Two devices with the same digest show the same.

use anyhow::Result;
use client_sdk::{Client, Paging};
use crdt_core::schema::Schema;
use sha2::{Digest as _, Sha256};

/// Rows that one query brings; tables are read in as many as it takes.
const ROWS: usize = 1_000;

/// What a device shows, in 64 hexadecimal digits.
///
/// # Errors
/// When the device cannot be read.
pub fn digest(client: &Client, schema: &Schema) -> Result<String> {
    let mut hasher = Sha256::new();
    for entity in schema.entities() {
        let mut columns = vec!["_id", "_created_at", "_created_by", "_updated_at", "_updated_by"]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        columns.extend(entity.fields.iter().flat_map(|field| field.columns()));
        columns.push("extra".to_owned());
        let list =
            columns.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ");
        let table = &entity.name;
        let sql = format!("SELECT {list} FROM \"{table}\" ORDER BY \"_id\"");
        take(&mut hasher, client, table, &sql)?;
    }
    let sql =
        "SELECT \"record\", \"section\", \"field\", \"open\", \"contenders\" FROM \"conflict\"
               ORDER BY \"record\", \"section\", \"field\"";
    take(&mut hasher, client, "conflict", sql)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn take(hasher: &mut Sha256, client: &Client, table: &str, sql: &str) -> Result<()> {
    hasher.update(table.as_bytes());
    let mut offset = 0;
    loop {
        let page = client.query(sql, &[], Paging { limit: ROWS, offset })?;
        for row in &page.rows {
            // Debug text tells types and lengths apart; it is never read back.
            hasher.update(format!("{row:?}").as_bytes());
        }
        if !page.more {
            return Ok(());
        }
        offset += ROWS;
    }
}
