//! The server in the simulation: the real workspace on real SQLite and a real session for each connection.
//! What threads and sockets do around them is done here one event at a time, in the same order: group commit,
//! receipts after it, fencing, pages, and the news that the log has grown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crdt_core::id::{BatchId, Epoch, Lease, MemberId, ReplicaId};
use crdt_core::limits;
use crdt_core::protocol::{
    Batch, Goodbye, GoodbyeCode, Hello, Outcome, PageParts, PeerLimits, Receipt,
};
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use sync_server::access::{Access, OpenAccess};
use sync_server::session::{Bounds, Effect, Greeted, Input, Session};
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{self, Read, Store, StoreError};
use sync_server::workspace::{Feed, Folding, HelloError, Stride, Submitted, Workspace};

use super::files::Files;
use super::network::{Packet, Wire};

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
    options: SqliteOptions,
    stride: Stride,
    running: Option<Running>,
    lives: u64,
    crash: Option<CrashPoint>,
    leases: StdRng,
    log: BTreeMap<BatchId, u64>,
}

struct Running {
    workspace: Workspace,
    served: BTreeMap<Wire, Served>,
    seats: BTreeMap<ReplicaId, Wire>,
    group: Vec<Submitted>,
}

struct Served {
    session: Session,
    seat: Option<Seat>,
    build: Option<Build>,
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
    pub(super) fn create(folder: &Path, seed: u64, stride: Stride) -> Self {
        let path = folder.join("server.db");
        let mut leases = StdRng::seed_from_u64(seed ^ 0x005e_4e5e);
        let mut epoch = [0; 16];
        leases.fill_bytes(&mut epoch);
        SqliteStore::create(&path, Epoch(epoch), Schema::builtin().text())
            .expect("an empty folder takes a new workspace");
        let options = SqliteOptions::default();
        let log = BTreeMap::new();
        let mut server =
            Self { path, options, stride, running: None, lives: 0, crash: None, leases, log };
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
        let options = SqliteOptions { max_page_count: self.options.max_page_count };
        let store: Arc<dyn Store> = Arc::new(
            SqliteStore::open(&self.path, options).expect("the server's file can be opened"),
        );
        let access: Arc<dyn Access> = Arc::new(OpenAccess);
        let workspace =
            Workspace::open(store, access, BOUNDS.peer).expect("the workspace can be opened");
        let workspace = workspace.with_stride(self.stride);
        let log = store::read(&*workspace.store(), |tx| tx.batches_after(0, usize::MAX >> 1));
        self.log = log
            .expect("the log can be read")
            .into_iter()
            .map(|batch| (batch.id, batch.position))
            .collect();
        let (served, seats) = (BTreeMap::new(), BTreeMap::new());
        self.running = Some(Running { workspace, served, seats, group: Vec::new() });
        self.lives += 1;
    }

    /// Dies: what is on disk stays as it is, nothing is closed. The connections that it had.
    pub(super) fn die(&mut self) -> Vec<Wire> {
        let files = Files::copy(&self.path);
        let Some(running) = self.running.take() else { return Vec::new() };
        let wires = running.served.keys().copied().collect();
        drop(running);
        files.put_back();
        wires
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

    pub(super) fn accept(&mut self, wire: Wire, now: u64) {
        if let Some(running) = &mut self.running {
            let session = Session::new(BOUNDS, now);
            running.served.insert(wire, Served { session, seat: None, build: None });
        }
    }

    pub(super) fn take(&mut self, at: Moment, wire: Wire, packet: Packet) -> Vec<Act> {
        let input = match packet {
            Packet::Frame(frame) => Input::Frame(frame),
            Packet::Text => Input::Text,
            Packet::Ping => Input::Heard,
            Packet::Close => {
                self.leave(wire);
                return Vec::new();
            }
        };
        self.feed(at, wire, input)
    }

    pub(super) fn tick(&mut self, at: Moment, wire: Wire) -> Option<Vec<Act>> {
        let running = self.running.as_mut()?;
        if !running.served.contains_key(&wire) {
            return None;
        }
        running.fold();
        Some(self.feed(at, wire, Input::Tick))
    }

    /// Whether a connection is served.
    pub(super) fn serves(&self, wire: Wire) -> bool {
        self.running.as_ref().is_some_and(|running| running.served.contains_key(&wire))
    }

    pub(super) fn build(&mut self, at: Moment, wire: Wire) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let Some(served) = running.served.get_mut(&wire) else { return Vec::new() };
        let (Some(seat), Some(build)) = (&mut served.seat, served.build.take()) else {
            return Vec::new();
        };
        let page = store::read(&*running.workspace.store(), |tx| match &build {
            Build::Page { flush } => seat.feed.next_page(tx, *flush),
            Build::Whole(documents) => {
                seat.feed.want(documents);
                seat.feed.next_page(tx, false)
            }
        });
        let input = match page {
            Ok(page) => Input::PageBuilt(page.map(|page| PageParts::new(&page))),
            Err(_) => Input::End(goodbye(GoodbyeCode::Internal, "a page could not be built")),
        };
        self.feed(at, wire, input)
    }

