//! Erasure: by the operator, and by a member through the device; and what is left of a record anywhere.

use std::collections::BTreeMap;
use std::fs;

use client_sdk::engine::{EraseFailure, Input};
use crdt_core::id::RecordId;
use sync_server::workspace::{Certificate, EraseError, Scrubbing};

use super::{Device, World, holds};

/// The answers to erasures that devices have asked for, by the numbers of their requests.
pub(super) type Erasures = BTreeMap<u64, Option<Result<u64, EraseFailure>>>;

impl World {
    /// Erases a record for the operator; the position of its erasure.
    ///
    /// # Errors
    /// Those of the workspace.
    pub fn erase(&mut self, record: RecordId) -> Result<u64, EraseError> {
        self.was_asked_to_erase = true;
        let now = self.time.true_wall();
        self.govern(|workspace| workspace.erase(now, record))
    }

    /// Asks for the erasure of a record on a device, as its app does; the number of the request.
    pub fn ask_erasure(&mut self, device: Device, record: RecordId) -> u64 {
        self.was_asked_to_erase = true;
        let request = self.erasures.len() as u64 + 1;
        self.erasures.insert(request, None);
        self.give(device, Input::Erase { request, record });
        request
    }

    /// What became of an erasure that a device asked for; nothing while it is not answered.
    #[must_use]
    pub fn erasure_answer(&self, request: u64) -> Option<Result<u64, EraseFailure>> {
        self.erasures.get(&request).cloned().flatten()
    }

    pub(super) fn note_erasure(&mut self, request: u64, answer: Result<u64, EraseFailure>) {
        self.erasures.insert(request, Some(answer));
    }

    /// Removes the server's traces of what was erased, as an idle server does.
    ///
    /// # Panics
    /// When the server's storage fails, or somebody stands in the way.
    pub fn scrub_server(&mut self) {
        let now = self.time.true_wall();
        let scrubbed = self.govern(|workspace| workspace.scrub(now));
        let scrubbed = scrubbed.expect("the server's storage can be scrubbed");
        assert_ne!(scrubbed, Scrubbing::Busy, "nobody reads between two events");
    }

    /// What is known of an erasure.
    ///
    /// # Panics
    /// When the server's storage fails.
    pub fn certificate(&mut self, record: RecordId) -> Option<Certificate> {
        self.govern(|workspace| workspace.certificate(record)).expect("the server can be read")
    }

    /// The files of the server in which some bytes stand: database, write-ahead log, ledger.
    ///
    /// # Panics
    /// When the files cannot be read.
    #[must_use]
    pub fn server_files_with(&self, needle: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for file in fs::read_dir(self.folder.path()).expect("the simulation's folder can be read") {
            let file = file.expect("the simulation's folder can be read");
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("server.") {
                let bytes = fs::read(file.path()).expect("a file can be read");
                found.extend(holds(&bytes, needle).then_some(name));
            }
        }
        found
    }
}
