//! What a user does with disputes: sends them again, with changes or without, or gives them up; and what they
//! keep.

use std::time::Duration;

use client_sdk::{EditError, Edits, RecordId, Whereabouts};
use crdt_core::id::{DocumentId, Section};
use crdt_core::protocol::Entry;

use crate::harness::{Device, Relay};
use crate::records::LOADS;

/// A device with a synced opportunity whose last edit was refused; gives the dispute's id.
fn disputed(edits: Edits) -> (Device, Relay, RecordId, i64) {
    let device = Device::new("ada");
    let mut relay = Relay::default();
    let made = Edits::new()
        .set("name", "Deal")
        .set("commission", "1.00 USD")
        .set_text("description", "one two");
    let deal = device.client.create("opportunity", made).unwrap();
    relay.accept_all(&device);
    device.client.update(deal, edits).unwrap();
    refuse_next(&device, &mut relay);
    let dispute = device.client.disputes().unwrap()[0].id;
    (device, relay, deal, dispute)
}

fn refuse_next(device: &Device, relay: &mut Relay) {
    let batch = device.client.outbox(0, 1, usize::MAX).unwrap()[0].id;
    let refused = relay.refuse(device, batch, "forbidden");
    device.client.apply_receipts(&[refused]).unwrap();
}

#[test]
fn an_amended_dispute_goes_out_with_the_amendment_and_the_rest_as_tried() {
    let edits = Edits::new().set("commission", "9.00 USD").set("stage", "won").add("tags", "big");
    let (device, mut relay, deal, id) = disputed(edits);
    let dispute = device.client.disputes().unwrap().remove(0);
    let old = dispute.tried[0].old["commission"].as_str().unwrap().to_owned();
    let amendment = Edits::new().set("commission", old).set("name", "Won deal");
    let successor = device.client.amend(id, [(deal, amendment)]).unwrap().unwrap();
    let sent = device.client.outbox(0, 9, usize::MAX).unwrap();
    assert_eq!((sent.len(), sent[0].id, sent[0].documents.len()), (1, successor, 1));
    relay.accept_all(&device);
    let record = device.client.get(deal).unwrap().unwrap();
    assert_eq!((record.text("name"), record.text("stage")), (Some("Won deal"), Some("won")));
    assert_eq!(*record.value("commission"), "1.00 USD".into());
    let whereabouts = |batch| device.client.whereabouts(batch).unwrap();
    assert_eq!(whereabouts(&dispute.batch), Some(Whereabouts::TriedAnew(Some(successor))));
    assert_eq!(whereabouts(&successor), Some(Whereabouts::Accepted));
    let sums = device.client.accounting().unwrap();
    assert_eq!((sums.submitted, sums.accepted, sums.amended, sums.open), (3, 2, 1, 0));
    assert!(sums.balances());
}

#[test]
fn an_amendment_that_is_refused_on_the_device_leaves_the_dispute() {
    let (device, _, deal, id) = disputed(Edits::new().set("stage", "won"));
    let before = (device.client.disputes().unwrap(), device.client.accounting().unwrap());
    let wrong = Edits::new().set("stage", "no such stage");
    assert!(matches!(device.client.amend(id, [(deal, wrong)]), Err(EditError::Invalid { .. })));
    let stranger = RecordId::from_source_key("account", "other");
    let elsewhere = Edits::new().set("name", "x");
    let refused = device.client.amend(id, [(stranger, elsewhere)]);
    assert!(matches!(refused, Err(EditError::UnknownRecord(id)) if id == stranger));
    let after = (device.client.disputes().unwrap(), device.client.accounting().unwrap());
    assert_eq!(before, after);
}

