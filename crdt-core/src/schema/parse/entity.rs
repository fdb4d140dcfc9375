//! One declared entity → its draft: fields, and what refers to them inside the entity.

use std::collections::BTreeMap;

use super::field::{self, FieldDraft, NAME_RULE, words_of};
use super::ranges;
use super::table::{Placed, TableReader, distinct_strings, items_of};
use crate::id::is_name;
use crate::limits::{DOCUMENT_KEYS_MAX, NAME_BYTES_MAX};
use crate::schema::problem::Problems;
use crate::schema::{Entity, Field, FieldKind, SYSTEM_COLUMNS};

/// An entity as read, with the places that checks across entities report.
pub(super) struct EntityDraft {
    pub(super) name: String,
    pub(super) fields: Vec<FieldDraft>,
    pub(super) inherits: Option<Placed<String>>,
    label: String,
    indexes: Vec<Vec<String>>,
    search: Vec<String>,
    line: usize,
}

impl EntityDraft {
    /// The field of this key.
    pub(super) fn field(&self, key: &str) -> Option<&FieldDraft> {
        self.fields.iter().find(|draft| draft.field.key == key)
    }

    pub(super) fn into_entity(self) -> Entity {
        let entity = Entity {
            name: self.name,
            label: self.label,
            fields: self.fields.into_iter().map(|draft| draft.field).collect(),
            indexes: self.indexes,
            search: self.search,
            inherits: self.inherits.map(|inherits| inherits.value),
            line: self.line,
            by_name: BTreeMap::new(),
            by_column: BTreeMap::new(),
            sections: Vec::new(),
        };
        entity.indexed()
    }
}

/// Reads the table of the entity `name`.
pub(super) fn read(
    name: &str,
    mut reader: TableReader<'_>,
    problems: &mut Problems<'_>,
) -> EntityDraft {
    let at = reader.at;
    check_name(&Placed { at, value: name }, problems);
    let label = reader.string("label", problems);
    if let Some(label) = &label {
        ranges::check_label(label, problems);
    }
    let fields = read_fields(name, &mut reader, problems);
    let mut draft = EntityDraft {
        name: name.to_owned(),
        label: label.map_or_else(|| words_of(name), |label| label.value.to_owned()),
        fields,
        inherits: None,
        indexes: Vec::new(),
        search: Vec::new(),
        line: problems.line(at),
    };
    let columns = check_columns(&draft, problems);
    check_aliases(&draft, &columns, problems);
    draft.indexes = read_indexes(&draft, &columns, &mut reader, problems);
    draft.search = read_search(&draft, &mut reader, problems);
    draft.inherits = read_inherits(&draft, &mut reader, problems);
    reader.finish(problems);
    draft
}

fn check_name(name: &Placed<&str>, problems: &mut Problems<'_>) {
    let Placed { at, value } = *name;
    if !is_name(value) {
        problems.add(at, format!("entity name {value:?} {NAME_RULE}"));
    }
    if RESERVED_TABLES.contains(&value) || value.starts_with("sqlite_") || value.ends_with("_fts") {
        problems.add(at, format!("entity name `{value}` is kept for a table of the store"));
    }
}

