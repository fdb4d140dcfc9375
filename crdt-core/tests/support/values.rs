//! Values that a field takes: few of each type, so that histories hold equal and competing ones.

use crdt_core::record::{Edit, Value, scalar_for};
use crdt_core::schema::{Field, FieldKind};
use crdt_core::time::Timestamp;

use super::random::Random;

const WORDS: [&str; 6] = ["", "Acme", "Ölmühle", "a/b", "日本", "two words"];

/// A value that passes the door, `Null` now and then.
pub fn value_for(field: &Field, random: &mut Random) -> Value {
    if !field.validation.required && random.once_in(6) {
        return Value::Null;
    }
    let few = random.below(4);
    match &field.kind {
        FieldKind::String if field.validation.required => Value::from(WORDS[1 + few]),
        FieldKind::String => Value::from(*random.pick(&WORDS)),
        FieldKind::Enum(values) => Value::from(random.pick(values).as_str()),
        FieldKind::Email => Value::from(format!("rep{few}@example.com")),
        FieldKind::Phone => Value::from(format!("+49 30 12345{few}")),
        FieldKind::Url => Value::from(format!("https://example.com/{few}")),
        FieldKind::Int => {
            let low = field.validation.min.unwrap_or(0.0) as i64;
            Value::from(low + few as i64)
        }
        FieldKind::Float => Value::from(few as f64 / 8.0),
        FieldKind::Bool => Value::from(few.is_multiple_of(2)),
        FieldKind::Timestamp => Value::from(Timestamp::from_millis(1_700_000_000_000 + few as i64)),
        FieldKind::Date => Value::from(format!("2026-11-2{few}")),
        FieldKind::Money => {
            let currency = if random.once_in(5) { "EUR" } else { "USD" };
            Value::from(format!("{}50.00 {currency}", few + 1))
        }
        FieldKind::Ref(_) => Value::Bytes(vec![few as u8; 16]),
        FieldKind::Set(element) => Value::Set((0..few).map(|_| member(element, random)).collect()),
        FieldKind::Counter | FieldKind::Text => Value::Null,
    }
}

/// A member that a set of `element` takes.
pub fn member(element: &FieldKind, random: &mut Random) -> String {
    match element {
        FieldKind::Email => format!("rep{}@example.com", random.below(4)),
        FieldKind::Phone => format!("+49 30 12345{}", random.below(4)),
        _ => WORDS[1 + random.below(5)].to_owned(),
    }
}

/// An edit of `field`, whose seed is in when it has one; nothing for a text.
pub fn edit_for(field: &Field, random: &mut Random) -> Option<Edit> {
    let key = field.key.clone();
    match &field.kind {
        FieldKind::Text => None,
        FieldKind::Counter => Some(Edit::Increment { key, by: random.below(9) as i64 - 3 }),
        FieldKind::Set(element) => {
            let key = format!("{key}/{}", member(element, random));
            Some(if random.once_in(3) { Edit::Remove { key } } else { Edit::add(key) })
        }
        _ => {
            let value = scalar_for(field, &value_for(field, random)).unwrap();
            Some(Edit::Put { key, value })
        }
    }
}

/// Prose to insert: every width of character, never empty.
pub fn prose(random: &mut Random) -> String {
    let pieces = ["a", "visit ", "ß", "日本語", "🙂", "\n", "e\u{301}"];
    (0..=random.below(4)).map(|_| *random.pick(&pieces)).collect()
}
