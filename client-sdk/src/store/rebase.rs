//! After refusals: refused batches become disputes, their documents return to what was accepted, and later
//! batches on them are written again without what fell, under a new incarnation and their old names. All of
//! it in one transaction, once no batch that it may concern is under way. Nothing else is touched.

mod documents;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crdt_core::id::{BatchId, RecordId};
use crdt_core::planted::{Bug, planted};
use crdt_core::record::{Cells, Live};
use crdt_core::time::Timestamp;

use super::document::{Held, HeldRecord, PENDING};
use super::outbox::{self, OutboxRow};
use super::withheld::{self, Hold, Verdict};
use super::{Session, dispute, relay, undo};
use crate::dispute::{DisputeKind, DisputeReason, Tried};
use crate::error::StoreError;
use plan::Plan;

/// Why a batch falls.
#[derive(Debug, Clone, PartialEq)]
enum Fall {
    /// The server refused it.
    Refused(Verdict),
    /// The server has it in another form, at this position.
    Copy(u64),
    /// It cannot stand without one that fell: the sentence for its user.
    Dependent(&'static str),
}

const WITHOUT_RECORD: &str = "the record that it edits was not accepted";
const WITHOUT_PAST: &str = "what it builds on is on this device no more";
const WITHOUT_CONTENT: &str = "it only took back or went on with an edit that was refused";

/// The word for an edit that builds on a refused one.
pub(crate) const DEPENDS_ON_REFUSED: &str = "depends_on_refused";

/// Brings to an end what was refused, as far as nothing that builds on it is under way. `in_flight` names the
/// batches that were sent and whose answer is not stored. Gives how many disputes that made.
pub(crate) fn settle(
    session: &mut Session<'_>,
    in_flight: &BTreeSet<BatchId>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let held = withheld::held(&session.tx)?;
    if held.is_empty() {
        return Ok(0);
    }
    let flying = numbers(session, in_flight)?;
    let due = due(session, &held, &flying)?;
    if due.affected.is_empty() {
        return Ok(0);
    }
    session.state.meta.incarnation = session.state.meta.incarnation.saturating_add(1);
    let plan = Plan::read(session, &due.affected)?;
    let mut falls = due.falls;
    let rewriting = loop {
        let without = plan.without_record(&falls);
        if !without.is_empty() {
            fall_with(&mut falls, &without, WITHOUT_RECORD);
            continue;
        }
        match plan.rewrite(session, &falls)? {
            Ok(rewriting) => break rewriting,
            Err(without) => fall_with(&mut falls, &without, WITHOUT_PAST),
        }
    };
    let emptied = plan.emptied(&rewriting, &falls);
    fall_with(&mut falls, &emptied, WITHOUT_CONTENT);
    let tried = plan.tried(session, &falls)?;
    plan.store(session, &rewriting, &falls)?;
    let mut rewriting = rewriting;
    rewriting.return_documents(&session.tx)?;
    let disputes = make_disputes(session, &plan, &falls, tried, &rewriting.records, now)?;
    finish(session, rewriting.records)?;
    Ok(disputes)
}

fn fall_with(falls: &mut BTreeMap<i64, Fall>, numbers: &[i64], text: &'static str) {
    falls.extend(numbers.iter().map(|number| (*number, Fall::Dependent(text))));
}

fn numbers(
    session: &Session<'_>,
    batches: &BTreeSet<BatchId>,
) -> Result<BTreeSet<i64>, StoreError> {
    let mut numbers = BTreeSet::new();
    for batch in batches {
        let found = outbox::find(&session.tx, batch)?.filter(|(_, accepted)| !accepted);
        numbers.extend(found.map(|(row, _)| row.number));
    }
    Ok(numbers)
}

/// What can be brought to an end now.
#[derive(Default)]
struct Due {
    falls: BTreeMap<i64, Fall>,
    /// The fallen ones and all that build on them or are to be written again.
    affected: BTreeSet<i64>,
}

fn due(
    session: &Session<'_>,
    held: &[(i64, Hold)],
    flying: &BTreeSet<i64>,
) -> Result<Due, StoreError> {
    let mut due = Due::default();
    let mut explained: BTreeSet<i64> = BTreeSet::new();
    for (number, hold) in held.iter().filter(|(_, hold)| *hold != Hold::Stranded) {
        let closure = withheld::with_dependents(&session.tx, *number)?;
        explained.extend(&closure);
        if !closure.is_disjoint(flying) {
            continue;
        }
        let fall = match hold {
            Hold::Copy => Fall::Copy(withheld::position(&session.tx, *number)?),
            Hold::Refused | Hold::Stranded => {
                Fall::Refused(withheld::verdict(&session.tx, *number)?)
            }
        };
        due.falls.insert(*number, fall);
        due.affected.extend(closure);
    }
    // One whose cause is not known here waits for what was sent before it; then it goes out again, under
    // numbers that stand on their own.
    for (number, _) in held.iter().filter(|(number, _)| !explained.contains(number)) {
        if relay::concerns(&session.tx, *number)? {
            continue;
        }
        let closure = withheld::with_dependents(&session.tx, *number)?;
        if closure.is_disjoint(flying) && !withheld::has_earlier(&session.tx, *number)? {
            due.affected.extend(closure);
        }
    }
    Ok(due)
}

/// Turns what fell into disputes, and what the server has in another form into accepted batches. Gives how
/// many disputes there are.
fn make_disputes(
    session: &mut Session<'_>,
    plan: &Plan,
    falls: &BTreeMap<i64, Fall>,
    mut tried: BTreeMap<i64, Vec<Tried>>,
    records: &BTreeMap<RecordId, HeldRecord>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let schema = session.schema();
    let policy_version = falls.values().find_map(|fall| match fall {
        Fall::Refused(verdict) => verdict.policy_version,
        Fall::Copy(_) | Fall::Dependent(_) => None,
    });
    let mut disputes = 0;
    for (number, fall) in falls {
        let Some(row) = plan.row(*number) else { continue };
        let verdict = match fall {
            Fall::Copy(position) => {
                outbox::accept(session, *number, *position, now)?;
                continue;
            }
            Fall::Refused(verdict) => verdict.clone(),
            Fall::Dependent(text) => Verdict { policy_version, reasons: vec![stranded(text)] },
        };
        let mut tried = tried.remove(number).unwrap_or_default();
        for tried in &mut tried {
            let record = records.get(&tried.record);
            if let (Some(record), Some(entity)) = (record, schema.entity(&tried.entity)) {
                let cells: Vec<&Cells> = record.live().map(|(_, held)| &held.cells).collect();
                dispute::note_old(tried, entity, &cells);
            }
        }
        outbox::remove(session, *number)?;
        if matches!(fall, Fall::Dependent(_)) && planted(Bug::DependentLost) {
            continue;
        }
        dispute::insert(session, row, kind_of(&verdict.reasons), &verdict, &tried)?;
        disputes += 1;
    }
    Ok(disputes)
}

/// Every record is shown as it is now.
fn finish(
    session: &mut Session<'_>,
    records: BTreeMap<RecordId, HeldRecord>,
) -> Result<(), StoreError> {
    session.state.disputed = Arc::new(dispute::disputed_records(&session.tx)?);
    session.changes.table("outbox");
    for (id, mut record) in records {
        undo::remove(&session.tx, id)?;
        record.save(session, None)?;
    }
    Ok(())
}

fn stranded(text: &str) -> DisputeReason {
    DisputeReason {
        code: DEPENDS_ON_REFUSED.to_owned(),
        text: text.to_owned(),
        rule: None,
        record: None,
        field: None,
    }
}

/// The kind that a refusal's code stands for.
fn kind_of(reasons: &[DisputeReason]) -> DisputeKind {
    if reasons.iter().any(|reason| reason.code == DEPENDS_ON_REFUSED) {
        DisputeKind::DependsOnRefused
    } else {
        DisputeKind::Refused
    }
}

/// The texts of a document.
pub(crate) fn texts_of(held: &Held) -> Vec<String> {
    let is_text = |live: &[crdt_core::record::LiveOp]| {
        live.iter().any(|op| matches!(op.value, Live::Text(_)))
    };
    held.cells.keys().filter(|(_, live)| is_text(live)).map(|(key, _)| key.to_owned()).collect()
}

/// A batch with its unanswered changes.
struct Unsettled {
    row: OutboxRow,
    changes: Vec<outbox::BatchChange>,
}

impl Unsettled {
    fn pending(&self) -> impl Iterator<Item = &outbox::BatchChange> {
        self.changes.iter().filter(|change| change.stored.state == PENDING)
    }
}
