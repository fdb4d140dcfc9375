//! The rules of the door, one function for each question. All of them read; none changes anything.

use std::collections::BTreeSet;

use crate::limits;
use crate::record::document::is_seeded;
use crate::record::shape::{CREATED_AT, CREATED_BY, DELETED, ENTITY, MERGED_INTO};
use crate::record::{
    Action, Change, Clock, Deletion, Document, Key, Live, Op, OpId, Scalar, SeedKind, Value,
};
use crate::schema::{Field, FieldKind};

use super::{History, Reason, Situation};

/// Automerge keeps counters and sequence numbers in 32 bits; larger ones make its encoder or the next local
/// edit panic. Honest ones count edits of one record.
const COUNTER_MAX: u64 = u32::MAX as u64 / 2;

/// Is the change of bounded size, in canonical form, and its sender's to write?
pub(super) fn shape(change: &Change, situation: &Situation<'_>) -> Result<(), Reason> {
    if change.as_seed().is_none() && change.actor.replica() != situation.sender {
        return Err(Reason::ActorNotYours);
    }
    if change.ops.is_empty() || change.ops.iter().any(Op::is_empty) {
        return Err(Reason::NotCanonical { key: String::new() });
    }
    if change.ops.len() > limits::CHANGE_OPS_MAX
        || change.op_count() > limits::CHANGE_OPS_MAX as u64
    {
        return Err(Reason::TooMany { limit: limits::CHANGE_OPS_MAX });
    }
    if change.deps.len() > limits::CHANGE_DEPS_MAX || !change.deps.is_sorted_by(|a, b| a < b) {
        return Err(Reason::BadDependencies);
    }
    if change.seq == 0 || change.seq > COUNTER_MAX {
        let expected = situation.cells.seq(&change.actor) + 1;
        return Err(Reason::SeqGap { expected, got: change.seq });
    }
    if change.start_op == 0 || change.start_op.saturating_add(change.op_count()) > COUNTER_MAX {
        return Err(Reason::StartOp { expected: 1, got: change.start_op });
    }
    let mut written = BTreeSet::new();
    for op in &change.ops {
        Key::parse(&op.key)?;
        let once = op.is_text() || written.insert(op.key.as_str());
        let ordered = op.preds.is_sorted_by(|a, b| a < b);
        if largest_reference(op) > COUNTER_MAX {
            return Err(Reason::ReferenceAhead { key: op.key.clone() });
        }
        if !once || !ordered || op.preds.len() > limits::OP_PREDS_MAX {
            return Err(Reason::NotCanonical { key: op.key.clone() });
        }
    }
    let bytes: usize = change.ops.iter().map(op_bytes).sum();
    if bytes > limits::CHANGE_BYTES_MAX {
        return Err(Reason::TooLarge { limit: limits::CHANGE_BYTES_MAX });
    }
    Ok(())
}

/// The largest operation counter that an operation names; 0 when it names none.
fn largest_reference(op: &Op) -> u64 {
    let element = match &op.action {
        Action::Insert { after: Some(after), .. } => after.counter,
        Action::Erase { from, count } => from.counter.saturating_add(u64::from(*count)),
        Action::Insert { after: None, .. }
        | Action::Put(_)
        | Action::Remove
        | Action::Increment(_)
        | Action::MakeText => 0,
    };
    op.preds.iter().map(|pred| pred.counter).max().unwrap_or(0).max(element)
}

fn op_bytes(op: &Op) -> usize {
    let value = match &op.action {
        Action::Put(scalar) => scalar.byte_len(),
        Action::Insert { text, .. } => text.len(),
        Action::Remove | Action::Increment(_) | Action::MakeText | Action::Erase { .. } => 8,
    };
    op.key.len() + value
}

/// Does the change stand where it says in the document's history, and in time?
pub(super) fn causality(change: &Change, situation: &Situation<'_>) -> Result<(), Reason> {
    let cells = situation.cells;
    if change.as_seed().is_some() {
        let orphan = cells.is_empty() && situation.section.is_main();
        return if orphan { Err(Reason::NoSuchRecord) } else { Ok(()) };
    }
    let expected = cells.seq(&change.actor) + 1;
    if change.seq != expected {
        return Err(Reason::SeqGap { expected, got: change.seq });
    }
    if change.deps.is_empty() && !cells.is_empty() {
        if situation.section.is_main() {
            return Err(Reason::Exists);
        }
        // Two people who fill in a section at the same time both begin its document: no fault of theirs.
        if change.seq != 1 {
            return Err(Reason::NoDependencies);
        }
    }
    // Automerge takes a change that does not build on its actor's own last one, and saves a document that
    // nobody can load again.
    let own = OpId { counter: cells.max_op_of(&change.actor), actor: change.actor };
    if own.counter > 0 && !situation.past.clock.covers(&own) {
        return Err(Reason::BadDependencies);
    }
    let expected = situation.past.max_op.saturating_add(1);
    if change.start_op != expected {
        return Err(Reason::StartOp { expected, got: change.start_op });
    }
    if change.time.as_millis() < limits::EDIT_TIME_MS_MIN {
        return Err(Reason::ClockUnset);
    }
    let ahead_ms = change.time.since(situation.now);
    if ahead_ms > limits::CLOCK_AHEAD_MS_MAX {
        return Err(Reason::ClockAhead { ahead_ms });
    }
    Ok(())
}

