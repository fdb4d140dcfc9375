//! Pages: what fits is applied, what does not is asked for whole, and nothing of a bad entry remains.

use client_sdk::{Edits, Paging, RecordId, SyncState};
use crdt_core::id::{ChangeHash, DocumentId, Section};
use crdt_core::protocol::{Dependencies, Entry, Page};
use crdt_core::record::document::{Document, Purpose};
use crdt_core::record::{Cells, Change};

use crate::harness::{Device, Relay, both_with};
use crate::records::LOADS;

/// Two accounts on the server, and the page that brings them.
fn two_accounts() -> (Relay, Page, [RecordId; 2]) {
    let ada = Device::new("ada");
    let mut relay = Relay::default();
    let make = |name: &str| ada.client.create("account", Edits::new().set("name", name)).unwrap();
    let ids = [make("First"), make("Second")];
    relay.accept_all(&ada);
    let page = relay.page();
    (relay, page, ids)
}

fn changes_of(entry: &mut Entry) -> &mut Vec<crdt_core::protocol::SentChange> {
    match entry {
        Entry::Changes { changes, .. } => changes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_entry_that_does_not_fit_is_fetched_once_while_the_others_apply() {
    type Spoil = fn(&mut Vec<crdt_core::protocol::SentChange>);
    let spoilers: [(&str, Spoil); 9] = [
        ("a wrong claim", |changes| changes[0].claim[0] ^= 1),
        ("no claim", |changes| changes[0].claim.clear()),
        ("an unknown dependency", |changes| changes[0].deps = Dependencies::Short(vec![7])),
        ("a chain without a beginning", |changes| changes[0].deps = Dependencies::Chained),
        ("a start at 0", |changes| changes[0].change.start_op = 0),
        ("a start beyond 32 bits", |changes| changes[0].change.start_op = u64::MAX),
        ("number 0", |changes| changes[0].change.seq = 0),
        ("a time before everything", |changes| {
            changes[0].change.time = client_sdk::Timestamp::from_millis(i64::MIN);
        }),
        ("no operations", |changes| changes[0].change.ops.clear()),
    ];
    for (what, spoil) in spoilers {
        let (_, mut page, [first, second]) = two_accounts();
        let whole = page.clone();
        spoil(changes_of(&mut page.entries[0]));
        let bob = Device::new("bob");
        let applied = bob.client.apply_page(&page).unwrap();
        assert_eq!(applied.fetch, [1], "{what}");
        assert_eq!(bob.client.get(first).unwrap(), None, "{what}");
        assert_eq!(bob.client.get(second).unwrap().unwrap().text("name"), Some("Second"));
        assert_eq!(bob.client.hello(String::new()).unwrap().cursor.position, 2);

        let again = bob.client.apply_page(&page).unwrap();
        assert!(again.fetch.is_empty(), "{what}: asked for once");
        assert_eq!(bob.client.broken_count().unwrap(), 1);
        bob.client.apply_page(&whole).unwrap();
        assert_eq!(bob.client.broken_count().unwrap(), 0);
        assert_eq!(bob.client.get(first).unwrap().unwrap().text("name"), Some("First"));
    }
}

#[test]
fn a_document_without_identity_or_of_an_unknown_entity_is_set_aside() {
    let (_, mut page, [first, second]) = two_accounts();
    for (place, entry) in page.entries.iter_mut().enumerate() {
        let Entry::Changes { identity, .. } = entry else { continue };
        if place == 0 {
            *identity = None;
        } else if let Some(identity) = identity {
            identity.entity = "spaceship".to_owned();
        }
    }
    let bob = Device::new("bob");
    assert_eq!(bob.client.apply_page(&page).unwrap().fetch, [1, 2]);
    assert_eq!((bob.client.get(first).unwrap(), bob.client.get(second).unwrap()), (None, None));
}

/// The whole document that some changes make, as a server saves it.
fn save(changes: &[crdt_core::protocol::SentChange]) -> Vec<u8> {
    let mut known: Vec<ChangeHash> = Vec::new();
    let mut cells = Cells::default();
    let mut encoded = Vec::new();
    for sent in changes {
        let find = |prefix: &u32| {
            *known.iter().find(|hash| hash.0.starts_with(&prefix.to_be_bytes())).unwrap()
        };
        let deps = match &sent.deps {
            Dependencies::Chained => vec![*known.last().unwrap()],
            Dependencies::Short(prefixes) => prefixes.iter().map(find).collect(),
            Dependencies::Long(hashes) => hashes.clone(),
        };
        let change: Change = sent.clone().with_deps(deps);
        let bytes = change.encode();
        cells.apply(&change, bytes.hash);
        known.push(bytes.hash);
        encoded.push(bytes.bytes);
    }
    let bytes = encoded.iter().map(Vec::as_slice);
    Document::load(Purpose::Whole, None, bytes).unwrap().save().unwrap()
}

#[test]
fn a_whole_document_takes_the_place_of_what_was_accepted_and_keeps_what_was_not() {
    let _alone = LOADS.lock().unwrap();
    let (ada, bob, mut relay, id) =
        both_with(Edits::new().set("name", "Acme").set_text("notes", "base"));
    ada.client
        .update(id, Edits::new().set("phone", "123 4567").splice("notes", 0, 0, "> "))
        .unwrap();
    relay.accept_all(&ada);
    bob.client.update(id, Edits::new().set("name", "Mine").splice("notes", 4, 0, " mine")).unwrap();

    let mut page = relay.page();
    let identity = match &page.entries[0] {
        Entry::Changes { identity: Some(identity), .. } => identity.clone(),
        other => panic!("{other:?}"),
    };
    let snapshot = save(changes_of(&mut page.entries[0]));
    page.entries = vec![Entry::Document { number: 1, identity, snapshot, changes: vec![] }];
    assert!(bob.client.apply_page(&page).unwrap().fetch.is_empty());

    let record = bob.client.get(id).unwrap().unwrap();
    assert_eq!(record.text("name"), Some("Mine"));
    assert_eq!(record.text("phone"), Some("123 4567"));
    assert_eq!(record.text("notes"), Some("> base mine"));
    assert_eq!(record.sync_state(), SyncState::Pending);
    assert!(bob.client.verify().unwrap().differing.is_empty());
    relay.accept_all(&bob);
    relay.give_all(&ada);
    assert_eq!(ada.client.get(id).unwrap().unwrap().text("notes"), Some("> base mine"));
    // A later change finds its dependencies among the snapshot's heads.
    ada.client.update(id, Edits::new().set("name", "Hers")).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    assert_eq!(bob.client.get(id).unwrap().unwrap().text("name"), Some("Hers"));
}

#[test]
fn a_damaged_snapshot_is_set_aside() {
    let (_, mut page, [first, _]) = two_accounts();
    let Entry::Changes { identity: Some(identity), .. } = page.entries[0].clone() else { panic!() };
    for snapshot in [vec![], vec![7; 100]] {
        let identity = identity.clone();
        page.entries[0] = Entry::Document { number: 1, identity, snapshot, changes: vec![] };
        let bob = Device::new("bob");
        assert_eq!(bob.client.apply_page(&page).unwrap().fetch, [1]);
        assert_eq!(bob.client.get(first).unwrap(), None);
    }
}

#[test]
fn a_record_that_left_the_scopes_is_gone_but_what_was_written_to_it_is_still_sent() {
    let (mut relay, page, [first, second]) = two_accounts();
    let bob = Device::new("bob");
    bob.client.apply_page(&page).unwrap();
    bob.client.update(first, Edits::new().set("name", "Written offline")).unwrap();
    let sent = bob.client.outbox(0, 10, usize::MAX).unwrap();
    let left = Page {
        entries: vec![
            Entry::Left { number: 1 },
            Entry::Left { number: 2 },
            Entry::Left { number: 9 },
        ],
        ..page
    };
    bob.client.apply_page(&left).unwrap();

    assert_eq!((bob.client.get(first).unwrap(), bob.client.get(second).unwrap()), (None, None));
    let rows = bob.client.query("SELECT * FROM account", &[], Paging::first(9)).unwrap();
    assert!(rows.rows.is_empty());
    assert!(bob.client.search("account", "second", 9).unwrap().is_empty());
    assert_eq!(bob.client.outbox(0, 10, usize::MAX).unwrap(), sent);
    relay.accept_all(&bob);
    assert!(bob.client.unsent().unwrap().is_empty());
    let rows = bob.client.query("SELECT * FROM document", &[], Paging::first(9)).unwrap();
    assert!(rows.rows.is_empty());
}

#[test]
fn an_erased_record_leaves_no_trace_and_the_rest_of_its_batches_is_sent() {
    let (_, page, [first, second]) = two_accounts();
    let bob = Device::new("bob");
    bob.client.apply_page(&page).unwrap();
    bob.client
        .transaction(|tx| {
            tx.update(first, Edits::new().set("name", "Erased"))?;
            tx.update(second, Edits::new().set("name", "Kept"))
        })
        .unwrap();
    bob.client.update(first, Edits::new().set("phone", "123 4567")).unwrap();
    let erased = Page { entries: vec![Entry::Erased { mark: first.mark() }], ..page };
    bob.client.apply_page(&erased).unwrap();
    assert_eq!(bob.client.get(first).unwrap(), None);
    let sent = bob.client.outbox(0, 10, usize::MAX).unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].documents.len(), 1);
    assert_eq!(bob.client.get(second).unwrap().unwrap().text("name"), Some("Kept"));
}

