//! The outbox: batches in order, rebuilt for sending from their change rows; and who writes under actors.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crdt_core::id::{BatchId, ChangeHash, DocumentId, MemberId, ReplicaId};
use crdt_core::limits;
use crdt_core::protocol::{Batch, DocumentChanges, DocumentRef, Identity, SentChange};
use crdt_core::record::Cells;
use crdt_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::accounting::{self, Count};
use super::document::{StoredChange, record_of, section_of};
use super::{Author, Session, State, fixed, relay, withheld};
use crate::error::StoreError;
use crate::unsent::Unsent;

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutboxRow {
    pub(crate) number: i64,
    pub(crate) batch: BatchId,
    pub(crate) stamp: Stamp,
    pub(crate) schema_version: u64,
    pub(crate) policy_version: u64,
}

/// When an edit was made, by each clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The corrected time that the edit carries.
    pub(crate) time: Timestamp,
    pub(crate) wall: Timestamp,
    pub(crate) monotonic_ms: u64,
    pub(crate) boot: [u8; 16],
    /// What was added to the wall clock; nothing when the offset was not known.
    pub(crate) offset: Option<i64>,
}

/// Stores a batch that is about to get its changes, and gives its number.
pub(crate) fn insert(
    session: &mut Session<'_>,
    batch: BatchId,
    stamp: &Stamp,
    byte_len: usize,
) -> Result<i64, StoreError> {
    let sql = "INSERT INTO outbox (batch, created_at, wall, monotonic, boot, clock_offset,
                                   schema_version, policy_version, bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    session.tx.prepare_cached(sql)?.execute((
        &batch.0,
        stamp.time.as_millis(),
        stamp.wall.as_millis(),
        stamp.monotonic_ms.cast_signed(),
        &stamp.boot,
        stamp.offset,
        session.state.schema.version().cast_signed(),
        session.state.meta.policy_version.cast_signed(),
        i64::try_from(byte_len).unwrap_or(i64::MAX),
    ))?;
    session.changes.table("outbox");
    session.changes.local = true;
    Ok(session.tx.last_insert_rowid())
}

const COLUMNS: &str = "number, batch, created_at, wall, monotonic, boot, clock_offset, schema_version, policy_version";

impl OutboxRow {
    fn from_row(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            number: row.get(0)?,
            batch: BatchId(fixed(&row.get::<_, Vec<u8>>(1)?, "batch id")?),
            stamp: Stamp {
                time: Timestamp::from_millis(row.get(2)?),
                wall: Timestamp::from_millis(row.get(3)?),
                monotonic_ms: row.get::<_, i64>(4)?.cast_unsigned(),
                boot: fixed(&row.get::<_, Vec<u8>>(5)?, "boot")?,
                offset: row.get(6)?,
            },
            schema_version: row.get::<_, i64>(7)?.cast_unsigned(),
            policy_version: row.get::<_, i64>(8)?.cast_unsigned(),
        })
    }
}

/// Every batch that the server has not answered, in order, from `after` on.
pub(crate) fn unsent_rows(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<OutboxRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM outbox WHERE state = 0 AND number > ?1 ORDER BY number LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((after, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(OutboxRow::from_row(row)?);
    }
    Ok(found)
}

/// A batch without an answer by its number, if it can be read.
pub(crate) fn unanswered(connection: &Connection, number: i64) -> Option<OutboxRow> {
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE number = ?1 AND state = 0");
    let mut statement = connection.prepare_cached(&sql).ok()?;
    let mut rows = statement.query([number]).ok()?;
    OutboxRow::from_row(rows.next().ok()??).ok()
}

/// Spends a number on a batch that is in the outbox no more, so that the account counts it.
pub(crate) fn spend_number(session: &Session<'_>, batch: &[u8]) -> Result<(), StoreError> {
    let sql = "INSERT INTO outbox (batch, created_at, wall, monotonic, boot, schema_version,
                                   policy_version, bytes)
               VALUES (?1, 0, 0, 0, zeroblob(16), 0, 0, 0)";
    session.tx.prepare_cached(sql)?.execute([batch])?;
    session.tx.prepare_cached("DELETE FROM outbox WHERE batch = ?1")?.execute([batch])?;
    Ok(())
}

/// A batch by its name, and whether it was accepted.
pub(crate) fn find(
    connection: &Connection,
    batch: &BatchId,
) -> Result<Option<(OutboxRow, bool)>, StoreError> {
    let sql = format!("SELECT {COLUMNS}, state FROM outbox WHERE batch = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([&batch.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((OutboxRow::from_row(row)?, row.get::<_, i64>(9)? == 1)))
}

/// A change of a batch, with the document that it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct BatchChange {
    pub(crate) document: i64,
    pub(crate) id: DocumentId,
    pub(crate) entity: String,
    pub(crate) number: Option<u64>,
    pub(crate) stored: StoredChange,
}

