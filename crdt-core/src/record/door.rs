//! The one door: judges a change before anything is built from it. Nothing of a client's reaches Automerge's
//! parsers; what passes is encoded here, so stored bytes are canonical by construction.
//!
//! A change takes the *fast* door when cells can decide everything, or when the index of the document knows
//! what the values were that it names and that are no longer live. One that names a value which only the
//! folded history knows, or that touches the inside of a text, takes the *slow* door: the document is loaded,
//! the change tried on it, saved, loaded again and compared.

mod reason;
mod rules;

use std::collections::BTreeMap;

use crate::id::{ChangeHash, ReplicaId, Section};
use crate::limits;
use crate::schema::Entity;
use crate::time::Timestamp;

use super::document::Purpose;
use super::{Cells, Change, Clock, Document, EncodedChange, Op, OpId};

pub use reason::Reason;

/// The causal past of a change, as the index of the document knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// The largest operation counter among its dependencies.
    pub max_op: u64,
    /// What its dependencies cover together.
    pub clock: Clock,
}

impl Known {
    /// The past of a change whose dependencies are the document's heads.
    #[must_use]
    pub fn heads(cells: &Cells) -> Self {
        Self { max_op: cells.max_op(), clock: cells.clock() }
    }

    /// Adds a dependency.
    pub fn add(&mut self, max_op: u64, clock: &Clock) {
        self.max_op = self.max_op.max(max_op);
        self.clock.merge(clock);
    }
}

/// Whose changes are told apart from one another: how strictly values are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// The batch names the schema version in force: types and validation.
    Current,
    /// The batch was written under an older schema: types only. A rule made stricter later refuses nobody's
    /// offline work.
    Older,
}

/// What the door knows about the document and the sender.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The record's entity.
    pub entity: &'a Entity,
    /// The document's section.
    pub section: &'a Section,
    /// What the document says; empty when it is new.
    pub cells: &'a Cells,
    /// The causal past of the change.
    pub past: &'a Known,
    /// The replica that sends it.
    pub sender: ReplicaId,
    /// The server's clock.
    pub now: Timestamp,
    /// Which schema the change was written under.
    pub history: History,
}

/// Which way a change came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// By cells alone.
    Fast,
    /// Through the loaded document.
    Slow,
}

/// A change that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// Its bytes and hash.
    pub encoded: EncodedChange,
    /// The document's cells with it.
    pub cells: Cells,
    /// What it covers: its past and itself.
    pub clock: Clock,
    /// Which way it came in.
    pub door: Door,
}

/// What the door says of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It is in.
    Admitted(Box<Admitted>),
    /// Its sequence number is taken: by itself if the index holds this hash, else the actor has forked.
    SeqTaken(ChangeHash),
    /// Cells cannot decide: [`judge_with`] the loaded document.
    NeedsDocument,
}

/// Judges a change from cells. `claim` is the beginning of the hash that the sender got.
///
/// # Errors
/// The typed reason of a refusal; nothing has changed.
pub fn judge(
    change: &Change,
    claim: &[u8],
    situation: &Situation<'_>,
) -> Result<Judgement, Reason> {
    rules::shape(change, situation)?;
    if situation.cells.holds(change) {
        return Ok(Judgement::SeqTaken(encode(change, claim)?.hash));
    }
    rules::causality(change, situation)?;
    rules::operations(change, situation)?;
    let encoded = encode(change, claim)?;
    if change.touches_text() || !stale_preds(change, situation.cells).is_empty() {
        return Ok(Judgement::NeedsDocument);
    }
    let mut cells = situation.cells.clone();
    cells.apply(change, encoded.hash);
    admit(change, encoded, cells, situation, Door::Fast)
}

