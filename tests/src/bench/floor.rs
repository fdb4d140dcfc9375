//! The floor of the disk: the rows that edits wrote, written once more by bare SQLite.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params_from_iter};

use super::contact;
use super::workload::FieldEdit;

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The disk.
    Full,
    /// Nothing: a power cut may take the last ones.
    Normal,
}

/// Copies a database, also one that is in use.
///
/// # Errors
/// When one cannot be read or the other not be written.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut target = Connection::open(to)?;
    Backup::new(&source, &mut target)?.run_to_completion(4_096, Duration::ZERO, None)?;
    Ok(())
}

/// Removes a database with what lies beside it.
pub fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // The folder goes at the end, and with it what was left.
        let _ = std::fs::remove_file(PathBuf::from(name));
    }
}

/// The size of a database's log, bytes.
#[must_use]
pub fn log_bytes(path: &Path) -> f64 {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(PathBuf::from(name)).map_or(0.0, |log| log.len() as f64)
}

/// Opens a database with the settings that devices use.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path, durability: Durability) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let mode = if durability == Durability::Full { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", mode)?;
    connection.pragma_update(None, "wal_autocheckpoint", 1_000)?;
    connection.pragma_update(None, "journal_size_limit", 8 * 1024 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// The rows that one edit of one field wrote on its device.
#[derive(Debug, Clone)]
pub struct EditRows {
    record: Sql,
    /// The document's row after the edit: cells, base, tail.
    document: [Sql; 3],
    /// The new row of `change`, without its document: batch, hash, actor, seq, greatest op, bytes.
    change: [Sql; 6],
    /// The new row of `outbox`.
    outbox: [Sql; 10],
    /// The columns of the contact's row: the field, `_updated_at`.
    column: String,
    contact: [Sql; 2],
}

impl EditRows {
    /// Reads them from the file of the device that made `edits` and has not sent any.
    ///
    /// # Errors
    /// When the file holds another number of edits.
    pub fn read(path: &Path, edits: &[FieldEdit]) -> Result<Vec<Self>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(path, flags)?;
        let mut statement = connection.prepare(
            "SELECT d.record, d.cells, d.base, d.tail,
                    c.batch, c.hash, c.actor, c.seq, c.max_op, c.bytes,
                    o.number, o.batch, o.created_at, o.wall, o.monotonic, o.boot, o.clock_offset,
                    o.schema_version, o.policy_version, o.bytes
             FROM change c JOIN document d ON d.id = c.document JOIN outbox o ON o.number = c.batch
             WHERE c.state = 0 ORDER BY c.id",
        )?;
        let mut found = Vec::with_capacity(edits.len());
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let edit = edits.get(found.len()).context("more edits are unsent than were made")?;
            let cell = |place: usize| row.get::<_, Sql>(place);
            let id = contact::id(&edit.id)?;
            ensure!(cell(0)? == Sql::Blob(id.as_bytes().to_vec()), "the edits are not in order");
            let value = match edit.value.as_str() {
                Some(text) => Sql::Text(text.to_owned()),
                None => Sql::Integer(edit.value.as_i64().unwrap_or_default()),
            };
            found.push(Self {
                record: cell(0)?,
                document: cells(row, 1)?,
                change: cells(row, 4)?,
                outbox: cells(row, 10)?,
                column: edit.field.clone(),
                contact: [value, cell(12)?],
            });
        }
        ensure!(found.len() == edits.len(), "{} of {} edits are unsent", found.len(), edits.len());
        Ok(found)
    }

    /// The document's row id in another database.
    ///
    /// # Errors
    /// When the record is not there.
    pub fn locate(&self, connection: &Connection) -> Result<i64> {
        let sql = "SELECT id FROM document WHERE record = ?1 AND section = 'main'";
        Ok(connection.prepare_cached(sql)?.query_row([&self.record], |row| row.get(0))?)
    }

    /// What an edit stores where it is made: the document's row, the change, the batch, the contact's row.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn write(&self, tx: &Transaction<'_>, document: i64) -> Result<()> {
        self.write_document(tx, document, 0)?;
        let sql = "INSERT INTO outbox (number, batch, created_at, wall, monotonic, boot,
                       clock_offset, schema_version, policy_version, bytes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        tx.prepare_cached(sql)?.execute(params_from_iter(&self.outbox))?;
        self.write_contact(tx, document)
    }

    /// What the server stores of it: the document's row, the change, the batch.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn accept(&self, tx: &Transaction<'_>, document: i64) -> Result<()> {
        self.write_document(tx, document, 1)?;
        let sql = "INSERT INTO outbox (batch, created_at, wall, monotonic, boot,
                       clock_offset, schema_version, policy_version, bytes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        tx.prepare_cached(sql)?.execute(params_from_iter(&self.outbox[1..]))?;
        Ok(())
    }

    /// What another device stores of it: the document's row, the change, the contact's row.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn receive(&self, tx: &Transaction<'_>, document: i64) -> Result<()> {
        self.write_document(tx, document, 1)?;
        self.write_contact(tx, document)
    }

    /// What its own device stores of the answer: the batch's, the change's and the contact's state.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn acknowledge(&self, tx: &Transaction<'_>, document: i64) -> Result<()> {
        let sql = "UPDATE outbox SET state = 1, position = number WHERE number = ?1";
        tx.prepare_cached(sql)?.execute([&self.change[0]])?;
        let sql = "UPDATE change SET state = 1 WHERE batch = ?1";
        tx.prepare_cached(sql)?.execute([&self.change[0]])?;
        let sql = "UPDATE contact SET _sync_state = 'synced' WHERE _row = ?1";
        tx.prepare_cached(sql)?.execute([document])?;
        Ok(())
    }

    fn write_document(&self, tx: &Transaction<'_>, document: i64, state: i64) -> Result<()> {
        let sql = "UPDATE document SET cells = ?1, base = ?2, tail = ?3 WHERE id = ?4";
        let [cells, base, tail] = &self.document;
        tx.prepare_cached(sql)?.execute((cells, base, tail, document))?;
        let sql = "INSERT INTO change (document, state, batch, hash, actor, seq, max_op, bytes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let [batch, rest @ ..] = &self.change;
        let batch = if state == 0 { batch } else { &Sql::Null };
        let head = [Sql::Integer(document), Sql::Integer(state), batch.clone()];
        tx.prepare_cached(sql)?.execute(params_from_iter(head.iter().chain(rest)))?;
        Ok(())
    }

    fn write_contact(&self, tx: &Transaction<'_>, document: i64) -> Result<()> {
        let sql = format!(
            "UPDATE contact SET {} = ?1, _updated_at = ?2, _sync_state = 'pending' WHERE _row = ?3",
            self.column
        );
        let [value, updated_at] = &self.contact;
        tx.prepare_cached(&sql)?.execute((value, updated_at, document))?;
        Ok(())
    }

    /// The least that tells another device of it: the document's number, the field and the value.
    #[must_use]
    pub fn minimal(&self, document: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        super::values::put(&mut bytes, &Sql::Integer(document));
        super::values::put(&mut bytes, &Sql::Integer(i64::from(self.column.as_bytes()[0])));
        super::values::put(&mut bytes, &self.contact[0]);
        bytes
    }
}

fn cells<const N: usize>(row: &rusqlite::Row<'_>, from: usize) -> Result<[Sql; N]> {
    let cells: Vec<Sql> = (from..from + N).map(|place| row.get(place)).collect::<Result<_, _>>()?;
    cells.try_into().ok().context("as many cells as places")
}

/// Does `write` for each of `edits` in `commits` transactions of equal size; gives how long it took.
///
/// # Errors
/// When the database refuses.
pub fn in_commits(
    connection: &mut Connection,
    edits: &[&EditRows],
    commits: usize,
    write: impl Fn(&EditRows, &Transaction<'_>, i64) -> Result<()>,
) -> Result<Duration> {
    let rows: Vec<i64> = edits.iter().map(|edit| edit.locate(connection)).collect::<Result<_>>()?;
    let placed: Vec<(&EditRows, i64)> = edits.iter().copied().zip(rows).collect();
    let begin = Instant::now();
    for chunk in placed.chunks(placed.len().div_ceil(commits.max(1)).max(1)) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (edit, row) in chunk {
            write(edit, &tx, *row)?;
        }
        tx.commit()?;
    }
    Ok(begin.elapsed())
}
