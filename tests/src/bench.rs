//! The benchmark: what the whole system costs on a real server and real devices, beside the least that the
//! same durable work costs without it. docs/PERFORMANCE.md says how to read it.

pub mod contact;
pub mod echo;
pub mod figure;
pub mod floor;
pub mod loads;
pub mod machine;
pub mod options;
pub mod replay;
pub mod report;
pub mod stage;
pub mod values;
pub mod w1;
pub mod w2;
pub mod w3;
pub mod w4;
pub mod w5;
pub mod w7;
pub mod workload;

use anyhow::{Context, Result};

use options::Options;
use report::Report;
use stage::Stage;
use workload::Workload;

/// Runs every workload, one after the other, and gives their figures.
///
/// # Errors
/// When the server or a device fails, or shows something other than what was written.
pub fn run(options: &Options) -> Result<Report> {
    let workload = match &options.workload {
        Some(folder) => Workload::read(folder, options.n)?,
        None => Workload::generate(options.n),
    };
    let stage = Stage::start(&options.folder, w1::devices(options.runs))?;
    let mut report = Report::new(options);
    let devices = w1::run(&stage, &workload, options.runs, &mut report)?;
    w2::run(&stage, &workload, &devices.base, options.runs, &mut report)?;
    w7::run(&stage, &workload, &devices.base, options.runs, &mut report)?;
    w3::run(&stage, &workload, &devices, &mut report)?;
    let [a, b] = devices.pairs.last().context("there is at least one run")?;
    w4::run(&stage, &workload, [&a.client, &b.client], options.runs, &mut report)?;
    w5::run(&stage, &a.client, options.runs, &mut report)?;
    Ok(report)
}
