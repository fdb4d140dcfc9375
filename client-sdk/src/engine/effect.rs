//! Everything that the engine may ask for.

use std::collections::BTreeSet;

use crdt_core::id::BatchId;
use crdt_core::protocol::{Compare, Goodbye, Lacking, Page, Receipt, Welcome};

use super::{ConnectionId, EraseFailure};
use crate::status::{SyncErrorKind, SyncPhase};

/// One thing to do, in the order in which it was returned.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// To be done outside: network, time, the app.
    Outward(Outward),
    /// To be done by the store.
    Store(StoreWork),
    /// To be shown.
    Status(StatusChange),
}

/// What is to be done outside of the device's store.
#[derive(Debug, Clone, PartialEq)]
pub enum Outward {
    /// Ask the app for a token, for the reason that
    /// [`Engine::token_reason`](super::Engine::token_reason) gives; answer with `TokenReady`. A later one
    /// replaces it.
    FetchToken,
    /// Connect; answer with `Connected` or `ConnectFailed`.
    Connect(ConnectionId),
    /// Send one binary message on the connection.
    Send(Vec<u8>),
    /// Ping the peer on the connection; its answer is `Heard`.
    Ping,
    /// End the connection, or the attempt, after sending the goodbye. It needs no answer.
    Disconnect {
        /// What to tell the peer.
        goodbye: Option<Goodbye>,
    },
    /// Tell the app what became of an erasure that it asked for.
    ErasureAnswered {
        /// The request.
        request: u64,
        /// The position of the erasure, or why there is none.
        answer: Result<u64, EraseFailure>,
    },
    /// Give `Tick` at this time (as of `now`); replaces the time asked for before. An early or a second
    /// tick does no harm.
    WakeAt(u64),
}

/// What the store is to do. Never is more than one of these unanswered.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreWork {
    /// Put the hello together; answer with `HelloReady`.
    PrepareHello {
        /// Who the user is.
        token: String,
    },
    /// Store a welcome durably; answer with `WelcomeStored`.
    StoreWelcome {
        /// What came.
        welcome: Box<Welcome>,
        /// From sending the hello to hearing the answer, milliseconds.
        round_trip_ms: u64,
    },
    /// Store receipts durably; answer with `ReceiptsStored`.
    StoreReceipts {
        /// What came.
        receipts: Vec<Receipt>,
        /// The other batches that were sent and whose answers are not stored.
        in_flight: BTreeSet<BatchId>,
    },
    /// Apply a page and its cursors in one transaction; answer with `PageStored`.
    StorePage {
        /// The page's number in its session.
        number: u64,
        /// What came.
        page: Page,
    },
    /// Make this database a replica of its own, since the server knows it as a copy; answer with
    /// `ReplicaRenewed`.
    RenewReplica,
    /// Remove the database and everything in it, since the device was revoked; answer with `Wiped`.
    Wipe,
    /// Read batches that were not answered; answer with `OutboxRead`.
    ReadOutbox {
        /// Those with greater numbers.
        after: u64,
        /// At most so many.
        batches: usize,
        /// At most so large in all, bytes; the first one always.
        bytes: usize,
    },
    /// Say what is to be given back, or asked, since the server was restored; answer with `RelayRead`.
    ReadRelay {
        /// The batches that were sent and whose answers are not stored.
        in_flight: BTreeSet<BatchId>,
    },
    /// Store what the server lacks; answer with `LackingStored`.
    StoreLacking {
        /// What was compared.
        compare: Compare,
        /// The answer.
        lacking: Lacking,
    },
    /// Note that what was gathered for these documents was given back; answer with `RelayedStored`.
    StoreRelayed {
        /// What was compared.
        compare: Compare,
    },
}

/// What changed for those who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusChange {
    /// Sync does something else now.
    Phase(SyncPhase),
    /// Something went wrong.
    Failed {
        /// For programs.
        kind: SyncErrorKind,
        /// For people.
        text: String,
        /// When the next attempt comes (as of `now`); nothing when it waits for somebody.
        retry_at: Option<u64>,
    },
    /// Everything was sent and answered, and everything new has come.
    Synced,
}
