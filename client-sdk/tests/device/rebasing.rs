//! Refusals while later batches wait or are under way: what does not fall goes out again, and nothing is
//! decided before every answer is in.

use std::collections::BTreeSet;

use client_sdk::{DisputeKind, Edits, Money, Paging, RecordId, SyncState};
use crdt_core::id::{BatchId, DocumentId};
use crdt_core::protocol::{AcceptedDocument, Batch, Entry, Outcome};

use crate::harness::{Device, NOON, Relay, welcome};
use crate::records::LOADS;

fn sent(device: &Device) -> Vec<Batch> {
    device.client.outbox(0, 64, usize::MAX).unwrap()
}

fn ids(device: &Device) -> Vec<BatchId> {
    sent(device).iter().map(|batch| batch.id).collect()
}

fn text(device: &Device, id: RecordId, field: &str) -> Option<String> {
    let record = device.client.get(id).unwrap()?;
    record.text(field).map(str::to_owned)
}

fn balanced(device: &Device) -> [u64; 4] {
    let sums = device.client.accounting().unwrap();
    assert!(sums.balances(), "{sums:?}");
    [sums.submitted, sums.accepted, sums.disputed, sums.pending]
}

/// A device with a synced account and a synced opportunity.
fn scene() -> (Device, Relay, RecordId, RecordId) {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let account = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let edits = Edits::new().set("name", "Big deal");
    let opportunity = device.client.create("opportunity", edits).unwrap();
    relay.accept_all(&device);
    (device, relay, account, opportunity)
}

fn set(device: &Device, id: RecordId, field: &str, value: &str) {
    device.client.update(id, Edits::new().set(field, value)).unwrap();
}

#[test]
fn nothing_is_written_again_while_a_batch_that_it_concerns_is_under_way() {
    let (device, mut relay, account, opportunity) = scene();
    set(&device, account, "name", "Refused");
    set(&device, account, "phone", "123 4567");
    set(&device, opportunity, "name", "Elsewhere");
    let [first, second, third] = ids(&device)[..] else { panic!() };
    let in_flight = BTreeSet::from([second, third]);
    let refused = relay.refuse(&device, first, "forbidden");
    let applied = device.client.apply_receipts_while(&[refused], &in_flight).unwrap();
    assert_eq!(applied.disputed, 0);
    assert_eq!(text(&device, account, "name").as_deref(), Some("Refused"), "not yet decided");
    assert_eq!(ids(&device), [third], "what builds on it is not sent meanwhile");
    assert_eq!(balanced(&device), [5, 2, 0, 3]);

    // An edit made in between builds on it too; one of another record does not wait.
    set(&device, account, "website", "https://acme.example");
    set(&device, opportunity, "next_step", "Call");
    assert_eq!(ids(&device).len(), 2);

    let dependent = relay.refuse(&device, second, "depends_on_refused");
    let applied =
        device.client.apply_receipts_while(&[dependent], &BTreeSet::from([third])).unwrap();
    assert_eq!(applied.disputed, 1, "the third batch is on another record");
    assert_eq!(text(&device, account, "name").as_deref(), Some("Acme"));
    assert_eq!(text(&device, account, "phone").as_deref(), Some("123 4567"));
    assert_eq!(balanced(&device), [7, 2, 1, 4]);
    assert_eq!(ids(&device)[..2], [second, third]);
    relay.accept_all(&device);
    assert_eq!(balanced(&device), [7, 6, 1, 0]);
    assert!(device.client.verify().unwrap().differing.is_empty());
}

