//! Scopes that a device still holds and is no longer granted: it is told document by document what to drop,
//! and at last that the scope is gone.
//!
//! What the device holds entered the scope up to its cursor, or left it since. First the scope is walked
//! backwards from there; the `from` of the cursor that the device is told moves down with it, and whatever
//! entered above has been dropped. Then what has entered or left since is said in the log's order, and the
//! cursor's position moves up with it. So a device that is cut off goes on where it was, and one that is
//! granted the scope again is fed from `from` like any other.

use crdt_core::planted::{Bug, planted};
use crdt_core::policy::Subscription;
use crdt_core::protocol::{Cursor, Hello, ScopeCursor};

use super::page::Draft;
use super::watched::{Watched, admits};
use crate::store::{Read, StoreError};

/// A subscription that a replica was granted, as its row keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workspace) struct Known<'a> {
    pub(in crate::workspace) name: &'a str,
    /// Whether it was taken away before, and the device may not have dropped all of it.
    pub(in crate::workspace) was_lost: bool,
    /// Where the device had begun to catch up when it was taken away.
    began: Option<u64>,
}

impl<'a> Known<'a> {
    /// Reads an entry of the row.
    pub(in crate::workspace) fn read(entry: &'a str) -> Self {
        let Some(lost) = entry.strip_prefix(MARK) else {
            return Self { name: entry, was_lost: false, began: None };
        };
        // A subscription's name begins with a letter, so that a number before a space is none of it.
        let (began, name) = match lost.split_once(' ') {
            Some((began, name)) => match began.parse() {
                Ok(began) => (Some(began), name),
                Err(_) => (None, lost),
            },
            None => (None, lost),
        };
        Self { name, was_lost: true, began }
    }

    /// The entry for a subscription that a device says that it holds, at this cursor.
    pub(in crate::workspace) fn claimed(name: &str, cursor: Cursor) -> String {
        entry(name, cursor.from)
    }
}

/// A subscription that is no longer granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    subscription: Subscription,
    began: Option<u64>,
    /// Where the device stands in it: all that entered after `from` and up to `position` is done.
    at: Cursor,
    told: Cursor,
}

/// How far a page came.
pub(super) enum Progress {
    /// There is more; the cursor, when it has moved.
    More(Option<ScopeCursor>),
    /// The device holds nothing of it any more.
    Gone(String),
}

impl Lost {
    /// What a device is to drop of a subscription that it knows and is not granted; nothing when it has.
    pub(super) fn of(known: Known<'_>, hello: &Hello) -> Option<Self> {
        let exception = hello.exceptions.iter().find(|exception| exception.scope == known.name);
        let cursor = match exception {
            Some(exception) => exception.cursor,
            None if known.was_lost => return None,
            None => hello.cursor,
        };
        let subscription = known.name.parse().ok()?;
        // A `from` that is still the one of catching up says nothing of dropping.
        let began = if known.was_lost { known.began } else { cursor.from };
        let dropped_from = cursor.from.filter(|_| cursor.from != began);
        let at = Cursor {
            position: cursor.position,
            from: Some(dropped_from.unwrap_or(cursor.position)),
        };
        Some(Self { subscription, began, at, told: cursor })
    }

    /// Where the device stands in it, as it last heard.
    pub(super) const fn told(&self) -> Cursor {
        self.told
    }

    pub(super) fn name(&self) -> String {
        self.subscription.name()
    }

    /// The entry for the replica's row.
    pub(super) fn entry(&self) -> String {
        entry(&self.name(), self.began)
    }

    /// Adds what the device is to drop next; `step` documents are read at a time, and not more than a few
    /// steps for one page, also when there is nothing to say of them.
    pub(super) fn add(
        &mut self,
        tx: &dyn Read,
        watched: &Watched,
        step: usize,
        draft: &mut Draft,
    ) -> Result<Progress, StoreError> {
        if planted(Bug::ScopeDroppedUnpurged) {
            return Ok(Progress::Gone(self.name()));
        }
        let head = tx.head()?;
        let scope = self.subscription.scope();
        for _ in 0..STEPS_PER_PAGE {
            if draft.is_full() {
                break;
            }
            match self.at.from {
                Some(from) if from > 0 => self.walk(tx, watched, &scope, from, step, draft)?,
                _ if self.at.position < head => {
                    self.catch_up(tx, watched, &scope, head, step, draft)?;
                }
                _ => return Ok(Progress::Gone(self.name())),
            }
        }
        let moved = std::mem::replace(&mut self.told, self.at) != self.at;
        let cursor = ScopeCursor { scope: self.name(), cursor: self.at };
        Ok(Progress::More(moved.then_some(cursor)))
    }

    /// Backwards: what had entered before the device stopped.
    fn walk(
        &mut self,
        tx: &dyn Read,
        watched: &Watched,
        scope: &str,
        from: u64,
        step: usize,
        draft: &mut Draft,
    ) -> Result<(), StoreError> {
        let rows = tx.entered_before(scope, from, step)?;
        self.at.from = Some(rows.last().map_or(0, |row| row.entered.saturating_sub(1)));
        for row in rows {
            self.say(tx, watched, row.document, draft)?;
        }
        Ok(())
    }

    /// Forwards: what has left since, and what has entered, since it may have been held and left before.
    fn catch_up(
        &mut self,
        tx: &dyn Read,
        watched: &Watched,
        scope: &str,
        head: u64,
        step: usize,
        draft: &mut Draft,
    ) -> Result<(), StoreError> {
        let left = tx.left_between(scope, self.at.position, head, step)?;
        let entered = tx.entered_after(scope, self.at.position, step)?;
        let mut up_to = head;
        if left.len() >= step {
            up_to = left.last().map_or(up_to, |(_, position)| up_to.min(*position));
        }
        if entered.len() >= step {
            up_to = entered.last().map_or(up_to, |row| up_to.min(row.entered));
        }
        let left = left.into_iter().map(|(document, position)| (position, document));
        let entered = entered.into_iter().map(|row| (row.entered, row.document));
        for (_, document) in left.chain(entered).filter(|(position, _)| *position <= up_to) {
            self.say(tx, watched, document, draft)?;
        }
        self.at.position = up_to;
        Ok(())
    }

    /// Tells the device to drop a document that it may hold, unless something else shows it. How far its
    /// cursors have come does not tell what it holds: a page may bring documents before it moves a cursor.
    fn say(
        &self,
        tx: &dyn Read,
        watched: &Watched,
        document: u64,
        draft: &mut Draft,
    ) -> Result<(), StoreError> {
        if admits(tx, &self.subscription, document)? && !watched.shows(tx, document)? {
            draft.leave(document);
        }
        Ok(())
    }
}

fn entry(name: &str, began: Option<u64>) -> String {
    match began {
        Some(began) => format!("{MARK}{began} {name}"),
        None => format!("{MARK}{name}"),
    }
}

/// Stands before what was taken away; no subscription's name begins with it.
const MARK: char = '-';
/// Steps of one page: bounds how long a page takes when most of what it looks at stays.
const STEPS_PER_PAGE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_row_is_read_as_it_was_written() {
        for name in ["territory:west", "territory:5 streets", "all#finance", "team:a b/case"] {
            let known = |entry: &str| {
                let Known { name, was_lost, began } = Known::read(entry);
                (name.to_owned(), was_lost, began)
            };
            assert_eq!(known(name), (name.to_owned(), false, None));
            for began in [None, Some(0), Some(7)] {
                assert_eq!(known(&entry(name, began)), (name.to_owned(), true, began));
            }
        }
    }
}
