//! The real document, loaded: for prose, history, and what cells cannot tell.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use automerge::ReadDoc;
use automerge::transaction::{CommitOptions, Transactable};

use crate::id::ChangeHash;
use crate::time::Timestamp;

use super::cells::Written;
use super::change::{from_actor, from_scalar, read_chunk, to_actor};
use super::seed::{self, text_object};
use super::{
    Action, Author, Cells, Change, EncodedChange, LastEdit, Live, LiveOp, OpId, Scalar, SeedKind,
    Splice,
};

/// A document that was loaded.
#[derive(Debug, Clone)]
pub struct Document {
    inner: automerge::Automerge,
}

/// A document cannot be loaded or refuses a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Automerge reports a fault.
    #[error("the document cannot be read or changed: {0}")]
    Automerge(String),
    /// Automerge panicked: the instance is gone, the stored bytes are as they were.
    #[error("automerge panicked on this document")]
    Panicked,
    /// It holds something that the flat shape does not have.
    #[error("the document holds something that Fieldbook does not write")]
    Foreign,
    /// Its heads are not those stored beside it, or a change is missing on the way to them.
    #[error("the document's heads are not those stored beside it, or a change is missing")]
    Heads,
    /// There is no such text, or the place lies outside of it.
    #[error("the text field {field} has no such place")]
    NoSuchPlace {
        /// The field.
        field: String,
    },
}

/// Why a document was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A text was edited or received.
    Text,
    /// A change named a value that is no longer live.
    SlowDoor,
    /// A whole document came from the server.
    Whole,
    /// Changes were folded into the snapshot.
    Fold,
    /// Cells were compared with their document, or history was read.
    Verify,
}

static LOADS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// How many documents this process has loaded for a purpose: stays 0 for everything but [`Purpose::Text`] on
/// the ways of an edit, a page and a push.
#[must_use]
pub fn loads(purpose: Purpose) -> u64 {
    LOADS[purpose as usize].load(Ordering::Relaxed)
}

/// How many documents this process has loaded for anything but text.
#[must_use]
pub fn loads_outside_text() -> u64 {
    [Purpose::SlowDoor, Purpose::Whole, Purpose::Fold, Purpose::Verify].map(loads).iter().sum()
}

impl Document {
    /// Loads a snapshot and the changes after it, and counts the load.
    ///
    /// # Errors
    /// When bytes are damaged or do not fit together.
    pub fn load<'a>(
        purpose: Purpose,
        snapshot: Option<&[u8]>,
        changes: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, DocumentError> {
        LOADS[purpose as usize].fetch_add(1, Ordering::Relaxed);
        let parsed = changes
            .into_iter()
            .map(|bytes| read_chunk(bytes).map_err(fault))
            .collect::<Result<Vec<_>, _>>()?;
        guarded(|| {
            let mut inner = match snapshot {
                // Automerge takes nothing at all for an empty document.
                Some([]) => return Err(DocumentError::Automerge("an empty snapshot".to_owned())),
                Some(bytes) => automerge::Automerge::load(bytes).map_err(fault)?,
                None => automerge::Automerge::new(),
            };
            inner.apply_changes(parsed).map_err(fault)?;
            // And it puts aside, without a word, changes whose dependencies are missing.
            if !inner.get_missing_deps(&[]).is_empty() {
                return Err(DocumentError::Heads);
            }
            Ok(Self { inner })
        })
    }

    /// Its heads, sorted.
    #[must_use]
    pub fn heads(&self) -> Vec<ChangeHash> {
        let mut heads: Vec<_> = self.inner.get_heads().iter().map(|h| ChangeHash(h.0)).collect();
        heads.sort_unstable();
        heads
    }

    /// The uncompressed save: what a snapshot is.
    ///
    /// # Errors
    /// When Automerge panics.
    pub fn save(&self) -> Result<Vec<u8>, DocumentError> {
        guarded(|| Ok(self.inner.save_nocompress()))
    }

    /// Takes in a change whose dependencies it has.
    ///
    /// # Errors
    /// When the change does not fit; drop the document then.
    pub fn apply(&mut self, encoded: &EncodedChange) -> Result<(), DocumentError> {
        let change = read_chunk(&encoded.bytes).map_err(fault)?;
        guarded(|| self.inner.apply_changes([change]).map_err(fault))?;
        let taken = self.inner.get_change_meta_by_hash(&automerge::ChangeHash(encoded.hash.0));
        taken.map(|_| ()).ok_or(DocumentError::Heads)
    }

