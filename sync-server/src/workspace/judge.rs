//! Judging batches: each as a whole, each change through the one door of `crdt-core`.

use std::collections::BTreeMap;

use crdt_core::id::{ChangeHash, DocumentId, MemberId};
use crdt_core::limits;
use crdt_core::protocol::{
    AcceptedDocument, DocumentChanges, DocumentRef, Outcome, Refusal, SentChange,
};
use crdt_core::record::document::Purpose;
use crdt_core::record::{
    Admitted, Change, History, Judgement, OpId, Reason, Situation, judge, judge_knowing,
    judge_with, stale_preds,
};
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;

use super::Submitted;
use super::dependencies::resolve;
use super::draft::{Draft, Drafts, Found};
use crate::access::Access;
use crate::store::{BatchRow, Read, StoreError, Write};

/// How often each member's changes had their document loaded within the last minute.
#[derive(Debug, Clone, Default)]
pub(super) struct SlowDoors {
    minute: i64,
    used: BTreeMap<MemberId, u32>,
}

impl SlowDoors {
    fn take(&mut self, now: Timestamp, member: MemberId) -> bool {
        let minute = now.as_millis().div_euclid(60_000);
        if minute != self.minute {
            *self = Self { minute, used: BTreeMap::new() };
        }
        let used = self.used.entry(member).or_insert(0);
        *used += 1;
        *used <= limits::SLOW_DOORS_PER_MINUTE
    }
}

/// Where batches are judged, one after the other, within one transaction.
pub(super) struct Desk<'a> {
    schema: &'a Schema,
    access: &'a dyn Access,
    now: Timestamp,
    drafts: Drafts,
    budget: &'a mut SlowDoors,
    slow_doors: u64,
}

