//! Writing unanswered changes again under another incarnation: the same operations, under a new actor and
//! at corrected times, without those that fell with a refusal. What stood on a fallen change stands on that
//! change's own past instead, so nothing is replaced that its author had not seen. Only changes that
//! certainly were never accepted may be written again.

mod names;
mod prose;

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ActorId, ChangeHash};
use crate::planted::{Bug, planted};
use crate::time::Timestamp;

use super::shape::CREATED_AT;
use super::{Action, Cells, Change, Clock, DELETED, EncodedChange, Op, OpId, Scalar};
use names::{Name, Names};
use prose::Prose;

/// How changes are written again.
pub struct Reauthor<'a> {
    /// The new incarnation's actor.
    pub actor: ActorId,
    /// The corrected edit time of each.
    pub time: &'a dyn Fn(Timestamp) -> Timestamp,
    /// The largest operation counter of an accepted change. Asked only for what the unanswered changes do
    /// not tell by themselves: a caller may load the document to answer.
    pub max_op: &'a dyn Fn(&ChangeHash) -> Option<u64>,
}

/// An unanswered change of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Unanswered {
    /// What it does.
    pub change: Change,
    /// Its hash so far.
    pub hash: ChangeHash,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of an unanswered change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is written again.
    Kept,
    /// It is left out: its batch was refused, or accepted in another form.
    Fallen,
}

/// A change that was written again.
#[derive(Debug, Clone, PartialEq)]
pub struct Again {
    /// The place of the change that it stands for, or (a seed whose own batch fell) comes in front of.
    pub place: usize,
    /// What it does now.
    pub change: Change,
    /// Its bytes and hash.
    pub encoded: EncodedChange,
}

/// A document's unanswered changes, written again.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// In their order. A change that only took back or went on with what fell is not among them.
    pub changes: Vec<Again>,
    /// The document with them; texts are filled in by the caller from the document.
    pub cells: Cells,
}

/// A change depends on an accepted one that nobody knows any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the accepted change {0}, on which an unanswered one depends, is not known any more")]
pub struct UnknownPast(pub ChangeHash);

/// Writes a document's unanswered changes again, in their order. `base` is its accepted state.
///
/// # Errors
/// When the past of a change cannot be told; nothing was written then.
pub fn reauthor(
    how: &Reauthor<'_>,
    base: &Cells,
    unanswered: &[Unanswered],
) -> Result<Rewritten, UnknownPast> {
    let mut writer = Writer::new(how, base, unanswered);
    for (place, one) in unanswered.iter().enumerate() {
        let seed = one.change.as_seed().is_some();
        let stand = match (seed, one.fate) {
            (true, Fate::Kept) => writer.keep_seed(place, one),
            (true, Fate::Fallen) => writer.drop_seed(one),
            (false, Fate::Kept) => {
                let past = writer.past(&one.change)?;
                writer.keep(place, &one.change, past)
            }
            (false, Fate::Fallen) => {
                writer.drop(&one.change);
                writer.past(&one.change)?
            }
        };
        writer.origins.insert(one.hash, Origin { stand, was_max_op: one.change.max_op() });
    }
    Ok(Rewritten { changes: writer.written, cells: writer.cells })
}

/// What stands in the place of a change for those that depend on it.
#[derive(Debug, Clone, Default)]
struct Stand {
    deps: BTreeSet<ChangeHash>,
    /// The largest operation counter of that past.
    max_op: u64,
}

/// An unanswered change as it was, and what stands in its place.
struct Origin {
    stand: Stand,
    was_max_op: u64,
}

struct Writer<'a> {
    how: &'a Reauthor<'a>,
    base: &'a Cells,
    cells: Cells,
    origins: BTreeMap<ChangeHash, Origin>,
    names: Names,
    /// Followed only when characters fell.
    prose: Option<Prose>,
    /// Values that a fallen removal had taken away: its author has seen them, so the next write covers them.
    uncovered: BTreeMap<String, BTreeSet<OpId>>,
    /// The first unanswered operation counter of each old actor.
    first: BTreeMap<ActorId, u64>,
    /// For each kept change its old actor, its last counter, and its last counter now.
    reached: Vec<(ActorId, u64, u64)>,
    /// Fields whose seed is needed by what is kept.
    needed: BTreeSet<&'a str>,
    /// Seeds whose batch fell and that come again with the first change that needs them.
    waiting: BTreeMap<ChangeHash, Change>,
    /// Actors of seeds that are gone.
    gone: BTreeSet<ActorId>,
    /// What the written changes depend on, and the last of them.
    covered: BTreeSet<ChangeHash>,
    last: Option<ChangeHash>,
    written: Vec<Again>,
}

