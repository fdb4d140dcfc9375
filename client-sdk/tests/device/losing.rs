//! Scopes that are gained and lost, and records that leave: the file keeps no trace of what its member may
//! not see any more, and nothing of what its member wrote is lost.

use std::sync::{MutexGuard, PoisonError};

use client_sdk::{Edits, Paging, RecordId, SyncState, Timestamp};
use crdt_core::id::{DocumentId, Section};
use crdt_core::protocol::{Cursor, Entry, Page, ScopeCursor, Welcome};

use crate::harness::{Device, NOON, Relay, both_with, welcome};
use crate::records::LOADS;

/// What may stand nowhere in a file after it left.
const CANARY: &str = "zqcanary";
/// The same as an amount of money, in minor units.
const AMOUNT: &str = "7394160285";

fn scopes(device: &Device, names: &[&str]) -> Welcome {
    let scopes = names.iter().map(|&name| name.to_owned()).collect();
    Welcome { scopes, ..welcome(device, NOON) }
}

fn at(scope: &str, position: u64, from: Option<u64>) -> ScopeCursor {
    ScopeCursor { scope: scope.to_owned(), cursor: Cursor { position, from } }
}

fn page(cursors: Vec<ScopeCursor>) -> Page {
    Page { cursors, entries: vec![], authors: vec![], head: 0, dropped: vec![] }
}

/// Scopes that the next hello names, with their positions.
fn exceptions(device: &Device) -> Vec<(String, u64)> {
    let hello = device.client.hello(String::new()).unwrap();
    hello.exceptions.into_iter().map(|at| (at.scope, at.cursor.position)).collect()
}

fn unsettled(device: &Device) -> (Vec<String>, Vec<String>) {
    let access = device.client.status().access;
    (access.scopes_gained, access.scopes_lost)
}

/// Whether the database or its log holds the canary, in either case or as bytes of a string.
fn files_with_canary(device: &Device) -> Vec<String> {
    let mut found = Vec::new();
    for suffix in ["", "-wal", "-shm"] {
        let mut path = device.path.clone().into_os_string();
        path.push(suffix);
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for canary in [CANARY, AMOUNT] {
            let hits = bytes
                .windows(canary.len())
                .filter(|window| window.eq_ignore_ascii_case(canary.as_bytes()))
                .count();
            if hits > 0 {
                found.push(format!("{hits} times {canary} in the file{suffix}"));
            }
        }
    }
    found
}

#[test]
fn a_lost_scope_is_told_at_every_hello_until_its_records_have_left() {
    let device = Device::new("ada");
    let client = &device.client;
    client.apply_welcome(&scopes(&device, &["territory:west", "owner:me"]), 0).unwrap();
    client.apply_page(&page(vec![at("", 7, None)])).unwrap();
    assert_eq!(exceptions(&device), []);
    client.apply_welcome(&scopes(&device, &["owner:me"]), 0).unwrap();
    assert_eq!(exceptions(&device), [("territory:west".to_owned(), 7)]);
    // A page for all the others says nothing of it, and a restart forgets nothing.
    client.apply_page(&page(vec![at("", 9, None)])).unwrap();
    client.apply_welcome(&scopes(&device, &["owner:me"]), 0).unwrap();
    assert_eq!(exceptions(&device), [("territory:west".to_owned(), 7)]);

    let dropped = vec!["territory:west".to_owned()];
    client.apply_page(&Page { dropped, ..page(vec![at("", 10, None)]) }).unwrap();
    assert_eq!(exceptions(&device), []);
    let rows = client.query("SELECT scope FROM scope WHERE scope != ''", &[], Paging::first(9));
    assert_eq!(rows.unwrap().rows.len(), 1);
}

#[test]
fn a_scope_that_is_lost_and_back_begins_anew() {
    let device = Device::new("ada");
    let client = &device.client;
    client.apply_welcome(&scopes(&device, &["territory:west", "owner:me"]), 0).unwrap();
    client.apply_page(&page(vec![at("", 7, None)])).unwrap();
    client.apply_welcome(&scopes(&device, &["owner:me"]), 0).unwrap();
    client.apply_welcome(&scopes(&device, &["territory:west", "owner:me"]), 0).unwrap();
    assert_eq!(exceptions(&device), [("territory:west".to_owned(), 0)]);
}

