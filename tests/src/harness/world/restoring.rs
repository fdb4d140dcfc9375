//! The server's backups, and putting the server back to one.

use std::collections::BTreeMap;

use crdt_core::id::{BatchId, Epoch};
use sync_server::store::recovery::{BackupRow, Restoration};
use sync_server::workspace::{RecoveryStatus, RelayStatus};

use super::super::files::Files;
use super::super::tally::Fault;
use super::World;

/// The server's database at one moment.
#[derive(Debug, Clone)]
pub struct ServerBackup {
    files: Files,
    /// The log's identity.
    epoch: Epoch,
    /// The log's last position.
    pub head: u64,
}

impl World {
    /// Whether the server lost a batch when it was put back, and has not taken it again: what it said may be back
    /// all the same, from whoever else held it.
    #[must_use]
    pub fn is_lost(&self, batch: &BatchId) -> bool {
        self.ledger.is_lost(batch) && !self.server.log().contains_key(batch)
    }

    /// Whether the server lost a batch at some time when it was put back; it may have taken it again since.
    #[must_use]
    pub fn was_lost(&self, batch: &BatchId) -> bool {
        self.ledger.is_lost(batch)
    }

    /// Copies the server's database; between two events nobody writes to it.
    #[must_use]
    pub fn back_up_server(&self) -> ServerBackup {
        let log = self.server.read(|tx| tx.log());
        ServerBackup { files: self.server.copy_files(), epoch: log.epoch, head: log.head }
    }

    /// The server dies, its database is put back to an older state, a new epoch begins, and the server starts
    /// again.
    pub fn restore_server(&mut self, backup: &ServerBackup) -> Restoration {
        self.tally.count(Fault::ServerRestore);
        self.stop_server();
        let before = self.server.log().clone();
        let restoration = self.server.restore(&backup.files, self.time.true_wall());
        self.start_server();
        self.lose_since(before);
        restoration
    }

    /// The server has lost what of this log is not in its present one.
    fn lose_since(&mut self, before: BTreeMap<BatchId, u64>) {
        self.epoch = Some(self.server.read(|tx| tx.log()).epoch);
        let log = self.server.log();
        let lost: Vec<BatchId> =
            before.into_keys().filter(|batch| !log.contains_key(batch)).collect();
        self.ledger.lose(lost);
        for device in self.everyone() {
            if self.at(device).is_running() && !self.is_shut_out(device) {
                self.ask_for_lost(device);
            }
        }
    }

    /// How the server stands with what devices give back.
    ///
    /// # Panics
    /// When it was never restored.
    pub fn relay_status(&mut self) -> RelayStatus {
        let now = self.time.true_wall();
        let status = self.govern(|workspace| workspace.relay_status(now));
        status.expect("the server can be read").expect("it was restored")
    }

    /// The operator ends the time in which other people's changes are taken.
    ///
    /// # Panics
    /// When the server does not store that.
    pub fn close_relay(&mut self) {
        let now = self.time.true_wall();
        self.govern(|workspace| workspace.close_relay(now)).expect("the server stores it");
    }

    /// The server dies, and its database is put back to an older state by somebody who says nothing of it.
    pub fn put_server_back(&mut self, backup: &ServerBackup) {
        self.tally.count(Fault::ServerRestore);
        self.stop_server();
        let before = self.server.log().clone();
        backup.files.put_back();
        self.start_server();
        self.lose_since(before);
    }

    /// The operator says that the server was put back, and nobody knows to where.
    ///
    /// # Panics
    /// When the server does not store that.
    pub fn confirm_restore(&mut self) -> Restoration {
        let (now, epoch) = (self.time.true_wall(), self.server.new_epoch());
        let restoration = self.govern(|workspace| workspace.confirm_restore(now, epoch, 0));
        self.epoch = Some(self.server.read(|tx| tx.log()).epoch);
        restoration.expect("the server begins a new epoch")
    }

    /// Tells the server of a backup: devices need not keep what it holds.
    ///
    /// # Panics
    /// When the server does not store that.
    pub fn note_backup(&mut self, backup: &ServerBackup) {
        let row = BackupRow { position: backup.head, at: self.time.true_wall() };
        let noted = self.govern(|workspace| workspace.note_backup(backup.epoch, &row));
        noted.expect("the server notes a backup");
    }

    /// How far the server has come back since it was restored.
    ///
    /// # Panics
    /// When it does not run or cannot be read.
    pub fn recovery(&mut self) -> RecoveryStatus {
        self.govern(|workspace| workspace.recovery()).expect("the server can be read")
    }
}
