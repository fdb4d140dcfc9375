//! Accounts: what each device holds of what it confirmed.

use client_sdk::{Client, SyncPhase};

use super::super::ledger::Held;
use super::{Device, World};

impl World {
    fn held_by(&self, device: Device) -> Held {
        let at = self.at(device);
        let epoch_of = |client: &Client| client.hello(String::new()).map(|hello| hello.epoch);
        let knows_the_log = self.epoch.is_none_or(|epoch| {
            epoch_of(at.client()).expect("a device can be read") == Some(epoch)
        });
        let mut copies = self.copies.iter();
        let has_copies = copies.any(|(copy, origin)| [*copy, *origin].contains(&device.0));
        let mut held = Held::by(at.client(), knows_the_log && at.sync().is_synced(), has_copies);
        held.may_be_erased = self.was_asked_to_erase;
        held
    }

    /// Notes what a device that has just started, or runs, still holds of what the server has lost.
    pub(super) fn ask_for_lost(&mut self, device: Device) {
        if self.ledger.is_unasked(device.0) {
            let held = self.held_by(device);
            self.ledger.ask(device.0, &held);
        }
    }

    /// Checks that a device's confirmed batches are each in one place.
    ///
    /// # Panics
    /// When one is not.
    pub fn check_account(&self, device: Device) {
        let at = self.at(device);
        if self.is_shut_out(device) {
            return;
        }
        let phase = at.sync().status().phase;
        assert_ne!(phase, SyncPhase::Revoked, "{} was never shut out", at.name);
        let held = self.held_by(device);
        if let Some(fault) = self.ledger.fault(device.0, &held, self.server.log()) {
            panic!("{}: {fault}", self.at(device).name);
        }
    }
}
