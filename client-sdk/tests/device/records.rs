//! Records without a network: writing, reading, rules, prose, undo.

use std::sync::Mutex;

use client_sdk::{EditError, Edits, RecordId, SyncState, Timestamp, Value};
use crdt_core::record::document::{Purpose, loads};
use serde::{Deserialize, Serialize};

use crate::harness::{Device, NOON, member};

/// Tests that count loaded documents do not run beside those that load some.
pub(crate) static LOADS: Mutex<()> = Mutex::new(());

#[test]
fn a_record_is_created_edited_and_read_with_its_author() {
    let device = Device::new("ada");
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    device.hands.pass(5_000);
    device
        .client
        .update(id, Edits::new().set("phone", "+41 44 123 45 67").unset("website"))
        .unwrap();

    let record = device.client.get(id).unwrap().unwrap();
    assert_eq!(record.entity(), "account");
    assert_eq!(record.text("name"), Some("Acme"));
    assert_eq!(record.text("phone"), Some("+41 44 123 45 67"));
    assert_eq!(record.created_at(), Some(Timestamp::from_millis(NOON)));
    assert_eq!(record.created_by(), Some(member("ada")));
    assert_eq!(record.updated_at(), Some(Timestamp::from_millis(NOON + 5_000)));
    assert_eq!(record.updated_by_name(), Some("ada"));
    assert_eq!(record.sync_state(), SyncState::Pending);
    assert!(!record.deleted());
}

#[test]
fn edits_survive_closing_the_file_before_anything_was_sent() {
    let mut device = Device::new("ada");
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let before = device.client.outbox(0, 10, usize::MAX).unwrap();
    device.reopen().unwrap();
    assert_eq!(device.client.get(id).unwrap().unwrap().text("name"), Some("Acme"));
    assert_eq!(device.client.outbox(0, 10, usize::MAX).unwrap(), before);
}

#[test]
fn editing_one_field_loads_no_document_and_an_equal_value_writes_nothing() {
    let _alone = LOADS.lock().unwrap();
    let device = Device::new("ada");
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let before = Purpose::Text;
    let loaded = loads(before);
    device.client.update(id, Edits::new().set("name", "Acme Ltd")).unwrap();
    assert_eq!(loads(Purpose::Text), loaded);
    let batches = device.client.unsent().unwrap().batches;
    device.client.update(id, Edits::new().set("name", "Acme Ltd")).unwrap();
    device.client.transaction(|_| Ok(())).unwrap();
    assert_eq!(device.client.unsent().unwrap().batches, batches);
}

#[test]
fn sets_counters_and_prose_have_operations_of_their_own() {
    let _alone = LOADS.lock().unwrap();
    let device = Device::new("ada");
    let edits = Edits::new()
        .set("name", "Acme")
        .add("tags", "vip")
        .add("tags", "north")
        .increment("visits", 2)
        .set_text("notes", "Met Bob.");
    let id = device.client.create("account", edits).unwrap();
    let edits = Edits::new().remove("tags", "north").increment("visits", -1).splice(
        "notes",
        4,
        3,
        "Alice and 😀",
    );
    device.client.update(id, edits).unwrap();

    let record = device.client.get(id).unwrap().unwrap();
    assert_eq!(record.members("tags"), ["vip".to_owned()]);
    assert_eq!(record.int("visits"), Some(1));
    assert_eq!(record.text("notes"), Some("Met Alice and 😀."));
    assert!(device.client.verify().unwrap().differing.is_empty());
}

