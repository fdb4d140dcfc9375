//! Whose batches are judged next, when there are more than one commit takes: who hands in little comes before
//! who hands in much. Knows nothing of judging.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crdt_core::id::ReplicaId;

use crate::workspace::Submitted;

/// Changes of one commit: enough that the disk's share of each change is small. A lone edit does not wait for
/// all of them: the commit ends early for it.
const GROUP_CHANGES_MAX: usize = 512;
/// Changes that wait here before no more are taken from the connections, which then wait themselves.
const WAITING_CHANGES_MAX: usize = 20_000;
/// Changes that wait before others are left out for somebody: fewer take no longer than a commit itself.
const CROWD_CHANGES: usize = 64;

/// What waits, of each replica in its order.
#[derive(Default)]
pub(super) struct Turns {
    waiting: BTreeMap<ReplicaId, VecDeque<Item>>,
    /// Replicas of which nothing waited and nothing was being judged when something came: their turn comes
    /// first.
    fresh: VecDeque<ReplicaId>,
    /// Replicas that have had a turn and have more: one batch each, in turn.
    others: VecDeque<ReplicaId>,
    /// Notes of replicas of which nothing waits.
    stored: Vec<(ReplicaId, u64)>,
    /// Replicas of which something is in the commit under way.
    judging: BTreeSet<ReplicaId>,
    /// Whether that commit left the others out.
    has_made_way: bool,
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
        self.waiting.is_empty() && self.stored.is_empty()
    }

    /// Whether so much waits that no more should be taken.
    pub(super) fn is_full(&self) -> bool {
        self.changes >= WAITING_CHANGES_MAX
    }

    /// Whether somebody waits who hands in little.
    pub(super) fn are_pressing(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// A batch waits behind what the replica has handed in before.
    pub(super) fn put(&mut self, submitted: Submitted) {
        self.changes += weight(&submitted);
        self.push(submitted.replica, Item::Batch(submitted));
    }

    /// So does the note of which receipts it has stored.
    pub(super) fn put_stored(&mut self, replica: ReplicaId, receipt: u64) {
        if self.waiting.contains_key(&replica) || self.judging.contains(&replica) {
            self.push(replica, Item::Stored(receipt));
        } else {
            self.stored.push((replica, receipt));
        }
    }

    fn push(&mut self, replica: ReplicaId, item: Item) {
        let queue = self.waiting.entry(replica).or_default();
        if queue.is_empty() {
            let line =
                if self.judging.contains(&replica) { &mut self.others } else { &mut self.fresh };
            line.push_back(replica);
        }
        queue.push_back(item);
    }

    /// A commit is over. The batches that it left wait on, before what their replicas handed in since.
    pub(super) fn judged(&mut self, left: impl DoubleEndedIterator<Item = Submitted>) {
        self.judging.clear();
        for submitted in left.rev() {
            self.changes += weight(&submitted);
            let replica = submitted.replica;
            let queue = self.waiting.entry(replica).or_default();
            if queue.is_empty() {
                self.others.push_front(replica);
            }
            queue.push_front(Item::Batch(submitted));
        }
    }

    /// The next commit's work: every other one may be for those who hand in little alone.
    pub(super) fn take(&mut self) -> Group {
        let mut group = Group { stored: std::mem::take(&mut self.stored), ..Group::default() };
        let (mut changes, mut later) = (0, Vec::new());
        let is_crowd = !self.others.is_empty() && self.changes >= CROWD_CHANGES;
        let makes_way = is_crowd && !self.fresh.is_empty() && !self.has_made_way;
        self.has_made_way = makes_way;
        while changes < GROUP_CHANGES_MAX
            && let Some(replica) = self.next_in_line(makes_way)
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
        self.judging = group.batches.iter().map(|one| one.replica).collect();
        group
    }

    fn next_in_line(&mut self, only_fresh: bool) -> Option<ReplicaId> {
        let fresh = self.fresh.pop_front();
        fresh.or_else(|| if only_fresh { None } else { self.others.pop_front() })
    }

    /// What a replica has handed in, up to the first note behind a batch; nothing when it has handed nothing in.
    pub(super) fn take_of(&mut self, replica: ReplicaId) -> Option<Group> {
        let mut group = Group { stored: std::mem::take(&mut self.stored), ..Group::default() };
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
        assert!(!turns.are_pressing());
        turns.put(batch(3, 7, 1));
        assert!(turns.are_pressing());
        assert_eq!(names(&turns.take()), [(3, 7)]);
        assert!(!turns.are_pressing());
        turns.put(batch(4, 1, 1));
        let group = turns.take();
        assert_eq!(names(&group)[0], (4, 1));
        let of = |n: u8| group.batches.iter().filter(|one| one.replica == replica(n)).count();
        assert!(of(1) > 0 && of(1).abs_diff(of(2)) <= 1, "{} and {}", of(1), of(2));
    }

    #[test]
    fn who_hands_in_much_is_not_passed_over_for_ever() {
        let mut turns = Turns::default();
        (0..100).for_each(|number| turns.put(batch(1, number, 1)));
        let mut judged = 0;
        for round in 0..200 {
            turns.put(batch(2 + (round % 2), u64::from(round), 1));
            judged += turns.take().batches.iter().filter(|one| one.replica == replica(1)).count();
        }
        assert_eq!(judged, 100);
    }

    #[test]
    fn what_comes_while_the_same_is_judged_waits_behind_the_others() {
        let mut turns = Turns::default();
        turns.put(batch(1, 0, 1));
        assert_eq!(names(&turns.take()), [(1, 0)]);
        turns.put(batch(1, 1, 1));
        assert!(!turns.are_pressing());
        turns.put(batch(2, 0, 1));
        assert_eq!(names(&turns.take()), [(2, 0), (1, 1)]);
    }

    #[test]
    fn a_note_alone_presses_nobody() {
        let mut turns = Turns::default();
        turns.put_stored(replica(1), 3);
        assert!(!turns.are_pressing() && !turns.is_empty());
        turns.put(batch(1, 4, 1));
        assert!(turns.are_pressing());
        let group = turns.take();
        assert_eq!((names(&group), group.stored), (vec![(1, 4)], vec![(replica(1), 3)]));
    }

    #[test]
    fn what_a_commit_left_comes_next_in_its_order() {
        let mut turns = Turns::default();
        (0..3).for_each(|number| turns.put(batch(1, number, 2)));
        turns.put(batch(2, 0, 1));
        let mut group = turns.take();
        assert_eq!(names(&group), [(1, 0), (2, 0), (1, 1), (1, 2)]);
        turns.put(batch(1, 3, 2));
        turns.put_stored(replica(2), 9);
        turns.judged(group.batches.drain(1..));
        assert_eq!(turns.changes, 7);
        let group = turns.take();
        assert_eq!((names(&group), group.stored), (vec![(1, 1), (2, 0), (1, 2), (1, 3)], vec![]));
        assert_eq!(turns.take().stored, [(replica(2), 9)]);
        assert!(turns.is_empty());
        assert_eq!(turns.changes, 0);
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
    fn what_a_commit_left_is_forgotten_with_what_waits() {
        let mut turns = Turns::default();
        (0..3).for_each(|number| turns.put(batch(1, number, 1)));
        turns.put(batch(2, 0, 1));
        let mut group = turns.take();
        turns.judged(group.batches.drain(1..));
        turns.put(batch(1, 3, 1));
        turns.forget(replica(1));
        assert_eq!(names(&turns.take()), [(2, 0)]);
        assert!(turns.is_empty() && turns.changes == 0);
    }

    #[test]
    fn who_was_answered_comes_first_again() {
        let mut turns = Turns::default();
        turns.put(batch(1, 0, 1));
        assert_eq!(turns.take().batches.len(), 1);
        turns.judged(std::iter::empty());
        turns.put(batch(1, 1, 1));
        assert!(turns.are_pressing());
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
