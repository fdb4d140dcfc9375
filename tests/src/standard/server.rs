//! The steps of a server's storage, each of which can be done again on the same file.

use std::path::Path;
use std::sync::Arc;

use crdt_core::id::{Lease, MemberId, ReplicaId};
use crdt_core::limits;
use crdt_core::protocol::{Hello, PeerLimits};
use crdt_core::time::Timestamp;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{Store, StoreError};
use sync_server::workspace::{
    Committed, Folding, Greeting, HelloError, OpenError, PolicyError, Rescoping, Stride, Submitted,
    Workspace,
};

use crate::harness::time::WORLD_BEGINS_MS;
use crate::vfs::Disk;

/// One step.
#[derive(Debug)]
pub enum ServerStep {
    /// The file is opened.
    Open,
    /// A member is added.
    Member(MemberId, &'static str),
    /// A handshake.
    Hello(MemberId, Lease, Box<Hello>),
    /// A group of batches.
    Commit(Vec<Submitted>),
    /// A device has stored its receipts.
    Acknowledge(ReplicaId, u64),
    /// A policy is put in force.
    Policy(String),
    /// Scopes are found again until there is nothing to do.
    Rescope,
    /// Documents are folded until there is nothing to do.
    Fold,
}

/// What a step gave.
#[derive(Debug)]
pub enum Gave {
    /// Nothing that matters.
    Nothing,
    /// A greeting.
    Greeting(Box<Greeting>),
    /// Receipts.
    Committed(Box<Committed>),
}

impl ServerStep {
    /// Does it.
    ///
    /// # Errors
    /// The storage's.
    ///
    /// # Panics
    /// When it fails for a reason that is not the storage's.
    pub fn run(&self, workspace: &mut Workspace) -> Result<Gave, StoreError> {
        let now = Timestamp::from_millis(WORLD_BEGINS_MS + 120_000);
        match self {
            Self::Open => {}
            Self::Member(member, name) => workspace.put_member(member, name)?,
            Self::Hello(member, lease, hello) => {
                return match workspace.hello(now, *lease, *member, hello) {
                    Ok(greeting) => Ok(Gave::Greeting(Box::new(greeting))),
                    Err(HelloError::Store(error)) => Err(error),
                    Err(HelloError::Refused(goodbye)) => panic!("not greeted: {goodbye:?}"),
                };
            }
            Self::Commit(batches) => {
                return Ok(Gave::Committed(Box::new(workspace.commit(now, batches)?)));
            }
            Self::Acknowledge(replica, receipt) => workspace.acknowledge(replica, *receipt)?,
            Self::Policy(text) => match workspace.set_policy(now, text, "policy.toml") {
                Ok(_) => {}
                Err(PolicyError::Store(error)) => return Err(error),
                Err(other) => panic!("the policy is refused: {other}"),
            },
            Self::Rescope => while workspace.rescope_step(now)? != Rescoping::Idle {},
            Self::Fold => while workspace.fold_one()? != Folding::Idle {},
        }
        Ok(Gave::Nothing)
    }
}

/// Opens the workspace of the standard workload.
///
/// # Errors
/// The storage's, also for what it holds and cannot be used.
pub fn open(path: &Path, disk: &Disk) -> Result<Workspace, StoreError> {
    let options = SqliteOptions { vfs: Some(disk.name()), ..SqliteOptions::default() };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, options)?);
    let stride = Stride { followed_max: 6, follow: 3, catch_up: 2, burst_bytes: 3_000 };
    match Workspace::open(store, PEER) {
        Ok(workspace) => Ok(workspace.with_stride(stride)),
        Err(OpenError::Store(error)) => Err(error),
        Err(other) => Err(StoreError::Damaged(other.to_string())),
    }
}

const PEER: PeerLimits = PeerLimits {
    batches_in_flight: limits::BATCHES_IN_FLIGHT_MAX as u32,
    pages_in_flight: limits::PAGES_IN_FLIGHT_MAX as u32,
};
