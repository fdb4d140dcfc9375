//! How the costs grow with the number of records: one point for each number, and a drawing of them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use client_sdk::Paging;

use super::figure::{Spread, micros, millis};
use super::options::Options;
use super::plot::{Panel, draw};
use super::stage::{Stage, owner};
use super::workload::Workload;
use super::{alone, contact, w1};

/// Numbers of records, up to the one that is asked for.
const STEPS: [usize; 6] = [1_000, 3_000, 10_000, 30_000, 100_000, 250_000];
/// Edits of one point.
const EDITS: usize = 300;

/// What so many records cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// How many.
    pub records: usize,
    /// A first sync until everything is searchable, s.
    pub first_sync_s: f64,
    /// The most memory of the device that does it, MB.
    pub peak_mb: f64,
    /// The device's file, MB.
    pub file_mb: f64,
    /// A reconnect with nothing new, ms.
    pub reconnect_ms: f64,
    /// One durable edit, p50, µs.
    pub edit_us: f64,
    /// From opening the file to a page of 50, ms.
    pub open_ms: f64,
}

/// Measures the points up to `options.n`, and draws them into a file; a table of them.
///
/// # Errors
/// When a device or the server fails, or the file cannot be written.
pub fn run(options: &Options, drawing: &Path) -> Result<String> {
    let mut points = Vec::new();
    for records in STEPS.into_iter().filter(|records| *records <= options.n) {
        // A long run says how far it has come.
        eprintln!("{records} records");
        points.push(measure(options, records)?);
    }
    ensure!(points.len() > 1, "a drawing needs two points: --n {} or more", STEPS[1]);
    fs::write(drawing, draw(&panels(&points)))?;
    Ok(table(&points))
}

fn measure(options: &Options, records: usize) -> Result<Point> {
    let workload = Workload::generate(records);
    let stage = Stage::start(&options.folder, 1)?;
    w1::fill(&stage, &workload)?;
    let (file, name) = ("device.db", owner(0));
    let pulled = alone::pull(&stage, file, &name)?;
    let path = stage.path(file);
    let file_mb = fs::metadata(&path)?.len() as f64 / 1e6;
    let device = stage.device(file, &name)?;
    let reconnects = (0..options.runs * 5).map(|_| {
        let begin = Instant::now();
        let handle = device.start_sync()?;
        stage.wait_until_live(&device)?;
        let took = millis(begin.elapsed());
        drop(handle);
        Ok(took)
    });
    let reconnects = reconnects.collect::<Result<Vec<f64>>>()?;
    device.close();
    let opens = (0..options.runs * 5).map(|_| {
        let begin = Instant::now();
        let client = stage.offline(&path, &name)?;
        let rows = client.query(FIRST, &[], Paging::first(50))?.rows.len();
        let took = millis(begin.elapsed());
        ensure!(rows == 50, "{rows} records are found");
        client.close();
        Ok(took)
    });
    let opens = opens.collect::<Result<Vec<f64>>>()?;
    let client = stage.offline(&path, &name)?;
    let edits = workload.w2_that_write().into_iter().take(EDITS).map(|edit| {
        let (id, edits) = (contact::id(&edit.id)?, contact::field_edit(&edit));
        let begin = Instant::now();
        client.update(id, edits)?;
        Ok(micros(begin.elapsed()))
    });
    let edits = edits.collect::<Result<Vec<f64>>>()?;
    client.close();
    Ok(Point {
        records,
        first_sync_s: pulled.searchable_ms / 1e3,
        peak_mb: pulled.peak_mb,
        file_mb,
        reconnect_ms: Spread::of(&reconnects).median,
        edit_us: Spread::of(&edits).median,
        open_ms: Spread::of(&opens).median,
    })
}

fn table(points: &[Point]) -> String {
    let mut table = String::from(
        "| records | first sync, s | peak memory, MB | file, MB | reconnect, ms | edit, µs | open, ms |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for point in points {
        let Point { records, first_sync_s, peak_mb, file_mb, .. } = point;
        let Point { reconnect_ms, edit_us, open_ms, .. } = point;
        let row = format!(
            "| {records} | {first_sync_s:.2} | {peak_mb:.0} | {file_mb:.1} | {reconnect_ms:.2} | {edit_us:.0} \
             | {open_ms:.2} |\n"
        );
        table.push_str(&row);
    }
    table
}

fn panels(points: &[Point]) -> Vec<Panel> {
    let panel = |title: &str, unit, value: fn(&Point) -> f64| Panel {
        title: title.to_owned(),
        unit,
        points: points.iter().map(|point| (point.records as f64, value(point))).collect(),
    };
    vec![
        panel("First sync", "s", |point| point.first_sync_s),
        panel("Memory of the device", "MB", |point| point.peak_mb),
        panel("File on the device", "MB", |point| point.file_mb),
        panel("Reconnect", "ms", |point| point.reconnect_ms),
        panel("One durable edit", "µs", |point| point.edit_us),
        panel("Open to a first page", "ms", |point| point.open_ms),
    ]
}

const FIRST: &str = "SELECT _id, last_name FROM contact ORDER BY last_name LIMIT 50";
