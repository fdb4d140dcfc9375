//! The simulator: an app's own schema, policy, people and operations in whole workspaces under faults, each decided
//! by one seed. The devices run the real SDK, the server is the real one, on real SQLite; only clock, randomness,
//! network and disks are simulated.
//!
//! Whatever the app, every simulation checks that each confirmed edit is in exactly one place at every step, that
//! everything comes to rest within two simulated minutes of the last fault and stays so, that every device then
//! shows what the server has, and that two devices of one member hold the same. What only the app knows are its
//! invariants. A failure names the seed, and as few steps as were found to be enough for it.
//!
//! ```no_run
//! use client_sdk::Edits;
//! use rand::Rng as _;
//! use tests::simulator::Simulator;
//!
//! let report = Simulator::new()
//!     .schema(std::fs::read_to_string("schema.toml").unwrap())
//!     .member("tom", "technician", &["north"])
//!     .member("tina", "technician", &["north"])
//!     .devices(3)
//!     .operations(|user, rng| {
//!         for meter in user.records("meter") {
//!             let shown = user.see(meter).and_then(|meter| meter.int("reading")).unwrap_or(0);
//!             user.update(meter, Edits::new().set("reading", shown + rng.random_range(1..100)));
//!         }
//!     })
//!     .invariant("no meter runs backwards", |view| Ok(()))
//!     .seeds(1..201)
//!     .run();
//! println!("{report}");
//! assert!(report.failure.is_none());
//! ```

pub mod attempt;
pub mod cores;
mod guest;
pub mod plan;
pub mod seeds;
pub mod shrink;
pub mod stage;
pub mod user;
pub mod view;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crdt_core::schema::Schema;
use rand::rngs::StdRng;

use crate::harness::tally::{Fault, Tally};
use guest::Luggage;
pub use guest::Note;
use plan::Plan;
use seeds::{Failed, run_seeds, steps_of};
pub use user::User;
pub use view::View;

