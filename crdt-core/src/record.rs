//! A record's documents: cells, changes, merge rules, the door. The only place that knows Automerge's API.
//!
//! [`Cells`] are what a document says now, without its history: reading, editing, receiving and judging a
//! change work on them alone. A [`Document`] is the real thing and is loaded only for prose, history and
//! changes that name a value which is no longer live; [`document::loads`] counts how often.

mod author;
mod cells;
mod change;
mod clock;
pub mod document;
mod door;
mod merge;
mod op;
mod reach;
mod reauthor;
mod seed;
mod shape;
mod value;

pub use author::{Author, Edit, Splice};
pub use cells::{Cells, LastEdit, Live, LiveOp, StoredCellsError};
pub use change::{Change, EncodedChange, StoredChangeError};
pub use clock::Clock;
pub use document::{Document, DocumentError};
pub use door::{
    Admitted, Door, History, Judgement, Known, Reason, Situation, judge, judge_knowing, judge_with,
    stale_preds,
};
pub use merge::{Conflict, Contender, conflict, deletion_conflict, winner};
pub use op::{Action, Op, OpId, Scalar};
pub use reach::{Reach, to_give};
pub use reauthor::{Again, Fate, Reauthor, Rewritten, Unanswered, UnknownPast, reauthor};
pub use seed::{SeedKind, seed};
pub use shape::{DELETED, Deletion, Key, KeyError, field_value, hydrate, reconcile, scalar_for};
pub use value::{Money, MoneyError, Value};
