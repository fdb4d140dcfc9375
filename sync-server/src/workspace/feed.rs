//! Feeding a device: pages from the log, from where its cursors stand.
//!
//! Caught up, pages follow the log and never split a batch. A device that is far behind catches up by index
//! first: each of its scopes' documents once, by the position of its last change, with everything since the
//! device began. The index moves while it is read; the page that reaches the head ends the catching up, and
//! the device then holds the state of that very position.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{ChangeHash, ReplicaId};
use crdt_core::limits;
use crdt_core::protocol::{
    AuthorName, Cursor, Entry, Hello, Identity, Page, ScopeCursor, SentChange,
};
use crdt_core::record::{Cells, Change};

use crate::store::{ChangeRow, DocumentRow, Read, StoreError};

/// Batches that are followed one by one; a device further behind catches up by index.
const TAIL_MAX: u64 = 2_000;
/// Batches that are read at a time.
const TAIL_STEP: usize = 256;
/// Documents that are read at a time while catching up.
const INDEX_STEP: usize = 500;

/// Where a device stands, and what it was told.
#[derive(Debug, Clone)]
pub struct Feed {
    replica: ReplicaId,
    cursors: BTreeMap<String, Cursor>,
    /// The scopes' common cursor as the device last heard of it.
    told: u64,
    authors: BTreeSet<ReplicaId>,
}

/// A page under construction.
struct Draft {
    documents: BTreeMap<u64, Building>,
    order: Vec<u64>,
    left: Vec<u64>,
    bytes: usize,
}

struct Building {
    row: DocumentRow,
    cells: Cells,
    whole: bool,
    changes: Vec<(Change, ChangeHash)>,
}

impl Feed {
    /// A feed that goes on where a device says it stands; in scopes that it did not know, at the beginning.
    #[must_use]
    pub fn new(hello: &Hello, scopes: &[String], known: &[String], head: u64) -> Self {
        let mut cursors = BTreeMap::new();
        for scope in scopes {
            let exception = hello.exceptions.iter().find(|exception| exception.scope == *scope);
            let cursor = match exception {
                Some(exception) => exception.cursor,
                None if known.contains(scope) => hello.cursor,
                None => Cursor::default(),
            };
            cursors.insert(scope.clone(), cursor);
        }
        let all_there = cursors.values().all(|cursor| *cursor == Cursor::at(head));
        let told = if all_there { head } else { 0 };
        Self { replica: hello.replica, cursors, told, authors: BTreeSet::new() }
    }

