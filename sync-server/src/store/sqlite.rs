//! The default backend: one SQLite file per workspace, every commit durable before it is answered.

mod access;
mod accounts;
pub mod audit;
pub mod backup;
mod erasure;
mod migrate;
mod recovery;
mod relay;
mod rows;
mod scopes;
mod tx;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{Read, Store, StoreError, Write};
use crdt_core::id::Epoch;
use crdt_core::planted::{Bug, planted};
use tx::Tx;

/// The WAL is folded into the file beyond this, pages of 4 KiB.
const CHECKPOINT_PAGES: u32 = 4_000;
/// How long a connection waits for another's lock.
const WRITERS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Readers that stay open between reads: each keeps a page cache, and a crowd reads at once only rarely.
const READERS_KEPT: usize = 16;

/// A workspace in a SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    options: SqliteOptions,
    /// Nothing after a fault: opened anew before it is trusted.
    writer: Mutex<Option<Connection>>,
    readers: Mutex<Vec<Connection>>,
    /// Held as long as this store is open: a second server on the same file would judge twice.
    _lock: File,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteOptions {
    /// The largest size of the file, pages of 4 KiB.
    pub max_page_count: Option<u32>,
    /// The SQLite VFS that the file is opened through, by the name under which it is registered; none takes
    /// the platform's own. For VFS extensions such as encryption, and for disks that fail in tests.
    pub vfs: Option<&'static str>,
}

impl SqliteStore {
    /// Makes a workspace's file with its first epoch and its schema.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path, epoch: Epoch, schema: &str) -> Result<(), StoreError> {
        File::create_new(path).map_err(backend)?;
        let mut connection = Connection::open(path).map_err(fault)?;
        configure(&connection, SqliteOptions::default())?;
        let tx = connection.transaction().map_err(fault)?;
        migrate::begin(&tx)?;
        tx.execute(
            "INSERT INTO log (id, epoch, head, schema) VALUES (1, ?1, 0, ?2)",
            (epoch.0, schema),
        )
        .map_err(fault)?;
        tx.commit().map_err(fault)
    }

    /// Opens a workspace's file.
    ///
    /// # Errors
    /// When it is missing, damaged, newer than this build, or open in another process.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let lock_path = path.with_extension("lock");
        let lock = File::create(lock_path).map_err(backend)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(backend(error)),
        }
        let writer = writer(path, options)?;
        migrate::migrate(&writer)?;
        let (writer, readers) = (Mutex::new(Some(writer)), Mutex::new(Vec::new()));
        Ok(Self { path: path.to_owned(), options, writer, readers, _lock: lock })
    }

    /// Closes the writing connection after a fault. A reader stays: it keeps the index of the log, which does
    /// not know the commit that failed, so whoever opens the file next does not find it there.
    fn distrust(&self, failed: Connection) {
        let attach = |reader: &Connection| reader.query_row("SELECT head FROM log", [], |_| Ok(()));
        let reader = self.reader().ok().filter(|reader| attach(reader).is_ok());
        drop(failed);
        self.keep(reader);
    }

    /// Works with the writing connection, which is opened anew after a fault.
    fn with_writer<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut guard = locked(&self.writer);
        let mut writer = match guard.take() {
            Some(writer) => writer,
            None => writer(&self.path, self.options)?,
        };
        match work(&mut writer) {
            Err(error) if error.is_distrust() => {
                self.distrust(writer);
                Err(error)
            }
            outcome => {
                *guard = Some(writer);
                outcome
            }
        }
    }

    fn keep(&self, reader: Option<Connection>) {
        let mut readers = locked(&self.readers);
        if readers.len() < READERS_KEPT {
            readers.extend(reader);
        }
    }

    fn reader(&self) -> Result<Connection, StoreError> {
        if let Some(reader) = locked(&self.readers).pop() {
            return Ok(reader);
        }
        let reader = connect(&self.path, self.options)?;
        reader.pragma_update(None, "query_only", true).map_err(fault)?;
        keep_statements(&reader).map_err(fault)?;
        Ok(reader)
    }
}

impl Store for SqliteStore {
    fn read(
        &self,
        work: &mut dyn FnMut(&dyn Read) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if (planted(Bug::ReceiptBeforeCommit) || planted(Bug::FanOutBeforeCommit))
            && let Some(writer) = &*locked(&self.writer)
        {
            return work(&Tx::new(writer));
        }
        let mut reader = self.reader()?;
        {
            let tx = reader.transaction().map_err(fault)?;
            work(&Tx::new(&tx))?;
        }
        // One that has failed is not used again.
        self.keep(Some(reader));
        Ok(())
    }

    fn write(
        &self,
        work: &mut dyn FnMut(&mut dyn Write) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.with_writer(|writer| transact(writer, work))
    }

    fn write_anew(&self) -> Result<(), StoreError> {
        self.with_writer(|writer| erasure::write_anew(writer))
    }

    fn empty_log(&self) -> Result<bool, StoreError> {
        self.with_writer(|writer| erasure::empty_log(writer))
    }
}

fn transact(
    writer: &mut Connection,
    work: &mut dyn FnMut(&mut dyn Write) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if planted(Bug::ReceiptBeforeCommit) || planted(Bug::FanOutBeforeCommit) {
        return put_off(writer, work);
    }
    let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
    let mut statements = Tx::new(&tx);
    work(&mut statements)?;
    statements.settle()?;
    tx.commit().map_err(fault)
}

/// The writing connection. It begins a new log: what an earlier process left in the log can be read, but its
/// last sync may have failed, and nothing is to be appended to it.
fn writer(path: &Path, options: SqliteOptions) -> Result<Connection, StoreError> {
    let writer = connect(path, options)?;
    // Before anything is set: a file that is refused is left as it is.
    migrate::refuse(&writer)?;
    configure(&writer, options)?;
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    match writer.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(fault)? {
        0 => Ok(writer),
        _ => Err(backend("readers hold the log")),
    }
}

/// What two planted bugs do: the transaction is answered, and committed when the next one begins.
fn put_off(
    writer: &Connection,
    work: &mut dyn FnMut(&mut dyn Write) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if !writer.is_autocommit() {
        writer.execute_batch("COMMIT").map_err(fault)?;
    }
    writer.execute_batch("BEGIN IMMEDIATE").map_err(fault)?;
    let mut statements = Tx::new(writer);
    let done = work(&mut statements).and_then(|()| statements.settle());
    done.inspect_err(|_| _ = writer.execute_batch("ROLLBACK"))
}

/// A panic while the lock was held rolled its transaction back: the connection is sound.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path, options: SqliteOptions) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    };
    opened.map_err(fault)
}

fn configure(connection: &Connection, options: SqliteOptions) -> Result<(), StoreError> {
    let pragmas = |connection: &Connection| {
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(
            None,
            "journal_size_limit",
            i64::from(CHECKPOINT_PAGES) * 4_096,
        )?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.pragma_update(None, "cache_size", -16_000)?;
        if let Some(pages) = options.max_page_count {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        keep_statements(connection)?;
        connection.busy_timeout(WRITERS_PATIENCE)
    };
    pragmas(connection).map_err(fault)
}

/// Keeps statements prepared, whatever is bound to them: without the second setting SQLite prepares those
/// with a bound limit or range anew each time.
fn keep_statements(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn fault(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged(error.to_string())
        }
        _ => backend(error),
    }
}

fn backend(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Backend(error.into())
}
