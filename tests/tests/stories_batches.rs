//! Stories of batches: what one person did in one go arrives in one go, also on devices that are new or far
//! behind.

use client_sdk::Edits;
use crdt_core::id::RecordId;
use crdt_core::record::{Money, Value};
use sync_server::workspace::Stride;
use tests::harness::world::{Device, World};

#[test]
fn related_records_made_offline_arrive_whole() {
    let mut world = World::new(101);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    world.settle();
    world.offline(ann);
    let (account, contact, deal) = world
        .edit(ann, |tx| {
            let account = tx.create("account", Edits::new().set("name", "Hooli"))?;
            let contact =
                tx.create("contact", Edits::new().set("last_name", "Orr").set("account", account))?;
            let deal = Edits::new().set("name", "Deal").set("account", account);
            Ok((account, contact, tx.create("opportunity", deal.set("contact", contact))?))
        })
        .unwrap();
    world.online(ann);
    world.settle_watched(|world| {
        let there = [account, contact, deal].map(|id| world.find(bob, id).is_some());
        assert!(there == [true; 3] || there == [false; 3], "half a batch: {there:?}");
    });
    world.assert_converged();
    assert_eq!(world.see(bob, deal).reference("contact"), Some(contact));
    assert_eq!(world.see(bob, contact).reference("account"), Some(account));
}

#[test]
fn a_batch_over_hundreds_of_records_arrives_as_one() {
    let mut world = World::new(102);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let tasks = world
        .edit(ann, |tx| {
            let subject = |number| Edits::new().set("subject", format!("Task {number}"));
            (0..400).map(|number| tx.create("task", subject(number))).collect::<Result<Vec<_>, _>>()
        })
        .unwrap();
    world.settle_watched(|world| {
        let there = count(world, bob, "task");
        assert!(there == 0 || there == tasks.len(), "{there} of {}", tasks.len());
    });
    world.edit(bob, |tx| tasks.iter().try_for_each(|id| tx.delete(*id))).unwrap();
    world.settle_watched(|world| {
        let there = count(world, ann, "task");
        assert!(there == 0 || there == tasks.len(), "{there} of {}", tasks.len());
    });
    world.assert_converged();
}

#[test]
fn devices_that_are_caught_up_never_see_half_a_batch() {
    let mut world = World::new(103);
    let devices = ["ann", "bob", "cyd"].map(|name| world.device(name));
    let pair = world
        .edit(devices[0], |tx| {
            let left =
                tx.create("account", Edits::new().set("name", "Left").set("country", "0"))?;
            Ok((left, tx.create("account", Edits::new().set("name", "Right").set("country", "0"))?))
        })
        .unwrap();
    world.settle();
    let agree = |world: &World| {
        for device in world.everyone() {
            let (left, right) = (world.see(device, pair.0), world.see(device, pair.1));
            assert_eq!(left.value("country"), right.value("country"), "{}", world.at(device).name);
        }
    };
    for round in 0..60_usize {
        let device = devices[round % 3];
        match round % 7 {
            2 => world.offline(device),
            5 => world.all_online(),
            _ => {}
        }
        let both = |phone: String| {
            move |tx: &mut client_sdk::Transaction<'_, '_>| {
                tx.update(pair.0, Edits::new().set("country", phone.clone()))?;
                tx.update(pair.1, Edits::new().set("country", phone))
            }
        };
        world.edit(device, both(round.to_string())).unwrap();
        for _ in 0..10 {
            world.step();
            agree(&world);
        }
    }
    world.all_online();
    agree(&world);
    world.assert_converged();
}

#[test]
fn a_new_device_syncs_for_the_first_time_while_others_write() {
    let mut world = World::new(104);
    let ann = world.device("ann");
    let accounts = fill(&mut world, ann, 300);
    world.settle();
    let bob = world.device("bob");
    for (number, account) in accounts.iter().enumerate().step_by(5) {
        world.set(ann, *account, "country", format!("{number}"));
        world.run_for(7);
    }
    world.settle();
    world.assert_converged();
    assert_eq!(count(&world, bob, "account"), accounts.len());
}

