//! What a field shows, told a second time and as plainly as possible: a reference for the merge rules that shares
//! no code with the engine. It sorts out candidates until one is left.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crdt_core::limits;
use crdt_core::record::{Cells, DELETED, Live, LiveOp, Scalar, Value};
use crdt_core::schema::MergeRule;

/// The operation whose value a field shows.
#[must_use]
pub fn shown<'a>(rule: &MergeRule, live: &'a [LiveOp]) -> Option<&'a LiveOp> {
    let mut candidates: Vec<&LiveOp> = live.iter().collect();
    match rule {
        MergeRule::Latest | MergeRule::Ask => {}
        MergeRule::Ranked(list) => {
            let first = list.iter().find(|value| candidates.iter().any(|op| says(op, value)));
            candidates.retain(|op| first.is_none_or(|value| says(op, value)));
        }
        MergeRule::Max => keep_extreme(&mut candidates, Ordering::Greater),
        MergeRule::Min => keep_extreme(&mut candidates, Ordering::Less),
    }
    let latest = candidates.iter().map(|op| op.time).max()?;
    candidates.retain(|op| op.time == latest);
    candidates.into_iter().max_by_key(|op| (op.id.counter, op.id.actor))
}

/// What a field's conflict lists: the value that shows, then the others from the newest to the oldest. Nothing
/// while all say the same.
#[must_use]
pub fn conflict<'a>(rule: &MergeRule, live: &'a [LiveOp]) -> Option<Vec<&'a LiveOp>> {
    let winner = shown(rule, live)?;
    if live.iter().all(|op| op.value == winner.value) {
        return None;
    }
    let mut others: Vec<&LiveOp> = live.iter().filter(|op| op.id != winner.id).collect();
    others.sort_by_key(|op| (op.time, op.id.counter, op.id.actor));
    others.push(winner);
    others.reverse();
    others.truncate(limits::CONFLICT_VALUES_SHOWN_MAX);
    Some(others)
}

/// The values of a deleted document that none of its deleters had seen, by key. Nothing when it is not deleted.
#[must_use]
pub fn unseen_by_deleters(cells: &Cells) -> Vec<(&str, &LiveOp)> {
    let deletions = cells.live(DELETED);
    if deletions.is_empty() {
        return Vec::new();
    }
    let mut seen: BTreeMap<[u8; 16], u64> = BTreeMap::new();
    for op in deletions {
        let Live::Scalar(Scalar::Bytes(clock)) = &op.value else { continue };
        for entry in clock.chunks(24) {
            let (actor, counter) = entry.split_at(16);
            let counter = counter.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            let known = seen.entry(actor.try_into().expect("16 bytes were split off")).or_default();
            *known = (*known).max(counter);
        }
    }
    let unseen = |op: &LiveOp| seen.get(&op.id.actor.0).is_none_or(|seen| op.id.counter > *seen);
    let others = cells.keys().filter(|(key, _)| *key != DELETED);
    let all = others.flat_map(|(key, live)| live.iter().map(move |op| (key, op)));
    // A seed is nobody's edit.
    let edits = all.filter(|(_, op)| op.time.as_millis() != 0 && unseen(op));
    edits.take(limits::CONFLICT_VALUES_SHOWN_MAX).collect()
}

fn says(op: &LiveOp, value: &Value) -> bool {
    matches!(&op.value, Live::Scalar(scalar) if Value::from(scalar.clone()) == *value)
}

/// Keeps the largest or smallest. What is unset never stands against what is set, and what cannot be compared
/// with all others decides nothing.
fn keep_extreme(candidates: &mut Vec<&LiveOp>, wanted: Ordering) {
    let is_set = |op: &&LiveOp| op.value != Live::Scalar(Scalar::Null);
    if candidates.iter().any(is_set) {
        candidates.retain(is_set);
    }
    let sizes: Option<Vec<Size>> = candidates.iter().map(|op| Size::of(&op.value)).collect();
    let Some(sizes) = sizes else { return };
    let Some(first) = sizes.first() else { return };
    if sizes.iter().any(|size| size.unit != first.unit) {
        return;
    }
    let best = sizes.iter().fold(
        first,
        |best, size| {
            if size.compare(best) == wanted { size } else { best }
        },
    );
    let mut sizes = sizes.iter();
    candidates.retain(|_| sizes.next().is_some_and(|size| size.compare(best) == Ordering::Equal));
}

/// How large a value is, in its unit.
#[derive(Debug, Clone, PartialEq)]
struct Size {
    unit: String,
    number: i128,
    float: f64,
    text: String,
}

impl Size {
    fn of(value: &Live) -> Option<Self> {
        let Live::Scalar(scalar) = value else { return None };
        let size = |unit: &str| {
            let (number, float, text) = (0, 0.0, String::new());
            Self { unit: unit.to_owned(), number, float, text }
        };
        Some(match scalar {
            Scalar::Int(number) => Self { number: i128::from(*number), ..size("int") },
            Scalar::Counter(number) => Self { number: i128::from(*number), ..size("counter") },
            Scalar::Bool(truth) => Self { number: i128::from(*truth), ..size("bool") },
            Scalar::Timestamp(time) => Self { number: time.as_millis().into(), ..size("time") },
            Scalar::Float(float) => Self { float: *float, ..size("float") },
            Scalar::Str(text) => match money(text) {
                Some((minor, currency)) => Self { number: minor, ..size(currency) },
                None => Self { text: text.clone(), ..size("text") },
            },
            _ => return None,
        })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let floats = self.float.total_cmp(&other.float);
        self.number.cmp(&other.number).then(floats).then_with(|| self.text.cmp(&other.text))
    }
}

/// `1250.00 USD` in cents of its currency.
fn money(text: &str) -> Option<(i128, &str)> {
    let (amount, currency) = text.split_once(' ')?;
    let is_currency = currency.len() == 3 && currency.chars().all(|c| c.is_ascii_uppercase());
    let minor = amount.replace('.', "").parse().ok()?;
    is_currency.then_some((minor, currency))
}
