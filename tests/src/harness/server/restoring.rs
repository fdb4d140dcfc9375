//! The server's database put back to an older state, as the command for it does.

use crdt_core::id::Epoch;
use crdt_core::time::Timestamp;
use rand::RngCore as _;
use sync_server::store::recovery::Restoration;
use sync_server::store::sqlite::SqliteStore;
use sync_server::store::{self, LogInfo};
use sync_server::workspace;

use super::SimServer;
use crate::harness::files::Files;

impl SimServer {
    /// A copy of its database's files, between two commits.
    pub(in crate::harness) fn copy_files(&self) -> Files {
        Files::copy(&self.path)
    }

    /// Puts these files in the place of its own and begins a new epoch. It does not run.
    pub(in crate::harness) fn restore(&mut self, files: &Files, now: Timestamp) -> Restoration {
        let replaced = store::read(&self.open_store(), |tx| tx.log());
        files.put_back();
        self.begin_epoch(now, Some(&replaced.expect("the log that is replaced can be read")))
    }

    /// Begins a new epoch where its log ends. It does not run.
    pub(in crate::harness) fn begin_epoch(
        &mut self,
        now: Timestamp,
        replaced: Option<&LogInfo>,
    ) -> Restoration {
        let mut epoch = [0; 16];
        self.leases.fill_bytes(&mut epoch);
        let begun = workspace::begin_epoch(&self.open_store(), now, Epoch(epoch), replaced);
        begun.expect("the storage takes a new epoch")
    }

    fn open_store(&self) -> SqliteStore {
        assert!(self.running.is_none(), "a running server holds its database");
        let options = self.options;
        SqliteStore::open(&self.path, options).expect("the server's file can be opened")
    }
}
