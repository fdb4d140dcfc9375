//! A workspace: judges batches, keeps the log, answers handshakes. Synchronous and deterministic: time and
//! randomness are arguments, so the simulation runs this very code.

mod author;
mod budget;
mod commit;
mod dependencies;
mod devices;
mod directory;
mod draft;
mod erase;
mod erased;
mod explain;
mod feed;
mod fold;
mod hello;
mod judge;
mod kept;
mod members;
mod policy;
mod recent;
mod recovery;
mod relay;
mod replay;
mod rescope;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crdt_core::id::{BatchId, MemberId, ReplicaId};
use crdt_core::limits;
use crdt_core::planted::{Bug, planted};
use crdt_core::policy::{Policy, PolicyProblems};
use crdt_core::protocol::{Batch, Outcome, PeerLimits, Receipt};
use crdt_core::schema::Schema;

use crate::ledger::Ledger;
use crate::store::access::MemberRow;
use crate::store::{self, Store, StoreError};
use budget::Budget;
use directory::Directory;
use erase::Traces;
use erased::Erased;
use judge::Rules;

pub use devices::Device;
pub use directory::SERVER;
pub use erase::{Certificate, DeviceState, EraseError, Holdings, HoldingsOf, Scrubbing};
pub use explain::{Explanation, Question};
pub use feed::{Comparison, Feed, Slice, Spot, Stride};
pub use fold::Folding;
pub use hello::{Greeting, HelloError};
pub use members::{MemberChanges, MemberError};
pub use policy::{MemberDelta, PolicyError};
pub use recent::Recent;
pub use recovery::{Origin, Recovering, RecoveryStatus, Replaced, Unserved, begin_epoch};
pub use relay::{RelayStatus, RelayedBy};
pub use rescope::{RECORDS_PER_STEP, Rescoping};

/// A workspace in force.
pub struct Workspace {
    store: Arc<dyn Store>,
    /// What outlives a restore; without it, nothing does.
    ledger: Option<Ledger>,
    rules: Rules,
    limits: PeerLimits,
    /// How often each member's changes had their document loaded within the last minute.
    slow_doors: Budget,
    /// How many edits of each member were kept within the last hour.
    kept: Budget,
    /// How many changes each member gave back within the last minute.
    given: Budget,
    stride: Stride,
    /// The position up to which documents were looked at for folding.
    fold_cursor: u64,
    /// Whether the queue of records whose scopes are to be found again may hold something.
    is_rescoping: bool,
    /// Nobody is served until the operator has spoken.
    is_halted: bool,
    traces: Traces,
    aftermath: Aftermath,
    /// The last receipt that devices have said they stored, as far as the storage does not know it.
    stored: BTreeMap<ReplicaId, u64>,
    recent: Arc<Recent>,
}

/// What sessions are to be told after a commit or an operator's command.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Aftermath {
    /// Members who may see or do something else than before.
    pub access_changed: BTreeSet<MemberId>,
    /// Replicas on devices that were revoked.
    pub revoked: BTreeSet<ReplicaId>,
    /// Why nobody's session goes on, if that is so.
    pub everyone: Option<Unserved>,
}

/// A batch and who sent it.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The replica: its session has been greeted.
    pub replica: ReplicaId,
    /// The replica's member.
    pub member: MemberId,
    /// The batch.
    pub batch: Batch,
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// How many of the batches were looked at.
    pub judged: usize,
    /// The answers, in the order of the batches.
    pub receipts: Vec<(ReplicaId, Receipt)>,
    /// The log's last position.
    pub head: u64,
    /// Replicas whose batches were not all judged, and are not to be answered: their members have used up
    /// what documents are loaded for. They come back later.
    pub put_off: BTreeSet<ReplicaId>,
    /// Batches accepted now.
    pub accepted: u64,
    /// Batches refused.
    pub refused: u64,
    /// Changes that needed their document loaded.
    pub slow_doors: u64,
    /// Members who may see or do something else than before: their sessions are to end once their receipts
    /// are sent.
    pub access_changed: BTreeSet<MemberId>,
    /// What became of the last batch of the server's own, if there was one.
    pub own: Option<Outcome>,
}

