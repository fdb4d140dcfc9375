//! Telling a device what was erased: every device, whatever it is granted now, since it may have had the record
//! once. What it is told are marks, which say nothing to a device that never did.

use crdt_core::limits;
use crdt_core::protocol::{Cursor, Entry, Hello};

use crate::store::{Read, StoreError};

/// The device was told of everything erased up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told(u64);

impl Told {
    /// What a device was told by the time it stood at these cursors: none of them passes an erasure before it
    /// has heard of it. Of those that are on the way, what counts is where they began.
    pub(super) fn of<'a>(
        hello: &Hello,
        granted: impl Iterator<Item = &'a Cursor>,
        lost: impl Iterator<Item = Cursor>,
    ) -> Self {
        let began = |cursor: &Cursor| cursor.from.unwrap_or(cursor.position);
        let cursors = granted.copied().chain(lost);
        Self(cursors.map(|cursor| began(&cursor)).min().unwrap_or_else(|| began(&hello.cursor)))
    }

    /// A device that was told of everything up to a position.
    pub(super) const fn at(position: u64) -> Self {
        Self(position)
    }

    /// Up to where it was told.
    pub(super) const fn up_to(self) -> u64 {
        self.0
    }

    /// What it is to be told next; nothing when it knows everything.
    pub(super) fn next(
        &mut self,
        tx: &dyn Read,
        head: u64,
    ) -> Result<Option<Vec<Entry>>, StoreError> {
        let erased = tx.erased_after(self.0, limits::PAGE_ENTRIES_MAX)?;
        self.0 = match erased.last() {
            Some((position, _)) if erased.len() == limits::PAGE_ENTRIES_MAX => *position,
            _ => head,
        };
        let entries = erased.iter().map(|(_, record)| Entry::Erased { mark: record.mark() });
        Ok(Some(entries.collect()).filter(|entries: &Vec<Entry>| !entries.is_empty()))
    }
}
