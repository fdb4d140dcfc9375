//! After a refusal the later changes are written again as if the refused ones had never been: every one
//! passes the door, says what it said, and covers nothing that its author had not seen.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/server.rs"]
mod server;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{ActorId, ChangeHash};
use crdt_core::record::{
    Action, Change, DELETED, Edit, EncodedChange, Fate, Live, Op, Reauthor, Rewritten, Scalar,
    SeedKind, Splice, Unanswered, conflict, reauthor, seed,
};
use crdt_core::time::Timestamp;
use history::random::{Random, cases};
use history::{History, Step, What};
use server::{Server, Verdict};

type Written = (Change, EncodedChange);

/// One device that wrote without an answer, a server with everything else, and what was refused.
struct Scene {
    history: History,
    /// Places of the accepted changes, and of the unanswered ones with their batch.
    accepted: Vec<usize>,
    unanswered: Vec<(usize, usize)>,
    fallen: BTreeSet<usize>,
}

impl Scene {
    /// The device sees some of what another writes meanwhile; each of its steps is a batch.
    fn of_seed(number: u64) -> Self {
        let entity = ["account", "opportunity"][number as usize % 2];
        let mut history = History::of_seed(entity, 2, 12, number);
        history.exchange_all();
        let agreed = history.changes.len();
        let mut random = Random::new(number ^ 0xBEEF);
        let alone = [What::Edit, What::Edit, What::Prose, What::Restore, What::Delete];
        let mut unanswered = Vec::new();
        for batch in 0..16 {
            let who = random.below(3).min(1);
            let before: BTreeSet<usize> = history.replicas[0].held.iter().copied().collect();
            let step = Step { who, what: *random.pick(&alone), dice: random.next() };
            history.step(&step);
            if who == 0 {
                let held = &history.replicas[0].held;
                let new = held.iter().filter(|place| !before.contains(place));
                unanswered.extend(new.map(|place| (*place, batch)));
            } else if random.once_in(2) {
                let theirs = history.replicas[1].held.clone();
                theirs.into_iter().for_each(|place| history.receive(0, place));
            }
        }
        let theirs: BTreeSet<usize> = history.replicas[1].held.iter().copied().collect();
        unanswered.retain(|(place, _)| *place >= agreed && !theirs.contains(place));
        let batches: BTreeSet<usize> = unanswered.iter().map(|(_, batch)| *batch).collect();
        let fallen = batches.into_iter().filter(|_| random.once_in(3)).collect();
        let accepted = (0..history.changes.len())
            .filter(|place| *place < agreed || theirs.contains(place))
            .collect();
        Self { history, accepted, unanswered, fallen }
    }

    fn fell(&self, place: usize) -> bool {
        self.unanswered.iter().any(|(at, batch)| *at == place && self.fallen.contains(batch))
    }

    /// The unanswered changes, each with its fate.
    fn fates(&self) -> Vec<Unanswered> {
        let fate = |(place, batch): &(usize, usize)| {
            let (change, encoded) = self.history.changes[*place].clone();
            let fell = self.fallen.contains(batch);
            let fate = if fell { Fate::Fallen } else { Fate::Kept };
            Unanswered { change, hash: encoded.hash, fate }
        };
        self.unanswered.iter().map(fate).collect()
    }

    fn rewritten(&self, asked: &Cell<usize>) -> Rewritten {
        let changes = &self.history.changes;
        let max_op = |hash: &ChangeHash| {
            asked.set(asked.get() + 1);
            let known = self.accepted.iter().map(|place| &changes[*place]);
            known.clone().find(|known| known.1.hash == *hash).map(|known| known.0.max_op())
        };
        let how = Reauthor { actor: self.actor(), time: &|time| time, max_op: &max_op };
        reauthor(&how, &self.server().cells, &self.fates()).expect("every past is known")
    }

    fn actor(&self) -> ActorId {
        ActorId::of(self.history.replicas[0].actor.replica(), 9)
    }

    fn server(&self) -> Server {
        let mut server = Server::of(&self.history.entity.name, self.history.now());
        for place in &self.accepted {
            let (change, encoded) = &self.history.changes[*place];
            server.take(change, encoded);
        }
        server
    }

