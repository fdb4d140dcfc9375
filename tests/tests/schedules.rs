//! Seeded schedules of everything that can happen to an organisation: whatever fails, moves, is refused, taken away
//! or put back, nothing confirmed is lost, nothing happens twice, nobody is sent what they may not have, and after
//! the last fault everything comes to rest within two simulated minutes and stays so.

use tests::harness::tally::Fault;
use tests::organisation;
use tests::simulator::seeds::{run_seeds, seeds_of, steps_of};

/// Schedules unless `FIELDBOOK_SCHEDULES` says otherwise.
const SCHEDULES: u64 = 1_000;
/// How often each kind of fault has struck at least, in so many.
const STRIKES_MIN: u64 = 10;

#[test]
fn whatever_happens_nothing_is_lost_nobody_sees_too_much_and_everything_comes_to_rest() {
    let seeds = seeds_of("FIELDBOOK_SCHEDULES", SCHEDULES);
    let plan = |seed| steps_of(organisation::plan(seed));
    let outcome = run_seeds(&seeds, plan, organisation::run_plan);
    println!("{} schedules: {:?}", outcome.schedules, outcome.ran);
    if let Some(failed) = outcome.failed {
        let (seed, steps) = (failed.plan.seed, failed.steps());
        let replay = tests::harness::replay_command(seed);
        panic!("{failed}{replay}\nshortened: FIELDBOOK_STEPS={steps} before that command");
    }
    if seeds.len() as u64 >= SCHEDULES {
        for fault in Fault::ALL {
            let struck = outcome.ran.tally.of(fault);
            assert!(struck >= STRIKES_MIN, "{fault:?} struck {struck} times only");
        }
        assert!(outcome.ran.inspected > SCHEDULES, "{:?}", outcome.ran);
        assert!(outcome.ran.compared > SCHEDULES, "{:?}", outcome.ran);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hashes: Vec<u64> = (9_001..9_021)
        .map(|seed| {
            let (one, other) = (organisation::run(seed), organisation::run(seed));
            assert_eq!(one, other, "seed {seed}");
            one.trace_hash
        })
        .collect();
    let different: std::collections::BTreeSet<&u64> = hashes.iter().collect();
    assert_eq!(different.len(), hashes.len(), "two seeds gave one trace");
}
