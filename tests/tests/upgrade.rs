//! Files and frames of every released format, opened by this build: what they say, and that sync goes on from
//! them. `cargo run -p tests --bin make_fixtures` makes those of a format that is not released yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crdt_core::id::{BatchId, ReplicaId};
use crdt_core::protocol::{Batch, Hello, Message, Outcome, Staged, decode_frame};
use rusqlite::Connection;
use sync_server::ledger::Ledger;
use sync_server::store;
use sync_server::workspace::Submitted;
use tests::fixtures::capture::{self, Captured, Sender};
use tests::fixtures::stage::{Person, Stage, Thanks, now, open_device, open_workspace};
use tests::fixtures::{FORMAT, LEDGER, folder, summary, unpack};

/// Tables in which nothing stands at the end of an ordinary story, and why.
const EMPTY: &[(&str, &str)] = &[
    ("_broken", "nothing was damaged"),
    ("ahead", "the server was restored by its command"),
    ("lost", "nothing was lost by the restore"),
    ("_relay", "everything was given back after the restore"),
    ("parked", "nothing was given back that lacks a dependency"),
    ("presumed", "every replica that wrote here has been here"),
    ("relayed", "the restore lost nothing that could be given back"),
    ("withdrawn", "nothing that was refused was given back"),
];

/// A format's files, unpacked.
struct Unpacked {
    folder: tempfile::TempDir,
    kept: PathBuf,
}

impl Unpacked {
    fn of(format: &str) -> Self {
        let (folder, kept) = (tempfile::tempdir().unwrap(), folder(format));
        for name in ["device.db", "server.db", LEDGER] {
            std::fs::write(folder.path().join(name), unpack(&kept, name).unwrap()).unwrap();
        }
        Self { folder, kept }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.kept.join(name)).unwrap()
    }

    fn ada(&self) -> Person {
        open_device(&self.path("device.db"), "ada", 40).unwrap()
    }

    fn stage(&self) -> Stage {
        // Leases of its own, so that none is one that was given before.
        Stage::on(open_workspace(&self.path("server.db")).unwrap(), 100)
    }

    fn captured(&self) -> Vec<Captured> {
        capture::from_bytes(&unpack(&self.kept, "capture").unwrap()).unwrap()
    }
}

/// Every format that was ever released, and the present one.
fn formats() -> Vec<String> {
    let here = folder(FORMAT);
    let found = std::fs::read_dir(here.parent().unwrap()).unwrap();
    let names = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.collect();
    assert!(names.iter().any(|name| name == FORMAT), "the present format has no fixtures");
    names
}

#[test]
fn a_device_of_every_format_says_what_it_said() {
    for format in formats() {
        let unpacked = Unpacked::of(&format);
        let ada = unpacked.ada();
        assert_eq!(ada.client.open_report().damaged, None);
        assert_eq!(summary::of_device(&ada.client).unwrap(), unpacked.said("device.txt"));
        assert!(ada.client.verify().unwrap().differing.is_empty());
    }
}

#[test]
fn a_workspace_of_every_format_says_what_it_said_and_its_audit_is_sound() {
    for format in formats() {
        let unpacked = Unpacked::of(&format);
        let stage = unpacked.stage();
        let said = summary::of_server(&*stage.workspace.store()).unwrap();
        assert_eq!(said, unpacked.said("server.txt"));
        let checked = store::sqlite::backup::check(&unpacked.path("server.db"));
        assert!(checked.is_ok(), "{checked:?}");
    }
}

#[test]
fn the_ledger_of_every_format_says_what_was_erased_and_who_is_shut_out() {
    for format in formats() {
        let unpacked = Unpacked::of(&format);
        let ledger = Ledger::open(&unpacked.path(LEDGER)).unwrap();
        let store = unpacked.stage().workspace.store();
        let erased = store::read(&*store, |tx| tx.erased_after(0, usize::MAX >> 1)).unwrap();
        let revoked = store::read(&*store, |tx| tx.revoked()).unwrap();
        assert!(!erased.is_empty() && !revoked.is_empty());
        assert!(erased.iter().all(|(_, record)| ledger.is_erased(record)));
        assert_eq!(ledger.revoked().into_iter().collect::<Vec<_>>(), revoked);
    }
}

#[test]
fn sync_goes_on_from_the_files_of_every_format() {
    for format in formats() {
        let unpacked = Unpacked::of(&format);
        let (ada, mut stage) = (unpacked.ada(), unpacked.stage());
        let before = ada.client.accounting().unwrap();
        assert!(before.pending > 0 && before.open > 0, "{before:?}");
        stage.sync(&ada, Thanks::Said, &mut Vec::new()).unwrap();
        let after = ada.client.accounting().unwrap();
        assert!(after.balances(), "{after:?}");
        assert_eq!((after.pending, after.accepted), (0, before.accepted + before.pending));
        // Somebody new is sent the same.
        let newcomer = open_device(&unpacked.path("new.db"), "ada", 41).unwrap();
        stage.sync(&newcomer, Thanks::Said, &mut Vec::new()).unwrap();
        let rows = |person: &Person| {
            let said = summary::of_device(&person.client).unwrap();
            let is_row = |line: &&str| {
                !["dispute", "unsent", "accounting"].iter().any(|word| line.starts_with(word))
            };
            // Whether a record has a dispute is the file's own as well.
            let row = |line: &str| {
                let own = |word: &&str| !word.starts_with("_sync_state=");
                line.split(' ').filter(own).collect::<Vec<_>>().join(" ")
            };
            said.lines().filter(is_row).map(row).collect::<Vec<_>>()
        };
        assert_eq!(rows(&newcomer), rows(&ada));
    }
}

