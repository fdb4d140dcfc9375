//! Writing changes: from cells for everything but prose, through the loaded document for prose.

use std::collections::BTreeMap;

use crate::id::ActorId;
use crate::limits;
use crate::time::Timestamp;

use super::{
    Action, Cells, Change, Document, DocumentError, EncodedChange, Live, Op, OpId, Scalar,
};

/// One edit of one key. Prose has [`Splice`].
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Writes a value; unsetting writes `Null`.
    Put {
        /// The document key.
        key: String,
        /// What to write.
        value: Scalar,
    },
    /// Takes a set's member, or `$deleted`, away.
    Remove {
        /// The document key.
        key: String,
    },
    /// Adds to a counter whose seed is in.
    Increment {
        /// The document key.
        key: String,
        /// How much; may be negative.
        by: i64,
    },
}

impl Edit {
    /// Adds a set's member; writes an operation also when the member is there.
    #[must_use]
    pub const fn add(key: String) -> Self {
        Self::Put { key, value: Scalar::Bool(true) }
    }

    fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Remove { key } | Self::Increment { key, .. } => key,
        }
    }
}

/// One edit of a text: at a character, delete so many, then insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The text field.
    pub field: String,
    /// Where, in characters from the beginning.
    pub at: usize,
    /// How many characters to delete.
    pub delete: usize,
    /// What to insert.
    pub insert: String,
}

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub struct Author {
    /// The actor.
    pub actor: ActorId,
    /// The edit time.
    pub time: Timestamp,
}

/// Operations per change of a long paste, with room for the deletions beside them.
const TEXT_CHUNK: usize = limits::CHANGE_OPS_MAX / 2;
/// Where a change is cut so that its encoding stays below the limit, bytes of values.
const VALUES_CHUNK: usize = limits::CHANGE_BYTES_MAX / 2;

impl Author {
    /// Writes `edits` as changes, applied to `cells`. Several edits of one key become one; removing what is
    /// not there writes nothing. No document is loaded.
    pub fn write(&self, cells: &mut Cells, edits: &[Edit]) -> Vec<(Change, EncodedChange)> {
        let mut changes = Vec::new();
        let mut ops = Vec::new();
        let mut bytes = 0;
        for edit in squash(edits) {
            let Some(op) = op_for(cells, edit) else { continue };
            let size =
                op.key.len() + if let Action::Put(v) = &op.action { v.byte_len() } else { 8 };
            if ops.len() == limits::CHANGE_OPS_MAX
                || (bytes + size > VALUES_CHUNK && !ops.is_empty())
            {
                changes.push(self.commit(cells, std::mem::take(&mut ops)));
                bytes = 0;
            }
            bytes += size;
            ops.push(op);
        }
        if !ops.is_empty() {
            changes.push(self.commit(cells, ops));
        }
        changes
    }

    /// Writes `splices` as changes, applied to `document` and to `cells`: the document is loaded, and the
    /// seeds of the fields are in.
    ///
    /// # Errors
    /// When a splice lies outside its text or the document refuses the change. Then `cells` are as they were,
    /// and the document is to be dropped.
    pub fn write_text(
        &self,
        cells: &mut Cells,
        document: &mut Document,
        splices: &[Splice],
    ) -> Result<Vec<(Change, EncodedChange)>, DocumentError> {
        let mut changes = Vec::new();
        let mut next = cells.clone();
        for splice in splices {
            let mut at = splice.at;
            let mut left = splice.delete;
            let characters: Vec<char> = splice.insert.chars().collect();
            let mut pieces = characters.chunks(TEXT_CHUNK);
            loop {
                let delete = left.min(TEXT_CHUNK);
                left -= delete;
                let piece: String = pieces.next().unwrap_or_default().iter().collect();
                if delete == 0 && piece.is_empty() {
                    break;
                }
                let inserted = piece.chars().count();
                let cut = Splice { field: splice.field.clone(), at, delete, insert: piece };
                let (change, encoded) = document.splice(self, &next, &cut)?;
                next.apply(&change, encoded.hash);
                changes.push((change, encoded));
                at += inserted;
            }
            next.set_text(&splice.field, document.text(&splice.field)?);
        }
        *cells = next;
        Ok(changes)
    }

    /// The next change of this actor with these operations, applied to `cells`.
    fn commit(&self, cells: &mut Cells, ops: Vec<Op>) -> (Change, EncodedChange) {
        let change = Change {
            actor: self.actor,
            seq: cells.seq(&self.actor) + 1,
            start_op: cells.max_op() + 1,
            time: self.time,
            deps: cells.heads().to_vec(),
            ops,
        };
        let encoded = change.encode();
        cells.apply(&change, encoded.hash);
        (change, encoded)
    }
}

/// One edit a key, in the order of each key's first: the last write wins, increments add up.
fn squash(edits: &[Edit]) -> Vec<Edit> {
    let mut order: Vec<Edit> = Vec::with_capacity(edits.len());
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for edit in edits {
        match places.get(edit.key()) {
            None => {
                places.insert(edit.key(), order.len());
                order.push(edit.clone());
            }
            Some(place) => match (&mut order[*place], edit) {
                (Edit::Increment { by: total, .. }, Edit::Increment { by, .. }) => {
                    *total = total.saturating_add(*by);
                }
                (earlier, later) => *earlier = later.clone(),
            },
        }
    }
    order
}

fn op_for(cells: &Cells, edit: Edit) -> Option<Op> {
    let live = cells.live(edit.key());
    let preds: Vec<OpId> = live.iter().map(|op| op.id).collect();
    match edit {
        Edit::Put { key, value } => Some(Op { key, action: Action::Put(value), preds }),
        Edit::Remove { key } => {
            (!preds.is_empty()).then_some(Op { key, action: Action::Remove, preds })
        }
        Edit::Increment { key, by } => {
            let is_counter =
                |op: &super::LiveOp| matches!(op.value, Live::Scalar(Scalar::Counter(_)));
            let preds: Vec<OpId> =
                live.iter().filter(|op| is_counter(op)).map(|op| op.id).collect();
            (!preds.is_empty()).then_some(Op { key, action: Action::Increment(by), preds })
        }
    }
}
