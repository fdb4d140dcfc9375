//! The people and records of a probed workspace, and how they change: all by the member who may do everything.

use crdt_core::id::{MemberId, RecordId, Section};
use crdt_core::protocol::Outcome;
use crdt_core::record::{Edit, Scalar};
use crdt_core::time::Timestamp;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::Probes;
use crate::harness::bare::Part;
use crate::harness::time::WORLD_BEGINS_MS;
use crate::model::facts::{self, Facts};
use crate::model::{Member, Record, random};

impl Probes {
    /// People and records, while everybody may do everything.
    pub(super) fn populate(&mut self, records: usize) {
        let boss = Member {
            id: self.boss.member,
            role: Some(random::BOSS.to_owned()),
            territories: Default::default(),
            teams: Default::default(),
            region: None,
            active: true,
        };
        self.write_member(boss);
        for id in self.hands.iter().map(|hand| hand.member).collect::<Vec<_>>() {
            let member = random::member(&mut self.rng, id);
            self.write_member(member);
        }
        for place in 0..records {
            // Every kind comes up, parents first.
            let facts = facts::ENTITIES[place % facts::ENTITIES.len()];
            let record = self.draft_record(facts, self.boss.member);
            let parts = self.creation(&record, self.boss.member);
            self.as_boss(&parts);
            self.model.records.insert(record.id, record);
        }
    }

    /// Writes what the directory is to say of a member.
    fn write_member(&mut self, member: Member) {
        let record = RecordId::from(member.id);
        let known = self.model.records.get(&record).cloned();
        let text = |value: &Option<String>| value.clone().map_or(Scalar::Null, Scalar::Str);
        let mut part = Part::of(record, Section::main(), "member");
        if known.is_none() {
            part = part
                .begun(self.boss.member, begun())
                .put("name", Scalar::Str("A member".to_owned()));
        }
        let before = self.model.members.get(&member.id);
        let (first, more) = split(&member.territories);
        part = part.put("territory", text(&first)).put("role", text(&member.role));
        let (team, teams) = split(&member.teams);
        part = part.put("team", text(&team)).put("region", text(&member.region));
        part = part.put("active", Scalar::Bool(member.active));
        let old = before.map(|old| (split(&old.territories).1, split(&old.teams).1));
        let (old_territories, old_teams) = old.unwrap_or_default();
        for (set, old, new) in
            [("territories", old_territories, &more), ("teams", old_teams, &teams)]
        {
            for gone in old.iter().filter(|name| !new.contains(name)) {
                part = part.edit(Edit::Remove { key: format!("{set}/{gone}") });
            }
            for name in new {
                part = part.edit(Edit::add(format!("{set}/{name}")));
            }
        }
        self.as_boss(&[part]);
        let mut record = known.unwrap_or_else(|| Record::new(record, "member", self.boss.member));
        (record.territory, record.team) = (first, team);
        self.model.records.insert(record.id, record);
        self.model.members.insert(member.id, member);
    }

    /// Some members change their role, their places, or are switched off.
    pub(super) fn change_people(&mut self) {
        for _ in 0..3 {
            let place = self.someone();
            let id = self.hands[place].member;
            let member = random::member(&mut self.rng, id);
            self.write_member(member);
        }
    }

    /// Some records are moved.
    pub(super) fn move_records(&mut self) {
        for _ in 0..8 {
            let record = self.some_record();
            let record = self.model.records[&record].clone();
            let moves = !matches!(record.entity.as_str(), "member" | "kept_edit");
            if !moves || self.deleted.contains(&record.id) {
                continue;
            }
            let (moved, part) = self.moved(&record);
            self.as_boss(&[part]);
            self.model.records.insert(moved.id, moved);
        }
    }

