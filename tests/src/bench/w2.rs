//! W2: durable edits of single fields, one transaction each, on a device without a network.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rusqlite::TransactionBehavior;

use super::contact;
use super::figure::{Figure, Latencies, Latency, Target, micros};
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
    let (mut logged, mut floor_logged) = (Vec::new(), Vec::new());
    let (device, bare) = (stage.path("w2.db"), stage.path("w2-floor.db"));
    for _ in 0..runs {
        floor::copy(base, &device)?;
        let (latency, log) = edit(stage, &device, &edits)?;
        own.push(latency);
        logged.push(log);
        let rows = EditRows::read(&device, &edits)?;
        floor::copy(base, &bare)?;
        let (latency, log) = write(&bare, &rows)?;
        floors.push(latency);
        floor_logged.push(log);
        floor::remove(&device);
        floor::remove(&bare);
    }
    let note = format!(
        "{} of {} edits write; the others name the value that the field has",
        edits.len(),
        workload.w2.len()
    );
    let [p50, p99] = own.figures("one edit, synchronous=FULL,", "µs", Some(&floors));
    let log = Figure::new("written to the log by one edit", "B", &logged).floor(&floor_logged);
    let figures = vec![p50.target(Target::TimesFloor(1.15)), p99, log];
    report.add("W2 edits on one device", figures, Loads::now().since(&before), vec![note]);
    Ok(())
}

/// How long each took, and what the first of them added to the log, bytes an edit.
pub(super) fn edit(stage: &Stage, path: &Path, edits: &[FieldEdit]) -> Result<(Latency, f64)> {
    let client = stage.offline(path, &owner(0))?;
    let mut measured = Vec::with_capacity(edits.len());
    let mut log = Log::before(path);
    for edit in edits {
        let (id, edits) = (contact::id(&edit.id)?, contact::field_edit(edit));
        let begin = Instant::now();
        client.update(id, edits)?;
        measured.push(micros(begin.elapsed()));
        log.after(path, measured.len());
    }
    client.close();
    Ok((Latency::of(measured), log.an_edit))
}

fn write(path: &Path, rows: &[EditRows]) -> Result<(Latency, f64)> {
    let mut connection = floor::open(path, Durability::Full)?;
    let mut measured = Vec::with_capacity(rows.len());
    let mut log = Log::before(path);
    for edit in rows {
        let document = edit.locate(&connection)?;
        let begin = Instant::now();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        edit.write(&tx, document)?;
        tx.commit()?;
        measured.push(micros(begin.elapsed()));
        log.after(path, measured.len());
    }
    Ok((Latency::of(measured), log.an_edit))
}

/// How a log grows until it is folded back for the first time.
struct Log {
    before: f64,
    an_edit: f64,
}

impl Log {
    /// So few edits that the log is not folded back behind them.
    const COUNTED: usize = 60;

    fn before(path: &Path) -> Self {
        Self { before: floor::log_bytes(path), an_edit: 0.0 }
    }

    fn after(&mut self, path: &Path, edits: usize) {
        if edits == Self::COUNTED {
            self.an_edit = (floor::log_bytes(path) - self.before) / edits as f64;
        }
    }
}
