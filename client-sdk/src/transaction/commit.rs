//! The end of a transaction: its changes become one batch in the outbox, with every row that shows them.

use std::collections::BTreeMap;

use crdt_core::id::{BatchId, ChangeHash, DocumentId, RecordId, Section};
use crdt_core::limits;
use crdt_core::protocol::{Batch, DocumentChanges, DocumentRef, Identity, SentChange};

use super::{Touched, Transaction};
use crate::client::Judged;
use crate::error::EditError;
use crate::store::document::Held;
use crate::store::{lock, outbox, undo};

impl Transaction<'_, '_> {
    /// Writes everything; gives the batch, or nothing when nothing was written.
    pub(crate) fn finish(mut self) -> Result<Option<BatchId>, EditError> {
        let records = &self.records;
        self.order.retain(|id| records.get(id).is_some_and(Touched::is_written));
        if self.order.is_empty() {
            return Ok(None);
        }
        self.judge()?;
        let mut id = [0; 16];
        lock(&self.entropy).fill(&mut id);
        let batch = self.batch(BatchId(id));
        let byte_len = check(&batch)?;
        let number = outbox::insert(self.session, batch.id, &self.stamp, byte_len)?;
        for id in &self.order {
            let Some(touched) = self.records.get_mut(id) else { continue };
            let entity = self.schema.entity(&touched.now.entity);
            if let Some(edit) = entity
                .and_then(|entity| crate::undo::edit(entity, touched.before.as_ref(), &touched.now))
            {
                undo::note(&mut touched.now, &edit)?;
            }
            touched.now.save(self.session, Some(number))?;
        }
        Ok(Some(batch.id))
    }

    /// Refuses what the policy denies.
    fn judge(&self) -> Result<(), EditError> {
        let Some(access) = &self.access else { return Ok(()) };
        let records: Vec<Judged<'_>> = self
            .records
            .iter()
            .map(|(id, touched)| Judged {
                id: *id,
                before: touched.before.as_ref(),
                now: &touched.now,
            })
            .collect();
        access.judge(&self.session.tx, &self.schema, &records)
    }

    fn batch(&self, id: BatchId) -> Batch {
        let documents = self
            .order
            .iter()
            .filter_map(|id| self.records.get(id).map(|touched| (*id, touched)))
            .flat_map(|(id, touched)| sections(id, touched));
        Batch {
            id,
            number: 0,
            schema_version: self.schema.version(),
            policy_version: self.session.state.meta.policy_version,
            documents: documents.collect(),
        }
    }
}

impl Touched {
    fn is_written(&self) -> bool {
        self.now.documents.values().any(|held| !held.fresh.is_empty())
    }
}

fn sections(id: RecordId, touched: &Touched) -> impl Iterator<Item = DocumentChanges> {
    let mut sections: BTreeMap<(bool, &Section), &Held> = BTreeMap::new();
    for (section, held) in &touched.now.documents {
        if !held.fresh.is_empty() {
            sections.insert((!section.is_main(), section), held);
        }
    }
    sections.into_iter().map(move |((_, section), held)| {
        let document = match held.number {
            Some(number) => DocumentRef::Number(number),
            None => DocumentRef::Identity(Identity {
                id: DocumentId { record: id, section: section.clone() },
                entity: touched.now.entity.clone(),
            }),
        };
        let mut before: Option<ChangeHash> = None;
        let changes = held.fresh.iter().map(|fresh| {
            let sent = SentChange::new(&fresh.change, &fresh.encoded.hash, before.as_ref());
            before = Some(fresh.encoded.hash);
            sent
        });
        DocumentChanges { document, changes: changes.collect() }
    })
}

/// Refuses what does not fit into one batch; gives its size.
fn check(batch: &Batch) -> Result<usize, EditError> {
    let too_large = |what, got, limit| EditError::BatchTooLarge { what, got, limit };
    let documents = batch.documents.len();
    if documents > limits::BATCH_DOCUMENTS_MAX {
        return Err(too_large("documents", documents, limits::BATCH_DOCUMENTS_MAX));
    }
    let changes: usize = batch.documents.iter().map(|document| document.changes.len()).sum();
    if changes > limits::BATCH_CHANGES_MAX {
        return Err(too_large("changes", changes, limits::BATCH_CHANGES_MAX));
    }
    let bytes = batch.byte_len();
    if bytes > limits::BATCH_BYTES_MAX {
        return Err(too_large("bytes", bytes, limits::BATCH_BYTES_MAX));
    }
    Ok(bytes)
}
