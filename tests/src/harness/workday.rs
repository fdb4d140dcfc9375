//! Random workdays of an organisation: people of every role who edit what they may and what they may not, records
//! and people that move, policies that change, links that break, processes that die. Then peace, and everything
//! must agree with the reference model.

mod oracle;

use std::collections::BTreeMap;

use client_sdk::{EditError, Edits, Transaction};
use crdt_core::id::{BatchId, MemberId, RecordId};
use crdt_core::record::Money;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use rand::{Rng as _, SeedableRng as _};

use super::network::Way;
use super::server::CrashPoint;
use super::world::{Device, MemberChanges, World};
use crate::model::policy::Policy;
use crate::model::{Member, random, sales};

/// What a workday did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ran {
    /// Batches that were confirmed to users.
    pub confirmed: usize,
    /// Disputes that were there in the evening.
    pub disputed: usize,
    /// Transactions that devices advised against.
    pub advised_against: usize,
    /// How often somebody's rights changed.
    pub changes_of_access: usize,
    /// What two runs of one seed have in common.
    pub trace_hash: u64,
}

/// A workday under way.
struct Workday {
    world: World,
    rng: StdRng,
    policy: Policy,
    members: BTreeMap<MemberId, Member>,
    boss: Device,
    devices: Vec<Device>,
    records: Vec<(RecordId, &'static str)>,
    promised: BTreeMap<BatchId, Vec<Mark>>,
    steps: u64,
    ran: Ran,
}

/// What a confirmed batch has left exactly once where it is accepted, and nowhere where it is not.
#[derive(Debug, Clone)]
enum Mark {
    /// A tag that nobody else writes.
    Tag(RecordId, String),
    /// An amount in the section `finance` that nobody else writes.
    Amount(RecordId, String),
    /// So many visits.
    Visits(RecordId, i64),
}

/// Steps of one workday.
const STEPS: u64 = 60;
/// Territories of the simulated organisation.
const TERRITORIES: [&str; 3] = ["west", "east", "north"];

/// Lives the workday of a seed.
///
/// # Panics
/// When anything that was promised does not hold; the message names the seed.
#[must_use]
pub fn run(seed: u64) -> Ran {
    let mut day = Workday::begin(seed);
    for _ in 0..STEPS {
        day.step();
        let pause = day.rng.random_range(0..400);
        day.world.run_for(pause);
        day.check_accounts();
    }
    day.heal();
    day.world.settle();
    day.check_rest();
    Ran { confirmed: day.world.ledger().confirmed(), trace_hash: day.world.trace_hash(), ..day.ran }
}

impl Workday {
    fn begin(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9) ^ 0x0000_0da7);
        let policy = sales_with_regions(2);
        let world = World::governed(seed, &policy.to_toml());
        let mut day = Self {
            world,
            policy,
            members: BTreeMap::new(),
            boss: Device(0),
            devices: Vec::new(),
            records: Vec::new(),
            promised: BTreeMap::new(),
            steps: 0,
            ran: Ran::default(),
            rng: StdRng::seed_from_u64(rng.random()),
        };
        let cast = [
            ("boss", "admin", &[][..], None),
            ("ann", "rep", &["west"], None),
            ("eve", "rep", &["east"], None),
            ("max", "manager", &[], Some("left")),
            ("sue", "support", &[], None),
            ("ava", "auditor", &[], None),
        ];
        for (name, role, territories, region) in cast {
            let member = day.world.person(name, role, territories);
            let known = Member {
                id: member,
                role: Some(role.to_owned()),
                territories: territories.iter().map(|name| (*name).to_owned()).collect(),
                teams: Default::default(),
                region: region.map(str::to_owned),
                active: true,
            };
            day.direct(&known);
            let device = day.world.device_of(member, name);
            day.devices.push(device);
        }
        let ann = day.world.at(Device(1)).member();
        let tablet = day.world.device_of(ann, "ann-tablet");
        day.devices.push(tablet);
        day.world.settle();
        for (place, territory) in ["west", "west", "east", "north"].into_iter().enumerate() {
            let edits = Edits::new().set("name", format!("Account {place}"));
            let account = day.create(day.boss, "account", edits.set("territory", territory));
            let account = account.expect("an administrator may make accounts");
            for (entity, field) in [("contact", "last_name"), ("opportunity", "name")] {
                let edits = Edits::new().set(field, format!("Child {place}"));
                day.create(day.boss, entity, edits.set("account", account));
            }
        }
        day.world.settle();
        day
    }

    fn step(&mut self) {
        self.steps += 1;
        let device = *self.devices.choose(&mut self.rng).expect("there are devices");
        match self.rng.random_range(0..100) {
            0..46 => self.edit(device),
            46..53 => self.create_somewhere(device),
            53..60 => self.move_something(device),
            60..64 => self.decide_dispute(device),
            64..69 => self.change_person(),
            69..72 => self.change_policy(),
            72..80 => self.world.offline(device),
            80..90 => self.world.online(device),
            other => self.fault(device, other),
        }
    }

    fn fault(&mut self, device: Device, kind: u32) {
        match kind {
            90..92 => self.world.cut(device),
            92..94 => {
                let way = if self.rng.random() { Way::Up } else { Way::Down };
                let bytes = self.rng.random_range(0..3_000);
                self.world.cut_after(device, way, bytes);
            }
            94..97 if self.world.at(device).is_running() => self.world.crash_device(device),
            94..97 => self.world.start_device(device),
            97 => self.world.crash_server_at(CrashPoint::BeforeCommit),
            98 => self.world.crash_server_at(CrashPoint::BeforeReceipts),
            _ => self.world.restart_server(),
        }
    }

    fn heal(&mut self) {
        self.world.disarm_server();
        self.world.start_server();
        for member in self.members.clone().into_values() {
            self.direct(&Member { active: true, ..member });
        }
        for device in self.devices.clone() {
            if self.world.at(device).is_running() {
                self.world.crash_device(device);
            }
            self.world.at_mut(device).link.cut = None;
            self.world.start_device(device);
            self.world.online(device);
        }
    }

    // ------------------------------------------------------------------------------------ governing

    /// Tells the directory what it is to say of a person.
    fn direct(&mut self, member: &Member) {
        let text = |value: &Option<String>| Some(value.clone().unwrap_or_default());
        let changes = MemberChanges {
            role: text(&member.role),
            territories: Some(member.territories.clone()),
            teams: Some(member.teams.clone()),
            region: text(&member.region),
            active: Some(member.active),
            ..MemberChanges::default()
        };
        self.world.direct(member.id, &changes);
        self.members.insert(member.id, member.clone());
    }

    /// Somebody but the administrator gets another role or other territories, or is switched off or on.
    fn change_person(&mut self) {
        if !self.world.server().is_running() {
            return;
        }
        self.ran.changes_of_access += 1;
        let others = self.members.values().filter(|member| member.role.as_deref() != Some("admin"));
        let mut member = others.choose(&mut self.rng).expect("there are others").clone();
        match self.rng.random_range(0..4) {
            0 => {
                let role = ["rep", "manager", "support", "auditor"].choose(&mut self.rng);
                member.role = role.map(|role| (*role).to_owned());
            }
            1 => member.active = !member.active,
            2 => {
                let region = ["left", "east", "none"].choose(&mut self.rng);
                member.region = region.map(|region| (*region).to_owned());
            }
            _ => {
                let count = self.rng.random_range(0..3);
                let some = TERRITORIES.into_iter().choose_multiple(&mut self.rng, count);
                member.territories = some.into_iter().map(str::to_owned).collect();
            }
        }
        self.direct(&member);
    }

    fn change_policy(&mut self) {
        if !self.world.server().is_running() {
            return;
        }
        self.ran.changes_of_access += 1;
        let version = self.policy.version + 1;
        self.policy = if self.rng.random_bool(0.6) {
            sales_with_regions(version)
        } else {
            random::policy(&mut self.rng, version)
        };
        self.world.put_policy(&self.policy.to_toml());
    }

    // ---------------------------------------------------------------------------------------- edits

    fn edit(&mut self, device: Device) {
        let mut plan = Vec::new();
        let mut marks = Vec::new();
        for _ in 0..self.rng.random_range(1..=3) {
            let Some((record, entity)) = self.some_record(device) else { continue };
            let number = self.steps * 10 + plan.len() as u64;
            let edits = match (entity, self.rng.random_range(0..5)) {
                ("account", 0) => {
                    let visits = self.rng.random_range(1..50);
                    marks.push(Mark::Visits(record, visits));
                    Edits::new().increment("visits", visits)
                }
                ("account", 1) => self.amount(record, "credit_limit", number, &mut marks),
                ("opportunity", 0 | 1) => self.amount(record, "commission", number, &mut marks),
                ("account", 2) => Edits::new().set_text("notes", format!("Note {number}")),
                _ => {
                    let tag = format!("tag-{number}-{}", device.0);
                    marks.push(Mark::Tag(record, tag.clone()));
                    Edits::new().add("tags", tag)
                }
            };
            plan.push((record, edits));
        }
        self.write(device, marks, |tx| {
            plan.into_iter().try_for_each(|(record, edits)| tx.update(record, edits))
        });
    }

    fn amount(&self, record: RecordId, field: &str, number: u64, marks: &mut Vec<Mark>) -> Edits {
        let minor = i64::try_from(number).expect("a workday is short") * 100 + 7;
        let amount = Money::from_minor(minor, "USD").expect("USD is a currency");
        marks.push(Mark::Amount(record, amount.to_string()));
        Edits::new().set(field, amount)
    }

    fn create_somewhere(&mut self, device: Device) {
        let territory = *TERRITORIES.choose(&mut self.rng).expect("there are territories");
        let name = format!("Made {}", self.steps);
        let account = self.records.iter().filter(|(_, entity)| *entity == "account");
        let account = account.map(|(id, _)| *id).choose(&mut self.rng);
        let account = account.expect("there are accounts from the beginning");
        match self.rng.random_range(0..4) {
            0 => {
                let edits = Edits::new().set("name", name).set("territory", territory);
                self.create(device, "account", edits)
            }
            1 => {
                let edits = Edits::new().set("last_name", name).set("account", account);
                self.create(device, "contact", edits)
            }
            2 => {
                let edits = Edits::new().set("name", name).set("account", account);
                self.create(device, "opportunity", edits)
            }
            _ => self.create(device, "task", Edits::new().set("subject", name)),
        };
    }

    fn create(&mut self, device: Device, entity: &'static str, edits: Edits) -> Option<RecordId> {
        let tag = format!("new-{}-{}", self.steps, self.records.len());
        let mut made = None;
        self.write(device, Vec::new(), |tx| {
            made = Some(tx.create(entity, edits.add("tags", tag.clone()))?);
            Ok(())
        })?;
        let record = made.expect("the transaction went through");
        self.records.push((record, entity));
        if let Some(batch) = self.world.last_batch(device) {
            self.promised.insert(batch, vec![Mark::Tag(record, tag)]);
        }
        Some(record)
    }

    fn move_something(&mut self, device: Device) {
        let Some((record, entity)) = self.some_record(device) else { return };
        let territory = *TERRITORIES.choose(&mut self.rng).expect("there are territories");
        let owner = *self.members.keys().choose(&mut self.rng).expect("there are members");
        let edits = match entity {
            "account" | "task" if self.rng.random() => Edits::new().set("territory", territory),
            _ => Edits::new().set("owner", RecordId::from(owner)),
        };
        self.write(device, Vec::new(), |tx| tx.update(record, edits));
    }

    /// A user sends a dispute again, or gives it up.
    fn decide_dispute(&mut self, device: Device) {
        if !self.world.at(device).is_running() {
            return;
        }
        let Some(dispute) = self.world.disputes(device).into_iter().choose(&mut self.rng) else {
            return;
        };
        let marks = self.promised.remove(&dispute.batch).unwrap_or_default();
        if self.rng.random() {
            return self.world.discard(device, &dispute);
        }
        match self.world.at(device).client().resend(dispute.id) {
            Ok(Some(batch)) => {
                self.world.resent(device, &dispute);
                self.promised.insert(batch, marks);
            }
            Ok(None) => self.world.resent(device, &dispute),
            // The record is gone, or advice still stands against it: the dispute stays.
            Err(_) => _ = self.promised.insert(dispute.batch, marks),
        }
    }

    /// Runs a transaction, at times against the device's advice, and notes what it promised.
    fn write<T>(
        &mut self,
        device: Device,
        marks: Vec<Mark>,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Option<T> {
        if !self.world.at(device).is_running() {
            return None;
        }
        let before = self.world.last_batch(device);
        let insists = self.rng.random_bool(0.5);
        let done = if insists {
            self.world.insist_now(device, work)
        } else {
            self.world.edit_now(device, work)
        };
        match done {
            Ok(done) => {
                let batch = self.world.last_batch(device).filter(|now| Some(*now) != before);
                self.promised.extend(batch.map(|batch| (batch, marks)));
                Some(done)
            }
            Err(EditError::Forbidden { .. }) => {
                self.ran.advised_against += 1;
                None
            }
            Err(EditError::Store(error)) => panic!("{}: {error}", self.world.at(device).name),
            Err(_) => None,
        }
    }

    /// A record that a device shows.
    fn some_record(&mut self, device: Device) -> Option<(RecordId, &'static str)> {
        if !self.world.at(device).is_running() {
            return None;
        }
        let shown = self.records.iter().filter(|(id, _)| self.world.find(device, *id).is_some());
        shown.copied().choose(&mut self.rng)
    }
}

fn sales_with_regions(version: u64) -> Policy {
    let mut policy = sales::policy();
    policy.version = version;
    policy.regions.insert("left".to_owned(), ["west", "north"].map(str::to_owned).into());
    policy
}
