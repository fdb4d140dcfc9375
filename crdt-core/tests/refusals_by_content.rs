//! What the door refuses in what a change says: types, values, text, seeds, creation, deletion.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/scene.rs"]
mod scene;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/server.rs"]
mod server;

use crdt_core::id::{ActorId, ReplicaId, Section};
use crdt_core::limits;
use crdt_core::record::{
    Action, Author, Cells, Change, DELETED, Door, Edit, History as Age, Op, OpId, Reason, Scalar,
    SeedKind, seed,
};
use crdt_core::time::Timestamp;
use history::History;
use scene::{next_of, preds_of, put, refusal, scene, splice, with_op};
use server::{Server, Verdict};

#[test]
fn an_operation_is_one_of_its_field_s_type() {
    let (server, next, _) = scene();
    let case =
        |key: &str, action| refusal(&server, &with_op(&next, key, action, &preds_of(&server, key)));
    let text = |value: &str| Action::Put(Scalar::Str(value.to_owned()));
    assert_eq!(case("sector", Action::Remove), "wrong_operation");
    assert_eq!(case("sector", Action::Increment(1)), "wrong_operation");
    assert_eq!(case("sector", Action::MakeText), "wrong_operation");
    assert_eq!(case("name", Action::Put(Scalar::Counter(1))), "wrong_operation");
    assert_eq!(case("name", Action::Insert { after: None, text: "x".into() }), "wrong_operation");
    assert_eq!(case("tags/vip", text("x")), "wrong_operation");
    assert_eq!(case("tags/vip", Action::Put(Scalar::Bool(false))), "wrong_operation");
    assert_eq!(case("tags/absent", Action::Remove), "wrong_operation");
    assert_eq!(case("visits", Action::Put(Scalar::Int(3))), "wrong_operation");
    assert_eq!(case("visits", Action::Put(Scalar::Counter(0))), "wrong_operation");
    assert_eq!(case("visits", Action::Remove), "wrong_operation");
    assert_eq!(case("visits", Action::Increment(limits::INCREMENT_MAX + 1)), "wrong_operation");
    assert_eq!(case("visits", Action::Increment(i64::MIN)), "wrong_operation");
    assert_eq!(
        refusal(&server, &with_op(&next, "visits", Action::Increment(1), &[])),
        "wrong_operation"
    );
    assert_eq!(case("notes", text("x")), "wrong_operation");
    assert_eq!(case("notes", Action::MakeText), "wrong_operation");
}

#[test]
fn a_value_is_of_its_field_s_type_and_within_its_limits() {
    let (server, next, _) = scene();
    let case = |key: &str, value| {
        let change = with_op(&next, key, Action::Put(value), &preds_of(&server, key));
        refusal(&server, &change)
    };
    let text = |value: &str| Scalar::Str(value.to_owned());
    assert_eq!(case("sector", text("no such sector")), "invalid");
    assert_eq!(case("sector", Scalar::Int(1)), "invalid");
    assert_eq!(case("year_established", Scalar::Int(1)), "invalid");
    assert_eq!(case("year_established", Scalar::Float(1990.0)), "invalid");
    assert_eq!(case("revenue", text("1.0 USD")), "invalid");
    assert_eq!(case("parent", Scalar::Bytes(vec![0; 15])), "invalid");
    assert_eq!(case("name", Scalar::Null), "invalid");
    assert_eq!(case("name", text(&"x".repeat(limits::VALUE_BYTES_MAX + 1))), "invalid");
    assert_eq!(case("billing.city", text("a\0b")), "invalid");
    assert_eq!(case("billing.city", text(&"x".repeat(limits::CHANGE_BYTES_MAX))), "too_large");
    let blank = with_op(&next, "tags/ ", Action::Put(Scalar::Bool(true)), &[]);
    assert_eq!(refusal(&server, &blank), "invalid");
    let (server, next) = activity();
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 91.0] {
        let change = with_op(&next, "latitude", Action::Put(Scalar::Float(odd)), &[]);
        assert_eq!(refusal(&server, &change), "invalid");
    }
}

fn activity() -> (Server, Change) {
    let mut history = History::of_seed("activity", 1, 0, 5);
    let server = Server::with(&history);
    let next = next_of(&mut history, 0, &[put("place", "Kiel")]);
    (server, next)
}

