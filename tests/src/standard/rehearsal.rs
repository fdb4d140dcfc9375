//! The rehearsal: a device, another one and a server, with both recording disks running.

use std::path::PathBuf;

use client_sdk::{Client, Edits, Paging, RecordId, Value};
use crdt_core::id::{Epoch, Lease, MemberId, ReplicaId};
use crdt_core::protocol::{Page, Receipt};
use sync_server::store::{self, sqlite::SqliteStore};
use sync_server::workspace::{Feed, Submitted, Workspace};

use super::device::{DeviceStep, config, member, schema};
use super::server::{self, Gave, ServerStep};
use super::{Tape, Taped};
use crate::vfs::Disk;

/// What was recorded.
#[derive(Debug)]
pub struct Rehearsed {
    /// On the device's disk.
    pub device: Tape<DeviceStep>,
    /// On the server's.
    pub server: Tape<ServerStep>,
}

/// Whether the disks do what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncs {
    /// They do.
    Honest,
    /// They answer syncs and do nothing.
    Lying,
}

/// Goes through the standard workload once.
///
/// # Panics
/// When anything in it fails.
#[must_use]
pub fn rehearse(syncs: Syncs) -> Rehearsed {
    let mut stage = Stage::new(syncs);
    stage.begin();
    stage.collide();
    stage.grow();
    stage.lose_a_scope();
    stage.work_offline();
    stage.end()
}

struct Stage {
    _folder: tempfile::TempDir,
    device: Side<DeviceStep>,
    server: Side<ServerStep>,
    client: Option<Client>,
    workspace: Option<Workspace>,
    other: Client,
    openings: u64,
    leases: u8,
}

struct Side<S> {
    disk: Disk,
    path: PathBuf,
    steps: Vec<Taped<S>>,
}

impl<S> Side<S> {
    fn taped<T>(&mut self, step: S, work: impl FnOnce(&S) -> T) -> T {
        let before = self.disk.as_written();
        let from = self.disk.recorded();
        let done = work(&step);
        self.steps.push(Taped { step, before, ops: from..self.disk.recorded() });
        done
    }

    fn tape(self) -> Tape<S> {
        let path = self.path.display().to_string();
        Tape { path, recording: self.disk.recording(), steps: self.steps }
    }
}

impl Stage {
    fn new(syncs: Syncs) -> Self {
        let folder = crate::harness::files::folder();
        let [path, server_path] = ["device.db", "server.db"].map(|name| folder.path().join(name));
        let checked = schema("employees = { type = \"int\", min = 0 }");
        SqliteStore::create(&server_path, Epoch([7; 16]), checked.text())
            .expect("an empty folder takes a workspace");
        let [disk, server_disk] = [&path, &server_path].map(|path| {
            let disk = Disk::new();
            if path.exists() {
                disk.find(path);
            }
            if syncs == Syncs::Lying {
                disk.lie();
            }
            disk.record();
            disk
        });
        let other = Client::open(config(&folder.path().join("other.db"), "bob", None, 1));
        Self {
            _folder: folder,
            device: Side { disk, path, steps: Vec::new() },
            server: Side { disk: server_disk, path: server_path, steps: Vec::new() },
            client: None,
            workspace: None,
            other: other.expect("an empty folder takes a device"),
            openings: 100,
            leases: 0,
        }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("the device is open")
    }

    // --------------------------------------------------------------------------------------- steps

    fn open_device(&mut self) {
        if let Some(client) = self.client.take() {
            client.close();
        }
        self.openings += 1;
        let config = config(&self.device.path, "ada", Some(&self.device.disk), self.openings);
        let opened = self.device.taped(DeviceStep::Open, |_| Client::open(config));
        self.client = Some(opened.expect("the device's file opens"));
    }

    fn open_server(&mut self) {
        self.workspace = None;
        let Side { disk, path, .. } = &self.server;
        let (disk, path) = (disk.clone(), path.clone());
        let opened = self.server.taped(ServerStep::Open, |_| server::open(&path, &disk));
        self.workspace = Some(opened.expect("the server's file opens"));
    }