/// The changes of a batch in the order in which they were written, those that make records first.
pub(crate) fn changes_of(
    connection: &Connection,
    number: i64,
) -> Result<Vec<BatchChange>, StoreError> {
    let sql = "SELECT c.id, c.state, c.hash, c.bytes,
                      d.id, d.record, d.section, d.entity, d.number
               FROM change c JOIN document d ON d.id = c.document
               WHERE c.batch = ?1 ORDER BY d.section != 'main', c.id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([number])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        changes.push(BatchChange {
            document: row.get(4)?,
            id: DocumentId {
                record: record_of(&row.get::<_, Vec<u8>>(5)?)?,
                section: section_of(&row.get::<_, String>(6)?)?,
            },
            entity: row.get(7)?,
            number: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
            stored: StoredChange::from_row(row)?,
        });
    }
    Ok(changes)
}

/// What a document says, for reading its changes.
pub(crate) fn cells_of(connection: &Connection, document: i64) -> Result<Cells, StoreError> {
    let mut statement = connection.prepare_cached("SELECT cells FROM document WHERE id = ?1")?;
    let cells: Option<Vec<u8>> = statement.query_row([document], |row| row.get(0)).optional()?;
    Ok(Cells::from_stored(&cells.unwrap_or_default())?)
}

/// Batches to send, in order: at most `batches_max`, and `bytes_max` unless the first alone is larger.
pub(crate) fn to_send(
    connection: &Connection,
    state: &State,
    after: u64,
    batches_max: usize,
    bytes_max: usize,
) -> Result<Vec<Batch>, StoreError> {
    let mut batches = Vec::new();
    let mut bytes = 0;
    let mut after = i64::try_from(after).unwrap_or(i64::MAX);
    let batches_max = batches_max.min(limits::PUSH_BATCHES_MAX);
    let mut withheld = withheld::all(connection)?;
    withheld.extend(relay::held_back(connection)?);
    loop {
        // What is withheld holds up nothing that stands behind it.
        let rows = unsent_rows(connection, after, batches_max.max(1))?;
        let Some(last) = rows.last() else { return Ok(batches) };
        after = last.number;
        for row in rows.iter().filter(|row| !withheld.contains(&row.number)) {
            let batch = rebuild(connection, state, row)?;
            bytes += batch.byte_len();
            let full = bytes > bytes_max && !batches.is_empty();
            if full || batches.len() >= batches_max {
                return Ok(batches);
            }
            batches.push(batch);
        }
    }
}

fn rebuild(connection: &Connection, state: &State, row: &OutboxRow) -> Result<Batch, StoreError> {
    let mut documents: Vec<(i64, DocumentChanges)> = Vec::new();
    let mut cells: BTreeMap<i64, Cells> = BTreeMap::new();
    let mut last: BTreeMap<i64, ChangeHash> = BTreeMap::new();
    for change in changes_of(connection, row.number)? {
        let known = match cells.entry(change.document) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(cells_of(connection, change.document)?),
        };
        let entity = state.entity(&change.entity);
        let read = change.stored.read(entity, known)?;
        let before = last.insert(change.document, change.stored.hash);
        let sent = SentChange::new(&read, &change.stored.hash, before.as_ref());
        match documents.iter_mut().find(|(document, _)| *document == change.document) {
            Some((_, document)) => document.changes.push(sent),
            None => {
                let document =
                    DocumentChanges { document: reference(&change), changes: vec![sent] };
                documents.push((change.document, document));
            }
        }
    }
    Ok(Batch {
        id: row.batch,
        number: row.number.cast_unsigned(),
        schema_version: row.schema_version,
        policy_version: row.policy_version,
        documents: documents.into_iter().map(|(_, document)| document).collect(),
    })
}

fn reference(change: &BatchChange) -> DocumentRef {
    match change.number {
        Some(number) => DocumentRef::Number(number),
        None => {
            DocumentRef::Identity(Identity { id: change.id.clone(), entity: change.entity.clone() })
        }
    }
}

/// How much the server has not answered.
pub(crate) fn unsent(connection: &Connection) -> Result<Unsent, StoreError> {
    let sql =
        "SELECT count(*), coalesce(sum(bytes), 0), min(created_at) FROM outbox WHERE state = 0";
    let (batches, bytes, oldest): (i64, i64, Option<i64>) = connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    // A document has an accepted state of its own as long as changes of it are unanswered.
    let sql = "SELECT count(DISTINCT record) FROM document WHERE base IS NOT NULL";
    let records: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(Unsent {
        records: records.cast_unsigned(),
        batches: batches.cast_unsigned(),
        bytes: bytes.cast_unsigned(),
        oldest: oldest.map(Timestamp::from_millis),
    })
}

/// Marks a batch accepted.
pub(crate) fn accept(
    session: &mut Session<'_>,
    number: i64,
    position: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET state = 1, position = ?2, accepted_at = ?3, hold = 0
               WHERE number = ?1";
    let values = (number, position.cast_signed(), now.as_millis());
    session.tx.prepare_cached(sql)?.execute(values)?;
    accounting::add(&session.tx, Count::Accepted, 1)?;
    session.changes.table("outbox");
    Ok(())
}

