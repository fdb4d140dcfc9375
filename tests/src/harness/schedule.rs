//! Random schedules: devices that edit, links that break, processes that die, clocks that jump. Then peace,
//! and everything must agree with a plain model of what was confirmed.

use std::collections::{BTreeMap, BTreeSet};

use client_sdk::{EditError, Edits, Transaction};
use crdt_core::id::{BatchId, RecordId};
use crdt_core::record::{Money, Value};
use crdt_core::schema::Schema;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use sync_server::workspace::Stride;

use super::network::{Blocked, Way};
use super::server::CrashPoint;
use super::tally::{Fault, Tally};
use super::world::{Backup, Device, World};

/// What a schedule did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The faults that struck.
    pub tally: Tally,
    /// What two runs of one seed have in common.
    pub trace_hash: u64,
    /// Batches that were confirmed.
    pub confirmed: usize,
}

/// A schedule under way.
struct Schedule {
    world: World,
    rng: StdRng,
    devices: Vec<Device>,
    records: Vec<Known>,
    promised: BTreeMap<BatchId, Vec<Effect>>,
    /// The device whose app lets more through than the server, if there is one.
    lenient: Option<Device>,
    backups: BTreeMap<Device, Backup>,
    /// Devices whose file was put back.
    restored: BTreeSet<Device>,
    steps: u64,
}

/// A record that somebody made.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: RecordId,
    entity: &'static str,
}

/// What a confirmed batch must have done exactly once, if it is accepted.
#[derive(Debug, Clone)]
enum Effect {
    Counted(RecordId, i64),
    Written(RecordId, String),
}

/// Edits and faults of one schedule.
const STEPS: u64 = 70;
/// Characters of a long paste.
const LONG_PASTE: usize = 4_000;

/// Runs the schedule of a seed.
///
/// # Panics
/// When anything that was promised does not hold; the message names the seed.
#[must_use]
pub fn run(seed: u64) -> Ran {
    let mut schedule = Schedule::begin(seed);
    for _ in 0..STEPS {
        schedule.step();
        let pause = schedule.rng.random_range(0..300);
        schedule.world.run_for(pause);
    }
    schedule.heal();
    schedule.world.settle();
    schedule.world.assert_converged();
    schedule.assert_exactly_once();
    schedule.assert_refusals_are_just();
    Ran {
        tally: schedule.world.tally().clone(),
        trace_hash: schedule.world.trace_hash(),
        confirmed: schedule.world.ledger().confirmed(),
    }
}

