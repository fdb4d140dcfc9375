//! What an app's invariants are held against: a workspace at rest, as every device shows it.

use client_sdk::Record;
use crdt_core::id::RecordId;

use super::guest::{Guest, Note};
use super::stage::Stage;
use super::user;
use crate::harness::world::Device;

/// A workspace at rest: everything was sent and answered, and every device has what its member may have.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) stage: &'a Stage,
    pub(super) guest: &'a Guest,
}

impl<'a> View<'a> {
    /// Every device.
    pub fn devices(&self) -> impl Iterator<Item = Device> + use<'a> {
        self.stage.devices.iter().copied()
    }

    /// The name of a device's member.
    #[must_use]
    pub fn name(&self, device: Device) -> &'a str {
        self.guest.name_of(self.stage, device)
    }

    /// The records of an entity that a device shows, the oldest first.
    #[must_use]
    pub fn records(&self, device: Device, entity: &str) -> Vec<Record> {
        let ids = user::shown(self.stage, device, entity).into_iter();
        ids.filter_map(|id| self.see(device, id)).collect()
    }

    /// What a device shows of a record, if it has it.
    #[must_use]
    pub fn see(&self, device: Device, id: RecordId) -> Option<Record> {
        self.stage.world.find(device, id)
    }

    /// What users noted under a name about things that the server has accepted.
    pub fn notes(&self, what: &str) -> impl Iterator<Item = &'a Note> {
        let log = self.stage.world.server().log();
        let accepted = self.guest.notes.iter().filter(|(batch, _)| log.contains_key(*batch));
        accepted.flat_map(|(_, notes)| notes).filter(move |note| note.what == what)
    }
}
