//! Whose batches are judged next, when there are more than one commit takes: who hands in little comes before
//! who hands in much. Knows nothing of judging.

use std::collections::{BTreeMap, VecDeque};

use crdt_core::id::ReplicaId;

use crate::workspace::Submitted;

/// Changes of one commit: what a lone edit waits for at most twice, and enough that the disk's share of each
/// change is small.
const GROUP_CHANGES_MAX: usize = 128;
/// Changes that wait here before no more are taken from the connections, which then wait themselves.
const WAITING_CHANGES_MAX: usize = 20_000;

/// What waits, of each replica in its order.
#[derive(Default)]
pub(super) struct Turns {
    waiting: BTreeMap<ReplicaId, VecDeque<Item>>,
    /// Replicas of which nothing waited when something came: their turn comes first.
    fresh: VecDeque<ReplicaId>,
    /// Replicas that have had a turn and have more: one batch each, in turn.
    others: VecDeque<ReplicaId>,
    changes: usize,
}

/// What a replica has handed in.
enum Item {
    Batch(Submitted),
    /// It has stored its receipts up to here. Batches before it are judged with those receipts still there.
    Stored(u64),
}

/// What is done in one commit.
#[derive(Default)]
pub(super) struct Group {
    /// Up to where replicas had stored their receipts before the batches.
    pub(super) stored: Vec<(ReplicaId, u64)>,
    pub(super) batches: Vec<Submitted>,
}

impl Turns {
    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether so much waits that no more should be taken.
    pub(super) fn is_full(&self) -> bool {
        self.changes >= WAITING_CHANGES_MAX
    }

    /// A batch waits behind what the replica has handed in before.
    pub(super) fn put(&mut self, submitted: Submitted) {
        self.changes += weight(&submitted);
        self.push(submitted.replica, Item::Batch(submitted));
    }

    /// So does the note of which receipts it has stored.
    pub(super) fn put_stored(&mut self, replica: ReplicaId, receipt: u64) {
        self.push(replica, Item::Stored(receipt));
    }

    fn push(&mut self, replica: ReplicaId, item: Item) {
        let queue = self.waiting.entry(replica).or_default();
        if queue.is_empty() {
            self.fresh.push_back(replica);
        }
        queue.push_back(item);
    }

    /// The next commit's work.
    pub(super) fn take(&mut self) -> Group {
        let mut group = Group::default();
        let (mut changes, mut later) = (0, Vec::new());
        while changes < GROUP_CHANGES_MAX
            && let Some(replica) = self.fresh.pop_front().or_else(|| self.others.pop_front())
        {
            match self.turn(replica, &mut group) {
                Some(weight) => {
                    changes += weight;
                    self.others.extend(Some(replica).filter(|own| self.waiting.contains_key(own)));
                }
                // Its next batch comes behind a note that comes behind a batch of this commit.
                None => later.push(replica),
            }
        }
        for replica in later.into_iter().rev() {
            self.others.push_front(replica);
        }
        group
    }

    /// What a replica has handed in, up to the first note behind a batch; nothing when it has handed nothing in.
    pub(super) fn take_of(&mut self, replica: ReplicaId) -> Option<Group> {
        let mut group = Group::default();
        while self.waiting.contains_key(&replica) && self.turn(replica, &mut group).is_some() {}
        if !self.waiting.contains_key(&replica) {
            self.leave_the_line(replica);
        }
        Some(group).filter(|group| !group.stored.is_empty() || !group.batches.is_empty())
    }

    /// Forgets what a replica has handed in: its device sends it again.
    pub(super) fn forget(&mut self, replica: ReplicaId) {
        let Some(queue) = self.waiting.remove(&replica) else { return };
        let batches = queue.iter().filter_map(|item| match item {
            Item::Batch(submitted) => Some(weight(submitted)),
            Item::Stored(_) => None,
        });
        self.changes -= batches.sum::<usize>();
        self.leave_the_line(replica);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn leave_the_line(&mut self, replica: ReplicaId) {
        self.fresh.retain(|other| *other != replica);
        self.others.retain(|other| *other != replica);
    }

    /// Moves notes and one batch of a replica into the group; gives the batch's weight, or nothing when the
    /// replica has to wait for the next group.
    fn turn(&mut self, replica: ReplicaId, group: &mut Group) -> Option<usize> {
        let mut taken = 0;
        if let Some(queue) = self.waiting.get_mut(&replica) {
            while let Some(Item::Stored(receipt)) = queue.front() {
                if group.batches.iter().any(|one| one.replica == replica) {
                    return None;
                }
                group.stored.push((replica, *receipt));
                queue.pop_front();
            }
            if let Some(Item::Batch(submitted)) = queue.pop_front() {
                taken = weight(&submitted);
                group.batches.push(submitted);
            }
            if queue.is_empty() {
                self.waiting.remove(&replica);
            }
        }
        self.changes -= taken;
        Some(taken)
    }
}

/// What judging a batch costs, in changes; an empty one is not free.
fn weight(submitted: &Submitted) -> usize {
    let changes = submitted.batch.documents.iter().map(|document| document.changes.len());
    changes.sum::<usize>().max(1)
}

#[cfg(test)]
mod tests {
    use crdt_core::id::{BatchId, MemberId};
    use crdt_core::protocol::{Batch, DocumentChanges, DocumentRef, SentChange};

