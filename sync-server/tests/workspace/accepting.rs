//! What is accepted: where it stands in the log, and through which door it came.

use crdt_core::id::{DocumentId, Section};
use crdt_core::protocol::{DocumentRef, Outcome};
use crdt_core::record::document::Purpose;
use crdt_core::record::{Document, Edit, Scalar, Value, hydrate};
use sync_server::store;

use crate::support::device::put;
use crate::support::random::{Random, cases};
use crate::support::world::World;

#[test]
fn batches_take_positions_in_their_order_and_documents_get_numbers() {
    let mut world = World::new();
    let mut device = world.device(1);
    let (record, first) = device.create("contact", &[put("last_name", "Ada")]);
    let (_, second) = device.create("contact", &[put("last_name", "Bea")]);
    let committed = world.commit(&[(&device, first), (&device, second)]).unwrap();
    assert_eq!((committed.head, committed.accepted, committed.slow_doors), (2, 2, 0));
    let positions = committed.receipts.iter().map(|(replica, receipt)| {
        assert_eq!(*replica, device.replica);
        let Outcome::Accepted { position, documents } = &receipt.outcome else { panic!() };
        (receipt.number, *position, documents[0].number)
    });
    assert_eq!(positions.collect::<Vec<_>>(), [(1, 1, 1), (2, 2, 2)]);
    committed.receipts.iter().for_each(|(_, receipt)| device.received(receipt));
    let third = device.edit(record, &[put("title", "Countess")]);
    assert!(matches!(third.documents[0].document, DocumentRef::Number(1)));
    assert_eq!(world.accept(&mut device, third), 3);
    world.assert_same(&device);
}

#[test]
fn positions_follow_the_commits_whatever_the_servers_clock_says() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let mut world = World::new();
    let mut device = world.device(1);
    // A day back: the edits' own times are then a day ahead of the server's, and have to wait.
    for (days, accepted) in [(0, 1), (1, 1), (0, 1), (-1, 0), (0, 1)] {
        let head = world.head();
        let (_, batch) = device.create("contact", &[put("last_name", "Ada")]);
        let now = World::now().plus_millis(days * DAY_MS);
        let committed = world.commit_at(now, &[(&device, batch)]).unwrap();
        assert_eq!((committed.head, committed.accepted), (head + accepted, accepted), "{days}");
        let (_, receipt) = &committed.receipts[0];
        match &receipt.outcome {
            Outcome::Refused { reasons } => assert_eq!(reasons[0].code, "clock_ahead"),
            Outcome::Accepted { position, .. } => assert_eq!(*position, head + 1),
            other => panic!("a new batch is not {other:?}"),
        }
        device.received(receipt);
    }
    let mut reader = world.device(2);
    world.sync(&mut reader);
    world.assert_same(&reader);
}

#[test]
fn edits_that_did_not_see_each_other_take_the_fast_door_and_conflict() {
    let mut world = World::new();
    let (mut one, mut two) = (world.device(1), world.device(2));
    let (record, batch) = one.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut one, batch);
    world.sync(&mut two);
    // Several of one device, so that the other's dependencies are no heads any more.
    for n in 0..4 {
        let batch = one.edit(record, &[put("title", &format!("title {n}"))]);
        world.accept(&mut one, batch);
    }
    let late = two.edit(record, &[put("company", "Analytical Engines")]);
    let committed = world.commit(&[(&two, late)]).unwrap();
    assert_eq!((committed.accepted, committed.slow_doors), (1, 0));
    let concurrent = two.edit(record, &[put("department", "Engines")]);
    let committed = world.commit(&[(&two, concurrent)]).unwrap();
    assert_eq!((committed.accepted, committed.slow_doors), (1, 0));
    world.sync(&mut one);
    world.sync(&mut two);
    world.assert_same(&one);
    world.assert_same(&two);
    assert_eq!(one.documents[&DocumentId::main(record)].cells.heads().len(), 2);
}

#[test]
fn an_edit_of_a_value_that_somebody_replaced_needs_no_document_while_its_change_is_kept() {
    let mut world = World::new();
    let (mut one, mut two) = (world.device(1), world.device(2));
    let (record, batch) = one.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut one, batch);
    world.sync(&mut two);
    let batch = one.edit(record, &[put("last_name", "King")]);
    world.accept(&mut one, batch);
    let stale = two.edit(record, &[put("last_name", "Lovelace")]);
    let committed = world.commit(&[(&two, stale)]).unwrap();
    assert_eq!((committed.accepted, committed.slow_doors), (1, 0));
    let cells = world.cells(&DocumentId::main(record)).unwrap();
    assert_eq!(cells.live("last_name").len(), 2, "both values are kept");
    let stored = store::read(&*world.store, |tx| tx.changes_after(1, 0)).unwrap();
    let bytes = stored.iter().filter_map(|change| change.bytes.as_deref());
    let document = Document::load(Purpose::Verify, None, bytes).unwrap();
    assert_eq!(document.cells().unwrap(), cells, "Automerge says the same");
    world.sync(&mut one);
    world.assert_same(&one);
}

#[test]
fn prose_of_two_devices_merges_through_the_slow_door() {
    let mut world = World::new();
    let (mut one, mut two) = (world.device(1), world.device(2));
    let (record, batch) = one.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut one, batch);
    world.sync(&mut two);
    let first = one.splice(record, "journal", 0, "met at the fair. ");
    let second = two.splice(record, "journal", 0, "called back. ");
    let committed = world.commit(&[(&one, first), (&two, second)]).unwrap();
    assert_eq!((committed.accepted, committed.slow_doors), (2, 2));
    world.sync(&mut one);
    world.sync(&mut two);
    world.assert_same(&one);
    let id = DocumentId::main(record);
    let text = one.text(&id, "journal");
    assert_eq!(text, two.text(&id, "journal"));
    assert!(text.contains("met at the fair. ") && text.contains("called back. "), "{text}");
}

