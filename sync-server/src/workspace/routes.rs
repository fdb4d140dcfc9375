//! Where records stand while batches are judged: the stored routes, with what was accepted since on top.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::RecordId;
use crdt_core::policy::{Placement, Policy, Route};

use crate::store::{Read, StoreError};

/// The routes of one transaction.
#[derive(Debug, Default)]
pub(super) struct Routes {
    stored: BTreeMap<RecordId, Option<Route>>,
    accepted: BTreeMap<RecordId, Route>,
}

impl Routes {
    /// A record's route; nothing when there is no such record.
    pub(super) fn get(
        &mut self,
        tx: &dyn Read,
        record: &RecordId,
    ) -> Result<Option<Route>, StoreError> {
        if let Some(route) = self.accepted.get(record) {
            return Ok(Some(route.clone()));
        }
        Ok(self.stored(tx, record)?.cloned())
    }

    /// The route that is stored.
    fn stored(&mut self, tx: &dyn Read, record: &RecordId) -> Result<Option<&Route>, StoreError> {
        if !self.stored.contains_key(record) {
            self.stored.insert(*record, tx.route(record)?);
        }
        Ok(self.stored.get(record).and_then(Option::as_ref))
    }

    /// The records whose stored route is another one than what was accepted, or that have none.
    pub(super) fn moved(&mut self, tx: &dyn Read) -> Result<BTreeSet<RecordId>, StoreError> {
        let accepted = std::mem::take(&mut self.accepted);
        let mut moved = BTreeSet::new();
        for (record, route) in &accepted {
            if self.stored(tx, record)? != Some(route) {
                moved.insert(*record);
            }
        }
        self.accepted = accepted;
        Ok(moved)
    }

    /// Whether no route of a record was stored when it was looked for.
    pub(super) fn is_new(&self, record: &RecordId) -> bool {
        matches!(self.stored.get(record), Some(None))
    }

    /// Where a record of this route stands.
    pub(super) fn place(
        &mut self,
        tx: &dyn Read,
        policy: &Policy,
        route: &Route,
    ) -> Result<Placement, StoreError> {
        policy.place(route, &mut |record| self.get(tx, &record))
    }

    /// The same, while these records have other routes than before.
    pub(super) fn place_with(
        &mut self,
        tx: &dyn Read,
        policy: &Policy,
        route: &Route,
        tried: &BTreeMap<RecordId, Route>,
    ) -> Result<Placement, StoreError> {
        policy.place(route, &mut |record| match tried.get(&record) {
            Some(route) => Ok(Some(route.clone())),
            None => self.get(tx, &record),
        })
    }

    /// Takes in the routes of an accepted batch.
    pub(super) fn accept(&mut self, routes: BTreeMap<RecordId, Route>) {
        self.accepted.extend(routes);
    }

    /// The routes that were accepted.
    pub(super) fn accepted(&self) -> &BTreeMap<RecordId, Route> {
        &self.accepted
    }
}

/// Where a record of this route stands, by what is stored.
pub(super) fn place(
    tx: &dyn Read,
    policy: &Policy,
    route: &Route,
) -> Result<Placement, StoreError> {
    policy.place(route, &mut |record| tx.route(&record))
}
