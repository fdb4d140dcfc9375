//! After a restore: documents are compared, and what the server lacks is given back to it.

use std::collections::BTreeMap;

use prost::Message as _;

use super::batch::{DocumentChanges, Identity};
use super::frame::FrameError;
use super::message::id_field;
use super::page::AuthorName;
use super::table::{TableReader, TableWriter};
use super::wire;
use crate::id::{ActorId, ChangeHash};
use crate::limits;
use crate::record::Reach;
use crate::time::Timestamp;

/// Device to server: how far these documents go on the device, as far as they were accepted once.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// The documents.
    pub documents: Vec<Compared>,
}

/// A document as the device has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Which.
    pub identity: Identity,
    /// How far it goes.
    pub reach: Reach,
}

/// Server to device: what it lacks, in the order in which it was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Lacking {
    /// One for each document that was compared.
    pub documents: Vec<Lack>,
}

/// What the server lacks of a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lack {
    /// The document's number; 0 when there is none, or none that the device may see.
    pub number: u64,
    /// For each actor the first change that is lacking.
    pub from: BTreeMap<ActorId, u64>,
    /// The device has a change that the server has not, under a number for which the server has another one.
    pub parted: bool,
}

impl Lack {
    /// Whether the server has everything.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.number != 0 && self.from.is_empty() && !self.parted
    }
}

/// Device to server: changes that the server lacks, whoever wrote them.
#[derive(Debug, Clone, PartialEq)]
pub struct Relay {
    /// The changes, by document, dependencies first; each stands by itself ([`super::SentChange::alone`]).
    pub documents: Vec<DocumentChanges>,
    /// Who writes under the changes' actors, as far as the device knows.
    pub authors: Vec<AuthorName>,
}

/// Server to device: what became of a [`Relay`]; it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relayed {
    /// Changes that are in the log now.
    pub taken: u64,
    /// Changes that were there before.
    pub held: u64,
    /// Changes that wait for what they depend on.
    pub parked: u64,
    /// Changes that are not taken.
    pub refused: u64,
}

impl Compare {
    pub(super) fn to_wire(&self) -> wire::Compare {
        let mut table = TableWriter::new(Timestamp::from_millis(0));
        let documents = self.documents.iter().map(|document| document.to_wire(&mut table));
        let documents = documents.collect();
        wire::Compare { table: Some(table.finish()), documents }
    }

    pub(super) fn from_wire(wire: wire::Compare) -> Result<Self, FrameError> {
        if wire.documents.len() > limits::COMPARED_MAX {
            return Err(FrameError::TooMany("documents to compare"));
        }
        let table = TableReader::new(wire.table)?;
        let documents = wire.documents.into_iter();
        let documents = documents.map(|document| Compared::from_wire(document, &table));
        Ok(Self { documents: documents.collect::<Result<_, _>>()? })
    }
}

impl Compared {
    /// What it takes on the wire, bytes, about.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        64 + 32 * self.reach.heads.len() + 24 * self.reach.seqs.len()
    }

    fn to_wire(&self, table: &mut TableWriter) -> wire::Compared {
        wire::Compared {
            identity: Some(self.identity.to_wire()),
            heads: self.reach.heads.iter().flat_map(|hash| hash.0).collect(),
            reaches: seqs_to_wire(&self.reach.seqs, table),
        }
    }

    fn from_wire(wire: wire::Compared, table: &TableReader) -> Result<Self, FrameError> {
        let identity = wire.identity.ok_or(FrameError::Field("document"))?;
        let (heads, rest) = wire.heads.as_chunks::<32>();
        if !rest.is_empty() || heads.is_empty() {
            return Err(FrameError::Field("heads"));
        }
        if heads.len() > limits::DOCUMENT_ACTORS_MAX {
            return Err(FrameError::TooMany("heads"));
        }
        let heads = heads.iter().map(|hash| ChangeHash(*hash)).collect();
        let seqs = seqs_from_wire(&wire.reaches, table)?;
        Ok(Self { identity: Identity::from_wire(identity)?, reach: Reach { heads, seqs } })
    }
}

