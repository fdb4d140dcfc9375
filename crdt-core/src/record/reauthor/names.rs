//! What the operations of unanswered changes are called from now on.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::ActorId;
use crate::record::OpId;

/// What became of an unanswered operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// It stands under this id.
    Again(OpId),
    /// It fell: these had been seen where it stood.
    Fallen(BTreeSet<OpId>),
}

/// The unanswered operations that others may name, by their old ids. What is not among them was accepted
/// and keeps its id.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<(ActorId, u64), (u64, Name)>);

impl Names {
    /// Notes an operation, or a run of them, of which the first is named.
    pub(super) fn note(&mut self, first: OpId, len: u64, name: Name) {
        self.0.insert((first.actor, first.counter), (len, name));
    }

    /// What became of an operation; nothing when it was accepted.
    pub(super) fn of(&self, id: OpId) -> Option<Name> {
        let key = (id.actor, id.counter);
        let ((actor, first), (len, name)) = self.0.range(..=key).next_back()?;
        let offset = id.counter.checked_sub(*first).filter(|offset| offset < len)?;
        if *actor != id.actor {
            return None;
        }
        Some(match name {
            Name::Again(now) => Name::Again(OpId { counter: now.counter + offset, ..*now }),
            Name::Fallen(seen) => Name::Fallen(seen.clone()),
        })
    }

    /// Predecessors: in the place of a fallen one, what it had replaced.
    pub(super) fn preds(&self, preds: &[OpId]) -> BTreeSet<OpId> {
        let mut now = BTreeSet::new();
        for pred in preds {
            match self.of(*pred) {
                None => {
                    now.insert(*pred);
                }
                Some(Name::Again(id)) => {
                    now.insert(id);
                }
                Some(Name::Fallen(seen)) => now.extend(seen),
            }
        }
        now
    }

    /// A run of characters, in runs of those that are left.
    pub(super) fn runs(&self, from: OpId, count: u32) -> Vec<(OpId, u32)> {
        let mut runs: Vec<(OpId, u32)> = Vec::new();
        for counter in from.counter..from.counter + u64::from(count) {
            let old = OpId { counter, ..from };
            let element = match self.of(old) {
                None => old,
                Some(Name::Again(now)) => now,
                Some(Name::Fallen(_)) => continue,
            };
            match runs.last_mut() {
                Some((first, len))
                    if first.actor == element.actor
                        && first.counter + u64::from(*len) == element.counter =>
                {
                    *len += 1;
                }
                _ => runs.push((element, 1)),
            }
        }
        runs
    }
}
