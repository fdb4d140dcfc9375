//! Pages: one unit of download, applied in one transaction; cut into parts when it is larger than a frame.

use prost::Message as _;

use super::batch::{Identity, SentChange};
use super::bounds;
use super::frame::{self, FrameError};
use super::handshake::ScopeCursor;
use super::message::id_field;
use super::table::{TableReader, TableWriter};
use super::wire;
use crate::id::{MemberId, RecordMark, ReplicaId};
use crate::limits;
use crate::time::Timestamp;

/// One unit of download.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Where the cursors stand once the page is applied.
    pub cursors: Vec<ScopeCursor>,
    /// What changed.
    pub entries: Vec<Entry>,
    /// Whose the replicas are that wrote it.
    pub authors: Vec<AuthorName>,
    /// The log's last position when the page was built.
    pub head: u64,
    /// Scopes that the device no longer has: what they alone showed has left in this page or before.
    pub dropped: Vec<String>,
}

/// Who writes under a replica's actors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorName {
    /// The replica.
    pub replica: ReplicaId,
    /// Its member.
    pub member: MemberId,
    /// The member's name.
    pub name: String,
}

/// What a page says of one document.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// Changes that the device lacks.
    Changes {
        /// The document's number.
        number: u64,
        /// Who it is, when the device may be new to it.
        identity: Option<Identity>,
        /// The changes, dependencies first.
        changes: Vec<SentChange>,
    },
    /// The whole document.
    Document {
        /// The document's number.
        number: u64,
        /// Who it is.
        identity: Identity,
        /// The uncompressed save.
        snapshot: Vec<u8>,
        /// The changes after it.
        changes: Vec<SentChange>,
    },
    /// No longer in any of the device's scopes.
    Left {
        /// The document's number.
        number: u64,
    },
    /// Erased for good.
    Erased {
        /// The record, to those who have it.
        mark: RecordMark,
    },
}

impl Entry {
    /// The number of the document that it is about; an erased one has none any more.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Changes { number, .. }
            | Self::Document { number, .. }
            | Self::Left { number } => Some(*number),
            Self::Erased { .. } => None,
        }
    }
}

/// A piece of a page's body, one frame each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePart {
    /// The page's number in this session, from 1.
    pub page: u64,
    /// The part's number in the page, from 0.
    pub part: u32,
    /// Whether it is the page's last.
    pub last: bool,
    /// The size of the whole body once inflated; 0 when it is not compressed.
    pub plain_size: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A page, encoded once: the same for every device that stands where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageParts {
    plain_size: u64,
    bytes: Vec<u8>,
}

impl PageParts {
    /// Encodes and compresses a page.
    #[must_use]
    pub fn new(page: &Page) -> Self {
        let plain = page.to_wire().encode_to_vec();
        let pays = plain.len() >= limits::COMPRESS_FROM_BYTES;
        match pays.then(|| frame::compress(&plain)).flatten() {
            Some(bytes) => Self { plain_size: plain.len() as u64, bytes },
            None => Self { plain_size: 0, bytes: plain },
        }
    }

    /// What it occupies on the wire, bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Its parts, as the `page`-th page of a session.
    pub fn parts(&self, page: u64) -> impl Iterator<Item = PagePart> + '_ {
        let count = self.bytes.len().div_ceil(limits::PAGE_PART_BYTES).max(1);
        (0..count).map(move |part| {
            let start = part * limits::PAGE_PART_BYTES;
            let end = (start + limits::PAGE_PART_BYTES).min(self.bytes.len());
            PagePart {
                page,
                part: u32::try_from(part).expect("a page has at most PAGE_BYTES_MAX bytes"),
                last: part + 1 == count,
                plain_size: self.plain_size,
                bytes: self.bytes[start..end].to_vec(),
            }
        })
    }
}

/// The parts of a page that have come so far.
#[derive(Debug, Default)]
pub struct Staged {
    page: u64,
    next: u32,
    bytes: Vec<u8>,
}

