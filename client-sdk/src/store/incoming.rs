//! Applying a page: every entry that fits, in one transaction with the cursors; what does not fit is set
//! aside and asked for whole, while every other record keeps syncing.

mod changes;
pub(crate) mod purge;
mod replace;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{Dependencies, Entry, Identity, Page, SentChange};
use crdt_core::record::Cells;
use crdt_core::schema::Schema;
use rusqlite::Connection;

use super::document::{Held, HeldRecord, numbered};
use super::{Author, Session, dispute, erase, loading, outbox, relay, scope, undo};
use crate::error::StoreError;

/// What became of a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageApplied {
    /// Documents that did not fit and are to be fetched whole: each is named once.
    pub fetch: Vec<u64>,
    /// Records that the page changed.
    pub records: usize,
    /// Documents that could not be applied even as a whole.
    pub broken: u64,
}

/// Why an entry is set aside.
#[derive(Debug)]
pub(crate) enum Misfit {
    /// It does not fit what the device has.
    Entry,
    /// The store itself is at fault: the page fails as a whole.
    Store(StoreError),
}

impl From<StoreError> for Misfit {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cells(_)
            | StoreError::Change(_)
            | StoreError::Document(_)
            | StoreError::Malformed(_) => Self::Entry,
            other => Self::Store(other),
        }
    }
}

impl From<rusqlite::Error> for Misfit {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<crdt_core::record::DocumentError> for Misfit {
    fn from(_: crdt_core::record::DocumentError) -> Self {
        Self::Entry
    }
}

/// Applies a page within its session's transaction.
pub(crate) fn apply(session: &mut Session<'_>, page: Page) -> Result<PageApplied, StoreError> {
    adopt_authors(session, &page)?;
    loading::begin(session, &page)?;
    let erased = erase::named(session, &page)?;
    erase::erase(session, &erased)?;
    let left = page.entries.iter().any(|entry| matches!(entry, Entry::Left { .. }));
    let mut applying = Applying::new(session, page.head)?;
    let mut fitting = BTreeSet::new();
    for entry in page.entries {
        let number = entry.number();
        match applying.entry(session, entry) {
            Ok(()) => fitting.extend(number),
            Err(Misfit::Store(error)) => return Err(error),
            Err(Misfit::Entry) => applying.misfits.extend(number),
        }
    }
    let records = applying.save(session)?;
    scope::advance(&session.tx, &page.cursors)?;
    scope::drop_scopes(&session.tx, &page.dropped)?;
    if !page.dropped.is_empty() {
        session.changes.table("scope");
        purge::mark_scope(&session.tx)?;
    }
    if left {
        session.state.meta.left = session.state.meta.left.max(page.head);
    }
    if !applying.removed.is_empty() {
        purge::forget_empty_batches(&session.tx)?;
        purge::mark(&session.tx, &applying.removed)?;
    }
    forget_broken(&session.tx, &fitting, &applying.misfits)?;
    let fetch = note_broken(&session.tx, &applying.misfits)?;
    Ok(PageApplied { fetch, records, broken: broken(&session.tx)? })
}

struct Applying {
    schema: Arc<Schema>,
    /// The log's last position when the page was built: what it holds was accepted up to there.
    head: u64,
    records: BTreeMap<RecordId, HeldRecord>,
    /// The documents that the page brought, by number.
    numbers: BTreeMap<u64, DocumentId>,
    /// No document that is stored has a greater number.
    number_max: u64,
    /// Documents that were asked for whole, since they did not fit.
    wanted: BTreeSet<u64>,
    misfits: BTreeSet<u64>,
    /// The entities of records that were removed, as a whole or in part.
    removed: BTreeSet<String>,
}

impl Applying {
    fn new(session: &Session<'_>, head: u64) -> Result<Self, StoreError> {
        let sql = "SELECT coalesce(max(number), 0) FROM document";
        let number_max: i64 = session.tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(Self {
            schema: session.schema(),
            head,
            records: BTreeMap::new(),
            numbers: BTreeMap::new(),
            number_max: number_max.cast_unsigned(),
            wanted: wanted(&session.tx)?,
            misfits: BTreeSet::new(),
            removed: BTreeSet::new(),
        })
    }

