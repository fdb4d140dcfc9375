//! Erasure on the device: everything that the file holds of a record goes for good, with what was written to it
//! and not answered, and what was accepted and is kept for a server that is restored.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{RecordId, RecordMark};
use crdt_core::protocol::{Entry, Page};

use super::document::{HeldRecord, record_of};
use super::incoming::purge;
use super::{Session, dispute, outbox, undo, withheld};
use crate::error::StoreError;

/// The records of this file that a page erases: the server names them by their marks.
pub(crate) fn named(session: &Session<'_>, page: &Page) -> Result<BTreeSet<RecordId>, StoreError> {
    let marks = page.entries.iter().filter_map(|entry| match entry {
        Entry::Erased { mark } => Some(*mark),
        Entry::Changes { .. } | Entry::Document { .. } | Entry::Left { .. } => None,
    });
    let marks: BTreeSet<RecordMark> = marks.collect();
    if marks.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sql = "SELECT DISTINCT record FROM document";
    let mut statement = session.tx.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut known: BTreeMap<RecordMark, RecordId> =
        session.state.disputed.iter().map(|record| (record.mark(), *record)).collect();
    while let Some(row) = rows.next()? {
        let record = record_of(&row.get::<_, Vec<u8>>(0)?)?;
        known.insert(record.mark(), record);
    }
    Ok(marks.iter().filter_map(|mark| known.get(mark).copied()).collect())
}

/// Erases records, and notes that the file is to be written anew. Those of which it holds nothing are passed
/// over.
pub(crate) fn erase(
    session: &mut Session<'_>,
    records: &BTreeSet<RecordId>,
) -> Result<(), StoreError> {
    let mut entities = BTreeSet::new();
    let mut held = false;
    for id in records {
        let undone = undo::remove(&session.tx, *id)?;
        let refused = withheld::forget(&session.tx, *id)?;
        let disputed = dispute::erase(session, *id)?;
        let stored = match HeldRecord::read(&session.tx, &session.state, *id)? {
            Some(mut record) => {
                entities.insert(record.entity.clone());
                let sections: Vec<_> = record.documents.keys().cloned().collect();
                for section in sections {
                    record.remove(&session.tx, &section)?;
                }
                record.save(session, None)?;
                true
            }
            None => false,
        };
        if undone || refused || disputed || stored {
            session.changes.erased(*id);
            held = true;
        }
    }
    if held {
        outbox::erase_empty(session)?;
        purge::forget_empty_batches(&session.tx)?;
        purge::mark_erased(&session.tx, &entities)?;
    }
    Ok(())
}
