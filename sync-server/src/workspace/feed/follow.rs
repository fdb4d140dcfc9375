//! Following the log: what one batch brings to a device that has everything before it.

use std::collections::{BTreeMap, BTreeSet};

use super::page::Draft;
use super::watched::{Watched, admits};
use crate::store::{ChangeRow, Read, StoreError};
use crdt_core::id::ReplicaId;
use crdt_core::planted::{Bug, planted};

/// From so many batches on it is worth asking which of them concern a device at all.
const SOUGHT_FROM: u64 = 2;

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

    /// The positions up to another that may say something to the device, each with whether its batch is the
    /// device's own. Nothing when most of them may: in a workspace where many write, a device that sees little
    /// of it passes over the rest unread.
    pub(super) fn places(
        &self,
        tx: &dyn Read,
        replica: &ReplicaId,
        up_to: u64,
    ) -> Result<Option<BTreeMap<u64, bool>>, StoreError> {
        let distance = up_to - self.after;
        if distance < SOUGHT_FROM || planted(Bug::OwnMemberSkipped) {
            return Ok(None);
        }
        let most = usize::try_from(distance / 2).unwrap_or(usize::MAX);
        let (mut rows, mut left) = (Vec::new(), Vec::new());
        for subscription in self.standing.iter().filter_map(|name| self.watched.get(name)) {
            let scope = subscription.scope();
            let found = tx.scope_after(&scope, self.after, most + 1)?;
            let gone = tx.left_between(&scope, self.after, up_to, most + 1)?;
            // Counted before any is left out: what was cut off at the limit is not known.
            if found.len() > most || gone.len() > most {
                return Ok(None);
            }
            left.extend(gone);
            for row in found {
                if admits(tx, subscription, row.document)? {
                    rows.push(row);
                }
            }
            if rows.len() + left.len() > most {
                return Ok(None);
            }
        }
        let own = tx.changes_by(replica, self.after, up_to)?;
        let own_places: BTreeSet<u64> = own.iter().map(|(position, _)| *position).collect();
        let shown: BTreeSet<u64> = rows.iter().map(|row| row.document).collect();
        let mut places = BTreeSet::new();
        // What it wrote and may not read is taken back.
        places.extend(own.iter().filter(|(_, document)| !shown.contains(document)).map(|(p, _)| p));
        for row in rows {
            places.insert(row.entered);
            let changes = tx.changes_after(row.document, self.after)?.into_iter();
            let changes = changes.map(|change| change.position);
            places.extend(changes.filter(|position| !own_places.contains(position)));
        }
        places.extend(left.into_iter().map(|(_, position)| position));
        let within = places.into_iter().filter(|place| *place > self.after && *place <= up_to);
        Ok(Some(within.map(|place| (place, own_places.contains(&place))).collect()))
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
