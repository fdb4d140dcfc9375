//! Feeding a device: pages from the log, from where its cursors stand.
//!
//! Caught up, pages follow the log and never split a batch. A device that is far behind catches up by index
//! first: each of its scopes' documents once, by the position of its last change, with everything since the
//! device began. The index moves while it is read; the page that reaches the head ends the catching up, and
//! the device then holds the state of that very position. Scopes that caught up at different positions
//! are brought together by following the log in those that are behind.

mod compare;
mod erased;
mod follow;
mod lost;
mod page;
mod shared;
mod watched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crdt_core::id::ReplicaId;
use crdt_core::limits;
use crdt_core::planted::{Bug, planted};
use crdt_core::policy::Subscription;
use crdt_core::protocol::{Cursor, Hello, Page, ScopeCursor};

use crate::store::{Read, ScopeRow, StoreError};
pub use compare::Comparison;
use follow::Follower;
pub(super) use lost::Known;
use lost::{Lost, Progress};
use page::{Draft, author};
pub use shared::{Slice, Spot};
use watched::{Watched, admits};

/// How a feed reads; smaller numbers make every way of it short enough to test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stride {
    /// Batches that are followed one by one; a device further behind catches up by index.
    pub followed_max: u64,
    /// Batches that are read at a time.
    pub follow: usize,
    /// Documents that are read at a time while catching up.
    pub catch_up: usize,
    /// From here on another document could make a page larger than a device takes, bytes.
    pub burst_bytes: usize,
}

impl Default for Stride {
    fn default() -> Self {
        Self {
            followed_max: limits::FOLLOWED_BATCHES_MAX,
            follow: limits::FOLLOW_STEP,
            catch_up: limits::CATCH_UP_STEP,
            burst_bytes: limits::PAGE_BYTES_MAX / 2,
        }
    }
}

/// Where a device stands, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    replica: ReplicaId,
    stride: Stride,
    /// The names of what is granted, one a line.
    granted: Arc<str>,
    watched: Arc<Watched>,
    /// Where each subscription stands, by its name.
    cursors: BTreeMap<String, Cursor>,
    /// The cursors as the device last heard of them.
    told: BTreeMap<String, Cursor>,
    /// The cursor that the device keeps for every scope without one of its own.
    told_all: Cursor,
    /// Where it stands while it is granted nothing.
    bare: Cursor,
    /// What the device wrote itself and may not read was taken back up to here, when a scope caught up last.
    own_up_to: u64,
    /// Documents that the device wants whole.
    wanted: VecDeque<u64>,
    /// Where a position that is too large for one page was cut.
    cut: Option<Cut>,
    /// Subscriptions that the device may still hold and is no longer granted.
    lost: VecDeque<Lost>,
    authors: BTreeSet<ReplicaId>,
    /// The device was told of everything erased up to here.
    erased: erased::Told,
}

/// A place within one position of a scope: its documents up to this number have been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    scope: String,
    position: u64,
    document: u64,
}

/// What is to be read next.
enum Way {
    /// The device has everything.
    Done,
    /// Documents of one scope, by index.
    Index(String),
    /// Batches after a position and up to another, in the scopes that stand there.
    Log { after: u64, up_to: u64 },
}

impl Feed {
    /// A feed that goes on where a device says it stands; in subscriptions that it did not know, at the
    /// beginning. `known` is what the replica's row says of the lease that the device shows: what it was
    /// granted, and what it may not have dropped since. What a device names beyond that is not believed.
    #[must_use]
    pub fn new(hello: &Hello, granted: &[Subscription], known: &[String], head: u64) -> Self {
        let known: Vec<Known<'_>> = known.iter().map(|entry| Known::read(entry)).collect();
        let exception = |name: &str| hello.exceptions.iter().find(|e| e.scope == name);
        let mut cursors = BTreeMap::new();
        let mut told = BTreeMap::new();
        for name in granted.iter().map(Subscription::name) {
            let known = known.iter().find(|known| known.name == name);
            let cursor = match exception(&name).map(|exception| exception.cursor) {
                // What entered after `from` may have been dropped.
                Some(cursor) if known.is_some_and(|known| known.was_lost) => {
                    Cursor::at(cursor.from.unwrap_or(cursor.position))
                }
                Some(cursor) => cursor,
                None if known.is_some_and(|known| !known.was_lost) => hello.cursor,
                None => Cursor::default(),
            };
            told.insert(name.clone(), cursor);
            cursors.insert(name, beginning(cursor, head));
        }
        let lost = known.into_iter().filter(|known| !cursors.contains_key(known.name));
        let lost: VecDeque<Lost> = lost.filter_map(|known| Lost::of(known, hello)).collect();
        let erased = erased::Told::of(hello, told.values(), lost.iter().map(Lost::told));
        Self {
            replica: hello.replica,
            stride: Stride::default(),
            granted: cursors.keys().cloned().collect::<Vec<_>>().join("\n").into(),
            watched: Arc::new(Watched::new(granted)),
            lost,
            erased,
            cursors,
            told,
            told_all: hello.cursor,
            bare: Cursor::at(hello.cursor.position),
            own_up_to: 0,
            wanted: VecDeque::new(),
            cut: None,
            authors: BTreeSet::new(),
        }
    }

