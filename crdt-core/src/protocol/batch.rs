//! Batches and changes as they travel: operations, without what the receiver can derive.

use super::frame::FrameError;
use super::table::{TableReader, TableWriter};
use super::wire;
use crate::id::{BatchId, ChangeHash, DocumentId, RecordId, Section};
use crate::limits;
use crate::record::{Action, Change, Op, Scalar, SeedKind, seed};
use crate::time::Timestamp;

/// The changes of one local transaction: accepted or refused as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its name, for ever.
    pub id: BatchId,
    /// Its place in the replica's outbox.
    pub number: u64,
    /// The schema it was written under.
    pub schema_version: u64,
    /// The policy it was written under.
    pub policy_version: u64,
    /// What it changes, each document once.
    pub documents: Vec<DocumentChanges>,
}

/// A document's changes in a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentChanges {
    /// Which document.
    pub document: DocumentRef,
    /// The changes, dependencies first.
    pub changes: Vec<SentChange>,
}

/// How a document is named on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentRef {
    /// By the number that the server gave it.
    Number(u64),
    /// In full: the sender has no number for it yet.
    Identity(Identity),
}

/// A document in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Record and section.
    pub id: DocumentId,
    /// The record's entity.
    pub entity: String,
}

/// A change on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct SentChange {
    /// Everything but the dependencies' hashes: `deps` is empty.
    pub change: Change,
    /// How its dependencies are named.
    pub deps: Dependencies,
    /// The beginning of the hash that the sender got; empty for a seed, which is compared as a whole.
    pub claim: Vec<u8>,
}

/// How a change names what it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dependencies {
    /// The change before it in the same list.
    Chained,
    /// The first four bytes of each hash: the receiver holds them.
    Short(Vec<u32>),
    /// Whole hashes.
    Long(Vec<ChangeHash>),
}

impl SentChange {
    /// Puts a change into its wire form. `before` is the hash of the change before it in the same list.
    #[must_use]
    pub fn new(change: &Change, hash: &ChangeHash, before: Option<&ChangeHash>) -> Self {
        let chained = before.is_some_and(|before| change.deps == [*before]);
        let deps = if chained {
            Dependencies::Chained
        } else {
            Dependencies::Short(change.deps.iter().map(ChangeHash::short).collect())
        };
        let claim = hash.0[..limits::HASH_CLAIM_BYTES].to_vec();
        Self { change: Change { deps: Vec::new(), ..change.clone() }, deps, claim }
    }

    /// Puts a change into a form that stands by itself: whole hashes, whatever the receiver holds.
    #[must_use]
    pub fn alone(change: &Change, hash: &ChangeHash) -> Self {
        let deps = Dependencies::Long(change.deps.clone());
        let claim = hash.0[..limits::HASH_CLAIM_BYTES].to_vec();
        Self { change: Change { deps: Vec::new(), ..change.clone() }, deps, claim }
    }

    /// The change, with the dependencies that the receiver found.
    #[must_use]
    pub fn with_deps(self, mut deps: Vec<ChangeHash>) -> Change {
        deps.sort_unstable();
        Change { deps, ..self.change }
    }

    pub(super) fn to_wire(&self, table: &mut TableWriter) -> wire::Change {
        if let Some((kind, key)) = self.change.as_seed() {
            let seed = match kind {
                SeedKind::Counter => 1,
                SeedKind::Text => 2,
            };
            let op = wire::Op { key: key.to_owned(), ..wire::Op::default() };
            return wire::Change { seed, ops: vec![op], ..wire::Change::default() };
        }
        let (chained, long, deps) = match &self.deps {
            Dependencies::Chained => (true, false, Vec::new()),
            Dependencies::Short(deps) => {
                (false, false, deps.iter().flat_map(|dep| dep.to_be_bytes()).collect())
            }
            Dependencies::Long(deps) => (false, true, deps.iter().flat_map(|dep| dep.0).collect()),
        };
        wire::Change {
            actor: table.actor(&self.change.actor),
            seq: self.change.seq,
            start_op: self.change.start_op,
            time: table.time(self.change.time),
            chained,
            deps,
            long,
            ops: self.change.ops.iter().map(|op| op_to_wire(op, table)).collect(),
            claim: self.claim.clone(),
            seed: 0,
        }
    }

