//! Two devices: the same changes give the same rows, whatever order they came in.

use std::sync::Arc;

use client_sdk::{Choice, Client, EditError, Edits, Paging, RecordId, SyncState, Value};

use crdt_core::schema::Schema;

use crate::harness::{Device, NOON, Relay, both_with, member, welcome};
use crate::records::LOADS;

/// Everything that users see of a device.
fn shown(device: &Device) -> (Vec<Vec<Value>>, usize) {
    let sql = "SELECT _id, name, phone, tags, visits, notes, health, credit_limit, _updated_by,
                      _updated_at, _sync_state FROM account ORDER BY _id";
    let rows = device.client.query(sql, &[], Paging::first(100)).unwrap().rows;
    (rows, device.client.conflicts(None).unwrap().len())
}

#[test]
fn what_one_device_wrote_another_shows_with_its_author() {
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut relay = Relay::default();
    let edits =
        Edits::new().set("name", "Acme").set("credit_limit", "10.00 USD").add("tags", "vip");
    let id = ada.client.create("account", edits).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    let record = bob.client.get(id).unwrap().unwrap();
    assert_eq!(record.text("credit_limit"), Some("10.00 USD"));
    assert_eq!(record.updated_by(), Some(member("ada")));
    assert_eq!(record.updated_by_name(), Some("ada"));
    assert_eq!(record.sync_state(), SyncState::Synced);
    assert_eq!(shown(&ada), shown(&bob));
}

#[test]
fn concurrent_edits_merge_alike_and_the_same_page_twice_changes_nothing() {
    let _alone = LOADS.lock().unwrap();
    let (ada, bob, mut relay, id) = both_with(
        Edits::new().set("name", "Acme").set_text("notes", "base").increment("visits", 1),
    );

    bob.hands.pass(1_000);
    let edits = Edits::new().set("name", "From Bob").set("health", "good").increment("visits", 5);
    bob.client.update(id, edits.splice("notes", 4, 0, " by bob").add("tags", "b")).unwrap();
    let edits =
        Edits::new().set("name", "From Ada").set("health", "critical").increment("visits", 7);
    ada.client.update(id, edits.splice("notes", 0, 0, "ada: ").add("tags", "a")).unwrap();
    relay.accept_all(&ada);
    relay.accept_all(&bob);
    for device in [&ada, &bob, &ada] {
        relay.give_all(device);
    }

    assert_eq!(shown(&ada), shown(&bob));
    let record = ada.client.get(id).unwrap().unwrap();
    assert_eq!(record.text("name"), Some("From Bob"), "the later edit wins");
    assert_eq!(record.text("health"), Some("critical"), "the worse news wins");
    assert_eq!(record.int("visits"), Some(13));
    assert_eq!(record.text("notes"), Some("ada: base by bob"));
    assert_eq!(record.members("tags").len(), 2);
    for device in [&ada, &bob] {
        assert!(device.client.verify().unwrap().differing.is_empty());
    }
}

#[test]
fn a_conflict_that_asks_stays_open_until_somebody_decides() {
    let (ada, bob, mut relay, id) =
        both_with(Edits::new().set("name", "Acme").set("credit_limit", "10.00 USD"));
    bob.hands.pass(1_000);
    ada.client.update(id, Edits::new().set("credit_limit", "20.00 USD")).unwrap();
    bob.client.update(id, Edits::new().set("credit_limit", "30.00 USD")).unwrap();
    relay.accept_all(&ada);
    relay.accept_all(&bob);
    relay.give_all(&ada);
    relay.give_all(&bob);

    let conflicts = ada.client.conflicts(Some(id)).unwrap();
    assert_eq!(conflicts, bob.client.conflicts(Some(id)).unwrap());
    assert_eq!(conflicts.len(), 1);
    assert!(conflicts[0].open);
    let values: Vec<_> = conflicts[0]
        .values
        .iter()
        .map(|value| (value.value.as_str().unwrap(), value.member_name.as_deref().unwrap()))
        .collect();
    assert_eq!(values, [("30.00 USD", "bob"), ("20.00 USD", "ada")]);

    let none = ada.client.resolve(id, "name", Choice::Contender(0));
    assert!(matches!(none, Err(EditError::NoSuchConflict { .. })));
    let none = ada.client.resolve(id, "credit_limit", Choice::Contender(2));
    assert!(matches!(none, Err(EditError::NoSuchConflict { .. })));
    ada.client.resolve(id, "credit_limit", Choice::Contender(1)).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    assert!(bob.client.conflicts(None).unwrap().is_empty());
    assert_eq!(bob.client.get(id).unwrap().unwrap().text("credit_limit"), Some("20.00 USD"));
}