    /// What a field's text says; empty when it has none yet.
    ///
    /// # Errors
    /// When the object under the key is not the field's text.
    pub fn text(&self, field: &str) -> Result<String, DocumentError> {
        match self.text_id(field)? {
            Some(object) => guarded(|| self.inner.text(&object).map_err(fault)),
            None => Ok(String::new()),
        }
    }

    /// Every element that was ever inserted into a text, with the text's field.
    pub(super) fn inserted_elements(&self) -> BTreeMap<OpId, String> {
        let texts = self.text_fields();
        let mut elements = BTreeMap::new();
        for change in self.inner.get_changes(&[]) {
            let Some(ours) = Change::from_automerge(&change, &texts) else { continue };
            for (first, op) in ours.ops_with_ids() {
                if matches!(op.action, Action::Insert { .. }) {
                    let counters = first.counter..first.counter + op.len();
                    elements.extend(
                        counters.map(|counter| (OpId { counter, ..first }, op.key.clone())),
                    );
                }
            }
        }
        elements
    }

    /// The key under which an operation stands, if the history holds it.
    pub(super) fn op_key(&self, id: &OpId) -> Option<String> {
        let actor = to_actor(&id.actor);
        let texts = self.text_fields();
        self.inner
            .get_changes(&[])
            .iter()
            .filter(|change| *change.actor_id() == actor)
            .find(|change| (change.start_op().get()..=change.max_op()).contains(&id.counter))
            .and_then(|change| Change::from_automerge(change, &texts))
            .and_then(|change| change.key_written(id).map(str::to_owned))
    }

    /// Every change, in an order in which dependencies come first.
    ///
    /// # Errors
    /// When one is not of our making.
    pub fn changes(&self) -> Result<Vec<(Change, EncodedChange)>, DocumentError> {
        let texts = self.text_fields();
        self.inner
            .get_changes(&[])
            .iter()
            .map(|change| {
                let ours = Change::from_automerge(change, &texts).ok_or(DocumentError::Foreign)?;
                let hash = ChangeHash(change.hash().0);
                Ok((ours, EncodedChange { hash, bytes: change.raw_bytes().to_vec() }))
            })
            .collect()
    }

    /// The cells of this document, computed from its history: what every fast path must agree with.
    ///
    /// # Errors
    /// When it holds something outside the flat shape.
    pub fn cells(&self) -> Result<Cells, DocumentError> {
        let mut cells = Cells { heads: self.heads(), ..Cells::default() };
        let mut times: BTreeMap<OpId, (u64, Timestamp)> = BTreeMap::new();
        for change in self.inner.get_changes(&[]) {
            let actor = from_actor(change.actor_id()).ok_or(DocumentError::Foreign)?;
            let time = Timestamp::from_millis(change.timestamp());
            let max_op = change.max_op();
            times.insert(OpId { counter: max_op, actor }, (change.start_op().get(), time));
            let written = cells.actors.entry(actor).or_insert(Written { seq: 0, max_op: 0 });
            written.seq = written.seq.max(change.seq());
            written.max_op = written.max_op.max(max_op);
            if time.as_millis() != 0 {
                let op = OpId { counter: max_op, actor };
                cells.last = cells.last.max(Some(LastEdit { time, op }));
            }
        }
        let by_actor = times_by_actor(times);
        let keys = Arc::make_mut(&mut cells.keys);
        for key in self.inner.keys(automerge::ROOT) {
            let mut live = Vec::new();
            for (value, id) in self.inner.get_all(automerge::ROOT, key.as_str()).map_err(fault)? {
                live.push(self.live_op(&key, &value, &id, &by_actor)?);
            }
            live.sort_by_key(|op: &LiveOp| op.id);
            keys.insert(key, live);
        }
        Ok(cells)
    }

