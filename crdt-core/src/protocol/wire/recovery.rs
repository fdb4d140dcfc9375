//! The protobuf messages of what follows a restore.

use prost::Message;

use super::{Author, DocumentChanges, Identity, Table};

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Compare {
    #[prost(message, optional, tag = "1")]
    pub table: Option<Table>,
    #[prost(message, repeated, tag = "2")]
    pub documents: Vec<Compared>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Compared {
    #[prost(message, optional, tag = "1")]
    pub identity: Option<Identity>,
    #[prost(bytes = "vec", tag = "2")]
    pub heads: Vec<u8>,
    #[prost(uint64, repeated, tag = "3")]
    pub reaches: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Lacking {
    #[prost(message, optional, tag = "1")]
    pub table: Option<Table>,
    #[prost(message, repeated, tag = "2")]
    pub documents: Vec<Lack>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Lack {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(uint64, repeated, tag = "2")]
    pub from: Vec<u64>,
    #[prost(bool, tag = "3")]
    pub parted: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::protocol) struct Relay {
    #[prost(message, optional, tag = "1")]
    pub table: Option<Table>,
    #[prost(message, repeated, tag = "2")]
    pub documents: Vec<DocumentChanges>,
    #[prost(message, repeated, tag = "3")]
    pub authors: Vec<Author>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(in crate::protocol) struct Relayed {
    #[prost(uint64, tag = "1")]
    pub taken: u64,
    #[prost(uint64, tag = "2")]
    pub held: u64,
    #[prost(uint64, tag = "3")]
    pub parked: u64,
    #[prost(uint64, tag = "4")]
    pub refused: u64,
}