#[test]
fn what_breaks_a_rule_is_refused_and_leaves_nothing() {
    let device = Device::new("ada");
    let client = &device.client;
    let refused = |edits| client.create("account", edits).unwrap_err();
    assert!(matches!(refused(Edits::new()), EditError::Invalid { field, .. } if field == "name"));
    assert!(matches!(refused(Edits::new().set("name", " ")), EditError::Invalid { .. }));
    assert!(matches!(
        refused(Edits::new().set("name", "x").set("sector", "magic")),
        EditError::Invalid { field, .. } if field == "sector"
    ));
    assert!(matches!(
        refused(Edits::new().set("name", "x").set("nmae", "y")),
        EditError::UnknownField { .. }
    ));
    assert!(matches!(
        refused(Edits::new().set("name", "x").set("visits", 3)),
        EditError::WrongOperation { .. }
    ));
    assert!(matches!(
        refused(Edits::new().set("name", "x").splice("notes", 1, 0, "y")),
        EditError::NoSuchPlace { .. }
    ));
    assert!(matches!(
        refused(Edits::new().set("name", "x").increment("visits", i64::MAX)),
        EditError::IncrementTooLarge { .. }
    ));
    let nobody = RecordId::from_source_key("account", "nobody");
    assert!(matches!(client.update(nobody, Edits::new()), Err(EditError::UnknownRecord(_))));
    assert!(matches!(
        client.create("spaceship", Edits::new()),
        Err(EditError::UnknownEntity { .. })
    ));
    assert!(client.unsent().unwrap().is_empty());
}

#[test]
fn a_transaction_sees_its_own_writes_and_happens_as_a_whole_or_not_at_all() {
    let device = Device::new("ada");
    let failed = device.client.transaction(|tx| {
        let id = tx.create("account", Edits::new().set("name", "Acme"))?;
        assert_eq!(tx.get(id)?.unwrap().text("name"), Some("Acme"));
        tx.update(id, Edits::new().set("sector", "magic"))?;
        Ok(id)
    });
    assert!(failed.is_err());
    assert!(device.client.unsent().unwrap().is_empty());

    let (account, contact) = device
        .client
        .transaction(|tx| {
            let account = tx.create("account", Edits::new().set("name", "Acme"))?;
            // An edit that is refused leaves no trace in a transaction that goes on.
            tx.update(account, Edits::new().set("phone", "123 4567").set("sector", "magic"))
                .unwrap_err();
            let contact =
                tx.create("contact", Edits::new().set("last_name", "Roe").set("account", account))?;
            Ok((account, contact))
        })
        .unwrap();
    assert_eq!(device.client.unsent().unwrap().batches, 1);
    assert_eq!(device.client.get(account).unwrap().unwrap().text("phone"), None);
    let related = device.client.related(contact, "account").unwrap().unwrap();
    assert_eq!(related.id(), account);
}

#[test]
fn a_transaction_beyond_the_limits_of_a_batch_is_refused_at_its_end() {
    let device = Device::new("ada");
    let refused = device.client.transaction(|tx| {
        for number in 0..1_001 {
            tx.create("account", Edits::new().set("name", format!("Account {number}")))?;
        }
        Ok(())
    });
    assert!(matches!(refused, Err(EditError::BatchTooLarge { what: "documents", .. })));
    assert!(device.client.unsent().unwrap().is_empty());
}

#[test]
fn a_field_of_another_section_goes_to_a_document_of_its_own_in_the_same_batch() {
    let device = Device::new("ada");
    let edits = Edits::new().set("name", "Deal").set("commission", "120.00 USD");
    let id = device.client.create("opportunity", edits).unwrap();
    let batches = device.client.outbox(0, 10, usize::MAX).unwrap();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].documents.len(), 2);
    let record = device.client.get(id).unwrap().unwrap();
    assert_eq!(record.text("commission"), Some("120.00 USD"));
}

