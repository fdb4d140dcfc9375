//! Who should hold which record, worked out from the data alone: a small model of the sales policy that shares
//! no code with the engine. It knows owners, territories and accounts, and nothing of scopes or rules.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{MemberId, RecordId};
use crdt_core::record::Value;

use super::cast::{Person, Role};
use crate::import::ImportRecord;

/// What decides who holds a record.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    facts: BTreeMap<RecordId, Facts>,
}

#[derive(Debug, Clone)]
struct Facts {
    entity: &'static str,
    owner: Option<MemberId>,
    territory: Option<String>,
    /// The record that it belongs to.
    above: Option<RecordId>,
    is_deleted: bool,
}

impl Sight {
    /// What the imported records say.
    #[must_use]
    pub fn of(records: &[ImportRecord]) -> Self {
        let mut sight = Self::default();
        for record in records {
            sight.add(record.entity, record.id, &record.fields);
        }
        sight
    }

    /// Takes a record in, with the fields that it was created with.
    pub fn add(&mut self, entity: &'static str, id: RecordId, fields: &[(&'static str, Value)]) {
        let field = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
        let record = |name| match field(name) {
            Some(Value::Bytes(bytes)) => RecordId::try_from(&bytes[..]).ok(),
            _ => None,
        };
        let facts = Facts {
            entity,
            owner: record("owner").map(|owner| MemberId(owner.0)),
            territory: field("territory").and_then(Value::as_str).map(str::to_owned),
            above: record("account").or_else(|| record("record")),
            is_deleted: false,
        };
        self.facts.insert(id, facts);
    }

    /// A record is deleted: it stands where it stood, and is in nobody's lists.
    pub fn delete(&mut self, id: RecordId) {
        if let Some(facts) = self.facts.get_mut(&id) {
            facts.is_deleted = true;
        }
    }

    /// An account gets another owner in another territory.
    pub fn hand_over(&mut self, account: RecordId, owner: MemberId, territory: &str) {
        if let Some(facts) = self.facts.get_mut(&account) {
            facts.owner = Some(owner);
            facts.territory = Some(territory.to_owned());
        }
    }

    /// Whether a record stands in a territory: by its account when it has one, else by itself.
    #[must_use]
    pub fn stands_in(&self, id: RecordId, territory: &str) -> bool {
        self.facts.get(&id).is_some_and(|facts| {
            let top = facts.above.and_then(|account| self.facts.get(&account)).unwrap_or(facts);
            top.territory.as_deref() == Some(territory)
        })
    }

    /// Whether a person should hold a record.
    #[must_use]
    pub fn sees(&self, person: &Person, id: RecordId) -> bool {
        let Some(facts) = self.facts.get(&id) else { return false };
        let above = facts.above.and_then(|account| self.facts.get(&account));
        let owned = [Some(facts), above].into_iter().flatten();
        let is_own = owned.map(|facts| facts.owner).any(|owner| owner == Some(person.member));
        let is_near =
            person.territory.as_deref().is_some_and(|territory| self.stands_in(id, territory));
        match (person.role, facts.entity) {
            (Role::Admin, _) | (_, "member" | "product") => true,
            (Role::Rep, "kept_edit") => false,
            (Role::Rep | Role::Manager, _) => is_own || is_near,
        }
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> usize {
        self.facts.values().filter(|facts| !facts.is_deleted).count()
    }

    /// Whether the model knows of a record.
    #[must_use]
    pub fn knows(&self, id: RecordId) -> bool {
        self.facts.contains_key(&id)
    }

    /// Everything that a person's device should list.
    #[must_use]
    pub fn held_by(&self, person: &Person) -> BTreeSet<RecordId> {
        let there = self.facts.iter().filter(|(_, facts)| !facts.is_deleted);
        there.map(|(id, _)| *id).filter(|id| self.sees(person, *id)).collect()
    }
}