/// Is each operation legal for its key, and does it replace exactly what its author saw?
pub(super) fn operations(change: &Change, situation: &Situation<'_>) -> Result<(), Reason> {
    if let Some((kind, key)) = change.as_seed() {
        return seed(kind, key, situation);
    }
    let first = situation.cells.is_empty();
    if first && situation.section.is_main() {
        creation(change, situation)?;
    }
    let past = &situation.past.clock;
    alive(change, situation, past)?;
    for op in &change.ops {
        match Key::parse(&op.key)? {
            Key::System(key) => system(op, key, first && situation.section.is_main(), past)?,
            Key::Field(_) | Key::Member { .. } => {
                let (field, member) = situation
                    .entity
                    .field_of_key(&op.key)
                    .ok_or_else(|| Reason::UnknownField { field: op.key.clone() })?;
                if field.section != *situation.section {
                    return Err(Reason::WrongSection { field: op.key.clone() });
                }
                vocabulary(op, field, member, situation)?;
            }
        }
        references(op, change, situation)?;
    }
    Ok(())
}

fn seed(kind: SeedKind, key: &str, situation: &Situation<'_>) -> Result<(), Reason> {
    let unknown = || Reason::UnknownField { field: key.to_owned() };
    let (field, _) = situation.entity.field_of_key(key).ok_or_else(unknown)?;
    if field.section != *situation.section {
        return Err(Reason::WrongSection { field: key.to_owned() });
    }
    match (kind, &field.kind) {
        (SeedKind::Counter, FieldKind::Counter) | (SeedKind::Text, FieldKind::Text) => Ok(()),
        _ => Err(Reason::BadSeed { field: key.to_owned() }),
    }
}

/// The first change of a record names its entity, time and creator, and sets what is required.
fn creation(change: &Change, situation: &Situation<'_>) -> Result<(), Reason> {
    let put = |key: &str| {
        change.ops.iter().find(|op| op.key == key).map(|op| match &op.action {
            Action::Put(scalar) => Some(scalar),
            _ => None,
        })
    };
    let named =
        matches!(put(ENTITY), Some(Some(Scalar::Str(name))) if *name == situation.entity.name);
    let at = matches!(put(CREATED_AT), Some(Some(Scalar::Timestamp(_))));
    let by = matches!(put(CREATED_BY), Some(Some(Scalar::Bytes(bytes))) if bytes.len() == 16);
    if !(named && at && by) {
        return Err(Reason::NotARecord);
    }
    if situation.history == History::Older {
        return Ok(());
    }
    let fields = situation.entity.fields.iter().filter(|field| field.section.is_main());
    for field in fields.filter(|field| field.validation.required) {
        if put(&field.key).is_none() {
            let violation = crate::schema::Violation::Required;
            return Err(Reason::Invalid { field: field.key.clone(), violation });
        }
    }
    Ok(())
}

/// Editing a record that its author knew to be deleted is refused, unless the edit restores it.
fn alive(change: &Change, situation: &Situation<'_>, past: &Clock) -> Result<(), Reason> {
    let Some(deletion) = Deletion::of(situation.cells) else { return Ok(()) };
    let seen = deletion.ops.iter().any(|op| past.covers(op));
    let touches = change.ops.iter().any(|op| op.key == DELETED);
    if seen && !touches { Err(Reason::Deleted) } else { Ok(()) }
}

fn system(op: &Op, key: &str, creating: bool, past: &Clock) -> Result<(), Reason> {
    let legal = match (key, &op.action) {
        (ENTITY | CREATED_AT | CREATED_BY, Action::Put(_)) => creating,
        (DELETED, Action::Remove) => true,
        (DELETED, Action::Put(Scalar::Bytes(bytes))) => {
            let clock = Clock::from_bytes(bytes).ok_or_else(|| wrong(op))?;
            clock.iter().all(|(actor, counter)| past.covers(&OpId { counter, actor: *actor }))
        }
        (MERGED_INTO, Action::Put(Scalar::Bytes(bytes))) => bytes.len() == 16,
        _ => false,
    };
    if legal { Ok(()) } else { Err(wrong(op)) }
}

fn wrong(op: &Op) -> Reason {
    Reason::WrongOperation { field: op.key.clone() }
}