    /// For every place those that its author had seen.
    fn pasts(&self) -> Vec<BTreeSet<usize>> {
        let changes = &self.history.changes;
        let place_of: BTreeMap<ChangeHash, usize> =
            changes.iter().enumerate().map(|(place, known)| (known.1.hash, place)).collect();
        let mut pasts: Vec<BTreeSet<usize>> = Vec::new();
        for (change, _) in changes {
            let mut past = BTreeSet::new();
            for dep in change.deps.iter().map(|dep| place_of[dep]) {
                past.extend(pasts[dep].iter().copied());
                past.insert(dep);
            }
            pasts.push(past);
        }
        pasts
    }

    /// What the keys say when a kept write covers what its author had seen, and nothing else does.
    fn expected(&self, refused: &BTreeSet<usize>) -> BTreeMap<String, Vec<String>> {
        let pasts = self.pasts();
        let changes = &self.history.changes;
        let stands = |place: &usize| !self.fell(*place) && !refused.contains(place);
        let writes = |op: &&Op| matches!(op.action, Action::Put(_) | Action::Remove);
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for place in (0..changes.len()).filter(stands) {
            let (change, _) = &changes[place];
            for op in change.ops.iter().filter(|_| change.as_seed().is_none()) {
                let Action::Put(scalar) = &op.action else { continue };
                let covers = |later: &usize| {
                    let ops = changes[*later].0.ops.iter().filter(writes);
                    pasts[*later].contains(&place) && ops.clone().any(|o| o.key == op.key)
                };
                if !(0..changes.len()).filter(stands).any(|later| covers(&later)) {
                    let value = said(&op.key, scalar, change.time);
                    keys.entry(op.key.clone()).or_default().push(value);
                }
            }
        }
        keys.values_mut().for_each(|values| values.sort());
        keys
    }

    /// The totals of counters.
    fn totals(&self, refused: &BTreeSet<usize>) -> BTreeMap<String, i64> {
        let mut totals = BTreeMap::new();
        for (place, (change, _)) in self.history.changes.iter().enumerate() {
            for op in &change.ops {
                if let Action::Increment(by) = op.action
                    && !self.fell(place)
                    && !refused.contains(&place)
                {
                    *totals.entry(op.key.clone()).or_insert(0) += by;
                }
            }
        }
        totals
    }
}

/// A value with its time. A deletion says what its author had seen, which is compared by the door.
fn said(key: &str, scalar: &Scalar, time: Timestamp) -> String {
    if key == DELETED { format!("{time:?}") } else { format!("{scalar:?} {time:?}") }
}

/// Takes the rewritten changes; gives the places of those that are refused for the one honest reason: the
/// record's restoration fell. Later ones of the device then fail too, and wait for the next round.
fn take(scene: &Scene, server: &mut Server, written: &[Written], places: &[usize]) -> Vec<usize> {
    for (at, (change, encoded)) in written.iter().enumerate() {
        match server.judge(change, &encoded.hash.0[..4], scene.actor().replica()) {
            Verdict::Admitted(_) => drop(server.take(change, encoded)),
            Verdict::Held => {}
            Verdict::Refused(reason) => {
                assert_eq!(reason.code(), "deleted", "{change:?}");
                return places[at..].to_vec();
            }
        }
    }
    Vec::new()
}

