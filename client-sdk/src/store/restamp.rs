//! Writing unanswered batches again under another actor: at corrected times when the clock was wrong, or
//! for a replica that turned out to be a copy.

use std::collections::BTreeMap;

use crdt_core::limits;
use crdt_core::planted::{Bug, planted};
use crdt_core::record::{Change, Fate, Reauthor, Unanswered, reauthor};
use crdt_core::time::Timestamp;

use super::Session;
use super::document::{HeldRecord, PENDING, identity};
use super::meta::Measured;
use super::outbox::{self, OutboxRow, Stamp};
use super::rebase::texts_of;
use crate::error::StoreError;

/// The device's clocks at the moment at which the server's was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The server's time now.
    pub(crate) server: Timestamp,
    pub(crate) monotonic_ms: u64,
    pub(crate) boot: [u8; 16],
}

/// Stamps unanswered batches again whose time was more than two minutes off. Gives how many.
pub(crate) fn correct(
    session: &mut Session<'_>,
    now: &Moment,
    measured: Measured,
    before: Option<Measured>,
) -> Result<usize, StoreError> {
    let rows = outbox::unsent_rows(&session.tx, 0, usize::MAX)?;
    let mut times = BTreeMap::new();
    let mut wrong = 0;
    for row in &rows {
        let right = right_time(&row.stamp, now, measured, before);
        let error_ms = right.since(row.stamp.time).abs();
        if error_ms > limits::CLOCK_ERROR_MS_TOLERATED && !planted(Bug::ClockUncorrected) {
            times.entry(row.stamp.time).or_insert(right);
            stamp_again(session, row, right)?;
            wrong += 1;
        }
    }
    if wrong > 0 {
        session.state.meta.incarnation = session.state.meta.incarnation.saturating_add(1);
        write_again(session, &times)?;
    }
    Ok(wrong)
}

/// When an edit was really made. Within one boot the counting clock tells exactly; of another boot, an
/// unknown offset is taken to have been today's, and no edit is later than now or earlier than the last
/// contact before which the offset was unknown.
fn right_time(
    stamp: &Stamp,
    now: &Moment,
    measured: Measured,
    before: Option<Measured>,
) -> Timestamp {
    let earliest = Timestamp::from_millis(limits::EDIT_TIME_MS_MIN);
    if stamp.boot == now.boot {
        let passed = now.monotonic_ms.saturating_sub(stamp.monotonic_ms);
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        return now.server.plus_millis(passed.saturating_neg()).max(earliest);
    }
    match stamp.offset {
        Some(_) => stamp.time.min(now.server).max(earliest),
        None => {
            let lowest = before.map_or(earliest, |before| before.at).min(now.server);
            stamp.wall.plus_millis(measured.offset).clamp(lowest, now.server.max(lowest))
        }
    }
}

fn stamp_again(session: &Session<'_>, row: &OutboxRow, right: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET created_at = ?2, clock_offset = ?3 WHERE number = ?1";
    let values = (row.number, right.as_millis(), right.since(row.stamp.wall));
    session.tx.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Writes every unanswered change again under the actor in force, at the times given (or its own).
pub(crate) fn write_again(
    session: &mut Session<'_>,
    times: &BTreeMap<Timestamp, Timestamp>,
) -> Result<(), StoreError> {
    let sql = "SELECT DISTINCT document FROM change WHERE state = 0 ORDER BY document";
    let mut statement = session.tx.prepare(sql)?;
    let documents = statement.query_map([], |row| row.get(0))?;
    let documents: Vec<i64> = documents.collect::<Result<_, _>>()?;
    drop(statement);
    for row in documents {
        let Some((id, section)) = identity(&session.tx, row)? else { continue };
        let Some(mut record) = HeldRecord::read(&session.tx, &session.state, id)? else { continue };
        write_document(session, &mut record, &section, times)?;
        record.save(session, None)?;
    }
    Ok(())
}

fn write_document(
    session: &Session<'_>,
    record: &mut HeldRecord,
    section: &crdt_core::id::Section,
    times: &BTreeMap<Timestamp, Timestamp>,
) -> Result<(), StoreError> {
    let schema = session.schema();
    let entity = schema.entity(&record.entity);
    let Some(held) = record.documents.get_mut(section) else { return Ok(()) };
    let base = held.base.clone().unwrap_or_default();
    let stored = held.changes(&session.tx)?;
    let mut rows = Vec::new();
    let mut pending = Vec::new();
    for change in stored.iter().filter(|change| change.state == PENDING) {
        let read = change.read(entity, &held.cells)?;
        pending.push(Unanswered { change: read, hash: change.hash, fate: Fate::Kept });
        rows.push(change.row);
    }
    let time = |old: Timestamp| times.get(&old).copied().unwrap_or(old);
    // Where nothing falls, every change tells where it stands.
    let how = Reauthor { actor: session.state.meta.actor(), time: &time, max_op: &|_| None };
    let again = reauthor(&how, &base, &pending).map_err(|_| StoreError::Malformed("past"))?;
    for (row, again) in rows.iter().zip(&again.changes) {
        store_again(session, *row, &again.change, again.encoded.hash.0, &again.encoded.bytes)?;
    }
    if !held.gone {
        held.cells = again.cells;
        held.dirty = true;
        let texts = texts_of(held);
        held.refresh_texts(&session.tx, &texts)?;
    }
    Ok(())
}

fn store_again(
    session: &Session<'_>,
    row: i64,
    change: &Change,
    hash: [u8; 32],
    bytes: &[u8],
) -> Result<(), StoreError> {
    let sql = "UPDATE change SET hash = ?2, actor = ?3, seq = ?4, max_op = ?5, bytes = ?6
               WHERE id = ?1";
    session.tx.prepare_cached(sql)?.execute((
        row,
        hash,
        &change.actor.0,
        change.seq.cast_signed(),
        change.max_op().cast_signed(),
        bytes,
    ))?;
    Ok(())
}
