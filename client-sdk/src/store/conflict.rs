//! The `conflict` table: concurrent values, derived from cells whenever a record changes.

use std::collections::BTreeMap;

use crdt_core::id::{ActorId, RecordId, Section};
use crdt_core::planted::{Bug, planted};
use crdt_core::record::{Contender, DELETED, Deletion, conflict, deletion_conflict};
use crdt_core::schema::Entity;
use rusqlite::{Connection, Row};
use serde_json::{Value as Json, json};

use super::document::{HeldRecord, record_of, section_of};
use super::{Session, State};
use crate::conflict::{ConflictValue, FieldConflict};
use crate::error::StoreError;
use crate::plain::{from_plain, to_plain};

/// The conflicts of a record, by section and field.
pub(crate) type Shown = BTreeMap<(Section, String), Rows>;

/// What a conflict's row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rows {
    open: bool,
    contenders: String,
}

pub(crate) fn of(state: &State, entity: Option<&Entity>, record: &HeldRecord) -> Shown {
    let mut shown = Shown::new();
    let deleted = record.main().is_some_and(|main| Deletion::of(&main.cells).is_some());
    for (section, held) in record.live() {
        if let Some(unseen) = deletion_conflict(&held.cells) {
            let contenders = unseen.iter().map(|(key, contender)| to_json(state, key, contender));
            let contenders = Json::Array(contenders.collect()).to_string();
            shown.insert((section.clone(), DELETED.to_owned()), Rows { open: true, contenders });
        }
        let Some(entity) = entity.filter(|_| !deleted) else { continue };
        for (key, live) in held.cells.keys().filter(|(_, live)| live.len() > 1) {
            let Some((field, None)) = entity.field_of_key(key) else { continue };
            let Some(found) = conflict(&field.merge, live) else { continue };
            let contenders =
                found.contenders.iter().map(|contender| to_json(state, key, contender));
            let contenders = Json::Array(contenders.collect()).to_string();
            shown.insert((section.clone(), key.to_owned()), Rows { open: found.open, contenders });
        }
    }
    shown
}

fn to_json(state: &State, key: &str, contender: &Contender) -> Json {
    let author = state.author(&contender.op.actor);
    json!({
        "field": key,
        "value": to_plain(&contender.value),
        "actor": contender.op.actor.to_string(),
        "member": author.map(|author| author.member.to_string()),
        "time": contender.time.as_millis(),
    })
}

/// Writes the difference between what the table shows of a record and what it is to show.
pub(crate) fn store(
    session: &mut Session<'_>,
    record: &HeldRecord,
    before: &Shown,
    now: &Shown,
) -> Result<(), StoreError> {
    if write(&session.tx, record, before, now)? {
        session.changes.table("conflict");
        session.changes.record(&record.entity, record.id);
    }
    Ok(())
}

/// Makes the table show a record's conflicts, whatever schema it was shown by before. Whether anything changed.
pub(crate) fn show_again(connection: &Connection, record: &HeldRecord) -> Result<bool, StoreError> {
    let sql = "SELECT section, field, open, contenders FROM conflict WHERE record = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([record.id.as_bytes()])?;
    let mut before = Shown::new();
    while let Some(row) = rows.next()? {
        let place = (section_of(&row.get::<_, String>(0)?)?, row.get(1)?);
        before.insert(place, Rows { open: row.get(2)?, contenders: row.get(3)? });
    }
    write(connection, record, &before, &record.shown().conflicts)
}

/// Writes what differs; whether anything does.
fn write(
    connection: &Connection,
    record: &HeldRecord,
    before: &Shown,
    now: &Shown,
) -> Result<bool, StoreError> {
    if before == now {
        return Ok(false);
    }
    let gone = before.keys().filter(|place| !now.contains_key(place));
    for (section, field) in gone.filter(|_| !planted(Bug::ConflictKept)) {
        let sql = "DELETE FROM conflict WHERE record = ?1 AND section = ?2 AND field = ?3";
        let values = (record.id.as_bytes(), section.as_str(), field);
        connection.prepare_cached(sql)?.execute(values)?;
    }
    for ((section, field), rows) in
        now.iter().filter(|(place, rows)| before.get(place) != Some(rows))
    {
        let sql = "INSERT INTO conflict (record, entity, section, field, open, contenders)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (record, section, field)
                   DO UPDATE SET open = excluded.open, contenders = excluded.contenders";
        connection.prepare_cached(sql)?.execute((
            record.id.as_bytes(),
            &record.entity,
            section.as_str(),
            field,
            rows.open,
            &rows.contenders,
        ))?;
    }
    Ok(true)
}

/// Every conflict, open ones first, in the order in which they came; of one record when it is named.
pub(crate) fn list(
    connection: &Connection,
    state: &State,
    record: Option<RecordId>,
    limit: usize,
) -> Result<Vec<FieldConflict>, StoreError> {
    let sql = "SELECT record, entity, section, field, open, contenders FROM conflict
               WHERE ?1 IS NULL OR record = ?1 ORDER BY open DESC, id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((record.map(|id| *id.as_bytes()), limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(state, row)?);
    }
    Ok(found)
}

fn read(state: &State, row: &Row<'_>) -> Result<FieldConflict, StoreError> {
    let entity: String = row.get(1)?;
    let contenders: String = row.get(5)?;
    let contenders: Vec<Json> =
        serde_json::from_str(&contenders).map_err(|_| StoreError::Malformed("conflict"))?;
    let schema = state.entity(&entity);
    let values = contenders.iter().map(|json| value_of(state, schema, json));
    Ok(FieldConflict {
        record: record_of(&row.get::<_, Vec<u8>>(0)?)?,
        section: section_of(&row.get::<_, String>(2)?)?,
        field: row.get(3)?,
        open: row.get(4)?,
        values: values.collect::<Option<_>>().ok_or(StoreError::Malformed("conflict"))?,
        entity,
    })
}

fn value_of(state: &State, entity: Option<&Entity>, json: &Json) -> Option<ConflictValue> {
    let field = json.get("field")?.as_str()?;
    let plain = json.get("value")?;
    let known = entity.and_then(|entity| entity.field_of_key(field));
    let value = match known {
        Some((field, None)) => from_plain(field, plain).unwrap_or(crdt_core::record::Value::Null),
        Some((_, Some(_))) => crdt_core::record::Value::Bool(true),
        None => crdt_core::record::Value::Null,
    };
    let actor = actor_of(json.get("actor")?.as_str()?)?;
    let author = state.author(&actor);
    Some(ConflictValue {
        field: field.to_owned(),
        value,
        actor,
        member: author.map(|author| author.member),
        member_name: author.map(|author| author.name.clone()),
        time: crdt_core::time::Timestamp::from_millis(json.get("time")?.as_i64()?),
    })
}

fn actor_of(text: &str) -> Option<ActorId> {
    let bytes = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(ActorId(bytes.to_be_bytes()))
}
