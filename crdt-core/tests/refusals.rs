//! What the door refuses in a change's header and references, each by its name and with nothing changed.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/scene.rs"]
mod scene;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/server.rs"]
mod server;

use crdt_core::id::{ActorId, ChangeHash, ReplicaId};
use crdt_core::limits;
use crdt_core::record::{Action, Change, Door, Edit, Op, OpId, Reason, Scalar};
use crdt_core::time::Timestamp;
use history::History;
use scene::{next_of, preds_of, put, refusal, scene, with_op};
use server::{Server, Verdict};

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
    assert_eq!(
        case(Change { deps: vec![ChangeHash([1; 32])], ..next.clone() }),
        "unknown_dependency"
    );
    let twice = vec![next.deps[0], next.deps[0]];
    assert_eq!(case(Change { deps: twice, ..next.clone() }), "bad_dependencies");
    let mut unsorted: Vec<ChangeHash> = server.index.hashes().copied().collect();
    unsorted.reverse();
    assert_eq!(case(Change { deps: unsorted, ..next.clone() }), "bad_dependencies");
    assert_eq!(case(Change { ops: vec![], ..next }), "not_canonical");
}

/// Automerge takes such a change, and what it saves then cannot be loaded.
#[test]
fn a_change_that_does_not_build_on_its_actor_s_last_one_is_refused() {
    let (server, next, history) = scene();
    let (other, encoded) = &history.changes[1];
    assert_ne!(other.actor, next.actor);
    let past = server.index.past(&[encoded.hash]).unwrap();
    let beside = Change { deps: vec![encoded.hash], start_op: past.max_op + 1, ..next };
    assert_eq!(refusal(&server, &beside), "bad_dependencies");
}

/// Automerge takes such a change too: a removal is nothing but a mark on what it removes, and what is saved
/// with a mark on a mark cannot be loaded.
#[test]
fn a_change_that_replaces_a_removal_is_refused_by_cells_and_by_the_document() {
    let (mut server, _, mut history) = scene();
    history.write(0, &[Edit::Remove { key: "tags/vip".to_owned() }]);
    let (removal, encoded) = history.changes.last().unwrap().clone();
    server.take(&removal, &encoded);
    let honest = next_of(&mut history, 0, &[Edit::add("tags/vip".to_owned())]);
    assert!(matches!(server.judge_claimed(&honest), Verdict::Admitted(_)));
    let removed = OpId { counter: removal.start_op, actor: removal.actor };
    let add = Action::Put(Scalar::Bool(true));
    // The test's server asks the document first and the index of what was written afterwards.
    assert_eq!(refusal(&server, &with_op(&honest, "tags/vip", add, &[removed])), "unknown_pred");
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
fn too_much_in_one_change_is_refused() {
    let (server, next, _) = scene();
    let member = |n: usize| Op {
        key: format!("tags/{n}"),
        action: Action::Put(Scalar::Bool(true)),
        preds: Vec::new(),
    };
    let many = Change { ops: (0..=limits::CHANGE_OPS_MAX).map(member).collect(), ..next.clone() };
    assert_eq!(refusal(&server, &many), "too_many");
    let full =
        Change { ops: (0..=limits::DOCUMENT_KEYS_MAX).map(member).collect(), ..next.clone() };
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
