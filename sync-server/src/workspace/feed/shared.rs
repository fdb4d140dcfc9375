//! Pages of the log that are the same for everybody who stands at one place and is granted the same: read once,
//! and encoded once for all whom the same authors are new to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crdt_core::id::ReplicaId;
use crdt_core::protocol::{AuthorName, Cursor, Page, PageParts};

use super::Feed;
use super::erased::Told;
use crate::session::BuiltPage;
use crate::store::{Read, StoreError};
use crate::workspace::Recent;

/// Where devices stand together: what one of them is sent next, all are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    after: u64,
    head: u64,
    /// The names of what is granted, one a line.
    granted: Arc<str>,
}

/// What comes next at one spot.
#[derive(Debug)]
pub struct Slice {
    /// With every author of what it holds. Nothing when the way on cannot be shared.
    page: Option<Page>,
    /// Where whoever takes it stands afterwards, and up to where it was told of erasures.
    at: u64,
    erased: Told,
    /// Whose batches it goes over: these devices have their changes, and are sent something else.
    by: BTreeSet<ReplicaId>,
    encoded: Mutex<BTreeMap<Vec<ReplicaId>, Arc<PageParts>>>,
}

impl Slice {
    /// Reads what comes next where a device stands.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn read(feed: &Feed, tx: &dyn Read) -> Result<Self, StoreError> {
        let after = feed.cursors.values().next().map_or(0, |cursor| cursor.position);
        let (replica, authors) = (NOBODY, BTreeSet::new());
        let mut anybody = Feed { replica, authors, ..feed.clone() };
        let page = anybody.next_page(tx, true)?;
        let at = anybody.cursors.values().next().map_or(0, |cursor| cursor.position);
        // Ways that split, and what is told before any cursor moves, are for each alone.
        let is_shared = anybody.cursors.values().all(|cursor| *cursor == Cursor::at(at));
        let page = page.filter(|_| is_shared && at > after);
        let mut by = BTreeSet::new();
        if page.is_some() {
            let count = usize::try_from(at - after).unwrap_or(usize::MAX);
            by.extend(tx.batches_after(after, count)?.iter().map(|batch| batch.replica));
        }
        Ok(Self { page, at, erased: anybody.erased, by, encoded: Mutex::default() })
    }

    fn encoded(&self, page: &Page, authors: Vec<AuthorName>) -> Arc<PageParts> {
        let new = authors.iter().map(|author| author.replica).collect();
        let mut encoded = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = encoded
            .entry(new)
            .or_insert_with(|| Arc::new(PageParts::new(&Page { authors, ..page.clone() })));
        Arc::clone(parts)
    }
}

impl Feed {
    /// Where the device stands, when others that stand there are sent the same next.
    #[must_use]
    pub fn spot(&self, head: u64) -> Option<Spot> {
        let first = *self.cursors.values().next()?;
        let after = first.position;
        let is_plain = first.from.is_none()
            && self.cursors.values().all(|cursor| *cursor == first)
            && self.wanted.is_empty()
            && self.lost.is_empty()
            && self.cut.is_none()
            && self.erased.up_to() == after;
        let is_near = after < head && head - after <= self.stride.followed_max;
        let granted = Arc::clone(&self.granted);
        (is_plain && is_near).then_some(Spot { after, head, granted })
    }

    /// Passes over what the latest commits changed, when it is known that none of it is for this device, as
    /// [`next_page`](Self::next_page) would. The outer nothing: it is not known.
    pub fn pass_over(
        &mut self,
        recent: &Recent,
        head: u64,
        flush: bool,
    ) -> Option<Option<BuiltPage>> {
        let after = self.spot(head)?.after;
        let shows = |entity: &str, scopes: &[String]| self.watched.shows_in(entity, scopes);
        let scopes = self.watched.scopes();
        if !recent.says_nothing((after, head), &self.replica, scopes, shows) {
            return None;
        }
        let cursor = Cursor::at(head);
        self.cursors.values_mut().for_each(|at| *at = cursor);
        self.erased = Told::at(head);
        let cursors = self.news();
        if cursors.is_empty() || !flush {
            return Some(None);
        }
        self.hear(cursor);
        let (entries, authors, dropped) = (Vec::new(), Vec::new(), Vec::new());
        let page = Page { cursors, entries, authors, head, dropped };
        Some(Some(BuiltPage::new(&page, head)))
    }

    /// Notes that the device hears where it stands everywhere.
    fn hear(&mut self, cursor: Cursor) {
        self.told_all = cursor;
        self.told.values_mut().for_each(|at| *at = cursor);
    }

    /// Takes what comes next at the spot where the device stands, as [`next_page`](Self::next_page) would
    /// build it. The outer nothing: the device has to be sent a page of its own.
    pub fn take(&mut self, slice: &Slice, flush: bool) -> Option<Option<BuiltPage>> {
        let page = slice.page.as_ref().filter(|_| !slice.by.contains(&self.replica))?;
        let cursor = Cursor::at(slice.at);
        self.cursors.values_mut().for_each(|at| *at = cursor);
        self.erased = slice.erased;
        if page.entries.is_empty() && !flush {
            return Some(None);
        }
        self.hear(cursor);
        let new = page.authors.iter().filter(|author| self.authors.insert(author.replica));
        let new = new.cloned().collect();
        Some(Some(BuiltPage::shared(slice.encoded(page, new))))
    }
}

/// No device has this name: they are random.
const NOBODY: ReplicaId = ReplicaId([0; 12]);
