//! Seeded schedules of edits and faults: whatever happens, nothing confirmed is lost, nothing happens twice,
//! and after the last fault everybody agrees within two simulated minutes.

use tests::harness::schedule;
use tests::harness::tally::{Fault, Tally};

/// Schedules unless `FIELDBOOK_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 150;

/// The seeds to run: the one that is to be replayed, or so many.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    match number("FIELDBOOK_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("FIELDBOOK_SCHEDULES").unwrap_or(SCHEDULES)).collect(),
    }
}

#[test]
fn random_faults_lose_nothing_and_end_in_agreement() {
    let seeds = seeds();
    let mut tally = Tally::default();
    let mut confirmed = 0;
    for seed in &seeds {
        let ran = schedule::run(*seed);
        tally.add(&ran.tally);
        confirmed += ran.confirmed;
    }
    println!("{} schedules, {confirmed} batches, {tally:?}", seeds.len());
    if seeds.len() as u64 >= SCHEDULES {
        for fault in Fault::ALL {
            assert!(tally.of(fault) >= 20, "{fault:?} struck {} times only", tally.of(fault));
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
