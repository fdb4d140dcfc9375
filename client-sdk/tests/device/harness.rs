//! A device with a clock of its own, and a stand-in for the server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use client_sdk::{
    Client, Clock, Config, Edits, MemberId, RecordId, SeededEntropy, StoreError, Timestamp,
};
use crdt_core::id::{BatchId, ChangeHash, DocumentId, Epoch, Lease, ReplicaId};
use crdt_core::protocol::{
    AcceptedDocument, AuthorName, Batch, Cursor, Dependencies, DocumentRef, Entry, Identity,
    Outcome, Page, PeerLimits, Receipt, Refusal, ScopeCursor, SentChange, Welcome,
};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Cells, Document, History, Judgement, Known, Situation, judge, judge_with};

/// A day on which nothing happened.
pub(crate) const NOON: i64 = 1_763_800_000_000;

/// A clock that moves when told.
pub(crate) struct Hands(Mutex<(i64, u64, [u8; 16])>);

impl Hands {
    pub(crate) fn at(wall: i64) -> Arc<Self> {
        Arc::new(Self(Mutex::new((wall, 1_000, [1; 16]))))
    }

    pub(crate) fn pass(&self, millis: u64) {
        let mut hands = self.0.lock().unwrap();
        hands.0 += i64::try_from(millis).unwrap();
        hands.1 += millis;
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_wall(&self, wall: i64) {
        self.0.lock().unwrap().0 = wall;
    }

    pub(crate) fn reboot(&self) {
        let mut hands = self.0.lock().unwrap();
        hands.1 = 0;
        hands.2[0] += 1;
    }
}

impl Clock for Hands {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.0.lock().unwrap().0)
    }

    fn monotonic_ms(&self) -> u64 {
        self.0.lock().unwrap().1
    }

    fn boot(&self) -> [u8; 16] {
        self.0.lock().unwrap().2
    }
}

/// One device.
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) hands: Arc<Hands>,
    pub(crate) path: PathBuf,
    name: &'static str,
    _folder: tempfile::TempDir,
}

impl Device {
    pub(crate) fn new(name: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.db");
        let hands = Hands::at(NOON);
        let client = Client::open(config(&path, name, &hands)).unwrap();
        Self { client, hands, path, name, _folder: folder }
    }

    pub(crate) fn config(&self) -> Config {
        config(&self.path, self.name, &self.hands)
    }

    /// Closes the file and opens it again.
    pub(crate) fn reopen(&mut self) -> Result<(), StoreError> {
        self.client.close();
        self.client = Client::open(self.config())?;
        Ok(())
    }
}

fn config(path: &std::path::Path, name: &'static str, hands: &Arc<Hands>) -> Config {
    let seed = name.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
    Config::new(path, "acme", member(name))
        .member_name(name)
        .clock(Arc::clone(hands) as Arc<dyn Clock>)
        .entropy(SeededEntropy::new(seed))
}

pub(crate) fn member(name: &str) -> MemberId {
    MemberId::from_source_key("member", name)
}

/// Two devices that have the same account, written by the first.
pub(crate) fn both_with(edits: Edits) -> (Device, Device, Relay, RecordId) {
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut relay = Relay::default();
    let id = ada.client.create("account", edits).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    (ada, bob, relay, id)
}

/// Accepts batches and hands out what it accepted. Every change goes through the door first.
#[derive(Default)]
pub(crate) struct Relay {
    documents: BTreeMap<u64, (Identity, Vec<SentChange>)>,
    judged: BTreeMap<u64, Judged>,
    authors: BTreeMap<ReplicaId, AuthorName>,
    receipts: BTreeMap<ReplicaId, u64>,
    position: u64,
}

impl Relay {
    /// Accepts everything that the device has not sent, and tells it.
    pub(crate) fn accept_all(&mut self, device: &Device) {
        let receipts: Vec<Receipt> = device
            .client
            .outbox(0, 64, usize::MAX)
            .unwrap()
            .iter()
            .map(|b| self.accept(device, b))
            .collect();
        device.client.apply_receipts(&receipts).unwrap();
    }

    pub(crate) fn accept(&mut self, device: &Device, batch: &Batch) -> Receipt {
        self.position += 1;
        let mut documents = Vec::new();
        for changes in &batch.documents {
            let number = self.number_of(&changes.document);
            let identity = self.documents[&number].0.clone();
            let judged = self.judged.entry(number).or_default();
            judged.take(device, &identity, &changes.changes);
            let entry = self.documents.get_mut(&number).unwrap();
            entry.1.extend(changes.changes.iter().cloned());
            documents.push(AcceptedDocument { id: entry.0.id.clone(), number });
        }
        let outcome = Outcome::Accepted { position: self.position, documents };
        self.receipt(device, batch.id, outcome)
    }

    pub(crate) fn refuse(&mut self, device: &Device, batch: BatchId, code: &str) -> Receipt {
        let refusal = Refusal {
            code: code.to_owned(),
            text: "not allowed here".to_owned(),
            document: None,
            field: Some("name".to_owned()),
            rule: None,
        };
        self.receipt(device, batch, Outcome::Refused { reasons: vec![refusal] })
    }

