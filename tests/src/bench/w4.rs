//! W4: live edits, one after the other: from the call on device A until device B shows the value.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use client_sdk::Client;

use super::contact;
use super::echo::Echo;
use super::figure::{Figure, Latencies, Latency, Target, millis};
use super::floor::{self, Durability};
use super::loads::Loads;
use super::report::Report;
use super::stage::{PATIENCE, Stage};
use super::workload::{FieldEdit, Workload};

/// Runs it.
///
/// # Errors
/// When a device fails, or B does not show what A wrote.
pub fn run(
    stage: &Stage,
    workload: &Workload,
    [a, b]: [&Client; 2],
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let before = Loads::now();
    let (sync_a, sync_b) = (a.start_sync()?, b.start_sync()?);
    stage.wait_until_live(a)?;
    stage.wait_until_live(b)?;
    let (mut own, mut floors, mut bytes) = (Latencies::default(), Latencies::default(), Vec::new());
    for run in 0..runs {
        let edits: Vec<FieldEdit> = workload.w4.iter().map(|edit| edit.of_run(run)).collect();
        let wire = stage.wire()?;
        own.push(edit(a, b, &edits)?);
        bytes.push(stage.wire()?.since(&wire).bytes() / edits.len() as f64);
        floors.push(floor(stage, edits.len())?);
    }
    sync_a.close();
    sync_b.close();
    let [p50, p99] = own.figures("A edits until B shows it,", "ms", Some(&floors));
    let figures = vec![
        p50.target(Target::AtMost(1.0)),
        p99.target(Target::AtMost(5.0)),
        Figure::new("wire, both devices, both ways", "B/edit", &bytes).target(Target::AtMost(90.0)),
    ];
    report.add("W4 live edits", figures, Loads::now().since(&before), Vec::new());
    Ok(())
}

fn edit(a: &Client, b: &Client, edits: &[FieldEdit]) -> Result<Latency> {
    let mut measured = Vec::with_capacity(edits.len());
    let seen = b.watch();
    for edit in edits {
        let (id, fields) = (contact::id(&edit.id)?, contact::field_edit(edit));
        let begin = Instant::now();
        a.update(id, fields)?;
        loop {
            let record = b.get(id)?.context("the record is on B")?;
            if record.text(&edit.field) == edit.value.as_str() {
                break;
            }
            ensure!(begin.elapsed() < PATIENCE, "B does not show the edit");
            // Whatever changed, the record is looked at again.
            let _ = seen.wait(Duration::from_secs(1));
        }
        measured.push(millis(begin.elapsed()));
    }
    Ok(Latency::of(measured))
}

/// One row on each of three disks, and one message there and one back.
fn floor(stage: &Stage, count: usize) -> Result<Latency> {
    let paths = ["w4-floor-1.db", "w4-floor-2.db", "w4-floor-3.db"].map(|name| stage.path(name));
    let mut databases = Vec::new();
    for path in &paths {
        let connection = floor::open(path, Durability::Full)?;
        connection.execute_batch("CREATE TABLE line (id INTEGER PRIMARY KEY, bytes BLOB)")?;
        databases.push(connection);
    }
    let echo = Echo::start(stage.runtime())?;
    let mut link = echo.connect()?;
    let mut measured = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        for database in &databases {
            let sql = "INSERT INTO line (bytes) VALUES (zeroblob(?1))";
            database.prepare_cached(sql)?.execute([EDIT_BYTES as i64])?;
        }
        link.round_trip(EDIT_BYTES)?;
        measured.push(millis(begin.elapsed()));
    }
    drop(databases);
    paths.iter().for_each(|path| floor::remove(path));
    Ok(Latency::of(measured))
}

/// What an edit of one field occupies, about, bytes.
const EDIT_BYTES: usize = 150;
