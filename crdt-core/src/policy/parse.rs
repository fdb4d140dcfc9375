//! `policy.toml` → [`Policy`]: the text as a whole. Reading goes on after a problem, so that all of them are
//! reported at once.

mod rule;

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::rule::{Names, Role, Rule};
use super::scope::{Kind, routing_name};
use super::{Action, Policy, PolicyProblems};
use crate::id::is_name;
use crate::limits::{
    POLICY_BYTES_MAX, REGION_TERRITORIES_MAX, ROLE_RULES_MAX, ROLES_MAX, ROUTING_NAME_CHARS_MAX,
};
use crate::schema::Schema;
use crate::schema::parse::table::{self, NotRead, Placed, TableReader};
use crate::schema::parse::{NAME_RULE, ranges, words_of};
use crate::schema::problem::Problems;

/// Reads a whole policy or reports everything that is wrong with it.
pub(super) fn read_policy(
    text: &str,
    file: &str,
    schema: &Schema,
) -> Result<Policy, PolicyProblems> {
    let mut problems = Problems::of(text, file);
    let document = match table::document("the policy", text, POLICY_BYTES_MAX) {
        Ok(document) => document,
        Err(NotRead { at, what }) => return Err(problems.ended_by(at, what)),
    };
    let mut reader = TableReader::new("the policy", 0, document.get_ref());
    let version = reader.version(&mut problems);
    let shared = read_shared(&mut reader, schema, &mut problems);
    let regions = read_regions(&mut reader, &mut problems);
    let roles = read_roles(&mut reader, schema, &mut problems);
    let default_role = read_default_role(&mut reader, &roles, &mut problems);
    reader.finish(&mut problems);
    problems.finish()?;
    let indexed = indexed(&roles);
    Ok(Policy { version, text: text.to_owned(), default_role, shared, regions, roles, indexed })
}

fn read_shared(
    reader: &mut TableReader<'_>,
    schema: &Schema,
    problems: &mut Problems<'_>,
) -> BTreeSet<String> {
    let names = some_strings("shared", reader, problems);
    for Placed { at, value: name } in &names {
        if schema.entity(name).is_none() {
            problems.add(*at, format!("`shared` names entity `{name}`, which does not exist"));
        }
    }
    names.into_iter().map(|name| name.value.to_owned()).collect()
}

fn read_regions(
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, BTreeSet<String>> {
    let Some(mut regions) = reader.table("regions", problems) else { return BTreeMap::new() };
    let mut read = BTreeMap::new();
    for (name, at) in regions.names() {
        check_routing_name("a region", &Placed { at, value: name }, problems);
        let territories = some_strings(name, &mut regions, problems);
        if territories.len() > REGION_TERRITORIES_MAX {
            let got = territories.len();
            let most = REGION_TERRITORIES_MAX;
            problems.add(
                at,
                format!("region `{name}` has {got} territories; at most {most} are allowed"),
            );
        }
        for territory in &territories {
            check_routing_name("a territory", territory, problems);
        }
        let territories = territories.into_iter().map(|territory| territory.value.to_owned());
        read.insert(name.to_owned(), territories.collect());
    }
    read
}

fn check_routing_name(what: &str, name: &Placed<&str>, problems: &mut Problems<'_>) {
    if routing_name(name.value).is_none() || name.value.chars().any(char::is_control) {
        let most = ROUTING_NAME_CHARS_MAX;
        let what =
            format!("the name of {what} has 1 to {most} characters and no control characters");
        problems.add(name.at, what);
    }
}

fn read_roles(
    reader: &mut TableReader<'_>,
    schema: &Schema,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, Role> {
    let roles = reader.table("role", problems).map_or_else(Vec::new, TableReader::into_entries);
    if roles.is_empty() {
        problems.add(0, "the policy has no roles");
    }
    if roles.len() > ROLES_MAX {
        let got = roles.len();
        problems.add(0, format!("the policy has {got} roles; at most {ROLES_MAX} are allowed"));
    }
    let read = |(name, value): (&str, Placed<&DeValue<'_>>)| {
        Some((name.to_owned(), read_role(name, value, schema, problems)?))
    };
    roles.into_iter().filter_map(read).collect()
}

fn read_role<'t>(
    name: &'t str,
    value: Placed<&'t DeValue<'t>>,
    schema: &Schema,
    problems: &mut Problems<'_>,
) -> Option<Role> {
    if !is_name(name) {
        problems.add(value.at, format!("role name {name:?} {NAME_RULE}"));
    }
    let Some(table) = value.value.as_table() else {
        problems.add(value.at, format!("role `{name}` must be a table"));
        return None;
    };
    let mut reader = TableReader::new(format!("role `{name}`"), value.at, table);
    let label = reader.string("label", problems);
    if let Some(label) = &label {
        ranges::check_label(label, problems);
    }
    let items = reader.array("allow", problems).unwrap_or_default();
    reader.finish(problems);
    if items.len() > ROLE_RULES_MAX {
        let got = items.len();
        problems.add(
            value.at,
            format!("role `{name}` has {got} rules; at most {ROLE_RULES_MAX} are allowed"),
        );
    }
    let rules = items.into_iter().filter_map(|item| rule::read(name, item, schema, problems));
    let rules: Vec<Rule> = rules.collect();
    Some(Role::new(label.map_or_else(|| words_of(name), |label| label.value.to_owned()), rules))
}

fn read_default_role(
    reader: &mut TableReader<'_>,
    roles: &BTreeMap<String, Role>,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let name = reader.string("default_role", problems)?;
    if !roles.contains_key(name.value) {
        problems.add(
            name.at,
            format!("`default_role` names role `{}`, which does not exist", name.value),
        );
    }
    Some(name.value.to_owned())
}

/// A list of different strings that may be absent but not empty.
fn some_strings<'t>(
    key: &str,
    reader: &mut TableReader<'t>,
    problems: &mut Problems<'_>,
) -> Vec<Placed<&'t str>> {
    let at = reader.place_of(key);
    let strings = reader.array(key, problems).map(|items| {
        if items.is_empty() {
            problems.add(at, format!("`{key}` is an empty list"));
        }
        table::distinct_strings(items, &format!("`{key}`"), problems)
    });
    strings.unwrap_or_default()
}

/// For each kind of scope the sections that some rule lets be read from it.
fn indexed(roles: &BTreeMap<String, Role>) -> BTreeMap<Kind, Names> {
    let mut indexed = BTreeMap::new();
    let rules = roles.values().flat_map(|role| &role.rules);
    for rule in rules.filter(|rule| rule.actions.contains(&Action::Read)) {
        for reach in &rule.on {
            let none = || Names::Only(BTreeSet::new());
            indexed.entry(reach.kind()).or_insert_with(none).join(&rule.sections);
        }
    }
    indexed
}

#[cfg(test)]
mod tests;