    /// The record somewhere else, and what has to be written for it.
    pub(super) fn moved(&mut self, record: &Record) -> (Record, Part) {
        let facts = facts::of(&record.entity);
        let mut moved = record.clone();
        let mut part = Part::of(record.id, Section::main(), &record.entity);
        let mut choices = vec![];
        choices.extend(facts.has_owner.then_some("owner"));
        choices.extend(facts.has_territory.then_some("territory"));
        choices.extend(facts.has_territory.then_some("team"));
        choices.extend(facts.parent.map(|_| "parent"));
        match choices.choose(&mut self.rng).copied().unwrap_or("nothing") {
            "owner" => {
                moved.owner = Some(self.some_member());
                part = part.put("owner", bytes(moved.owner.map(RecordId::from)));
            }
            "territory" => {
                moved.territory = self.some_name(&random::TERRITORIES);
                part = part.put("territory", name(moved.territory.as_ref()));
            }
            "team" => {
                moved.team = self.some_name(&random::TEAMS);
                part = part.put("team", name(moved.team.as_ref()));
            }
            "parent" => {
                let (field, entity) = facts.parent.expect("it was among the choices");
                moved.parent = self.some_of(entity);
                part = part.put(field, bytes(moved.parent));
            }
            _ => part = self.plain_write(record, Section::main()),
        }
        (moved, part)
    }

    /// A new record of an entity, somewhere.
    pub(super) fn draft_record(&mut self, facts: Facts, creator: MemberId) -> Record {
        self.records_made += 1;
        let name = format!("{}/{}", self.seed, self.records_made);
        let id = RecordId::from_source_key("probed record", &name);
        let mut record = Record::new(id, facts.entity, creator);
        if facts.has_owner && self.rng.random_bool(0.6) {
            record.owner = Some(self.some_member());
        }
        if facts.has_territory {
            record.territory = self.some_name(&random::TERRITORIES);
            record.team = self.some_name(&random::TEAMS);
        }
        if let Some((field, entity)) = facts.parent
            && (field == "opportunity" || self.rng.random_bool(0.8))
        {
            record.parent = self.some_of(entity);
        }
        if facts.has_finance && self.rng.random_bool(0.6) {
            record.sections.insert("finance".to_owned());
        }
        record
    }

    /// What creates a record as it is drafted.
    pub(super) fn creation(&mut self, record: &Record, by: MemberId) -> Vec<Part> {
        let facts = facts::of(&record.entity);
        let mut main = Part::of(record.id, Section::main(), &record.entity).begun(by, begun());
        if let Some((field, value)) = facts.required {
            main = main.put(field, Scalar::Str(value.to_owned()));
        }
        if record.entity == "activity" {
            main = main.put("kind", Scalar::Str("call".to_owned()));
        }
        if let Some(owner) = record.owner {
            main = main.put("owner", bytes(Some(owner.into())));
        }
        if let Some(territory) = &record.territory {
            main = main.put("territory", name(Some(territory)));
        }
        if let Some(team) = &record.team {
            main = main.put("team", name(Some(team)));
        }
        if let (Some((field, _)), Some(parent)) = (facts.parent, record.parent) {
            main = main.put(field, bytes(Some(parent)));
        }
        let mut parts = vec![main];
        if record.sections.contains("finance") {
            parts.push(self.plain_write(record, finance()));
        }
        parts
    }

    pub(super) fn some_member(&mut self) -> MemberId {
        let place = self.rng.random_range(0..=self.hands.len());
        self.hands.get(place).map_or(self.boss.member, |hand| hand.member)
    }

    fn some_name(&mut self, names: &[&str]) -> Option<String> {
        let some = names.choose(&mut self.rng).filter(|_| self.rng.random_bool(0.8));
        some.map(|name| (*name).to_owned())
    }

    /// Pushes as the member who may do everything.
    pub(super) fn as_boss(&mut self, parts: &[Part]) {
        let outcome = self.bare.push(&mut self.boss, parts);
        if !matches!(outcome, Outcome::Accepted { .. }) {
            self.fail(&format!("the administrator is refused {parts:?}: {outcome:?}"));
        }
        self.bare.settle();
    }
}

/// The first by itself, the others as a set.
fn split(names: &std::collections::BTreeSet<String>) -> (Option<String>, Vec<String>) {
    let mut names = names.iter().cloned();
    (names.next(), names.collect())
}

pub(super) fn finance() -> Section {
    "finance".parse().expect("a good name")
}

pub(super) fn begun() -> Timestamp {
    Timestamp::from_millis(WORLD_BEGINS_MS)
}

fn bytes(record: Option<RecordId>) -> Scalar {
    record.map_or(Scalar::Null, |record| Scalar::Bytes(record.as_bytes().to_vec()))
}

fn name(name: Option<&String>) -> Scalar {
    name.map_or(Scalar::Null, |name| Scalar::Str(name.clone()))
}
