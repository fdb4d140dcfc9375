//! Receipts: the server's answers to batches.

use super::batch::{section_from_wire, section_to_wire};
use super::frame::FrameError;
use super::message::id_field;
use super::wire;
use crate::id::{BatchId, ChangeHash, DocumentId, RecordId};
use crate::limits;

/// The server's answer to one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its number among the replica's receipts, from 1.
    pub number: u64,
    /// The batch.
    pub batch: BatchId,
    /// The answer.
    pub outcome: Outcome,
    /// The policy by which the batch was judged.
    pub policy_version: u64,
    /// Records of the batch that were erased: what it does to them was taken out, and the rest was judged.
    pub erased: Vec<RecordId>,
}

/// The answer to a batch that was accepted and of which there is nothing more to say: nothing of it was
/// erased, and it named every document by number. Both sides know the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortReceipt {
    /// Its number among the replica's receipts, from 1.
    pub number: u64,
    /// The number of the batch, which is under way in this session.
    pub batch_number: u64,
    /// The batch's place in the log.
    pub position: u64,
    /// The policy by which the batch was judged.
    pub policy_version: u64,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In the log.
    Accepted {
        /// Its place.
        position: u64,
        /// The numbers of its documents.
        documents: Vec<AcceptedDocument>,
    },
    /// In the log before; the accepted changes have these hashes.
    Already {
        /// Its place.
        position: u64,
        /// The numbers of its documents.
        documents: Vec<AcceptedDocument>,
        /// The hashes of its changes, in order.
        hashes: Vec<ChangeHash>,
    },
    /// Not in the log; a dispute.
    Refused {
        /// Why: at least one.
        reasons: Vec<Refusal>,
    },
}

/// The number of a document that a batch changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedDocument {
    /// The document.
    pub id: DocumentId,
    /// Its number from now on.
    pub number: u64,
}

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word: [`crate::record::Reason::code`], or `depends_on_refused`.
    pub code: String,
    /// A sentence; never a value of the record.
    pub text: String,
    /// The document that it is about.
    pub document: Option<DocumentId>,
    /// The field that it is about.
    pub field: Option<String>,
    /// The rule of the policy that decided, when one did.
    pub rule: Option<String>,
}

impl Receipt {
    pub(super) fn to_wire(&self) -> wire::Receipt {
        let outcome = match &self.outcome {
            Outcome::Accepted { position, documents } => wire::Outcome::Accepted(wire::Accepted {
                position: *position,
                documents: documents.iter().map(AcceptedDocument::to_wire).collect(),
            }),
            Outcome::Already { position, documents, hashes } => {
                wire::Outcome::Already(wire::Already {
                    position: *position,
                    documents: documents.iter().map(AcceptedDocument::to_wire).collect(),
                    hashes: hashes.iter().flat_map(|hash| hash.0).collect(),
                })
            }
            Outcome::Refused { reasons } => wire::Outcome::Refused(wire::Refused {
                reasons: reasons.iter().map(Refusal::to_wire).collect(),
            }),
        };
        wire::Receipt {
            number: self.number,
            batch: self.batch.0.to_vec(),
            outcome: Some(outcome),
            policy_version: self.policy_version,
            erased: self.erased.iter().flat_map(|record| *record.as_bytes()).collect(),
        }
    }

