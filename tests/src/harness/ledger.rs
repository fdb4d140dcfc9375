//! Accounting: every batch that a device confirmed is unanswered in its outbox, accepted by the server, or a
//! dispute. Never nowhere, never twice.

use std::collections::{BTreeMap, BTreeSet};

use client_sdk::Client;
use crdt_core::id::BatchId;
use crdt_core::record::Value;

/// The batches that devices confirmed, by device.
#[derive(Debug, Default)]
pub struct Ledger {
    confirmed: BTreeMap<usize, BTreeSet<BatchId>>,
    last: BTreeMap<usize, BatchId>,
    /// Accepted batches that the server has lost.
    lost: BTreeSet<BatchId>,
    /// Devices that have not been asked yet what they hold of those.
    unasked: BTreeSet<usize>,
}

/// What one device holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    unanswered: BTreeSet<BatchId>,
    disputed: BTreeSet<BatchId>,
    /// Accepted, and kept for a server that loses its newest data.
    kept: BTreeSet<BatchId>,
    /// Those of which an erasure left nothing.
    erased: BTreeSet<BatchId>,
    /// Whether there was an erasure: without one no batch is excused by having been erased.
    pub(super) may_be_erased: bool,
    /// Whether every answer has come.
    is_answered: bool,
    /// Whether there are copies of the device, or it is one: it may have taken another name.
    has_copies: bool,
}

/// Where a device has batches, in one question: it is asked after every frame.
const HELD: &str = "SELECT batch, 'unanswered' FROM outbox WHERE state = 0
    UNION ALL SELECT batch, 'kept' FROM outbox WHERE state = 1
    UNION ALL SELECT batch, 'disputed' FROM dispute
    UNION ALL SELECT batch, 'erased' FROM resolution WHERE how = 'erased'";

impl Held {
    pub(super) fn by(client: &Client, is_answered: bool, has_copies: bool) -> Self {
        let mut held = Self { is_answered, has_copies, ..Self::default() };
        let rows = client.query(HELD, &[], Default::default());
        for row in rows.expect("the public tables can be read").rows {
            let [Value::Bytes(batch), Value::Str(place)] = &row[..] else {
                panic!("{row:?} is no batch in a place")
            };
            let place = match place.as_str() {
                "unanswered" => &mut held.unanswered,
                "kept" => &mut held.kept,
                "disputed" => &mut held.disputed,
                _ => &mut held.erased,
            };
            place.insert(BatchId::try_from(&batch[..]).expect("a batch's name has 16 bytes"));
        }
        held
    }
}

impl Held {
    fn has(&self, batch: &BatchId) -> bool {
        [&self.unanswered, &self.disputed, &self.kept].iter().any(|held| held.contains(batch))
    }
}

impl Ledger {
    /// Notes what a device confirmed: whatever is unanswered right after a write.
    pub(super) fn confirm(&mut self, device: usize, client: &Client) {
        let newest = "SELECT batch FROM outbox WHERE state = 0 ORDER BY number DESC LIMIT 1";
        for batch in batches(client, newest) {
            // A transaction that changed nothing has no batch: then the newest one is an older one's.
            if self.confirmed.entry(device).or_default().insert(batch) {
                self.last.insert(device, batch);
            }
        }
    }

    /// The batch that a device confirmed last.
    #[must_use]
    pub fn last(&self, device: usize) -> Option<BatchId> {
        self.last.get(&device).copied()
    }

    /// How many batches were confirmed in all.
    #[must_use]
    pub fn confirmed(&self) -> usize {
        self.confirmed.values().map(BTreeSet::len).sum()
    }

    /// What a device has confirmed so far.
    pub(super) fn account(&self, device: usize) -> BTreeSet<BatchId> {
        self.confirmed.get(&device).cloned().unwrap_or_default()
    }

    /// A device's file was put back to when this was its account: what it confirmed later and nobody else
    /// has is lost with the file.
    pub(super) fn put_back(&mut self, device: usize, account: BTreeSet<BatchId>) {
        self.confirmed.insert(device, account);
    }