#[test]
fn the_seed_of_a_counter_from_two_devices_is_one_change_and_both_increments_count() {
    let mut world = World::new();
    let (mut one, mut two) = (world.device(1), world.device(2));
    let (record, batch) = one.create("account", &[put("name", "Engines")]);
    world.accept(&mut one, batch);
    world.sync(&mut two);
    let first = one.increment(record, "visits", 2);
    let second = two.increment(record, "visits", 3);
    let committed = world.commit(&[(&one, first), (&two, second)]).unwrap();
    assert_eq!((committed.accepted, committed.slow_doors), (2, 0));
    let stored = store::read(&*world.store, |tx| tx.changes_after(1, 0)).unwrap();
    assert_eq!(stored.len(), 4, "the record, one seed, two increments");
    world.sync(&mut one);
    world.assert_same(&one);
    let schema = world.workspace.schema();
    let cells = &one.documents[&DocumentId::main(record)].cells;
    let values = hydrate(cells, schema.entity("account").unwrap());
    assert_eq!(values["visits"], Value::Counter(5));
}

#[test]
fn a_section_has_a_document_of_its_own_that_two_people_may_begin_at_once() {
    let mut world = World::new();
    let (mut one, mut two) = (world.device(1), world.device(2));
    let (record, batch) = one.create("account", &[put("name", "Engines")]);
    world.accept(&mut one, batch);
    world.sync(&mut two);
    let days = |n| Edit::Put { key: "payment_terms_days".to_owned(), value: Scalar::Int(n) };
    let first = one.edit_section(record, "finance", &[days(30)]);
    let second = two.edit_section(record, "finance", &[put("credit_limit", "100.00 USD")]);
    let committed = world.commit(&[(&one, first), (&two, second)]).unwrap();
    assert_eq!((committed.accepted, committed.slow_doors), (2, 0));
    world.sync(&mut one);
    world.sync(&mut two);
    world.assert_same(&one);
    world.assert_same(&two);
    let finance = DocumentId { record, section: "finance".parse::<Section>().unwrap() };
    assert_eq!(one.documents[&finance].cells.key_count(), 2);
}

#[test]
fn the_batches_of_many_replicas_are_one_commit() {
    let mut world = World::new();
    let mut first = world.device(0);
    let (record, batch) = first.create("contact", &[put("last_name", "Ada")]);
    world.accept(&mut first, batch);
    let mut devices: Vec<_> = (1..=40).map(|n| world.device(n)).collect();
    devices.iter_mut().for_each(|device| {
        world.sync(device);
    });
    let batches: Vec<_> = devices
        .iter_mut()
        .map(|device| device.edit(record, &[put("title", &format!("{}", device.replica))]))
        .collect();
    let group: Vec<_> = devices.iter().zip(batches).collect();
    let committed = world.commit(&group).unwrap();
    assert_eq!((committed.accepted, committed.head), (40, 41));
    assert_eq!(committed.slow_doors, 0, "nobody replaces what somebody else has replaced");
    assert!(committed.receipts.iter().all(|(_, receipt)| receipt.number == 1));
    world.sync(&mut first);
    world.assert_same(&first);
    assert_eq!(first.documents[&DocumentId::main(record)].cells.live("title").len(), 40);
}

/// Devices write and sync at random; everything is accepted, and everybody ends with the same.
#[test]
fn every_change_of_an_honest_history_is_accepted_and_everybody_ends_with_the_same() {
    for seed in 0..12 * cases() as u64 {
        let mut random = Random::new(seed);
        let mut world = World::new();
        let mut devices: Vec<_> = (1..=3).map(|n| world.device(n)).collect();
        let mut records = Vec::new();
        for step in 0..40 {
            let device = &mut devices[random.below(3)];
            let known: Vec<_> = records
                .iter()
                .copied()
                .filter(|record| device.documents.contains_key(&DocumentId::main(*record)))
                .collect();
            let batch = match random.below(6) {
                0 => None,
                _ if known.is_empty() => {
                    let (record, batch) = device.create("account", &[put("name", "a")]);
                    records.push(record);
                    Some(batch)
                }
                1 => Some(device.increment(*random.pick(&known), "visits", 1)),
                2 => Some(device.splice(*random.pick(&known), "notes", 0, "word ")),
                3 => {
                    let terms =
                        Edit::Put { key: "payment_terms_days".to_owned(), value: Scalar::Int(9) };
                    Some(device.edit_section(*random.pick(&known), "finance", &[terms]))
                }
                _ => {
                    let key = *random.pick(&["name", "website", "country", "territory"]);
                    let text = format!("https://{step}.example");
                    Some(device.edit(*random.pick(&known), &[put(key, &text)]))
                }
            };
            match batch {
                Some(batch) => {
                    let receipt = world.push(device, batch);
                    let accepted = matches!(receipt.outcome, Outcome::Accepted { .. });
                    assert!(accepted, "seed {seed} step {step}: {:?}", receipt.outcome);
                }
                None => {
                    world.sync(device);
                }
            }
        }
        for device in &mut devices {
            world.sync(device);
            world.assert_same(device);
        }
    }
}
