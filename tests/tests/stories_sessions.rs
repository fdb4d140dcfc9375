//! Stories of sessions: who may go on from where, and what a copy, an old file or a stranger is told.

use client_sdk::{Edits, SyncErrorKind, SyncPhase};
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use tests::harness::files::Files;
use tests::harness::network::{Blocked, Way};
use tests::harness::world::{Device, World};

/// Two devices and an account, all synced.
fn two_devices(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    (world, ann, bob, account)
}

fn phase(world: &World, device: Device) -> SyncPhase {
    world.at(device).sync().status().phase
}

#[test]
fn a_second_session_of_a_replica_ends_the_first() {
    let (mut world, ann, _, account) = two_devices(501);
    // The device notices that its connection is gone; the server does not, for a while.
    for round in 0..10 {
        world.cut(ann);
        world.update(ann, account, Edits::new().increment("visits", 1));
        world.run_for(round * 100);
        world.online(ann);
    }
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(10));
}

#[test]
fn a_session_that_hears_nothing_any_more_ends_and_comes_back() {
    for (seed, blocked) in [(502, Blocked::Up), (503, Blocked::Down), (504, Blocked::Both)] {
        let (mut world, ann, bob, account) = two_devices(seed);
        world.block(ann, blocked);
        world.set(ann, account, "country", "1");
        world.set(bob, account, "website", "https://hooli.example");
        world.run_for(30 * 60_000);
        assert_ne!(phase(&world, ann), SyncPhase::Live, "half an hour in a tunnel");
        world.online(ann);
        world.settle();
        world.assert_converged();
        world.assert_all_see(account, "country", "1");
    }
}

#[test]
fn a_copy_of_a_database_becomes_a_replica_of_its_own_and_both_keep_their_edits() {
    let (mut world, ann, bob, account) = two_devices(505);
    world.crash_device(ann);
    let copy = Files::copy(world.at(ann).path());
    // The original goes on for two sessions; then the copy takes its place.
    for _ in 0..2 {
        world.start_device(ann);
        world.update(ann, account, Edits::new().increment("visits", 1));
        world.settle();
        world.crash_device(ann);
    }
    let before = replicas(&world, bob);
    copy.put_back();
    world.forget(ann);
    world.start_device(ann);
    world.update(ann, account, Edits::new().increment("visits", 10).set("country", "1"));
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(12));
    world.assert_all_see(account, "country", "1");
    assert_ne!(replicas(&world, bob), before, "the copy writes under a name of its own");
}

#[test]
fn a_file_that_was_put_back_within_one_session_gets_its_own_edits_back() {
    for (seed, receipt_arrives) in [(511, true), (512, false)] {
        let (mut world, ann, _, account) = two_devices(seed);
        let backup = world.back_up(ann);
        if !receipt_arrives {
            world.cut_after(ann, Way::Down, 0);
        }
        world.update(ann, account, Edits::new().increment("visits", 1).set("country", "lost"));
        world.run_for(if receipt_arrives { 5_000 } else { 150 });
        world.crash_device(ann);
        world.restore(ann, &backup);
        world.at_mut(ann).link.cut = None;
        world.start_device(ann);
        world.update(ann, account, Edits::new().increment("visits", 10).add("tags", "new"));
        world.settle();
        world.assert_converged();
        world.assert_all_see(account, "visits", Value::Counter(11));
        world.assert_all_see(account, "country", "lost");
        assert_eq!(world.disputes(ann), []);
    }
}

#[test]
fn a_phone_and_its_copy_that_are_used_at_once_both_keep_their_edits() {
    for seed in 513..523 {
        let (mut world, ann, bob, account) = two_devices(seed);
        world.offline(ann);
        world.update(ann, account, Edits::new().increment("visits", 1));
        let copy = world.clone_device(ann, "ann's new phone");
        for round in 0..5 {
            world.update(ann, account, Edits::new().increment("visits", 10));
            world.update(copy, account, Edits::new().increment("visits", 100));
            world.run_for(seed * round);
            world.online(ann);
        }
        world.settle();
        world.assert_converged();
        // What was built on an edit that the other copy had sent first is a dispute; sent again it counts.
        for device in [ann, copy] {
            for dispute in world.disputes(device) {
                world.resend(device, &dispute);
            }
        }
        world.settle();
        world.assert_converged();
        assert_eq!(world.see(bob, account).int("visits"), Some(551), "seed {seed}");
    }
}

/// How many replicas a device knows.
fn replicas(world: &World, device: Device) -> i64 {
    let sql = "SELECT count(*) FROM actor";
    let rows = world.at(device).client().query(sql, &[], Default::default()).unwrap();
    rows.rows[0][0].as_int().unwrap()
}

#[test]
fn a_lease_that_never_arrived_does_not_lock_its_device_out() {
    let (mut world, ann, _, account) = two_devices(506);
    for _ in 0..6 {
        // The welcome is lost, and the lease in it.
        world.offline(ann);
        world.cut_after(ann, Way::Down, 20);
        world.online(ann);
        world.run_for(500);
    }
    world.at_mut(ann).link.cut = None;
    world.set(ann, account, "country", "1");
    world.settle();
    world.assert_converged();
}

#[test]
fn a_cursor_beyond_the_end_of_the_log_is_refused_and_nothing_is_lost() {
    let (mut world, ann, bob, account) = two_devices(507);
    world.stop_server();
    let backup = world.server().files();
    world.start_server();
    world.set(bob, account, "country", "1");
    world.settle();
    world.all_offline();
    world.stop_server();
    backup.put_back();
    world.start_server();
    for device in [ann, bob] {
        // What the server lost is not in its account any more; the devices still have it.
        world.forget(device);
        world.online(device);
    }
    world.run_for(10_000);
    for device in [ann, bob] {
        assert_eq!(phase(&world, device), SyncPhase::Offline);
        let error = world.at(device).sync().status().last_error;
        assert_eq!(error.map(|error| error.kind), Some(SyncErrorKind::Refused));
        assert_eq!(world.see(device, account).text("country"), Some("1"));
    }
}

#[test]
fn an_idle_hour_costs_no_more_than_its_pings() {
    let (mut world, ..) = two_devices(508);
    let before = world.bytes_carried();
    world.run_for(60 * 60_000);
    let idle = world.bytes_carried() - before;
    assert!(idle < 4_000, "{idle} bytes");
    world.settle();
    world.assert_converged();
}

#[test]
fn a_device_that_is_up_to_date_reconnects_with_less_than_a_kilobyte() {
    let (mut world, ann, ..) = two_devices(509);
    world.run_for(10_000);
    world.offline(ann);
    world.run_for(120_000);
    let before = world.bytes_carried();
    world.online(ann);
    world.settle();
    let carried = world.bytes_carried() - before;
    assert!(carried < 1_000, "{carried} bytes");
}