impl<'a> Writer<'a> {
    fn new(how: &'a Reauthor<'a>, base: &'a Cells, unanswered: &'a [Unanswered]) -> Self {
        let mut first = BTreeMap::new();
        let mut needed = BTreeSet::new();
        let mut characters_fell = false;
        for one in unanswered.iter().filter(|one| one.change.as_seed().is_none()) {
            let start = one.change.start_op;
            let first = first.entry(one.change.actor).or_insert(start);
            *first = start.min(*first);
            if one.fate == Fate::Fallen {
                characters_fell |= one.change.touches_text();
                continue;
            }
            let uses_seed = |op: &&Op| op.is_text() || matches!(op.action, Action::Increment(_));
            needed.extend(one.change.ops.iter().filter(uses_seed).map(|op| op.key.as_str()));
        }
        Self {
            how,
            base,
            cells: base.clone(),
            origins: BTreeMap::new(),
            names: Names::default(),
            prose: characters_fell.then(Prose::default),
            uncovered: BTreeMap::new(),
            first,
            reached: Vec::new(),
            needed,
            waiting: BTreeMap::new(),
            gone: BTreeSet::new(),
            covered: BTreeSet::new(),
            last: None,
            written: Vec::new(),
        }
    }

    /// What a change depends on from now on.
    fn past(&self, change: &Change) -> Result<Stand, UnknownPast> {
        if planted(Bug::RebaseCovers) {
            let deps = self.cells.heads().iter().copied().collect();
            return Ok(Stand { deps, max_op: self.cells.max_op() });
        }
        let mut stand = Stand::default();
        let mut accepted = Vec::new();
        let mut was_max_op = 0;
        let mut unchanged = true;
        for dep in &change.deps {
            let Some(origin) = self.origins.get(dep) else {
                accepted.push(*dep);
                continue;
            };
            stand.deps.extend(&origin.stand.deps);
            stand.max_op = stand.max_op.max(origin.stand.max_op);
            was_max_op = was_max_op.max(origin.was_max_op);
            unchanged &= origin.stand.max_op == origin.was_max_op;
        }
        // A change starts right after its past, so it tells how far the past as a whole reached.
        let reached = change.start_op - 1;
        if unchanged || (reached > was_max_op && !accepted.is_empty()) {
            stand.max_op = stand.max_op.max(reached);
        } else {
            for dep in &accepted {
                let max_op = (self.how.max_op)(dep).ok_or(UnknownPast(*dep))?;
                stand.max_op = stand.max_op.max(max_op);
            }
        }
        stand.deps.extend(accepted);
        Ok(stand)
    }

    fn keep_seed(&mut self, place: usize, one: &Unanswered) -> Stand {
        self.push(place, one.change.clone());
        Stand { deps: BTreeSet::from([one.hash]), max_op: one.change.max_op() }
    }

    /// A seed is the same from whoever brings it: where what is kept needs it, it comes with that.
    fn drop_seed(&mut self, one: &Unanswered) -> Stand {
        let key = one.change.ops.first().map_or("", |op| op.key.as_str());
        if !self.needed.contains(key) {
            self.gone.insert(one.change.actor);
            return Stand::default();
        }
        self.waiting.insert(one.hash, one.change.clone());
        Stand { deps: BTreeSet::from([one.hash]), max_op: one.change.max_op() }
    }

    fn keep(&mut self, place: usize, change: &Change, past: Stand) -> Stand {
        let start_op = past.max_op + 1;
        let time = (self.how.time)(change.time);
        let mut ops = Vec::with_capacity(change.ops.len());
        let mut counter = start_op;
        for (id, op) in change.ops_with_ids() {
            let now = OpId { counter, actor: self.how.actor };
            for op in self.op(op, id, now, (change.time, time)) {
                counter += op.len();
                ops.push(op);
            }
        }
        if ops.is_empty() {
            return past;
        }
        for dep in &past.deps {
            if let Some(seed) = self.waiting.remove(dep) {
                self.push(place, seed);
            }
        }
        let mut deps: Vec<ChangeHash> = past.deps.into_iter().collect();
        if let Some(last) = self.last.filter(|last| deps.contains(last)) {
            deps.retain(|dep| *dep == last || !self.covered.contains(dep));
        }
        let seq = self.cells.seq(&self.how.actor) + 1;
        let again = Change { actor: self.how.actor, seq, start_op, time, deps, ops };
        let max_op = again.max_op();
        self.reached.push((change.actor, change.max_op(), max_op));
        let hash = self.push(place, again);
        self.last = Some(hash);
        Stand { deps: BTreeSet::from([hash]), max_op }
    }

