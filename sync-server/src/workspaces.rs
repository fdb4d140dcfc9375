//! The workspaces of a server: each is one thread that owns its judging and its writes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crdt_core::id::{Lease, MemberId, ReplicaId};
use crdt_core::protocol::{Batch, Goodbye, GoodbyeCode, Hello, PeerLimits, Receipt};
use tokio::sync::{mpsc, oneshot, watch};

use crate::access::{Access, OpenAccess};
use crate::clock;
use crate::failpoint;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::workspace::{Folding, Greeting, HelloError, OpenError, Submitted, Workspace};

/// Commands that wait for a workspace; a connection waits when it is full.
const INBOX: usize = 1_024;
/// When to come back after the budget for loading documents is used up, milliseconds: it is one of a minute.
const BUSY_RETRY_MS: u64 = 60_000;
/// Batches of one commit: bounds how long a lone edit waits behind a crowd.
const GROUP_MAX: usize = 1_000;
/// Events that wait for one connection. Receipts come at most once for each batch in flight.
const EVENTS: usize = 128;

/// What a workspace tells a connection.
#[derive(Debug)]
pub enum Event {
    /// Batches were answered and are durable.
    Receipts(Vec<Receipt>),
    /// The connection must end.
    End(Goodbye),
}

enum Command {
    Hello {
        hello: Box<Hello>,
        member: MemberId,
        lease: Lease,
        session: u64,
        events: mpsc::Sender<Event>,
        reply: oneshot::Sender<Result<Box<Greeting>, Goodbye>>,
    },
    Submit {
        session: u64,
        replica: ReplicaId,
        member: MemberId,
        batches: Vec<Batch>,
    },
    Acknowledge {
        session: u64,
        replica: ReplicaId,
        receipt: u64,
    },
    Leave {
        session: u64,
        replica: ReplicaId,
    },
}

/// A running workspace.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    head: watch::Receiver<u64>,
    store: Arc<dyn Store>,
}

/// A connection's place in a workspace.
pub struct Seat {
    handle: Handle,
    session: u64,
    replica: ReplicaId,
    member: MemberId,
    /// What the workspace tells this connection.
    pub events: mpsc::Receiver<Event>,
}

impl Handle {
    /// Judges a handshake; a good one ends the replica's other session.
    ///
    /// # Errors
    /// The goodbye to send.
    pub async fn greet(
        &self,
        hello: Box<Hello>,
        member: MemberId,
        lease: Lease,
        session: u64,
    ) -> Result<(Seat, Box<Greeting>), Goodbye> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let (reply, answer) = oneshot::channel();
        let replica = hello.replica;
        let command = Command::Hello { hello, member, lease, session, events, reply };
        self.commands.send(command).await.map_err(|_| stopped())?;
        let greeting = answer.await.map_err(|_| stopped())??;
        let handle = self.clone();
        Ok((Seat { handle, session, replica, member, events: receiver }, greeting))
    }

    /// The workspace's storage, for pages.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The log's last position, as it grows.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }
}

impl Seat {
    /// Hands batches in; receipts come as events once they are durable.
    ///
    /// # Errors
    /// When the workspace has stopped.
    pub async fn submit(&self, batches: Vec<Batch>) -> Result<(), Goodbye> {
        let (session, replica, member) = (self.session, self.replica, self.member);
        let command = Command::Submit { session, replica, member, batches };
        self.handle.commands.send(command).await.map_err(|_| stopped())
    }

    /// Says that the device has stored its receipts up to a number.
    ///
    /// # Errors
    /// When the workspace has stopped.
    pub async fn acknowledge(&self, receipt: u64) -> Result<(), Goodbye> {
        let (session, replica) = (self.session, self.replica);
        let command = Command::Acknowledge { session, replica, receipt };
        self.handle.commands.send(command).await.map_err(|_| stopped())
    }

    /// Gives the place up.
    pub async fn leave(self) {
        let command = Command::Leave { session: self.session, replica: self.replica };
        // A workspace that has stopped keeps no places.
        let _ = self.handle.commands.send(command).await;
    }
}