#[test]
fn what_was_refused_is_remembered_when_the_process_dies_before_it_is_settled() {
    let (mut device, mut relay, account, _) = scene();
    set(&device, account, "name", "Refused");
    set(&device, account, "phone", "123 4567");
    let [first, second] = ids(&device)[..] else { panic!() };
    let refused = relay.refuse(&device, first, "forbidden");
    device.client.apply_receipts_while(&[refused], &BTreeSet::from([second])).unwrap();
    device.reopen().unwrap();
    assert!(ids(&device).is_empty(), "neither is sent");
    assert_eq!(balanced(&device), [4, 2, 0, 2]);
    // After a welcome nothing is under way.
    device.client.apply_welcome(&welcome(&device, NOON), 10).unwrap();
    assert_eq!(balanced(&device), [4, 2, 1, 1]);
    let dispute = &device.client.disputes().unwrap()[0];
    assert_eq!((dispute.batch, dispute.policy_version), (first, Some(1)));
    assert_eq!(dispute.reasons[0].code, "forbidden");
    relay.accept_all(&device);
    assert_eq!(text(&device, account, "phone").as_deref(), Some("123 4567"));
}

#[test]
fn a_batch_that_is_stranded_by_a_refusal_whose_receipt_was_lost_is_no_dispute() {
    for code in ["depends_on_refused", "seq_gap", "unknown_dependency"] {
        let (device, mut relay, account, opportunity) = scene();
        set(&device, account, "name", "Refused");
        set(&device, account, "phone", "123 4567");
        set(&device, opportunity, "name", "Elsewhere");
        let [first, second, third] = ids(&device)[..] else { panic!() };
        let dependent = relay.refuse(&device, second, code);
        device.client.apply_receipts(&[dependent]).unwrap();
        assert_eq!(device.client.dispute_count().unwrap(), 0);
        assert_eq!(ids(&device), [first, third], "it waits for what was sent before it");
        let refused = relay.refuse(&device, first, "forbidden");
        device.client.apply_receipts(&[refused]).unwrap();
        assert_eq!(device.client.dispute_count().unwrap(), 1);
        assert_eq!(ids(&device), [second, third]);
        relay.accept_all(&device);
        assert_eq!(text(&device, account, "phone").as_deref(), Some("123 4567"));
        assert_eq!(balanced(&device), [5, 4, 1, 0]);
    }
}

#[test]
fn a_stranding_without_a_cause_is_believed_twice_and_then_a_dispute() {
    let (device, mut relay, account, _) = scene();
    set(&device, account, "phone", "123 4567");
    let batch = ids(&device)[0];
    for disputed in [0, 0, 1] {
        let before = sent(&device);
        let dependent = relay.refuse(&device, batch, "unknown_dependency");
        device.client.apply_receipts(&[dependent]).unwrap();
        assert_eq!(device.client.dispute_count().unwrap(), disputed);
        if disputed == 0 {
            assert_eq!(ids(&device), [batch]);
            assert_ne!(sent(&device), before, "it goes out under a name of its own");
        }
    }
    assert_eq!(balanced(&device), [3, 2, 1, 0]);
}

#[test]
fn batches_over_several_sections_lose_only_what_was_refused() {
    let (device, mut relay, _, deal) = scene();
    let update = |edits| device.client.update(deal, edits).unwrap();
    update(Edits::new().set("commission", "10.00 USD").set("stage", "won"));
    update(Edits::new().set("margin", 0.2));
    update(Edits::new().set("next_step", "Call").set("margin", 0.3));
    let refused = relay.refuse(&device, ids(&device)[0], "forbidden");
    device.client.apply_receipts(&[refused]).unwrap();
    let record = device.client.get(deal).unwrap().unwrap();
    assert!(record.value("commission").is_null() && record.text("stage") != Some("won"));
    assert_eq!(record.text("next_step"), Some("Call"));
    let tried = &device.client.disputes().unwrap()[0].tried[0];
    assert_eq!(
        (&tried.values["commission"], &tried.values["stage"]),
        (&"10.00 USD".into(), &"won".into())
    );
    relay.accept_all(&device);
    let bob = Device::new("bob");
    relay.give_all(&bob);
    let seen = bob.client.get(deal).unwrap().unwrap();
    assert_eq!(seen.text("next_step"), Some("Call"));
    assert_eq!(*seen.value("margin"), 0.3.into());
    assert!(device.client.verify().unwrap().differing.is_empty());
}

