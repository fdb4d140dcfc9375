//! A workspace on a real file, with devices that talk to it directly.

use std::collections::BTreeMap;
use std::sync::Arc;

use crdt_core::id::{DocumentId, Epoch, Lease, MemberId, RecordId};
use crdt_core::policy::{Policy, Subscription};
use crdt_core::protocol::{Batch, Goodbye, Outcome, Page, PeerLimits, Receipt, Refusal, Welcome};
use crdt_core::record::Cells;
use crdt_core::schema::Schema;
use crdt_core::time::Timestamp;
use sync_server::session::BuiltPage;
use sync_server::store::sqlite::{SqliteOptions, SqliteStore};
use sync_server::store::{self, Store, StoreError};
use sync_server::workspace::{
    Committed, Feed, HelloError, MemberChanges, Rescoping, Stride, Submitted, Workspace,
};

use super::device::{Device, NOW_MS};

pub const LIMITS: PeerLimits = PeerLimits { batches_in_flight: 16, pages_in_flight: 4 };

/// A policy of these roles beside an administrator's, who may do everything.
pub fn policy_of(version: u64, roles: &str) -> String {
    let admin = r#"
[role.admin]
[[role.admin.allow]]
entities = "*"
on = ["all"]
actions = "*"
sections = "*"
"#;
    format!("version = {version}\n{admin}{roles}")
}

/// A member by number.
pub fn member(n: u8) -> MemberId {
    MemberId(format!("018f0000-0000-7000-8000-0000000000{n:02x}").parse::<MemberId>().unwrap().0)
}

