//! SQLite owes what every backend owes.

#[path = "support/shared.rs"]
mod support;

use std::sync::Arc;

use crdt_core::id::Epoch;
use crdt_core::schema::Schema;
use sync_server::store::conformance::{Harness, run};
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{Store, StoreError};

struct File(tempfile::TempDir);

impl Harness for File {
    fn open(&mut self) -> Result<Arc<dyn Store>, StoreError> {
        let path = self.0.path().join("w.db");
        if !path.exists() {
            SqliteStore::create(&path, Epoch([7; 16]), Schema::builtin().text())?;
        }
        Ok(Arc::new(SqliteStore::open(&path, SqliteOptions::default())?))
    }
}

#[test]
fn sqlite_keeps_every_contract() {
    run(&mut || Box::new(File(support::world::directory())));
}