/// A batch is refused, or put off, or the storage fails.
enum Stop {
    Refused {
        document: Option<DocumentId>,
        reason: Reason,
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

impl<'a> Desk<'a> {
    pub(super) fn new(
        schema: &'a Schema,
        access: &'a dyn Access,
        now: Timestamp,
        budget: &'a mut SlowDoors,
    ) -> Self {
        Self { schema, access, now, drafts: Drafts::default(), budget, slow_doors: 0 }
    }

    /// How many changes went through the slow door.
    pub(super) fn slow_doors(&self) -> u64 {
        self.slow_doors
    }

    /// Judges one batch. A refused one leaves everything as it was; the second result names its documents.
    /// Nothing when it is put off.
    pub(super) fn judge(
        &mut self,
        tx: &mut dyn Write,
        submitted: &Submitted,
    ) -> Result<Option<(Outcome, Vec<DocumentId>)>, StoreError> {
        let batch = &submitted.batch;
        if let Some(row) = tx.batch(&batch.id)? {
            return Ok(Some((self.already(tx, &row)?, Vec::new())));
        }
        let position = tx.head()? + 1;
        let mut changed = BTreeMap::new();
        match self.try_batch(tx, submitted, position, &mut changed) {
            Ok(()) => {
                tx.append_batch(&BatchRow {
                    position,
                    id: batch.id,
                    replica: submitted.replica,
                    member: submitted.member,
                    received_at: self.now,
                })?;
                let names: Vec<DocumentId> = changed.keys().cloned().collect();
                self.drafts.accept(tx, changed)?;
                let documents = self.accepted(tx, &names)?;
                Ok(Some((Outcome::Accepted { position, documents }, Vec::new())))
            }
            Err(Stop::Refused { document, reason }) => {
                let touched = self.names(tx, submitted)?;
                let refusal = Refusal {
                    code: reason.code().to_owned(),
                    text: reason.to_string(),
                    field: reason.key().map(str::to_owned),
                    document,
                };
                Ok(Some((Outcome::Refused { reasons: vec![refusal] }, touched)))
            }
            Err(Stop::Busy) => Ok(None),
            Err(Stop::Store(error)) => Err(error),
        }
    }

    /// The documents that a batch names, as far as they are known.
    fn names(&mut self, tx: &dyn Read, from: &Submitted) -> Result<Vec<DocumentId>, StoreError> {
        let mut names = Vec::with_capacity(from.batch.documents.len());
        for document in &from.batch.documents {
            match &document.document {
                DocumentRef::Identity(identity) => names.push(identity.id.clone()),
                DocumentRef::Number(number) => {
                    names.extend(self.drafts.by_number(tx, *number)?.map(|draft| draft.id.clone()));
                }
            }
        }
        Ok(names)
    }

    /// Writes what was accepted, and notes it in the scopes.
    pub(super) fn finish(self, tx: &mut dyn Write) -> Result<(), StoreError> {
        let access = self.access;
        for (number, position, draft) in self.drafts.finish(tx)? {
            let first = draft.added.first().map_or(position, |added| added.position);
            let created = draft.is_new;
            if created || access.moves(&draft.id, &draft.entity) {
                let scopes = access.scopes_of_document(&draft.id, &draft.entity, &draft.cells);
                rescope(tx, number, if created { first } else { position }, &scopes)?;
            }
            tx.touch(number, position)?;
        }
        Ok(())
    }

    fn already(&mut self, tx: &dyn Read, row: &BatchRow) -> Result<Outcome, StoreError> {
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

    fn accepted(
        &mut self,
        tx: &dyn Read,
        names: &[DocumentId],
    ) -> Result<Vec<AcceptedDocument>, StoreError> {
        let mut documents = Vec::with_capacity(names.len());
        for id in names {
            if let Some(number) = self.drafts.by_name(tx, id)?.and_then(|draft| draft.number) {
                documents.push(AcceptedDocument { id: id.clone(), number });
            }
        }
        Ok(documents)
    }

    fn try_batch(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
        position: u64,
        changed: &mut BTreeMap<DocumentId, Draft>,
    ) -> Result<(), Stop> {
        let bytes = submitted.batch.byte_len();
        if bytes > limits::BATCH_BYTES_MAX {
            let reason = Reason::TooLarge { limit: limits::BATCH_BYTES_MAX };
            return Err(Stop::Refused { document: None, reason });
        }
        let history = if submitted.batch.schema_version == self.schema.version() {
            History::Current
        } else {
            History::Older
        };
        let empty = |document: &DocumentChanges| document.changes.is_empty();
        if submitted.batch.documents.is_empty() || submitted.batch.documents.iter().any(empty) {
            // A document without changes would be made and never written.
            let reason = Reason::NotCanonical { key: String::new() };
            return Err(Stop::Refused { document: None, reason });
        }
        for document in &submitted.batch.documents {
            let opened = self.open(tx, document, changed);
            let mut draft = opened.map_err(|stop| self.stranded(tx, submitted, stop))?;
            let id = draft.id.clone();
            let judged = self.try_document(tx, submitted, document, position, history, &mut draft);
            changed.insert(id, draft);
            judged.map_err(|stop| self.stranded(tx, submitted, stop))?;
        }
        Ok(())
    }

    /// What follows from a refusal that was not acknowledged yet is told apart from a fault.
    fn stranded(&self, tx: &dyn Read, from: &Submitted, stop: Stop) -> Stop {
        let Stop::Refused { document: Some(document), reason } = stop else { return stop };
        let may_follow = matches!(
            reason,
            Reason::UnknownDependency
                | Reason::SeqGap { .. }
                | Reason::NoSuchRecord
                | Reason::StartOp { .. }
                | Reason::NotARecord
                | Reason::WrongOperation { .. }
                | Reason::UnknownPred { .. }
        );
        let main = DocumentId::main(document.record);
        if may_follow {
            for id in [&document, &main] {
                match tx.has_refused(&from.replica, id) {
                    Ok(true) => return refused(&document, Reason::DependsOnRefused),
                    Ok(false) => {}
                    Err(error) => return Stop::Store(error),
                }
            }
        }
        refused(&document, reason)
    }

    /// The draft of a document that a batch names.
    fn open(
        &mut self,
        tx: &dyn Read,
        document: &DocumentChanges,
        changed: &BTreeMap<DocumentId, Draft>,
    ) -> Result<Draft, Stop> {
        let identity = match &document.document {
            DocumentRef::Number(number) => {
                let found = self.drafts.by_number(tx, *number)?.cloned();
                let found = found.map(|draft| changed.get(&draft.id).cloned().unwrap_or(draft));
                return found.ok_or(Stop::Refused { document: None, reason: Reason::NoSuchRecord });
            }
            DocumentRef::Identity(identity) => identity,
        };
        let id = &identity.id;
        if let Some(draft) = changed.get(id) {
            return Ok(draft.clone());
        }
        if let Some(draft) = self.drafts.by_name(tx, id)? {
            return Ok(draft.clone());
        }
        let unknown = || Reason::UnknownEntity { entity: identity.entity.clone() };
        let entity = self.schema.entity(&identity.entity).ok_or_else(|| refused(id, unknown()))?;
        if !id.section.is_main() {
            let main = DocumentId::main(id.record);
            let main = match changed.get(&main) {
                Some(draft) => Some(draft),
                None => self.drafts.by_name(tx, &main)?,
            };
            let fits = main.is_some_and(|draft| draft.entity == entity.name);
            if !fits || !entity.sections().any(|section| *section == id.section) {
                return Err(refused(id, Reason::NoSuchRecord));
            }
        }
        Ok(Draft::new(id.clone(), &entity.name))
    }

    fn try_document(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
        document: &DocumentChanges,
        position: u64,
        history: History,
        draft: &mut Draft,
    ) -> Result<(), Stop> {
        let id = draft.id.clone();
        let unknown = || refused(&id, Reason::UnknownEntity { entity: draft.entity.clone() });
        let entity = self.schema.entity(&draft.entity).ok_or_else(unknown)?;
        let mut before: Option<ChangeHash> = None;
        for sent in &document.changes {
            let (deps, past) = resolve(tx, draft, before.as_ref(), &sent.deps)?
                .map_err(|reason| refused(&id, reason))?;
            let is_seed = sent.change.as_seed().is_some();
            let (deps, past) =
                if is_seed { (Vec::new(), Default::default()) } else { (deps, past) };
            let claim = sent.claim.clone();
            let change = SentChange::clone(sent).with_deps(deps);
            let situation = Situation {
                entity,
                section: &id.section,
                cells: &draft.cells,
                past: &past,
                sender: submitted.replica,
                now: self.now,
                history,
            };
            let judged = self.decide(tx, submitted.member, draft, &change, &claim, &situation)?;
            before = Some(match judged {
                Judgement::Admitted(admitted) => {
                    let admitted: Admitted = *admitted;
                    let hash = admitted.encoded.hash;
                    draft.add(position, change, admitted);
                    hash
                }
                Judgement::SeqTaken(hash) => {
                    if !holds(tx, draft, &hash)? {
                        return Err(refused(&id, Reason::ActorForked));
                    }
                    hash
                }
                Judgement::NeedsDocument => return Err(refused(&id, Reason::Poison)),
            });
        }
        Ok(())
    }

    /// Takes a change through the door: by cells, by what the index knows of overwritten values, or on the
    /// loaded document.
    fn decide(
        &mut self,
        tx: &dyn Read,
        member: MemberId,
        draft: &Draft,
        change: &Change,
        claim: &[u8],
        situation: &Situation<'_>,
    ) -> Result<Judgement, Stop> {
        let refused = |reason| refused(&draft.id, reason);
        let judged = judge(change, claim, situation).map_err(refused)?;
        if judged != Judgement::NeedsDocument {
            return Ok(judged);
        }
        if let Some(wrote) = written_by(tx, draft, change)? {
            return judge_knowing(change, claim, situation, &wrote).map_err(refused);
        }
        self.slow_doors += 1;
        if !self.budget.take(self.now, member) {
            return Err(Stop::Busy);
        }
        let purpose = if change.touches_text() { Purpose::Text } else { Purpose::SlowDoor };
        let loaded = draft.load(tx, purpose)?;
        judge_with(change, claim, situation, loaded).map_err(refused)
    }
}

/// Which keys the overwritten values of a change stood under, from the changes that are kept beside the
/// document. Nothing when one of them is folded, or the change needs its document anyway.
fn written_by(
    tx: &dyn Read,
    draft: &Draft,
    change: &Change,
) -> Result<Option<BTreeMap<OpId, String>>, StoreError> {
    if change.touches_text() {
        return Ok(None);
    }
    let mut wrote = BTreeMap::new();
    for (_, pred) in stale_preds(change, &draft.cells) {
        match draft.op_key(tx, &pred)? {
            Found::Key(key) => {
                wrote.insert(pred, key);
            }
            Found::Nothing => {}
            Found::Folded => return Ok(None),
        }
    }
    Ok(Some(wrote))
}

/// Puts a document into the scopes that it is to be in, and takes it out of the others.
fn rescope(
    tx: &mut dyn Write,
    document: u64,
    position: u64,
    scopes: &[String],
) -> Result<(), StoreError> {
    let before = tx.scopes_of(document)?;
    for scope in before.iter().filter(|scope| !scopes.contains(scope)) {
        tx.leave(scope, document, position)?;
    }
    for scope in scopes.iter().filter(|scope| !before.contains(scope)) {
        tx.enter(scope, document, position)?;
    }
    Ok(())
}

/// Whether this very change is in already.
fn holds(tx: &dyn Read, draft: &Draft, hash: &ChangeHash) -> Result<bool, StoreError> {
    if draft.added.iter().any(|added| added.hash == *hash) {
        return Ok(true);
    }
    let Some(number) = draft.number else { return Ok(false) };
    Ok(tx.changes_like(number, hash.short())?.iter().any(|row| row.hash == *hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_a_budget_of_its_own_that_comes_back_with_the_next_minute() {
        let (ada, ben) =
            (MemberId::from_source_key("m", "ada"), MemberId::from_source_key("m", "ben"));
        let now = Timestamp::from_millis(1_800_000_000_000);
        let mut budget = SlowDoors::default();
        assert!((0..limits::SLOW_DOORS_PER_MINUTE).all(|_| budget.take(now, ada)));
        assert!(!budget.take(now, ada));
        assert!(budget.take(now, ben));
        assert!(budget.take(now.plus_millis(60_000), ada));
    }
}
