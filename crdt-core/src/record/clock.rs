//! What a point in a document's history covers: for each actor the largest operation counter seen.

use std::collections::BTreeMap;

use crate::id::ActorId;
use crate::limits;

use super::OpId;

/// For each actor the largest operation counter seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clock(BTreeMap<ActorId, u64>);

const ENTRY_BYTES: usize = 24;

impl Clock {
    /// Whether `op` had been seen.
    #[must_use]
    pub fn covers(&self, op: &OpId) -> bool {
        self.0.get(&op.actor).is_some_and(|seen| *seen >= op.counter)
    }

    /// Notes that everything of `actor` up to `counter` was seen.
    pub fn extend(&mut self, actor: ActorId, counter: u64) {
        let seen = self.0.entry(actor).or_insert(0);
        *seen = (*seen).max(counter);
    }

    /// Notes everything that `other` covers.
    pub fn merge(&mut self, other: &Self) {
        for (actor, counter) in &other.0 {
            self.extend(*actor, *counter);
        }
    }

    /// The actors and their counters, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ActorId, u64)> {
        self.0.iter().map(|(actor, counter)| (actor, *counter))
    }

    /// 24 bytes an actor, in order: the actor, then the counter, big-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * ENTRY_BYTES);
        for (actor, counter) in &self.0 {
            bytes.extend_from_slice(&actor.0);
            bytes.extend_from_slice(&counter.to_be_bytes());
        }
        bytes
    }

    /// Reads what [`Clock::to_bytes`] wrote; nothing when the bytes are not in that one form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) || bytes.len() > limits::CLOCK_BYTES_MAX {
            return None;
        }
        let mut clock = BTreeMap::new();
        let mut last = None;
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            let actor = ActorId::try_from(&entry[..16]).ok()?;
            let counter = u64::from_be_bytes(entry[16..].try_into().ok()?);
            if last.is_some_and(|last| last >= actor) {
                return None;
            }
            last = Some(actor);
            clock.insert(actor, counter);
        }
        Some(Self(clock))
    }
}
