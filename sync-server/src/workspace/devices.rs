//! Devices: which there are, and shutting one out.

use std::collections::BTreeSet;

use crdt_core::id::{DeviceId, MemberId, ReplicaId};
use crdt_core::time::Timestamp;

use super::Workspace;
use crate::audit::{self, Act};
use crate::ledger::LedgerEntry;
use crate::store::{self, StoreError};

/// A replica and the device that it was last seen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub device: DeviceId,
    /// What it calls itself.
    pub name: String,
    /// Whose it is.
    pub member: MemberId,
    /// The database file.
    pub replica: ReplicaId,
    /// When it was here last.
    pub last_seen: Timestamp,
    /// When the device was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

impl Workspace {
    /// Every replica of every device, in the order of replicas; the server's own is not among them.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn devices(&self) -> Result<Vec<Device>, StoreError> {
        store::read(&*self.store, |tx| {
            let mut devices = Vec::new();
            for row in tx.replicas()? {
                if row.id == self.rules.server {
                    continue;
                }
                devices.push(Device {
                    revoked_at: tx.revoked_at(&row.device)?,
                    device: row.device,
                    name: row.device_name,
                    member: row.member,
                    replica: row.id,
                    last_seen: row.last_seen,
                });
            }
            Ok(devices)
        })
    }

    /// Shuts a device out: its replicas' sessions end, it is told to wipe what it holds at its next contact,
    /// and nothing is taken from it any more. The replicas that it has; a device that was never here is shut
    /// out as well.
    ///
    /// # Errors
    /// When the ledger or the storage fails. Once it is on the ledger, the next start does the rest.
    pub fn revoke_device(
        &mut self,
        now: Timestamp,
        device: DeviceId,
    ) -> Result<BTreeSet<ReplicaId>, StoreError> {
        if let Some(ledger) = &mut self.ledger {
            ledger.append(LedgerEntry::Revoked { device, at: now })?;
        }
        let replicas = store::write(&*self.store, |tx| {
            tx.revoke(&device, now)?;
            audit::append_act(tx, now, Act::DeviceRevoked { device })?;
            let rows = tx.replicas()?.into_iter().filter(|row| row.device == device);
            Ok(rows.map(|row| row.id).collect::<BTreeSet<ReplicaId>>())
        })?;
        self.aftermath.revoked.extend(replicas.iter().copied());
        Ok(replicas)
    }
}