/// A workspace.
pub struct World {
    pub workspace: Workspace,
    pub store: Arc<dyn Store>,
    leases: u64,
    directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self::with(None, Schema::builtin().text(), SqliteOptions::default())
    }

    /// A workspace with the policy of a sales organisation, whose members have no records yet.
    pub fn sales() -> Self {
        Self::with_policy(Policy::sales().text())
    }

    /// A workspace whose policy has these roles beside an administrator's.
    pub fn with_roles(roles: &str) -> Self {
        Self::with_policy(&policy_of(2, roles))
    }

    pub fn with_policy(policy: &str) -> Self {
        Self::with(Some(policy), Schema::builtin().text(), SqliteOptions::default())
    }

    pub fn with(policy: Option<&str>, schema: &str, options: SqliteOptions) -> Self {
        let directory = directory();
        let path = directory.path().join("w.db");
        SqliteStore::create(&path, Epoch([7; 16]), schema).unwrap();
        if let Some(policy) = policy {
            let store = SqliteStore::open(&path, options).unwrap();
            store::write(&store, |tx| tx.put_policy(policy)).unwrap();
        }
        let mut world = Self::open(directory, options);
        for n in 1..=3 {
            world.workspace.put_member(&member(n), &format!("Member {n}")).unwrap();
        }
        world
    }

    fn open(directory: tempfile::TempDir, options: SqliteOptions) -> Self {
        let opened = SqliteStore::open(&directory.path().join("w.db"), options);
        let store: Arc<dyn Store> = Arc::new(opened.unwrap());
        let workspace = Workspace::open(Arc::clone(&store), LIMITS).unwrap();
        Self { workspace, store, leases: 0, directory }
    }

    /// Closes the workspace's file and opens it again.
    pub fn reopen(self, options: SqliteOptions) -> Self {
        let Self { workspace, store, leases, directory } = self;
        drop((workspace, store));
        Self { leases, ..Self::open(directory, options) }
    }

    /// Gives a member a role and exactly these territories.
    pub fn set(&mut self, id: MemberId, role: &str, territories: &[&str]) -> Committed {
        let names = territories.iter().map(|name| (*name).to_owned());
        self.change(
            id,
            &MemberChanges {
                role: Some(role.to_owned()),
                territories: Some(names.collect()),
                ..MemberChanges::default()
            },
        )
    }

    /// Changes what the directory says of a member; one that it does not list is added.
    pub fn change(&mut self, id: MemberId, changes: &MemberChanges) -> Committed {
        let now = Self::now();
        let listed = self.workspace.members().any(|row| row.standing.member == id);
        let changed = match listed {
            true => self.workspace.set_member(now, id, changes),
            false => self.workspace.add_member(now, id, "Somebody", changes),
        };
        changed.unwrap()
    }

    /// Finds scopes again until there is nothing left to find; the steps that it took.
    pub fn settle(&mut self) -> Vec<Rescoping> {
        let mut steps = Vec::new();
        loop {
            match self.workspace.rescope_step(Self::now()).unwrap() {
                Rescoping::Idle => return steps,
                step => steps.push(step),
            }
            assert!(steps.len() < 10_000, "the steps never end");
        }
    }

    pub fn with_stride(self, stride: Stride) -> Self {
        Self { workspace: self.workspace.with_stride(stride), ..self }
    }

    /// The server's clock: a little after every edit.
    pub fn now() -> Timestamp {
        Timestamp::from_millis(NOW_MS + 60_000)
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("w.db")
    }

    pub fn lease(&mut self) -> Lease {
        self.leases += 1;
        let mut lease = [0; 16];
        lease[8..].copy_from_slice(&self.leases.to_be_bytes());
        Lease(lease)
    }

    /// A new device that has said hello.
    pub fn device(&mut self, n: u8) -> Device {
        self.device_of(n, member(1))
    }

    pub fn device_of(&mut self, n: u8, member: MemberId) -> Device {
        let mut device = Device::new(n, member);
        device.schema_version = self.workspace.schema().version();
        self.connect(&mut device);
        device
    }

    /// Connects a device; it stores the welcome.
    pub fn connect(&mut self, device: &mut Device) -> Feed {
        let lease = self.lease();
        let greeted = self.workspace.hello(Self::now(), lease, device.member, &device.hello());
        let greeting = greeted.unwrap();
        device.welcomed(&greeting.welcome);
        greeting.feed
    }

    /// The welcome of a device that need not store it.
    pub fn connect_with_welcome(&mut self, device: &Device) -> Box<Welcome> {
        let lease = self.lease();
        let greeted = self.workspace.hello(Self::now(), lease, device.member, &device.hello());
        Box::new(greeted.unwrap().welcome)
    }

    /// Why a hello is refused.
    pub fn refusal_of(&mut self, device: &Device) -> Goodbye {
        let lease = self.lease();
        match self.workspace.hello(Self::now(), lease, device.member, &device.hello()) {
            Err(HelloError::Refused(goodbye)) => goodbye,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn commit(&mut self, batches: &[(&Device, Batch)]) -> Result<Committed, StoreError> {
        self.commit_at(Self::now(), batches)
    }

    pub fn commit_at(
        &mut self,
        now: Timestamp,
        batches: &[(&Device, Batch)],
    ) -> Result<Committed, StoreError> {
        let submitted: Vec<Submitted> = batches
            .iter()
            .map(|(device, batch)| Submitted {
                replica: device.replica,
                member: device.member,
                batch: batch.clone(),
            })
            .collect();
        self.workspace.commit(now, &submitted)
    }

    /// Commits one batch; the device stores the receipt.
    pub fn push(&mut self, device: &mut Device, batch: Batch) -> Receipt {
        let mut committed = self.commit(&[(device, batch)]).unwrap();
        let (_, receipt) = committed.receipts.pop().expect("one batch has one receipt");
        device.received(&receipt);
        receipt
    }

    /// The position at which a batch is accepted.
    pub fn accept(&mut self, device: &mut Device, batch: Batch) -> u64 {
        match self.push(device, batch).outcome {
            Outcome::Accepted { position, .. } => position,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Why a batch is refused.
    pub fn refuse(&mut self, device: &mut Device, batch: Batch) -> Refusal {
        refusal(self.push(device, batch).outcome)
    }

    pub fn next_page(&self, feed: &mut Feed, flush: bool) -> Option<Page> {
        let mut passing = feed.clone();
        let passed = passing.pass_over(&self.workspace.recent(), self.head(), flush);
        let page = store::read(&*self.store, |tx| feed.next_page(tx, flush)).unwrap();
        if let Some(passed) = passed {
            let read = page.as_ref().map(|page| BuiltPage::new(page, feed.erased_up_to()));
            assert_eq!((passed, &passing), (read, &*feed), "passed over what is to be read");
        }
        page
    }

    /// Feeds a device until it has everything; gives the number of pages.
    pub fn drain(&self, device: &mut Device, feed: &mut Feed) -> usize {
        let mut pages = 0;
        while let Some(page) = self.next_page(feed, true) {
            device.apply(page);
            pages += 1;
            assert!(pages < 10_000, "the pages never end");
        }
        pages
    }

    /// Connects a device and feeds it until it has everything.
    pub fn sync(&mut self, device: &mut Device) -> usize {
        let mut feed = self.connect(device);
        self.drain(device, &mut feed)
    }

    pub fn head(&self) -> u64 {
        self.workspace.head().unwrap()
    }

    pub fn cells(&self, id: &DocumentId) -> Option<Cells> {
        let row = store::read(&*self.store, |tx| tx.find_document(id)).unwrap();
        row.map(|row| Cells::from_stored(&row.cells).unwrap())
    }

    /// What some of these subscriptions show.
    pub fn visible(&self, subscriptions: &[String]) -> BTreeMap<DocumentId, Cells> {
        let rows = store::read(&*self.store, |tx| {
            let mut rows = BTreeMap::new();
            for name in subscriptions {
                let subscription: Subscription = name.parse().unwrap();
                for row in tx.scope_after(&subscription.scope(), 0, usize::MAX >> 1)? {
                    let row = tx.document(row.document)?.expect("the index names what is there");
                    if subscription.admits(&row.entity) {
                        rows.insert(row.id, Cells::from_stored(&row.cells).unwrap());
                    }
                }
            }
            Ok(rows)
        });
        rows.unwrap()
    }

    /// The device has exactly what the server has in its scopes.
    #[track_caller]
    pub fn assert_same(&self, device: &Device) {
        let wanted = self.visible(&device.scopes);
        let held: BTreeMap<DocumentId, Cells> =
            device.documents.iter().map(|(id, held)| (id.clone(), held.cells.clone())).collect();
        assert_eq!(
            held.keys().collect::<Vec<_>>(),
            wanted.keys().collect::<Vec<_>>(),
            "not the same documents"
        );
        assert_eq!(held, wanted);
    }
}

/// The records of which the server has a document of this entity.
pub fn records_of(world: &World, entity: &str) -> Vec<RecordId> {
    let records = store::read(&*world.store, |tx| {
        let mut records = Vec::new();
        for record in tx.records_after(None, usize::MAX >> 1)? {
            if tx.route(&record)?.is_some_and(|route| route.entity == entity) {
                records.push(record);
            }
        }
        Ok(records)
    });
    records.unwrap()
}

/// Why a batch was refused.
pub fn refusal(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused { mut reasons } if reasons.len() == 1 => reasons.remove(0),
        other => panic!("not refused for one reason: {other:?}"),
    }
}

/// A folder in memory where there is one: what is tested is order, not disks.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
