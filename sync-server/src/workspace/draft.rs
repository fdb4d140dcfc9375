//! Documents while batches are judged: what the storage has, with the changes accepted so far on top.

use std::collections::BTreeMap;

use crdt_core::id::{ChangeHash, DocumentId};
use crdt_core::record::{
    Admitted, Cells, Change, Clock, Document, DocumentError, OpId, document::Purpose,
};

use crate::store::{ChangeRow, DocumentRow, Read, StoreError, Write};

/// One document under judgement.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Its number; nothing while it is new.
    pub(super) number: Option<u64>,
    pub(super) id: DocumentId,
    pub(super) entity: String,
    pub(super) cells: Cells,
    folded_to: u64,
    /// Whether it did not exist before this transaction.
    pub(super) is_new: bool,
    /// The changes that are not stored yet.
    pub(super) added: Vec<Added>,
}

/// A change that was admitted.
#[derive(Debug, Clone)]
pub(super) struct Added {
    pub(super) position: u64,
    pub(super) change: Change,
    pub(super) hash: ChangeHash,
    pub(super) bytes: Vec<u8>,
    pub(super) clock: Clock,
}

impl Draft {
    /// A document that does not exist yet.
    pub(super) fn new(id: DocumentId, entity: &str) -> Self {
        Self {
            number: None,
            id,
            entity: entity.to_owned(),
            cells: Cells::default(),
            folded_to: 0,
            is_new: true,
            added: Vec::new(),
        }
    }

    /// A document as stored.
    pub(super) fn stored(row: DocumentRow) -> Result<Self, StoreError> {
        let cells =
            Cells::from_stored(&row.cells).map_err(|e| StoreError::Damaged(e.to_string()))?;
        Ok(Self {
            number: Some(row.number),
            id: row.id,
            entity: row.entity,
            cells,
            folded_to: row.folded_to,
            is_new: false,
            added: Vec::new(),
        })
    }

    /// Takes in an admitted change.
    pub(super) fn add(&mut self, position: u64, change: Change, admitted: Admitted) {
        self.cells = admitted.cells;
        self.added.push(Added {
            position,
            change,
            hash: admitted.encoded.hash,
            bytes: admitted.encoded.bytes,
            clock: admitted.clock,
        });
    }

    /// The key under which an operation of this document stands.
    pub(super) fn op_key(&self, tx: &dyn Read, id: &OpId) -> Result<Found, StoreError> {
        let mut added = self.added.iter().map(|added| &added.change);
        if let Some(key) = added.find_map(|change| change.key_written(id)) {
            return Ok(Found::Key(key.to_owned()));
        }
        let Some(number) = self.number else { return Ok(Found::Nothing) };
        let Some(row) = tx.change_of(number, id)? else { return Ok(Found::Nothing) };
        let Some(bytes) = row.bytes else { return Ok(Found::Folded) };
        let change = Change::from_stored(&bytes, &row.hash, &self.cells)
            .map_err(|e| StoreError::Damaged(e.to_string()))?;
        Ok(change.key_written(id).map_or(Found::Nothing, |key| Found::Key(key.to_owned())))
    }

    /// Loads the real document, for the slow door.
    pub(super) fn load(&self, tx: &dyn Read, purpose: Purpose) -> Result<Document, StoreError> {
        let (snapshot, stored) = match self.number {
            Some(number) => (tx.snapshot(number)?, tx.changes_after(number, self.folded_to)?),
            None => (None, Vec::new()),
        };
        let tail = stored.iter().filter_map(|row| row.bytes.as_deref());
        let added = self.added.iter().map(|added| &added.bytes[..]);
        let document = Document::load(purpose, snapshot.as_deref(), tail.chain(added));
        let document = document.map_err(damaged)?;
        if document.heads() == self.cells.heads() {
            Ok(document)
        } else {
            Err(damaged(DocumentError::Heads))
        }
    }
}