/// Takes a batch out of the outbox; its changes were taken out before.
pub(crate) fn remove(session: &mut Session<'_>, number: i64) -> Result<(), StoreError> {
    session.tx.prepare_cached("DELETE FROM outbox WHERE number = ?1")?.execute([number])?;
    session.changes.table("outbox");
    Ok(())
}

/// Takes the batches out of which an erasure left nothing: they are counted nowhere any more.
pub(crate) fn erase_empty(session: &mut Session<'_>) -> Result<(), StoreError> {
    let sql = "DELETE FROM outbox WHERE state = 0
               AND NOT EXISTS (SELECT 1 FROM change WHERE change.batch = outbox.number)
               RETURNING batch, created_at";
    let mut statement = session.tx.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut erased = Vec::new();
    while let Some(row) = rows.next()? {
        let batch = BatchId(fixed(&row.get::<_, Vec<u8>>(0)?, "batch id")?);
        erased.push((batch, Timestamp::from_millis(row.get(1)?)));
    }
    drop(rows);
    drop(statement);
    for (batch, created_at) in &erased {
        accounting::note_erased(&session.tx, batch, *created_at)?;
    }
    accounting::add(&session.tx, Count::Erased, i64::try_from(erased.len()).unwrap_or(i64::MAX))?;
    session.changes.table("outbox");
    Ok(())
}

/// Accepted batches are kept for a restored server; this long after that they serve nobody, milliseconds.
const KEPT_MS_MAX: i64 = 30 * 24 * 60 * 60 * 1_000;

/// Forgets accepted batches that the server has backed up, or that are 30 days old: at most `limit` of them.
pub(crate) fn prune(
    session: &mut Session<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let sql = "SELECT number FROM outbox
               WHERE state = 1 AND (position <= ?1 OR accepted_at <= ?2) ORDER BY number LIMIT ?3";
    let backed_up = session.state.meta.backed_up_to.cast_signed();
    let old = now.as_millis().saturating_sub(KEPT_MS_MAX);
    let resolved = "DELETE FROM resolution WHERE resolved_at <= ?1";
    session.tx.prepare_cached(resolved)?.execute([old])?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = session.tx.prepare_cached(sql)?;
    let numbers = statement.query_map((backed_up, old, limit), |row| row.get(0))?;
    let numbers: Vec<i64> = numbers.collect::<Result<_, _>>()?;
    for number in &numbers {
        let sql = "DELETE FROM change WHERE batch = ?1 AND state = 2";
        session.tx.prepare_cached(sql)?.execute([number])?;
        let sql = "UPDATE change SET batch = NULL WHERE batch = ?1";
        session.tx.prepare_cached(sql)?.execute([number])?;
        session.tx.prepare_cached("DELETE FROM outbox WHERE number = ?1")?.execute([number])?;
    }
    Ok(numbers.len())
}

/// After the server was restored: batches accepted beyond `position` are sent again.
pub(crate) fn send_again(session: &mut Session<'_>, position: u64) -> Result<usize, StoreError> {
    let sql = "UPDATE outbox SET state = 0, accepted_at = NULL, strandings = 0
               WHERE state = 1 AND position > ?1";
    let again = session.tx.prepare_cached(sql)?.execute([position.cast_signed()])?;
    let count = i64::try_from(again).unwrap_or(i64::MAX);
    accounting::add(&session.tx, Count::Accepted, count.saturating_neg())?;
    Ok(again)
}

/// Notes who writes under a replica's actors.
pub(crate) fn store_author(
    connection: &Connection,
    replica: ReplicaId,
    author: &Author,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO actor (replica, member, name) VALUES (?1, ?2, ?3)
               ON CONFLICT (replica) DO UPDATE SET member = excluded.member, name = excluded.name";
    let values = (&replica.0, author.member.as_bytes(), &author.name);
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

pub(crate) fn read_authors(
    connection: &Connection,
) -> Result<BTreeMap<ReplicaId, Author>, StoreError> {
    let mut statement = connection.prepare("SELECT replica, member, name FROM actor")?;
    let mut rows = statement.query([])?;
    let mut authors = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let replica = ReplicaId(fixed(&row.get::<_, Vec<u8>>(0)?, "replica")?);
        let member = fixed(&row.get::<_, Vec<u8>>(1)?, "member")?;
        let member = MemberId(uuid::Uuid::from_bytes(member));
        authors.insert(replica, Author { member, name: row.get(2)? });
    }
    Ok(authors)
}

/// The unanswered batches, from `after` on, that change any of these documents.
pub(crate) fn later_on(
    connection: &Connection,
    after: i64,
    document: i64,
) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT DISTINCT batch FROM change
               WHERE document = ?1 AND state = 0 AND batch > ?2 ORDER BY batch";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map((document, after), |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}
