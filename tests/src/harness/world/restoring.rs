//! The server's backups, and putting the server back to one.

use sync_server::store::recovery::Restoration;
use sync_server::workspace::RelayStatus;

use super::super::files::Files;
use super::super::tally::Fault;
use super::World;

/// The server's database at one moment.
#[derive(Debug, Clone)]
pub struct ServerBackup {
    files: Files,
    /// The log's last position.
    pub head: u64,
}

impl World {
    /// Copies the server's database; between two events nobody writes to it.
    #[must_use]
    pub fn back_up_server(&self) -> ServerBackup {
        ServerBackup { files: self.server.copy_files(), head: self.server.read(|tx| tx.head()) }
    }

    /// The server dies, its database is put back to an older state, a new epoch begins, and the server starts
    /// again.
    pub fn restore_server(&mut self, backup: &ServerBackup) -> Restoration {
        self.tally.count(Fault::ServerRestore);
        self.stop_server();
        let restoration = self.server.restore(&backup.files, self.time.true_wall());
        self.start_server();
        restoration
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
        backup.files.put_back();
        self.start_server();
    }

    /// The operator says that the server was put back: a new epoch begins where its log ends.
    pub fn confirm_restore(&mut self) -> Restoration {
        self.stop_server();
        let restoration = self.server.begin_epoch(self.time.true_wall(), None);
        self.start_server();
        restoration
    }
}
