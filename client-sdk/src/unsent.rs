//! How much work has not reached the server.

use crdt_core::time::Timestamp;

/// Work that the server has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unsent {
    /// Records with unsent edits.
    pub records: u64,
    /// Batches.
    pub batches: u64,
    /// What they occupy on the wire before compression, bytes.
    pub bytes: u64,
    /// When the oldest was made.
    pub oldest: Option<Timestamp>,
}

impl Unsent {
    /// Whether everything was sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.batches == 0
    }
}

/// When a wipe may go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WipeMode {
    /// Only when nothing is unsent; otherwise [`StoreError::Unsent`](crate::StoreError::Unsent) says how
    /// much there is.
    IfSent,
    /// Always: the user was told.
    Always,
}
