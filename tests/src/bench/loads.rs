//! How many documents were loaded, by purpose: cells are there so that these stay zero.

use crdt_core::record::document::{self, Purpose};
use serde::Serialize;

/// Documents loaded by this process: server and devices together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Loads {
    /// To edit or receive prose.
    pub text: u64,
    /// To judge a change that names a value which is no longer live.
    pub slow_door: u64,
    /// To receive a whole document.
    pub whole: u64,
    /// To fold changes into a snapshot.
    pub fold: u64,
    /// To compare cells with documents.
    pub verify: u64,
}

impl Loads {
    /// Up to now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            text: document::loads(Purpose::Text),
            slow_door: document::loads(Purpose::SlowDoor),
            whole: document::loads(Purpose::Whole),
            fold: document::loads(Purpose::Fold),
            verify: document::loads(Purpose::Verify),
        }
    }

    /// Since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            text: self.text - before.text,
            slow_door: self.slow_door - before.slow_door,
            whole: self.whole - before.whole,
            fold: self.fold - before.fold,
            verify: self.verify - before.verify,
        }
    }
}
