//! The server's answers: accepted, accepted before, refused; and what becomes of refused work.

use client_sdk::{DisputeKind, EditError, Edits, Paging, RecordId, SyncState};
use crdt_core::id::{BatchId, ChangeHash, Epoch};
use crdt_core::protocol::{Batch, Ended, Outcome};

use crate::harness::{Device, Relay, welcome};
use crate::records::LOADS;

fn sent(device: &Device) -> Vec<Batch> {
    device.client.outbox(0, 64, usize::MAX).unwrap()
}

fn batch(device: &Device, place: usize) -> BatchId {
    sent(device)[place].id
}

fn name(device: &Device, id: RecordId) -> Option<String> {
    device.client.get(id).unwrap().and_then(|record| record.text("name").map(str::to_owned))
}

#[test]
fn an_accepted_batch_leaves_the_record_synced_and_later_edits_pending() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let receipt = relay.accept(&device, &device.client.outbox(0, 1, usize::MAX).unwrap()[0]);
    device.client.update(id, Edits::new().set("name", "Later")).unwrap();
    let applied = device.client.apply_receipts(std::slice::from_ref(&receipt)).unwrap();
    assert_eq!((applied.accepted, applied.last), (1, 1));
    assert_eq!(device.client.get(id).unwrap().unwrap().sync_state(), SyncState::Pending);
    assert_eq!(device.client.unsent().unwrap().batches, 1);
    // The same receipt again, as after a lost acknowledgement.
    assert_eq!(device.client.apply_receipts(&[receipt]).unwrap().accepted, 0);
    relay.accept_all(&device);
    assert_eq!(device.client.get(id).unwrap().unwrap().sync_state(), SyncState::Synced);
    assert!(device.client.unsent().unwrap().is_empty());
    assert!(device.client.verify().unwrap().differing.is_empty());
}

#[test]
fn a_refused_batch_becomes_a_dispute_and_harms_nothing_else() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let make =
        |name: &str| device.client.create("account", Edits::new().set("name", name)).unwrap();
    let (id, other) = (make("Acme"), make("Other"));
    relay.accept_all(&device);
    device.client.update(id, Edits::new().set("name", "Refused").add("tags", "x")).unwrap();
    device.client.update(id, Edits::new().set("phone", "123 4567")).unwrap();
    device.client.update(other, Edits::new().set("name", "Unharmed")).unwrap();
    let refused = relay.refuse(&device, batch(&device, 0), "forbidden");
    let applied = device.client.apply_receipts(&[refused]).unwrap();
    assert_eq!(applied.disputed, 1, "the later edit of the same record stands on its own");

    let record = device.client.get(id).unwrap().unwrap();
    assert_eq!((record.text("name"), record.text("phone")), (Some("Acme"), Some("123 4567")));
    assert_eq!(record.sync_state(), SyncState::Disputed);
    assert_eq!(name(&device, other).as_deref(), Some("Unharmed"));
    assert_eq!(device.client.unsent().unwrap().batches, 2);
    let disputes = device.client.disputes().unwrap();
    assert_eq!(disputes.len(), 1);
    assert_eq!(disputes[0].kind, DisputeKind::Refused);
    assert_eq!(disputes[0].reasons[0].code, "forbidden");
    assert_eq!(disputes[0].reasons[0].field.as_deref(), Some("name"));
    assert_eq!(disputes[0].tried[0].values["name"], "Refused");
    assert_eq!(disputes[0].tried[0].old["name"], "Acme");
    assert!(disputes[0].tried[0].members["tags/x"]);
    assert!(device.client.verify().unwrap().differing.is_empty());

    // New edits go on under another actor, and the server can follow them.
    device.client.update(id, Edits::new().set("name", "Allowed")).unwrap();
    relay.accept_all(&device);
    let bob = Device::new("bob");
    relay.give_all(&bob);
    assert_eq!(name(&bob, id).as_deref(), Some("Allowed"));
}

#[test]
fn a_late_answer_for_a_dispute_only_names_its_reason() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    device.client.update(id, Edits::new().set("name", "Later")).unwrap();
    let (first, second) = (batch(&device, 0), batch(&device, 1));
    let receipts = [
        relay.refuse(&device, first, "forbidden"),
        relay.refuse(&device, second, "depends_on_refused"),
    ];
    device.client.apply_receipts(&receipts).unwrap();
    assert_eq!(device.client.get(id).unwrap(), None, "it was never accepted");
    assert_eq!(device.client.disputes().unwrap().len(), 2);
    assert!(device.client.unsent().unwrap().is_empty());
    let rows = device.client.query("SELECT * FROM account", &[], Paging::first(9)).unwrap();
    assert!(rows.rows.is_empty());
}