fn read_fields(
    entity: &str,
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> Vec<FieldDraft> {
    let at = reader.at;
    let entries = reader.table("fields", problems).map_or_else(Vec::new, TableReader::into_entries);
    if entries.is_empty() {
        problems.add(at, format!("entity `{entity}` has no fields"));
    }
    let fields: Vec<FieldDraft> =
        entries.into_iter().flat_map(|(name, value)| field::read(name, value, problems)).collect();
    if fields.len() > FIELDS_MAX {
        let got = fields.len();
        problems.add(
            at,
            format!("entity `{entity}` has {got} fields; at most {FIELDS_MAX} are allowed"),
        );
    }
    fields
}

/// The columns of the entity and the key of the field that each one shows.
fn check_columns<'d>(
    draft: &'d EntityDraft,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, &'d Field> {
    let mut columns = BTreeMap::<String, &Field>::new();
    for FieldDraft { at, field, .. } in &draft.fields {
        for column in field.columns() {
            // A name that is too long by itself is reported where it is read.
            let names_fit = field.key.split('.').all(|name| name.len() <= NAME_BYTES_MAX);
            if column.len() > NAME_BYTES_MAX && names_fit {
                let what = format!("column `{column}` takes more than {NAME_BYTES_MAX} bytes");
                problems.add(*at, what);
            }
            if RESERVED_COLUMNS.contains(&column.as_str()) {
                problems.add(*at, format!("column `{column}` is kept for the store"));
            }
            if let Some(owner) = columns.get(&column) {
                let (key, owner) = (&field.key, &owner.key);
                problems.add(
                    *at,
                    format!("field `{key}` needs column `{column}`, which field `{owner}` has"),
                );
            } else {
                columns.insert(column, field);
            }
        }
    }
    columns
}

fn check_aliases(
    draft: &EntityDraft,
    columns: &BTreeMap<String, &Field>,
    problems: &mut Problems<'_>,
) {
    let mut taken = BTreeMap::<&str, &str>::new();
    for FieldDraft { field, aliases, .. } in &draft.fields {
        for Placed { at, value: alias } in aliases {
            let parts = alias.split('.').count();
            if parts > 2 || !alias.split('.').all(is_name) {
                problems
                    .add(*at, format!("alias {alias:?} must be a field name or a group's part"));
            }
            let column_owner =
                columns.get(&alias.replace('.', "_")).map(|owner| owner.key.as_str());
            let owner = draft.field(alias).map(|_| alias.as_str());
            let owner = owner.or(column_owner.filter(|owner| *owner != field.key));
            if let Some(owner) = owner.or_else(|| taken.insert(alias, &field.key)) {
                problems.add(*at, format!("alias `{alias}` is already a name of field `{owner}`"));
            }
        }
    }
}

fn read_indexes(
    draft: &EntityDraft,
    columns: &BTreeMap<String, &Field>,
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> Vec<Vec<String>> {
    let at = reader.at;
    let items = reader.array("indexes", problems).unwrap_or_default();
    if items.len() > INDEXES_MAX {
        let (name, got) = (&draft.name, items.len());
        problems.add(
            at,
            format!("entity `{name}` has {got} indexes; at most {INDEXES_MAX} are allowed"),
        );
    }
    let mut indexes: Vec<Vec<String>> = Vec::new();
    for Placed { at, value } in items {
        let Some(list) = value.as_array() else {
            problems.add(at, "an index is a list of columns");
            continue;
        };
        let names = distinct_strings(items_of(list), "an index", problems);
        for name in &names {
            check_index_column(name, columns, problems);
        }
        let index: Vec<String> = names.into_iter().map(|name| name.value.to_owned()).collect();
        if index.is_empty() || index.len() > INDEX_COLUMNS_MAX {
            problems.add(at, format!("an index has 1 to {INDEX_COLUMNS_MAX} columns"));
        } else if indexes.contains(&index) {
            problems.add(at, format!("index `{}` is declared twice", index.join(", ")));
        }
        indexes.push(index);
    }
    indexes
}

fn check_index_column(
    name: &Placed<&str>,
    columns: &BTreeMap<String, &Field>,
    problems: &mut Problems<'_>,
) {
    let Placed { at, value: column } = *name;
    match columns.get(column) {
        Some(field) if field.kind.is_set() || field.kind == FieldKind::Text => {
            let kind = field.kind.name();
            problems.add(at, format!("column `{column}` is a {kind} and cannot be indexed"));
        }
        Some(_) => {}
        None if SYSTEM_COLUMNS.contains(&column) => {}
        None => problems.add(at, format!("an index names column `{column}`, which does not exist")),
    }
}

fn read_search(
    draft: &EntityDraft,
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> Vec<String> {
    let keys = reader.strings("search", problems);
    for Placed { at, value: key } in &keys {
        match draft.field(key).map(|draft| &draft.field.kind) {
            None => {
                problems.add(*at, format!("`search` names field `{key}`, which does not exist"))
            }
            Some(FieldKind::Set(_) | FieldKind::Text) => {}
            Some(kind) if kind.is_string_like() => {}
            Some(kind) => {
                let kind = kind.name();
                problems.add(
                    *at,
                    format!("`search` names field `{key}`, a {kind}; only words can be searched"),
                );
            }
        }
    }
    keys.into_iter().map(|key| key.value.to_owned()).collect()
}

fn read_inherits(
    draft: &EntityDraft,
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> Option<Placed<String>> {
    let Placed { at, value: key } = reader.string("inherits", problems)?;
    match draft.field(key).map(|draft| &draft.field) {
        Some(field) if !matches!(field.kind, FieldKind::Ref(_)) => {
            problems.add(at, format!("`inherits` names field `{key}`, which is no ref"));
        }
        Some(field) if !field.section.is_main() => {
            problems
                .add(at, format!("`inherits` names field `{key}`, which is not in section `main`"));
        }
        Some(_) => {}
        None => problems.add(at, format!("`inherits` names field `{key}`, which does not exist")),
    }
    Some(Placed { at, value: key.to_owned() })
}

/// Tables of the store on a device; entities share its name space.
const RESERVED_TABLES: [&str; 8] =
    ["document", "change", "outbox", "conflict", "dispute", "scope", "actor", "meta"];
/// Columns with a meaning of their own: keys that the schema does not know, SQLite's row id, and FTS5's ranking.
const RESERVED_COLUMNS: [&str; 4] = ["extra", "rowid", "oid", "rank"];
/// Fields of one entity: its keys, with room for a set's members, stay below those of a document.
const FIELDS_MAX: usize = 300;
/// Indexes of one entity: each makes every write dearer.
const INDEXES_MAX: usize = 16;
/// Columns of one index.
const INDEX_COLUMNS_MAX: usize = 8;

const _: () = assert!(FIELDS_MAX < DOCUMENT_KEYS_MAX);