    /// The next page, or nothing when the device has everything. `flush` asks for a page without entries
    /// when the cursors have moved.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn next_page(&mut self, tx: &dyn Read, flush: bool) -> Result<Option<Page>, StoreError> {
        let head = tx.head()?;
        let furthest = self.cursors.values().map(|cursor| cursor.position).max().unwrap_or(head);
        let behind = |cursor: &Cursor| {
            cursor.from.is_some()
                || cursor.position < furthest
                || head.saturating_sub(cursor.position) > TAIL_MAX
        };
        let catching_up = self.cursors.iter().find(|(_, cursor)| behind(cursor));
        let page = match catching_up.map(|(scope, cursor)| (scope.clone(), *cursor)) {
            Some((scope, cursor)) => self.catch_up(tx, &scope, cursor, head)?,
            None => self.follow(tx, head)?,
        };
        let position = self.cursors.values().map(|cursor| cursor.position).min().unwrap_or(head);
        let moved = position != self.told;
        if page.entries.is_empty() && !(moved && flush) && !page.cursors.iter().any(is_catching_up)
        {
            return Ok(None);
        }
        self.told = position;
        Ok(Some(page))
    }

    /// Whole documents, for a device that could not apply what came.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn whole(&mut self, tx: &dyn Read, documents: &[u64]) -> Result<Page, StoreError> {
        let mut draft = Draft::new();
        for number in documents {
            if self.is_visible(tx, *number)? {
                draft.add_whole(tx, *number)?;
            } else {
                draft.left.push(*number);
            }
        }
        self.finish(tx, draft, Vec::new())
    }

    fn is_visible(&self, tx: &dyn Read, document: u64) -> Result<bool, StoreError> {
        for scope in self.cursors.keys() {
            if tx.in_scope(scope, document)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next documents of one scope by index.
    fn catch_up(
        &mut self,
        tx: &dyn Read,
        scope: &str,
        cursor: Cursor,
        head: u64,
    ) -> Result<Page, StoreError> {
        let from = cursor.from.unwrap_or(cursor.position);
        let mut draft = Draft::new();
        let mut at = cursor.position;
        let reached_end = loop {
            let rows = tx.scope_after(scope, at, INDEX_STEP)?;
            let Some(last) = rows.last().map(|row| row.position) else { break true };
            let mut full = false;
            let mut done = at;
            for row in &rows {
                if full && row.position != done {
                    break;
                }
                if row.entered > from && tx.first_position(row.document)? < Some(row.entered) {
                    draft.add_whole(tx, row.document)?;
                } else {
                    draft.add_changes(tx, row.document, from, None)?;
                }
                done = row.position;
                full = full || draft.is_full();
            }
            at = done;
            if full && done <= last {
                break false;
            }
        };
        let to = if reached_end { head } else { at };
        for (document, _) in tx.left_between(scope, from, to)? {
            if !self.is_visible(tx, document)? {
                draft.left.push(document);
            }
        }
        let next =
            if reached_end { Cursor::at(head) } else { Cursor { position: at, from: Some(from) } };
        self.cursors.insert(scope.to_owned(), next);
        let cursors = vec![ScopeCursor { scope: scope.to_owned(), cursor: next }];
        self.finish(tx, draft, cursors)
    }

    /// The next batches of the log, each whole.
    fn follow(&mut self, tx: &dyn Read, head: u64) -> Result<Page, StoreError> {
        let start = self.cursors.values().map(|cursor| cursor.position).min().unwrap_or(head);
        let mut draft = Draft::new();
        let mut at = start;
        while at < head && !draft.is_full() {
            let batches = tx.batches_after(at, TAIL_STEP)?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                if batch.replica != self.replica {
                    self.follow_batch(tx, batch.position, start, &mut draft)?;
                }
                at = batch.position;
                if draft.is_full() {
                    break;
                }
            }
        }
        for scope in self.cursors.keys() {
            for (document, _) in tx.left_between(scope, start, at)? {
                if !self.is_visible(tx, document)? && !draft.left.contains(&document) {
                    draft.left.push(document);
                }
            }
        }
        for cursor in self.cursors.values_mut() {
            cursor.position = cursor.position.max(at);
        }
        let all = ScopeCursor { scope: String::new(), cursor: Cursor::at(at) };
        let cursors = if at > start { vec![all] } else { Vec::new() };
        self.finish(tx, draft, cursors)
    }

    fn follow_batch(
        &self,
        tx: &dyn Read,
        position: u64,
        start: u64,
        draft: &mut Draft,
    ) -> Result<(), StoreError> {
        let mut by_document: BTreeMap<u64, Vec<ChangeRow>> = BTreeMap::new();
        for change in tx.changes_at(position)? {
            by_document.entry(change.document).or_default().push(change);
        }
        for (document, changes) in by_document {
            let mut entered = None;
            for scope in self.cursors.keys() {
                let row = tx.in_scope(scope, document)?;
                entered = match (entered, row) {
                    (Some(earlier), Some(row)) => Some(row.entered.min(earlier)),
                    (earlier, row) => earlier.or(row.map(|row| row.entered)),
                };
            }
            let Some(entered) = entered else { continue };
            if entered > start && tx.first_position(document)? < Some(entered) {
                draft.add_whole(tx, document)?;
            } else {
                draft.add_changes(tx, document, position, Some(changes))?;
            }
        }
        Ok(())
    }

    fn finish(
        &mut self,
        tx: &dyn Read,
        draft: Draft,
        cursors: Vec<ScopeCursor>,
    ) -> Result<Page, StoreError> {
        let mut entries = Vec::with_capacity(draft.order.len() + draft.left.len());
        let mut authors = Vec::new();
        let mut documents = draft.documents;
        for number in draft.order {
            let Some(building) = documents.remove(&number) else { continue };
            for (change, _) in &building.changes {
                let replica = change.actor.replica();
                if change.as_seed().is_none() && self.authors.insert(replica) {
                    authors.extend(author(tx, replica)?);
                }
            }
            entries.push(building.into_entry());
        }
        entries.extend(draft.left.into_iter().map(|number| Entry::Left { number }));
        Ok(Page { cursors, entries, authors, head: tx.head()? })
    }
}

