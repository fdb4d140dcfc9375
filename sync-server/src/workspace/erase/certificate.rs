//! What can be said of an erasure: beforehand what it would remove, afterwards what was removed where.

use std::collections::BTreeMap;

use crdt_core::id::{Epoch, RecordId, ReplicaId, Section};
use crdt_core::time::Timestamp;

use super::{FOLLOWERS_STEP, Workspace, kept_edits_of};
use crate::store::erasure::ErasureRow;
use crate::store::{self, Read, StoreError};
use crate::workspace::Device;

/// What the storage holds of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// The record's entity.
    pub entity: String,
    /// What it has in each section.
    pub sections: BTreeMap<Section, HoldingsOf>,
    /// Kept edits of it, which go with it.
    pub kept_edits: u64,
    /// Records that name it as their parent or were merged into it, which stay.
    pub followers: u64,
}

/// What a record has in one section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HoldingsOf {
    /// Changes in its history.
    pub changes: u64,
    /// Bytes of snapshot and changes.
    pub bytes: u64,
}

/// What was erased, where, and who knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The log in which the erasure has its position.
    pub epoch: Epoch,
    /// The erasure.
    pub erasure: ErasureRow,
    /// What went with it.
    pub with: Vec<ErasureRow>,
    /// Whether it stands on the ledger, so that no restore brings it back.
    pub on_ledger: bool,
    /// Every replica, those that have not confirmed first, and among those the one first that was not seen
    /// for longest.
    pub devices: Vec<DeviceState>,
}

/// A replica and what it knows of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    /// The replica and its device.
    pub device: Device,
    /// When it said that it has removed everything erased by then; nothing while it has not.
    pub confirmed_at: Option<Timestamp>,
}

impl Workspace {
    /// What an erasure of a record would remove; nothing when there is no such record.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn holdings(&self, record: RecordId) -> Result<Option<Holdings>, StoreError> {
        store::read(&*self.store, |tx| {
            let Some(route) = tx.route(&record)? else { return Ok(None) };
            let mut sections = BTreeMap::new();
            for (number, id) in tx.documents_of(&record)? {
                sections.insert(id.section, holdings_of(tx, number)?);
            }
            let kept_edits = kept_edits_of(tx, &record)?.len() as u64;
            let followers = count_followers(tx, &record)?.saturating_sub(kept_edits);
            Ok(Some(Holdings { entity: route.entity, sections, kept_edits, followers }))
        })
    }

    /// What is known of an erasure; nothing when the record was not erased.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn certificate(&self, record: RecordId) -> Result<Option<Certificate>, StoreError> {
        let found = store::read(&*self.store, |tx| {
            let Some(erasure) = tx.erasure(&record)? else { return Ok(None) };
            let (with, confirmed) = (tx.erased_with(&record)?, tx.erasures_confirmed()?);
            Ok(Some((tx.log()?.epoch, erasure, with, confirmed)))
        })?;
        let Some((epoch, erasure, with, confirmed)) = found else { return Ok(None) };
        let last = with.iter().map(|row| row.position).fold(erasure.position, u64::max);
        let confirmed = confirmed.into_iter().filter(|known| known.up_to >= last);
        let confirmed: BTreeMap<ReplicaId, Timestamp> =
            confirmed.map(|known| (known.replica, known.at)).collect();
        let state = |device: Device| {
            let confirmed_at = confirmed.get(&device.replica).copied();
            DeviceState { device, confirmed_at }
        };
        let mut devices: Vec<DeviceState> = self.devices()?.into_iter().map(state).collect();
        devices.sort_by_key(|state| (state.confirmed_at.is_some(), state.device.last_seen));
        let on_ledger = self.ledger.as_ref().is_some_and(|ledger| ledger.is_erased(&record));
        Ok(Some(Certificate { epoch, erasure, with, on_ledger, devices }))
    }
}

fn holdings_of(tx: &dyn Read, number: u64) -> Result<HoldingsOf, StoreError> {
    let changes = tx.changes_after(number, 0)?;
    let snapshot = tx.snapshot(number)?.unwrap_or_default();
    let bytes = changes.iter().filter_map(|change| change.bytes.as_ref()).map(Vec::len);
    Ok(HoldingsOf {
        changes: changes.len() as u64,
        bytes: (snapshot.len() + bytes.sum::<usize>()) as u64,
    })
}

fn count_followers(tx: &dyn Read, record: &RecordId) -> Result<u64, StoreError> {
    let (mut count, mut after) = (0, None);
    loop {
        let followers = tx.followers(record, after, FOLLOWERS_STEP)?;
        count += followers.len() as u64;
        if followers.len() < FOLLOWERS_STEP {
            return Ok(count);
        }
        after = followers.iter().map(|follower| follower.record()).max();
    }
}
