//! Going on from a backup: a new epoch begins, and devices give back what the server lost. And noticing that a
//! backup was put in place by somebody who said nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{ChangeHash, DeviceId, Epoch, MemberId, ReplicaId};
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{Cursor, Ended, Goodbye, GoodbyeCode, Hello, Parting, ScopeCursor};
use crdt_core::time::Timestamp;

use super::{Workspace, directory};
use crate::audit::{self, Act};
use crate::store::recovery::{AheadRow, BackupRow, LostBatch, Restoration};
use crate::store::{self, LogInfo, Read, Store, StoreError};

/// The log that a backup takes the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    log: LogInfo,
    /// What it holds beyond the backup, and what it had lost itself and not got back.
    lost: Vec<LostBatch>,
}

impl Replaced {
    /// Reads what has to be known of a workspace's storage before it is replaced by a backup of this log.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn read(store: &dyn Store, backup: &LogInfo) -> Result<Self, StoreError> {
        store::read(store, |tx| {
            let log = tx.log()?;
            let last = common(backup, &log);
            let mut lost = missing(tx)?;
            let mut after = last;
            loop {
                let batches = tx.batches_after(after, BATCHES_READ)?;
                let Some(batch) = batches.last() else { break };
                after = batch.position;
                for batch in batches {
                    let hashes = tx.changes_at(batch.position)?.into_iter().map(|row| row.hash);
                    lost.push(LostBatch {
                        position: batch.position,
                        batch: batch.id,
                        replica: batch.replica,
                        member: batch.member,
                        hashes: hashes.collect(),
                    });
                }
            }
            Ok(Self { log, lost })
        })
    }
}

/// Where a log and a backup of it, or of one before it, are the same.
fn common(backup: &LogInfo, log: &LogInfo) -> u64 {
    if backup.epoch == log.epoch {
        return backup.head.min(log.head);
    }
    let parting = Parting::from(&log.lineage, &backup.epoch);
    parting.map_or(log.head, |parting| parting.last.min(backup.head))
}

/// How a workspace's storage came to be older than what devices know.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// It is a backup; the log that it takes the place of, when that can still be read: devices may know a log
    /// that the backup is older than.
    Backup(Option<&'a Replaced>),
    /// Somebody put it back and it was served since: up to this position it is what devices know.
    PutBack(u64),
}

/// Begins a new epoch on a workspace's storage. Nobody serves it meanwhile.
///
/// # Errors
/// When the storage fails; the epoch is the old one then.
pub fn begin_epoch(
    store: &dyn Store,
    now: Timestamp,
    epoch: Epoch,
    origin: Origin<'_>,
) -> Result<Restoration, StoreError> {
    store::write(store, |tx| {
        let log = tx.log()?;
        let (last, replaced) = match origin {
            Origin::Backup(replaced) => (log.head, replaced),
            Origin::PutBack(last) => (last.min(log.head), None),
        };
        let here = Ended { epoch: log.epoch, last, documents: tx.last_document(last)? };
        let lineage = lineage(&log, here, replaced.map(|replaced| &replaced.log));
        let from = lineage.last().copied().unwrap_or(here);
        let ended = replaced.map(|replaced| replaced.log.head);
        let beyond = match replaced {
            Some(replaced) => replaced.lost.clone(),
            None => missing(tx)?,
        };
        let mut lost = Vec::with_capacity(beyond.len());
        for batch in beyond {
            // What was lost before may stand in this backup.
            if tx.batch(&batch.batch)?.is_none() {
                lost.push(batch);
            }
        }
        let restoration = Restoration { from, at: now, ended };
        if planted(Bug::EpochKept) {
            return Ok(restoration);
        }
        tx.begin_epoch(epoch, &lineage, &restoration, &lost)?;
        tx.forget_relayed()?;
        audit::append_act(tx, now, Act::Restored { position: last })?;
        Ok(restoration)
    })
}

/// Every log before the new one, so that from each of them [`Parting`] finds what it has in common with it.
fn lineage(log: &LogInfo, here: Ended, replaced: Option<&LogInfo>) -> Vec<Ended> {
    let own = log.lineage.iter().copied();
    let Some(replaced) = replaced.filter(|replaced| replaced.epoch != log.epoch) else {
        return own.chain([here]).collect();
    };
    // The backup is of a log that was itself ended by a restoration since.
    if let Some(parting) = Parting::from(&replaced.lineage, &log.epoch) {
        let ended = Ended {
            epoch: replaced.epoch,
            last: here.last.min(parting.last),
            documents: here.documents.min(parting.documents),
        };
        return replaced.lineage.iter().copied().chain([ended]).collect();
    }
    // What was replaced is older than the backup, or was never its log.
    let known = own.clone().any(|ended| ended.epoch == replaced.epoch);
    let stranger = Ended { epoch: replaced.epoch, last: 0, documents: 0 };
    let stranger = Some(stranger).filter(|_| !known);
    stranger.into_iter().chain(own).chain([here]).collect()
}

