//! The statements of the audit, and reading it beside a running server, row by row as it is stored.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::super::StoreError;
use super::super::audit::{AuditRow, ReadAudit, WriteAudit};
use super::fault;
use super::migrate::FORMAT;
use super::rows::{signed, unsigned};
use super::tx::Tx;
use crate::audit::Head;

impl ReadAudit for Tx<'_> {
    fn audit_head(&self) -> Result<Head, StoreError> {
        if let Some(head) = self.moved().audit {
            return Ok(head);
        }
        let sql = "SELECT n, hash FROM audit_head WHERE id = 1";
        let head = self.one(sql, [], |row| {
            Ok(Head { number: unsigned(row, 0)?, hash: row.get(1).map_err(fault)? })
        })?;
        Ok(head.unwrap_or_else(Head::empty))
    }

    fn audit_after(&self, number: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let sql = "SELECT n, entry, hash FROM audit WHERE n > ?1 ORDER BY n LIMIT ?2";
        self.all(sql, [signed(number)?, signed(limit as u64)?], |row| {
            Ok(AuditRow {
                number: unsigned(row, 0)?,
                bytes: row.get(1).map_err(fault)?,
                hash: row.get(2).map_err(fault)?,
            })
        })
    }
}

impl WriteAudit for Tx<'_> {
    fn append_audit(&mut self, row: &AuditRow) -> Result<(), StoreError> {
        let number = signed(row.number)?;
        if self.audit_head()?.number.checked_add(1) != Some(row.number) {
            let text = format!("entry {number} does not follow the audit's last one");
            return Err(StoreError::Damaged(text));
        }
        self.moved_mut().audit = Some(Head { number: row.number, hash: row.hash });
        let sql = "INSERT INTO audit (n, entry, hash) VALUES (?1, ?2, ?3)";
        self.run(sql, params![number, row.bytes, row.hash]).map(drop)
    }
}

impl Tx<'_> {
    pub(super) fn write_audit_head(&self, head: &Head) -> Result<(), StoreError> {
        let sql = "INSERT INTO audit_head (id, n, hash) VALUES (1, ?1, ?2)
                   ON CONFLICT (id) DO UPDATE SET n = excluded.n, hash = excluded.hash";
        self.run(sql, params![signed(head.number)?, head.hash]).map(drop)
    }
}

/// The audit of a workspace's file, read without taking the workspace: a server may have it open. What is
/// read is the file and not what a server says of it.
pub struct AuditFile {
    connection: Connection,
}

/// The audit's own note of its last entry, as it is stored.
pub type OwnHead = (i64, Vec<u8>);

impl AuditFile {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// When it is missing, damaged or newer than this build.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(fault)?;
        connection.pragma_update(None, "query_only", true).map_err(fault)?;
        let found: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fault)?;
        if found > FORMAT {
            return Err(StoreError::Newer { found, known: FORMAT });
        }
        Ok(Self { connection })
    }

    /// Hands every row from a number on to `look`, until it returns an error: the number, the bytes and the
    /// hash as they are stored. A column of another type comes as no bytes.
    ///
    /// # Errors
    /// When the file cannot be read; the inner error is the one of `look`.
    pub fn each<E>(
        &self,
        from: i64,
        mut look: impl FnMut(i64, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Result<Option<OwnHead>, E>, StoreError> {
        // One state for the rows and the note, whatever a server appends meanwhile.
        let tx = self.connection.unchecked_transaction().map_err(fault)?;
        let sql = "SELECT n, hash FROM audit_head WHERE id = 1";
        let own = tx.query_row(sql, [], |row| {
            Ok((
                row.get::<_, Option<i64>>(0).unwrap_or(None).unwrap_or(-1),
                blob(row.get_ref(1)?).to_vec(),
            ))
        });
        let own = own.optional().map_err(fault)?;
        let sql = "SELECT n, entry, hash FROM audit WHERE n >= ?1 ORDER BY n";
        let mut statement = tx.prepare(sql).map_err(fault)?;
        let mut rows = statement.query([from]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            let number = row.get(0).map_err(fault)?;
            let (entry, hash) = (row.get_ref(1).map_err(fault)?, row.get_ref(2).map_err(fault)?);
            if let Err(error) = look(number, blob(entry), blob(hash)) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(own))
    }
}

fn blob(value: ValueRef<'_>) -> &[u8] {
    value.as_blob().unwrap_or_default()
}
