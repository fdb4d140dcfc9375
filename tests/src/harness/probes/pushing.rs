//! Pushing: batches in proper form by members who do not ask whether they may, judged by the real server and
//! by the model.

use std::collections::BTreeSet;

use crdt_core::id::{MemberId, RecordId, Section};
use crdt_core::protocol::{Outcome, Refusal};
use crdt_core::record::{DELETED, Edit, Scalar};
use crdt_core::schema::{Field, Schema};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::population::finance;
use super::{Probes, values, word};
use crate::harness::bare::{Part, Writing};
use crate::model::facts;
use crate::model::policy::Act;
use crate::model::{Change, Record};

/// A batch to try, and what the model says of it.
struct Try {
    kind: String,
    parts: Vec<Part>,
    changes: Vec<Change>,
    /// The records as they are when it is accepted.
    after: Vec<Record>,
    deleted: Option<(RecordId, bool)>,
}

/// Fields that the directory or the routing read: written by moves alone.
const ROUTING: [&str; 11] = [
    "owner",
    "territory",
    "territories",
    "team",
    "teams",
    "role",
    "region",
    "active",
    "record",
    "account",
    "opportunity",
];

impl Probes {
    /// One batch by one member.
    pub(super) fn push_something(&mut self) {
        let place = self.someone();
        let who = self.hands[place].member;
        let mut tried = match self.rng.random_range(0..100) {
            0..34 => self.try_update(Section::main()),
            34..50 => self.try_update(finance()),
            50..60 => self.try_two_sections(),
            60..72 => self.try_move(),
            72..84 => self.try_create(who),
            84..91 => self.try_delete(),
            91..95 => self.try_merge(),
            _ => self.try_two_records(),
        };
        for part in &mut tried.parts {
            part.in_full = self.rng.random_bool(0.3);
        }
        let allowed = tried.changes.iter().all(|change| self.model.allows(who, change));
        let mut hand = self.hands[place].clone();
        let outcome = self.bare.push(&mut hand, &tried.parts);
        self.hands[place] = hand;
        self.compare(who, &tried, allowed, &outcome);
        self.counts.count(&format!("push {}", tried.kind), allowed);
        if allowed {
            for record in tried.after {
                self.model.records.insert(record.id, record);
            }
            self.bare.settle();
        }
        match tried.deleted {
            Some((record, true)) if allowed => _ = self.deleted.insert(record),
            Some((record, false)) if allowed => _ = self.deleted.remove(&record),
            _ => {}
        }
    }

    fn compare(&self, who: MemberId, tried: &Try, allowed: bool, outcome: &Outcome) {
        let says = match outcome {
            Outcome::Accepted { .. } if allowed => return,
            Outcome::Refused { reasons } if !allowed => {
                return self.check_refusal(who, tried, reasons);
            }
            Outcome::Accepted { .. } => "false allow",
            Outcome::Refused { .. } | Outcome::Already { .. } => "false denial",
        };
        let member = &self.model.members[&who];
        let Try { kind, parts, changes, .. } = tried;
        self.fail(&format!("{says}: {kind}\n{member:?}\n{parts:?}\n{changes:?}\n{outcome:?}"));
    }