    pub(crate) fn receipt(&mut self, device: &Device, batch: BatchId, outcome: Outcome) -> Receipt {
        let replica = device.client.hello(String::new()).unwrap().replica;
        let member = device.client.member();
        let name = device.name.to_owned();
        self.authors.insert(replica, AuthorName { replica, member, name });
        let number = self.receipts.entry(replica).or_insert(0);
        *number += 1;
        Receipt { number: *number, batch, outcome, policy_version: 1, erased: Vec::new() }
    }

    /// Everything that was accepted, as changes.
    pub(crate) fn page(&self) -> Page {
        let entries = self.documents.iter().map(|(number, (identity, changes))| Entry::Changes {
            number: *number,
            identity: Some(identity.clone()),
            changes: changes.clone(),
        });
        Page {
            cursors: vec![self.cursor()],
            entries: entries.collect(),
            authors: self.authors.values().cloned().collect(),
            head: self.position,
            dropped: Vec::new(),
        }
    }

    pub(crate) fn cursor(&self) -> ScopeCursor {
        let cursor = Cursor { position: self.position, from: None };
        ScopeCursor { scope: String::new(), cursor }
    }

    pub(crate) fn give_all(&self, device: &Device) {
        let applied = device.client.apply_page(&self.page()).unwrap();
        assert_eq!(applied.fetch, Vec::<u64>::new());
    }

    pub(crate) fn number(&self, id: &DocumentId) -> u64 {
        *self.documents.iter().find(|(_, (identity, _))| identity.id == *id).unwrap().0
    }

    fn number_of(&mut self, document: &DocumentRef) -> u64 {
        match document {
            DocumentRef::Number(number) => *number,
            DocumentRef::Identity(identity) => {
                let known = self.documents.iter().find(|(_, (known, _))| known.id == identity.id);
                known.map(|(number, _)| *number).unwrap_or_else(|| {
                    let number = self.documents.len() as u64 + 1;
                    self.documents.insert(number, (identity.clone(), Vec::new()));
                    number
                })
            }
        }
    }
}

/// A document as the door knows it.
#[derive(Default)]
struct Judged {
    cells: Cells,
    /// What each change covers.
    index: BTreeMap<ChangeHash, Known>,
    bytes: Vec<Vec<u8>>,
}

impl Judged {
    fn take(&mut self, device: &Device, identity: &Identity, changes: &[SentChange]) {
        let schema = device.client.schema();
        let mut before = None;
        for sent in changes {
            let deps = match &sent.deps {
                Dependencies::Chained => vec![before.unwrap()],
                Dependencies::Short(prefixes) => prefixes.iter().map(|p| self.find(*p)).collect(),
                Dependencies::Long(hashes) => hashes.clone(),
            };
            let mut past = Known::default();
            for dep in &deps {
                past.add(self.index[dep].max_op, &self.index[dep].clock);
            }
            let change = sent.clone().with_deps(deps);
            if self.cells.holds(&change) {
                before = Some(change.encode().hash);
                continue;
            }
            let situation = Situation {
                entity: schema.entity(&identity.entity).unwrap(),
                section: &identity.id.section,
                cells: &self.cells,
                past: &past,
                sender: device.client.hello(String::new()).unwrap().replica,
                now: Timestamp::from_millis(NOON + 10 * 365 * 24 * 3_600_000),
                history: History::Current,
            };
            let judgement = match judge(&change, &sent.claim, &situation) {
                Ok(Judgement::NeedsDocument) => {
                    let bytes = self.bytes.iter().map(Vec::as_slice);
                    let document = Document::load(Purpose::SlowDoor, None, bytes).unwrap();
                    judge_with(&change, &sent.claim, &situation, document)
                }
                other => other,
            };
            let Ok(Judgement::Admitted(admitted)) = judgement else {
                panic!("the door refuses {change:?}: {judgement:?}");
            };
            let known = Known { max_op: change.max_op().max(past.max_op), clock: admitted.clock };
            self.index.insert(admitted.encoded.hash, known);
            self.bytes.push(admitted.encoded.bytes.clone());
            self.cells = admitted.cells;
            before = Some(admitted.encoded.hash);
        }
    }

    fn find(&self, prefix: u32) -> ChangeHash {
        let found = self.index.keys().find(|hash| hash.0.starts_with(&prefix.to_be_bytes()));
        *found.expect("a batch names dependencies that the server has")
    }
}

pub(crate) fn welcome(device: &Device, server_time: i64) -> Welcome {
    Welcome {
        version: 1,
        epoch: Epoch([9; 16]),
        lineage: Vec::new(),
        lease: Lease([3; 16]),
        receipts: Vec::new(),
        scopes: vec!["territory:west".to_owned()],
        limits: PeerLimits { batches_in_flight: 16, pages_in_flight: 4 },
        server_time: Timestamp::from_millis(server_time),
        schema: None,
        backed_up_to: 0,
        head: 0,
        member: device.client.member(),
        member_name: device.name.to_owned(),
        policy_version: 1,
        policy: None,
        standing: crdt_core::policy::Standing::unlisted(device.client.member()),
        token_expires: Timestamp::from_millis(4_000_000_000_000),
        recovery: crdt_core::protocol::Recovery::Unknown,
    }
}
