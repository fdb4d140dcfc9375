//! Merge rules: which of several live values a field shows, and what a conflict tells. Decided from the
//! changes' own data alone, so every replica decides alike.

use std::cmp::Ordering;

use crate::limits;
use crate::planted::{Bug, planted};
use crate::schema::MergeRule;
use crate::time::Timestamp;

use super::{Cells, DELETED, Deletion, Live, LiveOp, Money, OpId, Scalar, Value};

/// Concurrent different values of one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The values: the winner first, then by edit time, newest first. At most
    /// [`limits::CONFLICT_VALUES_SHOWN_MAX`].
    pub contenders: Vec<Contender>,
    /// Whether it waits for a person: the field's rule is `ask`.
    pub open: bool,
}

/// One value of a conflict.
#[derive(Debug, Clone, PartialEq)]
pub struct Contender {
    /// What it says.
    pub value: Value,
    /// The operation that wrote it; its actor is its author.
    pub op: OpId,
    /// When it was written.
    pub time: Timestamp,
}

/// The live operation whose value the field shows.
#[must_use]
pub fn winner<'a>(rule: &MergeRule, live: &'a [LiveOp]) -> Option<&'a LiveOp> {
    match live {
        [] => None,
        [only] => Some(only),
        several => several.iter().max_by(|a, b| compare(rule, several, a, b)),
    }
}

/// The conflict of a field, when two or more different values are live.
#[must_use]
pub fn conflict(rule: &MergeRule, live: &[LiveOp]) -> Option<Conflict> {
    let first = live.first()?;
    if live.iter().all(|op| op.value == first.value) {
        return None;
    }
    let winner = winner(rule, live)?;
    let mut others: Vec<&LiveOp> = live.iter().filter(|op| op.id != winner.id).collect();
    others.sort_by_key(|op| std::cmp::Reverse((op.time, op.id)));
    let contenders = std::iter::once(winner)
        .chain(others)
        .take(limits::CONFLICT_VALUES_SHOWN_MAX)
        .map(contender)
        .collect();
    Some(Conflict { contenders, open: matches!(rule, MergeRule::Ask) })
}

/// The conflict of a deleted document: values that its deleters had not seen. It offers to restore the
/// record with them.
#[must_use]
pub fn deletion_conflict(cells: &Cells) -> Option<Vec<(String, Contender)>> {
    let deletion = Deletion::of(cells).filter(|_| !planted(Bug::DeletionHidesEdits))?;
    let unseen: Vec<(String, Contender)> = cells
        .keys()
        .filter(|(key, _)| *key != DELETED)
        .flat_map(|(key, live)| live.iter().map(move |op| (key, op)))
        .filter(|(_, op)| op.time.as_millis() != 0 && !deletion.clock.covers(&op.id))
        .take(limits::CONFLICT_VALUES_SHOWN_MAX)
        .map(|(key, op)| (key.to_owned(), contender(op)))
        .collect();
    (!unseen.is_empty()).then_some(unseen)
}

fn contender(op: &LiveOp) -> Contender {
    let value = match &op.value {
        Live::Scalar(scalar) => scalar.clone().into(),
        Live::Text(contents) => Value::Text(contents.clone()),
    };
    Contender { value, op: op.id, time: op.time }
}

fn compare(rule: &MergeRule, all: &[LiveOp], a: &LiveOp, b: &LiveOp) -> Ordering {
    let by_rule = match rule {
        MergeRule::Latest | MergeRule::Ask => Ordering::Equal,
        MergeRule::Ranked(ranks) if planted(Bug::RankedReversed) => {
            rank(ranks, a).cmp(&rank(ranks, b))
        }
        MergeRule::Ranked(ranks) => rank(ranks, b).cmp(&rank(ranks, a)),
        MergeRule::Max => magnitude(all, a, b),
        MergeRule::Min => smallness(all, a, b),
    };
    if planted(Bug::LatestByCounter) {
        return by_rule.then_with(|| a.id.cmp(&b.id));
    }
    by_rule.then_with(|| (a.time, a.id).cmp(&(b.time, b.id)))
}

/// The place in the list; values that are not in it come after all that are.
fn rank(ranks: &[Value], op: &LiveOp) -> usize {
    let Live::Scalar(scalar) = &op.value else { return usize::MAX };
    let value = Value::from(scalar.clone());
    ranks.iter().position(|ranked| *ranked == value).unwrap_or(usize::MAX)
}

fn magnitude(all: &[LiveOp], a: &LiveOp, b: &LiveOp) -> Ordering {
    match (is_unset(a), is_unset(b)) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => value_order(all, a, b),
    }
}

/// The reverse by value, but an unset field never beats a set one.
fn smallness(all: &[LiveOp], a: &LiveOp, b: &LiveOp) -> Ordering {
    match (is_unset(a), is_unset(b)) {
        (false, false) => value_order(all, b, a),
        _ => magnitude(all, a, b),
    }
}

