//! Who may see and do what, told a second time and as plainly as possible: a reference that shares no code with
//! the policy of `crdt-core`. It knows the schema's routing by heart, looks at every rule for every question,
//! and remembers nothing.

pub mod facts;
pub mod merge;
pub mod policy;
pub mod random;
pub mod sales;

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{MemberId, RecordId};

use policy::{Act, Policy, Reach, Rule};

/// A member, as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// The role that the directory names.
    pub role: Option<String>,
    /// Territories.
    pub territories: BTreeSet<String>,
    /// Teams.
    pub teams: BTreeSet<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether the member may do anything.
    pub active: bool,
}

/// A record: what decides where it stands, and the sections that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: RecordId,
    /// Its entity.
    pub entity: String,
    /// Who created it.
    pub creator: MemberId,
    /// What its field `owner` says.
    pub owner: Option<MemberId>,
    /// What its field `territory` says.
    pub territory: Option<String>,
    /// What its field `team` says.
    pub team: Option<String>,
    /// What the field through which it inherits says.
    pub parent: Option<RecordId>,
    /// The record that it was merged into.
    pub merged_into: Option<RecordId>,
    /// The sections that have been written.
    pub sections: BTreeSet<String>,
}

impl Record {
    /// A record of nobody's but its creator's.
    #[must_use]
    pub fn new(id: RecordId, entity: &str, creator: MemberId) -> Self {
        Self {
            id,
            entity: entity.to_owned(),
            creator,
            owner: None,
            territory: None,
            team: None,
            parent: None,
            merged_into: None,
            sections: BTreeSet::from(["main".to_owned()]),
        }
    }
}

/// A group of records that a rule can mean.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// All records stand here.
    Everywhere,
    /// Records of the entities that everybody shares.
    Shared,
    /// Records of this owner.
    Of(MemberId),
    /// Records of this territory.
    In(String),
    /// Records of this team.
    With(String),
}

/// Where a record stands.
pub type Places = BTreeSet<Place>;

/// What a batch does to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record's entity.
    pub entity: String,
    /// Where it stood; nothing when it is new.
    pub before: Option<Places>,
    /// Where it stands afterwards.
    pub after: Places,
    /// Sections and fields that are written.
    pub writes: BTreeSet<(String, String)>,
    /// Whether it is deleted or restored.
    pub deletes: bool,
    /// Whether it is merged into another.
    pub merges: bool,
}

/// A workspace's policy, people and records.
#[derive(Debug, Clone)]
pub struct Model {
    /// The policy in force.
    pub policy: Policy,
    /// The directory.
    pub members: BTreeMap<MemberId, Member>,
    /// The records.
    pub records: BTreeMap<RecordId, Record>,
}

impl Model {
    /// A workspace without people or records.
    #[must_use]
    pub const fn new(policy: Policy) -> Self {
        Self { policy, members: BTreeMap::new(), records: BTreeMap::new() }
    }

    /// Where a record stands, by its own values and those of the records above it.
    #[must_use]
    pub fn places(&self, record: &Record) -> Places {
        let mut places = Places::from([Place::Everywhere]);
        if self.policy.shared.contains(&record.entity) {
            places.insert(Place::Shared);
        }
        let mut passed = BTreeSet::new();
        let mut here = record;
        loop {
            places.extend(owner_of(here).map(Place::Of));
            let above = here.parent.and_then(|parent| self.survivor(parent));
            match above {
                Some(parent) if passed.insert(parent.id) => here = parent,
                _ => break,
            }
        }
        places.extend(here.territory.clone().map(Place::In));
        places.extend(here.team.clone().map(Place::With));
        places
    }

    /// The record that is left of this one after all mergers; of a circle, the smallest.
    fn survivor(&self, id: RecordId) -> Option<&Record> {
        let mut here = self.records.get(&id)?;
        let mut way = vec![here.id];
        while let Some(next) = here.merged_into.and_then(|next| self.records.get(&next)) {
            if let Some(circle) = way.iter().position(|passed| *passed == next.id) {
                let smallest = way[circle..].iter().min()?;
                return self.records.get(smallest);
            }
            way.push(next.id);
            here = next;
        }
        Some(here)
    }

