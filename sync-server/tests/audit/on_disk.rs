//! The audit in a workspace's file: tampered with behind the server's back, read beside it.

use std::path::PathBuf;

use rusqlite::Connection;
use sync_server::admin::audit::{ExportFormat, export, head, verify};
use sync_server::admin::{self, AdminError};
use sync_server::audit::{self, Finding, Head, Summary};
use sync_server::config::ServerConfig;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{Store, StoreError, audit::AuditRow, read, write};
use sync_server::workspaces::Workspaces;

use super::entries::entry;

struct Place {
    config: ServerConfig,
    _directory: tempfile::TempDir,
}

impl Place {
    /// A workspace whose audit has so many entries.
    fn with(entries: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().to_owned();
        let config = ServerConfig { data_dir, ..ServerConfig::default() };
        admin::create_workspace(&config, "field", admin::NewWorkspace::default()).unwrap();
        let place = Self { config, _directory: directory };
        let store = place.store();
        let already = read(&store, |tx| tx.audit_head()).unwrap().number;
        for n in already + 1..=entries {
            write(&store, |tx| audit::append(tx, &entry(n))).unwrap();
        }
        place
    }

    fn path(&self) -> PathBuf {
        Workspaces::path(&self.config.data_dir, "field")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), SqliteOptions::default()).unwrap()
    }

    /// Runs a statement on the file, as somebody with a shell can.
    fn run(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    fn verify(&self) -> Result<Summary, Finding> {
        verify(&self.config, "field", None).unwrap()
    }
}

#[test]
fn every_column_of_the_file_is_watched() {
    for (sql, found) in [
        ("UPDATE audit SET entry = substr(entry, 2) WHERE n = 4", Finding::Altered { number: 4 }),
        ("UPDATE audit SET hash = zeroblob(32) WHERE n = 7", Finding::Altered { number: 7 }),
        ("UPDATE audit SET hash = zeroblob(31) WHERE n = 7", Finding::Altered { number: 7 }),
        ("UPDATE audit SET n = 99 WHERE n = 3", Finding::Removed { first: 3, last: 3 }),
        ("UPDATE audit SET n = -3 WHERE n = 3", Finding::Altered { number: 1 }),
        ("DELETE FROM audit WHERE n = 1", Finding::Removed { first: 1, last: 1 }),
        ("DELETE FROM audit WHERE n BETWEEN 5 AND 8", Finding::Removed { first: 5, last: 8 }),
        ("UPDATE audit_head SET hash = zeroblob(32)", Finding::HeadAltered { number: 12 }),
        ("UPDATE audit_head SET n = 11", Finding::Added { first: 12 }),
        ("DELETE FROM audit_head", Finding::HeadAltered { number: 12 }),
    ] {
        let place = Place::with(12);
        assert_eq!(place.verify().unwrap().head.number, 12);
        place.run(sql);
        assert_eq!(place.verify(), Err(found), "{sql}");
    }
}

#[test]
fn an_old_copy_of_the_file_is_found_against_a_head_that_was_kept_elsewhere() {
    let place = Place::with(12);
    let old = place.path().with_extension("old");
    place.run(&format!("VACUUM INTO '{}'", old.display()));
    write(&place.store(), |tx| audit::append(tx, &entry(13))).unwrap();
    let saved = head(&place.config, "field").unwrap();
    assert_eq!(saved.number, 13);
    assert_eq!(saved.to_string().parse(), Ok(saved));
    for leftover in ["db-wal", "db-shm"] {
        // The store that was dropped has folded its log into the file.
        std::fs::remove_file(place.path().with_extension(leftover)).unwrap_or_default();
    }
    std::fs::rename(old, place.path()).unwrap();
    assert!(place.verify().is_ok(), "the copy is sound by itself");
    let found = verify(&place.config, "field", Some(saved)).unwrap().unwrap_err();
    assert!(found.to_string().contains("the saved head names entry 13"), "{found}");
}

#[test]
fn an_audit_is_read_while_the_workspace_is_open() {
    let place = Place::with(12);
    let store = place.store();
    write(&store, |tx| audit::append(tx, &entry(13))).unwrap();
    assert_eq!(place.verify().unwrap().head.number, 13);
    assert_eq!(head(&place.config, "field").unwrap(), read(&store, |tx| tx.audit_head()).unwrap());
    let mut lines = Vec::new();
    export(&place.config, "field", 12, ExportFormat::JsonLines, &mut lines).unwrap();
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 2);
    let mut lines = Vec::new();
    export(&place.config, "field", 13, ExportFormat::Csv, &mut lines).unwrap();
    assert!(String::from_utf8(lines).unwrap().starts_with("n,received_at,"));
}

#[test]
fn a_damaged_entry_is_not_exported_as_if_it_were_whole() {
    let place = Place::with(12);
    place.run("UPDATE audit SET entry = x'00' WHERE n = 5");
    let mut lines = Vec::new();
    let error = export(&place.config, "field", 1, ExportFormat::Csv, &mut lines).unwrap_err();
    assert!(matches!(&error, AdminError::Store(StoreError::Damaged(_))));
    assert!(error.to_string().contains("entry 5"), "{error}");
}

#[test]
fn an_entry_falls_with_the_transaction_that_it_tells_of() {
    let place = Place::with(12);
    let store = place.store();
    let failed = write(&store, |tx| {
        audit::append(tx, &entry(13))?;
        Err::<(), _>(StoreError::Full)
    });
    assert!(failed.is_err());
    assert_eq!(place.verify().unwrap().head.number, 12);
    // An entry that does not follow the last one is not taken.
    let row = AuditRow { number: 15, bytes: entry(15).to_bytes(15), hash: [0; 32] };
    assert!(write(&store, |tx| tx.append_audit(&row)).is_err());
    let rows = read(&store, |tx| tx.audit_after(10, 10)).unwrap();
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [11, 12]);
    let _: &dyn Store = &store;
}

#[test]
fn a_workspace_that_is_not_there_is_named() {
    let place = Place::with(1);
    let error = head(&place.config, "other").unwrap_err();
    assert!(error.is_bad_input() && error.to_string().contains("`other`"), "{error}");
    assert!("HASH@1".parse::<Head>().is_err() && "".parse::<Head>().is_err());
}
