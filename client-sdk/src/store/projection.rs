//! The projection: what each entity's table shows of a record, and the smallest write that makes it so.

pub(crate) mod layout;
mod shape;
pub(crate) mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use crdt_core::id::{RecordId, Section};
use crdt_core::planted::{Bug, planted};
use crdt_core::record::{Cells, Live, Scalar, Value, hydrate};
use crdt_core::schema::Entity;
use crdt_core::time::Timestamp;
use rusqlite::types::{ToSqlOutput, Value as Sql};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::conflict::{self, Shown as ShownConflicts};
use super::document::HeldRecord;
use super::{Session, State};
use crate::error::StoreError;
use layout::{Layout, SetLayout};
pub(crate) use shape::Shape;

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

/// Writes the difference between what the tables show of a record and what they are to show.
pub(crate) fn store(
    session: &mut Session<'_>,
    record: &HeldRecord,
    now: &Shown,
) -> Result<(), StoreError> {
    let before = record.shown();
    let schema = session.schema();
    let layouts = Arc::clone(&session.state.layouts);
    let row = record.documents.get(&Section::main()).and_then(|held| held.row);
    if let Some(entity) = schema.entity(&record.entity)
        && let Some(layout) = layouts.of(&record.entity)
    {
        match (&before.row, &now.row, row) {
            (None, None, _) | (Some(_), Some(_), None) | (None, Some(_), None) => {}
            (None, Some(shape), Some(row)) => insert(session, entity, layout, row, shape)?,
            (Some(was), Some(shape), Some(row)) => {
                update(session, entity, layout, row, was, shape)?;
            }
            (Some(_), None, _) => remove(session, entity, layout, record.id)?,
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
    layout: &Layout,
    row: i64,
    shape: &Shape,
) -> Result<(), StoreError> {
    let row_id = Sql::Integer(row);
    let values = std::iter::once(&row_id).chain(&shape.columns).map(borrowed);
    session.tx.prepare_cached(&layout.insert)?.execute(params_from_iter(values))?;
    for (set, members) in layout.sets.iter().zip(&shape.sets) {
        add_members(&session.tx, set, row, members.iter())?;
    }
    if layout.searched.is_empty() { Ok(()) } else { mark(&session.tx, entity, row) }
}

fn update(
    session: &Session<'_>,
    entity: &Entity,
    layout: &Layout,
    row: i64,
    was: &Shape,
    shape: &Shape,
) -> Result<(), StoreError> {
    let pairs = was.columns.iter().zip(&shape.columns).enumerate();
    let changed: Vec<usize> =
        pairs.filter(|(_, (old, new))| old != new).map(|(place, _)| place).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let sql = layout.update(&changed, "_row");
    let values = changed.iter().map(|place| &shape.columns[*place]);
    let row_id = Sql::Integer(row);
    let values = std::iter::once(&row_id).chain(values).map(borrowed);
    session.tx.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    for (set, (old, new)) in layout.sets.iter().zip(was.sets.iter().zip(&shape.sets)) {
        let gone = old.iter().filter(|member| !new.contains(member));
        remove_members(&session.tx, set, row, gone)?;
        add_members(&session.tx, set, row, new.iter().filter(|m| !old.contains(m)))?;
    }
    let is_searched = changed.iter().any(|place| layout.searched.contains(place));
    if is_searched && !planted(Bug::SearchMarkMissed) {
        mark(&session.tx, entity, row)?;
    }
    Ok(())
}

/// Shows a record anew, whatever schema it was shown by before: every column, and its conflicts. Whether other
/// values compete than did, or another of them wins.
pub(crate) fn show_again(
    tx: &Connection,
    state: &State,
    record: &HeldRecord,
) -> Result<bool, StoreError> {
    let competes = conflict::show_again(tx, record)?;
    if let Some(entity) = state.entity(&record.entity)
        && let Some(layout) = state.layouts.of(&record.entity)
        && let Some(shape) = &record.shown().row
        && let Some(row) = record.documents.get(&Section::main()).and_then(|held| held.row)
    {
        let all: Vec<usize> = (0..shape.columns.len()).collect();
        let row_id = Sql::Integer(row);
        let values = std::iter::once(&row_id).chain(&shape.columns).map(borrowed);
        tx.prepare_cached(&layout.update(&all, "_row"))?.execute(params_from_iter(values))?;
        for (set, members) in layout.sets.iter().zip(&shape.sets) {
            add_members(tx, set, row, members.iter())?;
        }
        if competes && !layout.searched.is_empty() {
            mark(tx, entity, row)?;
        }
    }
    Ok(competes)
}

fn remove(
    session: &Session<'_>,
    entity: &Entity,
    layout: &Layout,
    record: RecordId,
) -> Result<(), StoreError> {
    let mut statement = session.tx.prepare_cached(&layout.find)?;
    let row: Option<i64> = statement.query_row([record.as_bytes()], |row| row.get(0)).optional()?;
    let Some(row) = row else { return Ok(()) };
    session.tx.prepare_cached(&layout.remove)?.execute([row])?;
    for set in &layout.sets {
        session.tx.prepare_cached(&set.clear)?.execute([row])?;
    }
    if layout.searched.is_empty() { Ok(()) } else { mark(&session.tx, entity, row) }
}

fn add_members<'a>(
    connection: &Connection,
    set: &SetLayout,
    row: i64,
    members: impl Iterator<Item = &'a String>,
) -> Result<(), StoreError> {
    let mut members = members.peekable();
    if members.peek().is_none() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(&set.add)?;
    for member in members {
        statement.execute((row, member))?;
    }
    Ok(())
}

fn remove_members<'a>(
    connection: &Connection,
    set: &SetLayout,
    row: i64,
    members: impl Iterator<Item = &'a String>,
) -> Result<(), StoreError> {
    for member in members.filter(|_| !planted(Bug::MembersLinger)) {
        connection.prepare_cached(&set.remove)?.execute((row, member))?;
    }
    Ok(())
}

/// A value that SQLite copies by itself.
fn borrowed(value: &Sql) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(value.into())
}

/// Full text is dear to write: the row is queued, and written before a search answers.
fn mark(connection: &Connection, entity: &Entity, row: i64) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO _search_dirty (entity, row) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute((&entity.name, row))?;
    Ok(())
}

/// A name of the schema as SQL spells it: some of them, as `case`, are words of SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