/// The lost batches that have not come back: neither under their names nor, given back by others, change by
/// change.
fn missing(tx: &dyn Read) -> Result<Vec<LostBatch>, StoreError> {
    let Some(restoration) = tx.restoration()? else { return Ok(Vec::new()) };
    let mut here: Option<BTreeSet<ChangeHash>> = None;
    let mut missing = Vec::new();
    for lost in tx.lost()? {
        if tx.batch(&lost.batch)?.is_some() {
            continue;
        }
        let here = match &here {
            Some(here) => here,
            None => here.insert(changes_since(tx, restoration.from.last)?),
        };
        let changes = lost.hashes.len();
        if changes == 0 || lost.hashes.iter().filter(|hash| here.contains(hash)).count() < changes {
            missing.push(lost);
        }
    }
    Ok(missing)
}

/// The changes that came after a position.
fn changes_since(tx: &dyn Read, position: u64) -> Result<BTreeSet<ChangeHash>, StoreError> {
    let mut hashes = BTreeSet::new();
    for position in position + 1..=tx.head()? {
        hashes.extend(tx.changes_at(position)?.into_iter().map(|row| row.hash));
    }
    Ok(hashes)
}

/// How far the workspace has come since its log was restored from a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// The present log.
    pub epoch: Epoch,
    /// Its last position.
    pub head: u64,
    /// How it began; nothing when it is the workspace's first.
    pub restoration: Option<Restoration>,
    /// The latest backup of it.
    pub backup: Option<BackupRow>,
    /// How many batches the log had lost, as far as is known.
    pub lost: u64,
    /// Those of them that have not come back.
    pub missing: Vec<LostBatch>,
    /// Every replica.
    pub replicas: Vec<Recovering>,
    /// The replicas that stand beyond the end of the log.
    pub ahead: Vec<AheadRow>,
    /// Whether nobody is served until the operator has spoken.
    pub is_halted: bool,
}

/// A replica after a restoration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovering {
    /// Which.
    pub replica: ReplicaId,
    /// Its member.
    pub member: MemberId,
    /// The device that it is on.
    pub device: DeviceId,
    /// What that calls itself.
    pub device_name: String,
    /// When it was here last.
    pub last_seen: Timestamp,
    /// Whether it was here since the log began.
    pub is_met: bool,
    /// How many of its lost batches came back.
    pub returned: u64,
}

impl Workspace {
    /// How far the workspace has come since its log was restored.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn recovery(&self) -> Result<RecoveryStatus, StoreError> {
        store::read(&*self.store, |tx| {
            let log = tx.log()?;
            let lost = tx.lost()?;
            let missing = missing(tx)?;
            let mut returned: BTreeMap<ReplicaId, u64> = BTreeMap::new();
            for batch in lost.iter().filter(|batch| !missing.contains(batch)) {
                *returned.entry(batch.replica).or_default() += 1;
            }
            let rows = tx.replicas()?.into_iter().filter(|row| row.member != directory::SERVER);
            let replicas = rows.map(|row| Recovering {
                returned: returned.get(&row.id).copied().unwrap_or(0),
                replica: row.id,
                member: row.member,
                device: row.device,
                device_name: row.device_name,
                last_seen: row.last_seen,
                is_met: row.is_met,
            });
            Ok(RecoveryStatus {
                epoch: log.epoch,
                head: log.head,
                restoration: tx.restoration()?,
                backup: tx.backup()?,
                lost: lost.len() as u64,
                replicas: replicas.collect(),
                missing,
                ahead: tx.ahead()?,
                is_halted: tx.is_halted()?,
            })
        })
    }

    /// Notes a backup of the log, which devices are told of: what it holds they need not keep. Whether it was
    /// one of the present log.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn note_backup(&mut self, epoch: Epoch, backup: &BackupRow) -> Result<bool, StoreError> {
        store::write(&*self.store, |tx| {
            let log = tx.log()?;
            let is_of_log = log.epoch == epoch && backup.position <= log.head;
            if is_of_log {
                tx.note_backup(backup)?;
            }
            Ok(is_of_log)
        })
    }

    /// The operator says that the workspace's file was put back to an older state: a new epoch begins, and
    /// every session ends. Up to `common` the log is what devices know. Since it was served meanwhile nobody
    /// can tell from the file how far that is; 0 has everything compared.
    ///
    /// # Errors
    /// When the storage fails; everything is as before then.
    pub fn confirm_restore(
        &mut self,
        now: Timestamp,
        epoch: Epoch,
        common: u64,
    ) -> Result<Restoration, StoreError> {
        let restoration = begin_epoch(&*self.store, now, epoch, Origin::PutBack(common))?;
        self.rules.server = directory::server_replica(epoch);
        self.is_halted = false;
        self.aftermath.everyone = Some(Unserved::NewEpoch);
        Ok(restoration)
    }

    /// Serves nobody until the operator has spoken: the file is older than what the server itself has
    /// acknowledged.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn halt(&mut self) -> Result<(), StoreError> {
        store::write(&*self.store, |tx| tx.halt())?;
        self.is_halted = true;
        self.aftermath.everyone = Some(Unserved::PutBack);
        Ok(())
    }

    /// A device stands beyond the end of the log. It is not served, also when the log has grown past it. Once
    /// two members' devices say so nobody is: one alone could be lying.
    pub(super) fn note_ahead(
        &mut self,
        now: Timestamp,
        member: MemberId,
        hello: &Hello,
    ) -> Result<(), StoreError> {
        let replica = hello.replica;
        let position = furthest(hello);
        let row = AheadRow { replica, member, device: hello.device, position, at: now };
        let ahead = store::write(&*self.store, |tx| {
            tx.note_ahead(&row)?;
            tx.ahead()
        })?;
        tracing::error!(
            %member, device = %hello.device, position,
            "a device stands beyond the end of the log: was the workspace put back to an older state? \
             see `sync-server recovery`"
        );
        let members: BTreeSet<MemberId> = ahead.iter().map(|row| row.member).collect();
        let active = self.rules.directory.rows().filter(|row| row.standing.active).count();
        if members.len() >= WITNESSES.min(active) {
            tracing::error!("nobody is served until `sync-server restore --confirm`");
            self.halt()?;
        }
        Ok(())
    }
}

