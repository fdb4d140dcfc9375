//! What a member may subscribe to: scopes, each with the entities of it that the member may read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::rule::{Names, Reach, Role, Rule};
use super::scope::Scope;
use super::{Action, Policy, Standing};
use crate::id::{BadSpelling, Section, is_name};
use crate::limits::{SCOPE_BYTES_MAX, SCOPES_MAX, SUBSCRIPTION_ENTITIES_MAX};
use crate::schema::Schema;

/// Documents of one section in one scope: all of them, or those of some entities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscription {
    section: Section,
    scope: Scope,
    entities: Option<BTreeSet<String>>,
}

impl Subscription {
    /// Its name: `territory:west`, `territory:west#finance`, `territory:west/case,contact`.
    #[must_use]
    pub fn name(&self) -> String {
        self.to_string()
    }

    /// The name of its scope, as the index has it: `territory:west#finance`.
    #[must_use]
    pub fn scope(&self) -> String {
        self.scope.name_in(&self.section)
    }

    /// The section whose documents it brings.
    #[must_use]
    pub const fn section(&self) -> &Section {
        &self.section
    }

    /// The entities that it is limited to; nothing when it brings all.
    #[must_use]
    pub const fn entities(&self) -> Option<&BTreeSet<String>> {
        self.entities.as_ref()
    }

    /// Whether it brings documents of this entity.
    #[must_use]
    pub fn admits(&self, entity: &str) -> bool {
        self.entities.as_ref().is_none_or(|entities| entities.contains(entity))
    }
}

impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scope())?;
        for (place, entity) in self.entities.iter().flatten().enumerate() {
            let mark = if place == 0 { '/' } else { ',' };
            write!(f, "{mark}{entity}")?;
        }
        Ok(())
    }
}

impl FromStr for Subscription {
    type Err = BadSpelling;

    fn from_str(name: &str) -> Result<Self, BadSpelling> {
        let misspelt =
            || BadSpelling { what: "a subscription's name", text: name.chars().take(80).collect() };
        (name.len() <= SCOPE_BYTES_MAX).then(|| read(name)).flatten().ok_or_else(misspelt)
    }
}

/// Reads a name; one that is spelt in any other way than [`Subscription::name`] spells it is none.
fn read(name: &str) -> Option<Subscription> {
    let (place, entities) = match name.split_once('/') {
        Some((place, entities)) => (place, Some(entities)),
        None => (name, None),
    };
    let (scope, section) = match place.split_once('#') {
        Some((scope, section)) => (scope, section.parse().ok()?),
        None => (place, Section::main()),
    };
    let entities = entities.map(|list| list.split(',').map(str::to_owned).collect());
    let named = |entities: &BTreeSet<String>| entities.iter().all(|entity| is_name(entity));
    if !entities.as_ref().is_none_or(named) {
        return None;
    }
    let subscription = Subscription { section, scope: Scope::read(scope)?, entities };
    (subscription.name() == name).then_some(subscription)
}

impl Policy {
    /// What a member may subscribe to, `main` first and wide scopes before narrow ones, at most
    /// [`SCOPES_MAX`]. A scope is left out when [`Scope::All`] brings everything of it.
    #[must_use]
    pub fn subscriptions(&self, who: &Standing, schema: &Schema) -> Vec<Subscription> {
        let Ok((_, role)) = self.role_in_force(who) else { return Vec::new() };
        let sections: BTreeSet<&Section> = schema.entities().flat_map(|e| e.sections()).collect();
        let (main, others): (Vec<&Section>, Vec<&Section>) =
            sections.into_iter().partition(|section| section.is_main());
        let mut subscriptions = Vec::new();
        for section in main.into_iter().chain(others) {
            let readable = self.readable(who, role, section, schema);
            for (scope, entities) in &readable {
                let brought = |all| *scope != Scope::All && covers(all, entities);
                if !readable.get(&Scope::All).is_some_and(brought) {
                    subscriptions.extend(split(section, scope, entities));
                }
            }
        }
        subscriptions.truncate(SCOPES_MAX);
        subscriptions
    }

    /// The scopes in which the member may read documents of `section`, each with their entities.
    fn readable(
        &self,
        who: &Standing,
        role: &Role,
        section: &Section,
        schema: &Schema,
    ) -> BTreeMap<Scope, Names> {
        let mut readable = BTreeMap::new();
        let read = |rule: &&Rule| {
            rule.actions.contains(&Action::Read) && rule.sections.holds(section.as_str())
        };
        for rule in role.rules.iter().filter(read) {
            let entities = with_section(&rule.entities, section, schema);
            for scope in rule.on.iter().flat_map(|reach| self.scopes_of(*reach, who)) {
                let none = || Names::Only(BTreeSet::new());
                readable.entry(scope).or_insert_with(none).join(&entities);
            }
        }
        readable
    }

    /// The scopes that a reach means for this member.
    fn scopes_of(&self, reach: Reach, who: &Standing) -> Vec<Scope> {
        let territories = |names: &BTreeSet<String>| {
            names.iter().cloned().map(Scope::Territory).collect::<Vec<_>>()
        };
        match reach {
            Reach::Own => vec![Scope::Owner(who.member)],
            Reach::Territory => territories(&who.territories),
            Reach::Team => who.teams.iter().cloned().map(Scope::Team).collect(),
            Reach::Region => who.region.as_ref().map_or_else(Vec::new, |region| {
                let alone = || vec![Scope::Territory(region.clone())];
                self.regions.get(region).map_or_else(alone, territories)
            }),
            Reach::Shared => vec![Scope::Shared],
            Reach::All => vec![Scope::All],
        }
    }
}

/// Those of the entities that have the section.
fn with_section(entities: &Names, section: &Section, schema: &Schema) -> Names {
    let Names::Only(names) = entities else { return Names::All };
    let has = |name: &&String| {
        schema.entity(name).is_some_and(|entity| entity.sections().any(|s| s == section))
    };
    Names::Only(names.iter().filter(has).cloned().collect())
}

fn covers(all: &Names, some: &Names) -> bool {
    match (all, some) {
        (Names::All, _) => true,
        (Names::Only(_), Names::All) => false,
        (Names::Only(all), Names::Only(some)) => some.is_subset(all),
    }
}

/// One subscription, several when the entities do not fit into one name, none when there are no entities.
fn split(section: &Section, scope: &Scope, entities: &Names) -> Vec<Subscription> {
    let of = |entities| Subscription { section: section.clone(), scope: scope.clone(), entities };
    match entities {
        Names::All => vec![of(None)],
        Names::Only(names) => {
            let names: Vec<&String> = names.iter().collect();
            let parts = names.chunks(SUBSCRIPTION_ENTITIES_MAX);
            parts.map(|part| of(Some(part.iter().copied().cloned().collect()))).collect()
        }
    }
}
