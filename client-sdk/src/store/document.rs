//! Documents as stored: a record's sections with their cells, and the changes written to them.

mod change;

use std::collections::BTreeMap;

use crdt_core::id::{ChangeHash, RecordId, Section};
use crdt_core::planted::{Bug, planted};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Cells, Change, Document, EncodedChange};
use rusqlite::{Connection, OptionalExtension, Row};

use super::projection::{self, Shown};
use super::{Session, State};
use crate::error::StoreError;

pub(crate) use change::{ACCEPTED, Form, Fresh, KEPT, NewSnapshot, PENDING, StoredChange};

/// A record as this device holds it.
#[derive(Debug, Clone)]
pub(crate) struct HeldRecord {
    pub(crate) id: RecordId,
    pub(crate) entity: String,
    pub(crate) documents: BTreeMap<Section, Held>,
    /// What the tables showed when it was read.
    shown: Shown,
}

/// One document as this device holds it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    /// Its row; nothing until it is stored.
    pub(crate) row: Option<i64>,
    pub(crate) number: Option<u64>,
    /// What it says, unanswered changes included.
    pub(crate) cells: Cells,
    /// What it says without them; nothing when there are none.
    pub(crate) base: Option<Cells>,
    /// Left the device's scopes; its row names unanswered changes only.
    pub(crate) gone: bool,
    /// Bytes of change rows after the snapshot.
    pub(crate) tail: u64,
    /// The position up to which what is accepted of it was accepted.
    pub(crate) seen: u64,
    /// Changes to be stored with it.
    pub(crate) fresh: Vec<Fresh>,
    /// Rows of unanswered changes that turned out to be accepted.
    pub(crate) promoted: Vec<i64>,
    /// A snapshot to be stored in place of the old one and of the accepted changes after it.
    pub(crate) snapshot: Option<NewSnapshot>,
    /// What undo is to need of its record from now on.
    pub(crate) undo: Option<String>,
    /// Whether the bytes of a change of it may be left out, since the stored cells tell them.
    told: bool,
    /// Whether its row differs from what is stored.
    pub(crate) dirty: bool,
}

impl HeldRecord {
    /// A record that is not here yet.
    pub(crate) fn new(id: RecordId, entity: &str) -> Self {
        let documents = BTreeMap::new();
        Self { id, entity: entity.to_owned(), documents, shown: Shown::default() }
    }

    /// The document that makes the record exist here.
    pub(crate) fn main(&self) -> Option<&Held> {
        self.documents.get(&Section::main()).filter(|main| !main.gone && !main.cells.is_empty())
    }

    /// The sections with something in them, `main` first: the order in which a batch names them.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Section, &Held)> {
        let main = self.documents.iter().filter(|(section, _)| section.is_main());
        let others = self.documents.iter().filter(|(section, _)| !section.is_main());
        main.chain(others).filter(|(_, held)| !held.gone && !held.cells.is_empty())
    }

    /// Whether changes of it are unanswered.
    pub(crate) fn is_pending(&self) -> bool {
        self.documents.values().any(|held| held.base.is_some() && !held.gone)
    }

    /// Reads a record with everything the device has of it.
    pub(crate) fn read(
        connection: &Connection,
        state: &State,
        id: RecordId,
    ) -> Result<Option<Self>, StoreError> {
        let Some(mut record) = Self::read_cells(connection, id)? else { return Ok(None) };
        record.shown = Shown::of(state, &record);
        Ok(Some(record))
    }

    /// Reads a record that is not going to be written.
    pub(crate) fn read_cells(
        connection: &Connection,
        id: RecordId,
    ) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT section, entity, id, number, cells, base, gone, tail, seen
                   FROM document WHERE record = ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([id.as_bytes()])?;
        let mut record: Option<Self> = None;
        while let Some(row) = rows.next()? {
            let entity: String = row.get(1)?;
            let held = Held::from_row(row)?;
            let record = record.get_or_insert_with(|| Self::new(id, &entity));
            record.documents.insert(section_of(&row.get::<_, String>(0)?)?, held);
        }
        Ok(record)
    }

    /// Stores what differs, with its rows in every table that shows it. New changes belong to `batch`.
    pub(crate) fn save(
        &mut self,
        session: &mut Session<'_>,
        batch: Option<i64>,
    ) -> Result<(), StoreError> {
        let mut sections: Vec<&Section> = self.documents.keys().collect();
        sections.sort_by_key(|section| !section.is_main());
        let sections: Vec<Section> = sections.into_iter().cloned().collect();
        for section in sections {
            let Some(held) = self.documents.get_mut(&section) else { continue };
            held.save(&session.tx, self.id, &section, &self.entity, batch)?;
        }
        if batch.is_none() && self.is_pending() && planted(Bug::ProjectionStale) {
            return Ok(());
        }
        self.refresh(session)
    }

    /// Brings the tables that show the record up to date.
    pub(crate) fn refresh(&mut self, session: &mut Session<'_>) -> Result<(), StoreError> {
        let now = Shown::of(&session.state, self);
        projection::store(session, self, &now)?;
        self.shown = now;
        Ok(())
    }

    /// What the tables show of it.
    pub(crate) fn shown(&self) -> &Shown {
        &self.shown
    }

    /// Forgets a document: its row, its snapshot and its changes.
    pub(crate) fn remove(
        &mut self,
        connection: &Connection,
        section: &Section,
    ) -> Result<(), StoreError> {
        if let Some(row) = self.documents.remove(section).and_then(|held| held.row) {
            connection.prepare_cached("DELETE FROM document WHERE id = ?1")?.execute([row])?;
        }
        Ok(())
    }
}