    /// Up to where the pages built so far tell of erasures.
    #[must_use]
    pub const fn erased_up_to(&self) -> u64 {
        self.erased.up_to()
    }

    /// The entries of the replica's row for what the device is told to drop.
    pub(super) fn losing(&self) -> impl Iterator<Item = String> {
        self.lost.iter().map(Lost::entry)
    }

    /// What answers how far documents go that the device may see.
    #[must_use]
    pub fn comparison(&self) -> Comparison {
        Comparison::new(Arc::clone(&self.watched))
    }

    /// The same feed with another stride.
    #[must_use]
    pub fn with_stride(self, stride: Stride) -> Self {
        Self { stride, ..self }
    }

    /// Notes documents that the device wants whole, since it could not apply what came. They come first.
    pub fn want(&mut self, documents: &[u64]) {
        let room = limits::PAGE_ENTRIES_MAX.saturating_sub(self.wanted.len());
        self.wanted.extend(documents.iter().copied().filter(|number| *number != 0).take(room));
    }

    /// Whether the log, up to `head`, holds at most so many batches that the device does not have, and nothing
    /// else is to be read for it.
    #[must_use]
    pub fn is_near(&self, head: u64, batches: u64) -> bool {
        let near = |cursor: &Cursor| {
            cursor.from.is_none() && head.saturating_sub(cursor.position) <= batches
        };
        self.cursors.values().all(near) && self.wanted.is_empty() && self.lost.is_empty()
    }

