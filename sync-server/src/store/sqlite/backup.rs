//! Copies of a workspace's file: made beside a running server, and looked at before anybody relies on them.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::super::{LogInfo, Read as _, StoreError};
use super::audit::AuditFile;
use super::fault;
use super::migrate::FORMAT;
use super::tx::Tx;
use crate::audit::{Head, Verifier};

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Its log.
    pub log: LogInfo,
    /// Documents.
    pub documents: u64,
    /// The last entry of its audit.
    pub audit: Head,
}

/// Copies a workspace's file as it is at one moment, whatever a server writes meanwhile. `to` must not exist,
/// and is not synced to the disk.
///
/// # Errors
/// When the file cannot be read or the copy not be written.
pub fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let connection = open(from)?;
    // One statement reads one state. Free pages stay behind, and with them what was deleted.
    let to = to.to_string_lossy();
    connection.execute("VACUUM INTO ?1", [&*to]).map_err(fault).map(drop)
}

/// Looks at a copy: every page of it, that the log has no gaps, and that the audit is sound to its end.
///
/// # Errors
/// When the file cannot be read, is newer than this build, or is damaged; the error says where.
pub fn check(path: &Path) -> Result<Contents, StoreError> {
    let connection = open(path)?;
    let said: String =
        connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).map_err(fault)?;
    if said != "ok" {
        return Err(StoreError::Damaged(said));
    }
    let transaction = connection.unchecked_transaction().map_err(fault)?;
    let log = Tx::new(&transaction).log()?;
    let count = |sql: &str| -> Result<u64, StoreError> {
        let count: i64 = transaction.query_row(sql, [], |row| row.get(0)).map_err(fault)?;
        Ok(count.cast_unsigned())
    };
    if count("SELECT coalesce(max(position), 0) FROM batch")? > log.head {
        return Err(StoreError::Damaged("the log goes beyond its own end".to_owned()));
    }
    let documents = count("SELECT count(*) FROM document")?;
    drop(transaction);
    let audit = sound_audit(path)?;
    Ok(Contents { log, documents, audit })
}

fn sound_audit(path: &Path) -> Result<Head, StoreError> {
    let file = AuditFile::open(path)?;
    let mut verifier = Verifier::new(None);
    let read = file.each(i64::MIN, |number, bytes, hash| verifier.row(number, bytes, hash))?;
    let found = read
        .and_then(|own| verifier.finish(own.as_ref().map(|(number, hash)| (*number, &hash[..]))));
    found.map(|summary| summary.head).map_err(|finding| StoreError::Damaged(finding.to_string()))
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(fault)?;
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fault)?;
    match found {
        0 => Err(StoreError::Damaged("the file is not a workspace".to_owned())),
        found if found > FORMAT => Err(StoreError::Newer { found, known: FORMAT }),
        _ => Ok(connection),
    }
}
