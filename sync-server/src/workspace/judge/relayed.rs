//! Judging changes that are given back after a restore, by whoever holds them.
//!
//! Each goes through the same door as its author's own batch would, and is judged by the policy as its
//! author: what differs is who brings it. The giver must be able to read the record; where the record decides
//! what members may do, the giver must be allowed to do the same, since nobody gains rights by what they say
//! that others wrote.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{ChangeHash, DocumentId, MemberId, RecordId, ReplicaId};
use crdt_core::policy::Standing;
use crdt_core::protocol::{
    Batch, DocumentChanges, DocumentRef, Identity, Outcome, Refusal, SentChange,
};
use crdt_core::record::{History, Judgement, Known, Reason, Situation, judge};

use super::door::{Tried, holds};
use super::sight::{Sight, Sights};
use super::{Desk, Stop, Submitted, deeds, refusal};
use crate::store::{BatchRow, Read, StoreError, Write};
use crate::workspace::author::batch_id;
use crate::workspace::dependencies::resolve;
use crate::workspace::directory::{ENTITY as MEMBER, SERVER};
use crate::workspace::draft::Draft;

/// A change that somebody gives back.
#[derive(Debug, Clone)]
pub(in crate::workspace) struct Given {
    /// The replica that brings it.
    pub(in crate::workspace) giver: ReplicaId,
    /// The giver's member.
    pub(in crate::workspace) member: MemberId,
    /// The document.
    pub(in crate::workspace) identity: Identity,
    /// The change.
    pub(in crate::workspace) change: SentChange,
    /// Whose the giver says that the change is.
    pub(in crate::workspace) claimed: Option<MemberId>,
}

/// What becomes of it.
#[derive(Debug)]
pub(in crate::workspace) enum Fate {
    /// It is in the log, as this batch; the rules that allowed it stand beside it, by record.
    Taken(Submitted, Outcome, BTreeMap<RecordId, Vec<String>>),
    /// It was there before.
    Held,
    /// It depends on what is not here.
    Waits,
    /// It is not taken, for these reasons; as this batch, when it came so far.
    Refused(Option<Submitted>, Vec<Refusal>),
    /// The giver has used up what documents are loaded for.
    Busy,
}

