//! What a rebase has to do: the batches that it concerns, which of them fall with which, and what becomes of
//! their changes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::RecordId;
use crdt_core::record::{Cells, Change};

use super::documents::{Place, Rewriting};
use super::{Fall, Unsettled};
use crate::dispute::Tried;
use crate::error::StoreError;
use crate::store::document::{HeldRecord, StoredChange, identity};
use crate::store::outbox::{self, OutboxRow};
use crate::store::projection::CREATED_AT;
use crate::store::{Session, dispute, withheld};

/// The batches that a rebase concerns, with their unanswered changes by document.
pub(super) struct Plan {
    batches: BTreeMap<i64, Unsettled>,
    /// For each document's row its unanswered changes in order, each with its batch.
    documents: BTreeMap<i64, Vec<(i64, Change, StoredChange)>>,
    /// The records that each batch makes.
    created: BTreeMap<i64, BTreeSet<RecordId>>,
}

impl Plan {
    pub(super) fn read(
        session: &Session<'_>,
        affected: &BTreeSet<i64>,
    ) -> Result<Self, StoreError> {
        let schema = session.schema();
        let mut plan =
            Self { batches: BTreeMap::new(), documents: BTreeMap::new(), created: BTreeMap::new() };
        let mut cells: BTreeMap<i64, Cells> = BTreeMap::new();
        for number in affected {
            let row = outbox::unsent_rows(&session.tx, number - 1, 1)?.pop();
            let Some(row) = row.filter(|row| row.number == *number) else { continue };
            let batch = Unsettled { row, changes: outbox::changes_of(&session.tx, *number)? };
            for change in batch.pending() {
                let known = match cells.entry(change.document) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => {
                        place.insert(outbox::cells_of(&session.tx, change.document)?)
                    }
                };
                let read = change.stored.read(schema.entity(&change.entity), known)?;
                if read.ops.iter().any(|op| op.key == CREATED_AT) {
                    plan.created.entry(*number).or_default().insert(change.id.record);
                }
                let list = plan.documents.entry(change.document).or_default();
                list.push((*number, read, change.stored.clone()));
            }
            plan.batches.insert(*number, batch);
        }
        for list in plan.documents.values_mut() {
            list.sort_by_key(|(.., stored)| stored.row);
        }
        Ok(plan)
    }

    pub(super) fn row(&self, number: i64) -> Option<&OutboxRow> {
        self.batches.get(&number).map(|batch| &batch.row)
    }

    /// The batches that cannot stand since the record that they edit falls.
    pub(super) fn without_record(&self, falls: &BTreeMap<i64, Fall>) -> Vec<i64> {
        let created = falls.keys().filter_map(|number| self.created.get(number)).flatten();
        let fallen: BTreeSet<RecordId> = created.copied().collect();
        let on_fallen =
            |batch: &Unsettled| batch.pending().any(|change| fallen.contains(&change.id.record));
        let kept = self.batches.iter().filter(|(number, _)| !falls.contains_key(number));
        kept.filter(|(_, batch)| on_fallen(batch)).map(|(number, _)| *number).collect()
    }

    /// Writes the changes again that do not fall. The inner error names the batches whose past is not on this
    /// device any more.
    pub(super) fn rewrite(
        &self,
        session: &Session<'_>,
        falls: &BTreeMap<i64, Fall>,
    ) -> Result<Result<Rewriting, Vec<i64>>, StoreError> {
        let schema = session.schema();
        let mut rewriting = Rewriting::default();
        for (row, changes) in &self.documents {
            let Some((id, section)) = identity(&session.tx, *row)? else {
                continue;
            };
            if !rewriting.records.contains_key(&id) {
                let read = HeldRecord::read(&session.tx, &session.state, id)?;
                rewriting.records.extend(read.map(|record| (id, record)));
            }
            let Some(record) = rewriting.records.get(&id) else { continue };
            let Some(held) = record.documents.get(&section) else { continue };
            let entity = schema.entity(&record.entity);
            let place = Place { connection: &session.tx, id, section: &section, entity, held };
            match place.write_again(session.state.meta.actor(), changes, falls)? {
                Some(written) => {
                    rewriting.documents.insert(*row, written);
                }
                None => {
                    let kept = changes.iter().map(|(number, ..)| *number);
                    return Ok(Err(kept.filter(|number| !falls.contains_key(number)).collect()));
                }
            }
        }
        Ok(Ok(rewriting))
    }

    /// The batches of which nothing is left.
    pub(super) fn emptied(&self, rewriting: &Rewriting, falls: &BTreeMap<i64, Fall>) -> Vec<i64> {
        let kept = self.batches.iter().filter(|(number, _)| !falls.contains_key(number));
        let empty = |number: i64, batch: &Unsettled| {
            batch.pending().count() == batch.changes.len() && !rewriting.has_any(number)
        };
        kept.filter(|(number, batch)| empty(**number, batch)).map(|(number, _)| *number).collect()
    }

    /// What the fallen batches tried; read before they are taken back.
    pub(super) fn tried(
        &self,
        session: &Session<'_>,
        falls: &BTreeMap<i64, Fall>,
    ) -> Result<BTreeMap<i64, Vec<Tried>>, StoreError> {
        let schema = session.schema();
        let mut all = BTreeMap::new();
        for (number, batch) in self.batches.iter().filter(|(number, _)| falls.contains_key(number))
        {
            all.insert(*number, dispute::tried(&session.tx, &schema, &batch.changes)?);
        }
        Ok(all)
    }

    /// Stores the changes as they are now: each batch's documents in their old order, each document's changes
    /// in theirs.
    pub(super) fn store(
        &self,
        session: &Session<'_>,
        rewriting: &Rewriting,
        falls: &BTreeMap<i64, Fall>,
    ) -> Result<(), StoreError> {
        for (number, batch) in &self.batches {
            let sql = "DELETE FROM change WHERE batch = ?1 AND state = 0";
            session.tx.prepare_cached(sql)?.execute([number])?;
            if falls.contains_key(number) {
                // Accepted changes only lose their batch.
                let sql = "UPDATE change SET batch = NULL WHERE batch = ?1";
                session.tx.prepare_cached(sql)?.execute([number])?;
                continue;
            }
            withheld::release(&session.tx, *number)?;
            let mut order: Vec<i64> = Vec::new();
            for change in batch.pending() {
                if !order.contains(&change.document) {
                    order.push(change.document);
                }
            }
            for document in order {
                rewriting.store(&session.tx, document, *number)?;
            }
        }
        Ok(())
    }
}
