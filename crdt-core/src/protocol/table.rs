//! What a frame says once: its actors, and the time that its edit times are counted from.

use std::collections::BTreeMap;

use super::frame::FrameError;
use super::wire;
use crate::id::ActorId;
use crate::limits;
use crate::record::OpId;
use crate::time::Timestamp;

/// Collects actors while a frame is written.
pub(super) struct TableWriter {
    places: BTreeMap<ActorId, u32>,
    actors: Vec<u8>,
    base_time: Timestamp,
}

impl TableWriter {
    pub(super) fn new(base_time: Timestamp) -> Self {
        Self { places: BTreeMap::new(), actors: Vec::new(), base_time }
    }

    pub(super) fn actor(&mut self, actor: &ActorId) -> u32 {
        let next = u32::try_from(self.places.len()).expect("a frame holds far fewer actors");
        *self.places.entry(*actor).or_insert_with(|| {
            self.actors.extend_from_slice(&actor.0);
            next
        })
    }

    pub(super) fn op_id(&mut self, id: &OpId) -> [u64; 2] {
        [id.counter, u64::from(self.actor(&id.actor))]
    }

    pub(super) fn time(&self, time: Timestamp) -> i64 {
        time.since(self.base_time)
    }

    pub(super) fn finish(self) -> wire::Table {
        wire::Table { actors: self.actors, base_time: self.base_time.as_millis() }
    }
}

/// Looks actors up while a frame is read.
pub(super) struct TableReader {
    actors: Vec<ActorId>,
    base_time: Timestamp,
}

impl TableReader {
    pub(super) fn new(table: Option<wire::Table>) -> Result<Self, FrameError> {
        let table = table.unwrap_or_default();
        let (chunks, rest) = table.actors.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(FrameError::Field("actor table"));
        }
        if chunks.len() > limits::FRAME_ACTORS_MAX {
            return Err(FrameError::TooMany("actors"));
        }
        let actors = chunks.iter().map(|bytes| ActorId(*bytes)).collect();
        Ok(Self { actors, base_time: Timestamp::from_millis(table.base_time) })
    }

    pub(super) fn actor(&self, place: u64) -> Result<ActorId, FrameError> {
        let place = usize::try_from(place).map_err(|_| FrameError::Field("actor"))?;
        self.actors.get(place).copied().ok_or(FrameError::Field("actor"))
    }

    pub(super) fn op_id(&self, pair: [u64; 2]) -> Result<OpId, FrameError> {
        Ok(OpId { counter: pair[0], actor: self.actor(pair[1])? })
    }

    pub(super) fn op_ids(&self, pairs: &[u64]) -> Result<Vec<OpId>, FrameError> {
        let (pairs, rest) = pairs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(FrameError::Field("operation ids"));
        }
        pairs.iter().map(|pair| self.op_id(*pair)).collect()
    }

    pub(super) fn time(&self, delta: i64) -> Timestamp {
        self.base_time.plus_millis(delta)
    }
}