/// Something that a user does.
pub type Operation = dyn Fn(&mut User<'_>, &mut StdRng) + Send + Sync;
/// Whether something holds, or why not.
pub type Invariant = dyn Fn(&View<'_>) -> Result<(), String> + Send + Sync;

/// Simulations of an app.
pub struct Simulator {
    luggage: Luggage,
    faults: Vec<(Fault, u32)>,
    steps: usize,
    seeds: Vec<u64>,
}

/// What simulations of an app have shown.
#[derive(Debug, Clone)]
pub struct Report {
    /// How many ran to their end.
    pub schedules: u64,
    /// The faults that struck.
    pub faults: Tally,
    /// Edits that were confirmed to users.
    pub confirmed: u64,
    /// How often an invariant was held against a workspace at rest.
    pub compared: u64,
    /// The first seed that failed, with as few steps as were found to be enough for it.
    pub failure: Option<Failed>,
}

/// The faults of every app's simulations, and how often each is chosen where it is chosen from.
const FAULTS: [(Fault, u32); 18] = [
    (Fault::Partition, 5),
    (Fault::OneWayPartition, 3),
    (Fault::Delay, 2),
    (Fault::Duplicate, 2),
    (Fault::Cut, 4),
    (Fault::SlowReader, 1),
    (Fault::ServerCrash, 3),
    (Fault::ServerRestart, 1),
    (Fault::ServerPowerCut, 1),
    (Fault::DeviceCrash, 3),
    (Fault::PowerCut, 2),
    (Fault::IoError, 1),
    (Fault::DiskFull, 1),
    (Fault::Clone, 1),
    (Fault::DeviceRestore, 1),
    (Fault::TokenExpiry, 1),
    (Fault::RoleChange, 1),
    (Fault::SmallClockJump, 2),
];
/// Steps of one simulation unless the app says otherwise.
const STEPS: usize = 60;

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulator {
    /// Simulations with the built-in schema and the policy under which everybody may do everything; an app
    /// adds members and operations at least.
    #[must_use]
    pub fn new() -> Self {
        let luggage = Luggage {
            schema: Schema::builtin().text().to_owned(),
            policy: None,
            members: Vec::new(),
            devices: 0,
            operations: Vec::new(),
            invariants: Vec::new(),
        };
        Self { luggage, faults: FAULTS.to_vec(), steps: STEPS, seeds: (1..201).collect() }
    }

    /// The app's `schema.toml`.
    #[must_use]
    pub fn schema(mut self, text: impl Into<String>) -> Self {
        self.luggage.schema = text.into();
        self
    }

    /// The workspace's `policy.toml`.
    #[must_use]
    pub fn policy(mut self, text: impl Into<String>) -> Self {
        self.luggage.policy = Some(text.into());
        self
    }

    /// A person, with a role of the policy and with territories.
    #[must_use]
    pub fn member(mut self, name: &str, role: &str, territories: &[&str]) -> Self {
        let territories = territories.iter().map(|name| (*name).to_owned()).collect();
        self.luggage.members.push((name.to_owned(), role.to_owned(), territories));
        self
    }

    /// How many devices there are; the members have them in turn. One each unless set.
    #[must_use]
    pub fn devices(mut self, count: usize) -> Self {
        self.luggage.devices = count;
        self
    }

    /// What users do; with several of these each step takes one of them.
    #[must_use]
    pub fn operations(
        mut self,
        operation: impl Fn(&mut User<'_>, &mut StdRng) + Send + Sync + 'static,
    ) -> Self {
        self.luggage.operations.push(Arc::new(operation));
        self
    }

    /// What must hold whenever everything has come to rest.
    #[must_use]
    pub fn invariant(
        mut self,
        name: &str,
        holds: impl Fn(&View<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.luggage.invariants.push((name.to_owned(), Arc::new(holds)));
        self
    }

    /// The faults, and how often each is chosen where it is chosen from.
    #[must_use]
    pub fn faults(mut self, faults: &[(Fault, u32)]) -> Self {
        self.faults = faults.to_vec();
        self
    }

    /// How many steps a simulation has: operations and faults.
    #[must_use]
    pub const fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// The seeds to run.
    #[must_use]
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds.collect();
        self
    }

    /// Runs every seed on every core until one fails. `FIELDBOOK_SEED` replays one, and `FIELDBOOK_STEPS` some
    /// of its steps.
    ///
    /// # Panics
    /// When there are no members or no operations.
    #[must_use]
    pub fn run(mut self) -> Report {
        assert!(!self.luggage.members.is_empty(), "somebody has to do something");
        assert!(!self.luggage.operations.is_empty(), "there has to be something to do");
        if self.luggage.devices == 0 {
            self.luggage.devices = self.luggage.members.len();
        }
        let replayed = std::env::var("FIELDBOOK_SEED").ok().and_then(|text| text.parse().ok());
        let seeds = replayed.map_or(self.seeds, |seed| vec![seed]);
        let plan = |seed| steps_of(Plan::of(seed, self.steps, &self.faults));
        let luggage = &self.luggage;
        let outcome = run_seeds(&seeds, plan, |plan| guest::run_plan(luggage, plan));
        Report {
            schedules: outcome.schedules,
            faults: outcome.ran.tally,
            confirmed: outcome.ran.confirmed,
            compared: outcome.ran.compared,
            failure: outcome.failed,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schedules, confirmed, compared, .. } = self;
        writeln!(
            out,
            "{schedules} simulations ran to their end: {confirmed} edits were confirmed,"
        )?;
        writeln!(out, "invariants were held against {compared} workspaces at rest")?;
        for (fault, count) in self.faults.iter() {
            writeln!(out, "  {fault:?}: {count}")?;
        }
        let Some(failed) = &self.failure else { return writeln!(out, "nothing failed") };
        write!(out, "{failed}")?;
        let (seed, steps) = (failed.plan.seed, failed.steps());
        writeln!(out, "replay with FIELDBOOK_SEED={seed} FIELDBOOK_STEPS={steps}")
    }
}
