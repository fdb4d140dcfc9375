//! The laws of merging, on generated histories, with Automerge as the oracle.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;

use automerge::ReadDoc;
use automerge::transaction::{CommitOptions, Transactable};
use crdt_core::id::{ActorId, ChangeHash};
use crdt_core::record::document::Purpose;
use crdt_core::record::{
    Author, Cells, Change, DELETED, Document, Edit, EncodedChange, Live, LiveOp, Scalar, Value,
    conflict, deletion_conflict, hydrate, reconcile, winner,
};
use crdt_core::schema::{FieldKind, MergeRule};
use history::random::{Random, cases};
use history::{History, Step, What, causal_order, values};
use proptest::prelude::*;

const ENTITIES: [&str; 4] = ["account", "opportunity", "case", "activity"];

fn steps(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    let what = proptest::sample::select(&What::ALL[..]);
    let step =
        (0..4_usize, what, any::<u64>()).prop_map(|(who, what, dice)| Step { who, what, dice });
    proptest::collection::vec(step, 1..longest)
}

fn history() -> impl Strategy<Value = History> {
    let entity = proptest::sample::select(&ENTITIES[..]);
    (entity, 2..=4_usize, any::<u64>(), steps(40)).prop_map(|(entity, replicas, seed, steps)| {
        let mut history = History::new(entity, replicas, &mut Random::new(seed));
        steps.iter().for_each(|step| history.step(step));
        history
    })
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, {} replicas", self.entity.name, self.replicas.len())?;
        self.changes.iter().try_for_each(|(change, _)| writeln!(f, "{change:?}"))
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 60 * u32::try_from(cases()).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

/// The cells after these changes, in this order, each delivered twice; texts as the document has them.
fn deliver(changes: &[(Change, EncodedChange)], order: &[usize], document: &Document) -> Cells {
    let mut cells = Cells::default();
    for place in order.iter().flat_map(|place| [place, place]) {
        let (change, encoded) = &changes[*place];
        if !cells.holds(change) {
            cells.apply(change, encoded.hash);
        }
        assert!(cells.holds(change));
    }
    for field in cells.text_objects().into_values() {
        let contents = document.text(&field).unwrap();
        cells.set_text(&field, contents);
    }
    cells
}

fn load(changes: &[(Change, EncodedChange)]) -> Document {
    let bytes = changes.iter().map(|(_, encoded)| &encoded.bytes[..]);
    Document::load(Purpose::Verify, None, bytes).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_causal_order_gives_the_cells_that_automerge_has(
        history in history(), seed: u64
    ) {
        let document = load(&history.changes);
        let truth = document.cells().unwrap();
        for turn in 0..4 {
            let order = causal_order(&history.changes, &mut Random::new(seed ^ turn));
            prop_assert_eq!(&deliver(&history.changes, &order, &document), &truth);
        }
        let mut oracle = automerge::Automerge::new();
        let changes = history.changes.iter().map(|(_, e)| automerge::Change::try_from(&e.bytes[..]));
        oracle.apply_changes(changes.map(Result::unwrap)).unwrap();
        let mut heads: Vec<_> = oracle.get_heads().iter().map(|h| ChangeHash(h.0)).collect();
        heads.sort_unstable();
        prop_assert_eq!(truth.heads(), heads);
        assert_agrees(&truth, &oracle);
    }

    #[test]
    fn a_replica_s_cells_are_its_document_s_at_every_moment(history in history()) {
        for replica in &history.replicas {
            prop_assert_eq!(&replica.document.cells().unwrap(), &replica.cells);
            let saved = replica.document.save().unwrap();
            let again = Document::load(Purpose::Verify, Some(&saved), []).unwrap();
            prop_assert_eq!(&again.cells().unwrap(), &replica.cells);
        }
    }

    #[test]
    fn replicas_that_exchanged_everything_show_the_same(history in history()) {
        let mut history = history;
        history.exchange_all();
        let first = history.replicas[0].cells.clone();
        for replica in &history.replicas[1..] {
            prop_assert_eq!(&replica.cells, &first);
            prop_assert_eq!(hydrate(&replica.cells, history.entity), hydrate(&first, history.entity));
            prop_assert_eq!(deletion_conflict(&replica.cells), deletion_conflict(&first));
        }
    }

    #[test]
    fn a_winner_does_not_depend_on_the_order_in_which_values_are_named(
        history in history(), seed: u64
    ) {
        let document = load(&history.changes);
        let cells = document.cells().unwrap();
        let random = &mut Random::new(seed);
        for field in &history.entity.fields {
            let live = cells.live(&field.key);
            let mut shuffled = live.to_vec();
            random.shuffle(&mut shuffled);
            prop_assert_eq!(winner(&field.merge, live), winner(&field.merge, &shuffled));
            prop_assert_eq!(conflict(&field.merge, live), conflict(&field.merge, &shuffled));
            if let Some(conflict) = conflict(&field.merge, live) {
                let shown = winner(&field.merge, live).unwrap();
                prop_assert_eq!(conflict.contenders[0].op, shown.id);
                prop_assert_eq!(conflict.contenders.len(), live.len().min(16));
                prop_assert_eq!(conflict.open, field.merge == MergeRule::Ask);
            }
        }
    }

    #[test]
    fn stored_cells_and_stored_changes_come_back_as_they_were(history in history()) {
        let cells = load(&history.changes).cells().unwrap();
        prop_assert_eq!(&Cells::from_stored(&cells.to_stored()).unwrap(), &cells);
        for (change, encoded) in &history.changes {
            let again = Change::from_stored(&encoded.bytes, &encoded.hash, &cells).unwrap();
            prop_assert_eq!(&again, change);
            prop_assert_eq!(&again.encode(), encoded);
            let other = ChangeHash([0; 32]);
            prop_assert!(Change::from_stored(&encoded.bytes, &other, &cells).is_err());
        }
        let listed = load(&history.changes).changes().unwrap();
        prop_assert_eq!(listed.len(), history.changes.len());
        for (change, encoded) in listed {
            let found = history.changes.iter().find(|(_, known)| known.hash == encoded.hash);
            prop_assert_eq!(Some(&(change, encoded.clone())), found);
        }
    }

    #[test]
    fn damaged_cells_are_an_error_or_cells_but_never_a_panic(
        history in history(), at: usize, byte: u8
    ) {
        let mut bytes = history.replicas[0].cells.to_stored();
        let at = at % bytes.len();
        bytes[at] ^= byte;
        drop(Cells::from_stored(&bytes));
        drop(Cells::from_stored(&bytes[..at]));
    }

    #[test]
    fn reconcile_then_hydrate_gives_what_was_wanted(history in history(), seed: u64) {
        let mut history = history;
        history.exchange_all();
        let random = &mut Random::new(seed);
        let entity = history.entity;
        let mut cells = history.replicas[0].cells.clone();
        let mut wanted = std::collections::BTreeMap::new();
        for field in entity.fields.iter().filter(|field| field.section == history.section) {
            if random.once_in(2) && !matches!(field.kind, FieldKind::Counter | FieldKind::Text) {
                wanted.insert(field.key.clone(), values::value_for(field, random));
            }
        }
        let before = hydrate(&cells, entity);
        let edits = reconcile(&cells, entity, &wanted).unwrap();
        history.author(0).write(&mut cells, &edits);
        let after = hydrate(&cells, entity);
        for field in &entity.fields {
            let expected = match wanted.get(&field.key) {
                None => before.get(&field.key).cloned(),
                Some(Value::Set(members)) => {
                    let members: std::collections::BTreeSet<_> = members.iter().cloned().collect();
                    (!members.is_empty()).then(|| Value::Set(members.into_iter().collect()))
                }
                Some(Value::Null) => None,
                Some(value) => Some(value.clone()),
            };
            prop_assert_eq!(after.get(&field.key), expected.as_ref(), "{}", field.key);
        }
        prop_assert_eq!(reconcile(&cells, entity, &wanted).unwrap(), vec![]);
        prop_assert_eq!(reconcile(&cells, entity, &after).unwrap(), vec![]);
    }

    #[test]
    fn changes_are_the_bytes_that_automerge_writes_for_the_same_edit(
        history in history(), who: u8, dice: u64
    ) {
        let mut history = history;
        let who = usize::from(who) % history.replicas.len();
        prop_assume!(!history.replicas[who].cells.is_empty());
        let edits = history.edits(who, &mut Random::new(dice));
        let replica = history.replicas[who].clone();
        // Putting the value that Automerge shows makes it delete the competing ones; we write it anew, since
        // its time is new.
        let edits: Vec<Edit> =
            edits.into_iter().filter(|edit| !repeats(edit, &replica.cells)).collect();
        let author = history.author(who);
        let mut cells = replica.cells.clone();
        let written = author.write(&mut cells, &edits);
        prop_assume!(!written.is_empty());
        prop_assert_eq!(written.len(), 1);
        let theirs = automerge_writes(&replica.document, &author, &written[0].0);
        let mut ours = written[0].0.clone();
        if theirs.deps().len() != ours.deps.len() {
            // Automerge also names the actor's last change where other changes stand between.
            let known: Vec<_> = theirs.deps().iter().map(|dep| ChangeHash(dep.0)).collect();
            prop_assert!(ours.deps.iter().all(|dep| known.contains(dep)));
            prop_assert_eq!(known.len(), ours.deps.len() + 1);
            ours.deps = known;
        }
        ours.deps.sort_unstable();
        let encoded = ours.encode();
        prop_assert_eq!(encoded.hash.0, theirs.hash().0);
        prop_assert_eq!(&encoded.bytes[..], theirs.raw_bytes());
    }
}

/// Whether the edit puts the value that Automerge takes for the winner.
fn repeats(edit: &Edit, cells: &Cells) -> bool {
    let Edit::Put { key, value } = edit else { return false };
    matches!(cells.live(key), [.., last] if last.value == Live::Scalar(value.clone()))
}

/// The change that Automerge itself makes of the same operations.
fn automerge_writes(document: &Document, author: &Author, change: &Change) -> automerge::Change {
    use crdt_core::record::Action;
    let mut real = automerge::Automerge::load(&document.save().unwrap()).unwrap();
    real.set_actor(automerge::ActorId::from(&author.actor.0[..]));
    let mut transaction = real.transaction();
    for op in &change.ops {
        let key = op.key.as_str();
        match &op.action {
            Action::Put(value) => transaction.put(automerge::ROOT, key, scalar(value)).unwrap(),
            Action::Remove => transaction.delete(automerge::ROOT, key).unwrap(),
            Action::Increment(by) => transaction.increment(automerge::ROOT, key, *by).unwrap(),
            other => panic!("{other:?} is not written from cells"),
        }
    }
    transaction.commit_with(CommitOptions::default().with_time(author.time.as_millis()));
    real.get_last_local_change().unwrap()
}

fn scalar(value: &Scalar) -> automerge::ScalarValue {
    use automerge::ScalarValue as S;
    match value {
        Scalar::Null => S::Null,
        Scalar::Bool(b) => S::Boolean(*b),
        Scalar::Int(i) => S::Int(*i),
        Scalar::Float(x) => S::F64(*x),
        Scalar::Str(s) => S::Str(s.as_str().into()),
        Scalar::Timestamp(t) => S::Timestamp(t.as_millis()),
        Scalar::Bytes(b) => S::Bytes(b.clone()),
        Scalar::Counter(c) => S::counter(*c),
    }
}

/// The values that Automerge shows under each key, read without any code of ours.
fn assert_agrees(cells: &Cells, real: &automerge::Automerge) {
    let keys: Vec<String> = real.keys(automerge::ROOT).collect();
    assert_eq!(keys, cells.keys().map(|(key, _)| key.to_owned()).collect::<Vec<_>>());
    for (key, live) in cells.keys() {
        let theirs = real.get_all(automerge::ROOT, key).unwrap();
        assert_eq!(theirs.len(), live.len(), "{key}");
        for (value, id) in theirs {
            let automerge::ObjId::Id(counter, actor, _) = &id else { panic!("{id:?}") };
            let same =
                |op: &&LiveOp| op.id.counter == *counter && op.id.actor.0[..] == *actor.to_bytes();
            let ours = live.iter().find(same).unwrap();
            match (&ours.value, value) {
                (Live::Text(contents), _) => assert_eq!(*contents, real.text(&id).unwrap()),
                (Live::Scalar(ours), automerge::Value::Scalar(theirs)) => {
                    assert_eq!(scalar(ours), *theirs, "{key}");
                }
                (ours, theirs) => panic!("{key}: {ours:?} against {theirs:?}"),
            }
        }
    }
}

#[test]
fn long_histories_of_many_replicas_agree_with_automerge() {
    for seed in 0..6 * cases() as u64 {
        let entity = ENTITIES[seed as usize % ENTITIES.len()];
        let mut history = History::of_seed(entity, 6, 400, seed);
        for replica in &history.replicas {
            assert_eq!(replica.document.cells().unwrap(), replica.cells, "seed {seed}");
        }
        history.exchange_all();
        let document = load(&history.changes);
        let order = causal_order(&history.changes, &mut Random::new(seed));
        let cells = deliver(&history.changes, &order, &document);
        assert_eq!(document.cells().unwrap(), cells, "seed {seed}");
        assert!(history.replicas.iter().all(|replica| replica.cells == cells), "seed {seed}");
    }
}

#[test]
fn a_deletion_and_a_concurrent_edit_show_the_edit_whatever_came_first() {
    let mut history = History::of_seed("account", 2, 0, 1);
    for place in 0..history.changes.len() {
        history.receive(1, place);
    }
    let clock = history.replicas[0].cells.clock().to_bytes();
    history.write(0, &[Edit::Put { key: DELETED.to_owned(), value: Scalar::Bytes(clock) }]);
    let city = Scalar::Str("Kiel".to_owned());
    history.write(1, &[Edit::Put { key: "billing.city".to_owned(), value: city }]);
    history.exchange_all();
    for replica in &history.replicas {
        let unseen = deletion_conflict(&replica.cells).unwrap();
        assert_eq!(unseen.len(), 1);
        assert_eq!(unseen[0].0, "billing.city");
        assert_eq!(unseen[0].1.value, Value::from("Kiel"));
        assert_eq!(unseen[0].1.op.actor, history.replicas[1].actor);
    }
}

#[test]
fn a_long_paste_is_cut_and_reads_the_same_everywhere() {
    let mut history = History::of_seed("account", 2, 0, 2);
    let insert: String = (0..2_345).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let paste = |at, delete, insert: &str| crdt_core::record::Splice {
        field: "notes".to_owned(),
        at,
        delete,
        insert: insert.to_owned(),
    };
    history.splice_at(0, paste(0, 0, &insert));
    history.splice_at(0, paste(100, 2_000, "🙂"));
    let expected = format!("{}🙂{}", &insert[..100], &insert[2_100..]);
    history.exchange_all();
    for replica in &history.replicas {
        assert_eq!(replica.document.text("notes").unwrap(), expected);
        assert_eq!(replica.document.cells().unwrap(), replica.cells);
    }
    assert!(history.changes.iter().all(|(change, _)| change.op_count() <= 1_000));
    assert!(history.changes.len() > 5);
}

#[test]
fn a_splice_outside_its_text_changes_no_cells() {
    let mut history = History::of_seed("account", 2, 0, 3);
    let inside = crdt_core::record::Splice {
        field: "notes".to_owned(),
        at: 0,
        delete: 0,
        insert: "abc".to_owned(),
    };
    history.splice_at(0, inside.clone());
    let author = history.author(0);
    let replica = &mut history.replicas[0];
    let before = replica.cells.clone();
    let outside = crdt_core::record::Splice { at: 9, ..inside.clone() };
    let refused = author.write_text(&mut replica.cells, &mut replica.document, &[inside, outside]);
    assert!(refused.is_err());
    assert_eq!(replica.cells, before);
}

#[test]
fn a_set_takes_no_member_that_no_key_can_hold() {
    let history = History::of_seed("account", 2, 0, 4);
    for bad in ["", "   ", &"x".repeat(400)] {
        let members = Value::Set(vec!["fine".to_owned(), bad.to_owned()]);
        let wanted = [("tags".to_owned(), members)].into();
        let refused = reconcile(&history.replicas[0].cells, history.entity, &wanted);
        assert_eq!(refused.unwrap_err().0, "tags");
    }
}

#[test]
fn actors_sort_as_automerge_sorts_them() {
    let bytes = [[0_u8; 16], [1; 16], [0x7f; 16], [0x80; 16], [0xff; 16]];
    let ours = bytes.map(ActorId);
    let theirs = bytes.map(|bytes| automerge::ActorId::from(&bytes[..]));
    assert!(ours.is_sorted() && theirs.is_sorted());
}
