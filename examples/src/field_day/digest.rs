//! Digests of what a device shows: each table of each entity in the order of the records' ids, and the
//! conflicts. Two devices with the same digest of the same records show the same.
//!
//! Only section `main` counts: other sections are not everybody's.

use std::collections::BTreeSet;

use anyhow::Result;
use client_sdk::{Client, Paging};
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::schema::Schema;
use sha2::{Digest as _, Sha256};

/// Rows that one query brings; tables are read in as many as it takes.
const ROWS: usize = 1_000;

/// Records whose rows are compared.
pub type Records = BTreeSet<RecordId>;

/// What a device shows of each of these sets of records, in 64 hexadecimal digits. Of the records of
/// `sectioned`, which have been edited outside of `main`, the last edit does not count.
///
/// # Errors
/// When the device cannot be read.
pub fn digests(
    client: &Client,
    schema: &Schema,
    sets: &[&Records],
    sectioned: &Records,
) -> Result<Vec<String>> {
    let mut hashers = vec![Sha256::new(); sets.len()];
    for entity in schema.entities() {
        let mut columns =
            ["_id", "_updated_at", "_updated_by", "_created_at", "_created_by", "extra"]
                .map(str::to_owned)
                .to_vec();
        let fields = entity.fields.iter().filter(|field| field.section.is_main());
        columns.extend(fields.flat_map(|field| field.columns()));
        let list =
            columns.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ");
        let table = &entity.name;
        let sql = format!("SELECT {list} FROM \"{table}\" ORDER BY \"_id\"");
        each_row(client, &sql, |id, row| {
            let from = if sectioned.contains(&id) { LAST_EDIT.end } else { LAST_EDIT.start };
            take(&mut hashers, sets, id, &format!("{table} {id} {:?}", &row[from..]));
        })?;
    }
    let sql = "SELECT \"record\", \"field\", \"open\", \"contenders\" FROM \"conflict\"
               WHERE \"section\" = 'main' ORDER BY \"record\", \"field\"";
    each_row(client, sql, |id, row| {
        take(&mut hashers, sets, id, &format!("conflict {id} {:?}", &row[1..]));
    })?;
    let hex = |hasher: Sha256| hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(hashers.into_iter().map(hex).collect())
}

/// The columns that tell of the last edit.
const LAST_EDIT: std::ops::Range<usize> = 1..3;

/// The records that a device shows, deleted ones left out.
///
/// # Errors
/// When the device cannot be read.
pub fn shown(client: &Client, schema: &Schema) -> Result<Records> {
    let mut records = Records::new();
    for entity in schema.entities() {
        let sql = format!("SELECT \"_id\" FROM \"{}\" ORDER BY \"_id\"", entity.name);
        each_row(client, &sql, |id, _| _ = records.insert(id))?;
    }
    Ok(records)
}

/// Debug text tells types and lengths apart; it is never read back.
fn take(hashers: &mut [Sha256], sets: &[&Records], id: RecordId, row: &str) {
    for (hasher, set) in hashers.iter_mut().zip(sets) {
        if set.contains(&id) {
            hasher.update(row.as_bytes());
        }
    }
}

/// Every row of a statement whose first column is a record's id.
fn each_row(client: &Client, sql: &str, mut see: impl FnMut(RecordId, &[Value])) -> Result<()> {
    let mut offset = 0;
    loop {
        let page = client.query(sql, &[], Paging { limit: ROWS, offset })?;
        for row in &page.rows {
            let Some(Value::Bytes(bytes)) = row.first() else { continue };
            see(RecordId::try_from(bytes.as_slice())?, row);
        }
        if !page.more {
            return Ok(());
        }
        offset += ROWS;
    }
}
