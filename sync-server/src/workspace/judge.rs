//! Judging batches: each as a whole, by the policy and through the one door of `crdt-core`.
//!
//! The order is what keeps a refusal from telling anything. What needs no document comes first: size, form,
//! entities and sections that the schema lacks. Then comes what the sender may see at all: a record out of
//! sight is answered alike whether it exists or not, and a section that the sender may not read whether it
//! holds something or not. Only then is a document looked at, and at last the policy judges the deed.

mod deeds;
mod door;
mod finish;
mod relayed;
mod sight;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crdt_core::id::{BatchId, ChangeHash, DocumentId, MemberId, RecordId, ReplicaId};
use crdt_core::limits;
use crdt_core::planted::{Bug, planted};
use crdt_core::policy::{Policy, Standing};
use crdt_core::protocol::{AcceptedDocument, DocumentChanges, Outcome, Refusal};
use crdt_core::record::Reason;
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;

use super::Submitted;
use super::budget::Budget;
use super::directory::Directory;
use super::draft::Drafts;
use super::erased::{self, Erased};
use super::routes::Routes;
use crate::failpoint;
use crate::store::access::MemberRow;
use crate::store::{BatchRow, Read, StoreError, Write};
use door::Tried;

pub(super) use finish::Finished;
pub(super) use relayed::{Fate, Given};

/// What a workspace judges by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) schema: Arc<Schema>,
    pub(super) policy: Arc<Policy>,
    pub(super) directory: Directory,
    /// What can never come back.
    pub(super) erased: Erased,
    /// The server's own replica: what it writes is not judged by the policy.
    pub(super) server: ReplicaId,
    /// Batches on which judging has panicked: they are refused unread.
    pub(super) poisoned: BTreeSet<BatchId>,
}

/// Where batches are judged, one after the other, within one transaction.
pub(super) struct Desk<'a> {
    rules: &'a Rules,
    now: Timestamp,
    drafts: Drafts,
    routes: Routes,
    /// Who sent what was accepted, by its position.
    senders: BTreeMap<u64, ReplicaId>,
    /// The members whose records were written.
    members: BTreeMap<MemberId, MemberRow>,
    budget: &'a mut Budget,
    slow_doors: u64,
    /// Whose budget pays for loading documents, when it is not the sender's.
    payer: Option<MemberId>,
    /// Whether the server was restored once: changes of a batch may then be in the log without it.
    was_restored: bool,
}

/// The answer to a batch.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// The documents of a refused batch, as far as its sender may know them.
    pub(super) refused: Vec<DocumentId>,
    /// The rules that allowed it, by record.
    pub(super) rules: BTreeMap<RecordId, Vec<String>>,
    /// The records of a refused batch that exist and that its sender may not see.
    pub(super) out_of_reach: BTreeSet<RecordId>,
}

/// A batch is refused, or put off, or the storage fails.
enum Stop {
    Refused {
        document: Option<DocumentId>,
        reason: Reason,
    },
    /// The policy refuses it, for these reasons.
    Denied(Vec<Refusal>),
    /// Records that the sender may not see; those that exist.
    Unseen {
        reasons: Vec<Refusal>,
        records: BTreeSet<RecordId>,
    },
    /// The member's budget for loading documents is used up: nothing is said of the batch.
    Busy,
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn refused(document: &DocumentId, reason: Reason) -> Stop {
    Stop::Refused { document: Some(document.clone()), reason }
}

pub(super) fn refusal(document: Option<DocumentId>, reason: &Reason) -> Refusal {
    Refusal {
        code: reason.code().to_owned(),
        text: reason.to_string(),
        field: reason.key().map(str::to_owned),
        rule: None,
        document,
    }
}

impl<'a> Desk<'a> {
    pub(super) fn new(rules: &'a Rules, now: Timestamp, budget: &'a mut Budget) -> Self {
        Self {
            rules,
            now,
            drafts: Drafts::default(),
            routes: Routes::default(),
            senders: BTreeMap::new(),
            members: BTreeMap::new(),
            budget,
            slow_doors: 0,
            payer: None,
            was_restored: false,
        }
    }

    /// The same, of a server that was restored once.
    pub(super) fn after_restore(self, was_restored: bool) -> Self {
        Self { was_restored, ..self }
    }

    /// What it judges by.
    pub(super) fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// How many changes went through the slow door.
    pub(super) fn slow_doors(&self) -> u64 {
        self.slow_doors
    }

    /// What the directory says of a member, with what this transaction wrote.
    pub(super) fn standing(&self, member: MemberId) -> Standing {
        match self.members.get(&member) {
            Some(row) => row.standing.clone(),
            None => self.rules.directory.standing(member),
        }
    }

