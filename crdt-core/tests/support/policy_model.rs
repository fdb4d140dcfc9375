//! A naive model of the policy engine, which shares no code with it: it knows policies as lists of words, as the
//! file has them; and generators of policies, members and records.

use std::collections::BTreeSet;

use crdt_core::id::{MemberId, RecordId};
use crdt_core::policy::{Action, Deed, Route, Standing, Why};
use proptest::collection::{btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

/// What the words of the generated policies are about.
pub const SCHEMA: &str = "version = 1
[entity.a.fields]
name = 'string'
home = { type = 'group', parts = { street = 'string', city = 'string' } }
credit = { type = 'int', section = 'finance' }
[entity.b.fields]
name = 'string'
tags = { type = 'set', of = 'string' }
[entity.c.fields]
size = 'int'
credit = { type = 'int', section = 'finance' }
blood = { type = 'string', section = 'health' }
";

pub const ENTITIES: [&str; 3] = ["a", "b", "c"];
const REACHES: [&str; 6] = ["own", "territory", "team", "region", "shared", "all"];
pub const SECTIONS: [&str; 3] = ["main", "finance", "health"];
/// Each with the entity and the section that it is of; the last is one that no schema declares.
pub const FIELDS: [(&str, &str, &str); 9] = [
    ("a", "main", "name"),
    ("a", "main", "home.street"),
    ("a", "main", "home.city"),
    ("a", "finance", "credit"),
    ("b", "main", "name"),
    ("b", "main", "tags"),
    ("c", "finance", "credit"),
    ("c", "health", "blood"),
    ("unheard_of", "main", "name"),
];
const ROLES: [&str; 2] = ["one", "two"];
const PLACES: [&str; 4] = ["west", "east", "a/b", "west#finance"];
pub const MEMBERS: [&str; 2] = ["ada", "ben"];

/// One rule as words; `None` stands for `"*"`, or for a key that is left out.
#[derive(Debug, Clone)]
pub struct Rule {
    role: &'static str,
    entities: Option<BTreeSet<&'static str>>,
    on: BTreeSet<&'static str>,
    actions: Option<BTreeSet<Action>>,
    sections: Option<BTreeSet<&'static str>>,
    limit: Option<(&'static str, BTreeSet<&'static str>)>,
}

#[derive(Debug, Clone)]
pub struct Model {
    default_role: Option<&'static str>,
    shared: BTreeSet<&'static str>,
    /// The territories of the region `west`; the other regions are not named.
    west: BTreeSet<&'static str>,
    rules: Vec<Rule>,
}

/// A record of the world: its routing values, with records as numbers.
#[derive(Debug, Clone)]
pub struct Record {
    pub entity: &'static str,
    owner: Option<&'static str>,
    territory: Option<&'static str>,
    team: Option<&'static str>,
    parent: Option<u8>,
    merged_into: Option<u8>,
}

/// Something that a member may be allowed to do there.
pub type Question = (Action, &'static str, &'static str, Option<&'static str>);

pub fn member(name: &str) -> MemberId {
    MemberId::from_source_key("member", name)
}

pub fn record(number: u8) -> RecordId {
    RecordId(uuid::Uuid::from_bytes([number; 16]))
}

impl Model {
    pub fn text(&self) -> String {
        let list = |words: Vec<String>| {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            format!("[{}]", quoted.join(", "))
        };
        let owned = |words: &BTreeSet<&str>| words.iter().map(|word| (*word).to_owned()).collect();
        let all_or = |words: Option<Vec<String>>| words.map_or("'*'".to_owned(), list);
        let mut text = "version = 1\n".to_owned();
        if let Some(role) = self.default_role {
            text += &format!("default_role = '{role}'\n");
        }
        if !self.shared.is_empty() {
            text += &format!("shared = {}\n", list(owned(&self.shared)));
        }
        if !self.west.is_empty() {
            text += &format!("regions.west = {}\n", list(owned(&self.west)));
        }
        for role in ROLES {
            text += &format!("[role.{role}]\nlabel = 'R'\n");
        }
        for rule in &self.rules {
            let actions = rule.actions.as_ref();
            let actions = actions.map(|actions| actions.iter().map(ToString::to_string).collect());
            text += &format!(
                "[[role.{}.allow]]\nentities = {}\non = {}\nactions = {}\nsections = {}\n",
                rule.role,
                all_or(rule.entities.as_ref().map(owned)),
                list(owned(&rule.on)),
                all_or(actions),
                all_or(rule.sections.as_ref().map(owned)),
            );
            if let Some((key, words)) = &rule.limit {
                text += &format!("{key} = {}\n", list(owned(words)));
            }
        }
        text
    }

    /// The scopes of a record, as words.
    pub fn place(&self, world: &[Record], record: &Record) -> BTreeSet<String> {
        let mut scopes = BTreeSet::from(["all".to_owned()]);
        if self.shared.contains(record.entity) {
            scopes.insert("shared".to_owned());
        }
        let mut here = record;
        let mut passed = Vec::new();
        loop {
            scopes.extend(here.owner.map(|owner| format!("owner {owner}")));
            let parent = here.parent.and_then(|parent| survivor(world, parent));
            match parent.filter(|parent| !passed.contains(parent)) {
                Some(parent) => {
                    passed.push(parent);
                    here = &world[usize::from(parent)];
                }
                None => break,
            }
        }
        scopes.extend(here.territory.map(|name| format!("territory {name}")));
        scopes.extend(here.team.map(|name| format!("team {name}")));
        scopes
    }

    /// The scopes that the words of a rule's `on` mean for a member.
    fn reached(&self, rule: &Rule, who: &Standing, me: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        for word in &rule.on {
            match *word {
                "own" => _ = reached.insert(format!("owner {me}")),
                "territory" => {
                    reached.extend(who.territories.iter().map(|name| format!("territory {name}")));
                }
                "team" => reached.extend(who.teams.iter().map(|name| format!("team {name}"))),
                "region" => match who.region.as_deref() {
                    Some("west") if !self.west.is_empty() => {
                        reached.extend(self.west.iter().map(|name| format!("territory {name}")));
                    }
                    Some(region) => _ = reached.insert(format!("territory {region}")),
                    None => {}
                },
                word => _ = reached.insert(word.to_owned()),
            }
        }
        reached
    }

    /// Nothing when it is allowed, else why not: what the rules lack that come closest.
    pub fn denied(
        &self,
        who: &Standing,
        me: &str,
        question: Question,
        scopes: &BTreeSet<String>,
    ) -> Option<Why> {
        if !who.active {
            return Some(Why::Inactive);
        }
        let named = ROLES.into_iter().find(|role| who.role.as_deref() == Some(role));
        let Some(role) = named.or(self.default_role) else { return Some(Why::NoRole) };
        let (action, entity, section, field) = question;
        let mut rules: Vec<&Rule> = self.rules.iter().filter(|rule| rule.role == role).collect();
        rules.retain(|rule| rule.entities.as_ref().is_none_or(|names| names.contains(entity)));
        rules.retain(|rule| rule.actions.as_ref().is_none_or(|actions| actions.contains(&action)));
        if rules.is_empty() {
            return Some(Why::NotGranted);
        }
        rules.retain(|rule| rule.sections.as_ref().is_none_or(|names| names.contains(section)));
        if rules.is_empty() {
            return Some(Why::SectionNotGranted);
        }
        if let (Some(field), Action::Create | Action::Update) = (field, action) {
            rules.retain(|rule| within_limit(rule, field));
        }
        if rules.is_empty() {
            return Some(Why::FieldNotGranted);
        }
        let found = rules.iter().any(|rule| !self.reached(rule, who, me).is_disjoint(scopes));
        (!found).then_some(Why::NotInScope)
    }

    /// What is denied of a batch's deed on a record.
    pub fn judged(
        &self,
        who: &Standing,
        me: &str,
        deed: &Deed,
        entity: &'static str,
        [before, after]: [Option<&BTreeSet<String>>; 2],
    ) -> BTreeSet<(Action, String, Option<String>, Why)> {
        let after = after.unwrap();
        let denied = |action, section: &str, field: Option<&str>, scopes| {
            let section = SECTIONS.into_iter().find(|known| *known == section).unwrap();
            let known = FIELDS.iter().find(|(_, _, known)| Some(*known) == field);
            let question = (action, entity, section, known.map(|(_, _, field)| *field));
            let why = self.denied(who, me, question, scopes)?;
            Some((action, section.to_owned(), field.map(str::to_owned), why))
        };
        let stood = before.unwrap_or(after);
        let mut found = Vec::new();
        let writes = match before {
            None => {
                found.push(denied(Action::Create, "main", None, after));
                Action::Create
            }
            Some(before) if denied(Action::Read, "main", None, before).is_some() => {
                let read = (Action::Read, "main".to_owned(), None, Why::NotInScope);
                return BTreeSet::from([read]);
            }
            Some(_) => Action::Update,
        };
        for (section, field) in &deed.writes {
            found.push(denied(writes, section.as_str(), Some(field), stood));
        }
        if deed.deletes {
            found.push(denied(Action::Delete, "main", None, stood));
        }
        if deed.merges {
            found.push(denied(Action::Merge, "main", None, stood));
        }
        if stood != after {
            found.push(denied(Action::Transfer, "main", None, stood));
            found.push(denied(Action::Transfer, "main", None, after));
        }
        found.into_iter().flatten().collect()
    }
}

fn within_limit(rule: &Rule, field: &str) -> bool {
    let Some((key, words)) = &rule.limit else { return true };
    let group = field.split('.').next().unwrap();
    let listed = words.contains(field) || (group != field && words.contains(group));
    (*key == "fields") == listed
}

/// The record that is left of `number` after mergers. There are so few records that whoever takes a hundred
/// steps goes round in a circle.
fn survivor(world: &[Record], number: u8) -> Option<u8> {
    let next = |number: u8| world[usize::from(number)].merged_into;
    let exists = |number: &u8| usize::from(*number) < world.len();
    let mut here = Some(number).filter(exists)?;
    for _ in 0..100 {
        match next(here).filter(exists) {
            Some(merged_into) => here = merged_into,
            None => return Some(here),
        }
    }
    let mut smallest = here;
    for _ in 0..100 {
        here = next(here)?;
        smallest = smallest.min(here);
    }
    Some(smallest)
}

impl Record {
    pub fn route(&self) -> Route {
        Route {
            entity: self.entity.to_owned(),
            owner: self.owner.map(member),
            territory: self.territory.map(str::to_owned),
            team: self.team.map(str::to_owned),
            parent: self.parent.map(record),
            merged_into: self.merged_into.map(record),
        }
    }
}

fn some<T: Clone + Ord + std::fmt::Debug + 'static>(
    of: &'static [T],
) -> impl Strategy<Value = BTreeSet<T>> {
    btree_set(select(of), 1..=of.len())
}

fn rule() -> impl Strategy<Value = Rule> {
    let limit = (select(&["fields", "except"][..]), any::<u16>());
    let words = (some(&REACHES), of(some(&Action::ALL)), any::<u8>(), of(limit));
    (select(&ROLES[..]), of(some(&ENTITIES)), words).prop_map(|(role, entities, words)| {
        let (on, actions, dice, limit) = words;
        let mut rule = Rule { role, entities, on, actions, sections: None, limit: None };
        let about =
            |entity: &str| rule.entities.as_ref().is_none_or(|names| names.contains(entity));
        let fields: Vec<_> = FIELDS.into_iter().filter(|(entity, _, _)| about(entity)).collect();
        // A policy may only name sections and fields that its rule is about.
        let sections: BTreeSet<&str> = fields.iter().map(|(_, section, _)| *section).collect();
        let chosen = sections.into_iter().enumerate().filter(|(place, _)| dice >> place & 1 == 1);
        let chosen: BTreeSet<&str> = chosen.map(|(_, section)| section).collect();
        rule.sections = Some(chosen).filter(|sections| !sections.is_empty());
        let limitable = rule.actions.as_ref().is_none_or(|actions| {
            actions.contains(&Action::Create) || actions.contains(&Action::Update)
        });
        rule.limit = limit.filter(|_| limitable).and_then(|(key, dice)| {
            let within = |section: &str| rule.sections.as_ref().is_none_or(|s| s.contains(section));
            let chosen = fields.iter().enumerate().filter(|(place, (entity, section, _))| {
                *entity != "unheard_of" && within(section) && dice >> place & 1 == 1
            });
            let word = |name: &'static str| match (name, dice & 0x8000) {
                ("home.street", 0) => "home",
                _ => name,
            };
            let words: BTreeSet<&str> = chosen.map(|(_, (_, _, name))| word(name)).collect();
            (!words.is_empty()).then_some((key, words))
        });
        rule
    })
}

