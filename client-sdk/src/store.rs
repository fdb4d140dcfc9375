//! The database file: one writer, pooled readers, and transactions that either happen or leave everything,
//! memory included, as it was. The only place that knows SQL.

pub(crate) mod accounting;
pub(crate) mod conflict;
pub(crate) mod dispute;
pub(crate) mod document;
pub(crate) mod erase;
pub(crate) mod export;
mod fault;
pub(crate) mod fold;
pub(crate) mod incoming;
pub(crate) mod kept;
pub(crate) mod loading;
mod lock;
pub(crate) mod meta;
mod migrate;
pub(crate) mod open;
pub(crate) mod outbox;
pub(crate) mod projection;
pub(crate) mod reader;
pub(crate) mod rebase;
pub(crate) mod receipts;
pub(crate) mod recovery;
pub(crate) mod relay;
pub(crate) mod restamp;
mod salvage;
pub(crate) mod scope;
mod seal;
pub(crate) mod search;
pub(crate) mod undo;
pub(crate) mod withheld;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crdt_core::id::{ActorId, MemberId, RecordId, ReplicaId};
use crdt_core::planted::{Bug, planted};
use crdt_core::schema::{Entity, Schema};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::config::Config;
use crate::error::{Fault, StoreError};
use crate::notify::Changes;
use lock::WriterLock;
use meta::Meta;
use open::{OpenReport, Opening};
use projection::layout::Layouts;

/// Whether a commit must survive a power cut once it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The user's own writes, leases and receipts.
    Full,
    /// Pages: a lost one is fetched again, since its cursor is lost with it.
    Normal,
}

/// The database file.
pub(crate) struct Store {
    opening: Opening,
    writer: Mutex<Option<Writer>>,
    readers: Mutex<Vec<Connection>>,
    published: RwLock<State>,
}

/// The only connection that writes.
struct Writer {
    /// Nothing after a fault: opened anew before it is trusted.
    connection: Option<Connection>,
    durability: Durability,
    state: State,
    _lock: WriterLock,
}

/// What is kept in memory of the file; replaced after a commit only.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) meta: Meta,
    pub(crate) schema: Arc<Schema>,
    /// How the schema's tables are written.
    pub(crate) layouts: Arc<Layouts>,
    pub(crate) authors: Arc<BTreeMap<ReplicaId, Author>>,
    pub(crate) disputed: Arc<BTreeSet<RecordId>>,
    /// Whether indexes may be missing, since the first load is under way.
    pub(crate) loading: bool,
}

/// Who writes under a replica's actors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) member: MemberId,
    pub(crate) name: String,
}

impl State {
    /// What an open file says.
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        let meta = Meta::read(connection)?.ok_or(StoreError::Malformed("meta"))?;
        let text = meta::text(connection, "schema")?.ok_or(StoreError::Malformed("schema"))?;
        Self::with(connection, meta, Arc::new(Schema::parse(&text, "the stored schema")?))
    }

    fn with(connection: &Connection, meta: Meta, schema: Arc<Schema>) -> Result<Self, StoreError> {
        Ok(Self {
            meta,
            layouts: Arc::new(Layouts::new(&schema)),
            schema,
            authors: Arc::new(outbox::read_authors(connection)?),
            disputed: Arc::new(dispute::disputed_records(connection)?),
            loading: loading::is_marked(connection)?,
        })
    }

    /// Takes another schema; its tables are made by [`projection::tables::ensure`].
    pub(crate) fn take_schema(&mut self, schema: Schema) {
        self.layouts = Arc::new(Layouts::new(&schema));
        self.schema = Arc::new(schema);
    }

    pub(crate) fn author(&self, actor: &ActorId) -> Option<&Author> {
        self.authors.get(&actor.replica())
    }

    pub(crate) fn entity(&self, name: &str) -> Option<&Entity> {
        self.schema.entity(name)
    }
}

/// A transaction under way, and what memory will be once it is committed.
pub(crate) struct Session<'a> {
    pub(crate) tx: Transaction<'a>,
    pub(crate) state: State,
    pub(crate) changes: Changes,
}

impl Session<'_> {
    /// The schema in force, apart from the session so that both can be used at once.
    pub(crate) fn schema(&self) -> Arc<Schema> {
        Arc::clone(&self.state.schema)
    }
}

/// Readers kept open when nobody reads.
const READERS_KEPT: usize = 4;