    /// The next page, or nothing when the device has everything. `flush` asks for a page without entries
    /// when the cursors have moved.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn next_page(&mut self, tx: &dyn Read, flush: bool) -> Result<Option<Page>, StoreError> {
        let head = tx.head()?;
        let mut draft = Draft::new(self.stride.burst_bytes);
        if let Some(entries) = self.erased.next(tx, head)? {
            // Before any cursor passes an erasure, the device has heard of it.
            let (cursors, authors, dropped) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(Some(Page { cursors, entries, authors, head, dropped }));
        }
        self.add_wanted(tx, &mut draft)?;
        if draft.is_empty() && !self.lost.is_empty() {
            return self.drop_lost(tx, head, draft).map(Some);
        }
        if draft.is_empty() && self.cursors.is_empty() {
            self.bare = Cursor::at(self.take_back(tx, self.bare.position, head, &mut draft)?);
        }
        // One way a page: entries of two ways could repeat a change or put it before what it depends on.
        while draft.is_empty() {
            match self.way(head) {
                Way::Done => break,
                Way::Index(scope) => self.catch_up(tx, &scope, head, &mut draft)?,
                Way::Log { after, up_to } => draft = self.follow(tx, after, up_to)?,
            }
        }
        // What is said of all scopes at once would be about those that are still to be dropped, too.
        let cursors = if self.lost.is_empty() { self.news() } else { Vec::new() };
        if draft.is_empty() && (cursors.is_empty() || !flush) {
            return Ok(None);
        }
        for told in &cursors {
            if told.scope.is_empty() {
                self.told_all = told.cursor;
                self.told.values_mut().for_each(|cursor| *cursor = told.cursor);
            } else {
                self.told.insert(told.scope.clone(), told.cursor);
            }
        }
        self.page(tx, head, draft, cursors).map(Some)
    }

    fn page(
        &mut self,
        tx: &dyn Read,
        head: u64,
        draft: Draft,
        cursors: Vec<ScopeCursor>,
    ) -> Result<Page, StoreError> {
        let mut authors = Vec::new();
        for replica in draft.replicas() {
            if !self.authors.contains(&replica)
                && let Some(author) = author(tx, replica)?
            {
                self.authors.insert(replica);
                authors.push(author);
            }
        }
        Ok(Page { cursors, entries: draft.into_entries(), authors, head, dropped: Vec::new() })
    }

    /// A page that says what is to be dropped; it comes before everything else.
    fn drop_lost(
        &mut self,
        tx: &dyn Read,
        head: u64,
        mut draft: Draft,
    ) -> Result<Page, StoreError> {
        let (mut cursors, mut dropped) = (Vec::new(), Vec::new());
        while let Some(lost) = self.lost.front_mut() {
            match lost.add(tx, &self.watched, self.stride.catch_up, &mut draft)? {
                Progress::Gone(name) => {
                    dropped.push(name);
                    self.lost.pop_front();
                }
                Progress::More(cursor) => {
                    cursors.extend(cursor);
                    break;
                }
            }
        }
        Ok(Page { dropped, ..self.page(tx, head, draft, cursors)? })
    }

    fn way(&self, head: u64) -> Way {
        let far = |cursor: &Cursor| {
            cursor.from.is_some() || head.saturating_sub(cursor.position) > self.stride.followed_max
        };
        if let Some((scope, _)) = self.cursors.iter().find(|(_, cursor)| far(cursor)) {
            return Way::Index(scope.clone());
        }
        let positions: BTreeSet<u64> = self.cursors.values().map(|c| c.position).collect();
        let mut positions = positions.into_iter();
        match positions.next() {
            Some(after) if after < head => {
                Way::Log { after, up_to: positions.next().unwrap_or(head) }
            }
            _ => Way::Done,
        }
    }

    /// The cursors that the device has not heard of. When it stands at one place everywhere, one says it.
    fn news(&self) -> Vec<ScopeCursor> {
        let first = self.cursors.values().next().copied().unwrap_or(self.bare);
        let at_one_place = self.cursors.values().all(|cursor| *cursor == first);
        if at_one_place && first.from.is_none() {
            let heard = self.told_all == first && self.told.values().all(|cursor| *cursor == first);
            let all = ScopeCursor { scope: String::new(), cursor: first };
            return if heard { Vec::new() } else { vec![all] };
        }
        let moved = self.cursors.iter().filter(|(scope, cursor)| {
            // Having begun is no news while nothing has come.
            self.told.get(*scope).is_none_or(|told| told.position != cursor.position)
                || cursor.from.is_none() && self.told.get(*scope) != Some(*cursor)
        });
        let moved =
            moved.map(|(scope, cursor)| ScopeCursor { scope: scope.clone(), cursor: *cursor });
        moved.collect()
    }

    fn add_wanted(&mut self, tx: &dyn Read, draft: &mut Draft) -> Result<(), StoreError> {
        while !draft.is_full() {
            let Some(number) = self.wanted.pop_front() else { break };
            if self.watched.shows(tx, number)? {
                draft.add_whole(tx, number)?;
            } else {
                draft.leave(number);
            }
        }
        Ok(())
    }

    /// Who may make what they may not read has it until now: takes back what the device wrote after a
    /// position, up to `head` or until the page is full; up to where it came.
    fn take_back(
        &self,
        tx: &dyn Read,
        after: u64,
        head: u64,
        draft: &mut Draft,
    ) -> Result<u64, StoreError> {
        let own = tx.changes_by(&self.replica, after, head)?;
        for (place, (position, document)) in own.iter().enumerate() {
            if !self.watched.shows(tx, *document)? {
                draft.leave(*document);
            }
            let last = own.get(place + 1).is_none_or(|(next, _)| next != position);
            if last && draft.is_full() {
                return Ok(*position);
            }
        }
        Ok(head)
    }

    /// The next documents of one subscription by index.
    fn catch_up(
        &mut self,
        tx: &dyn Read,
        name: &str,
        head: u64,
        draft: &mut Draft,
    ) -> Result<(), StoreError> {
        let Some(subscription) = self.watched.get(name).cloned() else { return Ok(()) };
        let scope = subscription.scope();
        let cursor = self.cursors.get(name).copied().unwrap_or_default();
        let from = cursor.from.unwrap_or(cursor.position);
        let left = tx.left_between(&scope, cursor.position, head, limits::PAGE_ENTRIES_MAX)?;
        let is_all_left = left.len() < limits::PAGE_ENTRIES_MAX;
        let ceiling = left.last().filter(|_| !is_all_left).map_or(head, |(_, position)| *position);
        let sent = self.cut.take().filter(|cut| cut.scope == name);
        let is_sent = |row: &ScopeRow| {
            let later = planted(Bug::CutSkips);
            let at_cut = |cut: &Cut| row.position == cut.position || later;
            let within = |cut: &Cut| at_cut(cut) && row.document <= cut.document;
            sent.as_ref().is_some_and(within)
        };
        let mut at = cursor.position;
        let reached_end = 'read: loop {
            let mut rows = tx.scope_after(&scope, at, self.stride.catch_up)?;
            let early = u64::from(planted(Bug::CatchUpEndsEarly));
            rows.retain(|row| row.position + early <= ceiling);
            if rows.is_empty() {
                break true;
            }
            for (place, row) in rows.iter().enumerate() {
                if !is_sent(row) && admits(tx, &subscription, row.document)? {
                    add_indexed(tx, row, from, draft)?;
                }
                let last = rows.get(place + 1).is_none_or(|next| next.position != row.position);
                if last {
                    at = row.position;
                    if draft.is_full() {
                        break 'read false;
                    }
                } else if draft.is_bursting() {
                    let (position, document) = (row.position, row.document);
                    self.cut = Some(Cut { scope: name.to_owned(), position, document });
                    break 'read false;
                }
            }
        };
        let is_at_head = reached_end && is_all_left;
        if is_at_head {
            // What came before `from` was followed, or caught up.
            let after = self.own_up_to.max(from);
            self.own_up_to = self.take_back(tx, after, head, draft)?;
        }
        let next = match reached_end {
            true if is_at_head && self.own_up_to >= head => Cursor::at(head),
            true => Cursor { position: ceiling, from: Some(from) },
            false => Cursor { position: at, from: Some(from) },
        };
        for (document, position) in left {
            if position <= next.position
                && admits(tx, &subscription, document)?
                && !self.watched.shows(tx, document)?
            {
                draft.leave(document);
            }
        }
        self.cursors.insert(name.to_owned(), next);
        Ok(())
    }

    /// The next batches of the log, each whole, in the subscriptions that stand at `after`.
    fn follow(&mut self, tx: &dyn Read, after: u64, up_to: u64) -> Result<Draft, StoreError> {
        let standing = self.cursors.iter().filter(|(_, cursor)| cursor.position == after);
        let standing: BTreeSet<String> = standing.map(|(name, _)| name.clone()).collect();
        let follower = Follower { watched: &self.watched, standing: &standing, after };
        let mut draft = Draft::new(self.stride.burst_bytes);
        let mut at = after;
        if let Some(places) = follower.places(tx, &self.replica, up_to)? {
            at = up_to;
            for (position, is_own) in places {
                follower.add(tx, position, is_own, &mut draft)?;
                if draft.is_full() {
                    at = position;
                    break;
                }
            }
        }
        while at < up_to && !draft.is_full() {
            let mut batches = tx.batches_after(at, self.stride.follow)?;
            batches.retain(|batch| batch.position <= up_to);
            if batches.is_empty() {
                at = up_to;
            }
            for batch in batches {
                let is_own = batch.replica == self.replica
                    || planted(Bug::OwnMemberSkipped)
                        && tx.replica(&self.replica)?.is_some_and(|row| row.member == batch.member);
                follower.add(tx, batch.position, is_own, &mut draft)?;
                at = batch.position;
                if draft.is_full() {
                    break;
                }
            }
        }
        let mut next = Cursor::at(at);
        if draft.is_bursting() {
            // A batch whose documents are too large together: by index they can be cut.
            (draft, next) = (
                Draft::new(self.stride.burst_bytes),
                Cursor { position: after, from: Some(after) },
            );
        }
        for name in standing {
            self.cursors.insert(name, next);
        }
        Ok(draft)
    }
}

/// A device that has nothing of a scope catches up by index: the log would leave out its own changes, and
/// it may have lost them with the scope.
fn beginning(cursor: Cursor, head: u64) -> Cursor {
    if cursor == Cursor::default() && head > 0 {
        Cursor { position: 0, from: Some(0) }
    } else {
        cursor
    }
}

/// A document of the index: whole when the device cannot have what came before.
fn add_indexed(
    tx: &dyn Read,
    row: &ScopeRow,
    from: u64,
    draft: &mut Draft,
) -> Result<(), StoreError> {
    if row.entered > from && tx.first_position(row.document)? < Some(row.entered) {
        draft.add_whole(tx, row.document)
    } else {
        draft.add_changes(tx, row.document, from, None)
    }
}
