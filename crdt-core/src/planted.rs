//! Planted bugs: faults that the tests of the tests switch on, one at a time, to see that they are found.
//!
//! Each stands in the code at the place where somebody could really make it. A build without debug assertions
//! has none of them: there [`planted`] is `false` before the program runs, and nothing can switch one on. With
//! them, nothing but a call from a test does, for its own thread alone: no setting and no variable is read.

/// Declares the bugs: each with its name in tables, and what it breaks.
macro_rules! bugs {
    ($($bug:ident $name:literal $harm:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $(#[doc = $harm] $bug,)*
        }

        impl Bug {
            /// Every bug, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];

            /// Its name in tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }

            /// What it breaks.
            #[must_use]
            pub const fn harm(self) -> &'static str {
                match self {
                    $(Self::$bug => $harm,)*
                }
            }
        }
    };
}

bugs! {
    // What a field shows.
    LatestByCounter "latest-by-counter" "`latest` goes by operation counter, so that the busier device wins over the later one.",
    RankedReversed "ranked-reversed" "`ranked` prefers the last of its list.",
    RemoveBeatsAdd "remove-beats-add" "Removing a set's member also removes additions that the remover had not seen.",
    DeletionHidesEdits "deletion-hides-edits" "A deleted record shows no conflict with the edits that its deleter had not seen.",
    ConflictKept "conflict-kept" "A conflict stays in its table after somebody has written the field.",
    SeedRepeated "seed-repeated" "A counter's or text's seed is written again at every use.",
    OverwrittenKept "overwritten-kept" "A value that was overwritten stays beside the new one.",
    // What the device stores.
    CursorFirst "cursor-first" "A page's cursors are stored before the page, in a transaction of their own.",
    LocalWriteUnsynced "local-write-unsynced" "A user's edit is confirmed before the disk has it.",
    OutboxClearedOnSend "outbox-cleared-on-send" "A batch leaves the outbox when it is sent, before its receipt is stored.",
    AlreadyKeepsBoth "already-keeps-both" "A batch that the server has in another form is kept beside that form: its increments count twice.",
    BaseStale "base-stale" "What comes with a page is not added to the accepted state of a document with unanswered changes.",
    ProjectionStale "projection-stale" "The row of a record with unanswered changes is not written again when a page changes it.",
    SearchMarkMissed "search-mark-missed" "An edited row is not queued for full text.",
    FoldTakesUnanswered "fold-takes-unanswered" "A device's snapshot takes in changes that the server has not answered.",
    LeftIgnored "left-ignored" "The device keeps documents that have left its scopes.",
    PurgeTakesUnsent "purge-takes-unsent" "A document that leaves the device takes the unanswered edits to it along.",
    DiscardUncounted "discard-uncounted" "A dispute that is given up is not counted anywhere.",
    MembersLinger "members-linger" "A set's removed members stay in the table of its members.",
    AuthorsUnlearnt "authors-unlearnt" "Devices do not learn who writes under other replicas' names.",
    CopyKeepsName "copy-keeps-name" "A database file that turns out to be a copy goes on under the original's name.",
    // Refusals, and writing again.
    DependentLost "dependent-lost" "A batch that cannot stand without a refused one vanishes without a dispute.",
    TextBaseStale "text-base-stale" "The accepted state of a text is not read again when a page changes it.",
    ClockUncorrected "clock-uncorrected" "Edits stamped by a wrong clock are sent as they are.",
    RebaseCovers "rebase-covers" "A batch that is written again covers everything that has come meanwhile, unseen by its author.",
    // What the server commits.
    ReceiptBeforeCommit "receipt-before-commit" "Receipts are sent while their transaction waits for the next one to be committed with.",
    FanOutBeforeCommit "fan-out-before-commit" "Pages are built from a transaction that is not committed; receipts wait for it.",
    ReceiptsDropped "receipts-dropped" "A handshake drops receipts that the device has not acknowledged.",
    FencingSkipped "fencing-skipped" "A replica's older session goes on beside its new one.",
    LeaseIgnored "lease-ignored" "A database file that is a copy, or an older state, goes on under its old name.",
    SeqReused "seq-reused" "A copy writes on under the numbers of the original, and the server takes what it sends for what it has.",
    DedupByReplica "dedup-by-replica" "A batch is known again only when the same replica sends it.",
    // What devices are sent.
    NewsMissed "news-missed" "News that the log has grown are lost while a page is being built.",
    OwnMemberSkipped "own-member-skipped" "Pages leave out what other devices of the same member wrote.",
    CatchUpEndsEarly "catch-up-ends-early" "Catching up by index ends one position before the head.",
    CutSkips "cut-skips" "After a position was cut over two pages, smaller documents of later positions are left out.",
    LeftUnsaid "left-unsaid" "A device that follows the log is not told what leaves its scopes.",
    ScopeDroppedUnpurged "scope-dropped-unpurged" "A scope that was lost is dropped by name; its documents stay on the device.",
    // After the server was restored.
    EpochKept "epoch-kept" "A server that was put back to a backup goes on under the old epoch.",
    ResendForgotten "resend-forgotten" "A device does not send again what a restored server has lost.",
    NumbersKept "numbers-kept" "A device keeps document numbers that a restored server gives to others.",
    CursorsKept "cursors-kept" "A device's cursors stay beyond the point to which the server was restored.",
    // Who may.
    AfterOnly "after-only" "A deed is judged by where the record comes to stand, and not by where it stood.",
    ChildrenStay "children-stay" "What hangs on a record that moves does not move with it.",
    AccessUnheard "access-unheard" "Sessions of a member whose rights have changed go on as before.",
}

