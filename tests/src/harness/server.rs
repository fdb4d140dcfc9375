//! The server in the simulation: the real workspace on real SQLite and a real session for each connection.
//! What threads and sockets do around them is done here one event at a time, in the same order: group commit,
//! receipts after it, fencing, pages, and the news that the log has grown.

mod governing;
mod restoring;
mod serving;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crdt_core::id::{BatchId, Epoch, MemberId, ReplicaId};
use crdt_core::limits;
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{PeerLimits, Receipt};
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use sync_server::ledger::{Ledger, LedgerEntry};
use sync_server::session::{Bounds, Input, Session};
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{self, Read, Store, StoreError};
use sync_server::workspace::{Feed, Folding, Stride, Submitted, Workspace};

use super::files::Files;
use super::images;
use super::network::Wire;
use crate::vfs::Disk;

/// Where a server dies when it has been told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Batches were handed in and are not durable.
    BeforeCommit,
    /// Batches are durable and nobody was told.
    BeforeReceipts,
}

/// What the server asks of the world.
#[derive(Debug)]
pub(super) enum Act {
    Send(Wire, Vec<u8>),
    Close(Wire),
    /// Commit what has been handed in, soon.
    CommitSoon,
    /// Build the page that a connection waits for, soon.
    BuildSoon(Wire),
    /// Find the scopes of some records again, soon.
    RescopeSoon,
    /// The server has died, and its connections with it.
    Died(Vec<Wire>),
}

/// The moment of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: u64,
    pub(super) wall: Timestamp,
}

/// The server.
pub struct SimServer {
    path: PathBuf,
    disk: Disk,
    options: SqliteOptions,
    stride: Stride,
    running: Option<Running>,
    lives: u64,
    crash: Option<CrashPoint>,
    /// Whether time passes between the building of a page and its session's hearing of it.
    builds_slowly: bool,
    leases: StdRng,
    log: BTreeMap<BatchId, u64>,
}

struct Running {
    workspace: Workspace,
    served: BTreeMap<Wire, Served>,
    seats: BTreeMap<ReplicaId, Wire>,
    group: Vec<Submitted>,
    /// Whether the storage has failed since the workspace was read from it.
    in_doubt: bool,
    /// Receipts that a planted bug keeps until their transaction is committed.
    kept_back: Vec<(ReplicaId, Receipt)>,
}

struct Served {
    session: Session,
    seat: Option<Seat>,
    build: Option<Build>,
    /// A page that is built and that the session has not been given.
    built: Option<Input>,
}

struct Seat {
    replica: ReplicaId,
    member: MemberId,
    feed: Feed,
}

enum Build {
    Page { flush: bool },
    Whole(Vec<u64>),
}

/// Steps of folding between two ticks.
const FOLDING_STEPS: usize = 4;
/// The limits of the server's defaults.
const BOUNDS: Bounds = Bounds {
    peer: PeerLimits {
        batches_in_flight: limits::BATCHES_IN_FLIGHT_MAX as u32,
        pages_in_flight: limits::PAGES_IN_FLIGHT_MAX as u32,
    },
    idle_timeout_ms: 60_000,
    handshake_timeout_ms: 10_000,
};

