//! Plans: what is going to happen in one simulation, decided from its seed before anything happens, so that a
//! failure can be looked for with fewer and fewer steps.

use std::collections::BTreeSet;
use std::fmt;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::harness::tally::Fault;

/// The steps of one simulation, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed that decides everything.
    pub seed: u64,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One step. Its own seed decides its particulars, whatever the other steps do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its place in the whole plan.
    pub number: usize,
    /// What happens.
    pub deed: Deed,
    /// To which device, counted round.
    pub device: usize,
    /// Decides the particulars.
    pub seed: u64,
    /// The time that passes afterwards, milliseconds.
    pub pause_ms: u64,
}

/// What can happen in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A user does something.
    Operate,
    /// A device is well again: it runs, and its network is there.
    Recover,
    /// A device's file, or the server's, is copied to be put back later.
    BackUp,
    /// Every fault ends, everything comes to rest, and all of it is checked.
    Rest,
    /// Something goes wrong.
    Fault(Fault),
}

impl Plan {
    /// The plan of a seed: so many steps, with faults of these kinds among them, each as often as it weighs.
    ///
    /// A plan has about half of the kinds: what happens often together finds more than a little of everything.
    #[must_use]
    pub fn of(seed: u64, steps: usize, faults: &[(Fault, u32)]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9) ^ 0x5eed);
        let all: Vec<(Fault, u32)> = faults.to_vec();
        let chosen: Vec<(Fault, u32)> =
            all.iter().copied().filter(|_| rng.random_bool(0.55)).collect();
        let faults = if chosen.is_empty() { all } else { chosen };
        let rest_at = rng.random_bool(0.2).then(|| rng.random_range(steps / 3..=steps * 2 / 3));
        let step = |number| {
            let deed = if Some(number) == rest_at { Deed::Rest } else { deed(&mut rng, &faults) };
            let device = rng.random_range(0..usize::from(u16::MAX));
            Step { number, deed, device, seed: rng.random(), pause_ms: rng.random_range(0..400) }
        };
        Self { seed, steps: (0..steps).map(step).collect() }
    }

    /// The same with these steps alone.
    #[must_use]
    pub fn only(&self, numbers: &BTreeSet<usize>) -> Self {
        let steps = self.steps.iter().copied().filter(|step| numbers.contains(&step.number));
        Self { seed: self.seed, steps: steps.collect() }
    }

    /// The places of its steps, as [`Plan::only`] takes them.
    #[must_use]
    pub fn numbers(&self) -> BTreeSet<usize> {
        self.steps.iter().map(|step| step.number).collect()
    }
}

fn deed(rng: &mut StdRng, faults: &[(Fault, u32)]) -> Deed {
    match rng.random_range(0..100) {
        0..48 => Deed::Operate,
        48..58 => Deed::Recover,
        58..61 => Deed::BackUp,
        _ => {
            let chosen = faults.choose_weighted(rng, |(_, weight)| *weight);
            Deed::Fault(chosen.expect("there are kinds of faults, and some weigh something").0)
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, deed, device, pause_ms, .. } = self;
        match deed {
            Deed::Fault(fault) => write!(out, "{number:>3} {fault:?}, device {device}")?,
            Deed::Rest => write!(out, "{number:>3} Rest")?,
            deed => write!(out, "{number:>3} {deed:?}, device {device}")?,
        }
        write!(out, ", then {pause_ms} ms")
    }
}
