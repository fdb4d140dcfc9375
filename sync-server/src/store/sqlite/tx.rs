//! The statements, on one transaction.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::super::{
    BatchRow, ChangeRow, DocumentRow, LogInfo, Read, ReplicaRow, StoreError, Write,
};
use super::fault;
use super::recovery::{self, ENDED};
use super::rows::{self, signed, unsigned};
use crate::audit;
use crdt_core::id::{BatchId, DocumentId, MemberId, ReplicaId};
use crdt_core::protocol::Receipt;
use crdt_core::record::OpId;

/// One transaction.
pub(super) struct Tx<'a> {
    connection: &'a Connection,
    moved: Moved,
}

/// Rows that every batch moves on: they are written once, before the commit.
#[derive(Default)]
pub(super) struct Moved {
    head: Option<u64>,
    pub(super) audit: Option<audit::Head>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, moved: Moved::default() }
    }

    /// What was moved on so far.
    pub(super) fn moved(&self) -> &Moved {
        &self.moved
    }

    pub(super) fn moved_mut(&mut self) -> &mut Moved {
        &mut self.moved
    }

    /// Writes what was moved on. Nothing is to be written after it.
    pub(super) fn settle(self) -> Result<(), StoreError> {
        if let Some(head) = self.moved.head {
            self.run("UPDATE log SET head = ?1 WHERE id = 1", [signed(head)?])?;
        }
        match &self.moved.audit {
            Some(head) => self.write_audit_head(head),
            None => Ok(()),
        }
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        parse: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(fault)?;
        let found = statement.query_row(params, |row| Ok(parse(row))).optional().map_err(fault)?;
        found.transpose()
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        parse: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(fault)?;
        let mut rows = statement.query(params).map_err(fault)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(fault)? {
            found.push(parse(row)?);
        }
        Ok(found)
    }

    /// The row id of what was inserted last.
    pub(super) fn last_id(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    pub(super) fn run(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        self.connection.prepare_cached(sql).map_err(fault)?.execute(params).map_err(fault)
    }
}