/// Is the operation one of the field's type, and its value legal?
fn vocabulary(
    op: &Op,
    field: &Field,
    member: Option<&str>,
    situation: &Situation<'_>,
) -> Result<(), Reason> {
    let invalid = |violation| Reason::Invalid { field: field.key.clone(), violation };
    match (&field.kind, member, &op.action) {
        (FieldKind::Set(_), Some(member), Action::Put(Scalar::Bool(true))) => {
            let checked = match situation.history {
                History::Current => field.check_member(member),
                History::Older => field.check_member_type(member),
            };
            checked.map_err(invalid)
        }
        (FieldKind::Set(_), Some(_), Action::Remove) => Ok(()),
        (FieldKind::Counter, None, Action::Increment(by)) => {
            let seeded = is_seeded(situation.cells, SeedKind::Counter, &field.key);
            let bounded = by.unsigned_abs() <= limits::INCREMENT_MAX.unsigned_abs();
            if seeded && bounded { Ok(()) } else { Err(wrong(op)) }
        }
        (FieldKind::Text, None, Action::Insert { .. } | Action::Erase { .. }) => {
            if !is_seeded(situation.cells, SeedKind::Text, &field.key) {
                return Err(wrong(op));
            }
            match &op.action {
                Action::Insert { text, .. } if text.contains('\0') => {
                    Err(invalid(crate::schema::Violation::Nul))
                }
                _ => Ok(()),
            }
        }
        (FieldKind::Set(_) | FieldKind::Counter | FieldKind::Text, ..) => Err(wrong(op)),
        (_, None, Action::Put(scalar)) if !matches!(scalar, Scalar::Counter(_)) => {
            let value = Value::from(scalar.clone());
            let checked = match situation.history {
                History::Current => field.check(&value),
                History::Older => field.check_type(&value),
            };
            checked.map_err(invalid)
        }
        _ => Err(wrong(op)),
    }
}

/// Do the predecessors lie in the past, and is no live value left out that its author had seen?
fn references(op: &Op, change: &Change, situation: &Situation<'_>) -> Result<(), Reason> {
    let past = &situation.past.clock;
    if let Some(pred) = op.preds.iter().find(|pred| !past.covers(pred)) {
        let exists = situation.cells.max_op_of(&pred.actor) >= pred.counter;
        let key = op.key.clone();
        return Err(if exists {
            Reason::ReferenceAhead { key }
        } else {
            Reason::UnknownPred { key }
        });
    }
    if op.preds.iter().any(|pred| pred.counter >= change.start_op) {
        return Err(Reason::ReferenceAhead { key: op.key.clone() });
    }
    let live = situation.cells.live(&op.key);
    let replaced = |id: &OpId| op.preds.contains(id);
    match &op.action {
        // Automerge keeps a removal only as a mark on what it removes: after one of nothing, the document
        // cannot be loaded any more.
        Action::Remove if op.preds.is_empty() => return Err(wrong(op)),
        Action::Put(_) | Action::Remove => {
            if live.iter().any(|value| past.covers(&value.id) && !replaced(&value.id)) {
                return Err(Reason::MissingPred { key: op.key.clone() });
            }
        }
        Action::Increment(_) => {
            let counter = |id: &OpId| {
                let found = live.iter().find(|value| value.id == *id);
                found.is_some_and(|v| matches!(v.value, Live::Scalar(Scalar::Counter(_))))
            };
            if op.preds.len() != 1 || !op.preds.iter().all(counter) {
                return Err(wrong(op));
            }
        }
        Action::MakeText | Action::Insert { .. } | Action::Erase { .. } => {
            if !op.preds.is_empty() {
                return Err(wrong(op));
            }
        }
    }
    Ok(())
}

/// Does each text operation name elements that are in the text and that its author can have seen?
pub(super) fn elements(
    change: &Change,
    document: &Document,
    situation: &Situation<'_>,
) -> Result<(), Reason> {
    let past = &situation.past.clock;
    if !change.touches_text() {
        return Ok(());
    }
    let inserted = document.inserted_elements();
    for (id, op) in change.ops_with_ids() {
        let (first, count) = match &op.action {
            Action::Insert { after: None, .. } => continue,
            Action::Insert { after: Some(after), .. } => (*after, 1),
            Action::Erase { from, count } => (*from, u64::from(*count)),
            Action::Put(_) | Action::Remove | Action::Increment(_) | Action::MakeText => continue,
        };
        let ahead = || Reason::ReferenceAhead { key: op.key.clone() };
        let last =
            OpId { counter: first.counter.checked_add(count - 1).ok_or_else(ahead)?, ..first };
        if last.counter >= id.counter {
            return Err(ahead());
        }
        if first.actor == change.actor && first.counter >= change.start_op {
            let own = change.ops_with_ids().any(|(start, other)| {
                let inserted = matches!(other.action, Action::Insert { .. }) && other.key == op.key;
                let span = start.counter..start.counter + other.len();
                inserted && span.contains(&first.counter) && span.contains(&last.counter)
            });
            if own { continue } else { return Err(ahead()) }
        }
        if !past.covers(&last) {
            return Err(ahead());
        }
        for counter in first.counter..=last.counter {
            let element = OpId { counter, actor: first.actor };
            if inserted.get(&element) != Some(&op.key) {
                return Err(Reason::UnknownPred { key: op.key.clone() });
            }
        }
    }
    Ok(())
}