    /// Runs an input through a session and carries its effects out, what follows from one before the next.
    fn feed(&mut self, at: Moment, wire: Wire, input: Input) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(running) = &mut self.running else { return acts };
            let Some(served) = running.served.get_mut(&wire) else { return acts };
            for effect in served.session.handle(at.now, input) {
                inputs.extend(self.carry_out(at, wire, effect, &mut acts));
            }
        }
        acts
    }

    fn carry_out(
        &mut self,
        at: Moment,
        wire: Wire,
        effect: Effect,
        acts: &mut Vec<Act>,
    ) -> Option<Input> {
        match effect {
            Effect::Greet(hello) => {
                return Some(Input::Greeted(self.greet(at, wire, &hello, acts)));
            }
            Effect::Submit(batches) => self.submit(wire, batches, acts),
            Effect::Acknowledge(receipt) => self.acknowledge(at, wire, receipt, acts),
            Effect::BuildPage { flush } => self.build_soon(wire, Build::Page { flush }, acts),
            Effect::BuildWhole(numbers) => self.build_soon(wire, Build::Whole(numbers), acts),
            Effect::Send(frame) => acts.push(Act::Send(wire, frame)),
            Effect::Close(_) => {
                acts.push(Act::Close(wire));
                self.leave(wire);
            }
        }
        None
    }

    fn build_soon(&mut self, wire: Wire, build: Build, acts: &mut Vec<Act>) {
        let running = self.running.as_mut();
        if let Some(served) = running.and_then(|running| running.served.get_mut(&wire)) {
            served.build = Some(build);
            acts.push(Act::BuildSoon(wire));
        }
    }

    fn greet(
        &mut self,
        at: Moment,
        wire: Wire,
        hello: &Hello,
        acts: &mut Vec<Act>,
    ) -> Result<Greeted, Goodbye> {
        // The simulation's tokens are member ids: who may connect is not its subject.
        let member: MemberId = hello
            .token
            .parse()
            .map_err(|_| goodbye(GoodbyeCode::Unauthorized, "not a token of the simulation"))?;
        acts.extend(self.commit(at));
        let mut lease = [0; 16];
        self.leases.fill_bytes(&mut lease);
        let stopped = || goodbye(GoodbyeCode::Restart, "the workspace is stopping");
        let running = self.running.as_mut().ok_or_else(stopped)?;
        let greeting = running.workspace.hello(at.wall, Lease(lease), member, hello);
        let greeting = greeting.map_err(|error| match error {
            HelloError::Refused(goodbye) => goodbye,
            HelloError::Store(error) => storage_goodbye(&error),
        })?;
        let superseded = goodbye(GoodbyeCode::Superseded, "another session took over");
        acts.extend(self.end(at, &hello.replica, superseded));
        let running = self.running.as_mut().ok_or_else(stopped)?;
        running.seats.insert(hello.replica, wire);
        if let Some(served) = running.served.get_mut(&wire) {
            served.seat = Some(Seat { replica: hello.replica, member, feed: greeting.feed });
        }
        Ok(Greeted { welcome: Box::new(greeting.welcome), expires_at: u64::MAX })
    }

    fn submit(&mut self, wire: Wire, batches: Vec<Batch>, acts: &mut Vec<Act>) {
        let Some(running) = &mut self.running else { return };
        let Some((replica, member)) = running.current(wire) else { return };
        if running.group.is_empty() {
            acts.push(Act::CommitSoon);
        }
        let submitted = batches.into_iter().map(|batch| Submitted { replica, member, batch });
        running.group.extend(submitted);
    }

    fn acknowledge(&mut self, at: Moment, wire: Wire, receipt: u64, acts: &mut Vec<Act>) {
        // It comes after what was handed in before it.
        acts.extend(self.commit(at));
        let Some(running) = &mut self.running else { return };
        let Some((replica, _)) = running.current(wire) else { return };
        if let Err(error) = running.workspace.acknowledge(&replica, receipt) {
            acts.extend(self.end(at, &replica, storage_goodbye(&error)));
        }
    }

    /// Commits what has been handed in, then answers it.
    pub(super) fn commit(&mut self, at: Moment) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let group = std::mem::take(&mut running.group);
        if group.is_empty() {
            return Vec::new();
        }
        if self.crash.take_if(|point| *point == CrashPoint::BeforeCommit).is_some() {
            return vec![Act::Died(self.die())];
        }
        let error = match self.try_commit(at, &group) {
            Ok(acts) => return acts,
            Err(error) => error,
        };
        let mut by_replica: BTreeMap<ReplicaId, Vec<Submitted>> = BTreeMap::new();
        for submitted in group {
            by_replica.entry(submitted.replica).or_default().push(submitted);
        }
        let mut acts = Vec::new();
        if by_replica.len() == 1 || matches!(error, StoreError::Full) {
            for replica in by_replica.keys() {
                acts.extend(self.end(at, replica, storage_goodbye(&error)));
            }
            return acts;
        }
        for (replica, group) in by_replica {
            match self.try_commit(at, &group) {
                Ok(more) => acts.extend(more),
                Err(error) => acts.extend(self.end(at, &replica, storage_goodbye(&error))),
            }
        }
        acts
    }

    fn try_commit(&mut self, at: Moment, group: &[Submitted]) -> Result<Vec<Act>, StoreError> {
        let Some(running) = &mut self.running else { return Ok(Vec::new()) };
        let committed = running.workspace.commit(at.wall, group)?;
        self.note(&committed.receipts);
        if self.crash.take().is_some() {
            return Ok(vec![Act::Died(self.die())]);
        }
        Ok(self.deliver(at, committed.receipts))
    }

    fn note(&mut self, receipts: &[(ReplicaId, Receipt)]) {
        for (_, receipt) in receipts {
            if let Outcome::Accepted { position, .. } = &receipt.outcome {
                let before = self.log.insert(receipt.batch, *position);
                assert_eq!(before, None, "batch {} was accepted twice", receipt.batch);
            }
        }
    }

    fn deliver(&mut self, at: Moment, receipts: Vec<(ReplicaId, Receipt)>) -> Vec<Act> {
        let Some(running) = &mut self.running else { return Vec::new() };
        let mut by_replica: BTreeMap<ReplicaId, Vec<Receipt>> = BTreeMap::new();
        for (replica, receipt) in receipts {
            by_replica.entry(replica).or_default().push(receipt);
        }
        let answered: Vec<(Wire, Vec<Receipt>)> = by_replica
            .into_iter()
            .filter_map(|(replica, receipts)| Some((*running.seats.get(&replica)?, receipts)))
            .collect();
        let live: Vec<Wire> = running.seats.values().copied().collect();
        let mut acts = Vec::new();
        for (wire, receipts) in answered {
            acts.extend(self.feed(at, wire, Input::Receipts(receipts)));
        }
        for wire in live {
            acts.extend(self.feed(at, wire, Input::HeadMoved));
        }
        acts
    }

    fn end(&mut self, at: Moment, replica: &ReplicaId, goodbye: Goodbye) -> Vec<Act> {
        let wire = self.running.as_mut().and_then(|running| running.seats.remove(replica));
        wire.map_or_else(Vec::new, |wire| self.feed(at, wire, Input::End(goodbye)))
    }

    fn leave(&mut self, wire: Wire) {
        let Some(running) = &mut self.running else { return };
        running.served.remove(&wire);
        running.seats.retain(|_, seated| *seated != wire);
    }
}

impl Running {
    /// Some folding, as an idle server does it.
    fn fold(&mut self) {
        for _ in 0..FOLDING_STEPS {
            let step = self.workspace.fold_one().expect("every document of a simulation folds");
            if step == Folding::Idle {
                return;
            }
        }
    }

    /// Who sits on a connection, while no other session of the replica took over.
    fn current(&self, wire: Wire) -> Option<(ReplicaId, MemberId)> {
        let seat = self.served.get(&wire)?.seat.as_ref()?;
        let current = self.seats.get(&seat.replica) == Some(&wire);
        current.then_some((seat.replica, seat.member))
    }
}

fn goodbye(code: GoodbyeCode, text: &str) -> Goodbye {
    Goodbye { code, text: text.to_owned(), retry_after_ms: None }
}

fn storage_goodbye(error: &StoreError) -> Goodbye {
    match error {
        StoreError::Full => Goodbye {
            retry_after_ms: Some(30_000),
            ..goodbye(GoodbyeCode::StorageFull, "the server cannot store anything")
        },
        _ => Goodbye {
            retry_after_ms: Some(5_000),
            ..goodbye(GoodbyeCode::Internal, "the server's storage failed")
        },
    }
}
