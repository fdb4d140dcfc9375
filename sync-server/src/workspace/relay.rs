//! After a restore: taking from devices what others wrote and the server has lost.
//!
//! A change whose dependencies are not here waits, and is tried again as soon as something of its document
//! comes, in the same transaction: so whoever brings first what others wrote and then what it wrote itself
//! finds everything in its place.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, MemberId, ReplicaId};
use crdt_core::limits;
use crdt_core::protocol::{
    AuthorName, DocumentChanges, DocumentRef, Outcome, Recovery, Refusal, Relay, Relayed,
    SentChange,
};
use crdt_core::time::Timestamp;

use super::budget::Budget;
use super::judge::{Desk, Fate, Given};
use super::{Committed, Submitted, Workspace};
use crate::audit::{self, Entry, Judged, Relayer, What, Who};
use crate::store::relay::{ParkedRow, ParkedSize, RelayedRow};
use crate::store::{self, Read, StoreError, Write};

/// What a device gives back, and who it is.
#[derive(Debug, Clone)]
pub struct RelayedBy {
    /// The replica: its session has been greeted.
    pub replica: ReplicaId,
    /// Its member.
    pub member: MemberId,
    /// What it gives back.
    pub relay: Relay,
}

/// How the recovery after a restore stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// Whether other people's changes are taken now.
    pub recovery: Recovery,
    /// When the operator ended that.
    pub closed_at: Option<Timestamp>,
    /// What each replica gave back.
    pub relayed: Vec<RelayedRow>,
    /// How much waits for what it depends on.
    pub parked: ParkedSize,
}

/// Whether changes are taken from others at this time: after a restore, until the operator ends it or it has
/// lasted long enough.
pub(super) fn recovery_at(tx: &dyn Read, now: Timestamp) -> Result<Recovery, StoreError> {
    let Some(restored) = tx.restoration()? else { return Ok(Recovery::Closed) };
    let closed = tx.relay_closed_at()?.is_some_and(|at| at >= restored.at);
    let over = now.since(restored.at) > limits::RECOVERY_MS;
    Ok(if closed || over { Recovery::Closed } else { Recovery::Open })
}

impl Workspace {
    /// Takes what a device gives back. Nothing is answered when the member's budget is used up: the committed
    /// names the replica as put off then.
    ///
    /// # Errors
    /// When the storage fails: then nothing was taken and nothing is to be answered.
    pub fn relay(
        &mut self,
        now: Timestamp,
        by: &RelayedBy,
    ) -> Result<(Relayed, Committed), StoreError> {
        let store = self.store();
        let (mut slow_doors, mut given) = (self.slow_doors.clone(), self.given.clone());
        let (relayed, committed, finished) = store::write(&*store, |tx| {
            (slow_doors, given) = (self.slow_doors.clone(), self.given.clone());
            let mut desk = Desk::new(&self.rules, now, &mut slow_doors).after_restore(true);
            let (relayed, put_off) = take(tx, &mut desk, now, by, &mut given)?;
            let slow_doors = desk.slow_doors();
            let finished = desk.finish(tx)?;
            let put_off = put_off.then_some(by.replica).into_iter().collect();
            let head = tx.head()?;
            let committed = Committed { head, put_off, slow_doors, ..Committed::default() };
            Ok((relayed, committed, finished))
        })?;
        (self.slow_doors, self.given) = (slow_doors, given);
        Ok((relayed, self.finished(committed, finished)))
    }

    /// Ends the time in which other people's changes are taken: what waits is dropped. Gives how much that
    /// was; nothing when there was no restore.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn close_relay(&mut self, now: Timestamp) -> Result<Option<ParkedSize>, StoreError> {
        store::write(&*self.store, |tx| match tx.restoration()? {
            Some(restored) => tx.close_relay(now.max(restored.at)).map(Some),
            None => Ok(None),
        })
    }

    /// How the recovery after the last restore stands; nothing when there was no restore.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn relay_status(&self, now: Timestamp) -> Result<Option<RelayStatus>, StoreError> {
        store::read(&*self.store, |tx| {
            let Some(restored) = tx.restoration()? else { return Ok(None) };
            let recovery = recovery_at(tx, now)?;
            let closed_at = tx.relay_closed_at()?.filter(|at| *at >= restored.at);
            let (relayed, parked) = (tx.relayed()?, tx.parked_size()?);
            Ok(Some(RelayStatus { recovery, closed_at, relayed, parked }))
        })
    }
}

