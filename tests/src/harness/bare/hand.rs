//! A hand: the worst client there can be. It knows what the server knows, authors changes in proper form on
//! top of it, and asks nobody whether it may.

use crdt_core::id::{ActorId, BatchId, DocumentId, MemberId, RecordId, ReplicaId, Section};
use crdt_core::protocol::{Batch, DocumentChanges, DocumentRef, Identity, SentChange};
use crdt_core::record::document::is_seeded;
use crdt_core::record::{
    Action, Author, Cells, Change, Edit, EncodedChange, Op, Scalar, SeedKind, seed,
};
use crdt_core::time::Timestamp;
use sync_server::store::DocumentRow;

/// A client that writes what it is told.
#[derive(Debug, Clone)]
pub struct Hand {
    /// Whose it is.
    pub member: MemberId,
    replica: ReplicaId,
    batches: u64,
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Writing {
    /// A value, a set's member, a removal, an increment.
    Edit(Edit),
    /// Characters in front of a text.
    Type {
        /// The field.
        field: String,
        /// The characters.
        text: String,
    },
}

/// What is to be written into one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The record.
    pub record: RecordId,
    /// The section.
    pub section: Section,
    /// The record's entity.
    pub entity: String,
    /// What to write, in order.
    pub writings: Vec<Writing>,
    /// Whether the document is named in full although it has a number.
    pub in_full: bool,
}

impl Part {
    /// Nothing yet, in a section of a record.
    #[must_use]
    pub fn of(record: RecordId, section: Section, entity: &str) -> Self {
        Self { record, section, entity: entity.to_owned(), writings: Vec::new(), in_full: false }
    }

    /// Writes a value.
    #[must_use]
    pub fn put(self, key: &str, value: Scalar) -> Self {
        self.edit(Edit::Put { key: key.to_owned(), value })
    }

    /// Makes an edit.
    #[must_use]
    pub fn edit(mut self, edit: Edit) -> Self {
        self.writings.push(Writing::Edit(edit));
        self
    }

    /// What the first change of every record says.
    #[must_use]
    pub fn begun(self, by: MemberId, at: Timestamp) -> Self {
        let entity = Scalar::Str(self.entity.clone());
        self.put("$entity", entity)
            .put("$created_at", Scalar::Timestamp(at))
            .put("$created_by", Scalar::Bytes(by.as_bytes().to_vec()))
    }

    /// The document.
    #[must_use]
    pub fn id(&self) -> DocumentId {
        DocumentId { record: self.record, section: self.section.clone() }
    }
}

type Written = Vec<(Change, EncodedChange)>;

impl Hand {
    pub(super) fn new(member: MemberId, number: u8) -> Self {
        let mut replica = [number; 12];
        replica[0] = 0xa7;
        Self { member, replica: ReplicaId(replica), batches: 0 }
    }

    pub(super) fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// A part's changes on top of what the server has, as they travel.
    pub(super) fn write(
        &self,
        at: Timestamp,
        part: &Part,
        row: Option<&DocumentRow>,
    ) -> DocumentChanges {
        let mut cells = row.map_or_else(Cells::default, |row| {
            Cells::from_stored(&row.cells).expect("stored cells can be read")
        });
        let author = Author { actor: ActorId::of(self.replica, 0), time: at };
        let plain = part.writings.iter().filter_map(|writing| match writing {
            Writing::Edit(Edit::Increment { .. }) | Writing::Type { .. } => None,
            Writing::Edit(edit) => Some(edit.clone()),
        });
        // What makes a record stands in its first change.
        let mut written: Written = author.write(&mut cells, &plain.collect::<Vec<_>>());
        for writing in &part.writings {
            match writing {
                Writing::Edit(edit @ Edit::Increment { key, .. }) => {
                    written.extend(seeded(&mut cells, SeedKind::Counter, key));
                    written.extend(author.write(&mut cells, std::slice::from_ref(edit)));
                }
                Writing::Edit(_) => {}
                Writing::Type { field, text } => {
                    written.extend(seeded(&mut cells, SeedKind::Text, field));
                    written.push(typed(&mut cells, author, field, text));
                }
            }
        }
        let document = match row {
            Some(row) if !part.in_full => DocumentRef::Number(row.number),
            _ => DocumentRef::Identity(Identity { id: part.id(), entity: part.entity.clone() }),
        };
        let mut before = None;
        let sent = written.iter().map(|(change, encoded)| {
            let sent = SentChange::new(change, &encoded.hash, before.as_ref());
            before = Some(encoded.hash);
            sent
        });
        DocumentChanges { document, changes: sent.collect() }
    }

    pub(super) fn batch(&mut self, schema: u64, documents: Vec<DocumentChanges>) -> Batch {
        self.batches += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.replica.0[..8]);
        id[8..].copy_from_slice(&self.batches.to_be_bytes());
        Batch {
            id: BatchId(id),
            number: self.batches,
            schema_version: schema,
            policy_version: 0,
            documents,
        }
    }
}

/// The seed of a field, where it is missing.
fn seeded(cells: &mut Cells, kind: SeedKind, field: &str) -> Option<(Change, EncodedChange)> {
    if is_seeded(cells, kind, field) {
        return None;
    }
    let change = seed(kind, field);
    let encoded = change.encode();
    cells.apply(&change, encoded.hash);
    Some((change, encoded))
}

/// Characters in front of everything that a text says.
fn typed(cells: &mut Cells, by: Author, field: &str, text: &str) -> (Change, EncodedChange) {
    let insert = Action::Insert { after: None, text: text.to_owned() };
    let change = Change {
        actor: by.actor,
        seq: cells.seq(&by.actor) + 1,
        start_op: cells.max_op() + 1,
        time: by.time,
        deps: cells.heads().to_vec(),
        ops: vec![Op { key: field.to_owned(), action: insert, preds: Vec::new() }],
    };
    let encoded = change.encode();
    cells.apply(&change, encoded.hash);
    (change, encoded)
}
