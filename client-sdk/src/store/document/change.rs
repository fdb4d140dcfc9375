//! The rows of a document's history: changes after the snapshot, and the snapshot.

use crdt_core::id::ChangeHash;
use crdt_core::record::{Cells, Change, EncodedChange, SeedKind, seed};
use crdt_core::schema::{Entity, FieldKind};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::StoreError;
use crate::store::fixed;
use crate::store::outbox::cells_of;

/// A snapshot to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewSnapshot {
    pub(crate) heads: Vec<ChangeHash>,
    pub(crate) bytes: Vec<u8>,
}

/// A change to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Fresh {
    pub(crate) change: Change,
    pub(crate) encoded: EncodedChange,
    pub(crate) accepted: bool,
}

/// How a change is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With its bytes.
    Whole,
    /// Without them: the cells of its document tell it.
    Told,
}

/// A change row.
#[derive(Debug, Clone)]
pub(crate) struct StoredChange {
    pub(crate) row: i64,
    pub(crate) state: i64,
    pub(crate) hash: ChangeHash,
    pub(crate) bytes: Vec<u8>,
}

/// States of a change row.
pub(crate) const PENDING: i64 = 0;
pub(crate) const ACCEPTED: i64 = 1;
pub(crate) const KEPT: i64 = 2;

impl NewSnapshot {
    /// Takes the place of the old one; accepted changes are in it, and are kept for their batches only.
    pub(crate) fn save(&self, connection: &Connection, document: i64) -> Result<(), StoreError> {
        let heads: Vec<u8> = self.heads.iter().flat_map(|head| head.0).collect();
        let sql = "INSERT INTO _snapshot (document, heads, bytes) VALUES (?1, ?2, ?3)
                   ON CONFLICT (document) DO UPDATE
                   SET heads = excluded.heads, bytes = excluded.bytes";
        connection.prepare_cached(sql)?.execute((document, heads, &self.bytes))?;
        let sql = "DELETE FROM change WHERE document = ?1 AND state = 1 AND batch IS NULL";
        connection.prepare_cached(sql)?.execute([document])?;
        let sql = "UPDATE change SET state = 2 WHERE document = ?1 AND state = 1";
        connection.prepare_cached(sql)?.execute([document])?;
        Ok(())
    }
}

impl Fresh {
    pub(crate) fn save(
        &self,
        connection: &Connection,
        document: i64,
        batch: Option<i64>,
        form: Form,
    ) -> Result<(), StoreError> {
        let bytes = if form == Form::Told { &[][..] } else { &self.encoded.bytes };
        let sql = "INSERT INTO change (document, batch, state, hash, actor, seq, max_op, bytes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let (batch, state) = if self.accepted { (None, ACCEPTED) } else { (batch, PENDING) };
        connection.prepare_cached(sql)?.execute((
            document,
            batch,
            state,
            &self.encoded.hash.0,
            &self.change.actor.0,
            self.change.seq.cast_signed(),
            self.change.max_op().cast_signed(),
            bytes,
        ))?;
        Ok(())
    }
}

impl StoredChange {
    pub(crate) fn from_row(row: &Row<'_>) -> Result<Self, StoreError> {
        let hash = row.get_ref(2)?.as_blob().map_err(|_| StoreError::Malformed("change hash"))?;
        Ok(Self {
            row: row.get(0)?,
            state: row.get(1)?,
            hash: ChangeHash(fixed(hash, "change hash")?),
            bytes: row.get(3)?,
        })
    }

    /// The change as operations. `entity` and `cells` know which field each text belongs to.
    pub(crate) fn read(
        &self,
        entity: Option<&Entity>,
        cells: &Cells,
    ) -> Result<Change, StoreError> {
        match Change::from_stored(&self.bytes, &self.hash, cells) {
            Ok(change) => Ok(change),
            // The text is seeded by a change that the cells do not have, as after a document left.
            Err(_) => Ok(Change::from_stored(&self.bytes, &self.hash, &seeded_texts(entity))?),
        }
    }
}

/// The bytes of a document's only change, from its stored cells; nothing when they do not tell it: the row is
/// damaged then, which shows when it is read.
fn told(
    connection: &Connection,
    document: i64,
    hash: &ChangeHash,
) -> Result<Option<Vec<u8>>, StoreError> {
    let cells = match cells_of(connection, document) {
        Err(StoreError::Cells(_)) => return Ok(None),
        cells => cells?,
    };
    let encoded = cells.only_change().map(|change| change.encode());
    Ok(encoded.filter(|encoded| encoded.hash == *hash).map(|encoded| encoded.bytes))
}

/// Gives changes their bytes that were stored without them.
pub(super) fn fill_in(
    connection: &Connection,
    document: i64,
    changes: &mut [StoredChange],
) -> Result<(), StoreError> {
    for change in changes.iter_mut().filter(|change| change.bytes.is_empty()) {
        change.bytes = told(connection, document, &change.hash)?.unwrap_or_default();
    }
    Ok(())
}

/// Stores the bytes that were left out, before the cells say something else; gives how many.
pub(super) fn put_bytes(connection: &Connection, document: i64) -> Result<u64, StoreError> {
    let sql = "SELECT id, state, hash, bytes FROM change
               WHERE document = ?1 AND state = ?2 AND bytes = x''";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row((document, ACCEPTED), |row| Ok(StoredChange::from_row(row)));
    let Some(change) = found.optional()?.transpose()? else { return Ok(0) };
    let Some(bytes) = told(connection, document, &change.hash)? else { return Ok(0) };
    let sql = "UPDATE change SET bytes = ?2 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute((change.row, &bytes))?;
    Ok(bytes.len() as u64)
}

/// Cells in which every text field of the entity is seeded: they know each text object.
fn seeded_texts(entity: Option<&Entity>) -> Cells {
    let mut cells = Cells::default();
    let fields = entity.iter().flat_map(|entity| &entity.fields);
    for field in fields.filter(|field| field.kind == FieldKind::Text) {
        let change = seed(SeedKind::Text, &field.key);
        let hash = change.encode().hash;
        cells.apply(&change, hash);
    }
    cells
}
