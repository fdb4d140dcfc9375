//! What users do: whims on records that their device shows, with and against its advice.

use std::collections::BTreeSet;

use client_sdk::{EditError, Edits, Transaction};
use crdt_core::id::RecordId;
use crdt_core::record::{Money, Value};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};

use super::marks::{Mark, Put};
use super::{BOSS, Insist, Organisation, TERRITORIES};
use crate::harness::world::Device;
use crate::simulator::stage::Stage;
use sync_server::workspace::EraseError;

/// Records from the beginning that are never erased.
const KEPT_RECORDS: usize = 4;

/// What is to be done to one record.
enum Whim {
    Update(Edits),
    Delete,
    Restore,
}

impl Organisation {
    pub(super) fn operate_somehow(&mut self, stage: &mut Stage, device: Device, rng: &mut StdRng) {
        match rng.random_range(0..100) {
            0..76 => self.edit(stage, device, rng),
            76..86 => self.create_something(stage, device, rng),
            86..92 => self.move_something(stage, device, rng),
            _ => self.decide_dispute(stage, device, rng),
        }
    }

    fn edit(&mut self, stage: &mut Stage, device: Device, rng: &mut StdRng) {
        let mut plan: Vec<(RecordId, Whim)> = Vec::new();
        let mut marks = Vec::new();
        for _ in 0..rng.random_range(1..=3) {
            let Some((record, entity)) = self.some_record(stage, device, rng) else { continue };
            // A second whim about the record would see what the first has done.
            if plan.iter().all(|(planned, _)| *planned != record) {
                let whim = self.whim(stage, device, (record, entity), &mut marks, rng);
                plan.push((record, whim));
            }
        }
        let insist = if rng.random_bool(0.4) { Insist::Always } else { Insist::Never };
        self.write(stage, device, marks, insist, |tx| {
            plan.into_iter().try_for_each(|(record, whim)| match whim {
                Whim::Update(edits) => tx.update(record, edits),
                Whim::Delete => tx.delete(record),
                Whim::Restore => tx.restore(record),
            })
        });
    }

