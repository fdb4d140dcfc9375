//! How far a document goes: what two sides compare when one of them may have lost something.
//!
//! A side that holds a change holds everything that the change depends on. So whoever knows all heads of the
//! other side lacks nothing of it, and what is lacking otherwise is, for each actor, all from some number on.

use std::collections::BTreeMap;

use crate::id::{ActorId, ChangeHash};

use super::{Cells, Change, EncodedChange};

/// How far a document goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// The changes that no other one depends on.
    pub heads: Vec<ChangeHash>,
    /// For each actor the number of its last change.
    pub seqs: BTreeMap<ActorId, u64>,
}

impl Reach {
    /// How far these cells go.
    #[must_use]
    pub fn of(cells: &Cells) -> Self {
        let seqs = cells.actors.iter().map(|(actor, written)| (*actor, written.seq)).collect();
        Self { heads: cells.heads.clone(), seqs }
    }

    /// What `other` goes beyond: for each actor the first change that is lacking here.
    #[must_use]
    pub fn lacking(&self, other: &Self) -> BTreeMap<ActorId, u64> {
        let mut lacking = BTreeMap::new();
        for (actor, seq) in &other.seqs {
            let here = self.seqs.get(actor).copied().unwrap_or(0);
            if *seq > here {
                lacking.insert(*actor, here + 1);
            }
        }
        lacking
    }
}

/// Of a document's changes, dependencies first, those that are lacking elsewhere, in an order in which a door
/// that lacks nothing else takes each of them: seeds depend on nothing, but nothing is before a record's first
/// change.
#[must_use]
pub fn to_give(
    changes: Vec<(Change, EncodedChange)>,
    lacking: &BTreeMap<ActorId, u64>,
) -> Vec<(Change, EncodedChange)> {
    let lacks =
        |change: &Change| lacking.get(&change.actor).is_some_and(|first| change.seq >= *first);
    let mut given: Vec<(Change, EncodedChange)> = Vec::new();
    let mut seeds = Vec::new();
    for one in changes.into_iter().filter(|(change, _)| lacks(change)) {
        if given.is_empty() && one.0.as_seed().is_some() {
            seeds.push(one);
        } else if given.is_empty() && one.0.deps.is_empty() {
            given.push(one);
            given.append(&mut seeds);
        } else {
            given.append(&mut seeds);
            given.push(one);
        }
    }
    given.append(&mut seeds);
    given
}
