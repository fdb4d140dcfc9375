//! A change as operations, and its one encoding: Automerge's own bytes and hash.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use automerge::legacy;
use sha2::{Digest, Sha256};

use crate::id::{ActorId, ChangeHash};
use crate::time::Timestamp;

use super::seed;
use super::{Action, Cells, Op, OpId, Scalar};

/// A group of operations by one actor: Automerge's change, in our vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Who made it.
    pub actor: ActorId,
    /// Its place among the actor's changes of this document, from 1.
    pub seq: u64,
    /// The counter of its first operation.
    pub start_op: u64,
    /// When it was made; 0 for a seed.
    pub time: Timestamp,
    /// The heads that its author saw, sorted.
    pub deps: Vec<ChangeHash>,
    /// What it does.
    pub ops: Vec<Op>,
}

/// A change in Automerge's encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChange {
    /// SHA-256 of the bytes, as Automerge computes it.
    pub hash: ChangeHash,
    /// Automerge's bytes, uncompressed.
    pub bytes: Vec<u8>,
}

/// Stored bytes are not a change of ours: the row is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredChangeError {
    /// Automerge cannot read them.
    #[error("a stored change cannot be read: {0}")]
    Unreadable(String),
    /// Their hash is not the one stored beside them.
    #[error("a stored change has hash {found}, its row says {expected}")]
    Hash {
        /// What the row says.
        expected: ChangeHash,
        /// What the bytes have.
        found: ChangeHash,
    },
    /// An operation is outside our vocabulary.
    #[error("a stored change holds an operation that Fieldbook does not write")]
    Foreign,
}

impl Change {
    /// How many Automerge operations it holds.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        self.ops.iter().map(Op::len).sum()
    }

    /// The counter of its last operation.
    #[must_use]
    pub fn max_op(&self) -> u64 {
        self.start_op.saturating_add(self.op_count().saturating_sub(1))
    }

    /// Whether it touches the inside of a text object.
    #[must_use]
    pub fn touches_text(&self) -> bool {
        self.ops.iter().any(Op::is_text)
    }

    /// Each operation with the id of its first Automerge operation.
    pub fn ops_with_ids(&self) -> impl Iterator<Item = (OpId, &Op)> {
        let mut counter = self.start_op;
        self.ops.iter().map(move |op| {
            let id = OpId { counter, actor: self.actor };
            counter = counter.saturating_add(op.len());
            (id, op)
        })
    }

    /// The key at which the operation of this id left a value that a later one can replace: nothing for one
    /// that only took others away, which no document remembers.
    #[must_use]
    pub fn key_written(&self, id: &OpId) -> Option<&str> {
        let mut ops = self.ops_with_ids();
        let is_it = |(own, op): &(OpId, &Op)| own == id && matches!(op.action, Action::Put(_));
        ops.find(is_it).map(|(_, op)| op.key.as_str())
    }

    /// Automerge's bytes and hash of this change. The same change gives the same bytes everywhere.
    ///
    /// # Panics
    /// Never for a change that passed [`super::judge`] or came from [`super::Author`]: start operations
    /// are at least 1.
    #[must_use]
    pub fn encode(&self) -> EncodedChange {
        let expanded = automerge::ExpandedChange {
            operations: self.expand(),
            actor_id: to_actor(&self.actor),
            hash: None,
            seq: self.seq,
            start_op: NonZeroU64::new(self.start_op).expect("counters start at 1"),
            time: self.time.as_millis(),
            message: None,
            deps: self.deps.iter().map(|hash| automerge::ChangeHash(hash.0)).collect(),
            extra_bytes: Vec::new(),
            author: None,
        };
        let change = automerge::Change::from(expanded);
        EncodedChange { hash: ChangeHash(change.hash().0), bytes: change.raw_bytes().to_vec() }
    }

    /// Reads bytes that [`Change::encode`] wrote and that were stored under `expected`, for the document
    /// whose cells are given: they know which field each text object belongs to.
    ///
    /// # Errors
    /// When the row is damaged.
    pub fn from_stored(
        bytes: &[u8],
        expected: &ChangeHash,
        cells: &Cells,
    ) -> Result<Self, StoredChangeError> {
        let change = read_chunk(bytes).map_err(StoredChangeError::Unreadable)?;
        let found = ChangeHash(change.hash().0);
        if found != *expected {
            return Err(StoredChangeError::Hash { expected: *expected, found });
        }
        Self::from_automerge(&change, &cells.text_objects()).ok_or(StoredChangeError::Foreign)
    }

    /// A change of Automerge's in our vocabulary; nothing when it holds anything else.
    pub(super) fn from_automerge(
        change: &automerge::Change,
        texts: &BTreeMap<OpId, String>,
    ) -> Option<Self> {
        let expanded = change.decode();
        let actor = from_actor(&expanded.actor_id)?;
        let mut ops: Vec<Op> = Vec::new();
        for (counter, op) in (expanded.start_op.get()..).zip(&expanded.operations) {
            let id = OpId { counter, actor };
            if !join_run(&mut ops, id, op)? {
                ops.push(collect_op(op, texts)?);
            }
        }
        let deps = expanded.deps.iter().map(|hash| ChangeHash(hash.0)).collect();
        Some(Self {
            actor,
            seq: expanded.seq,
            start_op: expanded.start_op.get(),
            time: Timestamp::from_millis(expanded.time),
            deps,
            ops,
        })
    }

    fn expand(&self) -> Vec<legacy::Op> {
        let mut expanded = Vec::with_capacity(self.ops.len());
        for (id, op) in self.ops_with_ids() {
            expand_op(id, op, &mut expanded);
        }
        expanded
    }
}

