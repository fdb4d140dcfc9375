//! The server's document in the place of the device's, after a restore that lost something for good: what the
//! server does not have falls, and the device's unanswered changes are written again on top of what it has,
//! as after a refusal.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::ChangeHash;
use crdt_core::limits;
use crdt_core::protocol::SentChange;
use crdt_core::record::document::Purpose;
use crdt_core::record::{
    Cells, Change, Document, EncodedChange, Fate, Live, Reauthor, Rewritten, Unanswered, reauthor,
};
use crdt_core::schema::Entity;

use super::{Misfit, whole};
use crate::dispute::{DisputeKind, DisputeReason};
use crate::error::StoreError;
use crate::store::document::{Form, Fresh, Held, NewSnapshot, PENDING, Wanted, identity};
use crate::store::rebase::DEPENDS_ON_REFUSED;
use crate::store::withheld::{self, Verdict};
use crate::store::{Session, dispute, outbox, relay, undo};

/// A change of a batch that the server has not answered.
struct Own {
    row: i64,
    batch: i64,
    state: i64,
}

/// Puts a whole document in the place of what is here.
pub(super) fn take(
    session: &mut Session<'_>,
    entity: Option<&Entity>,
    held: &mut Held,
    snapshot: Option<&[u8]>,
    sent: &[SentChange],
) -> Result<(), Misfit> {
    let Some(row) = held.row else { return Err(Misfit::Entry) };
    if snapshot.is_some_and(|snapshot| snapshot.len() > limits::DOCUMENT_BYTES_MAX) {
        return Err(Misfit::Entry);
    }
    let mut document = Document::load(Purpose::Whole, snapshot, [])?;
    whole::apply(&mut document, sent)?;
    let base = document.cells()?;
    let snapshot = NewSnapshot { heads: document.heads(), bytes: document.save()? };
    let theirs: BTreeSet<ChangeHash> =
        document.changes()?.into_iter().map(|(_, encoded)| encoded.hash).collect();
    let own = own(session, row)?;
    let mine = mine(session, entity, held)?;
    let mut unanswered = Vec::new();
    let mut batches = Vec::new();
    for (change, encoded) in mine.iter().filter(|(_, encoded)| !theirs.contains(&encoded.hash)) {
        let batch = own.get(&encoded.hash).map(|own| own.batch);
        let fate = if batch.is_some() { Fate::Kept } else { Fate::Fallen };
        unanswered.push(Unanswered { change: change.clone(), hash: encoded.hash, fate });
        batches.push(batch);
    }
    if batches.iter().any(Option::is_some) {
        // Numbers of changes were spent that are withdrawn.
        session.state.meta.incarnation = session.state.meta.incarnation.saturating_add(1);
    }
    let max_ops: BTreeMap<ChangeHash, u64> =
        mine.iter().map(|(change, encoded)| (encoded.hash, change.max_op())).collect();
    let actor = session.state.meta.actor();
    let how = Reauthor { actor, time: &|time| time, max_op: &|hash| max_ops.get(hash).copied() };
    let rewritten = reauthor(&how, &base, &unanswered).map_err(|_| Misfit::Entry)?;
    let cells = with_texts(document, &rewritten)?;
    let waits = !rewritten.changes.is_empty();
    store(session, row, &own, &theirs, rewritten, &batches)?;
    held.cells = cells;
    held.base = waits.then_some(base);
    held.snapshot = Some(snapshot);
    held.fresh.clear();
    held.promoted.clear();
    held.gone = false;
    held.dirty = true;
    Ok(relay::forget(&session.tx, Some(row))?)
}

/// Everything that the device has of the document, dependencies first.
fn mine(
    session: &Session<'_>,
    entity: Option<&Entity>,
    held: &Held,
) -> Result<Vec<(Change, EncodedChange)>, Misfit> {
    if let Ok(document) = held.load(&session.tx, Purpose::Whole, Wanted::Everything) {
        return Ok(document.changes()?);
    }
    // What is stored here is damaged: what was not answered is written again on what the server has.
    let rows = held.changes(&session.tx)?.into_iter().filter(|row| row.state == PENDING);
    let read = rows.map(|row| {
        let change = row.read(entity, &held.cells)?;
        Ok((change, EncodedChange { hash: row.hash, bytes: row.bytes }))
    });
    Ok(read.collect::<Result<_, StoreError>>()?)
}

