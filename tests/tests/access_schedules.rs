//! Seeded workdays of an organisation with roles: whatever is refused, moved, taken away or cut off, no accepted
//! edit is lost, no refused value reaches anybody else, every edit is in one place at every step, every queue
//! empties, and in the evening each device holds exactly what its member may see.

use std::panic::resume_unwind;
use std::thread;

use tests::harness::workday::{self, Ran};

/// Workdays unless `FIELDBOOK_WORKDAYS` says otherwise.
const WORKDAYS: u64 = 60;

/// The seeds to run: the one that is to be replayed, or so many.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    match number("FIELDBOOK_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("FIELDBOOK_WORKDAYS").unwrap_or(WORKDAYS)).collect(),
    }
}

/// Lives the workdays on every core.
fn run(seeds: &[u64]) -> Ran {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = seeds.len().div_ceil(workers).max(1);
    let name = thread::current().name().unwrap_or_default().to_owned();
    thread::scope(|scope| {
        let runs = seeds.chunks(share).map(|seeds| {
            // A failure names the command that replays it by the name of its thread.
            let worker = thread::Builder::new().name(name.clone());
            let work = || seeds.iter().map(|seed| workday::run(*seed)).collect::<Vec<_>>();
            worker.spawn_scoped(scope, work).expect("a thread can be started")
        });
        let runs: Vec<_> = runs.collect();
        let mut sum = Ran::default();
        for run in runs {
            for ran in run.join().unwrap_or_else(|panic| resume_unwind(panic)) {
                sum.confirmed += ran.confirmed;
                sum.disputed += ran.disputed;
                sum.advised_against += ran.advised_against;
                sum.changes_of_access += ran.changes_of_access;
            }
        }
        sum
    })
}

#[test]
fn whatever_is_refused_moved_or_taken_away_every_edit_is_in_one_place_and_everybody_has_their_own()
{
    let seeds = seeds();
    let ran = run(&seeds);
    println!("{} workdays: {ran:?}", seeds.len());
    if seeds.len() as u64 >= WORKDAYS {
        assert!(ran.confirmed > 1_000, "{ran:?}");
        assert!(ran.disputed > 100, "{ran:?}");
        assert!(ran.advised_against > 100, "{ran:?}");
        assert!(ran.changes_of_access > 200, "{ran:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_workday() {
    let (one, other) = (workday::run(9_101), workday::run(9_101));
    assert_eq!(one, other);
}
