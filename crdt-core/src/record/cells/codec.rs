//! How cells are stored beside a document: a protobuf message, so that a newer version may add to it.

use prost::{Message, encoding};

use crate::id::{ActorId, ChangeHash};
use crate::time::Timestamp;

use super::{Cells, LastEdit, Live, LiveOp, Written};
use crate::record::{OpId, Scalar};

/// Stored cells cannot be read: the row is damaged and is built again from the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored cells cannot be read: {0}")]
pub struct StoredCellsError(String);

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

impl Cells {
    /// The bytes to store.
    #[must_use]
    pub fn to_stored(&self) -> Vec<u8> {
        let actors: Vec<ActorId> = self.actors.keys().copied().collect();
        let place = |actor: &ActorId| {
            let found =
                actors.binary_search(actor).expect("every live operation's actor has written");
            u32::try_from(found).expect("documents hold at most DOCUMENT_ACTORS_MAX actors")
        };
        let written = self.actors.values();
        let mut bytes = Vec::with_capacity(64 + 48 * self.keys.len());
        let (mut key_row, mut live_row) = (Vec::new(), Vec::new());
        let joined: Vec<u8> = actors.iter().flat_map(|actor| actor.0).collect();
        put_bytes(1, &joined, &mut bytes);
        let seqs: Vec<u64> = written.clone().map(|written| written.seq).collect();
        encoding::uint64::encode_packed(2, &seqs, &mut bytes);
        let max_ops: Vec<u64> = written.map(|written| written.max_op).collect();
        encoding::uint64::encode_packed(3, &max_ops, &mut bytes);
        let heads: Vec<u8> = self.heads.iter().flat_map(|head| head.0).collect();
        put_bytes(4, &heads, &mut bytes);
        if let Some(last) = self.last {
            put_live(last.op.counter, place(&last.op.actor), last.time, None, &mut live_row);
            put_message(5, &live_row, &mut bytes);
        }
        for (key, live) in &self.keys {
            key_row.clear();
            if !key.is_empty() {
                encoding::string::encode(1, key, &mut key_row);
            }
            for op in live {
                live_row.clear();
                let actor = place(&op.id.actor);
                put_live(op.id.counter, actor, op.time, Some(&op.value), &mut live_row);
                put_message(2, &live_row, &mut key_row);
            }
            put_message(6, &key_row, &mut bytes);
        }
        bytes
    }

    /// Reads what [`Cells::to_stored`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, StoredCellsError> {
        let row = CellsRow::decode(bytes).map_err(|e| StoredCellsError(e.to_string()))?;
        Self::from_row(row)
            .ok_or_else(|| StoredCellsError("its parts do not fit together".to_owned()))
    }

    fn from_row(row: CellsRow) -> Option<Self> {
        let actors = chunks::<16>(&row.actors)?.map(ActorId).collect::<Vec<_>>();
        if actors.len() != row.seqs.len() || actors.len() != row.max_ops.len() {
            return None;
        }
        let op_id = |live: &LiveRow| {
            let actor = *actors.get(live.actor as usize)?;
            Some(OpId { counter: live.counter, actor })
        };
        let mut cells = Self {
            heads: chunks::<32>(&row.heads)?.map(ChangeHash).collect(),
            last: match &row.last {
                Some(last) => {
                    Some(LastEdit { time: Timestamp::from_millis(last.time), op: op_id(last)? })
                }
                None => None,
            },
            ..Self::default()
        };
        for (place, actor) in actors.iter().enumerate() {
            let written = Written { seq: row.seqs[place], max_op: row.max_ops[place] };
            cells.actors.insert(*actor, written);
        }
        for key in row.keys {
            let mut ops = Vec::with_capacity(key.live.len());
            for live in key.live {
                let id = op_id(&live)?;
                let time = Timestamp::from_millis(live.time);
                ops.push(LiveOp { id, value: value_of(live.value), time });
            }
            cells.keys.insert(key.key, ops);
        }
        Some(cells)
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> Option<impl Iterator<Item = [u8; N]> + '_> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then(|| chunks.iter().copied())
}

