//! Fieldbook on a device: a CRM that works offline, and syncs when there is a network.
//!
//! A [`Client`] is one database file of one member in one workspace. A record belongs to an entity of the
//! schema and is named by a [`RecordId`]; its fields are values, sets, counters and prose. Writing is local:
//! when a call returns, the edit is on the disk, in the tables that queries read, and in the outbox. Several
//! edits of several records form a [`transaction`](Client::transaction), which the server later accepts or
//! refuses as a whole. Reading is local too: records by id, plain SQL over one table per entity, full text;
//! readers never wait for the writer. Edits that were made elsewhere at the same time merge by each field's
//! rule, the same way on every device, and differing values show as a [conflict](Client::conflicts). What
//! the server refuses becomes a [dispute](Client::disputes) that keeps the user's input. Nothing that was
//! confirmed is lost: it is in the outbox, accepted, or in a dispute. [`watch`](Client::watch) tells after
//! each commit what changed. Time, randomness and tokens come from the [`Config`], so that one seed decides
//! everything in a test.
//!
//! ```
//! use client_sdk::{Client, Config, Edits, Paging};
//! use crdt_core::id::MemberId;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("fieldbook.db");
//! let me = MemberId::from_source_key("member", "ada@example.com");
//! let client = Client::open(Config::new(path, "acme", me).member_name("Ada"))?;
//!
//! let acme = client.create("account", Edits::new().set("name", "Acme").add("tags", "vip"))?;
//! client.transaction(|tx| {
//!     let visit = tx.create(
//!         "activity",
//!         Edits::new().set("kind", "visit").set("subject", "First visit").set("account", acme),
//!     )?;
//!     tx.update(acme, Edits::new().increment("visits", 1))?;
//!     Ok(visit)
//! })?;
//!
//! let record = client.get(acme)?.expect("it was just created");
//! assert_eq!(record.text("name"), Some("Acme"));
//! assert_eq!(record.int("visits"), Some(1));
//!
//! let rows = client.query("SELECT name FROM account", &[], Paging::first(50))?;
//! assert_eq!(rows.rows.len(), 1);
//! assert_eq!(client.search("account", "acm", 10)?.len(), 1);
//! assert_eq!(client.unsent()?.batches, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod accounting;
mod client;
mod clock;
mod config;
mod conflict;
mod dispute;
mod driver;
mod edits;
pub mod engine;
mod error;
mod notify;
mod plain;
mod query;
mod record;
mod status;
mod store;
pub mod tables;
mod transaction;
mod undo;
mod unsent;

pub use accounting::{Accounting, Whereabouts};
pub use client::{Client, DisputeWatch, KeptEdit, NotKnown, Permission, WelcomeApplied};
pub use clock::{Clock, SystemClock};
pub use config::{
    Config, Entropy, SeededEntropy, StaticToken, SystemEntropy, TokenProvider, TokenProviderError,
    TokenReason,
};
pub use conflict::{Choice, ConflictValue, FieldConflict};
pub use crdt_core::id::{DeviceId, MemberId, RecordId};
pub use crdt_core::policy::{Action, Denial, Why};
pub use crdt_core::record::{Money, Value};
pub use crdt_core::time::Timestamp;
pub use dispute::{Dispute, DisputeKind, DisputeReason, Tried};
pub use driver::{BadServer, EraseError, StartError, SyncHandle, SyncReport};
pub use edits::Edits;
pub use error::{EditError, QueryError, StoreError};
pub use notify::{Changes, Subscription};
pub use query::{Hit, Paging, Rows};
pub use record::{Record, SyncState};
pub use status::{AccessStatus, RefusedKind, SyncError, SyncErrorKind, SyncPhase, SyncStatus};
pub use store::fold::VerifyReport;
pub use store::incoming::PageApplied;
pub use store::open::{Damaged, OpenReport};
pub use store::receipts::ReceiptsApplied;
pub use transaction::Transaction;
pub use unsent::{Unsent, WipeMode};
