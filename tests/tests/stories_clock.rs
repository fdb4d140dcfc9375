//! Stories of wrong clocks: an edit counts from when it was made, whatever the device believed.

use client_sdk::Edits;
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::time::Timestamp;
use tests::harness::network::Way;
use tests::harness::time::WORLD_BEGINS_MS;
use tests::harness::world::{Device, World};

const YEAR_MS: i64 = 365 * 24 * 3_600_000;
const HOUR_MS: i64 = 3_600_000;

/// Two devices and an account, all synced.
fn two_devices(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    (world, ann, bob, account)
}

/// The process starts anew while the clock is wrong: nothing but the wall clock tells it the time.
fn restart_with_clock(world: &mut World, device: Device, skew_ms: i64) {
    world.crash_device(device);
    world.set_clock(device, skew_ms);
    world.start_device(device);
}

/// The edit time of a record's last edit, against the truth.
fn error_ms(world: &World, device: Device, id: RecordId, truth: Timestamp) -> i64 {
    world.see(device, id).updated_at().unwrap().since(truth)
}

#[test]
fn edits_of_a_clock_that_is_a_year_off_are_stamped_with_the_time_at_which_they_were_made() {
    for (seed, skew) in [(401, YEAR_MS), (402, -YEAR_MS)] {
        let mut world = World::new(seed);
        let (ann, bob) = (world.device("ann"), world.device("bob"));
        world.offline(ann);
        world.set_clock(ann, skew);
        let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
        let made = world.time().true_wall();
        world.run_for(3_000_000);
        world.all_online();
        world.assert_converged();
        let error = error_ms(&world, bob, account, made);
        assert!(error.abs() <= 200, "{error} ms off");
        assert!(world.disputes(ann).is_empty());
    }
}

#[test]
fn a_clock_that_is_a_year_ahead_wins_nothing() {
    let (mut world, ann, bob, account) = two_devices(403);
    world.all_offline();
    restart_with_clock(&mut world, ann, YEAR_MS);
    world.set(ann, account, "country", "early");
    world.run_for(60_000);
    world.set(bob, account, "country", "late");
    world.all_online();
    world.assert_converged();
    world.assert_all_see(account, "country", "late");
    assert_eq!(world.contenders(account, "country").len(), 2);
}

#[test]
fn a_correction_takes_along_everything_that_builds_on_the_edit_texts_and_counters_too() {
    let (mut world, ann, bob, account) = two_devices(404);
    world.all_offline();
    restart_with_clock(&mut world, ann, YEAR_MS);
    let note = Edits::new().set("title", "Visit").set_text("body", "They want ");
    let note = world.create(ann, "note", note.set("about", account));
    world.update(ann, note, Edits::new().splice("body", 10, 0, "blue "));
    world.update(ann, note, Edits::new().splice("body", 15, 0, "ones."));
    world.update(ann, account, Edits::new().increment("visits", 2).add("tags", "fair"));
    world.update(bob, account, Edits::new().increment("visits", 1));
    world.update(ann, account, Edits::new().increment("visits", 2).remove("tags", "fair"));
    world.all_online();
    world.assert_converged();
    assert_eq!(world.disputes(ann), []);
    world.assert_all_see(note, "body", Value::Text("They want blue ones.".to_owned()));
    world.assert_all_see(account, "visits", Value::Counter(5));
    let now = world.time().true_wall();
    for id in [note, account] {
        assert!(error_ms(&world, bob, id, now) <= 0, "an edit of the future");
    }
    assert!(world.disputes(ann).is_empty());
}

#[test]
fn edits_of_another_boot_are_kept_between_the_last_contact_and_now() {
    let (mut world, ann, bob, account) = two_devices(405);
    let contact = world.time().true_wall();
    world.offline(ann);
    world.run_for(1_000);
    world.crash_device(ann);
    world.at(ann).clock.reboot();
    world.set_clock(ann, YEAR_MS);
    world.start_device(ann);
    world.set(ann, account, "country", "1");
    world.crash_device(ann);
    world.at(ann).clock.reboot();
    world.set_clock(ann, 0);
    world.start_device(ann);
    world.run_for(600_000);
    world.all_online();
    world.assert_converged();
    let seen = world.see(bob, account).updated_at().unwrap();
    assert!(seen >= contact.plus_millis(-10_000), "before the last contact");
    assert!(seen <= world.time().true_wall(), "in the future");
}

#[test]
fn a_batch_whose_receipt_was_lost_is_neither_applied_twice_nor_stamped_again() {
    let (mut world, ann, bob, account) = two_devices(406);
    // The batch is accepted; its receipt is cut off.
    world.cut_after(ann, Way::Down, 0);
    world.update(ann, account, Edits::new().increment("visits", 1).set("country", "1"));
    let made = world.time().true_wall();
    world.run_for(200);
    assert_eq!(world.at(ann).client().unsent().unwrap().batches, 1, "the receipt was lost");
    world.offline(ann);
    world.run_for(2_000);
    // Meanwhile the clock turns out to have been wrong by hours.
    world.set_clock(ann, 5 * HOUR_MS);
    world.run_for(1_000);
    world.all_online();
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(1));
    assert!(error_ms(&world, bob, account, made).abs() <= 200);
}

#[test]
fn a_clock_that_jumps_while_its_device_is_connected_misdates_nothing() {
    for (seed, skew) in [(409, YEAR_MS), (410, -YEAR_MS), (411, HOUR_MS)] {
        let (mut world, ann, bob, account) = two_devices(seed);
        world.set_clock(ann, skew);
        world.set(ann, account, "country", "1");
        let made = world.time().true_wall();
        world.settle();
        world.assert_converged();
        assert_eq!(world.disputes(ann), []);
        let error = error_ms(&world, bob, account, made);
        assert!(error.abs() <= 200, "{error} ms off");
    }
}

#[test]
fn a_small_error_of_the_clock_is_left_alone() {
    let (mut world, ann, bob, account) = two_devices(407);
    world.offline(ann);
    restart_with_clock(&mut world, ann, 60_000);
    world.set(ann, account, "country", "1");
    let made = world.time().true_wall();
    world.all_online();
    world.assert_converged();
    assert!((50_000..=70_000).contains(&error_ms(&world, bob, account, made)));
}

#[test]
fn the_clock_of_1970_gives_edits_that_everybody_takes() {
    let (mut world, ann, bob, account) = two_devices(408);
    world.offline(ann);
    world.crash_device(ann);
    world.at(ann).clock.reboot();
    let skew = -(WORLD_BEGINS_MS + world.time().now().cast_signed());
    world.set_clock(ann, skew);
    world.start_device(ann);
    world.set(ann, account, "country", "1");
    world.all_online();
    world.assert_converged();
    world.assert_all_see(account, "country", "1");
    assert!(world.disputes(ann).is_empty());
    let last = world.see(bob, account).updated_at().unwrap();
    assert!(last >= world.see(bob, account).created_at().unwrap());
}