#[test]
fn the_status_tells_of_scopes_that_come_and_go() {
    let mut device = Device::new("ada");
    device.client.apply_welcome(&scopes(&device, &["a", "b"]), 0).unwrap();
    device.client.apply_page(&page(vec![at("a", 3, None), at("b", 2, Some(0))])).unwrap();
    device.reopen().unwrap();
    assert_eq!(unsettled(&device), (vec!["b".to_owned()], vec![]));
    device.client.apply_page(&page(vec![at("", 3, None)])).unwrap();
    device.client.apply_welcome(&scopes(&device, &["b", "c"]), 0).unwrap();
    device.reopen().unwrap();
    assert_eq!(unsettled(&device), (vec!["c".to_owned()], vec!["a".to_owned()]));
    let access = device.client.status().access;
    assert_eq!(access.policy_version, 1);
    assert_eq!(access.token_expires, Some(Timestamp::from_millis(4_000_000_000_000)));
}

/// Accounts of two territories in turn, those of one with the canary in every place that holds a value, and
/// a contact of each; all of it on the server and on the reader's device.
struct Town {
    relay: Relay,
    writer: Device,
    reader: Device,
    lost: Vec<RecordId>,
    kept: Vec<RecordId>,
    /// Prose loads documents, which other tests count.
    _alone: MutexGuard<'static, ()>,
}

impl Town {
    fn new(accounts: usize) -> Self {
        let (writer, reader) = (Device::new("ada"), Device::new("bob"));
        reader
            .client
            .apply_welcome(&scopes(&reader, &["territory:west", "territory:east"]), 0)
            .unwrap();
        let mut town = Self {
            relay: Relay::default(),
            writer,
            reader,
            lost: Vec::new(),
            kept: Vec::new(),
            _alone: LOADS.lock().unwrap_or_else(PoisonError::into_inner),
        };
        for number in 0..accounts {
            for word in [CANARY, "harmless"] {
                town.settle(word, number);
            }
            // Some pages come while others are on the device already.
            if number % 16 == 15 {
                town.relay.accept_all(&town.writer);
                town.relay.give_all(&town.reader);
            }
        }
        town.relay.accept_all(&town.writer);
        town.relay.give_all(&town.reader);
        town
    }

    fn settle(&mut self, word: &str, number: usize) {
        let say = |what: &str| format!("{word} {what} {number}");
        let terms = if word == CANARY { 303 } else { 30 };
        let money = if word == CANARY { "73941602.85 USD" } else { "1.00 USD" };
        let account = Edits::new()
            .set("name", say("name"))
            .set("billing.street", say("street"))
            .add("tags", say("tag"))
            .set("credit_limit", money)
            .set("payment_terms_days", terms)
            .set_text("notes", say("notes").repeat(3));
        let id = self.writer.client.create("account", account).unwrap();
        let contact = Edits::new()
            .set("last_name", say("last name"))
            .add("emails", format!("{word}{number}@example.com"))
            .set("note", say("note").repeat(40))
            .set("account", id);
        let person = self.writer.client.create("contact", contact).unwrap();
        if word == CANARY { &mut self.lost } else { &mut self.kept }.extend([id, person]);
    }

    /// Everything that a device makes of records beyond receiving them.
    fn use_everything(&mut self) {
        let reader = &self.reader.client;
        let (lost, kept) = (self.lost[0], self.kept[0]);
        assert!(!reader.search("account", CANARY, 50).unwrap().is_empty());
        assert!(!reader.search("contact", CANARY, 50).unwrap().is_empty());
        // Undo rows, accepted batches that are kept, and folded histories.
        let long = |word: &str| format!("{word} {}", "x".repeat(1_500));
        for step in 0..16 {
            let edits =
                |word: &str| Edits::new().set("shipping.street", format!("{step} {}", long(word)));
            reader.update(lost, edits(CANARY)).unwrap();
            reader.update(kept, edits("harmless")).unwrap();
        }
        let new = "99999999.99 USD";
        reader.update(lost, Edits::new().set("credit_limit", new)).unwrap();
        self.relay.accept_all(&self.reader);
        while self.reader.client.idle_work().unwrap() {}
        // Conflicts, of a value and of a deletion.
        let reader = &self.reader.client;
        reader.update(lost, Edits::new().set("name", format!("{CANARY} mine"))).unwrap();
        reader.update(self.lost[2], Edits::new().set("name", format!("{CANARY} kept"))).unwrap();
        self.relay.accept_all(&self.reader);
        let theirs = Edits::new().set("name", format!("{CANARY} theirs")).unset("phone");
        self.writer.client.update(lost, theirs).unwrap();
        self.writer.client.delete(self.lost[2]).unwrap();
        self.relay.accept_all(&self.writer);
        self.relay.give_all(&self.reader);
        assert!(self.reader.client.conflicts(None).unwrap().len() >= 2);
        assert!(!files_with_canary(&self.reader).is_empty());
    }