#[test]
fn what_is_left_passes_the_door_and_says_what_it_said() {
    let asked = Cell::new(0);
    let mut fell = 0;
    for number in 0..400 * cases() as u64 {
        let scene = Scene::of_seed(number);
        fell += scene.fallen.len();
        let again = scene.rewritten(&asked);
        let places: Vec<usize> =
            again.changes.iter().map(|again| scene.unanswered[again.place].0).collect();
        let written: Vec<Written> =
            again.changes.into_iter().map(|again| (again.change, again.encoded)).collect();
        let mut server = scene.server();
        let refused = take(&scene, &mut server, &written, &places);
        let refused: BTreeSet<usize> = refused.into_iter().collect();

        let document = server.document();
        let mut cells = document.cells().expect("Automerge loads it");
        assert_eq!(cells, server.cells, "number {number}");
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut totals = BTreeMap::new();
        for (key, live) in cells.keys() {
            for op in live {
                match &op.value {
                    Live::Scalar(Scalar::Counter(total)) => {
                        totals.insert(key.to_owned(), *total);
                    }
                    Live::Scalar(scalar) => {
                        keys.entry(key.to_owned()).or_default().push(said(key, scalar, op.time));
                    }
                    Live::Text(_) => {}
                }
            }
        }
        keys.values_mut().for_each(|values| values.sort());
        assert_eq!(keys, scene.expected(&refused), "number {number}");
        totals.retain(|_, total| *total != 0);
        let mut expected = scene.totals(&refused);
        expected.retain(|_, total| *total != 0);
        assert_eq!(totals, expected, "number {number}");

        if refused.is_empty() {
            let mut given = again.cells;
            for field in given.text_objects().into_values() {
                let contents = document.text(&field).unwrap();
                given.set_text(&field, contents.clone());
                cells.set_text(&field, contents);
            }
            assert_eq!(given, cells, "number {number}: the device sees what the server has");
        }
    }
    assert!(fell > 300, "{fell} batches fell");
    assert!(asked.get() > 0, "some pasts are not told by the changes themselves");
}

fn splice(at: usize, delete: usize, insert: &str) -> Splice {
    Splice { field: "notes".to_owned(), at, delete, insert: insert.to_owned() }
}

fn put(key: &str, value: &str) -> Edit {
    Edit::Put { key: key.to_owned(), value: Scalar::Str(value.to_owned()) }
}

/// A character as its one author sees it, with the batches that inserted and erased it.
#[derive(Clone)]
struct Character(char, usize, Option<usize>);

#[test]
fn text_without_the_fallen_characters_keeps_its_order_and_gets_back_what_they_had_erased() {
    for number in 0..150 * cases() as u64 {
        let mut random = Random::new(number);
        let mut history = History::of_seed("account", 1, 0, number);
        let mut model: Vec<Character> = Vec::new();
        history.splice_at(0, splice(0, 0, "accepted"));
        model.extend("accepted".chars().map(|c| Character(c, 0, None)));
        let accepted: Vec<usize> = (0..history.changes.len()).collect();
        let mut unanswered = Vec::new();
        for batch in 1..14 {
            let shown: Vec<usize> =
                (0..model.len()).filter(|place| model[*place].2.is_none()).collect();
            let at = random.below(shown.len() + 1);
            let delete = random.below(shown.len() - at + 1).min(5);
            let letter = |random: &mut Random| char::from(b'a' + random.below(26) as u8);
            let insert: String = (0..random.below(5)).map(|_| letter(&mut random)).collect();
            let first = history.changes.len();
            history.splice_at(0, splice(at, delete, &insert));
            unanswered.extend((first..history.changes.len()).map(|place| (place, batch)));
            shown[at..at + delete].iter().for_each(|place| model[*place].2 = Some(batch));
            let place = if at == 0 { 0 } else { shown[at - 1] + 1 };
            model.splice(place..place, insert.chars().map(|c| Character(c, batch, None)));
        }
        let fallen: BTreeSet<usize> = (1..14).filter(|_| random.once_in(3)).collect();
        let scene = Scene { history, accepted, unanswered, fallen };
        let again = scene.rewritten(&Cell::new(0));
        let mut server = scene.server();
        for again in &again.changes {
            server.take(&again.change, &again.encoded);
        }
        let left = |character: &&Character| {
            let erased = character.2.is_some_and(|batch| !scene.fallen.contains(&batch));
            !scene.fallen.contains(&character.1) && !erased
        };
        let expected: String = model.iter().filter(left).map(|character| character.0).collect();
        assert_eq!(server.document().text("notes").unwrap(), expected, "number {number}");
    }
}

/// An account on the server, and batches of one device on it.
fn batches(fallen: &[usize], write: impl FnOnce(&mut History, &mut dyn FnMut(&History))) -> Scene {
    let mut history = History::of_seed("account", 2, 0, 5);
    history.exchange_all();
    let agreed = history.changes.len();
    let mut ends = vec![agreed];
    write(&mut history, &mut |history| ends.push(history.changes.len()));
    let unanswered = ends.windows(2).enumerate();
    let unanswered = unanswered
        .flat_map(|(batch, pair)| (pair[0]..pair[1]).map(move |place| (place, batch)))
        .filter(|(place, _)| {
            let (change, _) = &history.changes[*place];
            change.actor == history.replicas[0].actor || change.as_seed().is_some()
        });
    let unanswered: Vec<(usize, usize)> = unanswered.collect();
    let accepted = (0..history.changes.len())
        .filter(|place| !unanswered.iter().any(|(mine, _)| mine == place))
        .collect();
    Scene { unanswered, accepted, fallen: fallen.iter().copied().collect(), history }
}