#[test]
fn a_rule_made_stricter_later_refuses_no_older_work() {
    let (mut server, next, _) = scene();
    let long = format!("tags/{}", "x".repeat(61));
    let member = with_op(&next, &long, Action::Put(Scalar::Bool(true)), &[]);
    let value = Action::Put(Scalar::Str("a sector of long ago".to_owned()));
    let sector = with_op(&next, "sector", value, &preds_of(&server, "sector"));
    let number = Action::Put(Scalar::Str("one".to_owned()));
    let number = with_op(&next, "year_established", number, &[]);
    for change in [&member, &sector, &number] {
        assert_eq!(refusal(&server, change), "invalid");
    }
    server.age = Age::Older;
    for change in [&member, &sector] {
        assert!(matches!(server.judge_claimed(change), Verdict::Admitted(_)), "{change:?}");
    }
    assert_eq!(refusal(&server, &number), "invalid");
}

#[test]
fn text_operations_name_elements_of_their_own_text_that_their_author_saw() {
    let (mut server, next, mut history) = scene();
    let author = history.replicas[1].actor;
    let ops = history.changes.iter().flat_map(|(change, _)| change.ops_with_ids());
    let first = ops.filter(|(_, op)| op.is_text()).map(|(id, _)| id).next().unwrap();
    let case = |action| refusal(&server, &with_op(&next, "notes", action, &[]));
    let insert = |after, text: &str| Action::Insert { after: Some(after), text: text.to_owned() };
    let of_name = preds_of(&server, "name")[0];
    assert_eq!(case(insert(of_name, "x")), "unknown_pred");
    assert_eq!(case(insert(OpId { counter: 1, actor: ActorId([3; 16]) }, "x")), "reference_ahead");
    assert_eq!(case(insert(OpId { counter: u64::MAX, actor: author }, "x")), "reference_ahead");
    assert_eq!(
        case(insert(OpId { counter: next.start_op, actor: next.actor }, "x")),
        "reference_ahead"
    );
    assert_eq!(case(Action::Erase { from: first, count: 6 }), "reference_ahead");
    assert_eq!(case(Action::Erase { from: of_name, count: 1 }), "unknown_pred");
    assert_eq!(case(insert(first, "a\0b")), "invalid");
    let with_pred = with_op(&next, "notes", insert(first, "x"), &[first]);
    assert_eq!(refusal(&server, &with_pred), "wrong_operation");
    // A replica erases what another has just typed and it has not seen.
    history.splice_at(1, splice(5, 0, "!"));
    let (theirs, encoded) = history.changes.last().cloned().unwrap();
    server.take(&theirs, &encoded);
    let from = OpId { counter: theirs.start_op, actor: theirs.actor };
    let unseen = with_op(&next, "notes", Action::Erase { from, count: 1 }, &[]);
    assert_eq!(refusal(&server, &unseen), "reference_ahead");
}

#[test]
fn a_text_before_its_seed_is_refused_and_one_beyond_its_bound_too() {
    let history = History::of_seed("account", 1, 0, 12);
    let mut server = Server::with(&history);
    let actor = history.replicas[0].actor;
    let insert = |server: &Server, text: String| Change {
        actor,
        seq: server.cells.seq(&actor) + 1,
        start_op: server.cells.max_op() + 1,
        time: server.now,
        deps: server.cells.heads().to_vec(),
        ops: vec![Op {
            key: "notes".to_owned(),
            action: Action::Insert { after: None, text },
            preds: Vec::new(),
        }],
    };
    assert_eq!(refusal(&server, &insert(&server, "x".to_owned())), "wrong_operation");
    let seed = seed(SeedKind::Text, "notes");
    server.take(&seed, &seed.encode());
    // The bound is reached without 100 runs through the slow door: the document is written directly.
    for _ in 0..limits::TEXT_CHARS_MAX / limits::CHANGE_OPS_MAX {
        let change = insert(&server, "x".repeat(limits::CHANGE_OPS_MAX));
        let encoded = change.encode();
        let past = server.index.past(&change.deps).unwrap();
        let mut clock = past.clock;
        clock.extend(change.actor, change.max_op());
        server.index.insert(encoded.hash, change.max_op(), clock);
        server.cells.apply(&change, encoded.hash);
        server.log.push(encoded);
    }
    let contents = server.document().text("notes").unwrap();
    server.cells.set_text("notes", contents);
    assert_eq!(refusal(&server, &insert(&server, "x".to_owned())), "text_too_long");
}

#[test]
fn a_seed_is_the_one_that_every_replica_builds_for_a_field_of_its_kind() {
    let (server, _, history) = scene();
    let case = |change: &Change| refusal(&server, change);
    assert_eq!(case(&seed(SeedKind::Text, "name")), "bad_seed");
    assert_eq!(case(&seed(SeedKind::Counter, "notes")), "bad_seed");
    assert_eq!(case(&seed(SeedKind::Text, "visits")), "bad_seed");
    assert_eq!(case(&seed(SeedKind::Counter, "shoe_size")), "unknown_field");
    assert_eq!(case(&seed(SeedKind::Counter, "credit_limit")), "wrong_section");
    assert_eq!(case(&seed(SeedKind::Counter, "Bad Key")), "illegal_key");
    let forged = Change { time: Timestamp::from_millis(1), ..seed(SeedKind::Text, "notes") };
    let judged = server.judge(&forged, &[], history.replicas[0].actor.replica());
    assert!(matches!(judged, Verdict::Refused(Reason::ActorNotYours)));
    let empty = Server::of("account", server.now);
    assert_eq!(refusal(&empty, &seed(SeedKind::Text, "notes")), "no_such_record");
    let again = seed(SeedKind::Text, "notes");
    assert!(matches!(server.judge_claimed(&again), Verdict::Held));
}

