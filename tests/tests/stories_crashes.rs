//! Stories of crashes and cuts: whatever dies and whenever, nothing confirmed is lost and nothing happens
//! twice.

use client_sdk::{Edits, StoreError};
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use tests::harness::files::Files;
use tests::harness::network::Way;
use tests::harness::server::CrashPoint;
use tests::harness::world::{Device, World};

/// Two devices and an account, all synced.
fn two_devices(seed: u64) -> (World, Device, Device, RecordId) {
    let mut world = World::new(seed);
    let (ann, bob) = (world.device("ann"), world.device("bob"));
    let account = world.create(ann, "account", Edits::new().set("name", "Hooli"));
    world.settle();
    (world, ann, bob, account)
}

#[test]
fn a_server_that_dies_between_its_commit_and_its_receipts_loses_nothing_and_applies_nothing_twice()
{
    let (mut world, ann, _, account) = two_devices(201);
    world.crash_server_at(CrashPoint::BeforeReceipts);
    for _ in 0..5 {
        world.update(ann, account, Edits::new().increment("visits", 1));
    }
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(5));
}

#[test]
fn a_server_that_dies_before_its_commit_is_sent_everything_again() {
    let (mut world, ann, bob, account) = two_devices(202);
    world.crash_server_at(CrashPoint::BeforeCommit);
    world.update(ann, account, Edits::new().increment("visits", 1));
    world.update(bob, account, Edits::new().increment("visits", 1));
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(2));
}

#[test]
fn a_device_that_dies_before_its_receipt_comes_sends_again_and_is_told_of_the_first_time() {
    let (mut world, ann, _, account) = two_devices(203);
    world.at_mut(ann).link.latency_ms_min = 400;
    world.at_mut(ann).link.latency_ms_max = 400;
    world.update(ann, account, Edits::new().increment("visits", 1));
    world.run_for(500);
    world.crash_device(ann);
    world.start_device(ann);
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(1));
}

#[test]
fn a_server_that_restarts_is_found_again() {
    let (mut world, ann, bob, account) = two_devices(204);
    world.stop_server();
    world.set(ann, account, "country", "1");
    world.run_for(20_000);
    world.start_server();
    world.set(bob, account, "website", "https://hooli.example");
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "country", "1");
}

#[test]
fn a_page_that_is_cut_at_any_byte_is_resumed() {
    let (mut world, ann, bob, _) = two_devices(205);
    for round in 0..40_usize {
        world.offline(bob);
        for number in 0..10 {
            let name = format!("Account {round}.{number}");
            world.create(ann, "account", Edits::new().set("name", name));
        }
        world.settle_others(bob);
        world.cut_after(bob, Way::Down, round * 60);
        world.online(bob);
        world.run_for(2_000);
    }
    world.at_mut(bob).link.cut = None;
    world.settle();
    world.assert_converged();
}

#[test]
fn a_push_that_is_cut_at_any_byte_is_sent_again() {
    let (mut world, ann, _, account) = two_devices(206);
    for round in 0..40_usize {
        world.offline(ann);
        world.update(ann, account, Edits::new().increment("visits", 1));
        world.create(ann, "task", Edits::new().set("subject", format!("Task {round}")));
        world.cut_after(ann, Way::Up, round * 15);
        world.online(ann);
        world.run_for(2_000);
    }
    world.at_mut(ann).link.cut = None;
    world.settle();
    world.assert_converged();
    world.assert_all_see(account, "visits", Value::Counter(40));
}

/// Letters that hardly compress.
fn noise(salt: &mut u64, length: usize) -> String {
    let mut letter = || {
        *salt = salt.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(33 + u8::try_from((*salt >> 33) % 94).unwrap())
    };
    std::iter::repeat_with(&mut letter).take(length).collect()
}

