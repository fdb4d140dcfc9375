//! How the costs grow with the number of records: one point for each number, and a drawing of them.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use super::figure::Spread;
use super::options::Options;
use super::plot::{Panel, draw};
use super::stage::{Stage, owner};
use super::workload::{FieldEdit, Workload};
use super::{alone, w1, w2, w5, w9};

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
    let times = 0..options.runs * 5;
    let reconnects = times.clone().map(|_| Ok(w5::reconnect(&stage, &device)?.0));
    let reconnects = reconnects.collect::<Result<Vec<f64>>>()?;
    device.close();
    let opens = times.map(|_| w9::open(&stage, &path)).collect::<Result<Vec<f64>>>()?;
    let edits: Vec<FieldEdit> = workload.w2_that_write().into_iter().take(EDITS).collect();
    let (edits, _) = w2::edit(&stage, &path, &edits)?;
    Ok(Point {
        records,
        first_sync_s: pulled.searchable_ms / 1e3,
        peak_mb: pulled.peak_mb,
        file_mb,
        reconnect_ms: Spread::of(&reconnects).median,
        edit_us: edits.p50,
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
