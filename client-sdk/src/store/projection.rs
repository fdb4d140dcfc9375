//! The projection: what each entity's table shows of a record, and the smallest write that makes it so.

pub(crate) mod tables;

use std::collections::BTreeMap;

use crdt_core::planted::{Bug, planted};
use crdt_core::record::{Cells, DELETED, Deletion, Live, Money, Scalar, Value, hydrate};
use crdt_core::schema::{Entity, FieldKind};
use crdt_core::time::Timestamp;
use rusqlite::Connection;
use rusqlite::types::Value as Sql;

use super::conflict::{self, Shown as ShownConflicts};
use super::document::HeldRecord;
use super::{Session, State};
use crate::error::StoreError;
use crate::plain;

/// The keys that the first change of a record writes.
pub(crate) const ENTITY: &str = "$entity";
pub(crate) const CREATED_AT: &str = "$created_at";
pub(crate) const CREATED_BY: &str = "$created_by";

/// What the tables show of a record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) row: Option<Shape>,
    pub(crate) conflicts: ShownConflicts,
}

/// One row of an entity's table, and its members tables.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    /// Columns in a fixed order.
    columns: Vec<(String, Sql)>,
    sets: Vec<(String, Vec<String>)>,
}

impl Shown {
    pub(crate) fn of(state: &State, record: &HeldRecord) -> Self {
        let entity = state.entity(&record.entity);
        let row = entity.and_then(|entity| Shape::of(state, entity, record));
        Self { row, conflicts: conflict::of(state, entity, record) }
    }
}

/// The value of each field that is set, over all the sections that the device has.
pub(crate) fn values(entity: &Entity, record: &HeldRecord) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for (section, held) in record.live() {
        let own = hydrate(&held.cells, entity)
            .into_iter()
            .filter(|(key, _)| entity.field(key).is_some_and(|field| field.section == *section));
        values.extend(own);
    }
    values
}

/// When the record was edited last, and by which actor.
pub(crate) fn last_edit(record: &HeldRecord) -> Option<crdt_core::record::LastEdit> {
    record.live().filter_map(|(_, held)| held.cells.last_edit()).max()
}

/// A key of ours, as the document's latest operation gives it.
pub(crate) fn system<'a>(cells: &'a Cells, key: &str) -> Option<&'a Scalar> {
    match cells.live(key).last().map(|op| &op.value) {
        Some(Live::Scalar(scalar)) => Some(scalar),
        Some(Live::Text(_)) | None => None,
    }
}

/// When the record was created, as its creator said.
pub(crate) fn created_at(main: &Cells) -> Option<Timestamp> {
    match system(main, CREATED_AT) {
        Some(Scalar::Timestamp(time)) => Some(*time),
        _ => None,
    }
}