#[test]
fn a_page_of_several_parts_is_resumed_when_it_is_cut_between_them() {
    let (mut world, ann, bob, _) = two_devices(207);
    world.offline(bob);
    let mut salt = 7;
    // A page never splits a batch: the second batch makes it larger than one frame.
    for contacts in [26, 60] {
        world
            .edit(ann, |tx| {
                (0..contacts).try_for_each(|_| {
                    let note = Edits::new().set("note", noise(&mut salt, 8_000));
                    tx.create("contact", note).map(|_| ())
                })
            })
            .unwrap();
    }
    world.settle_others(bob);
    let before = world.bytes_carried();
    for bytes in [100, 300_000, 500_000, 540_000] {
        world.cut_after(bob, Way::Down, bytes);
        world.online(bob);
        while world.at(bob).link.cut.is_some() {
            assert!(world.step(), "a page of more than {bytes} bytes is cut");
        }
        world.offline(bob);
    }
    assert!(world.bytes_carried() - before > 512 * 1024, "whole parts came before the cuts");
    world.online(bob);
    world.settle();
    world.assert_converged();
}

#[test]
fn a_device_that_is_killed_at_any_moment_goes_on_where_it_was() {
    for moment in 0..60_u64 {
        let (mut world, ann, bob, account) = two_devices(300 + moment);
        world.update(ann, account, Edits::new().increment("visits", 1));
        world.update(bob, account, Edits::new().increment("visits", 1));
        for _ in 0..moment / 2 {
            world.step();
        }
        let victim = if moment % 2 == 0 { ann } else { bob };
        world.crash_device(victim);
        world.run_for(moment);
        world.start_device(victim);
        world.settle();
        world.assert_converged();
        world.assert_all_see(account, "visits", Value::Counter(2));
    }
}

#[test]
fn an_edit_that_was_not_committed_when_the_process_died_left_nothing() {
    let (mut world, ann, _, account) = two_devices(208);
    world.offline(ann);
    let before = Files::copy(world.at(ann).path());
    let refused = world.edit(ann, |tx| {
        tx.update(account, Edits::new().set("country", "1"))?;
        tx.update(account, Edits::new().set("name", "x".repeat(100_000)))
    });
    assert!(refused.is_err());
    assert_eq!(*world.see(ann, account).value("country"), Value::Null);
    world.cut_power(ann, &before);
    world.start_device(ann);
    assert_eq!(*world.see(ann, account).value("country"), Value::Null);
    world.all_online();
    world.assert_converged();
}

#[test]
fn pages_that_a_power_cut_took_are_fetched_again() {
    let (mut world, ann, bob, account) = two_devices(209);
    let before = Files::copy(world.at(bob).path());
    world.set(ann, account, "country", "1");
    world.settle();
    assert_eq!(world.see(bob, account).text("country"), Some("1"));
    world.cut_power(bob, &before);
    world.start_device(bob);
    assert_eq!(world.see(bob, account).text("country"), None);
    world.settle();
    world.assert_converged();
}

#[test]
fn a_truncated_change_row_is_found_and_its_document_fetched_again() {
    for damage in ["x''", "substr(bytes, 1, length(bytes) / 2)"] {
        let (mut world, ann, bob, account) = two_devices(210);
        world.update(ann, account, Edits::new().set_text("notes", "Met at the fair."));
        let other = world.create(ann, "task", Edits::new().set("subject", "Call"));
        world.settle();
        world.crash_device(bob);
        let file = rusqlite::Connection::open(world.at(bob).path()).unwrap();
        // Where the cells tell a change there are no bytes to be damaged.
        let sql = format!("UPDATE change SET bytes = {damage} WHERE bytes != x''");
        assert!(file.execute(&sql, []).unwrap() > 0);
        drop(file);
        world.start_device(bob);
        world.update(ann, account, Edits::new().splice("notes", 0, 0, "Urgent! "));
        world.set(ann, other, "priority", "high");
        world.settle();
        assert_eq!(world.see(bob, other).text("priority"), Some("high"), "others go on");
        world.assert_converged();
        world.assert_all_see(account, "notes", Value::Text("Urgent! Met at the fair.".to_owned()));
    }
}

#[test]
fn a_file_of_a_newer_sdk_is_refused_and_left_as_it_is() {
    let (mut world, ann, ..) = two_devices(211);
    world.crash_device(ann);
    let file = rusqlite::Connection::open(world.at(ann).path()).unwrap();
    file.pragma_update(None, "user_version", 1_000).unwrap();
    drop(file);
    let before = std::fs::read(world.at(ann).path()).unwrap();
    let refused = world.try_start_device(ann);
    assert!(matches!(refused, Err(StoreError::Newer { found: 1_000, .. })), "{refused:?}");
    assert_eq!(std::fs::read(world.at(ann).path()).unwrap(), before);
}
