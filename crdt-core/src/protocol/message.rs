//! The messages, parsed: what exists here is well-formed.

use super::batch::Batch;
use super::frame::FrameError;
use super::page::PagePart;
use super::receipt::{Receipt, receipts_from_wire};
use super::table::{TableReader, TableWriter};
use super::wire;
use crate::id::{Epoch, Lease, MemberId, ReplicaId, WrongLength};
use crate::limits;
use crate::time::Timestamp;

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Device to server: the first.
    Hello(Box<Hello>),
    /// Server to device: the answer to it.
    Welcome(Box<Welcome>),
    /// Device to server: batches.
    Push(Push),
    /// Server to device: answers to batches.
    Receipts(Vec<Receipt>),
    /// Server to device: a page, or a part of one.
    Page(PagePart),
    /// Device to server: what is stored.
    Ack(Ack),
    /// Device to server: documents wanted whole.
    Fetch(Fetch),
    /// Either way: why the connection ends.
    Goodbye(Goodbye),
}

/// What a device says first.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The versions it speaks.
    pub versions: Vec<u32>,
    /// Who its user is.
    pub token: String,
    /// Its database file.
    pub replica: ReplicaId,
    /// The lease it was given last.
    pub lease: Option<Lease>,
    /// The log it knows.
    pub epoch: Option<Epoch>,
    /// The last receipt it stored.
    pub receipt: u64,
    /// The schema it has.
    pub schema_version: u64,
    /// Where it stands in every scope that is not an exception.
    pub cursor: Cursor,
    /// The scopes in which it stands elsewhere.
    pub exceptions: Vec<ScopeCursor>,
    /// The program and its version, for logs.
    pub client: String,
}

/// How far a device has come in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cursor {
    /// Everything up to here has been applied; while catching up, everything whose last change or entry
    /// into the scope lies up to here.
    pub position: u64,
    /// While catching up: where it began. Changes after it may be missing in what has not come yet.
    pub from: Option<u64>,
}

/// A cursor in one scope; in every scope when `scope` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeCursor {
    /// The scope's name; empty for all.
    pub scope: String,
    /// Where the device stands.
    pub cursor: Cursor,
}

/// The server's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// The version that both speak from now on.
    pub version: u32,
    /// The log.
    pub epoch: Epoch,
    /// The logs before it, each with its last position.
    pub lineage: Vec<(Epoch, u64)>,
    /// The new lease.
    pub lease: Lease,
    /// Every receipt after the last that the device stored.
    pub receipts: Vec<Receipt>,
    /// The scopes of the device.
    pub scopes: Vec<String>,
    /// What the server takes at once.
    pub limits: PeerLimits,
    /// The server's clock.
    pub server_time: Timestamp,
    /// The schema, when it is not the device's.
    pub schema: Option<String>,
    /// Up to where the log has been backed up.
    pub backed_up_to: u64,
    /// The log's last position.
    pub head: u64,
    /// Who the token says the user is.
    pub member: MemberId,
    /// That member's name.
    pub member_name: String,
    /// The policy in force.
    pub policy_version: u64,
}

/// How much may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// Batches that are not answered.
    pub batches_in_flight: u32,
    /// Pages that are not acknowledged.
    pub pages_in_flight: u32,
}

/// Batches, and what was stored meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The batches, in the outbox's order.
    pub batches: Vec<Batch>,
    /// The last receipt stored.
    pub receipt: u64,
}

/// What a device has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The last page of this session; 0 for none.
    pub page: u64,
    /// The last receipt.
    pub receipt: u64,
}

/// Documents that the device wants whole: it could not apply what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Their numbers.
    pub documents: Vec<u64>,
}

/// Why the connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// For programs.
    pub code: GoodbyeCode,
    /// For people.
    pub text: String,
    /// When to come back, milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// Why a connection ends, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GoodbyeCode {
    /// The peer broke the protocol.
    Protocol,
    /// No version in common: the app is to be updated; edits stay on the device.
    Version,
    /// The token is malformed, forged or for another workspace.
    Unauthorized,
    /// The token has expired.
    TokenExpired,
    /// Another session of the same replica took over.
    Superseded,
    /// The lease is not the last one: this database is a copy.
    LeaseOutdated,
    /// The replica belongs to another member.
    ReplicaTaken,
    /// The cursor lies beyond the log's end.
    CursorAhead,
    /// The log is not one that the server knows.
    UnknownEpoch,
    /// Too slow to take what is sent.
    SlowConsumer,
    /// Nothing was heard for too long, or no hello came in time.
    Timeout,
    /// The server is stopping.
    Restart,
    /// The server cannot store anything at present.
    StorageFull,
    /// A fault of the server's.
    Internal,
    /// The member has used up what the server loads documents for within a minute.
    Busy,
    /// A reason of a newer version.
    Unknown(u32),
}

