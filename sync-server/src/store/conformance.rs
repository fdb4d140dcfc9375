//! What every backend owes, as executable contracts: a backend's own test calls [`run`] with a way to make
//! an empty workspace, and fails with the contract that is broken.

mod access;
mod accounts;
mod audit;
mod documents;
mod erasure;
mod log;
mod material;
mod people;
mod relay;
mod scopes;

use std::sync::Arc;

use super::{Store, StoreError};

/// One empty workspace's storage, for one contract. Its schema is the built-in one.
pub trait Harness {
    /// Opens the storage: empty the first time, and later with all that was committed. What was opened
    /// before has been dropped.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&mut self) -> Result<Arc<dyn Store>, StoreError>;
}

type Contract = fn(&mut dyn Harness) -> Result<(), StoreError>;

/// Every contract by its name.
const CONTRACTS: &[(&str, Contract)] = &[
    ("positions have no gaps and come in their order", log::positions),
    ("a failing work leaves everything as before", log::atomic),
    ("a reader sees one state beside a writer", log::snapshot),
    ("batches are found by name and read in order", log::batches),
    ("what was committed is there after opening again", log::reopened),
    ("documents are found by name and by number", documents::found),
    ("changes keep their order, and a prefix finds them", documents::changes),
    ("folding keeps the index and drops bytes up to a position", documents::folded),
    ("receipts are kept until they are dropped, and marks of refusals with them", people::receipts),
    ("the audit takes each entry once and in its order", audit::entries),
    ("a login is one account's", accounts::accounts),
    ("refresh tokens are found, revoked and dropped", accounts::families),
    ("replicas and members keep what they are given", people::rows),
    ("a scope lists its documents by their last change, whole positions at a time", scopes::listed),
    ("what leaves a scope is noted until it comes back", scopes::left),
    ("what entered a scope is found by when, the latest first", scopes::entered),
    ("a route is a record's last one, and its followers are found by it", access::routes),
    ("the queue of records keeps its order and how far each place is done", access::queue),
    ("the directory keeps what it is told of each member", access::members),
    ("devices stay revoked, and grants stay noted", access::devices),
    ("documents are weighed and found by their record", access::documents),
    ("a removed record is nowhere, and its number never comes again", erasure::removed),
    ("erasures are listed by their positions", erasure::listed),
    ("how far a replica knows of erasures never goes back", erasure::confirmed),
    ("what was deleted is written over once nobody reads", erasure::scrubbed),
    ("what waits keeps its order and its place, and is gone when it is taken out", relay::parked),
    (
        "what was said of strangers first holds, and what was withdrawn is known from its number on",
        relay::said,
    ),
    ("what was given back is counted by replica until the log begins anew", relay::counted),
    ("a feed serves each device the documents of its scopes", scopes::fed),
];

/// Runs every contract, each on a workspace of its own.
///
/// # Panics
/// When a contract is broken; the message names it.
pub fn run(make: &mut dyn FnMut() -> Box<dyn Harness>) {
    for (name, contract) in CONTRACTS {
        let mut harness = make();
        if let Err(error) = contract(&mut *harness) {
            panic!("{name}: {error}");
        }
    }
}