fn is_catching_up(cursor: &ScopeCursor) -> bool {
    cursor.cursor.from.is_some()
}

fn author(tx: &dyn Read, replica: ReplicaId) -> Result<Option<AuthorName>, StoreError> {
    let Some(row) = tx.replica(&replica)? else { return Ok(None) };
    let name = tx.member(&row.member)?.unwrap_or_default();
    Ok(Some(AuthorName { replica, member: row.member, name }))
}

impl Draft {
    fn new() -> Self {
        Self { documents: BTreeMap::new(), order: Vec::new(), left: Vec::new(), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.bytes >= limits::PAGE_BYTES_TARGET || self.order.len() >= limits::PAGE_ENTRIES_MAX
    }

    /// Adds the document as the server has it, in place of what was added of it before.
    fn add_whole(&mut self, tx: &dyn Read, number: u64) -> Result<(), StoreError> {
        let tail = tx.changes_after(number, 0)?;
        let Some(building) = self.building(tx, number)? else { return Ok(()) };
        building.whole = true;
        building.changes.clear();
        let size = building.row.snapshot.as_ref().map_or(0, Vec::len);
        let added = building.add(&tail)?;
        self.bytes += size + added;
        Ok(())
    }

    /// Adds changes of a document after a position: those given, or all of them. A document whose changes
    /// are folded in part goes as a whole.
    fn add_changes(
        &mut self,
        tx: &dyn Read,
        number: u64,
        after: u64,
        changes: Option<Vec<ChangeRow>>,
    ) -> Result<(), StoreError> {
        let changes = match changes {
            Some(changes) => changes,
            None => tx.changes_after(number, after)?,
        };
        if changes.iter().any(|change| change.bytes.is_none()) {
            return self.add_whole(tx, number);
        }
        let Some(building) = self.building(tx, number)? else { return Ok(()) };
        if !building.whole {
            let added = building.add(&changes)?;
            self.bytes += added;
        }
        Ok(())
    }

    fn building(
        &mut self,
        tx: &dyn Read,
        number: u64,
    ) -> Result<Option<&mut Building>, StoreError> {
        if !self.documents.contains_key(&number) {
            let Some(row) = tx.document(number)? else { return Ok(None) };
            let cells =
                Cells::from_stored(&row.cells).map_err(|e| StoreError::Damaged(e.to_string()))?;
            let building = Building { row, cells, whole: false, changes: Vec::new() };
            self.documents.insert(number, building);
            self.order.push(number);
        }
        Ok(self.documents.get_mut(&number))
    }
}

impl Building {
    fn add(&mut self, rows: &[ChangeRow]) -> Result<usize, StoreError> {
        let mut size = 0;
        for row in rows {
            let Some(bytes) = &row.bytes else { continue };
            let change = Change::from_stored(bytes, &row.hash, &self.cells)
                .map_err(|e| StoreError::Damaged(e.to_string()))?;
            size += bytes.len();
            self.changes.push((change, row.hash));
        }
        Ok(size)
    }

    fn into_entry(self) -> Entry {
        let number = self.row.number;
        let new = self.changes.first().is_some_and(|(change, _)| change.deps.is_empty());
        let mut sent = Vec::with_capacity(self.changes.len());
        let mut before: Option<&ChangeHash> = None;
        for (change, hash) in &self.changes {
            sent.push(SentChange::new(change, hash, before));
            before = Some(hash);
        }
        let identity = Identity { id: self.row.id, entity: self.row.entity };
        match self.row.snapshot {
            Some(snapshot) if self.whole => {
                Entry::Document { number, identity, snapshot, changes: sent }
            }
            _ => {
                let identity = (self.whole || new).then_some(identity);
                Entry::Changes { number, identity, changes: sent }
            }
        }
    }
}