/// Why nobody's session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// The workspace's file was put back to an older state, and its operator has not said so.
    PutBack,
    /// A new epoch has begun.
    NewEpoch,
}

impl Unserved {
    /// What sessions are told.
    #[must_use]
    pub fn goodbye(self) -> Goodbye {
        let (code, text, retry_after_ms) = match self {
            Self::PutBack => (GoodbyeCode::CursorAhead, PUT_BACK, RETRY_PUT_BACK_MS),
            Self::NewEpoch => (GoodbyeCode::Restart, "the server was restored; come back", 0),
        };
        Goodbye { code, text: text.to_owned(), retry_after_ms: Some(retry_after_ms) }
    }
}

/// Why a device's hello cannot be told in terms of the present log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutOfLog {
    /// It stands beyond the end.
    Ahead,
    /// It knows another log.
    Unknown,
}

impl OutOfLog {
    /// Whether a device was told that it stands beyond the end.
    pub(super) fn is_ahead(goodbye: &Goodbye) -> bool {
        goodbye.code == GoodbyeCode::CursorAhead
    }

    pub(super) fn goodbye(self) -> Goodbye {
        let text = "the device knows another log than this workspace's";
        match self {
            Self::Ahead => Unserved::PutBack.goodbye(),
            Self::Unknown => Goodbye {
                code: GoodbyeCode::UnknownEpoch,
                text: text.to_owned(),
                retry_after_ms: None,
            },
        }
    }
}

/// What a device's hello says in terms of the present log, or why that cannot be told.
pub(super) fn in_present_log(
    tx: &dyn Read,
    hello: &Hello,
) -> Result<Result<Hello, OutOfLog>, StoreError> {
    let log = tx.log()?;
    let Some(known) = hello.epoch.filter(|epoch| *epoch != log.epoch) else {
        let reached = furthest(hello);
        // One that was ahead is behind nothing that the log has taken in since.
        let was_ahead = |row: &AheadRow| row.replica == hello.replica && row.position <= reached;
        let is_ahead = reached > log.head || tx.ahead()?.iter().any(was_ahead);
        return Ok(if is_ahead { Err(OutOfLog::Ahead) } else { Ok(hello.clone()) });
    };
    let parting = match Parting::from(&log.lineage, &known) {
        Some(parting) => parting,
        // A server that lost its newest data may have lost a restoration with it: everything is compared.
        None if !log.lineage.is_empty() => Parting::NOTHING,
        None => return Ok(Err(OutOfLog::Unknown)),
    };
    let cut = |cursor: Cursor| parting.cut(cursor, hello.left);
    let exceptions = hello.exceptions.iter().map(|exception| ScopeCursor {
        scope: exception.scope.clone(),
        cursor: cut(exception.cursor),
    });
    let exceptions = exceptions.collect();
    Ok(Ok(Hello { cursor: cut(hello.cursor), exceptions, ..hello.clone() }))
}

/// The furthest place of its cursors.
fn furthest(hello: &Hello) -> u64 {
    let exceptions = hello.exceptions.iter().map(|exception| exception.cursor.position);
    exceptions.chain([hello.cursor.position]).max().unwrap_or(0)
}

const PUT_BACK: &str = "the server was put back to an older state; its operator has to say so";
/// When devices look again whether the operator has spoken, milliseconds.
const RETRY_PUT_BACK_MS: u64 = 60_000;
/// Members whose devices stand beyond the log's end before nobody is served.
const WITNESSES: usize = 2;
/// Batches that are read at a time.
const BATCHES_READ: usize = 1_000;