    /// Judges one batch, out of which what it does to the `erased` records was taken. A refused one leaves
    /// everything as it was. Nothing when it is put off.
    pub(super) fn judge(
        &mut self,
        tx: &mut dyn Write,
        submitted: &Submitted,
        erased: &[RecordId],
    ) -> Result<Option<Answer>, StoreError> {
        let batch = &submitted.batch;
        let answer = |outcome| Answer {
            outcome,
            refused: Vec::new(),
            rules: BTreeMap::new(),
            out_of_reach: BTreeSet::new(),
        };
        let known = tx
            .batch(&batch.id)?
            .filter(|row| row.replica == submitted.replica || !planted(Bug::DedupByReplica));
        if let Some(row) = known {
            return self.already(tx, submitted, &row).map(|outcome| Some(answer(outcome)));
        }
        if batch.documents.is_empty() && !erased.is_empty() {
            let reasons = erased::nothing_left(erased);
            return Ok(Some(answer(Outcome::Refused { reasons })));
        }
        let position = tx.head()? + 1;
        if self.was_restored && self.holds_all(tx, submitted)? {
            let outcome = self.accept_held(tx, submitted, position)?;
            return Ok(Some(answer(outcome)));
        }
        let (reasons, out_of_reach) = match self.try_batch(tx, submitted, position) {
            Ok((tried, deeds)) => {
                let documents = self.accept(tx, submitted, position, tried, &deeds)?;
                let outcome = Outcome::Accepted { position, documents };
                return Ok(Some(Answer { rules: deeds.rules, ..answer(outcome) }));
            }
            Err(Stop::Busy) => return Ok(None),
            Err(Stop::Store(error)) => return Err(error),
            Err(Stop::Refused { document, reason }) => {
                (vec![refusal(document, &reason)], BTreeSet::new())
            }
            Err(Stop::Denied(reasons)) => (reasons, BTreeSet::new()),
            Err(Stop::Unseen { reasons, records }) => (reasons, records),
        };
        let refused = self.names(tx, submitted)?;
        let outcome = Outcome::Refused { reasons };
        Ok(Some(Answer { refused, out_of_reach, ..answer(outcome) }))
    }

    fn try_batch(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
        position: u64,
    ) -> Result<(Tried, deeds::Judged), Stop> {
        self.check_form(submitted)?;
        failpoint::panic_at(failpoint::JUDGE, submitted.batch.id);
        let who = self.standing(submitted.member);
        let sights = self.look(tx, submitted, &who)?;
        let mut tried = Tried::default();
        self.pass_door(tx, submitted, position, &mut tried)?;
        let deeds = self.judge_deeds(tx, submitted, &who, sights, &tried)?;
        Ok((tried, deeds))
    }

    /// What can be said of a batch without looking at anything but the schema.
    fn check_form(&self, submitted: &Submitted) -> Result<(), Stop> {
        let refused = |reason| Err(Stop::Refused { document: None, reason });
        if self.rules.poisoned.contains(&submitted.batch.id) {
            return refused(Reason::Poison);
        }
        if submitted.batch.byte_len() > limits::BATCH_BYTES_MAX {
            return refused(Reason::TooLarge { limit: limits::BATCH_BYTES_MAX });
        }
        let empty = |document: &DocumentChanges| document.changes.is_empty();
        if submitted.batch.documents.is_empty() || submitted.batch.documents.iter().any(empty) {
            // A document without changes would be made and never written.
            return refused(Reason::NotCanonical { key: String::new() });
        }
        Ok(())
    }

    fn accept(
        &mut self,
        tx: &mut dyn Write,
        submitted: &Submitted,
        position: u64,
        tried: Tried,
        deeds: &deeds::Judged,
    ) -> Result<Vec<AcceptedDocument>, StoreError> {
        tx.append_batch(&BatchRow {
            position,
            id: submitted.batch.id,
            replica: submitted.replica,
            member: submitted.member,
            received_at: self.now,
        })?;
        self.senders.insert(position, submitted.replica);
        let names: Vec<DocumentId> = tried.documents.keys().cloned().collect();
        self.take_in(tx, tried, deeds)?;
        self.numbered(tx, names)
    }

    /// Puts what was tried in the place of what was.
    fn take_in(
        &mut self,
        tx: &mut dyn Write,
        tried: Tried,
        deeds: &deeds::Judged,
    ) -> Result<(), StoreError> {
        self.drafts.accept(tx, tried.documents)?;
        self.routes.accept(deeds.routes.clone());
        self.members.extend(deeds.members.clone());
        Ok(())
    }

    fn numbered(
        &mut self,
        tx: &dyn Read,
        names: Vec<DocumentId>,
    ) -> Result<Vec<AcceptedDocument>, StoreError> {
        let mut documents = Vec::with_capacity(names.len());
        for id in names {
            if let Some(number) = self.drafts.by_name(tx, &id)?.and_then(|draft| draft.number) {
                documents.push(AcceptedDocument { id, number });
            }
        }
        Ok(documents)
    }

    /// The answer to a batch that is in the log. Whoever sends it under somebody else's name learns nothing.
    fn already(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
        row: &BatchRow,
    ) -> Result<Outcome, StoreError> {
        if row.member != submitted.member {
            return Ok(Outcome::Refused { reasons: vec![refusal(None, &Reason::OutOfScope)] });
        }
        let stored = tx.changes_at(row.position)?;
        let mut changes: Vec<(u64, ChangeHash)> =
            stored.into_iter().map(|change| (change.document, change.hash)).collect();
        if changes.is_empty() {
            // It was accepted a moment ago, in this very commit.
            changes = self.drafts.changes_at(row.position);
        }
        let mut documents = Vec::new();
        for (number, _) in &changes {
            if documents.iter().any(|d: &AcceptedDocument| d.number == *number) {
                continue;
            }
            if let Some(draft) = self.drafts.by_number(tx, *number)? {
                documents.push(AcceptedDocument { id: draft.id.clone(), number: *number });
            }
        }
        let hashes = changes.into_iter().map(|(_, hash)| hash).collect();
        Ok(Outcome::Already { position: row.position, documents, hashes })
    }

    /// The document of a number and its record's entity, as far as this transaction knows.
    pub(super) fn name_of(
        &mut self,
        tx: &dyn Read,
        number: u64,
    ) -> Result<Option<(DocumentId, String)>, StoreError> {
        let draft = self.drafts.by_number(tx, number)?;
        Ok(draft.map(|draft| (draft.id.clone(), draft.entity.clone())))
    }
}
