//! Salvage: unsent work that can still be read in a damaged file, brought into a fresh one. Batches whose
//! documents are whole are written anew under the fresh file's own name, and are sent as any other; of the
//! others a dispute tells what was tried. Nothing of the damaged file is believed that its hashes do not
//! prove.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, RecordId};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Cells, Document};
use rusqlite::Connection;

use super::document::{HeldRecord, NewSnapshot};
use super::outbox::{self, BatchChange, OutboxRow};
use super::withheld::Verdict;
use super::{Session, dispute, restamp};
use crate::dispute::{DisputeKind, DisputeReason};
use crate::error::StoreError;
use rows::{Change, Rows};

/// What was brought over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Salvaged {
    /// Batches that are going to be sent.
    pub(crate) resent: usize,
    /// Batches that became disputes, or were.
    pub(crate) disputed: usize,
}

/// A document that is whole: what it says with and without its unanswered changes.
struct Whole {
    id: DocumentId,
    entity: String,
    cells: Cells,
    base: Cells,
    snapshot: Option<NewSnapshot>,
    accepted: Vec<Change>,
}

/// Brings over what can be read. Reading never fails as a whole: what cannot be read is not brought.
pub(crate) fn take_over(
    session: &mut Session<'_>,
    damaged: &Connection,
) -> Result<Salvaged, StoreError> {
    let rows = Rows::read(damaged);
    let mut whole = BTreeMap::new();
    for document in rows.pending_documents() {
        if let Some(found) = Whole::read(damaged, &rows, document) {
            whole.insert(document, found);
        }
    }
    let sound = sound_batches(&rows, &whole);
    let mut salvaged = Salvaged::default();
    session.tx.execute_batch("SAVEPOINT salvage")?;
    let resent = match resend(session, &rows, &whole, &sound) {
        Ok(()) => sound,
        Err(error) => {
            tracing::warn!(%error, "what was salvaged cannot be written anew");
            session.tx.execute_batch("ROLLBACK TO salvage")?;
            BTreeSet::new()
        }
    };
    session.tx.execute_batch("RELEASE salvage")?;
    salvaged.resent = resent.len();
    for row in rows.batches.iter().filter(|row| !resent.contains(&row.number)) {
        let changes = rows.changes_of(row.number, damaged);
        explain(session, row, &changes)?;
        salvaged.disputed += 1;
    }
    salvaged.disputed += rows::copy_disputes(session, damaged)?;
    session.state.disputed = std::sync::Arc::new(dispute::disputed_records(&session.tx)?);
    session.changes.table("outbox");
    Ok(salvaged)
}

impl Whole {
    fn read(damaged: &Connection, rows: &Rows, document: i64) -> Option<Self> {
        let (id, entity) = rows::identity(damaged, document)?;
        let snapshot = rows::snapshot(damaged, document).ok()?;
        let accepted: Vec<Change> = rows.accepted(document).cloned().collect();
        let bytes = |changes: &[Change]| -> Vec<Vec<u8>> {
            changes.iter().map(|change| change.stored.bytes.clone()).collect()
        };
        let load = |changes: Vec<Vec<u8>>| {
            let changes = changes.iter().map(Vec::as_slice);
            Document::load(Purpose::Verify, snapshot.as_deref(), changes)
        };
        let base = load(bytes(&accepted)).ok()?.cells().ok()?;
        let pending: Vec<Change> = rows.pending(document).cloned().collect();
        let mut everything = bytes(&accepted);
        everything.extend(bytes(&pending));
        let cells = load(everything).ok()?.cells().ok()?;
        // Each change is the one that its hash names.
        let named = |change: &Change| change.stored.read(None, &cells).is_ok();
        if !pending.iter().all(named) {
            return None;
        }
        let snapshot = match &snapshot {
            Some(bytes) => {
                let heads = load(Vec::new()).ok()?.heads();
                Some(NewSnapshot { heads, bytes: bytes.clone() })
            }
            None => None,
        };
        Some(Self { id, entity, cells, base, snapshot, accepted })
    }
}

/// The batches of which every change can be read, stands in a whole document, and builds on no batch that
/// falls.
fn sound_batches(rows: &Rows, whole: &BTreeMap<i64, Whole>) -> BTreeSet<i64> {
    let mut sound: BTreeSet<i64> = rows.batches.iter().map(|row| row.number).collect();
    let mut broken: BTreeSet<i64> =
        rows.pending_documents().into_iter().filter(|id| !whole.contains_key(id)).collect();
    loop {
        let falls = |number: &i64| {
            rows.is_torn(*number) || rows.documents_of(*number).any(|id| broken.contains(&id))
        };
        let fallen: Vec<i64> = sound.iter().copied().filter(falls).collect();
        // A change without its batch is one that nobody will send.
        let strays: Vec<i64> = rows.strays(&sound).collect();
        let before = broken.len();
        broken.extend(strays);
        if fallen.is_empty() && broken.len() == before {
            return sound;
        }
        for number in fallen {
            sound.remove(&number);
            broken.extend(rows.documents_of(number));
        }
    }
}

/// Stores sound batches with their documents, and writes their changes anew.
fn resend(
    session: &mut Session<'_>,
    rows: &Rows,
    whole: &BTreeMap<i64, Whole>,
    sound: &BTreeSet<i64>,
) -> Result<(), StoreError> {
    let mut numbers = BTreeMap::new();
    for row in rows.batches.iter().filter(|row| sound.contains(&row.number)) {
        let size = rows.byte_len(row.number);
        numbers.insert(row.number, outbox::insert(session, row.batch, &row.stamp, size)?);
        rows::keep_versions(session, &numbers[&row.number], row)?;
    }
    let wanted: BTreeSet<i64> =
        sound.iter().flat_map(|number| rows.documents_of(*number)).collect();
    let mut documents = BTreeMap::new();
    for (old, whole) in whole.iter().filter(|(old, _)| wanted.contains(old)) {
        documents.insert(*old, rows::store_document(session, whole)?);
    }
    // In the order in which they were written: later ones depend on earlier ones.
    for change in rows.all_pending() {
        let (Some(document), Some(batch)) =
            (documents.get(&change.document), change.batch.and_then(|old| numbers.get(&old)))
        else {
            continue;
        };
        rows::store_change(session, *document, Some(*batch), change)?;
    }
    // Shown once as they were, so that writing them anew finds rows to change.
    let records: BTreeSet<RecordId> =
        whole.iter().filter(|(old, _)| wanted.contains(old)).map(|(_, w)| w.id.record).collect();
    for id in records {
        if let Some(mut record) = HeldRecord::read_cells(&session.tx, id)? {
            record.refresh(session)?;
        }
    }
    restamp::write_again(session, &BTreeMap::new())
}

/// Makes a dispute of a batch that cannot be sent.
fn explain(
    session: &mut Session<'_>,
    row: &OutboxRow,
    changes: &[BatchChange],
) -> Result<(), StoreError> {
    let tried = dispute::tried_alone(&session.schema(), changes);
    let reason = DisputeReason {
        code: "file_damaged".to_owned(),
        text: "the file was damaged before this was sent; see whether it is all here".to_owned(),
        rule: None,
        record: None,
        field: None,
    };
    // It was confirmed once: its number counts.
    let number = outbox::insert(session, row.batch, &row.stamp, 0)?;
    outbox::remove(session, number)?;
    let verdict = Verdict { policy_version: None, reasons: vec![reason] };
    dispute::insert(session, row, DisputeKind::FileDamaged, &verdict, &tried)
}
