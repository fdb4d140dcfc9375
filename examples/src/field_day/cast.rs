//! Who takes part: three reps of three territories with the most open deals, and a manager.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::MemberId;
use crdt_core::record::Value;

use crate::import::{Import, ImportRecord};

/// Someone with a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their member id.
    pub member: MemberId,
    /// Their name.
    pub name: String,
    /// What they are: `rep` or `manager`.
    pub role: &'static str,
}

/// The people with devices: three reps, then the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// In the order of their devices.
    pub people: Vec<Person>,
}

/// The input has too few people to tell the story.
#[derive(Debug, thiserror::Error)]
#[error("the story needs three reps with open deals and a manager; the input has {reps} such reps")]
pub struct TooFew {
    /// How many reps could be found.
    pub reps: usize,
}

/// Open deals that the story needs of its first rep.
const DEALS_MIN: usize = 4;

impl Cast {
    /// Chooses from the imported members, the same for the same input.
    ///
    /// # Errors
    /// When there are too few.
    pub fn choose(import: &Import) -> Result<Self, TooFew> {
        let mut open: BTreeMap<MemberId, usize> = BTreeMap::new();
        for deal in import.records.iter().filter(|record| is_open_deal(record)) {
            if let Some(owner) = owner(deal) {
                *open.entry(owner).or_default() += 1;
            }
        }
        let members = || import.records.iter().filter(|record| record.entity == "member");
        let mut reps: Vec<(usize, &ImportRecord)> = members()
            .filter(|record| text(record, "role") == Some("rep"))
            .filter_map(|record| Some((*open.get(&MemberId(record.id.0))?, record)))
            .filter(|(deals, _)| *deals >= DEALS_MIN)
            .collect();
        reps.sort_by_key(|(deals, record)| (std::cmp::Reverse(*deals), record.id));
        let mut territories = BTreeSet::new();
        let mut chosen: Vec<&ImportRecord> = Vec::new();
        for (_, rep) in &reps {
            if chosen.len() < 3 && territories.insert(text(rep, "territory")) {
                chosen.push(rep);
            }
        }
        let others = reps.iter().map(|(_, rep)| *rep);
        for rep in others {
            if chosen.len() < 3 && !chosen.contains(&rep) {
                chosen.push(rep);
            }
        }
        let manager =
            members().filter(|record| text(record, "role") == Some("manager")).min_by_key(|m| m.id);
        match (chosen.len(), manager) {
            (3, Some(manager)) => {
                let mut people: Vec<Person> =
                    chosen.into_iter().map(|rep| person(rep, "rep")).collect();
                people.push(person(manager, "manager"));
                Ok(Self { people })
            }
            (reps, _) => Err(TooFew { reps }),
        }
    }

    /// The places of the reps.
    pub fn reps(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.people.len() - 1
    }

    /// The place of the manager.
    #[must_use]
    pub fn manager(&self) -> usize {
        self.people.len() - 1
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

    /// Every account.
    pub fn accounts<'a>(
        &self,
        records: &'a [ImportRecord],
    ) -> impl Iterator<Item = &'a ImportRecord> + use<'a> {
        records.iter().filter(|record| record.entity == "account")
    }
}

fn person(record: &ImportRecord, role: &'static str) -> Person {
    let name = text(record, "name").unwrap_or_default().to_owned();
    Person { member: MemberId(record.id.0), name, role }
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
