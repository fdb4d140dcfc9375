//! Transactions: edits of any number of records that become one batch, or nothing.

mod commit;
mod plan;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crdt_core::id::{MemberId, RecordId};
use crdt_core::record::{self, DELETED, Deletion, Edit, Scalar, Value, conflict};
use crdt_core::schema::{Entity, FieldKind, Schema, Violation};
use serde::Serialize;

use crate::client::Access;
use crate::config::Entropy;
use crate::conflict::Choice;
use crate::dispute::Tried;
use crate::edits::{Edits, Step};
use crate::error::EditError;
use crate::plain;
use crate::record::Record;
use crate::store::document::HeldRecord;
use crate::store::outbox::Stamp;
use crate::store::projection::{self, CREATED_AT, CREATED_BY, ENTITY};
use crate::store::{Session, lock, undo};
use plan::Plan;
use write::Writing;

/// A transaction under way. What it wrote is seen by its own reads, and by nobody else until it is
/// committed. An edit that is refused leaves no trace in it.
pub struct Transaction<'s, 'c> {
    session: &'s mut Session<'c>,
    schema: Arc<Schema>,
    stamp: Stamp,
    member: MemberId,
    author: record::Author,
    entropy: Arc<Mutex<dyn Entropy>>,
    /// Judges it before it is stored; nothing when it is sent whatever the policy says.
    access: Option<Arc<Access>>,
    /// The records it has touched, and how each was before; in the order of ids.
    records: BTreeMap<RecordId, Touched>,
    /// The order in which they were written: a parent comes before its children.
    order: Vec<RecordId>,
}

struct Touched {
    before: Option<HeldRecord>,
    now: HeldRecord,
}