/// Who created the record: a member's id.
pub(crate) fn created_by(main: &Cells) -> Option<&[u8]> {
    match system(main, CREATED_BY) {
        Some(Scalar::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// The word for where a record stands.
pub(crate) fn sync_state(state: &State, record: &HeldRecord) -> &'static str {
    if state.disputed.contains(&record.id) {
        "disputed"
    } else if record.is_pending() {
        "pending"
    } else {
        "synced"
    }
}

impl Shape {
    fn of(state: &State, entity: &Entity, record: &HeldRecord) -> Option<Self> {
        let main = record.main()?;
        if Deletion::of(&main.cells).is_some() {
            return None;
        }
        let mut columns = system_columns(state, record, &main.cells);
        let mut sets = Vec::new();
        let mut values = values(entity, record);
        for field in &entity.fields {
            let value = values.remove(&field.key).unwrap_or(Value::Null);
            if let FieldKind::Set(_) = field.kind {
                let members =
                    if let Value::Set(members) = &value { members.clone() } else { vec![] };
                sets.push((field.column.clone(), members));
            }
            match field.currency_column() {
                Some(currency) => {
                    let (amount, code) = money_columns(&value);
                    columns.push((field.column.clone(), amount));
                    columns.push((currency, code));
                }
                None => columns.push((field.column.clone(), to_sql(&field.kind, value))),
            }
        }
        columns.push(("extra".to_owned(), extra(entity, record)));
        Some(Self { columns, sets })
    }
}

fn system_columns(state: &State, record: &HeldRecord, main: &Cells) -> Vec<(String, Sql)> {
    let blob = |bytes: &[u8]| Sql::Blob(bytes.to_vec());
    let last = last_edit(record);
    let author = last.and_then(|last| state.author(&last.op.actor));
    let columns = [
        ("_id", blob(record.id.as_bytes())),
        ("_created_at", created_at(main).map_or(Sql::Null, |t| Sql::Integer(t.as_millis()))),
        ("_created_by", created_by(main).map_or(Sql::Null, blob)),
        ("_updated_at", last.map_or(Sql::Null, |last| Sql::Integer(last.time.as_millis()))),
        ("_updated_by", author.map_or(Sql::Null, |author| blob(author.member.as_bytes()))),
        ("_sync_state", Sql::Text(sync_state(state, record).to_owned())),
    ];
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn to_sql(kind: &FieldKind, value: Value) -> Sql {
    match value {
        Value::Bool(truth) => Sql::Integer(i64::from(truth)),
        Value::Int(number) if *kind == FieldKind::Float => Sql::Real(number as f64),
        Value::Int(number) | Value::Counter(number) => Sql::Integer(number),
        Value::Float(number) => Sql::Real(number),
        Value::Str(text) | Value::Text(text) => Sql::Text(text),
        Value::Timestamp(time) => Sql::Integer(time.as_millis()),
        Value::Bytes(bytes) => Sql::Blob(bytes),
        Value::Set(members) => Sql::Text(serde_json::Value::from(members).to_string()),
        _ => Sql::Null,
    }
}

fn money_columns(value: &Value) -> (Sql, Sql) {
    let money = value.as_str().and_then(|text| text.parse::<Money>().ok());
    money.map_or((Sql::Null, Sql::Null), |money| {
        (Sql::Integer(money.minor()), Sql::Text(money.currency().to_owned()))
    })
}

/// Keys that this schema does not know, so that nothing is dropped from sight.
fn extra(entity: &Entity, record: &HeldRecord) -> Sql {
    let mut unknown = serde_json::Map::new();
    for (section, held) in record.live() {
        for (key, live) in held.cells.keys() {
            let known = match entity.field_of_key(key) {
                Some((field, _)) => field.section == *section,
                None => [ENTITY, CREATED_AT, CREATED_BY, DELETED].contains(&key),
            };
            let Some(op) = live.last().filter(|_| !known) else { continue };
            let value = match &op.value {
                Live::Scalar(scalar) => Value::from(scalar.clone()),
                Live::Text(contents) => Value::Text(contents.clone()),
            };
            unknown.insert(key.to_owned(), plain::to_plain(&value));
        }
    }
    if unknown.is_empty() {
        Sql::Null
    } else {
        Sql::Text(serde_json::Value::Object(unknown).to_string())
    }
}

/// Writes the difference between what the tables show of a record and what they are to show.
pub(crate) fn store(
    session: &mut Session<'_>,
    record: &HeldRecord,
    now: &Shown,
) -> Result<(), StoreError> {
    let before = record.shown();
    let schema = session.schema();
    let row = record.documents.get(&crdt_core::id::Section::main()).and_then(|held| held.row);
    if let Some(entity) = schema.entity(&record.entity) {
        match (&before.row, &now.row, row) {
            (None, None, _) | (Some(_), Some(_), None) | (None, Some(_), None) => {}
            (None, Some(shape), Some(row)) => insert(session, entity, row, shape)?,
            (Some(was), Some(shape), Some(row)) => update(session, entity, row, was, shape)?,
            (Some(_), None, _) => remove(session, entity, record)?,
        }
        if before.row != now.row {
            session.changes.record(&entity.name, record.id);
        }
    }
    conflict::store(session, record, &before.conflicts, &now.conflicts)
}

fn insert(
    session: &Session<'_>,
    entity: &Entity,
    row: i64,
    shape: &Shape,
) -> Result<(), StoreError> {
    let names: Vec<String> = shape.columns.iter().map(|(name, _)| quoted(name)).collect();
    let places: Vec<String> = (2..=shape.columns.len() + 1).map(|n| format!("?{n}")).collect();
    let sql = format!(
        "INSERT INTO {} (_row, {}) VALUES (?1, {})",
        quoted(&entity.name),
        names.join(", "),
        places.join(", ")
    );
    let values = std::iter::once(Sql::Integer(row))
        .chain(shape.columns.iter().map(|(_, value)| value.clone()));
    session.tx.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(values))?;
    for (set, members) in &shape.sets {
        add_members(&session.tx, entity, set, row, members.iter())?;
    }
    if entity.search.is_empty() { Ok(()) } else { mark(session, entity, row) }
}

fn update(
    session: &Session<'_>,
    entity: &Entity,
    row: i64,
    was: &Shape,
    shape: &Shape,
) -> Result<(), StoreError> {
    let pairs = was.columns.iter().zip(&shape.columns);
    let changed: Vec<&(String, Sql)> =
        pairs.filter(|(old, new)| old.1 != new.1).map(|(_, new)| new).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let sets: Vec<String> = changed
        .iter()
        .enumerate()
        .map(|(place, (name, _))| format!("{} = ?{}", quoted(name), place + 2))
        .collect();
    let sql = format!("UPDATE {} SET {} WHERE _row = ?1", quoted(&entity.name), sets.join(", "));
    let values =
        std::iter::once(Sql::Integer(row)).chain(changed.iter().map(|(_, value)| value.clone()));
    session.tx.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(values))?;
    for ((set, old), (_, new)) in was.sets.iter().zip(&shape.sets) {
        let gone = old.iter().filter(|member| !new.contains(member));
        remove_members(&session.tx, entity, set, row, gone)?;
        add_members(&session.tx, entity, set, row, new.iter().filter(|m| !old.contains(m)))?;
    }
    let searched = tables::search_columns(entity);
    let is_searched = changed.iter().any(|(name, _)| searched.contains(name));
    if is_searched && !planted(Bug::SearchMarkMissed) {
        mark(session, entity, row)?;
    }
    Ok(())
}

/// Writes every column of a record that is shown already, as after columns were added.
pub(crate) fn show_columns(
    tx: &Connection,
    entity: &Entity,
    record: &HeldRecord,
) -> Result<(), StoreError> {
    let Some(shape) = &record.shown().row else { return Ok(()) };
    let sets: Vec<String> = shape
        .columns
        .iter()
        .enumerate()
        .map(|(place, (name, _))| format!("{} = ?{}", quoted(name), place + 2))
        .collect();
    let sql = format!("UPDATE {} SET {} WHERE _id = ?1", quoted(&entity.name), sets.join(", "));
    let id = Sql::Blob(record.id.as_bytes().to_vec());
    let values = std::iter::once(id).chain(shape.columns.iter().map(|(_, value)| value.clone()));
    tx.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(values))?;
    let main = record.documents.get(&crdt_core::id::Section::main()).and_then(|held| held.row);
    for (set, members) in &shape.sets {
        add_members(tx, entity, set, main.unwrap_or_default(), members.iter())?;
    }
    Ok(())
}