/// The built-in schema with sectors in its full text.
fn schema_with_searched_sectors() -> String {
    let searched = "search = [\"name\", \"sector\", \"website\"";
    let changes = [("version = 1", "version = 2"), ("search = [\"name\", \"website\"", searched)];
    changed(Schema::builtin().text(), &changes)
}

/// The same, where other values win than before.
fn schema_with_other_rules() -> String {
    let ranked = "sector = { type = \"enum\", merge = { ranked = [\"retail\", \"energy\"] },";
    let changes = [
        ("version = 2", "version = 3"),
        ("sector = { type = \"enum\",", ranked),
        ("employees = { type = \"int\",", "employees = { type = \"int\", merge = \"max\","),
        (
            "year_established = { type = \"int\",",
            "year_established = { type = \"int\", merge = \"ask\",",
        ),
    ];
    changed(&schema_with_searched_sectors(), &changes)
}

fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (before, after)| {
        assert!(text.contains(before), "{before}");
        text.replacen(before, after, 1)
    })
}

/// Two accounts: of one everything was written twice without knowing, of the other once.
fn wrote_apart() -> (Device, RecordId) {
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut newer = welcome(&ada, NOON);
    newer.schema = Some(schema_with_searched_sectors());
    ada.client.apply_welcome(&newer, 10).unwrap();
    let mut relay = Relay::default();
    let id = ada.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    ada.client.create("account", Edits::new().set("name", "Other")).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    let edits = Edits::new().set("year_established", 1990).set("employees", 90);
    let edits = edits.set("sector", "retail");
    ada.client.update(id, edits).unwrap();
    bob.hands.pass(1_000);
    let edits = Edits::new().set("year_established", 1991).set("employees", 20);
    let edits = edits.set("sector", "energy");
    bob.client.update(id, edits).unwrap();
    relay.accept_all(&ada);
    relay.accept_all(&bob);
    relay.give_all(&ada);
    let record = ada.client.get(id).unwrap().unwrap();
    assert_eq!((record.text("sector"), record.int("employees")), (Some("energy"), Some(20)));
    assert!(ada.client.conflicts(Some(id)).unwrap().iter().all(|conflict| !conflict.open));
    assert_eq!(ada.client.search("account", "energy", 9).unwrap().len(), 1);
    (ada, id)
}

/// Other rules are in force: rows, conflicts and full text say so.
fn assert_shown_by_other_rules(client: &Client, id: RecordId) {
    let sql = "SELECT name, employees, sector FROM account ORDER BY name";
    let rows = client.query(sql, &[], Paging::first(9)).unwrap().rows;
    assert_eq!(rows[0][..], [Value::from("Acme"), Value::from(90), Value::from("retail")]);
    assert_eq!(rows[1][..], [Value::from("Other"), Value::Null, Value::Null]);
    let conflicts = client.conflicts(Some(id)).unwrap();
    let shown: Vec<_> =
        conflicts.iter().map(|c| (c.field.as_str(), c.open, c.values[0].value.clone())).collect();
    let wanted = [
        ("year_established", true, Value::from(1991)),
        ("employees", false, Value::from(90)),
        ("sector", false, Value::from("retail")),
    ];
    assert_eq!(shown.len(), wanted.len(), "{shown:?}");
    assert!(wanted.iter().all(|one| shown.contains(one)), "{shown:?}");
    assert_eq!(client.search("account", "retail", 9).unwrap().len(), 1);
    assert_eq!(client.search("account", "energy", 9).unwrap().len(), 0);
}

#[test]
fn a_merge_rule_that_changes_is_seen_at_once_wherever_values_compete() {
    let (ada, id) = wrote_apart();
    let told = ada.client.watch();
    let mut newer = welcome(&ada, NOON);
    newer.schema = Some(schema_with_other_rules());
    ada.client.apply_welcome(&newer, 10).unwrap();
    assert_shown_by_other_rules(&ada.client, id);
    let changes = told.take().unwrap();
    assert!(changes.tables.contains("conflict") && changes.tables.contains("account"));
    assert_eq!(changes.records.into_iter().collect::<Vec<_>>(), [id]);
}

#[test]
fn an_app_with_other_merge_rules_shows_what_they_say_from_its_first_start() {
    let (ada, id) = wrote_apart();
    ada.client.close();
    let schema = Schema::parse(&schema_with_other_rules(), "newer.toml").unwrap();
    let client = Client::open(ada.config().schema(Arc::new(schema))).unwrap();
    assert_shown_by_other_rules(&client, id);
}

