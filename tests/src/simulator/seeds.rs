//! Running many seeds on every core, and telling of the first that fails: its seed, its shortest plan, and the
//! command that runs it again.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::attempt::{Failure, attempt};
use super::cores::on_every_core;
use super::plan::Plan;
use super::shrink::{Patience, Shortened, shorten};
use crate::harness::tally::Tally;

/// What one simulation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// The faults that struck.
    pub tally: Tally,
    /// Batches that were confirmed to users.
    pub confirmed: u64,
    /// Disputes that were there at the end.
    pub disputed: u64,
    /// Transactions that devices advised against.
    pub advised_against: u64,
    /// Entries of pages that were compared with the model while everything was under way.
    pub inspected: u64,
    /// Values of fields that were compared with the model at rest.
    pub compared: u64,
    /// What two runs of one plan have in common.
    pub trace_hash: u64,
}

impl Ran {
    fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.confirmed += other.confirmed;
        self.disputed += other.disputed;
        self.advised_against += other.advised_against;
        self.inspected += other.inspected;
        self.compared += other.compared;
        self.trace_hash ^= other.trace_hash;
    }
}

/// What many simulations did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How many ran to their end.
    pub schedules: u64,
    /// What they did together.
    pub ran: Ran,
    /// The first seed that failed, if one did; the others after it were not run.
    pub failed: Option<Failed>,
}

/// A seed that fails.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Its plan as it was.
    pub plan: Plan,
    /// The shortest plan that was found to fail in the same way.
    pub shortened: Shortened,
}

/// Runs the plans of seeds on every core until one fails; with `FIELDBOOK_KEEP_GOING` all of them, and each
/// failure is printed.
#[must_use]
pub fn run_seeds(
    seeds: &[u64],
    plan: impl Fn(u64) -> Plan + Sync,
    run: impl Fn(&Plan) -> Ran + Sync,
) -> Outcome {
    let stop = AtomicBool::new(false);
    let keeps_going = std::env::var_os("FIELDBOOK_KEEP_GOING").is_some();
    let outcomes = on_every_core(seeds, |seed| {
        if stop.load(Ordering::Relaxed) {
            return Outcome::default();
        }
        let plan = plan(*seed);
        let failure = match attempt(|| run(&plan)) {
            Ok(ran) => return Outcome { schedules: 1, ran, failed: None },
            Err(failure) => failure,
        };
        let failed = if keeps_going {
            println!("seed {seed} fails: {} ({})", failure.message, failure.place);
            Failed::unshortened(plan, failure)
        } else {
            stop.store(true, Ordering::Relaxed);
            Failed::of(plan, failure, &run)
        };
        Outcome { failed: Some(failed), ..Outcome::default() }
    });
    let mut sum = Outcome::default();
    for outcome in outcomes {
        sum.schedules += outcome.schedules;
        sum.ran.add(&outcome.ran);
        // Of two that failed at once the smaller seed is told, so that the same run tells the same.
        sum.failed = [sum.failed, outcome.failed]
            .into_iter()
            .flatten()
            .min_by_key(|failed| failed.plan.seed);
    }
    sum
}

impl Failed {
    fn of(plan: Plan, failure: Failure, run: &impl Fn(&Plan) -> Ran) -> Self {
        let shortened = shorten(&plan, failure, Patience::default(), |shorter| {
            attempt(|| run(shorter)).map(drop)
        });
        Self { plan, shortened }
    }

    fn unshortened(plan: Plan, failure: Failure) -> Self {
        let shortened = Shortened { plan: plan.clone(), failure, runs: 0 };
        Self { plan, shortened }
    }

    /// The places of the steps that are left, as `FIELDBOOK_STEPS` takes them.
    #[must_use]
    pub fn steps(&self) -> String {
        let numbers = self.shortened.plan.numbers();
        numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortened { plan, failure, runs } = &self.shortened;
        writeln!(out, "seed {} fails: {}", plan.seed, failure.message)?;
        writeln!(out, "the check stands in {}", failure.place)?;
        let (left, all) = (plan.steps.len(), self.plan.steps.len());
        writeln!(out, "{left} of {all} steps are enough for it (found in {runs} runs):")?;
        for step in &plan.steps {
            writeln!(out, "  {step}")?;
        }
        writeln!(out, "the last events:")?;
        for line in failure.trace.iter().rev().take(TRACE_LINES_SHOWN).rev() {
            writeln!(out, "  {line}")?;
        }
        Ok(())
    }
}

/// The seeds of a test: the one of `FIELDBOOK_SEED`, which is to be replayed; those of `FIELDBOOK_SEEDS`, as
/// `from..to`; or so many as the variable says; or so many, from 1.
#[must_use]
pub fn seeds_of(count_variable: &str, count: u64) -> Vec<u64> {
    let text = |name| std::env::var(name).ok();
    let number = |name| text(name).and_then(|text: String| text.parse().ok());
    let range = text("FIELDBOOK_SEEDS").and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    match (number("FIELDBOOK_SEED"), range) {
        (Some(seed), _) => vec![seed],
        (None, Some(range)) => range.collect(),
        (None, None) => (1..=number(count_variable).unwrap_or(count)).collect(),
    }
}

/// A plan with the steps that `FIELDBOOK_STEPS` names, when it names some.
#[must_use]
pub fn steps_of(plan: Plan) -> Plan {
    let Ok(text) = std::env::var("FIELDBOOK_STEPS") else { return plan };
    let numbers: BTreeSet<usize> = text.split(',').filter_map(|part| part.parse().ok()).collect();
    plan.only(&numbers)
}

/// Events that are shown of a failure.
const TRACE_LINES_SHOWN: usize = 25;
