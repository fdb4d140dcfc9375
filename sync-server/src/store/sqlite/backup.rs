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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crdt_core::id::{BatchId, DeviceId, Epoch, MemberId, ReplicaId};
    use crdt_core::schema::Schema;
    use crdt_core::time::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::audit::{Act, append_act};
    use crate::store::sqlite::{SqliteOptions, SqliteStore};
    use crate::store::{self, BatchRow};

    /// What SQLite writes at once, bytes.
    const PAGE: usize = 4_096;
    const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);

    /// One commit: a batch, and its entry in the audit.
    fn commit(store: &SqliteStore) -> u64 {
        let head = store::write(store, |tx| {
            let position = tx.head()? + 1;
            let mut id = [0xba; 16];
            id[8..].copy_from_slice(&position.to_be_bytes());
            tx.append_batch(&BatchRow {
                position,
                id: BatchId(id),
                replica: ReplicaId([1; 12]),
                member: MemberId(Uuid::nil()),
                received_at: NOW,
            })?;
            append_act(tx, NOW, Act::DeviceRevoked { device: DeviceId([1; 16]) })?;
            Ok(position)
        });
        head.expect("the store takes a batch")
    }

    #[test]
    fn copies_made_while_somebody_writes_are_each_one_sound_state() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("w.db");
        SqliteStore::create(&path, Epoch([1; 16]), Schema::builtin().text()).expect("it is new");
        let store = SqliteStore::open(&path, SqliteOptions::default()).expect("it opens");
        let store = Arc::new(store);
        commit(&store);
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    last = commit(&store);
                }
                last
            })
        };
        let mut heads = Vec::new();
        for n in 0..12 {
            let to = folder.path().join(format!("copy {n}"));
            copy(&path, &to).expect("a copy can be made beside a writer");
            let contents = check(&to).expect("every copy is sound");
            // One state: the audit goes exactly as far as the log.
            assert_eq!(contents.audit.number, contents.log.head);
            heads.push(contents.log.head);
        }
        stop.store(true, Ordering::Relaxed);
        let last = writer.join().expect("the writer has not panicked");
        assert!(heads.is_sorted() && heads.iter().all(|head| *head <= last), "{heads:?} of {last}");
        assert!(heads.first() < heads.last(), "somebody wrote meanwhile: {heads:?}");
    }

    #[test]
    fn a_copy_with_a_flipped_page_or_a_shortened_log_is_not_sound() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("w.db");
        SqliteStore::create(&path, Epoch([1; 16]), Schema::builtin().text()).expect("it is new");
        let store = SqliteStore::open(&path, SqliteOptions::default()).expect("it opens");
        for _ in 0..3 {
            commit(&store);
        }
        let to = folder.path().join("copy");
        copy(&path, &to).expect("a copy can be made");
        check(&to).expect("it is sound");
        let bytes = std::fs::read(&to).expect("it can be read");
        let mut torn = bytes.clone();
        let middle = torn.len() / 2 / PAGE * PAGE;
        torn[middle..middle + PAGE].fill(0xff);
        std::fs::write(&to, torn).expect("it can be written");
        assert!(check(&to).is_err());
        std::fs::write(&to, bytes).expect("it can be written");
        let connection = Connection::open(&to).expect("it opens");
        connection.execute("UPDATE log SET head = 2", []).expect("a forger can write");
        drop(connection);
        assert!(matches!(check(&to), Err(StoreError::Damaged(_))));
    }
}