    fn whim(
        &mut self,
        stage: &Stage,
        device: Device,
        (record, entity): (RecordId, &'static str),
        marks: &mut Vec<Mark>,
        rng: &mut StdRng,
    ) -> Whim {
        let seen = stage.world.see(device, record);
        if seen.deleted() {
            return Whim::Restore;
        }
        if rng.random_bool(0.03) {
            self.deleted.insert(record);
            return Whim::Delete;
        }
        let number = self.number();
        if self.lenient == Some(device) && entity == "account" && rng.random_bool(0.15) {
            return Whim::Update(Edits::new().set("employees", -1));
        }
        let fields: &[&str] = match entity {
            "account" => {
                &["country", "best", "least", "score", "grade", "credit_limit", "visits", "notes"]
            }
            "opportunity" => &["amount", "forecast", "commission"],
            "task" => &["due"],
            _ => &["title"],
        };
        let field = *fields.choose(rng).expect("every entity has fields");
        Whim::Update(match field {
            "visits" => {
                let visits = rng.random_range(1..50);
                marks.push(Mark::Visits(record, visits));
                Edits::new().increment(field, visits)
            }
            "notes" => {
                let token = format!("[{number}]");
                let length = seen.text(field).unwrap_or_default().chars().count();
                let at = rng.random_range(0..=length);
                marks.push(Mark::Token(record, token.clone()));
                Edits::new().splice(field, at, 0, token)
            }
            _ if rng.random_bool(0.3) => {
                let tag = format!("tag-{number}");
                marks.push(Mark::Tag(record, tag.clone()));
                Edits::new().add("tags", tag)
            }
            _ => match self.fresh_value(record, field, number, rng) {
                Some(value) => {
                    marks.push(Mark::Put(Put {
                        record,
                        field,
                        value: spelt(&value),
                        covers: shown(stage, device, record, field),
                        at: stage.world.time().now(),
                    }));
                    Edits::new().set(field, value)
                }
                None => Edits::new().add("tags", format!("more-{number}")),
            },
        })
    }

    /// A value of a field that nobody has written there.
    fn fresh_value(
        &self,
        record: RecordId,
        field: &str,
        number: u64,
        rng: &mut StdRng,
    ) -> Option<Value> {
        let unique = i64::try_from(number).expect("a simulation is short");
        let random = rng.random_range(0..500) * 10_000 + unique;
        Some(match field {
            "best" | "least" | "score" => Value::Int(random),
            "amount" | "forecast" | "commission" | "credit_limit" => {
                let money = Money::from_minor(random, "USD").expect("USD is a currency");
                Value::Str(money.to_string())
            }
            "due" => {
                let (year, month, day) = (random / 336 % 900, random / 28 % 12, random % 28);
                Value::Str(format!("{:04}-{:02}-{:02}", 2000 + year, 1 + month, 1 + day))
            }
            "grade" => Value::Str(format!("r{:02}", rng.random_range(0..30))),
            _ => Value::Str(format!("value {number}")),
        })
        .filter(|value| !self.promises.has_put(record, field, &spelt(value)))
    }

    fn create_something(&mut self, stage: &mut Stage, device: Device, rng: &mut StdRng) {
        let territory = *TERRITORIES.choose(rng).expect("there are territories");
        let name = format!("Made {}", self.number());
        let accounts = self.records.iter().filter(|(_, entity)| *entity == "account");
        let account = accounts.map(|(id, _)| *id).choose(rng);
        let account = account.expect("there are accounts from the beginning");
        let (entity, edits) = match rng.random_range(0..4) {
            0 => ("account", Edits::new().set("name", name).set("territory", territory)),
            1 => ("contact", Edits::new().set("last_name", name).set("account", account)),
            2 => ("opportunity", Edits::new().set("name", name).set("account", account)),
            _ => ("task", Edits::new().set("subject", name)),
        };
        let insist = if rng.random_bool(0.5) { Insist::Always } else { Insist::Never };
        self.create(stage, device, entity, edits, insist);
    }

    pub(super) fn create(
        &mut self,
        stage: &mut Stage,
        device: Device,
        entity: &'static str,
        edits: Edits,
        insist: Insist,
    ) -> Option<RecordId> {
        let tag = format!("new-{}", self.number());
        let before = stage.world.last_batch(device);
        let edits = edits.add("tags", tag.clone());
        let record =
            self.write(stage, device, Vec::new(), insist, |tx| tx.create(entity, edits))?;
        self.records.push((record, entity));
        let batch = stage.world.last_batch(device).filter(|now| Some(*now) != before);
        let batch = batch.expect("a record that was made is a batch");
        self.promises.insert(batch, vec![Mark::Tag(record, tag)]);
        Some(record)
    }

    fn move_something(&mut self, stage: &mut Stage, device: Device, rng: &mut StdRng) {
        let Some((record, entity)) = self.some_record(stage, device, rng) else { return };
        let territory = *TERRITORIES.choose(rng).expect("there are territories");
        let owner = *self.members().keys().choose(rng).expect("there are members");
        let edits = match entity {
            "account" | "task" if rng.random() => Edits::new().set("territory", territory),
            _ => Edits::new().set("owner", RecordId::from(owner)),
        };
        let insist = if rng.random() { Insist::Always } else { Insist::Never };
        self.write(stage, device, Vec::new(), insist, |tx| tx.update(record, edits));
    }

    /// The administrator sends an account to another territory; whether it went.
    pub(super) fn move_territory(&mut self, stage: &mut Stage, rng: &mut StdRng) -> bool {
        let accounts: Vec<RecordId> = self
            .records
            .iter()
            .filter(|(_, entity)| *entity == "account")
            .map(|(id, _)| *id)
            .filter(|id| stage.is_usable(BOSS) && stage.world.find(BOSS, *id).is_some())
            .collect();
        let Some(record) = accounts.choose(rng).copied() else { return false };
        let territory = *TERRITORIES.choose(rng).expect("there are territories");
        let edits = Edits::new().set("territory", territory);
        self.write(stage, BOSS, Vec::new(), Insist::Never, |tx| tx.update(record, edits)).is_some()
    }

    /// The operator erases a record for good; whether the server had it. Of the first accounts two stay.
    pub(super) fn erase_something(&mut self, stage: &mut Stage, rng: &mut StdRng) -> bool {
        let (stay, others) = self.records.split_at(self.records.len().min(KEPT_RECORDS));
        assert!(!stay.is_empty(), "the organisation begins with records");
        let Some((record, _)) = others.choose(rng).copied() else { return false };
        match stage.world.erase(record) {
            Ok(_) => self.erased.insert(record),
            // It has not been sent, or nobody took it.
            Err(EraseError::NoSuchRecord(_)) => false,
            Err(error) => panic!("{record} cannot be erased: {error}"),
        }
    }

    /// A user sends a dispute again, or gives it up.
    fn decide_dispute(&mut self, stage: &mut Stage, device: Device, rng: &mut StdRng) {
        let Some(dispute) = stage.world.disputes(device).into_iter().choose(rng) else { return };
        let marks = self.promises.remove(&dispute.batch).unwrap_or_default();
        if rng.random() {
            let discarded = stage.world.try_discard(device, &dispute);
            return match discarded {
                Ok(()) => {}
                // The dispute stays.
                Err(_) if stage.is_troubled(device) => {
                    self.promises.insert(dispute.batch, marks);
                }
                Err(error) => panic!("{}: {error}", stage.world.at(device).name),
            };
        }
        // It is written anew: over what shows now.
        let anew = marks.iter().cloned().map(|mark| match mark {
            Mark::Put(put) => {
                let covers = shown(stage, device, put.record, put.field);
                Mark::Put(Put { covers, at: stage.world.time().now(), ..put })
            }
            other => other,
        });
        let anew: Vec<Mark> = anew.collect();
        match stage.world.at(device).client().resend(dispute.id) {
            Ok(Some(batch)) => {
                stage.world.resent(device, &dispute);
                self.promises.insert(batch, anew);
            }
            Ok(None) => stage.world.resent(device, &dispute),
            // The record is gone, or advice still stands against it: the dispute stays.
            Err(_) => self.promises.insert(dispute.batch, marks),
        }
    }

    /// Runs a transaction and notes what it promised.
    fn write<T>(
        &mut self,
        stage: &mut Stage,
        device: Device,
        marks: Vec<Mark>,
        insist: Insist,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Option<T> {
        let before = stage.world.last_batch(device);
        let done = match insist {
            Insist::Always => stage.world.insist_now(device, work),
            Insist::Never => stage.world.edit_now(device, work),
        };
        match done {
            Ok(done) => {
                let batch = stage.world.last_batch(device).filter(|now| Some(*now) != before);
                if let Some(batch) = batch {
                    self.promises.insert(batch, marks);
                }
                Some(done)
            }
            Err(EditError::Forbidden { .. }) => {
                self.ran.advised_against += 1;
                None
            }
            Err(EditError::Store(_)) if stage.is_troubled(device) => None,
            Err(EditError::Store(error)) => panic!("{}: {error}", stage.world.at(device).name),
            // Whims may contradict what has become of a record.
            Err(_) => None,
        }
    }

    /// A record that a device shows.
    fn some_record(
        &self,
        stage: &Stage,
        device: Device,
        rng: &mut StdRng,
    ) -> Option<(RecordId, &'static str)> {
        // Drawn first and looked up then: most records are shown on most devices.
        let tries = (0..8).filter_map(|_| self.records.choose(rng).copied());
        let mut shown = tries.filter(|(id, _)| stage.world.find(device, *id).is_some());
        shown.next()
    }
}

/// The values that a device shows in a field: the one that wins, and those that it is in conflict with.
fn shown(stage: &Stage, device: Device, record: RecordId, field: &str) -> BTreeSet<String> {
    let Some(seen) = stage.world.find(device, record) else { return BTreeSet::new() };
    let conflicts = stage.world.conflicts(device, record);
    let conflict = conflicts.into_iter().find(|conflict| conflict.field == field);
    let contenders = conflict.into_iter().flat_map(|conflict| conflict.values);
    let mut values: BTreeSet<String> =
        contenders.map(|contender| spelt(&contender.value)).collect();
    if *seen.value(field) != Value::Null {
        values.insert(spelt(seen.value(field)));
    }
    values
}

/// A value as the marks spell it.
pub(super) fn spelt(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Str(text) => text.clone(),
        other => panic!("the organisation puts no {}", other.kind()),
    }
}
