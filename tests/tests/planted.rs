//! The tests are tested: every planted bug is caught by the schedule that is known to catch it, by the same check
//! as then; and without the bug that schedule holds.
#![cfg(debug_assertions)]

use crdt_core::planted::Bug;
use tests::planted::{Caught, Outcome, Seeds, run};
use tests::simulator::cores::on_every_core;

/// Planted bugs that there are at least.
const BUGS_MIN: usize = 20;
/// Schedules that a search may have taken.
const SCHEDULES_MAX: u64 = 1_000;

/// The table as it is committed.
fn seeds() -> Seeds {
    Seeds::read().expect("every line of the table names a bug and a schedule")
}

fn report(faults: &[Option<String>]) {
    let faults: Vec<&str> = faults.iter().flatten().map(String::as_str).collect();
    assert!(
        faults.is_empty(),
        "{}\nsearch again: cargo run -p tests --bin planted -- search",
        faults.join("\n")
    );
}

#[test]
fn every_planted_bug_is_caught_by_its_schedule_and_by_the_same_check() {
    let caught: Vec<Caught> = seeds().all().cloned().collect();
    let faults = on_every_core(&caught, |caught| {
        let Caught { bug, kind, seed, check, .. } = caught;
        let (name, kind_name) = (bug.name(), kind.name());
        match run(*kind, *seed, Some(*bug)) {
            Outcome::Held => Some(format!("{name}: {kind_name} {seed} does not catch it")),
            Outcome::Failed { check: now, said } if now != *check => {
                Some(format!("{name}: {kind_name} {seed} fails otherwise: {said}"))
            }
            Outcome::Failed { .. } => None,
        }
    });
    println!("{} bugs", caught.len());
    report(&faults);
}

#[test]
fn without_their_bugs_the_same_schedules_hold() {
    let mut schedules: Vec<Caught> = seeds().all().cloned().collect();
    schedules.sort_by_key(|caught| (caught.kind, caught.seed));
    schedules.dedup_by_key(|caught| (caught.kind, caught.seed));
    let faults = on_every_core(&schedules, |caught| match run(caught.kind, caught.seed, None) {
        Outcome::Held => None,
        Outcome::Failed { said, .. } => {
            Some(format!("{} {}: {said}", caught.kind.name(), caught.seed))
        }
    });
    println!("{} schedules", schedules.len());
    report(&faults);
}

#[test]
fn twenty_bugs_and_more_are_found_within_a_thousand_schedules() {
    let seeds = seeds();
    let (found, missing): (Vec<Bug>, Vec<Bug>) =
        Bug::ALL.iter().partition(|bug| seeds.get(**bug).is_some());
    // What no schedule is known to catch is a blind spot: RESULTS.md lists them.
    println!(
        "{} bugs found, not found: {:?}",
        found.len(),
        missing.iter().map(|bug| bug.name()).collect::<Vec<_>>()
    );
    assert!(found.len() >= BUGS_MIN, "{} bugs found only", found.len());
    let late: Vec<&Caught> =
        seeds.all().filter(|caught| caught.schedules > SCHEDULES_MAX).collect();
    assert!(late.is_empty(), "{late:?}");
}