    fn left(&self, of: impl Fn(&DocumentId) -> bool) -> Page {
        let entries = self.relay.page().entries.into_iter().filter_map(|entry| match entry {
            Entry::Changes { number, identity: Some(identity), .. } if of(&identity.id) => {
                Some(Entry::Left { number })
            }
            _ => None,
        });
        Page { entries: entries.collect(), ..page(vec![self.relay.cursor()]) }
    }
}

#[test]
fn what_left_is_in_no_byte_of_the_files() {
    // Enough of them that pages of every table and index are split while they come.
    let mut town = Town::new(200);
    town.use_everything();
    let left = town.left(|id| town.lost.contains(&id.record));
    let dropped = vec!["territory:west".to_owned()];
    town.reader.client.apply_page(&Page { dropped, ..left }).unwrap();

    assert_eq!(files_with_canary(&town.reader), Vec::<String>::new());
    let client = &town.reader.client;
    assert!(client.search("account", CANARY, 50).unwrap().is_empty());
    assert!(client.conflicts(None).unwrap().is_empty());
    for id in &town.lost {
        assert_eq!(client.get(*id).unwrap(), None);
    }
    for id in &town.kept {
        assert!(client.get(*id).unwrap().is_some());
    }
    assert_eq!(client.search("account", "harmless", 500).unwrap().len(), 200);
    assert!(client.verify().unwrap().differing.is_empty());
    let client = reopened(&mut town.reader);
    assert!(client.verify().unwrap().differing.is_empty());
    assert_eq!(files_with_canary(&town.reader), Vec::<String>::new());
}

fn reopened(device: &mut Device) -> client_sdk::Client {
    device.reopen().unwrap();
    device.client.clone()
}

#[test]
fn records_that_leave_one_by_one_leave_no_trace_either() {
    let mut town = Town::new(12);
    town.use_everything();
    for id in town.lost.clone() {
        let left = town.left(|document| document.record == id);
        town.reader.client.apply_page(&left).unwrap();
    }
    assert_eq!(files_with_canary(&town.reader), Vec::<String>::new());
}

#[test]
fn a_lost_section_leaves_no_trace_and_its_record_stays() {
    let mut town = Town::new(8);
    town.use_everything();
    let finance: Section = "finance".parse().unwrap();
    let id = town.lost[0];
    let client = &town.reader.client;
    assert!(client.get(id).unwrap().unwrap().text("credit_limit").is_some());
    client.apply_page(&town.left(|document| document.section == finance)).unwrap();
    let record = client.get(id).unwrap().unwrap();
    assert_eq!(
        (record.value("credit_limit").is_null(), record.int("payment_terms_days")),
        (true, None)
    );
    assert!(record.text("name").unwrap().starts_with(CANARY));
    let found = files_with_canary(&town.reader);
    assert!(found.iter().all(|hit| !hit.contains(AMOUNT)), "{found:?}");
    let rows = client.query(
        "SELECT count(*) FROM account WHERE payment_terms_days = 303 OR credit_limit IS NOT NULL",
        &[],
        Paging::first(1),
    );
    assert_eq!(rows.unwrap().rows[0][0].as_int(), Some(0));
}

#[test]
fn what_was_written_to_a_record_that_left_is_sent_and_goes_once_it_is_answered() {
    let mut town = Town::new(4);
    let id = town.lost[0];
    let mine = format!("{CANARY} written offline");
    town.reader.client.update(id, Edits::new().set("name", mine)).unwrap();
    let sent = town.reader.client.outbox(0, 9, usize::MAX).unwrap();
    let left = town.left(|id| town.lost.contains(&id.record));
    town.reader.client.apply_page(&left).unwrap();
    assert_eq!(town.reader.client.get(id).unwrap(), None);
    assert_eq!(town.reader.client.outbox(0, 9, usize::MAX).unwrap(), sent);
    assert!(!files_with_canary(&town.reader).is_empty(), "it is still to be sent");

    town.relay.accept_all(&town.reader);
    assert!(town.reader.client.unsent().unwrap().is_empty());
    // The next page, which says no more than that all has come.
    town.reader.client.apply_page(&page(vec![town.relay.cursor()])).unwrap();
    assert_eq!(files_with_canary(&town.reader), Vec::<String>::new());
}

