//! The tests of the tests: a bug is planted, seeded schedules run until one of them fails, and the seed is
//! written down with the check that caught it, so that every later build can see it caught again.

mod seeds;

use crdt_core::planted::{self, Bug};

use crate::harness::{corners, given_back, probes, put_back, schedule, workday};
use crate::organisation;
use crate::simulator::attempt::attempt;

pub use seeds::{Caught, Seeds};

/// The kinds of seeded schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A whole organisation under every fault there is.
    Organisation,
    /// Edits and faults.
    Faults,
    /// People with roles, records and people that move.
    Workday,
    /// Questions to the policy.
    Probes,
    /// Edits, restores of the server, and devices that are gone for good.
    GivenBack,
    /// A server that is put back to older backups.
    PutBack,
    /// Circumstances that chance hardly ever brings together.
    Corners,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Organisation,
        Self::Faults,
        Self::Workday,
        Self::Probes,
        Self::GivenBack,
        Self::PutBack,
        Self::Corners,
    ];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Faults => "faults",
            Self::Workday => "workday",
            Self::Probes => "probes",
            Self::GivenBack => "given-back",
            Self::PutBack => "put-back",
            Self::Corners => "corners",
        }
    }

    /// The kinds in which a bug is looked for.
    #[must_use]
    pub const fn of(bug: Bug) -> &'static [Self] {
        match bug {
            Bug::AfterOnly => &[Self::Probes],
            Bug::FoldTakesUnanswered
            | Bug::ClockUncorrected
            | Bug::RebaseCovers
            | Bug::ReceiptsDropped
            | Bug::NewsMissed
            | Bug::CursorsKept => &[Self::Corners],
            Bug::EpochKept | Bug::ResendForgotten | Bug::NumbersKept => {
                &[Self::PutBack, Self::GivenBack, Self::Organisation]
            }
            Bug::RemoveBeatsAdd => &[Self::GivenBack, Self::Organisation],
            _ => &[Self::Organisation, Self::Faults, Self::Workday],
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn run(self, seed: u64) {
        match self {
            Self::Organisation => drop(organisation::run(seed)),
            Self::Faults => drop(schedule::run(seed)),
            Self::Workday => _ = workday::run(seed),
            Self::Probes => drop(probes::run(seed)),
            Self::GivenBack => _ = given_back::run(seed),
            Self::PutBack => _ = put_back::run(seed),
            Self::Corners => corners::run(seed),
        }
    }
}

/// How a schedule went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything held.
    Held,
    /// A check failed.
    Failed {
        /// The check, as [`check_of`] names it.
        check: String,
        /// All that it said.
        said: String,
    },
}

/// What a search for one bug came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The first schedule that fails, if one does.
    pub caught: Option<Caught>,
    /// How often schedules came past the bug's place.
    pub reached: u64,
}

/// Runs a schedule, with a bug or as it is.
#[must_use]
pub fn run(kind: Kind, seed: u64, bug: Option<Bug>) -> Outcome {
    let work = || match bug {
        Some(bug) => planted::with(bug, || kind.run(seed)),
        None => kind.run(seed),
    };
    let Err(failure) = attempt(work) else { return Outcome::Held };
    let said = format!("{}\nthe check stands in {}", failure.message, failure.place);
    Outcome::Failed { check: check_of(&said), said }
}

/// Runs schedules with a bug, at most `limit`, until one fails that holds without it. `kinds` take turns.
#[must_use]
pub fn search(bug: Bug, kinds: &[Kind], limit: u64) -> Search {
    let mut reached = 0;
    let turns = (1..).flat_map(|seed| kinds.iter().map(move |kind| (*kind, seed)));
    for (schedules, (kind, seed)) in (1..=limit).zip(turns) {
        let outcome = run(kind, seed, Some(bug));
        reached += planted::reached();
        if let Outcome::Failed { check, .. } = outcome
            && run(kind, seed, None) == Outcome::Held
        {
            return Search { caught: Some(Caught { bug, kind, seed, schedules, check }), reached };
        }
    }
    Search { caught: None, reached }
}

/// The check that failed: the first line of what it said, without what differs from run to run.
#[must_use]
pub fn check_of(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let is_varying = |word: &&str| word.chars().any(|c| c.is_ascii_digit());
    let words = line.split_whitespace().map(|word| if is_varying(&word) { "#" } else { word });
    let words: Vec<&str> = words.take(WORDS).collect();
    words.join(" ")
}

/// Words that tell one check from another.
const WORDS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_named_without_what_differs_from_run_to_run() {
        let said = "bob (left) differs from the server (right) in 3 places:\n  row account 01ab";
        assert_eq!(check_of(said), "bob (left) differs from the server (right) in # places:");
        assert_eq!(check_of("batch 0f3c is nowhere"), "batch # is nowhere");
    }
}
