//! The documents of a rebase: their changes written again, and the cells that follow.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{ActorId, ChangeHash, RecordId, Section};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Again, Cells, Change, Document, Fate, Reauthor, Unanswered, reauthor};
use crdt_core::schema::Entity;
use rusqlite::Connection;

use super::{Fall, texts_of};
use crate::error::StoreError;
use crate::store::document::{Form, Fresh, Held, HeldRecord, PENDING, StoredChange, Wanted};

/// Everything that was written again.
#[derive(Default)]
pub(super) struct Rewriting {
    pub(super) records: BTreeMap<RecordId, HeldRecord>,
    /// By the document's row.
    pub(super) documents: BTreeMap<i64, Written>,
}

/// A document's changes, written again.
pub(super) struct Written {
    id: RecordId,
    section: Section,
    /// Each with the batch that it belongs to.
    changes: Vec<(i64, Again)>,
    /// What the document says now.
    cells: Cells,
    /// Whether changes of it are still unanswered.
    waits: bool,
}

/// A document that is to be rewritten.
pub(super) struct Place<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: RecordId,
    pub(super) section: &'a Section,
    pub(super) entity: Option<&'a Entity>,
    pub(super) held: &'a Held,
}

/// How far its accepted changes reached, as far as is known.
struct Past<'a> {
    connection: &'a Connection,
    held: &'a Held,
    rows: BTreeMap<ChangeHash, u64>,
    /// The history, loaded when it must be.
    history: OnceCell<BTreeMap<ChangeHash, u64>>,
}

impl<'a> Past<'a> {
    fn of(place: &Place<'a>) -> Result<Self, StoreError> {
        let Place { connection, held, .. } = *place;
        let sql = "SELECT hash, max_op FROM change WHERE document = ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement
            .query_map([held.row], |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, i64>(1)?)))?;
        let mut rows = BTreeMap::new();
        for row in found {
            let (hash, max_op) = row?;
            rows.insert(ChangeHash(hash), max_op.cast_unsigned());
        }
        Ok(Self { connection, held, rows, history: OnceCell::new() })
    }

    fn max_op(&self, hash: &ChangeHash) -> Option<u64> {
        if let Some(max_op) = self.rows.get(hash) {
            return Some(*max_op);
        }
        let accepted = self.held.base.as_ref().unwrap_or(&self.held.cells);
        if accepted.heads() == [*hash] {
            return Some(accepted.max_op());
        }
        // What cannot be loaded is not known: the caller says so of the batches that need it.
        let load = || {
            let document = self.held.load(self.connection, Purpose::Verify, Wanted::Accepted);
            let changes = document.ok().and_then(|document: Document| document.changes().ok());
            let changes = changes.unwrap_or_default().into_iter();
            changes.map(|(change, encoded)| (encoded.hash, change.max_op())).collect()
        };
        self.history.get_or_init(load).get(hash).copied()
    }
}

impl Place<'_> {
    /// Writes the changes again under `actor`, on top of what is accepted and of earlier ones that stay as
    /// they are. Nothing when their past is not known any more.
    pub(super) fn write_again(
        &self,
        actor: ActorId,
        changes: &[(i64, Change, StoredChange)],
        falls: &BTreeMap<i64, Fall>,
    ) -> Result<Option<Written>, StoreError> {
        let (base, earlier) = self.before(changes)?;
        let unanswered: Vec<Unanswered> = changes
            .iter()
            .map(|(number, change, stored)| Unanswered {
                change: change.clone(),
                hash: stored.hash,
                fate: if falls.contains_key(number) { Fate::Fallen } else { Fate::Kept },
            })
            .collect();
        let (id, section) = (self.id, self.section.clone());
        if unanswered.iter().all(|one| one.fate == Fate::Fallen) {
            let changes = Vec::new();
            return Ok(Some(Written { id, section, changes, cells: base, waits: earlier }));
        }
        let past = Past::of(self)?;
        let max_op = |hash: &ChangeHash| past.max_op(hash);
        let how = Reauthor { actor, time: &|time| time, max_op: &max_op };
        let Ok(again) = reauthor(&how, &base, &unanswered) else { return Ok(None) };
        let waits = earlier || !again.changes.is_empty();
        let of_batch = |again: Again| (changes[again.place].0, again);
        let changes = again.changes.into_iter().map(of_batch).collect();
        Ok(Some(Written { id, section, changes, cells: again.cells, waits }))
    }

    /// What the document says without these changes, and whether that includes earlier unanswered ones.
    fn before(&self, changes: &[(i64, Change, StoredChange)]) -> Result<(Cells, bool), StoreError> {
        let mut base = self.held.base.clone().unwrap_or_default();
        let concerned: BTreeSet<i64> = changes.iter().map(|(.., stored)| stored.row).collect();
        let mut earlier = false;
        for stored in self.held.changes(self.connection)? {
            if stored.state == PENDING && !concerned.contains(&stored.row) {
                base.apply(&stored.read(self.entity, &self.held.cells)?, stored.hash);
                earlier = true;
            }
        }
        Ok((base, earlier))
    }
}

impl Rewriting {
    /// Whether anything of a batch is left.
    pub(super) fn has_any(&self, batch: i64) -> bool {
        self.documents.values().flat_map(|written| &written.changes).any(|(of, _)| *of == batch)
    }

    /// Stores the changes of a batch to a document.
    pub(super) fn store(
        &self,
        connection: &Connection,
        document: i64,
        batch: i64,
    ) -> Result<(), StoreError> {
        let Some(written) = self.documents.get(&document) else { return Ok(()) };
        for (_, again) in written.changes.iter().filter(|(of, _)| *of == batch) {
            let (change, encoded) = (again.change.clone(), again.encoded.clone());
            let fresh = Fresh { change, encoded, accepted: false };
            fresh.save(connection, document, Some(batch), Form::Whole)?;
        }
        Ok(())
    }

    /// The documents say what is accepted, and what is still unanswered on top of it.
    pub(super) fn return_documents(&mut self, connection: &Connection) -> Result<(), StoreError> {
        for written in self.documents.values() {
            let Some(record) = self.records.get_mut(&written.id) else { continue };
            let Some(held) = record.documents.get_mut(&written.section) else { continue };
            let empty = held.gone || held.base.as_ref().is_none_or(Cells::is_empty);
            if !written.waits && empty {
                record.remove(connection, &written.section)?;
                continue;
            }
            let stored = held.changes(connection)?;
            held.tail = stored.iter().map(|change| change.bytes.len() as u64).sum();
            held.dirty = true;
            if held.gone {
                continue;
            }
            held.cells = written.cells.clone();
            if written.waits {
                let texts = texts_of(held);
                held.refresh_texts(connection, &texts)?;
            } else {
                held.base = None;
            }
        }
        Ok(())
    }
}
