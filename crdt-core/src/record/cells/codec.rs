//! How cells are stored beside a document: counted values one after the other, keys by number where they have
//! one, and who wrote an operation and when only where that differs from the one before. The first byte tells it
//! from the first form, which is read as well.

mod first;
mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::encoding::{decode_varint, encode_varint};

use crate::id::{ActorId, ChangeHash};
use crate::time::Timestamp;

use super::{Cells, LastEdit, Live, LiveOp, Written};
use crate::record::{OpId, Scalar};

/// Stored cells cannot be read: the row is damaged and is built again from the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored cells cannot be read: {0}")]
pub struct StoredCellsError(String);

/// The first byte. No message of the first form begins so.
const DENSE: u8 = 2;

/// Bits of an operation's first byte: the author and the time of the operation before it. The others are its
/// kind.
const SAME_ACTOR: u8 = 0x10;
const SAME_TIME: u8 = 0x20;

/// Bits of a key's number: what follows it; that it has one live operation.
const SPELLED: u64 = 2;
const ALONE: u64 = 1;

impl Cells {
    /// The bytes to store.
    #[must_use]
    pub fn to_stored(&self) -> Vec<u8> {
        if *self == Self::default() {
            return Vec::new();
        }
        let actors: Vec<ActorId> = self.actors.keys().copied().collect();
        let mut out = Writer { bytes: Vec::with_capacity(96 + 24 * self.keys.len()), actors };
        out.bytes.push(DENSE);
        out.number(self.actors.len() as u64);
        for (actor, written) in &self.actors {
            out.bytes.extend_from_slice(&actor.0);
            out.number(written.seq);
            out.number(written.max_op);
        }
        out.number(self.heads.len() as u64);
        self.heads.iter().for_each(|head| out.bytes.extend_from_slice(&head.0));
        out.number(u64::from(self.last.is_some()));
        if let Some(last) = self.last {
            out.signed(last.time.as_millis());
            out.number(last.op.counter);
            out.place(&last.op.actor);
        }
        out.number(self.keys.len() as u64);
        let mut before = Before::from(self.last);
        for (key, live) in self.keys.iter() {
            out.key(key, live.len());
            live.iter().for_each(|op| out.live(op, &mut before));
        }
        out.bytes
    }

    /// Reads what [`Cells::to_stored`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, StoredCellsError> {
        match bytes.split_first() {
            None => Ok(Self::default()),
            Some((&DENSE, rest)) => read(&mut Reader { rest }).ok_or_else(unfit),
            Some(_) => first::read(bytes),
        }
    }
}

fn unfit() -> StoredCellsError {
    StoredCellsError("its parts do not fit together".to_owned())
}

struct Writer {
    bytes: Vec<u8>,
    actors: Vec<ActorId>,
}

impl Writer {
    fn number(&mut self, number: u64) {
        encode_varint(number, &mut self.bytes);
    }

