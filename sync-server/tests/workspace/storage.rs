//! When the storage is full or damaged: nothing is answered, nothing is changed, and it goes on afterwards.

use std::sync::Arc;

use crdt_core::id::Epoch;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{self, StoreError};
use sync_server::workspace::{OpenError, Workspace};

use crate::support::device::put;
use crate::support::world::{LIMITS, World, directory};

#[test]
fn a_full_database_answers_nothing_and_works_again_when_there_is_room() {
    let options = SqliteOptions { max_page_count: Some(60), ..SqliteOptions::default() };
    let mut world = World::new().reopen(options);
    let mut device = world.device(1);
    let long = "x".repeat(8_000);
    let mut left = None;
    for _ in 0..200 {
        let (_, batch) = device.create("contact", &[put("note", &long)]);
        let (head, receipt) = (world.head(), device.receipt);
        match world.commit(&[(&device, batch.clone())]) {
            Ok(committed) => {
                committed.receipts.iter().for_each(|(_, receipt)| device.received(receipt));
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Full), "{error}");
                assert_eq!(world.head(), head, "nothing was accepted");
                let kept =
                    store::read(&*world.store, |tx| tx.receipts_after(&device.replica, receipt));
                assert_eq!(kept.unwrap(), [], "nothing is answered later either");
                left = Some(batch);
                break;
            }
        }
    }
    let left = left.expect("sixty pages of 4 KiB are full before 200 records of 8 kB are in");
    let Err(error) = world.commit(&[(&device, left.clone())]) else { panic!("still full") };
    assert!(matches!(error, StoreError::Full));
    let head = world.head();
    let mut world = world.reopen(SqliteOptions::default());
    assert_eq!(world.accept(&mut device, left), head + 1);
    let mut other = world.device(2);
    world.sync(&mut other);
    world.assert_same(&other);
    assert_eq!(other.documents.len() as u64, head + 1);
}

#[test]
fn a_workspace_is_open_once_only() {
    let world = World::new();
    let second = SqliteStore::open(&world.path(), SqliteOptions::default());
    assert!(matches!(second, Err(StoreError::InUse)));
}

#[test]
fn a_file_that_is_no_workspace_is_refused_and_left_alone() {
    let folder = directory();
    let path = folder.path().join("w.db");
    std::fs::write(&path, vec![7; 9_000]).unwrap();
    let opened = SqliteStore::open(&path, SqliteOptions::default());
    assert!(matches!(opened, Err(StoreError::Damaged(_))), "{:?}", opened.err());
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 9_000]);
    assert!(SqliteStore::create(&path, Epoch([1; 16]), "").is_err(), "nothing is overwritten");
}

#[test]
fn a_file_of_a_newer_server_is_refused() {
    let folder = directory();
    let path = folder.path().join("w.db");
    SqliteStore::create(&path, Epoch([7; 16]), "version = 1\n").unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let opened = SqliteStore::open(&path, SqliteOptions::default());
    assert!(matches!(opened, Err(StoreError::Newer { found: 99, .. })), "{:?}", opened.err());
}

#[test]
fn a_schema_that_does_not_parse_is_damage() {
    let folder = directory();
    let path = folder.path().join("w.db");
    SqliteStore::create(&path, Epoch([7; 16]), "entity = 3").unwrap();
    let store = Arc::new(SqliteStore::open(&path, SqliteOptions::default()).unwrap());
    let opened = Workspace::open(store, LIMITS);
    assert!(matches!(opened, Err(OpenError::Schema(_))));
}

#[test]
fn a_damaged_document_fails_its_own_batches_and_no_others() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (record, batch) = device.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut device, batch);
    store::write(&*world.store, |tx| tx.set_cells(1, b"damaged")).unwrap();
    let batch = device.edit(record, &[put("title", "x")]);
    let failed = world.commit(&[(&device, batch)]);
    assert!(matches!(failed, Err(StoreError::Damaged(_))), "{:?}", failed.err());
    let (_, batch) = device.create("contact", &[put("last_name", "Bea")]);
    assert_eq!(world.accept(&mut device, batch), 2);
}