#[test]
fn what_shares_a_document_with_a_refused_batch_is_written_again_and_nothing_else() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let make =
        |name: &str| device.client.create("account", Edits::new().set("name", name)).unwrap();
    let (a, b, c) = (make("A"), make("B"), make("C"));
    relay.accept_all(&device);
    let set = |id, name: &str| device.client.update(id, Edits::new().set("name", name)).unwrap();
    set(b, "before");
    set(a, "refused");
    device
        .client
        .transaction(|tx| {
            tx.update(a, Edits::new().set("phone", "111 1111"))?;
            tx.update(b, Edits::new().set("phone", "222 2222"))
        })
        .unwrap();
    set(b, "after");
    set(c, "apart");
    let before = sent(&device);
    let second = before[1].id;
    let refused = relay.refuse(&device, second, "forbidden");
    assert_eq!(device.client.apply_receipts(&[refused]).unwrap().disputed, 1);
    assert_eq!(name(&device, a).as_deref(), Some("A"));
    assert_eq!(name(&device, b).as_deref(), Some("after"));
    assert_eq!(name(&device, c).as_deref(), Some("apart"));
    let after = sent(&device);
    assert_eq!(after.len(), 4);
    let ids = |batches: &[Batch]| batches.iter().map(|batch| batch.id).collect::<Vec<_>>();
    let left: Vec<BatchId> = ids(&before).into_iter().filter(|id| *id != second).collect();
    assert_eq!(ids(&after), left, "every batch keeps its name and its place");
    let same: Vec<bool> = after.iter().map(|batch| before.contains(batch)).collect();
    assert_eq!(same, [true, false, false, true], "what shares no document is left alone");
    relay.accept_all(&device);
    let phone = device.client.get(a).unwrap().unwrap().text("phone").map(str::to_owned);
    assert_eq!(phone.as_deref(), Some("111 1111"));
}

#[test]
fn a_dispute_is_resent_as_a_new_batch_or_discarded() {
    let _alone = LOADS.lock().unwrap();
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let edits = Edits::new().set("name", "Acme").set_text("notes", "prose").increment("visits", 2);
    let id = device.client.create("account", edits).unwrap();
    let first = batch(&device, 0);
    let refused = relay.refuse(&device, first, "forbidden");
    device.client.apply_receipts(&[refused]).unwrap();
    let dispute = device.client.disputes().unwrap()[0].id;
    device.client.resend(dispute).unwrap();
    let record = device.client.get(id).unwrap().unwrap();
    assert_eq!(record.text("notes"), Some("prose"));
    assert_eq!(record.int("visits"), Some(2));
    assert_eq!(record.sync_state(), SyncState::Pending);
    assert_ne!(batch(&device, 0), first);
    assert!(device.client.disputes().unwrap().is_empty());

    let refused = relay.refuse(&device, batch(&device, 0), "forbidden");
    device.client.apply_receipts(&[refused]).unwrap();
    let dispute = device.client.disputes().unwrap()[0].id;
    device.client.discard(dispute).unwrap();
    assert!(device.client.disputes().unwrap().is_empty());
    assert!(matches!(device.client.discard(dispute), Err(EditError::NoSuchDispute(_))));
    assert!(matches!(device.client.resend(dispute), Err(EditError::NoSuchDispute(_))));
}

#[test]
fn a_batch_that_was_accepted_before_is_not_applied_twice() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    relay.accept_all(&device);
    device.client.update(id, Edits::new().set("name", "Sent twice")).unwrap();
    let sent = device.client.outbox(0, 1, usize::MAX).unwrap().remove(0);
    let accepted = relay.accept(&device, &sent);
    let Outcome::Accepted { position, documents } = accepted.outcome else { panic!() };
    let rows =
        device.client.query("SELECT hash FROM change WHERE state = 0", &[], Paging::first(9));
    let client_sdk::Value::Bytes(hash) = &rows.unwrap().rows[0][0] else { panic!() };
    let hash = ChangeHash::try_from(&hash[..]).unwrap();

    let outcome = Outcome::Already { position, documents: documents.clone(), hashes: vec![hash] };
    let same = relay.receipt(&device, sent.id, outcome);
    let applied = device.client.apply_receipts(&[same]).unwrap();
    assert_eq!((applied.accepted, applied.fetch.len()), (1, 0));
    assert_eq!(device.client.get(id).unwrap().unwrap().sync_state(), SyncState::Synced);

    device.client.update(id, Edits::new().set("name", "Under other hashes")).unwrap();
    let hashes = vec![ChangeHash([1; 32])];
    let outcome = Outcome::Already { position: 9, documents, hashes };
    let other = relay.receipt(&device, batch(&device, 0), outcome);
    let applied = device.client.apply_receipts(&[other]).unwrap();
    assert_eq!(applied.fetch, [1], "the document is fetched as it was accepted");
    assert_eq!(name(&device, id).as_deref(), Some("Sent twice"));
    assert!(device.client.unsent().unwrap().is_empty());
    assert!(device.client.disputes().unwrap().is_empty());
}

#[test]
fn receipts_for_nothing_are_passed_over() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let outcome = Outcome::Accepted { position: 3, documents: vec![] };
    let unknown = [
        relay.receipt(&device, BatchId([9; 16]), outcome),
        relay.refuse(&device, BatchId([8; 16]), "forbidden"),
    ];
    let applied = device.client.apply_receipts(&unknown).unwrap();
    assert_eq!((applied.accepted, applied.disputed, applied.last), (0, 0, 2));
}

