//! The client: one open database file, and everything an app does with it. Local calls run on the caller's
//! thread and never wait for a network.

mod access;
mod disputes;
mod kept;
mod maintenance;
mod sync;

use std::sync::{Arc, RwLock};

use crdt_core::id::{MemberId, RecordId};
use crdt_core::limits;
use crdt_core::record::Value;
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Contact;
use crate::config::Config;
use crate::conflict::{Choice, FieldConflict};
use crate::driver::SyncSlot;
use crate::edits::Edits;
use crate::error::{EditError, QueryError, StoreError};
use crate::notify::{Changes, Hub, Subscription};
use crate::query::{Hit, Paging, Rows};
use crate::record::Record;
use crate::store::document::HeldRecord;
use crate::store::open::OpenReport;
use crate::store::outbox::Stamp;
use crate::store::{Durability, Session, Store, conflict, reader, search};
use crate::transaction::Transaction;

pub(crate) use access::{Access, Judged};
pub use access::{NotKnown, Permission};
pub use disputes::DisputeWatch;
pub use kept::KeptEdit;
pub(crate) use maintenance::Unless;
pub use sync::WelcomeApplied;

/// An open database file. Clones share it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    config: Config,
    contact: Contact,
    hub: Hub,
    sync: Arc<SyncSlot>,
    access: RwLock<Arc<Access>>,
    report: OpenReport,
}

/// Rows of words that one step of catching up with full text writes.
const SEARCH_STEP: usize = 1_000;
/// Conflicts that one call lists.
const CONFLICTS_MAX: usize = 10_000;

impl Client {
    /// Opens the file, or makes it. Works without a network from the first moment.
    ///
    /// # Errors
    /// When another client has the file, a newer SDK wrote it, it belongs to somebody else, or the device
    /// cannot read or write it. A damaged file is no error: it is set aside, and
    /// [`open_report`](Self::open_report) tells.
    pub fn open(config: Config) -> Result<Self, StoreError> {
        let (store, report) = Store::open(&config)?;
        let (hub, sync, contact) = (Hub::default(), Arc::default(), Contact::default());
        let state = store.state();
        let access = store.read(|connection| Access::read(connection, &state))?;
        let access = RwLock::new(Arc::new(access));
        let inner = Inner { store, config, contact, hub, sync, access, report };
        let client = Self { inner: Arc::new(inner) };
        client.name_device()?;
        Ok(client)
    }

    /// What opening found.
    #[must_use]
    pub fn open_report(&self) -> &OpenReport {
        &self.inner.report
    }

    /// What the client was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The schema in force.
    #[must_use]
    pub fn schema(&self) -> Arc<Schema> {
        self.inner.store.state().schema
    }

