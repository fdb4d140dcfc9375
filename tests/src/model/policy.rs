//! A policy as the model has it, and how it is written down as `policy.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What can be done to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Have it.
    Read,
    /// Make it.
    Create,
    /// Write it.
    Update,
    /// Delete or restore it.
    Delete,
    /// Move it.
    Transfer,
    /// Merge it into another.
    Merge,
    /// Erase it.
    Erase,
}

/// Whose records a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The member's.
    Own,
    /// Those of the member's territories.
    Territory,
    /// Those of the member's teams.
    Team,
    /// Those of the territories of the member's region.
    Region,
    /// Those that everybody shares.
    Shared,
    /// Everybody's.
    All,
}

/// All of something, or those that are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Those {
    /// All.
    All,
    /// These.
    Only(BTreeSet<String>),
    /// All but these.
    Except(BTreeSet<String>),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The entities.
    pub entities: Those,
    /// Whose records.
    pub on: BTreeSet<Reach>,
    /// What may be done.
    pub acts: BTreeSet<Act>,
    /// The sections.
    pub sections: Those,
    /// The fields that may be written.
    pub fields: Those,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its version.
    pub version: u64,
    /// The role of those who have none.
    pub default_role: Option<String>,
    /// What everybody shares.
    pub shared: BTreeSet<String>,
    /// Regions and their territories.
    pub regions: BTreeMap<String, BTreeSet<String>>,
    /// Roles and their rules.
    pub roles: BTreeMap<String, Vec<Rule>>,
}

impl Act {
    /// Every act, with the word for it.
    pub const ALL: [(Self, &str); 7] = [
        (Self::Read, "read"),
        (Self::Create, "create"),
        (Self::Update, "update"),
        (Self::Delete, "delete"),
        (Self::Transfer, "transfer"),
        (Self::Merge, "merge"),
        (Self::Erase, "erase"),
    ];
}

impl Reach {
    /// Every reach, with the word for it.
    pub const ALL: [(Self, &str); 6] = [
        (Self::Own, "own"),
        (Self::Territory, "territory"),
        (Self::Team, "team"),
        (Self::Region, "region"),
        (Self::Shared, "shared"),
        (Self::All, "all"),
    ];
}

impl Those {
    /// These, by name.
    #[must_use]
    pub fn named(names: &[&str]) -> Self {
        Self::Only(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
            Self::Except(names) => !names.contains(name),
        }
    }
}

impl Rule {
    /// A rule about every field of `main`.
    #[must_use]
    pub fn new(entities: Those, on: &[Reach], acts: &[Act]) -> Self {
        Self {
            entities,
            on: on.iter().copied().collect(),
            acts: acts.iter().copied().collect(),
            sections: Those::named(&["main"]),
            fields: Those::All,
        }
    }

    /// The same about every section.
    #[must_use]
    pub fn everywhere(self) -> Self {
        Self { sections: Those::All, ..self }
    }

    /// Whether it speaks of an entity.
    #[must_use]
    pub fn is_about(&self, entity: &str) -> bool {
        self.entities.has(entity)
    }

    /// Whether it speaks of a section.
    #[must_use]
    pub fn is_in(&self, section: &str) -> bool {
        self.sections.has(section)
    }

    /// Whether it lets a field be written; the name of a group stands for its parts.
    #[must_use]
    pub fn reaches(&self, field: &str) -> bool {
        let group = field.split('.').next().unwrap_or(field);
        match &self.fields {
            Those::All => true,
            Those::Only(names) => names.contains(field) || names.contains(group),
            Those::Except(names) => !names.contains(field) && !names.contains(group),
        }
    }

    fn write(&self, role: &str, text: &mut String) {
        let list = |names: &mut dyn Iterator<Item = &str>| {
            let quoted: Vec<String> = names.map(|name| format!("{name:?}")).collect();
            format!("[{}]", quoted.join(", "))
        };
        let those = |those: &Those| match those {
            Those::All => "\"*\"".to_owned(),
            Those::Only(names) | Those::Except(names) => {
                list(&mut names.iter().map(String::as_str))
            }
        };
        let word = |acts: &[(Act, &'static str)]| -> Vec<&'static str> {
            acts.iter().filter(|(act, _)| self.acts.contains(act)).map(|(_, word)| *word).collect()
        };
        let on = Reach::ALL.iter().filter(|(reach, _)| self.on.contains(reach));
        let mut line = |key: &str, value: String| {
            writeln!(text, "{key} = {value}").expect("a string takes everything");
        };
        line(&format!("\n[[role.{role}.allow]]\nentities"), those(&self.entities));
        line("on", list(&mut on.map(|(_, word)| *word)));
        line("actions", list(&mut word(&Act::ALL).into_iter()));
        line("sections", those(&self.sections));
        match &self.fields {
            Those::All => {}
            only @ Those::Only(_) => line("fields", those(only)),
            except @ Those::Except(_) => line("except", those(except)),
        }
    }
}

impl Policy {
    /// The territories of a region.
    #[must_use]
    pub fn territories_of(&self, region: &str) -> BTreeSet<String> {
        let alone = || BTreeSet::from([region.to_owned()]);
        self.regions.get(region).cloned().unwrap_or_else(alone)
    }

    /// The same as `policy.toml`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!("version = {}\n", self.version);
        let list = |names: &BTreeSet<String>| format!("{:?}", names.iter().collect::<Vec<_>>());
        if let Some(role) = &self.default_role {
            text += &format!("default_role = {role:?}\n");
        }
        if !self.shared.is_empty() {
            text += &format!("shared = {}\n", list(&self.shared));
        }
        if !self.regions.is_empty() {
            text += "[regions]\n";
        }
        for (region, territories) in &self.regions {
            text += &format!("{region:?} = {}\n", list(territories));
        }
        for (role, rules) in &self.roles {
            text += &format!("\n[role.{role}]\nlabel = \"The role {role}\"\n");
            rules.iter().for_each(|rule| rule.write(role, &mut text));
        }
        text
    }
}