impl Lacking {
    pub(super) fn to_wire(&self) -> wire::Lacking {
        let mut table = TableWriter::new(Timestamp::from_millis(0));
        let documents = self.documents.iter().map(|lack| wire::Lack {
            number: lack.number,
            from: seqs_to_wire(&lack.from, &mut table),
            parted: lack.parted,
        });
        let documents = documents.collect();
        wire::Lacking { table: Some(table.finish()), documents }
    }

    pub(super) fn from_wire(wire: wire::Lacking) -> Result<Self, FrameError> {
        if wire.documents.len() > limits::COMPARED_MAX {
            return Err(FrameError::TooMany("documents to compare"));
        }
        let table = TableReader::new(wire.table)?;
        let documents = wire.documents.into_iter().map(|lack| {
            let from = seqs_from_wire(&lack.from, &table)?;
            Ok(Lack { number: lack.number, from, parted: lack.parted })
        });
        Ok(Self { documents: documents.collect::<Result<_, FrameError>>()? })
    }
}

impl Relay {
    pub(super) fn to_wire(&self) -> wire::Relay {
        let base = self.documents.iter().find_map(DocumentChanges::first_time);
        let mut table = TableWriter::new(base.unwrap_or(Timestamp::from_millis(0)));
        let documents = self.documents.iter().map(|document| document.to_wire(&mut table));
        let documents = documents.collect();
        let authors = self.authors.iter().map(|author| wire::Author {
            replica: author.replica.0.to_vec(),
            member: author.member.as_bytes().to_vec(),
            name: author.name.clone(),
        });
        wire::Relay { table: Some(table.finish()), documents, authors: authors.collect() }
    }

    pub(super) fn from_wire(wire: wire::Relay) -> Result<Self, FrameError> {
        if wire.authors.len() > limits::RELAY_CHANGES_MAX {
            return Err(FrameError::TooMany("authors"));
        }
        let changes: usize = wire.documents.iter().map(|document| document.changes.len()).sum();
        if changes > limits::RELAY_CHANGES_MAX {
            return Err(FrameError::TooMany("changes"));
        }
        let table = TableReader::new(wire.table)?;
        let documents = wire.documents.into_iter();
        let documents = documents.map(|document| DocumentChanges::from_wire(document, &table));
        let documents = documents.collect::<Result<_, _>>()?;
        let authors = wire.authors.into_iter().map(|author| {
            Ok(AuthorName {
                replica: id_field(&author.replica, "replica id")?,
                member: id_field(&author.member, "member id")?,
                name: author.name,
            })
        });
        Ok(Self { documents, authors: authors.collect::<Result<_, FrameError>>()? })
    }
}

impl Relay {
    /// The bytes of a relay that waits for what its changes depend on.
    #[must_use]
    pub fn to_stored(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// Reads what [`Relay::to_stored`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, FrameError> {
        Self::from_wire(wire::Relay::decode(bytes)?)
    }
}

impl Relayed {
    pub(super) const fn to_wire(self) -> wire::Relayed {
        let Self { taken, held, parked, refused } = self;
        wire::Relayed { taken, held, parked, refused }
    }

    pub(super) const fn from_wire(wire: wire::Relayed) -> Self {
        let wire::Relayed { taken, held, parked, refused } = wire;
        Self { taken, held, parked, refused }
    }
}

fn seqs_to_wire(seqs: &BTreeMap<ActorId, u64>, table: &mut TableWriter) -> Vec<u64> {
    seqs.iter().flat_map(|(actor, seq)| [u64::from(table.actor(actor)), *seq]).collect()
}

fn seqs_from_wire(
    pairs: &[u64],
    table: &TableReader,
) -> Result<BTreeMap<ActorId, u64>, FrameError> {
    let (pairs, rest) = pairs.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > limits::DOCUMENT_ACTORS_MAX {
        return Err(FrameError::Field("actors"));
    }
    pairs.iter().map(|[actor, seq]| Ok((table.actor(*actor)?, *seq))).collect()
}