fn stopped() -> Goodbye {
    goodbye(GoodbyeCode::Restart, "the workspace is stopping", Some(1_000))
}

fn goodbye(code: GoodbyeCode, text: &str, retry_after_ms: Option<u64>) -> Goodbye {
    Goodbye { code, text: text.to_owned(), retry_after_ms }
}

/// Every workspace in a data directory; opened at first use.
pub struct Workspaces {
    directory: PathBuf,
    options: SqliteOptions,
    limits: PeerLimits,
    access: Arc<dyn Access>,
    metrics: Metrics,
    running: Mutex<BTreeMap<String, (Handle, JoinHandle<()>)>>,
}

impl Workspaces {
    /// The workspaces of a directory, open to their members.
    #[must_use]
    pub fn new(
        directory: PathBuf,
        options: SqliteOptions,
        limits: PeerLimits,
        metrics: Metrics,
    ) -> Self {
        let running = Mutex::new(BTreeMap::new());
        Self { directory, options, limits, access: Arc::new(OpenAccess), metrics, running }
    }

    /// The file of a workspace.
    #[must_use]
    pub fn path(directory: &std::path::Path, name: &str) -> PathBuf {
        directory.join("workspaces").join(format!("{name}.db"))
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
        let workspace = Workspace::open(Arc::clone(&store), Arc::clone(&self.access), self.limits)?;
        let (commands, inbox) = mpsc::channel(INBOX);
        let (head_sender, head) = watch::channel(workspace.head()?);
        let metrics = self.metrics.clone();
        let actor = Actor { workspace, head: head_sender, sessions: BTreeMap::new(), metrics };
        let thread = std::thread::Builder::new()
            .name(format!("workspace {name}"))
            .spawn(move || actor.run(inbox))
            .map_err(|error| StoreError::Backend(error.into()))?;
        let handle = Handle { commands, head, store };
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

/// The thread of one workspace.
struct Actor {
    workspace: Workspace,
    head: watch::Sender<u64>,
    sessions: BTreeMap<ReplicaId, (u64, mpsc::Sender<Event>)>,
    metrics: Metrics,
}

impl Actor {
    /// Serves until every handle is gone.
    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(first) = self.next_command(&mut inbox) {
            let mut next = Some(first);
            let mut group: Vec<Submitted> = Vec::new();
            while let Some(command) = next.take() {
                match command {
                    Command::Submit { session, replica, member, batches } => {
                        if self.is_current(session, &replica) {
                            let submit = |batch| Submitted { replica, member, batch };
                            group.extend(batches.into_iter().map(submit));
                        }
                    }
                    other => {
                        // A handshake or an acknowledgement comes after what was handed in before it.
                        self.commit(std::mem::take(&mut group));
                        self.other(other);
                    }
                }
                if group.len() < GROUP_MAX {
                    next = inbox.try_recv().ok();
                }
            }
            self.commit(group);
        }
    }

    /// The next command; folds while there is none.
    fn next_command(&mut self, inbox: &mut mpsc::Receiver<Command>) -> Option<Command> {
        loop {
            match inbox.try_recv() {
                Ok(command) => return Some(command),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            match self.workspace.fold_one() {
                Ok(Folding::Folded { .. } | Folding::Looked) => {}
                Ok(Folding::Idle) => return inbox.blocking_recv(),
                Err(error) => {
                    tracing::error!(%error, "a document could not be folded; it stays as it is");
                    return inbox.blocking_recv();
                }
            }
        }
    }

    fn is_current(&self, session: u64, replica: &ReplicaId) -> bool {
        self.sessions.get(replica).is_some_and(|(current, _)| *current == session)
    }

    fn other(&mut self, command: Command) {
        match command {
            Command::Hello { hello, member, lease, session, events, reply } => {
                let replica = hello.replica;
                let greeted = self.workspace.hello(clock::now(), lease, member, &hello);
                let greeted = greeted.map_err(|error| match error {
                    HelloError::Refused(goodbye) => goodbye,
                    HelloError::Store(error) => storage_goodbye(&error),
                });
                if greeted.is_ok() {
                    self.end(
                        &replica,
                        goodbye(GoodbyeCode::Superseded, "another session took over", None),
                    );
                    self.sessions.insert(replica, (session, events));
                }
                // A connection that has gone meanwhile leaves no session behind.
                if reply.send(greeted.map(Box::new)).is_err() {
                    self.sessions.remove(&replica);
                }
            }
            Command::Acknowledge { session, replica, receipt } => {
                if self.is_current(session, &replica)
                    && let Err(error) = self.workspace.acknowledge(&replica, receipt)
                {
                    self.end(&replica, storage_goodbye(&error));
                }
            }
            Command::Leave { session, replica } => {
                if self.is_current(session, &replica) {
                    self.sessions.remove(&replica);
                }
            }
            Command::Submit { .. } => {}
        }
    }

    fn commit(&mut self, group: Vec<Submitted>) {
        if group.is_empty() {
            return;
        }
        let Err(error) = self.try_commit(&group) else { return };
        let mut by_replica: BTreeMap<ReplicaId, Vec<Submitted>> = BTreeMap::new();
        for submitted in group {
            by_replica.entry(submitted.replica).or_default().push(submitted);
        }
        if by_replica.len() == 1 || matches!(error, StoreError::Full) {
            for replica in by_replica.keys() {
                self.end(replica, storage_goodbye(&error));
            }
            return;
        }
        // One damaged document ends the sessions that touch it, and not everybody's who came with them.
        for (replica, group) in by_replica {
            if let Err(error) = self.try_commit(&group) {
                self.end(&replica, storage_goodbye(&error));
            }
        }
    }

    fn try_commit(&mut self, group: &[Submitted]) -> Result<(), StoreError> {
        let begun = std::time::Instant::now();
        failpoint::hit(failpoint::COMMIT_BEFORE);
        let committed = self.workspace.commit(clock::now(), group).inspect_err(|error| {
            tracing::error!(%error, "a commit failed; nothing of it is answered");
        })?;
        failpoint::hit(failpoint::COMMIT_BEFORE_RECEIPTS);
        self.metrics.commit_took(begun.elapsed());
        self.metrics.batches_accepted.increment(committed.accepted);
        self.metrics.batches_refused.increment(committed.refused);
        self.deliver(committed.receipts);
        for replica in committed.put_off {
            let text = "too many changes whose documents had to be loaded";
            self.end(&replica, goodbye(GoodbyeCode::Busy, text, Some(BUSY_RETRY_MS)));
        }
        self.head
            .send_if_modified(|head| std::mem::replace(head, committed.head) != committed.head);
        Ok(())
    }

    fn deliver(&mut self, receipts: Vec<(ReplicaId, Receipt)>) {
        let mut by_replica: BTreeMap<ReplicaId, Vec<Receipt>> = BTreeMap::new();
        for (replica, receipt) in receipts {
            by_replica.entry(replica).or_default().push(receipt);
        }
        for (replica, receipts) in by_replica {
            let Some((_, events)) = self.sessions.get(&replica) else { continue };
            // A connection that does not take its events is not waited for: it resumes from its cursor.
            if events.try_send(Event::Receipts(receipts)).is_err() {
                self.sessions.remove(&replica);
            }
        }
    }

    fn end(&mut self, replica: &ReplicaId, goodbye: Goodbye) {
        if let Some((_, events)) = self.sessions.remove(replica) {
            // When its queue is full, closing the queue ends the connection as well.
            let _ = events.try_send(Event::End(goodbye));
        }
    }
}

fn storage_goodbye(error: &StoreError) -> Goodbye {
    match error {
        StoreError::Full => {
            goodbye(GoodbyeCode::StorageFull, "the server cannot store anything", Some(30_000))
        }
        _ => goodbye(GoodbyeCode::Internal, "the server's storage failed", Some(5_000)),
    }
}
