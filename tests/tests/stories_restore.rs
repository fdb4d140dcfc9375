//! Stories of a server that is restored from an old backup: devices give back what they hold.

use client_sdk::Edits;
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use tests::harness::world::{Device, World};

/// Two devices and an account with a visit, all synced.
fn two_devices(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.update(ann, account, Edits::new().increment("visits", 1));
    world.settle();
    (world, ann, bob, account)
}

#[test]
fn what_a_device_had_had_accepted_beyond_the_backup_comes_back_exactly_once() {
    let (mut world, ann, bob, account) = two_devices(601);
    let backup = world.back_up_server();
    world.update(ann, account, Edits::new().increment("visits", 10).set("country", "CH"));
    let contact = world.create(ann, "contact", Edits::new().set("last_name", "Hooper"));
    world.update(ann, contact, Edits::new().add("tags", "vip"));
    world.settle();
    let before = world.server().log().len();
    world.restore_server(&backup);
    assert_eq!(world.server().log().len(), before - 3, "the server lost three batches");
    world.settle();
    assert_eq!(world.server().log().len(), before);
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(11));
    world.assert_all_see(account, "country", "CH");
    assert_eq!(world.see(bob, contact).text("last_name"), Some("Hooper"));
    for device in [ann, bob] {
        assert_eq!(world.disputes(device), []);
    }
}
