//! Going on from a backup: a new epoch begins, and devices give back what the server lost.

use crdt_core::id::Epoch;
use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{Cursor, Ended, GoodbyeCode, Hello, Parting, ScopeCursor};
use crdt_core::time::Timestamp;

use crate::audit::{self, Act};
use crate::store::recovery::Restoration;
use crate::store::{self, LogInfo, Read, Store, StoreError};

/// Begins a new epoch on a workspace's storage that was put back to an older state. `replaced` is the log that
/// it takes the place of, when that can still be read: devices may know a log that the backup is older than.
/// Nobody serves the workspace meanwhile.
///
/// # Errors
/// When the storage fails; the epoch is the old one then.
pub fn begin_epoch(
    store: &dyn Store,
    now: Timestamp,
    epoch: Epoch,
    replaced: Option<&LogInfo>,
) -> Result<Restoration, StoreError> {
    store::write(store, |tx| {
        let log = tx.log()?;
        let here = Ended { epoch: log.epoch, last: log.head, documents: tx.last_document()? };
        let lineage = lineage(&log, here, replaced);
        let from = lineage.last().copied().unwrap_or(here);
        let ended = replaced.map(|replaced| replaced.head);
        let restoration = Restoration { from, at: now, ended };
        if planted(Bug::EpochKept) {
            return Ok(restoration);
        }
        tx.begin_epoch(epoch, &lineage, &restoration)?;
        audit::append_act(tx, now, Act::Restored { position: log.head })?;
        Ok(restoration)
    })
}

/// Every log before the new one, so that from each of them [`Parting`] finds what it has in common with it.
fn lineage(log: &LogInfo, here: Ended, replaced: Option<&LogInfo>) -> Vec<Ended> {
    let own = log.lineage.iter().copied();
    let Some(replaced) = replaced.filter(|replaced| replaced.epoch != log.epoch) else {
        return own.chain([here]).collect();
    };
    // The backup is of a log that was itself ended by a restoration since.
    if let Some(parting) = Parting::from(&replaced.lineage, &log.epoch) {
        let ended = Ended {
            epoch: replaced.epoch,
            last: here.last.min(parting.last),
            documents: here.documents.min(parting.documents),
        };
        return replaced.lineage.iter().copied().chain([ended]).collect();
    }
    // What was replaced is older than the backup, or was never its log.
    let known = own.clone().any(|ended| ended.epoch == replaced.epoch);
    let stranger = Ended { epoch: replaced.epoch, last: 0, documents: 0 };
    let stranger = Some(stranger).filter(|_| !known);
    stranger.into_iter().chain(own).chain([here]).collect()
}

/// What a device's hello says in terms of the present log; why it cannot be told.
pub(super) fn in_present_log(
    tx: &dyn Read,
    hello: &Hello,
) -> Result<Result<Hello, (GoodbyeCode, &'static str)>, StoreError> {
    let log = tx.log()?;
    let Some(known) = hello.epoch.filter(|epoch| *epoch != log.epoch) else {
        let ahead = hello.exceptions.iter().map(|exception| exception.cursor);
        if ahead.chain([hello.cursor]).any(|cursor| cursor.position > log.head) {
            let text = "the device is ahead of the log: was the server put back to an older state?";
            return Ok(Err((GoodbyeCode::CursorAhead, text)));
        }
        return Ok(Ok(hello.clone()));
    };
    let parting = match Parting::from(&log.lineage, &known) {
        Some(parting) => parting,
        // A server that lost its newest data may have lost a restoration with it: everything is compared.
        None if !log.lineage.is_empty() => Parting::NOTHING,
        None => {
            let text = "the device knows another log than this workspace's";
            return Ok(Err((GoodbyeCode::UnknownEpoch, text)));
        }
    };
    let cut = |cursor: Cursor| parting.cut(cursor, hello.left);
    let exceptions = hello.exceptions.iter().map(|exception| ScopeCursor {
        scope: exception.scope.clone(),
        cursor: cut(exception.cursor),
    });
    Ok(Ok(Hello { cursor: cut(hello.cursor), exceptions: exceptions.collect(), ..hello.clone() }))
}