    fn signed(&mut self, number: i64) {
        self.number((number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned());
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn place(&mut self, actor: &ActorId) {
        let found = self.actors.binary_search(actor);
        self.number(found.expect("every live operation's actor has written") as u64);
    }

    fn key(&mut self, key: &str, live: usize) {
        let (number, rest) = names::shorten(key);
        let spelled = if rest.is_empty() { 0 } else { SPELLED };
        let alone = if live == 1 { ALONE } else { 0 };
        self.number(number << 2 | spelled | alone);
        if !rest.is_empty() {
            self.counted(rest.as_bytes());
        }
        if live != 1 {
            self.number(live as u64);
        }
    }

    fn live(&mut self, op: &LiveOp, before: &mut Before) {
        let same_actor = before.actor == Some(op.id.actor);
        let same_time = before.time == op.time;
        let same = if same_actor { SAME_ACTOR } else { 0 } | if same_time { SAME_TIME } else { 0 };
        self.bytes.push(kind(&op.value) | same);
        self.number(op.id.counter);
        if !same_actor {
            self.place(&op.id.actor);
        }
        if !same_time {
            self.signed(since(op.time, before.time));
        }
        *before = Before { actor: Some(op.id.actor), time: op.time };
        match &op.value {
            Live::Text(text) | Live::Scalar(Scalar::Str(text)) => self.counted(text.as_bytes()),
            Live::Scalar(Scalar::Bytes(bytes)) => self.counted(bytes),
            Live::Scalar(Scalar::Int(number) | Scalar::Counter(number)) => self.signed(*number),
            Live::Scalar(Scalar::Timestamp(time)) => self.signed(since(*time, op.time)),
            Live::Scalar(Scalar::Float(number)) => {
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
            Live::Scalar(Scalar::Null | Scalar::Bool(_)) => {}
        }
    }
}

const fn kind(value: &Live) -> u8 {
    match value {
        Live::Scalar(Scalar::Null) => 0,
        Live::Scalar(Scalar::Bool(false)) => 1,
        Live::Scalar(Scalar::Bool(true)) => 2,
        Live::Scalar(Scalar::Int(_)) => 3,
        Live::Scalar(Scalar::Float(_)) => 4,
        Live::Scalar(Scalar::Str(_)) => 5,
        Live::Scalar(Scalar::Timestamp(_)) => 6,
        Live::Scalar(Scalar::Bytes(_)) => 7,
        Live::Scalar(Scalar::Counter(_)) => 8,
        Live::Text(_) => 9,
    }
}

/// Who wrote the operation before, and when; before the first one stands the last edit.
struct Before {
    actor: Option<ActorId>,
    time: Timestamp,
}

impl From<Option<LastEdit>> for Before {
    fn from(last: Option<LastEdit>) -> Self {
        let time = last.map_or(Timestamp::from_millis(0), |last| last.time);
        Self { actor: last.map(|last| last.op.actor), time }
    }
}

/// A time as what lies between it and another.
const fn since(time: Timestamp, before: Timestamp) -> i64 {
    time.as_millis().wrapping_sub(before.as_millis())
}

/// The time that lies so far behind another.
const fn after(before: Timestamp, since: i64) -> Timestamp {
    Timestamp::from_millis(before.as_millis().wrapping_add(since))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        decode_varint(&mut self.rest).ok()
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg())
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let size = self.size()?;
        let (first, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(first)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.counted()?).ok()
    }
}

fn read(from: &mut Reader<'_>) -> Option<Cells> {
    let mut actors = Vec::new();
    let mut cells = Cells::default();
    for _ in 0..from.number()? {
        let actor = ActorId(from.fixed()?);
        let written = Written { seq: from.number()?, max_op: from.number()? };
        if actors.last().is_some_and(|last| *last >= actor) {
            return None;
        }
        actors.push(actor);
        cells.actors.insert(actor, written);
    }
    for _ in 0..from.number()? {
        cells.heads.push(ChangeHash(from.fixed()?));
    }
    cells.last = match from.number()? {
        0 => None,
        1 => {
            let time = Timestamp::from_millis(from.signed()?);
            let counter = from.number()?;
            Some(LastEdit { time, op: OpId { counter, actor: *actors.get(from.size()?)? } })
        }
        _ => return None,
    };
    let keys = read_keys(from, &actors, Before::from(cells.last))?;
    cells.keys = Arc::new(keys);
    from.rest.is_empty().then_some(cells)
}

fn read_keys(
    from: &mut Reader<'_>,
    actors: &[ActorId],
    mut before: Before,
) -> Option<BTreeMap<String, Vec<LiveOp>>> {
    let mut keys = Vec::new();
    for _ in 0..from.number()? {
        let number = from.number()?;
        let mut key = names::name(number >> 2)?.to_owned();
        if number & SPELLED != 0 {
            key.push_str(from.text()?);
        }
        let count = if number & ALONE != 0 { 1 } else { from.size()? };
        let mut live = Vec::with_capacity(count.min(4));
        for _ in 0..count {
            live.push(read_live(from, actors, &mut before)?);
        }
        if keys.last().is_some_and(|(last, _)| *last >= key) {
            return None;
        }
        keys.push((key, live));
    }
    Some(keys.into_iter().collect())
}

fn read_live(from: &mut Reader<'_>, actors: &[ActorId], before: &mut Before) -> Option<LiveOp> {
    let first = from.byte()?;
    let counter = from.number()?;
    let same_actor = first & SAME_ACTOR != 0;
    let actor = if same_actor { before.actor? } else { *actors.get(from.size()?)? };
    let same_time = first & SAME_TIME != 0;
    let time = if same_time { before.time } else { after(before.time, from.signed()?) };
    *before = Before { actor: Some(actor), time };
    let value = match first & !(SAME_ACTOR | SAME_TIME) {
        0 => Live::Scalar(Scalar::Null),
        1 => Live::Scalar(Scalar::Bool(false)),
        2 => Live::Scalar(Scalar::Bool(true)),
        3 => Live::Scalar(Scalar::Int(from.signed()?)),
        4 => Live::Scalar(Scalar::Float(f64::from_le_bytes(from.fixed()?))),
        5 => Live::Scalar(Scalar::Str(from.text()?.to_owned())),
        6 => Live::Scalar(Scalar::Timestamp(after(time, from.signed()?))),
        7 => Live::Scalar(Scalar::Bytes(from.counted()?.to_vec())),
        8 => Live::Scalar(Scalar::Counter(from.signed()?)),
        9 => Live::Text(from.text()?.to_owned()),
        _ => return None,
    };
    Some(LiveOp { id: OpId { counter, actor }, value, time })
}

#[cfg(test)]
mod tests;