    use super::*;

    fn replica(n: u8) -> ReplicaId {
        ReplicaId([n; 12])
    }

    /// A batch of so many changes.
    fn batch(n: u8, number: u64, changes: usize) -> Submitted {
        let change = crdt_core::record::seed(crdt_core::record::SeedKind::Counter, "visits");
        let change = SentChange::new(&change, &change.encode().hash, None);
        let document = DocumentRef::Number(1);
        let documents = vec![DocumentChanges { document, changes: vec![change; changes] }];
        let (schema_version, policy_version) = (1, 0);
        let id = BatchId([n; 16]);
        let batch = Batch { id, number, schema_version, policy_version, documents };
        Submitted { replica: replica(n), member: MemberId(uuid::Uuid::nil()), batch }
    }

    fn names(group: &Group) -> Vec<(u8, u64)> {
        group.batches.iter().map(|one| (one.replica.0[0], one.batch.number)).collect()
    }

    #[test]
    fn who_hands_in_little_does_not_wait_for_who_hands_in_much() {
        let mut turns = Turns::default();
        for number in 0..3 * GROUP_CHANGES_MAX as u64 {
            turns.put(batch(1, number, 1));
            turns.put(batch(2, number, 1));
        }
        assert_eq!(turns.take().batches.len(), GROUP_CHANGES_MAX);
        turns.put(batch(3, 7, 1));
        let group = turns.take();
        assert_eq!(names(&group)[0], (3, 7));
        let of = |n: u8| group.batches.iter().filter(|one| one.replica == replica(n)).count();
        assert!(of(1).abs_diff(of(2)) <= 1, "{} and {}", of(1), of(2));
    }

    #[test]
    fn the_order_of_one_replica_is_kept_and_nothing_gets_lost() {
        let mut turns = Turns::default();
        let (mut numbers, mut seen) = ([0; 4], [0; 4]);
        for round in 0..200_usize {
            for (n, number) in (0..).zip(&mut numbers) {
                for _ in 0..(round * (usize::from(n) + 3)) % 5 {
                    turns.put(batch(n, *number, 1 + usize::from(n) * 9));
                    *number += 1;
                }
                turns.put_stored(replica(n), *number);
            }
            for (n, number) in names(&turns.take()) {
                assert_eq!(number, seen[n as usize]);
                seen[n as usize] += 1;
            }
        }
        while !turns.is_empty() {
            names(&turns.take()).iter().for_each(|(n, _)| seen[*n as usize] += 1);
        }
        assert_eq!((seen, turns.changes), (numbers, 0));
    }

    #[test]
    fn a_batch_larger_than_a_commit_is_a_commit_of_its_own() {
        let mut turns = Turns::default();
        turns.put(batch(1, 0, 3 * GROUP_CHANGES_MAX));
        turns.put(batch(1, 1, 1));
        turns.put(batch(2, 0, 1));
        assert_eq!(names(&turns.take()), [(1, 0)]);
        assert_eq!(names(&turns.take()), [(2, 0), (1, 1)]);
    }

    #[test]
    fn what_was_handed_in_before_a_note_is_judged_before_it() {
        let mut turns = Turns::default();
        turns.put_stored(replica(1), 4);
        turns.put(batch(1, 1, 1));
        turns.put(batch(1, 2, 1));
        turns.put_stored(replica(1), 5);
        turns.put(batch(1, 3, 1));
        turns.put(batch(2, 1, 1));
        let first = turns.take();
        assert_eq!(names(&first), [(1, 1), (2, 1), (1, 2)]);
        assert_eq!(first.stored, [(replica(1), 4)]);
        let second = turns.take();
        assert_eq!((names(&second), second.stored), (vec![(1, 3)], vec![(replica(1), 5)]));
        assert!(turns.is_empty());
    }

    #[test]
    fn all_of_one_replica_can_be_taken_out_of_turn_or_forgotten() {
        let mut turns = Turns::default();
        for n in [1, 2, 1, 3] {
            turns.put(batch(n, u64::from(n), 1));
        }
        turns.put_stored(replica(1), 9);
        assert_eq!(names(&turns.take_of(replica(1)).unwrap()), [(1, 1), (1, 1)]);
        assert_eq!(turns.take_of(replica(1)).unwrap().stored, [(replica(1), 9)]);
        assert!(turns.take_of(replica(1)).is_none());
        turns.forget(replica(3));
        assert_eq!(names(&turns.take()), [(2, 2)]);
        assert!(turns.is_empty() && turns.take().batches.is_empty());
        assert_eq!((turns.changes, turns.fresh.len(), turns.others.len()), (0, 0, 0));
    }

    #[test]
    fn it_is_full_before_it_holds_more_than_a_moments_work() {
        let mut turns = Turns::default();
        while !turns.is_full() {
            turns.put(batch(1, 0, 1_000));
        }
        assert_eq!(turns.changes, WAITING_CHANGES_MAX);
        turns.clear();
        assert!(turns.is_empty() && !turns.is_full());
    }
}
