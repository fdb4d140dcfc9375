//! The benchmark: what the whole system costs on a real server and real devices, beside the least that the
//! same durable work costs without it. docs/PERFORMANCE.md says how to read it.

pub mod alone;
pub mod apart;
pub mod contact;
pub mod echo;
pub mod figure;
pub mod floor;
pub mod growth;
pub mod idle;
pub mod intake;
pub mod loads;
pub mod machine;
pub mod options;
pub mod plot;
pub mod replay;
pub mod report;
pub mod stage;
pub mod values;
pub mod w1;
pub mod w2;
pub mod w3;
pub mod w4;
pub mod w5;
pub mod w6;
pub mod w7;
pub mod w8;
pub mod w9;
pub mod workload;

use anyhow::{Context, Result};

use options::{Options, Part};
use report::Report;
use stage::Stage;
use workload::Workload;

/// Runs the parts that are wanted, one after the other, and gives their figures.
///
/// # Errors
/// When the server or a device fails, or shows something other than what was written.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(options);
    let on_stage = [Part::W1, Part::W2, Part::W3, Part::W4, Part::W5, Part::W7, Part::W8, Part::W9];
    if on_stage.into_iter().any(|part| options.wants(part)) {
        run_on_stage(options, &mut report)?;
    }
    if options.wants(Part::W5) && options.n != FEW {
        let workload = Workload::generate(FEW);
        let stage = Stage::start(&options.folder, w1::devices(1))?;
        let devices = w1::prepare(&stage, &workload, 1)?;
        w5::run(&stage, &devices.pairs[0][0].client, FEW, options.runs, &mut report)?;
    }
    if options.wants(Part::W6) {
        w6::run(options, &mut report)?;
    }
    if options.wants(Part::Intake) {
        intake::run(options, &mut report)?;
    }
    if options.wants(Part::Idle) {
        idle::run(options, &mut report)?;
    }
    Ok(report)
}

/// What needs devices that hold all records.
fn run_on_stage(options: &Options, report: &mut Report) -> Result<()> {
    let Options { runs, n, .. } = *options;
    let workload = match &options.workload {
        Some(folder) => Workload::read(folder, n)?,
        None => Workload::generate(n),
    };
    // W1 and W3 have two devices for each run, the others make do with two.
    let pairs = if options.wants(Part::W1) || options.wants(Part::W3) { runs } else { 1 };
    let stage = Stage::start(&options.folder, w1::devices(pairs))?;
    let devices = match options.wants(Part::W1) {
        true => w1::run(&stage, &workload, runs, report)?,
        false => w1::prepare(&stage, &workload, pairs)?,
    };
    if options.wants(Part::W2) {
        w2::run(&stage, &workload, &devices.base, runs, report)?;
    }
    if options.wants(Part::W7) {
        w7::run(&stage, &workload, &devices.base, runs, report)?;
    }
    if options.wants(Part::W9) {
        w9::run(&stage, &workload, &devices.base, runs, report)?;
    }
    if options.wants(Part::W3) {
        w3::run(&stage, &workload, &devices, report)?;
    }
    let [a, b] = devices.pairs.last().context("there is at least one run")?;
    if options.wants(Part::W4) {
        w4::run(&stage, &workload, [&a.client, &b.client], runs, report)?;
    }
    if options.wants(Part::W5) {
        w5::run(&stage, &a.client, n, runs, report)?;
    }
    if options.wants(Part::W8) {
        w8::run(&stage, &workload, [a, b], runs, report)?;
    }
    Ok(())
}

/// Records of the second reconnect: what it costs is to be the same at any number.
const FEW: usize = 1_000;