    pub(super) fn from_wire(wire: wire::Change, table: &TableReader) -> Result<Self, FrameError> {
        if wire.ops.len() > limits::CHANGE_OPS_MAX {
            return Err(FrameError::TooMany("operations"));
        }
        if wire.seed != 0 {
            let kind = match wire.seed {
                1 => SeedKind::Counter,
                2 => SeedKind::Text,
                _ => return Err(FrameError::Field("seed kind")),
            };
            let [op] = &wire.ops[..] else { return Err(FrameError::Field("seed")) };
            let change = seed(kind, &op.key);
            let claim = change.encode().hash.0[..limits::HASH_CLAIM_BYTES].to_vec();
            return Ok(Self { change, deps: Dependencies::Short(Vec::new()), claim });
        }
        let deps = if wire.chained {
            Dependencies::Chained
        } else if wire.long {
            let (hashes, rest) = wire.deps.as_chunks::<32>();
            check_deps(hashes.len(), rest)?;
            Dependencies::Long(hashes.iter().map(|bytes| ChangeHash(*bytes)).collect())
        } else {
            let (prefixes, rest) = wire.deps.as_chunks::<4>();
            check_deps(prefixes.len(), rest)?;
            Dependencies::Short(prefixes.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect())
        };
        let change = Change {
            actor: table.actor(u64::from(wire.actor))?,
            seq: wire.seq,
            start_op: wire.start_op,
            time: table.time(wire.time),
            deps: Vec::new(),
            ops: wire
                .ops
                .into_iter()
                .map(|op| op_from_wire(op, table))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { change, deps, claim: wire.claim })
    }
}

fn check_deps(count: usize, rest: &[u8]) -> Result<(), FrameError> {
    match (count > limits::CHANGE_DEPS_MAX, rest.is_empty()) {
        (true, _) => Err(FrameError::TooMany("dependencies")),
        (false, false) => Err(FrameError::Field("dependencies")),
        (false, true) => Ok(()),
    }
}

fn op_to_wire(op: &Op, table: &mut TableWriter) -> wire::Op {
    let preds = op.preds.iter().flat_map(|pred| table.op_id(pred)).collect();
    let action = match &op.action {
        Action::Put(scalar) => match scalar {
            Scalar::Null => wire::Action::Null(true),
            Scalar::Bool(true) if op.key.contains('/') => wire::Action::Member(true),
            Scalar::Bool(b) => wire::Action::Bool(*b),
            Scalar::Int(i) => wire::Action::Int(*i),
            Scalar::Float(x) => wire::Action::Float(*x),
            Scalar::Str(s) => wire::Action::Str(s.clone()),
            Scalar::Timestamp(t) => wire::Action::Timestamp(t.as_millis()),
            Scalar::Bytes(b) => wire::Action::Bytes(b.clone()),
            // Only seeds write these two, and a seed travels as its kind and field.
            Scalar::Counter(c) => wire::Action::Increment(*c),
        },
        Action::MakeText => wire::Action::Null(true),
        Action::Remove => wire::Action::Remove(true),
        Action::Increment(by) => wire::Action::Increment(*by),
        Action::Insert { after, text } => {
            let after = after.iter().flat_map(|after| table.op_id(after)).collect();
            wire::Action::Insert(wire::Insert { after, text: text.clone() })
        }
        Action::Erase { from, count } => {
            let [counter, actor] = table.op_id(from);
            wire::Action::Erase(wire::Erase { counter, actor, count: *count })
        }
    };
    wire::Op { key: op.key.clone(), preds, action: Some(action) }
}

fn op_from_wire(op: wire::Op, table: &TableReader) -> Result<Op, FrameError> {
    if op.preds.len() > 2 * limits::OP_PREDS_MAX {
        return Err(FrameError::TooMany("predecessors"));
    }
    let action = match op.action.ok_or(FrameError::Field("operation"))? {
        wire::Action::Null(_) => Action::Put(Scalar::Null),
        wire::Action::Member(_) => Action::Put(Scalar::Bool(true)),
        wire::Action::Bool(b) => Action::Put(Scalar::Bool(b)),
        wire::Action::Int(i) => Action::Put(Scalar::Int(i)),
        wire::Action::Float(x) => Action::Put(Scalar::Float(x)),
        wire::Action::Str(s) => Action::Put(Scalar::Str(s)),
        wire::Action::Timestamp(t) => Action::Put(Scalar::Timestamp(Timestamp::from_millis(t))),
        wire::Action::Bytes(b) => Action::Put(Scalar::Bytes(b)),
        wire::Action::Remove(_) => Action::Remove,
        wire::Action::Increment(by) => Action::Increment(by),
        wire::Action::Insert(insert) => {
            let after = table.op_ids(&insert.after)?;
            if after.len() > 1 {
                return Err(FrameError::Field("insertion"));
            }
            Action::Insert { after: after.first().copied(), text: insert.text }
        }
        wire::Action::Erase(erase) => {
            Action::Erase { from: table.op_id([erase.counter, erase.actor])?, count: erase.count }
        }
    };
    Ok(Op { key: op.key, action, preds: table.op_ids(&op.preds)? })
}

