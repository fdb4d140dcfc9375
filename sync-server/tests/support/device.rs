//! A device made of `crdt-core` alone: it writes changes, sends batches, and applies what comes. It keeps
//! everything in memory and trusts nobody: what it is sent must fit, hash by hash.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::{
    ActorId, BatchId, ChangeHash, DeviceId, DocumentId, Epoch, Lease, MemberId, RecordId,
    ReplicaId, Section,
};
use crdt_core::limits;
use crdt_core::protocol::{
    Batch, Cursor, Dependencies, DocumentChanges, DocumentRef, Entry, Hello, Identity, Outcome,
    Page, Receipt, ScopeCursor, SentChange, VERSIONS, Welcome,
};
use crdt_core::record::document::{Purpose, is_seeded};
use crdt_core::record::{
    Author, Cells, Change, Document, Edit, EncodedChange, Scalar, SeedKind, Splice, seed,
};
use crdt_core::time::Timestamp;

/// When the tests take place, milliseconds since 1970.
pub const NOW_MS: i64 = 1_763_000_000_000;

/// One document as the device has it.
#[derive(Debug, Clone)]
pub struct Held {
    pub number: Option<u64>,
    pub entity: String,
    pub cells: Cells,
    document: Document,
    hashes: BTreeSet<ChangeHash>,
}

/// A device.
#[derive(Debug, Clone)]
pub struct Device {
    pub replica: ReplicaId,
    pub incarnation: u32,
    pub member: MemberId,
    pub token: String,
    pub lease: Option<Lease>,
    pub epoch: Option<Epoch>,
    pub receipt: u64,
    pub schema_version: u64,
    pub scopes: Vec<String>,
    pub cursor: Cursor,
    pub exceptions: BTreeMap<String, Cursor>,
    /// Scopes that the last welcome did not list and that are still here.
    pub lost: BTreeMap<String, Cursor>,
    pub policy_version: u64,
    pub device: DeviceId,
    pub documents: BTreeMap<DocumentId, Held>,
    pub now_ms: i64,
    batches: u64,
    records: u64,
}

type Written = Vec<(Change, EncodedChange)>;

pub fn put(key: &str, value: &str) -> Edit {
    Edit::Put { key: key.to_owned(), value: Scalar::Str(value.to_owned()) }
}

impl Held {
    fn new(entity: &str) -> Self {
        let document = Document::load(Purpose::Verify, None, []).unwrap();
        let (cells, hashes) = (Cells::default(), BTreeSet::new());
        Self { number: None, entity: entity.to_owned(), cells, document, hashes }
    }

    /// Takes in a change, unless it is there.
    fn apply(&mut self, change: &Change) -> ChangeHash {
        let encoded = change.encode();
        if self.hashes.insert(encoded.hash) {
            self.document.apply(&encoded).unwrap();
            self.cells.apply(change, encoded.hash);
            for op in change.ops.iter().filter(|op| op.is_text()) {
                self.cells.set_text(&op.key, self.document.text(&op.key).unwrap());
            }
        }
        encoded.hash
    }

    /// Takes in changes as they were sent.
    fn apply_sent(&mut self, changes: Vec<SentChange>) {
        let mut before = None;
        for sent in changes {
            let deps = match &sent.deps {
                Dependencies::Chained => vec![before.expect("a chain has a beginning")],
                Dependencies::Short(prefixes) => prefixes.iter().map(|p| self.like(*p)).collect(),
                Dependencies::Long(hashes) => hashes.clone(),
            };
            let claim = sent.claim.clone();
            let hash = self.apply(&sent.with_deps(deps));
            assert!(hash.0.starts_with(&claim), "the server's hash is another");
            before = Some(hash);
        }
    }

    fn like(&self, prefix: u32) -> ChangeHash {
        let mut fits = self.hashes.iter().filter(|hash| hash.0.starts_with(&prefix.to_be_bytes()));
        *fits.next().expect("what a change depends on was sent before")
    }

    /// Takes the server's whole document, with the changes that it does not contain on top.
    fn merge_whole(&mut self, snapshot: &[u8], changes: Vec<SentChange>) {
        let mine = std::mem::replace(self, Self::new(&self.entity));
        self.number = mine.number;
        self.document = Document::load(Purpose::Whole, Some(snapshot), []).unwrap();
        self.cells = self.document.cells().unwrap();
        let held = self.document.changes().unwrap();
        self.hashes = held.iter().map(|(_, encoded)| encoded.hash).collect();
        self.apply_sent(changes);
        for (change, _) in mine.document.changes().unwrap() {
            self.apply(&change);
        }
    }
}

impl Device {
    pub fn new(n: u8, member: MemberId) -> Self {
        let mut replica = [n; 12];
        replica[0] = 0xd0;
        Self {
            replica: ReplicaId(replica),
            incarnation: 0,
            member,
            token: String::new(),
            lease: None,
            epoch: None,
            receipt: 0,
            schema_version: 0,
            scopes: Vec::new(),
            cursor: Cursor::default(),
            exceptions: BTreeMap::new(),
            lost: BTreeMap::new(),
            policy_version: 0,
            device: DeviceId([n; 16]),
            documents: BTreeMap::new(),
            now_ms: NOW_MS,
            batches: 0,
            records: 0,
        }
    }

