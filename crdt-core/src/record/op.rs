//! Operations: the closed vocabulary in which every edit travels.

use crate::id::ActorId;
use crate::time::Timestamp;

use super::Value;

/// Names an operation: Lamport counter, then actor. The order is Automerge's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId {
    /// The operation's counter, from 1.
    pub counter: u64,
    /// Who made it.
    pub actor: ActorId,
}

/// What a put writes. Prose and sets are made of other operations.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Unset.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Text replaced as a whole.
    Str(String),
    /// A point in time.
    Timestamp(Timestamp),
    /// A reference, or the clock of a deletion.
    Bytes(Vec<u8>),
    /// A counter: written by its seed only; in cells, its total.
    Counter(i64),
}

impl Scalar {
    /// What the value occupies, for the limits.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) | Self::Timestamp(_) | Self::Counter(_) => 8,
            Self::Str(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(b) => Self::Bool(b),
            Scalar::Int(i) => Self::Int(i),
            Scalar::Float(x) => Self::Float(x),
            Scalar::Str(s) => Self::Str(s),
            Scalar::Timestamp(t) => Self::Timestamp(t),
            Scalar::Bytes(b) => Self::Bytes(b),
            Scalar::Counter(c) => Self::Counter(c),
        }
    }
}

/// What an operation does to its key.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Writes a value, in place of the predecessors.
    Put(Scalar),
    /// Takes the predecessors away: a set's member, or `$deleted`.
    Remove,
    /// Adds to the counter that the predecessor is.
    Increment(i64),
    /// Makes the text object of a field: in its seed only.
    MakeText,
    /// Inserts characters into the field's text, one operation each, the first after `after`
    /// (the beginning when absent) and each next one after the one before.
    Insert {
        /// The element in front.
        after: Option<OpId>,
        /// The characters.
        text: String,
    },
    /// Deletes `count` characters of the field's text: elements with consecutive counters of one actor.
    Erase {
        /// The first element.
        from: OpId,
        /// How many.
        count: u32,
    },
}

/// One operation of a change (or, for text, a run of them) on one root key.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// The document key: a field, a set member (`tags/vip`), or a system key.
    pub key: String,
    /// What happens to it.
    pub action: Action,
    /// The operations it replaces: those the author saw live. Empty for text.
    pub preds: Vec<OpId>,
}

impl Op {
    /// How many Automerge operations this stands for.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.action {
            Action::Insert { text, .. } => text.chars().count() as u64,
            Action::Erase { count, .. } => u64::from(*count),
            Action::Put(_) | Action::Remove | Action::Increment(_) | Action::MakeText => 1,
        }
    }

    /// Whether it stands for none: refused at the door.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it touches the inside of a text object, which only a loaded document can do.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self.action, Action::Insert { .. } | Action::Erase { .. })
    }
}
