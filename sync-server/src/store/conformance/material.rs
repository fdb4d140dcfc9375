//! What the contracts write: records with real changes, and rows around them.

use crdt_core::id::{ActorId, BatchId, DocumentId, MemberId, RecordId, ReplicaId};
use crdt_core::record::{Author, Cells, Change, Clock, Edit, EncodedChange, Scalar};
use crdt_core::time::Timestamp;

use crate::store::{BatchRow, ChangeRow, DocumentRow, StoreError, Write};

/// When everything happens.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);
/// The replica that writes.
pub(super) const WRITER: ReplicaId = ReplicaId([0xd1; 12]);

/// A member.
pub(super) fn member() -> MemberId {
    MemberId(RecordId::new(NOW, [1; 10]).0)
}

/// A batch's row.
pub(super) fn batch(position: u64) -> BatchRow {
    let mut id = [0xba; 16];
    id[8..].copy_from_slice(&position.to_be_bytes());
    BatchRow { position, id: BatchId(id), replica: WRITER, member: member(), received_at: NOW }
}

/// One document, as its writer has it.
pub(super) struct Paper {
    pub(super) number: u64,
    pub(super) id: DocumentId,
    pub(super) cells: Cells,
    clock: Clock,
}

impl Paper {
    /// Makes a document and writes its first change at the next position.
    pub(super) fn create(tx: &mut dyn Write, n: u8, section: &str) -> Result<Self, StoreError> {
        let record = RecordId::new(NOW, [n; 10]);
        let section = section.parse().expect("the contracts name good sections");
        let id = DocumentId { record, section };
        let number = tx.create_document(&DocumentRow {
            number: 0,
            id: id.clone(),
            entity: "account".to_owned(),
            cells: Vec::new(),
            folded_to: 0,
        })?;
        let mut paper = Self { number, id, cells: Cells::default(), clock: Clock::default() };
        paper.write(tx, "first")?;
        Ok(paper)
    }

    /// Writes one more change at the next position, and gives that.
    pub(super) fn write(&mut self, tx: &mut dyn Write, text: &str) -> Result<u64, StoreError> {
        let position = tx.head()? + 1;
        tx.append_batch(&batch(position))?;
        self.append(tx, position, text)?;
        tx.touch(self.number, position)?;
        Ok(position)
    }

    /// Appends a change at a position that is taken already.
    pub(super) fn append(
        &mut self,
        tx: &mut dyn Write,
        position: u64,
        text: &str,
    ) -> Result<(), StoreError> {
        let author = Author { actor: ActorId::of(WRITER, 0), time: NOW };
        let edit = Edit::Put { key: "name".to_owned(), value: Scalar::Str(text.to_owned()) };
        let written: Vec<(Change, EncodedChange)> = author.write(&mut self.cells, &[edit]);
        for (change, encoded) in written {
            self.clock.extend(change.actor, change.max_op());
            tx.append_change(&ChangeRow {
                document: self.number,
                position,
                hash: encoded.hash,
                actor: change.actor,
                seq: change.seq,
                max_op: change.max_op(),
                clock: self.clock.clone(),
                bytes: Some(encoded.bytes),
            })?;
        }
        tx.set_cells(self.number, &self.cells.to_stored())
    }
}