    fn live_op(
        &self,
        key: &str,
        value: &automerge::Value<'_>,
        id: &automerge::ObjId,
        times: &TimesByActor,
    ) -> Result<LiveOp, DocumentError> {
        let automerge::ObjId::Id(counter, actor, _) = id else {
            return Err(DocumentError::Foreign);
        };
        let actor = from_actor(actor).ok_or(DocumentError::Foreign)?;
        let id = OpId { counter: *counter, actor };
        let value = match value {
            automerge::Value::Scalar(scalar) => {
                Live::Scalar(from_scalar(scalar).ok_or(DocumentError::Foreign)?)
            }
            automerge::Value::Object(automerge::ObjType::Text) if id == text_object(key) => {
                Live::Text(self.text(key)?)
            }
            automerge::Value::Object(_) => return Err(DocumentError::Foreign),
        };
        let spans = times.get(&actor).ok_or(DocumentError::Foreign)?;
        let (_, time) = spans
            .range(id.counter..)
            .next()
            .map(|(_, span)| *span)
            .filter(|(start, _)| *start <= id.counter)
            .ok_or(DocumentError::Foreign)?;
        Ok(LiveOp { id, value, time })
    }

    /// Edits a text and gives the change, in our vocabulary and encoded.
    pub(super) fn splice(
        &mut self,
        author: &Author,
        cells: &Cells,
        splice: &Splice,
    ) -> Result<(Change, EncodedChange), DocumentError> {
        let no_place = || DocumentError::NoSuchPlace { field: splice.field.clone() };
        let object = self.text_id(&splice.field)?.ok_or_else(no_place)?;
        let length = self.inner.length(&object);
        if splice.at.checked_add(splice.delete).is_none_or(|end| end > length) {
            return Err(no_place());
        }
        self.inner.set_actor(to_actor(&author.actor));
        guarded(|| {
            let delete = isize::try_from(splice.delete).map_err(|_| no_place())?;
            let mut transaction = self.inner.transaction();
            transaction.splice_text(&object, splice.at, delete, &splice.insert).map_err(fault)?;
            let options = CommitOptions::default().with_time(author.time.as_millis());
            transaction.commit_with(options);
            Ok(())
        })?;
        let change = self.inner.get_last_local_change().ok_or_else(no_place)?;
        let ours =
            Change::from_automerge(&change, &cells.text_objects()).ok_or(DocumentError::Foreign)?;
        let encoded = ours.encode();
        if encoded.hash.0 != change.hash().0 {
            return Err(DocumentError::Foreign);
        }
        Ok((ours, encoded))
    }

    fn text_id(&self, field: &str) -> Result<Option<automerge::ObjId>, DocumentError> {
        let wanted = text_object(field);
        for (value, id) in self.inner.get_all(automerge::ROOT, field).map_err(fault)? {
            let automerge::ObjId::Id(counter, actor, _) = &id else { continue };
            let is_text = matches!(value, automerge::Value::Object(automerge::ObjType::Text));
            if is_text && *counter == wanted.counter && from_actor(actor) == Some(wanted.actor) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn text_fields(&self) -> BTreeMap<OpId, String> {
        let keys = self.inner.keys(automerge::ROOT);
        keys.filter(|key| matches!(self.text_id(key), Ok(Some(_))))
            .map(|key| (text_object(&key), key))
            .collect()
    }
}

type TimesByActor = BTreeMap<crate::id::ActorId, BTreeMap<u64, (u64, Timestamp)>>;

fn times_by_actor(times: BTreeMap<OpId, (u64, Timestamp)>) -> TimesByActor {
    let mut by_actor = TimesByActor::new();
    for (last, span) in times {
        by_actor.entry(last.actor).or_default().insert(last.counter, span);
    }
    by_actor
}

/// Whether a counter's total and a text's seed are what their fields expect; used by `verify`.
#[must_use]
pub fn is_seeded(cells: &Cells, kind: SeedKind, field: &str) -> bool {
    let id = match kind {
        SeedKind::Text => text_object(field),
        SeedKind::Counter => OpId { counter: 1, actor: seed::seed(kind, field).actor },
    };
    cells.live(field).iter().any(|op| {
        op.id == id
            && match kind {
                SeedKind::Text => matches!(op.value, Live::Text(_)),
                SeedKind::Counter => matches!(op.value, Live::Scalar(Scalar::Counter(_))),
            }
    })
}

fn fault(error: impl std::fmt::Display) -> DocumentError {
    DocumentError::Automerge(error.to_string())
}

/// Automerge has panicked on odd input before: the panic ends here, and the caller drops the document.
fn guarded<T>(work: impl FnOnce() -> Result<T, DocumentError>) -> Result<T, DocumentError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(DocumentError::Panicked))
}
