//! The server's answers to batches: accepted, accepted before, refused.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{BatchId, ChangeHash, RecordId};
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{AcceptedDocument, Outcome, Receipt, Refusal};
use crdt_core::time::Timestamp;

use super::accounting::{self, Count};
use super::document::{HeldRecord, PENDING};
use super::outbox::{BatchChange, OutboxRow};
use super::withheld::{self, Hold, Verdict};
use super::{Session, dispute, erase, incoming, outbox, rebase, relay};
use crate::dispute::DisputeReason;
use crate::error::StoreError;

/// What became of receipts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReceiptsApplied {
    /// The last receipt that is stored now.
    pub last: u64,
    /// Batches that were accepted.
    pub accepted: usize,
    /// Batches that became disputes.
    pub disputed: usize,
    /// Documents that are to be fetched whole.
    pub fetch: Vec<u64>,
    /// Whether somebody else wrote under this replica's name: it needs a name of its own.
    pub forked: bool,
}

/// Stores receipts, in the order of their numbers; those that are stored already are passed over. What they
/// refuse is brought to an end as far as nothing that builds on it is among `in_flight`.
pub(crate) fn apply(
    session: &mut Session<'_>,
    receipts: &[Receipt],
    in_flight: &BTreeSet<BatchId>,
    now: Timestamp,
) -> Result<ReceiptsApplied, StoreError> {
    let mut applied = ReceiptsApplied::default();
    let mut receipts: Vec<&Receipt> = receipts.iter().collect();
    receipts.sort_by_key(|receipt| receipt.number);
    for receipt in receipts {
        if receipt.number <= session.state.meta.receipt {
            continue;
        }
        one(session, receipt, now, &mut applied)?;
        session.state.meta.receipt = receipt.number;
    }
    if !applied.forked {
        applied.disputed += rebase::settle(session, in_flight, now)?;
    }
    incoming::want(&session.tx, &applied.fetch)?;
    applied.last = session.state.meta.receipt;
    Ok(applied)
}

fn one(
    session: &mut Session<'_>,
    receipt: &Receipt,
    now: Timestamp,
    applied: &mut ReceiptsApplied,
) -> Result<(), StoreError> {
    let erased: BTreeSet<RecordId> = receipt.erased.iter().copied().collect();
    erase::erase(session, &erased)?;
    match &receipt.outcome {
        Outcome::Accepted { position, documents } => {
            number_documents(session, documents)?;
            let Some(row) = unanswered(session, &receipt.batch)? else {
                return accepted_after_all(session, &receipt.batch, documents, applied);
            };
            applied.fetch.extend(accept(session, &row, *position, now)?);
            applied.accepted += 1;
        }
        Outcome::Already { position, documents, hashes } => {
            number_documents(session, documents)?;
            let Some(row) = unanswered(session, &receipt.batch)? else {
                return accepted_after_all(session, &receipt.batch, documents, applied);
            };
            let changes = outbox::changes_of(&session.tx, row.number)?;
            if is_copy(&changes, hashes) {
                applied.fetch.extend(accept(session, &row, *position, now)?);
            } else {
                applied.fetch.extend(documents.iter().map(|document| document.number));
                withheld::hold_copy(&session.tx, row.number, *position)?;
            }
            applied.accepted += 1;
        }
        Outcome::Refused { reasons } => refused(session, receipt, reasons, applied)?,
    }
    Ok(())
}

/// A batch that was withdrawn with the one that it builds on, before its own answer came: the server has it,
/// so it is no dispute, and its documents are fetched as the server has them.
fn accepted_after_all(
    session: &mut Session<'_>,
    batch: &BatchId,
    documents: &[AcceptedDocument],
    applied: &mut ReceiptsApplied,
) -> Result<(), StoreError> {
    if let Some(found) = dispute::find(&session.tx, batch)? {
        dispute::withdraw(session, &found)?;
        accounting::add(&session.tx, Count::Accepted, 1)?;
        let mut fetch: BTreeSet<u64> = documents.iter().map(|document| document.number).collect();
        // A short receipt, and one that hardly fitted into a welcome, name none.
        for tried in found.tried.iter().filter(|_| documents.is_empty()) {
            fetch.extend(numbers_of(session, &tried.record)?);
        }
        applied.fetch.extend(fetch);
    }
    Ok(())
}

