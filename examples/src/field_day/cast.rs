//! Who takes part: three reps of one territory and their manager, the manager of another territory, and the
//! office, which administers the workspace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{MemberId, RecordId};
use crdt_core::record::Value;

use super::sight::Sight;
use crate::import::{Import, ImportRecord};

/// Someone with a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their member id.
    pub member: MemberId,
    /// Their name.
    pub name: String,
    /// What they are.
    pub role: Role,
    /// Where they work; the office works for all.
    pub territory: Option<String>,
}

/// What someone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sells.
    Rep,
    /// Answers for a territory.
    Manager,
    /// Runs the workspace.
    Admin,
}

impl Role {
    /// Its name in the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rep => "rep",
            Self::Manager => "manager",
            Self::Admin => "admin",
        }
    }
}

/// The people with devices, and who takes over what moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// In the order of their devices: three reps, their manager, their neighbours' manager, the office.
    pub people: Vec<Person>,
    /// The territory of the reps.
    pub territory: String,
    /// A rep of the neighbours' territory, without a device in the story.
    pub heir: MemberId,
}

/// The input has too few people to tell the story.
#[derive(Debug, thiserror::Error)]
#[error(
    "the story needs a territory with three reps, {DEALS_MIN} open deals of the first and a manager, and \
     another territory with a rep and a manager; the input has {territories} territories with a manager"
)]
pub struct TooFew {
    /// Territories with a manager.
    pub territories: usize,
}

/// Open deals that the story needs of its first rep.
const DEALS_MIN: usize = 5;
/// The name of whoever administers the workspace.
const OFFICE_NAME: &str = "Sales Office";

impl Cast {
    /// The reps' places.
    pub const REPS: std::ops::Range<usize> = 0..3;
    /// Their manager's place.
    pub const MANAGER: usize = 3;
    /// The place of the manager of the other territory.
    pub const NEIGHBOUR: usize = 4;
    /// The office's place.
    pub const OFFICE: usize = 5;
    /// The places of those who work in one territory.
    pub const TEAM: std::ops::Range<usize> = 0..4;

    /// Chooses from the imported members, the same for the same input.
    ///
    /// # Errors
    /// When there are too few.
    pub fn choose(import: &Import, sight: &Sight) -> Result<Self, TooFew> {
        let offices = offices(import, sight);
        let few = || TooFew { territories: offices.len() };
        let strongest = |(_, office): &(&&str, &Office<'_>)| {
            let deals: usize = office.reps.iter().take(3).map(|(deals, _)| *deals).sum();
            office.reps.len() >= 3 && office.reps[0].0 >= DEALS_MIN && deals > 0
        };
        let (territory, office) = offices
            .iter()
            .filter(strongest)
            .max_by_key(|(name, office)| (office.reps[0].0, Reverse(**name)))
            .ok_or_else(few)?;
        let (other, neighbour) = offices
            .iter()
            .find(|(name, office)| *name != territory && !office.reps.is_empty())
            .ok_or_else(few)?;
        let reps = office.reps.iter().take(3).map(|(_, rep)| person(rep, Role::Rep, territory));
        let mut people: Vec<Person> = reps.collect();
        people.push(person(office.manager, Role::Manager, territory));
        people.push(person(neighbour.manager, Role::Manager, other));
        people.push(office_person());
        let heir = MemberId(neighbour.reps[0].1.id.0);
        Ok(Self { people, territory: (*territory).to_owned(), heir })
    }

    /// A rep's deals that are neither won nor lost.
    pub fn open_deals<'a>(
        &self,
        rep: usize,
        records: &'a [ImportRecord],
    ) -> impl Iterator<Item = &'a ImportRecord> + use<'a> {
        let member = self.people[rep].member;
        records.iter().filter(move |record| is_open_deal(record) && owner(record) == Some(member))
    }

    /// Every account of the reps' territory.
    pub fn accounts<'a>(
        &self,
        records: &'a [ImportRecord],
    ) -> impl Iterator<Item = &'a ImportRecord> + use<'a> {
        let territory = self.territory.clone();
        records.iter().filter(move |record| {
            record.entity == "account" && text(record, "territory") == Some(territory.as_str())
        })
    }

    /// The place of the rep who owns a record, when they are in the cast.
    #[must_use]
    pub fn rep_of(&self, record: &ImportRecord) -> Option<usize> {
        let owner = owner(record)?;
        Self::REPS.into_iter().find(|rep| self.people[*rep].member == owner)
    }
}

/// Whoever administers the workspace.
#[must_use]
pub fn office_person() -> Person {
    Person {
        member: crate::stage::member(OFFICE_NAME),
        name: OFFICE_NAME.to_owned(),
        role: Role::Admin,
        territory: None,
    }
}

/// The people of a territory: its manager, and its reps by the number of their open deals there.
struct Office<'a> {
    manager: &'a ImportRecord,
    reps: Vec<(usize, &'a ImportRecord)>,
}

fn offices<'a>(import: &'a Import, sight: &Sight) -> BTreeMap<&'a str, Office<'a>> {
    let members = || import.records.iter().filter(|record| record.entity == "member");
    let mut offices = BTreeMap::new();
    let managers = members().filter(|record| text(record, "role") == Some("manager"));
    for manager in managers {
        let Some(territory) = text(manager, "region") else { continue };
        let office = offices.entry(territory).or_insert(Office { manager, reps: Vec::new() });
        if manager.id < office.manager.id {
            office.manager = manager;
        }
    }
    let mut deals: BTreeMap<MemberId, BTreeSet<RecordId>> = BTreeMap::new();
    for deal in import.records.iter().filter(|record| is_open_deal(record)) {
        if let Some(owner) = owner(deal) {
            deals.entry(owner).or_default().insert(deal.id);
        }
    }
    for rep in members().filter(|record| text(record, "role") == Some("rep")) {
        let Some((territory, office)) =
            text(rep, "territory").and_then(|name| Some((name, offices.get_mut(name)?)))
        else {
            continue;
        };
        let own = deals.get(&MemberId(rep.id.0)).into_iter().flatten();
        let here = own.filter(|deal| sight.stands_in(**deal, territory)).count();
        office.reps.push((here, rep));
    }
    for office in offices.values_mut() {
        office.reps.sort_by_key(|(deals, rep)| (Reverse(*deals), rep.id));
    }
    offices
}

fn person(record: &ImportRecord, role: Role, territory: &str) -> Person {
    let name = text(record, "name").unwrap_or_default().to_owned();
    Person { member: MemberId(record.id.0), name, role, territory: Some(territory.to_owned()) }
}

fn text<'a>(record: &'a ImportRecord, field: &str) -> Option<&'a str> {
    record.field(field).and_then(Value::as_str)
}

fn owner(record: &ImportRecord) -> Option<MemberId> {
    match record.field("owner") {
        Some(Value::Bytes(bytes)) => MemberId::try_from(&bytes[..]).ok(),
        _ => None,
    }
}

fn is_open_deal(record: &ImportRecord) -> bool {
    record.entity == "opportunity"
        && matches!(text(record, "stage"), Some("prospecting" | "engaging"))
}
