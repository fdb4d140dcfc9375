//! Changes of a document that the device lacks: checked, encoded, compared with the sender's hash, applied
//! to the cells. Only prose needs the document itself.

use std::collections::BTreeSet;

use crdt_core::id::ChangeHash;
use crdt_core::limits;
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{Dependencies, SentChange};
use crdt_core::record::document::is_seeded;
use crdt_core::record::{Cells, Change, EncodedChange, Key, SeedKind};
use crdt_core::schema::Entity;
use rusqlite::Connection;

use super::Misfit;
use crate::store::document::{Fresh, Held, PENDING, StoredChange};

/// Takes changes into a document. When it fails, `held` is to be thrown away.
pub(super) fn take(
    connection: &Connection,
    entity: Option<&Entity>,
    held: &mut Held,
    sent: Vec<SentChange>,
) -> Result<(), Misfit> {
    let mut known = Known { connection, entity, recent: Vec::new(), rows: None };
    let mut before = None;
    let mut texts = BTreeSet::new();
    for sent in sent {
        sound(&sent)?;
        let hash = if held.cells.holds(&sent.change) {
            known.present(held, &sent)?
        } else {
            let deps = known.resolve(held, &sent.deps, before)?;
            let claim = sent.claim.clone();
            let change = sent.with_deps(deps);
            let encoded = encode(&change, &claim)?;
            let touched = change.ops.iter().filter(|op| op.is_text()).map(|op| op.key.clone());
            texts.extend(touched);
            Some(apply(held, change, encoded)?)
        };
        known.recent.extend(hash);
        before = hash;
    }
    if !held.promoted.is_empty() {
        settle(connection, held)?;
    }
    let texts: Vec<String> = texts.into_iter().collect();
    Ok(held.refresh_texts(connection, &texts)?)
}

fn apply(held: &mut Held, change: Change, encoded: EncodedChange) -> Result<ChangeHash, Misfit> {
    let hash = encoded.hash;
    let seeded = |key: &str| is_seeded(&held.cells, SeedKind::Text, key);
    if change.ops.iter().any(|op| op.is_text() && !seeded(&op.key)) {
        return Err(Misfit::Entry);
    }
    held.cells.apply(&change, hash);
    if let Some(base) = held.base.as_mut().filter(|_| !planted(Bug::BaseStale)) {
        base.apply(&change, hash);
    }
    held.dirty = true;
    held.fresh.push(Fresh { change, encoded, accepted: true });
    Ok(hash)
}

/// What Automerge must not be fed, whoever sends it: counters and times outside of what anyone writes, or
/// more operations than a change may have.
pub(super) fn sound(sent: &SentChange) -> Result<(), Misfit> {
    let change = &sent.change;
    let fits = change.seq >= 1
        && change.seq <= COUNTER_MAX
        && change.start_op >= 1
        && change.start_op <= COUNTER_MAX
        && (0..=TIME_MS_MAX).contains(&change.time.as_millis())
        && !change.ops.is_empty()
        && change.op_count() <= limits::CHANGE_OPS_MAX as u64
        && change.ops.iter().all(|op| Key::parse(&op.key).is_ok() && !op.is_empty());
    if fits { Ok(()) } else { Err(Misfit::Entry) }
}

/// Automerge keeps counters in 32 bits in places.
const COUNTER_MAX: u64 = u32::MAX as u64 - limits::CHANGE_OPS_MAX as u64;
/// The year 9999.
const TIME_MS_MAX: i64 = 253_402_300_799_999;

pub(super) fn encode(change: &Change, claim: &[u8]) -> Result<EncodedChange, Misfit> {
    let encoded = change.encode();
    // A seed is the same everywhere: it is compared as a whole, where it is read from the wire.
    if change.as_seed().is_some() {
        return Ok(encoded);
    }
    let claimed = claim.len() >= limits::HASH_CLAIM_BYTES && encoded.hash.0.starts_with(claim);
    if claimed { Ok(encoded) } else { Err(Misfit::Entry) }
}

