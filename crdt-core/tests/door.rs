//! The door: everything honest passes by the expected way, everything else is refused by name, and nothing
//! that passes leaves a document that cannot be read.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;
#[path = "support/mutation.rs"]
mod mutation;
#[path = "support/server.rs"]
mod server;

use automerge::transaction::{CommitOptions, Transactable};
use crdt_core::id::{ActorId, ChangeHash, ReplicaId, Section};
use crdt_core::limits;
use crdt_core::record::document::Purpose;
use crdt_core::record::{
    Action, Author, Cells, Change, DELETED, Document, Door, Edit, History as Age, Op, OpId, Reason,
    Scalar, SeedKind, Splice, seed,
};
use crdt_core::time::Timestamp;
use history::random::{Random, cases};
use history::{History, causal_order};
use server::{Server, Verdict};

#[test]
fn everything_honest_passes_in_any_causal_order_and_by_the_expected_door() {
    let (mut fast, mut slow) = (0, 0);
    for seed in 0..40 * cases() as u64 {
        let entity = ["account", "opportunity", "case", "activity"][seed as usize % 4];
        let history = History::of_seed(entity, 4, 40, seed);
        let order = causal_order(&history.changes, &mut Random::new(seed));
        let mut server = Server::of(entity, history.now());
        for place in order {
            let (change, encoded) = &history.changes[place];
            let live = |op: &Op| {
                let live = server.cells.live(&op.key);
                op.preds.iter().all(|pred| live.iter().any(|value| value.id == *pred))
            };
            let expected = match change.touches_text() || !change.ops.iter().all(live) {
                true => Door::Slow,
                false => Door::Fast,
            };
            let admitted = server.take(change, encoded);
            assert_eq!(admitted.encoded, *encoded, "seed {seed}");
            assert_eq!(admitted.door, expected, "seed {seed}: {change:?}");
            match admitted.door {
                Door::Fast => fast += 1,
                Door::Slow => slow += 1,
            }
        }
        assert_eq!(server.cells, server.document().cells().unwrap(), "seed {seed}");
    }
    assert!(fast > 300 && slow > 100, "{fast} fast, {slow} slow: too few to mean anything");
}

#[test]
fn nothing_that_passes_leaves_a_document_that_cannot_be_read() {
    let wanted = 20_000 * cases();
    let (mut tried, mut admitted, mut seed) = (0, 0, 0);
    while tried < wanted {
        let history = History::of_seed(["account", "opportunity"][seed as usize % 2], 3, 25, seed);
        let mut random = Random::new(seed ^ 0xBAD);
        let mut server = Server::of(&history.entity.name, history.now());
        for (change, encoded) in &history.changes {
            for _ in 0..16 {
                let mutated = mutation::mutate(change, &history, &mut random);
                tried += 1;
                let before = server.cells.clone();
                if let Verdict::Admitted(passed) = server.judge_claimed(&mutated) {
                    admitted += 1;
                    assert_readable(&server, &mutated, &passed.encoded.bytes, &passed.cells, seed);
                }
                assert_eq!(server.cells, before, "judging changes nothing");
            }
            server.take(change, encoded);
        }
        seed += 1;
    }
    assert!(admitted > wanted / 100, "{admitted} of {tried} passed: too few to mean anything");
}

/// The document with the change loads, has these cells, and takes another local edit of Automerge's own.
fn assert_readable(server: &Server, change: &Change, bytes: &[u8], cells: &Cells, seed: u64) {
    let case = || format!("seed {seed}: {change:?}");
    let mut document = server.document();
    document.apply(&change.encode()).unwrap_or_else(|e| panic!("{e}: {}", case()));
    assert_eq!(change.encode().bytes, bytes, "{}", case());
    assert_eq!(document.cells().unwrap(), *cells, "{}", case());
    let saved = document.save().unwrap();
    let again = Document::load(Purpose::Verify, Some(&saved), []).unwrap_or_else(|e| {
        panic!("{e}: {}", case());
    });
    assert_eq!(again.cells().unwrap(), *cells, "{}", case());
    let mut real = automerge::Automerge::load(&saved).unwrap();
    let mut transaction = real.transaction();
    transaction.put(automerge::ROOT, "probe", 1).unwrap();
    transaction.commit_with(CommitOptions::default());
    assert!(automerge::Automerge::load(&real.save()).is_ok(), "{}", case());
}