#[test]
fn an_edit_that_a_deleter_had_not_seen_keeps_the_record_deleted_and_offers_to_restore_it() {
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut relay = Relay::default();
    let id = ada.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    bob.client.update(id, Edits::new().set("name", "Acme Ltd")).unwrap();
    ada.client.delete(id).unwrap();
    relay.accept_all(&ada);
    relay.accept_all(&bob);
    relay.give_all(&ada);
    relay.give_all(&bob);

    for device in [&ada, &bob] {
        assert!(device.client.get(id).unwrap().unwrap().deleted());
        let conflicts = device.client.conflicts(Some(id)).unwrap();
        assert_eq!(conflicts[0].field, "$deleted");
        assert_eq!(conflicts[0].values[0].value, Value::from("Acme Ltd"));
        assert!(shown(device).0.is_empty());
    }
    ada.client.resolve(id, "$deleted", Choice::Contender(0)).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    assert_eq!(bob.client.get(id).unwrap().unwrap().text("name"), Some("Acme Ltd"));
    assert_eq!(shown(&ada), shown(&bob));
}

#[test]
fn undo_refuses_to_take_back_somebody_elses_edit() {
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut relay = Relay::default();
    let id = ada.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    ada.client.update(id, Edits::new().set("name", "Mine")).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    bob.client.update(id, Edits::new().set("name", "Theirs")).unwrap();
    relay.accept_all(&bob);
    relay.give_all(&ada);
    let stale = ada.client.undo(id);
    assert!(matches!(stale, Err(EditError::UndoStale { field }) if field == "name"));
    assert_eq!(ada.client.get(id).unwrap().unwrap().text("name"), Some("Theirs"));
}

#[test]
fn a_creation_is_undone_until_somebody_else_has_written_to_the_record() {
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut relay = Relay::default();
    let make = |name: &str| ada.client.create("account", Edits::new().set("name", name)).unwrap();
    let [theirs, mine] = ["Theirs", "Mine"].map(make);
    relay.accept_all(&ada);
    relay.give_all(&bob);
    bob.client.update(theirs, Edits::new().set("phone", "111 1111")).unwrap();
    relay.accept_all(&bob);
    relay.give_all(&ada);
    let stale = ada.client.undo(theirs);
    assert!(matches!(stale, Err(EditError::UndoStale { field }) if field == "phone"));
    ada.client.undo(mine).unwrap();
    assert!(ada.client.get(mine).unwrap().unwrap().deleted());
    ada.client.undo(mine).unwrap();
    assert!(!ada.client.get(mine).unwrap().unwrap().deleted());
}

#[test]
fn of_one_source_key_created_twice_the_second_is_a_dispute_and_is_resent_as_an_edit() {
    for page_comes in ["before the refusal", "after it"] {
        let (ada, bob) = (Device::new("ada"), Device::new("bob"));
        let mut relay = Relay::default();
        let id = RecordId::from_source_key("account", "4711");
        let make = |device: &Device, phone: &str| {
            let edits = Edits::new().set("name", "Acme").set("phone", phone);
            device.client.transaction(|tx| tx.create_with_id(id, "account", edits)).unwrap();
        };
        make(&ada, "111 1111");
        make(&bob, "222 2222");
        relay.accept_all(&ada);
        let batch = bob.client.outbox(0, 1, usize::MAX).unwrap()[0].id;
        let refusal = relay.refuse(&bob, batch, "exists");
        if page_comes == "before the refusal" {
            relay.give_all(&bob);
            bob.client.apply_receipts(&[refusal]).unwrap();
        } else {
            bob.client.apply_receipts(&[refusal]).unwrap();
            relay.give_all(&bob);
        }
        let record = bob.client.get(id).unwrap().unwrap();
        assert_eq!(record.text("phone"), Some("111 1111"), "{page_comes}");
        assert_eq!(record.sync_state(), SyncState::Disputed, "{page_comes}");

        bob.client.resend(bob.client.disputes().unwrap()[0].id).unwrap();
        relay.accept_all(&bob);
        relay.give_all(&ada);
        assert_eq!(shown(&ada), shown(&bob), "{page_comes}");
        assert_eq!(ada.client.get(id).unwrap().unwrap().text("phone"), Some("222 2222"));
        assert!(bob.client.verify().unwrap().differing.is_empty());
    }
}
