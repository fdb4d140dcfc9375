//! Erasure: a record is removed for good, with everything that the storage holds of it, and its id stays on
//! lists so that nobody can bring it back.
//!
//! First it stands on the ledger, which outlives every restore; then one transaction removes documents,
//! changes, index, scopes and route, cleans receipts, and gives the erasure a place in the log, so that
//! every device hears of it. At last the storage is scrubbed of traces. What hangs on the record stays, and
//! goes on naming its id; only kept edits go with it, since they hold what was to be written into it.

mod certificate;

use crdt_core::id::{BatchId, DocumentId, MemberId, RecordId, ReplicaId, Section};
use crdt_core::policy::{Action, Ask, Decision};
use crdt_core::protocol::{EraseRecord, Erasure, Refusal};
use crdt_core::record::Reason;
use crdt_core::time::Timestamp;

use super::directory::{self, SERVER};
use super::judge::refusal;
use super::{Workspace, author, kept, routes};
use crate::audit::{self, Act, Entry, What, Who};
use crate::ledger::LedgerEntry;
use crate::store::access::{Follower, Rescope};
use crate::store::erasure::{Confirmation, ErasureRow};
use crate::store::{self, BatchRow, Read, StoreError, Write};

pub use certificate::{Certificate, DeviceState, Holdings, HoldingsOf};

/// A record is not erased; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// There is no such record.
    #[error("there is no record {0}")]
    NoSuchRecord(RecordId),
    /// A member wrote what others keep: it is switched off, and what its entry says can be cleared.
    #[error("{0} is a member: its name stands at what it wrote. Disable it and clear its fields")]
    IsMember(RecordId),
    /// The member who asks may not.
    #[error("{}", .0.text)]
    Refused(Box<Refusal>),
    /// The workspace was opened without its ledger: a restore would bring the record back.
    #[error("the workspace was opened without its ledger")]
    NoLedger,
    /// The storage or the ledger fails. Once a record is on the ledger, the next start erases it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What scrubbing the storage came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrubbing {
    /// Nothing was due.
    Idle,
    /// No trace is left.
    Done,
    /// Somebody reads an older state: later.
    Busy,
}

/// Where traces of what was erased may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traces {
    /// Nowhere.
    None,
    /// In free pages of the file, and in its write-ahead log. Also while it was not looked at since the start.
    InFile,
    /// The file was written anew after everything up to this position was erased; the log is to be emptied.
    InLog {
        /// The position.
        up_to: u64,
    },
}

/// An erasure that is to be carried out.
pub(super) struct Order {
    pub(super) record: RecordId,
    /// When it was asked for.
    pub(super) at: Timestamp,
    pub(super) who: Who,
    pub(super) policy_version: u64,
}

impl Workspace {
    /// Erases a record for its operator, and gives the position of its erasure. One that was erased before
    /// stays as it is.
    ///
    /// # Errors
    /// When there is no such record, it is a member's, or the ledger or storage fails.
    pub fn erase(&mut self, now: Timestamp, record: RecordId) -> Result<u64, EraseError> {
        let who = Who::default();
        self.erase_existing(now, Order { record, at: now, who, policy_version: 0 })
    }

    /// Erases a record for a member whose policy allows it, and gives the position of its erasure. A record
    /// that the member may not see is answered like one that does not exist.
    ///
    /// # Errors
    /// As [`Workspace::erase`]; and when the policy does not allow it.
    pub fn erase_for(
        &mut self,
        now: Timestamp,
        replica: ReplicaId,
        member: MemberId,
        record: RecordId,
    ) -> Result<u64, EraseError> {
        let (standing, policy) = (self.rules.directory.standing(member), &self.rules.policy);
        let version = policy.version();
        let role = policy.role_of(&standing).map(str::to_owned);
        let main = Section::main();
        let device = store::read(&*self.store, |tx| {
            if tx.erasure(&record)?.is_none() {
                let id = DocumentId::main(record);
                let unseen = || refusal(Some(id.clone()), &Reason::OutOfScope);
                let Some(route) = tx.route(&record)? else { return Ok(Err(unseen())) };
                let placement = routes::place(tx, policy, &route)?;
                let (entity, placement) = (route.entity.as_str(), &placement);
                let ask = |action| Ask { action, entity, section: &main, field: None, placement };
                if !policy.decide(&standing, &ask(Action::Read)).is_allowed() {
                    return Ok(Err(unseen()));
                }
                if let Decision::Deny(denial) = policy.decide(&standing, &ask(Action::Erase)) {
                    let told = refusal(Some(id), &Reason::Forbidden { denial });
                    let rule =
                        role.as_ref().map(|role| format!("role `{role}` of policy {version}"));
                    return Ok(Err(Refusal { rule, ..told }));
                }
            }
            Ok(Ok(tx.replica(&replica)?.map(|row| row.device)))
        })?;
        let device = device.map_err(|refusal| EraseError::Refused(Box::new(refusal)))?;
        let who = Who { member: Some(member), replica: Some(replica), device, role };
        self.erase_existing(now, Order { record, at: now, who, policy_version: version })
    }

    /// Answers a member's request to erase a record; see [`Workspace::erase_for`].
    ///
    /// # Errors
    /// When the ledger or the storage fails: then nothing is to be answered.
    pub fn answer_erasure(
        &mut self,
        now: Timestamp,
        replica: ReplicaId,
        member: MemberId,
        asked: EraseRecord,
    ) -> Result<Erasure, StoreError> {
        let EraseRecord { request, record } = asked;
        let outcome = match self.erase_for(now, replica, member, record) {
            Ok(position) => Ok(position),
            Err(EraseError::Store(error)) => return Err(error),
            Err(error @ EraseError::NoLedger) => return Err(StoreError::Backend(error.into())),
            Err(EraseError::Refused(refusal)) => Err(*refusal),
            Err(EraseError::NoSuchRecord(_)) => {
                Err(refusal(Some(DocumentId::main(record)), &Reason::OutOfScope))
            }
            Err(error @ EraseError::IsMember(_)) => Err(Refusal {
                code: "is_member".to_owned(),
                text: error.to_string(),
                document: Some(DocumentId::main(record)),
                field: None,
                rule: None,
            }),
        };
        Ok(Erasure { request, outcome })
    }

