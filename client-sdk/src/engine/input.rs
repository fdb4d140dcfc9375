//! Everything that can happen to the engine.

use crdt_core::id::RecordId;
use crdt_core::protocol::{Batch, Cursor, Hello, Relay, ScopeCursor};

use crate::status::SyncErrorKind;
use crate::store::relay::RelayStep;

/// One thing that happened.
///
/// What belongs to a connection names it, so that what comes late from an ended one changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Sync is wanted.
    Start,
    /// Sync is no longer wanted.
    Stop,
    /// There may be something to do.
    Nudge(Nudge),
    /// The app wants a record erased; answered with `ErasureAnswered` under the number of the request, which
    /// is never used twice.
    Erase {
        /// The request.
        request: u64,
        /// The record.
        record: RecordId,
    },
    /// The answer to [`Outward::FetchToken`](super::Outward::FetchToken).
    TokenReady(Result<String, TokenFailure>),
    /// The connection stands: its WebSocket handshake is done.
    Connected(ConnectionId),
    /// The connection could not be made.
    ConnectFailed(ConnectionId, ConnectFailure),
    /// A binary message came.
    FrameReceived(ConnectionId, Vec<u8>),
    /// The peer answered a ping, or sent one.
    Heard(ConnectionId),
    /// The connection ended, with the reason for people.
    Disconnected(ConnectionId, String),
    /// Time has passed.
    Tick,
    /// The hello is ready to be sent.
    HelloReady(Box<Hello>),
    /// The welcome is stored.
    WelcomeStored {
        /// Where the device stands now, in every scope that is not an exception.
        cursor: Cursor,
        /// The scopes in which it stands elsewhere.
        exceptions: Vec<ScopeCursor>,
        /// Documents to fetch whole, by number.
        fetch: Vec<u64>,
    },
    /// The receipts are stored.
    ReceiptsStored {
        /// Documents to fetch whole, by number.
        fetch: Vec<u64>,
    },
    /// The page is stored, and its cursors with it.
    PageStored {
        /// The page's number in its session.
        number: u64,
        /// Documents that could not be applied, to be fetched whole, by number.
        fetch: Vec<u64>,
    },
    /// The database is a replica of its own: new actors, the same batches.
    ReplicaRenewed,
    /// The database is removed.
    Wiped,
    /// What the outbox holds next, in its order.
    OutboxRead(Vec<Batch>),
    /// What is to be given back, or asked, since the server was restored.
    RelayRead(RelayStep),
    /// What the server lacks is stored; these are to be given back.
    LackingStored(Vec<Relay>),
    /// What was given back is noted.
    RelayedStored,
    /// The store could not do what it was asked last; nothing of it was done.
    StoreFailed(StoreFailure),
}

/// Why there may be something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nudge {
    /// A batch was added to the outbox.
    Edited,
    /// The device has a network again, or another one.
    Network,
    /// The app asks: the user wants it now, or has signed in.
    Asked,
}

/// Names a connection of one engine; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// There is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFailure {
    /// The user has to sign in.
    SignIn(String),
    /// Not at present; later perhaps.
    Unavailable(String),
}

/// A connection could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectFailure {
    /// For programs.
    pub kind: SyncErrorKind,
    /// For people.
    pub text: String,
    /// When the server wants to be asked again, milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// The store failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFailure {
    /// For programs.
    pub kind: SyncErrorKind,
    /// For people.
    pub text: String,
}
