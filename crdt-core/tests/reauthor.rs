//! Writing unanswered changes again keeps what they say: values, concurrency and winners.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;

use std::collections::BTreeMap;

use crdt_core::id::{ActorId, ChangeHash};
use crdt_core::record::document::Purpose;
use crdt_core::record::{
    Cells, Change, Clock, DELETED, Document, EncodedChange, Fate, History as Age, Judgement, Known,
    Live, LiveOp, OpId, Reauthor, Scalar, Situation, Splice, Unanswered, judge, judge_with,
    reauthor, winner,
};
use crdt_core::time::Timestamp;
use history::random::{Random, cases};
use history::{History, Index, Step, What};

/// A replica's accepted state, and what it wrote since.
struct Unsent {
    history: History,
    base: Vec<(Change, EncodedChange)>,
    pending: Vec<(Change, EncodedChange)>,
}

impl Unsent {
    /// One replica writes offline while the others go on and exchange what they have.
    fn of_seed(seed: u64) -> Self {
        let entity = ["account", "opportunity"][seed as usize % 2];
        let mut history = History::of_seed(entity, 3, 25, seed);
        history.exchange_all();
        let agreed = history.changes.len();
        let mut random = Random::new(seed ^ 0xF00D);
        let alone = [What::Edit, What::Edit, What::Prose, What::Prose, What::Delete, What::Restore];
        for _ in 0..14 {
            let step = Step { who: 0, what: *random.pick(&alone), dice: random.next() };
            history.step(&step);
        }
        let mine: Vec<usize> = history.replicas[0].held.clone();
        for _ in 0..10 {
            let step = Step { who: 1, what: *random.pick(&alone), dice: random.next() };
            history.step(&step);
        }
        let held = |place: &usize| mine.contains(place) && *place >= agreed;
        let theirs = |place: &usize| *place < agreed || history.replicas[1].held.contains(place);
        let (pending, base): (Vec<_>, Vec<_>) =
            (0..history.changes.len()).partition(|place| held(place) && !theirs(place));
        let take =
            |places: Vec<usize>| places.iter().map(|p| history.changes[*p].clone()).collect();
        Self { base: take(base), pending: take(pending), history }
    }

    fn rewritten(
        &self,
        actor: ActorId,
        time: &dyn Fn(Timestamp) -> Timestamp,
    ) -> (Vec<(Change, EncodedChange)>, Cells) {
        let kept = |(change, encoded): &(Change, EncodedChange)| Unanswered {
            change: change.clone(),
            hash: encoded.hash,
            fate: Fate::Kept,
        };
        let pending: Vec<Unanswered> = self.pending.iter().map(kept).collect();
        let unasked = |_: &ChangeHash| panic!("where nothing fell, nothing has to be looked up");
        let how = Reauthor { actor, time, max_op: &unasked };
        let again = reauthor(&how, &load(&self.base).cells().unwrap(), &pending).unwrap();
        let places: Vec<usize> = again.changes.iter().map(|again| again.place).collect();
        assert_eq!(places, (0..self.pending.len()).collect::<Vec<_>>());
        let written = again.changes.into_iter().map(|again| (again.change, again.encoded));
        (written.collect(), again.cells)
    }
}

fn load(changes: &[(Change, EncodedChange)]) -> Document {
    let bytes = changes.iter().map(|(_, encoded)| &encoded.bytes[..]);
    Document::load(Purpose::Verify, None, bytes).unwrap()
}

fn joined(
    base: &[(Change, EncodedChange)],
    more: &[(Change, EncodedChange)],
) -> Vec<(Change, EncodedChange)> {
    base.iter().chain(more).cloned().collect()
}

/// What the live operations of the original are called and dated afterwards.
fn expected(original: &Cells, unsent: &Unsent, actor: ActorId, shift_ms: i64) -> Keys {
    let old = unsent.history.replicas[0].actor;
    let base = load(&unsent.base).cells().unwrap();
    let accepted = base.max_op_of(&old);
    let rename = |id: OpId| match id.actor == old && id.counter > accepted {
        true => OpId { actor, ..id },
        false => id,
    };
    let mut keys = Keys::new();
    for (key, live) in original.keys() {
        let mut renamed: Vec<LiveOp> = live
            .iter()
            .map(|op| {
                let id = rename(op.id);
                let moved = if id == op.id { 0 } else { shift_ms };
                LiveOp { id, time: op.time.plus_millis(moved), value: op.value.clone() }
            })
            .collect();
        renamed.sort_by_key(|op| op.id);
        keys.insert(key.to_owned(), renamed);
    }
    keys
}

type Keys = BTreeMap<String, Vec<LiveOp>>;

fn keys_of(cells: &Cells) -> Keys {
    cells.keys().map(|(key, live)| (key.to_owned(), live.to_vec())).collect()
}

/// The clock of a deletion names the new actor afterwards; all else in it stays.
fn without_clocks(mut keys: Keys) -> Keys {
    for op in keys.get_mut(DELETED).into_iter().flatten() {
        op.value = Live::Scalar(Scalar::Null);
    }
    keys
}