fn expand_op(id: OpId, op: &Op, expanded: &mut Vec<legacy::Op>) {
    let root = |action| legacy::Op {
        action,
        obj: legacy::ObjectId::Root,
        key: legacy::Key::Map(op.key.as_str().into()),
        pred: op.preds.iter().map(to_op_id).collect::<Vec<_>>().into(),
        insert: false,
    };
    match &op.action {
        Action::Put(scalar) => expanded.push(root(legacy::OpType::Put(to_scalar(scalar)))),
        Action::Remove => expanded.push(root(legacy::OpType::Delete)),
        Action::Increment(by) => expanded.push(root(legacy::OpType::Increment(*by))),
        Action::MakeText => expanded.push(root(legacy::OpType::Make(automerge::ObjType::Text))),
        Action::Insert { after, text } => {
            let object = to_op_id(&seed::text_object(&op.key));
            let mut element = after
                .as_ref()
                .map_or(legacy::ElementId::Head, |e| legacy::ElementId::Id(to_op_id(e)));
            for (offset, character) in text.chars().enumerate() {
                expanded.push(legacy::Op {
                    action: legacy::OpType::Put(automerge::ScalarValue::Str(
                        character.to_string().into(),
                    )),
                    obj: legacy::ObjectId::Id(object.clone()),
                    key: legacy::Key::Seq(element),
                    pred: Vec::new().into(),
                    insert: true,
                });
                let own = OpId { counter: id.counter + offset as u64, actor: id.actor };
                element = legacy::ElementId::Id(to_op_id(&own));
            }
        }
        Action::Erase { from, count } => {
            let object = to_op_id(&seed::text_object(&op.key));
            for offset in 0..u64::from(*count) {
                let element = to_op_id(&OpId { counter: from.counter + offset, actor: from.actor });
                expanded.push(legacy::Op {
                    action: legacy::OpType::Delete,
                    obj: legacy::ObjectId::Id(object.clone()),
                    key: legacy::Key::Seq(legacy::ElementId::Id(element.clone())),
                    pred: vec![element].into(),
                    insert: false,
                });
            }
        }
    }
}

/// Extends the last run of `ops` by a text operation that continues it. Nothing when the operation is on
/// an object that is not a field's text.
fn join_run(ops: &mut [Op], id: OpId, op: &legacy::Op) -> Option<bool> {
    let legacy::ObjectId::Id(object) = &op.obj else { return Some(false) };
    let object = from_op_id(object)?;
    let Some(last) = ops.last_mut() else { return Some(false) };
    if seed::text_object(&last.key) != object {
        return Some(false);
    }
    match (&mut last.action, &op.action, &op.key) {
        (
            Action::Insert { text, .. },
            legacy::OpType::Put(automerge::ScalarValue::Str(character)),
            legacy::Key::Seq(legacy::ElementId::Id(element)),
        ) if op.insert => {
            let before = OpId { counter: id.counter - 1, actor: id.actor };
            let continues = from_op_id(element)? == before && character.chars().count() == 1;
            if continues {
                text.push_str(character);
            }
            Some(continues)
        }
        (
            Action::Erase { from, count },
            legacy::OpType::Delete,
            legacy::Key::Seq(legacy::ElementId::Id(element)),
        ) => {
            let next = OpId { counter: from.counter + u64::from(*count), actor: from.actor };
            let continues = from_op_id(element)? == next;
            if continues {
                *count += 1;
            }
            Some(continues)
        }
        _ => Some(false),
    }
}