#[test]
fn each_decision_is_counted_and_the_law_holds() {
    let (device, mut relay, deal, id) = disputed(Edits::new().set("stage", "won"));
    let batch = device.client.disputes().unwrap()[0].batch;
    assert_eq!(device.client.whereabouts(&batch).unwrap(), Some(Whereabouts::Disputed(id)));
    let successor = device.client.resend(id).unwrap().unwrap();
    assert_eq!(device.client.whereabouts(&successor).unwrap(), Some(Whereabouts::Pending));
    refuse_next(&device, &mut relay);
    let second = device.client.disputes().unwrap()[0].id;
    device.client.discard(second).unwrap();
    assert_eq!(device.client.whereabouts(&successor).unwrap(), Some(Whereabouts::Discarded));
    let sums = device.client.accounting().unwrap();
    assert_eq!((sums.submitted, sums.accepted, sums.disputed, sums.pending), (3, 1, 2, 0));
    assert_eq!((sums.resent, sums.discarded, sums.open), (1, 1, 0));
    assert!(sums.balances());
    // What the record says already needs no batch.
    device.client.update(deal, Edits::new().set("stage", "lost")).unwrap();
    refuse_next(&device, &mut relay);
    device.client.update(deal, Edits::new().set("stage", "lost")).unwrap();
    relay.accept_all(&device);
    let last = device.client.disputes().unwrap()[0].id;
    assert_eq!(device.client.resend(last).unwrap(), None);
    assert!(device.client.accounting().unwrap().balances());
}

#[test]
fn the_number_of_disputes_can_be_watched() {
    let (device, mut relay, deal, first) = disputed(Edits::new().set("stage", "won"));
    let watch = device.client.watch_disputes();
    device.client.update(deal, Edits::new().set("stage", "lost")).unwrap();
    refuse_next(&device, &mut relay);
    assert_eq!(watch.wait(Duration::from_secs(9)), Some(2));
    device.client.discard(first).unwrap();
    assert_eq!(watch.wait(Duration::from_secs(9)), Some(1));
    device.client.close();
    assert_eq!(watch.wait(Duration::from_secs(9)), None);
}

#[test]
fn a_resent_text_leaves_what_others_wrote_meanwhile() {
    let _alone = LOADS.lock().unwrap();
    let (device, mut relay, deal, id) = disputed(Edits::new().splice("description", 3, 0, " big"));
    let bob = Device::new("bob");
    relay.give_all(&bob);
    bob.client.update(deal, Edits::new().splice("description", 7, 0, " three")).unwrap();
    relay.accept_all(&bob);
    relay.give_all(&device);
    device.client.resend(id).unwrap();
    let says = device.client.get(deal).unwrap().unwrap().text("description").map(str::to_owned);
    assert_eq!(says.as_deref(), Some("one big two three"));
}

#[test]
fn when_its_record_leaves_a_dispute_keeps_what_its_user_tried_and_nothing_of_others() {
    let _alone = LOADS.lock().unwrap();
    let edits = Edits::new().set("commission", "9.00 USD").set("stage", "won").splice(
        "description",
        7,
        0,
        " three",
    );
    let (device, relay, deal, id) = disputed(edits);
    let finance = "finance".parse::<Section>().unwrap();
    let number = relay.number(&DocumentId { record: deal, section: finance });
    let mut page = relay.page();
    page.entries = vec![Entry::Left { number }];
    device.client.apply_page(&page).unwrap();
    let tried = device.client.disputes().unwrap().remove(0).tried.remove(0);
    assert!(!tried.old.contains_key("commission") && tried.old.contains_key("stage"));
    assert_eq!(tried.values["commission"], "9.00 USD");

    page.entries = vec![Entry::Left { number: relay.number(&DocumentId::main(deal)) }];
    device.client.apply_page(&page).unwrap();
    let tried = device.client.disputes().unwrap().remove(0).tried.remove(0);
    assert!(tried.old.is_empty() && tried.texts.is_empty());
    assert_eq!(
        (tried.typed["description"].as_str(), &tried.values["stage"]),
        (" three", &"won".into())
    );
    assert!(matches!(device.client.resend(id), Err(EditError::UnknownRecord(_))));

    // It comes back, and the kept edit is offered.
    relay.give_all(&device);
    device.client.resend(id).unwrap();
    let record = device.client.get(deal).unwrap().unwrap();
    assert_eq!(record.text("description"), Some("one two three"));
}

#[test]
fn an_erased_record_is_counted_nowhere_and_the_law_holds() {
    let (device, relay, deal, _) = disputed(Edits::new().set("stage", "won"));
    device.client.update(deal, Edits::new().set("stage", "lost")).unwrap();
    let mut page = relay.page();
    page.entries = vec![Entry::Erased { mark: deal.mark() }];
    device.client.apply_page(&page).unwrap();
    let sums = device.client.accounting().unwrap();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.open, sums.pending), (0, 0));
}
