//! Tests of the tests: what differs between a device and the server is found, wherever it lies.

use client_sdk::Edits;
use tests::harness::world::{Device, World};

/// Spoils a synced device's file behind its back; what the comparison says then.
fn after(seed: u64, sql: &str) -> Vec<String> {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let fields = Edits::new().set("name", "Hooli").add("tags", "vip").increment("visits", 2);
    let account = world.create(ann, "account", fields);
    world.settle();
    world.all_offline();
    world.set(ann, account, "credit_limit", money("1.00 USD"));
    world.set(bob, account, "credit_limit", money("2.00 USD"));
    world.all_online();
    world.assert_converged();
    world.crash_device(bob);
    let file = rusqlite::Connection::open(world.at(bob).path()).unwrap();
    assert!(file.execute(sql, []).unwrap() > 0, "{sql} touches nothing");
    drop(file);
    differences(&world, bob)
}

fn money(text: &str) -> crdt_core::record::Money {
    text.parse().unwrap()
}

fn differences(world: &World, device: Device) -> Vec<String> {
    world.picture_of(device).differences(&world.picture_of_server())
}

#[test]
fn every_kind_of_difference_is_found_and_named() {
    for (number, (sql, place)) in [
        ("UPDATE account SET name = 'Other'", "name: Other ≠ Hooli"),
        ("UPDATE account SET credit_limit = credit_limit + 1", " credit_limit: "),
        ("UPDATE account SET _updated_at = _updated_at + 1", "_updated_at"),
        ("UPDATE account SET _updated_by = NULL", "_updated_by: nothing"),
        ("DELETE FROM account", "row account"),
        ("DELETE FROM account__tags", "tags members: nothing"),
        ("UPDATE conflict SET open = 0", "credit_limit: open=0"),
        ("DELETE FROM conflict", "#finance credit_limit: nothing"),
        ("UPDATE document SET base = cells", "pending: yes ≠ nothing"),
        ("UPDATE document SET number = number + 100", "number: 10"),
        ("UPDATE document SET cells = (SELECT cells FROM document LIMIT 1)", "cells: "),
    ]
    .into_iter()
    .enumerate()
    {
        let found = after(800 + number as u64, sql);
        assert!(found.iter().any(|line| line.contains(place)), "{sql}: {found:?}");
    }
}
