//! What an entity's table shows of one record: the values of its columns, from cells alone.

use crdt_core::id::Section;
use crdt_core::record::{Cells, DELETED, Deletion, Live, Money, Value, field_value};
use crdt_core::schema::{Entity, FieldKind};
use rusqlite::types::Value as Sql;

use super::{CREATED_AT, CREATED_BY, ENTITY, created_at, created_by, last_edit, sync_state};
use crate::plain;
use crate::store::State;
use crate::store::document::HeldRecord;

/// One row of an entity's table, and its members tables.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    /// The columns in the order of the entity's layout.
    pub(super) columns: Vec<Sql>,
    /// The members of each set, in the order of the fields.
    pub(super) sets: Vec<Vec<String>>,
}

impl Shape {
    /// Nothing when the record is deleted, or not here.
    pub(super) fn of(state: &State, entity: &Entity, record: &HeldRecord) -> Option<Self> {
        let main = &record.main()?.cells;
        if Deletion::of(main).is_some() {
            return None;
        }
        let mut shape =
            Self { columns: Vec::with_capacity(entity.fields.len() + 8), sets: Vec::new() };
        shape.add_system(state, record, main);
        // How many keys the columns show.
        let mut known = 0;
        for field in &entity.fields {
            let cells = cells_of(record, main, &field.section);
            match (&field.kind, cells) {
                (FieldKind::Set(_), cells) => {
                    let members = cells.map(|cells| cells.members(&field.key).map(str::to_owned));
                    let members: Vec<String> = members.into_iter().flatten().collect();
                    known += members.len();
                    shape.columns.push(members_to_sql(&members));
                    shape.sets.push(members);
                }
                (FieldKind::Money, cells) => {
                    let value = cells.and_then(|cells| field_value(cells, field));
                    known += usize::from(value.is_some());
                    let (amount, currency) = money_to_sql(value.as_ref());
                    shape.columns.extend([amount, currency]);
                }
                (kind, cells) => {
                    let value = cells.and_then(|cells| field_value(cells, field));
                    known += usize::from(value.is_some());
                    shape.columns.push(value.map_or(Sql::Null, |value| to_sql(kind, value)));
                }
            }
        }
        shape.columns.push(extra(entity, record, known));
        Some(shape)
    }

    fn add_system(&mut self, state: &State, record: &HeldRecord, main: &Cells) {
        let blob = |bytes: &[u8]| Sql::Blob(bytes.to_vec());
        let last = last_edit(record);
        let author = last.and_then(|last| state.author(&last.op.actor));
        self.columns.extend([
            blob(record.id.as_bytes()),
            created_at(main).map_or(Sql::Null, |time| Sql::Integer(time.as_millis())),
            created_by(main).map_or(Sql::Null, blob),
            last.map_or(Sql::Null, |last| Sql::Integer(last.time.as_millis())),
            author.map_or(Sql::Null, |author| blob(author.member.as_bytes())),
            Sql::Text(sync_state(state, record).to_owned()),
        ]);
    }
}

/// The cells in which a section's fields stand, when the device has them.
fn cells_of<'a>(record: &'a HeldRecord, main: &'a Cells, section: &Section) -> Option<&'a Cells> {
    if section.is_main() {
        return Some(main);
    }
    record.documents.get(section).filter(|held| !held.gone).map(|held| &held.cells)
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
        _ => Sql::Null,
    }
}

fn members_to_sql(members: &[String]) -> Sql {
    if members.is_empty() {
        return Sql::Null;
    }
    Sql::Text(serde_json::Value::from(members).to_string())
}

fn money_to_sql(value: Option<&Value>) -> (Sql, Sql) {
    let money = value.and_then(Value::as_str).and_then(|text| text.parse::<Money>().ok());
    money.map_or((Sql::Null, Sql::Null), |money| {
        (Sql::Integer(money.minor()), Sql::Text(money.currency().to_owned()))
    })
}

/// Keys that this schema does not know, so that nothing is dropped from sight. `known` keys are shown by
/// columns of their own: when that is all of them, none is looked at.
fn extra(entity: &Entity, record: &HeldRecord, known: usize) -> Sql {
    let system = [ENTITY, CREATED_AT, CREATED_BY, DELETED];
    let mut left = 0;
    for (_, held) in record.live() {
        let ours = system.iter().filter(|key| !held.cells.live(key).is_empty()).count();
        left += held.cells.key_count() - ours;
    }
    if left == known {
        return Sql::Null;
    }
    let mut unknown = serde_json::Map::new();
    for (section, held) in record.live() {
        for (key, live) in held.cells.keys() {
            let known = match entity.field_of_key(key) {
                Some((field, _)) => field.section == *section,
                None => system.contains(&key),
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
