//! Routes of the records that others follow: found in a transaction, remembered, or read from the store.

use std::collections::HashMap;

use crdt_core::id::RecordId;
use crdt_core::policy::Route;
use crdt_core::record::Deletion;
use crdt_core::schema::{Entity, Schema};
use rusqlite::Connection;

use crate::error::StoreError;
use crate::notify::Changes;
use crate::store::document::HeldRecord;

/// Routes that were read, until their records change: an account with many contacts is read once.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<RecordId, Route>);

impl Known {
    pub(super) fn forget(&mut self, changes: &Changes) {
        if changes.more {
            self.0.clear();
        } else {
            changes.records.iter().for_each(|id| drop(self.0.remove(id)));
        }
    }

    fn remember(&mut self, id: RecordId, route: &Route) {
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        self.0.insert(id, route.clone());
    }
}

/// Looks routes up for one record.
pub(super) struct Lookup<'a> {
    connection: &'a Connection,
    schema: &'a Schema,
    /// A record that the transaction has; its present state, if it has one.
    found: &'a dyn Fn(RecordId) -> Option<Option<&'a HeldRecord>>,
    known: Option<&'a mut Known>,
    missing: bool,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        schema: &'a Schema,
        found: &'a dyn Fn(RecordId) -> Option<Option<&'a HeldRecord>>,
        known: Option<&'a mut Known>,
    ) -> Self {
        Self { connection, schema, found, known, missing: false }
    }

    /// The route of a record, when it is on the device.
    pub(super) fn route(&mut self, id: RecordId) -> Result<Option<Route>, StoreError> {
        if let Some(found) = (self.found)(id) {
            return Ok(found.and_then(|record| self.route_of(record)));
        }
        if let Some(route) = self.known.as_ref().and_then(|known| known.0.get(&id)) {
            return Ok(Some(route.clone()));
        }
        let record = HeldRecord::read_cells(self.connection, id)?;
        let route = record.as_ref().and_then(|record| self.route_of(record));
        let live = record.as_ref().and_then(HeldRecord::main);
        // Nobody is told of changes to a deleted record.
        let is_told = live.is_some_and(|main| Deletion::of(&main.cells).is_none());
        match (&route, &mut self.known) {
            (None, _) => self.missing = true,
            (Some(route), Some(known)) if is_told => known.remember(id, route),
            (Some(_), _) => {}
        }
        Ok(route)
    }

    /// Whether a record was looked for that is not on the device.
    pub(super) const fn is_missing(&self) -> bool {
        self.missing
    }

    fn route_of(&self, record: &HeldRecord) -> Option<Route> {
        route_of(self.schema.entity(&record.entity)?, record)
    }
}

/// The route of a record whose `main` is on the device.
pub(super) fn route_of(entity: &Entity, record: &HeldRecord) -> Option<Route> {
    record.main().map(|main| Route::of(entity, &main.cells))
}

/// Routes that are remembered.
const KNOWN_MAX: usize = 4_096;