#[test]
fn frames_of_every_format_are_read_and_mean_what_they_meant() {
    for format in formats() {
        let unpacked = Unpacked::of(&format);
        let mut stage = unpacked.stage();
        // What a device is told makes the rows that it made: the last conversation was a newcomer's.
        let newcomer = open_device(&unpacked.path("new.db"), "ada", 42).unwrap();
        let (mut staged, mut names) = (Staged::default(), BTreeSet::new());
        let mut hellos: Vec<Box<Hello>> = Vec::new();
        for captured in unpacked.captured() {
            let message = decode_frame(&captured.frame).unwrap();
            names.insert(message.name());
            let is_newcomers =
                hellos.first().map(|hello| hello.device) != hellos.last().map(|hello| hello.device);
            match (captured.sender, message) {
                (Sender::Device, Message::Hello(hello)) => hellos.push(hello),
                (Sender::Device, Message::Push(push)) => {
                    let replica = hellos.last().unwrap().replica;
                    pushed_before(&mut stage, replica, &newcomer, push.batches);
                }
                (Sender::Server, Message::Welcome(welcome)) if is_newcomers => {
                    newcomer.client.apply_welcome(&welcome, 0).unwrap();
                }
                (Sender::Server, Message::Page(part)) => {
                    let whole = staged.take(part).unwrap();
                    if let Some((_, page)) = whole.filter(|_| is_newcomers) {
                        newcomer.client.apply_page(&page).unwrap();
                    }
                }
                (Sender::Server, Message::Welcome(welcome)) => assert!(!welcome.scopes.is_empty()),
                (Sender::Server, Message::Receipts(receipts)) => assert!(!receipts.is_empty()),
                (Sender::Device, Message::Ack(ack)) => assert!(ack.page > 0),
                (sender, other) => panic!("{sender:?} says {other:?}"),
            }
        }
        assert_eq!(summary::of_device(&newcomer.client).unwrap(), unpacked.said("capture.txt"));
        let all = ["ack", "hello", "page", "push", "receipts", "welcome"];
        assert_eq!(names, all.into(), "the others stand in crdt-core/tests/golden");
    }
}

/// Batches that the log has are answered as such when they come again. The server forgets a refusal that a device
/// has stored, so that one is judged anew.
fn pushed_before(stage: &mut Stage, replica: ReplicaId, who: &Person, batches: Vec<Batch>) {
    let log = store::read(&*stage.workspace.store(), |tx| tx.batches_after(0, usize::MAX >> 1));
    let log: BTreeMap<BatchId, u64> =
        log.unwrap().into_iter().map(|batch| (batch.id, batch.position)).collect();
    let submit = |batch| Submitted { replica, member: who.member, batch };
    let group: Vec<Submitted> = batches.into_iter().map(submit).collect();
    let committed = stage.workspace.commit(now(), &group).unwrap();
    assert_eq!(committed.receipts.len(), group.len());
    for (_, receipt) in committed.receipts {
        let already = match receipt.outcome {
            Outcome::Already { position, .. } => Some(position),
            Outcome::Accepted { .. } | Outcome::Refused { .. } => None,
        };
        assert_eq!(already, log.get(&receipt.batch).copied(), "{receipt:?}");
    }
}

#[test]
fn every_table_of_the_fixtures_holds_something() {
    for format in formats() {
        let unpacked = Unpacked::of(&format);
        for file in ["device.db", "server.db"] {
            let empty = empty_tables(&unpacked.path(file));
            let known: BTreeSet<String> =
                EMPTY.iter().map(|(name, _)| (*name).to_owned()).collect();
            let unknown: Vec<_> = empty.difference(&known).collect();
            assert!(unknown.is_empty(), "{format}/{file}: {unknown:?}");
        }
    }
}

fn empty_tables(path: &Path) -> BTreeSet<String> {
    let file = Connection::open(path).unwrap();
    // Rows of entities that nobody has used, words of full text, and shadow tables say nothing of the format.
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
               AND name NOT LIKE '%\\_fts%' ESCAPE '\\' AND name NOT LIKE '%\\_\\_%' ESCAPE '\\'";
    let mut statement = file.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let entities = crdt_core::schema::Schema::builtin();
    let names = names.map(Result::unwrap).filter(|name| entities.entity(name).is_none());
    let is_empty = |name: &String| {
        let sql = format!("SELECT count(*) FROM \"{name}\"");
        file.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() == 0
    };
    names.filter(is_empty).collect()
}