    pub fn actor(&self) -> ActorId {
        ActorId::of(self.replica, self.incarnation)
    }

    pub fn author(&mut self) -> Author {
        self.now_ms += 1;
        Author { actor: self.actor(), time: Timestamp::from_millis(self.now_ms) }
    }

    pub fn hello(&self) -> Hello {
        let exceptions = self.exceptions.iter().chain(&self.lost);
        Hello {
            versions: VERSIONS.to_vec(),
            token: self.token.clone(),
            replica: self.replica,
            lease: self.lease,
            epoch: self.epoch,
            receipt: self.receipt,
            schema_version: self.schema_version,
            cursor: self.cursor,
            exceptions: exceptions
                .map(|(scope, cursor)| ScopeCursor { scope: scope.clone(), cursor: *cursor })
                .collect(),
            client: "test".to_owned(),
            policy_version: self.policy_version,
            device: self.device,
            device_name: format!("device {}", self.device.0[0]),
            left: 0,
            short_receipts: false,
        }
    }

    /// Stores a welcome; scopes that are new begin at the beginning.
    pub fn welcomed(&mut self, welcome: &Welcome) {
        self.lease = Some(welcome.lease);
        self.epoch = Some(welcome.epoch);
        self.policy_version = welcome.policy_version;
        for scope in self.scopes.iter().filter(|scope| !welcome.scopes.contains(scope)) {
            let cursor = self.exceptions.remove(scope).unwrap_or(self.cursor);
            self.lost.insert(scope.clone(), cursor);
        }
        for scope in welcome.scopes.iter().filter(|scope| !self.scopes.contains(scope)) {
            let cursor = self.lost.remove(scope).unwrap_or_default();
            self.exceptions.insert(scope.clone(), cursor);
        }
        self.scopes.clone_from(&welcome.scopes);
        welcome.receipts.iter().for_each(|receipt| self.received(receipt));
    }

    /// Stores a receipt.
    pub fn received(&mut self, receipt: &Receipt) {
        self.receipt = self.receipt.max(receipt.number);
        if let Outcome::Accepted { documents, .. } | Outcome::Already { documents, .. } =
            &receipt.outcome
        {
            for document in documents {
                let held = self.documents.get_mut(&document.id).expect("it was sent from here");
                held.number = Some(document.number);
            }
        }
    }

    /// A new record's first change, in a batch of its own.
    pub fn create(&mut self, entity: &str, edits: &[Edit]) -> (RecordId, Batch) {
        self.records += 1;
        let mut random = [0; 10];
        random[0] = self.replica.0[11];
        random[2..].copy_from_slice(&self.records.to_be_bytes());
        let record = RecordId::new(Timestamp::from_millis(NOW_MS), random);
        let (time, member) = (Timestamp::from_millis(self.now_ms), self.member);
        let own = |key: &str, value| Edit::Put { key: key.to_owned(), value };
        let mut all = vec![
            own("$entity", Scalar::Str(entity.to_owned())),
            own("$created_at", Scalar::Timestamp(time)),
            own("$created_by", Scalar::Bytes(member.as_bytes().to_vec())),
        ];
        all.extend_from_slice(edits);
        let part = self.write(&DocumentId::main(record), entity, &all);
        (record, self.batch(vec![part]))
    }

    /// An edit of a record's `main` document, in a batch of its own.
    pub fn edit(&mut self, record: RecordId, edits: &[Edit]) -> Batch {
        let id = DocumentId::main(record);
        let entity = self.documents[&id].entity.clone();
        let part = self.write(&id, &entity, edits);
        self.batch(vec![part])
    }

    /// An edit of another section of a record, in a batch of its own.
    pub fn edit_section(&mut self, record: RecordId, section: &str, edits: &[Edit]) -> Batch {
        let entity = self.documents[&DocumentId::main(record)].entity.clone();
        let section: Section = section.parse().unwrap();
        let part = self.write(&DocumentId { record, section }, &entity, edits);
        self.batch(vec![part])
    }

    /// An edit of a text, in a batch of its own; the seed comes first where it is missing.
    pub fn splice(&mut self, record: RecordId, field: &str, at: usize, insert: &str) -> Batch {
        let id = DocumentId::main(record);
        let author = self.author();
        let held = self.documents.get_mut(&id).expect("a record that is here");
        let mut written = seeded(held, SeedKind::Text, field);
        let splice = Splice { field: field.to_owned(), at, delete: 0, insert: insert.to_owned() };
        let changes = author.write_text(&mut held.cells, &mut held.document, &[splice]).unwrap();
        held.hashes.extend(changes.iter().map(|(_, encoded)| encoded.hash));
        written.extend(changes);
        let part = self.part(&id, &written);
        self.batch(vec![part])
    }

