//! Writing what was accepted: changes, routes, and the scopes that follow from them.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DocumentId, MemberId, RecordId};
use crdt_core::planted::{Bug, planted};

use super::Desk;
use crate::store::access::Rescope;
use crate::store::{StoreError, Write};
use crate::workspace::draft::Draft;
use crate::workspace::rescope::rescope;

/// What a transaction changed beside its documents.
#[derive(Debug, Default)]
pub(in crate::workspace) struct Finished {
    /// The members' rows that are new.
    pub(in crate::workspace) members: BTreeMap<MemberId, crate::store::access::MemberRow>,
    /// Whether records were queued for their scopes to be found again.
    pub(in crate::workspace) queued: bool,
}

/// A document that was written.
struct Written {
    number: u64,
    /// Its last change.
    last: u64,
    /// Its first change, when it is new.
    first: Option<u64>,
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
        let moved = moved(tx, self.routes.accepted())?;
        let queued = queue_followers(tx, &moved)?;
        for record in &moved {
            tx.put_route(record, &self.routes.accepted()[record])?;
        }
        let drafts = std::mem::take(&mut self.drafts);
        let mut written: BTreeMap<DocumentId, Written> = BTreeMap::new();
        for (number, last, draft) in drafts.finish(tx)? {
            tx.touch(number, last)?;
            let Draft { id, is_new, added, .. } = draft;
            let first = added.first().map(|added| added.position).filter(|_| is_new);
            written.insert(id, Written { number, last, first });
        }
        self.enter(tx, &written, &moved)?;
        Ok(Finished { members, queued })
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

/// The records whose stored route is another one, or that have none.
fn moved(
    tx: &dyn Write,
    accepted: &BTreeMap<RecordId, crdt_core::policy::Route>,
) -> Result<BTreeSet<RecordId>, StoreError> {
    let mut moved = BTreeSet::new();
    for (record, route) in accepted {
        if tx.route(record)?.as_ref() != Some(route) {
            moved.insert(*record);
        }
    }
    Ok(moved)
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