    fn entry(&mut self, session: &mut Session<'_>, entry: Entry) -> Result<(), Misfit> {
        match entry {
            Entry::Changes { number, identity, changes } => {
                let id = self.locate(session, number, identity.as_ref())?;
                let mut held = self.held(&id, number);
                let entity = self.schema.entity(&self.records[&id.record].entity);
                let is_whole = is_whole(identity.as_ref(), &changes);
                if is_whole && held.row.is_some() && relay::is_due(&session.tx, held.row)? {
                    replace::take(session, entity, &mut held, None, &changes)?;
                } else if held.gone {
                    // It is back. Nothing of it is here but what was not answered.
                    if !is_whole {
                        return Err(Misfit::Entry);
                    }
                    whole::take(&session.tx, entity, &mut held, None, &changes)?;
                } else if is_whole && self.wanted.contains(&number) {
                    let untouched = held.clone();
                    match changes::take(&session.tx, entity, &mut held, changes.clone()) {
                        Err(Misfit::Entry) => {
                            held = untouched;
                            whole::take(&session.tx, entity, &mut held, None, &changes)?;
                        }
                        taken => taken?,
                    }
                } else {
                    changes::take(&session.tx, entity, &mut held, changes)?;
                }
                self.keep(&id, held);
            }
            Entry::Document { number, identity, snapshot, changes } => {
                let id = self.locate(session, number, Some(&identity))?;
                let mut held = self.held(&id, number);
                let entity = self.schema.entity(&self.records[&id.record].entity);
                if relay::is_due(&session.tx, held.row)? {
                    replace::take(session, entity, &mut held, Some(&snapshot), &changes)?;
                } else {
                    whole::take(&session.tx, entity, &mut held, Some(&snapshot), &changes)?;
                }
                self.keep(&id, held);
            }
            Entry::Left { number } => self.leave(session, number)?,
            // What of it was here went before anything else of the page was looked at.
            Entry::Erased { .. } => {}
        }
        Ok(())
    }

    /// The document that an entry is about; its record is read.
    fn locate(
        &mut self,
        session: &Session<'_>,
        number: u64,
        identity: Option<&Identity>,
    ) -> Result<DocumentId, Misfit> {
        let id = match (self.numbered(session, number)?, identity) {
            // One number, one document.
            (Some(id), Some(identity)) if identity.id != id => return Err(Misfit::Entry),
            (Some(id), _) => id,
            (None, Some(identity)) => identity.id.clone(),
            (None, None) => return Err(Misfit::Entry),
        };
        if !self.records.contains_key(&id.record) {
            let read = HeldRecord::read(&session.tx, &session.state, id.record)?;
            let record = match (read, identity) {
                (Some(record), _) => record,
                (None, Some(identity)) if self.schema.entity(&identity.entity).is_some() => {
                    HeldRecord::new(id.record, &identity.entity)
                }
                (None, _) => return Err(Misfit::Entry),
            };
            self.records.insert(id.record, record);
        }
        Ok(id)
    }

    fn numbered(&self, session: &Session<'_>, number: u64) -> Result<Option<DocumentId>, Misfit> {
        if number <= self.number_max
            && let Some((record, section)) = numbered(&session.tx, number)?
        {
            return Ok(Some(DocumentId { record, section }));
        }
        let is_present = |id: &&DocumentId| {
            let record = self.records.get(&id.record);
            let held = record.and_then(|record| record.documents.get(&id.section));
            held.is_some_and(|held| held.number == Some(number))
        };
        Ok(self.numbers.get(&number).filter(is_present).cloned())
    }

    /// A copy to work on: an entry that does not fit leaves no trace.
    fn held(&self, id: &DocumentId, number: u64) -> Held {
        let known =
            self.records.get(&id.record).and_then(|record| record.documents.get(&id.section));
        let mut held = known.cloned().unwrap_or_default();
        held.dirty |= held.number != Some(number) || held.seen < self.head;
        held.number = Some(number);
        held.seen = held.seen.max(self.head);
        held
    }