#[test]
fn folding_changes_nothing_that_anybody_sees() {
    let _alone = LOADS.lock().unwrap();
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut relay = Relay::default();
    let id = ada.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    for number in 0..40 {
        let long = format!("{number} {}", "x".repeat(900));
        ada.client.update(id, Edits::new().set("billing.street", long)).unwrap();
    }
    relay.accept_all(&ada);
    relay.give_all(&bob);
    let before = bob.client.get(id).unwrap();
    while bob.client.idle_work().unwrap() {}
    let rows = bob.client.query("SELECT count(*) FROM change", &[], Paging::first(1)).unwrap();
    assert_eq!(rows.rows[0][0].as_int(), Some(0));
    assert_eq!(bob.client.get(id).unwrap(), before);
    assert!(bob.client.verify().unwrap().differing.is_empty());
    ada.client.update(id, Edits::new().set("name", "After")).unwrap();
    relay.accept_all(&ada);
    let number = relay.number(&DocumentId { record: id, section: Section::main() });
    let mut page = relay.page();
    let last = changes_of(&mut page.entries[0]).pop().unwrap();
    page.entries = vec![Entry::Changes { number, identity: None, changes: vec![last] }];
    assert!(bob.client.apply_page(&page).unwrap().fetch.is_empty());
    assert_eq!(bob.client.get(id).unwrap().unwrap().text("name"), Some("After"));
}