    /// An increment, in a batch of its own; the seed comes first where it is missing.
    pub fn increment(&mut self, record: RecordId, field: &str, by: i64) -> Batch {
        let id = DocumentId::main(record);
        let author = self.author();
        let held = self.documents.get_mut(&id).expect("a record that is here");
        let mut written = seeded(held, SeedKind::Counter, field);
        let edit = Edit::Increment { key: field.to_owned(), by };
        written.extend(write_edits(held, &author, &[edit]));
        let part = self.part(&id, &written);
        self.batch(vec![part])
    }

    /// Writes edits into a document, and gives them as they travel.
    pub fn write(&mut self, id: &DocumentId, entity: &str, edits: &[Edit]) -> DocumentChanges {
        let author = self.author();
        let held = self.documents.entry(id.clone()).or_insert_with(|| Held::new(entity));
        let written = write_edits(held, &author, edits);
        self.part(id, &written)
    }

    /// Changes of a document as they travel.
    pub fn part(&self, id: &DocumentId, written: &Written) -> DocumentChanges {
        let held = &self.documents[id];
        let document = match held.number {
            Some(number) => DocumentRef::Number(number),
            None => DocumentRef::Identity(Identity { id: id.clone(), entity: held.entity.clone() }),
        };
        let mut before = None;
        let sent = written.iter().map(|(change, encoded)| {
            let sent = SentChange::new(change, &encoded.hash, before.as_ref());
            before = Some(encoded.hash);
            sent
        });
        DocumentChanges { document, changes: sent.collect() }
    }

    /// The next batch.
    pub fn batch(&mut self, documents: Vec<DocumentChanges>) -> Batch {
        self.batches += 1;
        let mut id = [0; 16];
        id[..12].copy_from_slice(&self.replica.0);
        id[12..].copy_from_slice(&u32::try_from(self.batches).unwrap().to_be_bytes());
        Batch {
            id: BatchId(id),
            number: self.batches,
            schema_version: self.schema_version,
            policy_version: 0,
            documents,
        }
    }

    /// Applies a page; gives the numbers of the documents that it could not have applied.
    pub fn apply(&mut self, page: Page) {
        for entry in page.entries {
            match entry {
                Entry::Changes { number, identity, changes } => {
                    self.held(number, identity).apply_sent(changes);
                }
                Entry::Document { number, identity, snapshot, changes } => {
                    self.held(number, Some(identity)).merge_whole(&snapshot, changes);
                }
                Entry::Left { number } => {
                    self.documents.retain(|_, held| held.number != Some(number));
                }
                Entry::Erased { mark } => {
                    self.documents.retain(|id, _| id.record.mark() != mark);
                }
            }
        }
        for ScopeCursor { scope, cursor } in page.cursors {
            if scope.is_empty() {
                self.cursor = cursor;
                self.exceptions.clear();
            } else if let Some(lost) = self.lost.get_mut(&scope) {
                *lost = cursor;
            } else {
                assert!(self.scopes.contains(&scope), "a scope that nobody granted: {scope}");
                self.exceptions.insert(scope, cursor);
            }
        }
        for scope in page.dropped {
            self.lost.remove(&scope).expect("only what was lost is dropped");
        }
    }

    /// Whether a page has brought every scope to this position.
    pub fn stands_at(&self, head: u64) -> bool {
        let at_head = self.exceptions.values().all(|c| *c == Cursor::at(head));
        self.cursor == Cursor::at(head) && at_head && self.lost.is_empty()
    }

    pub fn text(&self, id: &DocumentId, field: &str) -> String {
        self.documents[id].document.text(field).unwrap()
    }

    fn held(&mut self, number: u64, identity: Option<Identity>) -> &mut Held {
        let known = self.documents.iter().find(|(_, held)| held.number == Some(number));
        let known = known.map(|(id, _)| id.clone());
        let id = match (known, identity) {
            (Some(id), _) => id,
            (None, Some(identity)) => {
                let new = || Held::new(&identity.entity);
                self.documents.entry(identity.id.clone()).or_insert_with(new);
                identity.id
            }
            (None, None) => panic!("document {number} came without its name"),
        };
        let held = self.documents.get_mut(&id).expect("it was found or made above");
        held.number = Some(number);
        held
    }
}

fn write_edits(held: &mut Held, author: &Author, edits: &[Edit]) -> Written {
    let written = author.write(&mut held.cells, edits);
    for (_, encoded) in &written {
        held.document.apply(encoded).unwrap();
        held.hashes.insert(encoded.hash);
    }
    written
}

fn seeded(held: &mut Held, kind: SeedKind, field: &str) -> Written {
    if is_seeded(&held.cells, kind, field) {
        return Vec::new();
    }
    let change = seed(kind, field);
    held.apply(&change);
    let encoded = change.encode();
    vec![(change, encoded)]
}

/// The first bytes of a hash, as a sender claims it.
pub fn claim(change: &Change) -> Vec<u8> {
    change.encode().hash.0[..limits::HASH_CLAIM_BYTES].to_vec()
}