fn remove(session: &Session<'_>, entity: &Entity, record: &HeldRecord) -> Result<(), StoreError> {
    let table = quoted(&entity.name);
    let sql = format!("SELECT _row FROM {table} WHERE _id = ?1");
    let mut statement = session.tx.prepare_cached(&sql)?;
    let mut rows = statement.query([record.id.as_bytes()])?;
    let Some(row) = rows.next()?.map(|found| found.get::<_, i64>(0)).transpose()? else {
        return Ok(());
    };
    drop(rows);
    let sql = format!("DELETE FROM {table} WHERE _row = ?1");
    session.tx.prepare_cached(&sql)?.execute([row])?;
    for field in entity.fields.iter().filter(|field| field.kind.is_set()) {
        let members = tables::members_table(entity, &field.column);
        let sql = format!("DELETE FROM {} WHERE _row = ?1", quoted(&members));
        session.tx.prepare_cached(&sql)?.execute([row])?;
    }
    if entity.search.is_empty() { Ok(()) } else { mark(session, entity, row) }
}

fn add_members<'a>(
    connection: &Connection,
    entity: &Entity,
    set: &str,
    row: i64,
    members: impl Iterator<Item = &'a String>,
) -> Result<(), StoreError> {
    let table = quoted(&tables::members_table(entity, set));
    let sql = format!("INSERT OR IGNORE INTO {table} (_row, member) VALUES (?1, ?2)");
    for member in members {
        connection.prepare_cached(&sql)?.execute((row, member))?;
    }
    Ok(())
}

fn remove_members<'a>(
    connection: &Connection,
    entity: &Entity,
    set: &str,
    row: i64,
    members: impl Iterator<Item = &'a String>,
) -> Result<(), StoreError> {
    let table = quoted(&tables::members_table(entity, set));
    let sql = format!("DELETE FROM {table} WHERE _row = ?1 AND member = ?2");
    for member in members.filter(|_| !planted(Bug::MembersLinger)) {
        connection.prepare_cached(&sql)?.execute((row, member))?;
    }
    Ok(())
}

/// Full text is dear to write: the row is queued, and written before a search answers.
fn mark(session: &Session<'_>, entity: &Entity, row: i64) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO _search_dirty (entity, row) VALUES (?1, ?2)";
    session.tx.prepare_cached(sql)?.execute((&entity.name, row))?;
    Ok(())
}

/// A name of the schema as SQL spells it: some of them, as `case`, are words of SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