impl GoodbyeCode {
    const KNOWN: [(u32, Self); 15] = [
        (1, Self::Protocol),
        (2, Self::Version),
        (3, Self::Unauthorized),
        (4, Self::TokenExpired),
        (5, Self::Superseded),
        (6, Self::LeaseOutdated),
        (7, Self::ReplicaTaken),
        (8, Self::CursorAhead),
        (9, Self::UnknownEpoch),
        (10, Self::SlowConsumer),
        (11, Self::Timeout),
        (12, Self::Restart),
        (13, Self::StorageFull),
        (14, Self::Internal),
        (15, Self::Busy),
    ];

    fn to_wire(self) -> u32 {
        match self {
            Self::Unknown(code) => code,
            known => {
                Self::KNOWN.iter().find(|(_, code)| *code == known).map_or(0, |(number, _)| *number)
            }
        }
    }

    fn from_wire(number: u32) -> Self {
        let known = Self::KNOWN.iter().find(|(known, _)| *known == number);
        known.map_or(Self::Unknown(number), |(_, code)| *code)
    }
}

impl Message {
    /// The message's name, for logs and errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Push(_) => "push",
            Self::Receipts(_) => "receipts",
            Self::Page(_) => "page",
            Self::Ack(_) => "ack",
            Self::Fetch(_) => "fetch",
            Self::Goodbye(_) => "goodbye",
        }
    }

    pub(super) fn to_wire(&self) -> wire::Envelope {
        let body = match self {
            Self::Hello(hello) => wire::Body::Hello(hello.to_wire()),
            Self::Welcome(welcome) => wire::Body::Welcome(welcome.to_wire()),
            Self::Push(push) => wire::Body::Push(push.to_wire()),
            Self::Receipts(receipts) => wire::Body::Receipts(wire::Receipts {
                receipts: receipts.iter().map(Receipt::to_wire).collect(),
            }),
            Self::Page(part) => wire::Body::Page(wire::PagePart {
                page: part.page,
                part: part.part,
                last: part.last,
                plain_size: part.plain_size,
                bytes: part.bytes.clone(),
            }),
            Self::Ack(ack) => wire::Body::Ack(wire::Ack { page: ack.page, receipt: ack.receipt }),
            Self::Fetch(fetch) => {
                wire::Body::Fetch(wire::Fetch { documents: fetch.documents.clone() })
            }
            Self::Goodbye(goodbye) => wire::Body::Goodbye(wire::Goodbye {
                code: goodbye.code.to_wire(),
                text: goodbye.text.clone(),
                retry_after_ms: goodbye.retry_after_ms,
            }),
        };
        wire::Envelope { body: Some(body) }
    }

    pub(super) fn from_wire(body: wire::Body) -> Result<Self, FrameError> {
        Ok(match body {
            wire::Body::Hello(hello) => Self::Hello(Box::new(Hello::from_wire(hello)?)),
            wire::Body::Welcome(welcome) => Self::Welcome(Box::new(Welcome::from_wire(welcome)?)),
            wire::Body::Push(push) => Self::Push(Push::from_wire(push)?),
            wire::Body::Receipts(receipts) => {
                Self::Receipts(receipts_from_wire(receipts.receipts)?)
            }
            wire::Body::Page(part) => Self::Page(PagePart {
                page: part.page,
                part: part.part,
                last: part.last,
                plain_size: part.plain_size,
                bytes: part.bytes,
            }),
            wire::Body::Ack(ack) => Self::Ack(Ack { page: ack.page, receipt: ack.receipt }),
            wire::Body::Fetch(fetch) => {
                if fetch.documents.len() > limits::PAGE_ENTRIES_MAX {
                    return Err(FrameError::TooMany("documents to fetch"));
                }
                Self::Fetch(Fetch { documents: fetch.documents })
            }
            wire::Body::Goodbye(goodbye) => Self::Goodbye(Goodbye {
                code: GoodbyeCode::from_wire(goodbye.code),
                text: goodbye.text,
                retry_after_ms: goodbye.retry_after_ms,
            }),
        })
    }
}

/// An identity of fixed length in a field of a message.
pub(super) fn id_field<'a, T>(bytes: &'a [u8], what: &'static str) -> Result<T, FrameError>
where
    T: TryFrom<&'a [u8], Error = WrongLength>,
{
    T::try_from(bytes).map_err(|_| FrameError::Field(what))
}

impl Hello {
    fn to_wire(&self) -> wire::Hello {
        wire::Hello {
            versions: self.versions.clone(),
            token: self.token.clone(),
            replica: self.replica.0.to_vec(),
            lease: self.lease.map(|lease| lease.0.to_vec()),
            epoch: self.epoch.map(|epoch| epoch.0.to_vec()),
            receipt: self.receipt,
            schema_version: self.schema_version,
            cursor: Some(self.cursor.to_wire()),
            exceptions: self.exceptions.iter().map(ScopeCursor::to_wire).collect(),
            client: self.client.clone(),
        }
    }