    fn erase_existing(&mut self, now: Timestamp, order: Order) -> Result<u64, EraseError> {
        let record = order.record;
        let (erased, route) =
            store::read(&*self.store, |tx| Ok((tx.erasure(&record)?, tx.route(&record)?)))?;
        if let Some(row) = erased {
            return Ok(row.position);
        }
        let route = route.ok_or(EraseError::NoSuchRecord(record))?;
        if route.entity == directory::ENTITY {
            return Err(EraseError::IsMember(record));
        }
        self.carry_out(now, &order)
    }

    /// Erases a record, also one of which the storage holds nothing: then its id alone is noted.
    pub(super) fn carry_out(&mut self, now: Timestamp, order: &Order) -> Result<u64, EraseError> {
        let Order { record, at, who, .. } = order;
        let with = store::read(&*self.store, |tx| kept_edits_of(tx, record))?;
        let ledger = self.ledger.as_mut().ok_or(EraseError::NoLedger)?;
        for record in std::iter::once(record).chain(&with) {
            let entry = LedgerEntry::Erased { record: *record, at: *at, by: who.member };
            ledger.append(entry).map_err(StoreError::from)?;
        }
        let store = self.store();
        let mut is_followed = false;
        let position = store::write(&*store, |tx| {
            is_followed = queue_followers(tx, record)?;
            let position = self.remove(tx, now, order, *record, None)?;
            for kept in &with {
                if tx.erasure(kept)?.is_none() {
                    self.remove(tx, now, order, *kept, Some(*record))?;
                }
            }
            Ok(position)
        })?;
        self.rules.erased = store::read(&*self.store, |tx| super::erased::Erased::load(tx))?;
        self.is_rescoping |= is_followed;
        self.traces = Traces::InFile;
        Ok(position)
    }

    fn remove(
        &self,
        tx: &mut dyn Write,
        now: Timestamp,
        order: &Order,
        record: RecordId,
        of: Option<RecordId>,
    ) -> Result<u64, StoreError> {
        let Order { at, who, policy_version, .. } = order;
        let removed = tx.remove_record(&record)?;
        let position = tx.head()? + 1;
        let id: BatchId = author::batch_id(tx, "erasure", &record.to_string())?;
        let (replica, received_at) = (self.rules.server, now);
        tx.append_batch(&BatchRow { position, id, replica, member: SERVER, received_at })?;
        let (at, by) = (*at, who.member);
        tx.put_erasure(&ErasureRow { record, position, at, by, of, removed, scrubbed_at: None })?;
        let what = What::Act(Act::RecordErased { record });
        let (who, policy_version) = (who.clone(), *policy_version);
        audit::append(tx, &Entry { received_at, who, policy_version, what })?;
        Ok(position)
    }

    /// Removes the traces of what was erased from the storage, when that is due.
    ///
    /// # Errors
    /// When the storage fails: then it stays due.
    pub fn scrub(&mut self, now: Timestamp) -> Result<Scrubbing, StoreError> {
        let up_to = match self.traces {
            Traces::None => return Ok(Scrubbing::Idle),
            Traces::InLog { up_to } => up_to,
            Traces::InFile => {
                let Some(up_to) = store::read(&*self.store, |tx| tx.unscrubbed())? else {
                    self.traces = Traces::None;
                    return Ok(Scrubbing::Idle);
                };
                self.store.write_anew()?;
                self.traces = Traces::InLog { up_to };
                up_to
            }
        };
        if !self.store.empty_log()? {
            return Ok(Scrubbing::Busy);
        }
        store::write(&*self.store, |tx| tx.note_scrubbed(up_to, now))?;
        self.traces = Traces::None;
        Ok(Scrubbing::Done)
    }

    /// Notes that a replica has removed what was erased up to a position.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn confirm_erasures(
        &mut self,
        now: Timestamp,
        replica: ReplicaId,
        up_to: u64,
    ) -> Result<(), StoreError> {
        let confirmation = Confirmation { replica, up_to, at: now };
        store::write(&*self.store, |tx| tx.confirm_erasures(&confirmation))
    }
}

/// What hangs on the record is placed anew: it has lost its parent.
fn queue_followers(tx: &mut dyn Write, record: &RecordId) -> Result<bool, StoreError> {
    let is_followed = tx.is_followed(record)?;
    if is_followed {
        tx.queue_rescope(&Rescope::of(Some(*record), 0))?;
    }
    Ok(is_followed)
}

/// The kept edits of a record: they hold what somebody tried to write into it.
fn kept_edits_of(tx: &dyn Read, record: &RecordId) -> Result<Vec<RecordId>, StoreError> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let followers = tx.followers(record, after, FOLLOWERS_STEP)?;
        after = followers.iter().map(|follower| follower.record()).max();
        for follower in &followers {
            if let Follower::Child(child) = follower
                && tx.route(child)?.is_some_and(|route| route.entity == kept::ENTITY)
            {
                found.push(*child);
            }
        }
        if followers.len() < FOLLOWERS_STEP {
            return Ok(found);
        }
    }
}

/// Followers that are read at a time.
const FOLLOWERS_STEP: usize = 500;
