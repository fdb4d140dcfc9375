//! Gathering the changes of documents that a restored server lacks: from their rows, or from the document itself
//! where they are folded.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{ChangeHash, ReplicaId};
use crdt_core::limits;
use crdt_core::protocol::{
    AuthorName, Compared, DocumentChanges, DocumentRef, Identity, Lack, Relay, SentChange,
};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Change, EncodedChange, to_give};

use super::numbers;
use crate::error::StoreError;
use crate::store::document::{Held, HeldRecord, PENDING, Wanted};
use crate::store::{Author, Session};

/// Messages under construction.
#[derive(Default)]
pub(super) struct Gathering {
    relays: Vec<Vec<DocumentChanges>>,
    /// Changes and bytes of the last of them.
    changes: usize,
    bytes: usize,
}

impl Gathering {
    /// Adds what the server lacks of a document; whether there was anything. What goes out as batches of the
    /// device's own is not among it.
    pub(super) fn add(
        &mut self,
        session: &Session<'_>,
        document: i64,
        compared: &Compared,
        lack: &Lack,
    ) -> Result<bool, StoreError> {
        let Identity { id, entity } = &compared.identity;
        let Some(record) = HeldRecord::read_cells(&session.tx, id.record)? else {
            return Ok(false);
        };
        let Some(held) = record.documents.get(&id.section) else { return Ok(false) };
        let sql = "SELECT c.id FROM change c JOIN outbox o ON o.number = c.batch
                   WHERE c.document = ?1 AND o.state = 0";
        let own: BTreeSet<i64> = numbers(&session.tx, sql, [document])?.into_iter().collect();
        let stored = held.changes(&session.tx)?;
        let own: BTreeSet<ChangeHash> =
            stored.iter().filter(|row| own.contains(&row.row)).map(|row| row.hash).collect();
        let changes = match rows(session, entity, held, compared, lack)? {
            Some(changes) => changes,
            None => held.load(&session.tx, Purpose::Verify, Wanted::Accepted)?.changes()?,
        };
        let mut given = to_give(changes, &lack.from);
        given.retain(|(_, encoded)| !own.contains(&encoded.hash));
        for (change, encoded) in &given {
            self.push(&compared.identity, change, encoded);
        }
        Ok(!given.is_empty())
    }

    fn push(&mut self, identity: &Identity, change: &Change, encoded: &EncodedChange) {
        let bytes = encoded.bytes.len() + 128;
        let full = self.changes >= limits::RELAY_CHANGES_MAX
            || self.bytes + bytes > limits::RELAY_BYTES && self.changes > 0;
        if full || self.relays.is_empty() {
            self.relays.push(Vec::new());
            (self.changes, self.bytes) = (0, 0);
        }
        self.changes += 1;
        self.bytes += bytes;
        let Some(relay) = self.relays.last_mut() else { return };
        let document = DocumentRef::Identity(identity.clone());
        let sent = SentChange::alone(change, &encoded.hash);
        match relay.last_mut().filter(|last| last.document == document) {
            Some(last) => last.changes.push(sent),
            None => relay.push(DocumentChanges { document, changes: vec![sent] }),
        }
    }

    /// The messages, each with the authors of what it holds.
    pub(super) fn finish(self, authors: &BTreeMap<ReplicaId, Author>) -> Vec<Relay> {
        let relay = |documents: Vec<DocumentChanges>| {
            let changes = documents.iter().flat_map(|document| &document.changes);
            let replicas: BTreeSet<ReplicaId> =
                changes.map(|sent| sent.change.actor.replica()).collect();
            let known = replicas.into_iter().filter_map(|replica| {
                let Author { member, name } = authors.get(&replica)?.clone();
                Some(AuthorName { replica, member, name })
            });
            Relay { authors: known.collect(), documents }
        };
        self.relays.into_iter().map(relay).collect()
    }
}

/// The changes that are lacking, from their rows; nothing when not every one of them has a row.
fn rows(
    session: &Session<'_>,
    entity: &str,
    held: &Held,
    compared: &Compared,
    lack: &Lack,
) -> Result<Option<Vec<(Change, EncodedChange)>>, StoreError> {
    let reach = &compared.reach;
    let wanted: u64 = lack
        .from
        .iter()
        .map(|(actor, first)| {
            let last = reach.seqs.get(actor).copied().unwrap_or(0);
            (last + 1).saturating_sub(*first)
        })
        .sum();
    let (schema, accepted) = (session.schema(), held.base.as_ref().unwrap_or(&held.cells));
    let mut changes = Vec::new();
    for row in held.changes(&session.tx)?.iter().filter(|row| row.state != PENDING) {
        let change = row.read(schema.entity(entity), accepted)?;
        if lack.from.get(&change.actor).is_some_and(|first| change.seq >= *first) {
            let encoded = EncodedChange { hash: row.hash, bytes: row.bytes.clone() };
            changes.push((change, encoded));
        }
    }
    Ok((changes.len() as u64 == wanted).then_some(changes))
}