impl Read for Tx<'_> {
    fn log(&self) -> Result<LogInfo, StoreError> {
        let sql = "SELECT epoch, head, schema, policy FROM log WHERE id = 1";
        let log = self.one(sql, [], |row| {
            Ok(LogInfo {
                epoch: rows::id(row, 0)?,
                lineage: Vec::new(),
                head: unsigned(row, 1)?,
                schema: row.get(2).map_err(fault)?,
                policy: row.get(3).map_err(fault)?,
            })
        })?;
        let log = log.ok_or_else(|| StoreError::Damaged("the log's row is missing".to_owned()))?;
        let sql = format!("SELECT {ENDED} FROM lineage ORDER BY n");
        let lineage = self.all(&sql, [], recovery::ended)?;
        Ok(LogInfo { lineage, head: self.moved.head.unwrap_or(log.head), ..log })
    }

    fn head(&self) -> Result<u64, StoreError> {
        if let Some(head) = self.moved.head {
            return Ok(head);
        }
        let head = self.one("SELECT head FROM log WHERE id = 1", [], |row| unsigned(row, 0))?;
        head.ok_or_else(|| StoreError::Damaged("the log's row is missing".to_owned()))
    }

    fn document(&self, number: u64) -> Result<Option<DocumentRow>, StoreError> {
        let sql = format!("SELECT {} FROM document WHERE number = ?1", rows::DOCUMENT);
        // A number from a peer may exceed what SQLite can hold: there is no such document then.
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        self.one(&sql, [number], rows::document)
    }

    fn find_document(&self, id: &DocumentId) -> Result<Option<DocumentRow>, StoreError> {
        let sql =
            format!("SELECT {} FROM document WHERE record = ?1 AND section = ?2", rows::DOCUMENT);
        self.one(&sql, params![id.record.as_bytes(), id.section.as_str()], rows::document)
    }

    fn snapshot(&self, document: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM snapshot WHERE document = ?1";
        self.one(sql, [signed(document)?], |row| row.get(0).map_err(fault))
    }

    fn changes_like(&self, document: u64, prefix: u32) -> Result<Vec<ChangeRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM change WHERE document = ?1 AND short = ?2 LIMIT 16",
            rows::CHANGE
        );
        self.all(&sql, [signed(document)?, i64::from(prefix)], rows::change)
    }

    fn changes_after(&self, document: u64, position: u64) -> Result<Vec<ChangeRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM change WHERE document = ?1 AND position > ?2 ORDER BY id",
            rows::CHANGE
        );
        self.all(&sql, [signed(document)?, signed(position)?], rows::change)
    }

    fn change_of(&self, document: u64, op: &OpId) -> Result<Option<ChangeRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM change WHERE document = ?1 AND actor = ?2 AND max_op >= ?3
             ORDER BY max_op LIMIT 1",
            rows::CHANGE
        );
        let params = params![signed(document)?, op.actor.as_bytes(), signed(op.counter)?];
        self.one(&sql, params, rows::change)
    }

    fn changes_at(&self, position: u64) -> Result<Vec<ChangeRow>, StoreError> {
        let sql = format!("SELECT {} FROM change WHERE position = ?1 ORDER BY id", rows::CHANGE);
        self.all(&sql, [signed(position)?], rows::change)
    }

    fn first_position(&self, document: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT position FROM change WHERE document = ?1 ORDER BY position LIMIT 1";
        self.one(sql, [signed(document)?], |row| unsigned(row, 0))
    }

    fn changed(&self, after: u64, up_to: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let sql = "SELECT position, document FROM change WHERE position > ?1 AND position <= ?2
                   ORDER BY position, id";
        self.all(sql, [signed(after)?, signed(up_to)?], |row| {
            Ok((unsigned(row, 0)?, unsigned(row, 1)?))
        })
    }

    fn foldable(
        &self,
        document: u64,
        up_to: u64,
        changes_min: u64,
    ) -> Result<Option<u64>, StoreError> {
        // Most documents have a short tail, which the index alone tells.
        const TAIL: &str = "FROM change WHERE document = ?1 AND position <= ?2
                            AND position > (SELECT folded_to FROM document WHERE number = ?1)";
        let (document, up_to) = (signed(document)?, signed(up_to)?);
        let sql = format!("SELECT 1 {TAIL} LIMIT 1 OFFSET ?3");
        let others = signed(changes_min.saturating_sub(1))?;
        if self.one(&sql, [document, up_to, others], |_| Ok(()))?.is_none() {
            return Ok(None);
        }
        let sql = format!("SELECT coalesce(sum(length(bytes)), 0) {TAIL}");
        self.one(&sql, [document, up_to], |row| unsigned(row, 0))
    }

    fn document_after(&self, number: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT number FROM document WHERE number > ?1 ORDER BY number LIMIT 1";
        self.one(sql, [signed(number)?], |row| unsigned(row, 0))
    }

    fn batch(&self, id: &BatchId) -> Result<Option<BatchRow>, StoreError> {
        let sql = format!("SELECT {} FROM batch WHERE id = ?1", rows::BATCH);
        self.one(&sql, [id.as_bytes()], rows::batch)
    }

    fn batches_after(&self, position: u64, limit: usize) -> Result<Vec<BatchRow>, StoreError> {
        let sql = format!(
            "SELECT {} FROM batch WHERE position > ?1 ORDER BY position LIMIT ?2",
            rows::BATCH
        );
        self.all(&sql, [signed(position)?, signed(limit as u64)?], rows::batch)
    }

    fn changes_by(
        &self,
        replica: &ReplicaId,
        after: u64,
        up_to: u64,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        // The places first, in the log's own order: few of its batches are one replica's.
        let sql = "SELECT c.position, c.document FROM batch b CROSS JOIN change c
                   WHERE b.position > ?1 AND b.position <= ?2 AND b.replica = ?3
                     AND c.position = b.position ORDER BY b.position, c.id";
        let params = params![signed(after)?, signed(up_to)?, replica.as_bytes()];
        self.all(sql, params, |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))
    }

    fn replica(&self, id: &ReplicaId) -> Result<Option<ReplicaRow>, StoreError> {
        let sql = format!("SELECT {} FROM replica WHERE id = ?1", rows::REPLICA);
        self.one(&sql, [id.as_bytes()], rows::replica)
    }

    fn receipts_after(&self, replica: &ReplicaId, number: u64) -> Result<Vec<Receipt>, StoreError> {
        let sql = "SELECT receipt FROM receipt WHERE replica = ?1 AND number > ?2 ORDER BY number";
        self.all(sql, params![replica.as_bytes(), signed(number)?], |row| {
            let bytes = row.get_ref(0).and_then(|value| Ok(value.as_blob()?)).map_err(fault)?;
            Receipt::from_stored(bytes).map_err(|e| StoreError::Damaged(e.to_string()))
        })
    }

    fn has_refused(&self, replica: &ReplicaId, id: &DocumentId) -> Result<bool, StoreError> {
        let sql =
            "SELECT 1 FROM refused WHERE replica = ?1 AND record = ?2 AND section = ?3 LIMIT 1";
        let params = params![replica.as_bytes(), id.record.as_bytes(), id.section.as_str()];
        Ok(self.one(sql, params, |_| Ok(()))?.is_some())
    }

    fn member(&self, id: &MemberId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT name FROM member WHERE id = ?1";
        self.one(sql, [id.as_bytes()], |row| row.get(0).map_err(fault))
    }
}

