//! Opening the file: settings, format, and what becomes of a damaged one.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::lock::beside;
use super::{Durability, Session, export, migrate, salvage, seal};
use crate::error::StoreError;

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Whether the file was made just now.
    pub created: bool,
    /// A damaged file that was set aside.
    pub damaged: Option<Damaged>,
}

/// A damaged file, set aside: never deleted, since it may hold unsent work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Where it lies now.
    pub moved_to: PathBuf,
    /// Where its unsent work was written, as far as it was readable.
    pub salvage: Option<PathBuf>,
    /// How many unsent batches that is.
    pub salvaged_batches: usize,
    /// How many of them are in the new file and are going to be sent, under another replica's name.
    pub resent: usize,
    /// How many are [disputes](crate::Dispute) in the new file: those that were, and those of which not all
    /// can be read.
    pub disputed: usize,
    /// What was wrong.
    pub problem: String,
}

/// What every connection of a store shares.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) path: PathBuf,
    pub(crate) max_page_count: Option<u32>,
    /// The SQLite VFS, when it is not the platform's own.
    pub(crate) vfs: Option<&'static str>,
}

/// Up to this size every open checks the whole file; larger ones are checked once a fault was seen, bytes.
const CHECK_ALWAYS_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// What follows the database's name in the note of a file that was set aside.
pub(crate) const NOTE: &str = ".salvage";
/// Looks at a file before it counts as damaged.
const LOOKS: u32 = 3;
/// From this many pages of 4 KiB on the WAL is folded back in a quiet moment, and after pages that came: small
/// and reused, it makes commits faster.
pub(crate) const LOG_PAGES: u32 = 1_000;
/// At this many pages it is folded back at once, also behind an edit, and during a first load.
pub(crate) const LOG_PAGES_MAX: u32 = 4_000;
/// What remains of the WAL after a checkpoint, bytes.
const JOURNAL_BYTES_MAX: i64 = LOG_PAGES_MAX as i64 * 4_096;
/// What the writer may keep of the file in memory, KiB: records come in the order of neither their ids nor
/// their values, so that trees are written all over, and what does not fit is written twice.
const CACHE_KIB: i64 = 4 * 1024;
/// Statements kept prepared: each entity has a handful.
const STATEMENTS_MAX: usize = 256;

impl Opening {
    /// The writer's connection, in the newest format.
    pub(crate) fn writer(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = self.connect(&self.path, flags)?;
        keep_statements(&connection)?;
        migrate::refuse_newer(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        commit_with(&connection, Durability::Full)?;
        connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // What is deleted is overwritten: a record that left is not to be found in free space.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        empty_log(&connection)?;
        migrate::migrate(&mut connection)?;
        if let Some(pages) = self.max_page_count {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        Ok(connection)
    }

    fn connect(&self, path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok(match self.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
            None => Connection::open_with_flags(path, flags)?,
        })
    }

    /// A connection that can only read.
    pub(crate) fn reader(&self) -> Result<Connection, StoreError> {
        let connection = self.connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        keep_statements(&connection)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(connection)
    }

    /// Opens the file; a damaged one is set aside first and a fresh one made.
    pub(crate) fn open(&self) -> Result<(Connection, OpenReport), StoreError> {
        self.finish_setting_aside()?;
        let created = !self.path.exists();
        let is_broken = seal::take(&self.path, CHECK_ALWAYS_BYTES_MAX);
        let mut looks = 0;
        let problem = loop {
            if is_broken {
                break "it says something else than when it was closed".to_owned();
            }
            looks += 1;
            match self.writer().and_then(|found| self.checked(found)) {
                Ok(connection) => {
                    let damaged = self.unfinished(&connection)?;
                    return Ok((connection, OpenReport { created, damaged }));
                }
                // A read that failed looks the same as damage: only what is seen each time counts.
                Err(StoreError::Corrupt(_)) if looks < LOOKS => {}
                Err(StoreError::Corrupt(problem)) => break problem,
                Err(other) => return Err(other),
            }
        };
        let damaged = self.set_aside(problem)?;
        let report = OpenReport { created: true, damaged: Some(damaged) };
        Ok((self.writer()?, report))
    }

    /// Brings unsent work of a damaged file over into the one that is being made.
    pub(crate) fn take_over(
        &self,
        session: &mut Session<'_>,
        damaged: &mut Damaged,
    ) -> Result<(), StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let Ok(connection) = self.connect(&damaged.moved_to, flags) else { return Ok(()) };
        let salvaged = salvage::take_over(session, &connection)?;
        (damaged.resent, damaged.disputed) = (salvaged.resent, salvaged.disputed);
        Ok(())
    }

    /// Notes that a fault was seen, so that the next open checks the whole file.
    pub(crate) fn suspect(&self) {
        // Without the note a large file is only checked when a fault shows again.
        let _ = std::fs::write(beside(&self.path, ".suspect"), b"");
    }

    /// Notes what a file says that was just closed.
    pub(crate) fn seal(&self) {
        seal::put(&self.path, CHECK_ALWAYS_BYTES_MAX);
    }

    fn checked(&self, connection: Connection) -> Result<Connection, StoreError> {
        let suspected = beside(&self.path, ".suspect");
        let size = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if size > CHECK_ALWAYS_BYTES_MAX && !suspected.exists() {
            return Ok(connection);
        }
        let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if answer != "ok" {
            return Err(StoreError::Corrupt(answer));
        }
        if suspected.exists() {
            std::fs::remove_file(&suspected).map_err(io)?;
        }
        Ok(connection)
    }