/// A server with a well-used account, an honest next change of a replica that has seen everything, and the
/// history for more of them.
fn scene() -> (Server, Change, History) {
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

fn put(key: &str, value: &str) -> Edit {
    Edit::Put { key: key.to_owned(), value: Scalar::Str(value.to_owned()) }
}

fn splice(at: usize, delete: usize, insert: &str) -> Splice {
    Splice { field: "notes".to_owned(), at, delete, insert: insert.to_owned() }
}

/// What the replica would write next; the history does not keep it.
fn next_of(history: &mut History, who: usize, edits: &[Edit]) -> Change {
    let author = history.author(who);
    let mut cells = history.replicas[who].cells.clone();
    author.write(&mut cells, edits).remove(0).0
}

/// The same change with one operation in place of its own.
fn with_op(change: &Change, key: &str, action: Action, preds: &[OpId]) -> Change {
    let op = Op { key: key.to_owned(), action, preds: preds.to_vec() };
    Change { ops: vec![op], ..change.clone() }
}

fn preds_of(server: &Server, key: &str) -> Vec<OpId> {
    server.cells.live(key).iter().map(|op| op.id).collect()
}

/// Judges, checks that nothing moved, and gives the code of the refusal.
fn refusal(server: &Server, change: &Change) -> String {
    let before = server.cells.clone();
    let verdict = server.judge_claimed(change);
    assert_eq!(server.cells, before);
    match verdict {
        Verdict::Refused(reason) => reason.code().to_owned(),
        other => panic!("{other:?} for {change:?}"),
    }
}

#[test]
fn the_next_change_of_the_scene_is_honest() {
    let (server, next, _) = scene();
    assert!(matches!(server.judge_claimed(&next), Verdict::Admitted(_)));
}

#[test]
fn a_header_that_does_not_follow_from_the_past_is_refused() {
    let (server, next, _) = scene();
    let case = |change: Change| refusal(&server, &change);
    assert_eq!(case(Change { seq: 0, ..next.clone() }), "seq_gap");
    assert_eq!(case(Change { seq: next.seq + 1, ..next.clone() }), "seq_gap");
    assert_eq!(case(Change { seq: u64::MAX, ..next.clone() }), "seq_gap");
    assert_eq!(case(Change { start_op: 0, ..next.clone() }), "start_op");
    assert_eq!(case(Change { start_op: next.start_op + 1, ..next.clone() }), "start_op");
    assert_eq!(case(Change { start_op: u64::from(u32::MAX), ..next.clone() }), "start_op");
    assert_eq!(case(Change { start_op: u64::MAX, ..next.clone() }), "start_op");
    assert_eq!(case(Change { deps: vec![], ..next.clone() }), "exists");
    assert_eq!(case(Change { deps: vec![ChangeHash([1; 32])], ..next.clone() }), "unknown_dependency");
    let twice = vec![next.deps[0], next.deps[0]];
    assert_eq!(case(Change { deps: twice, ..next.clone() }), "bad_dependencies");
    let mut unsorted: Vec<ChangeHash> = server.index.hashes().copied().collect();
    unsorted.reverse();
    assert_eq!(case(Change { deps: unsorted, ..next.clone() }), "bad_dependencies");
    assert_eq!(case(Change { ops: vec![], ..next }), "not_canonical");
}

#[test]
fn a_sequence_number_that_is_taken_is_told_from_a_new_one() {
    let (server, next, _) = scene();
    let taken = Change { seq: 1, ..next };
    assert!(matches!(server.judge_claimed(&taken), Verdict::Held));
}

#[test]
fn another_replica_s_actor_is_refused_and_a_wrong_claim_too() {
    let (server, next, _) = scene();
    let claim = next.encode().hash.0;
    let judged = |claim: &[u8], sender| match server.judge(&next, claim, sender) {
        Verdict::Refused(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(judged(&claim[..4], ReplicaId([9; 12])), Reason::ActorNotYours);
    let own = next.actor.replica();
    assert_eq!(judged(&[0; 4], own), Reason::HashMismatch);
    assert_eq!(judged(&claim[..3], own), Reason::HashMismatch);
    assert_eq!(judged(&[], own), Reason::HashMismatch);
    let longer = [&claim[..], &[0]].concat();
    assert_eq!(judged(&longer, own), Reason::HashMismatch);
}

#[test]
fn the_clock_is_bounded_on_both_sides() {
    let (server, next, _) = scene();
    let at = |time: i64| Change { time: Timestamp::from_millis(time), ..next.clone() };
    let edge = server.now.plus_millis(limits::CLOCK_AHEAD_MS_MAX).as_millis();
    assert!(matches!(server.judge_claimed(&at(edge)), Verdict::Admitted(_)));
    assert_eq!(refusal(&server, &at(edge + 1)), "clock_ahead");
    assert_eq!(refusal(&server, &at(i64::MAX)), "clock_ahead");
    assert!(matches!(server.judge_claimed(&at(limits::EDIT_TIME_MS_MIN)), Verdict::Admitted(_)));
    for unset in [limits::EDIT_TIME_MS_MIN - 1, 0, -1, i64::MIN] {
        assert_eq!(refusal(&server, &at(unset)), "clock_unset");
    }
}

#[test]
fn predecessors_are_what_the_author_saw_and_nothing_else() {
    let (server, next, history) = scene();
    let retail = Action::Put(Scalar::Str("retail".to_owned()));
    let seen = preds_of(&server, "sector");
    let case = |preds: &[OpId]| refusal(&server, &with_op(&next, "sector", retail.clone(), preds));
    assert_eq!(case(&[]), "missing_pred");
    let stranger = OpId { counter: 1, actor: ActorId([5; 16]) };
    assert_eq!(case(&[stranger]), "unknown_pred");
    let of_name = preds_of(&server, "name")[0];
    assert_eq!(case(&[of_name, seen[0]]), "unknown_pred");
    let own = OpId { counter: next.start_op, actor: next.actor };
    assert_eq!(case(&[seen[0], own]), "unknown_pred");
    assert_eq!(case(&[seen[0], seen[0]]), "not_canonical");
    assert_eq!(case(&[seen[0], of_name]), "not_canonical");
    let many: Vec<OpId> = (0..=limits::OP_PREDS_MAX as u64)
        .map(|counter| OpId { counter: counter + 1, actor: seen[0].actor })
        .collect();
    assert_eq!(case(&many), "not_canonical");
    let wild = OpId { counter: u64::MAX, actor: seen[0].actor };
    assert_eq!(case(&[seen[0], wild]), "reference_ahead");
    let unseen = unseen_pred(&server, history);
    assert_eq!(unseen, "reference_ahead");
}

/// A change names a value that another replica wrote and its author has not seen.
fn unseen_pred(server: &Server, mut history: History) -> String {
    let mut server = server.clone();
    let mine = next_of(&mut history, 0, &[put("sector", "medical")]);
    let theirs = next_of(&mut history, 1, &[put("sector", "energy")]);
    server.take(&theirs, &theirs.encode());
    let value = Action::Put(Scalar::Str("retail".to_owned()));
    refusal(&server, &with_op(&mine, "sector", value, &preds_of(&server, "sector")))
}

#[test]
fn a_value_overwritten_meanwhile_takes_the_slow_door_and_an_invented_one_none() {
    let (mut server, _, mut history) = scene();
    let mine = next_of(&mut history, 0, &[put("sector", "medical")]);
    let theirs = next_of(&mut history, 1, &[put("sector", "energy")]);
    server.take(&theirs, &theirs.encode());
    assert_eq!(server.take(&mine, &mine.encode()).door, Door::Slow);
    assert_eq!(server.cells.live("sector").len(), 2);
    let (server, next, history) = scene();
    let of_tag = history.changes.iter().flat_map(|(change, _)| change.ops_with_ids());
    let of_tag = of_tag.filter(|(_, op)| op.key == "$created_at").map(|(id, _)| id).next().unwrap();
    let preds = [of_tag, preds_of(&server, "sector")[0]];
    let value = Action::Put(Scalar::Str("retail".to_owned()));
    assert_eq!(refusal(&server, &with_op(&next, "sector", value, &preds)), "unknown_pred");
}

#[test]
fn a_key_is_written_once_and_spelt_by_the_rules() {
    let (server, next, _) = scene();
    let text = |value: &str| Action::Put(Scalar::Str(value.to_owned()));
    let twice = Change { ops: vec![next.ops[0].clone(), next.ops[0].clone()], ..next.clone() };
    assert_eq!(refusal(&server, &twice), "not_canonical");
    let long = "x".repeat(limits::KEY_BYTES_MAX + 1);
    for bad in ["", "Name", "a\0b", "tags/", "$own", "a.b.c", "1st", &long] {
        assert_eq!(refusal(&server, &with_op(&next, bad, text("x"), &[])), "illegal_key", "{bad}");
    }
    for unknown in ["shoe_size", "tags", "name/x", "billing.planet"] {
        assert_eq!(refusal(&server, &with_op(&next, unknown, text("x"), &[])), "unknown_field");
    }
    let money = text("10.00 USD");
    assert_eq!(refusal(&server, &with_op(&next, "credit_limit", money, &[])), "wrong_section");
    for system in ["$entity", "$created_at", "$created_by"] {
        let preds = preds_of(&server, system);
        let again = with_op(&next, system, text("account"), &preds);
        assert_eq!(refusal(&server, &again), "wrong_operation", "{system}");
    }
    let merged = with_op(&next, "$merged_into", Action::Put(Scalar::Bytes(vec![1; 15])), &[]);
    assert_eq!(refusal(&server, &merged), "wrong_operation");
}

#[test]
fn an_operation_is_one_of_its_field_s_type() {
    let (server, next, _) = scene();
    let case = |key: &str, action| {
        refusal(&server, &with_op(&next, key, action, &preds_of(&server, key)))
    };
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
    assert_eq!(refusal(&server, &with_op(&next, "visits", Action::Increment(1), &[])), "wrong_operation");
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
fn too_much_in_one_change_is_refused() {
    let (server, next, _) = scene();
    let member = |n: usize| Op {
        key: format!("tags/{n}"),
        action: Action::Put(Scalar::Bool(true)),
        preds: Vec::new(),
    };
    let many = Change { ops: (0..=limits::CHANGE_OPS_MAX).map(member).collect(), ..next.clone() };
    assert_eq!(refusal(&server, &many), "too_many");
    let full = Change { ops: (0..=limits::DOCUMENT_KEYS_MAX).map(member).collect(), ..next.clone() };
    assert_eq!(refusal(&server, &full), "document_full");
    let from = OpId { counter: 1, actor: next.actor };
    let bomb = with_op(&next, "notes", Action::Erase { from, count: u32::MAX }, &[]);
    assert_eq!(refusal(&server, &bomb), "too_many");
    let nothing = with_op(&next, "notes", Action::Erase { from, count: 0 }, &[]);
    assert_eq!(refusal(&server, &nothing), "not_canonical");
    let empty = with_op(&next, "notes", Action::Insert { after: None, text: String::new() }, &[]);
    assert_eq!(refusal(&server, &empty), "not_canonical");
    let deps = (0..=limits::CHANGE_DEPS_MAX).map(|n| {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(n as u64).to_be_bytes());
        ChangeHash(hash)
    });
    let wide = Change { deps: deps.collect(), ..next };
    let judged = server.judge_after(&wide, &[], wide.actor.replica(), &Default::default());
    assert!(matches!(judged, Verdict::Refused(Reason::BadDependencies)));
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
    assert_eq!(case(insert(OpId { counter: next.start_op, actor: next.actor }, "x")), "reference_ahead");
    assert_eq!(case(Action::Erase { from: first, count: 6 }), "reference_ahead");
    assert_eq!(case(Action::Erase { from: of_name, count: 1 }), "unknown_pred");
    assert_eq!(case(insert(first, "a\0b")), "invalid");
    let with_pred = with_op(&next, "notes", insert(first, "x"), &[first]);
    assert_eq!(refusal(&server, &with_pred), "unknown_pred");
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