#[test]
fn a_deleted_record_leaves_the_tables_refuses_edits_and_can_be_restored() {
    let device = Device::new("ada");
    let client = &device.client;
    let account = client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let contact = client
        .create("contact", Edits::new().set("last_name", "Roe").set("account", account))
        .unwrap();
    client.delete(account).unwrap();

    let rows = client.query("SELECT * FROM account", &[], client_sdk::Paging::first(9)).unwrap();
    assert!(rows.rows.is_empty());
    assert!(client.get(account).unwrap().unwrap().deleted());
    assert!(client.related(contact, "account").unwrap().unwrap().deleted());
    let edit = client.update(account, Edits::new().set("name", "x"));
    assert!(matches!(edit, Err(EditError::Deleted(_))));
    assert!(matches!(client.delete(account), Err(EditError::Deleted(_))));

    client.restore(account).unwrap();
    assert!(matches!(client.restore(account), Err(EditError::NotDeleted(_))));
    assert_eq!(client.get(account).unwrap().unwrap().text("name"), Some("Acme"));
    let rows = client.query("SELECT * FROM account", &[], client_sdk::Paging::first(9)).unwrap();
    assert_eq!(rows.rows.len(), 1);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    name: String,
    revenue: Option<String>,
    tags: Vec<String>,
    owner: Option<RecordId>,
    last_visit_at: Option<i64>,
    billing: Option<Address>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Address {
    city: Option<String>,
}

#[test]
fn a_typed_record_reads_back_as_it_was_put_and_putting_it_again_writes_nothing() {
    let device = Device::new("ada");
    let id = RecordId::from_source_key("account", "17");
    let mut account = Account {
        name: "Acme".to_owned(),
        revenue: Some("1250.00 USD".to_owned()),
        tags: vec!["vip".to_owned()],
        owner: Some(member("ada").into()),
        last_visit_at: Some(NOON),
        billing: Some(Address { city: Some("Bern".to_owned()) }),
    };
    device.client.put("account", id, &account).unwrap();
    assert_eq!(device.client.get_as::<Account>(id).unwrap().as_ref(), Some(&account));
    device.client.put("account", id, &account).unwrap();
    assert_eq!(device.client.unsent().unwrap().batches, 1);

    account.revenue = None;
    account.tags = vec!["north".to_owned()];
    device.client.put("account", id, &account).unwrap();
    assert_eq!(device.client.get_as::<Account>(id).unwrap().as_ref(), Some(&account));
    let batch = &device.client.outbox(1, 10, usize::MAX).unwrap()[0];
    let operations: usize =
        batch.documents.iter().flat_map(|d| &d.changes).map(|sent| sent.change.ops.len()).sum();
    assert_eq!(operations, 3, "unset one field, add one member, remove one");
    assert!(matches!(device.client.put("account", id, &7), Err(EditError::Shape(_))));
}

#[test]
fn undo_takes_back_the_last_edit_and_then_that_again() {
    let device = Device::new("ada");
    let client = &device.client;
    let edits = Edits::new().set("name", "Acme").add("tags", "vip");
    let id = client.create("account", edits).unwrap();
    let edits = Edits::new().set("name", "Acme Ltd").remove("tags", "vip").increment("visits", 3);
    client.update(id, edits).unwrap();
    client.undo(id).unwrap();
    let record = client.get(id).unwrap().unwrap();
    assert_eq!(record.text("name"), Some("Acme"));
    assert_eq!(record.members("tags"), ["vip".to_owned()]);
    assert_eq!(record.int("visits"), Some(0));
    client.undo(id).unwrap();
    assert_eq!(client.get(id).unwrap().unwrap().text("name"), Some("Acme Ltd"));

    client.delete(id).unwrap();
    client.undo(id).unwrap();
    assert!(!client.get(id).unwrap().unwrap().deleted());
    let nobody = RecordId::from_source_key("account", "nobody");
    assert!(matches!(client.undo(nobody), Err(EditError::NothingToUndo)));
}

#[test]
fn subscribers_hear_of_each_commit_and_of_nothing_that_failed() {
    let device = Device::new("ada");
    let subscription = device.client.watch();
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let changes = subscription.take().unwrap();
    assert!(changes.local && changes.tables.contains("account") && changes.records.contains(&id));
    device.client.update(id, Edits::new().set("sector", "magic")).unwrap_err();
    assert_eq!(subscription.take(), None);
}

#[test]
fn unset_writes_null_and_money_is_one_value() {
    let device = Device::new("ada");
    let edits = Edits::new().set("name", "Acme").set("revenue", "5.00 CHF");
    let id = device.client.create("account", edits).unwrap();
    device.client.update(id, Edits::new().unset("revenue")).unwrap();
    assert_eq!(device.client.get(id).unwrap().unwrap().value("revenue"), &Value::Null);
}