#[test]
fn a_seed_that_falls_with_its_batch_comes_again_with_the_next() {
    let _alone = LOADS.lock().unwrap();
    let (device, mut relay, account, _) = scene();
    let update = |edits| device.client.update(account, edits).unwrap();
    update(Edits::new().increment("visits", 5).splice("notes", 0, 0, "refused "));
    update(Edits::new().increment("visits", 2).splice("notes", 8, 0, "kept"));
    update(Edits::new().set("phone", "123 4567"));
    let refused = relay.refuse(&device, ids(&device)[0], "forbidden");
    device.client.apply_receipts(&[refused]).unwrap();
    relay.accept_all(&device);
    let bob = Device::new("bob");
    relay.give_all(&bob);
    for at in [&device, &bob] {
        let record = at.client.get(account).unwrap().unwrap();
        assert_eq!((record.int("visits"), record.text("notes")), (Some(2), Some("kept")));
        assert!(at.client.verify().unwrap().differing.is_empty());
    }
    let tried = &device.client.disputes().unwrap()[0].tried[0];
    assert_eq!(tried.texts["notes"], "refused ", "without what was typed later");
    assert_eq!((tried.increments["visits"], tried.old["notes"].as_str()), (5, Some("")));
}

#[test]
fn without_its_record_a_later_batch_is_a_dispute_and_what_builds_on_that_goes_on() {
    let (device, mut relay, account, _) = scene();
    let contact = device
        .client
        .create("contact", Edits::new().set("last_name", "Orr").set("account", account))
        .unwrap();
    device
        .client
        .transaction(|tx| {
            tx.update(contact, Edits::new().set("title", "Buyer"))?;
            tx.update(account, Edits::new().set("name", "With buyer"))
        })
        .unwrap();
    set(&device, account, "phone", "123 4567");
    let refused = relay.refuse(&device, ids(&device)[0], "forbidden");
    assert_eq!(device.client.apply_receipts(&[refused]).unwrap().disputed, 2);
    assert_eq!(device.client.get(contact).unwrap(), None);
    assert_eq!(text(&device, account, "name").as_deref(), Some("Acme"));
    let kinds: Vec<DisputeKind> =
        device.client.disputes().unwrap().iter().map(|dispute| dispute.kind).collect();
    assert_eq!(kinds, [DisputeKind::Refused, DisputeKind::DependsOnRefused]);
    relay.accept_all(&device);
    assert_eq!(text(&device, account, "phone").as_deref(), Some("123 4567"));
    assert_eq!(balanced(&device), [5, 3, 2, 0]);
}

#[test]
fn a_section_of_a_record_that_was_never_made_falls_with_it() {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let deal = device.client.create("opportunity", Edits::new().set("name", "New")).unwrap();
    device.client.update(deal, Edits::new().set("commission", "1.00 USD")).unwrap();
    let [first, second] = ids(&device)[..] else { panic!() };
    let in_flight = BTreeSet::from([second]);
    let refused = relay.refuse(&device, first, "forbidden");
    device.client.apply_receipts_while(&[refused], &in_flight).unwrap();
    assert_eq!(balanced(&device), [2, 0, 0, 2], "the section's batch is under way");
    let dependent = relay.refuse(&device, second, "depends_on_refused");
    device.client.apply_receipts(&[dependent]).unwrap();
    assert_eq!(balanced(&device), [2, 0, 2, 0]);
    let rows = device.client.query("SELECT id FROM document", &[], Paging::default()).unwrap();
    assert!(rows.rows.is_empty());
}