#[test]
fn a_reader_in_the_way_only_puts_it_off() {
    let mut town = Town::new(4);
    town.use_everything();
    let left = town.left(|id| town.lost.contains(&id.record));
    let other = rusqlite::Connection::open(&town.reader.path).unwrap();
    other.execute_batch("BEGIN").unwrap();
    let count: i64 = other.query_row("SELECT count(*) FROM account", [], |row| row.get(0)).unwrap();
    assert!(count > 0);
    town.reader.client.apply_page(&left).unwrap();
    assert!(!files_with_canary(&town.reader).is_empty());
    drop(other);
    while town.reader.client.idle_work().unwrap() {}
    assert_eq!(files_with_canary(&town.reader), Vec::<String>::new());
}

#[test]
fn a_record_that_comes_back_is_whole() {
    let town = Town::new(2);
    let id = town.lost[0];
    let before = town.reader.client.get(id).unwrap().unwrap();
    let left = town.left(|id| town.lost.contains(&id.record));
    town.reader.client.apply_page(&left).unwrap();
    town.relay.give_all(&town.reader);
    let after = town.reader.client.get(id).unwrap().unwrap();
    assert_eq!(after, before);
    assert_eq!(after.sync_state(), SyncState::Synced);
    assert_eq!(town.reader.client.search("account", CANARY, 9).unwrap().len(), 2);
}

/// Pages that may bring back a record which left: all of its changes, from the first one on.
#[test]
fn a_record_that_comes_back_before_its_unsent_edits_are_answered_is_here_with_and_without_them() {
    let _alone = LOADS.lock().unwrap_or_else(PoisonError::into_inner);
    for is_accepted in [true, false] {
        let (_ada, bob, mut relay, id) =
            both_with(Edits::new().set("name", "Acme").set_text("notes", "base"));
        let edits = Edits::new().set("territory", "west").splice("notes", 4, 0, " by bob");
        bob.client.update(id, edits).unwrap();
        let number = relay.number(&DocumentId { record: id, section: Section::main() });
        let left = Page { entries: vec![Entry::Left { number }], ..page(vec![]) };
        bob.client.apply_page(&left).unwrap();
        assert!(bob.client.get(id).unwrap().is_none());

        relay.give_all(&bob);
        let shown = bob.client.get(id).unwrap().unwrap();
        let seen = (shown.text("name"), shown.text("territory"), shown.text("notes"));
        assert_eq!(seen, (Some("Acme"), Some("west"), Some("base by bob")));
        if is_accepted {
            relay.accept_all(&bob);
        } else {
            let batch = bob.client.outbox(0, 1, usize::MAX).unwrap().remove(0);
            let receipt = relay.refuse(&bob, batch.id, "forbidden");
            bob.client.apply_receipts(&[receipt]).unwrap();
        }
        let shown = bob.client.get(id).unwrap().unwrap();
        let seen = (shown.text("name"), shown.text("territory"), shown.text("notes"));
        let wanted = match is_accepted {
            true => (Some("Acme"), Some("west"), Some("base by bob")),
            false => (Some("Acme"), None, Some("base")),
        };
        assert_eq!(seen, wanted);
        assert!(bob.client.verify().unwrap().differing.is_empty());
    }
}

#[test]
fn a_record_that_left_is_asked_for_once_what_was_written_to_it_is_accepted() {
    let _alone = LOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut relay = Relay::default();
    let id = ada.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    bob.client.update(id, Edits::new().set("territory", "west")).unwrap();
    let number = relay.number(&DocumentId { record: id, section: Section::main() });
    let left = Page { entries: vec![Entry::Left { number }], ..page(vec![]) };
    bob.client.apply_page(&left).unwrap();
    let batch = bob.client.outbox(0, 1, usize::MAX).unwrap().remove(0);
    let receipt = relay.accept(&bob, &batch);
    // It may be among what the member sees again, and the server sends no device its own changes.
    assert_eq!(bob.client.apply_receipts(&[receipt]).unwrap().fetch, [number]);
    assert!(bob.client.get(id).unwrap().is_none());
    relay.give_all(&bob);
    let shown = bob.client.get(id).unwrap().unwrap();
    assert_eq!((shown.text("name"), shown.text("territory")), (Some("Acme"), Some("west")));
}