impl Bug {
    /// The bug of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// Whether this bug is planted on this thread.
#[cfg(debug_assertions)]
#[must_use]
pub fn planted(bug: Bug) -> bool {
    switch::is_on(bug)
}

/// Whether this bug is planted: never in a release.
#[cfg(not(debug_assertions))]
#[must_use]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(debug_assertions)]
pub use switch::{reached, with};

#[cfg(debug_assertions)]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
        static REACHED: Cell<u64> = const { Cell::new(0) };
    }

    /// Runs `work` with a bug planted on this thread; it is gone afterwards, also when `work` panics.
    pub fn with<T>(bug: Bug, work: impl FnOnce() -> T) -> T {
        struct Planted;
        impl Drop for Planted {
            fn drop(&mut self) {
                PLANTED.set(None);
            }
        }
        REACHED.set(0);
        PLANTED.set(Some(bug));
        let _planted = Planted;
        work()
    }

    /// How often this thread has come past the bug that it planted last.
    #[must_use]
    pub fn reached() -> u64 {
        REACHED.get()
    }

    pub(super) fn is_on(bug: Bug) -> bool {
        let on = PLANTED.get() == Some(bug);
        if on {
            REACHED.set(REACHED.get() + 1);
        }
        on
    }
}

/// No release carries a bug.
#[cfg(not(debug_assertions))]
const _: () = {
    let mut place = 0;
    while place < Bug::ALL.len() {
        assert!(!planted(Bug::ALL[place]));
        place += 1;
    }
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        assert!(Bug::ALL.iter().all(|bug| Bug::named(bug.name()) == Some(*bug)));
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_bug_is_planted_for_one_piece_of_work_on_one_thread() {
        let one = Bug::RankedReversed;
        assert!(!planted(one));
        let (here, other, elsewhere) = with(one, || {
            let elsewhere = std::thread::spawn(move || planted(one)).join().unwrap();
            (planted(one), planted(Bug::LeftIgnored), elsewhere)
        });
        assert_eq!((here, other, elsewhere), (true, false, false));
        assert_eq!(reached(), 1);
        assert!(std::panic::catch_unwind(|| with(one, || panic!("as a check does"))).is_err());
        assert!(!planted(one));
    }
}