#[test]
fn a_seed_that_fell_comes_again_with_the_first_batch_that_needs_it_and_only_then() {
    let increment = || Edit::Increment { key: "visits".to_owned(), by: 2 };
    for (needed, later) in [(true, increment()), (false, put("phone", "123 4567"))] {
        let scene = batches(&[0], |history, end| {
            let change = seed(SeedKind::Counter, "visits");
            history.changes.push((change.clone(), change.encode()));
            history.receive(0, history.changes.len() - 1);
            history.write(0, &[increment()]);
            end(history);
            history.write(0, std::slice::from_ref(&later));
            end(history);
        });
        let again = scene.rewritten(&Cell::new(0));
        let seeds = again.changes.iter().filter(|again| again.change.as_seed().is_some()).count();
        assert_eq!(seeds, usize::from(needed));
        let places: Vec<usize> = again.changes.iter().map(|again| again.place).collect();
        assert_eq!(places, if needed { vec![2, 2] } else { vec![2] });
        let mut server = scene.server();
        again.changes.iter().for_each(|again| drop(server.take(&again.change, &again.encoded)));
        if needed {
            let total = Live::Scalar(Scalar::Counter(2));
            assert_eq!(server.cells.live("visits")[0].value, total);
        }
    }
}

#[test]
fn an_older_value_does_not_bury_a_newer_one_that_its_author_had_not_seen() {
    let scene = batches(&[0], |history, end| {
        history.write(0, &[put("sector", "retail")]);
        end(history);
        history.write(0, &[put("sector", "medical")]);
        end(history);
        (0..10).for_each(|_| {
            history.author(1);
        });
        history.write(1, &[put("sector", "services")]);
    });
    let again = scene.rewritten(&Cell::new(0));
    let mut server = scene.server();
    again.changes.iter().for_each(|again| drop(server.take(&again.change, &again.encoded)));
    let field = server.entity.field("sector").unwrap();
    let found = conflict(&field.merge, server.cells.live("sector")).expect("both stay visible");
    let values: Vec<String> =
        found.contenders.iter().map(|one| one.value.as_str().unwrap().to_owned()).collect();
    assert_eq!(values, ["services", "medical"], "the newer one of somebody else shows");
}

#[test]
fn what_only_took_back_a_fallen_edit_vanishes_with_it() {
    let scene = batches(&[0], |history, end| {
        history.write(0, &[Edit::add("tags/hot".to_owned())]);
        end(history);
        history.write(0, &[Edit::Remove { key: "tags/hot".to_owned() }]);
        end(history);
        history.write(0, &[put("phone", "123 4567")]);
        end(history);
    });
    let again = scene.rewritten(&Cell::new(0));
    let places: Vec<usize> = again.changes.iter().map(|again| again.place).collect();
    assert_eq!(places, [2]);
    let mut server = scene.server();
    again.changes.iter().for_each(|again| drop(server.take(&again.change, &again.encoded)));
    assert_eq!(server.cells.live("tags/hot"), []);
}

#[test]
fn a_past_that_nobody_knows_is_an_error_and_no_guess() {
    let scene = batches(&[0, 1], |history, end| {
        history.write(0, &[put("sector", "retail")]);
        history.write(0, &[put("sector", "medical")]);
        end(history);
        history.write(1, &[put("phone", "123 4567")]);
        history.receive(0, history.changes.len() - 1);
        history.write(0, &[put("sector", "services")]);
        end(history);
        history.write(0, &[put("website", "https://a.example")]);
        end(history);
    });
    let how = Reauthor { actor: scene.actor(), time: &|time| time, max_op: &|_| None };
    assert!(reauthor(&how, &scene.server().cells, &scene.fates()).is_err());
    drop(scene.rewritten(&Cell::new(0)));
}
