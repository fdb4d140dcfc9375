//! The protobuf messages. Tags are for ever: one that is dropped stays reserved in `PROTOCOL.md`.

mod receipts;
mod recovery;

use prost::{Message, Oneof};

pub(super) use receipts::{
    Accepted, AcceptedDocument, Already, Outcome, Receipt, Receipts, Refusal, Refused,
    ShortReceipt, ShortReceipts,
};
pub(super) use recovery::{Compare, Compared, Lack, Lacking, Relay, Relayed};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    #[prost(oneof = "Body", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17")]
    pub body: Option<Body>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Body {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Welcome(Welcome),
    #[prost(message, tag = "3")]
    Push(Push),
    #[prost(message, tag = "4")]
    Receipts(Receipts),
    #[prost(message, tag = "5")]
    Page(PagePart),
    #[prost(message, tag = "6")]
    Ack(Ack),
    #[prost(message, tag = "7")]
    Fetch(Fetch),
    #[prost(message, tag = "8")]
    Goodbye(Goodbye),
    #[prost(message, tag = "9")]
    Token(NewToken),
    #[prost(message, tag = "10")]
    TokenTaken(TokenTaken),
    #[prost(message, tag = "11")]
    Compare(Compare),
    #[prost(message, tag = "12")]
    Lacking(Lacking),
    #[prost(message, tag = "13")]
    Relay(Relay),
    #[prost(message, tag = "14")]
    Relayed(Relayed),
    #[prost(message, tag = "15")]
    Erase(EraseRecord),
    #[prost(message, tag = "16")]
    Erasure(Erasure),
    #[prost(message, tag = "17")]
    ShortReceipts(ShortReceipts),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Hello {
    #[prost(uint32, repeated, tag = "1")]
    pub versions: Vec<u32>,
    #[prost(string, tag = "2")]
    pub token: String,
    #[prost(bytes = "vec", tag = "3")]
    pub replica: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub lease: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub epoch: Option<Vec<u8>>,
    #[prost(uint64, tag = "6")]
    pub receipt: u64,
    #[prost(uint64, tag = "7")]
    pub schema_version: u64,
    #[prost(message, optional, tag = "8")]
    pub cursor: Option<Cursor>,
    #[prost(message, repeated, tag = "9")]
    pub exceptions: Vec<ScopeCursor>,
    #[prost(string, tag = "10")]
    pub client: String,
    #[prost(uint64, tag = "11")]
    pub policy_version: u64,
    #[prost(bytes = "vec", tag = "12")]
    pub device: Vec<u8>,
    #[prost(string, tag = "13")]
    pub device_name: String,
    #[prost(uint64, tag = "14")]
    pub left: u64,
    #[prost(bool, tag = "15")]
    pub short_receipts: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Cursor {
    #[prost(uint64, tag = "1")]
    pub position: u64,
    #[prost(uint64, optional, tag = "2")]
    pub from: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeCursor {
    #[prost(string, tag = "1")]
    pub scope: String,
    #[prost(message, optional, tag = "2")]
    pub cursor: Option<Cursor>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Welcome {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub epoch: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub lineage: Vec<Ended>,
    #[prost(bytes = "vec", tag = "4")]
    pub lease: Vec<u8>,
    #[prost(message, repeated, tag = "5")]
    pub receipts: Vec<Receipt>,
    #[prost(string, repeated, tag = "6")]
    pub scopes: Vec<String>,
    #[prost(uint32, tag = "7")]
    pub batches_in_flight: u32,
    #[prost(uint32, tag = "8")]
    pub pages_in_flight: u32,
    #[prost(sint64, tag = "9")]
    pub server_time: i64,
    #[prost(string, optional, tag = "10")]
    pub schema: Option<String>,
    #[prost(uint64, tag = "11")]
    pub backed_up_to: u64,
    #[prost(uint64, tag = "12")]
    pub head: u64,
    #[prost(bytes = "vec", tag = "13")]
    pub member: Vec<u8>,
    #[prost(string, tag = "14")]
    pub member_name: String,
    #[prost(uint64, tag = "15")]
    pub policy_version: u64,
    #[prost(string, optional, tag = "16")]
    pub policy: Option<String>,
    #[prost(message, optional, tag = "17")]
    pub standing: Option<Standing>,
    #[prost(sint64, tag = "18")]
    pub token_expires: i64,
    #[prost(uint32, tag = "19")]
    pub recovery: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Standing {
    #[prost(string, optional, tag = "1")]
    pub role: Option<String>,
    #[prost(string, repeated, tag = "2")]
    pub territories: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub teams: Vec<String>,
    #[prost(string, optional, tag = "4")]
    pub region: Option<String>,
    #[prost(bool, tag = "5")]
    pub inactive: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ended {
    #[prost(bytes = "vec", tag = "1")]
    pub epoch: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub last: u64,
    #[prost(uint64, tag = "3")]
    pub documents: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Push {
    #[prost(message, optional, tag = "1")]
    pub table: Option<Table>,
    #[prost(message, repeated, tag = "2")]
    pub batches: Vec<Batch>,
    #[prost(uint64, tag = "3")]
    pub receipt: u64,
}

/// What a frame says once: actors (16 bytes each) and the time that edit times are counted from.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Table {
    #[prost(bytes = "vec", tag = "1")]
    pub actors: Vec<u8>,
    #[prost(sint64, tag = "2")]
    pub base_time: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Batch {
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub number: u64,
    #[prost(uint64, tag = "3")]
    pub schema_version: u64,
    #[prost(uint64, tag = "4")]
    pub policy_version: u64,
    #[prost(message, repeated, tag = "5")]
    pub documents: Vec<DocumentChanges>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DocumentChanges {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(message, optional, tag = "2")]
    pub identity: Option<Identity>,
    #[prost(message, repeated, tag = "3")]
    pub changes: Vec<Change>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Identity {
    #[prost(bytes = "vec", tag = "1")]
    pub record: Vec<u8>,
    /// Empty for `main`.
    #[prost(string, tag = "2")]
    pub section: String,
    #[prost(string, tag = "3")]
    pub entity: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Change {
    #[prost(uint32, tag = "1")]
    pub actor: u32,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(uint64, tag = "3")]
    pub start_op: u64,
    #[prost(sint64, tag = "4")]
    pub time: i64,
    /// The one dependency is the change before this one, in the same list.
    #[prost(bool, tag = "5")]
    pub chained: bool,
    /// Four bytes of each dependency's hash, or all 32 of each when `long`.
    #[prost(bytes = "vec", tag = "6")]
    pub deps: Vec<u8>,
    #[prost(bool, tag = "7")]
    pub long: bool,
    #[prost(message, repeated, tag = "8")]
    pub ops: Vec<Op>,
    #[prost(bytes = "vec", tag = "9")]
    pub claim: Vec<u8>,
    /// 1 counter, 2 text: the seed of the field in the one operation's key; everything else is derived.
    #[prost(uint32, tag = "10")]
    pub seed: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Op {
    #[prost(string, tag = "1")]
    pub key: String,
    /// Counter and actor of each predecessor, by turns.
    #[prost(uint64, repeated, tag = "2")]
    pub preds: Vec<u64>,
    #[prost(oneof = "Action", tags = "3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub action: Option<Action>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Action {
    #[prost(bool, tag = "3")]
    Null(bool),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(sint64, tag = "5")]
    Int(i64),
    #[prost(double, tag = "6")]
    Float(f64),
    #[prost(string, tag = "7")]
    Str(String),
    #[prost(sint64, tag = "8")]
    Timestamp(i64),
    #[prost(bytes, tag = "9")]
    Bytes(Vec<u8>),
    #[prost(bool, tag = "10")]
    Remove(bool),
    #[prost(sint64, tag = "11")]
    Increment(i64),
    #[prost(message, tag = "12")]
    Insert(Insert),
    #[prost(message, tag = "13")]
    Erase(Erase),
    #[prost(bool, tag = "14")]
    Member(bool),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Insert {
    /// Counter and actor of the element in front; empty at the beginning.
    #[prost(uint64, repeated, tag = "1")]
    pub after: Vec<u64>,
    #[prost(string, tag = "2")]
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Erase {
    #[prost(uint64, tag = "1")]
    pub counter: u64,
    #[prost(uint64, tag = "2")]
    pub actor: u64,
    #[prost(uint32, tag = "3")]
    pub count: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PagePart {
    #[prost(uint64, tag = "1")]
    pub page: u64,
    #[prost(uint32, tag = "2")]
    pub part: u32,
    #[prost(bool, tag = "3")]
    pub last: bool,
    /// 0 when the body is not compressed.
    #[prost(uint64, tag = "4")]
    pub plain_size: u64,
    #[prost(bytes = "vec", tag = "5")]
    pub bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Page {
    #[prost(message, optional, tag = "1")]
    pub table: Option<Table>,
    #[prost(message, repeated, tag = "2")]
    pub cursors: Vec<ScopeCursor>,
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<Entry>,
    #[prost(message, repeated, tag = "4")]
    pub authors: Vec<Author>,
    #[prost(uint64, tag = "5")]
    pub head: u64,
    #[prost(string, repeated, tag = "6")]
    pub dropped: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Author {
    #[prost(bytes = "vec", tag = "1")]
    pub replica: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub member: Vec<u8>,
    #[prost(string, tag = "3")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(message, optional, tag = "2")]
    pub identity: Option<Identity>,
    #[prost(message, repeated, tag = "3")]
    pub changes: Vec<Change>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub snapshot: Option<Vec<u8>>,
    #[prost(bool, tag = "5")]
    pub left: bool,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub erased: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Ack {
    #[prost(uint64, tag = "1")]
    pub page: u64,
    #[prost(uint64, tag = "2")]
    pub receipt: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Fetch {
    #[prost(uint64, repeated, tag = "1")]
    pub documents: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Goodbye {
    #[prost(uint32, tag = "1")]
    pub code: u32,
    #[prost(string, tag = "2")]
    pub text: String,
    #[prost(uint64, optional, tag = "3")]
    pub retry_after_ms: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NewToken {
    #[prost(string, tag = "1")]
    pub token: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct TokenTaken {
    #[prost(sint64, tag = "1")]
    pub expires: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EraseRecord {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub record: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Erasure {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// 0 when it was not erased.
    #[prost(uint64, tag = "2")]
    pub position: u64,
    #[prost(message, optional, tag = "3")]
    pub refused: Option<Refusal>,
}