/// Judges a change that [`judge`] answered with [`Judgement::NeedsDocument`] when the caller knows of every
/// one of its [`stale_preds`] which key that operation wrote: then cells decide after all. A change that
/// touches the inside of a text still needs its document.
///
/// # Errors
/// The typed reason of a refusal; nothing has changed.
pub fn judge_knowing(
    change: &Change,
    claim: &[u8],
    situation: &Situation<'_>,
    wrote: &BTreeMap<OpId, String>,
) -> Result<Judgement, Reason> {
    rules::shape(change, situation)?;
    rules::causality(change, situation)?;
    rules::operations(change, situation)?;
    if change.touches_text() {
        return Ok(Judgement::NeedsDocument);
    }
    for (key, pred) in stale_preds(change, situation.cells) {
        if wrote.get(&pred).map(String::as_str) != Some(key) {
            return Err(Reason::UnknownPred { key: key.to_owned() });
        }
    }
    let encoded = encode(change, claim)?;
    let mut cells = situation.cells.clone();
    cells.apply(change, encoded.hash);
    admit(change, encoded, cells, situation, Door::Fast)
}

/// Judges a change that [`judge`] answered with [`Judgement::NeedsDocument`], on the loaded document, which
/// is a copy for this purpose.
///
/// # Errors
/// The typed reason of a refusal; nothing has changed.
pub fn judge_with(
    change: &Change,
    claim: &[u8],
    situation: &Situation<'_>,
    mut document: Document,
) -> Result<Judgement, Reason> {
    rules::shape(change, situation)?;
    rules::causality(change, situation)?;
    rules::operations(change, situation)?;
    for (key, pred) in stale_preds(change, situation.cells) {
        if document.op_key(&pred).as_deref() != Some(key) {
            return Err(Reason::UnknownPred { key: key.to_owned() });
        }
    }
    rules::elements(change, &document, situation)?;
    let encoded = encode(change, claim)?;
    let poison = |_| Reason::Poison;
    document.apply(&encoded).map_err(poison)?;
    let purpose = if change.touches_text() { Purpose::Text } else { Purpose::SlowDoor };
    let saved = document.save().map_err(poison)?;
    if saved.len() > limits::DOCUMENT_BYTES_MAX {
        return Err(Reason::DocumentFull);
    }
    let reloaded = Document::load(purpose, Some(&saved), []).map_err(poison)?;
    let mut cells = situation.cells.clone();
    cells.apply(change, encoded.hash);
    for op in change.ops.iter().filter(|op| op.is_text()) {
        let contents = reloaded.text(&op.key).map_err(poison)?;
        if contents.chars().count() > limits::TEXT_CHARS_MAX {
            return Err(Reason::TextTooLong { key: op.key.clone() });
        }
        cells.set_text(&op.key, contents);
    }
    if reloaded.cells().map_err(poison)? != cells {
        return Err(Reason::Poison);
    }
    admit(change, encoded, cells, situation, Door::Slow)
}

fn admit(
    change: &Change,
    encoded: EncodedChange,
    cells: Cells,
    situation: &Situation<'_>,
    door: Door,
) -> Result<Judgement, Reason> {
    if encoded.bytes.len() > limits::CHANGE_BYTES_MAX {
        return Err(Reason::TooLarge { limit: limits::CHANGE_BYTES_MAX });
    }
    if cells.key_count() > limits::DOCUMENT_KEYS_MAX
        || cells.actor_count() > limits::DOCUMENT_ACTORS_MAX
    {
        return Err(Reason::DocumentFull);
    }
    let mut clock = situation.past.clock.clone();
    clock.extend(change.actor, change.max_op());
    Ok(Judgement::Admitted(Box::new(Admitted { encoded, cells, clock, door })))
}

/// Encodes a change whose header is sound, and compares the hash with the sender's claim.
fn encode(change: &Change, claim: &[u8]) -> Result<EncodedChange, Reason> {
    let encoded = change.encode();
    if claim.len() >= limits::HASH_CLAIM_BYTES && encoded.hash.0.starts_with(claim) {
        Ok(encoded)
    } else {
        Err(Reason::HashMismatch)
    }
}

/// The predecessors that are not live: overwritten by somebody whom the author had not seen, or invented.
#[must_use]
pub fn stale_preds<'a>(change: &'a Change, cells: &Cells) -> Vec<(&'a str, OpId)> {
    let stale = |op: &'a Op| {
        let live = cells.live(&op.key);
        op.preds
            .iter()
            .filter(|pred| !live.iter().any(|l| l.id == **pred))
            .map(|pred| (op.key.as_str(), *pred))
            .collect::<Vec<_>>()
    };
    change.ops.iter().flat_map(stale).collect()
}
