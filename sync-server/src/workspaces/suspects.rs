//! What a workspace's thread was doing when it panicked, kept while it begins anew: whatever it panicked on
//! twice is not tried a third time.
//!
//! A batch panics together with the whole group of its commit, and only one of them is to blame. So suspects
//! are judged one by one afterwards, and the second panic names the batch. Knows nothing of what is in it.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{BatchId, ReplicaId};

/// Something that the thread does and that might panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// Judging a batch.
    Batch(BatchId),
    /// Judging the handshake of a replica.
    Hello(ReplicaId),
    /// Judging what a replica gives back after a restore.
    Relay(ReplicaId),
    /// Folding a document.
    Fold,
    /// Finding the scopes of records again.
    Rescope,
}

/// The panics of one workspace.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    in_hand: Vec<Deed>,
    panics: BTreeMap<Deed, u32>,
}

impl Suspects {
    /// Says what is done from now on, until [`Self::done`].
    pub(super) fn begin(&mut self, deeds: impl IntoIterator<Item = Deed>) {
        self.in_hand.clear();
        self.in_hand.extend(deeds);
    }

    /// What was begun is over.
    pub(super) fn done(&mut self) {
        if !self.panics.is_empty() {
            for deed in &self.in_hand {
                self.panics.remove(deed);
            }
        }
        self.in_hand.clear();
    }

    /// The thread panicked. Gives what it was doing.
    pub(super) fn panicked(&mut self) -> Vec<Deed> {
        let deeds = std::mem::take(&mut self.in_hand);
        if self.panics.len() > KEPT_MAX {
            // Forgetting costs a panic more; never forgetting would cost memory for ever.
            self.panics.retain(|_, panics| *panics >= GIVEN_UP_AFTER);
        }
        for deed in &deeds {
            *self.panics.entry(*deed).or_default() += 1;
        }
        deeds
    }

    /// Whether a deed has panicked, perhaps not by its own fault.
    pub(super) fn is_suspect(&self, deed: Deed) -> bool {
        self.panics.contains_key(&deed)
    }

    /// Whether a deed is not to be tried any more.
    pub(super) fn is_given_up(&self, deed: Deed) -> bool {
        self.panics.get(&deed).is_some_and(|panics| *panics >= GIVEN_UP_AFTER)
    }

    /// The batches that are not to be tried any more.
    pub(super) fn poisoned(&self) -> BTreeSet<BatchId> {
        let given_up = self.panics.iter().filter(|(_, panics)| **panics >= GIVEN_UP_AFTER);
        given_up
            .filter_map(|(deed, _)| match deed {
                Deed::Batch(id) => Some(*id),
                Deed::Hello(_) | Deed::Relay(_) | Deed::Fold | Deed::Rescope => None,
            })
            .collect()
    }
}

/// Panics after which a deed is given up.
const GIVEN_UP_AFTER: u32 = 2;
/// Deeds that are remembered: a few groups of batches.
const KEPT_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(n: u8) -> Deed {
        Deed::Batch(BatchId([n; 16]))
    }

    #[test]
    fn of_a_group_that_panicked_only_the_one_that_panics_alone_is_given_up() {
        let mut suspects = Suspects::default();
        suspects.begin([batch(1), batch(2), batch(3)]);
        assert_eq!(suspects.panicked().len(), 3);
        for good in [1, 3] {
            assert!(suspects.is_suspect(batch(good)));
            suspects.begin([batch(good)]);
            suspects.done();
            assert!(!suspects.is_suspect(batch(good)));
        }
        suspects.begin([batch(2)]);
        suspects.panicked();
        assert!(suspects.is_given_up(batch(2)) && !suspects.is_given_up(batch(1)));
        assert_eq!(suspects.poisoned(), [BatchId([2; 16])].into());
    }

    #[test]
    fn one_panic_is_forgiven_once_the_deed_is_done() {
        let mut suspects = Suspects::default();
        for _ in 0..5 {
            suspects.begin([Deed::Fold]);
            suspects.panicked();
            assert!(!suspects.is_given_up(Deed::Fold));
            suspects.begin([Deed::Fold]);
            suspects.done();
        }
        for _ in 0..2 {
            suspects.begin([Deed::Fold]);
            suspects.panicked();
        }
        assert!(suspects.is_given_up(Deed::Fold) && !suspects.is_given_up(Deed::Rescope));
    }
}
