//! What can be done to the disks of a world: power that goes, operations that fail, no room.

use super::super::tally::Fault;
use super::{Device, World};
use crate::vfs::{Disk, Trouble};

/// Whose disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// A device's.
    Device(Device),
    /// The server's.
    Server,
}

impl World {
    /// A device loses its power: what its disk had not synced is lost, torn or reordered. It stays dead until
    /// [`World::start_device`].
    pub fn power_off(&mut self, device: Device) {
        self.count(Fault::PowerCut);
        self.devices[device.0].lose_power(&mut self.rng);
        self.devices[device.0].clock.reboot();
        self.orphan(device);
    }

    /// The server loses its power. It stays away until [`World::start_server`].
    pub fn power_off_server(&mut self) {
        self.count(Fault::ServerPowerCut);
        let wires = self.server.lose_power(&mut self.rng);
        self.server_died(&wires);
    }

    /// Lets one operation of a disk fail, after so many of its class that still succeed.
    pub fn fail_io(&mut self, storage: Storage, trouble: Trouble, after: u64) {
        self.disk_of(storage).fail(trouble, after, 1);
    }

    /// A disk has no room for any write from now on.
    pub fn fill_disk(&mut self, storage: Storage) {
        self.disk_of(storage).fail(Trouble::Full, 0, u64::MAX);
    }

    /// Makes room on a disk, and takes back what else was to befall it. Faults that have struck since are
    /// counted now.
    pub fn calm_disk(&mut self, storage: Storage) {
        let (trouble, struck) = self.disk_of(storage).calm();
        let fault = if trouble == Some(Trouble::Full) { Fault::DiskFull } else { Fault::IoError };
        (0..struck.min(1)).for_each(|_| self.count(fault));
    }

    /// A disk.
    #[must_use]
    pub fn disk_of(&self, storage: Storage) -> &Disk {
        match storage {
            Storage::Device(device) => self.at(device).disk(),
            Storage::Server => self.server.disk(),
        }
    }
}
