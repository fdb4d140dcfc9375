//! The door: everything honest passes by the expected way, and nothing that passes leaves a document that
//! cannot be read.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;
#[path = "support/mutation.rs"]
mod mutation;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/server.rs"]
mod server;

use automerge::transaction::{CommitOptions, Transactable};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Cells, Change, Document, Door, Op};
use history::random::{Random, cases};
use history::{History, causal_order};
use server::{Server, Verdict};

#[test]
fn everything_honest_passes_in_any_causal_order_and_by_the_expected_door() {
    let (mut fast, mut slow) = (0, 0);
    for seed in 0..40 * cases() as u64 {
        let entity = ["account", "opportunity", "case", "activity"][seed as usize % 4];
        let history = History::of_seed(entity, 4, 40, seed);
        let mut order = causal_order(&history.changes, &mut Random::new(seed));
        // A seed is nobody's, but its record comes before it.
        order.retain(|place| *place != 0);
        order.insert(0, 0);
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
