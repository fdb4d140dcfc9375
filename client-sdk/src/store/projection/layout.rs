//! How the rows of each entity are written: the columns in order, and the statements, made once for a schema.

use std::collections::BTreeMap;

use crdt_core::schema::{Entity, FieldKind, Schema};

use super::quoted;
use super::tables::{members_table, search_columns};

/// The layouts of a schema's entities.
#[derive(Debug, Default)]
pub(crate) struct Layouts(BTreeMap<String, Layout>);

/// One entity's.
#[derive(Debug)]
pub(crate) struct Layout {
    table: String,
    /// Names as SQL spells them, in the order of a shape's columns.
    columns: Vec<String>,
    /// The places of the columns that full text covers.
    pub(super) searched: Vec<usize>,
    /// Of the sets, in the order of the fields.
    pub(super) sets: Vec<SetLayout>,
    pub(super) insert: String,
    pub(super) find: String,
    pub(super) remove: String,
}

/// How the members of one set are written.
#[derive(Debug)]
pub(super) struct SetLayout {
    pub(super) add: String,
    pub(super) remove: String,
    pub(super) clear: String,
}

impl Layouts {
    pub(crate) fn new(schema: &Schema) -> Self {
        Self(schema.entities().map(|entity| (entity.name.clone(), Layout::new(entity))).collect())
    }

    pub(super) fn of(&self, entity: &str) -> Option<&Layout> {
        self.0.get(entity)
    }
}

impl Layout {
    fn new(entity: &Entity) -> Self {
        let system = crdt_core::schema::SYSTEM_COLUMNS.map(str::to_owned);
        let fields = entity.fields.iter().flat_map(crdt_core::schema::Field::columns);
        let columns: Vec<String> =
            system.into_iter().chain(fields).chain(["extra".to_owned()]).collect();
        let words = search_columns(entity);
        let searched = columns.iter().enumerate().filter(|(_, name)| words.contains(name));
        let searched = searched.map(|(place, _)| place).collect();
        let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        let sets = entity.fields.iter().filter(|field| matches!(field.kind, FieldKind::Set(_)));
        let table = quoted(&entity.name);
        let places: Vec<String> = (2..=columns.len() + 1).map(|n| format!("?{n}")).collect();
        Self {
            insert: format!(
                "INSERT INTO {table} (_row, {}) VALUES (?1, {})",
                columns.join(", "),
                places.join(", ")
            ),
            find: format!("SELECT _row FROM {table} WHERE _id = ?1"),
            remove: format!("DELETE FROM {table} WHERE _row = ?1"),
            sets: sets.map(|field| SetLayout::new(&members_table(entity, &field.column))).collect(),
            table,
            columns,
            searched,
        }
    }

    /// Writes some of the columns, by their places, where `key` is the first parameter.
    pub(super) fn update(&self, places: &[usize], key: &str) -> String {
        let sets =
            places.iter().zip(2..).map(|(place, n)| format!("{} = ?{n}", self.columns[*place]));
        let sets: Vec<String> = sets.collect();
        format!("UPDATE {} SET {} WHERE {key} = ?1", self.table, sets.join(", "))
    }
}

impl SetLayout {
    fn new(table: &str) -> Self {
        let table = quoted(table);
        Self {
            add: format!("INSERT OR IGNORE INTO {table} (_row, member) VALUES (?1, ?2)"),
            remove: format!("DELETE FROM {table} WHERE _row = ?1 AND member = ?2"),
            clear: format!("DELETE FROM {table} WHERE _row = ?1"),
        }
    }
}
