//! Writing what was accepted: changes, routes, and the scopes that follow from them.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, MemberId, RecordId, ReplicaId};
use crdt_core::planted::{Bug, planted};

use super::Desk;
use crate::store::access::Rescope;
use crate::store::{StoreError, Write};
use crate::workspace::draft::Draft;
use crate::workspace::recent::Touched;
use crate::workspace::rescope::rescope;

/// What a transaction changed beside its documents.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Finished {
    /// The members' rows that are new.
    pub(in crate::workspace) members: BTreeMap<MemberId, crate::store::access::MemberRow>,
    /// Whether records were queued for their scopes to be found again.
    pub(in crate::workspace) queued: bool,
    /// The documents that were written; nothing when a record that was there came into other scopes.
    pub(in crate::workspace) touched: Option<Vec<Touched>>,
}

/// A document that was written.
struct Written {
    number: u64,
    /// Its last change.
    last: u64,
    /// Its first change, when it is new.
    first: Option<u64>,
    entity: String,
    /// Where it stands.
    scopes: Vec<String>,
    /// Whose batches changed it.
    by: BTreeSet<ReplicaId>,
}

impl Desk<'_> {
    /// Writes what was accepted, and notes it in the scopes.
    pub(in crate::workspace) fn finish(
        mut self,
        tx: &mut dyn Write,
    ) -> Result<Finished, StoreError> {
        let members = std::mem::take(&mut self.members);
        for row in members.values() {
            tx.put_member_row(row)?;
        }
        let moved = self.routes.moved(tx)?;
        let queued = queue_followers(tx, &moved)?;
        for record in &moved {
            tx.put_route(record, &self.routes.accepted()[record])?;
        }
        let drafts = std::mem::take(&mut self.drafts);
        let mut written: BTreeMap<DocumentId, Written> = BTreeMap::new();
        for (number, last, draft) in drafts.finish(tx)? {
            let scopes = tx.touch(number, last)?;
            let Draft { id, entity, is_new, added, .. } = draft;
            let first = added.first().map(|added| added.position).filter(|_| is_new);
            let by = added.iter().filter_map(|added| self.senders.get(&added.position));
            let by = by.copied().collect();
            written.insert(id, Written { number, last, first, entity, scopes, by });
        }
        self.enter(tx, &written, &moved)?;
        let stays = moved.iter().all(|record| self.routes.is_new(record));
        let touched = if stays { Some(touched(tx, written)?) } else { None };
        Ok(Finished { members, queued, touched })
    }

    /// Puts new documents, and every document of a record that moved, into their scopes.
    fn enter(
        &mut self,
        tx: &mut dyn Write,
        written: &BTreeMap<DocumentId, Written>,
        moved: &BTreeSet<RecordId>,
    ) -> Result<(), StoreError> {
        let new = written.iter().filter(|(_, written)| written.first.is_some());
        let records: BTreeSet<RecordId> =
            new.map(|(id, _)| id.record).chain(moved.iter().copied()).collect();
        for record in records {
            let Some(route) = self.routes.get(tx, &record)? else { continue };
            let placement = self.routes.place(tx, &self.rules.policy, &route)?;
            let moved_at = written.get(&DocumentId::main(record)).map_or(0, |main| main.last);
            let documents = match moved.contains(&record) {
                true => tx.documents_of(&record)?,
                false => {
                    let of_record = written.iter().filter(|(id, _)| id.record == record);
                    of_record.map(|(id, written)| (written.number, id.clone())).collect()
                }
            };
            for (number, id) in documents {
                let first = written.get(&id).and_then(|written| written.first);
                let scopes = self.rules.policy.index_scopes(&placement, &id.section);
                if moved.contains(&record) || first.is_some() {
                    rescope(tx, number, first.unwrap_or(moved_at), &scopes)?;
                }
            }
        }
        Ok(())
    }
}

/// What was written, each with the scopes in which it stands now.
fn touched(
    tx: &dyn Write,
    written: BTreeMap<DocumentId, Written>,
) -> Result<Vec<Touched>, StoreError> {
    let mut all = Vec::with_capacity(written.len());
    for Written { number, first, entity, mut scopes, by, .. } in written.into_values() {
        if first.is_some() {
            scopes = tx.scopes_of(number)?.into_iter().map(|place| place.scope).collect();
        }
        all.push(Touched { entity, scopes, by });
    }
    Ok(all)
}

/// Queues what follows the records that moved. Followers that are written by this very transaction are not
/// stored yet, and need it not: their scopes are found below, from the routes as they are now.
fn queue_followers(tx: &mut dyn Write, moved: &BTreeSet<RecordId>) -> Result<bool, StoreError> {
    let mut queued = false;
    for record in moved {
        if tx.is_followed(record)? && !planted(Bug::ChildrenStay) {
            tx.queue_rescope(&Rescope::of(Some(*record), 0))?;
            queued = true;
        }
    }
    Ok(queued)
}
