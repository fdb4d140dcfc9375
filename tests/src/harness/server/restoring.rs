//! The server's database put back to an older state, as the command for it does.

use crdt_core::id::Epoch;
use crdt_core::time::Timestamp;
use rand::RngCore as _;
use sync_server::store;
use sync_server::store::recovery::Restoration;
use sync_server::store::sqlite::SqliteStore;
use sync_server::workspace::{self, Origin, Replaced};

use super::SimServer;
use crate::harness::files::Files;

impl SimServer {
    /// A copy of its database's files, between two commits.
    pub(in crate::harness) fn copy_files(&self) -> Files {
        Files::copy(&self.path)
    }

    /// Puts these files in the place of its own and begins a new epoch. It does not run.
    pub(in crate::harness) fn restore(&mut self, files: &Files, now: Timestamp) -> Restoration {
        let present = self.copy_files();
        files.put_back();
        let backup = store::read(&self.open_store(), |tx| tx.log());
        let backup = backup.expect("the backup's log can be read");
        present.put_back();
        let replaced = Replaced::read(&self.open_store(), &backup);
        files.put_back();
        let replaced = replaced.expect("the log that is replaced can be read");
        let epoch = self.new_epoch();
        let origin = Origin::Backup(Some(&replaced));
        let begun = workspace::begin_epoch(&self.open_store(), now, epoch, origin);
        begun.expect("the storage takes a new epoch")
    }

    /// An identity for a new log.
    pub(in crate::harness) fn new_epoch(&mut self) -> Epoch {
        let mut epoch = [0; 16];
        self.leases.fill_bytes(&mut epoch);
        Epoch(epoch)
    }

    fn open_store(&self) -> SqliteStore {
        assert!(self.running.is_none(), "a running server holds its database");
        let options = self.options;
        SqliteStore::open(&self.path, options).expect("the server's file can be opened")
    }
}
