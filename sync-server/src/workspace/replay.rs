//! The ledger and the workspace brought together, before anybody is served: what one knows and the other does
//! not, as after a restore from an older backup, or after a crash between the two.

use crdt_core::time::Timestamp;

use super::Workspace;
use crate::audit::{self, Act};
use crate::ledger::{Ledger, LedgerEntry};
use crate::store::{self, StoreError};

impl Workspace {
    /// The same workspace with its ledger. What the ledger says and the storage does not know is done again,
    /// at `now`; what the storage knows and the ledger lacks is noted there first.
    ///
    /// # Errors
    /// When the ledger cannot be written or the storage fails: then nobody may be served.
    pub fn with_ledger(mut self, now: Timestamp, mut ledger: Ledger) -> Result<Self, StoreError> {
        let revoked = store::read(&*self.store, |tx| tx.revoked())?;
        for (device, at) in revoked {
            ledger.append(LedgerEntry::Revoked { device, at })?;
        }
        self.ledger = Some(ledger);
        self.replay_revocations(now)?;
        Ok(self)
    }

    fn replay_revocations(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let revoked = ledger.revoked();
        store::write(&*self.store, |tx| {
            for (device, at) in &revoked {
                if tx.revoked_at(device)?.is_none() {
                    tx.revoke(device, *at)?;
                    audit::append_act(tx, now, Act::DeviceRevoked { device: *device })?;
                }
            }
            Ok(())
        })
    }
}
