//! Commits: batches judged in their order, and all that follows from them in one transaction.

use std::collections::BTreeMap;

use crdt_core::id::{DeviceId, Lease, ReplicaId};
use crdt_core::protocol::{Outcome, Receipt, Recovery};
use crdt_core::time::Timestamp;

use super::budget::Budget;
use super::directory::{SERVER, SERVER_NAME};
use super::judge::{Answer, Desk, Rules};
use super::recent::Stretch;
use super::{Committed, Submitted, Workspace, drop_stored, kept, relay};
use crate::audit::{self, Entry, Judged, What, Who};
use crate::store::{self, Read, ReplicaRow, StoreError, Write};

/// The judging of one commit.
struct Sitting<'a> {
    rules: &'a Rules,
    now: Timestamp,
    desk: Desk<'a>,
    kept: &'a mut Budget,
    replicas: BTreeMap<ReplicaId, ReplicaRow>,
    /// Whether devices may give back what others wrote.
    recovery: Recovery,
    committed: Committed,
}

impl Workspace {
    /// Judges batches in their order and commits all that is accepted, with every receipt, in one
    /// transaction. Receipts may be sent once this has returned.
    ///
    /// # Errors
    /// When the storage fails: then nothing was accepted and nothing is to be answered.
    pub fn commit(
        &mut self,
        now: Timestamp,
        batches: &[Submitted],
    ) -> Result<Committed, StoreError> {
        self.commit_until(now, batches, &mut |_| false)
    }

    /// The same, until it is enough: `is_enough` is asked after each batch, with how many were judged. The
    /// others of them are as if they had not been handed in.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_until(
        &mut self,
        now: Timestamp,
        batches: &[Submitted],
        is_enough: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Committed, StoreError> {
        let store = self.store();
        let (mut slow_doors, mut kept) = (self.slow_doors.clone(), self.kept.clone());
        let (before, committed, mut finished) = store::write(&*store, |tx| {
            (slow_doors, kept) = (self.slow_doors.clone(), self.kept.clone());
            drop_stored(tx, &self.stored)?;
            let (before, restored) = (tx.head()?, tx.restoration()?);
            let desk = Desk::new(&self.rules, now, &mut slow_doors);
            let mut sitting = Sitting {
                rules: &self.rules,
                now,
                desk: desk.after_restore(restored.is_some()),
                recovery: relay::recovery_at(tx, now)?,
                kept: &mut kept,
                replicas: BTreeMap::new(),
                committed: Committed { head: before, ..Committed::default() },
            };
            for submitted in batches {
                sitting.take(tx, submitted)?;
                sitting.committed.judged += 1;
                if is_enough(sitting.committed.judged) {
                    break;
                }
            }
            let is_recovering = sitting.recovery == Recovery::Open;
            let (committed, mut finished) = sitting.rise(tx)?;
            if is_recovering {
                // What others gave back came with the batches.
                finished.touched = None;
            }
            Ok((before, committed, finished))
        })?;
        (self.slow_doors, self.kept) = (slow_doors, kept);
        self.stored.clear();
        if let Some(touched) = finished.touched.take().filter(|_| committed.head > before) {
            self.recent.put(Stretch::new(before, committed.head, touched));
        }
        Ok(self.finished(committed, finished))
    }

    /// Takes over in memory what a commit wrote.
    pub(super) fn finished(
        &mut self,
        mut committed: Committed,
        finished: super::judge::Finished,
    ) -> Committed {
        let directory = &mut self.rules.directory;
        let changed = finished.members.iter().filter(|(id, row)| {
            directory.get(id).is_none_or(|before| before.standing != row.standing)
        });
        committed.access_changed = changed.map(|(id, _)| *id).collect();
        directory.take(finished.members);
        self.is_rescoping |= finished.queued;
        self.aftermath.access_changed.extend(committed.access_changed.iter().copied());
        committed
    }
}