    fn keep(&mut self, id: &DocumentId, held: Held) {
        if held.row.is_none()
            && let Some(number) = held.number
        {
            self.numbers.insert(number, id.clone());
        }
        if let Some(record) = self.records.get_mut(&id.record) {
            record.documents.insert(id.section.clone(), held);
        }
    }

    /// The document is in none of the device's scopes any more: everything that the file holds of it goes,
    /// but what was written to it and not answered, which stays in the outbox.
    fn leave(&mut self, session: &mut Session<'_>, number: u64) -> Result<(), Misfit> {
        if planted(Bug::LeftIgnored) {
            return Ok(());
        }
        let Some(id) = self.numbered(session, number)? else { return Ok(()) };
        self.locate(session, number, None)?;
        self.leave_document(session, &id)
    }

    fn leave_document(&mut self, session: &mut Session<'_>, id: &DocumentId) -> Result<(), Misfit> {
        let Some(record) = self.records.get_mut(&id.record) else { return Ok(()) };
        let row = record.documents.get(&id.section).and_then(|held| held.row);
        unanswer_again(&session.tx, row)?;
        let pending = match record.documents.get(&id.section) {
            Some(held) => held.has_pending(&session.tx)?,
            None => return Ok(()),
        };
        self.removed.insert(record.entity.clone());
        // It may hold values of any section.
        undo::remove(&session.tx, id.record)?;
        dispute::leave(session, id)?;
        if pending && planted(Bug::PurgeTakesUnsent) {
            record.remove(&session.tx, &id.section)?;
            return Ok(outbox::erase_empty(session)?);
        }
        if !pending {
            record.remove(&session.tx, &id.section)?;
            return Ok(());
        }
        relay::forget(&session.tx, row)?;
        let sql = "DELETE FROM change WHERE document = ?1 AND state != 0";
        session.tx.prepare_cached(sql)?.execute([row])?;
        session.tx.prepare_cached("DELETE FROM _snapshot WHERE document = ?1")?.execute([row])?;
        if let Some(held) = record.documents.get_mut(&id.section) {
            held.cells = Cells::default();
            held.base = Some(Cells::default());
            held.fresh.clear();
            held.gone = true;
            held.dirty = true;
        }
        Ok(())
    }

    /// Saves what the page changed, in the order of rows: pages of the tables are then written once.
    fn save(&mut self, session: &mut Session<'_>) -> Result<usize, StoreError> {
        let mut order: Vec<(bool, Option<i64>, RecordId)> = self
            .records
            .values()
            .map(|record| {
                let row = record.documents.values().filter_map(|held| held.row).min();
                (record.main().is_some(), row, record.id)
            })
            .collect();
        // What leaves comes first: its row's number may be given to what is new in the same page.
        order.sort_unstable_by_key(|(stays, row, id)| (*stays, row.is_none(), *row, *id));
        for (_, _, id) in &order {
            if let Some(record) = self.records.get_mut(id) {
                // A new document that did not fit has nothing to store.
                record.documents.retain(|_, held| held.row.is_some() || !held.cells.is_empty());
                record.save(session, None)?;
            }
        }
        Ok(order.len())
    }
}

/// A document is about to leave. What was accepted of it once, and is being sent again to a restored server,
/// is unanswered like any other edit: it stays until its answer comes.
fn unanswer_again(connection: &Connection, document: Option<i64>) -> Result<(), StoreError> {
    let sql = "UPDATE change SET state = 0 WHERE document = ?1 AND state != 0
               AND batch IN (SELECT number FROM outbox WHERE state = 0)";
    connection.prepare_cached(sql)?.execute([document])?;
    Ok(())
}

/// Removes a document that the server does not have for this device.
pub(crate) fn leave(session: &mut Session<'_>, id: &DocumentId) -> Result<(), StoreError> {
    let Some(record) = HeldRecord::read(&session.tx, &session.state, id.record)? else {
        return Ok(());
    };
    let mut applying = Applying::new(session, 0)?;
    applying.records.insert(id.record, record);
    match applying.leave_document(session, id) {
        Ok(()) => {}
        Err(Misfit::Store(error)) => return Err(error),
        Err(Misfit::Entry) => return Err(StoreError::Malformed("document")),
    }
    applying.save(session)?;
    purge::forget_empty_batches(&session.tx)?;
    purge::mark(&session.tx, &applying.removed)
}

fn adopt_authors(session: &mut Session<'_>, page: &Page) -> Result<(), StoreError> {
    for author in &page.authors {
        let known = Author { member: author.member, name: author.name.clone() };
        if session.state.authors.get(&author.replica) != Some(&known)
            && !planted(Bug::AuthorsUnlearnt)
        {
            outbox::store_author(&session.tx, author.replica, &known)?;
            Arc::make_mut(&mut session.state.authors).insert(author.replica, known);
        }
    }
    Ok(())
}

/// Whether an entry holds all of its document, so that it can take the place of what is stored.
fn is_whole(identity: Option<&Identity>, changes: &[SentChange]) -> bool {
    let first = changes.iter().find(|sent| sent.change.as_seed().is_none());
    let begins =
        |sent: &SentChange| matches!(&sent.deps, Dependencies::Short(deps) if deps.is_empty());
    identity.is_some() && first.is_some_and(begins)
}

/// Documents that were asked for whole, since they did not fit.
fn wanted(connection: &Connection) -> Result<BTreeSet<u64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT number FROM _broken")?;
    let numbers = statement.query_map([], |row| row.get::<_, i64>(0))?;
    Ok(numbers.map(|number| number.map(i64::cast_unsigned)).collect::<Result<_, _>>()?)
}