/// The bytes of every change that a device stores, in order.
fn change_bytes(device: &Device) -> Vec<String> {
    let sql = "SELECT hex(bytes) FROM change ORDER BY id";
    let rows = device.client.query(sql, &[], Paging::first(9)).unwrap().rows;
    rows.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_creation_that_its_cells_tell_is_stored_once_until_something_else_is_written() {
    let _alone = LOADS.lock().unwrap();
    type Write = fn(&Device, &Device, &mut Relay, RecordId);
    let writes: [(&str, Write); 4] = [
        ("an edit over it", |_, bob, _, id| {
            bob.client.update(id, Edits::new().set("name", "Other")).unwrap();
        }),
        ("an edit beside it", |_, bob, _, id| {
            bob.client.update(id, Edits::new().set("country", "NO")).unwrap();
        }),
        ("prose", |_, bob, _, id| {
            bob.client.update(id, Edits::new().set_text("notes", "Met.")).unwrap();
        }),
        ("an edit that comes", |ada, bob, relay, id| {
            ada.client.update(id, Edits::new().set("name", "Other")).unwrap();
            relay.accept_all(ada);
            relay.give_all(bob);
        }),
    ];
    for (what, write) in writes {
        let (ada, bob) = (Device::new("ada"), Device::new("bob"));
        let mut relay = Relay::default();
        let edits = Edits::new().set("name", "Acme").set("employees", 12).add("tags", "vip");
        let id = ada.client.create("account", edits).unwrap();
        let [written] = &change_bytes(&ada)[..] else { panic!("one change") };
        relay.accept_all(&ada);
        relay.give_all(&bob);
        assert_eq!(change_bytes(&bob), [""], "{what}");
        assert!(bob.client.verify().unwrap().differing.is_empty(), "{what}");

        write(&ada, &bob, &mut relay, id);
        assert_eq!(change_bytes(&bob)[0], *written, "{what}");
        assert!(bob.client.verify().unwrap().differing.is_empty(), "{what}");
    }
}