impl Identity {
    pub(super) fn to_wire(&self) -> wire::Identity {
        wire::Identity {
            record: self.id.record.as_bytes().to_vec(),
            section: section_to_wire(&self.id.section),
            entity: self.entity.clone(),
        }
    }

    pub(super) fn from_wire(wire: wire::Identity) -> Result<Self, FrameError> {
        let id = DocumentId {
            record: RecordId::try_from(&wire.record[..])
                .map_err(|_| FrameError::Field("record id"))?,
            section: section_from_wire(&wire.section)?,
        };
        if !crate::id::is_name(&wire.entity) {
            return Err(FrameError::Field("entity name"));
        }
        Ok(Self { id, entity: wire.entity })
    }
}

pub(super) fn section_to_wire(section: &Section) -> String {
    if section.is_main() { String::new() } else { section.as_str().to_owned() }
}

pub(super) fn section_from_wire(section: &str) -> Result<Section, FrameError> {
    if section.is_empty() {
        return Ok(Section::main());
    }
    section.parse().map_err(|_| FrameError::Field("section"))
}

impl DocumentChanges {
    pub(super) fn to_wire(&self, table: &mut TableWriter) -> wire::DocumentChanges {
        let (number, identity) = match &self.document {
            DocumentRef::Number(number) => (*number, None),
            DocumentRef::Identity(identity) => (0, Some(identity.to_wire())),
        };
        let changes = self.changes.iter().map(|change| change.to_wire(table)).collect();
        wire::DocumentChanges { number, identity, changes }
    }

    pub(super) fn from_wire(
        wire: wire::DocumentChanges,
        table: &TableReader,
    ) -> Result<Self, FrameError> {
        let document = match (wire.number, wire.identity) {
            (0, Some(identity)) => DocumentRef::Identity(Identity::from_wire(identity)?),
            (number, None) if number != 0 => DocumentRef::Number(number),
            _ => return Err(FrameError::Field("document")),
        };
        let changes = wire.changes.into_iter();
        let changes = changes.map(|change| SentChange::from_wire(change, table));
        Ok(Self { document, changes: changes.collect::<Result<_, _>>()? })
    }

    /// The edit time of its first change.
    pub(super) fn first_time(&self) -> Option<Timestamp> {
        let mut changes = self.changes.iter().map(|sent| sent.change.time);
        changes.find(|time| time.as_millis() != 0)
    }
}

impl Batch {
    pub(super) fn to_wire(&self, table: &mut TableWriter) -> wire::Batch {
        let documents = self.documents.iter().map(|document| document.to_wire(table));
        wire::Batch {
            documents: documents.collect(),
            id: self.id.0.to_vec(),
            number: self.number,
            schema_version: self.schema_version,
            policy_version: self.policy_version,
        }
    }

    pub(super) fn from_wire(wire: wire::Batch, table: &TableReader) -> Result<Self, FrameError> {
        if wire.documents.len() > limits::BATCH_DOCUMENTS_MAX {
            return Err(FrameError::TooMany("documents in a batch"));
        }
        let changes: usize = wire.documents.iter().map(|document| document.changes.len()).sum();
        if changes > limits::BATCH_CHANGES_MAX {
            return Err(FrameError::TooMany("changes in a batch"));
        }
        let id = BatchId::try_from(&wire.id[..]).map_err(|_| FrameError::Field("batch id"))?;
        let documents = wire.documents.into_iter();
        let documents = documents.map(|document| DocumentChanges::from_wire(document, table));
        Ok(Self {
            id,
            number: wire.number,
            schema_version: wire.schema_version,
            policy_version: wire.policy_version,
            documents: documents.collect::<Result<_, _>>()?,
        })
    }

    /// What the batch occupies on the wire before compression, bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        use prost::Message as _;
        let mut table = TableWriter::new(self.base_time());
        let length = self.to_wire(&mut table).encoded_len();
        length + table.finish().encoded_len()
    }

    /// The edit time of its first change: what its other times are counted from.
    pub(super) fn base_time(&self) -> Timestamp {
        let mut times = self.documents.iter().filter_map(DocumentChanges::first_time);
        times.next().unwrap_or(Timestamp::from_millis(0))
    }
}