/// What the index knows of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The key that it wrote.
    Key(String),
    /// There is no such operation.
    Nothing,
    /// Its change is folded: only the document knows.
    Folded,
}

fn damaged(error: DocumentError) -> StoreError {
    StoreError::Damaged(error.to_string())
}

/// The documents of one transaction, by name.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    documents: BTreeMap<DocumentId, Draft>,
    names: BTreeMap<u64, DocumentId>,
}

impl Drafts {
    /// A document by number.
    pub(super) fn by_number(
        &mut self,
        tx: &dyn Read,
        number: u64,
    ) -> Result<Option<&Draft>, StoreError> {
        if let Some(id) = self.names.get(&number) {
            return Ok(self.documents.get(id));
        }
        match tx.document(number)? {
            Some(row) => self.keep(row).map(Some),
            None => Ok(None),
        }
    }

    /// A document by name.
    pub(super) fn by_name(
        &mut self,
        tx: &dyn Read,
        id: &DocumentId,
    ) -> Result<Option<&Draft>, StoreError> {
        if self.documents.contains_key(id) {
            return Ok(self.documents.get(id));
        }
        match tx.find_document(id)? {
            Some(row) => self.keep(row).map(Some),
            None => Ok(None),
        }
    }

    fn keep(&mut self, row: DocumentRow) -> Result<&Draft, StoreError> {
        let draft = Draft::stored(row)?;
        if let Some(number) = draft.number {
            self.names.insert(number, draft.id.clone());
        }
        Ok(self.documents.entry(draft.id.clone()).or_insert(draft))
    }

    /// Puts an accepted batch's documents in the place of what they were.
    pub(super) fn accept(
        &mut self,
        tx: &mut dyn Write,
        drafts: BTreeMap<DocumentId, Draft>,
    ) -> Result<(), StoreError> {
        for (id, mut draft) in drafts {
            if draft.number.is_none() {
                let number = tx.create_document(&DocumentRow {
                    number: 0,
                    id: id.clone(),
                    entity: draft.entity.clone(),
                    cells: Vec::new(),
                    folded_to: 0,
                })?;
                draft.number = Some(number);
                self.names.insert(number, id.clone());
            }
            self.documents.insert(id, draft);
        }
        Ok(())
    }

    /// The changes of a position that are not stored yet, each with its document, in the log's order.
    pub(super) fn changes_at(&self, position: u64) -> Vec<(u64, ChangeHash)> {
        let mut found = Vec::new();
        for draft in self.documents.values() {
            let Some(number) = draft.number else { continue };
            let added = draft.added.iter().filter(|added| added.position == position);
            found.extend(added.map(|added| (number, added.hash)));
        }
        found.sort_by_key(|(number, _)| *number);
        found
    }

    /// Writes every change and every document that changed.
    pub(super) fn finish(self, tx: &mut dyn Write) -> Result<Vec<(u64, u64, Draft)>, StoreError> {
        let mut changed = Vec::new();
        let mut rows: Vec<(u64, usize, u64, DocumentId)> = Vec::new();
        for (id, draft) in &self.documents {
            let Some(number) = draft.number else { continue };
            for (place, added) in draft.added.iter().enumerate() {
                rows.push((added.position, place, number, id.clone()));
            }
        }
        // The log's order: a position's changes stand together, each document's in its own order.
        rows.sort_by_key(|(position, place, number, _)| (*position, *number, *place));
        for (position, place, number, id) in rows {
            let added = &self.documents[&id].added[place];
            tx.append_change(&ChangeRow {
                document: number,
                position,
                hash: added.hash,
                actor: added.change.actor,
                seq: added.change.seq,
                max_op: added.change.max_op(),
                clock: added.clock.clone(),
                bytes: Some(added.bytes.clone()),
            })?;
        }
        for (_, draft) in self.documents {
            let (Some(number), Some(last)) = (draft.number, draft.added.last()) else { continue };
            tx.set_cells(number, &draft.cells.to_stored())?;
            changed.push((number, last.position, draft));
        }
        Ok(changed)
    }
}
