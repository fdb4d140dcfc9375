//! A whole document from the server: it takes the place of what was accepted, and what the device wrote and
//! the server has not answered is put on top of it.

use std::collections::BTreeSet;

use crdt_core::id::ChangeHash;
use crdt_core::limits;
use crdt_core::protocol::{Dependencies, SentChange};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Document, EncodedChange, Live};
use crdt_core::schema::Entity;
use rusqlite::Connection;

use super::Misfit;
use super::changes::{encode, only, sound};
use crate::store::document::{Held, NewSnapshot, PENDING};

/// Takes a whole document: a snapshot and the changes after it, or every change that there is. When it fails,
/// `held` is to be thrown away.
pub(super) fn take(
    connection: &Connection,
    entity: Option<&Entity>,
    held: &mut Held,
    snapshot: Option<&[u8]>,
    sent: &[SentChange],
) -> Result<(), Misfit> {
    if snapshot.is_some_and(|snapshot| snapshot.len() > limits::DOCUMENT_BYTES_MAX) {
        return Err(Misfit::Entry);
    }
    let stored = held.changes(connection)?;
    // What was accepted and is not in the snapshot was lost by a server that was restored: it stays here.
    let accepted = stored.iter().filter(|row| row.state != PENDING).map(|row| &row.bytes[..]);
    let fresh = held.fresh.iter().map(|fresh| &fresh.encoded.bytes[..]);
    let mut document = match Document::load(Purpose::Whole, snapshot, accepted.chain(fresh)) {
        Ok(document) => document,
        // What is stored here is damaged: the server's copy takes its place.
        Err(_) => Document::load(Purpose::Whole, snapshot, [])?,
    };
    apply(&mut document, sent)?;
    let base = document.cells()?;
    let snapshot = NewSnapshot { heads: document.heads(), bytes: document.save()? };
    let mut cells = base.clone();
    let mut waiting = false;
    held.promoted.clear();
    for row in stored.iter().filter(|row| row.state == PENDING) {
        let change = row.read(entity, &held.cells)?;
        if base.holds(&change) {
            held.promoted.push(row.row);
            continue;
        }
        document.apply(&EncodedChange { hash: row.hash, bytes: row.bytes.clone() })?;
        cells.apply(&change, row.hash);
        waiting = true;
    }
    if waiting {
        let texts: Vec<String> = cells
            .keys()
            .filter(|(_, live)| live.iter().any(|op| matches!(op.value, Live::Text(_))))
            .map(|(key, _)| key.to_owned())
            .collect();
        for field in texts {
            cells.set_text(&field, document.text(&field)?);
        }
    }
    held.cells = cells;
    held.base = waiting.then_some(base);
    held.snapshot = Some(snapshot);
    held.fresh.clear();
    held.gone = false;
    held.dirty = true;
    Ok(())
}

pub(super) fn apply(document: &mut Document, sent: &[SentChange]) -> Result<(), Misfit> {
    if sent.is_empty() {
        return Ok(());
    }
    let mut known: BTreeSet<ChangeHash> =
        document.changes()?.into_iter().map(|(_, encoded)| encoded.hash).collect();
    let mut before = None;
    for sent in sent {
        sound(sent)?;
        let deps = match &sent.deps {
            Dependencies::Chained => vec![before.ok_or(Misfit::Entry)?],
            Dependencies::Long(hashes) => hashes.clone(),
            Dependencies::Short(prefixes) => prefixes
                .iter()
                .map(|prefix| only(known.iter().copied(), &prefix.to_be_bytes()))
                .collect::<Option<_>>()
                .ok_or(Misfit::Entry)?,
        };
        let encoded = encode(&sent.clone().with_deps(deps), &sent.claim)?;
        document.apply(&encoded)?;
        known.insert(encoded.hash);
        before = Some(encoded.hash);
    }
    Ok(())
}