#[test]
fn a_device_that_is_far_behind_catches_up_by_index_and_gets_folded_documents_whole() {
    let stride = Stride { followed_max: 20, follow: 7, catch_up: 3, burst_bytes: 20_000 };
    let mut world = World::with_stride(105, stride);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    let others = fill(&mut world, ann, 30);
    world.settle();
    world.offline(bob);
    world.set(bob, account, "website", "https://hooli.example");
    world.update(bob, account, Edits::new().splice("notes", 0, 0, "[bob]"));
    for number in 0..200 {
        let id = if number % 2 == 0 { account } else { others[number % others.len()] };
        let text = format!("{number} ").repeat(20);
        world.update(
            ann,
            id,
            Edits::new().set("country", format!("{number}")).set_text("notes", text),
        );
    }
    world.settle_others(bob);
    world.online(bob);
    let cyd = world.device("cyd");
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "country", "198");
    world.assert_all_see(account, "website", "https://hooli.example");
    assert!(world.see(cyd, account).text("notes").unwrap().contains("[bob]"));
    assert!(world.folded() > 0, "nothing was folded");
}

#[test]
fn two_devices_of_one_member_share_everything() {
    let mut world = World::new(106);
    let ann = world.member("ann");
    let (phone, tablet) = (world.device_of(ann, "country"), world.device_of(ann, "tablet"));
    let account = world.create(phone, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    world.all_offline();
    world.set(phone, account, "country", "1");
    world.set(tablet, account, "country", "2");
    world.all_online();
    world.assert_converged();
    world.assert_all_see(account, "country", "2");
    for device in [phone, tablet] {
        assert_eq!(world.see(device, account).updated_by(), Some(ann));
    }
}

#[test]
fn finance_fields_travel_in_a_document_of_their_own_and_join_into_one_row() {
    let mut world = World::new(107);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let commission = Money::from_minor(12_345, "USD").unwrap();
    let deal = Edits::new().set("name", "Deal").set("commission", commission).set("margin", 0.25);
    let deal = world.create(ann, "opportunity", deal);
    world.settle();
    world.assert_converged();
    world.assert_all_see(deal, "commission", commission);
    let documents = "SELECT section FROM document ORDER BY section";
    assert_eq!(texts(&world, bob, documents), ["finance", "main"]);
    let row = "SELECT name || ' ' || commission || ' ' || margin FROM opportunity";
    assert_eq!(texts(&world, bob, row), ["Deal 12345 0.25"]);

    world.all_offline();
    world.set(ann, deal, "name", "Big deal");
    world.set(bob, deal, "margin", 0.5);
    world.all_online();
    world.assert_converged();
    assert_eq!(texts(&world, ann, row), ["Big deal 12345 0.5"]);
}

#[test]
fn a_section_is_born_on_two_devices_apart_and_holds_both_fields() {
    let mut world = World::new(108);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let deal = world.create(ann, "opportunity", Edits::new().set("name", "Deal"));
    world.settle();
    world.all_offline();
    let commission = Money::from_minor(500, "USD").unwrap();
    world.set(ann, deal, "commission", commission);
    world.set(bob, deal, "margin", 0.5);
    world.all_online();
    for device in [ann, bob] {
        assert!(world.disputes(device).is_empty(), "{:?}", world.disputes(device));
    }
    world.assert_converged();
    world.assert_all_see(deal, "commission", commission);
    world.assert_all_see(deal, "margin", 0.5);
}

fn fill(world: &mut World, device: Device, count: usize) -> Vec<RecordId> {
    let name = |number| Edits::new().set("name", format!("Account {number}")).add("tags", "new");
    let mut ids = Vec::new();
    for chunk in (0..count).collect::<Vec<_>>().chunks(50) {
        let made = world.edit(device, |tx| {
            chunk
                .iter()
                .map(|number| tx.create("account", name(*number)))
                .collect::<Result<Vec<_>, _>>()
        });
        ids.extend(made.unwrap());
    }
    ids
}

fn count(world: &World, device: Device, entity: &str) -> usize {
    let sql = format!("SELECT count(*) FROM \"{entity}\"");
    let rows = world.at(device).client().query(&sql, &[], Default::default()).unwrap();
    let count = rows.rows[0][0].as_int().unwrap();
    usize::try_from(count).unwrap()
}

fn texts(world: &World, device: Device, sql: &str) -> Vec<String> {
    let rows = world.at(device).client().query(sql, &[], Default::default()).unwrap();
    let text = |row: Vec<Value>| row[0].as_str().unwrap().to_owned();
    rows.rows.into_iter().map(text).collect()
}
