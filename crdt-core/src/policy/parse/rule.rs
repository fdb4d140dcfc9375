//! One `[[role.NAME.allow]]` table → its [`Rule`], checked against the schema.

use std::collections::BTreeSet;

use toml::de::DeValue;

use super::some_strings;
use crate::policy::Action;
use crate::policy::rule::{Fields, Names, Reach, Rule};
use crate::schema::parse::table::{Placed, TableReader};
use crate::schema::problem::Problems;
use crate::schema::{Entity, Field, Schema};

/// Reads one rule of `role`.
pub(super) fn read<'t>(
    role: &str,
    item: Placed<&'t DeValue<'t>>,
    schema: &Schema,
    problems: &mut Problems<'_>,
) -> Option<Rule> {
    let Placed { at, value } = item;
    let Some(table) = value.as_table() else {
        problems.add(at, format!("`allow` of role `{role}` may only list tables"));
        return None;
    };
    let mut reader = TableReader::new(format!("a rule of role `{role}`"), at, table);
    let entities = read_entities(&mut reader, schema, problems);
    let about: Vec<&Entity> = schema.entities().filter(|e| entities.holds(&e.name)).collect();
    let on = words("on", &mut reader, &Reach::ALL.map(|reach| (reach.as_str(), reach)), problems);
    let actions = read_actions(&mut reader, problems);
    let sections = read_sections(&mut reader, &about, problems);
    let fields = read_fields(&mut reader, &about, &actions, &sections, problems);
    reader.finish(problems);
    Some(Rule { line: problems.line(at), entities, on, actions, sections, fields })
}

fn read_entities(
    reader: &mut TableReader<'_>,
    schema: &Schema,
    problems: &mut Problems<'_>,
) -> Names {
    required("entities", reader, problems);
    let Some(names) = all_or_strings("entities", reader, problems) else { return Names::All };
    for Placed { at, value: name } in &names {
        if schema.entity(name).is_none() {
            problems.add(*at, format!("a rule names entity `{name}`, which does not exist"));
        }
    }
    Names::Only(names.into_iter().map(|name| name.value.to_owned()).collect())
}

fn read_actions(reader: &mut TableReader<'_>, problems: &mut Problems<'_>) -> BTreeSet<Action> {
    if is_all("actions", reader) {
        return Action::ALL.into();
    }
    let known = Action::ALL.map(|action| (action.as_str(), action));
    words("actions", reader, &known, problems)
}

fn read_sections(
    reader: &mut TableReader<'_>,
    about: &[&Entity],
    problems: &mut Problems<'_>,
) -> Names {
    if !reader.has("sections") {
        return Names::Only(BTreeSet::from([crate::id::Section::MAIN.to_owned()]));
    }
    let Some(names) = all_or_strings("sections", reader, problems) else { return Names::All };
    for Placed { at, value: name } in names.iter().filter(|_| !about.is_empty()) {
        let mut sections = about.iter().flat_map(|entity| entity.sections());
        if sections.all(|section| section.as_str() != *name) {
            problems.add(*at, format!("no entity of the rule has a section `{name}`"));
        }
    }
    Names::Only(names.into_iter().map(|name| name.value.to_owned()).collect())
}

fn read_fields(
    reader: &mut TableReader<'_>,
    about: &[&Entity],
    actions: &BTreeSet<Action>,
    sections: &Names,
    problems: &mut Problems<'_>,
) -> Fields {
    let mut read = |key: &str| {
        let at = reader.place_of(key);
        if reader.has(key) && !actions.iter().any(|action| action.has_fields()) {
            problems
                .add(at, format!("`{key}` only limits create and update; the rule has neither"));
        }
        let names = reader.has(key).then(|| some_strings(key, reader, problems))?;
        // A rule about nothing has been reported; its fields are not reported as well.
        for name in names.iter().filter(|_| !about.is_empty()) {
            check_field(key, name, about, sections, problems);
        }
        Some((at, names.into_iter().map(|name| name.value.to_owned()).collect()))
    };
    match (read("fields"), read("except")) {
        (None, None) => Fields::All,
        (Some((_, only)), None) => Fields::Only(only),
        (None, Some((_, except))) => Fields::Except(except),
        (Some((_, only)), Some((at, _))) => {
            problems.add(at, "a rule has `fields` or `except`, not both");
            Fields::Only(only)
        }
    }
}

/// The name must be that of a field, or of a group, of an entity and a section that the rule is about.
fn check_field(
    key: &str,
    name: &Placed<&str>,
    about: &[&Entity],
    sections: &Names,
    problems: &mut Problems<'_>,
) {
    let Placed { at, value: name } = *name;
    let meant = |field: &&Field| {
        field.key == name || field.key.split_once('.').is_some_and(|(group, _)| group == name)
    };
    let mut fields = about.iter().flat_map(|entity| &entity.fields).filter(meant).peekable();
    if fields.peek().is_none() {
        problems.add(at, format!("`{key}` names field `{name}`, which no entity of the rule has"));
    } else if fields.all(|field| !sections.holds(field.section.as_str())) {
        problems.add(
            at,
            format!("`{key}` names field `{name}`, which is in none of the rule's sections"),
        );
    }
}

/// The entry as words, each of which must be known.
fn words<T: Copy + Ord>(
    key: &str,
    reader: &mut TableReader<'_>,
    known: &[(&str, T)],
    problems: &mut Problems<'_>,
) -> BTreeSet<T> {
    required(key, reader, problems);
    let mut found = BTreeSet::new();
    for Placed { at, value: word } in some_strings(key, reader, problems) {
        match known.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => _ = found.insert(*value),
            None => {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                problems
                    .add(at, format!("unknown word `{word}` in `{key}`; the words are {names}"));
            }
        }
    }
    found
}

/// A list of names; nothing when the entry is `"*"`.
fn all_or_strings<'t>(
    key: &str,
    reader: &mut TableReader<'t>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Placed<&'t str>>> {
    (!is_all(key, reader)).then(|| some_strings(key, reader, problems))
}

/// Whether the entry is `"*"`; it is taken then.
fn is_all(key: &str, reader: &mut TableReader<'_>) -> bool {
    let all = reader.peek(key).is_some_and(|value| value.as_str() == Some("*"));
    if all {
        reader.take(key);
    }
    all
}

fn required(key: &str, reader: &TableReader<'_>, problems: &mut Problems<'_>) {
    if !reader.has(key) {
        problems.add(reader.at, format!("a rule needs `{key}`"));
    }
}
