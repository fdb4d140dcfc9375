//! The messages, parsed: what exists here is well-formed.

use super::batch::Batch;
use super::erase::{EraseRecord, Erasure};
use super::frame::FrameError;
use super::handshake::{Hello, Welcome};
use super::page::PagePart;
use super::receipt::{
    Receipt, ShortReceipt, receipts_from_wire, short_receipts_from_wire, short_receipts_to_wire,
};
use super::relay::{Compare, Lacking, Relay, Relayed};
use super::table::{TableReader, TableWriter};
use super::wire;
use crate::id::WrongLength;
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
    /// Server to device: answers to batches of which there is little to say.
    ShortReceipts(Vec<ShortReceipt>),
    /// Server to device: a page, or a part of one.
    Page(PagePart),
    /// Device to server: what is stored.
    Ack(Ack),
    /// Device to server: documents wanted whole.
    Fetch(Fetch),
    /// Either way: why the connection ends.
    Goodbye(Goodbye),
    /// Device to server: a newer token for the open session.
    Token(NewToken),
    /// Server to device: the newer token is taken.
    TokenTaken(TokenTaken),
    /// Device to server: how far its documents go, after the server was restored.
    Compare(Compare),
    /// Server to device: what it lacks of them.
    Lacking(Lacking),
    /// Device to server: other people's changes that the server lacks.
    Relay(Relay),
    /// Server to device: what became of them.
    Relayed(Relayed),
    /// Device to server: erase a record for good.
    Erase(EraseRecord),
    /// Server to device: the answer to it.
    Erasure(Erasure),
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

/// A newer token of the same member, so that an open session outlives the one that it began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The token.
    pub token: String,
}

/// The answer to [`NewToken`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTaken {
    /// When it ends, by the server's clock.
    pub expires: Timestamp,
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
    /// What the member may see or do has changed: come back at once and hear what it is now.
    AccessChanged,
    /// The device was revoked: what it holds of the workspace is to be wiped.
    DeviceRevoked,
    /// The member is switched off or not listed; its data stays, sync does not go on.
    MemberDisabled,
    /// Too many attempts or messages: come back after `retry_after_ms`.
    RateLimited,
    /// A reason of a newer version.
    Unknown(u32),
}

impl GoodbyeCode {
    const KNOWN: [(u32, Self); 19] = [
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
        (16, Self::AccessChanged),
        (17, Self::DeviceRevoked),
        (18, Self::MemberDisabled),
        (19, Self::RateLimited),
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
            Self::ShortReceipts(_) => "short receipts",
            Self::Page(_) => "page",
            Self::Ack(_) => "ack",
            Self::Fetch(_) => "fetch",
            Self::Goodbye(_) => "goodbye",
            Self::Token(_) => "token",
            Self::TokenTaken(_) => "token taken",
            Self::Compare(_) => "compare",
            Self::Lacking(_) => "lacking",
            Self::Relay(_) => "relay",
            Self::Relayed(_) => "relayed",
            Self::Erase(_) => "erase",
            Self::Erasure(_) => "erasure",
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
            Self::ShortReceipts(receipts) => {
                wire::Body::ShortReceipts(short_receipts_to_wire(receipts))
            }
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
            Self::Token(new) => wire::Body::Token(wire::NewToken { token: new.token.clone() }),
            Self::TokenTaken(taken) => {
                wire::Body::TokenTaken(wire::TokenTaken { expires: taken.expires.as_millis() })
            }
            Self::Compare(compare) => wire::Body::Compare(compare.to_wire()),
            Self::Lacking(lacking) => wire::Body::Lacking(lacking.to_wire()),
            Self::Relay(relay) => wire::Body::Relay(relay.to_wire()),
            Self::Relayed(relayed) => wire::Body::Relayed(relayed.to_wire()),
            Self::Erase(erase) => wire::Body::Erase(erase.to_wire()),
            Self::Erasure(erasure) => wire::Body::Erasure(erasure.to_wire()),
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
            wire::Body::ShortReceipts(receipts) => {
                Self::ShortReceipts(short_receipts_from_wire(&receipts))
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
            wire::Body::Token(new) => {
                if new.token.len() > limits::TOKEN_BYTES_MAX {
                    return Err(FrameError::Field("token"));
                }
                Self::Token(NewToken { token: new.token })
            }
            wire::Body::TokenTaken(taken) => {
                Self::TokenTaken(TokenTaken { expires: Timestamp::from_millis(taken.expires) })
            }
            wire::Body::Compare(compare) => Self::Compare(Compare::from_wire(compare)?),
            wire::Body::Lacking(lacking) => Self::Lacking(Lacking::from_wire(lacking)?),
            wire::Body::Relay(relay) => Self::Relay(Relay::from_wire(relay)?),
            wire::Body::Relayed(relayed) => Self::Relayed(Relayed::from_wire(relayed)),
            wire::Body::Erase(erase) => Self::Erase(EraseRecord::from_wire(&erase)?),
            wire::Body::Erasure(erasure) => Self::Erasure(Erasure::from_wire(erasure)?),
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
