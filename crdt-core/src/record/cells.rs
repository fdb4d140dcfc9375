//! Cells: the live operations of a document by key. What it says now, without its history.

mod codec;
mod origin;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{ActorId, ChangeHash};
use crate::planted::{Bug, planted};
use crate::time::Timestamp;

use super::{Action, Change, Clock, OpId, Scalar};

pub use codec::StoredCellsError;

/// What a document says now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cells {
    pub(super) heads: Vec<ChangeHash>,
    pub(super) actors: BTreeMap<ActorId, Written>,
    pub(super) last: Option<LastEdit>,
    /// Shared by copies until one of them is written to: an edit keeps several of what was before it.
    pub(super) keys: Arc<BTreeMap<String, Vec<LiveOp>>>,
}

/// How far an actor has written in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) seq: u64,
    pub(super) max_op: u64,
}

/// The latest edit of a document, by time, then operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastEdit {
    /// When it was made.
    pub time: Timestamp,
    /// Its last operation: the actor is its author.
    pub op: OpId,
}

/// One live value of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveOp {
    /// The operation that wrote it.
    pub id: OpId,
    /// What it says.
    pub value: Live,
    /// When it was written; 0 for a seed.
    pub time: Timestamp,
}

/// A live value: a scalar (a counter with its total), or a text with its contents.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// A value written as a whole, or a counter's total.
    Scalar(Scalar),
    /// A text's contents, as the loaded document gave them last.
    Text(String),
}

impl Cells {
    /// The changes that no other change depends on, sorted.
    #[must_use]
    pub fn heads(&self) -> &[ChangeHash] {
        &self.heads
    }

    /// The largest operation counter of the document; 0 when it is empty.
    #[must_use]
    pub fn max_op(&self) -> u64 {
        self.actors.values().map(|written| written.max_op).max().unwrap_or(0)
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The sequence number of the actor's last change; 0 when it wrote nothing.
    #[must_use]
    pub fn seq(&self, actor: &ActorId) -> u64 {
        self.actors.get(actor).map_or(0, |written| written.seq)
    }

    /// The counter of the actor's last operation; 0 when it wrote nothing.
    #[must_use]
    pub fn max_op_of(&self, actor: &ActorId) -> u64 {
        self.actors.get(actor).map_or(0, |written| written.max_op)
    }

    /// How many actors wrote in it.
    #[must_use]
    pub fn actor_count(&self) -> usize {
        self.actors.len()
    }

    /// What the document covers: for each actor its largest operation counter.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let mut clock = Clock::default();
        for (actor, written) in &self.actors {
            clock.extend(*actor, written.max_op);
        }
        clock
    }

    /// The latest edit.
    #[must_use]
    pub const fn last_edit(&self) -> Option<LastEdit> {
        self.last
    }

    /// The live operations of a key, by operation id; empty when it has none.
    #[must_use]
    pub fn live(&self, key: &str) -> &[LiveOp] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// Every key that has live operations, in order.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &[LiveOp])> {
        self.keys.iter().map(|(key, ops)| (key.as_str(), ops.as_slice()))
    }

    /// How many keys are live.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The members of a set, in order.
    pub fn members<'a>(&'a self, set: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.keys
            .range(format!("{set}/")..)
            .map_while(move |(key, _)| key.strip_prefix(set)?.strip_prefix('/'))
    }

    /// Whether the change is already in: an actor's changes come in the order of their numbers.
    #[must_use]
    pub fn holds(&self, change: &Change) -> bool {
        self.seq(&change.actor) >= change.seq
    }

    /// The text objects and the fields they belong to.
    #[must_use]
    pub fn text_objects(&self) -> BTreeMap<OpId, String> {
        let texts = self.keys.iter().flat_map(|(key, ops)| {
            ops.iter()
                .filter(|op| matches!(op.value, Live::Text(_)))
                .map(move |op| (op.id, key.clone()))
        });
        texts.collect()
    }

    /// Takes in a change that the document does not hold and whose dependencies it does. Characters of a
    /// text are not in the operations' reach: [`Cells::set_text`] brings them.
    pub fn apply(&mut self, change: &Change, hash: ChangeHash) {
        for (id, op) in change.ops_with_ids() {
            match &op.action {
                Action::Put(scalar) => {
                    let value = Live::Scalar(scalar.clone());
                    self.write(&op.key, &op.preds, LiveOp { id, value, time: change.time });
                }
                Action::MakeText => {
                    let value = Live::Text(String::new());
                    self.write(&op.key, &op.preds, LiveOp { id, value, time: change.time });
                }
                Action::Remove => self.remove(&op.key, &op.preds),
                Action::Increment(by) => self.increment(&op.key, &op.preds, *by),
                Action::Insert { .. } | Action::Erase { .. } => {}
            }
        }
        self.heads.retain(|head| !change.deps.contains(head));
        if let Err(place) = self.heads.binary_search(&hash) {
            self.heads.insert(place, hash);
        }
        let written = Written { seq: change.seq, max_op: change.max_op() };
        self.actors.insert(change.actor, written);
        if change.time.as_millis() != 0 {
            let op = OpId { counter: change.max_op(), actor: change.actor };
            self.last = self.last.max(Some(LastEdit { time: change.time, op }));
        }
    }

    /// Notes what a field's text says, as its document gave it.
    pub fn set_text(&mut self, field: &str, contents: String) {
        let mut live = Arc::make_mut(&mut self.keys).get_mut(field).into_iter().flatten();
        if let Some(op) = live.rfind(|op| matches!(op.value, Live::Text(_))) {
            op.value = Live::Text(contents);
        }
    }

    fn write(&mut self, key: &str, preds: &[OpId], op: LiveOp) {
        let keys = Arc::make_mut(&mut self.keys);
        let live = keys.entry(key.to_owned()).or_default();
        live.retain(|old| !preds.contains(&old.id) || planted(Bug::OverwrittenKept));
        let place = live.partition_point(|old| old.id < op.id);
        live.insert(place, op);
    }

    fn remove(&mut self, key: &str, preds: &[OpId]) {
        let keys = Arc::make_mut(&mut self.keys);
        if let Some(live) = keys.get_mut(key) {
            live.retain(|old| !preds.contains(&old.id) && !planted(Bug::RemoveBeatsAdd));
            if live.is_empty() {
                keys.remove(key);
            }
        }
    }

    fn increment(&mut self, key: &str, preds: &[OpId], by: i64) {
        for op in Arc::make_mut(&mut self.keys).get_mut(key).into_iter().flatten() {
            if let (true, Live::Scalar(Scalar::Counter(total))) =
                (preds.contains(&op.id), &mut op.value)
            {
                *total = total.saturating_add(by);
            }
        }
    }
}
