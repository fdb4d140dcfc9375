//! Answers to batches.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Receipts {
    #[prost(message, repeated, tag = "1")]
    pub receipts: Vec<Receipt>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Receipt {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub batch: Vec<u8>,
    #[prost(oneof = "Outcome", tags = "3, 4, 5")]
    pub outcome: Option<Outcome>,
    #[prost(uint64, tag = "6")]
    pub policy_version: u64,
    /// 16 bytes each.
    #[prost(bytes = "vec", tag = "7")]
    pub erased: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct ShortReceipts {
    #[prost(message, repeated, tag = "1")]
    pub receipts: Vec<ShortReceipt>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct ShortReceipt {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(uint64, tag = "2")]
    pub batch_number: u64,
    #[prost(uint64, tag = "3")]
    pub position: u64,
    #[prost(uint64, tag = "4")]
    pub policy_version: u64,
}

#[derive(Clone, PartialEq, Oneof)]
pub(in crate::protocol) enum Outcome {
    #[prost(message, tag = "3")]
    Accepted(Accepted),
    #[prost(message, tag = "4")]
    Already(Already),
    #[prost(message, tag = "5")]
    Refused(Refused),
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Accepted {
    #[prost(uint64, tag = "1")]
    pub position: u64,
    #[prost(message, repeated, tag = "2")]
    pub documents: Vec<AcceptedDocument>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Already {
    #[prost(uint64, tag = "1")]
    pub position: u64,
    #[prost(message, repeated, tag = "2")]
    pub documents: Vec<AcceptedDocument>,
    /// 32 bytes each.
    #[prost(bytes = "vec", tag = "3")]
    pub hashes: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct AcceptedDocument {
    #[prost(bytes = "vec", tag = "1")]
    pub record: Vec<u8>,
    #[prost(string, tag = "2")]
    pub section: String,
    #[prost(uint64, tag = "3")]
    pub number: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Refused {
    #[prost(message, repeated, tag = "1")]
    pub reasons: Vec<Refusal>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Refusal {
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub text: String,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub record: Option<Vec<u8>>,
    #[prost(string, tag = "4")]
    pub section: String,
    #[prost(string, optional, tag = "5")]
    pub field: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub rule: Option<String>,
}
