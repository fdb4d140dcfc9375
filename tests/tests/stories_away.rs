//! Stories of long absences and short contacts: any time offline, and progress in any time online.

use client_sdk::Edits;
use crdt_core::record::Value;
use sync_server::workspace::Stride;
use tests::harness::world::{Device, World};

const DAY_MS: u64 = 24 * 3_600_000;

fn accounts(world: &World, device: Device) -> i64 {
    let sql = "SELECT count(*) FROM account";
    let rows = world.at(device).client().query(sql, &[], Default::default()).unwrap();
    rows.rows[0][0].as_int().unwrap()
}

#[test]
fn four_hundred_days_without_a_network_cost_no_edit() {
    let mut world = World::new(701);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    world.offline(ann);
    world.update(ann, account, Edits::new().set("country", "Peru").increment("visits", 1));
    let made = world.create(ann, "account", Edits::new().set("name", "Made on day one"));
    for quarter in 1..=4 {
        world.crash_device(ann);
        world.crash_device(bob);
        world.at(ann).clock.reboot();
        world.run_for(100 * DAY_MS);
        world.start_device(ann);
        world.update(ann, account, Edits::new().increment("visits", 1));
        world.start_device(bob);
        world.update(bob, account, Edits::new().increment("visits", 10).set("sector", "retail"));
        world.settle_others(ann);
        assert_eq!(world.see(ann, account).int("visits"), Some(1 + quarter));
    }
    world.online(ann);
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(45));
    world.assert_all_see(account, "country", "Peru");
    world.assert_all_see(account, "sector", "retail");
    world.assert_all_see(made, "name", "Made on day one");
    assert!(world.disputes(ann).is_empty(), "age alone is no reason to refuse");
}

#[test]
fn contacts_of_twenty_seconds_are_enough_and_each_gets_further() {
    // More pages than may be under way at once, over a link on which an answer takes eight seconds.
    let mut world = World::with_stride(702, Stride { followed_max: 4, ..Stride::default() });
    let bob = world.device("bob");
    for block in 0..12 {
        let made = world.edit(bob, |tx| {
            (0..40).try_for_each(|number| {
                let name = format!("Account {number} of block {block}");
                let edits =
                    Edits::new().set("name", name).set("billing.street", "Avenida ".repeat(1_000));
                tx.create("account", edits).map(|_| ())
            })
        });
        made.unwrap();
    }
    world.settle();
    let ann = world.device_of_offline(world.at(bob).member(), "ann");
    world.at_mut(ann).link.latency_ms_min = 3_500;
    world.at_mut(ann).link.latency_ms_max = 4_000;
    let (mut had, mut contacts) = (0, 0);
    while had < 480 {
        world.online(ann);
        world.run_for(20_000);
        world.offline(ann);
        world.cut(ann);
        world.run_for(60_000);
        let has = accounts(&world, ann);
        assert!(has > had, "a contact of twenty seconds brought nothing after {had}");
        had = has;
        contacts += 1;
        println!("contact {contacts}: {had}");
    }
    assert!(contacts > 1, "the link was fast enough to get everything at once");
    world.online(ann);
    world.settle();
    world.assert_converged();
}

#[test]
fn a_field_that_a_hundred_devices_wrote_apart_shows_some_values_and_one_edit_covers_them_all() {
    let mut world = World::new(703);
    let ann = world.device("ann");
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    let others: Vec<Device> = (0..100).map(|n| world.device(&format!("rep {n}"))).collect();
    world.settle();
    world.all_offline();
    for (number, device) in others.iter().enumerate() {
        let tier = format!("Written by {number}");
        world
            .edit_now(*device, |tx| tx.update(account, Edits::new().set("country", tier)))
            .unwrap();
    }
    world.all_online();
    world.settle();
    let conflicts = world.at(ann).client().conflicts(Some(account)).unwrap();
    let shown = conflicts.iter().find(|conflict| conflict.field == "country").unwrap();
    assert_eq!(shown.values.len(), crdt_core::limits::CONFLICT_VALUES_SHOWN_MAX);
    world.set(ann, account, "country", "Decided");
    world.settle();
    world.assert_all_see(account, "country", "Decided");
    assert!(world.at(ann).client().conflicts(Some(account)).unwrap().is_empty());
}