    /// Writes what can still be read of the unsent work beside the damaged file.
    fn write_salvage(&self, damaged: &Path) -> (Option<PathBuf>, usize) {
        let opened = self.connect(damaged, OpenFlags::SQLITE_OPEN_READ_WRITE);
        let Ok(connection) = opened else { return (None, 0) };
        let batches = export::readable_batches(&connection);
        if batches.is_empty() {
            return (None, 0);
        }
        let path = beside(damaged, ".unsent.json");
        let text = serde_json::json!({ "batches": batches }).to_string();
        match std::fs::write(&path, text) {
            Ok(()) => (Some(path), batches.len()),
            // The damaged file itself is still there.
            Err(_) => (None, 0),
        }
    }

    fn set_aside(&self, problem: String) -> Result<Damaged, StoreError> {
        let moved_to = (1..)
            .map(|number| beside(&self.path, &format!(".damaged-{number}")))
            .find(|path| !path.exists())
            .expect("the numbers do not end before the free names begin");
        let name = moved_to.file_name().map(|name| name.to_string_lossy().into_owned());
        std::fs::write(beside(&self.path, NOTE), name.unwrap_or_default()).map_err(io)?;
        std::fs::rename(&self.path, &moved_to).map_err(io)?;
        self.finish_setting_aside()?;
        let suspected = beside(&self.path, ".suspect");
        if suspected.exists() {
            std::fs::remove_file(suspected).map_err(io)?;
        }
        Ok(self.damaged(moved_to, problem))
    }

    /// Moves a damaged file's log to it, also when the process that moved the file has died since.
    fn finish_setting_aside(&self) -> Result<(), StoreError> {
        let Some(moved_to) = self.noted().filter(|_| !self.path.exists()) else { return Ok(()) };
        for suffix in ["-wal", "-shm"] {
            let from = beside(&self.path, suffix);
            if from.exists() {
                std::fs::rename(from, beside(&moved_to, suffix)).map_err(io)?;
            }
        }
        Ok(())
    }

    /// The file that was set aside, whose unsent work is not in the new one yet.
    fn noted(&self) -> Option<PathBuf> {
        let name = std::fs::read_to_string(beside(&self.path, NOTE)).ok()?;
        Some(self.path.with_file_name(name)).filter(|path| path.is_file())
    }

    /// A file that was set aside by a process that died before the new one was made.
    fn unfinished(&self, connection: &Connection) -> Result<Option<Damaged>, StoreError> {
        let Some(moved_to) = self.noted() else { return Ok(None) };
        let sql = "SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'replica')";
        if connection.query_row(sql, [], |row| row.get(0))? {
            self.salvage_done();
            return Ok(None);
        }
        let problem = "it was found damaged when it was opened before".to_owned();
        Ok(Some(self.damaged(moved_to, problem)))
    }

    fn damaged(&self, moved_to: PathBuf, problem: String) -> Damaged {
        let (salvage, salvaged_batches) = self.write_salvage(&moved_to);
        Damaged { moved_to, salvage, salvaged_batches, resent: 0, disputed: 0, problem }
    }

    /// Everything that could be brought over is in the new file.
    pub(crate) fn salvage_done(&self) {
        // A note that stays is found to be one of the past.
        let _ = std::fs::remove_file(beside(&self.path, NOTE));
    }
}

/// Makes commits durable when they return, or with the next durable one.
///
/// Only after a durable commit may SQLite fold the log back by itself: all of the log is synced then, so it
/// does not matter that SQLite keeps silent about a sync that fails.
pub(crate) fn commit_with(
    connection: &Connection,
    durability: Durability,
) -> Result<(), StoreError> {
    let (mode, checkpoint) = match durability {
        Durability::Full => ("FULL", LOG_PAGES_MAX),
        Durability::Normal => ("NORMAL", 0),
    };
    connection.pragma_update(None, "synchronous", mode)?;
    connection.pragma_update(None, "wal_autocheckpoint", checkpoint)?;
    Ok(())
}

/// Folds the log back when it has so many pages, as far as readers let it.
pub(crate) fn fold_log(connection: &Connection, from: u32) -> Result<(), StoreError> {
    let mut look = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let pages: i64 = look.query_row([], |row| row.get(1))?;
    if pages >= i64::from(from) {
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(())
}

/// Begins a new log with everything in the database. What an earlier process left in the log can be read,
/// but its last sync may have failed: nothing is to be appended to it.
fn empty_log(connection: &Connection) -> Result<(), StoreError> {
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    match connection.query_row(sql, [], |row| row.get::<_, i64>(0))? {
        0 => Ok(()),
        _ => Err(StoreError::Busy),
    }
}

/// Lets a connection take part in the log, so that it outlives the others.
pub(crate) fn attach(connection: &Connection) -> Result<(), StoreError> {
    connection.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    Ok(())
}

/// Keeps statements prepared, whatever is bound to them: without the second setting SQLite prepares those
/// with a bound limit or range anew each time.
fn keep_statements(connection: &Connection) -> Result<(), StoreError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

pub(crate) fn io(error: std::io::Error) -> StoreError {
    StoreError::Io(error.to_string())
}