impl Sitting<'_> {
    /// Judges one batch, unless its replica was put off before it.
    fn take(&mut self, tx: &mut dyn Write, submitted: &Submitted) -> Result<(), StoreError> {
        if self.committed.put_off.contains(&submitted.replica) {
            return Ok(());
        }
        if !self.replicas.contains_key(&submitted.replica) {
            let row = self.row(tx, submitted)?;
            self.replicas.insert(submitted.replica, row);
        }
        let (submitted, erased) = self.rules.erased.take_out(submitted);
        let submitted = submitted.as_ref();
        let Some(answer) = self.desk.judge(tx, submitted, &erased)? else {
            self.committed.put_off.insert(submitted.replica);
            return Ok(());
        };
        match &answer.outcome {
            Outcome::Accepted { .. } => self.committed.accepted += 1,
            Outcome::Refused { .. } => self.committed.refused += 1,
            Outcome::Already { .. } => {}
        }
        self.audit(tx, submitted, &answer)?;
        self.recover(tx, submitted, &answer.outcome)?;
        if submitted.replica == self.rules.server {
            self.committed.own = Some(answer.outcome);
            return Ok(());
        }
        self.keep(tx, submitted, &answer)?;
        let row = self.replicas.get_mut(&submitted.replica).expect("it was put there above");
        row.last_receipt += 1;
        let receipt = Receipt {
            number: row.last_receipt,
            batch: submitted.batch.id,
            outcome: answer.outcome,
            policy_version: self.rules.policy.version(),
            erased,
        };
        tx.put_receipt(&submitted.replica, &receipt, &answer.refused)?;
        self.committed.receipts.push((submitted.replica, receipt));
        Ok(())
    }

    /// What follows from an answer while others may give back what was lost: what waited for the batch comes
    /// in, and what was refused to its author is taken from nobody else.
    fn recover(
        &mut self,
        tx: &mut dyn Write,
        submitted: &Submitted,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        if self.recovery != Recovery::Open {
            return Ok(());
        }
        match outcome {
            Outcome::Accepted { documents, .. } => {
                let changed = documents.iter().map(|document| document.id.clone()).collect();
                relay::awaken(tx, &mut self.desk, self.now, &changed)
            }
            Outcome::Refused { .. } => relay::withdraw(tx, &mut self.desk, submitted),
            Outcome::Already { .. } => Ok(()),
        }
    }

    /// Writes what was accepted.
    fn rise(
        mut self,
        tx: &mut dyn Write,
    ) -> Result<(Committed, super::judge::Finished), StoreError> {
        self.committed.slow_doors = self.desk.slow_doors();
        let finished = self.desk.finish(tx)?;
        for row in self.replicas.values_mut() {
            row.last_seen = self.now;
            row.confirm_lease();
            tx.put_replica(row)?;
        }
        self.committed.head = tx.head()?;
        Ok((self.committed, finished))
    }

    /// The row of a batch's replica: its session has been greeted. The server's own begins with its first
    /// batch.
    fn row(&self, tx: &dyn Read, submitted: &Submitted) -> Result<ReplicaRow, StoreError> {
        if let Some(row) = tx.replica(&submitted.replica)? {
            return Ok(row);
        }
        if submitted.replica != self.rules.server {
            return Err(StoreError::Damaged("a session's replica has no row".to_owned()));
        }
        Ok(ReplicaRow {
            id: self.rules.server,
            member: SERVER,
            lease: Lease([0; 16]),
            previous_lease: None,
            scopes: Vec::new(),
            previous_scopes: Vec::new(),
            last_receipt: 0,
            last_seen: self.now,
            device: DeviceId([0; 16]),
            device_name: SERVER_NAME.to_owned(),
            is_met: true,
        })
    }

    /// Keeps what a refused batch tried on records that are out of its sender's reach now.
    fn keep(
        &mut self,
        tx: &mut dyn Write,
        submitted: &Submitted,
        answer: &Answer,
    ) -> Result<(), StoreError> {
        if answer.out_of_reach.is_empty() {
            return Ok(());
        }
        let (now, member) = (self.now, submitted.member);
        let Self { desk, kept: budget, replicas, .. } = self;
        let row = &replicas[&submitted.replica];
        let may_keep = || budget.take(now, member);
        let batch = kept::keep(tx, desk, now, submitted, row, answer, may_keep)?;
        match batch {
            Some(batch) => self.take(tx, &batch),
            None => Ok(()),
        }
    }

    fn audit(
        &mut self,
        tx: &mut dyn Write,
        submitted: &Submitted,
        answer: &Answer,
    ) -> Result<(), StoreError> {
        let policy = &self.rules.policy;
        let standing = self.desk.standing(submitted.member);
        let is_own = submitted.replica == self.rules.server;
        let who = Who {
            member: Some(submitted.member).filter(|_| !is_own),
            replica: Some(submitted.replica),
            device: self.replicas.get(&submitted.replica).map(|row| row.device).filter(|_| !is_own),
            role: policy.role_of(&standing).map(str::to_owned).filter(|_| !is_own),
        };
        let desk = &mut self.desk;
        let name = |number| desk.name_of(tx, number);
        let schema = &self.rules.schema;
        let judged = Judged::of(schema, &submitted.batch, &answer.outcome, &answer.rules, name)?;
        let (received_at, policy_version) = (self.now, policy.version());
        let acts = audit::member_acts(&judged, |member| self.desk.standing(member).active);
        let whats = std::iter::once(What::Batch(judged)).chain(acts.into_iter().map(What::Act));
        for what in whats {
            let entry = Entry { received_at, who: who.clone(), policy_version, what };
            audit::append(tx, &entry)?;
        }
        Ok(())
    }
}
