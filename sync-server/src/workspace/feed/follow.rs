//! Following the log: what one batch brings to a device that has everything before it.

use std::collections::{BTreeMap, BTreeSet};

use super::page::Draft;
use super::watched::Watched;
use crate::store::{ChangeRow, Read, StoreError};
use crdt_core::planted::{Bug, planted};

/// The way of a device through the log.
pub(super) struct Follower<'a> {
    pub(super) watched: &'a Watched,
    /// The subscriptions that stand where the page begins.
    pub(super) standing: &'a BTreeSet<String>,
    /// Where the page begins.
    pub(super) after: u64,
}

impl Follower<'_> {
    /// Adds what a batch changed and what moved at its position. Of a batch of the device's own the changes
    /// are left out: it has them.
    pub(super) fn add(
        &self,
        tx: &dyn Read,
        position: u64,
        is_own: bool,
        draft: &mut Draft,
    ) -> Result<(), StoreError> {
        let mut by_document: BTreeMap<u64, Vec<ChangeRow>> = BTreeMap::new();
        for change in tx.changes_at(position)? {
            by_document.entry(change.document).or_default().push(change);
        }
        if is_own {
            // It has them. Who may make what they may not read has it until now.
            for document in std::mem::take(&mut by_document).into_keys() {
                if !self.watched.shows(tx, document)? {
                    draft.leave(document);
                }
            }
        }
        for document in tx.entered_at(position)? {
            by_document.entry(document).or_default();
        }
        for (document, changes) in by_document {
            if draft.is_bursting() {
                break;
            }
            let shown = self.watched.showing(tx, document)?;
            let standing = shown.iter().filter(|s| self.standing.contains(&s.subscription));
            let Some(entered) = standing.map(|shown| shown.entered).min() else { continue };
            if entered > self.after && tx.first_position(document)? < Some(entered) {
                draft.add_whole(tx, document)?;
            } else if !changes.is_empty() {
                draft.add_changes(tx, document, position, Some(changes))?;
            }
        }
        self.add_left(tx, position, draft)
    }

    /// Adds what left a subscription at a position and is in none now.
    fn add_left(&self, tx: &dyn Read, position: u64, draft: &mut Draft) -> Result<(), StoreError> {
        if planted(Bug::LeftUnsaid) {
            return Ok(());
        }
        for (document, scope) in tx.left_at(position)? {
            let names = self.watched.admitting(tx, &scope, document)?;
            let was_here = names.iter().any(|name| self.standing.contains(name));
            if was_here && !self.watched.shows(tx, document)? {
                draft.leave(document);
            }
        }
        Ok(())
    }
}
