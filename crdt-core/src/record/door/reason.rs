//! Why the door refuses a change: one variant for each thing that a sender or its user can act on.

use crate::policy::Denial;
use crate::schema::Violation;

/// Why a change is refused. Its text never holds a value of the record.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The actor's first 12 bytes are not the sender's.
    #[error("the change is written under another replica's actor")]
    ActorNotYours,
    /// The same actor and sequence number hold another change.
    #[error("the same actor and sequence number came with other contents")]
    ActorForked,
    /// Not the actor's next change.
    #[error("the actor's next change has number {expected}, not {got}")]
    SeqGap {
        /// The number that would have been right.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// A dependency that the document does not have.
    #[error("the change depends on one that is not here")]
    UnknownDependency,
    /// A dependency was refused, or the batch that held it.
    #[error("the change depends on one that was refused")]
    DependsOnRefused,
    /// Only a seed or the first change of a new document has no dependencies.
    #[error("a change without dependencies is only the first of a document, or a seed")]
    NoDependencies,
    /// Dependencies out of order, repeated, too many, or without the actor's own last change behind them.
    #[error(
        "dependencies are sorted, distinct, at most {} and follow the actor's own last change",
        crate::limits::CHANGE_DEPS_MAX
    )]
    BadDependencies,
    /// The first operation's counter does not follow from the past.
    #[error("the first operation must have counter {expected}, not {got}")]
    StartOp {
        /// The counter that would have been right.
        expected: u64,
        /// The counter that came.
        got: u64,
    },
    /// A predecessor that never existed under this key.
    #[error("`{key}` replaces a value that never existed")]
    UnknownPred {
        /// The document key.
        key: String,
    },
    /// A predecessor or element outside the change's own past.
    #[error("`{key}` refers to something that its author cannot have seen")]
    ReferenceAhead {
        /// The document key.
        key: String,
    },
    /// A value that the author saw is not among the predecessors.
    #[error("`{key}` leaves a value in place that its author had seen")]
    MissingPred {
        /// The document key.
        key: String,
    },
    /// Predecessors out of order, repeated or too many, or a key written twice.
    #[error("the operations on `{key}` are not in canonical form")]
    NotCanonical {
        /// The document key.
        key: String,
    },
    /// A key outside the flat shape.
    #[error("a key breaks the rules: {0}")]
    IllegalKey(#[from] crate::record::KeyError),
    /// The workspace has no such entity.
    #[error("the workspace has no entity `{entity}`")]
    UnknownEntity {
        /// Its name, cut at 64 bytes.
        entity: String,
    },
    /// The entity has no such field: send again once the schema has it.
    #[error("the entity has no field `{field}`")]
    UnknownField {
        /// Its name.
        field: String,
    },
    /// The field belongs to another section's document.
    #[error("the field `{field}` belongs to another section")]
    WrongSection {
        /// The field.
        field: String,
    },
    /// The field's type has other operations.
    #[error("the field `{field}` does not take this operation")]
    WrongOperation {
        /// The field.
        field: String,
    },
    /// The value breaks the field's rule.
    #[error("the field `{field}`: {violation}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong with the value.
        violation: Violation,
    },
    /// The first change of a record lacks what every record starts with.
    #[error("a new record starts with its entity, its time and its creator")]
    NotARecord,
    /// The record or the section has been created already.
    #[error("the record exists already")]
    Exists,
    /// The record is not here: its `main` document comes first.
    #[error("there is no such record")]
    NoSuchRecord,
    /// The record is deleted; restore it first.
    #[error("the record is deleted")]
    Deleted,
    /// More operations, changes or documents than one may hold.
    #[error("too many operations, changes or documents: at most {limit}")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// More bytes than one may hold.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// A text grew beyond its bound.
    #[error("the text `{key}` is longer than {} characters", crate::limits::TEXT_CHARS_MAX)]
    TextTooLong {
        /// The field.
        key: String,
    },
    /// The document has as many keys, actors or bytes as it may.
    #[error("the record has reached its size limit")]
    DocumentFull,
    /// Stamped more than five minutes ahead of the server.
    #[error("the edit is stamped {ahead_ms} ms ahead of the server's clock")]
    ClockAhead {
        /// How far ahead, milliseconds.
        ahead_ms: i64,
    },
    /// Stamped before 2015: the clock was not set.
    #[error("the edit is stamped before 2015")]
    ClockUnset,
    /// The hash is not the one the sender got: the two sides encode differently.
    #[error("the change does not have the hash that its sender got")]
    HashMismatch,
    /// A seed that differs from the one that every replica builds.
    #[error("the seed of `{field}` is not the one that every replica builds")]
    BadSeed {
        /// The field.
        field: String,
    },
    /// It passes every rule and still leaves a document that does not load as it should.
    #[error("the change would leave a document that cannot be read")]
    Poison,
    /// The policy does not allow it.
    #[error("{denial}")]
    Forbidden {
        /// What is not allowed, and why not.
        denial: Denial,
    },
    /// Not a record that the member can see; whether there is one is not said.
    #[error("there is no such record among those that you may see")]
    OutOfScope,
    /// Somebody must be able to manage the members.
    #[error("the workspace would have no administrator left")]
    LastAdmin,
    /// `$created_by` names somebody else.
    #[error("a record's creator is whoever sends it")]
    NotYourself,
}

impl Reason {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ActorNotYours => "actor_not_yours",
            Self::ActorForked => "actor_forked",
            Self::SeqGap { .. } => "seq_gap",
            Self::UnknownDependency => "unknown_dependency",
            Self::DependsOnRefused => "depends_on_refused",
            Self::NoDependencies => "no_dependencies",
            Self::BadDependencies => "bad_dependencies",
            Self::StartOp { .. } => "start_op",
            Self::UnknownPred { .. } => "unknown_pred",
            Self::ReferenceAhead { .. } => "reference_ahead",
            Self::MissingPred { .. } => "missing_pred",
            Self::NotCanonical { .. } => "not_canonical",
            Self::IllegalKey(_) => "illegal_key",
            Self::UnknownEntity { .. } => "unknown_entity",
            Self::UnknownField { .. } => "unknown_field",
            Self::WrongSection { .. } => "wrong_section",
            Self::WrongOperation { .. } => "wrong_operation",
            Self::Invalid { .. } => "invalid",
            Self::NotARecord => "not_a_record",
            Self::Exists => "exists",
            Self::NoSuchRecord => "no_such_record",
            Self::Deleted => "deleted",
            Self::TooMany { .. } => "too_many",
            Self::TooLarge { .. } => "too_large",
            Self::TextTooLong { .. } => "text_too_long",
            Self::DocumentFull => "document_full",
            Self::ClockAhead { .. } => "clock_ahead",
            Self::ClockUnset => "clock_unset",
            Self::HashMismatch => "hash_mismatch",
            Self::BadSeed { .. } => "bad_seed",
            Self::Poison => "poison",
            Self::Forbidden { .. } => "forbidden",
            Self::OutOfScope => "out_of_scope",
            Self::LastAdmin => "last_admin",
            Self::NotYourself => "not_yourself",
        }
    }

    /// The document key that it is about, if it is about one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownPred { key }
            | Self::ReferenceAhead { key }
            | Self::MissingPred { key }
            | Self::NotCanonical { key }
            | Self::TextTooLong { key } => Some(key),
            Self::UnknownField { field }
            | Self::WrongSection { field }
            | Self::WrongOperation { field }
            | Self::Invalid { field, .. }
            | Self::BadSeed { field } => Some(field),
            Self::Forbidden { denial } => denial.field.as_deref(),
            _ => None,
        }
    }
}
