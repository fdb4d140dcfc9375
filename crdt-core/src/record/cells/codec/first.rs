//! The first form of stored cells: a protobuf message in which every key is spelled out. It is read, and not
//! written any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::{StoredCellsError, unfit};
use crate::id::{ActorId, ChangeHash};
use crate::record::cells::{Cells, LastEdit, Live, LiveOp, Written};
use crate::record::{OpId, Scalar};
use crate::time::Timestamp;

/// Reads what the first version wrote.
pub(super) fn read(bytes: &[u8]) -> Result<Cells, StoredCellsError> {
    let row = CellsRow::decode(bytes).map_err(|e| StoredCellsError(e.to_string()))?;
    from_row(row).ok_or_else(unfit)
}

#[derive(Clone, PartialEq, Message)]
struct CellsRow {
    /// 16 bytes each; everything else names actors by their place here.
    #[prost(bytes = "vec", tag = "1")]
    actors: Vec<u8>,
    #[prost(uint64, repeated, tag = "2")]
    seqs: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    max_ops: Vec<u64>,
    /// 32 bytes each.
    #[prost(bytes = "vec", tag = "4")]
    heads: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    last: Option<LiveRow>,
    #[prost(message, repeated, tag = "6")]
    keys: Vec<KeyRow>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyRow {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, repeated, tag = "2")]
    live: Vec<LiveRow>,
}

#[derive(Clone, PartialEq, Message)]
struct LiveRow {
    #[prost(uint64, tag = "1")]
    counter: u64,
    #[prost(uint32, tag = "2")]
    actor: u32,
    #[prost(sint64, tag = "3")]
    time: i64,
    #[prost(oneof = "ValueRow", tags = "4, 5, 6, 7, 8, 9, 10, 11")]
    value: Option<ValueRow>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ValueRow {
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
    #[prost(sint64, tag = "10")]
    Counter(i64),
    #[prost(string, tag = "11")]
    Text(String),
}

fn from_row(row: CellsRow) -> Option<Cells> {
    let actors = chunks::<16>(&row.actors)?.map(ActorId).collect::<Vec<_>>();
    if actors.len() != row.seqs.len() || actors.len() != row.max_ops.len() {
        return None;
    }
    let op_id = |live: &LiveRow| {
        let actor = *actors.get(live.actor as usize)?;
        Some(OpId { counter: live.counter, actor })
    };
    let mut cells = Cells {
        heads: chunks::<32>(&row.heads)?.map(ChangeHash).collect(),
        last: match &row.last {
            Some(last) => {
                Some(LastEdit { time: Timestamp::from_millis(last.time), op: op_id(last)? })
            }
            None => None,
        },
        ..Cells::default()
    };
    for (place, actor) in actors.iter().enumerate() {
        let written = Written { seq: row.seqs[place], max_op: row.max_ops[place] };
        cells.actors.insert(*actor, written);
    }
    let mut keys = BTreeMap::new();
    for key in row.keys {
        let mut ops = Vec::with_capacity(key.live.len());
        for live in key.live {
            let id = op_id(&live)?;
            let time = Timestamp::from_millis(live.time);
            ops.push(LiveOp { id, value: value_of(live.value), time });
        }
        keys.insert(key.key, ops);
    }
    cells.keys = Arc::new(keys);
    Some(cells)
}

fn chunks<const N: usize>(bytes: &[u8]) -> Option<impl Iterator<Item = [u8; N]> + '_> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then(|| chunks.iter().copied())
}

fn value_of(row: Option<ValueRow>) -> Live {
    Live::Scalar(match row {
        None => Scalar::Null,
        Some(ValueRow::Text(contents)) => return Live::Text(contents),
        Some(ValueRow::Bool(b)) => Scalar::Bool(b),
        Some(ValueRow::Int(i)) => Scalar::Int(i),
        Some(ValueRow::Float(x)) => Scalar::Float(x),
        Some(ValueRow::Str(s)) => Scalar::Str(s),
        Some(ValueRow::Timestamp(t)) => Scalar::Timestamp(Timestamp::from_millis(t)),
        Some(ValueRow::Bytes(b)) => Scalar::Bytes(b),
        Some(ValueRow::Counter(c)) => Scalar::Counter(c),
    })
}
