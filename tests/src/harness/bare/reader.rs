//! A reader: what a device notes of pages, without their contents. It holds what it was sent until it is told
//! that it left.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{DeviceId, DocumentId, Epoch, Lease, MemberId, ReplicaId};
use crdt_core::protocol::{
    Cursor, Entry, Hello, Outcome, Page, Receipt, ScopeCursor, VERSIONS, Welcome,
};

/// A device that keeps names only.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Whose it is.
    pub member: MemberId,
    replica: ReplicaId,
    lease: Option<Lease>,
    epoch: Option<Epoch>,
    receipt: u64,
    cursor: Cursor,
    /// Where it stands in every scope that it holds, and whether that was taken from it.
    scopes: BTreeMap<String, (Cursor, bool)>,
    held: BTreeMap<u64, DocumentId>,
}

impl Reader {
    /// A device that holds nothing.
    #[must_use]
    pub const fn new(member: MemberId, replica: ReplicaId) -> Self {
        Self {
            member,
            replica,
            lease: None,
            epoch: None,
            receipt: 0,
            cursor: Cursor { position: 0, from: None },
            scopes: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// A device of this number.
    #[must_use]
    pub fn numbered(member: MemberId, number: u8) -> Self {
        let mut replica = [number; 12];
        replica[0] = 0x4e;
        Self::new(member, ReplicaId(replica))
    }

    /// What it holds.
    pub fn held(&self) -> impl Iterator<Item = &DocumentId> {
        self.held.values()
    }

    /// The document of a number, while it is held.
    #[must_use]
    pub fn document(&self, number: u64) -> Option<&DocumentId> {
        self.held.get(&number)
    }

    /// The scopes that it was granted or has not dropped yet.
    #[must_use]
    pub fn scopes(&self) -> BTreeSet<String> {
        self.scopes.keys().cloned().collect()
    }

    /// Its next hello, without a token.
    #[must_use]
    pub fn hello(&self, schema_version: u64) -> Hello {
        let own =
            |(_, (cursor, lost)): &(&String, &(Cursor, bool))| *lost || *cursor != self.cursor;
        let exceptions = self.scopes.iter().filter(own);
        let exceptions = exceptions
            .map(|(scope, (cursor, _))| ScopeCursor { scope: scope.clone(), cursor: *cursor });
        Hello {
            versions: VERSIONS.to_vec(),
            token: String::new(),
            replica: self.replica,
            lease: self.lease,
            epoch: self.epoch,
            receipt: self.receipt,
            schema_version,
            cursor: self.cursor,
            exceptions: exceptions.collect(),
            client: "a reader".to_owned(),
            policy_version: 0,
            device: DeviceId([3; 16]),
            device_name: "reader".to_owned(),
            left: 0,
            short_receipts: false,
        }
    }

    /// Stores a welcome.
    pub fn welcomed(&mut self, welcome: &Welcome) {
        self.lease = Some(welcome.lease);
        self.epoch = Some(welcome.epoch);
        for receipt in &welcome.receipts {
            self.receipt = self.receipt.max(receipt.number);
        }
        for (scope, (_, lost)) in &mut self.scopes {
            *lost |= !welcome.scopes.contains(scope);
        }
        for scope in &welcome.scopes {
            if self.scopes.get(scope).is_none_or(|(_, lost)| *lost) {
                self.scopes.insert(scope.clone(), (Cursor::default(), false));
            }
        }
    }

    /// Stores a receipt: what the device wrote itself it holds under a number from now on.
    pub fn answered(&mut self, receipt: &Receipt) {
        self.receipt = self.receipt.max(receipt.number);
        if let Outcome::Accepted { documents, .. } = &receipt.outcome {
            let named = documents.iter().map(|document| (document.number, document.id.clone()));
            self.held.extend(named);
        }
    }

    /// Stores a page.
    ///
    /// # Panics
    /// When it speaks of a document that a device could not know.
    pub fn take(&mut self, page: &Page) {
        for entry in &page.entries {
            match entry {
                Entry::Changes { number, identity: Some(identity), .. }
                | Entry::Document { number, identity, .. } => {
                    self.held.insert(*number, identity.id.clone());
                }
                Entry::Changes { number, identity: None, .. } => {
                    assert!(self.held.contains_key(number), "changes of nothing: {number}");
                }
                Entry::Left { number } => _ = self.held.remove(number),
                Entry::Erased { mark } => {
                    self.held.retain(|_, id| id.record.mark() != *mark);
                }
            }
        }
        for ScopeCursor { scope, cursor } in &page.cursors {
            if scope.is_empty() {
                self.cursor = *cursor;
                let granted = self.scopes.values_mut().filter(|(_, lost)| !lost);
                granted.for_each(|(at, _)| *at = *cursor);
            } else if let Some((at, _)) = self.scopes.get_mut(scope) {
                *at = *cursor;
            }
        }
        page.dropped.iter().for_each(|scope| _ = self.scopes.remove(scope));
    }
}
