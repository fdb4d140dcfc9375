//! What users do and see, in the words of the stories.

use client_sdk::{Choice, Dispute, EditError, Edits, FieldConflict, Record};
use crdt_core::id::RecordId;
use crdt_core::record::Value;

use super::world::{Device, World};

impl World {
    /// A user makes a record.
    ///
    /// # Panics
    /// When the device refuses it.
    pub fn create(&mut self, device: Device, entity: &str, edits: Edits) -> RecordId {
        self.edit(device, |tx| tx.create(entity, edits)).expect("the device takes the new record")
    }

    /// A user edits a record.
    ///
    /// # Panics
    /// When the device refuses it.
    pub fn update(&mut self, device: Device, id: RecordId, edits: Edits) {
        self.edit(device, |tx| tx.update(id, edits)).expect("the device takes the edit");
    }

    /// A user sets one field.
    ///
    /// # Panics
    /// When the device refuses it.
    pub fn set(&mut self, device: Device, id: RecordId, field: &str, value: impl Into<Value>) {
        self.update(device, id, Edits::new().set(field, value));
    }

    /// A user deletes a record.
    ///
    /// # Panics
    /// When the device refuses it.
    pub fn delete(&mut self, device: Device, id: RecordId) {
        self.edit(device, |tx| tx.delete(id)).expect("the device takes the deletion");
    }

    /// A user decides a conflict.
    ///
    /// # Panics
    /// When the device refuses it.
    pub fn decide(&mut self, device: Device, id: RecordId, field: &str, choice: Choice) {
        self.edit(device, |tx| tx.resolve(id, field, choice)).expect("the conflict is there");
    }

    /// What a device shows of a record.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn see(&self, device: Device, id: RecordId) -> Record {
        self.find(device, id)
            .unwrap_or_else(|| panic!("{} has no record {id}", self.at(device).name))
    }

    /// What a device shows of a record, if it has it.
    #[must_use]
    pub fn find(&self, device: Device, id: RecordId) -> Option<Record> {
        self.at(device).client().get(id).expect("a device can be read")
    }

    /// Checks what every device shows in a field.
    ///
    /// # Panics
    /// When one shows something else.
    pub fn assert_all_see(&self, id: RecordId, field: &str, value: impl Into<Value>) {
        let value = value.into();
        for device in self.everyone() {
            let seen = self.see(device, id);
            assert_eq!(*seen.value(field), value, "{} shows {field}", self.at(device).name);
        }
    }

    /// The conflicts of a record, as a device shows them.
    ///
    /// # Panics
    /// When the device cannot be read.
    #[must_use]
    pub fn conflicts(&self, device: Device, id: RecordId) -> Vec<FieldConflict> {
        self.at(device).client().conflicts(Some(id)).expect("a device can be read")
    }

    /// The values of a field's conflict, the one that shows first, on every device; nothing when there is
    /// none.
    ///
    /// # Panics
    /// When devices differ.
    #[must_use]
    pub fn contenders(&self, id: RecordId, field: &str) -> Vec<Value> {
        let mut seen: Option<Vec<Value>> = None;
        for device in self.everyone() {
            let conflicts = self.conflicts(device, id);
            let found = conflicts.into_iter().find(|conflict| conflict.field == field);
            let values: Vec<Value> = found.map_or_else(Vec::new, |conflict| {
                conflict.values.into_iter().map(|contender| contender.value).collect()
            });
            match &seen {
                Some(before) => assert_eq!(*before, values, "devices differ in {field}"),
                None => seen = Some(values),
            }
        }
        seen.unwrap_or_default()
    }

    /// The disputes of a device.
    ///
    /// # Panics
    /// When the device cannot be read.
    #[must_use]
    pub fn disputes(&self, device: Device) -> Vec<Dispute> {
        self.at(device).client().disputes().expect("a device can be read")
    }

    /// A user sends a dispute again: its batch is given up for a new one.
    ///
    /// # Panics
    /// When the device refuses it.
    pub fn resend(&mut self, device: Device, dispute: &Dispute) {
        self.at(device).client().resend(dispute.id).expect("the device takes it again");
        self.resent(device, dispute);
    }

    /// Notes that a dispute was sent again.
    pub fn resent(&mut self, device: Device, dispute: &Dispute) {
        self.release(device, dispute.batch);
        self.written(device);
    }

    /// A user gives a dispute up.
    ///
    /// # Panics
    /// When the device does not have it.
    pub fn discard(&mut self, device: Device, dispute: &Dispute) {
        self.try_discard(device, dispute).expect("the dispute is there");
    }

    /// A user gives a dispute up, if the device lets it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn try_discard(&mut self, device: Device, dispute: &Dispute) -> Result<(), EditError> {
        self.at(device).client().discard(dispute.id)?;
        self.release(device, dispute.batch);
        Ok(())
    }

    /// Takes everyone's network away.
    pub fn all_offline(&mut self) {
        for device in self.everyone() {
            self.offline(device);
        }
    }

    /// Gives everyone the network back and waits until all is quiet.
    pub fn all_online(&mut self) {
        for device in self.everyone() {
            self.online(device);
        }
        self.settle();
    }
}
