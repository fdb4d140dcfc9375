//! The flat shape of a document: which keys there are, and the two ways between cells and field values:
//! hydrate (document to value) and reconcile (value to the smallest set of edits).

use std::collections::{BTreeMap, BTreeSet};

use crate::limits;
use crate::schema::{Entity, Field, FieldKind, Violation};

use super::merge::winner;
use super::{Cells, Clock, Edit, Live, OpId, Scalar, Value};

/// The key that a deletion writes: its value is the deleter's clock.
pub const DELETED: &str = "$deleted";
/// The key that names the entity, in the first change of `main`.
pub(super) const ENTITY: &str = "$entity";
/// When the record was created.
pub(super) const CREATED_AT: &str = "$created_at";
/// Who created it.
pub(super) const CREATED_BY: &str = "$created_by";
/// The record that this one was merged into.
pub(super) const MERGED_INTO: &str = "$merged_into";

/// A document key, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A field, or one part of a group (`address.street`).
    Field(&'a str),
    /// A member of a set: the first `/` splits.
    Member {
        /// The set's field.
        set: &'a str,
        /// The member.
        member: &'a str,
    },
    /// A key of ours: it starts with `$`.
    System(&'a str),
}

/// Text is not a legal document key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, longer than the limit, or with a control character.
    #[error("a key has 1 to {} bytes and no control characters", limits::KEY_BYTES_MAX)]
    Shape,
    /// A field's name has other characters than it may.
    #[error("a field is named by lower case letters, digits and `_`, groups with one `.`")]
    Name,
    /// `$` and a word that means nothing.
    #[error("there is no such system key")]
    System,
}

impl<'a> Key<'a> {
    /// Takes a key apart.
    ///
    /// # Errors
    /// When it breaks a rule of the flat shape.
    pub fn parse(key: &'a str) -> Result<Self, KeyError> {
        if key.is_empty() || key.len() > limits::KEY_BYTES_MAX || key.chars().any(char::is_control)
        {
            return Err(KeyError::Shape);
        }
        if key.starts_with('$') {
            return match key {
                ENTITY | CREATED_AT | CREATED_BY | DELETED | MERGED_INTO => Ok(Self::System(key)),
                _ => Err(KeyError::System),
            };
        }
        match key.split_once('/') {
            Some((_, "")) => Err(KeyError::Shape),
            Some((set, member)) if is_field_name(set) => Ok(Self::Member { set, member }),
            None if is_field_name(key) => Ok(Self::Field(key)),
            _ => Err(KeyError::Name),
        }
    }
}

fn is_field_name(name: &str) -> bool {
    match name.split_once('.') {
        Some((group, part)) => crate::id::is_name(group) && crate::id::is_name(part),
        None => crate::id::is_name(name),
    }
}

/// That a record is deleted: what its deleters had seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletion {
    /// Everything that some deleter had seen.
    pub clock: Clock,
    /// The live operations of `$deleted`.
    pub ops: Vec<OpId>,
}

impl Deletion {
    /// The deletion of a document, if it is deleted.
    #[must_use]
    pub fn of(cells: &Cells) -> Option<Self> {
        let live = cells.live(DELETED);
        if live.is_empty() {
            return None;
        }
        let mut clock = Clock::default();
        for op in live {
            if let Live::Scalar(Scalar::Bytes(bytes)) = &op.value {
                clock.merge(&Clock::from_bytes(bytes).unwrap_or_default());
            }
        }
        Some(Self { clock, ops: live.iter().map(|op| op.id).collect() })
    }
}

/// What a put of `value` into `field` writes.
///
/// # Errors
/// When the value is not of the field's type, or the type has operations of its own (sets, counters, text).
pub fn scalar_for(field: &Field, value: &Value) -> Result<Scalar, Violation> {
    field.check_type(value)?;
    Ok(match value {
        Value::Null => Scalar::Null,
        Value::Bool(b) => Scalar::Bool(*b),
        Value::Int(i) => Scalar::Int(*i),
        Value::Float(x) => Scalar::Float(*x),
        Value::Str(s) => Scalar::Str(s.clone()),
        Value::Timestamp(t) => Scalar::Timestamp(*t),
        Value::Bytes(b) => Scalar::Bytes(b.clone()),
        Value::Counter(_) | Value::Text(_) | Value::Set(_) => {
            return Err(Violation::WrongType { expected: "a single value", got: value.kind() });
        }
    })
}

/// The value of each field of `entity` that is set in `cells`, by key. Where values compete, the field's
/// merge rule picks.
#[must_use]
pub fn hydrate(cells: &Cells, entity: &Entity) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for field in &entity.fields {
        let value = match &field.kind {
            FieldKind::Set(_) => {
                let members: Vec<String> = cells.members(&field.key).map(str::to_owned).collect();
                if members.is_empty() { Value::Null } else { Value::Set(members) }
            }
            _ => field_value(cells, field).unwrap_or(Value::Null),
        };
        if !value.is_null() {
            values.insert(field.key.clone(), value);
        }
    }
    values
}

/// What a field says that is not a set, by its merge rule; nothing when nothing was ever written to it.
#[must_use]
pub fn field_value(cells: &Cells, field: &Field) -> Option<Value> {
    winner(&field.merge, cells.live(&field.key)).map(|op| match &op.value {
        Live::Text(contents) => Value::Text(contents.clone()),
        Live::Scalar(scalar) => scalar.clone().into(),
    })
}

/// The smallest set of edits that make the fields of `cells` say what `wanted` says. Fields that are absent
/// from `wanted` are left alone; `Value::Null` unsets. Text and counters are left to their own operations.
///
/// # Errors
/// The field and what is wrong with its value, for the first that has the wrong type.
pub fn reconcile(
    cells: &Cells,
    entity: &Entity,
    wanted: &BTreeMap<String, Value>,
) -> Result<Vec<Edit>, (String, Violation)> {
    let mut edits = Vec::new();
    for field in &entity.fields {
        let Some(value) = wanted.get(&field.key) else { continue };
        match (&field.kind, value) {
            (FieldKind::Counter | FieldKind::Text, _) => {}
            (FieldKind::Set(_), Value::Set(members)) => {
                let present: BTreeSet<&str> = cells.members(&field.key).collect();
                let new = members.iter().filter(|member| !present.contains(member.as_str()));
                for member in new {
                    field.check_member_type(member).map_err(|v| (field.key.clone(), v))?;
                }
                reconcile_set(cells, &field.key, members, &mut edits);
            }
            (FieldKind::Set(_), Value::Null) => reconcile_set(cells, &field.key, &[], &mut edits),
            _ if field_value(cells, field).unwrap_or(Value::Null) == *value => {}
            _ => {
                let scalar = scalar_for(field, value).map_err(|v| (field.key.clone(), v))?;
                edits.push(Edit::Put { key: field.key.clone(), value: scalar });
            }
        }
    }
    Ok(edits)
}

fn reconcile_set(cells: &Cells, set: &str, members: &[String], edits: &mut Vec<Edit>) {
    let wanted: BTreeSet<&str> = members.iter().map(String::as_str).collect();
    let present: BTreeSet<&str> = cells.members(set).collect();
    let key = |member: &&str| format!("{set}/{member}");
    edits.extend(wanted.difference(&present).map(|member| Edit::add(key(member))));
    edits.extend(present.difference(&wanted).map(|member| Edit::Remove { key: key(member) }));
}