/// When changes that waited for an answer came with a page, the base holds them; once none waits, it goes.
fn settle(connection: &Connection, held: &mut Held) -> Result<(), Misfit> {
    let waiting = held
        .changes(connection)?
        .into_iter()
        .any(|change| change.state == PENDING && !held.promoted.contains(&change.row));
    if !waiting {
        held.base = None;
    }
    Ok(())
}

/// The changes that the device holds of a document, by what the wire says of them.
struct Known<'a> {
    connection: &'a Connection,
    entity: Option<&'a Entity>,
    /// Those of this list.
    recent: Vec<ChangeHash>,
    /// Those that are stored, once they were asked for.
    rows: Option<Vec<StoredChange>>,
}

impl Known<'_> {
    /// The hash of a change that is held already, if it can be told. One that waited for an answer was
    /// accepted, since the server sends it.
    fn present(
        &mut self,
        held: &mut Held,
        sent: &SentChange,
    ) -> Result<Option<ChangeHash>, Misfit> {
        let heads = held.cells.heads().iter().copied();
        let seed = sent.change.as_seed().map(|_| sent.change.encode().hash);
        let claim = seed.as_ref().map_or(&sent.claim[..], |hash| &hash.0[..]);
        if claim.len() < limits::HASH_CLAIM_BYTES {
            return Err(Misfit::Entry);
        }
        let waits = held.base.as_ref().is_some_and(|base| !base.holds(&sent.change));
        if !waits && let Some(hash) = only(heads, claim) {
            return Ok(Some(hash));
        }
        let rows = self.rows(held)?;
        let Some(row) = rows.iter().find(|row| row.hash.0.starts_with(claim)).cloned() else {
            return Ok(None);
        };
        if waits && row.state == PENDING {
            let change = row.read(self.entity, &held.cells)?;
            if let Some(base) = &mut held.base {
                base.apply(&change, row.hash);
            }
            held.promoted.push(row.row);
            held.dirty = true;
        }
        Ok(Some(row.hash))
    }

    fn resolve(
        &mut self,
        held: &Held,
        deps: &Dependencies,
        before: Option<ChangeHash>,
    ) -> Result<Vec<ChangeHash>, Misfit> {
        match deps {
            Dependencies::Chained => Ok(vec![before.ok_or(Misfit::Entry)?]),
            Dependencies::Long(hashes) => Ok(hashes.clone()),
            Dependencies::Short(prefixes) => {
                prefixes.iter().map(|prefix| self.find(held, &prefix.to_be_bytes())).collect()
            }
        }
    }

    /// The one change that a prefix names: among the heads and this list, else among what is stored.
    fn find(&mut self, held: &Held, prefix: &[u8]) -> Result<ChangeHash, Misfit> {
        let base = held.base.iter().flat_map(Cells::heads);
        let near = held.cells.heads().iter().chain(base).chain(&self.recent).copied();
        if let Some(hash) = only(near, prefix) {
            return Ok(hash);
        }
        let cells = held.cells.clone();
        let entity = self.entity;
        let mut stored: BTreeSet<ChangeHash> =
            held.snapshot_heads(self.connection)?.into_iter().collect();
        for row in self.rows(held)? {
            stored.insert(row.hash);
            if let Ok(change) = row.read(entity, &cells) {
                stored.extend(change.deps);
            }
        }
        only(stored, prefix).ok_or(Misfit::Entry)
    }

    fn rows(&mut self, held: &Held) -> Result<&[StoredChange], Misfit> {
        if self.rows.is_none() {
            self.rows = Some(held.changes(self.connection)?);
        }
        Ok(self.rows.as_deref().unwrap_or_default())
    }
}

/// The one hash that begins so; nothing when there is none, or more than one.
pub(super) fn only(
    hashes: impl IntoIterator<Item = ChangeHash>,
    prefix: &[u8],
) -> Option<ChangeHash> {
    let found: BTreeSet<ChangeHash> =
        hashes.into_iter().filter(|hash| hash.0.starts_with(prefix)).collect();
    if found.len() == 1 { found.into_iter().next() } else { None }
}
