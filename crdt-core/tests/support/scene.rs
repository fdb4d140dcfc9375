//! A server with a well-used account, and the next change of somebody who has seen everything.

use crdt_core::record::{Action, Change, Edit, Op, OpId, Scalar, SeedKind, Splice, seed};

use super::history::History;
use super::server::{Server, Verdict};

/// A server with a well-used account, an honest next change of a replica that has seen everything, and the
/// history for more of them.
pub fn scene() -> (Server, Change, History) {
    let mut history = History::of_seed("account", 2, 0, 11);
    for place in 0..history.changes.len() {
        history.receive(1, place);
    }
    history.write(1, &[put("sector", "retail"), Edit::add("tags/vip".to_owned())]);
    history.splice_at(1, splice(0, 0, "hello"));
    let counter = seed(SeedKind::Counter, "visits");
    history.changes.push((counter.clone(), counter.encode()));
    history.exchange_all();
    history.write(0, &[Edit::Increment { key: "visits".to_owned(), by: 2 }]);
    history.exchange_all();
    let server = Server::with(&history);
    let next = next_of(&mut history, 0, &[put("sector", "medical")]);
    (server, next, history)
}

pub fn put(key: &str, value: &str) -> Edit {
    Edit::Put { key: key.to_owned(), value: Scalar::Str(value.to_owned()) }
}

pub fn splice(at: usize, delete: usize, insert: &str) -> Splice {
    Splice { field: "notes".to_owned(), at, delete, insert: insert.to_owned() }
}

/// What the replica would write next; the history does not keep it.
pub fn next_of(history: &mut History, who: usize, edits: &[Edit]) -> Change {
    let author = history.author(who);
    let mut cells = history.replicas[who].cells.clone();
    author.write(&mut cells, edits).remove(0).0
}

/// The same change with one operation in place of its own.
pub fn with_op(change: &Change, key: &str, action: Action, preds: &[OpId]) -> Change {
    let op = Op { key: key.to_owned(), action, preds: preds.to_vec() };
    Change { ops: vec![op], ..change.clone() }
}

pub fn preds_of(server: &Server, key: &str) -> Vec<OpId> {
    server.cells.live(key).iter().map(|op| op.id).collect()
}

/// Judges, checks that nothing moved, and gives the code of the refusal.
pub fn refusal(server: &Server, change: &Change) -> String {
    let before = server.cells.clone();
    let verdict = server.judge_claimed(change);
    assert_eq!(server.cells, before);
    match verdict {
        Verdict::Refused(reason) => reason.code().to_owned(),
        other => panic!("{other:?} for {change:?}"),
    }
}