    /// The user.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.inner.store.state().meta.member
    }

    /// Edits any number of records as one batch: all of it is stored, and later accepted or refused, as a
    /// whole. When this returns, the edits are on the disk.
    ///
    /// # Errors
    /// When `work` fails, the policy denies what it does ([`EditError::Forbidden`]), the batch would be too
    /// large, or the device cannot store it; then nothing of it happened.
    pub fn transaction<T>(
        &self,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        self.write(Durability::Full, |session| {
            let stamp = self.stamp(session);
            let entropy = Arc::clone(&self.inner.config.entropy);
            let mut transaction =
                Transaction::new(session, stamp, entropy).judged_by(self.access());
            let value = work(&mut transaction)?;
            transaction.finish()?;
            Ok(value)
        })
    }

    /// As [`transaction`](Self::transaction), and sends also what the policy on this device denies, as when
    /// the user knows better. The server judges it as any other batch; what it refuses becomes a
    /// [dispute](Self::disputes).
    ///
    /// ```
    /// use client_sdk::{Client, Config, EditError, Edits, MemberId};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("fieldbook.db");
    /// let me = MemberId::from_source_key("member", "ada@example.com");
    /// let client = Client::open(Config::new(path, "acme", me))?;
    /// let acme = client.create("account", Edits::new().set("name", "Acme"))?;
    ///
    /// let raise = || Edits::new().set("payment_terms_days", 60);
    /// match client.update(acme, raise()) {
    ///     // Here an app shows the reasons and asks: send it anyway?
    ///     Err(EditError::Forbidden { denials }) => {
    ///         denials.iter().for_each(|denial| println!("{denial}"));
    ///         client.transaction_allowing_dispute(|tx| tx.update(acme, raise()))?;
    ///     }
    ///     others => others?,
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction), without [`EditError::Forbidden`].
    pub fn transaction_allowing_dispute<T>(
        &self,
        work: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T, EditError>,
    ) -> Result<T, EditError> {
        self.transaction(|transaction| {
            transaction.allow_dispute();
            work(transaction)
        })
    }

    /// Makes a record: [`Transaction::create`] in a transaction of its own.
    ///
    /// # Errors
    /// As [`Transaction::create`].
    pub fn create(&self, entity: &str, edits: Edits) -> Result<RecordId, EditError> {
        self.transaction(|tx| tx.create(entity, edits))
    }

    /// Edits a record: [`Transaction::update`] in a transaction of its own.
    ///
    /// # Errors
    /// As [`Transaction::update`].
    pub fn update(&self, id: RecordId, edits: Edits) -> Result<(), EditError> {
        self.transaction(|tx| tx.update(id, edits))
    }

    /// Makes a record say what a typed value says: [`Transaction::put`] in a transaction of its own.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn put<T: Serialize>(
        &self,
        entity: &str,
        id: RecordId,
        value: &T,
    ) -> Result<(), EditError> {
        self.transaction(|tx| tx.put(entity, id, value))
    }

    /// Deletes a record: [`Transaction::delete`] in a transaction of its own.
    ///
    /// # Errors
    /// As [`Transaction::delete`].
    pub fn delete(&self, id: RecordId) -> Result<(), EditError> {
        self.transaction(|tx| tx.delete(id))
    }

    /// Takes a deletion back: [`Transaction::restore`] in a transaction of its own.
    ///
    /// # Errors
    /// As [`Transaction::restore`].
    pub fn restore(&self, id: RecordId) -> Result<(), EditError> {
        self.transaction(|tx| tx.restore(id))
    }

    /// Decides a conflict: [`Transaction::resolve`] in a transaction of its own.
    ///
    /// # Errors
    /// As [`Transaction::resolve`].
    pub fn resolve(&self, id: RecordId, field: &str, choice: Choice) -> Result<(), EditError> {
        self.transaction(|tx| tx.resolve(id, field, choice))
    }

    /// Undoes the last local edit of a record: [`Transaction::undo`] in a transaction of its own.
    ///
    /// # Errors
    /// As [`Transaction::undo`].
    pub fn undo(&self, id: RecordId) -> Result<(), EditError> {
        self.transaction(|tx| tx.undo(id))
    }

    /// A record, when it is on this device. A deleted one is given with
    /// [`deleted`](Record::deleted) true, so that a restore can be offered; it is in no table.
    ///
    /// # Errors
    /// When the store cannot read it.
    pub fn get(&self, id: RecordId) -> Result<Option<Record>, QueryError> {
        let state = self.inner.store.state();
        let record = self.read(|connection| HeldRecord::read_cells(connection, id))?;
        Ok(record.and_then(|record| Record::of(&state, &record)))
    }

    /// A record as a typed value; nothing when it is not here or deleted.
    ///
    /// # Errors
    /// When the store cannot read it, or it does not fit the type.
    pub fn get_as<T: DeserializeOwned>(&self, id: RecordId) -> Result<Option<T>, QueryError> {
        let record = self.get(id)?.filter(|record| !record.deleted());
        record.map(|record| record.to()).transpose()
    }

    /// The record that a reference of another names. A reference to a deleted record gives that record with
    /// [`deleted`](Record::deleted) true; one to a record that is not on this device gives nothing.
    ///
    /// # Errors
    /// When the store cannot read it.
    pub fn related(&self, id: RecordId, field: &str) -> Result<Option<Record>, QueryError> {
        match self.get(id)?.and_then(|record| record.reference(field)) {
            Some(target) => self.get(target),
            None => Ok(None),
        }
    }

    /// The records of `entity` whose reference `field` names `target`, in the order of their ids.
    ///
    /// # Errors
    /// When there is no such field, or the store cannot answer.
    pub fn referencing(
        &self,
        entity: &str,
        field: &str,
        target: RecordId,
        paging: Paging,
    ) -> Result<Vec<RecordId>, QueryError> {
        let schema = self.schema();
        let found = schema.entity(entity).and_then(|e| e.field(field).map(|field| (e, field)));
        let (entity, field) =
            found.ok_or_else(|| QueryError::Sql(format!("there is no {entity}.{field}")))?;
        self.inner.store.read(|connection| {
            reader::referencing(connection, entity, &field.column, target, paging)
        })
    }

    /// Answers one reading SQL statement over the tables described in [`crate::tables`]. `?` parameters are
    /// given in order; a [`RecordId`] is one through `Value::from`.
    ///
    /// # Errors
    /// When the statement does anything but read, is wrong, or the store cannot answer.
    pub fn query(
        &self,
        sql: &str,
        parameters: &[Value],
        paging: Paging,
    ) -> Result<Rows, QueryError> {
        self.inner.store.read(|connection| reader::query(connection, sql, parameters, paging))
    }

    /// As [`query`](Self::query), each row as a typed value by the names of its columns.
    ///
    /// # Errors
    /// As [`query`](Self::query), and when a row does not fit the type.
    pub fn query_as<T: DeserializeOwned>(
        &self,
        sql: &str,
        parameters: &[Value],
        paging: Paging,
    ) -> Result<Vec<T>, QueryError> {
        self.query(sql, parameters, paging)?.typed()
    }

    /// The records of an entity in which each word of `text` begins some word, the best first. Case and
    /// accents do not matter.
    ///
    /// # Errors
    /// When the entity has no searchable fields, or the store cannot answer.
    pub fn search(&self, entity: &str, text: &str, limit: usize) -> Result<Vec<Hit>, QueryError> {
        let schema = self.schema();
        let searchable = schema.entity(entity).filter(|entity| !entity.search.is_empty());
        let found =
            searchable.ok_or_else(|| QueryError::NotSearchable { entity: entity.to_owned() })?;
        while self.read(|connection| search::is_dirty(connection, found))? {
            self.write(Durability::Normal, |session| {
                search::flush(&session.tx, found, SEARCH_STEP)
            })?;
        }
        Ok(self.read(|connection| search::search(connection, found, text, limit))?)
    }

    /// Conflicts: those that wait for a person first; of one record when it is named.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn conflicts(&self, record: Option<RecordId>) -> Result<Vec<FieldConflict>, StoreError> {
        let state = self.inner.store.state();
        self.read(|connection| conflict::list(connection, &state, record, CONFLICTS_MAX))
    }

    /// Notices of what changes, after each commit.
    #[must_use]
    pub fn watch(&self) -> Subscription {
        self.inner.hub.subscribe()
    }

    /// Closes the file and frees it for another client. Other clones are refused from now on.
    pub fn close(&self) {
        self.inner.store.close();
        self.inner.hub.close();
    }

    /// How this client's sync is reached.
    pub(crate) fn sync_slot(&self) -> &Arc<SyncSlot> {
        &self.inner.sync
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.inner.store.read(work)
    }

    fn write<T, E: crate::error::Fault>(
        &self,
        durability: Durability,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let work = |session: &mut Session<'_>| {
            let value = work(session);
            self.access().forget(&session.changes);
            value
        };
        let (value, changes): (T, Changes) = self.inner.store.write(durability, work)?;
        self.inner.hub.tell(&changes);
        Ok(value)
    }

    /// When an edit that is made now is made: the server's time, counted on since the last contact, or else
    /// the device's time with the correction that was known last. A clock that was never set gives the earliest time that any edit may have.
    fn stamp(&self, session: &Session<'_>) -> Stamp {
        let clock = &self.inner.config.clock;
        let wall = clock.wall();
        let offset = match self.inner.contact.now(clock.monotonic_ms(), clock.boot()) {
            Some(server) => Some(server.since(wall)),
            None => session.state.meta.clock.map(|measured| measured.offset),
        };
        let earliest = Timestamp::from_millis(limits::EDIT_TIME_MS_MIN);
        Stamp {
            time: wall.plus_millis(offset.unwrap_or(0)).max(earliest),
            wall,
            monotonic_ms: clock.monotonic_ms(),
            boot: clock.boot(),
            offset,
        }
    }
}