/// Takes one message's changes; whether the giver is to come back later.
fn take(
    tx: &mut dyn Write,
    desk: &mut Desk<'_>,
    now: Timestamp,
    by: &RelayedBy,
    budget: &mut Budget,
) -> Result<(Relayed, bool), StoreError> {
    let mut relayed = Relayed::default();
    let mut put_off = false;
    let open = recovery_at(tx, now)? == Recovery::Open;
    'all: for document in &by.relay.documents {
        for change in &document.changes {
            // What was erased nobody can bring back.
            let is_welcome =
                |given: &Given| open && !desk.rules().erased.contains(&given.identity.id.record);
            let Some(given) = given(by, document, change).filter(is_welcome) else {
                relayed.refused += 1;
                continue;
            };
            if !budget.take(now, by.member) {
                put_off = true;
                break 'all;
            }
            match one(tx, desk, now, &given)? {
                Some(step) => add(&mut relayed, step),
                None => {
                    put_off = true;
                    break 'all;
                }
            }
        }
    }
    let row = RelayedRow { replica: by.replica, member: by.member, relayed, at: now };
    tx.count_relayed(&row)?;
    Ok((relayed, put_off))
}

fn add(sum: &mut Relayed, step: Relayed) {
    sum.taken += step.taken;
    sum.held += step.held;
    sum.parked += step.parked;
    sum.refused += step.refused;
}

fn given(by: &RelayedBy, document: &DocumentChanges, change: &SentChange) -> Option<Given> {
    let DocumentRef::Identity(identity) = &document.document else { return None };
    let replica = change.change.actor.replica();
    let author = by.relay.authors.iter().find(|author| author.replica == replica);
    Some(Given {
        giver: by.replica,
        member: by.member,
        identity: identity.clone(),
        change: change.clone(),
        claimed: author.map(|author| author.member),
    })
}

/// Takes one change, and what waited for it. Nothing when the giver has to come back later.
fn one(
    tx: &mut dyn Write,
    desk: &mut Desk<'_>,
    now: Timestamp,
    given: &Given,
) -> Result<Option<Relayed>, StoreError> {
    let mut relayed = Relayed::default();
    match desk.judge_given(tx, given)? {
        Fate::Busy => return Ok(None),
        Fate::Held => relayed.held += 1,
        Fate::Waits => match park(tx, now, given)? {
            true => relayed.parked += 1,
            false => relayed.refused += 1,
        },
        Fate::Refused(submitted, reasons) => {
            note_refusal(tx, desk, now, given, submitted, reasons)?;
            relayed.refused += 1;
        }
        Fate::Taken(submitted, outcome, rules) => {
            note_taken(tx, desk, now, given, &submitted, &outcome, &rules)?;
            relayed.taken += 1;
            awaken(tx, desk, now, &BTreeSet::from([given.identity.id.clone()]))?;
        }
    }
    Ok(Some(relayed))
}

/// Lets a change wait, while there is room; whether it does.
fn park(tx: &mut dyn Write, now: Timestamp, given: &Given) -> Result<bool, StoreError> {
    let sent = &given.change;
    let authors = given.claimed.map(|member| AuthorName {
        replica: sent.change.actor.replica(),
        member,
        name: String::new(),
    });
    let document = DocumentRef::Identity(given.identity.clone());
    let document = DocumentChanges { document, changes: vec![sent.clone()] };
    let relay = Relay { documents: vec![document], authors: authors.into_iter().collect() };
    let relay = relay.to_stored();
    let size = tx.parked_size()?;
    if size.changes >= limits::PARKED_MAX
        || size.bytes + relay.len() as u64 > limits::PARKED_BYTES_MAX
    {
        return Ok(false);
    }
    tx.park(&ParkedRow {
        id: 0,
        document: given.identity.id.clone(),
        actor: sent.change.actor,
        seq: sent.change.seq,
        replica: given.giver,
        member: given.member,
        parked_at: now,
        relay,
    })?;
    Ok(true)
}

