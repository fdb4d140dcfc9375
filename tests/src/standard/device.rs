//! The steps of a device's store, each of which can be done again on the same file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use client_sdk::{
    Client, Clock, Config, EditError, MemberId, QueryError, SeededEntropy, StoreError, Timestamp,
    Transaction,
};
use crdt_core::protocol::{Page, Receipt, Welcome};
use crdt_core::schema::Schema;

use crate::harness::time::WORLD_BEGINS_MS;
use crate::vfs::Disk;

/// An edit of a user's.
pub type Edit = dyn Fn(&mut Transaction<'_, '_>) -> Result<(), EditError> + Send + Sync;

/// One step.
pub enum DeviceStep {
    /// The file is opened, or made.
    Open,
    /// The user edits.
    Edit(Box<Edit>),
    /// The server's answer to hello is stored.
    Welcome(Box<Welcome>),
    /// Receipts are stored; what was refused is rebased.
    Receipts(Vec<Receipt>),
    /// A page is stored; what left is removed.
    Page(Box<Page>),
    /// Idle work: words, pruning, folding, traces.
    Idle,
    /// The user searches.
    Search(&'static str),
}

/// A step failed, at its store.
pub type Failed = StoreError;

impl DeviceStep {
    /// Does it.
    ///
    /// # Errors
    /// The store's.
    ///
    /// # Panics
    /// When it fails for a reason that is not the store's.
    pub fn run(&self, client: &Client) -> Result<(), Failed> {
        match self {
            Self::Open => Ok(()),
            Self::Edit(edit) => match client.transaction(|tx| edit(tx)) {
                Ok(()) => Ok(()),
                Err(EditError::Store(error)) => Err(error),
                Err(other) => panic!("the edit is refused: {other}"),
            },
            Self::Welcome(welcome) => client.apply_welcome(welcome, 0).map(drop),
            Self::Receipts(receipts) => client.apply_receipts(receipts).map(drop),
            Self::Page(page) => client.apply_page(page).map(drop),
            Self::Idle => {
                while client.idle_work()? {}
                Ok(())
            }
            Self::Search(word) => match client.search("account", word, 10) {
                Ok(_) => Ok(()),
                Err(QueryError::Store(error)) => Err(error),
                Err(other) => panic!("the search is refused: {other}"),
            },
        }
    }

    /// Whether what it did is durable when it returns.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        matches!(self, Self::Open | Self::Edit(_) | Self::Welcome(_) | Self::Receipts(_))
    }
}

impl fmt::Debug for DeviceStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Edit(_) => "edit",
            Self::Welcome(_) => "welcome",
            Self::Receipts(_) => "receipts",
            Self::Page(_) => "page",
            Self::Idle => "idle work",
            Self::Search(_) => "search",
        })
    }
}

/// A clock that stands still: a step done again is the same step.
#[derive(Debug)]
pub struct StillClock;

impl Clock for StillClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(WORLD_BEGINS_MS + 60_000)
    }

    fn monotonic_ms(&self) -> u64 {
        60_000
    }

    fn boot(&self) -> [u8; 16] {
        [1; 16]
    }
}

/// The workspace of the standard workload.
pub const WORKSPACE: &str = "standard";

/// A person of the standard workload.
#[must_use]
pub fn member(name: &str) -> MemberId {
    MemberId::from_source_key("standard member", name)
}

/// How a device of the standard workload opens its file; each opening draws other random bytes.
#[must_use]
pub fn config(path: &Path, name: &str, disk: Option<&Disk>, seed: u64) -> Config {
    let mut config = Config::new(path, WORKSPACE, member(name))
        .member_name(name)
        .clock(Arc::new(StillClock))
        .schema(schema("employees = \"int\""))
        .entropy(SeededEntropy::new(seed));
    config.vfs = disk.map(Disk::name);
    config
}

/// The schema of the standard workload: small, with every kind of table. Its app lets through what the
/// server refuses.
#[must_use]
pub fn schema(employees: &str) -> Arc<Schema> {
    let text = SCHEMA.replace("EMPLOYEES", employees);
    Arc::new(Schema::parse(&text, "standard.toml").expect("the standard schema is sound"))
}

const SCHEMA: &str = r#"
version = 1

[entity.member]
label = "Member"
[entity.member.fields]
name = "string"

[entity.account]
label = "Account"
indexes = [["name"]]
search = ["name", "notes"]
[entity.account.fields]
name = { type = "string", required = true }
country = "string"
EMPLOYEES
owner = { type = "ref", to = "member" }
revenue = { type = "money", section = "finance" }
visits = "counter"
notes = "text"
tags = { type = "set", of = "string" }

[entity.contact]
label = "Contact"
inherits = "account"
[entity.contact.fields]
account = { type = "ref", to = "account" }
last_name = "string"
note = "string"
"#;
