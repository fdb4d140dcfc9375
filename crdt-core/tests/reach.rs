//! Laws of comparing: what one side lacks of another is exactly what it has not, and can be given in an order in
//! which each change finds what it depends on.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "support/history.rs"]
mod history;

use std::collections::BTreeSet;

use crdt_core::id::ChangeHash;
use crdt_core::record::{Cells, Change, EncodedChange, Reach, to_give};
use history::random::{Random, cases};
use history::{History, causal_order};

/// The cells after these changes.
fn cells(changes: &[(Change, EncodedChange)]) -> Cells {
    let mut cells = Cells::default();
    for (change, encoded) in changes {
        cells.apply(change, encoded.hash);
    }
    cells
}

/// A document's changes in some causal order, and how many of them a restored server still has.
fn restored(seed: u64) -> (Vec<(Change, EncodedChange)>, usize) {
    let mut random = Random::new(seed);
    let entity = ["account", "opportunity", "case"][random.below(3)];
    let mut history = History::of_seed(entity, 3, 40, seed);
    history.exchange_all();
    let order = causal_order(&history.changes, &mut random);
    let changes: Vec<_> = order.into_iter().map(|place| history.changes[place].clone()).collect();
    let kept = random.below(changes.len() + 1);
    (changes, kept)
}

#[test]
fn what_is_lacking_is_exactly_what_the_other_side_has_not() {
    for seed in 0..200 * cases() as u64 {
        let (changes, kept) = restored(seed);
        let (server, device) = (cells(&changes[..kept]), cells(&changes));
        let lacking = Reach::of(&server).lacking(&Reach::of(&device));
        let given = to_give(changes.clone(), &lacking);
        let hashes: BTreeSet<ChangeHash> = given.iter().map(|(_, one)| one.hash).collect();
        let lost: BTreeSet<ChangeHash> = changes[kept..].iter().map(|(_, one)| one.hash).collect();
        assert_eq!(hashes, lost, "seed {seed}");
        assert_eq!(lacking.is_empty(), kept == changes.len(), "seed {seed}");
        assert!(Reach::of(&device).lacking(&Reach::of(&server)).is_empty(), "seed {seed}");
    }
}

#[test]
fn what_is_given_finds_what_it_depends_on_and_nothing_comes_before_the_first_change() {
    for seed in 0..200 * cases() as u64 {
        let (changes, kept) = restored(seed);
        let mut server = cells(&changes[..kept]);
        let mut held: BTreeSet<ChangeHash> =
            changes[..kept].iter().map(|(_, encoded)| encoded.hash).collect();
        let device = cells(&changes);
        let lacking = Reach::of(&server).lacking(&Reach::of(&device));
        for (change, encoded) in to_give(changes, &lacking) {
            assert!(change.deps.iter().all(|dep| held.contains(dep)), "seed {seed}");
            assert_eq!(change.seq, server.seq(&change.actor) + 1, "seed {seed}");
            assert!(change.as_seed().is_none() || !server.is_empty(), "seed {seed}: a seed first");
            server.apply(&change, encoded.hash);
            held.insert(encoded.hash);
        }
        assert_eq!(Reach::of(&server), Reach::of(&device), "seed {seed}");
    }
}

#[test]
fn seeds_that_come_first_are_given_after_the_first_change() {
    let mut seen = 0;
    for seed in 0..100 {
        let (mut changes, _) = restored(seed);
        // Seeds depend on nothing, so a document may list them first.
        changes.sort_by_key(|(change, _)| change.as_seed().is_none());
        seen += usize::from(changes[0].0.as_seed().is_some());
        let all = Reach::default().lacking(&Reach::of(&cells(&changes)));
        let given = to_give(changes.clone(), &all);
        assert_eq!(given.len(), changes.len());
        assert!(given[0].0.as_seed().is_none(), "seed {seed}");
    }
    assert!(seen > 10, "{seen} histories have seeds");
}