#[test]
fn the_same_values_stand_under_new_names_and_shifted_times() {
    for seed in 0..60 * cases() as u64 {
        let unsent = Unsent::of_seed(seed);
        let actor = ActorId::of(unsent.history.replicas[0].actor.replica(), 9);
        for shift_ms in [0, -90_000, 3_600_000] {
            let time = |time: Timestamp| time.plus_millis(shift_ms);
            let (written, cells) = unsent.rewritten(actor, &time);
            assert_eq!(written.len(), unsent.pending.len());
            let original = load(&joined(&unsent.base, &unsent.pending)).cells().unwrap();
            let again = load(&joined(&unsent.base, &written)).cells().unwrap();
            let wanted = without_clocks(expected(&original, &unsent, actor, shift_ms));
            assert_eq!(without_clocks(keys_of(&again)), wanted, "seed {seed}, shift {shift_ms}");
            assert_eq!(cells.heads(), again.heads(), "seed {seed}");
            for field in &unsent.history.entity.fields {
                let shown = winner(&field.merge, again.live(&field.key)).map(|op| &op.value);
                let meant = wanted.get(&field.key).map_or(&[][..], Vec::as_slice);
                let meant = winner(&field.merge, meant).map(|op| &op.value);
                assert_eq!(shown, meant, "seed {seed}, {}", field.key);
            }
        }
    }
}

#[test]
fn the_returned_cells_are_the_document_s_but_for_text() {
    for seed in 0..40 {
        let unsent = Unsent::of_seed(seed);
        let actor = ActorId::of(unsent.history.replicas[0].actor.replica(), 9);
        let (written, mut cells) = unsent.rewritten(actor, &|time| time);
        let document = load(&joined(&unsent.base, &written));
        for field in cells.text_objects().into_values() {
            cells.set_text(&field, document.text(&field).unwrap());
        }
        assert_eq!(cells, document.cells().unwrap(), "seed {seed}");
    }
}

#[test]
fn every_rewritten_change_passes_the_door_after_the_base() {
    for seed in 0..40 * cases() as u64 {
        let unsent = Unsent::of_seed(seed);
        let actor = ActorId::of(unsent.history.replicas[0].actor.replica(), 9);
        let (written, _) = unsent.rewritten(actor, &|time| time);
        let base = joined(&unsent.base, &[]);
        let mut index = Index::default();
        for (change, encoded) in &base {
            let past = index.past(&change.deps).unwrap();
            let mut clock = past.clock;
            clock.extend(change.actor, change.max_op());
            index.insert(encoded.hash, change.max_op(), clock);
        }
        let mut all = base;
        for (change, encoded) in written {
            let document = load(&all);
            let cells = document.cells().unwrap();
            if !cells.holds(&change) {
                let past = index.past(&change.deps).expect("its dependencies are here");
                let clock = pass(&unsent.history, &change, &encoded, &cells, &past, document);
                index.insert(encoded.hash, change.max_op(), clock);
                all.push((change, encoded));
            }
        }
    }
}

fn pass(
    history: &History,
    change: &Change,
    encoded: &EncodedChange,
    cells: &Cells,
    past: &Known,
    document: Document,
) -> Clock {
    let situation = Situation {
        entity: history.entity,
        section: &history.section,
        cells,
        past,
        sender: change.actor.replica(),
        now: history.now(),
        history: Age::Current,
    };
    let claim = &encoded.hash.0[..4];
    let judgement = match judge(change, claim, &situation) {
        Ok(Judgement::NeedsDocument) => judge_with(change, claim, &situation, document),
        other => other,
    };
    match judgement {
        Ok(Judgement::Admitted(admitted)) => {
            assert_eq!(admitted.encoded, *encoded);
            admitted.clock
        }
        other => panic!("{other:?} for {change:?}"),
    }
}

#[test]
fn an_erasure_of_text_that_was_accepted_in_part_is_cut_where_the_names_part() {
    let mut history = History::of_seed("account", 1, 0, 7);
    let splice = |at, delete, insert: &str| Splice {
        field: "notes".to_owned(),
        at,
        delete,
        insert: insert.to_owned(),
    };
    history.splice_at(0, splice(0, 0, "hello"));
    let accepted = history.changes.len();
    history.splice_at(0, splice(5, 0, " world"));
    history.splice_at(0, splice(2, 7, ""));
    let (base, pending) = history.changes.split_at(accepted);
    let unsent =
        Unsent { base: base.to_vec(), pending: pending.to_vec(), history: history.clone() };
    let actor = ActorId::of(history.replicas[0].actor.replica(), 9);
    let (written, _) = unsent.rewritten(actor, &|time| time);
    let document = load(&joined(base, &written));
    assert_eq!(document.text("notes").unwrap(), "held");
    assert_eq!(document.heads(), vec![written.last().unwrap().1.hash]);
}
