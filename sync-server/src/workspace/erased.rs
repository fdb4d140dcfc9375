//! The records that were erased, in memory as judging needs them; and batches without what they do to those.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::protocol::{Batch, DocumentRef, Refusal};

use super::Submitted;
use crate::store::{Read, StoreError};

/// Every erased record.
#[derive(Debug, Clone, Default)]
pub(super) struct Erased {
    records: BTreeSet<RecordId>,
    /// The numbers of their documents, by which a device that was away may still name them.
    numbers: BTreeMap<u64, RecordId>,
}

impl Erased {
    pub(super) fn load(tx: &dyn Read) -> Result<Self, StoreError> {
        let records = tx.erased_after(0, i64::MAX as usize)?;
        Ok(Self {
            records: records.into_iter().map(|(_, record)| record).collect(),
            numbers: tx.erased_documents()?.into_iter().collect(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn contains(&self, record: &RecordId) -> bool {
        self.records.contains(record)
    }

    /// The erased record that a batch's document is of.
    fn named(&self, document: &DocumentRef) -> Option<RecordId> {
        match document {
            DocumentRef::Number(number) => self.numbers.get(number).copied(),
            DocumentRef::Identity(identity) => {
                Some(identity.id.record).filter(|record| self.contains(record))
            }
        }
    }

    /// The batch without what it does to erased records, and which those are, each once. What it does to
    /// other records does not depend on them: dependencies lie within a document.
    pub(super) fn take_out<'a>(
        &self,
        submitted: &'a Submitted,
    ) -> (Cow<'a, Submitted>, Vec<RecordId>) {
        let documents = &submitted.batch.documents;
        let erased: BTreeSet<RecordId> =
            documents.iter().filter_map(|document| self.named(&document.document)).collect();
        if erased.is_empty() {
            return (Cow::Borrowed(submitted), Vec::new());
        }
        let rest = documents.iter().filter(|document| self.named(&document.document).is_none());
        let batch = Batch { documents: rest.cloned().collect(), ..submitted.batch.clone() };
        let submitted = Submitted { batch, ..*submitted };
        (Cow::Owned(submitted), erased.into_iter().collect())
    }
}

/// The answer to a batch of which nothing is left.
pub(super) fn nothing_left(records: &[RecordId]) -> Vec<Refusal> {
    let refusal = |record: &RecordId| Refusal {
        code: CODE.to_owned(),
        text: "the record was erased for good".to_owned(),
        document: Some(DocumentId::main(*record)),
        field: None,
        rule: None,
    };
    records.iter().map(refusal).collect()
}

/// The word for a refusal because a record was erased.
const CODE: &str = "erased";