    /// Whether a member may do this to records that stand there, in a section and, for writes, a field.
    #[must_use]
    pub fn may(
        &self,
        who: MemberId,
        act: Act,
        entity: &str,
        places: &Places,
        place_in_record: (&str, Option<&str>),
    ) -> bool {
        let (section, field) = place_in_record;
        let Some(member) = self.members.get(&who).filter(|member| member.active) else {
            return false;
        };
        self.rules_of(member).iter().any(|rule| {
            rule.acts.contains(&act)
                && rule.is_about(entity)
                && rule.is_in(section)
                && field.is_none_or(|field| rule.reaches(field))
                && rule.on.iter().any(|reach| self.means(*reach, member, places))
        })
    }

    /// Whether a member is sent this section of this record.
    #[must_use]
    pub fn sees(&self, who: MemberId, record: &Record, section: &str) -> bool {
        self.may(who, Act::Read, &record.entity, &self.places(record), (section, None))
    }

    /// Every section of every record that a member is sent.
    #[must_use]
    pub fn visible(&self, who: MemberId) -> BTreeSet<(RecordId, String)> {
        let sections = self.records.values().flat_map(|record| {
            let sections = record.sections.iter();
            sections.map(move |section| (record, section))
        });
        sections
            .filter(|(record, section)| self.sees(who, record, section))
            .map(|(record, section)| (record.id, section.clone()))
            .collect()
    }

    /// Whether a member may do all that this change does. Nobody writes a section of a record that is there
    /// without being sent that section.
    #[must_use]
    pub fn allows(&self, who: MemberId, change: &Change) -> bool {
        let Change { entity, before, after, writes, deletes, merges } = change;
        let stands = before.as_ref().unwrap_or(after);
        let whole = |act, places: &Places| self.may(who, act, entity, places, ("main", None));
        let written = if before.is_some() { Act::Update } else { Act::Create };
        let first = if before.is_some() { Act::Read } else { Act::Create };
        let is_sent = |section: &str| self.may(who, Act::Read, entity, stands, (section, None));
        whole(first, stands)
            && (before.is_none() || writes.iter().all(|(section, _)| is_sent(section)))
            && writes.iter().all(|(section, field)| {
                self.may(who, written, entity, stands, (section, Some(field)))
            })
            && (!deletes || whole(Act::Delete, stands))
            && (!merges || whole(Act::Merge, stands))
            && (stands == after || (whole(Act::Transfer, stands) && whole(Act::Transfer, after)))
    }

    fn rules_of(&self, member: &Member) -> &[Rule] {
        let roles = &self.policy.roles;
        let named = member.role.as_ref().and_then(|role| roles.get(role));
        let role = named.or_else(|| roles.get(self.policy.default_role.as_ref()?));
        role.map_or(&[], |rules| rules)
    }

    fn means(&self, reach: Reach, member: &Member, places: &Places) -> bool {
        places.iter().any(|place| match reach {
            Reach::All => *place == Place::Everywhere,
            Reach::Shared => *place == Place::Shared,
            Reach::Own => *place == Place::Of(member.id),
            Reach::Territory => {
                member.territories.iter().any(|name| *place == Place::In(name.clone()))
            }
            Reach::Team => member.teams.iter().any(|name| *place == Place::With(name.clone())),
            Reach::Region => member.region.as_ref().is_some_and(|region| {
                let territories = self.policy.territories_of(region);
                territories.iter().any(|name| *place == Place::In(name.clone()))
            }),
        })
    }
}

/// The owner that is named, or else whoever made it; what belongs to another record has no owner by itself.
fn owner_of(record: &Record) -> Option<MemberId> {
    let facts = facts::of(&record.entity);
    let maker = (facts.has_owner || facts.parent.is_none()).then_some(record.creator);
    record.owner.filter(|_| facts.has_owner).or(maker)
}