pub fn model() -> impl Strategy<Value = Model> {
    let shared = btree_set(select(&ENTITIES[..]), 0..3);
    let west = btree_set(select(&PLACES[..]), 0..3);
    (of(select(&ROLES[..])), shared, west, vec(rule(), 0..7))
        .prop_map(|(default_role, shared, west, rules)| Model { default_role, shared, west, rules })
}

pub fn world() -> impl Strategy<Value = Vec<Record>> {
    let place = || of(select(&PLACES[..]));
    // A number past the end is a record that does not exist.
    let link = || prop_oneof![2 => Just(None), 1 => (0..8_u8).prop_map(Some)];
    let record =
        (select(&ENTITIES[..]), of(select(&MEMBERS[..])), place(), place(), link(), link());
    let record = record.prop_map(|(entity, owner, territory, team, parent, merged_into)| Record {
        entity,
        owner,
        territory,
        team,
        parent,
        merged_into,
    });
    vec(record, 7)
}

pub fn standing() -> impl Strategy<Value = Standing> {
    let names = || btree_set(select(&PLACES[..]).prop_map(str::to_owned), 0..3);
    let role = of(select(&["one", "two", "ghost"][..]).prop_map(str::to_owned));
    let region = of(select(&["west", "west", "east"][..]).prop_map(str::to_owned));
    let active = proptest::bool::weighted(0.9);
    (role, names(), names(), region, active).prop_map(
        |(role, territories, teams, region, active)| Standing {
            member: member("ada"),
            role,
            territories,
            teams,
            region,
            active,
        },
    )
}

pub fn questions() -> impl Strategy<Value = Vec<Question>> {
    let question = (select(&Action::ALL[..]), select(&FIELDS[..]), any::<bool>());
    let question = question.prop_map(|(action, (entity, section, field), whole)| {
        (action, entity, section, (!whole).then_some(field))
    });
    vec(question, 8)
}
