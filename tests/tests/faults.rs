//! Seeded schedules of edits and faults: whatever happens, nothing confirmed is lost, nothing happens twice,
//! and after the last fault everybody agrees within two simulated minutes.

use std::panic::resume_unwind;
use std::thread;

use tests::harness::schedule;
use tests::harness::tally::{Fault, Tally};

/// Schedules unless `FIELDBOOK_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 150;

/// The kinds of faults that these schedules have; `schedules.rs` has all of them.
const FAULTS: [Fault; 12] = [
    Fault::Partition,
    Fault::OneWayPartition,
    Fault::Cut,
    Fault::DeviceCrash,
    Fault::PowerCut,
    Fault::DeviceRestore,
    Fault::Refusal,
    Fault::SchemaChange,
    Fault::ServerCrash,
    Fault::ServerRestart,
    Fault::SmallClockJump,
    Fault::LargeClockJump,
];

/// The seeds to run: the one that is to be replayed, or so many.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    match number("FIELDBOOK_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("FIELDBOOK_SCHEDULES").unwrap_or(SCHEDULES)).collect(),
    }
}

/// Runs the schedules on every core; the faults that struck, and how many batches were confirmed.
fn run(seeds: &[u64]) -> (Tally, usize) {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = seeds.len().div_ceil(workers).max(1);
    let name = thread::current().name().unwrap_or_default().to_owned();
    thread::scope(|scope| {
        let runs = seeds.chunks(share).map(|seeds| {
            // A failure names the command that replays it by the name of its thread.
            let worker = thread::Builder::new().name(name.clone());
            let work = || seeds.iter().map(|seed| schedule::run(*seed)).collect::<Vec<_>>();
            worker.spawn_scoped(scope, work).unwrap()
        });
        let runs: Vec<_> = runs.collect();
        let (mut tally, mut confirmed) = (Tally::default(), 0);
        for run in runs {
            for ran in run.join().unwrap_or_else(|panic| resume_unwind(panic)) {
                tally.add(&ran.tally);
                confirmed += ran.confirmed;
            }
        }
        (tally, confirmed)
    })
}

#[test]
fn random_faults_lose_nothing_and_end_in_agreement() {
    let seeds = seeds();
    let (tally, confirmed) = run(&seeds);
    println!("{} schedules, {confirmed} batches, {tally:?}", seeds.len());
    if seeds.len() as u64 >= SCHEDULES {
        for fault in FAULTS {
            assert!(tally.of(fault) >= 15, "{fault:?} struck {} times only", tally.of(fault));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 9_001..9_004 {
        let (one, other) = (schedule::run(seed), schedule::run(seed));
        assert_eq!(one.trace_hash, other.trace_hash, "seed {seed}");
    }
    assert_ne!(schedule::run(9_001).trace_hash, schedule::run(9_002).trace_hash);
}