impl Store {
    /// Opens or creates the file.
    pub(crate) fn open(config: &Config) -> Result<(Self, OpenReport), StoreError> {
        let lock = WriterLock::take(&config.path)?;
        let opening = Opening {
            path: config.path.clone(),
            max_page_count: config.max_page_count,
            vfs: config.vfs,
        };
        let (mut connection, mut report) = opening.open()?;
        let state = begin(&mut connection, config, &opening, &mut report)?;
        let published = RwLock::new(state.clone());
        let writer = Writer {
            connection: Some(connection),
            durability: Durability::Full,
            state,
            _lock: lock,
        };
        let store = Self {
            opening,
            writer: Mutex::new(Some(writer)),
            readers: Mutex::new(Vec::new()),
            published,
        };
        Ok((store, report))
    }

    /// What memory says of the file.
    pub(crate) fn state(&self) -> State {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `work` in one transaction. When it fails, nothing happened; when the file was at fault, the
    /// connection is opened anew before it is used again.
    pub(crate) fn write<T, E: Fault>(
        &self,
        durability: Durability,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, E>,
    ) -> Result<(T, Changes), E> {
        let unsynced = planted(Bug::LocalWriteUnsynced);
        let durability = if unsynced { Durability::Normal } else { durability };
        let mut guard = lock(&self.writer);
        let writer = guard.as_mut().ok_or(StoreError::Closed)?;
        let done = self.trust(writer).map_err(E::from).and_then(|()| {
            let done = writer.run(durability, work);
            if let Err(Some(error)) = done.as_ref().map_err(Fault::store_error) {
                self.distrust(writer, error);
            }
            done
        });
        let (value, changes, state) = done?;
        self.publish(state);
        self.keep_log_short(writer, durability);
        Ok((value, changes))
    }

    /// Opens the writer's connection anew after a fault, and reads from the file what memory keeps of it: a
    /// commit that failed may be whole in the file all the same.
    fn trust(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if writer.connection.is_some() {
            return Ok(());
        }
        let connection = self.opening.writer()?;
        let state = State::read(&connection)?;
        writer.connection = Some(connection);
        writer.durability = Durability::Full;
        writer.state = state.clone();
        self.publish(state);
        Ok(())
    }

    /// Closes the writer's connection after a fault. What was not synced may be lost although it can be read.
    pub(in crate::store) fn distrust(&self, writer: &mut Writer, error: &StoreError) {
        if error.is_damage() {
            self.opening.suspect();
        }
        // A reader keeps the index of the log: it does not know the commit that failed, so whoever opens the
        // file next does not find that commit in the log.
        let reader = self.opening.reader();
        let reader = reader.ok().filter(|reader| open::attach(reader).is_ok());
        writer.connection = None;
        let mut readers = lock(&self.readers);
        if readers.is_empty() {
            readers.extend(reader);
        }
    }

    /// Folds the log back after pages. SQLite would do so by itself and say nothing when that fails; but a
    /// log whose sync failed must not be written on.
    fn keep_log_short(&self, writer: &mut Writer, durability: Durability) {
        let Some(connection) = &writer.connection else { return };
        if durability == Durability::Full {
            return;
        }
        let pages = if writer.state.loading { open::LOG_PAGES_MAX } else { open::LOG_PAGES };
        if let Err(error) = open::fold_log(connection, pages) {
            tracing::warn!(%error, "the log was not folded back; the file is opened anew");
            self.distrust(writer, &error);
        }
    }

    fn publish(&self, state: State) {
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Runs `work` on a connection that can only read, in one snapshot of the file.
    pub(crate) fn read<T, E: Fault>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let pooled = lock(&self.readers).pop();
        let mut connection = match pooled {
            Some(connection) => connection,
            None if lock(&self.writer).is_none() => return Err(StoreError::Closed.into()),
            None => self.opening.reader()?,
        };
        let done = match connection.transaction().map_err(StoreError::from) {
            Ok(tx) => work(&tx),
            Err(error) => Err(error.into()),
        };
        let fault = done.as_ref().err().and_then(Fault::store_error);
        if fault.is_some_and(StoreError::is_damage) {
            self.opening.suspect();
        }
        let mut readers = lock(&self.readers);
        if fault.is_none() && readers.len() < READERS_KEPT {
            readers.push(connection);
        }
        done
    }

    /// Closes the file and frees its lock; everything after is refused.
    pub(crate) fn close(&self) {
        let mut writer = lock(&self.writer);
        lock(&self.readers).clear();
        if writer.take().is_some() {
            self.opening.seal();
        }
    }

    /// Closes the file and removes it.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        let mut guard = lock(&self.writer);
        let Some(mut writer) = guard.take() else { return Err(StoreError::Closed) };
        lock(&self.readers).clear();
        // The lock is held until the files are gone.
        writer.connection = None;
        for suffix in ["", "-wal", "-shm", ".suspect", seal::SUFFIX, open::NOTE] {
            let path = lock::beside(&self.opening.path, suffix);
            if path.exists() {
                std::fs::remove_file(path).map_err(open::io)?;
            }
        }
        Ok(())
    }
}

