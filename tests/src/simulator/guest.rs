//! A guest: an app of somebody else's in the simulator, with its schema, policy, people, operations and
//! invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crdt_core::id::{BatchId, DocumentId, MemberId, RecordId};
use crdt_core::record::Value;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use sync_server::workspace::Stride;

use super::plan::Plan;
use super::seeds::Ran;
use super::stage::{App, Stage};
use super::user::User;
use super::view::View;
use super::{Invariant, Operation};
use crate::harness::tally::Fault;
use crate::harness::world::{Device, MemberChanges, World};

/// What an app brings along.
#[derive(Clone)]
pub(super) struct Luggage {
    pub(super) schema: String,
    pub(super) policy: Option<String>,
    /// Name, role, territories.
    pub(super) members: Vec<(String, String, Vec<String>)>,
    pub(super) devices: usize,
    pub(super) operations: Vec<Arc<Operation>>,
    pub(super) invariants: Vec<(String, Arc<Invariant>)>,
}

/// Something that a user noted about what was confirmed.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// What it is about.
    pub what: String,
    /// The record.
    pub record: RecordId,
    /// The value.
    pub value: Value,
}

/// An app under way.
pub(super) struct Guest {
    pub(super) notes: BTreeMap<BatchId, Vec<Note>>,
    names: BTreeMap<MemberId, String>,
    switched_off: BTreeSet<MemberId>,
    luggage: Luggage,
    steps: usize,
    compared: u64,
}

/// How long it stays quiet at the end, milliseconds.
const QUIET_MS: u64 = 60_000;

/// Runs a plan of an app's.
pub(super) fn run_plan(luggage: &Luggage, plan: &Plan) -> Ran {
    let (mut guest, mut stage) = begin(luggage, plan.seed);
    for step in &plan.steps {
        stage.perform(&mut guest, step, &mut StdRng::seed_from_u64(step.seed));
    }
    stage.rest(&mut guest);
    stage.stay_quiet(QUIET_MS);
    Ran {
        tally: stage.world.tally().clone(),
        confirmed: stage.world.ledger().confirmed() as u64,
        trace_hash: stage.world.trace_hash(),
        compared: guest.compared,
        ..Ran::default()
    }
}

fn begin(luggage: &Luggage, seed: u64) -> (Guest, Stage) {
    let short = Stride { followed_max: 6, follow: 3, catch_up: 2, burst_bytes: 3_000 };
    let stride = if seed.is_multiple_of(3) { short } else { Stride::default() };
    let mut world = World::with_schema(seed, stride, &luggage.schema);
    if let Some(policy) = &luggage.policy {
        world.put_policy(policy);
    }
    let mut names = BTreeMap::new();
    for (name, role, territories) in &luggage.members {
        let territories: Vec<&str> = territories.iter().map(String::as_str).collect();
        names.insert(world.person(name, role, &territories), name.clone());
    }
    let members: Vec<(MemberId, String)> =
        names.iter().map(|(id, name)| (*id, name.clone())).collect();
    for number in 0..luggage.devices {
        let (member, name) = &members[number % members.len()];
        world.device_of(*member, &format!("{name}-{number}"));
    }
    world.settle();
    let guest = Guest {
        notes: BTreeMap::new(),
        names,
        switched_off: BTreeSet::new(),
        luggage: luggage.clone(),
        steps: 0,
        compared: 0,
    };
    (guest, Stage::new(world))
}

impl Guest {
    pub(super) fn name_of(&self, stage: &Stage, device: Device) -> &str {
        let member = stage.world.at(device).member();
        self.names.get(&member).map_or("", String::as_str)
    }

    fn switch(&mut self, stage: &mut Stage, member: MemberId, active: bool) {
        let changes = MemberChanges { active: Some(active), ..MemberChanges::default() };
        stage.world.direct(member, &changes);
        if active {
            self.switched_off.remove(&member);
        } else {
            self.switched_off.insert(member);
        }
    }
}

impl App for Guest {
    fn operate(&mut self, stage: &mut Stage, device: Device, rng: &mut StdRng) {
        let operation = self.luggage.operations.choose(rng).cloned();
        if let Some(operation) = operation {
            operation(&mut User { stage, guest: self, device, batch: None }, rng);
        }
    }

    fn govern(&mut self, stage: &mut Stage, fault: Fault, rng: &mut StdRng) -> bool {
        let members: Vec<MemberId> = self.names.keys().copied().collect();
        let member = members.choose(rng).copied();
        match (fault, member) {
            (Fault::RoleChange, Some(member)) if stage.world.server().is_running() => {
                let active = self.switched_off.contains(&member) || rng.random_bool(0.2);
                self.switch(stage, member, active);
                true
            }
            _ => false,
        }
    }

    fn decide_again(&mut self, stage: &mut Stage) {
        for member in self.names.keys().copied().collect::<Vec<_>>() {
            let active = !self.switched_off.contains(&member);
            self.switch(stage, member, active);
        }
    }

    fn check_step(&mut self, stage: &mut Stage, device: Device) {
        self.steps += 1;
        let turn = stage.devices[self.steps % stage.devices.len()];
        for device in BTreeSet::from([device, turn]) {
            stage.check_account(device);
        }
    }

    fn make_peace(&mut self, stage: &mut Stage) {
        for member in self.switched_off.clone() {
            self.switch(stage, member, true);
        }
    }

    fn check_rest(&mut self, stage: &mut Stage) {
        let mut held: BTreeMap<MemberId, (Device, BTreeSet<_>)> = BTreeMap::new();
        let server_says = stage.world.said_by_server();
        for device in stage.devices.iter().copied() {
            stage.check_settled(device);
            let documents = stage.documents_of(device);
            let holds = |id: &DocumentId| documents.contains(id);
            stage.world.assert_shows_of(&server_says, device, &holds);
            let member = stage.world.at(device).member();
            let (first, theirs) = held.entry(member).or_insert((device, documents.clone()));
            assert_eq!(*theirs, documents, "{first:?} and {device:?} belong to one member");
        }
        let luggage = self.luggage.clone();
        for (name, invariant) in &luggage.invariants {
            if let Err(text) = invariant(&View { stage, guest: self }) {
                panic!("the invariant `{name}` does not hold: {text}");
            }
            self.compared += 1;
        }
    }
}