/// Notes documents that did not fit; gives those that are to be fetched, which are asked for once.
fn note_broken(connection: &Connection, misfits: &BTreeSet<u64>) -> Result<Vec<u64>, StoreError> {
    let mut fetch = Vec::new();
    for number in misfits {
        let sql = "INSERT INTO _broken (number, attempts) VALUES (?1, 1)
                   ON CONFLICT (number) DO UPDATE SET attempts = attempts + 1 RETURNING attempts";
        let mut statement = connection.prepare_cached(sql)?;
        let attempts: i64 = statement.query_row([number.cast_signed()], |row| row.get(0))?;
        if attempts == 1 {
            fetch.push(*number);
        } else {
            relay::give_up(connection, *number)?;
        }
    }
    Ok(fetch)
}

fn forget_broken(
    connection: &Connection,
    fitting: &BTreeSet<u64>,
    misfits: &BTreeSet<u64>,
) -> Result<(), StoreError> {
    let sql = "SELECT number FROM _broken";
    let mut statement = connection.prepare_cached(sql)?;
    let numbers = statement.query_map([], |row| row.get::<_, i64>(0))?;
    let numbers: Vec<i64> = numbers.collect::<Result<_, _>>()?;
    for number in numbers {
        let place = number.cast_unsigned();
        if fitting.contains(&place) && !misfits.contains(&place) {
            connection
                .prepare_cached("DELETE FROM _broken WHERE number = ?1")?
                .execute([number])?;
        }
    }
    Ok(())
}

/// Documents that did not fit, not even as a whole.
pub(crate) fn broken(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM _broken WHERE attempts > 1";
    let count: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// Documents that are still to be fetched, as after a connection ended or a new schema came.
pub(crate) fn to_fetch(connection: &Connection, limit: usize) -> Result<Vec<u64>, StoreError> {
    let sql = "SELECT number FROM _broken WHERE attempts = 1 ORDER BY number LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let numbers = statement.query_map([limit], |row| row.get::<_, i64>(0))?;
    Ok(numbers.map(|number| number.map(i64::cast_unsigned)).collect::<Result<_, _>>()?)
}

/// Gives broken documents another try.
pub(crate) fn try_broken_again(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("UPDATE _broken SET attempts = 1", [])?;
    Ok(())
}

/// Notes documents that are to be fetched whole.
pub(crate) fn want(connection: &Connection, numbers: &[u64]) -> Result<(), StoreError> {
    for number in numbers {
        let sql = "INSERT INTO _broken (number, attempts) VALUES (?1, 1)
                   ON CONFLICT (number) DO UPDATE SET attempts = 1";
        connection.prepare_cached(sql)?.execute([number.cast_signed()])?;
    }
    Ok(())
}