#[test]
fn after_a_restore_what_the_server_lost_is_sent_again() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    device.client.apply_welcome(&welcome(&device, crate::harness::NOON), 10).unwrap();
    let make =
        |name: &str| device.client.create("account", Edits::new().set("name", name)).unwrap();
    make("kept");
    let id = make("lost");
    relay.accept_all(&device);
    relay.give_all(&device);
    assert!(device.client.outbox(0, 10, usize::MAX).unwrap().is_empty());

    let mut restored = welcome(&device, crate::harness::NOON);
    restored.lineage = vec![Ended { epoch: restored.epoch, last: 1, documents: 1 }];
    restored.epoch = Epoch([10; 16]);
    let applied = device.client.apply_welcome(&restored, 10).unwrap();
    assert_eq!(applied.again, 1);
    let again = device.client.outbox(0, 10, usize::MAX).unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(device.client.hello(String::new()).unwrap().cursor.position, 1);
    let receipt = relay.accept(&device, &again[0]);
    device.client.apply_receipts(&[receipt]).unwrap();
    assert!(device.client.unsent().unwrap().is_empty());
    assert_eq!(name(&device, id).as_deref(), Some("lost"));
    assert!(device.client.verify().unwrap().differing.is_empty());
}

#[test]
fn a_copy_of_the_file_becomes_a_replica_of_its_own_and_keeps_its_unsent_work() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let id = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    relay.accept_all(&device);
    device.client.update(id, Edits::new().set("name", "Unsent")).unwrap();
    let before = (device.client.hello(String::new()).unwrap().replica, batch(&device, 0));
    device.client.become_new_replica().unwrap();
    let after = (device.client.hello(String::new()).unwrap().replica, batch(&device, 0));
    assert_ne!(before.0, after.0);
    assert_eq!(before.1, after.1, "the batch keeps its name");
    let sent = &device.client.outbox(0, 1, usize::MAX).unwrap()[0];
    assert_eq!(sent.documents[0].changes[0].change.actor.replica(), after.0);
    relay.accept_all(&device);
    let bob = Device::new("bob");
    relay.give_all(&bob);
    assert_eq!(name(&bob, id).as_deref(), Some("Unsent"));
    assert!(device.client.verify().unwrap().differing.is_empty());
}

#[test]
fn a_new_schema_alters_the_tables_in_place_and_shows_what_came_before_it() {
    let (ada, bob) = (Device::new("ada"), Device::new("bob"));
    let mut relay = Relay::default();
    let text = schema_with_one_more_field();
    let mut newer = welcome(&ada, crate::harness::NOON);
    newer.schema = Some(text.clone());
    assert!(ada.client.apply_welcome(&newer, 10).unwrap().schema_changed);
    let edits = Edits::new().set("name", "Acme").set("mood", "sunny");
    let id = ada.client.create("account", edits).unwrap();
    relay.accept_all(&ada);
    relay.give_all(&bob);
    let extra = bob.client.query("SELECT extra FROM account", &[], Paging::first(1)).unwrap();
    assert_eq!(extra.rows[0][0].as_str(), Some("{\"mood\":\"sunny\"}"));

    let mut newer = welcome(&bob, crate::harness::NOON);
    newer.schema = Some(text);
    bob.client.apply_welcome(&newer, 10).unwrap();
    let mood = bob.client.query("SELECT mood, extra FROM account", &[], Paging::first(1)).unwrap();
    assert_eq!(mood.rows[0][0].as_str(), Some("sunny"));
    assert!(mood.rows[0][1].is_null());
    assert_eq!(bob.client.get(id).unwrap().unwrap().text("mood"), Some("sunny"));
}

#[test]
fn a_question_that_was_asked_before_names_a_column_that_has_come_since() {
    let ada = Device::new("ada");
    let columns = |sql: &str| {
        let rows = ada.client.query(sql, &[], Paging::first(1)).unwrap();
        let mood = rows.columns.iter().filter(|column| *column == "mood").count();
        (mood, rows.columns.len(), rows.rows.first().map(Vec::len))
    };
    let [some, none] = ["SELECT * FROM account", "SELECT * FROM account WHERE name = 'Nobody'"];
    ada.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let (before, empty) = (columns(some), columns(none));
    assert_eq!((before.0, before.2, empty), (0, Some(before.1), (0, before.1, None)));
    let mut newer = welcome(&ada, crate::harness::NOON);
    newer.schema = Some(schema_with_one_more_field());
    ada.client.apply_welcome(&newer, 10).unwrap();
    let wide = before.1 + 1;
    assert_eq!((columns(some), columns(none)), ((1, wide, Some(wide)), (1, wide, None)));
}

fn schema_with_one_more_field() -> String {
    let text = crdt_core::schema::Schema::builtin().text();
    text.replacen("version = 1", "version = 2", 1).replacen(
        "[entity.account.fields]\n",
        "[entity.account.fields]\nmood = \"string\"\n",
        1,
    )
}
