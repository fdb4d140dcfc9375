//! A running workspace as connections and operators have it: what they can ask of its thread, and what it
//! tells them.

use std::sync::Arc;

use crdt_core::id::{Lease, MemberId, ReplicaId};
use crdt_core::protocol::{
    Batch, EraseRecord, Erasure, Goodbye, GoodbyeCode, Hello, Receipt, Relay, Relayed,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::pages::Pages;
use crate::clock;
use crate::store::{Store, StoreError};
use crate::workspace::{Greeting, RelayedBy, Workspace};

/// Events that wait for one connection. Receipts come at most once for each batch in flight.
const EVENTS: usize = 128;

/// What a workspace tells a connection.
#[derive(Debug)]
pub enum Event {
    /// Batches were answered and are durable.
    Receipts(Vec<Receipt>),
    /// What the device gave back was judged, and is durable.
    Relayed(Relayed),
    /// The connection must end.
    End(Goodbye),
}

/// What a workspace's thread is asked.
pub(super) enum Command {
    Hello {
        hello: Box<Hello>,
        member: MemberId,
        lease: Lease,
        session: u64,
        events: mpsc::Sender<Event>,
        reply: oneshot::Sender<Result<Box<Greeting>, Goodbye>>,
    },
    HandIn(HandIn),
    Relay {
        session: u64,
        by: Box<RelayedBy>,
    },
    Leave {
        session: u64,
        replica: ReplicaId,
    },
    Run(AdminWork),
}

/// What needs no more of the workspace's thread than a place in the line.
pub(super) struct HandIn {
    pub(super) session: u64,
    pub(super) replica: ReplicaId,
    pub(super) what: Handed,
}

pub(super) enum Handed {
    Batches(MemberId, Vec<Batch>),
    /// The device has stored its receipts up to here.
    Stored(u64),
}

/// Work of an operator on a workspace, run by its thread between commits. Sessions are told what follows.
pub type AdminWork = Box<dyn FnOnce(&mut Workspace) + Send>;

/// A running workspace.
#[derive(Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) head: watch::Receiver<u64>,
    pub(super) store: Arc<dyn Store>,
    pub(super) pages: Arc<Pages>,
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

    /// Runs work of an operator on the workspace's thread, after what was handed in before it, and gives its
    /// result.
    ///
    /// # Errors
    /// When the workspace has stopped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Workspace) -> T + Send + 'static,
    ) -> Result<T, Goodbye> {
        let (reply, answer) = oneshot::channel();
        let work: AdminWork = Box::new(move |workspace| {
            // Whoever asked may have gone; the work is done all the same.
            let _ = reply.send(work(workspace));
        });
        self.commands.send(Command::Run(work)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }

    /// The workspace's storage, for pages.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// What its connections are sent.
    #[must_use]
    pub fn pages(&self) -> Arc<Pages> {
        Arc::clone(&self.pages)
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
        self.hand_in(Handed::Batches(self.member, batches)).await
    }

    /// Hands in what the device gives back; the answer comes as an event once it is durable.
    ///
    /// # Errors
    /// When the workspace has stopped.
    pub async fn relay(&self, relay: Relay) -> Result<(), Goodbye> {
        let by = Box::new(RelayedBy { replica: self.replica, member: self.member, relay });
        let command = Command::Relay { session: self.session, by };
        self.handle.commands.send(command).await.map_err(|_| stopped())
    }

    /// Says that the device has stored its receipts up to a number.
    ///
    /// # Errors
    /// When the workspace has stopped.
    pub async fn acknowledge(&self, receipt: u64) -> Result<(), Goodbye> {
        self.hand_in(Handed::Stored(receipt)).await
    }

    async fn hand_in(&self, what: Handed) -> Result<(), Goodbye> {
        let command = HandIn { session: self.session, replica: self.replica, what };
        self.handle.commands.send(Command::HandIn(command)).await.map_err(|_| stopped())
    }

    /// Says that the device has removed what was erased up to a position.
    ///
    /// # Errors
    /// When the workspace has stopped.
    pub async fn confirm_erasures(&self, up_to: u64) -> Result<(), Goodbye> {
        let replica = self.replica;
        let noted = self
            .handle
            .run(move |workspace| workspace.confirm_erasures(clock::now(), replica, up_to).err());
        if let Some(error) = noted.await? {
            // The device says where it stands at its next hello as well.
            tracing::warn!(%error, "what a device has removed could not be noted");
        }
        Ok(())
    }

    /// Erases a record, if the device's member may.
    ///
    /// # Errors
    /// When the workspace has stopped; the inner error is the ledger's or the storage's.
    pub async fn erase(&self, asked: EraseRecord) -> Result<Result<Erasure, StoreError>, Goodbye> {
        let (replica, member) = (self.replica, self.member);
        let answer = move |workspace: &mut Workspace| {
            workspace.answer_erasure(clock::now(), replica, member, asked)
        };
        self.handle.run(answer).await
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

pub(super) fn goodbye(code: GoodbyeCode, text: &str, retry_after_ms: Option<u64>) -> Goodbye {
    Goodbye { code, text: text.to_owned(), retry_after_ms }
}

pub(super) fn storage_goodbye(error: &StoreError) -> Goodbye {
    match error {
        StoreError::Full => {
            goodbye(GoodbyeCode::StorageFull, "the server cannot store anything", Some(30_000))
        }
        _ => goodbye(GoodbyeCode::Internal, STORAGE_FAILED, Some(5_000)),
    }
}

pub(super) const STORAGE_FAILED: &str =
    "the server's storage failed; what was not answered may not be stored";
