//! Roles and their rules, as parsed: which rules speak about an entity and an action is looked up, not
//! searched for.

use std::collections::{BTreeMap, BTreeSet};

use super::Action;
use super::scope::Kind;

/// A set of grants.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) label: String,
    pub(super) rules: Vec<Rule>,
    named: BTreeMap<String, ByAction>,
    others: ByAction,
}

/// For each action, in the order of [`Action::ALL`], the places of the rules that speak about it.
type ByAction = [Vec<usize>; Action::ALL.len()];

/// One grant: these actions, on records of these entities that stand in these scopes.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) entities: Names,
    pub(super) on: BTreeSet<Reach>,
    pub(super) actions: BTreeSet<Action>,
    pub(super) sections: Names,
    pub(super) fields: Fields,
}

/// Whose records a rule is about, seen from the member who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    Own,
    Territory,
    Team,
    Region,
    Shared,
    All,
}

/// Names of entities or sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    All,
    Only(BTreeSet<String>),
}

/// The fields that a rule's `create` and `update` reach. A group's name stands for all its parts.
#[derive(Debug)]
pub(super) enum Fields {
    All,
    Only(BTreeSet<String>),
    Except(BTreeSet<String>),
}

impl Role {
    pub(super) fn new(label: String, rules: Vec<Rule>) -> Self {
        let entities = rules.iter().filter_map(|rule| match &rule.entities {
            Names::All => None,
            Names::Only(names) => Some(names),
        });
        let named = entities
            .flatten()
            .map(|name| (name.clone(), places(&rules, |rule| rule.entities.holds(name))))
            .collect();
        let others = places(&rules, |rule| rule.entities == Names::All);
        Self { label, rules, named, others }
    }

    /// The rules that allow `action` on records of `entity`, in the order of the file.
    pub(super) fn rules_for(&self, entity: &str, action: Action) -> impl Iterator<Item = &Rule> {
        let places = self.named.get(entity).unwrap_or(&self.others);
        places[action as usize].iter().map(|place| &self.rules[*place])
    }
}

fn places(rules: &[Rule], speaks: impl Fn(&Rule) -> bool) -> ByAction {
    let mut places = ByAction::default();
    for (place, rule) in rules.iter().enumerate().filter(|(_, rule)| speaks(rule)) {
        for action in &rule.actions {
            places[*action as usize].push(place);
        }
    }
    places
}

impl Names {
    pub(super) fn holds(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// Everything that either holds.
    pub(super) fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Only(mine), Self::Only(theirs)) => mine.extend(theirs.iter().cloned()),
            (_, Self::All) => *self = Self::All,
            (Self::All, Self::Only(_)) => {}
        }
    }
}

impl Fields {
    pub(super) fn reach(&self, field: &str) -> bool {
        let named = |words: &BTreeSet<String>| {
            let group = field.split_once('.').is_some_and(|(group, _)| words.contains(group));
            group || words.contains(field)
        };
        match self {
            Self::All => true,
            Self::Only(words) => named(words),
            Self::Except(words) => !named(words),
        }
    }
}

impl Reach {
    pub(super) const ALL: [Self; 6] =
        [Self::Own, Self::Territory, Self::Team, Self::Region, Self::Shared, Self::All];

    /// The word for it in `policy.toml`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Territory => "territory",
            Self::Team => "team",
            Self::Region => "region",
            Self::Shared => "shared",
            Self::All => "all",
        }
    }

    /// The scopes that it is made of.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Own => Kind::Owner,
            Self::Territory | Self::Region => Kind::Territory,
            Self::Team => Kind::Team,
            Self::Shared => Kind::Shared,
            Self::All => Kind::All,
        }
    }
}