impl Writer {
    fn run<T, E: Fault>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, E>,
    ) -> Result<(T, Changes, State), E> {
        self.ready(durability)?;
        let Some(connection) = self.connection.as_mut() else {
            return Err(StoreError::Closed.into());
        };
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(StoreError::from)?;
        let state = self.state.clone();
        let mut session = Session { tx, state, changes: Changes::default() };
        let value = work(&mut session)?;
        let Session { tx, state, changes } = session;
        state.meta.write(&tx, Some(&self.state.meta))?;
        tx.commit().map_err(StoreError::from)?;
        self.state = state.clone();
        Ok((value, changes, state))
    }

    fn ready(&mut self, durability: Durability) -> Result<(), StoreError> {
        if let Some(connection) = self.connection.as_ref().filter(|_| self.durability != durability)
        {
            open::commit_with(connection, durability)?;
            self.durability = durability;
        }
        Ok(())
    }
}

/// Makes a file ready, in one transaction with what is brought over from a damaged one.
fn begin(
    connection: &mut Connection,
    config: &Config,
    opening: &Opening,
    report: &mut OpenReport,
) -> Result<State, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let state = prepare(&tx, config)?;
    let mut session = Session { tx, state, changes: Changes::default() };
    if let Some(damaged) = &mut report.damaged {
        opening.take_over(&mut session, damaged)?;
    }
    let Session { tx, state, .. } = session;
    tx.commit()?;
    if report.damaged.is_some() {
        opening.salvage_done();
    }
    Ok(state)
}

/// Reads what memory keeps; for a new file, decides it.
fn prepare(tx: &Transaction<'_>, config: &Config) -> Result<State, StoreError> {
    let stored = Meta::read(tx)?;
    let meta = match &stored {
        Some(meta) if meta.workspace != config.workspace => {
            return Err(StoreError::NotYours { what: "workspace" });
        }
        Some(meta) if meta.member != config.member => {
            return Err(StoreError::NotYours { what: "member" });
        }
        Some(meta) => meta.clone(),
        None => new_meta(config),
    };
    meta.write(tx, stored.as_ref())?;
    let schema = current_schema(tx, config)?;
    if stored.is_none() {
        let author = Author { member: meta.member, name: config.member_name.clone() };
        outbox::store_author(tx, meta.replica, &author)?;
    }
    let mut state = State::with(tx, meta, schema)?;
    // Nobody is told of changes before the file is open.
    projection::tables::ensure(tx, &state, &mut Changes::default())?;
    loading::build_all(tx, &mut state)?;
    Ok(state)
}

fn new_meta(config: &Config) -> Meta {
    let mut replica = [0; 12];
    lock(&config.entropy).fill(&mut replica);
    Meta {
        workspace: config.workspace.clone(),
        member: config.member,
        replica: ReplicaId(replica),
        incarnation: 0,
        lease: None,
        epoch: None,
        receipt: 0,
        clock: None,
        policy_version: 0,
        backed_up_to: 0,
        left: 0,
    }
}

/// The newer of the stored schema and the one that the app came with.
fn current_schema(tx: &Transaction<'_>, config: &Config) -> Result<Arc<Schema>, StoreError> {
    let given = config.schema.clone().unwrap_or_else(|| Arc::clone(Schema::builtin()));
    if let Some(text) = meta::text(tx, "schema")? {
        let stored = Schema::parse(&text, "the stored schema")?;
        if stored.version() >= given.version() {
            return Ok(Arc::new(stored));
        }
    }
    meta::put(tx, "schema", &given.text())?;
    Ok(given)
}

/// A panic of another holder rolled its transaction back: what the lock guards is sound.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes for `what`, in their fixed length.
pub(crate) fn fixed<const N: usize>(
    bytes: &[u8],
    what: &'static str,
) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Malformed(what))
}
