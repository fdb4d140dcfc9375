//! Taking a batch's documents through the one door of `crdt-core`, change by change.

use std::collections::BTreeMap;

use crdt_core::id::{ChangeHash, DocumentId, MemberId};
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{DocumentChanges, DocumentRef, SentChange};
use crdt_core::record::document::Purpose;
use crdt_core::record::{
    Admitted, Change, History, Judgement, OpId, Reason, Situation, judge, judge_knowing,
    judge_with, stale_preds,
};

use super::{Desk, Stop, Submitted, refused};
use crate::store::{Read, StoreError};
use crate::workspace::dependencies::resolve;
use crate::workspace::draft::{Draft, Found};

/// A batch on its way: its documents with what was admitted so far.
#[derive(Default)]
pub(super) struct Tried {
    pub(super) documents: BTreeMap<DocumentId, Draft>,
    /// How many changes each document had admitted before this batch.
    pub(super) began: BTreeMap<DocumentId, usize>,
}

impl Desk<'_> {
    /// Takes every document through the door, in the batch's order.
    pub(super) fn pass_door(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
        position: u64,
        tried: &mut Tried,
    ) -> Result<(), Stop> {
        let history = if submitted.batch.schema_version == self.rules.schema.version() {
            History::Current
        } else {
            History::Older
        };
        for document in &submitted.batch.documents {
            let opened = self.open(tx, document, tried);
            let mut draft = opened.map_err(|stop| self.stranded(tx, submitted, stop))?;
            let id = draft.id.clone();
            tried.began.entry(id.clone()).or_insert(draft.added.len());
            let judged = self.try_document(tx, submitted, document, position, history, &mut draft);
            tried.documents.insert(id, draft);
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

    /// The draft of a document that a batch names and its sender may see.
    fn open(
        &mut self,
        tx: &dyn Read,
        document: &DocumentChanges,
        tried: &Tried,
    ) -> Result<Draft, Stop> {
        let changed = &tried.documents;
        let identity = match &document.document {
            DocumentRef::Number(number) => {
                let found = self.drafts.by_number(tx, *number)?.cloned();
                let found = found.map(|draft| changed.get(&draft.id).cloned().unwrap_or(draft));
                return found.ok_or(Stop::Refused { document: None, reason: Reason::OutOfScope });
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
        if !id.section.is_main() {
            let main = DocumentId::main(id.record);
            let main = match changed.get(&main) {
                Some(draft) => Some(draft),
                None => self.drafts.by_name(tx, &main)?,
            };
            if main.is_none_or(|draft| draft.entity != identity.entity) {
                return Err(refused(id, Reason::NoSuchRecord));
            }
        }
        Ok(Draft::new(id.clone(), &identity.entity))
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
        let entity = self.rules.schema.entity(&draft.entity).ok_or_else(unknown)?;
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
        if !self.budget.take(self.now, self.payer.unwrap_or(member)) {
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

/// Whether this very change is in already.
pub(super) fn holds(tx: &dyn Read, draft: &Draft, hash: &ChangeHash) -> Result<bool, StoreError> {
    if draft.added.iter().any(|added| added.hash == *hash) || planted(Bug::SeqReused) {
        return Ok(true);
    }
    let Some(number) = draft.number else { return Ok(false) };
    Ok(tx.changes_like(number, hash.short())?.iter().any(|row| row.hash == *hash))
}