#[test]
fn a_record_begins_with_its_entity_its_time_and_its_creator() {
    let history = History::of_seed("account", 1, 0, 13);
    let (first, _) = &history.changes[0];
    let empty = Server::of("account", history.now());
    let without = |key: &str| {
        let ops = first.ops.iter().filter(|op| op.key != key).cloned().collect();
        Change { ops, ..first.clone() }
    };
    for key in ["$entity", "$created_at", "$created_by"] {
        assert_eq!(refusal(&empty, &without(key)), "not_a_record");
    }
    assert_eq!(refusal(&empty, &without("name")), "invalid");
    assert_eq!(refusal(&Server::of("contact", history.now()), first), "not_a_record");
    let mut other = first.clone();
    other.actor = ActorId([8; 16]);
    assert_eq!(refusal(&Server::with(&history), &other), "exists");
}

#[test]
fn a_deleted_record_is_restored_before_it_is_edited_unless_the_author_did_not_know() {
    let (mut server, _, mut history) = scene();
    let unknowing = next_of(&mut history, 1, &[put("sector", "energy")]);
    let clock = history.replicas[0].cells.clock().to_bytes();
    let deletion = Edit::Put { key: DELETED.to_owned(), value: Scalar::Bytes(clock) };
    let also = next_of(&mut history, 1, std::slice::from_ref(&deletion));
    history.write(0, std::slice::from_ref(&deletion));
    let (deleted, encoded) = history.changes.last().cloned().unwrap();
    server.take(&deleted, &encoded);
    let edit = next_of(&mut history, 0, &[put("sector", "medical")]);
    assert_eq!(refusal(&server, &edit), "deleted");
    let restored = next_of(
        &mut history,
        0,
        &[Edit::Remove { key: DELETED.to_owned() }, put("sector", "medical")],
    );
    assert!(matches!(server.judge_claimed(&restored), Verdict::Admitted(_)));
    assert!(matches!(server.judge_claimed(&unknowing), Verdict::Admitted(_)));
    // Somebody else deletes it as well: who knew of one of the two still knew.
    server.take(&also, &also.encode());
    assert_eq!(refusal(&server, &edit), "deleted");
}

#[test]
fn a_deletion_covers_no_more_than_its_author_saw() {
    let (server, next, history) = scene();
    let mut clock = history.replicas[0].cells.clock();
    clock.extend(next.actor, next.start_op + 50);
    let greedy = Action::Put(Scalar::Bytes(clock.to_bytes()));
    assert_eq!(refusal(&server, &with_op(&next, DELETED, greedy, &[])), "wrong_operation");
    for bad in [Scalar::Bytes(vec![1; 23]), Scalar::Null, Scalar::Bool(true)] {
        let change = with_op(&next, DELETED, Action::Put(bad), &[]);
        assert_eq!(refusal(&server, &change), "wrong_operation");
    }
}

#[test]
fn two_people_may_begin_the_same_section_at_the_same_time() {
    let finance: Section = "finance".parse().unwrap();
    let mut server = Server::of("account", Timestamp::from_millis(history::BEGIN_MS));
    server.section = finance;
    for who in 1..=2 {
        let actor = ActorId::of(ReplicaId([who; 12]), 0);
        let author = Author { actor, time: server.now };
        let mut cells = Cells::default();
        let limit = put("credit_limit", &format!("{who}00.00 USD"));
        let (change, encoded) = author.write(&mut cells, &[limit]).remove(0);
        assert_eq!(server.take(&change, &encoded).door, Door::Fast);
    }
    assert_eq!(server.cells.live("credit_limit").len(), 2);
    assert_eq!(server.cells, server.document().cells().unwrap());
    let actor = ActorId::of(ReplicaId([1; 12]), 0);
    let next = Author { actor, time: server.now };
    let mut cells = server.cells.clone();
    let edit = put("credit_limit", "5.00 USD");
    let (change, _) = next.write(&mut cells, &[edit]).remove(0);
    let rootless = Change { deps: vec![], ..change };
    assert_eq!(refusal(&server, &rootless), "no_dependencies");
}