impl Held {
    fn from_row(row: &Row<'_>) -> Result<Self, StoreError> {
        let cells = row.get_ref(4)?.as_blob().map_err(|_| StoreError::Malformed("cells"))?;
        let base = row.get_ref(5)?.as_blob_or_null().map_err(|_| StoreError::Malformed("base"))?;
        Ok(Self {
            row: Some(row.get(2)?),
            number: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
            cells: Cells::from_stored(cells)?,
            base: base.map(Cells::from_stored).transpose()?,
            gone: row.get(6)?,
            tail: row.get::<_, i64>(7)?.cast_unsigned(),
            seen: row.get::<_, i64>(8)?.cast_unsigned(),
            fresh: Vec::new(),
            promoted: Vec::new(),
            snapshot: None,
            undo: None,
            told: row.get_ref(7)?.as_i64().is_ok_and(|tail| tail == 0),
            dirty: false,
        })
    }

    /// Notes changes that were just written on this device; `before` is what the document said.
    pub(crate) fn wrote(&mut self, before: &Cells, written: Vec<(Change, EncodedChange)>) {
        if written.is_empty() {
            return;
        }
        self.base.get_or_insert_with(|| before.clone());
        self.dirty = true;
        let fresh =
            written.into_iter().map(|(change, encoded)| Fresh { change, encoded, accepted: false });
        self.fresh.extend(fresh);
    }

    fn save(
        &mut self,
        connection: &Connection,
        record: RecordId,
        section: &Section,
        entity: &str,
        batch: Option<i64>,
    ) -> Result<(), StoreError> {
        if !self.dirty {
            return Ok(());
        }
        if let Some(row) = self.row.filter(|_| self.told) {
            self.tail += change::put_bytes(connection, row)?;
            self.told = false;
        }
        let told = self.tells_all();
        let grown: usize = self.fresh.iter().map(|fresh| fresh.encoded.bytes.len()).sum();
        self.tail = if self.snapshot.is_some() { 0 } else { self.tail };
        self.tail += if told { 0 } else { grown as u64 };
        let cells = self.cells.to_stored();
        let base = self.base.as_ref().map(Cells::to_stored);
        let number = self.number.map(u64::cast_signed);
        let (tail, seen) = (self.tail.cast_signed(), self.seen.cast_signed());
        let undo = self.undo.take();
        let row = if let Some(row) = self.row {
            let sql =
                "UPDATE document SET number = ?2, cells = ?3, base = ?4, gone = ?5, tail = ?6,
                                           seen = ?7, undo = coalesce(?8, undo)
                       WHERE id = ?1";
            let values = (row, number, cells, base, self.gone, tail, seen, undo);
            connection.prepare_cached(sql)?.execute(values)?;
            row
        } else {
            let sql = "INSERT INTO document
                           (record, section, entity, number, cells, base, gone, tail, seen, undo)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            let name = section.as_str();
            let values =
                (record.as_bytes(), name, entity, number, cells, base, self.gone, tail, seen, undo);
            connection.prepare_cached(sql)?.execute(values)?;
            connection.last_insert_rowid()
        };
        (self.row, self.told) = (Some(row), told);
        let form = if told { Form::Told } else { Form::Whole };
        for fresh in self.fresh.drain(..) {
            fresh.save(connection, row, batch, form)?;
        }
        for change in self.promoted.drain(..) {
            let sql = "UPDATE change SET state = 1 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute([change])?;
        }
        if let Some(snapshot) = self.snapshot.take() {
            snapshot.save(connection, row)?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Whether it is about to be stored for the first time, with one change that the server has and that its
    /// cells tell.
    fn tells_all(&self) -> bool {
        let [fresh] = self.fresh.as_slice() else { return false };
        let is_new = self.row.is_none() && self.base.is_none() && self.snapshot.is_none();
        is_new && fresh.accepted && self.cells.tell(&fresh.change)
    }

    /// Whether changes of it are stored that the server has not answered.
    pub(crate) fn has_pending(&self, connection: &Connection) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM change WHERE document = ?1 AND state = 0)";
        Ok(connection.prepare_cached(sql)?.query_row([self.row], |row| row.get(0))?)
    }

