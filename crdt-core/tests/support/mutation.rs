//! Honest changes made dishonest: what a hostile client could send in our own message.

use crdt_core::id::{ActorId, ChangeHash};
use crdt_core::record::{Action, Change, Op, OpId, Scalar};
use crdt_core::time::Timestamp;

use super::history::History;
use super::history::random::Random;

/// One to three random changes to a change. The actor stays its sender's own, or the door asks nothing more.
pub fn mutate(change: &Change, history: &History, random: &mut Random) -> Change {
    let mut mutated = change.clone();
    for _ in 0..=random.below(3) {
        match random.below(10) {
            0 => mutated.seq = number(mutated.seq, random),
            1 => mutated.start_op = number(mutated.start_op, random),
            2 => mutated.time = Timestamp::from_millis(time(mutated.time.as_millis(), random)),
            3 => deps(&mut mutated.deps, history, random),
            4 => incarnation(&mut mutated.actor, random),
            _ => ops(&mut mutated, history, random),
        }
    }
    mutated
}

fn number(was: u64, random: &mut Random) -> u64 {
    match random.below(6) {
        0 => was.wrapping_add(1),
        1 => was.wrapping_sub(1),
        2 => u64::from(u32::MAX) - random.below(3) as u64,
        3 => u64::MAX - random.below(3) as u64,
        4 => random.below(40) as u64,
        _ => random.next(),
    }
}

fn time(was: i64, random: &mut Random) -> i64 {
    match random.below(5) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => 0,
        3 => was.wrapping_add(random.below(10_000) as i64),
        _ => random.next() as i64,
    }
}

fn incarnation(actor: &mut ActorId, random: &mut Random) {
    *actor = ActorId::of(actor.replica(), random.next() as u32);
}

fn deps(deps: &mut Vec<ChangeHash>, history: &History, random: &mut Random) {
    match random.below(5) {
        0 => deps.clear(),
        1 => drop(deps.pop()),
        2 => deps.push(ChangeHash(random.bytes())),
        3 => deps.reverse(),
        _ => {
            deps.push(random.pick(&history.changes).1.hash);
            deps.sort_unstable();
            deps.dedup();
        }
    }
}

fn ops(change: &mut Change, history: &History, random: &mut Random) {
    if change.ops.is_empty() {
        return;
    }
    let place = random.below(change.ops.len());
    match random.below(9) {
        0 => drop(change.ops.remove(place)),
        1 => {
            let other = random.below(change.ops.len());
            change.ops.swap(place, other);
        }
        2 => {
            let op = change.ops[place].clone();
            change.ops.push(op);
        }
        3 => change.ops.push(foreign_op(history, random)),
        4 => change.ops[place].key = key(history, random),
        5 | 6 => change.ops[place].action = action(history, random),
        _ => preds(&mut change.ops[place], history, random),
    }
}

/// An operation of another change of the record.
fn foreign_op(history: &History, random: &mut Random) -> Op {
    let (change, _) = random.pick(&history.changes);
    random.pick(&change.ops).clone()
}

fn key(history: &History, random: &mut Random) -> String {
    let fields = &history.entity.fields;
    match random.below(6) {
        0 => format!("{}/x", random.pick(fields).key),
        1 => (*random.pick(&["$deleted", "$entity", "$merged_into", "$", ""])).to_owned(),
        2 => String::from_utf8_lossy(&random.bytes::<6>()).into_owned(),
        _ => random.pick(fields).key.clone(),
    }
}

fn preds(op: &mut Op, history: &History, random: &mut Random) {
    match random.below(6) {
        0 => op.preds.clear(),
        1 => drop(op.preds.pop()),
        2 => op.preds.reverse(),
        3 => op.preds.extend(op.preds.clone()),
        _ => {
            op.preds.push(op_id(history, random));
            op.preds.sort_unstable();
        }
    }
}

/// An operation of the record, of its future, or of nobody's.
fn op_id(history: &History, random: &mut Random) -> OpId {
    let (change, _) = random.pick(&history.changes);
    let inside = change.start_op + random.below(change.op_count() as usize) as u64;
    match random.below(6) {
        0 => OpId { counter: number(inside, random), actor: change.actor },
        1 => OpId { counter: inside, actor: ActorId(random.bytes()) },
        _ => OpId { counter: inside, actor: change.actor },
    }
}

fn action(history: &History, random: &mut Random) -> Action {
    match random.below(8) {
        0 => Action::Remove,
        1 => Action::Increment(*random.pick(&[0, 1, -1, 1_000_000_000_001, i64::MIN, i64::MAX])),
        2 => Action::MakeText,
        3 => {
            let after = (!random.once_in(3)).then(|| op_id(history, random));
            let text = *random.pick(&["x", "日本", "", "a\0", "🙂🙂"]);
            Action::Insert { after, text: text.to_owned() }
        }
        4 => {
            let count = *random.pick(&[0, 1, 2, 5, 999, u32::MAX]);
            Action::Erase { from: op_id(history, random), count }
        }
        _ => Action::Put(scalar(random)),
    }
}

fn scalar(random: &mut Random) -> Scalar {
    match random.below(9) {
        0 => Scalar::Null,
        1 => Scalar::Bool(random.once_in(2)),
        2 => Scalar::Int(*random.pick(&[0, 1, 1990, i64::MIN, i64::MAX])),
        3 => Scalar::Float(*random.pick(&[0.0, -0.0, 0.5, f64::NAN, f64::INFINITY])),
        4 => Scalar::Str((*random.pick(&["", "retail", "won", "1.00 USD", "a\0b"])).to_owned()),
        5 => Scalar::Timestamp(Timestamp::from_millis(time(0, random))),
        6 => Scalar::Bytes(vec![1; *random.pick(&[0, 15, 16, 24, 48, 9_000])]),
        7 => Scalar::Counter(random.below(3) as i64),
        _ => Scalar::Str("x".repeat(random.below(9_000))),
    }
}