#[test]
fn a_batch_of_which_nothing_is_left_is_a_dispute_that_can_be_sent_again() {
    let (device, mut relay, account, _) = scene();
    device.client.update(account, Edits::new().add("tags", "hot")).unwrap();
    device.client.update(account, Edits::new().remove("tags", "hot")).unwrap();
    let refused = relay.refuse(&device, ids(&device)[0], "forbidden");
    assert_eq!(device.client.apply_receipts(&[refused]).unwrap().disputed, 2);
    assert_eq!(balanced(&device), [4, 2, 2, 0]);
    let disputes = device.client.disputes().unwrap();
    assert_eq!(disputes[1].kind, DisputeKind::DependsOnRefused);
    assert!(device.client.resend(disputes[0].id).unwrap().is_some());
    assert!(device.client.resend(disputes[1].id).unwrap().is_some());
    relay.accept_all(&device);
    assert!(device.client.get(account).unwrap().unwrap().value("tags").is_null());
    assert_eq!(balanced(&device), [6, 4, 2, 0]);
}

/// As a server says that speaks of batches and documents by number, and one whose welcome was full.
#[test]
fn a_batch_that_was_accepted_after_all_is_fetched_also_when_its_receipt_names_no_document() {
    let (device, mut relay, account, _) = scene();
    device.client.update(account, Edits::new().add("tags", "hot")).unwrap();
    device.client.update(account, Edits::new().remove("tags", "hot")).unwrap();
    let [first, second] = ids(&device).try_into().unwrap_or_else(|_| panic!());
    let refused = relay.refuse(&device, first, "forbidden");
    assert_eq!(device.client.apply_receipts(&[refused]).unwrap().disputed, 2);
    let outcome = Outcome::Accepted { position: 90, documents: Vec::new() };
    let accepted = relay.receipt(&device, second, outcome);
    let applied = device.client.apply_receipts(&[accepted]).unwrap();
    assert_eq!(applied.fetch, [1], "the account, by its number");
    assert_eq!(device.client.dispute_count().unwrap(), 1, "the second is none any more");
    assert_eq!(balanced(&device), [4, 3, 1, 0]);
}

#[test]
fn what_stands_on_a_copy_that_the_server_has_in_another_form_goes_out_again() {
    let (device, mut relay, account, _) = scene();
    let update = |edits| device.client.update(account, edits).unwrap();
    update(Edits::new().increment("visits", 1));
    update(Edits::new().increment("visits", 10).set("phone", "123 4567"));
    let [first, second] = sent(&device).try_into().unwrap_or_else(|_| panic!());
    let other = device_with_the_same(&mut relay, account);
    let [twin] = sent(&other).try_into().unwrap_or_else(|_| panic!());
    let accepted = relay.accept(&other, &twin);
    let Outcome::Accepted { position, documents } = accepted.outcome else { panic!() };
    let documents: Vec<AcceptedDocument> = documents;
    let hashes = vec![crdt_core::id::ChangeHash([1; 32])];
    let already =
        relay.receipt(&device, first.id, Outcome::Already { position, documents, hashes });
    let applied =
        device.client.apply_receipts_while(&[already], &BTreeSet::from([second.id])).unwrap();
    assert_eq!(applied.fetch.len(), 1);
    assert_eq!(balanced(&device), [4, 2, 0, 2]);
    let dependent = relay.refuse(&device, second.id, "unknown_dependency");
    device.client.apply_receipts(&[dependent]).unwrap();
    assert_eq!(balanced(&device), [4, 3, 0, 1]);
    relay.accept_all(&device);
    relay.give_all(&device);
    let record = device.client.get(account).unwrap().unwrap();
    assert_eq!((record.int("visits"), record.text("phone")), (Some(11), Some("123 4567")));
    assert_eq!(record.sync_state(), SyncState::Synced);
    assert_eq!(balanced(&device), [4, 4, 0, 0]);
}

/// Another device with the account that wrote the same increment.
fn device_with_the_same(relay: &mut Relay, account: RecordId) -> Device {
    let other = Device::new("bob");
    relay.give_all(&other);
    other.client.update(account, Edits::new().increment("visits", 1)).unwrap();
    other
}

