//! Seeded schedules of edits and faults: whatever happens, nothing confirmed is lost, nothing happens twice,
//! and after the last fault everybody agrees within two simulated minutes.

use tests::harness::schedule;
use tests::harness::tally::{Fault, Tally};
use tests::simulator::cores::on_every_core;
use tests::simulator::seeds::seeds_of;

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

#[test]
fn random_faults_lose_nothing_and_end_in_agreement() {
    let seeds = seeds_of("FIELDBOOK_SCHEDULES", SCHEDULES);
    let (mut tally, mut confirmed) = (Tally::default(), 0);
    for ran in on_every_core(&seeds, |seed| schedule::run(*seed)) {
        tally.add(&ran.tally);
        confirmed += ran.confirmed;
    }
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