/// The workspace cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its storage fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its schema does not parse: it was checked when it was put in force.
    #[error("the workspace's schema is damaged: {0}")]
    Schema(#[source] crdt_core::schema::SchemaProblems),
    /// Its policy does not parse: it was checked when it was put in force.
    #[error("the workspace's policy is damaged: {0}")]
    Policy(#[source] PolicyProblems),
}

impl Workspace {
    /// Opens a workspace on its storage. [`Workspace::with_ledger`] gives it its ledger, before anybody is
    /// served.
    ///
    /// # Errors
    /// When the storage fails, or its schema or policy does not parse.
    pub fn open(store: Arc<dyn Store>, limits: PeerLimits) -> Result<Self, OpenError> {
        let (log, directory, erased, is_rescoping, is_halted) = store::read(&*store, |tx| {
            let (is_rescoping, is_halted) = (tx.next_rescope()?.is_some(), tx.is_halted()?);
            Ok((tx.log()?, Directory::load(tx)?, Erased::load(tx)?, is_rescoping, is_halted))
        })?;
        let schema = Schema::parse(&log.schema, "schema.toml").map_err(OpenError::Schema)?;
        let policy = match &log.policy {
            Some(text) => {
                Arc::new(Policy::parse(text, "policy.toml", &schema).map_err(OpenError::Policy)?)
            }
            None => Arc::clone(Policy::open()),
        };
        let server = directory::server_replica(log.epoch);
        let poisoned = BTreeSet::new();
        Ok(Self {
            store,
            ledger: None,
            rules: Rules { schema: Arc::new(schema), policy, directory, erased, server, poisoned },
            limits,
            slow_doors: Budget::new(limits::SLOW_DOORS_PER_MINUTE, 60_000),
            kept: Budget::new(kept::PER_HOUR_MAX, 3_600_000),
            given: Budget::new(limits::RELAYED_PER_MINUTE, 60_000),
            stride: Stride::default(),
            fold_cursor: 0,
            is_rescoping,
            is_halted,
            traces: Traces::InFile,
            aftermath: Aftermath::default(),
            stored: BTreeMap::new(),
            recent: Arc::default(),
        })
    }

    /// Reads anew what memory keeps of the storage, after that has failed: a commit that failed may be whole
    /// in it all the same.
    ///
    /// # Errors
    /// As [`open`](Self::open); then nothing has changed.
    pub fn reload(&mut self) -> Result<(), OpenError> {
        let anew = Self::open(self.store(), self.limits)?;
        let Self { mut rules, is_rescoping, is_halted, fold_cursor, .. } = anew;
        rules.poisoned = std::mem::take(&mut self.rules.poisoned);
        (self.rules, self.is_rescoping, self.fold_cursor) = (rules, is_rescoping, fold_cursor);
        self.is_halted = is_halted;
        self.traces = Traces::InFile;
        Ok(())
    }

    /// The same workspace, whose feeds read with another stride.
    #[must_use]
    pub fn with_stride(self, stride: Stride) -> Self {
        Self { stride, ..self }
    }

    /// The same workspace, which notes its commits where another one did.
    #[must_use]
    pub fn with_recent(self, recent: Arc<Recent>) -> Self {
        Self { recent, ..self }
    }

    /// What its latest commits changed, for feeds.
    #[must_use]
    pub fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    /// Its storage, for readers beside the writer.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The schema in force.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.rules.schema
    }

    /// The log's last position.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn head(&self) -> Result<u64, StoreError> {
        store::read(&*self.store, |tx| tx.head())
    }

    /// Drops the receipts that a device has stored.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn acknowledge(&mut self, replica: &ReplicaId, receipt: u64) -> Result<(), StoreError> {
        self.note_stored(*replica, receipt);
        self.write_stored()
    }

    /// Notes which receipts a device has stored; the next commit drops them, or
    /// [`write_stored`](Self::write_stored). A note that is lost costs nothing: the device says it again at its
    /// next hello.
    pub fn note_stored(&mut self, replica: ReplicaId, receipt: u64) {
        let noted = self.stored.entry(replica).or_default();
        *noted = receipt.max(*noted);
    }

    /// How many devices have a note that is not written.
    #[must_use]
    pub fn noted(&self) -> usize {
        self.stored.len()
    }

    /// Writes what was noted, in a transaction of its own.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn write_stored(&mut self) -> Result<(), StoreError> {
        if self.stored.is_empty() {
            return Ok(());
        }
        store::write(&*self.store, |tx| drop_stored(tx, &self.stored))?;
        self.stored.clear();
        Ok(())
    }

    /// Adds a member without a record to the directory, or renames it: it has the policy's default role.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn put_member(&mut self, id: &MemberId, name: &str) -> Result<(), StoreError> {
        store::write(&*self.store, |tx| tx.put_member(id, name))?;
        let row = match self.rules.directory.get(id) {
            Some(row) => MemberRow { name: name.to_owned(), ..row.clone() },
            None => MemberRow::unlisted(*id, name.to_owned()),
        };
        self.rules.directory.take([(*id, row)].into());
        Ok(())
    }

    /// Batches that are to be refused unread from now on, since judging them has panicked.
    pub fn set_poisoned(&mut self, batches: BTreeSet<BatchId>) {
        self.rules.poisoned = batches;
    }

    /// What sessions are to be told since this was asked last.
    #[must_use]
    pub fn take_aftermath(&mut self) -> Aftermath {
        let mut aftermath = std::mem::take(&mut self.aftermath);
        if planted(Bug::AccessUnheard) {
            aftermath.access_changed.clear();
        }
        aftermath
    }
}

/// Drops the receipts that devices have stored: each has its present lease, too.
fn drop_stored(
    tx: &mut dyn store::Write,
    stored: &BTreeMap<ReplicaId, u64>,
) -> Result<(), StoreError> {
    for (replica, receipt) in stored {
        if let Some(mut row) = tx.replica(replica)?
            && row.confirm_lease()
        {
            tx.put_replica(&row)?;
        }
        tx.drop_receipts(replica, *receipt)?;
    }
    Ok(())
}