    fn on_device(&mut self, step: DeviceStep) {
        let client = self.client().clone();
        let name = format!("{step:?}");
        let done = self.device.taped(step, |step| step.run(&client));
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    fn edit(
        &mut self,
        work: impl Fn(&mut client_sdk::Transaction<'_, '_>) -> Result<(), client_sdk::EditError>
        + Send
        + Sync
        + 'static,
    ) {
        self.on_device(DeviceStep::Edit(Box::new(work)));
    }

    fn on_server(&mut self, step: ServerStep) -> Gave {
        let workspace = self.workspace.as_mut().expect("the server is open");
        let name = format!("{step:?}");
        let done = self.server.taped(step, |step| step.run(workspace));
        done.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    // ---------------------------------------------------------------------------------------- sync

    fn greet(&mut self, who: MemberId, client: &Client) -> (Feed, DeviceStep) {
        self.leases += 1;
        let hello = client.hello(String::new()).expect("the file can be read");
        let lease = Lease([self.leases; 16]);
        let Gave::Greeting(greeting) =
            self.on_server(ServerStep::Hello(who, lease, Box::new(hello)))
        else {
            panic!("a handshake gives a greeting")
        };
        (greeting.feed, DeviceStep::Welcome(Box::new(greeting.welcome)))
    }

    fn unsent(client: &Client, who: MemberId) -> Vec<Submitted> {
        let replica = replica(client);
        let batches = client.outbox(0, 16, usize::MAX).expect("the file can be read");
        let submit = |batch| Submitted { replica, member: who, batch };
        batches.into_iter().map(submit).collect()
    }

    fn commit(&mut self, group: Vec<Submitted>) -> Vec<(ReplicaId, Receipt)> {
        if group.is_empty() {
            return Vec::new();
        }
        match self.on_server(ServerStep::Commit(group)) {
            Gave::Committed(committed) => committed.receipts,
            _ => panic!("a commit gives receipts"),
        }
    }

    fn pages(&self, feed: &mut Feed) -> Vec<Page> {
        let workspace = self.workspace.as_ref().expect("the server is open");
        let mut pages = Vec::new();
        while let Some(page) = store::read(&*workspace.store(), |tx| feed.next_page(tx, true))
            .expect("pages can be built")
        {
            pages.push(page);
        }
        pages
    }

    /// Both devices say hello, send what they have until nothing is left, and read what is new.
    fn sync(&mut self) {
        let (ada, bob) = (member("ada"), member("bob"));
        let (other, client) = (self.other.clone(), self.client().clone());
        let (mut feed, welcome) = self.greet(ada, &client);
        self.on_device(welcome);
        let (mut others_feed, welcome) = self.greet(bob, &other);
        welcome.run(&other).expect("the other device stores its welcome");
        loop {
            let mut group = Self::unsent(&client, ada);
            group.extend(Self::unsent(&other, bob));
            let receipts = self.commit(group);
            if receipts.is_empty() {
                break;
            }
            let of = |replica: ReplicaId| {
                let own = receipts.iter().filter(move |(to, _)| *to == replica);
                own.map(|(_, receipt)| receipt.clone()).collect::<Vec<_>>()
            };
            for (who, replica) in [("ada", replica(&client)), ("bob", replica(&other))] {
                let receipts = of(replica);
                let Some(last) = receipts.last().map(|receipt| receipt.number) else { continue };
                match who {
                    "ada" => self.on_device(DeviceStep::Receipts(receipts)),
                    _ => drop(other.apply_receipts(&receipts).expect("receipts are stored")),
                }
                self.on_server(ServerStep::Acknowledge(replica, last));
            }
        }
        for page in self.pages(&mut feed) {
            self.on_device(DeviceStep::Page(Box::new(page)));
        }
        for page in self.pages(&mut others_feed) {
            other.apply_page(&page).expect("the other device stores its pages");
        }
    }

    fn find(&self, name: &str) -> RecordId {
        let sql = "SELECT _id FROM account WHERE name = ?";
        let rows = self.client().query(sql, &[Value::Str(name.to_owned())], Paging::first(1));
        let rows = rows.expect("the tables can be read").rows;
        match &rows[0][0] {
            Value::Bytes(bytes) => RecordId::try_from(&bytes[..]).expect("ids have 16 bytes"),
            other => panic!("an id is {other:?}"),
        }
    }

    // --------------------------------------------------------------------------------------- story

    /// First edits, the first contact, and everything that the other one made.
    fn begin(&mut self) {
        self.open_device();
        let ada = RecordId(member("ada").0);
        for name in ["Hooli", "Acme", "Initech"] {
            self.edit(move |tx| {
                let edits = Edits::new().set("name", name).set("owner", ada).add("tags", "vip");
                let money = client_sdk::Money::from_minor(125_000, "USD").expect("a currency");
                let account = tx.create("account", edits.set("revenue", money))?;
                let contact = Edits::new().set("last_name", "Orr").set("account", account);
                tx.create("contact", contact)?;
                tx.update(account, Edits::new().set_text("notes", "Met at the fair."))
            });
        }
        let hooli = self.find("Hooli");
        self.edit(move |tx| tx.update(hooli, Edits::new().increment("visits", 1)));
        for number in 0..6 {
            let edits = Edits::new().set("name", format!("Other {number}"));
            self.other.create("account", edits).expect("the other device writes");
        }
        self.open_server();
        self.on_server(ServerStep::Member(member("ada"), "Ada"));
        self.on_server(ServerStep::Member(member("bob"), "Bob"));
        self.sync();
        self.on_device(DeviceStep::Search("hoo"));
        self.on_device(DeviceStep::Idle);
    }

    /// Edits of the same fields on both sides, a refusal, and what is rebased after it.
    fn collide(&mut self) {
        let (hooli, acme, initech) = (self.find("Hooli"), self.find("Acme"), self.find("Initech"));
        self.edit(move |tx| tx.update(hooli, Edits::new().set("country", "one")));
        self.edit(move |tx| tx.update(acme, Edits::new().set("employees", -1)));
        self.edit(move |tx| tx.update(acme, Edits::new().set("country", "two")));
        self.edit(move |tx| {
            tx.update(acme, Edits::new().increment("visits", 2))?;
            tx.update(initech, Edits::new().splice("notes", 0, 0, "Urgent! "))
        });
        for (id, country) in [(hooli, "three"), (acme, "four")] {
            let edits = Edits::new().set("country", country).remove("tags", "vip");
            self.other.update(id, edits).expect("the other device writes");
        }
        self.sync();
        self.on_device(DeviceStep::Search("urg"));
        self.edit(move |tx| tx.delete(initech));
        self.edit(move |tx| tx.restore(initech));
        self.open_device();
    }

    /// Histories that outgrow their snapshots on both sides.
    fn grow(&mut self) {
        let hooli = self.find("Hooli");
        for letter in ["a", "b", "c"] {
            self.edit(move |tx| {
                tx.update(hooli, Edits::new().set("country", letter.repeat(8_000)))
            });
        }
        for _ in 0..70 {
            let edits = Edits::new().increment("visits", 1);
            self.other.update(hooli, edits).expect("the other device writes");
        }
        self.sync();
        self.on_server(ServerStep::Fold);
        self.on_device(DeviceStep::Idle);
        self.open_server();
    }

    /// Another policy takes the other one's records from the device, without a trace.
    fn lose_a_scope(&mut self) {
        self.on_server(ServerStep::Policy(OWN_ONLY.to_owned()));
        self.on_server(ServerStep::Rescope);
        let hooli = self.find("Hooli");
        self.edit(move |tx| tx.update(hooli, Edits::new().set("country", "five")));
        self.sync();
        self.on_device(DeviceStep::Idle);
        self.edit(move |tx| tx.update(hooli, Edits::new().set("country", "six")));
        self.open_device();
        self.edit(move |tx| tx.update(hooli, Edits::new().increment("visits", 1)));
    }

    /// Unsent work of every kind, on records that the server has and on new ones.
    fn work_offline(&mut self) {
        let (hooli, acme) = (self.find("Hooli"), self.find("Acme"));
        for number in 0..UNSENT {
            self.edit(move |tx| {
                let edits = Edits::new().set("name", format!("Offline {number}"));
                let account = tx.create("account", edits)?;
                let contact = Edits::new().set("last_name", "Roe").set("account", account);
                tx.create("contact", contact)?;
                let id = if number % 2 == 0 { hooli } else { acme };
                let edits = Edits::new().increment("visits", 1).add("tags", format!("t{number}"));
                tx.update(id, edits.splice("notes", 0, 0, format!("{number} ")))
            });
        }
    }

    fn end(mut self) -> Rehearsed {
        assert!(self.client().accounting().expect("the file can be read").balances());
        self.client = None;
        self.workspace = None;
        Rehearsed { device: self.device.tape(), server: self.server.tape() }
    }
}

/// Transactions of the last days, which nobody was sent.
const UNSENT: usize = 12;

fn replica(client: &Client) -> ReplicaId {
    client.hello(String::new()).expect("the file can be read").replica
}

const OWN_ONLY: &str = r#"
version = 2
default_role = "rep"

[role.rep]
label = "Rep"

[[role.rep.allow]]
entities = "*"
on = ["own"]
actions = "*"
sections = "*"
"#;
