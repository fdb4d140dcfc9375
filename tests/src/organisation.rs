//! A simulated sales organisation: people of every role who edit what they may and what they may not, records and
//! people that move, policies, schemas and merge rules that change, under every fault there is. What must hold is
//! told by plain models that share no code with the engine: who may see what ([`crate::model`]), which edits were
//! confirmed, and what each field reads.

mod edits;
mod governing;
mod inspector;
mod marks;
mod oracle;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use client_sdk::Edits;
use crdt_core::id::{MemberId, RecordId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sync_server::workspace::Stride;

use crate::harness::tally::Fault;
use crate::harness::world::{Device, World};
use crate::model::Member;
use crate::simulator::plan::Plan;
use crate::simulator::seeds::Ran;
use crate::simulator::stage::{App, Stage};
use governing::Organisation as Governed;
use marks::Promises;

/// The organisation's schema when it begins.
pub const SCHEMA: &str = include_str!("organisation/schema.toml");

/// Steps of one plan.
const STEPS: usize = 64;
/// How long it stays quiet at the end, milliseconds: in most plans a minute, in every tenth ten.
const QUIET_MS: u64 = 60_000;
/// Territories of the organisation.
const TERRITORIES: [&str; 3] = ["west", "east", "north"];

/// Every kind of fault, and how often it is chosen where it is chosen from.
pub const FAULTS: [(Fault, u32); 29] = [
    (Fault::Partition, 4),
    (Fault::OneWayPartition, 3),
    (Fault::Delay, 2),
    (Fault::Duplicate, 2),
    (Fault::Cut, 4),
    (Fault::SlowReader, 2),
    (Fault::ServerCrash, 3),
    (Fault::ServerRestart, 1),
    (Fault::DeviceCrash, 3),
    (Fault::PowerCut, 2),
    (Fault::ServerPowerCut, 2),
    (Fault::IoError, 3),
    (Fault::DiskFull, 2),
    (Fault::Clone, 1),
    (Fault::DeviceRestore, 2),
    (Fault::ServerRestore, 1),
    (Fault::TokenExpiry, 2),
    (Fault::Revocation, 1),
    (Fault::RoleChange, 3),
    (Fault::PolicyChange, 2),
    (Fault::TerritoryMove, 3),
    (Fault::SchemaChange, 1),
    (Fault::MergeRuleChange, 1),
    (Fault::Erasure, 1),
    (Fault::OlderDevice, 1),
    (Fault::NewerDevice, 1),
    (Fault::NewerServer, 1),
    (Fault::SmallClockJump, 2),
    (Fault::LargeClockJump, 2),
];

/// The organisation of one simulation.
struct Organisation {
    governed: Rc<RefCell<Governed>>,
    records: Vec<(RecordId, &'static str)>,
    promises: Promises,
    /// Records that somebody has deleted.
    deleted: BTreeSet<RecordId>,
    /// Records that were erased for good.
    erased: BTreeSet<RecordId>,
    /// The device whose app lets more through than the server, if there is one.
    lenient: Option<Device>,
    /// Numbers what users write, so that no two values are the same.
    written: u64,
    steps: u64,
    ran: Ran,
}

/// The plan of a seed.
#[must_use]
pub fn plan(seed: u64) -> Plan {
    Plan::of(seed, STEPS, &FAULTS)
}

/// Runs the plan of a seed.
///
/// # Panics
/// When anything that was promised does not hold; the message names the seed.
#[must_use]
pub fn run(seed: u64) -> Ran {
    run_plan(&plan(seed))
}

/// Runs a plan.
///
/// # Panics
/// When anything that was promised does not hold.
#[must_use]
pub fn run_plan(plan: &Plan) -> Ran {
    let (mut organisation, mut stage) = begin(plan.seed);
    for step in &plan.steps {
        stage.perform(&mut organisation, step, &mut StdRng::seed_from_u64(step.seed));
    }
    stage.rest(&mut organisation);
    stage.stay_quiet(if plan.seed.is_multiple_of(10) { 10 * QUIET_MS } else { QUIET_MS });
    Ran {
        tally: stage.world.tally().clone(),
        confirmed: stage.world.ledger().confirmed() as u64,
        trace_hash: stage.world.trace_hash(),
        inspected: organisation.governed.borrow().inspected,
        ..organisation.ran
    }
}

/// An organisation at rest: seven devices, four accounts in three territories, and what hangs on them.
fn begin(seed: u64) -> (Organisation, Stage) {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x0000_0da7);
    // Every third server folds early and lets devices catch up by index.
    let short = Stride { followed_max: 6, follow: 3, catch_up: 2, burst_bytes: 3_000 };
    let stride = if seed.is_multiple_of(3) { short } else { Stride::default() };
    let mut world = World::with_schema(seed, stride, SCHEMA);
    let governed = Governed::found(&mut world);
    let lenient = rng.random_bool(0.25).then_some(Device(1));
    let cast = [
        ("boss", "admin", &[][..], None),
        ("ann", "rep", &["west"], None),
        ("eve", "rep", &["east"], None),
        ("max", "manager", &[], Some("left")),
        ("sue", "support", &[], None),
    ];
    let governed = Rc::new(RefCell::new(governed));
    for (name, role, territories, region) in cast {
        let id = world.person(name, role, territories);
        let member = Member {
            id,
            role: Some(role.to_owned()),
            territories: territories.iter().map(|name| (*name).to_owned()).collect(),
            teams: BTreeSet::default(),
            region: region.map(str::to_owned),
            active: true,
        };
        governed.borrow_mut().direct(&mut world, &member);
        if lenient.is_some() && name == "ann" {
            let id = world.device_of_with_schema(id, name, &lenient_schema());
            assert_eq!(Some(id), lenient, "ann's phone is the second device");
        } else {
            world.device_of(id, name);
        }
    }
    let ann = world.at(Device(1)).member();
    world.device_of(ann, "ann-tablet");
    world.run_for(1_000);
    if seed.is_multiple_of(4) {
        inspector::watch(&mut world, Rc::clone(&governed));
    }
    let mut organisation = Organisation {
        governed,
        records: Vec::new(),
        promises: Promises::default(),
        deleted: BTreeSet::new(),
        erased: BTreeSet::new(),
        lenient,
        written: 0,
        steps: 0,
        ran: Ran::default(),
    };
    let mut stage = Stage::new(world);
    stage.spared.insert(BOSS);
    organisation.furnish(&mut stage);
    stage.world.settle();
    (organisation, stage)
}

/// The device of the administrator, who sees everything.
const BOSS: Device = Device(0);

impl Organisation {
    fn furnish(&mut self, stage: &mut Stage) {
        for (place, territory) in ["west", "west", "east", "north"].into_iter().enumerate() {
            let edits = Edits::new().set("name", format!("Account {place}"));
            let edits = edits.set("territory", territory);
            let account = self.create(stage, BOSS, "account", edits, Insist::Never);
            let account = account.expect("an administrator may make accounts");
            for (entity, field) in [("contact", "last_name"), ("opportunity", "name")] {
                let edits = Edits::new().set(field, format!("Child {place}"));
                let edits = edits.set("account", account);
                self.create(stage, BOSS, entity, edits, Insist::Never);
            }
        }
    }

    /// A number that was not written before.
    fn number(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    fn members(&self) -> BTreeMap<MemberId, Member> {
        self.governed.borrow().members.clone()
    }
}

/// Whether a user sends also what the device advises against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Insist {
    Never,
    Always,
}

impl App for Organisation {
    fn operate(&mut self, stage: &mut Stage, device: Device, rng: &mut StdRng) {
        self.steps += 1;
        self.operate_somehow(stage, device, rng);
    }

    fn govern(&mut self, stage: &mut Stage, fault: Fault, rng: &mut StdRng) -> bool {
        if !stage.world.server().is_running() {
            return false;
        }
        match fault {
            Fault::RoleChange => {
                self.governed.borrow_mut().change_person(&mut stage.world, rng);
                true
            }
            Fault::PolicyChange => {
                self.governed.borrow_mut().change_policy(&mut stage.world, rng);
                true
            }
            Fault::SchemaChange => {
                self.governed.borrow_mut().add_field(&mut stage.world);
                true
            }
            Fault::MergeRuleChange => {
                self.governed.borrow_mut().change_merge_rule(&mut stage.world, rng);
                true
            }
            Fault::TerritoryMove => self.move_territory(stage, rng),
            Fault::Erasure => self.erase_something(stage, rng),
            _ => false,
        }
    }

    fn decide_again(&mut self, stage: &mut Stage) {
        self.governed.borrow_mut().decide_again(&mut stage.world);
    }

    fn check_step(&mut self, stage: &mut Stage, device: Device) {
        // Every frame that arrives checks its device; the rest is checked in turn.
        let turn = stage.devices[self.steps as usize % stage.devices.len()];
        for device in BTreeSet::from([device, turn]) {
            stage.check_account(device);
        }
    }

    fn make_peace(&mut self, stage: &mut Stage) {
        for member in self.members().into_values().filter(|member| !member.active) {
            let member = Member { active: true, ..member };
            self.governed.borrow_mut().direct(&mut stage.world, &member);
        }
    }

    fn check_rest(&mut self, stage: &mut Stage) {
        oracle::check_rest(self, stage);
    }
}

/// The organisation's schema without a rule that the server has.
fn lenient_schema() -> String {
    let rule = "employees = { type = \"int\", min = 0, max = 10_000_000 }";
    let lenient = SCHEMA.replacen(rule, "employees = \"int\"", 1);
    assert_ne!(lenient, SCHEMA, "the schema has the rule");
    lenient
}
