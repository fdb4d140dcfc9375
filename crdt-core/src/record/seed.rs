//! Seed changes: the object or base value that every replica builds alike, so that concurrent first uses
//! of a counter or a text are one change (DESIGN: "Seed change").

use sha2::{Digest, Sha256};

use crate::id::ActorId;
use crate::time::Timestamp;

use super::{Action, Change, Op, OpId, Scalar};

/// What a seed makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SeedKind {
    /// A counter at 0.
    Counter,
    /// An empty text.
    Text,
}

impl SeedKind {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Counter => b"counter",
            Self::Text => b"text",
        }
    }
}

/// The seed of a field: the same bytes on every replica.
#[must_use]
pub fn seed(kind: SeedKind, field: &str) -> Change {
    let action = match kind {
        SeedKind::Counter => Action::Put(Scalar::Counter(0)),
        SeedKind::Text => Action::MakeText,
    };
    Change {
        actor: seed_actor(kind, field),
        seq: 1,
        start_op: 1,
        time: Timestamp::from_millis(0),
        deps: Vec::new(),
        ops: vec![Op { key: field.to_owned(), action, preds: Vec::new() }],
    }
}

impl Change {
    /// The seed that this change is, or nothing when it differs from one in anything.
    #[must_use]
    pub fn as_seed(&self) -> Option<(SeedKind, &str)> {
        let [op] = &self.ops[..] else { return None };
        let kind = match op.action {
            Action::Put(Scalar::Counter(0)) => SeedKind::Counter,
            Action::MakeText => SeedKind::Text,
            _ => return None,
        };
        (*self == seed(kind, &op.key)).then_some((kind, op.key.as_str()))
    }
}

/// The first 16 bytes of SHA-256("fieldbook seed" ‖ kind ‖ field).
fn seed_actor(kind: SeedKind, field: &str) -> ActorId {
    let mut hasher = Sha256::new();
    hasher.update(b"fieldbook seed");
    hasher.update(kind.word());
    hasher.update(field.as_bytes());
    let mut actor = [0; 16];
    actor.copy_from_slice(&hasher.finalize()[..16]);
    ActorId(actor)
}

/// The object that holds the text of `field`.
pub(super) fn text_object(field: &str) -> OpId {
    OpId { counter: 1, actor: seed_actor(SeedKind::Text, field) }
}
