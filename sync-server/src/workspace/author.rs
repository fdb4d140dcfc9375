//! What the server itself writes: members' records and kept edits, as ordinary batches under its own replica.

use std::collections::BTreeMap;

use crdt_core::id::{ActorId, BatchId, DocumentId, RecordId};
use crdt_core::protocol::{Batch, DocumentChanges, DocumentRef, Identity, SentChange};
use crdt_core::record::{Author, Cells, Edit, Scalar, Value, reconcile};
use crdt_core::schema::Entity;
use crdt_core::time::Timestamp;

use super::Submitted;
use super::directory::SERVER;
use super::judge::Rules;
use crate::store::{Read, StoreError};

/// A batch's name for what the server itself writes: the next of its kind that nobody has taken.
pub(super) fn batch_id(tx: &dyn Read, kind: &str, key: &str) -> Result<BatchId, StoreError> {
    let epoch = tx.log()?.epoch;
    let mut turn = 0;
    loop {
        let name = RecordId::from_source_key(kind, &format!("{epoch}/{key}/{turn}"));
        let id = BatchId(*name.as_bytes());
        if tx.batch(&id)?.is_none() {
            return Ok(id);
        }
        turn += 1;
    }
}

/// A record as the server writes it.
pub(super) struct Writing<'a> {
    pub(super) entity: &'a Entity,
    pub(super) record: RecordId,
    pub(super) values: BTreeMap<String, Value>,
}

impl Rules {
    /// The changes that make a record's fields say this; a record that is not there is made. Nothing when
    /// they say it already, and nothing in a section for which one of the values is not of its field's type.
    pub(super) fn write(
        &self,
        tx: &dyn Read,
        now: Timestamp,
        writing: &Writing<'_>,
    ) -> Result<Vec<DocumentChanges>, StoreError> {
        let mut documents = Vec::new();
        for section in writing.entity.sections() {
            let id = DocumentId { record: writing.record, section: section.clone() };
            let stored = tx.find_document(&id)?;
            let cells = stored.as_ref().map(|row| Cells::from_stored(&row.cells)).transpose();
            let mut cells =
                cells.map_err(|e| StoreError::Damaged(e.to_string()))?.unwrap_or_default();
            let here = |key: &String| {
                writing.entity.field(key).is_some_and(|field| field.section == *section)
            };
            let values = writing.values.iter().filter(|(key, _)| here(key));
            let values = values.map(|(key, value)| (key.clone(), value.clone())).collect();
            let mut edits = Vec::new();
            if section.is_main() && cells.is_empty() {
                edits.extend(creation(writing.entity, now));
            }
            edits.extend(reconcile(&cells, writing.entity, &values).unwrap_or_default());
            if edits.is_empty() {
                continue;
            }
            let author = Author { actor: ActorId::of(self.server, 0), time: now };
            let mut before = None;
            let written = author.write(&mut cells, &edits);
            let changes = written.iter().map(|(change, encoded)| {
                let sent = SentChange::new(change, &encoded.hash, before.as_ref());
                before = Some(encoded.hash);
                sent
            });
            let changes = changes.collect();
            let identity = Identity { id, entity: writing.entity.name.clone() };
            documents.push(DocumentChanges { document: DocumentRef::Identity(identity), changes });
        }
        Ok(documents)
    }

    /// A batch of the server's own.
    pub(super) fn own_batch(&self, id: BatchId, documents: Vec<DocumentChanges>) -> Submitted {
        let batch = Batch {
            id,
            number: 0,
            schema_version: self.schema.version(),
            policy_version: self.policy.version(),
            documents,
        };
        Submitted { replica: self.server, member: SERVER, batch }
    }
}

fn creation(entity: &Entity, now: Timestamp) -> [Edit; 3] {
    let put = |key: &str, value| Edit::Put { key: key.to_owned(), value };
    [
        put("$entity", Scalar::Str(entity.name.clone())),
        put("$created_at", Scalar::Timestamp(now)),
        put("$created_by", Scalar::Bytes(SERVER.as_bytes().to_vec())),
    ]
}