    /// A refusal says nothing of what its reader may not know of: of a record that is not there for them, and
    /// of a hidden section's number, only that there is no such thing.
    fn check_refusal(&self, who: MemberId, tried: &Try, reasons: &[Refusal]) {
        let (mut unknown, mut hidden) = (false, false);
        for part in &tried.parts {
            let Some(record) = self.model.records.get(&part.record) else { continue };
            let by_number = !part.in_full && self.bare.row(&part.id()).is_some();
            if !self.model.sees(who, record, "main") {
                unknown = true;
            } else if !self.model.sees(who, record, part.section.as_str()) {
                *if by_number { &mut unknown } else { &mut hidden } = true;
            }
        }
        for after in &tried.after {
            let before = self.model.records.get(&after.id).and_then(|record| record.merged_into);
            let left = after.merged_into.filter(|left| before != Some(*left));
            let left = left.and_then(|left| self.model.records.get(&left));
            unknown |= left.is_some_and(|left| !self.model.sees(who, left, "main"));
        }
        let fits = |reason: &Refusal| match reason.code.as_str() {
            "out_of_scope" => unknown && reason.field.is_none() && reason.rule.is_none(),
            "forbidden" => hidden || !unknown,
            _ => false,
        };
        if reasons.is_empty() || !reasons.iter().all(fits) {
            let Try { kind, parts, .. } = tried;
            self.fail(&format!("refused by {reasons:?}: {kind} {parts:?}"));
        }
    }

    fn try_update(&mut self, section: Section) -> Try {
        let record = self.living(|facts| section.is_main() || facts.has_finance);
        let part = self.plain_write(&record, section.clone());
        let change = self.change(&record, &record, &[&part]);
        let mut after = record.clone();
        after.sections.insert(section.to_string());
        let kind = format!("{} {section}", word(Act::Update));
        Try { kind, parts: vec![part], changes: vec![change], after: vec![after], deleted: None }
    }

    fn try_two_sections(&mut self) -> Try {
        let record = self.living(|facts| facts.has_finance);
        let parts =
            vec![self.plain_write(&record, Section::main()), self.plain_write(&record, finance())];
        let change = self.change(&record, &record, &parts.iter().collect::<Vec<_>>());
        let mut after = record;
        after.sections.insert("finance".to_owned());
        let kind = "update both sections".to_owned();
        Try { kind, parts, changes: vec![change], after: vec![after], deleted: None }
    }

    fn try_two_records(&mut self) -> Try {
        let (first, second) = (self.living(|_| true), self.living(|_| true));
        if first.id == second.id {
            return self.try_update(Section::main());
        }
        let parts = vec![
            self.plain_write(&first, Section::main()),
            self.plain_write(&second, Section::main()),
        ];
        let changes = vec![
            self.change(&first, &first, &[&parts[0]]),
            self.change(&second, &second, &[&parts[1]]),
        ];
        let kind = "update two records".to_owned();
        Try { kind, parts, changes, after: vec![first, second], deleted: None }
    }

    fn try_move(&mut self) -> Try {
        let record = self.living(|facts| facts.entity != "member");
        let (after, part) = self.moved(&record);
        let change = self.change(&record, &after, &[&part]);
        let moves = change.before.as_ref() != Some(&change.after);
        let kind = if moves { word(Act::Transfer) } else { "update routing" }.to_owned();
        Try { kind, parts: vec![part], changes: vec![change], after: vec![after], deleted: None }
    }

    fn try_create(&mut self, who: MemberId) -> Try {
        let facts = *facts::ENTITIES.choose(&mut self.rng).expect("there are entities");
        let record = self.draft_record(facts, who);
        let parts = self.creation(&record, who);
        let after = self.model.places(&record);
        let mut change = self.change(&record, &record, &parts.iter().collect::<Vec<_>>());
        (change.before, change.after) = (None, after);
        let kind = word(Act::Create).to_owned();
        Try { kind, parts, changes: vec![change], after: vec![record], deleted: None }
    }

    fn try_delete(&mut self) -> Try {
        let deleted = self.deleted.first().copied();
        if let Some(record) = deleted.filter(|_| self.rng.random_bool(0.6)) {
            let record = self.model.records[&record].clone();
            let remove = Edit::Remove { key: DELETED.to_owned() };
            let part = Part::of(record.id, Section::main(), &record.entity).edit(remove);
            return self.deletion(record, part, "restore", false);
        }
        let record = self.living(|facts| facts.entity != "member");
        let cells = self.bare.cells(record.id, &Section::main()).expect("the record is there");
        let clock = Scalar::Bytes(cells.clock().to_bytes());
        let part = Part::of(record.id, Section::main(), &record.entity).put(DELETED, clock);
        self.deletion(record, part, word(Act::Delete), true)
    }

