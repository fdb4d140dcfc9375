//! Accounting: where every edit that was confirmed on this device is now.

/// How many edits (batches, one for each transaction that wrote something) this file has confirmed, and
/// where they are. At every moment `submitted = accepted + disputed + pending`.
///
/// A dispute counts as disputed for ever: once its user has decided, it is also among `discarded`,
/// `resent` or `amended`, and the batch that tries it anew is submitted as one of its own. What an erasure
/// removes is counted nowhere any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accounting {
    /// Confirmed to the user since the file was made.
    pub submitted: u64,
    /// In the server's log.
    pub accepted: u64,
    /// Refused, or built on what was refused: open and decided ones.
    pub disputed: u64,
    /// Not settled: to be sent, sent, or waiting for what they build on.
    pub pending: u64,
    /// Disputes that wait for their user.
    pub open: u64,
    /// Disputes that were given up.
    pub discarded: u64,
    /// Disputes that were tried once more as they were.
    pub resent: u64,
    /// Disputes that were tried once more with changes.
    pub amended: u64,
}

impl Accounting {
    /// Whether every edit is in exactly one place.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.submitted == self.accepted + self.disputed + self.pending
            && self.disputed == self.open + self.discarded + self.resent + self.amended
    }
}

/// What became of one edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// Not settled.
    Pending,
    /// In the server's log.
    Accepted,
    /// A dispute that waits for its user, by its id.
    Disputed(i64),
    /// A dispute that was given up.
    Discarded,
    /// A dispute that was tried once more: as this batch, unless the records said it all by then.
    TriedAnew(Option<crdt_core::id::BatchId>),
}