    /// Its change rows in the order in which they were stored.
    pub(crate) fn changes(&self, connection: &Connection) -> Result<Vec<StoredChange>, StoreError> {
        let Some(document) = self.row else { return Ok(Vec::new()) };
        let sql = "SELECT id, state, hash, bytes FROM change WHERE document = ?1 ORDER BY id";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([document])?;
        let mut changes = Vec::new();
        while let Some(row) = rows.next()? {
            changes.push(StoredChange::from_row(row)?);
        }
        change::fill_in(connection, document, &mut changes)?;
        Ok(changes)
    }

    /// Loads the real document: the snapshot, the stored changes that `wanted` picks, then those that are
    /// not stored yet, unless only accepted ones are wanted.
    pub(crate) fn load(
        &self,
        connection: &Connection,
        purpose: Purpose,
        wanted: Wanted,
    ) -> Result<Document, StoreError> {
        let snapshot = self.snapshot(connection)?;
        let stored = self.changes(connection)?;
        let picked = stored
            .iter()
            .filter(|change| change.state != KEPT || snapshot.is_none())
            .filter(|change| match wanted {
                Wanted::Everything => true,
                Wanted::Accepted => change.state != PENDING || self.promoted.contains(&change.row),
                Wanted::Before(row) => change.state != PENDING || change.row < row,
            })
            .map(|change| &change.bytes[..]);
        let fresh = self
            .fresh
            .iter()
            .filter(|fresh| wanted == Wanted::Everything || fresh.accepted)
            .map(|fresh| &fresh.encoded.bytes[..]);
        Ok(Document::load(purpose, snapshot.as_deref(), picked.chain(fresh))?)
    }

    fn snapshot(&self, connection: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
        let mut statement =
            connection.prepare_cached("SELECT bytes FROM _snapshot WHERE document = ?1")?;
        Ok(statement.query_row([self.row], |row| row.get(0)).optional()?)
    }

    /// The heads of the snapshot, which later changes may depend on.
    pub(crate) fn snapshot_heads(
        &self,
        connection: &Connection,
    ) -> Result<Vec<ChangeHash>, StoreError> {
        let mut statement =
            connection.prepare_cached("SELECT heads FROM _snapshot WHERE document = ?1")?;
        let heads: Option<Vec<u8>> =
            statement.query_row([self.row], |row| row.get(0)).optional()?;
        let heads = heads.unwrap_or_default();
        let (heads, _) = heads.as_chunks::<32>();
        Ok(heads.iter().map(|hash| ChangeHash(*hash)).collect())
    }

    /// What each text says that `changes` touch, read from the real document into the cells (and into the
    /// base, when there is one).
    pub(crate) fn refresh_texts(
        &mut self,
        connection: &Connection,
        fields: &[String],
    ) -> Result<(), StoreError> {
        if fields.is_empty() {
            return Ok(());
        }
        let everything = self.load(connection, Purpose::Text, Wanted::Everything)?;
        for field in fields {
            self.cells.set_text(field, everything.text(field)?);
        }
        if self.base.is_some() && !planted(Bug::TextBaseStale) {
            let accepted = self.load(connection, Purpose::Text, Wanted::Accepted)?;
            for field in fields {
                let contents = accepted.text(field)?;
                if let Some(base) = &mut self.base {
                    base.set_text(field, contents);
                }
            }
        }
        Ok(())
    }
}

/// Which changes of a document are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All.
    Everything,
    /// Only those that the server has.
    Accepted,
    /// Those that the server has, and the unanswered ones that were stored before this row.
    Before(i64),
}

/// The record of a document that the server numbered.
pub(crate) fn numbered(
    connection: &Connection,
    number: u64,
) -> Result<Option<(RecordId, Section)>, StoreError> {
    let sql = "SELECT record, section FROM document WHERE number = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([number.cast_signed()], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?))
    });
    match found.optional()? {
        None => Ok(None),
        Some((record, section)) => Ok(Some((record_of(&record)?, section_of(&section)?))),
    }
}

/// A document's identity by its row.
pub(crate) fn identity(
    connection: &Connection,
    row: i64,
) -> Result<Option<(RecordId, Section)>, StoreError> {
    let sql = "SELECT record, section FROM document WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found =
        statement.query_row([row], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)));
    match found.optional()? {
        None => Ok(None),
        Some((record, section)) => Ok(Some((record_of(&record)?, section_of(&section)?))),
    }
}

pub(crate) fn record_of(bytes: &[u8]) -> Result<RecordId, StoreError> {
    RecordId::try_from(bytes).map_err(|_| StoreError::Malformed("record id"))
}

pub(crate) fn section_of(name: &str) -> Result<Section, StoreError> {
    name.parse().map_err(|_| StoreError::Malformed("section"))
}