impl<'s, 'c> Transaction<'s, 'c> {
    pub(crate) fn new(
        session: &'s mut Session<'c>,
        stamp: Stamp,
        entropy: Arc<Mutex<dyn Entropy>>,
    ) -> Self {
        let author = record::Author { actor: session.state.meta.actor(), time: stamp.time };
        Self {
            schema: session.schema(),
            member: session.state.meta.member,
            session,
            stamp,
            author,
            entropy,
            access: None,
            records: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    /// Lets the policy judge it before it is stored.
    pub(crate) fn judged_by(mut self, access: Arc<Access>) -> Self {
        self.access = Some(access);
        self
    }

    /// Sends it also if the policy on this device denies it:
    /// [`Client::transaction_allowing_dispute`](crate::Client::transaction_allowing_dispute) says what
    /// follows from that.
    pub fn allow_dispute(&mut self) {
        self.access = None;
    }

    /// Makes a record and gives its id.
    ///
    /// # Errors
    /// When a field's rule does not hold, or a required field is missing.
    pub fn create(&mut self, entity: &str, edits: Edits) -> Result<RecordId, EditError> {
        let mut random = [0; 10];
        lock(&self.entropy).fill(&mut random);
        let id = RecordId::new(self.stamp.time, random);
        self.create_with_id(id, entity, edits)?;
        Ok(id)
    }

    /// Makes a record under an id that the app chose, as [`RecordId::from_source_key`] does.
    ///
    /// # Errors
    /// As [`create`](Self::create); also when the record exists here, deleted or not.
    pub fn create_with_id(
        &mut self,
        id: RecordId,
        entity: &str,
        edits: Edits,
    ) -> Result<(), EditError> {
        let schema = Arc::clone(&self.schema);
        let entity = entity_of(&schema, entity)?;
        if self.held(id)?.is_some() {
            return Err(EditError::Exists(id));
        }
        let mut record = HeldRecord::new(id, &entity.name);
        let mut plan = Plan::new(entity, &record, &edits)?;
        plan.begin(entity, self.creation(entity))?;
        Writing { connection: &self.session.tx, entity, author: self.author }
            .write(&mut record, plan)?;
        self.records.insert(id, Touched { before: None, now: record });
        self.order.push(id);
        Ok(())
    }

    /// Edits a record. Edits that change nothing write nothing, except adding a set's member again, which
    /// protects it from a concurrent removal.
    ///
    /// # Errors
    /// When the record is not here or deleted, or a field's rule does not hold.
    pub fn update(&mut self, id: RecordId, edits: Edits) -> Result<(), EditError> {
        self.edit(id, |entity, record| Plan::new(entity, record, &edits))
    }

    /// Makes the record say what `value` says: creates it, or writes only what differs. Fields that the
    /// type does not have are left alone; `None` unsets. Prose is written by its difference. A counter's
    /// value counts when the record is created only; later it changes by increments.
    ///
    /// # Errors
    /// As [`create_with_id`](Self::create_with_id) and [`update`](Self::update); also when `value` is not a
    /// struct of fields.
    pub fn put<T: Serialize>(
        &mut self,
        entity: &str,
        id: RecordId,
        value: &T,
    ) -> Result<(), EditError> {
        let schema = Arc::clone(&self.schema);
        let entity = entity_of(&schema, entity)?;
        let object =
            serde_json::to_value(value).map_err(|error| EditError::Shape(error.to_string()))?;
        let wanted = plain::from_object(entity, &object)?;
        let held = self.held(id)?;
        let exists = held.is_some();
        let present = held.map(|record| projection::values(entity, record)).unwrap_or_default();
        let edits = difference(entity, &present, wanted, exists);
        match (exists, edits.is_empty()) {
            (false, _) => self.create_with_id(id, &entity.name, edits),
            (true, true) => self.live(id).map(drop),
            (true, false) => self.update(id, edits),
        }
    }

    /// Deletes a record. Edits that its deleter has not seen keep it deleted, and show as a conflict.
    ///
    /// # Errors
    /// When the record is not here, or deleted already.
    pub fn delete(&mut self, id: RecordId) -> Result<(), EditError> {
        self.live(id)?;
        self.mark_deleted(id)
    }

    /// Takes a deletion back.
    ///
    /// # Errors
    /// When the record is not here, or not deleted.
    pub fn restore(&mut self, id: RecordId) -> Result<(), EditError> {
        let record = self.held(id)?.ok_or(EditError::UnknownRecord(id))?;
        if record.live().all(|(_, held)| Deletion::of(&held.cells).is_none()) {
            return Err(EditError::NotDeleted(id));
        }
        self.write(id, |_, record| {
            let mut plan = Plan::default();
            for (section, held) in record.live() {
                if Deletion::of(&held.cells).is_some() {
                    plan.edit(section, Edit::Remove { key: DELETED.to_owned() });
                }
            }
            Ok(plan)
        })
    }

    /// A record as this transaction sees it.
    ///
    /// # Errors
    /// When the store cannot read it.
    pub fn get(&mut self, id: RecordId) -> Result<Option<Record>, EditError> {
        self.held(id)?;
        let state = &self.session.state;
        Ok(self.records.get(&id).and_then(|touched| Record::of(state, &touched.now)))
    }

    /// Decides a conflict: writes the chosen value over all of them. For `$deleted`, any contender restores
    /// the record with the edits, and a value keeps it deleted.
    ///
    /// # Errors
    /// When the field has no conflict, or the conflict no such value.
    pub fn resolve(&mut self, id: RecordId, field: &str, choice: Choice) -> Result<(), EditError> {
        let no_conflict = || EditError::NoSuchConflict { field: field.to_owned() };
        let schema = Arc::clone(&self.schema);
        let record = self.held(id)?.ok_or(EditError::UnknownRecord(id))?;
        if field == DELETED {
            let main = record.main().ok_or_else(no_conflict)?;
            let unseen = record::deletion_conflict(&main.cells).ok_or_else(no_conflict)?;
            return match choice {
                Choice::Contender(place) if place < unseen.len() => self.restore(id),
                Choice::Contender(_) => Err(no_conflict()),
                Choice::Value(_) => self.mark_deleted(id),
            };
        }
        let entity = entity_of(&schema, &record.entity)?;
        let known = entity.field(field).ok_or_else(|| unknown(entity, field))?;
        let held = record.documents.get(&known.section).ok_or_else(no_conflict)?;
        let found = conflict(&known.merge, held.cells.live(&known.key)).ok_or_else(no_conflict)?;
        let value = match choice {
            Choice::Value(value) => value,
            Choice::Contender(place) => {
                found.contenders.into_iter().nth(place).ok_or_else(no_conflict)?.value
            }
        };
        self.update(id, Edits::new().set(known.key.clone(), value))
    }

    /// Undoes the last edit of the record that was made on this device and that wrote values: sets,
    /// members, deletions, increments. Undoing once more does it again. Prose is left as it is. Undoing a
    /// creation deletes the record.
    ///
    /// # Errors
    /// When there is nothing to undo, or a value of it was written over since; of a creation, also when
    /// somebody else has added to the record.
    pub fn undo(&mut self, id: RecordId) -> Result<(), EditError> {
        let edit = undo::read(&self.session.tx, id)?.ok_or(EditError::NothingToUndo)?;
        let schema = Arc::clone(&self.schema);
        let record = self.held(id)?.ok_or(EditError::UnknownRecord(id))?;
        let entity = entity_of(&schema, &record.entity)?;
        match crate::undo::inverse(&edit, entity, record)? {
            crate::undo::Inverse::Delete => self.delete(id),
            crate::undo::Inverse::Restore => self.restore(id),
            crate::undo::Inverse::Edit(edits) => self.update(id, edits),
        }
    }

    /// Tries once more what a refused batch tried to do to a record, with an amendment's edits in the place
    /// of its own.
    pub(crate) fn try_again(
        &mut self,
        tried: &Tried,
        entity: &Entity,
        amendment: Edits,
    ) -> Result<(), EditError> {
        let held = self.held(tried.record)?;
        let exists = held.is_some();
        let values = held.map(|record| projection::values(entity, record)).unwrap_or_default();
        let says =
            |text: &str| values.get(text).and_then(Value::as_str).unwrap_or_default().to_owned();
        let edits = tried.edits(entity, says)?.amended(amendment);
        if !exists && tried.created {
            self.create_with_id(tried.record, &entity.name, edits)?;
        } else {
            if tried.deleted == Some(false) {
                self.restore(tried.record)?;
            }
            if !edits.is_empty() {
                self.update(tried.record, edits)?;
            }
        }
        if tried.deleted == Some(true) { self.delete(tried.record) } else { Ok(()) }
    }

    fn creation(&self, entity: &Entity) -> [Edit; 3] {
        let put = |key: &str, value| Edit::Put { key: key.to_owned(), value };
        [
            put(ENTITY, Scalar::Str(entity.name.clone())),
            put(CREATED_AT, Scalar::Timestamp(self.stamp.time)),
            put(CREATED_BY, Scalar::Bytes(self.member.as_bytes().to_vec())),
        ]
    }

    fn mark_deleted(&mut self, id: RecordId) -> Result<(), EditError> {
        self.write(id, |_, record| {
            let mut plan = Plan::default();
            for (section, held) in record.live() {
                let value = Scalar::Bytes(held.cells.clock().to_bytes());
                plan.edit(section, Edit::Put { key: DELETED.to_owned(), value });
            }
            Ok(plan)
        })
    }

    fn edit(
        &mut self,
        id: RecordId,
        plan: impl FnOnce(&Entity, &HeldRecord) -> Result<Plan, EditError>,
    ) -> Result<(), EditError> {
        self.live(id)?;
        self.write(id, plan)
    }

    fn write(
        &mut self,
        id: RecordId,
        plan: impl FnOnce(&Entity, &HeldRecord) -> Result<Plan, EditError>,
    ) -> Result<(), EditError> {
        let schema = Arc::clone(&self.schema);
        let touched = self.records.get(&id).ok_or(EditError::UnknownRecord(id))?;
        let entity = entity_of(&schema, &touched.now.entity)?;
        let mut now = touched.now.clone();
        let plan = plan(entity, &now)?;
        Writing { connection: &self.session.tx, entity, author: self.author }
            .write(&mut now, plan)?;
        if let Some(touched) = self.records.get_mut(&id) {
            touched.now = now;
        }
        if !self.order.contains(&id) {
            self.order.push(id);
        }
        Ok(())
    }

    /// The record, when it is here and not deleted.
    fn live(&mut self, id: RecordId) -> Result<&HeldRecord, EditError> {
        let record = self.held(id)?.ok_or(EditError::UnknownRecord(id))?;
        let main = record.main().ok_or(EditError::UnknownRecord(id))?;
        if Deletion::of(&main.cells).is_some() { Err(EditError::Deleted(id)) } else { Ok(record) }
    }

    /// The record as this transaction has it.
    fn held(&mut self, id: RecordId) -> Result<Option<&HeldRecord>, EditError> {
        if !self.records.contains_key(&id) {
            let Some(now) = HeldRecord::read(&self.session.tx, &self.session.state, id)? else {
                return Ok(None);
            };
            self.records.insert(id, Touched { before: Some(now.clone()), now });
        }
        Ok(self.records.get(&id).map(|touched| &touched.now))
    }
}

/// The edits that make `present` say what `wanted` says.
fn difference(
    entity: &Entity,
    present: &BTreeMap<String, Value>,
    wanted: BTreeMap<String, Value>,
    exists: bool,
) -> Edits {
    let mut edits = Edits::new();
    for (key, value) in wanted {
        let Some(field) = entity.field(&key) else { continue };
        let is = present.get(&key).unwrap_or(&Value::Null);
        let same = *is == value || (is.is_null() && value == Value::Set(Vec::new()));
        edits = match (&field.kind, value) {
            (FieldKind::Counter, Value::Counter(by)) if !exists && by != 0 => {
                edits.increment(key, by)
            }
            (FieldKind::Counter, _) => edits,
            _ if same => edits,
            (FieldKind::Text, value) => edits.set_text(key, value.as_str().unwrap_or_default()),
            (_, value) => edits.set(key, value),
        };
    }
    edits
}

fn entity_of<'a>(schema: &'a Schema, name: &str) -> Result<&'a Entity, EditError> {
    schema.entity(name).ok_or_else(|| EditError::UnknownEntity { entity: name.to_owned() })
}

fn unknown(entity: &Entity, field: &str) -> EditError {
    EditError::UnknownField { entity: entity.name.clone(), field: field.to_owned() }
}

fn invalid(field: &crdt_core::schema::Field, violation: Violation) -> EditError {
    EditError::Invalid { field: field.key.clone(), violation }
}