    fn from_wire(wire: wire::Receipt) -> Result<Self, FrameError> {
        let documents = |documents: Vec<wire::AcceptedDocument>| {
            documents.into_iter().map(AcceptedDocument::from_wire).collect::<Result<Vec<_>, _>>()
        };
        let outcome = match wire.outcome.ok_or(FrameError::Field("outcome"))? {
            wire::Outcome::Accepted(accepted) => Outcome::Accepted {
                position: accepted.position,
                documents: documents(accepted.documents)?,
            },
            wire::Outcome::Already(already) => {
                let (hashes, rest) = already.hashes.as_chunks::<32>();
                if !rest.is_empty() {
                    return Err(FrameError::Field("hashes"));
                }
                Outcome::Already {
                    position: already.position,
                    documents: documents(already.documents)?,
                    hashes: hashes.iter().map(|hash| ChangeHash(*hash)).collect(),
                }
            }
            wire::Outcome::Refused(refused) => Outcome::Refused {
                reasons: refused
                    .reasons
                    .into_iter()
                    .map(Refusal::from_wire)
                    .collect::<Result<_, _>>()?,
            },
        };
        let (erased, rest) = wire.erased.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(FrameError::Field("erased records"));
        }
        Ok(Self {
            number: wire.number,
            batch: id_field(&wire.batch, "batch id")?,
            outcome,
            policy_version: wire.policy_version,
            erased: erased.iter().map(|id| RecordId(uuid::Uuid::from_bytes(*id))).collect(),
        })
    }

    /// The bytes of a receipt, to keep until it is acknowledged.
    #[must_use]
    pub fn to_stored(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&self.to_wire())
    }

    /// Reads what [`Receipt::to_stored`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, FrameError> {
        Self::from_wire(<wire::Receipt as prost::Message>::decode(bytes)?)
    }
}

impl ShortReceipt {
    /// The same as a receipt like any other, for the batch of this name.
    #[must_use]
    pub const fn of(&self, batch: BatchId) -> Receipt {
        Receipt {
            number: self.number,
            batch,
            outcome: Outcome::Accepted { position: self.position, documents: Vec::new() },
            policy_version: self.policy_version,
            erased: Vec::new(),
        }
    }

    const fn to_wire(self) -> wire::ShortReceipt {
        let Self { number, batch_number, position, policy_version } = self;
        wire::ShortReceipt { number, batch_number, position, policy_version }
    }

    const fn from_wire(wire: &wire::ShortReceipt) -> Self {
        let wire::ShortReceipt { number, batch_number, position, policy_version } = *wire;
        Self { number, batch_number, position, policy_version }
    }
}

/// The short receipts of one message, for the wire.
pub(super) fn short_receipts_to_wire(receipts: &[ShortReceipt]) -> wire::ShortReceipts {
    wire::ShortReceipts { receipts: receipts.iter().map(|receipt| receipt.to_wire()).collect() }
}

/// The short receipts of one message.
pub(super) fn short_receipts_from_wire(wire: &wire::ShortReceipts) -> Vec<ShortReceipt> {
    wire.receipts.iter().map(ShortReceipt::from_wire).collect()
}

impl AcceptedDocument {
    fn to_wire(&self) -> wire::AcceptedDocument {
        wire::AcceptedDocument {
            record: self.id.record.as_bytes().to_vec(),
            section: section_to_wire(&self.id.section),
            number: self.number,
        }
    }

    fn from_wire(wire: wire::AcceptedDocument) -> Result<Self, FrameError> {
        let record = id_field(&wire.record, "record id")?;
        let id = DocumentId { record, section: section_from_wire(&wire.section)? };
        Ok(Self { id, number: wire.number })
    }
}

impl Refusal {
    pub(super) fn to_wire(&self) -> wire::Refusal {
        wire::Refusal {
            code: self.code.clone(),
            text: self.text.clone(),
            record: self.document.as_ref().map(|id| id.record.as_bytes().to_vec()),
            section: self
                .document
                .as_ref()
                .map(|id| section_to_wire(&id.section))
                .unwrap_or_default(),
            field: self.field.clone(),
            rule: self.rule.clone(),
        }
    }

    pub(super) fn from_wire(wire: wire::Refusal) -> Result<Self, FrameError> {
        let document = match wire.record {
            Some(record) => Some(DocumentId {
                record: id_field(&record, "record id")?,
                section: section_from_wire(&wire.section)?,
            }),
            None => None,
        };
        Ok(Self { code: wire.code, text: wire.text, document, field: wire.field, rule: wire.rule })
    }
}

/// The receipts of one message.
pub(super) fn receipts_from_wire(receipts: Vec<wire::Receipt>) -> Result<Vec<Receipt>, FrameError> {
    if receipts.len() > limits::RECEIPTS_PER_WELCOME_MAX {
        return Err(FrameError::TooMany("receipts"));
    }
    receipts.into_iter().map(Receipt::from_wire).collect()
}