impl Desk<'_> {
    /// Judges a change that is given back. Only one that is taken leaves a trace.
    pub(in crate::workspace) fn judge_given(
        &mut self,
        tx: &mut dyn Write,
        given: &Given,
    ) -> Result<Fate, StoreError> {
        self.payer = Some(given.member);
        let tried = self.try_given(tx, given);
        self.payer = None;
        match tried {
            Ok(Ok((submitted, tried, deeds))) => {
                let position = tx.head()? + 1;
                tx.append_batch(&BatchRow {
                    position,
                    id: submitted.batch.id,
                    // Everybody is sent it: also its author's device, and the giver's.
                    replica: self.rules.server,
                    member: given.member,
                    received_at: self.now,
                })?;
                let names = tried.documents.keys().cloned().collect();
                self.take_in(tx, tried, &deeds)?;
                let documents = self.numbered(tx, names)?;
                Ok(Fate::Taken(submitted, Outcome::Accepted { position, documents }, deeds.rules))
            }
            Ok(Err(fate)) => Ok(fate),
            Err(Stop::Busy) => Ok(Fate::Busy),
            Err(Stop::Store(error)) => Err(error),
            Err(Stop::Refused { document, reason }) => {
                Ok(Fate::Refused(None, vec![refusal(document, &reason)]))
            }
            Err(Stop::Denied(reasons) | Stop::Unseen { reasons, .. }) => {
                Ok(Fate::Refused(None, reasons))
            }
        }
    }

    fn try_given(
        &mut self,
        tx: &dyn Read,
        given: &Given,
    ) -> Result<Result<(Submitted, Tried, deeds::Judged), Fate>, Stop> {
        let out_of_scope = || Stop::Refused { document: None, reason: Reason::OutOfScope };
        let as_giver = self.submitted(tx, given, given.giver, given.member)?;
        let giver = self.standing(given.member);
        if !self.giver_sees(tx, given, &as_giver, &giver)? {
            return Err(out_of_scope());
        }
        if let Some(fate) = self.look_up(tx, given)? {
            return Ok(Err(fate));
        }
        let (replica, author) = if given.change.change.as_seed().is_some() {
            // The same bytes whoever writes them, and they say nothing.
            (self.rules.server, SERVER)
        } else {
            let replica = given.change.change.actor.replica();
            (replica, self.author_of(tx, replica, given.claimed)?.ok_or_else(out_of_scope)?)
        };
        let submitted = Submitted { replica, member: author, ..as_giver.clone() };
        let position = tx.head()? + 1;
        let refused = |reasons| Ok(Err(Fate::Refused(Some(submitted.clone()), reasons)));
        let (tried, deeds) = match self.try_batch(tx, &submitted, position) {
            Ok(admitted) => admitted,
            Err(Stop::Refused { reason, .. }) if waits(&reason) => return Ok(Err(Fate::Waits)),
            Err(Stop::Refused { document, reason }) => {
                return refused(vec![refusal(document, &reason)]);
            }
            Err(Stop::Denied(reasons) | Stop::Unseen { reasons, .. }) => return refused(reasons),
            Err(stop) => return Err(stop),
        };
        if !self.giver_may_know(tx, given, &as_giver, &giver, &tried, &deeds)? {
            return refused(vec![refusal(None, &Reason::OutOfScope)]);
        }
        Ok(Ok((submitted, tried, deeds)))
    }

    /// Whether the giver may read the document as it stands; one that is not there yet is looked at later.
    fn giver_sees(
        &mut self,
        tx: &dyn Read,
        given: &Given,
        as_giver: &Submitted,
        giver: &Standing,
    ) -> Result<bool, StoreError> {
        if !giver.active {
            return Ok(false);
        }
        let id = &given.identity.id;
        let mut sights = Sights::new();
        let sight = self.sight(tx, as_giver, giver, id, &mut sights)?;
        match sight {
            Sight::New | Sight::Unseen { exists: false } => Ok(true),
            Sight::Unseen { exists: true } => Ok(false),
            Sight::Seen(_) => self.sees_section(as_giver, giver, id, &sight, tx),
        }
    }

    /// What the index says of the change: it is held, or another one stands in its place, or what it builds on
    /// is not here.
    fn look_up(&mut self, tx: &dyn Read, given: &Given) -> Result<Option<Fate>, StoreError> {
        let id = &given.identity.id;
        let sent = &given.change;
        let refused = |reason| Some(Fate::Refused(None, vec![refusal(Some(id.clone()), &reason)]));
        if !id.section.is_main() {
            let main = self.drafts.by_name(tx, &DocumentId::main(id.record))?;
            if main.is_none() {
                return Ok(Some(Fate::Waits));
            }
        }
        let new = Draft::new(id.clone(), &given.identity.entity);
        let draft = self.drafts.by_name(tx, id)?.cloned().unwrap_or(new);
        if sent.change.as_seed().is_some() {
            let held = draft.cells.holds(&sent.change);
            let early = draft.cells.is_empty() && id.section.is_main();
            return Ok(held.then_some(Fate::Held).or(early.then_some(Fate::Waits)));
        }
        let known = resolve(tx, &draft, None, &sent.deps)?;
        if draft.cells.holds(&sent.change) {
            let held = match known {
                Ok(past) => self.held_hash(tx, &draft, sent, past)?.is_some(),
                Err(_) => false,
            };
            return Ok(if held { Some(Fate::Held) } else { refused(Reason::ActorForked) });
        }
        if tx.is_withdrawn(id, &sent.change.actor, sent.change.seq)? {
            return Ok(refused(Reason::DependsOnRefused));
        }
        Ok(known.is_err().then_some(Fate::Waits))
    }

    /// The hash of a change whose number is taken, when it is this very change that took it.
    fn held_hash(
        &self,
        tx: &dyn Read,
        draft: &Draft,
        sent: &SentChange,
        (deps, past): (Vec<ChangeHash>, Known),
    ) -> Result<Option<ChangeHash>, StoreError> {
        let Some(entity) = self.rules.schema.entity(&draft.entity) else { return Ok(None) };
        let change = sent.clone().with_deps(deps);
        let situation = Situation {
            entity,
            section: &draft.id.section,
            cells: &draft.cells,
            past: &past,
            sender: change.actor.replica(),
            now: self.now,
            history: History::Older,
        };
        match judge(&change, &sent.claim, &situation) {
            Ok(Judgement::SeqTaken(hash)) if holds(tx, draft, &hash)? => Ok(Some(hash)),
            _ => Ok(None),
        }
    }

    /// Whose a replica's changes are: by what the server knows, else by what was said of it first.
    fn author_of(
        &self,
        tx: &dyn Read,
        replica: ReplicaId,
        claimed: Option<MemberId>,
    ) -> Result<Option<MemberId>, StoreError> {
        if let Some(row) = tx.replica(&replica)? {
            return Ok(Some(row.member));
        }
        let said = tx.presumed_member(&replica)?.or(claimed);
        // What the server itself wrote and lost is not taken from anybody: it is judged by nothing.
        Ok(said.filter(|member| *member != SERVER))
    }

    /// The change as a batch of its own, of one who could have sent it.
    fn submitted(
        &self,
        tx: &dyn Read,
        given: &Given,
        replica: ReplicaId,
        member: MemberId,
    ) -> Result<Submitted, StoreError> {
        let Given { identity, change, .. } = given;
        let sent = &change.change;
        let id = &identity.id;
        let key = format!("{}/{}/{}/{}", id.record, id.section, sent.actor, sent.seq);
        let document = DocumentRef::Identity(identity.clone());
        let batch = Batch {
            id: batch_id(tx, "relayed", &key)?,
            number: 0,
            // It was taken once, by the rules of then.
            schema_version: 0,
            policy_version: 0,
            documents: vec![DocumentChanges { document, changes: vec![change.clone()] }],
        };
        Ok(Submitted { replica, member, batch })
    }

    /// Whether the giver may read what the change leads to, and may do it where it decides who may do what.
    fn giver_may_know(
        &mut self,
        tx: &dyn Read,
        given: &Given,
        as_giver: &Submitted,
        giver: &Standing,
        tried: &Tried,
        deeds: &deeds::Judged,
    ) -> Result<bool, Stop> {
        let Identity { id, entity } = &given.identity;
        let mut sights = Sights::new();
        let sight = self.sight(tx, as_giver, giver, id, &mut sights)?;
        if matches!(sight, Sight::New) {
            let Some(route) = deeds.routes.get(&id.record) else { return Ok(false) };
            let policy = &self.rules.policy;
            let place = self.routes.place_with(tx, policy, route, &deeds.routes)?;
            if !self.may_read(as_giver, giver, entity, &id.section, &place) {
                return Ok(false);
            }
        }
        if entity != MEMBER {
            return Ok(true);
        }
        let done = self.deeds(tx, giver, sights, tried, &deeds.routes)?;
        Ok(done.values().all(|deed| self.rules.policy.judge(giver, deed).is_ok()))
    }

    /// Whether every change of a batch is in the log already, as its own sender wrote it: others gave it back.
    pub(super) fn holds_all(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
    ) -> Result<bool, StoreError> {
        let mut own = false;
        for document in &submitted.batch.documents {
            let draft = match &document.document {
                DocumentRef::Number(number) => self.drafts.by_number(tx, *number)?,
                DocumentRef::Identity(identity) => self.drafts.by_name(tx, &identity.id)?,
            };
            let Some(draft) = draft.cloned() else { return Ok(false) };
            let mut before: Option<ChangeHash> = None;
            for sent in &document.changes {
                if !draft.cells.holds(&sent.change) {
                    return Ok(false);
                }
                if sent.change.as_seed().is_some() {
                    before = Some(sent.change.encode().hash);
                    continue;
                }
                if sent.change.actor.replica() != submitted.replica {
                    return Ok(false);
                }
                let Ok(past) = resolve(tx, &draft, before.as_ref(), &sent.deps)? else {
                    return Ok(false);
                };
                before = self.held_hash(tx, &draft, sent, past)?;
                if before.is_none() {
                    return Ok(false);
                }
                own = true;
            }
        }
        Ok(own)
    }

    /// Gives a batch its place although nothing of it is new.
    pub(super) fn accept_held(
        &mut self,
        tx: &mut dyn Write,
        submitted: &Submitted,
        position: u64,
    ) -> Result<Outcome, StoreError> {
        tx.append_batch(&BatchRow {
            position,
            id: submitted.batch.id,
            replica: submitted.replica,
            member: submitted.member,
            received_at: self.now,
        })?;
        let mut names = Vec::new();
        for document in &submitted.batch.documents {
            let id = match &document.document {
                DocumentRef::Identity(identity) => Some(identity.id.clone()),
                DocumentRef::Number(number) => self.name_of(tx, *number)?.map(|(id, _)| id),
            };
            names.extend(id);
        }
        Ok(Outcome::Accepted { position, documents: self.numbered(tx, names)? })
    }

    /// The changes of a batch that are not in the log: their documents, actors and numbers.
    pub(in crate::workspace) fn not_held(
        &mut self,
        tx: &dyn Read,
        submitted: &Submitted,
    ) -> Result<Vec<(DocumentId, crdt_core::id::ActorId, u64)>, StoreError> {
        let mut found = Vec::new();
        for document in &submitted.batch.documents {
            let id = match &document.document {
                DocumentRef::Identity(identity) => Some(identity.id.clone()),
                DocumentRef::Number(number) => self.name_of(tx, *number)?.map(|(id, _)| id),
            };
            let Some(id) = id else { continue };
            let cells = self.drafts.by_name(tx, &id)?.map(|draft| draft.cells.clone());
            let cells = cells.unwrap_or_default();
            let own = document.changes.iter().map(|sent| &sent.change).filter(|change| {
                change.actor.replica() == submitted.replica && !cells.holds(change)
            });
            found.extend(own.map(|change| (id.clone(), change.actor, change.seq)));
        }
        Ok(found)
    }

    /// The documents whose waiting changes may have become possible with a change of this one.
    pub(in crate::workspace) fn awaken(
        &self,
        tx: &dyn Read,
        id: &DocumentId,
    ) -> Result<BTreeSet<DocumentId>, StoreError> {
        let mut documents = BTreeSet::from([id.clone()]);
        if id.section.is_main() {
            documents.extend(self.sections(tx, id.record)?);
        }
        Ok(documents)
    }

    fn sections(&self, tx: &dyn Read, record: RecordId) -> Result<Vec<DocumentId>, StoreError> {
        let Some(route) = self.routes.accepted().get(&record).cloned().or(tx.route(&record)?)
        else {
            return Ok(Vec::new());
        };
        let Some(entity) = self.rules.schema.entity(&route.entity) else { return Ok(Vec::new()) };
        let sections = entity.sections().filter(|section| !section.is_main());
        Ok(sections.map(|section| DocumentId { record, section: section.clone() }).collect())
    }
}

/// Whether what a refusal misses may still come.
fn waits(reason: &Reason) -> bool {
    matches!(reason, Reason::UnknownDependency | Reason::SeqGap { .. } | Reason::NoSuchRecord)
}
