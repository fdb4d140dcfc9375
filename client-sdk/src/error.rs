//! What can go wrong, by who must act: the device (store), the user (edit), the caller (query).

use std::path::PathBuf;

use crdt_core::id::RecordId;
use crdt_core::policy::Denial;
use crdt_core::record::{DocumentError, StoredCellsError, StoredChangeError};
use crdt_core::schema::{SchemaProblems, Violation};

use crate::unsent::Unsent;

/// The database cannot do what it should. Whatever was under way has not happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another client, here or in another process, has the file open.
    #[error("{} is in use by another client", .path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// A newer SDK wrote the file; it is left untouched.
    #[error("the file has format {found}; this SDK knows formats up to {known}")]
    Newer {
        /// The file's format.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// The file belongs to another workspace or another member.
    #[error("the file belongs to another {what}")]
    NotYours {
        /// What differs.
        what: &'static str,
    },
    /// The server has accepted a batch of this file's that the file does not know: it was put back to an
    /// older state. It becomes a replica of its own by itself; nothing that it holds is lost.
    #[error("the file was put back to an older state")]
    PutBack,
    /// The disk or the database is full: free space and try again; nothing unsent was dropped.
    #[error("the device is full")]
    Full,
    /// Reading or writing failed; the file is opened anew before it is trusted again. An edit that failed so may
    /// be found in the file all the same when the app is killed before the next one.
    #[error("the file cannot be read or written: {0}")]
    Io(String),
    /// The file is damaged; it is checked as a whole, and set aside if need be, at the next open.
    #[error("the file is damaged: {0}")]
    Corrupt(String),
    /// The operating system holds the file locked, as while the phone is locked.
    #[error("the file is locked at present")]
    Busy,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// Work has not been sent yet; say so to the user before wiping it.
    #[error("{} batches have not been sent", .0.batches)]
    Unsent(Unsent),
    /// The server's schema cannot be read by this SDK.
    #[error("the schema cannot be used: {0}")]
    Schema(#[from] SchemaProblems),
    /// Stored cells are damaged.
    #[error(transparent)]
    Cells(#[from] StoredCellsError),
    /// A stored change is damaged.
    #[error(transparent)]
    Change(#[from] StoredChangeError),
    /// A stored document is damaged.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A stored value does not have the form that this SDK writes.
    #[error("a stored {0} is malformed")]
    Malformed(&'static str),
    /// A statement of the SDK's own failed.
    #[error("a statement failed: {0}")]
    Statement(String),
}

/// An edit is not made; nothing of its transaction is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The schema has no such entity.
    #[error("there is no entity `{entity}`")]
    UnknownEntity {
        /// What was asked for.
        entity: String,
    },
    /// The entity has no such field.
    #[error("`{entity}` has no field `{field}`")]
    UnknownField {
        /// The entity.
        entity: String,
        /// What was asked for.
        field: String,
    },
    /// The field's type has other operations.
    #[error("`{field}` is a {kind}: it has other operations")]
    WrongOperation {
        /// The field.
        field: String,
        /// Its type.
        kind: &'static str,
    },
    /// The value breaks a rule of the field.
    #[error("`{field}` {violation}")]
    Invalid {
        /// The field.
        field: String,
        /// The rule.
        violation: Violation,
    },
    /// There is no such record on this device.
    #[error("there is no record {0}")]
    UnknownRecord(RecordId),
    /// The record exists already.
    #[error("the record {0} exists already")]
    Exists(RecordId),
    /// The record is deleted: restore it first.
    #[error("the record {0} is deleted")]
    Deleted(RecordId),
    /// The record is not deleted, so it cannot be restored.
    #[error("the record {0} is not deleted")]
    NotDeleted(RecordId),
    /// An increment beyond what one may be.
    #[error("`{field}` cannot be incremented by that much at once")]
    IncrementTooLarge {
        /// The field.
        field: String,
    },
    /// A splice outside of its text.
    #[error("`{field}` has no such place")]
    NoSuchPlace {
        /// The field.
        field: String,
    },
    /// The record has as many keys as it may.
    #[error("the record {0} has reached its size limit")]
    RecordFull(RecordId),
    /// The transaction does not fit into one batch: split it.
    #[error("the transaction has {got} {what}; at most {limit} fit")]
    BatchTooLarge {
        /// What there is too much of: `changes`, `documents` or `bytes`.
        what: &'static str,
        /// How much there is.
        got: usize,
        /// How much there may be.
        limit: usize,
    },
    /// The value was written over since: undoing would take back somebody else's edit.
    #[error("`{field}` was changed since")]
    UndoStale {
        /// The field.
        field: String,
    },
    /// The record has no edit of this device's that could be undone.
    #[error("there is nothing to undo")]
    NothingToUndo,
    /// The field has no such conflict, or the conflict no such value.
    #[error("`{field}` has no such conflict")]
    NoSuchConflict {
        /// The field.
        field: String,
    },
    /// The policy denies it, and the server would refuse it for the same reasons. Nothing was stored;
    /// [`Client::transaction_allowing_dispute`](crate::Client::transaction_allowing_dispute) sends it anyway.
    #[error("the policy denies it: {}", sentences(.denials))]
    Forbidden {
        /// Everything that is denied, at least one thing.
        denials: Vec<Denial>,
    },
    /// There is no such dispute.
    #[error("there is no dispute {0}")]
    NoSuchDispute(i64),
    /// The typed value is not a set of named fields, or a field's value does not fit its type.
    #[error("the value cannot be written as a record: {0}")]
    Shape(String),
    /// The database cannot store it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A query gives no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Only `SELECT`, `WITH` and `VALUES` statements are answered, one at a time.
    #[error("only one reading statement is answered")]
    NotReadOnly,
    /// The statement is wrong.
    #[error("the statement is wrong: {0}")]
    Sql(String),
    /// The entity has no full-text search, or does not exist.
    #[error("`{entity}` cannot be searched")]
    NotSearchable {
        /// What was asked for.
        entity: String,
    },
    /// There is no such record on this device.
    #[error("there is no record {0}")]
    UnknownRecord(RecordId),
    /// The schema has no such entity.
    #[error("there is no entity `{entity}`")]
    UnknownEntity {
        /// What was asked for.
        entity: String,
    },
    /// The entity has no such field.
    #[error("`{entity}` has no field `{field}`")]
    UnknownField {
        /// The entity.
        entity: String,
        /// What was asked for.
        field: String,
    },
    /// The row or record does not fit the wanted type.
    #[error("the answer does not fit the wanted type: {0}")]
    Shape(String),
    /// The database cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn sentences(denials: &[Denial]) -> String {
    let sentences: Vec<String> = denials.iter().map(Denial::to_string).collect();
    sentences.join("; ")
}

/// Whether an error is the store's: the connection is then opened anew before it is trusted.
pub(crate) trait Fault: From<StoreError> {
    fn store_error(&self) -> Option<&StoreError>;
}

impl Fault for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

impl Fault for EditError {
    fn store_error(&self) -> Option<&StoreError> {
        if let Self::Store(error) = self { Some(error) } else { None }
    }
}

impl Fault for QueryError {
    fn store_error(&self) -> Option<&StoreError> {
        if let Self::Store(error) = self { Some(error) } else { None }
    }
}
