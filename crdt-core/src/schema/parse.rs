//! `schema.toml` → [`Schema`]: the document as a whole. Reading goes on after a problem, so that all of
//! them are reported at once.

mod entity;
mod field;
mod links;
pub(crate) mod ranges;
pub(crate) mod table;

use std::collections::BTreeMap;

use self::entity::EntityDraft;
pub(crate) use self::field::{NAME_RULE, words_of};
use self::table::{NotRead, Placed, TableReader};
use super::problem::Problems;
use super::{Entity, Schema, SchemaProblems};
use crate::limits::SCHEMA_BYTES_MAX;

/// Reads a whole schema or reports everything that is wrong with it.
pub(super) fn read_schema(text: &str, file: &str) -> Result<Schema, SchemaProblems> {
    let mut problems = Problems::of(text, file);
    let document = match table::document("the schema", text, SCHEMA_BYTES_MAX) {
        Ok(document) => document,
        Err(NotRead { at, what }) => return Err(problems.ended_by(at, what)),
    };
    let mut reader = TableReader::new("the schema", 0, document.get_ref());
    let version = reader.version(&mut problems);
    let drafts = read_entities(&mut reader, &mut problems);
    reader.finish(&mut problems);
    links::check(&drafts, &mut problems);
    problems.finish()?;
    let entities = drafts.into_iter().map(EntityDraft::into_entity);
    let by_name: BTreeMap<String, Entity> = entities.map(|e| (e.name.clone(), e)).collect();
    Ok(Schema { version, text: text.to_owned(), entities: by_name })
}

fn read_entities(reader: &mut TableReader<'_>, problems: &mut Problems<'_>) -> Vec<EntityDraft> {
    let Some(entities) = reader.table("entity", problems) else { return Vec::new() };
    let at = entities.at;
    let entries = entities.into_entries();
    if entries.len() > ENTITIES_MAX {
        let got = entries.len();
        problems
            .add(at, format!("the schema has {got} entities; at most {ENTITIES_MAX} are allowed"));
    }
    entries.into_iter().filter_map(|(name, value)| read_entity(name, &value, problems)).collect()
}

fn read_entity<'t>(
    name: &'t str,
    value: &Placed<&'t toml::de::DeValue<'t>>,
    problems: &mut Problems<'_>,
) -> Option<EntityDraft> {
    let Some(table) = value.value.as_table() else {
        problems.add(value.at, format!("entity `{name}` must be a table"));
        return None;
    };
    let reader = TableReader::new(format!("entity `{name}`"), value.at, table);
    Some(entity::read(name, reader, problems))
}

/// Entities of one schema: each is a table and a search index on every device.
const ENTITIES_MAX: usize = 64;

#[cfg(test)]
mod tests;