/// The message [`LiveRow`]: what it would give, without building it.
fn put_live(counter: u64, actor: u32, time: Timestamp, value: Option<&Live>, out: &mut Vec<u8>) {
    if counter != 0 {
        encoding::uint64::encode(1, &counter, out);
    }
    if actor != 0 {
        encoding::uint32::encode(2, &actor, out);
    }
    if time.as_millis() != 0 {
        encoding::sint64::encode(3, &time.as_millis(), out);
    }
    match value {
        None | Some(Live::Scalar(Scalar::Null)) => {}
        Some(Live::Text(contents)) => encoding::string::encode(11, contents, out),
        Some(Live::Scalar(Scalar::Bool(b))) => encoding::bool::encode(4, b, out),
        Some(Live::Scalar(Scalar::Int(i))) => encoding::sint64::encode(5, i, out),
        Some(Live::Scalar(Scalar::Float(x))) => encoding::double::encode(6, x, out),
        Some(Live::Scalar(Scalar::Str(s))) => encoding::string::encode(7, s, out),
        Some(Live::Scalar(Scalar::Timestamp(t))) => {
            encoding::sint64::encode(8, &t.as_millis(), out);
        }
        Some(Live::Scalar(Scalar::Bytes(b))) => encoding::bytes::encode(9, b, out),
        Some(Live::Scalar(Scalar::Counter(c))) => encoding::sint64::encode(10, c, out),
    }
}

fn put_message(tag: u32, message: &[u8], out: &mut Vec<u8>) {
    encoding::encode_key(tag, encoding::WireType::LengthDelimited, out);
    encoding::encode_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}

fn put_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        put_message(tag, bytes, out);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn live(counter: u64, actor: u8, time: i64, value: Live) -> LiveOp {
        let id = OpId { counter, actor: ActorId([actor; 16]) };
        LiveOp { id, value, time: Timestamp::from_millis(time) }
    }

    #[test]
    fn what_is_stored_is_what_the_message_would_give_for_every_kind_of_value() {
        let mut cells = Cells { heads: vec![ChangeHash([7; 32])], ..Cells::default() };
        for (actor, seq) in [(1, 3), (2, 0)] {
            let written = Written { seq, max_op: 40 + seq };
            cells.actors.insert(ActorId([actor; 16]), written);
        }
        let values = [
            Live::Text("prose".to_owned()),
            Live::Text(String::new()),
            Live::Scalar(Scalar::Null),
            Live::Scalar(Scalar::Bool(false)),
            Live::Scalar(Scalar::Int(-5)),
            Live::Scalar(Scalar::Int(0)),
            Live::Scalar(Scalar::Float(0.0)),
            Live::Scalar(Scalar::Str("words".to_owned())),
            Live::Scalar(Scalar::Str(String::new())),
            Live::Scalar(Scalar::Timestamp(Timestamp::from_millis(-1))),
            Live::Scalar(Scalar::Bytes(vec![0; 200])),
            Live::Scalar(Scalar::Counter(i64::MIN)),
        ];
        for (place, value) in values.into_iter().enumerate() {
            let time = i64::try_from(place).unwrap() * 1_000;
            let two = [live(0, 1, time, value.clone()), live(place as u64, 2, time, value)];
            cells.keys.insert(format!("key {place}"), two.to_vec());
        }
        cells.keys.insert(String::new(), Vec::new());
        for last in [
            None,
            Some(LastEdit {
                time: Timestamp::from_millis(9),
                op: live(1, 2, 0, Live::Text(String::new())).id,
            }),
        ] {
            cells.last = last;
            let stored = cells.to_stored();
            assert_eq!(CellsRow::decode(&stored[..]).unwrap().encode_to_vec(), stored);
            assert_eq!(Cells::from_stored(&stored).unwrap(), cells);
        }
        assert_eq!(Cells::default().to_stored(), CellsRow::default().encode_to_vec());
    }
}