/// Tries again what waits in documents of which something came, until nothing more follows from it.
pub(super) fn awaken(
    tx: &mut dyn Write,
    desk: &mut Desk<'_>,
    now: Timestamp,
    changed: &BTreeSet<DocumentId>,
) -> Result<(), StoreError> {
    let mut due: BTreeSet<DocumentId> = BTreeSet::new();
    for id in changed {
        due.extend(desk.awaken(tx, id)?);
    }
    while let Some(id) = due.pop_first() {
        for row in tx.parked_of(&id)? {
            let Some(given) = given_again(&row) else {
                tx.unpark(row.id)?;
                continue;
            };
            let moved = match desk.judge_given(tx, &given)? {
                Fate::Waits | Fate::Busy => continue,
                Fate::Held => false,
                Fate::Refused(submitted, reasons) => {
                    note_refusal(tx, desk, now, &given, submitted, reasons)?;
                    false
                }
                Fate::Taken(submitted, outcome, rules) => {
                    note_taken(tx, desk, now, &given, &submitted, &outcome, &rules)?;
                    true
                }
            };
            tx.unpark(row.id)?;
            if moved {
                due.extend(desk.awaken(tx, &id)?);
            }
        }
    }
    Ok(())
}

/// A change that waited; nothing when its row is damaged.
fn given_again(row: &ParkedRow) -> Option<Given> {
    let relay = Relay::from_stored(&row.relay).ok()?;
    let by = RelayedBy { replica: row.replica, member: row.member, relay };
    let document = by.relay.documents.first()?;
    given(&by, document, document.changes.first()?)
}

fn note_taken(
    tx: &mut dyn Write,
    desk: &mut Desk<'_>,
    now: Timestamp,
    given: &Given,
    submitted: &Submitted,
    outcome: &Outcome,
    rules: &BTreeMap<crdt_core::id::RecordId, Vec<String>>,
) -> Result<(), StoreError> {
    if submitted.replica != desk.rules().server && tx.replica(&submitted.replica)?.is_none() {
        tx.presume(&submitted.replica, &submitted.member, &given.member)?;
    }
    note(tx, desk, now, given, submitted, outcome, rules)
}

fn note_refusal(
    tx: &mut dyn Write,
    desk: &mut Desk<'_>,
    now: Timestamp,
    given: &Given,
    submitted: Option<Submitted>,
    reasons: Vec<Refusal>,
) -> Result<(), StoreError> {
    // What came no further than to a closed door is counted, and no line of the audit.
    let Some(submitted) = submitted else { return Ok(()) };
    note(tx, desk, now, given, &submitted, &Outcome::Refused { reasons }, &BTreeMap::new())
}

/// The audit's entry: who gave it back, and whose it is.
fn note(
    tx: &mut dyn Write,
    desk: &mut Desk<'_>,
    now: Timestamp,
    given: &Given,
    submitted: &Submitted,
    outcome: &Outcome,
    rules: &BTreeMap<crdt_core::id::RecordId, Vec<String>>,
) -> Result<(), StoreError> {
    let rules_in_force = desk.rules();
    let policy = &rules_in_force.policy;
    let name = |number| desk.name_of(tx, number);
    let judged = Judged::of(&rules_in_force.schema, &submitted.batch, outcome, rules, name)?;
    let giver = tx.replica(&given.giver)?;
    let who = Who {
        member: Some(submitted.member),
        replica: Some(given.change.change.actor.replica()),
        device: None,
        role: policy.role_of(&desk.standing(submitted.member)).map(str::to_owned),
    };
    let by =
        Relayer { member: given.member, replica: given.giver, device: giver.map(|row| row.device) };
    let (received_at, policy_version) = (now, policy.version());
    let what = What::Relayed(by, judged);
    audit::append(tx, &Entry { received_at, who, policy_version, what }).map(drop)
}

/// Notes that nobody but its author may bring again what its author brought in vain.
pub(super) fn withdraw(
    tx: &mut dyn Write,
    desk: &mut Desk<'_>,
    submitted: &Submitted,
) -> Result<(), StoreError> {
    for (document, actor, seq) in desk.not_held(tx, submitted)? {
        tx.withdraw(&document, &actor, seq)?;
    }
    Ok(())
}