impl Write for Tx<'_> {
    fn append_batch(&mut self, batch: &BatchRow) -> Result<(), StoreError> {
        let position = signed(batch.position)?;
        if self.head()?.checked_add(1) != Some(batch.position) {
            let text = format!("position {position} does not follow the head");
            return Err(StoreError::Damaged(text));
        }
        self.moved.head = Some(batch.position);
        let sql = "INSERT INTO batch (position, id, replica, member, received_at)
                   VALUES (?1, ?2, ?3, ?4, ?5)";
        self.run(
            sql,
            params![
                position,
                batch.id.as_bytes(),
                batch.replica.as_bytes(),
                batch.member.as_bytes(),
                batch.received_at.as_millis()
            ],
        )?;
        Ok(())
    }

    fn create_document(&mut self, document: &DocumentRow) -> Result<u64, StoreError> {
        let sql = "INSERT INTO document
                       (number, record, section, entity, cells, folded_to)
                   VALUES (1 + max(coalesce((SELECT max(number) FROM document), 0),
                                   coalesce((SELECT max(number) FROM erased_document), 0)),
                           ?1, ?2, ?3, ?4, ?5)";
        self.run(
            sql,
            params![
                document.id.record.as_bytes(),
                document.id.section.as_str(),
                document.entity,
                document.cells,
                signed(document.folded_to)?
            ],
        )?;
        u64::try_from(self.connection.last_insert_rowid())
            .map_err(|_| StoreError::Damaged("a negative document number".to_owned()))
    }

    fn set_cells(&mut self, document: u64, cells: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE document SET cells = ?2 WHERE number = ?1";
        self.run(sql, params![signed(document)?, cells]).map(drop)
    }

    fn fold(&mut self, document: u64, snapshot: &[u8], up_to: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO snapshot (document, bytes) VALUES (?1, ?2)
                   ON CONFLICT (document) DO UPDATE SET bytes = excluded.bytes";
        self.run(sql, params![signed(document)?, snapshot])?;
        let sql = "UPDATE document SET folded_to = ?2 WHERE number = ?1";
        self.run(sql, [signed(document)?, signed(up_to)?])?;
        let sql = "UPDATE change SET bytes = NULL WHERE document = ?1 AND position <= ?2";
        self.run(sql, [signed(document)?, signed(up_to)?]).map(drop)
    }

    fn append_change(&mut self, change: &ChangeRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO change
                   (document, position, short, hash, actor, seq, max_op, clock, bytes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let short = i64::from(change.hash.short());
        self.run(
            sql,
            params![
                signed(change.document)?,
                signed(change.position)?,
                short,
                change.hash.as_bytes(),
                change.actor.as_bytes(),
                signed(change.seq)?,
                signed(change.max_op)?,
                change.clock.to_bytes(),
                change.bytes
            ],
        )
        .map(drop)
    }

    fn put_replica(&mut self, replica: &ReplicaRow) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO replica
                   (id, member, lease, previous_lease, scopes, previous_scopes, last_receipt, last_seen,
                    device, device_name, is_met)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        self.run(
            sql,
            params![
                replica.id.as_bytes(),
                replica.member.as_bytes(),
                replica.lease.as_bytes(),
                replica.previous_lease.as_ref().map(|lease| lease.as_bytes()),
                replica.scopes.join("\n"),
                replica.previous_scopes.join("\n"),
                signed(replica.last_receipt)?,
                replica.last_seen.as_millis(),
                replica.device.as_bytes(),
                replica.device_name,
                replica.is_met
            ],
        )
        .map(drop)
    }

    fn put_receipt(
        &mut self,
        replica: &ReplicaId,
        receipt: &Receipt,
        refused: &[DocumentId],
    ) -> Result<(), StoreError> {
        let number = signed(receipt.number)?;
        let sql = "INSERT INTO receipt (replica, number, receipt) VALUES (?1, ?2, ?3)";
        self.run(sql, params![replica.as_bytes(), number, receipt.to_stored()])?;
        let sql = "INSERT OR IGNORE INTO refused (replica, record, section, receipt)
                   VALUES (?1, ?2, ?3, ?4)";
        for id in refused {
            let record = id.record.as_bytes();
            self.run(sql, params![replica.as_bytes(), record, id.section.as_str(), number])?;
        }
        Ok(())
    }

    fn drop_receipts(&mut self, replica: &ReplicaId, up_to: u64) -> Result<(), StoreError> {
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        for sql in [
            "DELETE FROM receipt WHERE replica = ?1 AND number <= ?2",
            "DELETE FROM refused WHERE replica = ?1 AND receipt <= ?2",
        ] {
            self.run(sql, params![replica.as_bytes(), up_to])?;
        }
        Ok(())
    }

    fn put_member(&mut self, id: &MemberId, name: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO member (id, name) VALUES (?1, ?2)
                   ON CONFLICT (id) DO UPDATE SET name = excluded.name";
        self.run(sql, params![id.as_bytes(), name]).map(drop)
    }

    fn put_schema(&mut self, schema: &str) -> Result<(), StoreError> {
        self.run("UPDATE log SET schema = ?1 WHERE id = 1", [schema]).map(drop)
    }
}