#[test]
fn a_fork_is_no_dispute_and_everything_unanswered_goes_out_under_a_new_name() {
    let (device, mut relay, account, _) = scene();
    set(&device, account, "name", "Forked");
    set(&device, account, "phone", "123 4567");
    let before = ids(&device);
    let forked = relay.refuse(&device, before[0], "actor_forked");
    let applied = device.client.apply_receipts(&[forked]).unwrap();
    assert!(applied.forked);
    assert_eq!(device.client.dispute_count().unwrap(), 0);
    device.client.become_new_replica().unwrap();
    assert_eq!(ids(&device), before);
    relay.accept_all(&device);
    assert_eq!(text(&device, account, "name").as_deref(), Some("Forked"));
    assert_eq!(balanced(&device), [4, 4, 0, 0]);
}

#[test]
fn what_is_left_of_a_record_that_has_left_the_device_goes_out_again() {
    let _alone = LOADS.lock().unwrap();
    let (device, mut relay, account, _) = scene();
    let update = |edits| device.client.update(account, edits).unwrap();
    update(Edits::new().set("name", "Refused").splice("notes", 0, 0, "refused"));
    update(Edits::new().set("name", "Kept").splice("notes", 7, 0, "kept"));
    let number = relay.number(&DocumentId::main(account));
    let mut page = relay.page();
    page.entries = vec![Entry::Left { number }];
    device.client.apply_page(&page).unwrap();
    let refused = relay.refuse(&device, ids(&device)[0], "forbidden");
    assert_eq!(device.client.apply_receipts(&[refused]).unwrap().disputed, 1);
    let tried = device.client.disputes().unwrap().remove(0).tried.remove(0);
    assert_eq!(
        (&tried.values["name"], tried.typed["notes"].as_str()),
        (&"Refused".into(), "refused")
    );
    assert!(tried.texts.is_empty(), "what others wrote there is not on the device");
    relay.accept_all(&device);
    assert_eq!(device.client.get(account).unwrap(), None);
    let bob = Device::new("bob");
    relay.give_all(&bob);
    let seen = bob.client.get(account).unwrap().unwrap();
    assert_eq!((seen.text("name"), seen.text("notes")), (Some("Kept"), Some("kept")));
    assert_eq!(balanced(&device), [4, 3, 1, 0]);
}

#[test]
fn a_hundred_stranded_batches_hold_up_nobody_else() {
    let (device, mut relay, account, opportunity) = scene();
    set(&device, account, "name", "Refused");
    for number in 0..100 {
        set(&device, account, "sector", ["retail", "medical"][number % 2]);
    }
    set(&device, opportunity, "name", "Elsewhere");
    let all = ids(&device);
    let refused = relay.refuse(&device, all[0], "forbidden");
    let in_flight: BTreeSet<BatchId> = all[1..16].iter().copied().collect();
    device.client.apply_receipts_while(&[refused], &in_flight).unwrap();
    let next = device.client.outbox(0, 16, usize::MAX).unwrap();
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].documents.len(), 1);
    assert_eq!(balanced(&device), [104, 2, 0, 102]);
}

#[test]
fn a_value_that_somebody_wrote_meanwhile_is_not_buried() {
    let (device, mut relay, account, _) = scene();
    let bob = Device::new("bob");
    relay.give_all(&bob);
    set(&device, account, "credit_limit", "1.00 USD");
    set(&device, account, "credit_limit", "2.00 USD");
    bob.hands.pass(60_000);
    set(&bob, account, "credit_limit", "3.00 USD");
    relay.accept_all(&bob);
    let refused = relay.refuse(&device, ids(&device)[0], "forbidden");
    device.client.apply_receipts(&[refused]).unwrap();
    relay.accept_all(&device);
    for at in [&device, &bob] {
        relay.give_all(at);
        let shown = at.client.get(account).unwrap().unwrap();
        assert_eq!(*shown.value("credit_limit"), "3.00 USD".into());
        let conflicts = at.client.conflicts(Some(account)).unwrap();
        let values: BTreeSet<&str> =
            conflicts[0].values.iter().filter_map(|value| value.value.as_str()).collect();
        assert_eq!(values, BTreeSet::from(["2.00 USD", "3.00 USD"]));
    }
    assert!("2.00 USD".parse::<Money>().is_ok());
}