    fn deletion(&self, record: Record, part: Part, kind: &str, deletes: bool) -> Try {
        let mut change = self.change(&record, &record, &[]);
        change.deletes = true;
        let deleted = Some((record.id, deletes));
        let kind = kind.to_owned();
        Try { kind, parts: vec![part], changes: vec![change], after: vec![record], deleted }
    }

    fn try_merge(&mut self) -> Try {
        let record = self.living(|facts| facts.entity != "member");
        let survivor = self.some_of(&record.entity).expect("the record itself is one");
        let mut after = record.clone();
        after.merged_into = Some(survivor).filter(|survivor| *survivor != record.id);
        let Some(survivor) = after.merged_into else { return self.try_update(Section::main()) };
        let value = Scalar::Bytes(survivor.as_bytes().to_vec());
        let part = Part::of(record.id, Section::main(), &record.entity).put("$merged_into", value);
        let mut change = self.change(&record, &record, &[]);
        change.merges = true;
        // What hangs on the record comes to hang on the one that is left: that one is merged as well.
        let left = self.model.records[&survivor].clone();
        let mut taking_in = self.change(&left, &left, &[]);
        taking_in.merges = true;
        let mut changes = vec![change];
        changes.extend((record.merged_into != Some(survivor)).then_some(taking_in));
        let kind = word(Act::Merge).to_owned();
        Try { kind, parts: vec![part], changes, after: vec![after], deleted: None }
    }

    /// What parts do to a record that exists, in the model's words.
    fn change(&self, before: &Record, after: &Record, parts: &[&Part]) -> Change {
        let writes = parts.iter().flat_map(|part| {
            let keys = part.writings.iter().map(|writing| match writing {
                Writing::Edit(
                    Edit::Put { key, .. } | Edit::Remove { key } | Edit::Increment { key, .. },
                ) => key.clone(),
                Writing::Type { field, .. } => field.clone(),
            });
            let fields = keys.filter(|key| !key.starts_with('$'));
            let fields = fields.map(|key| key.split('/').next().unwrap_or_default().to_owned());
            fields.map(|field| (part.section.to_string(), field)).collect::<Vec<_>>()
        });
        let stood = self.model.places(before);
        // A record whose own routing values stay stands where it stood.
        let stands = if before == after { stood.clone() } else { self.model.places(after) };
        Change {
            entity: before.entity.clone(),
            before: Some(stood),
            after: stands,
            writes: writes.collect::<BTreeSet<_>>(),
            deletes: false,
            merges: false,
        }
    }

    /// One to three fields of a section that route nothing.
    pub(super) fn plain_write(&mut self, record: &Record, section: Section) -> Part {
        let entity = Schema::builtin().entity(&record.entity).expect("the schema has the entity");
        let plain =
            |field: &&Field| field.section == section && !ROUTING.contains(&field.key.as_str());
        let fields: Vec<&Field> = entity.fields.iter().filter(plain).collect();
        let mut part = Part::of(record.id, section, &record.entity);
        let mut written = BTreeSet::new();
        for _ in 0..self.rng.random_range(1..=3) {
            let field = fields.choose(&mut self.rng).expect("every section has fields");
            if written.insert(&field.key) {
                part.writings.push(values::writing(&mut self.rng, field, record.id));
            }
        }
        part
    }

    /// A record that is not deleted.
    fn living(&mut self, is_meant: impl Fn(&facts::Facts) -> bool) -> Record {
        loop {
            let record = self.some_record();
            let record = self.model.records[&record].clone();
            let facts = facts::of(&record.entity);
            let meant = record.entity != "kept_edit" && is_meant(&facts);
            if meant && !self.deleted.contains(&record.id) {
                return record;
            }
        }
    }
}