    fn push(&mut self, place: usize, change: Change) -> ChangeHash {
        let encoded = change.encode();
        let hash = encoded.hash;
        self.cells.apply(&change, hash);
        self.covered.extend(&change.deps);
        self.written.push(Again { place, change, encoded });
        hash
    }

    /// Notes what a fallen change would have done.
    fn drop(&mut self, change: &Change) {
        for (id, op) in change.ops_with_ids() {
            match &op.action {
                Action::Put(_) | Action::MakeText => {
                    let mut seen = self.names.preds(&op.preds);
                    seen.extend(self.uncovered.get(&op.key).into_iter().flatten());
                    self.names.note(id, op.len(), Name::Fallen(seen));
                }
                Action::Remove => {
                    let seen = self.names.preds(&op.preds);
                    self.uncovered.entry(op.key.clone()).or_default().extend(seen);
                }
                Action::Insert { after, .. } => {
                    self.names.note(id, op.len(), Name::Fallen(BTreeSet::new()));
                    if let Some(prose) = &mut self.prose {
                        prose.insert(&op.key, *after, (id, op.len()), None);
                    }
                }
                Action::Increment(_) | Action::Erase { .. } => {}
            }
        }
    }

    /// What an operation becomes: nothing when it only took back what fell, several when an erasure is cut.
    fn op(&mut self, op: &Op, id: OpId, now: OpId, (was, time): (Timestamp, Timestamp)) -> Vec<Op> {
        let action = match &op.action {
            Action::Put(Scalar::Bytes(bytes)) if op.key == DELETED => {
                Action::Put(Scalar::Bytes(self.clock(bytes).to_bytes()))
            }
            // A record is created when its first change is made.
            Action::Put(Scalar::Timestamp(at)) if op.key == CREATED_AT && *at == was => {
                Action::Put(Scalar::Timestamp(time))
            }
            Action::Insert { after, text } => {
                let element = after.and_then(|element| self.element(&op.key, element));
                self.names.note(id, op.len(), Name::Again(now));
                if let Some(prose) = &mut self.prose {
                    prose.insert(&op.key, *after, (id, op.len()), Some(now));
                }
                Action::Insert { after: element, text: text.clone() }
            }
            Action::Erase { from, count } => {
                let erase =
                    |(from, count)| Op { action: Action::Erase { from, count }, ..op.clone() };
                return self.names.runs(*from, *count).into_iter().map(erase).collect();
            }
            same => same.clone(),
        };
        let mut preds = self.names.preds(&op.preds);
        if planted(Bug::RebaseCovers) {
            preds.extend(self.cells.live(&op.key).iter().map(|live| live.id));
        }
        if matches!(action, Action::Put(_) | Action::Remove) {
            preds.extend(self.uncovered.remove(&op.key).unwrap_or_default());
        }
        if matches!(action, Action::Remove) && preds.is_empty() {
            return Vec::new();
        }
        if matches!(action, Action::Put(_) | Action::MakeText) {
            self.names.note(id, op.len(), Name::Again(now));
        }
        vec![Op { key: op.key.clone(), action, preds: preds.into_iter().collect() }]
    }

    /// The element after which one inserts from now on: the same, or the nearest before it that is left.
    fn element(&self, field: &str, element: OpId) -> Option<OpId> {
        match self.names.of(element) {
            None => Some(element),
            Some(Name::Again(now)) => Some(now),
            Some(Name::Fallen(_)) => self.prose.as_ref()?.before(field, element),
        }
    }

    /// What a deleter has seen, under the new names.
    fn clock(&self, bytes: &[u8]) -> Clock {
        let mut seen = Clock::default();
        for (actor, counter) in Clock::from_bytes(bytes).unwrap_or_default().iter() {
            match self.first.get(actor) {
                _ if self.gone.contains(actor) => {}
                Some(first) if counter >= *first => {
                    let accepted = self.base.max_op_of(actor);
                    if accepted > 0 {
                        seen.extend(*actor, accepted);
                    }
                    let mut reached = self.reached.iter().rev();
                    if let Some((.., now)) =
                        reached.find(|(old, last, _)| old == actor && *last <= counter)
                    {
                        seen.extend(self.how.actor, *now);
                    }
                }
                Some(_) | None => seen.extend(*actor, counter),
            }
        }
        seen
    }
}