impl Staged {
    /// Takes the next part; gives the page's number and the page after its last.
    ///
    /// # Errors
    /// When parts come out of order, the page grows beyond its bound, or its body is damaged.
    pub fn take(&mut self, part: PagePart) -> Result<Option<(u64, Page)>, FrameError> {
        let starts = part.part == 0 && self.next == 0;
        let continues = part.part == self.next && part.page == self.page;
        if !(starts || continues) {
            return Err(FrameError::Field("page part number"));
        }
        if self.bytes.len() + part.bytes.len() > limits::PAGE_BYTES_MAX {
            let got = (self.bytes.len() + part.bytes.len()) as u64;
            return Err(FrameError::TooLarge { got, limit: limits::PAGE_BYTES_MAX });
        }
        self.page = part.page;
        self.next += 1;
        self.bytes.extend_from_slice(&part.bytes);
        if !part.last {
            return Ok(None);
        }
        let body = std::mem::take(self).bytes;
        let page = if part.plain_size == 0 {
            Page::decode(&body)?
        } else {
            Page::decode(&frame::inflate(&body, part.plain_size, limits::PAGE_BYTES_MAX)?)?
        };
        Ok(Some((part.page, page)))
    }
}

impl Page {
    fn to_wire(&self) -> wire::Page {
        let changes = self.entries.iter().flat_map(|entry| match entry {
            Entry::Changes { changes, .. } | Entry::Document { changes, .. } => &changes[..],
            Entry::Left { .. } | Entry::Erased { .. } => &[],
        });
        let base = changes.map(|sent| sent.change.time).find(|time| time.as_millis() != 0);
        let mut table = TableWriter::new(base.unwrap_or(Timestamp::from_millis(0)));
        let entries = self.entries.iter().map(|entry| entry.to_wire(&mut table)).collect();
        wire::Page {
            entries,
            table: Some(table.finish()),
            cursors: self.cursors.iter().map(ScopeCursor::to_wire).collect(),
            authors: self
                .authors
                .iter()
                .map(|author| wire::Author {
                    replica: author.replica.0.to_vec(),
                    member: author.member.as_bytes().to_vec(),
                    name: author.name.clone(),
                })
                .collect(),
            head: self.head,
            dropped: self.dropped.clone(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        bounds::check(bytes, bounds::PAGE)?;
        let wire = wire::Page::decode(bytes)?;
        let table = TableReader::new(wire.table)?;
        let cursors =
            wire.cursors.into_iter().map(ScopeCursor::from_wire).collect::<Result<_, _>>()?;
        let entries = wire
            .entries
            .into_iter()
            .map(|e| Entry::from_wire(e, &table))
            .collect::<Result<_, _>>()?;
        let authors = wire.authors.into_iter().map(|author| {
            Ok(AuthorName {
                replica: id_field(&author.replica, "replica id")?,
                member: id_field(&author.member, "member id")?,
                name: author.name,
            })
        });
        let authors = authors.collect::<Result<_, FrameError>>()?;
        if wire.dropped.iter().any(|scope| scope.len() > limits::SCOPE_BYTES_MAX) {
            return Err(FrameError::Field("scope"));
        }
        Ok(Self { cursors, entries, authors, head: wire.head, dropped: wire.dropped })
    }
}

impl Entry {
    fn to_wire(&self, table: &mut TableWriter) -> wire::Entry {
        let mut wire = wire::Entry::default();
        match self {
            Self::Changes { number, identity, changes } => {
                wire.number = *number;
                wire.identity = identity.as_ref().map(Identity::to_wire);
                wire.changes = changes.iter().map(|change| change.to_wire(table)).collect();
            }
            Self::Document { number, identity, snapshot, changes } => {
                wire.number = *number;
                wire.identity = Some(identity.to_wire());
                wire.snapshot = Some(snapshot.clone());
                wire.changes = changes.iter().map(|change| change.to_wire(table)).collect();
            }
            Self::Left { number } => {
                wire.number = *number;
                wire.left = true;
            }
            Self::Erased { mark } => wire.erased = Some(mark.as_bytes().to_vec()),
        }
        wire
    }

    fn from_wire(wire: wire::Entry, table: &TableReader) -> Result<Self, FrameError> {
        if let Some(mark) = wire.erased {
            return Ok(Self::Erased { mark: id_field(&mark, "record's mark")? });
        }
        if wire.number == 0 {
            return Err(FrameError::Field("document number"));
        }
        if wire.left {
            return Ok(Self::Left { number: wire.number });
        }
        let identity = wire.identity.map(Identity::from_wire).transpose()?;
        let changes = wire
            .changes
            .into_iter()
            .map(|change| SentChange::from_wire(change, table))
            .collect::<Result<Vec<_>, _>>()?;
        match (wire.snapshot, identity) {
            (None, identity) => Ok(Self::Changes { number: wire.number, identity, changes }),
            (Some(snapshot), Some(identity)) => {
                Ok(Self::Document { number: wire.number, identity, snapshot, changes })
            }
            (Some(_), None) => Err(FrameError::Field("document identity")),
        }
    }
}