    fn from_wire(wire: wire::Hello) -> Result<Self, FrameError> {
        if wire.token.len() > limits::TOKEN_BYTES_MAX || wire.client.len() > 256 {
            return Err(FrameError::Field("token or client name"));
        }
        if wire.exceptions.len() > limits::SCOPES_MAX || wire.versions.len() > 64 {
            return Err(FrameError::TooMany("scopes or versions"));
        }
        let exceptions = wire.exceptions.into_iter().map(ScopeCursor::from_wire);
        Ok(Self {
            versions: wire.versions,
            token: wire.token,
            replica: id_field(&wire.replica, "replica id")?,
            lease: wire.lease.map(|lease| id_field(&lease, "lease")).transpose()?,
            epoch: wire.epoch.map(|epoch| id_field(&epoch, "epoch")).transpose()?,
            receipt: wire.receipt,
            schema_version: wire.schema_version,
            cursor: Cursor::from_wire(wire.cursor.unwrap_or_default())?,
            exceptions: exceptions.collect::<Result<_, _>>()?,
            client: wire.client,
        })
    }
}

impl Cursor {
    /// Caught up to a position.
    #[must_use]
    pub const fn at(position: u64) -> Self {
        Self { position, from: None }
    }

    fn to_wire(self) -> wire::Cursor {
        wire::Cursor { position: self.position, from: self.from }
    }

    fn from_wire(wire: wire::Cursor) -> Result<Self, FrameError> {
        match wire.from {
            Some(from) if from > wire.position => Err(FrameError::Field("cursor")),
            from => Ok(Self { position: wire.position, from }),
        }
    }
}

impl ScopeCursor {
    pub(super) fn to_wire(&self) -> wire::ScopeCursor {
        wire::ScopeCursor { scope: self.scope.clone(), cursor: Some(self.cursor.to_wire()) }
    }

    pub(super) fn from_wire(wire: wire::ScopeCursor) -> Result<Self, FrameError> {
        if wire.scope.len() > limits::KEY_BYTES_MAX {
            return Err(FrameError::Field("scope"));
        }
        let cursor = Cursor::from_wire(wire.cursor.unwrap_or_default())?;
        Ok(Self { scope: wire.scope, cursor })
    }
}

impl Welcome {
    fn to_wire(&self) -> wire::Welcome {
        let ended =
            |(epoch, last): &(Epoch, u64)| wire::Ended { epoch: epoch.0.to_vec(), last: *last };
        wire::Welcome {
            version: self.version,
            epoch: self.epoch.0.to_vec(),
            lineage: self.lineage.iter().map(ended).collect(),
            lease: self.lease.0.to_vec(),
            receipts: self.receipts.iter().map(Receipt::to_wire).collect(),
            scopes: self.scopes.clone(),
            batches_in_flight: self.limits.batches_in_flight,
            pages_in_flight: self.limits.pages_in_flight,
            server_time: self.server_time.as_millis(),
            schema: self.schema.clone(),
            backed_up_to: self.backed_up_to,
            head: self.head,
            member: self.member.as_bytes().to_vec(),
            member_name: self.member_name.clone(),
            policy_version: self.policy_version,
        }
    }

    fn from_wire(wire: wire::Welcome) -> Result<Self, FrameError> {
        if wire.scopes.len() > limits::SCOPES_MAX {
            return Err(FrameError::TooMany("scopes"));
        }
        if wire.schema.as_ref().is_some_and(|schema| schema.len() > limits::SCHEMA_BYTES_MAX) {
            return Err(FrameError::Field("schema"));
        }
        let ended = |ended: wire::Ended| Ok((id_field(&ended.epoch, "epoch")?, ended.last));
        Ok(Self {
            version: wire.version,
            epoch: id_field(&wire.epoch, "epoch")?,
            lineage: wire.lineage.into_iter().map(ended).collect::<Result<_, FrameError>>()?,
            lease: id_field(&wire.lease, "lease")?,
            receipts: receipts_from_wire(wire.receipts)?,
            scopes: wire.scopes,
            limits: PeerLimits {
                batches_in_flight: wire.batches_in_flight.max(1),
                pages_in_flight: wire.pages_in_flight.max(1),
            },
            server_time: Timestamp::from_millis(wire.server_time),
            schema: wire.schema,
            backed_up_to: wire.backed_up_to,
            head: wire.head,
            member: id_field(&wire.member, "member id")?,
            member_name: wire.member_name,
            policy_version: wire.policy_version,
        })
    }
}

impl Push {
    fn to_wire(&self) -> wire::Push {
        let base = self.batches.first().map_or(Timestamp::from_millis(0), Batch::base_time);
        let mut table = TableWriter::new(base);
        let batches = self.batches.iter().map(|batch| batch.to_wire(&mut table)).collect();
        wire::Push { batches, table: Some(table.finish()), receipt: self.receipt }
    }

    fn from_wire(wire: wire::Push) -> Result<Self, FrameError> {
        if wire.batches.len() > limits::PUSH_BATCHES_MAX {
            return Err(FrameError::TooMany("batches"));
        }
        let table = TableReader::new(wire.table)?;
        let batches = wire.batches.into_iter().map(|batch| Batch::from_wire(batch, &table));
        Ok(Self { batches: batches.collect::<Result<_, _>>()?, receipt: wire.receipt })
    }
}