impl SimServer {
    pub(super) fn create(folder: &Path, seed: u64, stride: Stride, schema: &str) -> Self {
        let path = folder.join("server.db");
        let mut leases = StdRng::seed_from_u64(seed ^ 0x005e_4e5e);
        let mut epoch = [0; 16];
        leases.fill_bytes(&mut epoch);
        images::put_server(&path, Epoch(epoch), schema);
        let disk = Disk::new();
        let options = SqliteOptions { vfs: Some(disk.name()), ..SqliteOptions::default() };
        let log = BTreeMap::new();
        let mut server = Self {
            path,
            disk,
            options,
            stride,
            running: None,
            lives: 0,
            crash: None,
            builds_slowly: false,
            leases,
            log,
        };
        server.start();
        server
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Counts its starts.
    pub(super) fn life(&self) -> u64 {
        self.lives
    }

    /// Every accepted batch with its position.
    #[must_use]
    pub fn log(&self) -> &BTreeMap<BatchId, u64> {
        &self.log
    }

    /// Reads the workspace as it is.
    ///
    /// # Panics
    /// When the server does not run or its storage fails.
    pub fn read<T>(&self, work: impl FnMut(&dyn Read) -> Result<T, StoreError>) -> T {
        let running = self.running.as_ref().expect("a server that runs can be read");
        store::read(&*running.workspace.store(), work).expect("the server's storage can be read")
    }

    /// The schema in force.
    ///
    /// # Panics
    /// When the server does not run.
    #[must_use]
    pub fn schema(&self) -> Arc<Schema> {
        let running = self.running.as_ref().expect("a server that runs has a schema");
        Arc::clone(running.workspace.schema())
    }

    pub(super) fn put_member(&mut self, member: &MemberId, name: &str) {
        let running = self.running.as_mut().expect("members are added while the server runs");
        running.workspace.put_member(member, name).expect("the server stores a member");
    }

    /// Puts a schema in force; it counts from the next start.
    pub(super) fn put_schema(&self, text: &str) {
        let running = self.running.as_ref().expect("a schema is put while the server runs");
        store::write(&*running.workspace.store(), |tx| tx.put_schema(text))
            .expect("the server stores a schema");
    }

    pub(super) fn build_slowly(&mut self) {
        self.builds_slowly = true;
    }

    pub(super) fn arm(&mut self, point: CrashPoint) {
        self.crash = Some(point);
    }

    pub(super) fn disarm(&mut self) {
        self.crash = None;
    }

    pub(super) fn set_max_page_count(&mut self, pages: Option<u32>) {
        self.options.max_page_count = pages;
    }

    /// The size of its database, pages.
    #[must_use]
    pub fn page_count(&self) -> u32 {
        let bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        u32::try_from(bytes / 4096).expect("a simulated database is small")
    }

    pub(super) fn start(&mut self) {
        let store: Arc<dyn Store> = Arc::new(
            SqliteStore::open(&self.path, self.options).expect("the server's file can be opened"),
        );
        let ledger = Ledger::open(&self.path.with_extension("ledger"));
        let ledger = ledger.expect("the server's ledger can be opened");
        // What is done again is done at the time of the last act: a start has no clock of its own.
        let now = ledger.entries().iter().map(LedgerEntry::at).max();
        let now = now.unwrap_or(Timestamp::from_millis(0));
        let workspace = Workspace::open(store, BOUNDS.peer).expect("the workspace can be opened");
        let workspace = workspace.with_ledger(now, ledger).expect("the ledger can be replayed");
        let workspace = workspace.with_stride(self.stride);
        let log = store::read(&*workspace.store(), |tx| tx.batches_after(0, usize::MAX >> 1));
        self.log = log
            .expect("the log can be read")
            .into_iter()
            .map(|batch| (batch.id, batch.position))
            .collect();
        let (served, seats) = (BTreeMap::new(), BTreeMap::new());
        let (group, kept_back) = (Vec::new(), Vec::new());
        self.running =
            Some(Running { workspace, served, seats, group, in_doubt: false, kept_back });
        self.lives += 1;
    }

    /// Dies: what is on disk stays as it is, nothing is closed. The connections that it had.
    pub(super) fn die(&mut self) -> Vec<Wire> {
        self.disk.orphan();
        self.gone()
    }

    /// Loses its power: what was not synced may be lost.
    pub(super) fn lose_power(&mut self, rng: &mut StdRng) -> Vec<Wire> {
        self.disk.power_off(rng);
        self.gone()
    }

    fn gone(&mut self) -> Vec<Wire> {
        let Some(running) = self.running.take() else { return Vec::new() };
        running.served.keys().copied().collect()
    }

    /// The disk that its database is on.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The files of its database, for a server that has died.
    ///
    /// # Panics
    /// While the server runs.
    #[must_use]
    pub fn files(&self) -> Files {
        assert!(self.running.is_none(), "a running server's files are in motion");
        Files::copy(&self.path)
    }
}

impl Running {
    /// Some folding, as an idle server does it.
    fn fold(&mut self) {
        for _ in 0..FOLDING_STEPS {
            match self.workspace.fold_one() {
                Ok(Folding::Idle) => return,
                Ok(Folding::Folded { .. } | Folding::Looked) => {}
                Err(error) if error.is_distrust() => {
                    self.in_doubt = true;
                    return;
                }
                // There is no room for it; it is tried again.
                Err(StoreError::Full) => return,
                Err(error) => panic!("every document of a simulation folds: {error}"),
            }
        }
    }

    /// Reads from the storage what memory has of it, when that is in doubt; whether it is not any more.
    fn is_recovered(&mut self) -> bool {
        if self.in_doubt {
            self.in_doubt = self.workspace.reload().is_err();
        }
        !self.in_doubt
    }

    /// Removes the traces of what was erased, as an idle server does it.
    fn scrub(&mut self, now: Timestamp) {
        // A full disk leaves it due.
        let _due = self.workspace.scrub(now);
    }

    /// Who sits on a connection, while no other session of the replica took over.
    fn current(&self, wire: Wire) -> Option<(ReplicaId, MemberId)> {
        let seat = self.served.get(&wire)?.seat.as_ref()?;
        let unfenced = planted(Bug::FencingSkipped);
        let current = self.seats.get(&seat.replica) == Some(&wire) || unfenced;
        current.then_some((seat.replica, seat.member))
    }
}
