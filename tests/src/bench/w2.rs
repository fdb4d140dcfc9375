//! W2: durable edits of single fields, one transaction each, on a device without a network.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rusqlite::TransactionBehavior;

use super::contact;
use super::figure::{Latencies, Latency, Target, micros};
use super::floor::{self, Durability, EditRows};
use super::loads::Loads;
use super::report::Report;
use super::stage::{Stage, owner};
use super::workload::{FieldEdit, Workload};

/// Runs it, on copies of a device's file.
///
/// # Errors
/// When the device fails.
pub fn run(
    stage: &Stage,
    workload: &Workload,
    base: &Path,
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let before = Loads::now();
    let edits = workload.w2_that_write();
    let (mut own, mut floors) = (Latencies::default(), Latencies::default());
    let (device, bare) = (stage.path("w2.db"), stage.path("w2-floor.db"));
    for _ in 0..runs {
        floor::copy(base, &device)?;
        own.push(edit(stage, &device, &edits)?);
        let rows = EditRows::read(&device, &edits)?;
        floor::copy(base, &bare)?;
        floors.push(write(&bare, &rows)?);
        floor::remove(&device);
        floor::remove(&bare);
    }
    let note = format!(
        "{} of {} edits write; the others name the value that the field has",
        edits.len(),
        workload.w2.len()
    );
    let [p50, p99] = own.figures("one edit, synchronous=FULL,", "µs", Some(&floors));
    let figures = vec![p50.target(Target::TimesFloor(1.15)), p99];
    report.add("W2 edits on one device", figures, Loads::now().since(&before), vec![note]);
    Ok(())
}

fn edit(stage: &Stage, path: &Path, edits: &[FieldEdit]) -> Result<Latency> {
    let client = stage.offline(path, &owner(0))?;
    let mut measured = Vec::with_capacity(edits.len());
    for edit in edits {
        let (id, edits) = (contact::id(&edit.id)?, contact::field_edit(edit));
        let begin = Instant::now();
        client.update(id, edits)?;
        measured.push(micros(begin.elapsed()));
    }
    client.close();
    Ok(Latency::of(measured))
}

fn write(path: &Path, rows: &[EditRows]) -> Result<Latency> {
    let mut connection = floor::open(path, Durability::Full)?;
    let mut measured = Vec::with_capacity(rows.len());
    for edit in rows {
        let document = edit.locate(&connection)?;
        let begin = Instant::now();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        edit.write(&tx, document)?;
        tx.commit()?;
        measured.push(micros(begin.elapsed()));
    }
    Ok(Latency::of(measured))
}
