//! An app's own schema and policy in the simulator: 200 seeds, each another day of faults, and one invariant that
//! only the app knows. With `--planted` a merge rule is wrong, and the simulator finds a day that shows it.

use std::process::ExitCode;

use client_sdk::Edits;
use crdt_core::record::Value;
use rand::Rng as _;
use rand::rngs::StdRng;
use tests::simulator::{Simulator, User, View};

const SCHEMA: &str = include_str!("simulate_your_app/schema.toml");
const POLICY: &str = include_str!("simulate_your_app/policy.toml");

fn main() -> ExitCode {
    let planted = std::env::args().any(|argument| argument == "--planted");
    let schema = if planted { SCHEMA.replace(", merge = \"max\"", "") } else { SCHEMA.to_owned() };
    let report = Simulator::new()
        .schema(schema)
        .policy(POLICY)
        .member("dora", "dispatcher", &[])
        .member("tom", "technician", &["north"])
        .member("tina", "technician", &["north"])
        .devices(4)
        .operations(read_a_meter)
        .operations(set_up_a_meter)
        .invariant("no meter runs backwards", no_meter_runs_backwards)
        .invariant("every visit counts once", every_visit_counts_once)
        .seeds(1..201)
        .run();
    print!("{report}");
    if report.failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Somebody stands before a meter and types in what it says: more than the device shows.
fn read_a_meter(user: &mut User<'_>, rng: &mut StdRng) {
    let meters = user.records("meter");
    let Some(meter) = meters.get(rng.random_range(0..meters.len().max(1))).copied() else { return };
    let shown = user.see(meter).and_then(|meter| meter.int("reading")).unwrap_or(0);
    let reading = shown + rng.random_range(1..100);
    if user.update(meter, Edits::new().set("reading", reading).increment("visits", 1)) {
        user.note("reading", meter, reading);
    }
}

/// The dispatcher has a new meter set up, while there are few.
fn set_up_a_meter(user: &mut User<'_>, _: &mut StdRng) {
    let meters = user.records("meter").len();
    if user.name() == "dora" && meters < 3 {
        let edits = Edits::new().set("place", format!("House {meters}")).set("territory", "north");
        user.create("meter", edits);
    }
}

/// No accepted reading is greater than what a device shows.
fn no_meter_runs_backwards(view: &View<'_>) -> Result<(), String> {
    for note in view.notes("reading") {
        for device in view.devices() {
            let Some(meter) = view.see(device, note.record) else { continue };
            let shown = meter.int("reading").unwrap_or(0);
            if note.value.as_int().is_some_and(|noted| shown < noted) {
                let (name, noted) = (view.name(device), &note.value);
                return Err(format!("{name} sees {shown}, and somebody had read {noted:?}"));
            }
        }
    }
    Ok(())
}

/// A meter has been visited as often as its readings were accepted.
fn every_visit_counts_once(view: &View<'_>) -> Result<(), String> {
    for device in view.devices() {
        for meter in view.records(device, "meter") {
            let visits = view.notes("reading").filter(|note| note.record == meter.id()).count();
            let shown = match meter.value("visits") {
                Value::Counter(visits) => *visits,
                _ => 0,
            };
            if i64::try_from(visits) != Ok(shown) {
                return Err(format!("{visits} visits were accepted, {shown} are shown"));
            }
        }
    }
    Ok(())
}
