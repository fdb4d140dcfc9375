//! Values for every type of field, valid by the schema.

use crdt_core::id::RecordId;
use crdt_core::record::{Edit, Scalar};
use crdt_core::schema::{Field, FieldKind};
use crdt_core::time::Timestamp;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::harness::bare::Writing;

/// A write of a field; `target` is some record that a reference may name.
pub(super) fn writing(rng: &mut StdRng, field: &Field, target: RecordId) -> Writing {
    let key = field.key.clone();
    match &field.kind {
        FieldKind::Counter => Writing::Edit(Edit::Increment { key, by: rng.random_range(1..9) }),
        FieldKind::Text => Writing::Type { field: key, text: "note ".to_owned() },
        FieldKind::Set(kind) => {
            let Scalar::Str(member) = scalar(rng, kind, field, target) else {
                panic!("a set has words");
            };
            Writing::Edit(Edit::add(format!("{key}/{member}")))
        }
        kind => Writing::Edit(Edit::Put { key, value: scalar(rng, kind, field, target) }),
    }
}

fn scalar(rng: &mut StdRng, kind: &FieldKind, field: &Field, target: RecordId) -> Scalar {
    let number: u32 = rng.random_range(1..1_000_000);
    let least = field.validation.min.unwrap_or(0.0).max(0.0);
    let most = field.validation.max.unwrap_or(1_000_000.0);
    let text = |text: String| Scalar::Str(text);
    match kind {
        FieldKind::String => text(format!("T{number}")),
        FieldKind::Email => text(format!("p{number}@example.com")),
        FieldKind::Phone => text(format!("+1 555 {number:07}")),
        FieldKind::Url => text(format!("https://example.com/{number}")),
        FieldKind::Enum(values) => text(values.choose(rng).expect("a picklist has values").clone()),
        FieldKind::Int => {
            let value = least + f64::from(number) % (most - least + 1.0);
            #[expect(clippy::cast_possible_truncation, reason = "the schema's bounds are small")]
            Scalar::Int(value as i64)
        }
        FieldKind::Float => Scalar::Float(least + (most - least) / f64::from(number + 1)),
        FieldKind::Bool => Scalar::Bool(number.is_multiple_of(2)),
        FieldKind::Timestamp => Scalar::Timestamp(Timestamp::from_millis(i64::from(number))),
        FieldKind::Date => text(format!("2026-11-{:02}", 1 + number % 28)),
        FieldKind::Money => text(format!("{number}.00 USD")),
        FieldKind::Ref(_) => Scalar::Bytes(target.as_bytes().to_vec()),
        FieldKind::Set(_) | FieldKind::Counter | FieldKind::Text => Scalar::Null,
    }
}
