//! The ledger and the workspace brought together, before anybody is served: what one knows and the other does
//! not, as after a restore from an older backup, or after a crash between the two.

use crdt_core::time::Timestamp;

use super::Workspace;
use super::erase::{EraseError, Order};
use crate::audit::{self, Act, Who};
use crate::ledger::{Ledger, LedgerEntry};
use crate::store::{self, StoreError};

impl Workspace {
    /// The same workspace with its ledger. What the ledger says and the storage does not know is done again,
    /// at `now`; what the storage knows and the ledger lacks is noted there first.
    ///
    /// # Errors
    /// When the ledger cannot be written or the storage fails: then nobody may be served.
    pub fn with_ledger(mut self, now: Timestamp, mut ledger: Ledger) -> Result<Self, StoreError> {
        for entry in store::read(&*self.store, |tx| known(tx))? {
            ledger.append(entry)?;
        }
        let entries = ledger.entries().to_vec();
        self.ledger = Some(ledger);
        self.replay_revocations(now)?;
        for entry in entries {
            self.replay_erasure(now, &entry)?;
        }
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

    fn replay_erasure(&mut self, now: Timestamp, entry: &LedgerEntry) -> Result<(), StoreError> {
        let LedgerEntry::Erased { record, at, by } = *entry else { return Ok(()) };
        if self.rules.erased.contains(&record) {
            return Ok(());
        }
        let who = Who { member: by, ..Who::default() };
        match self.carry_out(now, &Order { record, at, who, policy_version: 0 }) {
            Ok(position) => {
                tracing::info!(%record, position, "a record of the ledger was erased again");
                Ok(())
            }
            Err(EraseError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Backend(error.into())),
        }
    }
}

/// What the storage says that belongs on the ledger.
fn known(tx: &dyn store::Read) -> Result<Vec<LedgerEntry>, StoreError> {
    let revoked = tx.revoked()?.into_iter();
    let mut entries: Vec<LedgerEntry> =
        revoked.map(|(device, at)| LedgerEntry::Revoked { device, at }).collect();
    for (_, record) in tx.erased_after(0, i64::MAX as usize)? {
        let row = tx.erasure(&record)?;
        entries.extend(row.map(|row| LedgerEntry::Erased { record, at: row.at, by: row.by }));
    }
    Ok(entries)
}
