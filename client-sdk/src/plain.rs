//! Values as plain JSON: how typed records, conflicts and disputes spell them. References are UUID strings,
//! times are milliseconds, money its one string, sets arrays; the parts of a group form an object.

use std::collections::BTreeMap;

use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::schema::{Entity, Field, FieldKind, Violation};
use crdt_core::time::Timestamp;
use serde_json::{Map, Value as Json};

use crate::error::EditError;

/// A value in its plain spelling.
pub(crate) fn to_plain(value: &Value) -> Json {
    match value {
        Value::Bool(truth) => Json::from(*truth),
        Value::Int(number) | Value::Counter(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Str(text) | Value::Text(text) => Json::from(text.as_str()),
        Value::Timestamp(time) => Json::from(time.as_millis()),
        Value::Bytes(bytes) => Json::from(bytes_text(bytes)),
        Value::Set(members) => Json::from(members.as_slice()),
        // Null, and whatever a later version of values adds, which no field of this one holds.
        _ => Json::Null,
    }
}

/// A record id where the bytes are one, else hexadecimal.
pub(crate) fn bytes_text(bytes: &[u8]) -> String {
    match RecordId::try_from(bytes) {
        Ok(id) => id.to_string(),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Reads a plain value for a field.
pub(crate) fn from_plain(field: &Field, plain: &Json) -> Result<Value, Violation> {
    let wrong = || Violation::WrongType { expected: field.kind.name(), got: json_kind(plain) };
    let value = match (&field.kind, plain) {
        (_, Json::Null) => Some(Value::Null),
        (FieldKind::Bool, Json::Bool(truth)) => Some(Value::Bool(*truth)),
        (FieldKind::Int, Json::Number(number)) => number.as_i64().map(Value::Int),
        (FieldKind::Counter, Json::Number(number)) => number.as_i64().map(Value::Counter),
        (FieldKind::Float, Json::Number(number)) => number.as_f64().map(Value::Float),
        (FieldKind::Timestamp, Json::Number(number)) => {
            number.as_i64().map(|millis| Value::Timestamp(Timestamp::from_millis(millis)))
        }
        (FieldKind::Text, Json::String(text)) => Some(Value::Text(text.clone())),
        (FieldKind::Ref(_), Json::String(text)) => {
            return text.parse::<RecordId>().map(Value::from).map_err(|_| Violation::BadReference);
        }
        (FieldKind::Set(_), Json::Array(members)) => members
            .iter()
            .map(|member| member.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Value::Set),
        (FieldKind::Date | FieldKind::Money, Json::String(text)) => Some(Value::Str(text.clone())),
        (kind, Json::String(text)) if kind.is_string_like() => Some(Value::Str(text.clone())),
        _ => None,
    };
    value.ok_or_else(wrong)
}

const fn json_kind(plain: &Json) -> &'static str {
    match plain {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// A record's values as one JSON object, with `id` beside them unless a field has that name.
pub(crate) fn to_object(id: RecordId, values: &BTreeMap<String, Value>) -> Json {
    let mut object = Map::new();
    object.insert("id".to_owned(), Json::from(id.to_string()));
    for (key, value) in values {
        let plain = to_plain(value);
        match key.split_once('.') {
            None => {
                object.insert(key.clone(), plain);
            }
            Some((group, part)) => {
                let group = object.entry(group).or_insert_with(|| Json::Object(Map::new()));
                if let Json::Object(parts) = group {
                    parts.insert(part.to_owned(), plain);
                }
            }
        }
    }
    Json::Object(object)
}

/// The values that a typed record names, by the keys of its entity's fields.
pub(crate) fn from_object(
    entity: &Entity,
    object: &Json,
) -> Result<BTreeMap<String, Value>, EditError> {
    let Json::Object(object) = object else {
        return Err(EditError::Shape(format!("a {} has no named fields", json_kind(object))));
    };
    let mut values = BTreeMap::new();
    for (name, plain) in object {
        match (entity.field(name), plain) {
            (Some(field), _) => take(field, plain, &mut values)?,
            (None, _) if name == "id" => {}
            (None, Json::Object(parts)) => {
                for (part, plain) in parts {
                    let key = format!("{name}.{part}");
                    let field = entity.field(&key).ok_or_else(|| unknown(entity, &key))?;
                    take(field, plain, &mut values)?;
                }
            }
            // An absent group: nothing is known of its parts, so nothing is said.
            (None, Json::Null) if is_group(entity, name) => {}
            (None, _) => return Err(unknown(entity, name)),
        }
    }
    Ok(values)
}

fn take(
    field: &Field,
    plain: &Json,
    values: &mut BTreeMap<String, Value>,
) -> Result<(), EditError> {
    let value = from_plain(field, plain)
        .map_err(|violation| EditError::Invalid { field: field.key.clone(), violation })?;
    values.insert(field.key.clone(), value);
    Ok(())
}

fn is_group(entity: &Entity, name: &str) -> bool {
    let part_of = |field: &Field| field.key.split_once('.').is_some_and(|(group, _)| group == name);
    entity.fields.iter().any(part_of)
}

fn unknown(entity: &Entity, field: &str) -> EditError {
    EditError::UnknownField { entity: entity.name.clone(), field: field.to_owned() }
}