    /// Forgets a batch that its user gave up.
    pub(super) fn release(&mut self, device: usize, batch: BatchId) {
        if let Some(confirmed) = self.confirmed.get_mut(&device) {
            confirmed.remove(&batch);
        }
    }

    /// Forgets a device's batches: its file was lost, and what was unsent with it.
    pub(super) fn forget(&mut self, device: usize) {
        self.confirmed.remove(&device);
    }

    /// The server was put back to an older state, and lost these batches. What a device holds of them no more is
    /// lost to it: their documents have left it since they were accepted.
    pub(super) fn lose(&mut self, lost: impl IntoIterator<Item = BatchId>) {
        self.lost.extend(lost);
        self.unasked.extend(self.confirmed.keys());
    }

    /// Whether a device has not been asked yet, since the last loss.
    pub(super) fn is_unasked(&self, device: usize) -> bool {
        self.unasked.contains(&device)
    }

    /// Notes, once after each loss, what a device still holds of what was lost.
    pub(super) fn ask(&mut self, device: usize, held: &Held) {
        if !self.unasked.remove(&device) {
            return;
        }
        if let Some(confirmed) = self.confirmed.get_mut(&device) {
            confirmed.retain(|batch| !self.lost.contains(batch) || held.has(batch));
        }
    }

    /// Whether the server lost a batch that it had accepted.
    #[must_use]
    pub fn is_lost(&self, batch: &BatchId) -> bool {
        self.lost.contains(batch)
    }

    /// Whether another device, of which this one is a copy or which is a copy of it, has the batch as well.
    fn is_copied(&self, device: usize, batch: &BatchId) -> bool {
        let others = self.confirmed.iter().filter(|(other, _)| **other != device);
        others.map(|(_, batches)| batches).any(|batches| batches.contains(batch))
    }

    /// What is wrong with a device's account, if anything.
    pub(super) fn fault(
        &self,
        device: usize,
        held: &Held,
        log: &BTreeMap<BatchId, u64>,
    ) -> Option<String> {
        let confirmed = self.confirmed.get(&device)?;
        let is_erased = |batch: &&BatchId| held.may_be_erased && held.erased.contains(*batch);
        for batch in confirmed.iter().filter(|batch| !is_erased(batch)) {
            let places = [
                log.contains_key(batch),
                held.disputed.contains(batch),
                held.unanswered.contains(batch),
            ];
            match places {
                // The server was put back to an older state, and the device does not know yet.
                [false, false, false] if !held.is_answered && held.kept.contains(batch) => {}
                // Or a copy that took a name of its own gives back what of it is lost, without the batch.
                [false, false, false]
                    if self.is_copied(device, batch) && held.kept.contains(batch) => {}
                [false, false, false] if held.has_copies && self.lost.contains(batch) => {}
                [false, false, false] => return Some(format!("batch {batch} is nowhere")),
                // A copy of the device sent it too, and was answered by other rules than this one.
                [true, true, _] if self.is_copied(device, batch) => {}
                [true, true, _] if held.is_answered => {
                    return Some(format!("batch {batch} is accepted and a dispute at once"));
                }
                [_, true, true] => {
                    return Some(format!("batch {batch} is unanswered and a dispute at once"));
                }
                // Accepted, and here still unanswered or withdrawn with another: the receipt is on its way.
                _ => {}
            }
        }
        let stray = held.unanswered.iter().find(|batch| !confirmed.contains(*batch));
        stray.map(|batch| format!("batch {batch} is in the outbox and was never confirmed"))
    }
}

fn batches(client: &Client, sql: &str) -> BTreeSet<BatchId> {
    let rows = client.query(sql, &[], Default::default()).expect("the public tables can be read");
    let ids = rows.rows.into_iter().filter_map(|row| match row.into_iter().next() {
        Some(Value::Bytes(bytes)) => BatchId::try_from(&bytes[..]).ok(),
        _ => None,
    });
    ids.collect()
}