impl Schedule {
    fn begin(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9) ^ 0x5eed);
        // Every third server folds early and lets devices catch up by index.
        let short = Stride { followed_max: 6, follow: 3, catch_up: 2, burst_bytes: 3_000 };
        let stride = if seed.is_multiple_of(3) { short } else { Stride::default() };
        let mut world = World::with_stride(seed, stride);
        let member = world.member("ann");
        let mut devices = vec![world.device_of(member, "ann-phone"), world.device("bob")];
        let lenient = seed.is_multiple_of(4);
        devices.push(if lenient {
            world.device_with_schema("cyd", &lenient_schema())
        } else {
            world.device("cyd")
        });
        if rng.random_bool(0.3) {
            devices.push(world.device_of(member, "ann-tablet"));
        }
        let mut schedule = Self {
            world,
            rng,
            lenient: lenient.then(|| devices[2]),
            devices,
            records: Vec::new(),
            promised: BTreeMap::new(),
            backups: BTreeMap::new(),
            restored: BTreeSet::new(),
            steps: 0,
        };
        for entity in ["account", "account", "opportunity", "contact", "task"] {
            schedule.create(schedule.devices[0], entity);
        }
        schedule.world.settle();
        schedule
    }

    fn step(&mut self) {
        self.steps += 1;
        let device = *self.devices.choose(&mut self.rng).expect("a world has devices");
        if self.rng.random_bool(0.03) {
            self.backups.insert(device, self.world.back_up(device));
        }
        match self.rng.random_range(0..100) {
            0..57 => self.edit(device),
            57..60 => self.idle(device),
            60..66 => self.create_somewhere(device),
            other => self.fault(device, other),
        }
    }

    fn fault(&mut self, device: Device, kind: u32) {
        match kind {
            66..71 => self.world.block(device, Blocked::Both),
            71..73 => self.world.block(device, Blocked::Up),
            73..75 => self.world.block(device, Blocked::Down),
            75..81 => self.world.online(device),
            81..84 => self.world.cut(device),
            84..87 => {
                let way = if self.rng.random() { Way::Up } else { Way::Down };
                let bytes = self.rng.random_range(0..2_000);
                self.world.cut_after(device, way, bytes);
            }
            87..91 if self.world.at(device).is_running() => self.crash(device),
            87..91 => self.world.start_device(device),
            91 if self.rng.random() && self.world.at(device).is_running() => {
                self.world.power_off(device);
            }
            91 => self.world.cut_power_at_next_page(device),
            92..94 => self.world.crash_server_at(CrashPoint::BeforeCommit),
            94..96 => self.world.crash_server_at(CrashPoint::BeforeReceipts),
            96 if self.rng.random_bool(0.2) => self.change_schema(),
            96 if self.rng.random() && self.world.server().is_running() => {
                self.world.power_off_server();
                self.world.start_server();
            }
            96 => self.world.restart_server(),
            _ => self.jump_clock(device),
        }
    }

    /// A process dies; at times the device with it, and at times its file is an older one afterwards.
    fn crash(&mut self, device: Device) {
        self.world.crash_device(device);
        if self.rng.random_bool(0.3) {
            self.world.at(device).clock.reboot();
        }
        if self.rng.random_bool(0.5)
            && let Some(backup) = self.backups.get(&device)
        {
            self.world.restore(device, backup);
            self.restored.insert(device);
        }
    }

    /// The app has nothing to do: the device folds what has grown, and writes the words that wait.
    fn idle(&mut self, device: Device) {
        if self.world.at(device).is_running() {
            let client = self.world.at(device).client();
            while client.idle_work().expect("a device can do what waits") {}
        }
    }

    fn change_schema(&mut self) {
        self.world.start_server();
        let version = self.world.server().schema().version() + 1;
        let field = format!("website = \"url\"\nextra_{version} = \"string\"\n");
        let text = self.world.server().schema().text().replacen("website = \"url\"\n", &field, 1);
        let before = format!("version = {}", version - 1);
        self.world.put_schema(&text.replacen(&before, &format!("version = {version}"), 1));
    }

    fn jump_clock(&mut self, device: Device) {
        let skew = match self.rng.random_range(0..4) {
            0 => {
                self.world.count(Fault::SmallClockJump);
                self.rng.random_range(-100_000..100_000)
            }
            1 => 0,
            2 => {
                self.world.count(Fault::LargeClockJump);
                self.rng.random_range(-20_000_000..20_000_000)
            }
            _ => {
                self.world.count(Fault::LargeClockJump);
                if self.rng.random() { 31_536_000_000 } else { -31_536_000_000 }
            }
        };
        self.world.set_clock(device, skew);
    }

    fn heal(&mut self) {
        self.world.disarm_server();
        self.world.spare_power();
        self.world.start_server();
        for device in self.devices.clone() {
            if !self.world.at(device).is_running() {
                self.world.start_device(device);
            }
            self.world.at_mut(device).link.cut = None;
            self.world.set_clock(device, 0);
            self.world.online(device);
        }
    }

    // -------------------------------------------------------------------------------------- edits

    fn create_somewhere(&mut self, device: Device) {
        let entities = ["account", "contact", "opportunity", "task", "note", "case"];
        let entity = *entities.choose(&mut self.rng).expect("the list is not empty");
        self.create(device, entity);
    }

    fn create(&mut self, device: Device, entity: &'static str) {
        if !self.world.at(device).is_running() {
            return;
        }
        let name = format!("{entity} {}", self.steps);
        let edits = match entity {
            "account" | "opportunity" => Edits::new().set("name", name),
            "task" | "case" => Edits::new().set("subject", name),
            "note" => Edits::new().set("title", name),
            _ => Edits::new().set("last_name", name),
        };
        let made = self.write(device, Vec::new(), |tx| tx.create(entity, edits));
        if let Some(id) = made {
            self.records.push(Known { id, entity });
        }
    }

    fn edit(&mut self, device: Device) {
        if !self.world.at(device).is_running() {
            return;
        }
        let count = self.rng.random_range(1..=3);
        let mut effects = Vec::new();
        let mut plan: Vec<(RecordId, Plan)> = Vec::new();
        for _ in 0..count {
            let known = *self.records.choose(&mut self.rng).expect("there are records");
            if self.world.find(device, known.id).is_none() {
                continue;
            }
            let step = self.plan(device, known, &mut effects);
            plan.push((known.id, step));
        }
        self.write(device, effects, |tx| {
            plan.into_iter().try_for_each(|(id, plan)| match plan {
                Plan::Update(edits) => tx.update(id, edits),
                Plan::Delete => tx.delete(id),
                Plan::Restore => tx.restore(id),
            })
        });
    }

    /// One user's whim.
    fn plan(&mut self, device: Device, known: Known, effects: &mut Vec<Effect>) -> Plan {
        let seen = self.world.see(device, known.id);
        if seen.deleted() {
            return Plan::Restore;
        }
        if self.rng.random_bool(0.04) {
            return Plan::Delete;
        }
        let number = self.rng.random_range(0..50);
        let edits = Edits::new();
        if self.lenient == Some(device) && known.entity == "account" && number < 15 {
            return Plan::Update(edits.set("employees", -1));
        }
        Plan::Update(match (known.entity, self.rng.random_range(0..6)) {
            ("account", 0) => {
                effects.push(Effect::Counted(known.id, number));
                edits.increment("visits", number)
            }
            ("account", 1) => {
                let token = format!("[{}.{}]", device.0, self.steps * 10 + effects.len() as u64);
                let length = seen.text("notes").unwrap_or_default().chars().count();
                let at = self.rng.random_range(0..=length);
                effects.push(Effect::Written(known.id, token.clone()));
                edits.splice("notes", at, 0, token)
            }
            ("account", 2) => edits.set("health", *pick(&mut self.rng, &["good", "critical"])),
            ("account", 3) => edits.set("credit_limit", usd(number)),
            ("opportunity", 0) => edits.set("amount", usd(number)),
            ("opportunity", 1) => edits.set("commission", usd(number)),
            ("opportunity", 2) => edits.set("forecast", usd(number)),
            ("opportunity", 3) => edits.set("stage", *pick(&mut self.rng, &["won", "engaging"])),
            ("contact", 0) => edits.set("score", number).unset("title"),
            ("contact", 1) => edits.set("title", format!("Title {number}")),
            ("contact" | "case", 2) => edits.add("tags", format!("tag {}", number % 3)),
            ("task", 0) => edits.set("due", format!("2026-12-{:02}", 1 + number % 28)),
            ("task", 1) => edits.set("status", *pick(&mut self.rng, &["done", "open", "waiting"])),
            ("note", 0) => {
                // A long paste: a few of them outgrow the device's snapshot.
                let length = seen.text("body").unwrap_or_default().chars().count();
                let letters = (0..LONG_PASTE).map(|_| self.rng.random_range('a'..='z'));
                edits.splice("body", length, 0, letters.collect::<String>())
            }
            ("note", 1..=3) => edits.set_text("body", format!("body {number}")),
            ("case", 0) => edits.set("status", *pick(&mut self.rng, &["open", "solved"])),
            (_, 4) => edits.remove("tags", format!("tag {}", number % 3)),
            _ => edits.add("tags", format!("tag {}", number % 3)),
        })
    }

    /// Runs a transaction and notes what it promised. A rule that is broken on the device leaves nothing.
    fn write<T>(
        &mut self,
        device: Device,
        effects: Vec<Effect>,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Option<T> {
        let before = self.world.last_batch(device);
        match self.world.edit_now(device, work) {
            Ok(done) => {
                if let Some(batch) =
                    self.world.last_batch(device).filter(|now| Some(*now) != before)
                {
                    self.promised.insert(batch, effects);
                }
                Some(done)
            }
            Err(EditError::Store(error)) => panic!("{}: {error}", self.world.at(device).name),
            // Two whims of one transaction may contradict each other: delete, then edit.
            Err(_) => None,
        }
    }

    // ------------------------------------------------------------------------------------ oracles

    /// Counters add up and prose holds what was written, once for each accepted batch.
    fn assert_exactly_once(&self) {
        let mut counts: BTreeMap<RecordId, i64> = BTreeMap::new();
        let mut tokens: BTreeMap<RecordId, Vec<&String>> = BTreeMap::new();
        let log = self.world.server().log();
        for effect in self.promised.iter().filter(|(id, _)| log.contains_key(id)).flat_map(|p| p.1)
        {
            match effect {
                Effect::Counted(id, by) => *counts.entry(*id).or_default() += by,
                Effect::Written(id, token) => tokens.entry(*id).or_default().push(token),
            }
        }
        let first = self.devices[0];
        for (id, count) in counts {
            let shown = self.world.see(first, id);
            assert_eq!(*shown.value("visits"), Value::Counter(count), "visits of {id}");
        }
        for (id, tokens) in tokens {
            let shown = self.world.see(first, id);
            let notes = shown.text("notes").unwrap_or_default();
            // Tokens may be written into one another, so their characters are counted.
            let written: usize = tokens.iter().map(|token| token.len()).sum();
            assert_eq!(notes.len(), written, "notes of {id}: {notes} from {tokens:?}");
        }
    }

    /// An honest device is refused nothing, whatever its clock did; a lenient app loses what it should; and
    /// of a file that was put back, what builds on an edit that the server has in another form.
    fn assert_refusals_are_just(&mut self) {
        for device in self.devices.clone() {
            for dispute in self.world.disputes(device) {
                let is_just = |code: &str| match code {
                    "invalid" => self.lenient == Some(device),
                    "unknown_dependency" => self.restored.contains(&device),
                    "depends_on_refused" => {
                        self.lenient == Some(device) || self.restored.contains(&device)
                    }
                    _ => false,
                };
                assert!(dispute.reasons.iter().all(|reason| is_just(&reason.code)), "{dispute:?}");
                self.world.count(Fault::Refusal);
            }
        }
    }
}

/// What is to be done to one record.
enum Plan {
    Update(Edits),
    Delete,
    Restore,
}

/// The built-in schema without a rule that the server has.
fn lenient_schema() -> String {
    let rule = "employees = { type = \"int\", min = 0, max = 10_000_000 }";
    Schema::builtin().text().replacen(rule, "employees = \"int\"", 1)
}

fn pick<'a>(rng: &mut StdRng, values: &'a [&'static str]) -> &'a &'static str {
    values.choose(rng).expect("the list is not empty")
}

fn usd(whole: i64) -> Money {
    Money::from_minor(whole * 100, "USD").expect("USD is a currency")
}
