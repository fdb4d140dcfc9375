//! A page under construction: what each document's entry will say, and how large the page has become.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use crdt_core::id::{ChangeHash, ReplicaId};
use crdt_core::limits;
use crdt_core::protocol::{AuthorName, Entry, Identity, SentChange};
use crdt_core::record::{Cells, Change};

use crate::store::{ChangeRow, DocumentRow, Read, StoreError};
use crate::workspace::directory::{SERVER, SERVER_NAME};

/// A page under construction.
pub(super) struct Draft {
    documents: BTreeMap<u64, Building>,
    order: Vec<u64>,
    left: BTreeSet<u64>,
    bytes: usize,
    burst_bytes: usize,
}

/// A document's entry under construction.
struct Building {
    row: DocumentRow,
    cells: Cells,
    whole: bool,
    /// Of a whole document, when something of it is folded.
    snapshot: Option<Vec<u8>>,
    changes: Vec<(Change, ChangeHash)>,
}

impl Draft {
    pub(super) fn new(burst_bytes: usize) -> Self {
        let (documents, order, left) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { documents, order, left, bytes: 0, burst_bytes }
    }

    /// Whether the page would say nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty() && self.left.is_empty()
    }

    /// Whether the page is as large as pages aim to be.
    pub(super) fn is_full(&self) -> bool {
        let entries = self.order.len() + self.left.len();
        self.bytes >= limits::PAGE_BYTES_TARGET || entries >= limits::PAGE_ENTRIES_MAX
    }

    /// Whether another document could make the page larger than a device takes.
    pub(super) fn is_bursting(&self) -> bool {
        self.bytes >= self.burst_bytes
    }

    /// Notes that a document is no longer in any of the device's scopes.
    pub(super) fn leave(&mut self, number: u64) {
        self.left.insert(number);
    }

    /// The replicas that wrote what the page holds; seeds are nobody's.
    pub(super) fn replicas(&self) -> Vec<ReplicaId> {
        let mut replicas = Vec::new();
        for building in self.documents.values() {
            let changes = building.changes.iter().map(|(change, _)| change);
            let written = changes.filter(|change| change.as_seed().is_none());
            replicas.extend(written.map(|change| change.actor.replica()));
            if building.snapshot.is_some() {
                let clock = building.cells.clock();
                replicas.extend(clock.iter().map(|(actor, _)| actor.replica()));
            }
        }
        replicas.sort_unstable();
        replicas.dedup();
        replicas
    }

    /// The page's entries.
    pub(super) fn into_entries(mut self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.order.len() + self.left.len());
        for number in self.order {
            entries.extend(self.documents.remove(&number).map(Building::into_entry));
        }
        entries.extend(self.left.into_iter().map(|number| Entry::Left { number }));
        entries
    }

    /// Adds the document as the server has it, in place of what was added of it before.
    pub(super) fn add_whole(&mut self, tx: &dyn Read, number: u64) -> Result<(), StoreError> {
        let Some(building) = self.building(tx, number)? else { return Ok(()) };
        if building.whole {
            return Ok(());
        }
        let tail = tx.changes_after(number, building.row.folded_to)?;
        building.whole = true;
        building.snapshot = tx.snapshot(number)?;
        building.changes.clear();
        let size = building.snapshot.as_ref().map_or(0, Vec::len);
        let added = building.add(&tail)?;
        self.bytes += size + added;
        Ok(())
    }

    /// Adds changes of a document after a position: those given, or all of them. A document whose changes
    /// are folded in part goes as a whole.
    pub(super) fn add_changes(
        &mut self,
        tx: &dyn Read,
        number: u64,
        after: u64,
        changes: Option<Vec<ChangeRow>>,
    ) -> Result<(), StoreError> {
        let changes = match changes {
            Some(changes) => changes,
            None => tx.changes_after(number, after)?,
        };
        if changes.iter().any(|change| change.bytes.is_none()) {
            return self.add_whole(tx, number);
        }
        let Some(building) = self.building(tx, number)? else { return Ok(()) };
        if !building.whole {
            let added = building.add(&changes)?;
            self.bytes += added;
        }
        Ok(())
    }

    fn building(
        &mut self,
        tx: &dyn Read,
        number: u64,
    ) -> Result<Option<&mut Building>, StoreError> {
        let vacant = match self.documents.entry(number) {
            btree_map::Entry::Occupied(occupied) => return Ok(Some(occupied.into_mut())),
            btree_map::Entry::Vacant(vacant) => vacant,
        };
        let Some(row) = tx.document(number)? else { return Ok(None) };
        let cells =
            Cells::from_stored(&row.cells).map_err(|e| StoreError::Damaged(e.to_string()))?;
        self.order.push(number);
        Ok(Some(vacant.insert(Building::new(row, cells))))
    }
}

impl Building {
    fn new(row: DocumentRow, cells: Cells) -> Self {
        Self { row, cells, whole: false, snapshot: None, changes: Vec::new() }
    }

    fn add(&mut self, rows: &[ChangeRow]) -> Result<usize, StoreError> {
        let mut size = 0;
        for row in rows {
            let Some(bytes) = &row.bytes else { continue };
            let change = Change::from_stored(bytes, &row.hash, &self.cells)
                .map_err(|e| StoreError::Damaged(e.to_string()))?;
            size += bytes.len();
            self.changes.push((change, row.hash));
        }
        Ok(size)
    }

    fn into_entry(self) -> Entry {
        let number = self.row.number;
        let new = self.changes.first().is_some_and(|(change, _)| change.deps.is_empty());
        let mut sent = Vec::with_capacity(self.changes.len());
        let mut before: Option<&ChangeHash> = None;
        for (change, hash) in &self.changes {
            sent.push(SentChange::new(change, hash, before));
            before = Some(hash);
        }
        let identity = Identity { id: self.row.id, entity: self.row.entity };
        match self.snapshot {
            Some(snapshot) => Entry::Document { number, identity, snapshot, changes: sent },
            None => {
                let identity = (self.whole || new).then_some(identity);
                Entry::Changes { number, identity, changes: sent }
            }
        }
    }
}

/// Who writes as a replica; nothing when nobody knows it.
pub(super) fn author(tx: &dyn Read, replica: ReplicaId) -> Result<Option<AuthorName>, StoreError> {
    let member = match tx.replica(&replica)? {
        Some(row) => Some(row.member),
        // It was never here; others gave back what it wrote.
        None => tx.presumed_member(&replica)?,
    };
    let Some(member) = member else { return Ok(None) };
    let name = match tx.member(&member)? {
        None if member == SERVER => SERVER_NAME.to_owned(),
        name => name.unwrap_or_default(),
    };
    Ok(Some(AuthorName { replica, member, name }))
}
