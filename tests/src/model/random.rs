//! Random policies and people: every word that a rule can have comes up.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::MemberId;
use crdt_core::schema::Schema;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};

use super::policy::{Act, Policy, Reach, Rule, Those};
use super::{Member, facts, sales};

/// Territories that routing fields and the directory name. Some look like parts of a scope's name.
pub const TERRITORIES: [&str; 5] = ["west", "east", "north#finance", "a/b,c", "süd %25"];
/// Teams; one has the name of a territory.
pub const TEAMS: [&str; 3] = ["blue", "red", "west"];
/// Regions: two that policies may name and one that is a territory's name.
pub const REGIONS: [&str; 3] = ["left", "right", "east"];
/// The role that may do everything, in every random policy.
pub const BOSS: &str = "admin";
/// Roles that random policies may have; the directory's picklist has them.
pub const ROLES: [&str; 5] = ["rep", "manager", "support", "finance", "auditor"];

/// A random policy with the role [`BOSS`].
#[must_use]
pub fn policy(rng: &mut StdRng, version: u64) -> Policy {
    let mut roles = BTreeMap::new();
    for role in ROLES.into_iter().choose_multiple(rng, 4) {
        let count = rng.random_range(1..6);
        roles.insert(role.to_owned(), (0..count).map(|_| rule(rng)).collect::<Vec<_>>());
    }
    let default_role = roles.keys().cloned().choose(rng).filter(|_| version.is_multiple_of(2));
    let boss = Rule::new(Those::All, &[Reach::All], &sales::every_act()).everywhere();
    roles.insert(BOSS.to_owned(), vec![boss]);
    let mut regions = BTreeMap::new();
    for region in ["left", "right"] {
        if rng.random_bool(0.8) {
            let count = rng.random_range(1..4);
            let territories = TERRITORIES.into_iter().choose_multiple(rng, count);
            regions.insert(region.to_owned(), owned(&territories));
        }
    }
    let shared = ["product", "member", "task"].into_iter().filter(|_| rng.random_bool(0.5));
    let shared = shared.map(str::to_owned).collect();
    Policy { version, default_role, shared, regions, roles }
}

fn rule(rng: &mut StdRng) -> Rule {
    let names: Vec<&str> = facts::ENTITIES.iter().map(|facts| facts.entity).collect();
    let count = rng.random_range(1..7);
    let entities = match rng.random_range(0..6) {
        0 => Those::All,
        1 => Those::named(&["member", "kept_edit", "account"]),
        _ => Those::Only(owned(&names.into_iter().choose_multiple(rng, count))),
    };
    let count = rng.random_range(1..4);
    let on = Reach::ALL.into_iter().map(|(reach, _)| reach).choose_multiple(rng, count);
    let acts = if rng.random_bool(0.15) {
        sales::every_act()
    } else {
        let count = rng.random_range(1..6);
        let mut acts = Act::ALL.into_iter().map(|(act, _)| act).choose_multiple(rng, count);
        // Most of what can be done needs that the record can be read.
        acts.extend(rng.random_bool(0.7).then_some(Act::Read));
        acts
    };
    let mut rule = Rule::new(entities, &on, &acts);
    rule.sections = match rng.random_range(0..6) {
        0 => Those::All,
        1 if has_section(&rule, "finance") => Those::named(&["finance"]),
        2 if has_section(&rule, "finance") => Those::named(&["main", "finance"]),
        _ => Those::named(&["main"]),
    };
    rule.fields = fields(rng, &rule);
    rule
}

fn fields(rng: &mut StdRng, rule: &Rule) -> Those {
    let writes = rule.acts.contains(&Act::Create) || rule.acts.contains(&Act::Update);
    if !writes || rng.random_bool(0.5) {
        return Those::All;
    }
    let fields = fields_of(rule);
    let count = rng.random_range(1..=fields.len().min(12));
    let mut named: BTreeSet<String> =
        fields.into_iter().choose_multiple(rng, count).into_iter().collect();
    // At times a whole group by its name.
    let groups: Vec<String> =
        named.iter().filter_map(|name| Some(name.split_once('.')?.0.to_owned())).collect();
    named.extend(groups.into_iter().filter(|_| rng.random_bool(0.3)));
    if rng.random_bool(0.5) { Those::Except(named) } else { Those::Only(named) }
}

/// The fields that a rule could name.
fn fields_of(rule: &Rule) -> Vec<String> {
    let entities = Schema::builtin().entities().filter(|entity| rule.is_about(&entity.name));
    let fields = entities.flat_map(|entity| &entity.fields);
    let fields = fields.filter(|field| rule.is_in(field.section.as_str()));
    let names: BTreeSet<String> = fields.map(|field| field.key.clone()).collect();
    names.into_iter().collect()
}

fn has_section(rule: &Rule, section: &str) -> bool {
    let mut entities = Schema::builtin().entities().filter(|entity| rule.is_about(&entity.name));
    entities.any(|entity| entity.sections().any(|own| own.as_str() == section))
}

/// A random member.
#[must_use]
pub fn member(rng: &mut StdRng, id: MemberId) -> Member {
    // Also roles that the policy may not have, and none.
    let role = ROLES.choose(rng).filter(|_| rng.random_bool(0.9)).map(|role| (*role).to_owned());
    let mut some = |names: &[&str], most: usize| {
        let count = rng.random_range(0..=most);
        owned(&names.iter().copied().choose_multiple(rng, count))
    };
    let territories = some(&TERRITORIES, 2);
    let teams = some(&TEAMS, 2);
    let region = some(&REGIONS, 1).into_iter().next();
    let active = rng.random_bool(0.95);
    Member { id, role, territories, teams, region, active }
}

fn owned(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