/// The document's changes in batches that are not answered.
fn own(session: &Session<'_>, document: i64) -> Result<BTreeMap<ChangeHash, Own>, StoreError> {
    let sql = "SELECT c.id, c.batch, c.state, c.hash FROM change c
               JOIN outbox o ON o.number = c.batch WHERE c.document = ?1 AND o.state = 0";
    let mut statement = session.tx.prepare_cached(sql)?;
    let rows = statement.query_map([document], |row| {
        let own = Own { row: row.get(0)?, batch: row.get(1)?, state: row.get(2)? };
        Ok((ChangeHash(row.get(3)?), own))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What the document says with the changes that were written again.
fn with_texts(mut document: Document, rewritten: &Rewritten) -> Result<Cells, Misfit> {
    let mut cells = rewritten.cells.clone();
    for again in &rewritten.changes {
        document.apply(&again.encoded)?;
    }
    let texts: Vec<String> = cells
        .keys()
        .filter(|(_, live)| live.iter().any(|op| matches!(op.value, Live::Text(_))))
        .map(|(key, _)| key.to_owned())
        .collect();
    for field in texts {
        cells.set_text(&field, document.text(&field)?);
    }
    Ok(cells)
}

/// Stores the changes as they are now, and lets their batches go out.
fn store(
    session: &mut Session<'_>,
    document: i64,
    own: &BTreeMap<ChangeHash, Own>,
    theirs: &BTreeSet<ChangeHash>,
    rewritten: Rewritten,
    batches: &[Option<i64>],
) -> Result<(), StoreError> {
    let fallen: BTreeSet<i64> = batches.iter().flatten().copied().collect();
    let left: BTreeSet<i64> =
        rewritten.changes.iter().filter_map(|again| batches[again.place]).collect();
    for batch in fallen.difference(&left) {
        fall(session, *batch, document)?;
    }
    for (hash, own) in own {
        if !theirs.contains(hash) {
            session.tx.prepare_cached("DELETE FROM change WHERE id = ?1")?.execute([own.row])?;
        } else if own.state == PENDING {
            let sql = "UPDATE change SET state = 1 WHERE id = ?1";
            session.tx.prepare_cached(sql)?.execute([own.row])?;
        }
    }
    for again in rewritten.changes {
        let batch = batches[again.place];
        let fresh = Fresh { change: again.change, encoded: again.encoded, accepted: false };
        fresh.save(&session.tx, document, batch, Form::Whole)?;
    }
    withheld::release_stranded(&session.tx, document)?;
    if let Some((record, _)) = identity(&session.tx, document)? {
        undo::remove(&session.tx, record)?;
    }
    session.changes.table("outbox");
    Ok(())
}

/// A batch of which nothing is left in this document: when there is nothing of it elsewhere, its user is told.
fn fall(session: &mut Session<'_>, batch: i64, document: i64) -> Result<(), StoreError> {
    let changes = outbox::changes_of(&session.tx, batch)?;
    if changes.iter().any(|change| change.document != document) {
        return Ok(());
    }
    let Some(row) = outbox::unsent_rows(&session.tx, batch - 1, 1)?.pop() else { return Ok(()) };
    let tried = dispute::tried(&session.tx, &session.schema(), &changes)?;
    let reason = DisputeReason {
        code: DEPENDS_ON_REFUSED.to_owned(),
        text: "it only took back or went on with an edit that the server has lost".to_owned(),
        rule: None,
        record: changes.first().map(|change| change.id.record),
        field: None,
    };
    let verdict = Verdict { policy_version: None, reasons: vec![reason] };
    outbox::remove(session, batch)?;
    dispute::insert(session, &row, DisputeKind::DependsOnRefused, &verdict, &tried)
}
