//! Users, as an app's operations know them: what one of them sees on a device, and does there.

use client_sdk::{Choice, EditError, Edits, Record, Transaction};
use crdt_core::id::{BatchId, RecordId};
use crdt_core::record::Value;

use super::guest::{Guest, Note};
use super::stage::Stage;
use crate::harness::world::Device;

/// A user at a device of theirs.
pub struct User<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) guest: &'a mut Guest,
    pub(super) device: Device,
    /// The batch of the last thing that the user did and the device confirmed.
    pub(super) batch: Option<BatchId>,
}

impl User<'_> {
    /// The member's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.guest.name_of(self.stage, self.device)
    }

    /// The records of an entity that the device shows, the oldest first.
    #[must_use]
    pub fn records(&self, entity: &str) -> Vec<RecordId> {
        shown(self.stage, self.device, entity)
    }

    /// What the device shows of a record, if it has it.
    #[must_use]
    pub fn see(&self, id: RecordId) -> Option<Record> {
        self.stage.world.find(self.device, id)
    }

    /// Makes a record; nothing when the device refuses it.
    pub fn create(&mut self, entity: &str, edits: Edits) -> Option<RecordId> {
        self.transaction(|tx| tx.create(entity, edits))
    }

    /// Edits a record; whether the device confirmed it.
    pub fn update(&mut self, id: RecordId, edits: Edits) -> bool {
        self.transaction(|tx| tx.update(id, edits)).is_some()
    }

    /// Deletes a record; whether the device confirmed it.
    pub fn delete(&mut self, id: RecordId) -> bool {
        self.transaction(|tx| tx.delete(id)).is_some()
    }

    /// Decides a conflict; whether the device confirmed it.
    pub fn resolve(&mut self, id: RecordId, field: &str, choice: Choice) -> bool {
        self.transaction(|tx| tx.resolve(id, field, choice)).is_some()
    }

    /// Runs a transaction; nothing when the device refuses it, or its disk is in trouble.
    ///
    /// # Panics
    /// When the device's store fails for no reason.
    pub fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Option<T> {
        let before = self.stage.world.last_batch(self.device);
        self.batch = None;
        match self.stage.world.edit_now(self.device, work) {
            Ok(done) => {
                let after = self.stage.world.last_batch(self.device);
                self.batch = after.filter(|batch| Some(*batch) != before);
                Some(done)
            }
            Err(EditError::Store(error)) if !self.stage.is_troubled(self.device) => {
                panic!("{}: {error}", self.stage.world.at(self.device).name)
            }
            Err(_) => None,
        }
    }

    /// Notes something about what was confirmed last, for the invariants to be held against: they are shown
    /// the notes of what the server has accepted.
    pub fn note(&mut self, what: &str, record: RecordId, value: impl Into<Value>) {
        if let Some(batch) = self.batch {
            let note = Note { what: what.to_owned(), record, value: value.into() };
            self.guest.notes.entry(batch).or_default().push(note);
        }
    }
}

/// The records of an entity that a device shows, the oldest first.
pub(super) fn shown(stage: &Stage, device: Device, entity: &str) -> Vec<RecordId> {
    let sql = format!("SELECT _id FROM \"{entity}\" ORDER BY _created_at, _id");
    let rows = stage.world.at(device).client().query(&sql, &[], Default::default());
    let rows = rows.expect("the schema has the entity, and its table can be read").rows;
    let ids = rows.into_iter().filter_map(|row| match row.into_iter().next() {
        Some(Value::Bytes(bytes)) => RecordId::try_from(&bytes[..]).ok(),
        _ => None,
    });
    ids.collect()
}