fn is_unset(op: &LiveOp) -> bool {
    op.value == Live::Scalar(Scalar::Null)
}

/// Values of different types or currencies are not comparable, and then none of the field's are: an order
/// that held between some pairs only would depend on which came first.
fn value_order(all: &[LiveOp], a: &LiveOp, b: &LiveOp) -> Ordering {
    if !comparable(all) {
        return Ordering::Equal;
    }
    let (Live::Scalar(a), Live::Scalar(b)) = (&a.value, &b.value) else { return Ordering::Equal };
    match (a, b) {
        (Scalar::Int(a), Scalar::Int(b)) | (Scalar::Counter(a), Scalar::Counter(b)) => a.cmp(b),
        (Scalar::Float(a), Scalar::Float(b)) => a.total_cmp(b),
        (Scalar::Timestamp(a), Scalar::Timestamp(b)) => a.cmp(b),
        (Scalar::Bool(a), Scalar::Bool(b)) => a.cmp(b),
        (Scalar::Str(a), Scalar::Str(b)) => match (a.parse::<Money>(), b.parse::<Money>()) {
            (Ok(a), Ok(b)) => a.minor().cmp(&b.minor()),
            _ => a.cmp(b),
        },
        _ => Ordering::Equal,
    }
}

fn comparable(all: &[LiveOp]) -> bool {
    let mut kinds = all.iter().filter(|op| !is_unset(op)).map(|op| match &op.value {
        Live::Text(_) => ("text", None),
        Live::Scalar(scalar) => {
            let currency = match scalar {
                Scalar::Str(text) => text.parse::<Money>().ok().map(|m| m.currency().to_owned()),
                _ => None,
            };
            (Value::from(scalar.clone()).kind(), currency)
        }
    });
    let Some(first) = kinds.next() else { return true };
    kinds.all(|kind| kind == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ActorId;

    fn op(counter: u64, actor: u8, time: i64, value: impl Into<Value>) -> LiveOp {
        let scalar = match value.into() {
            Value::Null => Scalar::Null,
            Value::Bool(b) => Scalar::Bool(b),
            Value::Int(i) => Scalar::Int(i),
            Value::Str(s) => Scalar::Str(s),
            other => panic!("not used here: {other:?}"),
        };
        LiveOp {
            id: OpId { counter, actor: ActorId([actor; 16]) },
            value: Live::Scalar(scalar),
            time: Timestamp::from_millis(time),
        }
    }

    fn shown(rule: &MergeRule, live: &[LiveOp]) -> Value {
        contender(winner(rule, live).unwrap()).value
    }

    #[test]
    fn latest_goes_by_edit_time_and_not_by_operation_counter() {
        let live = [op(3, 9, 2_000, "newer"), op(1_000, 1, 1_000, "busier")];
        assert_eq!(shown(&MergeRule::Latest, &live), Value::from("newer"));
        let tie = [op(3, 1, 1_000, "a"), op(3, 2, 1_000, "b")];
        assert_eq!(shown(&MergeRule::Latest, &tie), Value::from("b"));
    }

    #[test]
    fn ranked_takes_the_first_of_its_list_and_unlisted_values_last() {
        let rule = MergeRule::Ranked(vec![Value::from(true), Value::from(false)]);
        let live = [op(1, 1, 1, true), op(2, 2, 9, false), op(3, 3, 99, Value::Null)];
        assert_eq!(shown(&rule, &live), Value::from(true));
    }

    #[test]
    fn max_and_min_go_by_value_and_never_prefer_an_unset_field() {
        let live = [op(1, 1, 1, 70), op(2, 2, 9, 30), op(3, 3, 99, Value::Null)];
        assert_eq!(shown(&MergeRule::Max, &live), Value::from(70));
        assert_eq!(shown(&MergeRule::Min, &live), Value::from(30));
    }

    #[test]
    fn money_compares_within_one_currency_and_falls_back_to_latest_across_two() {
        let one = [op(1, 1, 5, "900.00 USD"), op(2, 2, 1, "1000.00 USD")];
        assert_eq!(shown(&MergeRule::Max, &one), Value::from("1000.00 USD"));
        let two =
            [op(1, 1, 5, "900.00 USD"), op(2, 2, 1, "1000.00 EUR"), op(3, 3, 2, "950.00 USD")];
        assert_eq!(shown(&MergeRule::Max, &two), Value::from("900.00 USD"));
    }

    #[test]
    fn equal_values_are_no_conflict_and_ask_keeps_one_open() {
        assert_eq!(conflict(&MergeRule::Latest, &[op(1, 1, 1, "x"), op(1, 2, 2, "x")]), None);
        let live = [op(1, 1, 1, "x"), op(1, 2, 2, "y")];
        let shown = conflict(&MergeRule::Ask, &live).unwrap();
        assert!(shown.open);
        assert_eq!(shown.contenders[0].value, Value::from("y"));
        assert!(!conflict(&MergeRule::Latest, &live).unwrap().open);
    }
}
