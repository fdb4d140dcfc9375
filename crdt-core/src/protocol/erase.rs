//! Asking for the erasure of a record, and the answer.

use super::frame::FrameError;
use super::message::id_field;
use super::receipt::Refusal;
use super::wire;
use crate::id::RecordId;

/// Device to server: erase a record for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EraseRecord {
    /// Names the request within its session.
    pub request: u64,
    /// The record.
    pub record: RecordId,
}

/// Server to device: what became of an [`EraseRecord`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The request.
    pub request: u64,
    /// The position at which the record was erased, now or before; or why it was not.
    pub outcome: Result<u64, Refusal>,
}

impl EraseRecord {
    pub(super) fn to_wire(self) -> wire::EraseRecord {
        wire::EraseRecord { request: self.request, record: self.record.as_bytes().to_vec() }
    }

    pub(super) fn from_wire(wire: &wire::EraseRecord) -> Result<Self, FrameError> {
        Ok(Self { request: wire.request, record: id_field(&wire.record, "record id")? })
    }
}

impl Erasure {
    pub(super) fn to_wire(&self) -> wire::Erasure {
        let (position, refused) = match &self.outcome {
            Ok(position) => (*position, None),
            Err(refusal) => (0, Some(refusal.to_wire())),
        };
        wire::Erasure { request: self.request, position, refused }
    }

    pub(super) fn from_wire(wire: wire::Erasure) -> Result<Self, FrameError> {
        let outcome = match wire.refused {
            Some(refusal) => Err(Refusal::from_wire(refusal)?),
            None if wire.position > 0 => Ok(wire.position),
            None => return Err(FrameError::Field("erasure's position")),
        };
        Ok(Self { request: wire.request, outcome })
    }
}
