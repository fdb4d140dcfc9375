//! Writing unanswered changes again under another incarnation: the same operations, under a new actor and
//! at corrected times. Only changes that certainly were never accepted may be written again.

use std::collections::BTreeMap;

use crate::id::{ActorId, ChangeHash};
use crate::time::Timestamp;

use super::shape::CREATED_AT;
use super::{Action, Cells, Change, Clock, DELETED, EncodedChange, Op, OpId, Scalar};

/// How changes are written again.
pub struct Reauthor<'a> {
    /// The new incarnation's actor.
    pub actor: ActorId,
    /// The corrected edit time of each.
    pub time: &'a dyn Fn(Timestamp) -> Timestamp,
}

/// Writes a document's unanswered changes again, in their order. `base` is its accepted state. The second
/// result is the document with the new changes; texts are filled in by the caller from the document.
#[must_use]
pub fn reauthor(
    how: &Reauthor<'_>,
    base: &Cells,
    pending: &[(Change, ChangeHash)],
) -> (Vec<(Change, EncodedChange)>, Cells) {
    let mut cells = base.clone();
    let mut renamed = Renamed { actor: how.actor, spans: BTreeMap::new(), hashes: BTreeMap::new() };
    for (change, _) in pending.iter().filter(|(change, _)| change.as_seed().is_none()) {
        let accepted = base.max_op_of(&change.actor);
        renamed.spans.entry(change.actor).or_insert(accepted);
    }
    let mut written = Vec::with_capacity(pending.len());
    for (change, hash) in pending {
        let again = if change.as_seed().is_some() {
            change.clone()
        } else {
            renamed.change(change, cells.seq(&how.actor) + 1, (how.time)(change.time))
        };
        let encoded = again.encode();
        renamed.hashes.insert(*hash, encoded.hash);
        cells.apply(&again, encoded.hash);
        written.push((again, encoded));
    }
    (written, cells)
}

/// The names that change: operations of the old actors above what was accepted, and hashes.
struct Renamed {
    actor: ActorId,
    spans: BTreeMap<ActorId, u64>,
    hashes: BTreeMap<ChangeHash, ChangeHash>,
}

impl Renamed {
    fn id(&self, id: OpId) -> OpId {
        match self.spans.get(&id.actor) {
            Some(accepted) if id.counter > *accepted => OpId { actor: self.actor, ..id },
            _ => id,
        }
    }

    fn change(&self, change: &Change, seq: u64, time: Timestamp) -> Change {
        let mut deps: Vec<ChangeHash> =
            change.deps.iter().map(|dep| *self.hashes.get(dep).unwrap_or(dep)).collect();
        deps.sort_unstable();
        let ops = change.ops.iter().flat_map(|op| self.op(op, change.time, time)).collect();
        Change { actor: self.actor, seq, start_op: change.start_op, time, deps, ops }
    }

    fn op(&self, op: &Op, was: Timestamp, now: Timestamp) -> Vec<Op> {
        let mut preds: Vec<OpId> = op.preds.iter().map(|pred| self.id(*pred)).collect();
        preds.sort_unstable();
        let action = match &op.action {
            Action::Put(Scalar::Bytes(bytes)) if op.key == DELETED => {
                let mut clock = Clock::from_bytes(bytes).unwrap_or_default();
                for (old, accepted) in &self.spans {
                    clock.rename(*old, *accepted, self.actor);
                }
                Action::Put(Scalar::Bytes(clock.to_bytes()))
            }
            // A record is created when its first change is made.
            Action::Put(Scalar::Timestamp(at)) if op.key == CREATED_AT && *at == was => {
                Action::Put(Scalar::Timestamp(now))
            }
            Action::Insert { after, text } => {
                Action::Insert { after: after.map(|id| self.id(id)), text: text.clone() }
            }
            Action::Erase { from, count } => {
                let runs = self.runs(*from, *count).into_iter();
                let erase =
                    |(from, count)| Op { action: Action::Erase { from, count }, ..op.clone() };
                return runs.map(erase).collect();
            }
            same => same.clone(),
        };
        vec![Op { key: op.key.clone(), action, preds }]
    }

    /// A run of elements may begin in accepted text and end in unaccepted: it is cut where the names part.
    fn runs(&self, from: OpId, count: u32) -> Vec<(OpId, u32)> {
        let accepted = self.spans.get(&from.actor).copied().unwrap_or(u64::MAX);
        let kept = accepted.saturating_add(1).saturating_sub(from.counter).min(u64::from(count));
        let kept = u32::try_from(kept).expect("it is at most the count, which has 32 bits");
        let rest = OpId { counter: from.counter + u64::from(kept), ..from };
        [(from, kept), (self.id(rest), count - kept)].into_iter().filter(|(_, n)| *n > 0).collect()
    }
}