fn collect_op(op: &legacy::Op, texts: &BTreeMap<OpId, String>) -> Option<Op> {
    let preds = op.pred.iter().map(from_op_id).collect::<Option<Vec<_>>>()?;
    match (&op.obj, &op.key) {
        (legacy::ObjectId::Root, legacy::Key::Map(key)) => {
            let action = match &op.action {
                legacy::OpType::Put(value) => Action::Put(from_scalar(value)?),
                legacy::OpType::Delete => Action::Remove,
                legacy::OpType::Increment(by) => Action::Increment(*by),
                legacy::OpType::Make(automerge::ObjType::Text) => Action::MakeText,
                _ => return None,
            };
            Some(Op { key: key.to_string(), action, preds })
        }
        (legacy::ObjectId::Id(object), legacy::Key::Seq(element)) => {
            let key = texts.get(&from_op_id(object)?)?.clone();
            let element = match element {
                legacy::ElementId::Head => None,
                legacy::ElementId::Id(id) => Some(from_op_id(id)?),
            };
            let action = match (&op.action, element) {
                (legacy::OpType::Put(automerge::ScalarValue::Str(text)), after) if op.insert => {
                    (text.chars().count() == 1)
                        .then(|| Action::Insert { after, text: text.to_string() })?
                }
                (legacy::OpType::Delete, Some(from)) if preds == [from] => {
                    Action::Erase { from, count: 1 }
                }
                _ => return None,
            };
            Some(Op { key, action, preds: Vec::new() })
        }
        _ => None,
    }
}

/// One stored change, whole and undamaged. Automerge does not look at the checksum of a change that it reads
/// alone, nor at what follows it; and its parser is not to see damaged bytes.
pub(super) fn read_chunk(bytes: &[u8]) -> Result<automerge::Change, String> {
    let (checksum, hashed) =
        bytes.get(4..).unwrap_or_default().split_at_checked(4).unwrap_or_default();
    if checksum.is_empty() || !Sha256::digest(hashed).starts_with(checksum) {
        return Err("its checksum does not fit".to_owned());
    }
    automerge::Change::try_from(bytes).map_err(|e| e.to_string())
}

pub(super) fn to_actor(actor: &ActorId) -> automerge::ActorId {
    automerge::ActorId::from(&actor.0[..])
}

pub(super) fn from_actor(actor: &automerge::ActorId) -> Option<ActorId> {
    ActorId::try_from(actor.to_bytes()).ok()
}

fn to_op_id(id: &OpId) -> legacy::OpId {
    legacy::OpId::new(id.counter, &to_actor(&id.actor))
}

fn from_op_id(id: &legacy::OpId) -> Option<OpId> {
    Some(OpId { counter: id.counter(), actor: from_actor(id.actor())? })
}

pub(super) fn to_scalar(scalar: &Scalar) -> automerge::ScalarValue {
    use automerge::ScalarValue as S;
    match scalar {
        Scalar::Null => S::Null,
        Scalar::Bool(b) => S::Boolean(*b),
        Scalar::Int(i) => S::Int(*i),
        Scalar::Float(x) => S::F64(*x),
        Scalar::Str(s) => S::Str(s.as_str().into()),
        Scalar::Timestamp(t) => S::Timestamp(t.as_millis()),
        Scalar::Bytes(b) => S::Bytes(b.clone()),
        Scalar::Counter(c) => S::counter(*c),
    }
}

pub(super) fn from_scalar(value: &automerge::ScalarValue) -> Option<Scalar> {
    use automerge::ScalarValue as S;
    Some(match value {
        S::Null => Scalar::Null,
        S::Boolean(b) => Scalar::Bool(*b),
        S::Int(i) => Scalar::Int(*i),
        S::F64(x) => Scalar::Float(*x),
        S::Str(s) => Scalar::Str(s.to_string()),
        S::Timestamp(t) => Scalar::Timestamp(Timestamp::from_millis(*t)),
        S::Bytes(b) => Scalar::Bytes(b.clone()),
        S::Counter(c) => Scalar::Counter(i64::from(c)),
        S::Uint(_) | S::Unknown { .. } => return None,
    })
}
