//! W9: a device's file, opened by a process that knows nothing of it until the first question is answered; and
//! what it occupies.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use client_sdk::Paging;
use rusqlite::{Connection, OpenFlags};

use super::contact;
use super::figure::{Figure, Target, millis};
use super::floor;
use super::loads::Loads;
use super::report::Report;
use super::stage::{Stage, owner};
use super::workload::Workload;

const FIRST: &str = "SELECT _id, last_name FROM contact ORDER BY last_name LIMIT 50";

/// Runs it, on a copy of a device's file.
///
/// # Errors
/// When the file cannot be opened, or nothing is found in it.
pub fn run(
    stage: &Stage,
    workload: &Workload,
    base: &Path,
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let before = Loads::now();
    let path = stage.path("w9.db");
    floor::copy(base, &path)?;
    // What the first opening makes once, as the device's own name, is not measured.
    stage.offline(&path, &owner(0))?.close();
    let (mut own, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        own.push(open(stage, &path)?);
        let begin = Instant::now();
        let bare = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let found = bare.prepare(FIRST)?.query_map([], |_| Ok(()))?.count();
        floors.push(millis(begin.elapsed()));
        ensure!(found == 50, "{found} records are found");
    }
    let size = std::fs::metadata(&path)?.len() as f64 / workload.contacts.len() as f64;
    let (document, entity) = (bytes_of(&path, "document")?, bytes_of(&path, contact::ENTITY)?);
    floor::remove(&path);
    let figures = vec![
        Figure::new("opened, first page of 50", "ms", &own)
            .floor(&floors)
            .target(Target::AtMost(50.0)),
        Figure::new("device database", "B/record", &[size]).target(Target::AtMost(1_300.0)),
    ];
    let count = workload.contacts.len() as f64;
    let note = format!(
        "of the file, {:.0} B a record are cells and {:.0} B what changes hold; a row of contact has \
         {:.0} B",
        document / count,
        bytes_of_changes(base)? / count,
        entity / count
    );
    report.add("W9 a device's file", figures, Loads::now().since(&before), vec![note]);
    Ok(())
}

/// From opening a device's file until a page of 50 is read, ms.
pub(super) fn open(stage: &Stage, path: &Path) -> Result<f64> {
    let begin = Instant::now();
    let client = stage.offline(path, &owner(0))?;
    let rows = client.query(FIRST, &[], Paging::first(50))?.rows.len();
    let took = millis(begin.elapsed());
    client.close();
    ensure!(rows == 50, "{rows} records are found");
    Ok(took)
}

/// What the values of a table's rows occupy, bytes.
fn bytes_of(path: &Path, table: &str) -> Result<f64> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            bytes += match row.get_ref(column)? {
                rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => {
                    bytes.len()
                }
                _ => 0,
            };
        }
    }
    Ok(bytes as f64)
}

fn bytes_of_changes(path: &Path) -> Result<f64> {
    Ok(bytes_of(path, "change")? + bytes_of(path, "_snapshot")?)
}