/// The numbers of a record's documents, as far as they are known here.
fn numbers_of(session: &Session<'_>, record: &RecordId) -> Result<Vec<u64>, StoreError> {
    let sql = "SELECT number FROM document WHERE record = ?1 AND number IS NOT NULL";
    let mut statement = session.tx.prepare_cached(sql)?;
    let rows = statement.query_map([record.as_bytes()], |row| row.get::<_, i64>(0))?;
    Ok(rows.map(|number| number.map(i64::cast_unsigned)).collect::<Result<_, _>>()?)
}

/// Whether the server holds these very changes. It lists them in an order of its own, and without seeds
/// that somebody else had brought before.
fn is_copy(changes: &[BatchChange], hashes: &[ChangeHash]) -> bool {
    if planted(Bug::AlreadyKeepsBoth) {
        return true;
    }
    hashes.iter().all(|hash| changes.iter().any(|change| change.stored.hash == *hash))
}

/// Whether receipts that were never stored accept batches which this file does not know: then the file was
/// put back to a state from before it wrote them. A refused one proves nothing: its user may have discarded
/// it meanwhile.
pub(crate) fn tell_of_unknown(
    session: &Session<'_>,
    receipts: &[Receipt],
) -> Result<bool, StoreError> {
    for receipt in receipts.iter().filter(|receipt| receipt.number > session.state.meta.receipt) {
        let accepted = !matches!(receipt.outcome, Outcome::Refused { .. });
        if accepted
            && outbox::find(&session.tx, &receipt.batch)?.is_none()
            && dispute::find(&session.tx, &receipt.batch)?.is_none()
            && !accounting::is_erased(&session.tx, &receipt.batch)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The batch, when it waits for an answer.
fn unanswered(session: &Session<'_>, batch: &BatchId) -> Result<Option<OutboxRow>, StoreError> {
    let found = outbox::find(&session.tx, batch)?;
    Ok(found.filter(|(_, accepted)| !accepted).map(|(row, _)| row))
}

fn number_documents(
    session: &Session<'_>,
    documents: &[AcceptedDocument],
) -> Result<(), StoreError> {
    for document in documents {
        let sql = "UPDATE OR IGNORE document SET number = ?3
                   WHERE record = ?1 AND section = ?2 AND number IS NOT ?3";
        let section = document.id.section.as_str();
        let values = (document.id.record.as_bytes(), section, document.number.cast_signed());
        session.tx.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

/// Gives the documents to be fetched: those that had left. The server does not send a device its own changes,
/// and the document may be among what it sees again.
fn accept(
    session: &mut Session<'_>,
    row: &OutboxRow,
    position: u64,
    now: Timestamp,
) -> Result<Vec<u64>, StoreError> {
    let changes = outbox::changes_of(&session.tx, row.number)?;
    let sql = "UPDATE document SET seen = max(seen, ?2)
               WHERE id IN (SELECT document FROM change WHERE batch = ?1)";
    session.tx.prepare_cached(sql)?.execute((row.number, position.cast_signed()))?;
    let sql = "UPDATE change SET state = 1 WHERE batch = ?1 AND state = 0";
    session.tx.prepare_cached(sql)?.execute([row.number])?;
    let mut by_record: BTreeMap<RecordId, Vec<&BatchChange>> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.stored.state == PENDING) {
        by_record.entry(change.id.record).or_default().push(change);
    }
    let mut left = Vec::new();
    for (id, changes) in by_record {
        left.extend(accept_in(session, id, &changes)?);
    }
    outbox::accept(session, row.number, position, now)?;
    Ok(left)
}

/// Moves a record's accepted state over the batch's changes. Gives those of its documents that had left.
fn accept_in(
    session: &mut Session<'_>,
    id: RecordId,
    changes: &[&BatchChange],
) -> Result<Vec<u64>, StoreError> {
    let Some(mut record) = HeldRecord::read(&session.tx, &session.state, id)? else {
        return Ok(Vec::new());
    };
    let schema = session.schema();
    let entity = schema.entity(&record.entity);
    let (mut left, mut numbers) = (Vec::new(), Vec::new());
    for (section, held) in &mut record.documents {
        let own: Vec<_> =
            changes.iter().filter(|change| Some(change.document) == held.row).collect();
        if own.is_empty() {
            continue;
        }
        let waiting = held.has_pending(&session.tx)?;
        held.dirty = true;
        if held.gone {
            numbers.extend(held.number);
            if !waiting {
                left.push(section.clone());
            }
            continue;
        }
        if !waiting {
            held.base = None;
            continue;
        }
        let mut texts = Vec::new();
        for change in own {
            let read = change.stored.read(entity, &held.cells)?;
            let Some(base) = held.base.as_mut().filter(|base| !base.holds(&read)) else { continue };
            base.apply(&read, change.stored.hash);
            texts.extend(read.ops.iter().filter(|op| op.is_text()).map(|op| op.key.clone()));
        }
        held.refresh_texts(&session.tx, &texts)?;
    }
    for section in left {
        record.remove(&session.tx, &section)?;
    }
    record.save(session, None)?;
    Ok(numbers)
}

fn refused(
    session: &mut Session<'_>,
    receipt: &Receipt,
    reasons: &[Refusal],
    applied: &mut ReceiptsApplied,
) -> Result<(), StoreError> {
    let has = |code: &str| reasons.iter().any(|reason| reason.code == code);
    let verdict = Verdict {
        policy_version: Some(receipt.policy_version),
        reasons: reasons.iter().map(reason).collect(),
    };
    let Some(row) = unanswered(session, &receipt.batch)? else {
        dispute::update_reasons(session, &receipt.batch, &verdict)?;
        return Ok(());
    };
    if has(ACTOR_FORKED) {
        // Somebody else wrote under this replica's name: no fault of the edit.
        applied.forked = true;
        return Ok(());
    }
    let dependent = reasons.iter().any(|reason| DEPENDENT.contains(&reason.code.as_str()));
    if dependent && relay::concerns(&session.tx, row.number)? {
        // What it builds on was lost by a server that was restored: it waits for how that ends.
        return withheld::wait(&session.tx, row.number);
    }
    if is_stranded(session, row.number, reasons)? {
        return withheld::strand(&session.tx, row.number);
    }
    let changes = outbox::changes_of(&session.tx, row.number)?;
    if changes.iter().any(|change| change.stored.state != PENDING) {
        // Accepted once, sent again to a restored server, and refused now: the documents are fetched as the
        // server has them.
        applied.fetch.extend(changes.iter().filter_map(|change| change.number));
        applied.fetch.sort_unstable();
        applied.fetch.dedup();
    }
    withheld::refuse(&session.tx, row.number, &verdict)
}

/// Whether a batch was refused for what it builds on and not for what it does: it then waits to be written
/// again. Where nothing here explains it, the refusal of an earlier batch may have been lost; it is believed
/// a few times.
fn is_stranded(
    session: &Session<'_>,
    number: i64,
    reasons: &[Refusal],
) -> Result<bool, StoreError> {
    for (earlier, hold) in withheld::held(&session.tx)? {
        let withdrawn = hold != Hold::Stranded && earlier < number;
        if withdrawn && withheld::with_dependents(&session.tx, earlier)?.contains(&number) {
            return Ok(true);
        }
    }
    let dependent = |reason: &Refusal| DEPENDENT.contains(&reason.code.as_str());
    let tried = withheld::strandings(&session.tx, number)?;
    Ok(reasons.iter().any(dependent) && tried < STRANDINGS_MAX)
}

fn reason(refusal: &Refusal) -> DisputeReason {
    DisputeReason {
        code: refusal.code.clone(),
        text: refusal.text.clone(),
        rule: refusal.rule.clone(),
        record: refusal.document.as_ref().map(|document| document.record),
        field: refusal.field.clone(),
    }
}

/// The word for a replica whose name somebody else used.
const ACTOR_FORKED: &str = "actor_forked";
/// Words for a batch that is refused for what it builds on.
const DEPENDENT: [&str; 3] = [rebase::DEPENDS_ON_REFUSED, "seq_gap", "unknown_dependency"];
/// How often a batch is written again for a reason that is not known here, before it becomes a dispute.
const STRANDINGS_MAX: i64 = 2;
