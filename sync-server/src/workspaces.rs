//! The workspaces of a server: each is one thread that owns its judging and its writes.

mod actor;
mod aside;
mod handle;
mod mark;
mod pages;
mod suspects;
mod turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crdt_core::id::is_name;
use crdt_core::protocol::PeerLimits;
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::identity::accounts::Stores;
use crate::ledger::Ledger;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::workspace::{OpenError, Recent, Workspace};
use actor::Actor;
use aside::Aside;
pub(crate) use mark::Mark;

pub use handle::{AdminWork, Event, Handle, Seat};
use pages::CatchingUp;
pub use pages::{Built, Pages};

/// Commands that wait for a workspace; a connection waits when it is full.
const INBOX: usize = 1_024;

/// Every workspace in a data directory; opened at first use.
pub struct Workspaces {
    directory: PathBuf,
    options: SqliteOptions,
    limits: PeerLimits,
    metrics: Metrics,
    catching_up: CatchingUp,
    running: Mutex<BTreeMap<String, (Handle, JoinHandle<()>)>>,
}

impl Workspaces {
    /// The workspaces of a directory.
    #[must_use]
    pub fn new(
        directory: PathBuf,
        options: SqliteOptions,
        limits: PeerLimits,
        metrics: Metrics,
    ) -> Self {
        let (running, catching_up) = (Mutex::default(), CatchingUp::on_half_the_processors());
        Self { directory, options, limits, metrics, catching_up, running }
    }

    /// The file of a workspace.
    #[must_use]
    pub fn path(directory: &std::path::Path, name: &str) -> PathBuf {
        directory.join("workspaces").join(format!("{name}.db"))
    }

    /// Whether there is a workspace of that name.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        is_name(name) && Self::path(&self.directory, name).exists()
    }

    /// A workspace, opened when it is not; blocking.
    ///
    /// # Errors
    /// When there is none of that name or it cannot be opened.
    pub fn open(&self, name: &str) -> Result<Handle, OpenError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((handle, thread)) = running.get(name) {
            if !thread.is_finished() {
                return Ok(handle.clone());
            }
            running.remove(name);
        }
        let path = Self::path(&self.directory, name);
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, self.options)?);
        let ledger = Ledger::path(&self.directory, name);
        let recent: Arc<Recent> = Arc::default();
        let opener = opener(Arc::clone(&store), ledger, self.limits, Arc::clone(&recent));
        let mut workspace = opener()?;
        let mark = Mark::of(&self.directory, name);
        if mark.is_beyond(&*store)? {
            tracing::error!(
                workspace = name,
                "the log ends before what was acknowledged: it was put back to an older state"
            );
            workspace.halt()?;
        }
        let (commands, inbox) = mpsc::channel(INBOX);
        let (head_sender, head) = watch::channel(workspace.head()?);
        let metrics = self.metrics.clone();
        let aside = Aside::new(self.directory.join("poison").join(name));
        let actor = Actor::new(workspace, inbox, head_sender, mark, metrics, aside);
        let thread = std::thread::Builder::new()
            .name(format!("workspace {name}"))
            .spawn(move || actor.run(&opener))
            .map_err(|error| StoreError::Backend(error.into()))?;
        let pages = Arc::new(Pages::new(recent, self.catching_up.clone()));
        let handle = Handle { commands, head, store, pages };
        running.insert(name.to_owned(), (handle.clone(), thread));
        Ok(handle)
    }

    /// Ends every workspace after what it has been handed; blocking.
    pub fn stop(&self) {
        let running =
            std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for (handle, thread) in running.into_values() {
            drop(handle);
            if thread.join().is_err() {
                tracing::error!("a workspace's thread had panicked");
            }
        }
    }
}

/// What opens a workspace on its storage, also anew after a panic.
fn opener(
    store: Arc<dyn Store>,
    ledger: PathBuf,
    limits: PeerLimits,
    recent: Arc<Recent>,
) -> impl Fn() -> Result<Workspace, OpenError> + Send + 'static {
    move || {
        let ledger = Ledger::open(&ledger).map_err(StoreError::from)?;
        let workspace = Workspace::open(Arc::clone(&store), limits)?;
        let workspace = workspace.with_recent(Arc::clone(&recent));
        Ok(workspace.with_ledger(clock::now(), ledger)?)
    }
}

impl Stores for Workspaces {
    fn open(&self, workspace: &str) -> Result<Option<Arc<dyn Store>>, StoreError> {
        if !self.exists(workspace) {
            return Ok(None);
        }
        match self.open(workspace) {
            Ok(handle) => Ok(Some(handle.store())),
            Err(OpenError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Damaged(error.to_string())),
        }
    }
}
