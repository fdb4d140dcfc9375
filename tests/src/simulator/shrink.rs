//! Shortening: the fewest steps of a plan with which it still fails in the same place.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::attempt::Failure;
use super::plan::Plan;

/// How much is tried to make a plan shorter.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Runs at most.
    pub runs: usize,
    /// Time at most; the run under way when it is over ends.
    pub time: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { runs: 200, time: Duration::from_secs(60) }
    }
}

/// A plan that fails, with as few steps as were found, and how it fails.
#[derive(Debug, Clone)]
pub struct Shortened {
    /// The plan.
    pub plan: Plan,
    /// How it fails.
    pub failure: Failure,
    /// Runs that finding it took.
    pub runs: usize,
}

/// Leaves out more and more steps while the plan fails in the same place: delta debugging.
pub fn shorten(
    plan: &Plan,
    failure: Failure,
    patience: Patience,
    mut run: impl FnMut(&Plan) -> Result<(), Failure>,
) -> Shortened {
    let began = Instant::now();
    let mut best = Shortened { plan: plan.clone(), failure, runs: 0 };
    let mut parts = 2;
    while best.plan.steps.len() > 1 {
        let numbers: Vec<usize> = best.plan.numbers().into_iter().collect();
        let size = numbers.len().div_ceil(parts);
        let mut left_out = None;
        for part in numbers.chunks(size) {
            if best.runs >= patience.runs || began.elapsed() > patience.time {
                return best;
            }
            best.runs += 1;
            let rest: BTreeSet<usize> =
                numbers.iter().copied().filter(|number| !part.contains(number)).collect();
            let shorter = best.plan.only(&rest);
            if let Err(failure) = run(&shorter)
                && failure.place == best.failure.place
            {
                left_out = Some((shorter, failure));
                break;
            }
        }
        match left_out {
            Some((plan, failure)) => {
                best = Shortened { plan, failure, ..best };
                parts = (parts - 1).max(2);
            }
            None if size == 1 => return best,
            None => parts = (parts * 2).min(numbers.len()),
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::tally::Fault;

    fn failure(place: &str) -> Failure {
        Failure { message: String::new(), place: place.to_owned(), trace: Vec::new() }
    }

    #[test]
    fn the_two_steps_that_matter_are_found_among_a_hundred() {
        let plan = Plan::of(7, 100, &[(Fault::Cut, 1)]);
        let shortened = shorten(&plan, failure("here"), Patience::default(), |plan| {
            let numbers = plan.numbers();
            if numbers.contains(&13) && numbers.contains(&77) {
                Err(failure("here"))
            } else {
                Ok(())
            }
        });
        assert_eq!(shortened.plan.numbers(), BTreeSet::from([13, 77]));
        assert!(shortened.runs <= 200);
    }

    #[test]
    fn another_failure_is_not_taken_for_the_one_that_is_looked_for() {
        let plan = Plan::of(7, 20, &[(Fault::Cut, 1)]);
        let shortened = shorten(&plan, failure("here"), Patience::default(), |plan| {
            Err(failure(if plan.numbers().contains(&3) { "here" } else { "there" }))
        });
        assert_eq!(shortened.plan.numbers(), BTreeSet::from([3]));
    }

    #[test]
    fn patience_ends() {
        let plan = Plan::of(7, 100, &[(Fault::Cut, 1)]);
        let patience = Patience { runs: 5, ..Patience::default() };
        let shortened = shorten(&plan, failure("here"), patience, |_| Ok(()));
        assert_eq!((shortened.runs, shortened.plan.steps.len()), (5, 100));
    }
}
